"""The queue: a line of requests for each user."""

from __future__ import annotations

import struct

from triofuse.session.in_flight.received import HeadOnly, ReceivedRequest
from triofuse.session.scheduling.queue import Queue
from triofuse.wire.decode import Message


def request(unique: int, user: int) -> ReceivedRequest:
    return 1, unique, struct.pack("=24xI12x", user), float(unique)


def test_the_oldest_of_each_user_is_found_and_users_take_turns() -> None:
    queue = Queue(lambda message: None)
    for unique, user in [(2, 7), (4, 7), (6, 8)]:
        queue[unique] = request(unique, user)

    assert queue.choose(7)[1] == 2
    assert list(queue.lines) == [8, 7]
    assert queue.choose(7)[1] == 4
    assert list(queue.lines) == [8]


def test_what_is_dropped_gives_its_memory_back_unless_a_handler_was_woken_with_it() -> (
    None
):
    recycled: list[Message] = []
    queue = Queue(recycled.append)
    for unique in (2, 4):
        queue[unique] = request(unique, 7)
    chosen = queue.choose(7)

    del queue[2]
    assert recycled == []
    assert queue.start(chosen[1]) is None
    del queue[4]

    assert recycled == [request(4, 7)[2]]
    assert not queue.lines
    assert not queue


def test_what_is_left_with_the_kernel_is_found_and_never_chosen() -> None:
    queue = Queue(lambda message: None)
    _, unique, message, since = request(2, 7)
    queue[2] = 1, unique, HeadOnly(message), since

    assert 2 in queue
    assert list(queue.awaiting_resend) == [7]
    assert not queue.lines
    assert queue.remove_awaiting_resend() == {2: 2.0}
    assert 2 not in queue
