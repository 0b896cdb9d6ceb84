"""What a file should hold, and the operations that made it so: for fsx.py."""

from __future__ import annotations

import attrs

__all__ = ["Done", "MismatchError", "Model", "expect"]


class MismatchError(Exception):
    """The file is not what it should be."""


def expect(found: object, wanted: object, what: str) -> None:
    """Raise MismatchError unless two small things are equal."""
    if found != wanted:
        message = f"{what}: {found!r}, not {wanted!r}"
        raise MismatchError(message)


@attrs.define
class Done:
    """An operation that was done, and the range of bytes that it was about."""

    number: int
    name: str
    start: int = 0
    stop: int = 0
    note: str = ""

    def __str__(self) -> str:
        text = f"{self.number:7} {self.name:14} {self.start:#7x}..{self.stop:#x}"
        return f"{text} {self.note}".rstrip()


@attrs.define(eq=False)
class Model:
    """What the file should hold, and how that came about."""

    content: bytearray = attrs.Factory(bytearray)
    log: list[Done] = attrs.Factory(list)

    @property
    def size(self) -> int:
        return len(self.content)

    def note(self, offset: int, length: int, note: str = "") -> None:
        """Say what the operation that goes on is about."""
        done = self.log[-1]
        done.start, done.stop, done.note = offset, offset + length, note

    def resize(self, size: int) -> None:
        del self.content[size:]
        self.content += bytes(size - self.size)

    def put(self, offset: int, data: bytes) -> None:
        if data:
            self.resize(max(self.size, offset + len(data)))
            self.content[offset : offset + len(data)] = data

    def clear(self, offset: int, length: int) -> None:
        """Make bytes zero, as far as there are any."""
        self.put(offset, bytes(max(min(length, self.size - offset), 0)))

    def compare(self, found: bytes, offset: int, length: int) -> None:
        """Check what was read: fewer bytes only where the file ends.

        Raises:
          MismatchError: Says where it begins, and who had to do with that byte.
        """
        wanted = self.content[offset : offset + length]
        if found == wanted:
            return
        expect(len(found), len(wanted), f"number of bytes at {offset:#x}")
        wrong = [at for at, byte in enumerate(wanted) if byte != found[at]]
        first, here = offset + wrong[0], slice(wrong[0], wrong[0] + 8)
        numbers = [done.number for done in self.log if done.start <= first < done.stop]
        message = (
            f"{len(wrong)} bytes differ, the first at {first:#x}: "
            f"{found[here].hex(' ')}, not {wanted[here].hex(' ')}; "
            f"operations on it: {numbers[-12:]}"
        )
        raise MismatchError(message)
