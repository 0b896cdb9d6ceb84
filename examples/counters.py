"""The state of a running program as files: ``counters.py MOUNTPOINT``.

The program counts the words on its standard input.  Each is a file, from the moment it
comes for the first time; its content is made when somebody opens it, so nobody knows
its size before.  The filesystem ends with the input.
"""

import sys
from collections import Counter
from functools import partial

import trio

from triofuse import Directory, Generated, Tree, mount

counts: Counter[str] = Counter()


def number_of(word: str) -> str:
    """Return the content of a word's file."""
    return f"{counts[word]}\n"


async def main(mountpoint: str) -> None:
    """Count, and show it."""
    root = Directory()
    async with mount(Tree(root), mountpoint):
        async for line in trio.wrap_file(sys.stdin):
            for word in line.replace("/", " ").split():
                if word not in counts:
                    root[word] = Generated(partial(number_of, word))
                counts[word] += 1


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
