"""The channel, tested on a socket pair and on /dev/fuse."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triofuse import BackingId, Channel, DevFuse, DeviceError


@attrs.define(eq=False)
class Pair:
    """A channel, and the other end of its socket."""

    channel: Channel
    kernel: socket.socket


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(DevFuse(ours.detach()))
    kernel.setblocking(False)
    with kernel:
        yield Pair(channel, kernel)
    channel.close()


def clog(pair: Pair) -> int:
    """Fill the device until it would block; return how many messages it took."""
    sender = pair.channel.sender()
    count = 0
    while True:
        try:
            sender.send_nowait([bytes(1000)])
        except BlockingIOError:
            return count
        count += 1


def failing(monkeypatch: pytest.MonkeyPatch, *errors: int) -> None:
    """Make readv(2) fail with each errno once before it succeeds."""
    left = list(errors)
    real = os.readv

    def readv(fd: int, buffers: list[bytearray]) -> int:
        if left:
            raise OSError(left.pop(0), "injected")
        return real(fd, buffers)

    monkeypatch.setattr("triofuse.device.channel.os.readv", readv)


def test_one_read_is_one_request(pair: Pair) -> None:
    pair.kernel.send(b"first")
    pair.kernel.send(b"second one")
    buffer = bytearray(100)

    assert pair.channel.receive(buffer) == 5
    assert buffer[:5] == b"first"
    assert pair.channel.receive(buffer) == 10


def test_receive_says_when_there_is_nothing(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        pair.channel.receive(bytearray(100))


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EINTR])
def test_receive_does_not_retry(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    failing(monkeypatch, error)

    with pytest.raises(OSError, match="injected") as caught:
        pair.channel.receive(bytearray(100))

    assert caught.value.errno == error


@pytest.mark.parametrize("error", [errno.ENOENT, errno.EINTR, errno.EAGAIN])
async def test_receive_retrying_goes_on_where_a_request_was_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    pair.kernel.send(b"request")
    failing(monkeypatch, error, error)

    with trio.fail_after(5):
        assert await pair.channel.receive_retrying(bytearray(100)) == 7


async def test_receive_retrying_waits_for_a_request(pair: Pair) -> None:
    sizes = []

    async def receive() -> None:
        sizes.append(await pair.channel.receive_retrying(bytearray(100)))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
            assert sizes == []
            pair.kernel.send(b"at last")

    assert sizes == [7]


@pytest.mark.parametrize("error", [errno.ENODEV, errno.ECONNABORTED])
def test_a_device_that_is_gone_is_the_end_of_the_channel(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    failing(monkeypatch, error)

    with pytest.raises(trio.EndOfChannel, match="unmounted"):
        pair.channel.receive(bytearray(100))


def test_the_closed_other_end_of_a_socket_is_the_end_of_the_channel(pair: Pair) -> None:
    pair.kernel.close()

    with pytest.raises(trio.EndOfChannel):
        pair.channel.receive(bytearray(100))
    with pytest.raises(trio.EndOfChannel):
        pair.channel.sender().send_nowait([b"reply"])


def test_a_device_that_fails_is_broken_and_says_why(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, errno.EINVAL)

    with pytest.raises(trio.BrokenResourceError, match="injected"):
        pair.channel.receive(bytearray(100))


async def test_a_closed_channel_says_so(pair: Pair) -> None:
    sender = pair.channel.sender()
    pair.channel.close()
    pair.channel.close()

    assert pair.channel.fileno() == -1
    with pytest.raises(trio.ClosedResourceError):
        pair.channel.receive(bytearray(100))
    with pytest.raises(trio.ClosedResourceError):
        await pair.channel.receive_retrying(bytearray(100))
    with pytest.raises(trio.ClosedResourceError):
        sender.send_nowait([b"reply"])
    with pytest.raises(trio.ClosedResourceError):
        await sender.send([b"reply"])


async def test_closing_wakes_who_waits_for_a_request(pair: Pair) -> None:
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive() -> None:
                with pytest.raises(trio.ClosedResourceError):
                    await pair.channel.receive_retrying(bytearray(100))

            await wait_all_tasks_blocked()
            pair.channel.close()


async def test_a_message_of_several_buffers_is_one(pair: Pair) -> None:
    await pair.channel.sender().send([b"header", memoryview(b"payload"), bytearray(2)])

    assert pair.kernel.recv(100) == b"headerpayload\0\0"


async def test_a_message_that_goes_out_at_once_is_no_checkpoint(pair: Pair) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await pair.channel.sender().send([b"reply"])

    assert not scope.cancelled_caught
    assert pair.kernel.recv(100) == b"reply"


async def test_senders_that_must_wait_take_turns(pair: Pair) -> None:
    count = clog(pair)
    sent = []

    async def send(number: int) -> None:
        await pair.channel.sender().send([b"%d" % number])
        sent.append(number)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(send, number)
                await wait_all_tasks_blocked()
            assert sent == []
            for _ in range(count):
                pair.kernel.recv(2000)
            await wait_all_tasks_blocked()

    assert sent == [0, 1, 2]
    assert [pair.kernel.recv(10) for _ in sent] == [b"0", b"1", b"2"]


async def test_closing_wakes_who_waits_to_send(pair: Pair) -> None:
    clog(pair)

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await pair.channel.sender().send([b"late"])

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            pair.channel.close()


def test_a_device_that_is_missing_is_named_with_the_remedy() -> None:
    with pytest.raises(DeviceError, match="modprobe fuse") as caught:
        DevFuse.open("/dev/no-such-device")

    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == "/dev/no-such-device"
    assert "/dev/no-such-device" in str(caught.value)


@pytest.mark.mount
def test_the_device_is_opened_non_blocking_and_close_on_exec() -> None:
    device = DevFuse.open()

    assert not os.get_blocking(device.fd)
    assert not os.get_inheritable(device.fd)
    device.close()


@pytest.mark.mount
def test_a_device_that_is_not_mounted_is_broken() -> None:
    channel = Channel(DevFuse.open())

    with pytest.raises(trio.BrokenResourceError, match="not permitted"):
        channel.receive(bytearray(8192))
    channel.close()


@pytest.mark.mount
def test_a_device_that_is_not_mounted_cannot_be_cloned() -> None:
    channel = Channel(DevFuse.open())

    with pytest.raises(DeviceError, match="clone"):
        channel.clone_fd()
    channel.close()


@pytest.mark.mount
def test_a_file_cannot_back_what_is_not_mounted() -> None:
    channel = Channel(DevFuse.open())

    with open(__file__) as file, pytest.raises(DeviceError, match="backing id"):
        channel.sender().open_backing(file.fileno())
    channel.close()


def test_a_backing_id_is_closed_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(
        "triofuse.device.backing.fcntl.ioctl", lambda *args: closed.append(args)
    )
    backing = pair.channel.sender().wrap_backing(7)

    with backing:
        assert isinstance(backing, BackingId)
        assert backing.number == 7
    backing.close()

    assert len(closed) == 1
    assert backing.number == 0


def test_a_backing_id_goes_with_its_connection(pair: Pair) -> None:
    backing = pair.channel.sender().wrap_backing(7)
    pair.channel.close()

    backing.close()

    assert backing.number == 0
