"""Disks that fail on command: to see what a program does when its disk does.

A `Disk` is a filesystem in memory on a real mount, so programs in every language use
it as they are.  With pytest it is a fixture, where triofuse is installed::

    def test_a_full_disk_loses_nothing(disk):
        disk.fail("write", errno.ENOSPC, after=3)
        done = subprocess.run(["my-editor", "--save", disk / "letter"])
        assert done.returncode == 1

`Faults` does the same around any filesystem.  What it can do: `Faults.fail`,
`Faults.delay`, `Faults.hang`, `Faults.short`, `Faults.full`, `Faults.corrupt`,
`Faults.ignore`, `Faults.kill`; when: by operation, path, caller, count, probability
and any function of the request.  `Faults.operations` has what was asked, in order.

How to find a missing fsync in twenty lines
===========================================

A program that says "saved" has promised something.  The disk keeps what was written
only after fsync(2) has returned, and a name only after fsync(2) of its directory.  Until
then a power cut may keep any part of it, in nearly any order.  So run the program once
and look at each state that a power cut may leave::

    import os

    OLD, NEW = "colour = red", "colour = blue"

    def save(path):                     # the program: a function, or a command
        with open(path / "config.new", "w") as file:
            file.write(NEW)
        os.rename(path / "config.new", path / "config")

    def test_the_configuration_survives_a_power_cut(disk):
        (disk / "config").write_text(OLD)

        def program(path):
            save(path)
            disk.mark("saved")          # from here on, NEW is a promise

        for crash in disk.crashes(program):
            allowed = [NEW] if "saved" in crash.marks else [OLD, NEW]
            assert (disk / "config").read_text() in allowed, crash

It fails, and tells the story::

    AssertionError: power cut after operation 5: rename config.new -> config
      survived (POSIX): rename config.new -> config
      lost: write config.new 0+13
      lost: size of write config.new 0+13

The name was there before the data: the file must be synced before the rename.  With
``file.flush(); os.fsync(file.fileno())`` the next story is that "saved" was said, but
the rename was lost: the directory must be synced after it.  With that, all states pass.

In each state the disk is mounted anew, without anything in the kernel's cache, and the
check may run the program itself, for its recovery.  For a subprocess that says what it
has promised, have the function read its output, call `Disk.mark`, and let it go on.

What survives is a question to a model: `POSIX`, what the standard promises; `EXT4`, what
ext4 does by default, which forgives a rename onto another file without fsync;
`NOTHING_ORDERED`, sectors and names in any order, as on a cheap disk with a
filesystem without a journal.  A program that is right for the first is right for all but
the last.  `Disk.power_cut` cuts once; by default it keeps what was promised and no more.

Programs that map files (SQLite in WAL mode, LMDB) must run in another process than the
test: munmap(2) waits for the disk, and Python holds its lock meanwhile.

What it cannot see: sync(2), which the kernel does not tell a FUSE filesystem (call
`Disk.sync`); times; and the order in which a program's mmap(2) reaches a real disk
before msync(2).
"""

from triofuse.faults.conditions import Conditions
from triofuse.faults.crash import Crash
from triofuse.faults.disk import Disk
from triofuse.faults.faults import Faults
from triofuse.faults.models import EXT4, MODELS, NOTHING_ORDERED, POSIX, Model
from triofuse.faults.operation import Operation
from triofuse.faults.rule import Rule

__all__ = [
    "EXT4",
    "MODELS",
    "NOTHING_ORDERED",
    "POSIX",
    "Conditions",
    "Crash",
    "Disk",
    "Faults",
    "Model",
    "Operation",
    "Rule",
]
