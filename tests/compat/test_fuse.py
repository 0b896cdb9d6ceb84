"""fusepy's and mfusepy's interface, served by triofuse on the real kernel."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import triofuse.compat.fuse as fuse
from tests.compat.programs import Memory, errno_of, served, wait_until_mounted
from tests.conftest import mounts_below

pytestmark = pytest.mark.mount

SECONDS = 20


def test_a_program_with_files_in_memory_works(mountpoint: str) -> None:
    memory = Memory()

    with served(memory, mountpoint) as root:
        (root / "f").write_bytes(b"hello")
        assert (root / "f").read_bytes() == b"hello"
        (root / "f").write_bytes(b"hi")
        (root / "f").chmod(0o600)
        os.utime(root / "f", ns=(5, 10**18 + 7))
        status = (root / "f").stat()
        assert (status.st_size, stat.S_IMODE(status.st_mode)) == (2, 0o600)
        assert (status.st_atime_ns, status.st_mtime_ns) == (5, 10**18 + 7)
        os.rename(root / "f", root / "g")
        assert os.listdir(root) == ["g"]
        os.truncate(root / "g", 1)
        assert (root / "g").read_bytes() == b"h"
        (root / "g").unlink()
        assert errno_of(os.stat, root / "g") == errno.ENOENT

    assert memory.calls[0] == ("init", "/")
    assert memory.calls[-1] == ("destroy", "/")


def test_times_are_seconds_without_use_ns(mountpoint: str) -> None:
    class Seconds(Memory):
        use_ns = False

    memory = Seconds()
    with served(memory, mountpoint) as root:
        (root / "f").write_bytes(b"")
        os.utime(root / "f", (1.5, 12.5))
        assert ((root / "f").stat().st_atime, (root / "f").stat().st_mtime) == (
            1.5,
            12.5,
        )

    assert memory.called("utimens") == [("/f", (1.5, 12.5))]


def test_a_time_that_is_not_changed_stays(mountpoint: str) -> None:
    memory = Memory()
    with served(memory, mountpoint) as root:
        (root / "f").write_bytes(b"")
        os.utime(root / "f", ns=(111, 222))
        subprocess.run(["touch", "-m", "-d", "@5", root / "f"], check=True)

    assert memory.called("utimens")[-1] == ("/f", (111, 5 * 10**9))


def test_what_fails_has_its_errno(mountpoint: str, caplog: Any) -> None:
    class Failing(Memory):
        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            if path == "/bug":
                raise ZeroDivisionError
            if path == "/odd":
                raise OSError
            return super().getattr(path, fh)

        def unlink(self, path: str) -> int:
            return -errno.EBUSY

    with served(Failing(), mountpoint) as root:
        (root / "f").write_bytes(b"")
        assert errno_of(os.stat, root / "bug") == errno.EINVAL
        assert errno_of(os.stat, root / "odd") == errno.EINVAL
        assert errno_of(os.unlink, root / "f") == errno.EBUSY
        assert errno_of(os.mkdir, root / "d") == errno.EPERM  # not implemented

    assert "getattr raised ZeroDivisionError" in caplog.text


def test_a_program_that_changes_nothing_is_read_only(mountpoint: str) -> None:
    class Empty(fuse.Operations):
        pass

    with served(Empty(), mountpoint) as root:
        assert errno_of(os.mkdir, root / "d") == errno.EROFS
        assert stat.S_ISDIR(root.stat().st_mode)


def test_raw_fi_shows_and_takes_the_whole_open_file(mountpoint: str) -> None:
    class Raw(Memory):
        def open(self, path: str, fi: fuse.fuse_file_info) -> int:
            fi.fh = 4711
            fi.direct_io = 1
            self.note("open", path, fi.flags & os.O_ACCMODE)
            return 0

        def create(self, path: str, mode: int, fi: fuse.fuse_file_info) -> int:  # type: ignore[override]
            super().create(path, mode)
            fi.fh = 4712
            return 0

        def read(self, path: str, size: int, offset: int, fi: Any) -> bytes:
            self.note("read", size, fi.fh)
            return bytes(self.files[path][offset : offset + size])

    raw = Raw()
    with served(raw, mountpoint, raw_fi=True) as root:
        (root / "f").write_bytes(b"abc")
        fd = os.open(root / "f", os.O_RDONLY)
        assert os.read(fd, 100) == b"abc"
        os.close(fd)

    assert raw.called("open") == [("/f", os.O_RDONLY)]
    assert raw.called("read")[0] == (100, 4711)  # not a page: not cached


def test_the_handle_is_what_open_returned(mountpoint: str) -> None:
    memory = Memory()
    with served(memory, mountpoint) as root:
        (root / "f").write_bytes(b"abc")
        (root / "f").read_bytes()

    assert memory.called("read")[0][-1] == 2
    assert sorted(memory.called("release")) == [("/f", 1), ("/f", 2)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_fuse_get_context_is_the_caller(mountpoint: str) -> None:
    seen: list[tuple[int, int, int]] = []

    class Asking(Memory):
        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            if path == "/who":
                seen.append(fuse.fuse_get_context())
            return super().getattr(path, fh)

    with served(Asking(), mountpoint, allow_other=True, negative_timeout=0):
        with subprocess.Popen(
            ["stat", "who"], cwd=mountpoint, user=12, group=34, stderr=-3
        ) as process:
            process.wait()

    assert seen == [(12, 34, process.pid)]
    assert fuse.fuse_get_context() == (0, 0, 0)


def test_fuse_exit_ends_the_mount(mountpoint: str) -> None:
    class Ending(Memory):
        def truncate(self, path: str, length: int, fh: Any = None) -> int:
            fuse.fuse_exit()
            return 0

    with served(Ending(), mountpoint) as root:
        (root / "f").write_bytes(b"abc")
        os.truncate(root / "f", 0)
        deadline = time.monotonic() + SECONDS
        while mounts_below(mountpoint):
            assert time.monotonic() < deadline

    with pytest.raises(RuntimeError, match="operations of a mount"):
        fuse.fuse_exit()


def test_what_is_no_exception_ends_the_mount_and_is_raised(mountpoint: str) -> None:
    class Leaving(Memory):
        def chmod(self, path: str, mode: int) -> int:
            raise SystemExit(3)

    with pytest.raises(SystemExit):
        with served(Leaving(), mountpoint) as root:
            (root / "f").write_bytes(b"")
            assert errno_of((root / "f").chmod, 0) == errno.EFAULT
            deadline = time.monotonic() + SECONDS
            while mounts_below(mountpoint):
                assert time.monotonic() < deadline


def test_operations_run_in_several_threads(mountpoint: str) -> None:
    together = threading.Barrier(3)

    class Meeting(Memory):
        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            if path.startswith("/meet"):
                together.wait(SECONDS)
            return super().getattr(path, fh)

    with served(Meeting(), mountpoint) as root:
        threads = [
            threading.Thread(target=errno_of, args=(os.stat, root / f"meet{n}"))
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)

    assert not together.broken


def test_nothreads_runs_operations_in_the_thread_that_mounts(mountpoint: str) -> None:
    class Counting(Memory):
        inside = 0
        most = 0
        threads: set[int] = set()  # noqa: RUF012

        def init(self, path: str) -> None:
            self.threads = {threading.get_ident()}

        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            self.threads.add(threading.get_ident())
            self.inside += 1
            self.most = max(self.most, self.inside)
            os.sched_yield()
            self.inside -= 1
            return super().getattr(path, fh)

    counting = Counting()
    with served(counting, mountpoint, nothreads=True) as root:
        threads = [
            threading.Thread(target=errno_of, args=(os.stat, root / f"{n}"))
            for n in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)

    assert (counting.most, len(counting.threads)) == (1, 1)


def test_a_killed_client_of_a_sleeping_operation_is_gone_at_once(
    mountpoint: str,
) -> None:
    asleep, awake = threading.Event(), threading.Event()

    class Sleeping(Memory):
        def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
            asleep.set()
            assert awake.wait(SECONDS)
            return b""

    with served(Sleeping(), mountpoint) as root:
        (root / "f").write_bytes(b"abc")
        with subprocess.Popen(["cat", root / "f"]) as process:
            assert asleep.wait(SECONDS)
            process.kill()
            process.wait(2)
        assert not awake.is_set()
        awake.set()


def test_two_mounts_at_once(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    with served(Memory(), str(one)) as first, served(Memory(), str(two)) as second:
        (first / "a").write_bytes(b"1")
        (second / "b").write_bytes(b"2")
        assert (os.listdir(first), os.listdir(second)) == (["a"], ["b"])


def test_a_removed_open_file_is_usable_until_closed(mountpoint: str) -> None:
    memory = Memory()
    with served(memory, mountpoint) as root, (root / "f").open("w+b") as file:
        (root / "f").unlink()
        file.write(b"still")
        file.flush()
        file.seek(0)
        assert file.read() == b"still"
        assert os.listdir(root) == []
        assert next(iter(memory.files)).startswith("/.fuse_hidden")
        file.close()

    assert memory.files == {}


def test_hard_remove_removes_at_once_and_gives_no_path(mountpoint: str) -> None:
    class ByHandle(Memory):
        def __init__(self) -> None:
            super().__init__()
            self.open_files: dict[int, bytearray] = {}

        def create(self, path: str, mode: int, flags: Any = None) -> int:
            handle = super().create(path, mode, flags)
            self.open_files[handle] = self.files[path]
            return handle

        def read(self, path: str, size: int, offset: int, fh: Any) -> bytes:
            self.note("read", path)
            return bytes(self.open_files[fh][offset : offset + size])

        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            if fh is None:
                return super().getattr(path)
            size = len(self.open_files[fh])
            return {"st_mode": stat.S_IFREG | 0o600, "st_size": size, "st_nlink": 0}

    program = ByHandle()
    with served(program, mountpoint, hard_remove=True, direct_io=True) as root:
        fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
        os.write(fd, b"still")
        (root / "f").unlink()
        assert list(program.files) == []
        assert os.pread(fd, 10, 0) == b"still"
        assert os.fstat(fd).st_size == 5
        os.close(fd)

    assert program.called("read") == [(None,)]
    assert program.called("release") == [(None, 1)]


@pytest.mark.parametrize("use_ino", [False, True])
def test_hard_links_are_one_file_where_the_program_gives_st_ino(
    mountpoint: str,
    use_ino: bool,
) -> None:
    class Linked(Memory):
        def link(self, target: str, source: str) -> int:
            self.files[target] = self.files[source]
            self.status[target] = self.status[source]
            self.status[source] |= {"st_ino": 77, "st_nlink": 2}
            return 0

    with served(Linked(), mountpoint, use_ino=use_ino, attr_timeout=60) as root:
        (root / "a").write_bytes(b"one")
        os.link(root / "a", root / "b")
        assert (root / "b").stat().st_size == 3
        with (root / "a").open("ab") as file:
            file.write(b" and two")
        assert (root / "b").stat().st_size == 11
        assert (root / "b").read_bytes() == b"one and two"
        assert (root / "a").stat().st_ino == (root / "b").stat().st_ino


def test_use_ino_shows_the_programs_numbers(mountpoint: str) -> None:
    memory = Memory()
    memory.status["/"]["st_ino"] = 31
    with served(memory, mountpoint, use_ino=True) as root:
        assert root.stat().st_ino == 31


def test_init_with_config_negotiates(mountpoint: str) -> None:
    class Negotiating(Memory):
        def init_with_config(
            self, conn: fuse.fuse_conn_info, config: fuse.fuse_config
        ) -> None:
            assert conn.max_write >= 4096
            conn.max_write = 8192
            config.nullpath_ok = 1
            config.use_ino = 1
            config.attr_timeout = 100
            self.note("init_with_config")

        def read(self, path: str | None, size: int, offset: int, fh: Any) -> bytes:
            assert path is None
            return b"x"

        def write(self, path: str | None, data: bytes, offset: int, fh: Any) -> int:
            assert path is None
            self.note("write", len(data))
            self.files["/f"].extend(data)
            return len(data)

    program = Negotiating()
    program.status["/"]["st_ino"] = 12
    with served(program, mountpoint, direct_io=True) as root:
        fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
        os.write(fd, bytes(20000))
        assert os.read(fd, 1) == b"x"
        os.close(fd)
        assert root.stat().st_ino == 12

    assert ("init_with_config",) in program.calls
    assert ("init", "/") not in program.calls
    assert max(size for (size,) in program.called("write")) == 8192


def test_flag_nullpath_ok_gives_no_path_to_operations_on_open_files(
    mountpoint: str,
) -> None:
    class Nullpath(Memory):
        flag_nullpath_ok = True
        flag_nopath = True

        def release(self, path: str | None, fh: Any) -> int:
            self.note("release", path, fh)
            return 0

    program = Nullpath()
    with served(program, mountpoint) as root:
        os.close(os.open(root / "f", os.O_RDWR | os.O_CREAT))

    assert program.called("release") == [(None, 1)]


def test_missing_names_are_cached_for_negative_timeout(mountpoint: str) -> None:
    class Counting(Memory):
        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            self.note("getattr", path)
            return super().getattr(path, fh)

    asked = {}
    for timeout in (0, 100):
        program = Counting()
        with served(program, mountpoint, negative_timeout=timeout) as root:
            for _ in range(5):
                errno_of(os.stat, root / "absent")
        asked[timeout] = program.called("getattr").count(("/absent",))

    assert asked == {0: 5, 100: 1}


def test_kernel_cache_keeps_data_over_opens(mountpoint: str) -> None:
    reads = {}
    for name in ("kernel_cache", "default_permissions", "direct_io"):
        memory = Memory()
        with served(memory, mountpoint, **{name: True}) as root:
            (root / "f").write_bytes(b"abc")
            for _ in range(2):
                fd = os.open(root / "f", os.O_RDONLY)
                for _ in range(3):
                    assert os.pread(fd, 3, 0) == b"abc"
                os.close(fd)
        reads[name] = len(memory.called("read"))

    assert reads == {"kernel_cache": 1, "default_permissions": 2, "direct_io": 6}


def test_rename_flags_reach_programs_that_take_them(mountpoint: str) -> None:
    class Flagged(Memory):
        def rename(self, old: str, new: str, flags: int = 0) -> int:
            self.note("rename2", old, new, flags)
            return 0

    libc = ctypes.CDLL(None, use_errno=True)

    def exchange(root: Path) -> int:
        old, new = os.fsencode(root / "a"), os.fsencode(root / "b")
        return libc.renameat2(-100, old, -100, new, 2) and ctypes.get_errno()

    flagged, plain = Flagged(), Memory()
    for program, expected in ((flagged, 0), (plain, errno.EINVAL)):
        with served(program, mountpoint) as root:
            (root / "a").write_bytes(b"")
            (root / "b").write_bytes(b"")
            assert exchange(root) == expected

    assert flagged.called("rename2") == [("/a", "/b", 2)]
    assert plain.called("rename") == []


def test_locks_reach_the_program(mountpoint: str) -> None:
    class Locking(Memory):
        def lock(self, path: str, fh: Any, cmd: int, lock: int) -> int:
            flock = fuse.c_flock.from_address(lock)
            self.note("lock", cmd, flock.l_type, flock.l_start, flock.l_len)
            if cmd == fcntl.F_SETLK and flock.l_start == 100:
                return -errno.EAGAIN
            return 0

        def flock(self, path: str, fh: Any, op: int) -> int:
            self.note("flock", op)
            return 0

    program = Locking()
    with served(program, mountpoint) as root, (root / "f").open("wb") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        with pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 100)
        fcntl.flock(file, fcntl.LOCK_SH)

    taken = (fcntl.F_SETLK, fcntl.F_WRLCK, 5, 10)
    assert program.called("lock")[0] == taken
    assert program.called("lock")[-1][:2] == (fcntl.F_SETLK, fcntl.F_UNLCK)
    assert program.called("flock") == [(fcntl.LOCK_SH,), (fcntl.LOCK_UN,)]


def test_ioctl_reads_and_writes_the_callers_bytes(mountpoint: str) -> None:
    class Ioctl(Memory):
        def ioctl(
            self, path: str, cmd: int, arg: int, fh: Any, flags: int, data: int
        ) -> int:
            number = ctypes.c_uint32.from_address(data)
            number.value += 1
            return 0

    command = 3 << 30 | 4 << 16 | ord("M") << 8 | 1  # _IOWR('M', 1, uint32_t)
    with served(Ioctl(), mountpoint) as root, (root / "f").open("wb") as file:
        assert fcntl.ioctl(file, command, struct.pack("I", 41)) == struct.pack("I", 42)


def test_extended_attributes_statfs_and_links(mountpoint: str) -> None:
    class More(Memory):
        def __init__(self) -> None:
            super().__init__()
            self.xattrs: dict[str, bytes] = {}

        def setxattr(
            self, path: str, name: str, value: bytes, options: int, position: int = 0
        ) -> int:
            self.xattrs[name] = value
            return 0

        def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
            if name not in self.xattrs:
                raise fuse.FuseOSError(fuse.ENOATTR)
            return self.xattrs[name]

        def listxattr(self, path: str) -> list[str]:
            return list(self.xattrs)

        def removexattr(self, path: str, name: str) -> int:
            del self.xattrs[name]
            return 0

        def statfs(self, path: str) -> dict[str, int]:
            return {"f_bsize": 512, "f_blocks": 4096, "f_bavail": 2048}

        def symlink(self, target: str, source: str) -> int:
            self.status[target] = {"st_mode": stat.S_IFLNK | 0o777}
            self.files[target] = bytearray(source.encode())
            return 0

        def readlink(self, path: str) -> str:
            return self.files[path].decode()

        def access(self, path: str, amode: int) -> int:
            return -errno.EACCES if amode & os.W_OK else 0

    with served(More(), mountpoint) as root:
        (root / "f").write_bytes(b"")
        os.setxattr(root / "f", "user.a", b"1")
        assert os.getxattr(root / "f", "user.a") == b"1"
        assert os.listxattr(root / "f") == ["user.a"]
        os.removexattr(root / "f", "user.a")
        assert errno_of(os.getxattr, root / "f", "user.a") == errno.ENODATA
        os.symlink("f", root / "l")
        assert os.readlink(root / "l") == "f"
        status = os.statvfs(root)
        assert (status.f_bsize, status.f_bavail) == (512, 2048)
        assert os.access(root / "f", os.R_OK)
        assert not os.access(root / "f", os.W_OK)


def test_listings_have_names_types_and_offsets(mountpoint: str) -> None:
    class Listing(Memory):
        def readdir_with_offset(self, path: str, offset: int, fh: Any) -> Any:
            entries = [".", "..", *(f"{n:04}" for n in range(1000))]
            for place, name in enumerate(entries[offset : offset + 300], offset + 1):
                yield name, {"st_mode": stat.S_IFREG}, place

    class Typed(Memory):
        def readdir(self, path: str, fh: Any) -> list[Any]:
            return [("d", stat.S_IFDIR, 0), ("f", {"st_mode": stat.S_IFREG}, 0), "x"]

    with served(Listing(), mountpoint) as root:
        assert sorted(os.listdir(root)) == [f"{n:04}" for n in range(1000)]
    with served(Typed(), mountpoint) as root, os.scandir(root) as entries:
        types = {
            entry.name: entry.is_dir(follow_symlinks=False)
            for entry in entries
            if entry.name != "x"
        }
    assert types == {"d": True, "f": False}


def test_names_are_in_the_programs_encoding(mountpoint: str) -> None:
    memory = Memory()
    with served(memory, mountpoint, encoding="latin-1") as root:
        with open(os.fsencode(root) + b"/\xe4", "wb"):
            pass
        assert os.listdir(os.fsencode(root)) == [b"\xe4"]

    assert memory.called("create")[0][0] == "/ä"


def test_a_call_operator_of_its_own_sees_all_calls(mountpoint: str) -> None:
    class Rooted(Memory):
        def __call__(self, op: str, *args: Any) -> Any:
            if op not in ("init", "destroy"):
                args = ("/" if args[0] == "/" else "/under" + args[0], *args[1:])
            return super().__call__(op, *args)

    rooted = Rooted()
    with served(rooted, mountpoint) as root:
        (root / "f").write_bytes(b"x")

    assert list(rooted.files) == ["/under/f"]


def test_calls_are_logged(mountpoint: str, caplog: Any) -> None:
    class Logged(fuse.LoggingMixIn, Memory):
        pass

    class Once(Memory):
        @fuse.log_callback
        @fuse.overrides(fuse.Operations)
        def chmod(self, path: str, mode: int) -> int:
            return super().chmod(path, mode)

    caplog.set_level(logging.DEBUG, logger="fuse.log-mixin")
    with served(Logged(), mountpoint) as root:
        (root / "f").write_bytes(b"")
    assert "-> create ('/f'," in caplog.text
    assert "<- create 1" in caplog.text
    caplog.clear()
    with served(Once(), mountpoint) as root:
        (root / "f").write_bytes(b"")
        (root / "f").chmod(0o600)
    assert "-> chmod" in caplog.text
    assert "create" not in caplog.text


def test_overrides_refuses_what_is_no_operation() -> None:
    def nothing() -> None: ...

    with pytest.raises(AssertionError, match=r"no method nothing\(\)"):
        fuse.overrides(fuse.Operations)(nothing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attr_timeout": "long"}, "attr_timeout takes a number, not 'long'"),
        ({"alow_other": True}, "allow_other"),
    ],
)
def test_a_wrong_option_is_an_error(
    mountpoint: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(RuntimeError, match=message):
        fuse.FUSE(Memory(), mountpoint, foreground=True, **options)


def test_a_mountpoint_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nowhere"):
        fuse.FUSE(Memory(), str(tmp_path / "nowhere"), foreground=True)


def test_debug_logs_each_request(mountpoint: str, caplog: Any) -> None:
    logger = logging.getLogger("triofuse.trace")
    try:
        with served(Memory(), mountpoint, debug=True) as root:
            errno_of(os.stat, root / "absent")
    finally:
        logger.setLevel(logging.NOTSET)

    assert "LOOKUP nodeid=1" in caplog.text
    assert "name='absent'" in caplog.text


def test_the_other_operations_reach_the_program(mountpoint: str) -> None:
    class Others(Memory):
        def mkdir(self, path: str, mode: int) -> int:
            self.note("mkdir", path, mode)
            self.status[path] = {"st_mode": stat.S_IFDIR | mode}
            return 0

        def rmdir(self, path: str) -> int:
            self.note("rmdir", path)
            del self.status[path]
            return 0

        def mknod(self, path: str, mode: int, dev: int) -> int:
            self.note("mknod", path, mode, dev)
            self.status[path] = {"st_mode": mode}
            return 0

        def opendir(self, path: str) -> int:
            self.note("opendir", path)
            return 77

        def releasedir(self, path: str, fh: int) -> int:
            self.note("releasedir", path, fh)
            return 0

        def readdir(self, path: str, fh: int) -> list[Any]:
            self.note("readdir", path, fh)
            return super().readdir(path, fh)

        def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
            self.note("fsyncdir", path, datasync, fh)
            return 0

        def flush(self, path: str, fh: int) -> int:
            self.note("flush", path, fh)
            return -errno.EDQUOT

        def fsync(self, path: str, datasync: int, fh: int) -> int:
            self.note("fsync", path, datasync, fh)
            return 0

        def fallocate(
            self, path: str, mode: int, offset: int, size: int, fh: int
        ) -> int:
            self.note("fallocate", path, mode, offset, size, fh)
            return 0

    program = Others()
    with served(program, mountpoint) as root:
        (root / "d").mkdir(0o700)
        os.chown(root / "d", 5, -1)
        os.listdir(root / "d")
        fd = os.open(root / "d", os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
        (root / "d").rmdir()
        os.mknod(root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        fd = os.open(root / "f", os.O_RDWR | os.O_CREAT)
        os.fdatasync(fd)
        os.posix_fallocate(fd, 1, 2)
        assert errno_of(os.close, fd) == errno.EDQUOT

    assert program.called("mkdir") == [("/d", 0o700)]
    assert program.called("chown") == [("/d", 5, -1)]
    assert program.called("readdir") == [("/d", 77)]
    assert program.called("releasedir") == [("/d", 77), ("/d", 77)]
    assert program.called("fsyncdir") == [("/d", 0, 77)]
    assert program.called("rmdir") == [("/d",)]
    assert program.called("mknod") == [
        ("/null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    ]
    assert program.called("fsync") == [("/f", 1, 1)]
    assert program.called("fallocate") == [("/f", 0, 1, 2, 1)]
    assert program.called("flush") == [("/f", 1)]


def test_attr_and_entry_timeout_are_the_kernels(mountpoint: str) -> None:
    class Counting(Memory):
        def getattr(self, path: str, fh: Any = None) -> dict[str, Any]:
            self.note("getattr", path)
            return super().getattr(path, fh)

    asked = {}
    for timeout in (0, 100):
        program = Counting()
        options = {"attr_timeout": timeout, "entry_timeout": timeout}
        with served(program, mountpoint, **options) as root:
            (root / "f").write_bytes(b"x")
            os.stat(root / "f")
            before = len(program.called("getattr"))
            for _ in range(5):
                os.stat(root / "f")
            asked[timeout] = len(program.called("getattr")) - before

    assert asked[100] == 0
    assert asked[0] >= 5


def test_owners_and_modes_can_be_overruled(mountpoint: str) -> None:
    with served(Memory(), mountpoint, uid=7, gid=8, umask="027") as root:
        (root / "f").write_bytes(b"x")
        status = (root / "f").stat()

    assert (status.st_uid, status.st_gid) == (7, 8)
    assert stat.S_IMODE(status.st_mode) == 0o750


def test_the_module_has_the_names_of_both() -> None:
    assert (fuse.fuse_version_major, fuse.ENOTSUP) == (3, errno.ENOTSUP)
    assert fuse.fuse_version_minor >= 10
    assert all(hasattr(fuse, name) for name in fuse.__all__)


def test_the_table_names_every_operation_and_its_test() -> None:
    table = Path(__file__).with_name("FUSE.md").read_text()
    rows = [line.split("|")[1:3] for line in table.splitlines() if line[:1] == "|"][2:]
    tests = {test.strip() for _, test in rows}
    named = set(re.findall(r"\w+", table))

    assert {test for test in tests if f"test_{test}" not in globals()} == set()
    operations = {name for name in vars(fuse.Operations) if not name.startswith("_")}
    assert operations - named == set()
    assert set(fuse.__all__) - named == set()


PROGRAM = """
import sys
import triofuse.compat.fuse as fuse
from tests.compat.programs import Memory

try:
    fuse.FUSE(Memory(), sys.argv[1], foreground=len(sys.argv) > 2)
except RuntimeError as exc:
    sys.exit(f"failed: {exc}")
print("ended", flush=True)
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments]


def test_a_program_goes_to_the_background_when_it_is_mounted(mountpoint: str) -> None:
    done = subprocess.run(command(mountpoint), timeout=SECONDS, capture_output=True)
    try:
        assert (done.returncode, done.stderr) == (0, b"")
        assert mounts_below(mountpoint) == [mountpoint]
        Path(mountpoint, "f").write_bytes(b"x")
    finally:
        subprocess.run(["umount", mountpoint], check=True)


def test_a_program_that_cannot_be_mounted_fails_in_the_foreground(
    tmp_path: Path,
) -> None:
    missing = str(tmp_path / "nowhere")
    done = subprocess.run(
        command(missing), timeout=SECONDS, capture_output=True, text=True
    )

    assert done.returncode == 1
    assert "failed: " in done.stderr
    assert "nowhere" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_unmount_and_the_program_goes_on(
    mountpoint: str, number: signal.Signals
) -> None:
    with subprocess.Popen(command(mountpoint, "-f"), stdout=-1, text=True) as process:
        wait_until_mounted(mountpoint)
        process.send_signal(number)
        said, _ = process.communicate(timeout=SECONDS)

    assert (process.returncode, said) == (0, "ended\n")
    assert mounts_below(mountpoint) == []
