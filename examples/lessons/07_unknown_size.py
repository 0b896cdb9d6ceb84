"""Files whose size nobody knows: ``python examples/lessons/07_unknown_size.py MOUNTPOINT``."""

from functools import cached_property

import trio

from triofuse import File, Generated, Tree, main

LINE = "tick %4d\n"
LENGTH = len(LINE % 0)


class Ticks(File):
    """A file without an end: a line for each interval since the first read."""

    def __init__(self, interval: float) -> None:
        super().__init__()
        self.interval = interval

    @cached_property
    def start(self) -> float:
        """When it was read first, in trio's time."""
        return trio.current_time()

    async def read(self, size: int, offset: int) -> bytes:
        number, skip = divmod(offset, LENGTH)
        await trio.sleep_until(self.start + number * self.interval)
        return (LINE % number).encode()[skip : skip + size]


def report() -> str:
    """Return what took some work to make."""
    return "\n".join(str(number**2) for number in range(100)) + "\n"


def make(*, interval: float = 0.1) -> Tree:
    """Show files of unknown size.

    Args:
      interval: Seconds of a tick.
    """
    return Tree(
        {
            "report": Generated(report),
            "report-sized": Generated(report, sized=True),
            "ticks": Ticks(interval),
        }
    )


if __name__ == "__main__":
    main(make)
