"""All system calls of the fake kernel, by nodeid."""

from __future__ import annotations

import attrs

from triofuse.testing.controls import ControlCalls
from triofuse.testing.directories import DirectoryCalls
from triofuse.testing.files import FileCalls
from triofuse.testing.names import NameCalls

__all__ = ["SystemCalls"]


@attrs.define(eq=False)
class SystemCalls(NameCalls, DirectoryCalls, FileCalls, ControlCalls):
    """The system calls that take nodeids and handles."""
