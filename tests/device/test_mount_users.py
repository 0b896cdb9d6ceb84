"""Processes and mounts that keep a mount busy."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.device.mounts import SECONDS, mount_tmpfs, mounted
from triofuse.device import mount_users
from triofuse.device.libc import umount2
from triofuse.device.mount_users import users_of
from triofuse.filesystem.words import shown


def test_an_empty_directory_has_no_users(tmp_path: Path) -> None:
    assert users_of(str(tmp_path)) == []


def test_a_process_is_named_with_what_it_holds(tmp_path: Path) -> None:
    place = str(tmp_path)
    (tmp_path / "file").touch()
    with (
        open(tmp_path / "file") as file,
        subprocess.Popen(["cat"], cwd=place, stdin=subprocess.PIPE) as user,
    ):
        found = users_of(place)
        fd = file.fileno()
        user.kill()

    own = Path("/proc/self/comm").read_text().strip()
    assert sorted(found) == sorted(
        [
            f"process {os.getpid()} ({own}) by its descriptor {fd}",
            f"process {user.pid} (cat) by its cwd",
        ]
    )


def test_a_name_that_only_begins_alike_is_another(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    with open(tmp_path / "mnt2", "w"):
        assert users_of(str(tmp_path / "mnt")) == []


def test_looking_ends_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_users, "_TIMEOUT", -1)

    with open(tmp_path / "file", "w"):
        assert users_of(str(tmp_path)) == []


def test_some_names_are_enough(tmp_path: Path) -> None:
    users = [
        subprocess.Popen(["cat"], cwd=tmp_path, stdin=subprocess.PIPE) for _ in range(9)
    ]

    found = users_of(str(tmp_path))

    for user in users:
        user.communicate()
    assert len(found) == 5


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="calls mount(2)")
async def test_what_is_unmounted_lazily_is_logged_with_who_holds_it(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(SECONDS):
        async with mounted(mountpoint) as filesystem:
            root = os.open(mountpoint, os.O_PATH)
            with caplog.at_level(logging.WARNING, "triofuse"):
                await filesystem.unmount()
            os.close(root)

    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith(f"{mountpoint} is unmounted lazily, it is in use: process ")
    assert said.endswith(f"by its descriptor {root}")


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="calls mount(2)")
def test_a_mount_below_is_named(mountpoint: str) -> None:
    os.mkdir(below := f"{mountpoint}/below")
    mount_tmpfs(below)
    try:
        assert users_of(mountpoint) == [f"the mount at {below}"]
    finally:
        umount2(below, 0)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "\rhidden", " a ", "\udcff"])
def test_the_name_of_a_process_is_quoted_if_a_terminal_would_obey_it(
    tmp_path: Path, name: str
) -> None:
    """Any process can set its name by prctl(2)."""
    program = "import sys; open('/proc/self/comm', 'w', errors='surrogateescape')"
    program += f".write({name!r}); print('ready', flush=True); sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdin=pipe, stdout=pipe
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"ready\n"

        (found,) = users_of(str(tmp_path))

        user.kill()
    assert found == f"process {user.pid} ({shown(name)}) by its cwd"
    assert found.isprintable()


def test_what_can_be_printed_is_shown_as_it_is() -> None:
    assert shown("naïve ~/[x] 'y'") == "naïve ~/[x] 'y'"
    assert shown("a\nb") == r"'a\nb'"
