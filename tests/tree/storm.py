"""Clients and the program change a tree at random: ``python -m tests.tree.storm``.

In each round three clients do what they like in a mounted tree, one of them is killed,
and the program changes the tree meanwhile.  Then all is quiet, the kernel is told, and
what a client sees must be what there is.  In the end, each node was dropped once, or is
still there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import trio

import triofuse
from triofuse import Directory, File, Node, Stat, Tree

NAMES = [f"n{number}" for number in range(12)]
CLIENTS = 3
#: 2 is for dentries and inodes: proc_sys_vm(5).
DROP_CACHES = "/proc/sys/vm/drop_caches"


class Noted(File):
    """A file that says when it is dropped."""

    made: list[Noted]
    dropped: Counter[Noted]

    def __init__(self, content: str = "", *, stat: Stat | None = None) -> None:
        super().__init__(content, writable=True, stat=stat)
        self.made.append(self)

    async def drop(self) -> None:
        self.dropped[self] += 1


class Yard(Directory):
    """A directory in which clients make such files."""

    def __init__(self, *, stat: Stat | None = None) -> None:
        super().__init__(writable=True, stat=stat)

    async def make(self, name: str, new: Stat, target: str | None) -> Node:
        if stat.S_ISREG(new.mode or 0):
            self[name] = node = Noted(stat=new)
            return node
        if stat.S_ISDIR(new.mode or 0):
            self[name] = directory = Yard(stat=new)
            return directory
        return await super().make(name, new, target)


# --- A client


def client(root: Path, seed: int, seconds: float) -> None:
    """Do what a client may do, for some seconds."""
    chance, end = random.Random(seed), time.monotonic() + seconds
    held: list[int] = []
    actions = [_write, _read, _hold, _let_go, _unlink, _rename, _link, _mkdir, _rmdir]
    actions += [_list, _list, _symlink, _truncate, _stat, _stat]
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            chance.choice(actions)(root, chance, held)


def _path(root: Path, chance: random.Random) -> Path:
    return root.joinpath(*(chance.choice(NAMES) for _ in range(chance.randint(1, 3))))


def _write(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).write_bytes(bytes(chance.randint(0, 9000)))


def _read(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).read_bytes()


def _hold(root: Path, chance: random.Random, held: list[int]) -> None:
    if len(held) < 20:
        held.append(os.open(_path(root, chance), os.O_RDWR | os.O_CREAT))


def _let_go(root: Path, chance: random.Random, held: list[int]) -> None:
    if held:
        fd = held.pop(chance.randrange(len(held)))
        os.write(fd, b"x")
        os.close(fd)


def _unlink(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).unlink()


def _rename(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).rename(_path(root, chance))


def _link(root: Path, chance: random.Random, held: list[int]) -> None:
    os.link(_path(root, chance), _path(root, chance))


def _mkdir(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).mkdir()


def _rmdir(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).rmdir()


def _list(root: Path, chance: random.Random, held: list[int]) -> None:
    with os.scandir(_path(root, chance).parent) as entries:
        for entry in entries:
            entry.stat(follow_symlinks=False)


def _symlink(root: Path, chance: random.Random, held: list[int]) -> None:
    os.symlink("n1", _path(root, chance))


def _truncate(root: Path, chance: random.Random, held: list[int]) -> None:
    os.truncate(_path(root, chance), chance.randint(0, 9000))


def _stat(root: Path, chance: random.Random, held: list[int]) -> None:
    _path(root, chance).stat()


# --- The program


def directories(at: Directory) -> Iterator[Directory]:
    """Yield a directory and all below it."""
    yield at
    for child in at.values():
        if isinstance(child, Directory):
            yield from directories(child)


def change(root: Directory, chance: random.Random) -> None:
    """Do what a program may do."""
    known = list(directories(root))
    here, there = chance.choice(known), chance.choice(known)
    name, other = chance.choice(NAMES), chance.choice(NAMES)
    with contextlib.suppress(KeyError, ValueError):  # there is none, or into itself
        match chance.randrange(7):
            case 0:
                here[name] = Noted("made by the program")
            case 1:
                del here[name]
            case 2:
                here.move(name, there, other)
            case 3:
                there[other] = here.pop(name)
            case 4:
                node = here[name]
                if isinstance(node, Noted):
                    node.content = "x" * chance.randint(0, 9000)
            case 5:
                here[name].set_stat(Stat(mode=chance.choice([0o644, 0o600, 0o755])))
            case 6 if len(known) < 30:
                here[name] = Yard()


async def keep_changing(root: Directory, chance: random.Random) -> None:
    while True:
        for _ in range(chance.randint(1, 5)):
            change(root, chance)
        await trio.sleep(chance.choice([0, 0.001, 0.005]))


# --- Is all as it should be?


def seen(path: Path) -> dict[str, tuple[object, ...]]:
    """Return what a client sees: kinds, modes, links, sizes and contents."""
    found: dict[str, tuple[object, ...]] = {}
    for name in sorted(os.listdir(path)):
        below = path / name
        status = below.lstat()
        found[name] = (status.st_mode, status.st_nlink, status.st_size)
        if stat.S_ISREG(status.st_mode):
            found[name] += (below.read_bytes(),)
        elif stat.S_ISDIR(status.st_mode):
            found |= {f"{name}/{key}": value for key, value in seen(below).items()}
    return found


def present(directory: Directory) -> dict[str, tuple[object, ...]]:
    """Return what is in the tree, in the same form."""
    found: dict[str, tuple[object, ...]] = {}
    for name, node in sorted(directory.items()):
        is_ = node.stat
        found[name] = (is_.mode, is_.nlink, is_.size)
        if isinstance(node, File):
            found[name] += (node.content,)
        elif isinstance(node, Directory):
            found |= {f"{name}/{key}": value for key, value in present(node).items()}
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    return [
        f"{name}: a client sees {str(one.get(name))[:60]}, "
        f"the tree has {str(other.get(name))[:60]}"
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]


async def storm(mountpoint: str, seconds: float, seed: int, round_of: float) -> str:
    """Let it storm, and return what has happened, in a line.

    Raises:
      AssertionError: Something was stale, or dropped twice or never.
    """
    chance, end = random.Random(seed), time.monotonic() + seconds
    Noted.made, Noted.dropped = [], Counter()
    root, rounds, path = Yard(), 0, Path(mountpoint)
    tree = Tree(root)
    options = triofuse.MountOptions(allow_other=False)
    async with triofuse.mount(tree, mountpoint, options, strict=True):
        while time.monotonic() < end:
            await _round(root, path, chance, round_of)
            await tree.told()
            shown = await trio.to_thread.run_sync(seen, path)
            stale = differences(dict(shown), dict(present(root)))
            assert not stale, (seed, rounds, stale[:10])
            rounds += 1
        await _forget_all(tree)
    _check_drops(root)
    return (
        f"{rounds} rounds, {len(Noted.made)} files made, {len(Noted.dropped)} dropped, "
        "nothing was stale"
    )


async def _round(
    root: Directory, path: Path, chance: random.Random, seconds: float
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_changing, root, random.Random(chance.random()))
        async with trio.open_nursery() as clients:
            for number in range(CLIENTS):
                command = [sys.executable, "-m", "tests.tree.storm", "--client"]
                command += [str(path), str(chance.randrange(1 << 30)), str(seconds)]
                process = await trio.lowlevel.open_process(command)
                limit = seconds * chance.random() if not number else seconds + 20
                clients.start_soon(_end, process, limit)
        nursery.cancel_scope.cancel()


async def _end(process: trio.Process, limit: float) -> None:
    try:
        with trio.move_on_after(limit + 0.3):
            await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


def _drop_caches() -> None:
    with contextlib.suppress(PermissionError), open(DROP_CACHES, "w") as file:
        file.write("2")


async def _forget_all(tree: Tree) -> None:
    """Have the kernel forget all: what it has counted is what the tree has counted."""
    root = tree.root
    assert isinstance(root, Directory)
    for name in root:
        await tree.notifier.inval_entry(1, name)
    with trio.move_on_after(20):
        while tree._forgetting.known:
            # Directories that were removed with something in them stay for a while.
            await trio.to_thread.run_sync(_drop_caches)
            await trio.sleep(0.1)
    counts = [inode.nlookup for inode in tree._inodes.values() if inode.nlookup]
    assert (tree._forgetting.known, counts) == (0, [])


def _check_drops(root: Directory) -> None:
    there = {node for directory in directories(root) for node in directory.values()}
    wrong = [
        (Noted.dropped[node], node in there)
        for node in Noted.made
        if Noted.dropped[node] != (node not in there)
    ]
    assert not wrong, f"(times dropped, still there): {Counter(wrong)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--round", type=float, default=2.0, help="seconds of a round")
    parser.add_argument("--seed", type=int, default=time.time_ns() & 0xFFFF)
    parser.add_argument("--client", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        root, seed, seconds = args.client
        client(Path(root), int(seed), float(seconds))
        return
    print(f"seed {args.seed}")
    with tempfile.TemporaryDirectory(prefix="triofuse-storm-") as mountpoint:
        print(trio.run(storm, mountpoint, args.seconds, args.seed, args.round))


if __name__ == "__main__":
    main()
