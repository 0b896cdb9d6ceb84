"""pyfuse3 in asyncio: ``triofuse.compat.pyfuse3.asyncio.enable()``.

Call it before ``init``.  Then ``main`` is awaited in asyncio, and handlers are asyncio
tasks.  trio runs as a guest of the asyncio loop, in the same thread.
"""

from __future__ import annotations

from asyncio import Lock

from triofuse.compat.pyfuse3.guest import disable, enable

__all__ = ["Lock", "disable", "enable"]
