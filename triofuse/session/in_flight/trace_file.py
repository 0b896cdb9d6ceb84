"""A file of what a session does, which Perfetto and chrome://tracing open.

The law: each event is one write(2), so that the file can be opened after a kill, too.
It is the "JSON Array Format" of Trace Events, of which the bracket at the end may be
missing.  A session without a trace file has none of this in its way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import trio

from triofuse.filesystem.described import answered, described, error_name
from triofuse.filesystem.requests import Request
from triofuse.session.in_flight.table import active_request
from triofuse.wire.control import CONTROL
from triofuse.wire.decode import Message, operation_name

__all__ = ["TraceFile"]

#: Microseconds, the unit of time stamps.
_MICRO = 1e6


@attrs.define(eq=False, repr=False)
class TraceFile:
    """Writes requests, handlers, control requests and notifications as Trace Events.

    Each task has a track: that of a handler has the calls of methods, and in them the
    notifications that they send.  Each request has one from its arrival to its answer,
    which shows how long it was queued.

    Source: the document "Trace Event Format" of the Chromium project.
    """

    _fd: int
    _tracks: WeakKeyDictionary[trio.lowlevel.Task, int] = attrs.field(
        factory=WeakKeyDictionary, init=False
    )
    _count: int = attrs.field(default=0, init=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None, mountpoint: str) -> TraceFile:
        """Create a trace file, or empty it; without a path, nothing is traced.

        Raises:
          OSError: It cannot be written.
        """
        if path is None:
            return cls(-1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        trace = cls(os.open(path, flags, 0o644))
        name = {"name": f"triofuse {mountpoint}".strip()}
        trace._write({"ph": "M", "name": "process_name", "args": name}, start="[\n")
        return trace

    @property
    def is_open(self) -> bool:
        """Whether anything is traced."""
        return self._fd != -1

    def close(self) -> None:
        """Complete the file; may be called again."""
        if self._fd != -1:
            os.write(self._fd, b"\n]\n")
            os.close(self._fd)
            self._fd = -1

    def around_method(
        self, opcode: int, method: Callable[[Any], Awaitable[Any]]
    ) -> Callable[[Any], Awaitable[Any]]:
        """Return a method of the filesystem that is traced, if anything is."""
        if not self.is_open:
            return method
        name = operation_name(opcode)

        async def traced(request: Request) -> Any:
            active = active_request()
            arrived = trio.current_time() if active is None else active.received[3]
            whole = {"name": name, "cat": "request", "id": request.unique}
            self._event({**whole, "ph": "b", "ts": arrived * _MICRO})
            caller = {"uid": request.uid, "gid": request.gid, "pid": request.pid}
            fields = {"unique": request.unique, **described(request), **caller}
            try:
                return await self._span(name, "handler", fields, method, request)
            finally:
                self._event({**whole, "ph": "e"})

        return traced

    def around_notification(
        self, name: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        """Return a method of the notifier that is traced."""

        async def traced(*arguments: Any, **named: Any) -> Any:
            values = [*map(answered, arguments)]
            values += [f"{key}={answered(value)}" for key, value in named.items()]
            fields = {"arguments": ", ".join(values)}
            return await self._span(
                f"notify {name}", "notification", fields, method, *arguments, **named
            )

        return traced

    def around_control(
        self, table: Mapping[int, Callable[[Message], None]]
    ) -> dict[int, Callable[[Message], None]]:
        """Return a table of control requests, INTERRUPT and FORGET, that are traced."""
        if not self.is_open:
            return dict(table)

        def traced(opcode: int, act: Callable[[Message], None]) -> Any:
            def note_and_act(message: Message) -> None:
                self._note_control(opcode, message)
                act(message)

            return note_and_act

        return {opcode: traced(opcode, act) for opcode, act in table.items()}

    def _note_control(self, opcode: int, message: Message) -> None:
        decode = CONTROL.get(opcode)
        fields = described(decode(message)) if decode else {}
        name = operation_name(opcode)
        self._event(
            {"ph": "i", "s": "t", "name": name, "cat": "control", "args": fields}
        )

    async def _span(
        self,
        name: str,
        category: str,
        fields: Mapping[str, Any],
        function: Callable[..., Awaitable[Any]],
        *arguments: Any,
        **named: Any,
    ) -> Any:
        """Await a function between an event of begin and one of end."""
        self._event({"ph": "B", "name": name, "cat": category, "args": fields})
        answer = ""
        try:
            value = await function(*arguments, **named)
            answer = answered(value)
        except BaseException as exc:
            answer = _failure(exc)
            raise
        else:
            return value
        finally:
            self._event({"ph": "E", "args": {"answer": answer}})

    def _event(self, event: dict[str, Any]) -> None:
        """Write an event of the running task, of now if it has no time."""
        event["tid"] = self._track()
        event.setdefault("ts", trio.current_time() * _MICRO)
        self._write(event)

    def _track(self) -> int:
        task = trio.lowlevel.current_task()
        track = self._tracks.get(task)
        if track is None:
            self._count += 1
            track = self._tracks[task] = self._count
            is_handler = task.name.endswith("Handlers._handle")
            name = "handler" if is_handler else task.name.rpartition(".")[2]
            args = {"name": f"{name} {track}"}
            self._write({"ph": "M", "name": "thread_name", "tid": track, "args": args})
        return track

    def _write(self, event: Mapping[str, Any], start: str = ",\n") -> None:
        if self._fd != -1:
            line = json.dumps({"pid": os.getpid(), "tid": 0, **event})
            os.write(self._fd, f"{start}{line}".encode())


def _failure(exc: BaseException) -> str:
    if isinstance(exc, trio.Cancelled):
        return "cancelled"
    name = type(exc).__name__
    if isinstance(exc, OSError) and exc.errno:
        return f"{error_name(exc.errno)} ({name})"
    return f"{name}: {exc}"
