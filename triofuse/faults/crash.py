"""One state that a power cut may leave."""

from __future__ import annotations

import attrs

from triofuse.faults.image import Image
from triofuse.faults.models import Model, Pending

__all__ = ["Crash"]


@attrs.frozen(repr=False)
class Crash:
    """What was on the disk after the power was cut, and how it came to that.

    Attributes:
      step: How many operations had been done.
      operation: The last of them, for people.
      marks: What the program had said by then, see ``Disk.mark``.
      survived: Changes that were not promised, but survived.
      lost: Changes that were lost.
      model: The order of durability.
      image: What is on the disk.
    """

    step: int
    operation: str
    marks: tuple[str, ...]
    survived: tuple[str, ...]
    lost: tuple[str, ...]
    model: Model
    image: Image = attrs.field(eq=False)

    @classmethod
    def of(
        cls,
        step: int,
        operation: str,
        marks: tuple[str, ...],
        model: Model,
        pending: Pending,
        chosen: frozenset[int],
        image: Image,
    ) -> Crash:
        """Describe a choice of records."""
        texts = [record.text for record in pending.records]
        survived = [texts[index] for index in sorted(chosen - pending.kept)]
        lost = [text for index, text in enumerate(texts) if index not in chosen]
        return cls(step, operation, marks, tuple(survived), tuple(lost), model, image)

    def __repr__(self) -> str:
        """Tell the story: what was done, what survived, what was lost."""
        lines = [f"power cut after operation {self.step}: {self.operation or 'none'}"]
        lines += [f"  the program had said: {', '.join(self.marks)}"] * bool(self.marks)
        lines += [f"  survived ({self.model.name}): {text}" for text in self.survived]
        lines += [f"  lost: {text}" for text in self.lost]
        return "\n".join(lines)

    __str__ = __repr__
