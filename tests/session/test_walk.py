"""The path of one request through the folders, never back up."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from types import FrameType

import triofuse
from tests.test_layering import LAYERS, ROOMS, layer_of, room_of
from triofuse.testing import open_kernel

PACKAGE = Path(triofuse.__file__).parent


class Answering(triofuse.Filesystem):
    """Answers LOOKUP."""

    async def getattr(self, request: triofuse.Getattr) -> triofuse.FileAttr:
        return triofuse.FileAttr(1, 0o40755)

    async def lookup(self, request: triofuse.Lookup) -> triofuse.Entry:
        return triofuse.Entry(triofuse.FileAttr(7, 0o100644))

    async def readdir(self, request: triofuse.Readdir) -> list[triofuse.DirEntry]:
        return []


def place_of(frame: FrameType) -> tuple[int, int] | None:
    """Return the layer and the folder of a frame's code; None if not of the runtime."""
    path = Path(frame.f_code.co_filename)
    if not path.is_relative_to(PACKAGE) or "testing" in path.parts:
        return None
    layer = layer_of(path)
    room = ROOMS.index(room_of(path)) if layer == "session" else 0
    return LAYERS.index(layer), room


async def test_a_request_goes_from_room_to_room_and_never_back_up() -> None:
    calls: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event != "call" or frame.f_back is None:
            return
        if frame.f_code.co_name == "notice_tracing":  # once a slice, for no request
            return
        here, caller = place_of(frame), place_of(frame.f_back)
        if here is not None and caller is not None:
            calls.append((caller, here))

    async with open_kernel(Answering()) as kernel:
        sys.setprofile(note)
        try:
            await kernel.lookup(1, "name")
        finally:
            sys.setprofile(None)

    assert [(caller, here) for caller, here in calls if here > caller] == []
    session = LAYERS.index("session")
    places = [ROOMS[room] for _, (layer, room) in calls if layer == session]
    visited = [room for room, _ in itertools.groupby(places)]
    assert visited.index("scheduling") < visited.index("answering")
    assert visited.count("answering") == 1
