"""Disks that fail on command, for the tests of any program.

To be written.
"""

from triofuse.faults.conditions import Conditions
from triofuse.faults.crash import Crash
from triofuse.faults.disk import Disk
from triofuse.faults.faults import Faults
from triofuse.faults.models import EXT4, MODELS, NOTHING_ORDERED, POSIX, Model
from triofuse.faults.operation import Operation
from triofuse.faults.rule import Rule

__all__ = [
    "EXT4",
    "MODELS",
    "NOTHING_ORDERED",
    "POSIX",
    "Conditions",
    "Crash",
    "Disk",
    "Faults",
    "Model",
    "Operation",
    "Rule",
]
