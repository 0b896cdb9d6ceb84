"""A mount that is ended from outside: its server ends too and leaves nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.device.mounts import (
    NOBODY,
    PUBLIC_PYTHON,
    SECONDS,
    Realm,
    child,
    entries_at,
    wait_until_mounted,
)
from triofuse.device.fusermount import find_fusermount

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces"),
]

#: A program with its current directory in the mount.
User = subprocess.Popen[bytes]

_CONNECTIONS = "/sys/fs/fuse/connections"


def unmount(realm: Realm, path: str, user: User) -> None:
    assert "busy" in realm.run("umount", path)
    user.kill()
    user.wait(SECONDS)
    assert realm.run("umount", path) == ""


def unmount_lazily(realm: Realm, path: str, user: User) -> None:
    assert realm.run("umount", "-l", path) == ""
    user.kill()  # a lazy unmount is complete when its last user ends


def unmount_by_force(realm: Realm, path: str, user: User) -> None:
    assert "busy" in realm.run("umount", "-f", path)


def abort(realm: Realm, path: str, user: User) -> None:
    (entry,) = entries_at(path, realm.table)
    _, minor = entry.device
    realm.run("mount", "-t", "fusectl", "fusectl", _CONNECTIONS)
    assert realm.run("sh", "-c", f"echo 1 >{_CONNECTIONS}/{minor}/abort") == ""


Ending = Callable[[Realm, str, User], None]


@pytest.mark.parametrize("end", [unmount, unmount_lazily, unmount_by_force, abort])
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_a_mount_in_use_is_ended(
    public_mountpoint: str, realm: Realm, end: Ending, uid: int
) -> None:
    if uid and (find_fusermount() is None or not PUBLIC_PYTHON):
        pytest.skip("an ordinary user can do nothing here")
    realm.allow_user_allow_other(os.path.dirname(public_mountpoint))
    arguments = ["serve", public_mountpoint, "--options=auto_unmount,allow_other"]
    arguments += ["--nobody"] if uid else []
    script = 'cd "$0" && echo ready && exec cat'
    command = realm.command("sh", "-c", script, public_mountpoint, uid=uid)

    with child(*arguments, realm=realm) as server:
        wait_until_mounted(server)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as user:
            assert user.stdout is not None
            assert user.stdout.readline() == b"ready\n"
            end(realm, public_mountpoint, user)
            _, complaints = server.communicate(timeout=SECONDS)
            user.kill()

    assert server.returncode == 0, complaints
    assert entries_at(public_mountpoint, realm.table) == []
    assert "Traceback" not in complaints
