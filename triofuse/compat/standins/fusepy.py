"""Stands in for fusepy, for `triofuse.compat`."""

import importlib
import sys

sys.modules[__name__] = importlib.import_module("triofuse.compat.fuse")
