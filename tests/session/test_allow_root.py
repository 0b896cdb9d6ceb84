"""allow_root: other users than root and the owner are refused, whatever is cached."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import trio

import triofuse as t
from tests.session.clients import outcome, start
from tests.session.probe import FILES, TEXT, Probe
from triofuse.testing import FakeKernel, open_kernel

NOBODY = 65534
NOT_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Unopened(Probe):
    """Answers OPEN and OPENDIR with ENOSYS."""

    async def lookup(self, request: t.Lookup) -> t.Entry:
        entry = await super().lookup(request)
        return t.Entry(t.FileAttr(entry.nodeid, 0o100666, size=len(TEXT)))

    async def open(self, request: t.Open) -> t.Opened:
        self.calls["open"] += 1
        raise t.FuseError(errno.ENOSYS)

    async def opendir(self, request: t.Opendir) -> t.Opened:
        self.calls["opendir"] += 1
        raise t.FuseError(errno.ENOSYS)

    async def releasedir(self, request: t.Releasedir) -> None:
        self.calls["releasedir"] += 1

    async def setattr(self, request: t.Setattr) -> t.FileAttr:
        return self.attr(request.nodeid)

    async def write(self, request: t.Write) -> int:
        self.calls["write"] += 1
        return request.size


#: What a stranger tries, by what it would show.
TRIES = {
    "reading": "open('plain', 'rb').read()",
    "mapping": "mmap.mmap(os.open('plain', os.O_RDONLY), 5, prot=1)[:]",
    "writing": "os.write(os.open('plain', os.O_WRONLY), b'x')",
    "syncing": "os.fsync(os.open('plain', os.O_RDONLY))",
    "listing": "os.listdir('.')",
    "scanning": "[*os.scandir('.')]",
}
STRANGER = """
import mmap, os, sys
os.chdir(sys.argv[1]); os.setgroups([]); os.setresuid(65534, 65534, 65534)
try:
    print({})
except PermissionError:
    print("refused")
"""


@NOT_ROOT
@pytest.mark.mount
@pytest.mark.parametrize("what", TRIES)
async def test_a_stranger_gets_nothing_that_the_owner_has_used(
    what: str, mountpoint: str
) -> None:
    def use() -> None:
        assert Path(mountpoint, "plain").read_bytes() == TEXT
        assert set(os.listdir(mountpoint)) == FILES.keys()

    unopened = Unopened()
    with trio.fail_after(20):
        async with t.mount(unopened, mountpoint, t.MountOptions(allow_root=True)):
            await trio.to_thread.run_sync(use)
            script = STRANGER.format(TRIES[what])
            client = await start(sys.executable, "-c", script, mountpoint)
            said = await outcome(client)
            await trio.to_thread.run_sync(use)

    assert said == ("refused\n", "")
    assert unopened.calls["write"] == 0
    assert (unopened.calls["open"], unopened.calls["opendir"]) == (1, 1)
    assert (unopened.calls["release"], unopened.calls["releasedir"]) == (0, 0)


@NOT_ROOT
@pytest.mark.mount
async def test_allow_other_lets_the_kernel_open_by_itself(mountpoint: str) -> None:
    unopened = Unopened()
    with trio.fail_after(20):
        async with t.mount(unopened, mountpoint, t.MountOptions(allow_other=True)):
            script = STRANGER.format(TRIES["reading"])
            client = await start(sys.executable, "-c", script, mountpoint)
            said = await outcome(client)

    assert said == (f"{TEXT!r}\n", "")


@pytest.fixture
def restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the sessions of a fake kernel allow root only, as with allow_root."""
    original = t.Session.from_fd.__func__  # type: ignore[attr-defined]

    def from_fd(cls: type[t.Session], /, *args: object, **options: object) -> t.Session:
        session: t.Session = original(cls, *args, **options)
        session.allowed_uids = frozenset({0})
        return session

    monkeypatch.setattr(t.Session, "from_fd", classmethod(from_fd))


async def refused(kernel: FakeKernel, what: str) -> bool:
    try:
        await getattr(kernel, what)(FILES["plain"], uid=NOBODY)
    except PermissionError:
        return True
    return False


@pytest.mark.usefixtures("restricted")
async def test_each_open_is_asked_for_and_looked_at() -> None:
    unopened = Unopened()
    async with open_kernel(unopened) as kernel:
        for _ in range(2):
            opened = await kernel.open(FILES["plain"], uid=0)
            assert opened == t.Opened(0, t.OpenFlags.KEEP_CACHE)
            assert await refused(kernel, "open")
            assert await refused(kernel, "opendir")
            await kernel.release(FILES["plain"], opened.fh)

    assert unopened.calls["open"] == 1
    assert unopened.calls["release"] == 0


@pytest.mark.usefixtures("restricted")
async def test_cached_links_are_not_to_be_had_with_allow_root() -> None:
    class Linked(Probe):
        async def init(self, config: t.KernelConfig) -> None:
            config.want(t.InitFlags.CACHE_SYMLINKS)

    with pytest.raises(t.CapabilityError, match=r"CACHE_SYMLINKS.*allow_root"):
        async with open_kernel(Linked()):
            raise AssertionError
