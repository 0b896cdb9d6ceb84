"""Every name of the protocol is shown on a real mount, or it is said why not.

``python -m tests.kernel.test_table`` writes the table anew.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from tests.kernel.shown import Shown, read_shown
from tests.wire.test_abi import ENUMS, RELATED, RENAMED
from triofuse.wire.opcodes import NotifyCode, Opcode

TABLE = Path(__file__).with_name("TABLE.md")

_VIRTIOFS = "virtiofs only: no plain mount has it"
_CUSE = "character devices in user space are another device, /dev/cuse"
_RESERVED = "kept free in the header, never sent"
_NEVER_SET = "no kernel sends it to a plain mount"
_SPLICED = "the kernel ignores the answer"
_NOT_TAKEN = "the kernel takes no attributes of a STATX: fuse_do_statx()"

#: What no mount here can show, and why.
OUT = {
    "FUSE_SETUPMAPPING": _VIRTIOFS,
    "FUSE_REMOVEMAPPING": _VIRTIOFS,
    "FUSE_MAP_ALIGNMENT": _VIRTIOFS,
    "FUSE_HAS_INODE_DAX": _VIRTIOFS,
    "FUSE_SUBMOUNTS": _VIRTIOFS,
    "FUSE_ATTR_SUBMOUNT": _VIRTIOFS,
    "FUSE_ATTR_DAX": _VIRTIOFS,
    "CUSE_INIT": _CUSE,
    "CUSE_INIT_BSWAP_RESERVED": _RESERVED,
    "FUSE_INIT_BSWAP_RESERVED": _RESERVED,
    "FUSE_INIT_RESERVED": _RESERVED,
    "FUSE_IOCTL_UNRESTRICTED": _CUSE,
    "FUSE_IOCTL_RETRY": _CUSE,
    "FUSE_IOCTL_COMPAT_X32": "takes a kernel with the x32 system calls",
    "FUSE_FILE_OPS": "obsolete: no kernel offers it",
    "FUSE_RELEASE_FLUSH": _NEVER_SET,
    "FUSE_SPLICE_WRITE": _SPLICED,
    "FUSE_SPLICE_MOVE": _SPLICED,
    "FUSE_SPLICE_READ": _SPLICED,
    "FUSE_OVER_IO_URING": "off in the module's parameters, and triofuse refuses it",
    "FUSE_SECURITY_CTX": (
        "takes a security module that labels; decoded in tests/wire, and harmless on "
        "a real mount: test_security_contexts_and_groups_come_together"
    ),
    "FUSE_DIRECT_IO_RELAX": "the old name of FUSE_DIRECT_IO_ALLOW_MMAP",
    "STATX_ATTR_COMPRESSED": _NOT_TAKEN,
    "STATX_ATTR_IMMUTABLE": _NOT_TAKEN,
    "STATX_ATTR_APPEND": _NOT_TAKEN,
    "STATX_ATTR_NODUMP": _NOT_TAKEN,
    "STATX_ATTR_ENCRYPTED": _NOT_TAKEN,
    "STATX_ATTR_AUTOMOUNT": _NOT_TAKEN,
    "STATX_ATTR_VERITY": _NOT_TAKEN,
    "STATX_ATTR_DAX": _NOT_TAKEN,
}


def _names_of(enum: type[IntFlag | IntEnum], prefix: str) -> list[str]:
    """Return the C names of an enum's members."""
    odd = {member: name for name, member in RENAMED.items() if name.startswith(prefix)}
    odd.pop("KILL_SUIDGID", None)  # which has the newer name as well
    return [odd.get(member, prefix + member) for member in enum.__members__]


def groups() -> dict[str, list[str]]:
    """Return all names that are to be shown, by what they are."""
    opcodes = [
        opcode.name if "CUSE" in opcode.name else f"FUSE_{opcode.name}"
        for opcode in Opcode
    ]
    found = {"Operations": opcodes}
    found["Notifications"] = [
        *(f"FUSE_NOTIFY_{code.name}" for code in NotifyCode),
        "FUSE_EXPIRE_ONLY",
        "FUSE_UNIQUE_RESEND",
    ]
    for enum, _, prefix in (*ENUMS, *RELATED):
        found[f"{enum.__name__} (`{prefix}`)"] = _names_of(enum, prefix)
    return found


def render(shown: Shown) -> str:
    """Return the table in Markdown."""
    lines = [
        "# What is shown on a real mount",
        "",
        "Written by `python -m tests.kernel.test_table` from the marks `shows` of the tests.",
    ]
    for title, names in groups().items():
        lines += ["", f"## {title}", "", "| name | shown by |", "|---|---|"]
        for name in names:
            tests = "<br>".join(shown.tests.get(name, []))
            lines.append(
                f"| `{name}` | {tests or 'not shown: ' + OUT.get(name, 'not yet')} |"
            )
    return "\n".join(lines) + "\n"


KNOWN = [name for names in groups().values() for name in names]


@pytest.fixture(scope="module")
def shown() -> Shown:
    return read_shown()


@pytest.mark.parametrize("name", KNOWN)
def test_a_name_is_shown_or_it_is_said_why_not(shown: Shown, name: str) -> None:
    tests = shown.tests.get(name)

    assert tests or name in OUT, f"no test is marked shows({name!r})"
    assert not (tests and name in OUT), f"shown by {tests}"


def test_nothing_is_shown_or_left_out_that_the_header_does_not_have(
    shown: Shown,
) -> None:
    assert shown.tests.keys() | OUT.keys() <= set(KNOWN)


def test_what_shows_something_runs_on_a_real_mount(shown: Shown) -> None:
    assert not shown.elsewhere


def test_the_table_is_up_to_date(shown: Shown) -> None:
    assert TABLE.read_text(encoding="ascii") == render(shown), (
        "run python -m tests.kernel.test_table"
    )


def test_marks_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = mount\n  shows\n")
    (tmp_path / "test_some.py").write_text(
        "import pytest\n"
        "pytestmark = [pytest.mark.mount]\n"
        "@pytest.mark.shows('A', 'B')\n"
        "def test_one(): ...\n"
        "cases = [pytest.param(1, marks=pytest.mark.shows('C')), 2]\n"
        "@pytest.mark.parametrize('x', cases)\n"
        "def test_two(x): ...\n"
    )
    (tmp_path / "test_other.py").write_text(
        "import pytest\n@pytest.mark.shows('A')\ndef test_three(): ...\n"
    )

    shown = read_shown(tmp_path)

    assert shown.tests == {
        "A": ["test_other.py::test_three", "test_some.py::test_one"],
        "B": ["test_some.py::test_one"],
        "C": ["test_some.py::test_two"],
    }
    assert shown.elsewhere == ["test_other.py::test_three"]


if __name__ == "__main__":
    TABLE.write_text(render(read_shown()), encoding="ascii")
