"""What a mount tells of itself: a socket of its own for `triofuse list`.

The socket has an abstract name (unix(7)), so nothing is left of it when the server is
killed.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from triofuse.filesystem.filesystem import Filesystem

__all__ = ["PREFIX", "reporting"]

#: The start of the names, without the NUL.
PREFIX: Final = "triofuse/"

_UCRED = struct.Struct("iII")


@asynccontextmanager
async def reporting(
    filesystem: Filesystem, source: str, mountpoint: str
) -> AsyncIterator[None]:
    """Answer those who ask how a mount does, for the length of a block of code.

    Only root and the user who mounts get an answer.

    Args:
      filesystem: The filesystem; what its ``activity`` reports is told.
      source: What it serves.
      mountpoint: Where.
    """
    since = time.time()

    def report() -> dict[str, object]:
        activity = getattr(filesystem, "activity", None)
        return {
            "pid": os.getpid(),
            "source": source,
            "mountpoint": mountpoint,
            "since": since,
            **({} if activity is None else activity.report()),
        }

    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        await listener.bind(f"\0{PREFIX}{os.getpid()}-{id(listener):x}")
        listener.listen()
        async with trio.open_nursery() as nursery:

            async def serve() -> None:
                while True:
                    client, _ = await listener.accept()
                    with client:
                        peer = client.getsockopt(
                            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
                        )
                        if _UCRED.unpack(peer)[1] not in (0, os.geteuid()):
                            continue
                        with trio.move_on_after(1):
                            stream = trio.SocketStream(client)
                            await stream.send_all(json.dumps(report()).encode())

            nursery.start_soon(serve)
            yield
            nursery.cancel_scope.cancel()
