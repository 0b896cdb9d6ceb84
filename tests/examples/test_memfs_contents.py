"""The contents of memfs's files, against an array of bytes, without a mount."""

from __future__ import annotations

import errno
import random

import pytest
import trio

from tests.examples.test_memfs_units import fails
from triofuse import FuseError
from triofuse.posix.space import PAGE, Space
from triofuse.posix.sparse import MAX_SIZE, STEP, SparseFile


@pytest.mark.parametrize("seed", range(20))
async def test_a_sparse_file_is_like_an_array_of_bytes(seed: int) -> None:
    choose = random.Random(seed)
    space = Space(total=60)
    file, model = SparseFile(space), bytearray()

    for _ in range(300):
        offset, size = choose.randrange(150_000), choose.randrange(100_000)
        try:
            await _change(file, model, choose, offset, size)
        except FuseError as exc:
            if exc.errno != errno.ENOSPC:
                raise
        assert file.read(offset, size) == model[offset : offset + size]
        assert (file.size, file.pages) == (len(model), space.used)
    assert file.read(0, len(model) + 1) == model
    assert not any(any(model[start:stop]) for start, stop in await _holes(file))

    await file.truncate(0)
    assert space.used == 0


async def _change(
    file: SparseFile,
    model: bytearray,
    choose: random.Random,
    offset: int,
    size: int,
) -> None:
    """Do the same to both, first to the file: it may fail."""
    within = slice(offset, max(offset, min(offset + size, len(model))))
    what = choose.choice(["write", "write", "truncate", "punch", "zero", "allocate"])
    if what == "write":
        written = choose.randbytes(size)
        file.write(offset, written)
        model.extend(bytes(max(offset + size - len(model), 0) if size else 0))
        model[offset : offset + size] = written
    elif what == "truncate":
        await file.truncate(offset)
        model.extend(bytes(max(offset - len(model), 0)))
        del model[offset:]
    elif what == "allocate":
        await file.allocate(offset, size)
    else:
        change = file.punch if what == "punch" else file.zero
        await change(offset, size)
        model[within] = bytes(within.stop - within.start)


async def _holes(file: SparseFile) -> list[tuple[int, int]]:
    holes, offset = [], 0
    while offset < file.size:
        start = await file.seek_hole(offset)
        try:
            offset = file.seek_data(start)
        except FuseError:
            offset = file.size
        holes.append((start, offset))
    return holes


async def test_a_hole_costs_neither_space_nor_time() -> None:
    file = SparseFile(Space(total=100))
    await file.truncate(MAX_SIZE)
    file.write(1 << 49, b"data")

    assert file.pages == 1
    assert file.seek_data(0) == 1 << 49
    await file.punch(0, MAX_SIZE)
    assert file.pages == 0
    with fails(errno.ENXIO):
        file.seek_data(0)


async def test_no_file_is_too_long() -> None:
    file = SparseFile(Space(total=100))

    with fails(errno.EFBIG):
        await file.truncate(MAX_SIZE + 1)
    with fails(errno.EFBIG):
        file.write(MAX_SIZE, b"x")


class Turns:
    """Counts how often others had their turn while something was done."""

    def __init__(self) -> None:
        self.count = 0

    async def take(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1


@pytest.mark.parametrize("what", ["truncate", "punch", "zero"])
async def test_others_have_their_turn_while_much_is_dropped(what: str) -> None:
    space = Space(total=1 << 16)
    file = SparseFile(space)
    for offset in range(0, 8 * STEP, STEP):
        file.write(offset, b"x" * STEP)
    turns = Turns()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(turns.take)
        if what == "truncate":
            await file.truncate(0)
        elif what == "punch":
            await file.punch(0, 8 * STEP)
        else:
            await file.zero(0, 8 * STEP)
        nursery.cancel_scope.cancel()

    assert turns.count >= 4
    assert not file.read(0, 100).strip(b"\0")
    assert space.used == (8 * STEP // PAGE if what == "zero" else 0)


async def test_space_that_is_reserved_costs_no_memory_and_is_a_hole() -> None:
    space = Space(total=1 << 32)
    file = SparseFile(space)

    await file.allocate(0, 1 << 40)
    file.lengthen(1 << 40)

    assert file.pages == 1 << 28
    assert await file.seek_hole(0) == 0
    await file.punch(0, 1 << 40)
    assert space.used == 0
