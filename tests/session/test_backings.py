"""The reply to an open, and when a backing file is registered and closed."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import pytest

import triofuse as t
from triofuse.session.answering.backings import Backings

NODE, OTHER = 2, 3
PASSTHROUGH = t.OpenFlags.PASSTHROUGH
DIRECT_IO = t.OpenFlags.DIRECT_IO


@attrs.define(eq=False)
class Id(t.BackingId):
    """An id that records its close."""

    on_close: Callable[[], None]

    def close(self) -> None:
        self.on_close()


@attrs.define(eq=False)
class Register:
    """Replaces the ioctl(2): returns ids, or fails as it does."""

    files: list[int] = attrs.field(factory=list)
    closed: list[int] = attrs.field(factory=list)
    errors: list[int] = attrs.field(factory=list)
    close_error: int = 0

    def __call__(self, fd: int) -> t.BackingId:
        self.files.append(fd)
        number = len(self.files)
        if self.errors:
            raise t.DeviceError(self.errors.pop(0), "device", "register a file")
        return Id(t.DevFuse.__new__(t.DevFuse), number, lambda: self._close(number))

    def _close(self, number: int) -> None:
        self.closed.append(number)
        if self.close_error:
            raise t.DeviceError(self.close_error, "device", f"close {number}")


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def backings(register: Register) -> Backings:
    return Backings(register, granted=True)


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "triofuse")


def test_all_opens_of_a_node_share_the_file_behind_the_first(
    backings: Backings, register: Register
) -> None:
    first = backings.opened(NODE, t.Opened(7, backing_fd=70))
    second = backings.opened(NODE, t.Opened(8, backing_fd=80))
    other = backings.opened(OTHER, t.Opened(9, backing_fd=90))

    assert first == t.Opened(7, PASSTHROUGH, 1)
    assert second == t.Opened(8, PASSTHROUGH, 1)
    assert other == t.Opened(9, PASSTHROUGH, 2)
    assert register.files == [70, 90]


def test_a_file_is_registered_as_whom_the_filesystem_says(
    backings: Backings, register: Register
) -> None:
    acting: list[str] = []

    @contextmanager
    def acting_as(name: str) -> Iterator[None]:
        acting.append(name)
        assert not register.files
        yield
        assert register.files == [70]

    first = t.Opened(7, backing_fd=70, backing_as=acting_as("first"))
    second = t.Opened(8, backing_fd=80, backing_as=acting_as("second"))

    assert backings.opened(NODE, first) == t.Opened(7, PASSTHROUGH, 1)
    assert backings.opened(NODE, second) == t.Opened(8, PASSTHROUGH, 1)
    assert acting == ["first"], "the second is not registered"


def test_an_id_is_closed_with_the_last_handle_and_the_next_open_gets_another(
    backings: Backings, register: Register
) -> None:
    for fh in (7, 8):
        backings.opened(NODE, t.Opened(fh, backing_fd=70))

    backings.released(NODE)
    assert register.closed == []
    backings.released(NODE)
    assert register.closed == [1]
    backings.released(NODE)
    assert register.closed == [1]
    assert backings.opened(NODE, t.Opened(7, backing_fd=70)).backing_id == 2


def test_flags_that_the_kernel_does_not_take_beside_it_are_dropped(
    backings: Backings,
) -> None:
    flags = t.OpenFlags.KEEP_CACHE | t.OpenFlags.NOFLUSH

    opened = backings.opened(NODE, t.Opened(7, flags, backing_fd=70))

    assert opened.flags == PASSTHROUGH | t.OpenFlags.NOFLUSH


def test_an_open_without_a_file_of_its_own_is_still_asked_to_read_and_write(
    backings: Backings,
) -> None:
    backings.opened(NODE, t.Opened(7, backing_fd=70))

    opened = backings.opened(NODE, t.Opened(8, t.OpenFlags.KEEP_CACHE))

    assert opened == t.Opened(8, PASSTHROUGH | DIRECT_IO, 1)


@pytest.mark.parametrize("flags", [0, DIRECT_IO])
def test_a_node_that_is_open_without_a_file_behind_stays_so(
    flags: int,
    backings: Backings,
    register: Register,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backings.opened(NODE, t.Opened(7, flags))

    assert backings.opened(NODE, t.Opened(8, backing_fd=80)) == t.Opened(8)
    assert "node 2 is open without it" in caplog.text
    for _ in range(2):
        backings.released(NODE)
    assert backings.opened(NODE, t.Opened(9, backing_fd=90)).backing_id == 1
    assert register.files == [90]


def test_what_is_done_by_hand_is_passed_on(
    backings: Backings, register: Register
) -> None:
    by_hand = t.Opened(7, PASSTHROUGH, 99)

    assert backings.opened(NODE, by_hand) is by_hand
    backings.released(NODE)
    assert register.closed == []


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOTTY])
def test_who_may_not_does_not_try_again_and_says_so_once(
    error: int,
    backings: Backings,
    register: Register,
    caplog: pytest.LogCaptureFixture,
) -> None:
    register.errors = [error]

    for node in (NODE, OTHER):
        assert backings.opened(node, t.Opened(7, backing_fd=70)) == t.Opened(7)
    assert register.files == [70]
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert os.strerror(error) in record.getMessage()


def test_nodes_that_are_open_keep_their_file_when_rights_are_given_up(
    backings: Backings, register: Register
) -> None:
    backings.opened(NODE, t.Opened(7, backing_fd=70))
    register.errors = [errno.EPERM]
    backings.opened(OTHER, t.Opened(8, backing_fd=80))

    assert backings.opened(NODE, t.Opened(9, backing_fd=90)).backing_id == 1


def test_a_file_that_cannot_be_behind_keeps_no_other_from_it(
    backings: Backings, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register.errors = [errno.EINVAL, errno.EISDIR]
    served = t.Opened(7, t.OpenFlags.KEEP_CACHE | DIRECT_IO, backing_fd=70)

    for node in (NODE, OTHER):
        assert backings.opened(node, served) == t.Opened(7, DIRECT_IO)
    assert backings.opened(4, t.Opened(8, backing_fd=80)).backing_id == 3
    warning, info = caplog.records
    assert (warning.levelno, info.levelno) == (logging.WARNING, logging.INFO)
    assert os.strerror(errno.EINVAL) in warning.getMessage()


def test_an_id_that_cannot_be_closed_is_told_and_forgotten(
    backings: Backings, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    register.close_error = errno.ENOENT
    backings.opened(NODE, t.Opened(7, backing_fd=70))

    backings.released(NODE)

    assert "a backing id stays open" in caplog.text
    assert backings.opened(NODE, t.Opened(8, backing_fd=80)).backing_id == 2


def test_without_the_kernels_consent_nothing_is_registered(
    register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    backings = Backings(register, granted=False)
    wanted = t.Opened(7, t.OpenFlags.KEEP_CACHE, backing_fd=70)

    assert backings.opened(NODE, t.Opened(6)) == t.Opened(6)
    assert caplog.text == ""
    assert backings.opened(NODE, wanted).flags == t.OpenFlags.KEEP_CACHE
    assert backings.opened(OTHER, wanted).backing_id == 0
    backings.released(NODE)
    assert register.files == []
    assert caplog.text.count("not agreed on") == 1
