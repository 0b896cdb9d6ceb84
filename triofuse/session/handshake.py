"""The first exchange on a mount: INIT."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress

import trio

from triofuse.device.channel import Channel
from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.wire.encode import encode_error, encode_header
from triofuse.wire.handshake import (
    Agreement,
    Init,
    agree,
    decode_init,
    encode_init,
    encode_version,
    propose,
)
from triofuse.wire.opcodes import FUSE_KERNEL_VERSION, FUSE_MIN_READ_BUFFER
from triofuse.wire.operations import OPERATIONS

__all__ = ["shake_hands"]

_log = logging.getLogger("triofuse")

_MAX_PAGES_LIMIT = "/proc/sys/fs/fuse/max_pages_limit"

#: Of kernels before 6.13, which have no such sysctl.
_OLD_MAX_PAGES_LIMIT = 256


async def shake_hands(filesystem: Filesystem, channel: Channel) -> Agreement:
    """Answer INIT, after the filesystem has had its say.

    A filesystem that cannot start answers the kernel with an error: no caller is
    left waiting, all get ECONNREFUSED.

    Raises:
      HandshakeError: The kernel is too old.
      trio.EndOfChannel: It was unmounted before.
      Exception: What ``Filesystem.init`` raised.
    """
    sender = channel.sender()
    init = await _receive_init(channel)
    while init.major > FUSE_KERNEL_VERSION:  # a newer kernel asks again, in ours
        body = encode_version()
        await sender.send((encode_header(init.unique, len(body)), body))
        init = await _receive_init(channel)
    methods = {row.method for row in OPERATIONS.values()}
    own = frozenset(method for method in methods if implements(filesystem, method))
    try:
        config = propose(init, own)
        await filesystem.init(config)
        agreement = agree(config, _max_pages_limit())
        body = encode_init(config, agreement)
    except BaseException:
        with trio.CancelScope(shield=True), suppress(OSError, trio.EndOfChannel):
            await sender.send((encode_error(init.unique, errno.EIO),))
        raise
    await sender.send((encode_header(init.unique, len(body)), body))
    _log.debug("protocol 7.%d", agreement.minor)
    _log.debug("the kernel offers %r", config.offered)
    _log.debug("granted is %r, max_write %d", agreement.flags, agreement.max_write)
    return agreement


async def _receive_init(channel: Channel) -> Init:
    buffer = bytearray(FUSE_MIN_READ_BUFFER)
    size = await channel.receive_retrying(buffer)
    return decode_init(bytes(buffer[:size]))


def _max_pages_limit() -> int:
    try:
        with open(_MAX_PAGES_LIMIT) as limit:
            return int(limit.read())
    except OSError:
        return _OLD_MAX_PAGES_LIMIT
