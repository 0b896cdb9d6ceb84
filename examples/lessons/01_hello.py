"""One file to read: ``python examples/lessons/01_hello.py MOUNTPOINT``."""

import triofuse


def make() -> triofuse.Tree:
    """Show one file."""
    return triofuse.Tree({"hello": "Hello from trio!\n"})


if __name__ == "__main__":
    triofuse.main(make)
