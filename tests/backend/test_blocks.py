"""Blocks in memory: fetched once, ahead of sequential readers, within a limit."""

from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triofuse import open_block_cache

DATA = bytes(range(256)) * 4  # 64 blocks of 16 bytes


class Store:
    """Counts fetches, each of which takes a second of trio's time."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.fetched: list[int] = []
        self.finished: list[int] = []
        self.error: Exception | None = None

    async def fetch(self, offset: int, size: int) -> bytes:
        self.fetched.append(offset // 16)
        await trio.sleep(1)
        if self.error is not None:
            raise self.error
        self.finished.append(offset // 16)
        return self.data[offset : offset + size]


async def test_every_piece_of_a_file_can_be_read(autojump_clock: MockClock) -> None:
    store = Store(DATA[:1000])

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1000)
        for offset in range(0, 1010, 37):
            for size in (1, 15, 16, 40, 200):
                expected = store.data[offset : offset + size]
                assert await reader.read(size, offset) == expected
        assert cache.used <= 160 + 13 * 16


async def test_readers_of_one_block_wait_for_one_fetch(
    autojump_clock: MockClock,
) -> None:
    store, read = Store(), []

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=0)

        async def one(offset: int) -> None:
            read.append(await reader.read(2, offset))

        async with trio.open_nursery() as nursery:
            for offset in range(5):
                nursery.start_soon(one, offset)

    assert sorted(read) == [DATA[n : n + 2] for n in range(5)]
    assert store.fetched == [0]


async def test_a_sequential_reader_waits_for_no_block_after_the_first_ones(
    autojump_clock: MockClock,
) -> None:
    store = Store()

    async with open_block_cache(1024, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=8)
        began = trio.current_time()
        for offset in range(0, 1024, 8):
            assert await reader.read(8, offset) == DATA[offset : offset + 8]
        assert trio.current_time() - began < 16  # 64 one by one

    assert sorted(store.fetched) == list(range(64))


async def test_a_random_reader_fetches_nothing_ahead(
    autojump_clock: MockClock,
) -> None:
    store = Store()

    async with open_block_cache(1024, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=8)
        for number in (50, 20, 40, 10):
            await reader.read(4, number * 16)

    assert store.fetched == [50, 20, 40, 10]


async def test_the_least_recently_used_block_goes_first(
    autojump_clock: MockClock,
) -> None:
    store = Store()

    async with open_block_cache(48, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=0)
        for number in (9, 5, 7, 9, 3, 9, 5):
            await reader.read(1, number * 16)
            assert cache.used <= 48

    assert store.fetched == [9, 5, 7, 3, 5]


async def test_nothing_is_fetched_ahead_beyond_the_limit(
    autojump_clock: MockClock,
) -> None:
    store = Store()

    async with open_block_cache(48, 16) as cache:
        one = cache.reader(store.fetch, 1024, ahead=8)
        for offset in range(0, 256, 8):
            await one.read(8, offset)
            assert cache.used <= 48 + 16
        await trio.sleep(10)
        assert cache.used <= 48


async def test_readers_of_the_same_key_share_blocks(autojump_clock: MockClock) -> None:
    store = Store()

    async with open_block_cache(1024, 16) as cache:
        one = cache.reader(store.fetch, 1024, key="a", ahead=0)
        other = cache.reader(store.fetch, 1024, key="a", ahead=0)
        stranger = cache.reader(store.fetch, 1024, key="b", ahead=0)
        for reader in (one, other, stranger):
            await reader.read(4, 0)
        assert store.fetched == [0, 0]
        cache.drop("a")
        await other.read(4, 0)

    assert store.fetched == [0, 0, 0]


async def test_an_error_goes_to_all_who_asked_and_is_not_kept(
    autojump_clock: MockClock,
) -> None:
    store, errors = Store(), []
    store.error = ConnectionResetError(errno.ECONNRESET, "reset")

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=0)

        async def one() -> None:
            with pytest.raises(ConnectionResetError):
                await reader.read(2, 0)
            errors.append(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
        store.error = None
        assert await reader.read(2, 0) == DATA[:2]

    assert len(errors) == 2
    assert store.fetched == [0, 0]


async def test_a_failed_fetch_ahead_is_asked_again(autojump_clock: MockClock) -> None:
    store = Store()

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=1)
        await reader.read(16, 0)
        store.error = ConnectionResetError(errno.ECONNRESET, "reset")
        await trio.sleep(2)
        store.error = None
        assert await reader.read(16, 16) == DATA[16:32]


async def test_a_cancelled_reader_takes_nothing_from_others(
    autojump_clock: MockClock,
) -> None:
    store, read = Store(), []

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=0)

        async def one() -> None:
            read.append(await reader.read(2, 0))

        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(one)
                await wait_all_tasks_blocked()
                scope.deadline = trio.current_time() + 0.5
                await reader.read(2, 0)
            assert scope.cancelled_caught

    assert read == [DATA[:2]]
    assert store.fetched == [0]


async def test_a_fetch_that_nobody_waits_for_is_cancelled(
    autojump_clock: MockClock,
) -> None:
    store = Store()

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=0)
        with trio.move_on_after(0.5):
            await reader.read(2, 0)
        assert cache.used == 0
        assert await reader.read(2, 0) == DATA[:2]

    assert (store.fetched, store.finished) == ([0, 0], [0])


async def test_closing_a_reader_drops_its_own_blocks(autojump_clock: MockClock) -> None:
    store = Store()

    async with open_block_cache(1024, 16) as cache:
        reader = cache.reader(store.fetch, 1024, ahead=4)
        await reader.read(16, 0)
        assert cache.used > 0
        reader.close()
        assert cache.used == 0


async def test_a_store_that_returns_too_little_is_an_error(
    autojump_clock: MockClock,
) -> None:
    store = Store(DATA[:20])

    async with open_block_cache(160, 16) as cache:
        with pytest.raises(OSError, match="4 bytes of 16"):
            await cache.reader(store.fetch, 1024).read(32, 0)


async def test_a_file_of_unknown_size_ends_where_the_store_says(
    autojump_clock: MockClock,
) -> None:
    store = Store(DATA[:40])

    async with open_block_cache(160, 16) as cache:
        reader = cache.reader(store.fetch)
        assert await reader.read(1000, 0) == DATA[:40]
        assert await reader.read(1000, 36) == DATA[36:40]
        assert await reader.read(1000, 64) == b""


async def test_a_block_larger_than_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="not 20 with a limit of 10"):
        async with open_block_cache(10, 20):
            pass
