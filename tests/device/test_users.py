"""Which users may mount, and which users may access a mount."""

from __future__ import annotations

import errno
import os

import pytest

from tests.device.mounts import (
    NOBODY,
    Realm,
    child,
    entries_at,
    report,
    wait_until_mounted,
)
from triofuse.device.fusermount import find_fusermount

pytestmark = [
    pytest.mark.mount,
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes other users"),
    pytest.mark.skipif(find_fusermount() is None, reason="fusermount3 is missing"),
]

#: A user that is neither root nor the one who mounts.
SOMEBODY = NOBODY - 1

REFUSED = os.strerror(errno.EACCES)


@pytest.mark.parametrize(
    ("options", "let_in"),
    [
        ("", {NOBODY}),
        ("allow_root", {NOBODY, 0}),
        ("allow_other", {NOBODY, 0, SOMEBODY}),
    ],
)
def test_what_an_ordinary_user_mounts_is_for(
    public_mountpoint: str, realm: Realm, options: str, let_in: set[int]
) -> None:
    realm.allow_user_allow_other(os.path.dirname(public_mountpoint))
    arguments = ("serve", public_mountpoint, "--nobody", f"--options={options}")

    with child(*arguments, realm=realm) as server:
        wait_until_mounted(server)
        said = {
            uid: realm.run("ls", public_mountpoint, uid=uid)
            for uid in (NOBODY, 0, SOMEBODY)
        }

    assert {uid for uid in said if not said[uid]} == let_in
    assert all(REFUSED in said[uid] for uid in said.keys() - let_in)


@pytest.mark.parametrize(
    ("options", "let_in"),
    [("", {0}), ("allow_root", {0}), ("allow_other", {0, SOMEBODY})],
)
def test_what_root_mounts_is_for(
    public_mountpoint: str, realm: Realm, options: str, let_in: set[int]
) -> None:
    arguments = ("serve", public_mountpoint, f"--options={options}")

    with child(*arguments, realm=realm) as server:
        wait_until_mounted(server)
        said = {
            uid: realm.run("ls", public_mountpoint, uid=uid) for uid in (0, SOMEBODY)
        }

    assert {uid for uid in said if not said[uid]} == let_in


@pytest.mark.parametrize("options", ["allow_other", "allow_root"])
def test_others_are_let_in_only_if_the_administrator_allows_it(
    public_mountpoint: str, options: str
) -> None:
    arguments = ("once", public_mountpoint, "--nobody", f"--options={options}")

    output = report(*arguments, namespaces=("--mount",))

    assert "'user_allow_other' is set in /etc/fuse.conf" in output
    assert "(put the line user_allow_other into /etc/fuse.conf" in output


@pytest.mark.parametrize("options", ["", "auto_unmount", "allow_other"])
def test_an_ordinary_user_in_a_user_namespace_needs_no_fusermount(
    public_mountpoint: str, realm: Realm, options: str
) -> None:
    output = report(
        "once",
        public_mountpoint,
        "--nobody",
        "--userns=with-mounts",
        "--without-fusermount",
        f"--options={options}",
        realm=realm,
    )

    if "no user namespaces" in output:
        pytest.skip(output)
    assert output.splitlines()[0] == "fuse.triofuse triofuse"
    assert output.splitlines()[-2:] == ["0 left", "no children"]


def test_a_user_namespace_without_mounts_of_its_own_is_an_error_with_a_remedy(
    public_mountpoint: str, realm: Realm
) -> None:
    arguments = ("once", public_mountpoint, "--nobody", "--userns=without-mounts")

    output = report(*arguments, realm=realm)

    if "no user namespaces" in output:
        pytest.skip(output)
    assert output.startswith(f"cannot mount on {public_mountpoint}: ")
    assert "as in 'unshare -Urm'" in output


def test_an_ordinary_user_cannot_unmount_what_somebody_else_has_mounted(
    public_mountpoint: str, realm: Realm
) -> None:
    with child("serve", public_mountpoint, "--nobody", realm=realm) as server:
        wait_until_mounted(server)

        said = realm.run("fusermount3", "-u", public_mountpoint, uid=SOMEBODY)

        assert said
        assert len(entries_at(public_mountpoint, realm.table)) == 1


@pytest.mark.parametrize("kind", ["owner", "sticky", "file", "tmp"])
def test_an_ordinary_user_mounts_on_what_is_his_own_only(
    public_mountpoint: str, kind: str
) -> None:
    place = public_mountpoint
    if kind == "owner":
        os.chown(place, SOMEBODY, SOMEBODY)
    elif kind == "sticky":
        os.chown(place, SOMEBODY, SOMEBODY)
        os.chmod(place, 0o1777)
    elif kind == "file":
        place = os.path.join(public_mountpoint, "file")
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
    else:
        place = "/tmp"

    output = report("once", place, "--nobody", namespaces=("--mount",))

    assert output.startswith(f"cannot mount on {place}: {find_fusermount()}: ")
    assert "(mount on a directory " in output


def test_an_ordinary_user_mounts_where_a_name_is_odd(public_mountpoint: str) -> None:
    for name in ("a b", "-o", "a,b", "back\\040slash", "tab\t", "\udcff", "x" * 255):
        place = os.path.join(public_mountpoint, name)
        os.mkdir(place)
        os.chown(place, NOBODY, NOBODY)

        output = report("once", place, "--nobody", namespaces=("--mount",))

        assert output.splitlines()[0] == "fuse.triofuse triofuse", output
        assert output.splitlines()[-2:] == ["0 left", "no children"], output


def test_a_shell_sees_nothing_of_names_and_options(public_mountpoint: str) -> None:
    victim = os.path.join(os.path.dirname(public_mountpoint), "victim")
    place = os.path.join(
        public_mountpoint, f"$(rm {victim});`rm {victim}`".replace("/", "_")
    )
    os.mkdir(place)
    os.mknod(victim)
    os.chown(place, NOBODY, NOBODY)
    options = rf"--options=fsname=$(rm {victim});\,`rm {victim}`,subtype=;rm {victim}"

    output = report("once", place, "--nobody", options, namespaces=("--mount",))

    assert output.splitlines()[0].startswith("fuse.;rm /")
    assert os.path.exists(victim)
    os.unlink(victim)
