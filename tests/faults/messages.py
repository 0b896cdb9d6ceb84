"""Faults of messages: those that no kernel sends."""

from __future__ import annotations

import errno

from trio.testing import wait_all_tasks_blocked

from tests.faults.fault import Fault, Happen, Scene
from triofuse.wire.decode import peek_unique
from triofuse.wire.layouts import IN_HEADER, OUT_HEADER
from triofuse.wire.opcodes import Opcode


def _sent(
    *,
    size: int = 0,
    opcode: int = Opcode.READ,
    unique: int = 1 << 30,
    body: bytes = b"",
) -> bytes:
    length = size or IN_HEADER.size + len(body)
    return IN_HEADER.pack(length, opcode, unique, 1, 0, 0, 0, 0) + body


def _sending(message: bytes) -> Happen:
    """Return what happens when a message comes that no caller is behind."""

    async def happen(scene: Scene) -> str:
        before = len(scene.kernel.refusals)
        await scene.kernel.send_raw(message)
        await wait_all_tasks_blocked()
        replies = scene.kernel.refusals[before:]
        if not replies:
            return "no reply"
        (reply,) = replies
        _, error, unique = OUT_HEADER.unpack_from(reply.message)
        assert unique == peek_unique(message)
        return errno.errorcode[-error]

    return happen


MESSAGES = [
    Fault("a message of one byte", "no reply", _sending(b"x"), "malformed"),
    Fault("a message without a body", "EIO", _sending(_sent()), "makes no sense"),
    Fault(
        "a message with half a body",
        "EIO",
        _sending(_sent(body=bytes(9))),
        "makes no sense",
    ),
    Fault(
        "a message with more than its body",
        "EIO",
        _sending(_sent(body=bytes(99))),
        "makes no sense",
    ),
    Fault(
        "a message that says it is longer",
        "EIO",
        _sending(_sent(size=4000, body=bytes(40))),
        "malformed",
    ),
    Fault(
        "a message that says it is shorter",
        "EIO",
        _sending(_sent(size=12, body=bytes(40))),
        "malformed",
    ),
    Fault(
        "a message of an unknown opcode",
        "ENOSYS",
        _sending(_sent(opcode=3000, body=bytes(40))),
    ),
    Fault(
        "garbage with the number of no request",
        "no reply",
        _sending(_sent(size=9, unique=0)),
        "malformed",
    ),
    Fault(
        "a name without its end",
        "EIO",
        _sending(_sent(opcode=Opcode.LOOKUP, body=b"name")),
        "makes no sense",
    ),
    Fault(
        "a FORGET without a body",
        "no reply",
        _sending(_sent(opcode=Opcode.FORGET)),
        "malformed",
    ),
    Fault(
        "a BATCH_FORGET that is shorter than it says",
        "no reply",
        _sending(_sent(opcode=Opcode.BATCH_FORGET, body=bytes([9] + [0] * 7))),
        "malformed",
    ),
    Fault(
        "an INTERRUPT without a body",
        "no reply",
        _sending(_sent(opcode=Opcode.INTERRUPT)),
        "malformed",
    ),
    Fault(
        "a NOTIFY_REPLY that nobody has asked for",
        "no reply",
        _sending(
            _sent(opcode=Opcode.NOTIFY_REPLY, unique=77, body=bytes(40)),
        ),
    ),
]
