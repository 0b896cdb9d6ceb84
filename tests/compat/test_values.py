"""pyfuse3's values and functions that need no mount."""

from __future__ import annotations

import copy
import errno
import os
import pickle
import stat
from pathlib import Path

import pytest

import triofuse.compat.pyfuse3 as pyfuse3
from triofuse.compat.pyfuse3.options import read_options
from triofuse.filesystem import requests as r
from triofuse.filesystem.replies import Entry, FileAttr
from triofuse.wire.attributes import encode_attr, encode_entry


def test_attributes_have_libfuses_defaults() -> None:
    entry = pyfuse3.EntryAttributes()

    assert entry.st_mode == stat.S_IFREG
    assert (entry.st_nlink, entry.st_blksize, entry.generation) == (1, 4096, 0)
    assert entry.entry_timeout == entry.attr_timeout == 300
    assert entry.st_ino == entry.st_size == entry.st_mtime_ns == 0


def test_attributes_are_encoded_as_those_of_triofuse() -> None:
    ours = pyfuse3.EntryAttributes()
    fields = {
        "ino": 7,
        "mode": stat.S_IFREG | 0o640,
        "nlink": 2,
        "uid": 3,
        "gid": 4,
        "rdev": 5,
        "size": 6,
        "blksize": 512,
        "blocks": 8,
        "atime_ns": 1_000_000_009,
        "mtime_ns": 2_000_000_010,
        "ctime_ns": -11,
    }
    for name, value in fields.items():
        setattr(ours, f"st_{name}", value)
    ours.generation, ours.entry_timeout, ours.attr_timeout = 12, 1.5, 2.25
    theirs = FileAttr(**fields, attr_valid=2.25)
    request = r.Lookup(0, 1, 0, 0, 0, "x")

    assert encode_entry(ours, request) == encode_entry(  # type: ignore[arg-type]
        Entry(theirs, generation=12, entry_valid=1.5), request
    )
    assert encode_attr(ours, request) == encode_attr(theirs, request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(pyfuse3.EntryAttributes, "st_mode"), (pyfuse3.StatvfsData, "f_files")],
)
def test_attributes_can_be_copied_and_pickled(kind: type, name: str) -> None:
    value = kind()
    setattr(value, name, 42)

    for other in (copy.copy(value), pickle.loads(pickle.dumps(value))):
        assert getattr(other, name) == 42
        assert other.__getstate__() == value.__getstate__()


@pytest.mark.parametrize("kind", [pyfuse3.RequestContext, pyfuse3.SetattrFields])
def test_what_lives_for_one_request_cannot_be_copied(kind: type) -> None:
    with pytest.raises(pickle.PicklingError):
        copy.copy(kind())
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(kind())


def test_a_context_cannot_be_changed() -> None:
    context = pyfuse3.RequestContext()

    with pytest.raises(AttributeError):
        context.uid = 3
    with pytest.raises(AttributeError):
        pyfuse3.SetattrFields().update_size = True


def test_a_poll_handle_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="directly"):
        pyfuse3.PollHandle()


def test_a_file_info_keeps_the_cache_by_default() -> None:
    info = pyfuse3.FileInfo(3)

    assert (info.fh, info.direct_io, info.keep_cache, info.nonseekable) == (
        3,
        False,
        True,
        False,
    )


def test_an_error_has_its_errno_and_is_no_os_error() -> None:
    error = copy.copy(pyfuse3.FUSEError(errno.ENOENT))

    assert error.errno == error.errno_ == errno.ENOENT
    assert str(error) == os.strerror(errno.ENOENT)
    assert not issubclass(pyfuse3.FUSEError, OSError)
    with pytest.raises(TypeError):
        pyfuse3.FUSEError("2")  # type: ignore[arg-type]


def test_constants_are_those_of_the_kernel() -> None:
    assert (pyfuse3.ROOT_INODE, pyfuse3.ENOATTR) == (1, errno.ENODATA)
    assert (pyfuse3.RENAME_NOREPLACE, pyfuse3.RENAME_EXCHANGE) == (1, 2)
    assert pyfuse3.default_options == {"default_permissions"}
    assert pyfuse3.trio_token is None


async def test_every_handler_is_unimplemented_by_default() -> None:
    operations = pyfuse3.Operations()
    asked = 0
    for name in dir(operations):
        handler = getattr(operations, name)
        if name.startswith("_") or not callable(handler) or name == "forget":
            continue
        if name in ("init", "stacktrace"):
            continue
        count = handler.__func__.__code__.co_argcount - 1
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await handler(*[None] * count)
        assert caught.value.errno == errno.ENOSYS
        asked += 1
    assert asked == 29
    assert await operations.forget([(2, 1)]) is None  # type: ignore[func-returns-value]


def test_the_stacks_of_all_threads_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pyfuse3.Operations().stacktrace()

    assert "test_the_stacks_of_all_threads_are_logged" in caplog.text


def test_a_directory_is_listed(tmp_path: Path) -> None:
    names = [b"a", b"\xff"]
    for name in names:
        (tmp_path / os.fsdecode(name)).touch()

    listed = pyfuse3.listdir(str(tmp_path))

    assert sorted(map(os.fsencode, listed)) == names
    with pytest.raises(TypeError, match="path"):
        pyfuse3.listdir(os.fsencode(tmp_path))  # type: ignore[arg-type]


def test_attributes_of_a_file_are_set_and_read(tmp_path: Path) -> None:
    path = str(tmp_path)
    try:
        pyfuse3.setxattr(path, "user.long", b"x" * 500)
    except OSError as exc:
        pytest.skip(f"no extended attributes here: {exc}")

    assert pyfuse3.getxattr(path, "user.long", size_guess=10) == b"x" * 500
    with pytest.raises(OSError, match=os.strerror(errno.ENODATA)):
        pyfuse3.getxattr(path, "user.none")
    with pytest.raises(ValueError, match="namespace"):
        pyfuse3.getxattr(path, "user.long", namespace="x")
    with pytest.raises(TypeError, match="value"):
        pyfuse3.setxattr(path, "user.long", "x")  # type: ignore[arg-type]


def test_a_filesystem_is_synced(tmp_path: Path) -> None:
    pyfuse3.syncfs(str(tmp_path))

    with pytest.raises(FileNotFoundError):
        pyfuse3.syncfs(str(tmp_path / "none"))


def test_the_groups_of_a_process_are_known() -> None:
    assert pyfuse3.get_sup_groups(os.getpid()) == set(os.getgroups())
    with pytest.raises(FileNotFoundError):
        pyfuse3.get_sup_groups(2**22 + 1)


@pytest.mark.parametrize(
    ("words", "fsname", "subtype"),
    [
        ({"fsname=a"}, "a", ""),
        ({"subtype=s"}, "s", "s"),
        (set(), "/dev/fuse", ""),
        ({"fsname=a,subtype=s", "allow_other"}, "a", "s"),
    ],
)
def test_a_mount_is_called_as_libfuse_calls_it(
    words: set[str], fsname: str, subtype: str
) -> None:
    options, _ = read_options(words)

    assert (options.fsname, options.subtype) == (fsname, subtype)


def test_settings_of_the_session_are_options_too() -> None:
    _, settings = read_options({"max_write=65536", "splice_read", "max_background=9"})

    assert settings == {"max_write": 65536, "max_background": 9}
    with pytest.raises(ValueError, match="max_write"):
        read_options({"max_write=x"})
    with pytest.raises(TypeError, match="set of str"):
        read_options("ro")
