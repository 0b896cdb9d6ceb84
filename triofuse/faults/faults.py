"""`Faults`: a layer that does what a script says.

The law: each operation goes through one table of functions.  Where no rule is in force,
the function in it is the inner filesystem's own method; a script swaps entries of the
table, from any thread, and never touches a call that has begun.
"""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Awaitable, Callable, Iterable
from random import Random
from typing import Any, Final, Unpack

import attrs
import trio

from triofuse.faults import actions as a
from triofuse.faults.calls import Calls
from triofuse.faults.conditions import Conditions, check_only, rule_of
from triofuse.faults.names import OPERATIONS
from triofuse.faults.operation import Operation
from triofuse.faults.rule import Action, Call, Rule
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.filesystem.layer import Layer
from triofuse.filesystem.requests import Forget

__all__ = ["Faults"]

#: Seconds to wait until the kernel has dropped its caches.
_DROPPED_WITHIN: Final = 10.0


class Faults(Layer):
    """A filesystem around any other, that fails, waits and lies as a script says.

    ``faults = Faults(MyFilesystem())``, then ``faults.fail("write", ENOSPC, after=3)``,
    before it is mounted or while it is, from any thread.  Where no rule is in force it
    costs next to nothing.

    Each method that makes a rule takes operations (a name, several, or ``"*"``), and
    `Conditions`: ``path``, ``caller``, ``when``, ``after``, ``times``, ``once``,
    ``probability``, ``seed``.  Several rules may apply to one call: the first one that
    was made comes first.

    The kernel answers much from its caches, so a program's read(2) need not come here.
    While a rule for ``read`` is in force, files are opened without what is cached;
    while one for ``lookup`` or ``getattr`` is, names and attributes are asked each
    time.

    Args:
      inner: The filesystem.
      log: Whether to keep `operations` from the start.
    """

    def __init__(self, inner: Filesystem, *, log: bool = False) -> None:
        super().__init__(inner)
        self._lock = threading.RLock()
        self._rules: tuple[Rule, ...] = ()
        self._operations: list[Operation] = []
        self._logging = log
        self._token: trio.lowlevel.TrioToken | None = None
        self._loop = 0
        self._config: KernelConfig | None = None
        self._connect(inner)

    def _connect(self, inner: Filesystem) -> None:
        """Put the layer around a filesystem."""
        self.inner = inner
        self._calls = Calls(inner)
        for name in (*OPERATIONS, "forget", "destroy", "run"):
            if getattr(type(self), name) is not getattr(Layer, name):
                continue  # a subclass does it
            method = getattr(inner, name)
            if name == "forget":
                method = self._forget
            elif name in OPERATIONS and implements(inner, name):
                method = self._switch(name)
            setattr(self, name, method)
        self._update()

    def _switch(self, name: str) -> Callable[[Any], Awaitable[Any]]:
        """Return a method that does what the table says at each call."""

        def call(request: Any) -> Awaitable[Any]:
            return self._calls.table[name](request)

        return call

    def _forget(self, request: Forget) -> None:
        self._calls.forget(request)

    async def init(self, config: KernelConfig) -> None:
        """Note which loop serves."""
        self._token = trio.lowlevel.current_trio_token()
        self._loop = threading.get_ident()
        self._config = config
        await self.inner.init(config)

    # --- The script

    def fail(
        self,
        operation: str | Iterable[str],
        error: int,
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have operations fail.

        Args:
          operation: ``"write"``, for instance.
          error: The errno: ``errno.ENOSPC``.  With EINTR programs mostly try again.
          conditions: When.
        """
        if error not in errno.errorcode:
            message = f"fail({operation!r}, ...) takes an errno, not {error!r}"
            raise ValueError(message)
        what = errno.errorcode[error]
        return self._rule(what, operation, a.failing(error), conditions)

    def delay(
        self,
        operation: str | Iterable[str],
        seconds: float,
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have operations wait before they are done."""
        if seconds < 0:
            message = f"delay() takes seconds, 0 or more, not {seconds!r}"
            raise ValueError(message)
        what = f"delay {seconds:g} s"
        return self._rule(what, operation, a.delaying(seconds), conditions)

    def hang(
        self, operation: str | Iterable[str], **conditions: Unpack[Conditions]
    ) -> Rule:
        """Have operations block until ``rule.release()``, or until the caller is killed."""
        return self._rule("hang", operation, a.hanging, conditions)

    def short(
        self,
        operation: str | Iterable[str],
        size: int,
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have ``read`` or ``write`` do at most ``size`` bytes at a time.

        read(2) returns fewer bytes only without the page cache, so files that are
        opened from now on use direct I/O.
        """
        check_only(operation, {"read", "write"}, "short() is for")
        if size < 0:
            message = f"short() takes a number of bytes, not {size!r}"
            raise ValueError(message)
        what = f"short {size}"
        return self._rule(what, operation, a.shortening(size), conditions)

    def corrupt(
        self,
        operation: str | Iterable[str],
        size: int = 1,
        *,
        how: str = "flip",
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have ``read`` or ``write`` change bytes on their way.

        Args:
          operation: ``"read"`` or ``"write"``.
          size: How many bytes of each, at places that are drawn with ``seed``.
          how: ``"flip"`` a bit of each, or put ``"zeros"`` or ``"random"`` bytes there.
          conditions: When.
        """
        check_only(operation, {"read", "write"}, "corrupt() is for")
        if how not in {"flip", "zeros", "random"}:
            message = f"corrupt(how=...) is 'flip', 'zeros' or 'random', not {how!r}"
            raise ValueError(message)
        action = a.corrupting(size, how, Random(conditions.get("seed", 0)))
        return self._rule(f"corrupt {size} ({how})", operation, action, conditions)

    def ignore(
        self, operation: str | Iterable[str], **conditions: Unpack[Conditions]
    ) -> Rule:
        """Have operations succeed without being done: a disk that lies."""
        check_only(operation, a.IGNORED, "ignore() cannot make up a result, except for")
        return self._rule("ignore", operation, a.ignoring(self._beneath), conditions)

    def kill(
        self,
        operation: str | Iterable[str],
        signal: signal.Signals = signal.SIGKILL,
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have operations kill their caller, and not be done."""
        action = a.killing(signal)
        return self._rule(f"kill {signal.name}", operation, action, conditions)

    def full(self, at: int, error: int = errno.ENOSPC) -> Rule:
        """Behave as a disk of ``at`` bytes: ENOSPC, or a short write, beyond.

        Args:
          at: Its size, bytes; 0 is full already.
          error: ``errno.EDQUOT`` for a quota.
        """
        action = a.filling(self._beneath, at, error)
        there = [name for name in a.FULL if implements(self.inner, name)]
        return self._rule(f"full at {at}", there, action, {})

    def clear(self) -> None:
        """Take all rules back; what they block goes on."""
        for rule in self._rules:
            rule.remove()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._rules

    # --- The log

    @property
    def operations(self) -> list[Operation]:
        """What was asked of the filesystem since `log`, in order."""
        return self._operations

    def log(self) -> None:
        """Keep `operations`, from now on and from none."""
        with self._lock:
            self._operations = []
            self._logging = True
            self._update()

    # --- Rules

    def _rule(
        self,
        what: str,
        operation: str | Iterable[str],
        action: Action,
        conditions: Conditions,
    ) -> Rule:
        rule = rule_of(what, operation, action, conditions)
        missing = [
            name for name in rule.where.operations if not implements(self.inner, name)
        ]
        if len(missing) == len(rule.where.operations):
            inner = type(self.inner).__name__
            message = f"{inner} has no {missing[0]}(), so the kernel never asks for it"
            raise ValueError(message)
        rule.forget = self._forget_rule
        with self._lock:
            self._rules = (*self._rules, rule)
            self._update()
        self._drop_caches(rule.where.operations)
        return rule

    def _forget_rule(self, rule: Rule) -> None:
        with self._lock:
            self._rules = tuple(one for one in self._rules if one is not rule)
            self._update()

    def _beneath(self) -> Filesystem:
        """Return what is beneath at the time of a call: it may have been exchanged."""
        return self.inner

    def _update(self) -> None:
        """Set the table to what the rules and the log need."""
        needed = frozenset().union(*(rule.where.operations for rule in self._rules))
        short = any(
            "read" in rule.where.operations and rule.what.startswith("short")
            for rule in self._rules
        )
        self._calls.set(
            needed,
            self._ruled,
            log=self._logging,
            direct=short,
        )

    async def _ruled(self, name: str, request: Any, inner: Any) -> Any:
        """Do an operation as the rules say, and log it."""
        call = Call(name, self._calls.path_of(request), request)
        rules = [rule for rule in self._rules if rule.applies(call)]
        if not self._logging:
            return await _chained(rules, call, inner)(request)
        entry = Operation.of(call, rules)
        self._operations.append(entry)
        try:
            value = await _chained(rules, call, inner)(request)
        except OSError as exc:
            entry.error = exc.errno
            raise
        entry.finish(value)
        return value

    # --- The kernel's caches

    def _drop_caches(self, operations: frozenset[str]) -> None:
        """Have the kernel ask again, if a rule is about what it may have cached."""
        token = self._token
        if token is None or not self._calls.caches(operations):
            return
        if threading.get_ident() == self._loop:
            token.run_sync_soon(trio.lowlevel.spawn_system_task, self._drop_soon)
        else:
            trio.from_thread.run(self._drop_soon, trio_token=token)

    async def _drop_soon(self) -> None:
        with trio.move_on_after(_DROPPED_WITHIN):
            await self._calls.drop_caches(self.notifier)


def _chained(
    rules: list[Rule], call: Call, inner: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    """Return what does an operation under rules: the first of them is outermost."""
    proceed = inner
    for rule in reversed(rules):
        proceed = _link(rule, call, proceed)
    return proceed


def _link(
    rule: Rule, call: Call, proceed: Callable[[Any], Awaitable[Any]]
) -> Callable[[Any], Awaitable[Any]]:
    async def act(request: Any) -> Any:
        return await rule.action(rule, attrs.evolve(call, request=request), proceed)

    return act
