"""A web server with range requests: ``python -m tests.fsspec.http_server PORT TREE``."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import quote

from aiohttp import web


def serve(port: int, root: Path) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        path = root / request.match_info["path"]
        if path.is_dir():
            if not request.path.endswith("/"):
                raise web.HTTPMovedPermanently(f"{request.path}/")
            names = [
                f"{one.name}/" if one.is_dir() else one.name for one in path.iterdir()
            ]
            links = [f'<a href="{quote(name)}">{name}</a>' for name in sorted(names)]
            page = '<a href="../">../</a><a href="?C=N;O=D">Name</a>' + "\n".join(links)
            return web.Response(text=page, content_type="text/html")
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=lambda *_: None)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
