"""Show what the kernel sends: ``watch.py LESSON [SOURCE] MOUNTPOINT``.

It runs a lesson, ``01_hello`` for instance, in the foreground, and prints each request and
its answer in one line.  ``--debug`` shows the same at full length.
"""

import logging
import re
import runpy
import sys
from pathlib import Path

LESSONS = Path(__file__).parent

#: What makes lines long and is not needed here; the caller is at the end.
NOISE = re.compile(r" (fh|flags|\w+_flags|lock_owner|valid|umask)=\S+| \(uid [^()]*\)$")


class Watch(logging.Handler):
    """Prints a request when its answer is there: two messages of the log, one line."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[str, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        unique, direction, text = record.getMessage().split(" ", 2)
        if direction == "->":
            self.asked[unique] = NOISE.sub("", text)
        else:
            print(f"{self.asked.pop(unique, '?'):45} -> {text}", flush=True)


if __name__ == "__main__":
    log = logging.getLogger("triofuse.trace")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(Watch())
    lesson = LESSONS / f"{sys.argv[1].removesuffix('.py')}.py"
    sys.argv = [str(lesson), "--foreground", *sys.argv[2:]]
    sys.path.insert(0, str(LESSONS))
    runpy.run_path(str(lesson), run_name="__main__")
