"""`Disk`: a disk in memory that fails when it is told to, and whose power can be cut."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Unpack

import trio

from triofuse.background import BackgroundMount
from triofuse.device.options import MountOptions
from triofuse.faults.conditions import Conditions
from triofuse.faults.crash import Crash
from triofuse.faults.events import Event, Mark
from triofuse.faults.faults import Faults
from triofuse.faults.image import ROOT, Image
from triofuse.faults.journal import Journal
from triofuse.faults.models import POSIX, Model
from triofuse.faults.recorder import Recorder
from triofuse.faults.rule import Action, Call, Proceed, Rule
from triofuse.faults.states import random_state, states
from triofuse.faults.trees import image_of, tree_of
from triofuse.filesystem.errors import CapabilityError, FuseError
from triofuse.session.session import SessionOptions
from triofuse.tree.directory import Child, Directory
from triofuse.tree.file import File
from triofuse.tree.tree import Tree

__all__ = ["Disk"]

#: What a failed fsync(2) does to the dirty pages: ext4 and XFS mark them clean, so that
#: the next fsync(2) succeeds and the data are lost; others keep them dirty; btrfs goes
#: back to what is on the disk.
_PAGES: Final = ("dirty", "clean", "reverted")


class Disk(Faults):
    """A disk in memory: rules as of `Faults`, and power cuts.

    ``with Disk().mount("/mnt/x") as mount: ...``, or the fixture ``disk`` of pytest.
    It can be served to a `triofuse.testing.FakeKernel` as well.

    What reaches the disk is noted.  A program's write(2) reaches it at once; what it
    writes through mmap(2) does with msync(2), fsync(2) or when the kernel likes.
    sync(2) and syncfs(2) do not tell a FUSE filesystem anything: see `sync`.  Times
    are not kept over power cuts.

    Args:
      content: What is on it from the start, as for `Directory`.
      size: Its size, bytes.
    """

    def __init__(
        self, content: dict[str, Child] | None = None, *, size: int = 1 << 30
    ) -> None:
        self._size = size
        self._mount: BackgroundMount | None = None
        self._crash: Crash | None = None
        self._dead = False
        self._first = 0
        self._running = trio.CancelScope()
        given = Tree(Directory(content, writable=True), size=size)
        # What is given may be read-only nodes; a disk has files like any others.
        super().__init__(self._recorded(tree_of(image_of(given), size)), log=True)

    def _recorded(self, tree: Tree) -> Recorder:
        self._tree = tree
        self.journal = Journal(image_of(tree))
        return Recorder(tree, self.journal)

    async def run(self) -> None:
        """Run what the tree needs, for as long as it is this one."""
        while True:
            with trio.CancelScope() as self._running:
                await self._tree.run()
                await trio.sleep_forever()

    # --- Where it is

    def mount(
        self,
        path: str | os.PathLike[str],
        options: MountOptions | None = None,
        **session_options: Unpack[SessionOptions],
    ) -> BackgroundMount:
        """Return a mount of it, to be started: ``with disk.mount("/mnt/x"): ...``."""
        options = options or MountOptions(default_permissions=True, fsname="disk")
        self._mount = BackgroundMount(self, path, options, **session_options)
        return self._mount

    @property
    def path(self) -> Path:
        """Where it is mounted.

        Raises:
          RuntimeError: It never was.
        """
        if self._mount is None:
            raise RuntimeError("this disk is not mounted: 'with disk.mount(path): ...'")
        return Path(self._mount.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    # --- Durability

    def fail(
        self,
        operation: str | Iterable[str],
        error: int,
        *,
        pages: str = "dirty",
        **conditions: Unpack[Conditions],
    ) -> Rule:
        """Have operations fail.

        Args:
          operation: As for `Faults.fail`.
          error: The errno.
          pages: What a failed ``fsync`` does to the file's pages that are not on the
            disk yet.  ``"dirty"``: they stay so, and the next fsync(2) writes them.
            ``"clean"``, as ext4 and XFS: programs read the new data, the next fsync(2)
            succeeds, and the data are lost unless they are written again.
            ``"reverted"``, as btrfs: programs read the old data again.
          conditions: When.

        Source: Rebello and others, "Can Applications Recover from fsync Failures?",
        USENIX ATC 2020.
        """
        if pages not in _PAGES:
            message = f"fail(pages=...) is one of {', '.join(_PAGES)}, not {pages!r}"
            raise ValueError(message)
        rule = super().fail(operation, error, **conditions)
        if pages == "dirty":
            return rule
        if rule.where.operations != {"fsync"}:
            rule.remove()
            message = f"pages={pages!r} is for fail('fsync', ...), not {operation!r}"
            raise ValueError(message)
        rule.action = self._failing_fsync(error, pages)
        return rule

    def _failing_fsync(self, error: int, pages: str) -> Action:
        async def fail(_: Rule, call: Call, __: Proceed) -> Any:
            nodeid = call.request.nodeid
            if pages == "reverted":
                await self._revert(nodeid)
            self.journal.fail_sync(nodeid)
            raise FuseError(error)

        return fail

    async def _revert(self, nodeid: int) -> None:
        """Go back to what is on the disk, also in the kernel's cache."""
        durable = self.journal.durable(POSIX).nodes[nodeid]
        inode = self._tree._inodes.get(nodeid)  # noqa: SLF001  (it was just used)
        if inode is not None and isinstance(inode.node, File):
            inode.node.content = durable.content
            self.journal.truncate(nodeid, durable.size)
            await self.notifier.inval_inode(nodeid)

    def sync(self) -> None:
        """Promise that everything until now is durable, as sync(2) does elsewhere."""
        self.journal.sync()

    def mark(self, text: str) -> None:
        """Note what the program has said to the outside: ``"committed 1"``.

        A check can then ask for more, see ``Crash.marks``.
        """
        self.journal.mark(text)

    def cut_power_at(
        self, operation: str | Iterable[str], **conditions: Unpack[Conditions]
    ) -> Rule:
        """Have the power fail at an operation: it and all later ones get EIO.

        Then call `power_cut` to see what is left.
        """

        async def cut(_: Rule, __: Call, ___: Proceed) -> Any:
            self.journal.open = False
            self._dead = True
            raise FuseError(errno.EIO)

        return self._rule("power cut", operation, cut, conditions)

    async def _ruled(self, name: str, request: Any, inner: Any) -> Any:
        if self._dead or 1 < request.nodeid < self._first:
            if name in {"release", "releasedir"}:
                return None
            raise FuseError(errno.EIO)
        return await super()._ruled(name, request, inner)

    def power_cut(
        self,
        model: Model = POSIX,
        *,
        seed: int | None = None,
        keep: Callable[[Event], bool] | None = None,
    ) -> Crash:
        """Cut the power, and mount what is left.

        Open files of programs are dead (EIO, ENOTCONN), and what the kernel had in its
        cache is gone.  All rules are taken back.

        Args:
          model: What the filesystem orders: `POSIX`, `EXT4` or `NOTHING_ORDERED`.
          seed: For the choice among the states that the model allows.  Default: only
            what was promised survives.
          keep: Chooses by itself: whether a change survives that was not promised.

        Returns:
          What survived and what was lost.
        """
        self.journal.open = False
        events = self.journal.events
        pending = model.pending(events)
        chosen = frozenset(pending.kept)
        if keep is not None:
            extra = {i for i, record in enumerate(pending.records) if keep(record)}
            chosen |= extra - pending.lost
        elif seed is not None:
            chosen = random_state(pending, Random(seed))
        image = self.journal.base.after(pending.chosen(chosen))
        last, marks = _story(events, len(events))
        crash = Crash.of(len(events), last, marks, model, pending, chosen, image)
        self._restart(image)
        self._crash = crash
        return crash

    def crashes(
        self,
        program: Callable[[Path], object] | Sequence[str],
        model: Model = POSIX,
        *,
        limit: int = 64,
        seed: int = 0,
    ) -> Iterator[Crash]:
        """Run a program, and yield each state that a power cut may leave.

        The program runs once.  Then, for each operation that reached the disk, the
        states that a power cut right after it may leave are mounted one by one, at the
        same path, for the body of the loop to check.  At the end all that the program
        did is there.

        Args:
          program: A function of the mountpoint, or a command, which is run there and
            must succeed.  What is on the disk before is durable.
          model: What the filesystem orders.
          limit: The most states for one operation; beyond that, a sample.
          seed: For the sample.
        """
        self.sync()
        base = self.journal.image(model)
        start = len(self.journal.events)
        _run(program, self.path)
        self.journal.open = False
        events = self.journal.events[start:]
        complete = base.after(model.pending(events).records)
        random, seen = Random(seed), set()
        self._restart(base)  # what the program left open is dead
        for step in range(len(events) + 1):
            last, marks = _story(events, step)
            pending = model.pending(events[:step])
            for chosen in states(pending, limit, random):
                image = base.after(pending.chosen(chosen))
                key = (image.digest(), marks)
                if key not in seen:
                    seen.add(key)
                    self._crash = Crash.of(
                        step, last, marks, model, pending, chosen, image
                    )
                    self._exchange(image)
                    yield self._crash
        self._crash = None
        self._exchange(complete)

    def _exchange(self, image: Image) -> None:
        """Do as `_restart`, but 20 times faster: the mount stays, all in it is new."""
        mount = self._mount
        if mount is None or mount.thread is None:
            self._restart(image)
            return
        try:
            mount.run(self._exchange_tree, image)
        except CapabilityError:  # before Linux 6.16
            self._restart(image)

    async def _exchange_tree(self, image: Image) -> None:
        """Serve another tree, whose inodes have numbers that were never in use.

        The kernel looks all names up again, so it finds nothing that it has cached.
        """
        notifier, old = self.notifier, self._tree
        await notifier.inc_epoch()
        self.journal.open = False
        self.clear()
        self._first = 1 + next(old._numbers)  # noqa: SLF001  (as in trees.py)
        tree = tree_of(image, self._size, self._first)
        self._connect(self._recorded(tree))
        self.notifier = notifier
        assert self._config is not None
        await tree.init(self._config)
        self._running.cancel()
        await old.destroy()
        await notifier.inc_epoch()
        await notifier.inval_inode(ROOT)

    def _restart(self, image: Image) -> None:
        """Put an image in place of what there is, and mount it where it was."""
        mount = self._mount
        mounted = mount is not None and mount.thread is not None
        self.journal.open = False
        if mount is not None:
            mount.stop(abort=True)
        self.clear()
        self._dead, self._first = False, 0
        self._connect(self._recorded(tree_of(image, self._size)))
        if mount is not None and mounted:
            mount.start()

    def describe(self) -> str:
        """Return the story of the latest power cut, empty if there was none."""
        return "" if self._crash is None else str(self._crash)


def _story(events: Sequence[Event], step: int) -> tuple[str, tuple[str, ...]]:
    """Return the last operation before a step, and what was said until then."""
    before = events[:step]
    marks = tuple(event.text for event in before if isinstance(event, Mark))
    done = [event.text for event in before if not isinstance(event, Mark)]
    return (done[-1] if done else ""), marks


def _run(program: Callable[[Path], object] | Sequence[str], path: Path) -> None:
    if callable(program):
        program(path)
    else:
        subprocess.run(program, cwd=path, check=True)
