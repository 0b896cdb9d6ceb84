"""mount(8), fstab(5) and umount(8) drive a command, as root and as an ordinary user.

In a mount namespace of its own, where /etc/fstab and the directory of mount's helpers
are ours: the machine stays as it is.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.conftest import ROOT
from tests.running.programs import run, server_of, wait_gone, write_program

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a mount namespace"),
]

#: Runs the rest of a line as an ordinary user, who is in /etc/passwd.
USER = "setpriv --reuid 65534 --regid 65534 --clear-groups"


@attrs.frozen
class Machine:
    """A machine of its own, as far as mounts go.

    Attributes:
      kind: The type of the filesystem, for which there is a helper.
      helper: Where it is, in there.
    """

    kind: str
    helper: Path
    _home: Path

    def run(self, script: str, fstab: str = "") -> subprocess.CompletedProcess[str]:
        """Run a shell script in the namespace, with a table of filesystems."""
        (self._home / "fstab").write_text(fstab)
        setup = "\n".join(self._setup())
        return run(
            "unshare", "-m", "--propagation", "private", "sh", "-ec", setup + script
        )

    def _setup(self) -> Iterator[str]:
        yield "mount -t tmpfs -o mode=755 tmpfs /mnt"
        yield "mkdir /mnt/place /mnt/sbin /mnt/home; chown 65534 /mnt/place"
        yield f"mount --bind {self._home} /mnt/home"
        yield f"cp /mnt/home/helper /mnt/sbin/{self.helper.name}"
        yield "mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse"
        yield "mount --bind /mnt/home/fstab /etc/fstab"
        yield f"mount --bind /mnt/sbin {os.path.realpath('/sbin')}"
        for number, path in enumerate(PYTHON):
            yield f"mkdir /mnt/{number}; mount --bind {path} /mnt/{number}"
        for cover in sorted({cover for path in PYTHON if (cover := _hidden(path))}):
            yield f"mount -t tmpfs -o mode=755 tmpfs {cover}"
        for number, path in enumerate(PYTHON):
            if _hidden(path):
                yield f"mkdir -p {path}; mount --bind /mnt/{number} {path}"
        yield ""


#: What the helper needs: often, users cannot reach it at its place.
PYTHON = sorted({sys.base_prefix, sys.prefix, str(ROOT)})


def _hidden(path: str) -> str:
    """Return the first directory on the way to a path that users cannot enter."""
    ways = [*reversed(Path(path).parents), Path(path)]
    return next((str(way) for way in ways if not way.stat().st_mode & 1), "")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    write_program(tmp_path / "helper")
    kind = f"saying{os.getpid()}"
    machine = Machine(f"fuse.{kind}", Path(f"/sbin/mount.fuse.{kind}"), tmp_path)
    yield machine
    for pid in server_of(machine.helper):
        os.kill(pid, signal.SIGKILL)


def check_gone(machine: Machine) -> None:
    """Check that the server has ended, in its own time."""
    for pid in server_of(machine.helper):
        wait_gone(pid)


def test_mount_finds_the_helper_and_umount_ends_it(machine: Machine) -> None:
    done = machine.run(
        f"""
        mount -t {machine.kind} what /mnt/place -o ro,count=5,_netdev
        cat /mnt/place/said; echo
        grep /mnt/place /proc/mounts
        umount /mnt/place
        """
    )

    assert (done.returncode, done.stderr) == (0, "")
    said, line = done.stdout.splitlines()
    assert said.split()[1] == "5"
    assert line.split()[:3] == ["what", "/mnt/place", machine.kind]
    assert line.split()[3].startswith("ro,")
    check_gone(machine)


def test_the_status_of_mount_is_that_of_the_command(machine: Machine) -> None:
    done = machine.run(
        f"""
        status=0
        mount -t {machine.kind} what /mnt/place -o cuont=5 || status=$?
        mount -t {machine.kind} what /mnt/place -o fail=context || echo $status $?
        """
    )

    assert done.stdout == "1 32\n"
    assert "did you mean 'count'" in done.stderr
    assert "No such file or directory" in done.stderr


def test_fstab_is_mounted_once_with_its_words(machine: Machine) -> None:
    words = "defaults,nofail,_netdev,x-systemd.automount,relatime,shout"
    done = machine.run(
        """
        mkdir /mnt/other
        mount -a
        mount -a
        cat /mnt/place/said; echo
        grep -c '/mnt/place\\|/mnt/other' /proc/mounts
        umount /mnt/place
        """,
        f"what /mnt/place {machine.kind} {words} 0 0\n"
        f"what /mnt/other {machine.kind} noauto 0 0\n",
    )

    assert (done.returncode, done.stderr) == (0, "")
    said, count = done.stdout.splitlines()
    assert said.split()[1:3] == ["3", "True"]
    assert count == "1"
    check_gone(machine)


def test_a_user_mounts_and_unmounts_what_fstab_lets_users_mount(
    machine: Machine,
) -> None:
    done = machine.run(
        f"""
        {USER} mount /mnt/place
        {USER} cat /mnt/place/said; echo
        grep /mnt/place /proc/mounts
        {USER} umount /mnt/place
        grep /mnt/place /proc/mounts || echo unmounted
        """,
        f"what /mnt/place {machine.kind} user,noauto,count=9 0 0\n",
    )

    assert (done.returncode, done.stderr) == (0, "")
    said, line, last = done.stdout.splitlines()
    assert said.split()[1] == "9"
    assert "user_id=65534" in line.split()[3].split(",")
    assert last == "unmounted"
    check_gone(machine)


def test_a_user_runs_the_command_itself(machine: Machine) -> None:
    done = machine.run(
        f"""
        {USER} {machine.helper} what /mnt/place
        {USER} cat /mnt/place/said; echo
        {USER} fusermount3 -u /mnt/place
        """
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[1] == "3"
    check_gone(machine)
