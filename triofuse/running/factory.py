"""What makes the filesystem of a command, and the words of ``-o`` that it takes.

The law: the parameter without a default is SOURCE; each one with a default is a word.
One that is called ``mountpoint`` is MOUNTPOINT.
"""

from __future__ import annotations

import inspect
import os
import re
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

import attrs

from triofuse.running.run import Living

__all__ = ["Factory", "Word"]

#: The types that a word can have, and what help shows for its value.
_VALUES: Final[Mapping[type, str]] = {int: "N", float: "N", str: "TEXT", Path: "PATH"}

#: A line of the section "Args:" of a docstring, and what follows it, indented more.
_DESCRIPTION = re.compile(
    r"^( +)(?P<name>\w+): (?P<text>.*(?:\n\1 +.*)*)", re.MULTILINE
)


def _path(text: str) -> Path:
    """Return an absolute path: in the background the current directory is the root."""
    return Path(os.path.abspath(text))


@attrs.frozen
class Word:
    """A word of ``-o`` that sets a parameter of the factory.

    Attributes:
      name: The name of the parameter, and of the word.
      kind: bool, int, float, str or Path.
      default: The value if the word is not given.
      description: What the factory's docstring says of it.
    """

    name: str
    kind: type
    default: object
    description: str

    @property
    def usage(self) -> str:
        """How help shows it."""
        if self.kind is bool:
            return f"no{self.name}" if self.default else self.name
        return f"{self.name}={_VALUES[self.kind]}"

    def value(self, text: str | None) -> object:
        """Return the parameter's value.

        Args:
          text: What is behind the ``=``; None if there is none.

        Raises:
          ValueError: It is none of this kind.
        """
        if (text is None) != (self.kind is bool):
            what = "no value" if self.kind is bool else f"a value: {self.usage}"
            message = f"the option {self.name!r} takes {what}"
            raise ValueError(message)
        if text is None:
            return True
        if self.kind is Path:
            return _path(text)
        try:
            return self.kind(text)
        except ValueError:
            kind = "whole number" if self.kind is int else "number"
            message = f"the option {self.name!r} takes a {kind}, not {text!r}"
            raise ValueError(message) from None


@attrs.frozen
class Factory:
    """A callable that makes a filesystem, as its signature describes it.

    Attributes:
      make: The callable.
      source: The name of the parameter for SOURCE; empty if there is none.
      source_needed: Whether it has no default.
      words: The words of ``-o``, by name.
      places: Whether SOURCE and MOUNTPOINT are to be a Path, by name of the parameter.
    """

    make: Callable[..., Living]
    source: str
    source_needed: bool
    words: Mapping[str, Word]
    places: Mapping[str, bool]

    @classmethod
    def of(cls, make: Callable[..., Living]) -> Factory:
        """Read the signature of a callable.

        Raises:
          TypeError: It is not callable, or needs more than a SOURCE.
        """
        given: object = make
        if not callable(given):
            message = (
                f"main() takes what makes a filesystem, a class or a function, not "
                f"{given!r:.80}"
            )
            raise TypeError(message)
        parameters = list(_signature(make).parameters.values())
        named = [one for one in parameters if one.kind not in _ANY_NUMBER]
        mountpoint = [one for one in named if one.name == "mountpoint"]
        named = [one for one in named if one not in mountpoint]
        sources = [one for one in named if one.default is one.empty]
        sources = sources or [one for one in named if one.name == "source"]
        if len(sources) > 1:
            names = ", ".join(one.name for one in sources)
            message = (
                f"{_name(make)} needs {names}: a command has one SOURCE, and all other "
                "parameters need a default"
            )
            raise TypeError(message)
        described = _descriptions(make)
        words = {
            one.name: Word(one.name, kind, one.default, described.get(one.name, ""))
            for one in named
            if one not in sources and (kind := _kind_of(one)) is not None
        }
        source = sources[0] if sources else None
        return cls(
            make,
            source.name if source else "",
            source is not None and source.default is source.empty,
            words,
            {one.name: _kind_of(one) is Path for one in (*sources, *mountpoint)},
        )

    @property
    def description(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.make) or "").partition("\n")[0]

    def takes(self, word: str) -> bool:
        """Whether a word is one of the factory's own."""
        return self._read(word) is not None

    def __call__(self, source: str | None, mountpoint: str, words: list[str]) -> Living:
        """Make the filesystem.

        Args:
          source: SOURCE; None if it was not given.
          mountpoint: MOUNTPOINT.
          words: Words that it takes; the later of two counts.

        Raises:
          ValueError: A word has a wrong value.
        """
        arguments: dict[str, object] = {}
        for word in words:
            name, value = self._read(word) or ("", None)
            arguments[name] = value
        for name, is_path in self.places.items():
            place = mountpoint if name == "mountpoint" else source
            if place is not None:
                arguments[name] = _path(place) if is_path else place
        return self.make(**arguments)

    def _read(self, text: str) -> tuple[str, object] | None:
        """Return the parameter that a word sets and its value; None if it is not ours."""
        name, equals, value = text.partition("=")
        if name in self.words:
            return name, self.words[name].value(value if equals else None)
        word = self.words.get(name.removeprefix("no"))
        if word is not None and word.kind is bool and not equals:
            return word.name, False
        return None


_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _signature(make: Callable[..., Living]) -> inspect.Signature:
    try:
        return inspect.signature(make, eval_str=True)
    except NameError:  # an annotation of what only type checkers import
        return inspect.signature(make)


def _kind_of(parameter: inspect.Parameter) -> type | None:
    """Return the type of a parameter's word; None if a word cannot set it."""
    annotation: Any = parameter.annotation
    if annotation is parameter.empty:
        annotation = type(parameter.default)
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [one for one in get_args(annotation) if one is not type(None)]
        annotation = kinds[0] if len(kinds) == 1 else None
    known = annotation is bool or annotation in _VALUES
    return annotation if known else None


def _descriptions(make: Callable[..., Living]) -> dict[str, str]:
    """Return what the docstring says of each parameter, in Google's convention."""
    doc = inspect.getdoc(make) or ""
    _, _, section = doc.partition("Args:\n")
    return {
        found["name"]: " ".join(found["text"].split())
        for found in _DESCRIPTION.finditer(section)
    }


def _name(make: Callable[..., Living]) -> str:
    return getattr(make, "__name__", repr(make))
