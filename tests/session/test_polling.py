"""When a handler looks again before it sleeps, and when it does not."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio

from triofuse.session.intake import Arrival
from triofuse.session.polling import Polling

ARRIVAL: Arrival = (1, 2, b"", 0.0)


class Device:
    """Has something at the n-th look; or never, or has come to its end."""

    def __init__(self, looks: float = 1) -> None:
        self.looks = looks
        self.asked = 0
        self.error: Callable[[], Exception] = BlockingIOError

    def receive(self) -> Arrival | None:
        self.asked += 1
        if self.asked < self.looks:
            raise self.error()
        self.asked = 0
        return ARRIVAL


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    return Device()


def test_a_request_that_comes_soon_is_found_without_sleeping(device: Device) -> None:
    device.looks = 3

    assert Polling(1.0, device.receive).poll() is ARRIVAL


def test_it_gives_up_after_its_time(device: Device) -> None:
    device.looks = float("inf")

    assert Polling(20e-6, device.receive).poll() is None
    assert device.asked > 0


def test_after_a_miss_it_sleeps_at_once_for_a_while(device: Device) -> None:
    device.looks = float("inf")
    polling = Polling(20e-6, device.receive)
    polling.poll()
    device.asked = 0

    for _ in range(16):
        assert polling.poll() is None
    assert device.asked == 0
    polling.poll()
    assert device.asked > 0


def test_as_long_as_it_has_paid_off_a_miss_is_forgiven(device: Device) -> None:
    polling = Polling(20e-6, device.receive)
    for _ in range(8):
        polling.poll()
    device.looks = float("inf")
    polling.poll()

    device.looks = 1
    device.asked = 0
    assert polling.poll() is ARRIVAL


def test_control_requests_do_not_end_it(device: Device) -> None:
    answers = iter([None, None, ARRIVAL])

    assert Polling(1.0, lambda: next(answers)).poll() is ARRIVAL


def test_the_end_of_the_connection_ends_it(device: Device) -> None:
    device.looks = 2
    device.error = trio.EndOfChannel

    assert Polling(1.0, device.receive).poll() is None


def test_zero_seconds_are_never(device: Device) -> None:
    assert Polling(0.0, device.receive).poll() is None
    assert device.asked == 0


def test_with_one_cpu_nobody_could_send_meanwhile(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)

    assert Polling(1.0, device.receive).poll() is None
    assert device.asked == 0
