"""How much is tried: little and always the same, or as much as you like.

Ordinary runs, those of a CI among them, try the same few hundred examples each
time.  For a longer search, by a factor and with other examples every time::

    TRIOFUSE_FUZZ=50 pytest tests/fuzz

What fails is printed with a ``@reproduce_failure`` line; make a test of it.
``atheris_wire.py`` beside this searches the wire layer by coverage.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

__all__ = ["fuzzed"]

_FACTOR = int(os.environ.get("TRIOFUSE_FUZZ", "1"))


def fuzzed(examples: int) -> settings:
    """Return the settings of a test that tries so many examples in a short run."""
    return settings(
        max_examples=examples * _FACTOR,
        derandomize=_FACTOR == 1,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
        ],
    )
