"""What a power cut may leave: the models, as tables of what is ordered and promised.

The law: a model cuts what happened into records, the smallest parts that survive as a
whole, and says which earlier records each of them needs.  What a power cut leaves is a
set of records that has with each record those that it needs, and has all that were
promised.  Each such set is reachable, and no other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import attrs

from triofuse.faults import events as e

__all__ = ["EXT4", "MODELS", "NOTHING_ORDERED", "POSIX", "Model", "Pending"]

#: The most parts of one write; larger parts keep the number of states in bounds.
_PARTS = 8

Chain = Hashable


@attrs.frozen
class Model:
    """An order of durability.

    Attributes:
      name: Its name.
      block: Bytes that are written as a whole.
      chains: The sequences that a record is part of: it needs its predecessor in each.
      atomic_rename: Whether a rename is one record; else new and old name are apart.
      size_needs_data: Whether a file grows on disk only when the data are there.
      replace_needs_data: Whether a rename onto another file waits for the data.
      sync_commits: Whether fsync commits all earlier changes of metadata.
    """

    name: str
    block: int
    chains: Callable[[e.Change], Iterable[Chain]] = attrs.field(repr=False)
    atomic_rename: bool = True
    size_needs_data: bool = False
    replace_needs_data: bool = False
    sync_commits: bool = False

    def pending(self, events: Sequence[e.Event]) -> Pending:
        """Return the records of what happened, and what was promised of them."""
        history = _History(self)
        for event in events:
            history.add(event)
        return history.pending


@attrs.define
class Pending:
    """Records in the order of time, any of which may be lost if nothing forbids it.

    Attributes:
      records: Changes; a write is cut into blocks.
      needs: For each, the indices of earlier ones that it needs.
      kept: The indices of those that must survive.
      lost: The indices of those that cannot: their fsync failed.
    """

    records: list[e.Change] = attrs.field(factory=list)
    needs: list[frozenset[int]] = attrs.field(factory=list)
    kept: set[int] = attrs.field(factory=set)
    lost: set[int] = attrs.field(factory=set)

    def keep(self, indices: Iterable[int]) -> None:
        """Promise that records survive, and with them what they need."""
        waiting = [index for index in indices if index not in self.lost]
        while waiting:
            index = waiting.pop()
            if index not in self.kept:
                self.kept.add(index)
                waiting.extend(self.needs[index] - self.kept - self.lost)

    def is_reachable(self, chosen: frozenset[int]) -> bool:
        """Whether a power cut may leave exactly these records."""
        return (
            self.kept <= chosen
            and not self.lost & chosen
            and all(self.needs[index] - self.lost <= chosen for index in chosen)
        )

    def chosen(self, indices: Iterable[int]) -> list[e.Change]:
        """Return records in the order of time."""
        return [self.records[index] for index in sorted(indices)]


@attrs.define
class _History:
    """Turns events into records, one by one."""

    model: Model
    pending: Pending = attrs.field(factory=Pending)
    _last: dict[Chain, int] = attrs.field(factory=dict)
    #: Indices by what they are about.
    _data: defaultdict[int, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    _sizes: defaultdict[int, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    _attributes: defaultdict[int, list[int]] = attrs.field(
        factory=lambda: defaultdict(list)
    )
    _names: defaultdict[int, list[int]] = attrs.field(factory=lambda: defaultdict(list))
    _metadata: list[int] = attrs.field(factory=list)

    def add(self, event: e.Event) -> None:
        match event:
            case e.Write():
                self._write(event)
            case e.Rename():
                self._rename(event)
            case e.Make():
                self.pending.keep([self._record(event, ())])  # nothing without a name
            case e.Link() | e.Unlink():
                self._names[event.directory].append(self._metadatum(event))
            case e.Truncate():
                self._sizes[event.ino].append(self._metadatum(event))
            case e.Zero():
                self._data[event.ino].append(self._record(event, ()))
            case e.SetAttributes() | e.SetXattr():
                self._attributes[event.ino].append(self._metadatum(event))
            case e.SyncFile():
                self._sync_file(event)
            case e.SyncDirectory():
                kept = self._metadata if self.model.sync_commits else []
                self.pending.keep([*kept, *self._names[event.ino]])
            case e.Sync():
                self.pending.keep(range(len(self.pending.records)))
            case e.FailedSync():
                self.pending.lost |= set(self._data[event.ino]) - self.pending.kept
            case e.Mark():
                pass
            case _:
                message = f"{event!r} is not known to a model"
                raise TypeError(message)

    def _record(self, change: e.Change, needs: Iterable[int]) -> int:
        pending, index = self.pending, len(self.pending.records)
        needed = set(needs)
        for chain in self.model.chains(change):
            if chain in self._last:
                needed.add(self._last[chain])
            self._last[chain] = index
        pending.records.append(change)
        pending.needs.append(frozenset(needed))
        return index

    def _metadatum(self, change: e.Change, needs: Iterable[int] = ()) -> int:
        index = self._record(change, needs)
        self._metadata.append(index)
        return index

    def _write(self, write: e.Write) -> None:
        """Cut a write into blocks, each of which may make the file longer."""
        size, block = write.size, self.model.block
        first = write.offset - write.offset % block
        span = write.offset + len(write.data) - first
        step = -(-span // (block * _PARTS)) * block
        for start in range(first, first + span, step):
            part = _part(write, max(start, write.offset), start + step)
            self._revive(part)
            index = self._record(part, ())
            self._data[write.ino].append(index)
            end = part.offset + len(part.data)
            if end > size:
                grown = e.Truncate(f"size of {write.text}", write.ino, end, size)
                needs = (index,) if self.model.size_needs_data else ()
                self._sizes[write.ino].append(self._record(grown, needs))
                size = end

    def _revive(self, part: e.Write) -> None:
        """Have lost data of a page survive again: a page is written as a whole."""
        block = self.model.block
        pages = range(part.offset // block, -(-(part.offset + len(part.data)) // block))
        for index in self._data[part.ino]:
            if index in self.pending.lost:
                old = self.pending.records[index]
                if isinstance(old, e.Write) and old.offset // block in pages:
                    self.pending.lost.discard(index)

    def _rename(self, event: e.Rename) -> None:
        if not self.model.atomic_rename and not event.exchange:
            text, ino = event.text, event.ino
            new = e.Link(
                f"new name of {text}", ino, event.new_directory, event.new_name
            )
            old = e.Unlink(f"old name of {text}", ino, event.directory, event.name)
            self._names[new.directory].append(self._metadatum(new))
            self._names[old.directory].append(self._metadatum(old))
            return
        needs: list[int] = []
        if event.replaced and self.model.replace_needs_data:
            lost = self.pending.lost
            needs = [*self._data[event.ino], *self._sizes[event.ino]]
            needs = [index for index in needs if index not in lost]
        index = self._metadatum(event, needs)
        for directory in {event.directory, event.new_directory}:
            self._names[directory].append(index)

    def _sync_file(self, event: e.SyncFile) -> None:
        pending, ino = self.pending, event.ino
        dirty = (set(self._data[ino]) | set(self._sizes[ino])) - pending.kept
        grows = any(isinstance(pending.records[i], e.Truncate) for i in dirty)
        kept = [*dirty]
        if not event.data_only:
            kept += self._attributes[ino]
        if self.model.sync_commits:
            # A commit takes all that is in the journal.  fdatasync(2) of data in place
            # commits what is about the file, and what is before that.
            everything = grows or (dirty and not event.data_only)
            about = [i for i in self._metadata if _is_about(pending.records[i], ino)]
            kept += self._metadata if everything else about
        pending.keep(kept)


def _part(write: e.Write, start: int, stop: int) -> e.Write:
    data = write.data[start - write.offset : stop - write.offset]
    if len(data) == len(write.data):
        return write
    text = f"{write.text} (its bytes {start}+{len(data)})"
    return attrs.evolve(write, text=text, offset=start, data=data)


def _is_about(change: e.Change, ino: int) -> bool:
    return change.ino == ino


# --- The models


def _posix(change: e.Change) -> Iterable[Chain]:
    """Names of a directory in order; size and attributes of a file in order."""
    match change:
        case e.Link() | e.Unlink():
            yield "names", change.directory
        case e.Rename():
            yield from {("names", d) for d in (change.directory, change.new_directory)}
        case e.Truncate():
            yield "size", change.ino
        case e.SetAttributes() | e.SetXattr():
            yield "attributes", change.ino


def _journal(change: e.Change) -> Iterable[Chain]:
    """All metadata in the order of one journal; growing files beside it."""
    match change:
        case e.Truncate():
            yield "size", change.ino
            if change.size < change.before:
                yield "journal"
        case e.Link() | e.Unlink() | e.Rename() | e.SetAttributes() | e.SetXattr():
            yield "journal"


def _unordered(change: e.Change) -> Iterable[Chain]:
    """The inode is written as a whole: its size and attributes in order."""
    if isinstance(change, e.Truncate):
        yield "size", change.ino
    elif isinstance(change, (e.SetAttributes, e.SetXattr)):
        yield "attributes", change.ino


#: What POSIX promises and no more: fsync(2) keeps the file, but not its name.
POSIX = Model("POSIX", 4096, _posix)

#: ext4 as it is mounted by default, ``data=ordered,auto_da_alloc``: metadata in order;
#: data before the size that shows them, and before a rename onto another file.
EXT4 = Model(
    "ext4-ordered",
    4096,
    _journal,
    size_needs_data=True,
    replace_needs_data=True,
    sync_commits=True,
)

#: Nothing is ordered: sectors, sizes and names reach the disk as they like, also the
#: two names of a rename.
NOTHING_ORDERED = Model("nothing ordered", 512, _unordered, atomic_rename=False)

MODELS = (POSIX, EXT4, NOTHING_ORDERED)
