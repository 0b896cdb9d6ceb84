"""Who is killed is gone at once, wherever that finds it, and nothing stays of it."""

from __future__ import annotations

import os
import random

import pytest
import trio

import triofuse as t
from tests.faults.jittery import Jittery, Luck
from tests.faults.soak import crowd, empty, forget_all, soak, until_none_left
from tests.session.clients import read, until

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to remount"),
]

#: Seconds in which a killed client is gone; others use this machine as well.
GONE = 0.1

#: How many are killed: TRIOFUSE_KILLS=1000 for a hail.
KILLS = int(os.environ.get("TRIOFUSE_KILLS", "150"))

SEED = int(os.environ.get("TRIOFUSE_SEED", "20261122"))


async def test_a_hail_of_kills_leaves_nothing_behind(mountpoint: str) -> None:
    print(f"seed {SEED}")
    filesystem = Jittery(Luck(dawdle=0.7), SEED)

    with trio.fail_after(60 + KILLS / 10):
        async with t.mount(filesystem, mountpoint, strict=True) as session:
            report = await crowd("kill", mountpoint, SEED, KILLS, seconds=60 + KILLS)
            print(report)
            await trio.to_thread.run_sync(os.listdir, mountpoint)  # it still serves
            await trio.to_thread.run_sync(empty, mountpoint)
            await trio.to_thread.run_sync(forget_all, mountpoint)

            assert await until_none_left(filesystem) == []
            await until(lambda: not session.statistics().in_flight)
            assert filesystem.numbers() == [1]

    assert report["killed"] == KILLS
    assert report["p95"] < GONE
    assert report["worst_in_d_state"] < 1


async def test_a_client_killed_in_a_handler_that_sleeps_is_gone_at_once(
    mountpoint: str,
) -> None:
    filesystem = Jittery(Luck(sleep=1.0), 1)
    filesystem.calm = True
    with trio.fail_after(30):
        async with t.mount(filesystem, mountpoint, strict=True) as session:
            await trio.to_thread.run_sync(_create, f"{mountpoint}/f0")
            filesystem.calm = False
            report = await crowd("asleep", mountpoint, 1, 20, seconds=20)
            assert filesystem.mishaps["sleep"] >= 15
            await until(lambda: not session.statistics().in_flight)
            filesystem.calm = True
            assert await read(f"{mountpoint}/f0") == b""

    assert report["p95"] < GONE
    assert report["median_in_d_state"] < GONE


def _create(path: str) -> None:
    with open(path, "wb"):
        pass


async def test_nothing_grows_while_much_goes_wrong(mountpoint: str) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")

    with trio.fail_after(60):
        report = await soak(mountpoint, 6, seed=seed)
        print(report)

    assert report.faults() == []
    assert report.mishaps["bug"] == report.logged["bug"]
    assert report.handled > 500
