"""fsspec's stores as filesystems: S3, SFTP, HTTP, archives, git and forty others.

It needs the extra: ``pip install 'triofuse[fsspec]'``.
"""

from triofuse.fsspec.filesystem import FsspecFilesystem
from triofuse.fsspec.opening import MissingStoreError, open_store

__all__ = ["FsspecFilesystem", "MissingStoreError", "open_store"]
