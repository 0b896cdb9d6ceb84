"""Programs copy files of trees whole: generated ones, and those that grow meanwhile."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import triofuse
from triofuse import Directory, DiskFile, File, Generated, Tree

pytestmark = pytest.mark.mount

TEXT = "".join(f"line {number}\n" for number in range(20_000))


def _run(*command: object, cwd: Path | None = None) -> None:
    words = list(map(str, command))
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def cp(source: Path, target: Path) -> None:
    _run("cp", "-r", f"{source}/.", target)


def tar(source: Path, target: Path) -> None:
    archive = target / "archive.tar"
    _run("tar", "-cf", archive, "--warning=no-file-changed", "-C", source, ".")
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    archive.unlink()


def rsync(source: Path, target: Path) -> None:
    _run("rsync", "-a", f"{source}/", f"{target}/")


def git(source: Path, target: Path) -> None:
    where = target.with_name("git")
    git = ["git", f"--git-dir={where}", "-c", "safe.directory=*"]
    _run(*git, f"--work-tree={source}", "init", "-q")
    _run(*git, f"--work-tree={source}", "add", "-A")
    _run(*git, f"--work-tree={target}", "checkout-index", "-a")


def named(copy: Callable[[Path, Path], None]) -> str:
    return copy.__name__


COPIES = pytest.mark.parametrize("copy", [cp, tar, rsync, git], ids=named)


async def copied(
    tree: Tree, mountpoint: str, copy: Callable[[Path, Path], None], target: Path
) -> dict[str, str]:
    """Copy all of a mounted tree; return names and contents."""
    if shutil.which(copy.__name__) is None:
        pytest.skip(f"there is no {copy.__name__}")
    target.mkdir()
    async with triofuse.mount(tree, mountpoint, strict=True):
        await trio.to_thread.run_sync(copy, Path(mountpoint), target)
    return {
        str(path.relative_to(target)): path.read_text()
        for path in target.rglob("*")
        if path.is_file()
    }


@COPIES
async def test_generated_files_are_copied_whole(
    copy: Callable[[Path, Path], None], mountpoint: str, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.write_text(TEXT)
    root = Directory(
        {
            "generated": Generated(lambda: TEXT, sized=True),
            "below": {"memory": TEXT, "disk": DiskFile(disk)},
        }
    )

    got = await copied(Tree(root), mountpoint, copy, tmp_path / "target")

    assert got == {"generated": TEXT, "below/memory": TEXT, "below/disk": TEXT}


async def test_cp_copies_what_has_no_known_size(
    mountpoint: str, tmp_path: Path
) -> None:
    root = Directory({"unknown": Generated(lambda: TEXT)})

    got = await copied(Tree(root), mountpoint, cp, tmp_path / "target")

    assert got == {"unknown": TEXT}


async def test_contents_that_differ_each_time_are_those_whose_size_was_shown(
    mountpoint: str, tmp_path: Path
) -> None:
    numbers = itertools.count(1)
    root = Directory({"n": Generated(lambda: "x" * next(numbers) * 10, sized=True)})

    got = await copied(Tree(root), mountpoint, tar, tmp_path / "target")

    assert set(got["n"]) == {"x"}
    assert len(got["n"]) % 10 == 0


@pytest.mark.parametrize("copy", [cp, rsync], ids=named)
async def test_a_file_that_grows_is_copied_up_to_where_it_was(
    copy: Callable[[Path, Path], None], mountpoint: str, tmp_path: Path
) -> None:
    log = File(TEXT)
    tree, begun = Tree({"log": log}), len(TEXT)

    async def grow() -> None:
        for _ in range(2_000):  # a program that reads must get to an end
            log.content += b"one more line\n"
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(grow)
        got = await copied(tree, mountpoint, copy, tmp_path / "target")
        nursery.cancel_scope.cancel()

    assert len(got["log"]) >= begun
    assert log.content.decode().startswith(got["log"])


@pytest.mark.parametrize("name", ["git", "tar", "cp"])
async def test_a_writable_tree_takes_a_repository(name: str, mountpoint: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name}")
    tree = Tree(Directory(writable=True))

    def work() -> None:
        root = Path(mountpoint)
        source = root / "source"
        source.mkdir()
        for number in range(30):
            (source / f"{number}").write_text(TEXT[: number * 100])
        if name == "git":
            _run("git", "init", "-q", cwd=source)
            _run("git", "add", "-A", cwd=source)
            _run("git", "clone", "-q", source, root / "copy")
            _run("git", "fsck", "--strict", cwd=root / "copy")
        elif name == "tar":
            (root / "copy").mkdir()
            tar(source, root / "copy")
            _run("diff", "-r", source, root / "copy")
        else:
            _run("cp", "-a", source, root / "copy")
            _run("diff", "-r", source, root / "copy")
            assert os.stat(root / "copy").st_nlink == 2

    async with triofuse.mount(tree, mountpoint, strict=True):
        await trio.to_thread.run_sync(work)
