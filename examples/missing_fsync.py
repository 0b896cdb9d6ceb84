"""Find the missing fsync of a program, with a disk whose power is cut at every moment.

The program here replaces a configuration file, in one of the ways that are seen in
practice; the last one is right.  Your own program takes the place of `WAYS[way]`: a
function of the mountpoint, or a command.

Run ``python examples/missing_fsync.py rename MOUNTPOINT``.

Left out: pytest, where the fixture ``disk`` mounts and unmounts by itself.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from triofuse.faults import EXT4, NOTHING_ORDERED, POSIX, Disk

OLD, NEW = b"colour = red\n", b"colour = blue\n"


def in_place(path: Path) -> None:
    """Write over the file: a power cut leaves half of it, or nothing."""
    with open(path / "config", "wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())


def rename(path: Path) -> None:
    """Write another file and rename it, but the data may come after the name."""
    (path / "config.new").write_bytes(NEW)
    os.rename(path / "config.new", path / "config")
    sync_directory(path)


def rename_synced(path: Path) -> None:
    """Sync the file before the rename, but not the directory after it."""
    with open(path / "config.new", "wb") as file:
        file.write(NEW)
        file.flush()
        os.fsync(file.fileno())
    os.rename(path / "config.new", path / "config")


def right(path: Path) -> None:
    """Sync the file, rename it, sync the directory."""
    rename_synced(path)
    sync_directory(path)


def sync_directory(path: Path) -> None:
    """Make the names of a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


WAYS = {
    "in-place": in_place,
    "rename": rename,
    "rename-synced": rename_synced,
    "right": right,
}
MODELS = {"posix": POSIX, "ext4": EXT4, "nothing": NOTHING_ORDERED}


def main() -> None:
    """Check one way; exit with 1 if a power cut loses the configuration."""
    parser = argparse.ArgumentParser(description="Find a missing fsync.")
    parser.add_argument("way", choices=WAYS, help="how the file is replaced")
    parser.add_argument("mountpoint", help="an empty directory")
    parser.add_argument("--model", choices=MODELS, default="posix")
    options = parser.parse_args()

    disk, states = Disk({"config": OLD}), 0
    with disk.mount(options.mountpoint):

        def program(path: Path) -> None:
            WAYS[options.way](path)
            disk.mark("saved")  # what the user was told

        for crash in disk.crashes(program, MODELS[options.model]):
            states += 1
            found = (disk / "config").read_bytes()
            allowed = [NEW] if "saved" in crash.marks else [OLD, NEW]
            if found not in allowed:
                print(f"found {found!r} in place of {allowed}\n{crash}")
                raise SystemExit(1)
    print(f"right in all of {states} states")


if __name__ == "__main__":
    main()
