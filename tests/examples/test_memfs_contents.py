"""The contents of memfs's files, against an array of bytes, without a mount."""

from __future__ import annotations

import errno
import random

import pytest

from space import Space
from sparse import MAX_SIZE, SparseFile
from tests.examples.test_memfs_units import fails
from triofuse import FuseError


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
