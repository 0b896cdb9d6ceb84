"""A model of a session: handlers that follow the policy, on a simulated event loop.

It stands for `Handlers`, trio and the kernel, and takes every order of events that
these could bring.  What holds is asserted after each step, from the model's own books.
"""

from __future__ import annotations

import math
import struct
from collections import Counter

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.scheduling.policy import (
    BLOCKED,
    ENDED,
    PARKED,
    PAUSING,
    SCHEDULED,
    WATCHING,
    Handler,
    Policy,
)
from triofuse.session.scheduling.queue import Queue
from triofuse.session.scheduling.shares import Shares

#: What a request does, in place of its opcode.
PLAIN, SLOW, BLOCKS, LOCK = range(4)

#: The time slice of the policy, seconds; and for how long each request holds the loop.
SLICE = 1e-3
SERVICE = {PLAIN: 60e-6, SLOW: SLICE * 0.6, BLOCKS: 60e-6, LOCK: 60e-6}

USERS = st.integers(0, 3)
KINDS = st.sampled_from([PLAIN, SLOW, SLOW, BLOCKS, BLOCKS, LOCK])
_HEADER = struct.Struct("=24xI12x")


@attrs.define(eq=False)
class Task:
    """A handler's task: its request, and what it waits for."""

    handler: Handler
    received: ReceivedRequest | None = None


class Model(RuleBasedStateMachine):
    """The machine that Hypothesis drives."""

    @initialize(limit=st.sampled_from([1, 2, 3, 9, 20]))
    def begin(self, limit: int) -> None:
        self.limit = limit
        self.clock = 0.0
        self.uniques = 0
        self.device: list[ReceivedRequest] = []
        self.queue = Queue(lambda message: None)
        self.policy = Policy(Shares(limit), self.queue.lines)
        self.tasks: list[Task] = []
        self.started: Counter[int] = Counter()
        self.wake()

    # What the kernel and other tasks do.

    @rule(sent=st.lists(st.tuples(USERS, KINDS), min_size=1, max_size=12))
    def send(self, sent: list[tuple[int, int]]) -> None:
        self.device += [self.request(user, kind) for user, kind in sent]

    @rule(user=USERS, kind=KINDS, count=st.integers(1, 20))
    def send_many(self, user: int, kind: int, count: int) -> None:
        self.device += [self.request(user, kind) for _ in range(count)]

    @rule(user=USERS)
    def one_user_blocks_what_it_can(self, user: int) -> None:
        self.device += [self.request(user, BLOCKS) for _ in range(self.limit)]
        self.settle()

    @rule(sent=st.lists(st.tuples(USERS, KINDS), min_size=1, max_size=3))
    def queue_from_outside(self, sent: list[tuple[int, int]]) -> None:
        for user, kind in sent:
            self.put(self.request(user, kind))
        self.wake()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        del self.queue[data.draw(st.sampled_from(sorted(self.queue)))]

    @rule(seconds=st.sampled_from([SLICE / 3, 2 * SLICE]))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds

    @precondition(lambda self: any(t.handler.state == BLOCKED for t in self.tasks))
    @rule(data=st.data())
    def unblock(self, data: st.DataObject) -> None:
        blocked = [task for task in self.tasks if task.handler.state == BLOCKED]
        task = data.draw(st.sampled_from(blocked))
        self.policy.finish(task.handler)
        self.serve(task, None)

    @rule()
    def unblock_all(self) -> None:
        for task in list(self.tasks):
            if task.handler.state == BLOCKED:
                self.policy.finish(task.handler)
                self.serve(task, None)

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self.resume(data.draw(st.sampled_from(self.ready())))

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        """Run each runnable task once, as one turn of the event loop."""
        start = self.clock
        for task in data.draw(st.permutations(self.ready())):
            if task in self.ready():
                self.resume(task)
        assert self.clock - start < 3.3 * SLICE, "handlers share one time slice"

    @rule()
    def settle(self) -> None:
        """Run tasks until all of them wait."""
        for _ in range(200):
            for task in self.ready():
                if task in self.ready():
                    self.resume(task)
        assert not self.ready(), "handlers wake each other for ever"
        assert not self.device, "the device is read, also at the limit"

    def teardown(self) -> None:
        """The nursery is cancelled."""
        if not hasattr(self, "policy"):
            return
        self.device += [self.request(0, SLOW) for _ in range(self.uniques % 4)]
        for task in self.ready()[:1]:
            self.resume(task)
        self.policy.over = True
        for task in self.tasks:
            if task.handler.state == BLOCKED:
                self.policy.finish(task.handler)
            self.policy.end(task.handler)
            assert self.policy.wake() is None, "nobody is started at the end"
        assert self.policy.tasks == 0
        assert self.policy.shares.held == {}

    # What holds whenever the loop runs other tasks.

    @invariant()
    def one_leads(self) -> None:
        watching = self.count(WATCHING)
        assert watching <= 1, "one task waits for the device"
        assert watching or self.count(SCHEDULED) + self.count(PAUSING), "one leads"
        assert self.count(PAUSING) <= 1, "one pauses for all"
        assert self.count(PARKED) <= 4

    @invariant()
    def the_limit_is_kept(self) -> None:
        assert self.blocked().total() <= self.limit, "no more block than may"
        for user, count in self.blocked().items():
            assert count <= math.ceil(self.limit * 8 / 9), f"{user} leaves some"

    @invariant()
    def what_is_queued_will_be_served(self) -> None:
        held, free = self.charged(), self.limit - self.charged().total()
        eligible = [user for user in self.queue.lines if held[user] < 8 * free]
        runnable = self.count(SCHEDULED) + self.count(PAUSING)
        assert runnable or not eligible, f"nobody serves user {eligible}"

    # The handlers, and the loop.

    def request(self, user: int, kind: int) -> ReceivedRequest:
        self.uniques += 1
        return kind, self.uniques, _HEADER.pack(user), 0.0

    def put(self, received: ReceivedRequest) -> None:
        self.queue[received[1]] = received

    def count(self, state: int) -> int:
        return sum(task.handler.state == state for task in self.tasks)

    def blocked(self) -> Counter[int]:
        """Return the requests that are blocked, but for locks, by user."""
        return Counter(
            user_of(task.received)
            for task in self.tasks
            if task.handler.state == BLOCKED
            and task.received is not None
            and task.received[0] != LOCK
        )

    def charged(self) -> Counter[int]:
        """Return the same, and the requests with which handlers were woken."""
        return self.blocked() + Counter(
            user_of(task.received)
            for task in self.tasks
            if task.handler.state == SCHEDULED and task.received is not None
        )

    def ready(self) -> list[Task]:
        states = {SCHEDULED, PAUSING, WATCHING} if self.device else {SCHEDULED, PAUSING}
        return [task for task in self.tasks if task.handler.state in states]

    def wake(self) -> None:
        handler = self.policy.wake()
        if handler is None:
            return
        task = next((task for task in self.tasks if task.handler is handler), None)
        if task is None:
            task = Task(handler)
            self.tasks.append(task)
        task.received = None
        if handler.user is not None:
            task.received = self.queue.choose(handler.user)

    def resume(self, task: Task) -> None:
        woken_with, was = task.received, task.handler.state
        self.policy.run(task.handler, self.clock)
        received = None
        if was == SCHEDULED and woken_with is not None:
            received = self.queue.start(woken_with[1])
        self.serve(task, received)

    def serve(self, task: Task, received: ReceivedRequest | None) -> None:
        """Serve until the handler yields."""
        start = self.clock
        while True:
            assert self.clock - start < 2.5 * SLICE, "other tasks run after each slice"
            received = received or self.find()
            if received is None:
                if self.policy.rest(task.handler) == ENDED:
                    self.tasks.remove(task)
                return
            task.received = received
            kind, self.clock = received[0], self.clock + SERVICE[received[0]]
            if kind in (BLOCKS, LOCK):
                user = None if kind == LOCK else user_of(received)
                if self.policy.block(task.handler, user):
                    self.wake()
                return
            received = None

    def find(self) -> ReceivedRequest | None:
        policy = self.policy
        while policy.now < policy.slice_end:
            received = self.next()
            policy.now = self.clock
            if received is not None:
                assert not self.count(PAUSING), "nobody serves while one pauses for all"
                return received
            if not self.device:
                return None
        return None

    def next(self) -> ReceivedRequest | None:
        user = self.policy.next_user()
        if user is not None:
            held = self.policy.shares.held
            fewest = min(held.get(other, 0) for other in self.queue.lines)
            assert held.get(user, 0) == fewest, "the one with the fewest is next"
            return self.queue.start(self.queue.choose(user)[1])
        if not self.device:
            return None
        received = self.device.pop(0)
        user = user_of(received)
        if received[0] == LOCK:
            return received
        if self.policy.shares.admits(user):
            assert user not in self.queue.lines, "requests of a user keep their order"
            return received
        self.put(received)
        return None


def user_of(received: ReceivedRequest | None) -> int:
    assert received is not None
    user: int = _HEADER.unpack(received[2])[0]
    return user
