"""The groups of a caller."""

from __future__ import annotations

from triofuse.filesystem.requests import Request

__all__ = ["groups_of"]


def groups_of(request: Request) -> set[int]:
    """Return the groups of a caller, as far as /proc tells of it."""
    groups = {request.gid}
    try:
        with open(f"/proc/{request.pid}/status") as status:
            for line in status:
                if line.startswith("Groups:"):
                    groups.update(map(int, line.split()[1:]))
    except OSError:  # it has gone, or is in another pid namespace
        pass
    return groups
