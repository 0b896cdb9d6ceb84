"""The scheduling policy, explored by a model; mutants show that the model finds faults.

``TRIOFUSE_FUZZ=20 pytest tests/session/scheduling`` takes 190,000 steps.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.profile import fuzzed
from tests.session.scheduling.model import Model
from triofuse.session.scheduling import policy as p
from triofuse.session.scheduling.policy import (
    TRANSITIONS,
    Handler,
    IllegalTransitionError,
    Policy,
    State,
)
from triofuse.session.scheduling.shares import Shares

Patch = pytest.MonkeyPatch


def explore(examples: int, phases: list[Phase]) -> None:
    """Run so many examples of the model; raise the failure it has found."""
    run_state_machine_as_test(
        Model,
        settings=settings(fuzzed(examples), stateful_step_count=100, phases=phases),
    )


def test_whatever_happens_one_leads_and_nothing_is_left(monkeypatch: Patch) -> None:
    taken: set[tuple[State, p.Event]] = set()
    change = Policy._change

    def note(policy: Policy, handler: Handler, event: p.Event) -> None:
        taken.add((handler.state, event))
        change(policy, handler, event)

    monkeypatch.setattr(Policy, "_change", note)

    explore(120, [Phase.generate, Phase.shrink])

    table = {(state, event) for state, row in TRANSITIONS.items() for event in row}
    assert table - taken == set()  # and so each state was reached


def nobody_is_promoted(patch: Patch) -> None:
    wake = Policy.wake
    patch.setattr(
        Policy,
        "wake",
        lambda self: wake(self) if not self.tasks or self._queued else None,
    )


def nobody_wakes_for_what_is_queued(patch: Patch) -> None:
    """The first hang: requests stayed queued while a handler paused."""

    def wake(policy: Policy) -> Handler | None:
        queued, policy._queued = policy._queued, {}
        try:
            return original(policy)
        finally:
            policy._queued = queued

    original = Policy.wake
    patch.setattr(Policy, "wake", wake)


def a_lock_that_a_follower_takes_wakes_nobody(patch: Patch) -> None:
    """The second hang: a queued request started and blocked, another stayed queued."""

    def block(policy: Policy, handler: Handler, user: int | None) -> bool:
        needed = block_as_ever(policy, handler, user)
        return needed and (user is not None or not policy._count[p.WATCHING])

    block_as_ever = Policy.block
    patch.setattr(Policy, "block", block)


def all_wait_for_the_device(patch: Patch) -> None:
    def rest(policy: Policy, handler: Handler) -> State:
        watching, policy._count[p.WATCHING] = policy._count[p.WATCHING], 0
        state = original(policy, handler)
        policy._count[p.WATCHING] += watching
        return state

    original = Policy.rest
    patch.setattr(Policy, "rest", rest)


def nobody_watches_who_could_park(patch: Patch) -> None:
    def rest(policy: Policy, handler: Handler) -> State:
        policy._count[p.WATCHING] += 1
        state = original(policy, handler)
        policy._count[p.WATCHING] -= 1
        return state

    original = Policy.rest
    patch.setattr(Policy, "rest", rest)


def each_pauses_for_itself(patch: Patch) -> None:
    def rest(policy: Policy, handler: Handler) -> State:
        pausing, policy._count[p.PAUSING] = policy._count[p.PAUSING], 0
        state = original(policy, handler)
        policy._count[p.PAUSING] += pausing
        return state

    original = Policy.rest
    patch.setattr(Policy, "rest", rest)


def each_has_a_slice_for_itself(patch: Patch) -> None:
    def run(policy: Policy, handler: Handler, now: float) -> None:
        original(policy, handler, now)
        policy.slice_end = now + 0.001

    original = Policy.run
    patch.setattr(Policy, "run", run)


def nobody_pauses(patch: Patch) -> None:
    def run(policy: Policy, handler: Handler, now: float) -> None:
        original(policy, handler, now)
        policy.slice_end = float("inf")

    original = Policy.run
    patch.setattr(Policy, "run", run)


def all_are_admitted(patch: Patch) -> None:
    patch.setattr(Shares, "admits", lambda self, user: True)


def one_user_may_take_all(patch: Patch) -> None:
    patch.setattr(Shares, "admits", lambda self, user: self.taken < self.limit)


def nothing_is_given_back(patch: Patch) -> None:
    def finish(policy: Policy, handler: Handler) -> None:
        handler.user = None
        policy._change(handler, p.FINISH)

    patch.setattr(Policy, "finish", finish)


def locks_count(patch: Patch) -> None:
    block = Policy.block
    patch.setattr(
        Policy,
        "block",
        lambda self, handler, user: block(self, handler, 0 if user is None else user),
    )


def who_is_woken_with_a_request_is_not_counted(patch: Patch) -> None:
    uncounted: set[Handler] = set()

    def charge(policy: Policy, handler: Handler, user: int | None) -> None:
        if handler in uncounted:
            uncounted.remove(handler)
            handler.user = None
        original(policy, handler, user)
        if handler.state == p.SCHEDULED and user is not None:
            policy.shares.give_back(user)
            uncounted.add(handler)

    original = Policy._charge
    patch.setattr(Policy, "_charge", charge)


def the_queue_has_no_order(patch: Patch) -> None:
    def next_user(policy: Policy) -> int | None:
        admitted = [user for user in policy._queued if policy.shares.admits(user)]
        return admitted[0] if admitted else None

    patch.setattr(Policy, "next_user", next_user)


def some_are_started_at_the_end(patch: Patch) -> None:
    def wake(policy: Policy) -> Handler | None:
        over, policy.over = policy.over, False
        try:
            return original(policy)
        finally:
            policy.over = over

    original = Policy.wake
    patch.setattr(Policy, "wake", wake)


def all_park(patch: Patch) -> None:
    patch.setattr(p, "_MAX_PARKED", 1000)


MUTANTS: list[Callable[[Patch], None]] = [
    nobody_is_promoted,
    nobody_wakes_for_what_is_queued,
    a_lock_that_a_follower_takes_wakes_nobody,
    all_wait_for_the_device,
    nobody_watches_who_could_park,
    each_pauses_for_itself,
    each_has_a_slice_for_itself,
    nobody_pauses,
    all_are_admitted,
    one_user_may_take_all,
    nothing_is_given_back,
    locks_count,
    who_is_woken_with_a_request_is_not_counted,
    the_queue_has_no_order,
    some_are_started_at_the_end,
    all_park,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_model_notices_when_a_rule_is_taken_out(
    mutant: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    mutant(monkeypatch)

    with pytest.raises((AssertionError, IllegalTransitionError)):
        explore(200, [Phase.generate])


def test_a_handler_cannot_do_what_the_table_does_not_say() -> None:
    policy = Policy(Shares(1), {})
    handler = policy.wake()
    assert handler is not None

    with pytest.raises(
        IllegalTransitionError, match="BLOCK of a handler that is SCHED"
    ):
        policy.block(handler, 1)
