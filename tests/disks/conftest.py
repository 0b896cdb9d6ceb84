"""The fixtures of the plugin, also where triofuse was installed before it had one."""

from triofuse.plugin.pytest_triofuse import disk, fuse_mount

__all__ = ["disk", "fuse_mount"]
