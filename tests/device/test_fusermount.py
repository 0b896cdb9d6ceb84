from __future__ import annotations

import errno
import os
import shutil
import subprocess

import pytest

from tests.device.mounts import (
    SECONDS,
    child,
    report,
)
from triofuse.device import fusermount, mount
from triofuse.device.fusermount import find_fusermount
from triofuse.device.mount import mount_filesystem
from triofuse.device.mount_error import MountError
from triofuse.device.options import MountOptions

FUSERMOUNT = find_fusermount()

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(FUSERMOUNT is None, reason="fusermount3 is missing"),
]

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None,
    reason="becomes another user in a namespace of its own",
)

OWN_MOUNTS = ("--mount",)


@needs_root
def test_an_ordinary_user_mounts_and_unmounts(public_mountpoint: str) -> None:
    options = r"--options=fsname=a\,b\\\\c,subtype=s\,t,ro"

    output = report(
        "once", public_mountpoint, "--nobody", options, namespaces=OWN_MOUNTS
    )

    assert output.splitlines() == [
        r"fuse.s,t a,b\\c",
        "non-blocking",
        "close-on-exec",
        "0 left",
        "no children",
    ]


@needs_root
def test_an_ordinary_user_unmounts_lazily_what_is_in_use(
    public_mountpoint: str,
) -> None:
    output = report("busy", public_mountpoint, "--nobody", namespaces=OWN_MOUNTS)

    assert "0 left" in output.splitlines()


@needs_root
def test_an_ordinary_user_clears_a_stale_mountpoint(public_mountpoint: str) -> None:
    options = "--options=clear_stale"

    output = report(
        "again", public_mountpoint, "--nobody", options, namespaces=OWN_MOUNTS
    )

    assert output.splitlines()[0] == "fuse.triofuse triofuse"
    assert "0 left" in output.splitlines()


@needs_root
@pytest.mark.parametrize(
    ("options", "words", "remedy"),
    [
        ("allow_other", "user_allow_other", "put the line user_allow_other into"),
        ("colour=blue", "unknown option 'colour=blue'", "only root"),
    ],
)
def test_the_words_of_fusermount_are_in_the_error(
    public_mountpoint: str, options: str, words: str, remedy: str
) -> None:
    output = report(
        "once",
        public_mountpoint,
        "--nobody",
        f"--options={options}",
        namespaces=OWN_MOUNTS,
    )

    assert output.startswith(f"cannot mount on {public_mountpoint}: {FUSERMOUNT}: ")
    assert words in output
    assert remedy in output


@needs_root
def test_an_ordinary_user_may_not_mount_on_other_peoples_directories(
    public_mountpoint: str,
) -> None:
    os.chown(public_mountpoint, 0, 0)

    output = report("once", public_mountpoint, "--nobody", namespaces=OWN_MOUNTS)

    assert "no write access" in output
    assert "a directory that you may write to" in output


def test_root_of_a_user_namespace_mounts_without_fusermount(mountpoint: str) -> None:
    probe = subprocess.run(["unshare", "-Urm", "true"], check=False)
    if probe.returncode:
        pytest.skip("user namespaces are not allowed here")

    output = report("once", mountpoint, namespaces=("-U", "-r", "-m"))

    assert output.splitlines() == [
        "fuse.triofuse triofuse",
        "non-blocking",
        "close-on-exec",
        "0 left",
        "no children",
    ]


@pytest.fixture
def no_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make root mount by fusermount3, as an unprivileged user does."""
    monkeypatch.setattr(mount, "mount_directly", lambda *_: None)


@pytest.mark.usefixtures("no_system_calls")
async def test_root_hears_what_fusermount_says_as_well(mountpoint: str) -> None:
    options = MountOptions(extra=("colour=blue",))

    with pytest.raises(MountError, match="unknown option 'colour=blue'") as e:
        await mount_filesystem(mountpoint, options)

    assert (e.value.errno, e.value.step) == (errno.EINVAL, "fusermount3")
    assert e.value.words == f"{FUSERMOUNT}: unknown option 'colour=blue'"


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("#!/bin/sh\nexit 3\n", "ended with status 3"),
        ("#!/bin/sh\necho one >&2\necho two >&2\nexit 1\n", "mnt: one; two$"),
        ("no program\n", "Exec format error"),
    ],
)
@pytest.mark.usefixtures("no_system_calls")
async def test_a_fusermount_that_does_not_work_is_an_error(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch, program: str, complaint: str
) -> None:
    path = os.path.join(mountpoint, "fusermount3")
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o755)
    os.write(fd, program.encode())
    os.close(fd)
    monkeypatch.setattr(fusermount, "_DIRECTORIES", (mountpoint,))

    with pytest.raises(MountError, match=complaint) as e:
        await mount_filesystem(mountpoint, MountOptions())

    assert e.value.step == "fusermount3"


@needs_root
def test_what_fusermount_ignores_is_logged(public_mountpoint: str) -> None:
    arguments = ("once", public_mountpoint, "--nobody", "--options=suid")

    with child(*arguments, namespaces=OWN_MOUNTS) as process:
        _, errors = process.communicate(timeout=SECONDS)

    assert f"mounting on {public_mountpoint}: " in errors
    assert "unsafe option suid ignored" in errors


@pytest.mark.usefixtures("no_system_calls")
async def test_the_environment_neither_chooses_the_program_nor_reaches_it(
    mountpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "#!/bin/sh\necho \"$0 $*\" >&2; tr '\\0' '\\n' </proc/$$/environ >&2; exit 1\n"
    )
    for name in ("bin", "evil"):
        os.mkdir(directory := os.path.join(mountpoint, name))
        fd = os.open(f"{directory}/fusermount3", os.O_CREAT | os.O_WRONLY, 0o755)
        os.write(fd, script.encode())
        os.close(fd)
    monkeypatch.setattr(fusermount, "_DIRECTORIES", (f"{mountpoint}/bin",))
    evil = f"{mountpoint}/evil"
    for name in ("PATH", "LD_PRELOAD_PATH", "FUSERMOUNT_PATH", "_FUSE_COMMFD", "IFS"):
        monkeypatch.setenv(name, evil)

    with pytest.raises(MountError) as e:
        await mount_filesystem(mountpoint, MountOptions())

    command, *variables = e.value.words.split("; ")
    assert command.startswith(f"{mountpoint}/bin/fusermount3 -o fsname=triofuse,")
    assert command.endswith(f" -- {mountpoint}")
    assert {word.partition("=")[0] for word in variables} == {
        "LC_ALL",
        "PATH",
        "_FUSE_COMMFD",
    }
    assert evil not in e.value.words
