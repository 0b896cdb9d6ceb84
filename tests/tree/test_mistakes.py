"""What newcomers do wrong, and what they are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from triofuse import (
    AskedDirectory,
    Directory,
    File,
    Generated,
    Special,
    Stat,
    Tree,
)


class Forgetful(File):
    """Does not call its base."""

    def __init__(self) -> None:
        self.x = 1


class NoLookup(AskedDirectory):
    """Lacks what it cannot do without."""


def in_two_trees() -> None:
    file = File()
    Tree({"a": {"b": file}})
    Tree(Directory({"c": file}))


def a_directory_twice() -> None:
    directory = Directory()
    Directory({"a": directory, "b": directory})


def in_itself() -> None:
    outer = Directory()
    inner = Directory()
    outer["inner"] = inner
    inner["outer"] = outer


def moved_into_itself() -> None:
    root = Directory({"a": {}})
    a = root["a"]
    assert isinstance(a, Directory)
    root.move("a", a, "b")


#: What is done, the error, and words that must be in it.
MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: Directory({"x": File}), TypeError, r"File is a class.*File\(\.\.\.\)"),  # type: ignore[dict-item]
    (lambda: Directory({"x": 5}), TypeError, "int is no node"),  # type: ignore[dict-item]
    (
        lambda: Directory({b"x": "y"}),  # type: ignore[dict-item]
        TypeError,
        "a name is a str, not b'x': os.fsdecode",
    ),
    (lambda: Directory({"a/b": "y"}), ValueError, "'a/b' cannot be a name"),
    (lambda: Directory({"": "y"}), ValueError, "cannot be a name"),
    (lambda: Directory({"..": "y"}), ValueError, "cannot be a name"),
    (lambda: Directory({"x" * 256: "y"}), ValueError, "at most 255 bytes"),
    (
        lambda: Directory({"x": Forgetful()}),
        TypeError,
        r"Forgetful.__init__\(\) must call super",
    ),
    (lambda: File(5), TypeError, "content of a File is bytes or str, not 5"),  # type: ignore[arg-type]
    (lambda: File("x", stat=0o644), TypeError, r"stat= is a Stat, Stat\(mode=0o644\)"),  # type: ignore[arg-type]
    (
        lambda: File("x", stat=Stat(mtime_ns=1.5)),  # type: ignore[arg-type]
        TypeError,
        "Stat.mtime_ns is an int, not 1.5",
    ),
    (
        lambda: File("x", stat=Stat(mode=0o40755)),
        ValueError,
        "is of type 'd', the node '-'",
    ),
    (lambda: Generated("x"), TypeError, "takes a function"),  # type: ignore[arg-type]
    (lambda: Special(0o100644), ValueError, "devices, pipes and sockets"),
    (NoLookup, TypeError, r"NoLookup needs a method lookup\(\)"),
    (in_two_trees, ValueError, "in another tree, at /a/b"),
    (a_directory_twice, ValueError, "a directory has one place"),
    (in_itself, ValueError, "would contain itself"),
    (moved_into_itself, ValueError, "cannot be moved into itself"),
    (
        lambda: Tree(Directory({"a": {}})["a"]),
        ValueError,
        "root of a tree cannot be part",
    ),
    (lambda: Tree(Tree({})), TypeError, "Tree is no node"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(
    ("mistake", "error", "words"), MISTAKES, ids=range(len(MISTAKES))
)
def test_a_mistake_is_named(
    mistake: Callable[[], Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        mistake()
