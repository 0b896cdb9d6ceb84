"""`help()` of a class says what each of its members is."""

from __future__ import annotations

import enum
import pydoc
import re

import pytest

import triofuse
from triofuse.filesystem import flags

ENUMS = [
    one
    for one in vars(flags).values()
    if isinstance(one, type) and issubclass(one, enum.Enum) and one.__members__
]


@pytest.mark.parametrize("enumeration", ENUMS, ids=[one.__name__ for one in ENUMS])
def test_help_describes_every_flag(enumeration: type[enum.Enum]) -> None:
    shown = pydoc.plain(pydoc.render_doc(enumeration))

    described = re.findall(r"^ \|    +([A-Z_0-9]+): +\S.{7,}", shown, re.MULTILINE)

    assert described == list(enumeration.__members__)


def test_every_public_enumeration_is_looked_at() -> None:
    public = {
        one
        for name in triofuse.__all__
        if isinstance(one := getattr(triofuse, name), type)
        and issubclass(one, enum.Enum)
    }

    assert public <= set(ENUMS)
