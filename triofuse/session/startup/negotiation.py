"""Negotiates INIT, the first exchange on a mount."""

from __future__ import annotations

import errno
import logging
from contextlib import suppress

import attrs
import trio

from triofuse.device.channel import Channel
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.filesystem import Filesystem, implements
from triofuse.wire.encode import encode_error, encode_header
from triofuse.wire.errors import HandshakeError
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

__all__ = ["Offer", "receive_offer"]

_log = logging.getLogger("triofuse")

_MAX_PAGES_LIMIT = "/proc/sys/fs/fuse/max_pages_limit"

#: The limit of kernels before 6.13, which have no such sysctl.
_OLD_MAX_PAGES_LIMIT = 256


@attrs.frozen
class Offer:
    """An INIT that is not answered yet; all callers block until it is.

    Attributes:
      config: What the kernel offers; the filesystem chooses from it.
    """

    _channel: Channel
    _unique: int
    config: KernelConfig
    _max_readahead: int | None = None

    async def accept(self) -> Agreement:
        """Answer with the configuration as it is now.

        Raises:
          HandshakeError: It was unmounted meanwhile.
        """
        if self._max_readahead is not None:
            self.config.max_readahead = self._max_readahead
        agreement = agree(self.config, _max_pages_limit())
        body = encode_init(self.config, agreement)
        try:
            await _reply(self._channel, self._unique, body)
        except (FileNotFoundError, trio.EndOfChannel) as exc:
            message = "unmounted before the filesystem was ready"
            raise HandshakeError(message) from exc
        _log.debug("%s", agreement)
        return agreement

    async def refuse(self) -> None:
        """Answer with an error: all waiting callers get ECONNREFUSED."""
        with suppress(OSError, trio.EndOfChannel):
            sender = self._channel.sender()
            await sender.send((encode_error(self._unique, errno.EIO),))


async def receive_offer(
    channel: Channel,
    filesystem: Filesystem,
    *,
    default_permissions: bool | None,
    allow_root: bool,
    max_readahead: int | None = None,
) -> Offer:
    """Wait for INIT, and propose a configuration from the filesystem's methods.

    Args:
      channel: The connection to the kernel.
      filesystem: Its methods decide which flags are proposed.
      default_permissions: Whether it is mounted with this option; None if unknown.
      allow_root: Whether it is mounted with this option.
      max_readahead: What is taken in place of the filesystem's choice; None for that.

    Raises:
      HandshakeError: The kernel is too old, or it is unmounted already.
    """
    try:
        init = await _receive_init(channel)
        while (
            init.major > FUSE_KERNEL_VERSION
        ):  # a newer kernel sends INIT again, with our version
            await _reply(channel, init.unique, encode_version())
            init = await _receive_init(channel)
    except trio.EndOfChannel as exc:
        message = "unmounted before the first request"
        raise HandshakeError(message) from exc
    methods = {row.method for row in OPERATIONS.values()}
    own = frozenset(method for method in methods if implements(filesystem, method))
    config = propose(
        init, own, default_permissions=default_permissions, allow_root=allow_root
    )
    return Offer(channel, init.unique, config, max_readahead)


async def _receive_init(channel: Channel) -> Init:
    buffer = bytearray(FUSE_MIN_READ_BUFFER)
    size = await channel.receive_retrying(buffer)
    return decode_init(bytes(buffer[:size]))


async def _reply(channel: Channel, unique: int, body: bytes) -> None:
    await channel.sender().send((encode_header(unique, len(body)), body))


def _max_pages_limit() -> int:
    try:
        with open(_MAX_PAGES_LIMIT) as limit:
            return int(limit.read())
    except OSError:
        return _OLD_MAX_PAGES_LIMIT
