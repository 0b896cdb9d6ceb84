"""A tar archive as a directory: ``python examples/lessons/11_service.py ARCHIVE.tar MOUNTPOINT``."""

import io
import stat
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from triofuse import Directory, File, Node, Stat, SymbolicLink, Tree, main


def node_of(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Node:
    """Return the node for a member of an archive."""
    attributes = Stat(mode=member.mode, mtime_ns=int(member.mtime * 1e9))
    if member.isdir():
        return Directory(writable=True, stat=attributes)
    if member.issym():
        return SymbolicLink(member.linkname, writable=True, stat=attributes)
    file = archive.extractfile(member)
    return File(file.read() if file else b"", writable=True, stat=attributes)


def load(source: Path) -> Directory:
    """Return what is in an archive; nothing, if there is none yet."""
    root = Directory(writable=True)
    if source.exists():
        with tarfile.open(source) as archive:
            for member in archive:
                *folders, name = member.name.removeprefix("./").split("/")
                parent = root
                for folder in folders:
                    parent = parent[folder]  # type: ignore[assignment]
                parent[name] = node_of(archive, member)
    return root


async def add(archive: tarfile.TarFile, directory: Directory, path: str) -> None:
    """Put what is in a directory into an archive."""
    for name, node in directory.items():
        member = tarfile.TarInfo(path + name)
        member.mode, member.mtime = (
            stat.S_IMODE(node.stat.mode or 0),
            (node.stat.mtime_ns or 0) / 1e9,
        )
        content = b""
        if isinstance(node, File):
            content = node.content
            member.size = len(content)
        elif isinstance(node, SymbolicLink):
            member.type, member.linkname = tarfile.SYMTYPE, await node.readlink()
        elif isinstance(node, Directory):
            member.type = tarfile.DIRTYPE
        archive.addfile(member, io.BytesIO(content))
        if isinstance(node, Directory):
            await add(archive, node, f"{path}{name}/")


@asynccontextmanager
async def archive(source: Path, *, size: int = 100_000_000) -> AsyncIterator[Tree]:
    """Show a tar archive as a directory, and save it at the end.

    Args:
      source: The archive; it need not exist.
      size: The most bytes that files may take.
    """
    root = await trio.to_thread.run_sync(load, source)
    yield Tree(root, size=size)  # mounted here, until umount or a signal
    packed, new = io.BytesIO(), trio.Path(f"{source}.new")
    with tarfile.open(fileobj=packed, mode="w") as saved:
        await add(saved, root, "")
    await new.write_bytes(packed.getvalue())
    await new.rename(source)


if __name__ == "__main__":
    main(archive)
