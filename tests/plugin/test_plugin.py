"""What a test that uses `fuse_mount` or `disk` sees."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import mounts_below

pytest_plugins = ("pytester",)

SOURCE = Path(__file__).parents[2] / "triofuse" / "plugin" / "pytest_triofuse.py"

_installed = {
    point.value for point in importlib.metadata.entry_points(group="pytest11")
}
pytestmark = pytest.mark.skipif(
    "pytest_triofuse" not in _installed,
    reason="triofuse was installed before it had a pytest plugin: install it again",
)

HELLO = """
    import os
    import pytest
    import triofuse

    def hello():
        return triofuse.Tree({"hello": "Hello\\n"})
"""


def needs(*modules: str) -> None:
    """Skip the test where a plugin is not installed."""
    for module in modules:
        pytest.importorskip(module)


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in a process of its own, with temporary files in a known place."""
    base = pytester.path / "base"
    result = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", f"--basetemp={base}", *arguments, timeout=60
    )
    wait_until_unmounted(str(base))
    return result


def wait_until_unmounted(path: str) -> None:
    """Wait for the process that unmounts after a death; nothing may be left."""
    deadline = time.monotonic() + 20
    while left := mounts_below(path):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_the_installed_module_is_the_one_in_the_package() -> None:
    spec = importlib.util.find_spec("pytest_triofuse")

    assert spec is not None
    assert spec.origin is not None
    assert Path(spec.origin).read_bytes() == SOURCE.read_bytes(), "install it again"


def test_the_plugin_imports_neither_trio_nor_triofuse() -> None:
    check = (
        "import sys, pytest_triofuse; "
        "print({'trio', 'triofuse', 'attrs'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)

    assert done.stdout == "set()\n"


def test_a_run_without_the_fixtures_imports_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import sys

        def test_nothing():
            assert "triofuse" not in sys.modules
            assert "pytest_triofuse" in sys.modules
    """)

    run(pytester, "-p", "no:trio").assert_outcomes(passed=1)


@pytest.mark.mount
def test_a_filesystem_is_mounted_for_one_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        HELLO
        + """
    places = []

    def test_it_is_mounted(fuse_mount, tmp_path):
        mount = fuse_mount(hello())
        places.append(mount.path)
        assert mount.path == str(tmp_path / "mnt")
        assert open(f"{mount.path}/hello").read() == "Hello\\n"
        assert os.listdir(mount) == ["hello"]

    def test_it_is_not_mounted_any_more():
        assert not os.path.ismount(places[0])

    def test_several_are_mounted(fuse_mount, tmp_path):
        one, two = fuse_mount(hello()), fuse_mount(hello(), "sub/two")
        assert os.path.ismount(one) and os.path.ismount(tmp_path / "sub/two")

    def test_one_may_be_stopped_before(fuse_mount):
        mount = fuse_mount(hello())
        mount.stop()
        assert not os.path.ismount(mount)
    """
    )

    run(pytester).assert_outcomes(passed=4)


@pytest.mark.mount
def test_a_disk_is_there_for_tests_of_every_kind(pytester: pytest.Pytester) -> None:
    needs("pytest_trio", "pytest_asyncio")
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makepyfile("""
        import asyncio, errno, pytest, trio

        def write(disk):
            (disk / "x").write_text("hello")
            assert (disk.path / "x").read_text() == "hello"
            with disk.fail("write", errno.ENOSPC), pytest.raises(OSError) as caught:
                (disk / "y").write_text("hello")
            assert caught.value.errno == errno.ENOSPC

        def test_plain(disk, tmp_path):
            assert disk.path == tmp_path / "disk"
            write(disk)

        @pytest.mark.trio
        async def test_trio(disk):
            write(disk)
            await trio.to_thread.run_sync(write, disk)

        @pytest.mark.asyncio
        async def test_asyncio(disk):
            write(disk)
            await asyncio.to_thread(write, disk)
    """)

    run(pytester).assert_outcomes(passed=3)


@pytest.mark.mount
def test_programs_on_the_disk_are_started_in_its_directories(
    pytester: pytest.Pytester,
) -> None:
    """Python must not hold its lock until exec(2): before 3.11.4 it did."""
    pytester.makepyfile("""
        import subprocess

        def test_start(disk):
            (disk / "sub").mkdir()
            script = disk / "sub" / "script"
            script.write_text("#!/bin/sh\\npwd\\n")
            script.chmod(0o755)
            disk.power_cut(keep=lambda change: True)

            done = subprocess.run([script], cwd=disk / "sub", capture_output=True)

            assert done.stdout.decode() == f"{disk / 'sub'}\\n"
            disk.delay(["lookup", "getattr", "open", "read"], 0.01)
            assert subprocess.run([script], cwd=disk / "sub").returncode == 0
    """)

    run(pytester).assert_outcomes(passed=1)


@pytest.mark.mount
def test_a_failing_test_shows_requests_and_operations(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
        import errno, threading, time

        def test_it_fails(disk):
            (disk / "x").write_text("hello")
            rule = disk.hang("write", path="y")
            writer = threading.Thread(
                target=(disk / "y").write_text, args=("hello",), daemon=True
            )
            writer.start()
            while not rule.blocked:
                time.sleep(0.001)
            assert 0, "here"
    """)

    result = run(pytester)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*- triofuse -*",
            "Disk at */disk: 1 requests in flight",
            "  WRITE, * s: Write(*",
            "*wait_released*",
            "*for *, thread *",
            "*write_text*",
            "  the last of * operations:",
            "    write x 0+5",
            "*write y 0+5 ... not done [[]hang[]]*",
        ]
    )


@pytest.mark.mount
def test_a_bug_of_the_filesystem_is_an_error_of_its_test(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
        import os, pytest, triofuse

        class Buggy(triofuse.Tree):
            async def readdirplus(self, request):
                return 1 / 0

        def test_it_passes(fuse_mount):
            mount = fuse_mount(Buggy({}))
            with pytest.raises(OSError):
                os.listdir(mount)
    """)

    result = run(pytester)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*ZeroDivisionError*"])


@pytest.mark.mount
def test_a_test_is_skipped_with_the_reason_where_nothing_can_be_mounted(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest("""
        import errno
        from triofuse.device.mount_error import MountError
        import triofuse.background

        def mount(filesystem, path, *_, **__):
            raise MountError(errno.EPERM, path, "mount(2)")

        triofuse.background.mount = mount
    """)
    pytester.makepyfile("""
        def test_disk(disk):
            pass

        def test_mount(fuse_mount):
            import triofuse
            fuse_mount(triofuse.Tree({}))
    """)

    result = run(pytester, "-rs")

    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*cannot mount on *Operation not permitted*be root*"])


@pytest.mark.mount
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_nothing_is_left_after_os_exit(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    if arguments:
        needs("xdist")
    pytester.makepyfile("""
        import os

        def test_it_ends_the_process(disk):
            (disk / "x").write_text("hello")
            os._exit(7)

        def test_another(disk):
            pass
    """)

    result = run(pytester, *arguments)

    assert result.ret != 0
    assert list((pytester.path / "base").rglob("disk")), "it was mounted"


@pytest.mark.mount
@pytest.mark.parametrize("arguments", [("-x",), ("-n", "2"), ("-n", "2", "-x")])
def test_nothing_is_left_mounted_after_failures(
    pytester: pytest.Pytester, arguments: tuple[str, ...]
) -> None:
    if "-n" in arguments:
        needs("xdist")
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it_may_fail(disk, n):
            (disk / "x").write_text("hello")
            assert n != 2
    """)

    assert run(pytester, *arguments).ret != 0


@pytest.mark.mount
def test_nothing_is_left_mounted_after_ctrl_c(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import time

        def test_it_takes_long(disk):
            (disk / "x").write_text("hello")
            print("begun", flush=True)
            time.sleep(60)
    """)
    base = pytester.path / "base"
    command = [sys.executable, "-m", "pytest", "-s", f"--basetemp={base}"]
    with subprocess.Popen(
        command, cwd=pytester.path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "begun" in line:
                break
        assert mounts_below(str(base))
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)

    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    wait_until_unmounted(str(base))


HANGS = """
    import os

    def test_it_hangs(disk):
        (disk / "x").write_text("hello")
        disk.hang("read", path="x")
        print((disk / "x").read_text())
"""


@pytest.mark.mount
def test_a_hanging_test_is_ended_by_pytest_timeout_and_says_where_it_stands(
    pytester: pytest.Pytester,
) -> None:
    needs("pytest_timeout")
    pytester.makepyfile(HANGS)

    result = run(pytester, "--timeout=2")

    result.assert_outcomes(failed=1)
    result.stderr.fnmatch_lines(
        [
            "*test_it_hangs takes long; where its filesystems stand:",
            "Disk at */disk: 1 requests in flight",
            "  READ, * s: Read(*",
            "*wait_released*",
            "*test_it_hangs*",
        ]
    )
    result.stdout.fnmatch_lines(["*Timeout*", "*Disk at */disk: 1 requests in flight"])


@pytest.mark.mount
def test_a_hanging_test_says_where_it_stands_when_faulthandler_does(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeini("[pytest]\nfaulthandler_timeout = 1\n")
    pytester.makepyfile(
        HANGS.replace("print(", "release_soon(rule); print(").replace(
            "disk.hang", "rule = disk.hang"
        )
        + """
    def release_soon(rule):
        import threading
        threading.Timer(2.5, rule.release).start()
    """
    )

    result = run(pytester)

    result.assert_outcomes(passed=1)
    result.stderr.fnmatch_lines(["*test_it_hangs takes long*", "  READ, * s: Read(*"])


@pytest.mark.mount
def test_two_hundred_tests_with_a_mount_each_take_less_than_ten_seconds(
    pytester: pytest.Pytester,
) -> None:
    pytester.makepyfile("""
        import pytest

        @pytest.mark.parametrize("n", range(200))
        def test_it_is_mounted(disk, n):
            (disk / "x").write_text("hello")
    """)

    before = os.times()
    result = run(pytester, "-q")
    after = os.times()

    result.assert_outcomes(passed=200)
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    assert used < 10, "seconds of CPU; the clock counts what others do as well"
