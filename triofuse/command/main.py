"""``triofuse``: what it is asked to do.

::

    triofuse URL MOUNTPOINT [-o ...]
    triofuse package.module:Class MOUNTPOINT [SOURCE] [-o ...]
    triofuse list [--json]
    triofuse umount [--lazy] MOUNTPOINT...
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from triofuse.command.application import application, reported
from triofuse.command.listing import list_mounts
from triofuse.command.unmount import unmount
from triofuse.command.url import url_factory
from triofuse.device.option_words import split_words
from triofuse.running.main import main as mount

__all__ = ["main"]

#: As uvicorn and gunicorn name applications.
_APPLICATION: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

#: Options that have a value behind them.
_WITH_VALUE: Final = {"-o", "-t", "-N", "--trace"}

_USAGE: Final = """\
usage: triofuse URL MOUNTPOINT [-o ...]     mount a store
       triofuse module:Class MOUNTPOINT [SOURCE] [-o ...]
                                            mount a filesystem of your own
       triofuse list [--json]               the mounts of this machine, and how they do
       triofuse umount [--lazy] MOUNTPOINT...

"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command.

    Args:
      argv: Its arguments; by default those of the program.

    Raises:
      SystemExit: Always.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["list"]:
        sys.exit(list_mounts(words[1:]))
    if words[:1] == ["umount"]:
        sys.exit(unmount(words[1:]))
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_USAGE)
        words = ["--help"]
    places = _places(words)
    if places and _APPLICATION.fullmatch(words[places[0]]):
        _mount_application(words, places)
    words, options = _without_store_options(words)
    mount(url_factory(options), words)


def _mount_application(words: list[str], places: list[int]) -> NoReturn:
    """Mount ``module:Class MOUNTPOINT [SOURCE]``, which `mount` wants as SOURCE first."""
    name = words[places[0]]
    given = [words[place] for place in places[1:]]
    rest = [word for place, word in enumerate(words) if place not in places]
    try:
        factory = application(name)
    except (ImportError, AttributeError, TypeError) as exc:
        sys.stderr.write(f"triofuse: {name}: {exc}\n")
        sys.exit(1)
    if given:
        source = given[1] if len(given) > 1 else name
        factory = reported(factory, source, os.path.abspath(given[0]))
    mount(factory, [*reversed(given), *rest])


def _places(words: Sequence[str]) -> list[int]:
    """Return where the words are that are neither options nor values of such."""
    places = []
    is_value = False
    for place, word in enumerate(words):
        if not is_value and not word.startswith("-"):
            places.append(place)
        is_value = not is_value and word in _WITH_VALUE
    return places


def _without_store_options(words: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the words without ``-o store.NAME=VALUE``, and these as a mapping.

    ``store.s3.anon=true`` is for one store of a chained URL.  A value is JSON where it
    can be read as such, else text.
    """
    left: list[str] = []
    options: dict[str, Any] = {}
    for place, word in enumerate(words):
        is_value = place > 0 and words[place - 1] == "-o"
        if not is_value and not (word.startswith("-o") and len(word) > 2):
            left.append(word)
            continue
        prefix, text = ("", word) if is_value else ("-o", word[2:])
        kept = []
        for one in split_words(text):
            if one.startswith("store."):
                _set(options, one)
            else:
                kept.append(one.replace(",", "\\,"))
        if kept or is_value:
            left.append(prefix + ",".join(kept))
    return left, options


def _set(options: dict[str, Any], word: str) -> None:
    name, equals, text = word.removeprefix("store.").partition("=")
    *outer, last = name.split(".")
    for part in outer:
        options = options.setdefault(part, {})
    try:
        options[last] = json.loads(text) if equals else True
    except json.JSONDecodeError:
        options[last] = text
