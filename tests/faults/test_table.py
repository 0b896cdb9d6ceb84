"""The table of faults says what the tests do."""

from __future__ import annotations

from tests.faults.catalogue import FAULTS, MOUNTED_FAULTS
from tests.faults.fault import Fault
from tests.faults.stage import MountedFault
from tests.faults.table import TABLE, table


def test_the_table_is_up_to_date() -> None:
    assert TABLE.read_text() == table()


def test_no_two_faults_have_one_name() -> None:
    faults: list[Fault | MountedFault] = [*FAULTS, *MOUNTED_FAULTS]
    assert len({fault.test_id for fault in faults}) == len(faults) >= 60
