"""The filesystem of a program: its store, with the options that it may change."""

from __future__ import annotations

from triofuse.compat.fuse.operations import has_method
from triofuse.compat.fuse.options import Options
from triofuse.compat.fuse.store import Store
from triofuse.compat.fuse.structures import fuse_conn_info
from triofuse.filesystem.config import KernelConfig
from triofuse.filesystem.flags import InitFlags, OpenFlags
from triofuse.paths.filesystem import PathFilesystem
from triofuse.paths.serving import Validity

__all__ = ["ProgramFilesystem"]


class ProgramFilesystem(PathFilesystem):
    """Serves a program's operations."""

    def __init__(self, store: Store, options: Options) -> None:
        super().__init__(store, threads=options.threads)
        self.mount_options = ""  # as libfuse: who wants checks says so
        self._program = store
        self._options = options

    async def init(self, config: KernelConfig) -> None:
        """Ask the program what it wants."""
        self._options.apply(config)
        if "truncate" not in self._methods:  # then open() is to do it
            config.wanted |= InitFlags.ATOMIC_O_TRUNC & config.offered
        await super().init(config)
        self._ask_program(config)
        self._take_options()

    def _ask_program(self, kernel: KernelConfig) -> None:
        program, config = self._program, self._program.config
        if getattr(program.operations, "flag_nullpath_ok", False):
            config.nullpath_ok = 1
        if has_method(program.operations, "init_with_config"):
            conn = _conn_info(kernel)
            program.call("init_with_config", conn, config)
            _negotiate(kernel, conn)
        elif has_method(program.operations, "init"):
            program.call("init", "/")

    def _take_options(self) -> None:
        config = self._program.config
        self._validity = Validity(
            config.entry_timeout, config.attr_timeout, config.negative_timeout
        )
        self._hard_remove = bool(config.hard_remove)
        if config.direct_io:
            self._open_flags |= OpenFlags.DIRECT_IO
        # The kernel drops data itself when size or time of a file have changed.
        elif config.kernel_cache or config.auto_cache:
            self._open_flags |= OpenFlags.KEEP_CACHE

    async def destroy(self) -> None:
        """End, and tell the program."""
        await super().destroy()
        if has_method(self._program.operations, "destroy"):
            self._program.call("destroy", "/")


def _conn_info(kernel: KernelConfig) -> fuse_conn_info:
    return fuse_conn_info(
        proto_minor=kernel.minor,
        max_write=kernel.max_write,
        max_readahead=kernel.max_readahead,
        capable=int(kernel.offered),
        want=int(kernel.wanted),
        max_background=kernel.max_background,
        congestion_threshold=kernel.congestion_threshold,
        time_gran=kernel.time_gran,
    )


def _negotiate(kernel: KernelConfig, conn: fuse_conn_info) -> None:
    kernel.wanted = InitFlags(conn.want) & kernel.offered
    for name in ("max_write", "max_readahead", "max_background", "time_gran"):
        if getattr(conn, name) != getattr(kernel, name):
            setattr(kernel, name, getattr(conn, name))
    if conn.congestion_threshold != kernel.congestion_threshold:
        kernel.congestion_threshold = conn.congestion_threshold
