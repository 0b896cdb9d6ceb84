"""`triofuse.main` as a command: in the background, its errors, its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES, wait_mounted
from tests.running.programs import (
    mount_line,
    run,
    server_of,
    wait_for,
    wait_gone,
    write_program,
)

pytestmark = pytest.mark.mount


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Path]:
    """A command of a filesystem; whatever of it still runs in the end is killed."""
    path = write_program(tmp_path / "saying.py")
    yield path
    for pid in server_of(path):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_the_command_returns_when_the_mount_can_be_used(
    program: Path, mountpoint: str
) -> None:
    done = run(program, "what", mountpoint)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path(mountpoint, "said").exists()
    (server,) = server_of(program)
    assert run("umount", mountpoint).returncode == 0
    wait_gone(server)


def test_source_and_kind_are_shown_as_mount_shows_them(
    program: Path, mountpoint: str
) -> None:
    run(program, "what", mountpoint)

    try:
        assert mount_line(mountpoint)[:3] == ["what", mountpoint, "fuse.saying"]
    finally:
        run("umount", mountpoint)


def test_words_become_arguments_and_paths_are_absolute(
    program: Path, mountpoint: str, tmp_path: Path
) -> None:
    words = "count=7,shout,noexec,defaults,_netdev,x-systemd.automount,rw"

    done = run(
        program, "what", "-o", "ro,noshout", mountpoint, "-o", words, cwd=tmp_path
    )

    assert done.stderr == ""
    said = Path(mountpoint, "said").read_text()
    options = mount_line(mountpoint)[3].split(",")
    run("umount", mountpoint)
    # The context was entered before the mount: the directory was still that one.
    assert said == f"{tmp_path}/what 7 True {tmp_path}"
    assert {"rw", "noexec"} <= set(options)


def test_the_server_holds_neither_directory_nor_terminal(
    program: Path, mountpoint: str, tmp_path: Path
) -> None:
    run(program, "what", mountpoint, cwd=tmp_path)

    (server,) = server_of(program)
    directory = os.readlink(f"/proc/{server}/cwd")
    files = [os.readlink(f"/proc/{server}/fd/{fd}") for fd in range(3)]
    session = os.getsid(server)
    run("umount", mountpoint)
    assert directory == "/"
    assert files == ["/dev/null"] * 3
    assert session == server


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_unmounts_and_leaves_the_context(
    program: Path, mountpoint: str, journal: Path, number: signal.Signals
) -> None:
    run(program, "what", mountpoint, "-o", f"journal={journal}")
    (server,) = server_of(program)

    os.kill(server, number)
    wait_gone(server)

    assert mount_line(mountpoint) == []
    assert journal.read_text().split() == ["entered", "destroyed", "left"]


def test_a_second_signal_ends_what_the_exit_of_the_context_waits_for(
    program: Path, mountpoint: str, journal: Path
) -> None:
    run(program, "what", mountpoint, "-o", f"journal={journal},fail=exit")
    (server,) = server_of(program)

    os.kill(server, signal.SIGTERM)
    wait_for(journal, "leaves")
    unmounted = mount_line(mountpoint) == []
    os.kill(server, signal.SIGTERM)
    wait_gone(server)

    assert unmounted
    assert journal.read_text().split()[-2:] == ["leaves", "cancelled"]


def test_in_the_foreground_it_is_one_process(
    program: Path, mountpoint: str, journal: Path
) -> None:
    words = f"journal={journal}"
    command = [str(program), "what", mountpoint, "-o", words, "--foreground"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        wait_mounted(mountpoint, server)
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=20)

    assert server.returncode == 0
    assert "ends on SIGINT" in said
    assert journal.read_text().split() == ["entered", "destroyed", "left"]


def test_ctrl_c_while_the_context_is_entered_ends_parent_and_child(
    program: Path, mountpoint: str, journal: Path
) -> None:
    command = [str(program), "what", mountpoint, "-o", f"journal={journal},fail=hang"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as parent:
        wait_for(journal, "hangs")
        os.killpg(parent.pid, signal.SIGINT)
        parent.communicate(timeout=20)

    assert parent.returncode == 32
    assert server_of(program) == []


#: Arguments, exit status, what the one line says.
WRONG = {
    "nothing": ([], 1, "MOUNTPOINT is missing"),
    "no source": (["{m}"], 1, "SOURCE or MOUNTPOINT is missing"),
    "too many": (["a", "b", "c"], 1, "not also 'c'"),
    "an unknown flag": (["a", "{m}", "--frobnicate"], 1, "--frobnicate"),
    "no words": (["a", "{m}", "-o"], 1, "-o: expected one argument"),
    "a misspelt word": (["a", "{m}", "-o", "cuont=3"], 1, "did you mean 'count'"),
    "a misspelt option": (["a", "{m}", "-o", "alow_other"], 1, "'allow_other'"),
    "no number": (["a", "{m}", "-o", "count=many"], 1, "whole number, not 'many'"),
    "no value": (["a", "{m}", "-o", "count"], 1, "takes a value: count=N"),
    "a value": (["a", "{m}", "-o", "shout=yes"], 1, "'shout' takes no value"),
    "no place": (["a", "{m}/none"], 32, "cannot mount on"),
    "no kernel word": (["a", "{m}", "-o", "zzz"], 32, "zzz"),
    "no source file": (["a", "{m}", "-o", "fail=context"], 32, "/a: No such file"),
    "no place in the foreground": (["a", "{m}/none", "-f"], 32, "cannot mount on"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_a_status(
    program: Path, mountpoint: str, name: str
) -> None:
    words, status, complaint = WRONG[name]

    done = run(program, *(word.format(m=mountpoint) for word in words))

    assert done.returncode == status
    (line,) = done.stderr.splitlines()
    assert line.startswith("saying: ")
    assert complaint in line
    assert server_of(program) == []


def test_a_bug_has_its_traceback(program: Path, mountpoint: str) -> None:
    done = run(program, "a", mountpoint, "-o", "fail=bug")

    assert done.returncode == 2
    assert "ZeroDivisionError: a bug" in done.stderr


def test_debug_shows_where_an_error_comes_from(program: Path, mountpoint: str) -> None:
    done = run(program, "a", mountpoint, "-o", "fail=context", "--debug")

    assert done.returncode == 32
    assert "Traceback" in done.stderr


def test_help_says_what_the_docstring_says(program: Path) -> None:
    done = run(program, "--help")

    assert done.returncode == 0
    assert "Say how it was made." in done.stdout
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["count=N", "How often, for example."] in lines
    assert ["shout", "Whether to shout."] in lines


def test_a_program_for_a_terminal_stays_in_the_foreground(mountpoint: str) -> None:
    """Its words are long options as well."""
    words = [str(EXAMPLES / "memfs.py"), mountpoint, "--size", str(1 << 20)]
    server = subprocess.Popen([sys.executable, *words], text=True)
    try:
        wait_mounted(mountpoint, server)
        status = os.statvfs(mountpoint)
        assert status.f_blocks * status.f_frsize == 1 << 20
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=20) == 0
    assert not os.path.ismount(mountpoint)


def test_a_word_that_is_on_by_default_has_an_option_for_no(
    mountpoint: str, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    passthrough = str(EXAMPLES / "passthrough.py")
    words = [passthrough, "--no-passthrough", str(source), mountpoint]
    server = subprocess.Popen(
        [sys.executable, *words, "--debug"], stderr=subprocess.PIPE, text=True
    )
    try:
        wait_mounted(mountpoint, server)
    finally:
        server.send_signal(signal.SIGTERM)
        _, said = server.communicate(timeout=20)
    assert server.returncode == 0
    assert "reads and writes itself" not in said
