"""The signature of what makes a filesystem says what its command takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

import triofuse
from tests.session.probe import Probe
from triofuse.running.factory import Factory


def made(make: Callable[..., Any], *words: str, source: str | None = None) -> Any:
    """Return what a factory is called with."""
    factory = Factory.of(make)
    assert all(factory.takes(word) for word in words)
    return factory(source, "/mnt/x", list(words))


def keeping(**arguments: Any) -> Any:
    return arguments


def test_a_class_without_parameters_takes_neither_source_nor_words() -> None:
    factory = Factory.of(Probe)

    assert (factory.source, factory.source_needed, factory.words) == ("", False, {})
    assert not factory.takes("anything")


def test_the_parameter_without_a_default_is_source() -> None:
    def make(url: str, retries: int = 3) -> Any:
        return keeping(url=url, retries=retries)

    assert Factory.of(make).source_needed
    assert made(make, source="http://x/") == {"url": "http://x/", "retries": 3}


def test_a_source_with_a_default_may_be_left_out() -> None:
    def make(source: str = "none") -> Any:
        return keeping(source=source)

    factory = Factory.of(make)
    assert (factory.source, factory.source_needed, factory.words) == (
        "source",
        False,
        {},
    )
    assert made(make) == {"source": "none"}
    assert made(make, source="given") == {"source": "given"}


def test_places_that_are_paths_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(source: Path, mountpoint: Path, *, cache: Path | None = None) -> Any:
        return keeping(source=source, mountpoint=mountpoint, cache=cache)

    monkeypatch.chdir(tmp_path)

    assert made(make, "cache=c", source="a") == {
        "source": tmp_path / "a",
        "mountpoint": Path("/mnt/x"),
        "cache": tmp_path / "c",
    }


def test_words_have_the_types_of_their_parameters() -> None:
    def make(
        *,
        number: int = 1,
        seconds: float | None = None,
        name: str = "",
        on: bool = False,
        off: bool = True,
        size: int | None = 5,
    ) -> Any:
        return keeping(
            number=number, seconds=seconds, name=name, on=on, off=off, size=size
        )

    words = ["number=2", "seconds=0.5", "name=a=b", "on", "nooff", "size=6"]
    assert made(make, *words) == {
        "number": 2,
        "seconds": 0.5,
        "name": "a=b",
        "on": True,
        "off": False,
        "size": 6,
    }
    assert made(make, "on", "noon", "number=3", "number=4")["number"] == 4


def test_what_no_word_can_say_is_no_word() -> None:
    def make(*, client: object = None, names: tuple[str, ...] = (), **more: str) -> Any:
        return keeping(client=client, names=names, **more)

    assert Factory.of(make).words == {}


def test_a_factory_that_needs_two_things_says_so() -> None:
    def make(url: str, password: str) -> Any:
        return url, password

    with pytest.raises(
        TypeError, match="needs url, password: a command has one SOURCE"
    ):
        Factory.of(make)


def test_a_filesystem_in_place_of_its_class_is_refused() -> None:
    with pytest.raises(TypeError, match="takes what makes a filesystem"):
        triofuse.main(Probe())  # type: ignore[arg-type]


def test_an_async_generator_needs_its_decorator() -> None:
    async def make() -> AsyncIterator[Probe]:
        yield Probe()

    with pytest.raises(TypeError, match="asynccontextmanager"):
        triofuse.run(make(), "/nowhere")  # type: ignore[arg-type]
