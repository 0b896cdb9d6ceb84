"""Faults that take a real mount: its end, its callers' end, and its making."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

import triofuse as t
from tests.faults.fault import raising, returning, told
from tests.faults.soak import forget_all
from tests.faults.victim import FINE, NODE, Victim, Wrong
from tests.session.test_mount import in_child, outcome, start, until

Act = Callable[["Stage"], Awaitable[object]]


@attrs.define(eq=False)
class Stage:
    """A place to mount, and a filesystem."""

    mountpoint: str
    victim: Victim = attrs.Factory(Victim)

    def path(self, name: str = "name") -> str:
        """Return a path in the mount."""
        return f"{self.mountpoint}/{name}"

    async def call(self, function: Callable[..., object], *args: object) -> str:
        """Be the victim, from a thread; return what it got."""
        try:
            # Should the fault not end it, the test must.
            thread = trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)
            return told(await thread)
        except OSError as exc:
            return told(exc)

    async def read(self) -> str:
        """Read the victim's file."""
        return await self.call(_read_once, self.path())

    async def serve_others(self) -> None:
        """Be somebody else, who must notice nothing."""
        other = Path(self.path("other"))
        assert await trio.to_thread.run_sync(other.read_bytes) == FINE

    async def read_and(self, act: Callable[[], Awaitable[object]]) -> str:
        """Read a file whose handler waits, and do something meanwhile."""
        self.victim.wrong["read"] = _hold
        answers: list[str] = []

        async def read() -> None:
            answers.append(await self.read())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await self.victim.arrived.wait()
            await act()
        return answers[0]


def _read_once(path: str) -> bytes:
    """Read a file; what close(2) says does not count."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        with suppress(OSError):
            os.close(fd)


@attrs.frozen
class MountedFault:
    """As `Fault`, on a mount: ``happen`` makes it and ends it."""

    what: str
    victim: str
    happen: Callable[[Stage], Awaitable[str]]
    logged: str = ""
    mounts: bool = True

    @property
    def test_id(self) -> str:
        """The name of its test."""
        return self.what.replace(" ", "-").replace("/", "-")


async def _hold(victim: Victim, request: Any) -> bytes:
    await victim.hold()
    return FINE


# --- The end of the connection


def _command(*words: str) -> Callable[[Stage], Awaitable[None]]:
    async def act(stage: Stage) -> None:
        command = [*words, stage.mountpoint]
        await trio.run_process(command, check=False, capture_stderr=True)

    return act


def _ending(act: Act) -> Callable[[Stage], Awaitable[str]]:
    """Return what happens when a mount is ended while a READ waits."""

    async def happen(stage: Stage) -> str:
        async with t.mount(stage.victim, stage.mountpoint) as session:
            await stage.serve_others()
            answer = await stage.read_and(lambda: act(stage))
            await session.wait_unmounted()
        await _command("umount", "-l")(stage)
        return answer

    return happen


async def _abort(stage: Stage) -> None:
    control = Path(stage.mountpoint).with_name("fusectl")
    device = await trio.to_thread.run_sync(os.stat, stage.mountpoint)
    control.mkdir()
    await trio.run_process(["mount", "-t", "fusectl", "none", str(control)])
    try:
        (control / str(os.minor(device.st_dev)) / "abort").write_text("1")
    finally:
        await trio.run_process(["umount", str(control)])


async def _unmount_lazily(stage: Stage) -> None:
    await _command("umount", "-l")(stage)
    stage.victim.go.set()


async def _busy(stage: Stage) -> str:
    """A plain umount(8) is refused, and nobody is the worse for it."""
    async with t.mount(stage.victim, stage.mountpoint):

        async def act() -> None:
            done = await trio.run_process(
                ["umount", stage.mountpoint], check=False, capture_stderr=True
            )
            assert done.returncode
            await stage.serve_others()
            stage.victim.go.set()

        return await stage.read_and(act)


async def _close_the_device(stage: Stage) -> str:
    async with t.mount(stage.victim, stage.mountpoint) as session:

        async def act() -> None:
            session.channel.close()

        return await stage.read_and(act)


async def _raise_in_the_block(stage: Stage) -> str:
    answers: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            answers.append(await stage.read())

        stage.victim.wrong["read"] = _hold
        try:
            async with t.mount(stage.victim, stage.mountpoint):
                nursery.start_soon(read)
                await stage.victim.arrived.wait()
                raise KeyError("mine")
        except KeyError:
            pass
    return answers[0]


async def _cancel_the_block(stage: Stage) -> str:
    answers: list[str] = []
    async with trio.open_nursery() as nursery:

        async def read() -> None:
            answers.append(await stage.read())

        stage.victim.wrong["read"] = _hold
        with trio.CancelScope() as scope:
            async with t.mount(stage.victim, stage.mountpoint):
                nursery.start_soon(read)
                await stage.victim.arrived.wait()
                scope.cancel()
                await trio.lowlevel.checkpoint()
    return answers[0]


def _signalled(number: signal.Signals) -> Callable[[Stage], Awaitable[str]]:
    """Return what happens when the program that serves gets a signal."""

    async def happen(stage: Stage) -> str:
        clients: list[subprocess.Popen[str]] = []

        async def stop(child: subprocess.Popen[str]) -> None:
            clients.append(await start("cat", f"{stage.mountpoint}/slow"))
            await trio.to_thread.run_sync(os.stat, f"{stage.mountpoint}/plain")
            await until(lambda: _waits(clients[0].pid))
            child.send_signal(number)

        await in_child(stage.mountpoint, stop)
        _, complaint = await outcome(clients[0])
        if number == signal.SIGKILL:
            await _command("umount", "-l")(stage)
        return complaint.strip().rpartition(": ")[2]

    return happen


def _waits(pid: int) -> bool:
    """Whether a process waits for an answer to a READ: its file is open."""
    try:
        return any(
            os.readlink(f"/proc/{pid}/fd/{fd}").endswith("slow")
            for fd in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:
        return False


ENDS = [
    MountedFault("umount of a busy mount", repr(FINE), _busy),
    MountedFault("umount -l of a busy mount", repr(FINE), _ending(_unmount_lazily)),
    MountedFault(
        "umount -f of a busy mount", "ECONNABORTED", _ending(_command("umount", "-f"))
    ),
    MountedFault(
        "the connection is aborted by fusectl",
        "ECONNABORTED",
        _ending(_abort),
    ),
    MountedFault(
        "the device is closed under the session", "ECONNABORTED", _close_the_device
    ),
    MountedFault("an exception in the block", "ECONNABORTED", _raise_in_the_block),
    MountedFault("the block is cancelled", "ECONNABORTED", _cancel_the_block),
    MountedFault(
        "kill -9 of the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGKILL),
        mounts=False,
    ),
    MountedFault(
        "SIGTERM to the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGTERM),
        mounts=False,
    ),
    MountedFault(
        "Ctrl-C in the server",
        os.strerror(errno.ECONNABORTED),
        _signalled(signal.SIGINT),
        mounts=False,
    ),
]


# --- What a handler does, and what the kernel makes of it


def _serving(
    method: str, wrong: Wrong, act: Callable[[Stage], Awaitable[str]]
) -> Callable[[Stage], Awaitable[str]]:
    async def happen(stage: Stage) -> str:
        stage.victim.wrong[method] = wrong
        async with t.mount(stage.victim, stage.mountpoint):
            await stage.serve_others()
            answer = await act(stage)
            await stage.serve_others()
        return answer

    return happen


async def _read(stage: Stage) -> str:
    return await stage.read()


async def _write(stage: Stage) -> str:
    return await stage.call(Path(stage.path()).write_bytes, FINE)


async def _stat(stage: Stage) -> str:
    return await stage.call(os.stat, stage.path())


async def _list(stage: Stage) -> str:
    return await stage.call(os.listdir, stage.mountpoint)


async def _open_without_descriptors(victim: Victim, request: t.Open) -> t.Opened:
    """Open what cannot be opened, for this process has no descriptors left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        os.open("/dev/null", os.O_RDONLY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    raise AssertionError


async def _as_a_directory(victim: Victim, request: t.Getattr) -> t.FileAttr:
    if request.nodeid == 1:
        return victim.attr(1)
    return attrs.evolve(victim.attr(NODE), mode=stat.S_IFDIR | 0o755)


async def _own_mount(stage: Stage) -> str:
    """A handler calls into its own mount, from the thread that serves it."""

    async def wrong(victim: Victim, request: t.Read) -> bytes:
        os.stat(stage.path("other"))
        raise AssertionError

    return await _serving("read", wrong, _read)(stage)


_LONG = [t.DirEntry("x" * 300, NODE), t.DirEntry("other", NODE)]

HANDLERS = [
    MountedFault(
        "the disk is full",
        "ENOSPC",
        _serving("write", raising(OSError(errno.ENOSPC, "full")), _write),
    ),
    MountedFault(
        "the server has no descriptors left",
        "EMFILE",
        _serving("open", _open_without_descriptors, _read),
    ),
    MountedFault(
        "a handler calls into its own mount", "EDEADLK", _own_mount, "gets EDEADLK"
    ),
    MountedFault(
        "a bug on a mount",
        "EIO",
        _serving("read", raising(ValueError("a bug")), _read),
        "Victim.read failed",
    ),
    MountedFault(
        "a file that turns into a directory",
        "EIO",
        _serving("getattr", _as_a_directory, _stat),
    ),
    MountedFault(
        "a listing with a name longer than NAME_MAX",
        "2 entries",
        _serving("readdirplus", returning(_LONG), _list),
    ),
]


# --- Callers that are gone

#: What a client does, that is killed in the midst of it, by method.
_CLIENTS = {
    "lookup": "os.stat('name')",
    "open": "os.open('name', os.O_RDONLY)",
    "opendir": "os.listdir('.')",
    "readdirplus": "os.listdir('.')",
    "create": "os.open('new', os.O_CREAT | os.O_WRONLY)",
    "tmpfile": "os.open('.', os.O_TMPFILE | os.O_WRONLY)",
    "mknod": "os.mkfifo('new')",
    "mkdir": "os.mkdir('new')",
    "flush": "os.close(os.open('name', os.O_RDONLY))",
}


def _killed_in(method: str) -> Callable[[Stage], Awaitable[str]]:
    """Return what happens when a client is killed where a method has succeeded.

    The method is shielded and does not give way, so its success comes too late.
    """

    async def late(victim: Victim, request: Any) -> Any:
        value = await victim.healthy(method, request)
        if not victim.arrived.is_set():
            await victim.hold(shield=True)
        return value

    async def happen(stage: Stage) -> str:
        async with t.mount(stage.victim, stage.mountpoint) as session:
            await stage.serve_others()
            stage.victim.wrong[method] = late
            script = f"import os; os.chdir({stage.mountpoint!r}); {_CLIENTS[method]}"
            client = await start(sys.executable, "-S", "-c", script)
            await stage.victim.arrived.wait()
            client.kill()
            stage.victim.go.set()
            await outcome(client)
            stage.victim.wrong.clear()
            await stage.serve_others()
            await until(lambda: not session.statistics().in_flight)
            await trio.to_thread.run_sync(forget_all, stage.mountpoint)
            await until(lambda: not +stage.victim.lookups)
            await until(lambda: not +stage.victim.handles)
        assert not -stage.victim.lookups
        return signal.Signals(-client.returncode).name

    return happen


GONE = [
    MountedFault(f"a client is killed in {method}", "SIGKILL", _killed_in(method))
    for method in _CLIENTS
]


# --- Notifications


async def _tell_the_dead(stage: Stage) -> str:
    async with t.mount(stage.victim, stage.mountpoint) as session:
        await _command("umount")(stage)
        await session.wait_unmounted()
        try:
            await session.notifier.inval_inode(NODE)
        except trio.EndOfChannel:
            return "EndOfChannel"
    raise AssertionError


async def _tell_and_wait(stage: Stage, act: Callable[[], Awaitable[None]]) -> str:
    """Have a notification wait in the kernel for a LOOKUP in the same directory."""

    stage.victim.wrong["mkdir"] = _hold_mkdir
    answers: list[str] = []

    async def make() -> None:
        answers.append(await stage.call(os.mkdir, stage.path("new")))

    async with t.mount(stage.victim, stage.mountpoint) as session:
        await stage.serve_others()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(make)
            await stage.victim.arrived.wait()
            with trio.move_on_after(0.1) as patience:
                await session.notifier.inval_entry(1, "other")
            assert patience.cancelled_caught  # the directory is locked
            await act()
    return answers[0]


async def _hold_mkdir(victim: Victim, request: t.Mkdir) -> Any:
    await victim.hold()
    return await victim.healthy("mkdir", request)


async def _abandon(stage: Stage) -> str:
    async def act() -> None:
        stage.victim.go.set()

    return await _tell_and_wait(stage, act)


async def _unmount_under_it(stage: Stage) -> str:
    async def act() -> None:
        await _command("umount", "-f")(stage)

    answer = await _tell_and_wait(stage, act)
    await _command("umount", "-l")(stage)
    return answer


NOTIFICATIONS = [
    MountedFault("a notification after the end", "EndOfChannel", _tell_the_dead),
    MountedFault(
        "a notification that waits in the kernel is cancelled", "success", _abandon
    ),
    MountedFault(
        "umount -f while a notification waits in the kernel",
        "ECONNABORTED",
        _unmount_under_it,
    ),
]


# --- Mounting


async def _mount_nowhere(stage: Stage) -> str:
    try:
        async with t.mount(stage.victim, stage.path("absent")):
            raise AssertionError
    except t.MountError as exc:
        return told(exc)


async def _mount_two(stage: Stage) -> str:
    """One mount fails while the other serves, and serves on."""
    async with t.mount(stage.victim, stage.mountpoint):
        await stage.serve_others()
        try:
            async with t.mount(Victim(), f"{stage.mountpoint}/absent"):
                raise AssertionError
        except t.MountError as exc:
            answer = told(exc)
        await stage.serve_others()
    return answer


async def _end_one_of_two(stage: Stage) -> str:
    """One of two mounts in a program is aborted; the other serves on."""
    places = [f"{stage.mountpoint}/a", f"{stage.mountpoint}/b"]
    for place in places:
        os.mkdir(place)
    stages = [Stage(places[0], stage.victim), Stage(places[1])]
    async with t.mount(stage.victim, places[0]) as first:
        async with t.mount(stages[1].victim, places[1]):
            answer = await stages[0].read_and(lambda: _abort(stages[0]))
            await first.wait_unmounted()
            await stages[1].serve_others()
    await _command("umount", "-l")(stages[0])
    for place in places:
        os.rmdir(place)
    return answer


async def _init_fails(stage: Stage) -> str:
    stage.victim.wrong["init"] = raising(LookupError("no database"))
    try:
        async with t.mount(stage.victim, stage.mountpoint):
            raise AssertionError
    except LookupError as exc:
        return type(exc).__name__


async def _init_is_cancelled(stage: Stage) -> str:
    async def wrong(victim: Victim, request: Any) -> None:
        await trio.sleep_forever()

    stage.victim.wrong["init"] = wrong
    with trio.move_on_after(0.05) as scope:
        async with t.mount(stage.victim, stage.mountpoint):
            raise AssertionError
    assert scope.cancelled_caught
    return "Cancelled"


MOUNTING = [
    MountedFault("a mountpoint that is not there", "ENOENT", _mount_nowhere, "", False),
    MountedFault("one of two mounts cannot be made", "ENOENT", _mount_two),
    MountedFault("one of two mounts is aborted", "ECONNABORTED", _end_one_of_two),
    MountedFault("init raises", "LookupError", _init_fails, mounts=False),
    MountedFault("init is cancelled", "Cancelled", _init_is_cancelled, mounts=False),
]

FAULTS = [*ENDS, *HANDLERS, *GONE, *NOTIFICATIONS, *MOUNTING]
