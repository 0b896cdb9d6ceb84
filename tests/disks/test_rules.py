"""Rules: what a script says happens, on a real mount and on a fake kernel."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

import triofuse
from tests.clients import Kernel, fake_kernel, real_kernel
from triofuse.faults import Disk, Faults, Operation
from triofuse.faults.names import OPERATIONS
from triofuse.testing import open_kernel

MIB = 1 << 20

each_kernel = pytest.mark.parametrize(
    "kernel",
    [pytest.param(real_kernel, marks=pytest.mark.mount), fake_kernel],
    ids=["real", "fake"],
)


@contextmanager
def fails(error: int) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == error, caught.value


# --- On both kernels


@each_kernel
async def test_a_write_fails_after_so_many(kernel: Kernel, mountpoint: str) -> None:
    disk = Disk()
    rule = disk.fail("write", errno.ENOSPC, after=2)
    async with kernel(disk, mountpoint) as client:
        await client.write("a", b"1")
        await client.write("b", b"2")
        with fails(errno.ENOSPC):
            await client.write("c", b"3")
        rule.remove()
        await client.write("d", b"4")

    assert (rule.seen, rule.done) == (3, 1)
    assert [one.path for one in disk.operations if one.name == "write"] == list("abcd")


@each_kernel
async def test_a_rule_is_for_a_pattern_and_once(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk({"sub": {}})
    disk.fail("create", errno.EIO, path="*.db", once=True)
    disk.fail("mkdir", errno.EROFS, path="sub/*")
    async with kernel(disk, mountpoint) as client:
        await client.write("a.txt", b"")
        with fails(errno.EIO):
            await client.write("sub/a.db", b"")
        await client.write("sub/a.db", b"")
        await client.mkdir("other")
        with fails(errno.EROFS):
            await client.mkdir("sub/other")


@each_kernel
async def test_a_rename_is_known_by_either_name(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk({"a": "", "b": ""})
    disk.fail("rename", errno.EIO, path="c")
    async with kernel(disk, mountpoint) as client:
        with fails(errno.EIO):
            await client.rename("a", "c")
        await client.rename("a", "b")
        disk.fail("rename", errno.EDQUOT, path="b")
        with fails(errno.EDQUOT):
            await client.rename("b", "d")

    renames = [str(one) for one in disk.operations if one.name.startswith("rename")]
    assert renames == [
        "rename a -> c EIO [EIO]",
        "rename a -> b",
        "rename b -> d EDQUOT [EDQUOT]",
    ]


@each_kernel
async def test_the_path_follows_renames_of_directories(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk({"one": {"x": "hello"}})
    async with kernel(disk, mountpoint) as client:
        assert await client.read("one/x") == b"hello"
        await client.rename("one", "two")
        disk.fail("open", errno.EACCES, path="two/x")
        with fails(errno.EACCES):
            await client.read("two/x")


@each_kernel
async def test_probability_is_drawn_with_a_seed(
    kernel: Kernel, mountpoint: str
) -> None:
    outcomes = []
    for seed in (1, 1, 2):
        disk = Disk()
        disk.fail("mkdir", errno.EIO, probability=0.5, seed=seed)
        async with kernel(disk, mountpoint) as client:
            for number in range(20):
                with suppress(OSError):
                    await client.mkdir(f"d{number}")
            outcomes.append(await client.names(""))

    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert 3 < len(outcomes[0]) < 17


@each_kernel
async def test_a_hanging_call_goes_on_when_it_is_released(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk()
    rule = disk.hang("mkdir")
    done = []
    async with kernel(disk, mountpoint) as client, trio.open_nursery() as nursery:

        async def make() -> None:
            await client.mkdir("x")
            done.append("made")

        nursery.start_soon(make)
        with trio.fail_after(20):
            while not rule.blocked:
                await trio.sleep(0.001)
        assert not done
        await trio.to_thread.run_sync(rule.release)
        with trio.fail_after(20):
            while not done:
                await trio.sleep(0.001)


@each_kernel
async def test_a_full_disk_takes_what_fits(kernel: Kernel, mountpoint: str) -> None:
    disk = Disk()
    async with kernel(disk, mountpoint) as client:
        await client.write("a", bytes(3 * 4096))
        rule = disk.full(at=8 * 4096)
        with fails(errno.ENOSPC):
            for number in range(9):
                await client.write(f"b{number}", bytes(4096))
        with fails(errno.ENOSPC):
            await client.mkdir("d")
        await client.write("a", bytes(4096))  # what is there may be written over
        rule.remove()
        await client.mkdir("d")


@each_kernel
async def test_what_is_ignored_is_not_there_later(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk({"a": "old"})
    async with kernel(disk, mountpoint) as client:
        disk.ignore(["write", "setattr"], path="a")
        disk.ignore("unlink")
        await client.write("a", b"new")
        await client.unlink("a")
    disk.power_cut()
    async with kernel(disk, mountpoint) as client:
        assert await client.read("a") == b"old"


@each_kernel
async def test_bytes_are_corrupted_by_a_seed(kernel: Kernel, mountpoint: str) -> None:
    read = []
    for seed in (1, 1, 2):
        disk = Disk({"a": bytes(1000)})
        disk.corrupt("read", 3, seed=seed)
        async with kernel(disk, mountpoint) as client:
            read.append(await client.read("a"))

    assert read[0] == read[1] != read[2]
    assert sum(map(bool, read[0])) == 3
    assert all(byte.bit_count() <= 1 for byte in read[0])


@each_kernel
async def test_written_bytes_are_corrupted_on_the_disk(
    kernel: Kernel, mountpoint: str
) -> None:
    disk = Disk()
    disk.corrupt("write", 100, how="zeros")
    async with kernel(disk, mountpoint) as client:
        await client.write("a", b"x" * 100)
    disk.sync()
    disk.power_cut()
    async with kernel(disk, mountpoint) as client:
        assert await client.read("a") == bytes(100)


@each_kernel
async def test_the_layer_is_around_any_filesystem(
    kernel: Kernel, mountpoint: str
) -> None:
    faults = Faults(triofuse.ReadOnly(triofuse.Tree({"a": "hello"})))
    async with kernel(faults, mountpoint) as client:
        assert await client.read("a") == b"hello"
        faults.fail("open", errno.EMFILE)
        with fails(errno.EMFILE):
            await client.read("a")
        with fails(errno.EROFS):
            await client.mkdir("d")
    assert faults.operations == []


@each_kernel
async def test_without_a_rule_the_inner_methods_are_called(
    kernel: Kernel, mountpoint: str
) -> None:
    tree = triofuse.Tree({"a": "hello"})
    faults = Faults(tree)
    table = faults._calls.table

    assert table["read"] == tree.read
    with faults.fail("read", errno.EIO):
        assert table["read"] != tree.read
        assert table["write"] == tree.write
    assert table["read"] == tree.read


async def test_a_delay_is_in_the_time_of_trio(autojump_clock: MockClock) -> None:
    disk = Disk()
    disk.delay("mkdir", 1000.0)
    async with open_kernel(disk) as kernel:
        before = trio.current_time()
        await kernel.mkdir(1, "d")
        assert trio.current_time() - before >= 1000


async def test_several_rules_apply_in_the_order_in_which_they_were_made(
    autojump_clock: MockClock,
) -> None:
    disk = Disk()
    disk.delay("mkdir", 5.0)
    disk.fail("mkdir", errno.EIO)
    never = disk.delay("mkdir", 500.0)
    async with open_kernel(disk) as kernel:
        before = trio.current_time()
        with fails(errno.EIO):
            await kernel.mkdir(1, "d")
        assert 5 <= trio.current_time() - before < 500

    assert never.done == 1
    assert disk.operations[-1].faults == ("delay 5 s", "EIO", "delay 500 s")


# --- Words


def test_a_name_that_is_no_operation_is_explained() -> None:
    disk = Disk()
    for name, words in [
        ("wirte", "did you mean 'write'"),
        ("close", "close\\(2\\) comes as the operation 'flush'"),
        ("nothing like it", "there is no operation"),
    ]:
        with pytest.raises(ValueError, match=words):
            disk.fail(name, errno.EIO)


def test_conditions_that_make_no_sense_are_refused() -> None:
    disk = Disk()
    with pytest.raises(TypeError, match="a rule has no paht=; its conditions are"):
        disk.fail("write", errno.EIO, paht="x")  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="contradict"):
        disk.fail("write", errno.EIO, once=True, times=3)
    with pytest.raises(ValueError, match="takes an errno, not 0"):
        disk.fail("write", 0)
    with pytest.raises(
        ValueError, match=r"short\(\) is for read, write; not for fsync"
    ):
        disk.short("fsync", 1)
    with pytest.raises(ValueError, match="cannot make up a result"):
        disk.ignore("lookup")
    with pytest.raises(ValueError, match="'flip', 'zeros' or 'random'"):
        disk.corrupt("read", how="bits")
    with pytest.raises(ValueError, match="is one of dirty, clean, reverted"):
        disk.fail("fsync", errno.EIO, pages="gone")
    with pytest.raises(ValueError, match=r"is for fail\('fsync', ...\), not 'write'"):
        disk.fail("write", errno.EIO, pages="clean")
    assert disk.rules == ()


def test_a_rule_for_what_the_filesystem_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Tree has no bmap\(\), so the kernel never"):
        Faults(triofuse.Tree({})).fail("bmap", errno.EIO)


def test_every_operation_can_be_named() -> None:
    for name in OPERATIONS:
        Disk().fail("*", errno.EIO)
        assert name in Disk().fail([name, "write"], errno.EIO).where.operations


# --- On a real mount, from the test's own thread


@pytest.mark.mount
def test_the_caller_is_a_condition(disk: Disk) -> None:
    disk.fail("create", errno.EACCES, caller="touch")
    disk.fail("mkdir", errno.EACCES, caller=os.getpid())

    assert subprocess.run(["touch", disk / "x"], capture_output=True).returncode == 1
    (disk / "y").touch()
    assert subprocess.run(["mkdir", disk / "d"]).returncode == 0
    with fails(errno.EACCES):
        (disk / "e").mkdir()


@pytest.mark.mount
def test_any_function_of_the_request_is_a_condition(disk: Disk) -> None:
    disk.fail("write", errno.EIO, when=lambda request: request.offset >= 4096)

    with open(disk / "x", "wb", buffering=0) as file:
        file.write(bytes(4096))
        with fails(errno.EIO):
            file.write(b"x")


@pytest.mark.mount
def test_a_caller_is_killed(disk: Disk) -> None:
    disk.kill("fsync")
    program = "import os, sys; os.fsync(os.open(sys.argv[1], os.O_CREAT))"

    done = subprocess.run([sys.executable, "-c", program, disk / "x"])

    assert done.returncode == -signal.SIGKILL


@pytest.mark.mount
def test_a_rule_for_reading_is_not_hidden_by_the_page_cache(disk: Disk) -> None:
    (disk / "x").write_text("hello")
    assert (disk / "x").read_text() == "hello"

    with open(disk / "x", "rb", buffering=0) as opened:
        with disk.fail("read", errno.EIO, path="x"):
            with fails(errno.EIO):
                opened.read()
            with fails(errno.EIO):
                (disk / "x").read_text()
    assert (disk / "x").read_text() == "hello"


@pytest.mark.mount
def test_rules_for_names_are_not_hidden_by_the_kernels_caches(disk: Disk) -> None:
    (disk / "x").write_text("hello")
    (disk / "x").stat()

    for operation in ("lookup", "getattr"):
        rule = disk.fail(operation, errno.EACCES, path="x", after=1)
        (disk / "x").stat()
        with fails(errno.EACCES):
            (disk / "x").stat()
        rule.remove()
        (disk / "x").stat()


@pytest.mark.mount
def test_a_listing_does_not_hide_names_from_rules(disk: Disk) -> None:
    (disk / "sub").mkdir()
    (disk / "sub/x").touch()
    disk.power_cut(keep=lambda change: True)

    rule = disk.fail("getattr", errno.EACCES, path="x")
    assert os.listdir(disk / "sub") == ["x"]
    with fails(errno.EACCES):
        (disk / "sub/x").stat()
    assert rule.done == 1


@pytest.mark.mount
def test_a_read_is_short(disk: Disk) -> None:
    (disk / "x").write_text("hello")
    disk.short("read", 2)

    fd = os.open(disk / "x", os.O_RDONLY)
    try:
        assert [os.read(fd, 100) for _ in range(4)] == [b"he", b"ll", b"o", b""]
    finally:
        os.close(fd)


@pytest.mark.mount
def test_a_write_is_short(disk: Disk) -> None:
    disk.short("write", 2, times=2)
    fd = os.open(disk / "x", os.O_CREAT | os.O_WRONLY)
    try:
        assert [os.write(fd, b"hello") for _ in range(3)] == [2, 2, 5]
    finally:
        os.close(fd)

    assert (disk / "x").read_text() == "hehehello"


@pytest.mark.mount
def test_close_fails(disk: Disk) -> None:
    (disk / "x").write_text("hello")
    disk.fail("flush", errno.EDQUOT)

    fd = os.open(disk / "x", os.O_WRONLY)
    with fails(errno.EDQUOT):
        os.close(fd)


@pytest.mark.mount
def test_a_full_disk_shows_its_size(disk: Disk) -> None:
    disk.full(at=10 * MIB)
    with fails(errno.ENOSPC):
        (disk / "x").write_bytes(bytes(11 * MIB))

    shown = os.statvfs(disk.path)
    assert shown.f_blocks * shown.f_frsize == 10 * MIB
    assert shown.f_bavail < 4
    assert 9 * MIB < (disk / "x").stat().st_size <= 10 * MIB


@pytest.mark.mount
def test_a_program_that_hangs_can_be_killed(disk: Disk) -> None:
    (disk / "x").touch()
    rule = disk.hang("open")
    with subprocess.Popen(["cat", disk / "x"]) as process:
        guard = threading.Event()
        while not rule.blocked:
            guard.wait(0.001)
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


@pytest.mark.mount
def test_the_log_has_what_a_test_asserts_on(disk: Disk) -> None:
    with open(disk / "x", "wb", buffering=0) as file:
        file.write(b"hello")
        os.fsync(file.fileno())
    os.rename(disk / "x", disk / "y")

    names = ("create", "write", "fsync", "rename")
    assert [one for one in disk.operations if one.name in names] == [
        Operation("create", "x", error=0),
        Operation("write", "x", 0, 5, 0),
        Operation("fsync", "x", error=0),
        Operation("rename", "x -> y", error=0),
    ]
    disk.log()
    assert disk.operations == []


@pytest.mark.mount
def test_scripts_are_changed_while_programs_run(disk: Disk) -> None:
    stop = threading.Event()
    seen: set[int] = set()

    def write() -> None:
        while not stop.is_set():
            try:
                (disk / "x").write_text("hello")
            except OSError as exc:
                seen.add(exc.errno or 0)

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    for error in (errno.EIO, errno.ENOSPC, errno.EDQUOT) * 20:
        with disk.fail("write", error) as rule:
            while not rule.done:
                pass
    stop.set()
    for writer in writers:
        writer.join(20)

    assert seen == {errno.EIO, errno.ENOSPC, errno.EDQUOT}
    (disk / "x").write_text("hello")
