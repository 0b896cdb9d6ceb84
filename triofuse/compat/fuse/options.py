"""libfuse's options: of the mount, of path filesystems, and of the session."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from triofuse.compat.debugging import log_requests
from triofuse.compat.fuse.structures import fuse_config
from triofuse.device.options import MountOptions
from triofuse.filesystem.config import KernelConfig

__all__ = ["Options"]

#: Options that are fields of `fuse_config`.
_PATHS = {field.name for field in attrs.fields(fuse_config)}

#: Options that are fields of `KernelConfig`.
_NUMBERS = {"max_write", "max_readahead", "max_background", "congestion_threshold"}

#: Options that change nothing here.
_NO_EFFECT = """
    async_read sync_read atomic_o_trunc no_remote_lock no_remote_flock
    no_remote_posix_lock splice_write no_splice_write splice_move no_splice_move
    splice_read no_splice_read auto_inval_data no_auto_inval_data readdirplus async_dio
    no_async_dio writeback_cache no_writeback_cache time_gran clone_fd max_idle_threads
    max_threads big_writes nonempty large_read nopath noforget noauto_cache modules
    subdir iconv
""".split()


@attrs.define(eq=False)
class Options:
    """The keyword arguments of `FUSE`, sorted.

    Attributes:
      mount: The options of the mount.
      config: The options of path filesystems.
      numbers: The settings of the session: fields of `KernelConfig`.
      foreground: Whether the process serves itself.
      threads: How many operations run at a time, in threads; 0: one at a time, in the
        thread that mounts.
    """

    mount: MountOptions
    config: fuse_config
    numbers: dict[str, int]
    foreground: bool
    threads: int

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Options:
        """Sort the keyword arguments of `FUSE`.

        Raises:
          ValueError: A word cannot be honoured, is misspelled, or has an invalid value.
        """
        config, numbers = fuse_config(), {}
        words: list[str] = []
        debug = bool(given.get("debug"))
        for name, value in given.items():
            if name in ("foreground", "debug", "nothreads") or value is False:
                continue
            if name in _PATHS:
                setattr(config, name, _number(name, value))
            elif name in _NUMBERS:
                numbers[name] = int(_number(name, value))
            elif name not in _NO_EFFECT:
                words.append(name if value is True else f"{name}={_escaped(value)}")
        for name in ("uid", "gid"):
            if name in given:
                setattr(config, f"set_{name}", 1)
        config.set_mode = int("umask" in given)
        if debug:
            log_requests()
        foreground = bool(given.get("foreground")) or debug
        # As in libfuse: in the thread that mounts, for objects that belong to it.
        threads = 0 if given.get("nothreads") else 10
        # libfuse's type is "fuse", unless a subtype is given.
        mount = MountOptions.parse(",".join(words)).over(MountOptions(subtype=""))
        return cls(mount, config, numbers, foreground, threads)

    def apply(self, kernel: KernelConfig) -> None:
        """Set the numbers of the session."""
        for name, value in self.numbers.items():
            setattr(kernel, name, value)


def _escaped(value: object) -> str:
    return str(value).replace("\\", "\\\\").replace(",", "\\,")


def _number(name: str, value: object) -> Any:
    """Return the value of an option; ``umask`` and its kin are octal, as in libfuse."""
    if value is True:
        return 1
    try:
        if name in ("umask", "fmask", "dmask"):
            return int(str(value), 8)
        return float(str(value)) if "timeout" in name else int(str(value))
    except ValueError:
        message = f"{name} takes a number, not {value!r}"
        raise ValueError(message) from None
