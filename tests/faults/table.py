"""Writes TABLE.md: ``python -m tests.faults.table``."""

from __future__ import annotations

from pathlib import Path

from tests.faults.catalogue import FAULTS, MOUNTED_FAULTS
from tests.faults.fault import Fault
from tests.faults.stage import MountedFault

TABLE = Path(__file__).with_name("TABLE.md")

_HEAD = """\
# What can go wrong, and what comes of it

Written by `python -m tests.faults.table`; a test compares.
The test of each line has the name of the fault, with dashes for spaces, in
test_faults.py or, for what takes a mount, in test_mounted_faults.py.
After each of them others are served, and nothing is left.

| fault | the victim gets | in the log | test |
|---|---|---|---|
"""


def table() -> str:
    """Return the whole file."""
    faults: list[Fault | MountedFault] = [*FAULTS, *MOUNTED_FAULTS]
    rows = (
        f"| {fault.what} | {fault.victim} | {'an error' if fault.logged else ''} "
        f"| {fault.test_id} |\n"
        for fault in faults
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    TABLE.write_text(table())
