"""Each handler of pyfuse3's `Operations`, on a real mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

import triofuse.compat.pyfuse3 as pyfuse3
from tests.compat.world import FILES, TEXT, Files, in_thread, mounted

pytestmark = pytest.mark.mount


async def done(
    mountpoint: str, use: Callable[[Path], object], *options: str
) -> tuple[Files, object]:
    """Return the filesystem after a client has used it, and what the client returned."""
    files = Files()
    async with mounted(files, mountpoint, *options):
        result = await in_thread(use, Path(mountpoint))
    return files, result


async def test_a_file_is_looked_up_opened_read_flushed_and_released(
    mountpoint: str,
) -> None:
    files, text = await done(mountpoint, lambda root: (root / "message").read_bytes())

    assert text == TEXT
    assert files.named("init") == [()]
    ((parent, name, uid, pid),) = files.named("lookup")
    assert (parent, name, uid) == (1, b"message", os.getuid())
    assert pid > 0
    ((inode, flags),) = files.named("open")
    assert inode == 2
    assert flags & os.O_ACCMODE == os.O_RDONLY
    assert files.named("flush") == files.named("release") == [(2,)]


async def test_a_missing_name_is_enoent(mountpoint: str) -> None:
    _, exists = await done(mountpoint, lambda root: (root / "none").exists())

    assert not exists


async def test_a_negative_entry_is_cached(mountpoint: str) -> None:
    def look_twice(root: Path) -> None:
        assert not (root / "negative").exists()
        assert not (root / "negative").exists()

    files, _ = await done(mountpoint, look_twice)

    assert len(files.named("lookup")) == 1


async def test_forgotten_inodes_are_reported_with_their_number(mountpoint: str) -> None:
    files = Files()
    async with mounted(files, mountpoint):
        await in_thread((Path(mountpoint) / "message").stat)
        pyfuse3.invalidate_entry(1, b"message")
        await files.wait_for("forget")

    assert files.named("forget") == [(2, 1)]
    assert files.lookups[2] == 0


async def test_attributes_are_shown(mountpoint: str) -> None:
    _, status = await done(mountpoint, lambda root: (root / "message").stat())

    assert isinstance(status, os.stat_result)
    assert (status.st_ino, status.st_size) == (2, len(TEXT))
    assert status.st_mtime_ns == 1_500_000_000_7


async def test_setattr_says_what_is_new(mountpoint: str) -> None:
    def change(root: Path) -> None:
        path = root / "message"
        path.chmod(0o600)
        os.utime(path, ns=(1, 2))
        os.truncate(path, 5)
        with path.open("r+b") as file:
            os.ftruncate(file.fileno(), 6)

    files, _ = await done(mountpoint, change)

    mode, times, size, by_handle = files.named("setattr")
    assert mode[1] == ["mode"]
    assert stat.S_IMODE(mode[2].st_mode) == 0o600
    assert times[1] == ["atime", "mtime"]
    assert (times[2].st_atime_ns, times[2].st_mtime_ns) == (1, 2)
    assert "size" in size[1]
    assert (size[2].st_size, size[3]) == (5, None)
    assert (by_handle[2].st_size, by_handle[3]) == (6, 2)


async def test_o_trunc_comes_with_open(mountpoint: str) -> None:
    files, _ = await done(mountpoint, lambda root: (root / "message").write_bytes(b"x"))

    assert files.named("open")[0][1] & os.O_TRUNC
    assert files.named("setattr") == []
    assert files.named("write") == [(2, 0, b"x")]


async def test_names_are_made_with_mode_and_umask(mountpoint: str) -> None:
    def make(root: Path) -> tuple[int, int]:
        (root / "dir").mkdir(0o750)
        os.mknod(root / "pipe", stat.S_IFIFO | 0o600)
        os.close(os.open(root / "file", os.O_CREAT | os.O_WRONLY, 0o640))
        (root / "sym").symlink_to(b"to\xff".decode("utf-8", "surrogateescape"))
        os.link(root / "message", root / "linked")
        return os.umask(0), os.umask(0)

    former = os.umask(0o022)
    try:
        files, _ = await done(mountpoint, make)
    finally:
        os.umask(former)

    assert files.named("mkdir") == [(b"dir", stat.S_IFDIR | 0o750, 0o022)]
    assert files.named("mknod") == [(b"pipe", stat.S_IFIFO | 0o600, 0, 0o022)]
    assert files.named("create") == [(b"file", stat.S_IFREG | 0o640, 0o022)]
    assert files.named("symlink") == [(b"sym", b"to\xff")]
    assert files.named("link") == [(2, 1, b"linked")]


async def test_names_are_removed_and_renamed(mountpoint: str) -> None:
    def change(root: Path) -> None:
        (root / "made").mkdir()
        (root / "message").unlink()
        (root / "bug").rename(root / "ends")

    files, _ = await done(mountpoint, change)

    assert files.named("unlink") == [(1, b"message")]
    assert files.named("rename") == [(b"bug", b"ends", 0)]


async def test_rename_gets_the_flags_of_renameat2(mountpoint: str) -> None:
    import ctypes

    def exchange(root: Path) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        one, two = os.fsencode(root / "bug"), os.fsencode(root / "message")
        result = libc.renameat2(-100, one, -100, two, pyfuse3.RENAME_EXCHANGE)
        assert isinstance(result, int)
        return result

    files, result = await done(mountpoint, exchange)

    assert result == 0
    assert files.named("rename") == [(b"bug", b"message", pyfuse3.RENAME_EXCHANGE)]


async def test_a_link_is_read(mountpoint: str) -> None:
    def read(root: Path) -> bytes:
        (root / "sym").symlink_to("x")
        return os.readlink(os.fsencode(root / "sym"))

    class Linked(Files):
        async def lookup(
            self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
        ) -> pyfuse3.EntryAttributes:
            if name == b"sym" and self.lookups[22]:
                return self.made(22, stat.S_IFLNK | 0o777)
            return await super().lookup(parent_inode, name, ctx)

    async with mounted(Linked(), mountpoint):
        assert await in_thread(read, Path(mountpoint)) == b"/target\xff"


async def test_a_file_is_written_and_synced(mountpoint: str) -> None:
    def write(root: Path) -> None:
        with (root / "message").open("r+b", buffering=0) as file:
            assert file.write(b"data") == 4
            os.fsync(file.fileno())
            os.fdatasync(file.fileno())
        fd = os.open(root, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    files, _ = await done(mountpoint, write)

    assert files.named("write") == [(2, 0, b"data")]
    assert files.named("fsync") == [(2, False), (2, True)]
    assert files.named("fsyncdir") == [(1, False)]


@pytest.mark.parametrize("page", [0, 1, 2])
async def test_a_directory_is_listed_from_where_it_was(
    mountpoint: str, page: int
) -> None:
    files = Files()
    files.page = page
    async with mounted(files, mountpoint):
        names = await in_thread(os.listdir, mountpoint)

    assert sorted(map(os.fsencode, names)) == sorted(FILES)
    starts = [start for _, start in files.named("readdir")]
    assert starts[0] == 0
    assert files.named("opendir") == files.named("releasedir") == [(1,)]


async def test_every_listed_name_counts_as_a_lookup(mountpoint: str) -> None:
    files, _ = await done(
        mountpoint, lambda root: [path.stat() for path in root.iterdir()]
    )

    assert all(files.lookups[inode] >= 1 for inode in FILES.values())


async def test_a_listing_ends_when_an_entry_finds_no_room(mountpoint: str) -> None:
    from triofuse.compat.pyfuse3.listing import begin, entries_of

    token, entry = begin(152 + 8 + 152 + 7), pyfuse3.EntryAttributes()

    assert pyfuse3.readdir_reply(token, b"12345678", entry, 1)
    assert not pyfuse3.readdir_reply(token, b"12345678", entry, 2)
    assert not pyfuse3.readdir_reply(token, b"1", entry, 3)
    assert [listed.name for listed in entries_of(token)] == ["12345678"]
    with pytest.raises(TypeError, match="bytes"):
        pyfuse3.readdir_reply(token, "a", entry, 1)  # type: ignore[arg-type]


async def test_the_state_of_the_filesystem_is_shown(mountpoint: str) -> None:
    _, state = await done(mountpoint, lambda root: os.statvfs(root))

    assert isinstance(state, os.statvfs_result)
    assert (state.f_bsize, state.f_blocks, state.f_bavail) == (512, 100, 40)
    assert (state.f_files, state.f_ffree, state.f_namemax) == (30, 20, 200)


async def test_extended_attributes_obey_their_flags(mountpoint: str) -> None:
    def use(root: Path) -> None:
        path = str(root / "message")
        with pytest.raises(OSError) as missing:
            os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)
        assert missing.value.errno == errno.ENODATA
        os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
        with pytest.raises(FileExistsError):
            os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)
        os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
        os.setxattr(path, "user.b", b"x" * 300)
        assert os.getxattr(path, "user.a") == b"3"
        assert pyfuse3.getxattr(path, "user.b", size_guess=1) == b"x" * 300
        assert os.listxattr(path) == ["user.a", "user.b"]
        os.removexattr(path, "user.a")
        assert os.listxattr(path) == ["user.b"]

    await done(mountpoint, use)


async def test_stacktrace_is_called_for_its_attribute(mountpoint: str) -> None:
    files, _ = await done(
        mountpoint, lambda root: os.setxattr(root, "fuse_stacktrace", b"")
    )

    assert files.calls == [("init",), ("stacktrace",)]
    assert files.xattrs == {}


async def test_access_says_yes_or_no(mountpoint: str) -> None:
    def ask(root: Path) -> tuple[bool, bool]:
        return os.access(root / "message", os.R_OK), os.access(root / "bug", os.R_OK)

    files, answers = await done(mountpoint, ask)

    assert answers == (True, False)
    assert (2, os.R_OK) in files.named("access")


async def test_access_is_not_asked_with_default_permissions(mountpoint: str) -> None:
    files, allowed = await done(
        mountpoint,
        lambda root: os.access(root / "bug", os.R_OK),
        "default_permissions",
    )

    assert allowed
    assert files.named("access") == []


async def test_an_os_error_of_a_handler_is_its_callers(mountpoint: str) -> None:
    def read(root: Path) -> int | None:
        with pytest.raises(OSError) as caught:
            (root / "oserror").read_bytes()
        return caught.value.errno

    _, number = await done(mountpoint, read)

    assert number == errno.EXDEV


async def test_a_bug_in_a_handler_is_eio_and_the_rest_goes_on(
    mountpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    def read(root: Path) -> bytes:
        with pytest.raises(OSError) as caught:
            (root / "bug").read_bytes()
        assert caught.value.errno == errno.EIO
        return (root / "message").read_bytes()

    _, text = await done(mountpoint, read)

    assert text == TEXT
    assert "Files.read failed" in caplog.text
    assert "ValueError: a bug" in caplog.text


async def test_an_object_with_the_methods_is_enough(mountpoint: str) -> None:
    class Duck:
        def init(self) -> None:
            pass

        async def getattr(
            self, inode: int, ctx: pyfuse3.RequestContext
        ) -> pyfuse3.EntryAttributes:
            return Files().attr(inode)

    pyfuse3.init(Duck(), mountpoint, {"fsname=test"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main)
        status = await in_thread(os.stat, mountpoint)
        pyfuse3.terminate()
    pyfuse3.close()

    assert stat.S_ISDIR(status.st_mode)


async def test_max_tasks_limits_the_handlers_that_run(mountpoint: str) -> None:
    class Counting(Files):
        running = most = 0

        async def getattr(
            self, inode: int, ctx: pyfuse3.RequestContext
        ) -> pyfuse3.EntryAttributes:
            self.running += 1
            self.most = max(self.most, self.running)
            await trio.sleep(0.01)
            self.running -= 1
            return self.attr(inode)

    files = Counting()
    pyfuse3.init(files, mountpoint, {"fsname=test"})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pyfuse3.main, 1, 1)
        async with trio.open_nursery() as clients:
            for _ in range(8):
                clients.start_soon(in_thread, lambda: os.stat(mountpoint))
        pyfuse3.terminate()
    pyfuse3.close()

    assert files.most == 1


async def test_capabilities_follow_the_attributes(mountpoint: str) -> None:
    import triofuse as t
    from triofuse.compat.pyfuse3.bridge import bridge_for

    files = Files()
    files.enable_writeback_cache = files.enable_acl = True
    files.supports_dot_lookup = False
    offered = t.InitFlags.EXPORT_SUPPORT | t.InitFlags.WRITEBACK_CACHE
    config = t.KernelConfig(45, offered | t.InitFlags.POSIX_ACL)
    await bridge_for(files, {"max_background": 7}).init(config)

    assert config.wanted & t.InitFlags.WRITEBACK_CACHE
    assert config.wanted & t.InitFlags.POSIX_ACL
    assert not config.wanted & t.InitFlags.EXPORT_SUPPORT
    assert config.max_background == 7


async def test_a_directory_is_removed(mountpoint: str) -> None:
    class Made(Files):
        async def lookup(
            self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
        ) -> pyfuse3.EntryAttributes:
            if name == b"dir":
                return self.made(20, stat.S_IFDIR | 0o755)
            return await super().lookup(parent_inode, name, ctx)

    files = Made()
    async with mounted(files, mountpoint):
        await in_thread(os.rmdir, f"{mountpoint}/dir")

    assert files.named("rmdir") == [(1, b"dir")]
