"""What a power cut may leave: the models by themselves, without a mount."""

from __future__ import annotations

import itertools
import stat
from random import Random

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from triofuse.faults import EXT4, MODELS, NOTHING_ORDERED, POSIX, Model
from triofuse.faults.image import ROOT, Image
from triofuse.faults.journal import Journal
from triofuse.faults.states import all_states, random_state, states
from triofuse.filesystem.replies import FileAttr

each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


@attrs.define
class Oracle:
    """A disk as programs see it, in the plainest way; it tells a journal."""

    journal: Journal = attrs.Factory(lambda: Journal(Image()))
    files: dict[int, bytes] = attrs.Factory(dict)
    names: dict[int, dict[str, int]] = attrs.Factory(lambda: {ROOT: {}})
    last: int = ROOT

    def make(self, directory: int, name: str, mode: int = stat.S_IFREG | 0o644) -> int:
        self.last += 1
        self.journal.make(FileAttr(self.last, mode), "make")
        self.journal.link(directory, name, self.last, f"make {name}")
        self.names[directory][name] = self.last
        if stat.S_ISDIR(mode):
            self.names[self.last] = {}
        else:
            self.files[self.last] = b""
        return self.last

    def write(self, ino: int, offset: int, data: bytes) -> None:
        self.journal.write(ino, offset, data)
        old = self.files[ino].ljust(offset, b"\0")
        self.files[ino] = old[:offset] + data + old[offset + len(data) :]

    def truncate(self, ino: int, size: int) -> None:
        self.journal.truncate(ino, size)
        self.files[ino] = self.files[ino][:size].ljust(size, b"\0")

    def unlink(self, directory: int, name: str) -> None:
        self.journal.unlink(directory, name, "unlink")
        del self.names[directory][name]

    def rename(self, directory: int, name: str, to: int, new: str) -> None:
        self.journal.rename((directory, name), (to, new), exchange=False)
        self.names[to][new] = self.names[directory].pop(name)

    # --- What is left

    def images(self, model: Model) -> list[Image]:
        pending = model.pending(self.journal.events)
        return [self.journal.image(model, one) for one in all_states(pending)]

    def contents(self, model: Model, name: str) -> set[bytes | None]:
        """Return what a file in the root may have after a power cut; None: no name."""
        return {_content(image, name) for image in self.images(model)}


def _content(image: Image, name: str) -> bytes | None:
    ino = image.nodes[ROOT].names.get(name)
    return None if ino is None else image.nodes[ino].content


# --- One by one


def test_a_file_that_was_not_synced_may_be_empty_zeros_or_gone() -> None:
    oracle = Oracle()
    oracle.write(oracle.make(ROOT, "a"), 0, b"new")

    assert oracle.contents(POSIX, "a") == {None, b"", b"\0\0\0", b"new"}
    assert oracle.contents(EXT4, "a") == {None, b"", b"new"}


def test_fsync_of_a_file_keeps_the_file_but_not_its_name() -> None:
    oracle = Oracle()
    file = oracle.make(ROOT, "a")
    oracle.write(file, 0, b"new")
    oracle.journal.sync_file(file, data_only=False)

    assert oracle.contents(POSIX, "a") == {None, b"new"}
    assert oracle.contents(NOTHING_ORDERED, "a") == {None, b"new"}


@pytest.mark.parametrize("data_only", [False, True])
def test_fsync_of_a_longer_file_commits_the_journal_of_ext4_with_all_names(
    data_only: bool,
) -> None:
    oracle = Oracle()
    oracle.make(ROOT, "before")
    file = oracle.make(ROOT, "a")
    oracle.write(file, 0, b"new")
    oracle.make(ROOT, "after")
    oracle.journal.sync_file(file, data_only=data_only)

    assert oracle.contents(EXT4, "a") == {b"new"}
    assert oracle.contents(EXT4, "before") == {b""}
    assert oracle.contents(EXT4, "after") == {b""}


@pytest.mark.parametrize("data_only", [False, True])
def test_fsync_of_data_in_place_commits_the_journal_of_ext4_and_fdatasync_does_not(
    data_only: bool,
) -> None:
    oracle = Oracle()
    file = oracle.make(ROOT, "a")
    oracle.write(file, 0, b"old")
    oracle.journal.sync()
    oracle.make(ROOT, "b")
    oracle.write(file, 0, b"new")
    oracle.journal.sync_file(file, data_only=data_only)

    assert oracle.contents(EXT4, "a") == {b"new"}
    assert oracle.contents(EXT4, "b") == ({None, b""} if data_only else {b""})


def test_what_is_kept_keeps_what_it_needs() -> None:
    oracle = Oracle()
    one = oracle.make(ROOT, "one", stat.S_IFDIR)
    two = oracle.make(ROOT, "two", stat.S_IFDIR)
    oracle.make(one, "x")
    oracle.journal.sync()
    oracle.make(two, "before")
    oracle.rename(one, "x", two, "x")
    oracle.journal.sync_directory(one)  # it has the rename, which comes after "before"

    names = [sorted(image.nodes[two].names) for image in oracle.images(POSIX)]
    assert names == [["before", "x"]]


def test_fdatasync_keeps_data_and_size_but_not_the_mode() -> None:
    oracle = Oracle()
    file = oracle.make(ROOT, "a")
    oracle.journal.sync()
    oracle.journal.set_attributes(file, FileAttr(file, stat.S_IFREG | 0o600))
    oracle.write(file, 0, b"new")
    oracle.journal.sync_file(file, data_only=True)

    modes = {stat.S_IMODE(image.nodes[file].mode) for image in oracle.images(POSIX)}
    assert oracle.contents(POSIX, "a") == {b"new"}
    assert modes == {0o644, 0o600}


def test_a_rename_is_atomic_unless_nothing_is_ordered() -> None:
    oracle = Oracle()
    oracle.write(oracle.make(ROOT, "old"), 0, b"x")
    oracle.journal.sync()
    oracle.rename(ROOT, "old", ROOT, "new")

    def names(model: Model) -> set[tuple[str, ...]]:
        images = oracle.images(model)
        return {tuple(sorted(image.nodes[ROOT].names)) for image in images}

    assert names(POSIX) == names(EXT4) == {("old",), ("new",)}
    assert names(NOTHING_ORDERED) == {("old",), ("new",), ("new", "old"), ()}


def test_ext4_writes_the_data_before_a_rename_onto_another_file_and_no_other() -> None:
    for replaced, expected in [
        (True, {b"old", b"new"}),
        (False, {None, b"", b"new"}),
    ]:
        oracle = Oracle()
        if replaced:
            oracle.write(oracle.make(ROOT, "a"), 0, b"old")
            oracle.journal.sync()
        oracle.write(oracle.make(ROOT, "tmp"), 0, b"new")
        oracle.rename(ROOT, "tmp", ROOT, "a")

        assert oracle.contents(EXT4, "a") == expected


def test_a_write_is_torn_at_blocks_and_without_order_at_sectors() -> None:
    data = b"a" * 4096 + b"b" * 4096
    oracle = Oracle()
    file = oracle.make(ROOT, "a")
    oracle.truncate(file, len(data))
    oracle.journal.sync()
    oracle.write(file, 0, data)

    assert len(oracle.contents(EXT4, "a")) == 4
    assert len(oracle.contents(NOTHING_ORDERED, "a")) == 2**8  # in eight parts


def test_names_of_one_directory_are_ordered_those_of_two_are_not() -> None:
    oracle = Oracle()
    one = oracle.make(ROOT, "one", stat.S_IFDIR)
    two = oracle.make(ROOT, "two", stat.S_IFDIR)
    oracle.journal.sync()
    for directory, name in [(one, "a"), (one, "b"), (two, "c")]:
        oracle.make(directory, name)

    def seen(model: Model) -> set[str]:
        return {
            "".join(sorted([*image.nodes[one].names, *image.nodes[two].names]))
            for image in oracle.images(model)
        }

    assert seen(POSIX) == {"", "a", "ab", "c", "ac", "abc"}
    assert seen(EXT4) == {"", "a", "ab", "abc"}
    assert seen(NOTHING_ORDERED) == {"", "a", "b", "ab", "c", "ac", "bc", "abc"}


def test_data_whose_fsync_failed_do_not_survive_a_later_one() -> None:
    oracle = Oracle()
    file = oracle.make(ROOT, "a")
    oracle.write(file, 0, b"old")
    oracle.journal.sync()
    oracle.write(file, 0, b"new")
    oracle.journal.fail_sync(file)
    oracle.journal.sync_file(file, data_only=False)

    assert oracle.contents(POSIX, "a") == {b"old"}

    oracle.write(file, 1, b"E")  # the page is dirty again, with all that is in it
    oracle.journal.sync_file(file, data_only=False)

    assert oracle.contents(POSIX, "a") == {b"nEw"}


# --- In general

_scripts = st.lists(
    st.tuples(
        st.sampled_from(["make", "write", "truncate", "unlink", "rename", "sync"]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=7,
)


def _play(script: list[tuple[str, int, int]]) -> Oracle:
    """Do what makes sense of a script."""
    oracle = Oracle()
    sub = oracle.make(ROOT, "sub", stat.S_IFDIR)
    oracle.journal.sync()
    for verb, one, two in script:
        directory, other = (ROOT, sub)[one % 2], (ROOT, sub)[two % 2]
        name, new = f"n{one}", f"n{two}"
        here = oracle.names[directory]
        files = sorted(oracle.files)
        if verb == "make" and name not in here:
            oracle.make(directory, name)
        elif verb == "unlink" and name in here:
            oracle.unlink(directory, name)
        elif verb == "rename" and name in here and new not in oracle.names[other]:
            oracle.rename(directory, name, other, new)
        elif verb == "write" and files:
            oracle.write(files[one % len(files)], two * 300, bytes([65 + one]) * 400)
        elif verb == "truncate" and files:
            oracle.truncate(files[one % len(files)], two * 200)
        elif verb == "sync" and files:
            oracle.journal.sync_file(files[one % len(files)], data_only=two == 0)
    return oracle


@each_model
@given(script=_scripts)
@settings(max_examples=60, deadline=None)
def test_all_states_are_those_that_are_reachable_and_each_comes_once(
    model: Model, script: list[tuple[str, int, int]]
) -> None:
    pending = model.pending(_play(script).journal.events)
    count = len(pending.records)
    found = list(all_states(pending))

    assert len(found) == len(set(found))
    if count <= 12:
        subsets = itertools.chain.from_iterable(
            itertools.combinations(range(count), size) for size in range(count + 1)
        )
        reachable = {
            frozenset(one) for one in subsets if pending.is_reachable(frozenset(one))
        }
        assert set(found) == reachable


@each_model
@given(script=_scripts, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_sample_has_reachable_states_only_and_the_two_extremes(
    model: Model, script: list[tuple[str, int, int]], seed: int
) -> None:
    pending = model.pending(_play(script).journal.events)
    sample = states(pending, 8, Random(seed))

    assert len(sample) <= 8
    assert all(pending.is_reachable(one) for one in sample)
    assert frozenset(pending.kept) in sample
    assert frozenset(range(len(pending.records))) in sample
    assert pending.is_reachable(random_state(pending, Random(seed)))
    assert states(pending, 8, Random(seed)) == sample


@each_model
@given(script=_scripts)
@settings(max_examples=60, deadline=None)
def test_what_survives_as_a_whole_is_what_programs_saw(
    model: Model, script: list[tuple[str, int, int]]
) -> None:
    oracle = _play(script)
    image = oracle.journal.image(model)

    assert {ino: image.nodes[ino].content for ino in oracle.files} == oracle.files
    assert {ino: image.nodes[ino].names for ino in oracle.names} == oracle.names


@each_model
@given(script=_scripts, which=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_what_was_synced_last_survives_in_every_state(
    model: Model, script: list[tuple[str, int, int]], which: int
) -> None:
    oracle = _play(script)
    files = sorted(oracle.files)
    for file in files[: which + 1]:
        oracle.journal.sync_file(file, data_only=False)
    oracle.journal.sync_directory(ROOT)

    pending = model.pending(oracle.journal.events)
    for one in states(pending, 20, Random(which)):
        image = oracle.journal.image(model, one)
        assert image.nodes[ROOT].names == oracle.names[ROOT]
        for file in files[: which + 1]:
            assert image.nodes[file].content == oracle.files[file]


@each_model
@given(script=_scripts)
@settings(max_examples=60, deadline=None)
def test_a_promise_is_never_taken_back(
    model: Model, script: list[tuple[str, int, int]]
) -> None:
    events = _play(script).journal.events
    kept: set[int] = set()
    for step in range(len(events) + 1):
        pending = model.pending(events[:step])
        assert kept <= pending.kept
        kept = pending.kept


@each_model
@given(script=_scripts)
@settings(max_examples=30, deadline=None)
def test_after_sync_there_is_one_state(
    model: Model, script: list[tuple[str, int, int]]
) -> None:
    oracle = _play(script)
    oracle.journal.sync()

    assert len(list(all_states(model.pending(oracle.journal.events)))) == 1
