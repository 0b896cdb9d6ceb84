"""The results as a picture: bars of time and of server CPU, pyfuse3's being 1.

Below each bar of time stands a paler one: the CPU that the server took.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

import attrs

from tests.benchmarks.results import Key, Results

__all__ = ["draw"]

#: What the picture shows, with its title there.
ROWS = [
    ("stat", "stat(2), uncached"),
    ("stat, after 100 us of work", "stat(2), 100 us after the last"),
    ("open+close", "open(2), close(2)"),
    ("create+unlink", "create and unlink a file"),
    ("list 10,000 with attributes", "list 10,000 files with attributes"),
    ("read 4 KiB", "read 4 KiB"),
    ("write 4 KiB", "write 4 KiB"),
    ("read 1 MiB", "read 1 MiB"),
    ("write 1 MiB", "write 1 MiB"),
    ("git clone", "git clone"),
    ("cp -a", "cp -a"),
]

#: Whose bars, and the class of each in the style sheet.
SERVERS = {"triofuse": "own", "mfusepy": "peer", "floor": "floor"}
LEGEND = {"own": "triofuse", "peer": "mfusepy", "floor": "C on a bare /dev/fuse"}

WIDTH = 760
LEFT = 230  #: where bars begin
SCALE = 400  #: how long pyfuse3's would be
LONGEST = 1.1  #: a longer bar is cut off there
BAR = 13
THIN = 7  #: of server CPU
GAP = 14
TOP = 56
NOTE = 16  #: a line on the machine

#: Text and lines have a colour for each background; bars are readable on both.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.line { stroke: #59636e; stroke-dasharray: 3 3; }
.note { font-size: 10px; }
.cpu { opacity: 0.5; }
.own { fill: #2f81f7; } .peer { fill: #bf8700; } .floor { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .line { stroke: #9198a1; }
}
"""


@attrs.frozen
class _Row:
    """A workload in the picture: its title, and by server the ratios to pyfuse3 of time and CPU."""

    title: str
    ratios: dict[str, tuple[float, float | None]]

    @property
    def height(self) -> int:
        return len(self.ratios) * (BAR + THIN) + GAP


def draw(results: Results, where: str = "") -> str:
    """Return an SVG document; it has no background of its own.

    Args:
      results: What was measured.
      where: On what; one line of text each.
    """
    rows = list(_rows(results))
    notes = where.splitlines()
    height = TOP + sum(row.height for row in rows) + GAP + NOTE * len(notes)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}">',
        "<title>Time per operation, relative to pyfuse3</title>",
        f"<style>{STYLE}</style>",
        *_legend(),
    ]
    y = TOP
    for row in rows:
        parts += _bars(row, y)
        y += row.height
    x = LEFT + SCALE
    parts += [
        f'<path class="line" d="M{x} {TOP - 8}V{y - GAP + 4}"/>',
        f'<text x="{x}" y="{TOP - 14}" text-anchor="middle">pyfuse3 = 1</text>',
        *(
            f'<text class="note" x="8" y="{y + NOTE * number}">{escape(note)}</text>'
            for number, note in enumerate(notes, 1)
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _rows(results: Results) -> Iterator[_Row]:
    for workload, title in ROWS:
        ratios = {}
        for server in SERVERS:
            key = Key(workload, "same", 1, server)
            ratio = results.ratio(key, key.of("pyfuse3"))
            cpu = results.ratio(key, key.of("pyfuse3"), cpu=True)
            if ratio is not None:
                ratios[server] = ratio.median, cpu.median if cpu else None
        if ratios:
            yield _Row(title, ratios)


def _legend() -> Iterator[str]:
    yield '<text x="8" y="16">Time per operation on one CPU, and below it the server CPU: shorter is better</text>'
    for number, (style, name) in enumerate(LEGEND.items()):
        x = 8 + 90 * number
        yield f'<rect class="{style}" x="{x}" y="28" width="10" height="10"/>'
        yield f'<text x="{x + 15}" y="37">{escape(name)}</text>'


def _bars(row: _Row, y: int) -> Iterator[str]:
    middle = y + (row.height - GAP) / 2 + 4
    yield f'<text x="{LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(row.title)}</text>'
    for server, (ratio, cpu) in row.ratios.items():
        kind = SERVERS[server]
        yield _bar(kind, ratio, y, BAR - 1)
        if cpu is not None:
            yield _bar(f"{kind} cpu", cpu, y + BAR - 1, THIN - 2)
        longest = round(SCALE * min(max(ratio, cpu or 0), LONGEST))
        label = f"{ratio:.2f}" + (" (cut off)" if ratio > LONGEST else "")
        label += "" if cpu is None else f", CPU {cpu:.2f}"
        yield f'<text x="{LEFT + longest + 6}" y="{y + BAR}">{label}</text>'
        y += BAR + THIN


def _bar(kind: str, ratio: float, y: int, height: int) -> str:
    width = round(SCALE * min(ratio, LONGEST))
    return (
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width}" height="{height}"/>'
    )
