"""Files that take their time: ``python examples/lessons/05_slow.py MOUNTPOINT``."""

import errno
from collections.abc import Iterable

import trio

from triofuse import AskedDirectory, File, FuseError, Generated, Node, Tree, main

#: Seconds that the files wait at most.
PATIENCE = 20


class Slow(File):
    """A file that sleeps before it is read."""

    def __init__(self, seconds: float, log: list[str]) -> None:
        super().__init__()
        self.seconds, self.log = seconds, log

    async def read(self, size: int, offset: int) -> bytes:
        if offset:
            return b""  # the end of the file
        outcome = "cancelled"
        try:
            with trio.fail_after(PATIENCE):
                await trio.sleep(self.seconds)  # a disk, a server, a person
            outcome = "done"
        except trio.TooSlowError:
            outcome = "too slow"
            raise FuseError(errno.ETIMEDOUT) from None
        finally:
            self.log.append(f"sleep of {self.seconds:g} s: {outcome}\n")
        return b"slept for %g s\n" % self.seconds


class Sleepers(AskedDirectory):
    """Has a file for each number of seconds, and a log."""

    def __init__(self) -> None:
        super().__init__()
        lines: list[str] = []
        self.lines, self.log = lines, Generated(lambda: "".join(lines))

    async def lookup(self, name: str) -> Node | None:
        if name == "log":
            return self.log
        try:
            return Slow(float(name), self.lines)
        except ValueError:
            return None

    def entries(self) -> Iterable[tuple[str, Node]]:
        return [("log", self.log)]


def make() -> Tree:
    """Show files that sleep as many seconds as their names say."""
    return Tree(Sleepers())


if __name__ == "__main__":
    main(make)
