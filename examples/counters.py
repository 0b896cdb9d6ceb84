"""The state of a running program as files: ``counters.py MOUNTPOINT``.

The program counts words that it reads from its standard input.  Each word is a file;
its number is made when the file is opened, so nobody knows its size before.  Write a
number to a file to set its counter.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial

import trio

import triofuse
from triofuse import Directory, Generated, Tree

counts: Counter[str] = Counter()
root = Directory()


async def count_words() -> None:
    """Count what comes in; a word is a file as soon as it was seen."""
    async for line in trio.wrap_file(sys.stdin):
        for word in line.replace("/", " ").split():
            if word not in counts:
                root[word] = Generated(
                    lambda word=word: f"{counts[word]}\n",
                    accept=partial(set_count, word),
                )
            counts[word] += 1


def set_count(word: str, number: bytes) -> None:
    counts[word] = int(number)


async def main(mountpoint: str) -> None:
    async with triofuse.mount(Tree(root), mountpoint):
        await count_words()
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
