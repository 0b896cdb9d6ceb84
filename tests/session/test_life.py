"""What a filesystem says of its own life: `Filesystem.run` and ``mount_options``."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

import triofuse as t
from tests.session.clients import is_mounted
from tests.session.probe import Probe
from triofuse.testing import open_kernel


class Living(Probe):
    """Notes what happens to it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.failure: BaseException | None = None
        self.fail = trio.Event()

    async def run(self) -> None:
        self.events.append("begun")
        try:
            await self.fail.wait()
            if self.failure is not None:
                raise self.failure
        finally:
            self.events.append("ended")

    async def destroy(self) -> None:
        self.events.append("destroyed")


async def test_run_has_begun_when_the_mount_is_handed_out_and_ends_before_destroy() -> (
    None
):
    living = Living()

    async with open_kernel(living):
        assert living.events == ["begun"]

    assert living.events == ["begun", "ended", "destroyed"]


async def test_run_may_return_early() -> None:
    living = Living()
    living.fail.set()

    async with open_kernel(living) as kernel:
        await trio.testing.wait_all_tasks_blocked()
        assert living.events == ["begun", "ended"]
        assert (await kernel.getattr(1)).is_dir


async def test_an_exception_of_run_ends_the_session() -> None:
    living = Living()
    living.failure = RuntimeError("the backend is gone")

    with pytest.raises(RuntimeError, match="the backend is gone"):
        async with open_kernel(living):
            living.fail.set()
            await trio.sleep_forever()

    assert living.events == ["begun", "ended", "destroyed"]


async def test_a_session_whose_run_fails_at_once_is_not_handed_out() -> None:
    class Failing(Probe):
        async def run(self) -> None:
            raise RuntimeError("at once")

    handed_out = False
    with pytest.raises(RuntimeError, match="at once"):
        async with open_kernel(Failing()):
            handed_out = True

    assert not handed_out


async def test_a_plain_function_for_run_is_an_error_that_says_so() -> None:
    class Plain(Probe):
        def run(self) -> None:  # type: ignore[override]
            pass

    with pytest.raises(TypeError, match=r"Plain.run\(\).*write 'async def'"):
        async with open_kernel(Plain()):
            await trio.sleep_forever()


async def test_a_notification_after_the_unmount_is_no_error_of_run() -> None:
    class Notifying(Probe):
        failed = ""

        async def run(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                await self.tell()

        async def tell(self) -> None:
            with trio.CancelScope(shield=True):
                try:
                    await self.notifier.inval_inode(1)
                except trio.EndOfChannel as exc:
                    self.failed = str(exc)
                    raise

    notifying = Notifying()
    async with open_kernel(notifying) as kernel:
        kernel.unmount()
        await kernel.session.wait_unmounted()

    assert notifying.failed == "the filesystem is unmounted"


async def test_an_end_of_channel_of_its_own_is_an_error(
    autojump_clock: trio.testing.MockClock,
) -> None:
    living = Living()
    living.fail.set()
    living.failure = trio.EndOfChannel("its own")

    with pytest.raises(trio.EndOfChannel, match="its own"):
        async with open_kernel(living):
            await trio.sleep_forever()


@pytest.mark.mount
async def test_run_ends_when_the_mount_is_unmounted_from_outside(
    mountpoint: str,
) -> None:
    living = Living()

    with trio.fail_after(10):
        async with t.mount(living, mountpoint) as session:
            assert living.events == ["begun"]
            await trio.run_process(["umount", mountpoint])
            await session.wait_unmounted()
            assert living.events == ["begun", "ended", "destroyed"]


@pytest.mark.mount
async def test_a_failure_of_run_unmounts(mountpoint: str) -> None:
    living = Living()
    living.failure = ValueError("broken")

    with trio.fail_after(10), pytest.raises(ValueError, match="broken"):
        async with t.mount(living, mountpoint):
            living.fail.set()
            await trio.sleep_forever()

    assert living.events == ["begun", "ended", "destroyed"]
    assert not is_mounted(mountpoint)


def options_of(mountpoint: str) -> set[str]:
    """Return the options of a mount, as the kernel shows them."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1] == mountpoint:
            return set(line.split()[3].split(","))
    return set()


class Wishing(Probe):
    mount_options = "default_permissions,ro,noatime"


@pytest.mark.mount
async def test_a_filesystem_is_mounted_with_its_own_options(mountpoint: str) -> None:
    with trio.fail_after(10):
        async with t.mount(Wishing(), mountpoint):
            shown = options_of(mountpoint)

    assert {"default_permissions", "ro", "noatime"} <= shown


@pytest.mark.mount
async def test_who_mounts_has_the_last_word(mountpoint: str) -> None:
    options = t.MountOptions(read_only=False, default_permissions=False)

    with trio.fail_after(10):
        async with t.mount(Wishing(), mountpoint, options):
            shown = options_of(mountpoint)

    assert {"rw", "noatime"} <= shown
    assert not {"default_permissions", "ro"} & shown


async def test_wrong_words_of_a_filesystem_name_its_class() -> None:
    class Wrong(Probe):
        mount_options = "default_permisions"

    with pytest.raises(ValueError, match=r"Wrong.mount_options: .*did you mean"):
        t.mount(Wrong(), "/nowhere")


async def test_a_layer_passes_on_the_life_of_the_inner_filesystem() -> None:
    living = Living()
    living.mount_options = "ro"

    layer = t.Layer(living)
    async with open_kernel(layer):
        pass

    assert living.calls["init"] == 1
    assert living.events == ["begun", "ended", "destroyed"]
    assert layer.mount_options == "ro"
