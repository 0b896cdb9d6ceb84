"""Checks of the classes that authors write, in their words.

The law: what cannot work is an error when the first node of a class comes into a tree.
What is likely a mistake, but may be intended, is only logged.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, Final

from triofuse.tree.node import Node

__all__ = ["check_kind", "check_pair", "doubts_about"]

#: Methods of other libraries, and what does that here.
_ELSEWHERE: Final = {
    "getattr": "give stat=Stat(...) to __init__(), or override refresh()",
    "readdir": "override entries()",
    "readdirplus": "override entries()",
    "create": "override make()",
    "mkdir": "override make()",
    "mknod": "override make()",
    "symlink": "override make()",
    "rmdir": "override unlink()",
    "setattr": "override save()",
    "chmod": "override save()",
    "chown": "override save()",
    "utimens": "override save()",
    "release": "let open() return an object that has a close()",
    "forget": "override drop()",
}

#: Hooks that are not async: what they may be.
_ITERABLE: Final = "yield pairs of name and node, or write 'def' and return all of them"
_CONTEXT: Final = "put @asynccontextmanager before it"


def check_kind(kind: type[Node]) -> None:
    """Check the methods that a class overrides.

    Raises:
      TypeError: One of them cannot be called as it will be.
    """
    for name, meant in _hooks(kind):
        own = getattr(kind, name)
        if not _is_as_written(own, name):
            continue
        mistake = _mistake_in(name, own, meant)
        if mistake is not None:
            message = f"{kind.__name__}.{name}() {mistake}"
            raise TypeError(message)


def doubts_about(kind: type[Node]) -> Iterator[str]:
    """Yield a sentence for each method that is never called."""
    for own in kind.__mro__:
        if vars(own).get("_IS_KIND"):
            return
        for name, method in vars(own).items():
            if name in _ELSEWHERE and inspect.isfunction(method):
                yield f"{own.__name__}.{name}() is never called: {_ELSEWHERE[name]}"


def check_pair(directory: Node, pair: object) -> tuple[str, Node]:
    """Return what an asked directory lists, if it is a name and a node.

    Raises:
      TypeError: It is something else.
    """
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str):
        return pair
    hint = "a pair of name and node is due"
    if isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], bytes):
        hint = f"a name is a str: os.fsdecode({pair[0]!r})"
    message = f"{type(directory).__name__}.entries() has {pair!r:.80}; {hint}"
    raise TypeError(message)


def _hooks(kind: type[Node]) -> Iterator[tuple[str, Callable[..., Any]]]:
    for base in kind.__mro__:
        if vars(base).get("_IS_KIND"):
            for name, meant in vars(base).items():
                if name in kind.OWN and not name.startswith("_"):
                    yield name, meant


def _is_as_written(own: Any, name: str) -> bool:
    """Whether no decorator has changed what it is."""
    return (
        inspect.isfunction(own)
        and own.__name__ == name
        and not hasattr(own, "__wrapped__")
    )


def _mistake_in(name: str, own: Any, meant: Any) -> str | None:
    is_async, yields = inspect.iscoroutinefunction(own), inspect.isasyncgenfunction(own)
    if name == "entries":
        return f"is async and has no yield: {_ITERABLE}" if is_async else None
    if name == "open" and yields:
        return f"has a yield: {_CONTEXT}"
    if not inspect.iscoroutinefunction(meant) and name != "open":
        return None
    if yields or inspect.isgeneratorfunction(own):
        return "has a yield, which makes it a generator: return what is due at once"
    if not is_async:
        return (
            f"is a plain function: write 'async def {name}', or put @triofuse.blocking "
            "before it to have it run in a thread"
        )
    return _mistake_in_arguments(own, meant)


def _mistake_in_arguments(own: Any, meant: Any) -> str | None:
    wanted = inspect.signature(meant).parameters.values()
    plain = [p for p in wanted if p.kind is not p.KEYWORD_ONLY]
    named = {p.name: None for p in wanted if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(own).bind(*plain, **named)
    except TypeError:
        has = ", ".join(inspect.signature(own).parameters)
        names = ", ".join(inspect.signature(meant).parameters)
        return f"takes ({has}), but is called with ({names})"
    return None
