"""Faults of callers: they are killed in the midst of a call."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import trio

import triofuse as t
from tests.faults.soak import forget_all
from tests.faults.stage import MountedFault, Stage
from tests.faults.victim import Victim
from tests.session.clients import outcome, start, until

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
