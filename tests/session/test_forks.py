"""A forked child that runs no other program has nothing of its parent's mounts."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
import trio

from tests.device.mounts import SECONDS
from tests.session.clients import failure_of, is_mounted, read, until
from tests.session.probe import TEXT
from tests.session.test_endings import changed, end, server

pytestmark = pytest.mark.mount

#: How a server forks a child that lives until its stdin, which is ours, is closed.
FORKS = {
    "os.fork()": "os.fork() or (sys.stdin.read(), os._exit(0))",
    "multiprocessing": """
        context = multiprocessing.get_context("fork")
        inherited = os.dup(0)
        context.Process(target=os.read, args=(inherited, 1)).start()
        """,
    "in a thread": """
        def child():
            os.fork() or (sys.stdin.read(), os._exit(0))
        thread = threading.Thread(target=child)
        thread.start()
        thread.join()
        """,
}


@pytest.mark.parametrize("fork", FORKS)
async def test_a_child_does_not_keep_callers_of_a_killed_server_waiting(
    mountpoint: str, fork: str
) -> None:
    with trio.fail_after(SECONDS), server(mountpoint, FORKS[fork]) as process:
        await changed(process, mountpoint)

        process.kill()
        process.wait()
        number = await failure_of(f"{mountpoint}/plain")
        children_live = _reads(process)

    assert children_live
    assert number is not None
    await trio.run_process(["umount", "-l", mountpoint])


@pytest.mark.parametrize("fork", FORKS)
async def test_a_child_does_not_keep_auto_unmount_waiting(
    mountpoint: str, fork: str
) -> None:
    with (
        trio.fail_after(SECONDS),
        server(mountpoint, FORKS[fork], "auto_unmount") as process,
    ):
        await changed(process, mountpoint)

        process.kill()
        process.wait()
        await until(lambda: not is_mounted(mountpoint))

        assert _reads(process)


def _reads(process: subprocess.Popen[str]) -> bool:
    """Whether another process still has the other end of a process's stdin."""
    assert process.stdin is not None
    try:
        os.write(process.stdin.fileno(), b"")
        return True
    except BrokenPipeError:
        return False


#: Forks in the block; the child leaves it as it is told, and ends.
LEAVING = textwrap.dedent(
    """
    import os, sys
    sys.path[:0] = {path!r}
    import trio, triofuse
    from tests.session.probe import Probe

    async def main():
        probe = Probe()
        probe.on_destroy = lambda: print("destroyed", flush=True)
        child = None
        try:
            async with triofuse.mount(probe, sys.argv[1], {options}) as session:
                child = os.fork()
                if not child:
                    {leave}
                await trio.to_thread.run_sync(os.waitpid, child, 0)
                print("alone", flush=True)
                await session.wait_unmounted()
        finally:
            if child == 0:
                os._exit(0)

    trio.run(main)
    """
)


@pytest.mark.parametrize("options", ["", "triofuse.MountOptions(auto_unmount=True)"])
@pytest.mark.parametrize("leave", ["return", "sys.exit()", "raise KeyError"])
async def test_a_child_that_leaves_the_block_unmounts_nothing(
    mountpoint: str, leave: str, options: str
) -> None:
    program = LEAVING.format(path=sys.path, leave=leave, options=options)
    with (
        trio.fail_after(SECONDS),
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", program, mountpoint],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        try:
            said = await trio.to_thread.run_sync(process.stdout.readline)
            served = await read(f"{mountpoint}/plain")
            await trio.run_process(["umount", mountpoint])
            rest, complaints = await end(process)
        finally:
            process.kill()

    assert (said, served) == ("alone\n", TEXT)
    assert (rest, complaints) == ("destroyed\n", "")
