"""As test_faults.py, for what takes a real mount."""

from __future__ import annotations

import logging
import os

import pytest
import trio

from tests.conftest import mounts_below
from tests.faults.catalogue import MOUNTED_FAULTS
from tests.faults.stage import MountedFault, Stage
from tests.faults.test_faults import nothing_left

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs to abort and to remount"),
]


@pytest.mark.parametrize("fault", MOUNTED_FAULTS, ids=lambda fault: fault.test_id)
def test_a_fault_of_a_mount_costs_its_victim_only(
    fault: MountedFault, mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(mountpoint)
    answers: list[str] = []

    async def main() -> None:
        with trio.fail_after(20), nothing_left():
            answers.append(await fault.happen(stage))

    trio.run(main)

    assert answers == [fault.victim]
    errors = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert bool(errors) == bool(fault.logged)
    assert all(fault.logged in message for message in errors)
    assert mounts_below(mountpoint) == []
    assert stage.victim.calls["destroy"] == fault.mounts
    assert not any(stage.victim.handles.values())
