"""Ctrl-C in `triofuse.mount`: whenever it comes, nothing stays mounted."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

from tests.device.mounts import SECONDS
from tests.session.clients import is_mounted

pytestmark = pytest.mark.mount

#: Interrupts itself at one place, from code in which trio holds the exception back.
PROGRAM = textwrap.dedent(
    """
    import signal, sys
    sys.path[:0] = {path!r}
    import trio, triofuse
    from tests.session.probe import Probe
    from triofuse.device import mount as mounting
    from triofuse.device.mount import Mount

    @trio.lowlevel.enable_ki_protection
    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    def interrupt_before(owner, name):
        real = getattr(owner, name)

        @trio.lowlevel.enable_ki_protection
        def wrapped(*arguments, **options):
            trio.from_thread.run_sync(interrupt) if threaded() else interrupt()
            return real(*arguments, **options)

        setattr(owner, name, wrapped)

    def threaded():
        return not trio.lowlevel.in_trio_run()

    async def main():
        probe = Probe()
        probe.on_destroy = lambda: print("destroyed", flush=True)
        {before}
        async with triofuse.mount(probe, sys.argv[1]) as session:
            {inside}

    trio.run(main)
    """
)

INSTANTS = {
    "before mounting": ("interrupt()", "await trio.sleep_forever()"),
    "while the mount is being made": (
        "interrupt_before(mounting, 'start_thread')",
        "await trio.sleep_forever()",
    ),
    "while INIT is answered": (
        "interrupt_before(probe, 'init')",
        "await trio.sleep_forever()",
    ),
    "in the block": ("", "interrupt(); await trio.sleep_forever()"),
    "as the last thing in the block": ("", "interrupt()"),
    "as unmounting begins": ("interrupt_before(Mount, 'unmount')", "pass"),
    "twice": ("interrupt_before(Mount, 'unmount')", "interrupt()"),
    "while handlers end": ("interrupt_before(probe, 'destroy')", "pass"),
}


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_keyboard_interrupt_unmounts_and_is_raised(
    mountpoint: str, instant: str
) -> None:
    before, inside = INSTANTS[instant]
    program = PROGRAM.format(path=sys.path, before=before, inside=inside)

    done = subprocess.run(
        [sys.executable, "-c", program, mountpoint],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )

    assert done.stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert done.returncode == -signal.SIGINT
    assert done.stdout in {"", "destroyed\n"}
    assert not is_mounted(mountpoint)
