"""Progress bars for long transfers, on a terminal and nowhere else.

They need the package rich: ``pip install 'triofuse[progress]'``.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import trio

from triofuse.fsspec.transfers import Activity, Transfer

__all__ = ["show_transfers"]

#: Shorter transfers are not shown.
_LONG_SECONDS: Final = 0.5

_STEP_SECONDS: Final = 0.1


async def show_transfers(activity: Activity) -> None:
    """Show the transfers of a store as progress bars, if stderr is a terminal.

    Runs until it is cancelled.
    """
    began = trio.Event()

    def begin(_: Transfer) -> None:
        began.set()

    activity.began.append(begin)
    while True:
        await began.wait()
        await trio.sleep(_LONG_SECONDS)
        # In the background stderr is no terminal any more.
        if _transfers(activity) and sys.stderr.isatty():
            await _show(activity)
        began = trio.Event()
        if _transfers(activity):
            began.set()


def _progress() -> Any:
    """Return rich's display; None without rich."""
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TransferSpeedColumn,
        )
    except ImportError:
        return None
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
    )


async def _show(activity: Activity) -> None:
    """Show bars until no transfer is left."""
    progress = _progress()
    if progress is None:
        await trio.sleep_forever()
    bars: dict[int, Any] = {}
    with progress:
        while transfers := _transfers(activity):
            for number in bars.keys() - transfers.keys():
                progress.remove_task(bars.pop(number))
            for number, one in transfers.items():
                if number not in bars:
                    words = f"{one.verb} {one.path}"
                    bars[number] = progress.add_task(words, total=one.size)
                progress.update(bars[number], completed=one.value)
            progress.refresh()
            await trio.sleep(_STEP_SECONDS)


def _transfers(activity: Activity) -> dict[int, Transfer]:
    """Return what is on its way."""
    calls = activity.calls.items()
    return {number: one for number, one in calls if one.size is not None}
