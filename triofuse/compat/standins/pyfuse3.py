"""Stands in for pyfuse3, for `triofuse.compat`."""

import sys

import triofuse.compat.pyfuse3 as _ours
import triofuse.compat.pyfuse3.asyncio as _asyncio

sys.modules[__name__] = _ours
sys.modules[f"{__name__}.asyncio"] = _asyncio
sys.modules[f"{__name__}._pyfuse3"] = _ours
