"""The API for authors of filesystems: the base class, and values without I/O or trio.

All layers share these types; `triofuse.wire` converts them from and to bytes.
"""
