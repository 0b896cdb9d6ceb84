from __future__ import annotations

from typing import Any

import pytest

from triofuse.device.options import MountOptions

RDONLY, NOSUID, NODEV, NOEXEC, SYNCHRONOUS = 1, 2, 4, 8, 16
DIRSYNC, NOSYMFOLLOW, NOATIME = 128, 256, 1024


def test_by_default_nothing_privileged_is_asked_for() -> None:
    options = MountOptions()

    assert options.flags == NOSUID | NODEV
    assert options.fstype == "fuse.triofuse"
    assert options.kernel_words() == []


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", MountOptions()),
        (",,", MountOptions()),
        ("ro", MountOptions(read_only=True)),
        ("rw", MountOptions(read_only=False)),
        ("suid,dev", MountOptions(suid=True, dev=True)),
        ("nosuid,nodev", MountOptions()),
        ("noexec", MountOptions(exec=False)),
        ("exec", MountOptions()),
        ("noatime", MountOptions(noatime=True)),
        ("atime,async", MountOptions()),
        ("sync,dirsync", MountOptions(sync=True, dirsync=True)),
        ("allow_other", MountOptions(allow_other=True)),
        ("allow_root", MountOptions(allow_root=True)),
        ("default_permissions", MountOptions(default_permissions=True)),
        (
            "auto_unmount,clear_stale",
            MountOptions(auto_unmount=True, clear_stale=True),
        ),
        ("max_read=65536", MountOptions(max_read=65536)),
        ("fsname=a=b,subtype=", MountOptions(fsname="a=b", subtype="")),
        ("ro,ro", MountOptions(read_only=True)),
        ("nosymfollow", MountOptions(symfollow=False)),
        (
            'context="a:b,c",ro',
            MountOptions(read_only=True, extra=('context="a:b,c"',)),
        ),
        ("blksize=512,ro", MountOptions(read_only=True, extra=("blksize=512",))),
        (r"fsname=a\,b", MountOptions(fsname="a,b")),
        (r"fsname=a\\,subtype=x", MountOptions(fsname="a\\", subtype="x")),
        (r"fsname=\a\b", MountOptions(fsname="ab")),
        ("fsname=a\\", MountOptions(fsname="a\\")),
        ("fsname=a\nb", MountOptions(fsname="a\nb")),
        (r'context="a\,b"', MountOptions(extra=('context="a,b"',))),
    ],
)
def test_every_word_has_its_field(text: str, options: MountOptions) -> None:
    assert MountOptions.parse(text) == options


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("remount,ro", "'remount' cannot be honoured: .*mount it anew"),
        ("bind", "mount --bind"),
        ("loop=/dev/loop0", "'loop=/dev/loop0' cannot be honoured"),
        ("uid=1000", "see FileAttr.uid"),
        ("allow_othr", "no option 'allow_othr'; did you mean 'allow_other'?"),
        ("default_permission", "did you mean 'default_permissions'?"),
        ("noexe", "did you mean 'noexec'?"),
        ("fs_name=x", "no option 'fs_name=x'; did you mean 'fsname'?"),
        ("nofial", "did you mean 'nofail'?"),
        ("allow_other,allow_root", "allow_root contradicts"),
        ("max_read=big", "max_read takes a number"),
        ("max_read=4095", "max_read"),
        ("max_read=4294967296", "max_read"),
        ("fsname=", "fsname"),
        ("fsname", "'fsname' takes a value"),
        ("ro=1", "'ro' takes no value"),
        ("max_read", "'max_read' takes a value: max_read="),
        ("shared", "'shared' cannot be honoured: .*mount --make"),
        ("read_only", "did you mean 'ro'?"),
        ("fd=3", "mount.2. gets fd from triofuse itself"),
        ("rootmode=40000", "rootmode"),
        ("user_id=0", "user_id"),
        ("group_id=0", "group_id"),
        ("fsname=a\0b", "NUL"),
        ("what\0", "NUL"),
        (r"odd=a\,fd=3", "comma"),
        (r'odd="a\,fd=3"', "comma"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        MountOptions.parse(text)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("suid,nosuid", MountOptions()),
        ("nosuid,suid", MountOptions(suid=True)),
        ("dev,nodev", MountOptions()),
        ("nodev,dev", MountOptions(dev=True)),
        ("noexec,exec", MountOptions()),
        ("exec,noexec", MountOptions(exec=False)),
        ("ro,rw", MountOptions()),
        ("rw,ro", MountOptions(read_only=True)),
        ("sync,async", MountOptions()),
        ("async,sync", MountOptions(sync=True)),
        ("noatime,atime", MountOptions()),
        ("atime,noatime", MountOptions(noatime=True)),
        ("nosymfollow,symfollow", MountOptions()),
        ("fsname=a,fsname=b", MountOptions(fsname="b")),
        ("max_read=8192,max_read=4096", MountOptions(max_read=4096)),
        ("blksize=1,blksize=2", MountOptions(extra=("blksize=2",))),
    ],
)
def test_the_later_of_two_words_counts(text: str, options: MountOptions) -> None:
    assert MountOptions.parse(text) == options


@pytest.mark.parametrize(
    "word",
    [
        "defaults",
        "auto",
        "noauto",
        "nofail",
        "_netdev",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "user=me",
        "nodiratime",
        "diratime",
        "relatime",
        "norelatime",
        "strictatime",
        "lazytime",
        "nonempty",
        "comment=mine",
        "x-gvfs-hide",
        "x-systemd.idle-timeout=5",
        "X-mount.mkdir",
    ],
)
def test_a_word_for_mount_says_nothing_to_a_filesystem(word: str) -> None:
    assert MountOptions.parse(f"ro,{word}") == MountOptions(read_only=True)


def test_a_word_that_resembles_none_is_left_to_the_kernel() -> None:
    assert MountOptions.parse("frobnicate=7").extra == ("frobnicate=7",)


def test_an_option_given_by_the_program_may_be_given_once() -> None:
    with pytest.raises(ValueError, match="'blksize' is given twice"):
        MountOptions(extra=("blksize=1", "blksize=2"))


def test_extra_options_are_a_tuple_of_texts() -> None:
    with pytest.raises(TypeError):
        MountOptions(extra="blksize=512")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not empty"):
        MountOptions(extra=("",))


def test_a_switch_is_true_or_false() -> None:
    with pytest.raises(TypeError):
        MountOptions(read_only="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (MountOptions(read_only=True), NOSUID | NODEV | RDONLY),
        (MountOptions(suid=True), NODEV),
        (MountOptions(dev=True), NOSUID),
        (MountOptions(exec=False), NOSUID | NODEV | NOEXEC),
        (MountOptions(sync=True), NOSUID | NODEV | SYNCHRONOUS),
        (MountOptions(dirsync=True), NOSUID | NODEV | DIRSYNC),
        (MountOptions(noatime=True), NOSUID | NODEV | NOATIME),
        (MountOptions(symfollow=False), NOSUID | NODEV | NOSYMFOLLOW),
    ],
)
def test_flags_are_those_of_mount(options: MountOptions, flags: int) -> None:
    assert options.flags == flags


def test_the_kernel_hears_of_allow_other_where_allow_root_is_meant() -> None:
    assert MountOptions(allow_root=True).kernel_words() == ["allow_other"]
    assert "allow_root" not in MountOptions(allow_root=True).fusermount_text()


def test_the_kernel_hears_no_word_that_it_does_not_know() -> None:
    options = MountOptions(
        fsname="a,b",
        default_permissions=True,
        allow_other=True,
        max_read=8192,
        auto_unmount=True,
        clear_stale=True,
        extra=("blksize=512",),
    )

    assert options.kernel_words() == [
        "default_permissions",
        "allow_other",
        "max_read=8192",
        "blksize=512",
    ]


def test_fusermount_gets_every_word_it_knows() -> None:
    options = MountOptions(
        fsname="a,b\\c",
        subtype="s,t",
        read_only=True,
        noatime=True,
        default_permissions=True,
        auto_unmount=True,  # by us, for it does not do so in all its versions
        clear_stale=True,
    )

    assert options.fusermount_text() == (
        r"fsname=a\,b\\c,subtype=s\,t,ro,nosuid,nodev,exec,async,noatime,"
        "default_permissions"
    )


@pytest.mark.parametrize(
    "options",
    [
        MountOptions(),
        MountOptions(fsname="\\,\\\\,,", subtype="\\"),
        MountOptions(fsname="a b\t\n#", read_only=True, dev=True, suid=True),
        MountOptions(sync=True, dirsync=True, noatime=True, exec=False),
        MountOptions(allow_other=True, max_read=4096),
        MountOptions(symfollow=False),
        MountOptions(extra=("blksize=512", "large_read")),
    ],
)
def test_what_fusermount_is_told_reads_back_the_same(options: MountOptions) -> None:
    assert MountOptions.parse(options.fusermount_text()) == options


def test_the_steps_of_mounting_get_the_same_as_mount() -> None:
    options = MountOptions(
        fsname="a,b",
        subtype="s,t",
        read_only=True,
        noatime=True,
        symfollow=False,
        sync=True,
        dirsync=True,
        max_read=8192,
        allow_root=True,
        auto_unmount=True,
        extra=('context="a:b,c"', "colour=blue", "bare", "empty="),
    )

    assert options.attributes == 1 | NOSUID | NODEV | 0x10 | 0x200000
    assert list(options.parameters()) == [
        ("source", "a,b"),
        ("subtype", "s,t"),
        ("ro", None),
        ("sync", None),
        ("dirsync", None),
        ("allow_other", None),
        ("max_read", "8192"),
        ("context", "a:b,c"),
        ("colour", "blue"),
        ("bare", None),
        ("empty", ""),
    ]


def test_a_plain_type_needs_no_subtype() -> None:
    assert MountOptions(subtype="").fstype == "fuse"
    assert "subtype" not in MountOptions(subtype="").fusermount_text()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"read_only": "yes"}, "read_only is True or False, not 'yes'"),
        ({"fsname": None}, "fsname is a str, not None"),
        ({"max_read": "4096"}, "max_read is an int, or None, not '4096'"),
        ({"max_read": True}, "max_read is an int, or None, not True"),
        ({"extra": "ro"}, "extra is a tuple of str, not 'ro'"),
        ({"extra": (b"x",)}, "extra is a tuple of str, and has b'x'"),
    ],
)
def test_a_value_of_another_type_is_named(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}$"):
        MountOptions(**fields)


@pytest.mark.parametrize(
    ("name", "words"),
    [("\ud800", "fsname has a character"), ("x" * 4096, "fsname is longer than 4095")],
)
def test_a_name_that_the_kernel_cannot_take_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MountOptions(fsname=name)


def test_options_that_are_no_text_are_named() -> None:
    with pytest.raises(TypeError, match="options are text, as in 'ro,fsname=b"):
        MountOptions.parse(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "defaults", "result"),
    [
        ("", "ro,noatime", "ro,noatime"),
        ("rw", "ro,noatime", "noatime"),
        ("fsname=mine", "fsname=its,max_read=8192", "fsname=mine,max_read=8192"),
        ("nodefault_permissions", "default_permissions", ""),
        ("allow_root", "allow_other", "allow_root"),
        ("noallow_other", "allow_other", ""),
        ("blksize=512", "blksize=4096", "blksize=512"),
    ],
)
def test_what_is_given_counts_more_than_a_default(
    given: str, defaults: str, result: str
) -> None:
    options = MountOptions.parse(given).over(MountOptions.parse(defaults))

    assert options == MountOptions.parse(result)


def test_a_default_value_that_is_given_counts_as_given() -> None:
    options = MountOptions(read_only=False, fsname="triofuse")

    merged = options.over(MountOptions(read_only=True, fsname="its", noatime=True))

    assert merged == MountOptions(noatime=True)
    assert options == MountOptions()
