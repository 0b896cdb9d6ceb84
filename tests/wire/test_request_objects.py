"""Requests as values: when they are equal, and what logs show of them."""

from __future__ import annotations

import attrs
import pytest

from triofuse.filesystem import requests as r

CALLER = (6, 1, 0, 0, 123)


def test_requests_with_equal_fields_are_equal() -> None:
    assert r.Lookup(*CALLER, "a") == r.Lookup(*CALLER, "a")
    assert r.Lookup(*CALLER, "a") != r.Lookup(*CALLER, "b")


def test_requests_of_different_operations_are_never_equal() -> None:
    assert r.Open(*CALLER, 2, 0) != r.Opendir(*CALLER, 2, 0)
    assert r.Opendir(*CALLER, 2, 0) != r.Open(*CALLER, 2, 0)
    assert r.Unlink(*CALLER, "a") != r.Rmdir(*CALLER, "a")


def test_requests_have_no_hash_for_they_can_be_changed() -> None:
    with pytest.raises(TypeError):
        hash(r.Lookup(*CALLER, "a"))


def test_a_request_is_shown_with_its_fields() -> None:
    shown = "Opendir(unique=6, nodeid=1, uid=0, gid=0, pid=123, flags=2, open_flags=0)"

    assert repr(r.Opendir(*CALLER, 2, 0)) == shown


def test_a_request_is_shown_without_its_payload() -> None:
    secret = memoryview(b"secret")

    assert "secret" not in repr(r.Setxattr(*CALLER, 6, 0, 0, "user.a", secret))
    assert repr(r.Write(*CALLER, 7, 0, 6, 0, 0, 2, secret)).endswith("flags=2)")


def test_a_request_takes_no_attribute_that_it_does_not_have() -> None:
    """Misspelt, it would be lost; a class without fields of its own refuses it too."""
    request = r.Opendir(*CALLER, 2, 0)

    with pytest.raises(AttributeError):
        request.flag = 3  # type: ignore[attr-defined]


def test_another_request_is_made_from_one() -> None:
    request = r.Opendir(*CALLER, 2, 0)

    assert attrs.evolve(request, flags=3) == r.Opendir(*CALLER, 3, 0)
