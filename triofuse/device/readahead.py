"""How much the kernel reads ahead of a program that reads a file from start to end.

INIT can only lower the kernel's 128 KiB.  Who may write in sysfs, root as a rule, can
raise it for one mount.
"""

from __future__ import annotations

__all__ = ["set_readahead"]

_KIB = 1024


def set_readahead(device: tuple[int, int], size: int) -> None:
    """Set the read-ahead of one mount; call it after INIT, which lowers it.

    Args:
      device: Major and minor number of the mount, as ``MountEntry.device``.
      size: Bytes.

    Raises:
      OSError: It may not be written, or sysfs is not mounted.

    Source: ``read_ahead_kb_store()`` in mm/backing-dev.c.
    """
    major, minor = device
    path = f"/sys/class/bdi/{major}:{minor}/read_ahead_kb"
    with open(path) as setting:
        current = int(setting.read()) * _KIB
    if current != size:
        with open(path, "w") as setting:
            setting.write(str(-(-size // _KIB)))
