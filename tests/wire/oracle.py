"""The numbers of linux/fuse.h as a C compiler printed them: fuse-abi.json."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("fuse-abi.json")
_ORACLE: dict[str, Any] = json.loads(_FILE.read_text(encoding="ascii"))

STRUCTS: dict[str, Any] = _ORACLE["structs"]
OPCODES: dict[str, Any] = _ORACLE["opcodes"]
NOTIFY: dict[str, Any] = _ORACLE["notify"]
GROUPS: dict[str, Any] = _ORACLE["flags"]
RELATED: dict[str, Any] = _ORACLE["related"]
LIMITS: dict[str, Any] = _ORACLE["kernel_limits"]
CONSTANTS: dict[str, int] = {
    name: constant["value"] for name, constant in _ORACLE["constants"].items()
}


def flags(group: str) -> dict[str, int]:
    """Return the members of a group of flags by their C names."""
    members = GROUPS[group]["flags"]
    return {name: member["value"] for name, member in members.items()}


def related(word: str) -> dict[str, int]:
    """Return numbers of other headers; ``word`` begins the entry's title."""
    (numbers,) = (
        numbers for title, numbers in RELATED.items() if title.split()[0] == word
    )
    return dict(numbers)


def spelled_out(codes: str) -> str:
    """Write each scalar and pad byte of a struct format on its own: ``<2I4x``."""
    return re.sub(
        r"(\d+)([^s\d])", lambda found: int(found[1]) * found[2], codes.lstrip("<=")
    )


def golden_struct(name: str, **fields: int) -> bytes:
    """Pack a struct by the oracle's format; fields that are not given are 0."""
    oracle = STRUCTS[name]
    values = oracle["format_lean_values"]
    assert fields.keys() <= set(values)
    codes = oracle["format_lean"]
    return struct.pack(codes, *(fields.get(value, 0) for value in values))
