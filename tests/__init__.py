"""The tests.  Whatever runs one of their modules finds the examples by name."""

import sys
from pathlib import Path

_EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path[:0] = [str(_EXAMPLES), str(_EXAMPLES / "lessons")]
