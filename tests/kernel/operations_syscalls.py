"""A process of system calls: does what it reads from stdin, says what came of it.

The standard library alone, so that it starts within milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import mmap
import os
import pickle
import platform
import select
import signal
import struct
import sys

from tests.forking import fork

AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
#: Set in all flags of open(2) by a 64-bit kernel; ``os.O_LARGEFILE`` is 0.
O_LARGEFILE = 0x8000
#: Of every client, so that a umask in a request tells something.
UMASK = 0o027

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(
    old: str | os.PathLike[str], new: str | os.PathLike[str], flags: int
) -> None:
    old_path, new_path = os.fsencode(old), os.fsencode(new)
    _checked(_libc.renameat2(AT_FDCWD, old_path, AT_FDCWD, new_path, flags))


def access(path: str, mode: int) -> None:
    """Fail where ``os.access`` only returns False."""
    _checked(_libc.access(os.fsencode(path), mode))


def utime_ns(path: str, atime_ns: int, mtime_ns: int) -> None:
    os.utime(path, ns=(atime_ns, mtime_ns))


def getxattr(path: str, name: str, size: int) -> int:
    """Return what getxattr(2) returns for a buffer of ``size`` bytes."""
    buffer = ctypes.create_string_buffer(size) if size else None
    got = _libc.getxattr(os.fsencode(path), os.fsencode(name), buffer, size)
    return _checked(got)


def listxattr(path: str, size: int) -> int:
    """Return what listxattr(2) returns for a buffer of ``size`` bytes."""
    buffer = ctypes.create_string_buffer(size) if size else None
    return _checked(_libc.listxattr(os.fsencode(path), buffer, size))


_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


def acl(user: int, group: int, other: int, named: dict[int, int], mask: int) -> bytes:
    """Return the value of ``system.posix_acl_access`` (linux/posix_acl_xattr.h)."""
    nobody = 0xFFFFFFFF
    entries = [
        (_USER_OBJ, user, nobody),
        *((_USER, permissions, uid) for uid, permissions in named.items()),
        (_GROUP_OBJ, group, nobody),
        (_MASK, mask, nobody),
        (_OTHER, other, nobody),
    ]
    return struct.pack("=I", 2) + b"".join(struct.pack("=HHI", *e) for e in entries)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    off_t = ctypes.c_longlong
    _checked(_libc.fallocate(fd, mode, off_t(offset), off_t(length)))


def syncfs(fd: int) -> None:
    _checked(_libc.syncfs(fd))


_STATX = struct.Struct("=IIQI12xQQQQ16xqI")


def statx(path: str, mask: int, flags: int = 0) -> dict[str, int]:
    """Return fields of ``struct statx``; times in nanoseconds."""
    buffer = ctypes.create_string_buffer(256)
    _checked(_libc.statx(AT_FDCWD, os.fsencode(path), flags, mask, buffer))
    got, _, attributes, _, ino, size, _, attributes_mask, seconds, ns = (
        _STATX.unpack_from(buffer)
    )
    return {
        "mask": got,
        "attributes": attributes,
        "attributes_mask": attributes_mask,
        "ino": ino,
        "size": size,
        "btime_ns": seconds * 10**9 + ns,
    }


def link_fd(fd: int, path: str) -> None:
    """Give a nameless file a name (open(2), O_TMPFILE)."""
    _checked(_libc.linkat(fd, b"", AT_FDCWD, os.fsencode(path), AT_EMPTY_PATH))


def ioctl(fd: int, command: int, data: bytes) -> tuple[int, bytes]:
    """Return the result of ioctl(2) and what it made of its argument."""
    buffer = bytearray(data)
    return fcntl.ioctl(fd, command, buffer), bytes(buffer)


def fibmap(fd: int, block: int) -> int:
    """Return the block of the device that holds a block of a file."""
    return int.from_bytes(ioctl(fd, 1, block.to_bytes(4, "little"))[1], "little")


#: int f(int fd, unsigned cmd, void *arg): push rbx; mov ebx, edi; mov ecx, esi;
#: mov eax, 54; int 0x80; pop rbx; ret.  The third argument is in edx already.
_IOCTL_I386 = bytes.fromhex("53 89fb 89f1 b836000000 cd80 5b c3")
_MAP_32BIT = 0x40


def ioctl_i386(fd: int, command: int, data: bytes) -> tuple[int, bytes]:
    """Call ioctl(2) as a 32-bit program does."""
    protection = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    shared = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_32BIT
    page = mmap.mmap(-1, mmap.PAGESIZE, shared, protection)
    page[: len(_IOCTL_I386)] = _IOCTL_I386
    page[1024 : 1024 + len(data)] = data
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p
    )
    result = prototype(address)(fd, command, address + 1024)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result, page[1024 : 1024 + len(data)]


def runs_i386() -> bool:
    """Whether the kernel takes the calls of 32-bit programs."""
    if platform.machine() != "x86_64":
        return False
    child = fork()
    if child == 0:  # which a kernel without them kills
        with contextlib.suppress(OSError):
            ioctl_i386(-1, 0, b"")
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


_FLOCK = struct.Struct("=hh4xqqi4x")  # struct flock of a 64-bit program


def lock(fd: int, command: int, kind: int, start: int, length: int) -> tuple[int, ...]:
    """Call fcntl(2) with F_SETLK and its kin; return l_type, l_start, l_len, l_pid."""
    request = _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
    got, _, *where = _FLOCK.unpack(fcntl.fcntl(fd, command, request))
    return got, *where


def poll(fd: int, events: int, timeout: int) -> list[int]:
    """Return the revents of poll(2), none after ``timeout`` milliseconds."""
    waiting = select.poll()
    waiting.register(fd, events)
    return [revents for _, revents in waiting.poll(timeout)]


def read_interruptibly(fd: int) -> int:
    """Read one byte; unlike ``os.read``, fail with EINTR after SIGUSR1."""
    signal.signal(signal.SIGUSR1, lambda *_: None)
    return _checked(_libc.read(fd, ctypes.create_string_buffer(1), 1))


def lock_waiting(fd: int) -> None:
    """Wait for a lock on the whole file."""
    lock(fd, fcntl.F_SETLKW, fcntl.F_WRLCK, 0, 0)


_DIRENT = struct.Struct("=QqHB")  # struct dirent, up to the name

_libc.opendir.restype = _libc.readdir.restype = ctypes.c_void_p
_libc.readdir.argtypes = [ctypes.c_void_p]
_libc.telldir.argtypes = _libc.closedir.argtypes = [ctypes.c_void_p]
_libc.telldir.restype = ctypes.c_long
_libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def opendir(path: str) -> int:
    """Return a ``DIR *``."""
    stream = _libc.opendir(os.fsencode(path))
    if not stream:
        _checked(-1)
    return int(stream)


def readdir(stream: int, count: int = 1 << 20) -> list[tuple[str, int, int]]:
    """Return up to ``count`` entries: name, inode number, cookie of the next."""
    entries: list[tuple[str, int, int]] = []
    ctypes.set_errno(0)
    while len(entries) < count and (record := _libc.readdir(stream)):
        ino, cookie, _, _ = _DIRENT.unpack(ctypes.string_at(record, _DIRENT.size))
        name = os.fsdecode(ctypes.string_at(record + _DIRENT.size))
        entries.append((name, ino, cookie))
    _checked(-ctypes.get_errno())
    return entries


def telldir(stream: int) -> int:
    return int(_libc.telldir(stream))


def seekdir(stream: int, cookie: int) -> None:
    _libc.seekdir(stream, cookie)


def closedir(stream: int) -> None:
    _checked(_libc.closedir(stream))


def become(uid: int, gid: int, root: str) -> None:
    """Be somebody else from now on, in ``root``: the way there may be closed."""
    os.chdir(root)
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)


def write_mapped(fd: int, data: bytes) -> None:
    """Write through a shared mapping, and see to it that it arrives."""
    with mmap.mmap(fd, len(data)) as page:
        page[:] = data
        page.flush()


def main() -> None:
    """Do one call after the other until stdin ends."""
    os.umask(UMASK)
    while True:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            said = True, function(*arguments)
        except OSError as exc:
            said = False, exc
        pickle.dump(said, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
