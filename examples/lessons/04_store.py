"""A directory kept in a JSON file: ``python examples/lessons/04_store.py NOTES.json MOUNTPOINT``."""

import errno
import itertools
import json
import stat
from collections.abc import Iterable
from pathlib import Path

import trio

from triofuse import AskedDirectory, File, FuseError, Node, Stat, Tree, main

numbers = itertools.count(1)


class Note(File):
    """A file of the store: it holds its data, and is its own inode."""

    def __init__(self, store: "Notes", data: bytes) -> None:
        super().__init__(key=next(numbers), stat=Stat(size=len(data), mode=0o644))
        self.store, self.data = store, bytearray(data)

    async def read(self, size: int, offset: int) -> bytes:
        return bytes(self.data[offset : offset + size])

    async def write(self, data: memoryview, offset: int) -> int:
        self.data.extend(bytes(max(0, offset - len(self.data))))  # a hole
        self.data[offset : offset + len(data)] = data
        return len(data)

    async def truncate(self, size: int) -> None:
        del self.data[size:]
        self.data.extend(bytes(size - len(self.data)))

    async def flush(self) -> None:
        await self.store.keep()  # its error is the error of close(2)

    async def fsync(self, *, datasync: bool) -> None:
        await self.store.keep()


class Notes(AskedDirectory):
    """A directory of notes; there are no others in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(key="notes")
        self.path, self.saving = path, trio.Lock()
        texts = json.loads(path.read_text()) if path.exists() else {}
        self.notes = {name: Note(self, text.encode()) for name, text in texts.items()}

    async def lookup(self, name: str) -> Node | None:
        return self.notes.get(name)

    def entries(self) -> Iterable[tuple[str, Node]]:
        return list(self.notes.items())

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        if not stat.S_ISREG(new.mode or 0):
            raise FuseError(errno.EPERM)  # what mkdir(2) says where there are none
        self.notes[name] = Note(self, b"")
        return self.notes[name]

    async def unlink(self, name: str, node: Node) -> None:
        del self.notes[name]
        await self.keep()

    async def rename(
        self, name: str, node: Node, to: Node, new_name: str, replaced: Node | None
    ) -> None:
        self.notes[new_name] = self.notes.pop(name)
        await self.keep()

    async def keep(self) -> None:
        """Replace the JSON file, in one step for whoever reads it."""
        async with self.saving:  # others run while this one waits for the disk
            texts = {
                name: note.data.decode(errors="replace")
                for name, note in self.notes.items()
            }
            new = trio.Path(f"{self.path}.new")
            await new.write_text(json.dumps(texts, indent=1))
            await new.rename(self.path)


def make(source: Path) -> Tree:
    """Keep notes in a JSON file.

    Args:
      source: The file; it need not exist.
    """
    return Tree(Notes(source))


if __name__ == "__main__":
    main(make)
