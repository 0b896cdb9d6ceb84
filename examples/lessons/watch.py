"""Show what the kernel sends: ``python examples/lessons/watch.py LESSON [SOURCE] MOUNTPOINT``.

It runs a lesson in the foreground, ``01_hello`` for instance, and prints each request with
its answer, in a line.  All traces in the tutorial were made by it.
"""

import logging
import runpy
import sys
from pathlib import Path

import attrs

import triofuse

LESSONS = Path(__file__).parent

#: What each request has, and what says little.
HIDDEN = {"unique", "nodeid", "uid", "gid", "pid", "fh", "lock_owner", "flags"}
HIDDEN |= {"umask", "valid", "data"}


def words_of(request: triofuse.Request) -> str:
    """Return a request in a line, without fields that are zero or say little."""
    name = type(request).__name__.removesuffix("Request").upper()
    fields = {
        field.name: getattr(request, field.name)
        for field in attrs.fields(type(request))
        if field.name not in HIDDEN and not field.name.endswith("_flags")
    }
    if "mode" in fields and fields["mode"] is not None:
        fields["mode"] = f"{fields['mode']:o}"
    words = [f"{key}={it}" for key, it in fields.items() if it not in (None, ())]
    return " ".join([f"{name:11} node {request.nodeid:<2}", *words])


class Watch(logging.Handler):
    """Prints a request when its answer is there: two messages of the log, one line."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        match record.args:
            case (int(unique), triofuse.Request() as request):
                self.asked[unique] = words_of(request)
            case (int(unique), *_):
                answer = record.getMessage().partition("<- ")[2]
                print(f"{self.asked.pop(unique, '?'):48} -> {answer}", flush=True)


if __name__ == "__main__":
    log = logging.getLogger("triofuse.trace")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(Watch())
    lesson = LESSONS / f"{sys.argv[1].removesuffix('.py')}.py"
    sys.argv = [str(lesson), "--foreground", *sys.argv[2:]]
    sys.path.insert(0, str(LESSONS))
    runpy.run_path(str(lesson), run_name="__main__")
