"""pyfuse3 in asyncio: trio as a guest of the loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import triofuse.compat.pyfuse3 as pyfuse3
import triofuse.compat.pyfuse3.asyncio as pyfuse3_asyncio
from tests.compat.world import TEXT, Files

pytestmark = pytest.mark.mount


@pytest.fixture(autouse=True)
def _in_asyncio() -> Iterator[None]:
    pyfuse3_asyncio.enable()
    yield
    pyfuse3_asyncio.disable()


class AsyncioFiles(Files):
    """Its handlers use asyncio."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = pyfuse3_asyncio.Lock()
        self.began = asyncio.Event()
        self.ended: list[str] = []

    async def getattr(
        self, inode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        async with self.lock:
            await asyncio.sleep(0)
        return self.attr(inode)

    async def read(self, fh: int, off: int, size: int) -> bytes:
        if fh == 3:  # "slow"
            self.began.set()
            try:
                await asyncio.sleep(60)
            finally:
                self.ended.append("slow")
        assert asyncio.current_task() is not None
        async with asyncio.timeout(10):
            return await super().read(fh, off, size)


async def serving(files: AsyncioFiles, mountpoint: str) -> asyncio.Task[None]:
    pyfuse3.init(files, mountpoint, {"fsname=test"})
    return asyncio.create_task(pyfuse3.main())


def test_handlers_run_in_asyncio(mountpoint: str) -> None:
    async def main() -> bytes:
        files = AsyncioFiles()
        task = await serving(files, mountpoint)
        text = await asyncio.to_thread((Path(mountpoint) / "message").read_bytes)
        await asyncio.to_thread(os.listdir, mountpoint)
        pyfuse3.terminate()
        await task
        return text

    assert asyncio.run(main()) == TEXT
    pyfuse3.close()


def test_errors_of_handlers_reach_their_callers(mountpoint: str) -> None:
    def look() -> None:
        assert not (Path(mountpoint) / "none").exists()
        with pytest.raises(OSError, match="Invalid cross-device"):
            (Path(mountpoint) / "oserror").read_bytes()

    async def main() -> None:
        task = await serving(AsyncioFiles(), mountpoint)
        await asyncio.to_thread(look)
        await asyncio.to_thread(pyfuse3.terminate)
        await task

    asyncio.run(main())
    pyfuse3.close()


def test_a_cancelled_main_cancels_handlers_and_returns(mountpoint: str) -> None:
    files: list[AsyncioFiles] = []

    def read() -> None:
        with pytest.raises(OSError):
            (Path(mountpoint) / "slow").read_bytes()

    async def main() -> None:
        files.append(AsyncioFiles())
        task = await serving(files[0], mountpoint)
        reader = asyncio.create_task(asyncio.to_thread(read))
        await files[0].began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await reader

    asyncio.run(main())
    pyfuse3.close()
    assert files[0].ended == ["slow"]
