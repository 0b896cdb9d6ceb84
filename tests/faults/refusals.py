"""Faults of replies: the kernel refuses them."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.faults.fault import CALLS, UNDONE, Fault, Happen, Scene, told
from triofuse.device.channel import ChannelSender
from triofuse.filesystem.replies import Buffer
from triofuse.testing.awaited import os_error
from triofuse.wire.layouts import OUT_HEADER
from triofuse.wire.opcodes import Opcode


@contextmanager
def _refusing(scene: Scene, error: int) -> Iterator[None]:
    """Have the kernel refuse the next success that is sent to a victim."""
    original = ChannelSender.send_nowait
    done = False

    def send_nowait(self: ChannelSender, buffers: Sequence[Buffer]) -> None:
        nonlocal done
        _, code, unique = OUT_HEADER.unpack(bytes(buffers[0])[: OUT_HEADER.size])
        pending = scene.kernel.pending.get(unique)
        if not done and code == 0 and pending and pending.opcode not in _NOT_VICTIMS:
            done = True
            del scene.kernel.pending[unique]
            pending.fail(os_error(errno.EIO if error == errno.EINVAL else errno.EINTR))
            raise OSError(error, "refused")
        original(self, buffers)

    ChannelSender.send_nowait = send_nowait  # type: ignore[method-assign]
    try:
        yield
        assert done
    finally:
        ChannelSender.send_nowait = original  # type: ignore[method-assign]


_NOT_VICTIMS = {Opcode.READ, Opcode.RELEASE, Opcode.RELEASEDIR}


def _refused(method: str, error: int) -> Happen:
    async def happen(scene: Scene) -> str:
        with _refusing(scene, error):
            try:
                return told(await CALLS[method](scene.kernel))
            except OSError as exc:
                return told(exc)

    return happen


REFUSALS = [
    *(
        Fault(
            f"{method} succeeds when its caller is gone",
            "EINTR",
            _refused(method, errno.ENOENT),
        )
        for method in UNDONE
    ),
    *(
        Fault(
            f"the kernel refuses the reply to {method} as nonsense",
            "EIO",
            _refused(method, errno.EINVAL),
            "is refused",
        )
        for method in UNDONE
    ),
]
