"""Clients and the program change a tree at random; `tests.tree.storm` does it for long."""

from __future__ import annotations

import random

import pytest

from tests.tree.storm import storm


@pytest.mark.mount
async def test_nothing_is_stale_and_each_node_is_dropped_once(mountpoint: str) -> None:
    said = await storm(mountpoint, 3.0, random.randrange(1 << 16), 1.0)

    assert "nothing was stale" in said
