"""What is measured, on which filesystem, of whom."""

from __future__ import annotations

import attrs

from tests.benchmarks.shape import MEBIBYTE, Shape

__all__ = ["MODES", "PLAN", "Workload", "compared", "quick"]

#: Where client and server may run: the same CPU, different ones, anywhere.
MODES = ("same", "cross", "free")

PYTHON = ("triofuse", "pyfuse3", "mfusepy")
ALL = (*PYTHON, "floor")
TRIO = ("triofuse", "pyfuse3")
NO_PEERS_BUT_FLOOR = ("triofuse", "pyfuse3", "floor")


@attrs.frozen(kw_only=True)
class Workload:
    """A measure on a shape.

    Attributes:
      name: What the table calls it.
      measure: A function of measures.py.
      unit: Of what its time is: the measure's step returns how many.
      shape: The filesystem.
      servers: Who does it.
      modes: Where client and server run, of `MODES`.
      clients: How many processes at a time.
      think: Seconds for which a client computes before each step, untimed.
      hog: Whether a program that has nothing to do with it computes all the time, on
        the server's CPU.
    """

    name: str
    measure: str
    unit: str = "request"
    shape: Shape = attrs.Factory(Shape)
    servers: tuple[str, ...] = ALL
    modes: tuple[str, ...] = ("same",)
    clients: tuple[int, ...] = (1,)
    think: float = 0
    hog: bool = False


CACHED = Shape(io="cached")
WRITEBACK = Shape(io="writeback")
TREE = Shape(io="cached", valid=1, size=8)
BACKED = Shape(source="yes")

_METADATA = [
    Workload(name="stat", measure="stat", modes=MODES, clients=(1, 16)),
    Workload(name="open+close", measure="open_close", clients=(1, 16)),
    Workload(name="create+unlink", measure="create_unlink", clients=(1, 16)),
]

_THINKING = [
    Workload(
        name=f"stat, after {us} us of work", measure="stat", modes=MODES, think=us / 1e6
    )
    for us in (30, 100, 1000)
]

#: Whoever polls or yields the CPU may lose a whole time slice to the other program.
_BESIDE_A_HOG = [
    Workload(
        name=f"stat{work}, beside a CPU hog",
        measure="stat",
        modes=MODES,
        think=think,
        hog=True,
    )
    for work, think in [("", 0), (" after 1 ms of work", 1e-3)]
]

_DIRECT = [
    Workload(name="read 4 KiB", measure="read_block", modes=MODES, clients=(1, 16)),
    Workload(name="write 4 KiB", measure="write_block", modes=MODES, clients=(1, 16)),
    Workload(
        name="read 1 MiB", measure="read_mebibyte", unit="MiB", modes=("same", "cross")
    ),
    Workload(
        name="write 1 MiB",
        measure="write_mebibyte",
        unit="MiB",
        modes=("same", "cross"),
    ),
]

_CACHED = [
    Workload(
        name=f"{what} {size}, {shape.io}",
        measure=measure,
        unit=unit,
        shape=shape,
        modes=("same", "cross"),
    )
    for shape, what, size, measure, unit in [
        (CACHED, "read", "4 KiB", "read_blocks_afresh", "request"),
        (CACHED, "read", "1 MiB", "read_mebibytes_afresh", "MiB"),
        (CACHED, "write", "4 KiB", "write_blocks_through", "request"),
        (CACHED, "write", "1 MiB", "write_mebibytes_through", "MiB"),
        (WRITEBACK, "write", "4 KiB", "write_blocks_through", "request"),
        (WRITEBACK, "write", "1 MiB", "write_mebibytes_through", "MiB"),
    ]
]

_LISTINGS = [
    Workload(
        name="list 10,000 names",
        measure="list_names",
        unit="entry",
        shape=Shape(files=10_000, size=8),
    ),
    Workload(  # mfusepy hands on no attributes
        name="list 10,000 with attributes",
        measure="list_attributes",
        unit="entry",
        shape=Shape(files=10_000, size=8, valid=1, plus=True),
        servers=NO_PEERS_BUT_FLOOR,
    ),
]

_PAUSES = [
    Workload(
        name=f"await {pause}",
        measure="read_block",
        shape=Shape(pause=pause),
        servers=TRIO,
        clients=clients,
    )
    for pause, clients in [
        ("checkpoint", (1, 16)),
        ("millisecond", (1, 16)),
        ("thread", (1, 16)),
    ]
]

_BACKED = [
    Workload(
        name=f"{title}, {kind}",
        measure=measure,
        unit="MiB" if measure.endswith("mebibyte") else "request",
        shape=BACKED,
        servers=servers,
        modes=("same", "free"),
    )
    for kind, servers in [
        ("passthrough", ("passthrough", "below")),
        ("file-backed", ("triofuse-backed", "pyfuse3-backed")),
    ]
    for title, measure in [
        ("read 4 KiB", "read_block"),
        ("write 4 KiB", "write_block"),
        ("read 1 MiB", "read_mebibyte"),
        ("write 1 MiB", "write_mebibyte"),
    ]
]

_PROGRAMS = [
    Workload(
        name=name,
        measure=measure,
        unit="run",
        shape=TREE,
        servers=PYTHON,
        modes=("same", "free"),
    )
    for name, measure in [("git clone", "clone"), ("cp -a", "copy_tree")]
]

_GROWTH = [
    Workload(
        name="stat, many clients",
        measure="stat",
        shape=Shape(size=8),
        servers=NO_PEERS_BUT_FLOOR,
        clients=(1, 10, 100, 1000),
    ),
    *(
        Workload(
            name=f"{what} {files:,}",
            measure=measure,
            unit=unit,
            shape=Shape(files=files, size=8),
            servers=NO_PEERS_BUT_FLOOR,
        )
        for files in (10, 1000, 100_000, 1_000_000)
        for what, measure, unit in [
            ("entry of", "list_names", "entry"),
            ("stat among", "stat_many", "request"),
        ]
    ),
]

PLAN = [
    *_METADATA,
    *_THINKING,
    *_BESIDE_A_HOG,
    *_DIRECT,
    *_CACHED,
    *_LISTINGS,
    *_PAUSES,
    *_BACKED,
    *_PROGRAMS,
    *_GROWTH,
]

#: What a comparison measures where the command line names nothing.
_COMPARED = ("stat", "read 4 KiB", "write 4 KiB", "create+unlink", "await checkpoint")


def compared(plan: list[Workload]) -> list[Workload]:
    """Return what shows soonest that a change costs something: one request a time.

    Handlers that wait have many clients as well: with these the reader and the
    handlers take turns.
    """
    return [
        attrs.evolve(
            workload,
            modes=workload.modes[:1],
            clients=workload.clients if workload.shape.pause else (1,),
        )
        for workload in plan
        if workload.name in _COMPARED
    ]


def quick(plan: list[Workload]) -> list[Workload]:
    """Return the plan with everything small, for a try."""
    return [
        attrs.evolve(
            workload,
            shape=attrs.evolve(
                workload.shape,
                files=min(workload.shape.files, 1000),
                size=min(workload.shape.size, 4 * MEBIBYTE),
            ),
            modes=workload.modes[:1],
            clients=tuple(sorted({1, min(workload.clients[-1], 16)})),
        )
        for workload in plan
        if workload.shape.files <= 10_000
    ]
