"""The tests.  Whatever runs one of their modules finds the examples by name."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
