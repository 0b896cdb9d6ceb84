"""Each system call arrives as it was made, and its answer gets back, on a real mount."""

from __future__ import annotations

import errno
import os

import pytest

from tests.kernel.operations_calls import CALLS, FD, Call
from tests.kernel.operations_client import Client, served
from tests.kernel.operations_probe import Probe

pytestmark = pytest.mark.mount


async def arguments_of(
    call: Call, client: Client, mountpoint: str
) -> tuple[object, ...]:
    """Return the arguments of a call, having opened the file that it needs."""
    fd = None
    if FD in call.arguments:
        fd = await client.call(os.open, f"{mountpoint}/file", call.flags)
    return call.on(mountpoint, fd)


@pytest.mark.shows(
    "FUSE_LOOKUP",
    "FUSE_MKDIR",
    "FUSE_SYMLINK",
    "FUSE_LINK",
    "FUSE_UNLINK",
    "FUSE_RMDIR",
    "FUSE_RENAME",
    "FUSE_RENAME2",
    "FUSE_CREATE",
    "FUSE_TMPFILE",
    "FUSE_READLINK",
    "FUSE_GETATTR",
    "FUSE_STATX",
    "FUSE_SETATTR",
    "FUSE_STATFS",
    "FUSE_ACCESS",
    "FUSE_SETXATTR",
    "FUSE_GETXATTR",
    "FUSE_LISTXATTR",
    "FUSE_REMOVEXATTR",
    "FUSE_OPEN",
    "FUSE_READ",
    "FUSE_WRITE",
    "FUSE_FSYNC",
    "FUSE_FSYNC_FDATASYNC",
    "FUSE_FLUSH",
    "FUSE_FALLOCATE",
    "FUSE_LSEEK",
    "FUSE_COPY_FILE_RANGE_64",
)
@pytest.mark.parametrize("call", CALLS)
async def test_a_call_is_asked_of_the_filesystem_and_its_answer_gets_back(
    call: Call, mountpoint: str
) -> None:
    probe = Probe(**{call.method: call.answer})
    async with served(probe, mountpoint) as client:
        arguments = await arguments_of(call, client, mountpoint)
        value = await client.call(call.function, *arguments)
        request = probe.all(call.request)[-1]

    asked = {name: getattr(request, name) for name in call.fields}
    assert asked == call.fields
    assert (request.uid, request.gid, request.pid) == (0, 0, client.pid)
    assert call.method in probe.methods()
    if call.sees is not None:
        assert call.seen(value) == call.sees


@pytest.mark.parametrize("call", CALLS)
async def test_the_errno_of_a_call_gets_back(call: Call, mountpoint: str) -> None:
    probe = Probe(**{call.method: OSError(errno.EDQUOT, "no more room")})
    async with served(probe, mountpoint) as client:
        arguments = await arguments_of(call, client, mountpoint)
        error = await client.errno_of(call.function, *arguments)

    assert error == errno.EDQUOT


def test_the_marks_name_what_is_called() -> None:
    test = test_a_call_is_asked_of_the_filesystem_and_its_answer_gets_back
    marks: list[pytest.Mark] = vars(test)["pytestmark"]
    (shown,) = [mark.args for mark in marks if mark.name == "shows"]
    called = {name for case in CALLS for name in case.id.partition(":")[0].split()}

    assert called == set(shown)
