"""Programs that people use do on a mount what they do elsewhere."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.mount


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def shell(script: str, cwd: Path) -> str:
    return run("sh", "-euc", script, cwd=cwd)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with all that a careful copy must keep."""
    root = tmp_path / "tree"
    (root / "a" / "deep" / "er").mkdir(parents=True)
    (root / "b").mkdir()
    (root / "a" / "file").write_bytes(os.urandom(300_000))
    (root / "a" / "empty").touch(mode=0o600)
    (root / "b" / "caf\N{LATIN SMALL LETTER E WITH ACUTE} \udcff").write_text("x")
    os.link(root / "a" / "file", root / "b" / "hard")
    os.symlink("../a/file", root / "b" / "soft")
    os.symlink("nowhere", root / "b" / "dangling")
    os.mkfifo(root / "b" / "fifo")
    with open(root / "a" / "sparse", "wb") as sparse:
        sparse.truncate(100 << 20)
        sparse.seek(50 << 20)
        sparse.write(b"an island")
    os.setxattr(root / "a" / "file", "user.note", b"kept \0 whole")
    os.chmod(root / "b", 0o2750)
    os.utime(root / "a" / "deep", ns=(-1, 123_456_789_012_345_678))
    return root


def test_the_standard_library_is_copied_compared_and_deleted(mounted: Path) -> None:
    library = sysconfig.get_path("stdlib")
    run("cp", "-a", library, mounted / "lib")
    run("diff", "-r", "--no-dereference", library, mounted / "lib")
    run("rm", "-rf", mounted / "lib")

    assert os.listdir(mounted) == []


@needs("git")
def test_git_clones_and_finds_its_repository_sound(
    mounted: Path, tmp_path: Path
) -> None:
    origin = tmp_path / "origin"
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    run("git", "init", "-q", origin)
    for number in range(20):
        (origin / f"file{number % 7}").write_bytes(os.urandom(5000))
        run("git", "-C", origin, "add", ".")
        run("git", "-C", origin, *identity, "commit", "-q", "-m", f"change {number}")

    run("git", "clone", "-q", "--no-hardlinks", origin, mounted / "clone")
    run("git", "-C", mounted / "clone", "gc", "-q")
    run("git", "-C", mounted / "clone", "fsck", "--strict")

    assert run("git", "-C", mounted / "clone", "status", "--porcelain") == ""
    run("rm", "-rf", mounted / "clone")


@needs("tar")
def test_tar_packs_and_unpacks(mounted: Path, tree: Path, tmp_path: Path) -> None:
    keep = ["--xattrs", "--sparse", "--numeric-owner"]
    run("tar", *keep, "-cf", mounted / "in.tar", "-C", tree, ".")
    (mounted / "unpacked").mkdir()
    run("tar", *keep, "-xpf", mounted / "in.tar", "-C", mounted / "unpacked")
    run("tar", *keep, "-cf", tmp_path / "out.tar", "-C", mounted / "unpacked", ".")
    run("tar", *keep, "-df", tmp_path / "out.tar", "-C", tree)


@needs("rsync")
def test_rsync_finds_nothing_to_do_the_second_time(mounted: Path, tree: Path) -> None:
    copy = ["rsync", "-aHAX", "--sparse", "--checksum", "--itemize-changes"]
    assert run(*copy, f"{tree}/", mounted / "copy")

    assert run(*copy, f"{tree}/", mounted / "copy") == ""
    assert run(*copy, f"{mounted}/copy/", tree) == ""
    assert os.stat(mounted / "copy" / "b" / "hard").st_nlink == 2
    assert os.stat(mounted / "copy" / "a" / "sparse").st_blocks < 1000
    run("rm", "-rf", mounted / "copy")


@needs("make", "gcc")
def test_make_builds_with_four_jobs(mounted: Path) -> None:
    names = [f"part{number}" for number in range(12)]
    for name in names:
        code = f"int {name}(void) {{ return 1; }}\n"
        (mounted / f"{name}.c").write_text(code)
    calls = " + ".join(f"{name}()" for name in names)
    declared = "".join(f"int {name}(void);" for name in names)
    main = f'#include <stdio.h>\n{declared}int main(void){{printf("%d", {calls});}}\n'
    (mounted / "main.c").write_text(main)
    objects = " ".join(f"{name}.o" for name in ["main", *names])
    rules = f"program: {objects}\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -c -o $@ $<\n"
    (mounted / "Makefile").write_text(rules)

    run("make", "-j4", cwd=mounted)

    assert run(mounted / "program") == "12"
    assert "up to date" in run("make", cwd=mounted)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_sqlite_keeps_its_integrity(mounted: Path, mode: str) -> None:
    path = mounted / "data.db"
    with sqlite3.connect(path) as database:
        assert database.execute(f"pragma journal_mode={mode}").fetchone() == (mode,)
        database.execute("create table t (k integer primary key, v blob)")
    reader = sqlite3.connect(path)
    for batch in range(10):
        with database:
            rows = ((batch * 100 + row, os.urandom(700)) for row in range(100))
            database.executemany("insert into t values (?, ?)", rows)
        assert reader.execute("select count(*) from t").fetchone() == (
            (batch + 1) * 100,
        )
    try:
        with database:
            database.execute("delete from t")
            raise InterruptedError
    except InterruptedError:
        pass

    assert reader.execute("pragma integrity_check").fetchone() == ("ok",)
    assert reader.execute("select count(*) from t").fetchone() == (1000,)
    reader.close()
    database.close()
    with sqlite3.connect(path) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)
    database.close()


EVERYDAY = """
umask 022
mkdir -p a/b c && echo hello > a/b/f && ln a/b/f c/hard && ln -s ../a/b/f c/soft
touch -d '2001-02-03 04:05:06.789 UTC' a/b/f && chmod 4711 c/hard
truncate -s 1M a/hole && mkfifo c/pipe
stat -c '%n %F %a %h' a a/b c c/pipe && stat -c '%n %s %y %h' a/b/f c/hard
stat -c '%n %s %b' a/hole
readlink c/soft && cat c/soft
mv a/b/f c/moved && mv c a/ && cat a/c/hard
mv a/c/moved a/c/hard && ls -1R .
cp a/c/hard x && cmp x a/c/hard && test ! x -nt a/nothing
find . -printf '%y %m %n %p %l\\n' | sort
rmdir a 2>&1 || true
rm a/nothing 2>&1 || true
mkdir a 2>&1 || true
df --output=itotal . | tail -n 1 | grep -q '[0-9]'
find . -ls | wc -l
rm -rf a x && ls -A
"""

XATTRS = """
touch f && setfattr -n user.one -v 1 f && setfattr -n user.two -v 2 f
getfattr -d f && setfattr -x user.one f && getfattr -d f
getfattr -n user.one f 2>&1 || true
"""


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A folder on tmpfs, which says what is to be said."""
    here = Path("/dev/shm", f"triofuse-{os.getpid()}-{tmp_path.name}")
    here.mkdir()
    yield here
    shutil.rmtree(here)


def test_everyday_commands_say_what_they_say_on_tmpfs(
    mounted: Path, tmpfs: Path
) -> None:
    assert shell(EVERYDAY, mounted) == shell(EVERYDAY, tmpfs)


@needs("getfattr", "setfattr")
def test_extended_attributes_are_listed_set_and_removed(mounted: Path) -> None:
    said = shell(XATTRS, mounted)

    assert said.count('user.one="1"') == 1
    assert said.count('user.two="2"') == 2
    assert "No such attribute" in said


def test_it_is_listed_as_what_it_is(mounted: Path) -> None:
    (line,) = [
        line
        for line in Path("/proc/self/mounts").read_text().splitlines()
        if f" {mounted} " in line
    ]

    source, _, kind, *_ = line.split()
    assert source == "memfs" or source.endswith("/source")
    assert kind in {"fuse.memfs", "fuse.passthrough"}
