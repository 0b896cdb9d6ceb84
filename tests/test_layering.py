"""Each folder imports from those below it only; the source itself says so."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import triofuse

PACKAGE = Path(triofuse.__file__).parent

#: From the lowest to the highest; "" are the modules at the top.  What is for tests of
#: programs stands above them, and is imported by who wants it.
LAYERS = [
    "filesystem",
    "posix",
    "backend",
    "tree",
    "paths",
    "wire",
    "device",
    "session",
    "testing",
    "running",
    "fsspec",
    "mirror",
    "command",
    "",
    "faults",
    "plugin",
    "compat",
]

#: What a layer does not even know although it is below.
STRANGERS = {
    "wire": {"posix", "backend", "tree", "paths"},
    "device": {"wire", "posix", "backend", "tree", "paths"},
    "session": {"backend", "tree", "paths"},
    "fsspec": {"wire", "device", "session", "testing", "running"},
}

#: The rooms of the session, in the opposite order of a request's way through them.
ROOMS = [
    "in_flight",
    "notifications",
    "answering",
    "scheduling",
    "control",
    "startup",
    "inspection",
    "",
]

#: What is no part of Python.
DEPENDENCIES = {
    "filesystem": {"attrs"},
    "wire": {"attrs"},
    "plugin": {"attrs", "trio", "pytest"},
    "fsspec": {"attrs", "trio", "fsspec", "rich"},
    "command": {"attrs", "trio", "fsspec"},
}
ALL_DEPENDENCIES = {"attrs", "trio"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def layer_of(module: Path) -> str:
    """Return the folder of a module, "" for the top."""
    parts = module.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imports(module: Path) -> Iterator[str]:
    """Yield the full name of every module that ``module`` imports from."""
    for node in ast.walk(ast.parse(module.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from _imported(node.module, node.names)


def _imported(package: str, names: list[ast.alias]) -> Iterator[str]:
    """Yield ``package``, or its modules where these are what is imported."""
    if package not in ("triofuse", *(f"triofuse.{layer}" for layer in LAYERS)):
        yield package
        return
    yield from (f"{package}.{alias.name}" for alias in names)


def inner_layer(name: str) -> str:
    """Return the layer of an imported module of this package."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else ""


each_module = pytest.mark.parametrize(
    "module", MODULES, ids=[str(module.relative_to(PACKAGE)) for module in MODULES]
)


def test_every_folder_has_its_place() -> None:
    assert {layer_of(module) for module in MODULES} == set(LAYERS)


@each_module
def test_a_module_imports_from_its_layer_or_below(module: Path) -> None:
    layer = layer_of(module)
    allowed = set(LAYERS[: LAYERS.index(layer) + 1]) - STRANGERS.get(layer, set())

    inner = [name for name in imports(module) if name.split(".")[0] == "triofuse"]

    assert [name for name in inner if inner_layer(name) not in allowed] == []


@each_module
def test_a_module_imports_from_the_outside_what_its_layer_may(module: Path) -> None:
    allowed = DEPENDENCIES.get(layer_of(module), ALL_DEPENDENCIES)

    outer = {name.split(".")[0] for name in imports(module)} - {"triofuse"}

    assert outer - sys.stdlib_module_names - allowed == set()


SESSION = PACKAGE / "session"
SESSION_MODULES = sorted(SESSION.rglob("*.py"))


def room_of(module: Path) -> str:
    """Return the folder of a module within the session, "" for session.py."""
    parts = module.relative_to(SESSION).parts
    return parts[0] if len(parts) > 1 else ""


def test_every_room_of_the_session_has_its_place() -> None:
    assert {room_of(module) for module in SESSION_MODULES} == set(ROOMS)


@pytest.mark.parametrize(
    "module",
    SESSION_MODULES,
    ids=[str(module.relative_to(SESSION)) for module in SESSION_MODULES],
)
def test_a_room_of_the_session_imports_from_rooms_below(module: Path) -> None:
    allowed = set(ROOMS[: ROOMS.index(room_of(module)) + 1])

    inner = [name.split(".") for name in imports(module)]
    rooms = [name[2] for name in inner if name[:2] == ["triofuse", "session"]]

    assert [room for room in rooms if room not in allowed] == []


#: Modules without trio, which can be tested by themselves: what a power cut leaves.
PURE = ["events", "image", "models", "states", "crash"]


@pytest.mark.parametrize("name", PURE)
def test_what_a_power_cut_leaves_is_decided_without_trio_and_mounts(name: str) -> None:
    known = {f"triofuse.faults.{pure}" for pure in PURE}

    found = {
        name
        for name in imports(PACKAGE / "faults" / f"{name}.py")
        if name.split(".")[0] in ALL_DEPENDENCIES | {"triofuse"}
    }

    assert found - known - {"attrs"} == set()
