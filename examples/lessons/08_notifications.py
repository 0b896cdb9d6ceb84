"""A directory that the program changes: ``python examples/lessons/08_notifications.py MOUNTPOINT``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from triofuse import Directory, File, Generated, Tree, main


async def deliver(letters: trio.MemoryReceiveChannel[bytes], box: Directory) -> None:
    """Put each letter into the box, and count them."""
    status = box["status"] = File("0 letters\n")
    number = 0
    async for letter in letters:
        number += 1
        box[str(number)] = File(letter)
        status.content = f"{number} letters\n"


@asynccontextmanager
async def post_office() -> AsyncIterator[Tree]:
    """Deliver what is written to ``post`` as files in ``box``."""
    to_postman, letters = trio.open_memory_channel[bytes](100)
    box = Directory()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(deliver, letters, box)
        yield Tree({"post": Generated(bytes, accept=to_postman.send), "box": box})
        nursery.cancel_scope.cancel()  # unmounted: the postman goes home


if __name__ == "__main__":
    main(post_office)
