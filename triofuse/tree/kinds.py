"""What the kernel asks either of all files of a mount, or of none.

The law: when a mount begins, the classes of its nodes decide which of these requests
the kernel sends.  A class that needs others is refused while it lasts.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import attrs

from triofuse.filesystem.filesystem import Filesystem
from triofuse.tree.checks import check_kind, doubts_about
from triofuse.tree.file import File
from triofuse.tree.node import Node

__all__ = ["Kinds", "by_kind"]

_log = logging.getLogger("triofuse")

#: The requests, by the method of `File` that a class has for them.
_REQUESTS: Final = {"setlk": ("getlk", "setlk", "setlkw"), "poll": ("poll",)}


def by_kind(method: Any) -> Any:
    """Mark a tree's own method for such a request, in contrast to an author's."""
    method.by_kind = True
    return method


@attrs.define(eq=False, repr=False)
class Kinds:
    """Knows the classes of nodes, and leaves out of a tree what none of them can do.

    Attributes:
      known: The classes.
    """

    _tree: Filesystem
    known: set[type[Node]] = attrs.field(factory=set, init=False)
    _left_out: set[str] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        for method, requests in _REQUESTS.items():
            own = [getattr(type(self._tree), request) for request in requests]
            if all(hasattr(request, "by_kind") for request in own):
                self._left_out.add(method)
                for request in requests:
                    absent = getattr(Filesystem, request)
                    setattr(self._tree, request, absent.__get__(self._tree))

    def admit(self, kind: type[Node], *, mounted: bool) -> None:
        """Take a class in.

        Raises:
          TypeError: It has a method for what the mount has left out, or one that
            cannot be called.
        """
        if not kind.__module__.startswith("triofuse.tree."):
            check_kind(kind)
            for doubt in doubts_about(kind):
                _log.warning("%s", doubt)
        for method in self._left_out.copy():
            if getattr(kind, method, None) in (None, getattr(File, method)):
                continue
            if mounted:
                message = (
                    f"{kind.__name__} has a method {method}(), but no node had one when "
                    f"this tree was mounted: use Tree(..., kinds=[{kind.__name__}])"
                )
                raise TypeError(message)
            self._left_out.discard(method)
            for request in _REQUESTS[method]:
                delattr(self._tree, request)
        self.known.add(kind)
