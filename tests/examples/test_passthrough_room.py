"""The mirror: its descriptors last, for everybody."""

from __future__ import annotations

import errno
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from passthrough import Passthrough
from tests.conftest import at_work, mounts_below
from tests.examples.posix import NOBODY, fails
from tests.examples.sources import overlay
from tests.examples.test_passthrough import mirrored, needs_root
from tests.examples.test_passthrough_rights import home
from tests.examples.test_programs import needs
from triofuse.mirror.shares import Shares
from triofuse.testing import open_kernel
from triofuse.wire.opcodes import NotifyCode

__all__ = ["home"]

FILES = 1000
DESCRIPTORS = 240


@pytest.fixture
def root(home: Path) -> Path:
    """The mountpoint."""
    path = home / "mnt"
    path.mkdir()
    return path


@pytest.fixture
def source(home: Path) -> Iterator[Path]:
    with overlay(home) as path:
        for number in range(FILES):
            (path / f"file{number}").touch(mode=0o666)
        yield path
    assert not mounts_below(str(home))


@needs_root
@needs("prlimit")
@pytest.mark.mount
def test_any_number_of_inodes_takes_a_bounded_number_of_descriptors(
    source: Path, root: Path
) -> None:
    with mirrored(source, root, descriptors=DESCRIPTORS):
        for number in range(FILES):
            os.stat(root / f"file{number}")
        with os.scandir(root) as entries:
            assert sum(entry.stat().st_size == 0 for entry in entries) == FILES
        for number in range(FILES):
            (root / f"file{number}").write_text("x")
        (root / "dir").mkdir()
        (root / "new").touch()


#: Takes what it can get, and keeps it: argv is the mount, its own ids and open(2)'s
#: flags.
HOG = """
import errno, os, resource, sys, time
root, user, flags = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.setgroups([]); os.setgid(user); os.setuid(user)
kept = []
try:
    for number in range(1000):
        kept.append(os.open(f"{root}/file{number}", flags))
except OSError as exc:
    print("ready" if exc.errno == errno.EMFILE else exc, flush=True)
    time.sleep(1000)
print(len(kept), "were opened")
"""


@needs_root
@needs("prlimit")
@pytest.mark.mount
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH], ids=["open", "known"])
def test_the_descriptors_of_one_user_are_not_everybodys(
    source: Path, root: Path, flags: int
) -> None:
    hog = [sys.executable, "-c", HOG, str(root), str(NOBODY), str(flags)]

    with mirrored(source, root, "-o", "allow_other", descriptors=DESCRIPTORS):
        with at_work([hog], sys.stderr.fileno()):
            fds = [
                os.open(root / f"file{number}", os.O_RDWR) for number in range(900, 910)
            ]
            assert len(os.listdir(root)) == FILES
            (root / "new").write_text("x")
            (root / "dir").mkdir()
            for fd in fds:
                os.close(fd)
        for number in range(FILES):
            os.stat(root / f"file{number}")


async def test_an_older_kernel_is_asked_by_name_but_not_for_directories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triofuse.mirror.nodes.open_root", lambda root: None)
    for number in range(19):
        (tmp_path / f"file{number}").touch()
        (tmp_path / f"dir{number}").mkdir()
    dropped = set()

    async with open_kernel(Passthrough(tmp_path, keep=64), minor=44) as kernel:
        for number in range(19):
            await kernel.lookup(1, f"dir{number}")
            await kernel.lookup(1, f"file{number}")
            with trio.move_on_after(0):
                async for told in kernel.notifications:
                    assert told.code == NotifyCode.INVAL_ENTRY
                    dropped.add(told.payload)
        while not dropped:
            dropped.add((await kernel.notifications.receive()).payload)

    assert {name[:4] for name in dropped} == {b"file"}


async def test_who_has_its_share_waits_for_what_the_kernel_forgets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triofuse.mirror.nodes.open_root", lambda root: None)
    nodeids: list[int] = []
    for number in range(100):
        (tmp_path / f"file{number}").touch()

    async with open_kernel(Passthrough(tmp_path, keep=32)) as kernel:
        with fails(errno.EMFILE):
            for number in itertools.count():
                entry = await kernel.lookup(1, f"file{number}")
                nodeids.append(entry.nodeid)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.lookup, 1, "file99")
            with trio.fail_after(5):
                while True:
                    told = await kernel.notifications.receive()
                    if len(told.payload) == 8 * len(nodeids):
                        break
            await kernel.forget(nodeids[0], 1)


def test_a_share_is_as_much_as_is_left() -> None:
    shares = Shares(100)

    def take_all(user: int) -> int:
        for count in itertools.count():
            if not shares.has_room(lambda: user):
                with pytest.raises(OSError, match="Too many open files"):
                    shares.take(lambda: user)
                return count
            shares.take(lambda: user)
        raise AssertionError

    assert take_all(1) == 25 + 38  # a quarter is nobody's
    assert take_all(2) == 19
    assert take_all(3) == 9
    shares.give(1)
    assert shares.has_room(lambda: 3)
    assert not shares.has_room(lambda: 1)
