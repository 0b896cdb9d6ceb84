"""The results as a picture: bars of time per request, with pyfuse3 as the measure."""

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
GAP = 14
TOP = 56

#: Text and lines have a colour for each background; bars are readable on both.
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.line { stroke: #59636e; stroke-dasharray: 3 3; }
.own { fill: #2f81f7; } .peer { fill: #bf8700; } .floor { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .line { stroke: #9198a1; }
}
"""


@attrs.frozen
class _Row:
    """A workload in the picture: its title, and the ratio to pyfuse3 by server."""

    title: str
    ratios: dict[str, float]

    @property
    def height(self) -> int:
        return len(self.ratios) * BAR + GAP


def draw(results: Results) -> str:
    """Return an SVG document; it has no background of its own."""
    rows = list(_rows(results))
    height = TOP + sum(row.height for row in rows) + GAP
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
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _rows(results: Results) -> Iterator[_Row]:
    for workload, title in ROWS:
        ratios = {}
        for server in SERVERS:
            key = Key(workload, "same", 1, server)
            ratio = results.ratio(key, key.of("pyfuse3"))
            if ratio is not None:
                ratios[server] = ratio.median
        if ratios:
            yield _Row(title, ratios)


def _legend() -> Iterator[str]:
    yield '<text x="8" y="16">Time per operation on one CPU: shorter is better</text>'
    for number, (style, name) in enumerate(LEGEND.items()):
        x = 8 + 90 * number
        yield f'<rect class="{style}" x="{x}" y="28" width="10" height="10"/>'
        yield f'<text x="{x + 15}" y="37">{escape(name)}</text>'


def _bars(row: _Row, y: int) -> Iterator[str]:
    middle = y + len(row.ratios) * BAR / 2 + 4
    yield f'<text x="{LEFT - 10}" y="{middle:g}" text-anchor="end">{escape(row.title)}</text>'
    for server, ratio in row.ratios.items():
        length = round(SCALE * min(ratio, LONGEST))
        yield (
            f'<rect class="{SERVERS[server]}" x="{LEFT}" y="{y}"'
            f' width="{length}" height="{BAR - 2}"/>'
        )
        label = f"{ratio:.2f}" + (" (cut off)" if ratio > LONGEST else "")
        yield f'<text x="{LEFT + length + 6}" y="{y + BAR - 3}">{label}</text>'
        y += BAR
