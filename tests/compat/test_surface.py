"""What pyfuse3's documentation promises: each name, with the tests that show it."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import triofuse.compat.pyfuse3 as pyfuse3
import triofuse.compat.pyfuse3.asyncio as pyfuse3_asyncio

#: name: the words of the tests (in this folder) that show what is promised of it.
PROMISES = {
    # API functions
    "init": ["init_mounts_before", "second_init_says", "init_says_what_is_wrong"],
    "main": ["main_needs_init", "main_returns_when", "max_tasks_limits"],
    "terminate": [
        "terminate_may_be_called_in_another_thread",
        "terminate_may_be_called_in_a_signal_handler",
        "terminate_lets_running_handlers_end",
        "nothing_written_is_lost",
    ],
    "close": ["close_refuses", "close_without_unmount", "init_mounts_before"],
    "invalidate_inode": ["invalidated_inode_is_read_again", "does_not_know_is_enoent"],
    "invalidate_entry": [
        "invalidated_name_is_looked_up_again",
        "in_the_handler_that_holds_its_directory",
        "kernel_that_has_unmounted",
    ],
    "invalidate_entry_async": ["invalidations_are_sent_by_a_thread"],
    "notify_store": ["stored_data_is_read", "event_loop_is_not_blocked"],
    "readdir_reply": ["listing_ends_when", "listed_name_counts", "from_where_it_was"],
    "trio_token": ["token_is_set_while_main_runs"],
    # Utility functions
    "setxattr": ["attributes_of_a_file_are_set"],
    "getxattr": ["attributes_of_a_file_are_set", "attributes_obey_their_flags"],
    "listdir": ["a_directory_is_listed"],
    "get_sup_groups": ["groups_of_a_process"],
    "syncfs": ["a_filesystem_is_synced"],
    # Data
    "ENOATTR": ["constants_are"],
    "ROOT_INODE": ["constants_are"],
    "RENAME_EXCHANGE": ["constants_are", "flags_of_renameat2"],
    "RENAME_NOREPLACE": ["constants_are"],
    "default_options": ["constants_are", "access_is_not_asked"],
    "FUSEError": ["error_has_its_errno", "missing_name_is_enoent"],
    "RequestContext": [
        "looked_up_opened",
        "context_cannot_be_changed",
        "lives_for_one",
    ],
    "StatvfsData": ["state_of_the_filesystem", "can_be_copied"],
    "EntryAttributes": ["libfuses_defaults", "encoded_as_those", "can_be_copied"],
    "FileInfo": ["keeps_the_cache", "looked_up_opened"],
    "SetattrFields": ["setattr_says_what_is_new", "lives_for_one"],
    "ReaddirToken": ["listing_ends_when"],
    "PollHandle": ["poll_handle_cannot_be_made", "a_poller_is_woken"],
    "Operations": ["every_handler_is_unimplemented", "object_with_the_methods"],
}

#: Types that are only names for int and bytes, and for typing.
ALIASES = {
    *("FileHandleT", "FileNameT", "FlagT", "InodeT", "ModeT", "XAttrNameT"),
    *("NamespaceT", "StatDict"),
}

HANDLERS = {
    "init": ["looked_up_opened"],
    "lookup": ["looked_up_opened", "negative_entry", "missing_name"],
    "forget": ["forgotten_inodes_are_reported"],
    "getattr": ["attributes_are_shown"],
    "setattr": ["setattr_says_what_is_new", "o_trunc_comes_with_open"],
    "readlink": ["a_link_is_read"],
    "mknod": ["made_with_mode_and_umask"],
    "mkdir": ["made_with_mode_and_umask"],
    "unlink": ["removed_and_renamed"],
    "rmdir": ["a_directory_is_removed"],
    "symlink": ["made_with_mode_and_umask"],
    "rename": ["removed_and_renamed", "flags_of_renameat2"],
    "link": ["made_with_mode_and_umask"],
    "open": ["looked_up_opened", "o_trunc"],
    "read": ["looked_up_opened", "os_error_of_a_handler", "bug_in_a_handler"],
    "write": ["written_and_synced"],
    "flush": ["looked_up_opened"],
    "release": ["looked_up_opened", "killed_client"],
    "fsync": ["written_and_synced"],
    "poll": ["a_poller_is_woken"],
    "opendir": ["from_where_it_was"],
    "readdir": ["from_where_it_was", "listed_name_counts"],
    "releasedir": ["from_where_it_was"],
    "fsyncdir": ["written_and_synced"],
    "statfs": ["state_of_the_filesystem"],
    "stacktrace": ["stacktrace_is_called", "stacks_of_all_threads"],
    "setxattr": ["attributes_obey_their_flags"],
    "getxattr": ["attributes_obey_their_flags"],
    "listxattr": ["attributes_obey_their_flags"],
    "removexattr": ["attributes_obey_their_flags"],
    "access": ["access_says_yes_or_no", "access_is_not_asked"],
    "create": ["made_with_mode_and_umask"],
    "supports_dot_lookup": ["capabilities_follow"],
    "enable_writeback_cache": ["capabilities_follow", "nothing_written_is_lost"],
    "enable_acl": ["capabilities_follow"],
}


def shown_here() -> set[str]:
    names = set()
    for module in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(module.read_bytes())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
    return {name for name in names if name.startswith("test_")}


def test_every_name_is_there_and_has_its_promise() -> None:
    assert {*PROMISES, *ALIASES} == set(pyfuse3.__all__)
    assert all(hasattr(pyfuse3, name) for name in pyfuse3.__all__)
    assert set(pyfuse3_asyncio.__all__) == {"enable", "disable", "Lock"}


def test_every_handler_has_its_promise() -> None:
    public = {name for name in vars(pyfuse3.Operations) if not name.startswith("_")}

    assert set(HANDLERS) == public


@pytest.mark.parametrize("promises", [PROMISES, HANDLERS], ids=["names", "handlers"])
def test_every_promise_is_shown_by_a_test(promises: dict[str, list[str]]) -> None:
    there = shown_here()

    for name, words in promises.items():
        for word in words:
            assert any(word in test for test in there), f"{name}: no test of {word!r}"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("init", ["ops", "mountpoint", "options"]),
        ("main", ["min_tasks", "max_tasks"]),
        ("close", ["unmount"]),
        ("invalidate_inode", ["inode", "attr_only"]),
        ("invalidate_entry", ["inode_p", "name", "deleted"]),
        ("invalidate_entry_async", ["inode_p", "name", "deleted", "ignore_enoent"]),
        ("notify_store", ["inode", "offset", "data"]),
        ("readdir_reply", ["token", "name", "attr", "next_id"]),
        ("setxattr", ["path", "name", "value", "namespace"]),
        ("getxattr", ["path", "name", "size_guess", "namespace"]),
        ("FileInfo", ["fh", "direct_io", "keep_cache", "nonseekable"]),
    ],
)
def test_arguments_have_pyfuse3s_names(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(pyfuse3, name)).parameters) == parameters
