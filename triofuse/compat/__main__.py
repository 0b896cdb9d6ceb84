"""``python -m triofuse.compat PROGRAM [ARGUMENT ...]``: a program, with triofuse inside.

The law: a folder of stand-ins comes first in the search path, also for the Python
programs that the program starts.  Nothing else is changed.
"""

from __future__ import annotations

import os
import runpy
import shutil
import sys
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

_USAGE = """\
usage: python -m triofuse.compat PROGRAM [ARGUMENT ...]
       python -m triofuse.compat -m MODULE [ARGUMENT ...]

Run a Python program with triofuse in place of pyfuse3, fuse, fusepy and mfusepy."""

#: The folder with a module for each library.
STANDINS = str(Path(__file__).with_name("standins"))


def main(arguments: list[str]) -> None:
    """Run a program as the interpreter does."""
    if not arguments or arguments[0] in ("-h", "--help"):
        _leave(_USAGE, 0 if arguments else 2)
    stand_in()
    if arguments[0] == "-m":
        if len(arguments) == 1:
            _leave(_USAGE, 2)
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        return
    path = _find(arguments[0])
    sys.argv = [path, *arguments[1:]]
    # After the stand-ins: a program may bring its own copy of a library.
    sys.path.insert(1, str(Path(path).resolve().parent))
    runpy.run_path(path, run_name="__main__")


def stand_in() -> None:
    """Have this process and its children find the stand-ins first."""
    root = str(Path(__file__).parents[2])
    kept = [word for word in os.environ.get("PYTHONPATH", "").split(":") if word]
    # A child finds triofuse, too, if it is not installed for it.
    os.environ["PYTHONPATH"] = ":".join([STANDINS, *kept, root])
    if sys.path and sys.path[0] in ("", os.getcwd()):  # of python -m
        del sys.path[0]
        if root not in sys.path:
            sys.path.append(root)
    sys.path.insert(0, STANDINS)


def _find(program: str) -> str:
    if Path(program).exists():
        return program
    found = shutil.which(program)
    if found is None:
        _leave(f"{program}: there is no such file, and no such program in PATH", 2)
    return found


def _leave(message: str, status: int) -> NoReturn:
    print(message, file=sys.stderr if status else sys.stdout)
    raise SystemExit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
