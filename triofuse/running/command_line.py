"""The command line of a filesystem: ``[SOURCE] MOUNTPOINT -o ... --debug``.

It is also that of a helper of mount(8), which runs ``mount.fuse.x SOURCE MOUNTPOINT
[-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from typing import NoReturn

import attrs

from triofuse.device.option_words import known_words, split_words, suggestion
from triofuse.device.options import MountOptions
from triofuse.running.factory import Factory

__all__ = ["INCORRECT_USE", "CommandLine", "program_name"]

#: mount(8): incorrect invocation.
INCORRECT_USE = 1

#: The long options of every command.
_OPTIONS = frozenset({"debug", "foreground", "help", "trace"})


def program_name() -> str:
    """Return the name of the program: ``x`` of ``x.py`` and ``/sbin/mount.fuse.x``."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name.endswith(".__main__"):  # python -m package
        return str(spec.parent)
    name = os.path.basename(sys.argv[0]).removesuffix(".py")
    name = name.removeprefix("mount.").removeprefix("fuse.")
    return "triofuse" if name in ("", "-c") else name


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print a message and exit."""
        self.exit(INCORRECT_USE, f"{self.prog}: {message} (try --help)\n")


@attrs.frozen
class CommandLine:
    """What a command line says.

    Attributes:
      source: SOURCE; None if there is none.
      mountpoint: MOUNTPOINT.
      options: The options of the mount.
      own_words: The words of ``-o`` for the factory.
      subtype: That of ``-t fuse.x``, which mount(8) passes on; empty without.
      foreground: Whether to stay in the foreground.
      debug: Whether to log each request.
      trace: The file for Trace Events; None if there is none.
    """

    source: str | None
    mountpoint: str
    options: MountOptions
    own_words: list[str]
    subtype: str
    foreground: bool
    debug: bool
    trace: str | None

    @classmethod
    def read(
        cls, factory: Factory, name: str, words: Sequence[str], *, foreground: bool
    ) -> CommandLine:
        """Read a command line.

        Args:
          factory: What makes the filesystem.
          name: The name of the program.
          words: The arguments.
          foreground: Whether it stays in the foreground unless mount(8) runs it.

        Raises:
          SystemExit: It is wrong, and was told so; or help was asked for.
        """
        parser = _parser(factory, name)
        args = parser.parse_intermixed_args(words)
        source, mountpoint = _places(parser, factory, args.places)
        try:
            own, options = _options(factory, ",".join(args.options))
        except ValueError as exc:
            parser.error(str(exc))
        _, _, subtype = args.type.partition(".")
        return cls(
            source=source,
            mountpoint=mountpoint,
            options=options,
            own_words=[*own, *args.words],
            subtype=subtype,
            foreground=args.foreground
            or args.debug
            or (foreground and not _is_mount_helper(args.type)),
            debug=args.debug,
            trace=args.trace,
        )


def _parser(factory: Factory, name: str) -> _Parser:
    source = "" if not factory.source else "SOURCE " if factory.source_needed else None
    parser = _Parser(
        prog=name,
        usage=f"%(prog)s [options] {'[SOURCE] ' if source is None else source}MOUNTPOINT",
        description=factory.description,
        epilog=_help_of_words(factory),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("places", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument(
        "-o",
        dest="options",
        metavar="OPTIONS",
        action="append",
        default=[],
        help="options of mount(8) and those below, separated by commas",
    )
    parser.add_argument(
        "-f", "--foreground", action="store_true", help="stay in the foreground"
    )
    parser.add_argument(
        "-d", "--debug", action="store_true", help="log each request; implies -f"
    )
    parser.add_argument(
        "--trace",
        metavar="FILE.json",
        help="write each request, interrupt and notification for ui.perfetto.dev",
    )
    _add_words(parser, factory)
    for ignored in ("-n", "-s", "-v"):  # of mount(8): nothing to do with us
        parser.add_argument(ignored, action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("-N", dest="namespace", help=argparse.SUPPRESS)
    parser.add_argument("-t", dest="type", default="", help=argparse.SUPPRESS)
    return parser


def _add_words(parser: _Parser, factory: Factory) -> None:
    """Take each word of the factory as a long option, too: ``--size 100``."""
    parser.set_defaults(words=[])
    for word in factory.words.values():
        name = word.name.replace("_", "-")
        if name in _OPTIONS:
            continue
        if word.kind is bool:
            parser.add_argument(
                f"--no-{name}" if word.default else f"--{name}",
                dest="words",
                action="append_const",
                const=word.usage,
                help=argparse.SUPPRESS,
            )
        else:
            parser.add_argument(
                f"--{name}",
                dest="words",
                action="append",
                type=partial("{}={}".format, word.name),
                help=argparse.SUPPRESS,
            )


def _is_mount_helper(kind: str) -> bool:
    """Whether mount(8) runs the program, which then waits until it returns."""
    return bool(kind) or os.path.basename(sys.argv[0]).startswith("mount.")


def _help_of_words(factory: Factory) -> str:
    words = factory.words.values()
    if not words:
        return ""
    width = max(len(word.usage) for word in words)
    lines = [f"  {word.usage:{width}}  {word.description}".rstrip() for word in words]
    return "\n".join(["options of this filesystem, for -o or as --NAME:", *lines])


def _places(
    parser: _Parser, factory: Factory, places: list[str]
) -> tuple[str | None, str]:
    """Return SOURCE and MOUNTPOINT; mount(8) always gives both."""
    if not places:
        parser.error("MOUNTPOINT is missing")
    if len(places) > 2:
        parser.error(f"one SOURCE and one MOUNTPOINT, not also {places[2]!r}")
    if len(places) == 2:
        return places[0], places[1]
    if factory.source_needed:
        parser.error(f"SOURCE or MOUNTPOINT is missing: there is only {places[0]!r}")
    return None, places[0]


def _options(factory: Factory, text: str) -> tuple[list[str], MountOptions]:
    """Return the factory's words, and the options of the mount."""
    own: list[str] = []
    others: list[str] = []
    for word in split_words(text):
        (own if factory.takes(word) else others).append(word)
    known = set(known_words())
    for word in others:
        name = word.partition("=")[0]
        if name not in known and (near := suggestion(name, factory.words)):
            message = f"there is no option {word!r}{near}"
            raise ValueError(message)
    return own, MountOptions.of_words(others)
