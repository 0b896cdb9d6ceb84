"""The log of what was asked of a disk."""

from __future__ import annotations

import errno
from typing import Any

import attrs

from triofuse.faults.rule import Call, Rule

__all__ = ["Operation"]


@attrs.define
class Operation:
    """One operation.

    Attributes:
      name: ``"write"``, for instance.
      path: What it was about, relative to the root; ``"old -> new"`` of a rename.
      offset: Where in the file, bytes; None if that makes no sense.
      size: How much was read or written, bytes; None likewise.
      error: The errno that the caller got, 0 for success; None while it is not done.
      faults: What rules did to it, for people.
      pid: The caller: a thread.
    """

    name: str
    path: str
    offset: int | None = None
    size: int | None = None
    error: int | None = None
    faults: tuple[str, ...] = ()
    pid: int = attrs.field(default=0, eq=False)

    @classmethod
    def of(cls, call: Call, rules: list[Rule]) -> Operation:
        """Return the entry of a call that begins."""
        request = call.request
        offset = getattr(request, "offset", None)
        size = getattr(request, "size", None) if call.operation != "getxattr" else None
        faults = tuple(rule.what for rule in rules)
        return cls(call.operation, call.path, offset, size, None, faults, request.pid)

    def finish(self, value: Any) -> None:
        """Note what came of it."""
        self.error = 0
        if self.name == "write":
            self.size = value
        elif self.name == "read":
            self.size = value.size if hasattr(value, "size") else len(value)

    def __str__(self) -> str:
        parts = [self.name, self.path]
        if self.offset is not None and self.size is not None:
            parts.append(f"{self.offset}+{self.size}")
        elif self.size is not None:
            parts.append(f"size {self.size}")
        if self.error is None:
            parts.append("... not done")
        elif self.error:
            parts.append(errno.errorcode.get(self.error, str(self.error)))
        if self.faults:
            parts.append(f"[{', '.join(self.faults)}]")
        return " ".join(parts)
