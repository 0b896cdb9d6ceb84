"""Contents made when a file is opened: ``python examples/lessons/03_generated.py MOUNTPOINT``."""

import itertools
from collections.abc import Iterator

import trio

from triofuse import Generated, Tree, current_request, main


def lines_of(task: trio.lowlevel.Task, depth: int = 0) -> Iterator[str]:
    """Draw a task, and below it the tasks of its nurseries."""
    yield "  " * depth + task.name.strip("<>").rpartition(".")[2]
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            yield from lines_of(child, depth + 1)


async def tasks() -> str:
    """Return the tree of tasks that serves this very request."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return "\n".join(lines_of(root)) + "\n"


def whoami() -> str:
    """Return who has opened the file."""
    caller = current_request()
    assert caller is not None
    return f"user {caller.uid} group {caller.gid}\n"


def make() -> Tree:
    """Show the state of this program."""
    numbers = itertools.count(1)
    return Tree(
        {
            "tasks": Generated(tasks),
            "whoami": Generated(whoami),
            "count": Generated(lambda: f"opened {next(numbers)} times\n"),
        }
    )


if __name__ == "__main__":
    main(make)
