"""When a handler polls or yields the CPU before it sleeps, and when it does not."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from time import perf_counter

import pytest
import trio

from triofuse.session.in_flight.received import ReceivedRequest
from triofuse.session.scheduling.polling import Polling
from triofuse.wire.opcodes import Opcode

ARRIVAL: ReceivedRequest = (1, 2, b"", 0.0)
LOOKUP, RELEASE = int(Opcode.LOOKUP), int(Opcode.RELEASE)
NEVER = float("inf")


class Device:
    """Has a request at the n-th call; or never, or its connection has ended.

    Attributes:
      others: What others do when we make way for them.
    """

    def __init__(self) -> None:
        self.looks: float = 1
        self.asked = 0
        self.made_way = 0
        self.error: Callable[[], Exception] = BlockingIOError
        self.others: Callable[[], None] = lambda: None

    def receive(self) -> ReceivedRequest | None:
        self.asked += 1
        if self.asked < self.looks:
            raise self.error()
        self.asked = 0
        return ARRIVAL

    def sched_yield(self) -> None:
        self.made_way += 1
        self.others()


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    device = Device()
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(os, "sched_yield", device.sched_yield)
    return device


def send_at_once(device: Device) -> None:
    """Have the client to which the CPU is yielded send a request."""
    device.looks = NEVER

    def send() -> None:
        device.looks = 1

    device.others = send


def compute() -> None:
    """Hold the CPU for longer than a client that is about to send something."""
    end = perf_counter() + 300e-6
    while perf_counter() < end:
        pass


def test_who_runs_on_our_cpu_sends_when_we_make_way(device: Device) -> None:
    send_at_once(device)

    assert Polling(1.0, device.receive).poll(LOOKUP) is ARRIVAL
    assert device.made_way == 1


def test_who_is_made_way_for_in_vain_is_left_alone_for_longer_and_longer(
    device: Device,
) -> None:
    device.looks = NEVER
    polling = Polling(1e-6, device.receive)
    polls = 0
    made_way_at: list[int] = []

    while len(made_way_at) < 9:
        before = device.made_way
        polling.poll(LOOKUP)
        if device.made_way > before:
            made_way_at.append(polls)
        polls += 1

    gaps = [b - a - 1 for a, b in pairwise(made_way_at)]
    assert gaps == [16, 32, 64, 128, 256, 512, 1024, 1024]


@pytest.mark.parametrize("hits", [0, 100])
def test_who_computes_for_long_is_not_made_way_for_again(
    device: Device, hits: int
) -> None:
    send_at_once(device)
    send = device.others
    polling = Polling(1.0, device.receive)
    for _ in range(hits):
        assert polling.poll(LOOKUP) is ARRIVAL
        device.looks = NEVER

    def send_and_compute() -> None:
        send()
        compute()

    device.others = send_and_compute
    assert polling.poll(LOOKUP) is ARRIVAL  # but not thanks to that
    polling.poll(LOOKUP)

    assert device.made_way == hits + 1


def test_a_request_that_comes_soon_is_found_awake(device: Device) -> None:
    device.looks = 3

    assert Polling(1.0, device.receive).poll(LOOKUP) is ARRIVAL


def test_it_gives_up_after_its_time(device: Device) -> None:
    device.looks = NEVER

    assert Polling(20e-6, device.receive).poll(LOOKUP) is None
    assert device.asked > 0


def test_after_a_miss_it_sleeps_at_once_for_a_while(device: Device) -> None:
    device.looks = NEVER
    polling = Polling(20e-6, device.receive)
    polling.poll(LOOKUP)
    device.asked = 0

    for _ in range(16):
        assert polling.poll(LOOKUP) is None
    assert device.asked == 0
    polling.poll(LOOKUP)
    assert device.asked > 0


def test_as_long_as_it_has_paid_off_a_miss_is_forgiven(device: Device) -> None:
    polling = Polling(20e-6, device.receive)
    for _ in range(8):
        polling.poll(LOOKUP)
    device.looks = NEVER
    polling.poll(LOOKUP)

    device.looks = 1
    device.asked = 0
    assert polling.poll(LOOKUP) is ARRIVAL


def test_what_follows_one_operation_says_nothing_about_another(device: Device) -> None:
    polling = Polling(1e-6, device.receive)
    for _ in range(100):
        device.looks = NEVER
        polling.poll(RELEASE)
        send_at_once(device)
        assert polling.poll(LOOKUP) is ARRIVAL
        device.others = lambda: None

    assert device.made_way < 110


def test_control_requests_do_not_end_it(device: Device) -> None:
    answers = iter([None, None, ARRIVAL])

    assert Polling(1.0, lambda: next(answers)).poll(LOOKUP) is ARRIVAL


def test_the_end_of_the_connection_ends_it(device: Device) -> None:
    device.looks = NEVER
    device.error = trio.EndOfChannel

    assert Polling(1e-6, device.receive).poll(LOOKUP) is None


def test_zero_seconds_are_never(device: Device) -> None:
    assert Polling(0.0, device.receive).poll(LOOKUP) is None
    assert (device.asked, device.made_way) == (0, 0)


def test_with_one_cpu_nobody_could_send_unless_we_make_way(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    device.looks = NEVER

    assert Polling(1.0, device.receive).poll(LOOKUP) is None
    assert (device.asked, device.made_way) == (1, 1)


def test_who_was_polled_for_in_vain_and_comes_at_once_had_waited_for_our_cpu(
    device: Device,
) -> None:
    device.looks = NEVER
    polling = Polling(1e-6, device.receive)
    polling.poll(LOOKUP)
    polling.woken()
    polling.poll(LOOKUP)

    assert device.made_way == 2  # although it was in vain


def test_who_comes_later_than_that_had_not(device: Device) -> None:
    device.looks = NEVER
    polling = Polling(1e-6, device.receive)
    polling.poll(LOOKUP)

    compute()
    polling.woken()
    polling.poll(LOOKUP)

    assert device.made_way == 1


def test_a_wake_up_without_polling_says_nothing(device: Device) -> None:
    device.looks = NEVER
    polling = Polling(1e-6, device.receive)
    polling.poll(LOOKUP)
    polling.poll(LOOKUP)  # sleeps at once

    polling.woken()
    polling.poll(LOOKUP)

    assert device.made_way == 1
