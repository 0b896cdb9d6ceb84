"""The files of an HTTP server: ``httpfs.py http://host/ MOUNTPOINT``; it needs httpx.

It shows a store whose names are paths, an async client, and a reader that fetches blocks
ahead.  Kill who reads, and the request to the server is cancelled.  The names in a
directory are the links of the page that the server makes of it.
"""

import errno
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from stat import S_IFDIR, S_IFREG
from urllib.parse import quote, unquote

import httpx

import triofuse
from triofuse import BlockReader, FuseError, Stat

DIRECTORY = Stat(mode=S_IFDIR | 0o555)


class Http:
    """An HTTP server, by path."""

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        answer = await self.client.request(method, quote(path), headers=headers)
        if answer.is_error:
            raise FuseError(errno.ENOENT if answer.status_code == 404 else errno.EIO)
        return answer

    async def getattr(self, path: str) -> Stat:
        head = await self.ask("HEAD", path)
        if path == "/" or head.is_redirect:
            return DIRECTORY
        return Stat(mode=S_IFREG | 0o444, size=int(head.headers["content-length"]))

    async def readdir(self, path: str) -> list[tuple[str, Stat | None]]:
        page = await self.ask("GET", path.rstrip("/") + "/")
        links = re.findall(r'href="([^"/?#]+)(/?)"', page.text)
        return [(unquote(name), DIRECTORY if slash else None) for name, slash in links]

    async def open(self, path: str, flags: int) -> BlockReader:
        size = (await self.getattr(path)).size
        return self.cache.reader(lambda *where: self.fetch(path, *where), size)

    async def fetch(self, path: str, offset: int, size: int) -> bytes:
        wanted = f"bytes={offset}-{offset + size - 1}"
        return (await self.ask("GET", path, range=wanted)).content

    async def read(self, _: str, size: int, offset: int, handle: BlockReader) -> bytes:
        return await handle.read(size, offset)

    @asynccontextmanager
    async def filesystem(self, url: str) -> AsyncIterator[triofuse.PathFilesystem]:
        async with httpx.AsyncClient(base_url=url) as self.client:
            async with triofuse.open_block_cache() as self.cache:
                yield triofuse.PathFilesystem(self, valid=60)


if __name__ == "__main__":
    triofuse.main(Http().filesystem)
