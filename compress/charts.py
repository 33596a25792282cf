"""Charts of a report as SVG, written out by hand: sharp, small, coloured by the page.

Every text goes through `escape`; colours are the page's CSS classes, so that a chart
follows the reader's light or dark theme.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import numpy as np

from compress.units import three_digits

WIDTH: Final = 440
HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 16, 46


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of the scatter: its area says how large it is."""

    label: str
    colour: str  # a CSS class of the page
    x: float
    y: float
    size: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve, points in order."""

    label: str
    colour: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: what it says, and from where to where it goes."""

    title: str
    low: float
    high: float
    factor: float = 1.0  # of the numbers at its ticks, such as 100 for percent

    def share(self, value: float) -> float:
        """Where `value` lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: 1, 2 or 5 times a power of 10 apart."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def axis(
    title: str, values: Sequence[float], *, zero: bool = False, factor: float = 1.0
) -> Axis:
    """An axis with room around `values`."""
    low, high = min(values), max(values)
    room = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
    return Axis(
        title=title, low=0.0 if zero else low - room, high=high + room, factor=factor
    )


def scatter(marks: Sequence[Mark], x: Axis, y: Axis, *, title: str) -> str:
    """Points with their names; the largest has a radius of 26 pixels."""
    largest = max(mark.size for mark in marks)
    parts = []
    for mark in sorted(marks, key=lambda mark: -mark.size):
        left, top = _place(x, y, mark.x, mark.y)
        radius = max(4.0, 26 * math.sqrt(mark.size / largest))
        after = left + radius + 130 < WIDTH
        side = left + radius + 6 if after else left - radius - 6
        anchor = "start" if after else "end"
        parts.append(
            f'<circle class="fill {mark.colour}" cx="{left:.1f}" cy="{top:.1f}" '
            f'r="{radius:.1f}"/>'
            f'<text class="name" x="{side:.1f}" y="{top + 4:.1f}" '
            f'text-anchor="{anchor}">{escape(mark.label)}</text>'
        )
    return _chart(parts, x, y, title=title)


def curves(lines: Sequence[Line], x: Axis, y: Axis, *, title: str) -> str:
    """Lines with a dot at the end and a legend."""
    parts = []
    for line in lines:
        places = [_place(x, y, *point) for point in line.points]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        left, top = places[-1]
        parts.append(
            f'<polyline class="line {line.colour}" points="{path}"/>'
            f'<circle class="dot {line.colour}" cx="{left:.1f}" cy="{top:.1f}" r="3"/>'
        )
    # Out of the way of the curves' ends: below those that rise, above those that fall.
    ends = [y.share(line.points[-1][1]) for line in lines]
    below = sum(ends) / len(ends) > 0.5  # noqa: PLR2004  # half the height
    parts.append(_legend([(line.label, line.colour) for line in lines], below=below))
    return _chart(parts, x, y, title=title)


def histogram(
    samples: Sequence[float], *, label: str, colour: str, marks: Sequence[float]
) -> str:
    """How often which latency was seen, in ms; `marks` are p50, p90, p99.

    The last bin holds everything beyond p99 and a little, so that one interrupted run
    does not squeeze the rest into a corner.
    """
    values = np.asarray(samples, float)
    low, most = float(values.min()), float(values.max())
    seen = [mark for mark in marks if low <= mark <= most]
    p99 = max(float(np.quantile(values, 0.99)), *seen, low)
    high = p99 + max((p99 - low) * 0.15, abs(p99) * 1e-3)
    counts, edges = np.histogram(np.clip(values, low, high), bins=36, range=(low, high))
    x = Axis(title=f"{label}, ms", low=low, high=high)
    y = Axis(title="runs", low=0.0, high=float(counts.max()) * 1.12)
    parts = []
    for found, start, end in zip(counts, edges, edges[1:], strict=False):
        if found == 0:
            continue
        left, top = _place(x, y, float(start), float(found))
        right, foot = _place(x, y, float(end), 0.0)
        parts.append(
            f'<rect class="fill {colour}" x="{left + 0.5:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 1, 0.5):.1f}" height="{foot - top:.1f}"/>'
        )
    for name, value in zip(("p50", "p90", "p99"), marks, strict=False):
        if not low <= value <= high:
            continue
        left, _ = _place(x, y, value, 0.0)
        parts.append(
            f'<line class="mark" x1="{left:.1f}" x2="{left:.1f}" y1="{_TOP}" '
            f'y2="{HEIGHT - _BOTTOM}"/><text class="tick" x="{left + 3:.1f}" '
            f'y="{_TOP + 10}">{name}</text>'
        )
    return _chart(parts, x, y, title=f"latency of {label}")


def _place(x: Axis, y: Axis, across: float, up: float) -> tuple[float, float]:
    """Pixels from the left and from the top."""
    left = _LEFT + x.share(across) * (WIDTH - _LEFT - _RIGHT)
    top = HEIGHT - _BOTTOM - y.share(up) * (HEIGHT - _TOP - _BOTTOM)
    return left, top


def _legend(entries: Sequence[tuple[str, str]], *, below: bool) -> str:
    """Names and colours, in the lower right corner or the upper one."""
    first = HEIGHT - _BOTTOM - 17 * len(entries) if below else _TOP + 8
    rows = []
    for index, (label, colour) in enumerate(entries):
        top = first + 17 * index
        rows.append(
            f'<circle class="dot {colour}" cx="{WIDTH - _RIGHT - 8}" cy="{top}" r="4"/>'
            f'<text class="name" x="{WIDTH - _RIGHT - 18}" y="{top + 4}" '
            f'text-anchor="end">{escape(label)}</text>'
        )
    return "".join(rows)


def _tick(value: float, places: Sequence[float], factor: float) -> str:
    """A number at a tick, with as many digits as its neighbours need."""
    step = (places[1] - places[0]) * factor if len(places) > 1 else abs(value * factor)
    if step == 0:
        return three_digits(value * factor)
    digits = max(0, -math.floor(math.log10(abs(step)) + 1e-9))
    return f"{value * factor:.{digits}f}"


def _chart(parts: Sequence[str], x: Axis, y: Axis, *, title: str) -> str:
    """Put axes and grid behind the parts."""
    grid = []
    across, up = ticks(x.low, x.high), ticks(y.low, y.high, most=5)
    foot = HEIGHT - _BOTTOM
    for value in across:
        left, _ = _place(x, y, value, y.low)
        grid.append(
            f'<text class="tick" x="{left:.1f}" y="{foot + 17}" '
            f'text-anchor="middle">{_tick(value, across, x.factor)}</text>'
        )
    for value in up:
        _, top = _place(x, y, x.low, value)
        grid.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{top:.1f}" '
            f'y2="{top:.1f}"/><text class="tick" x="{_LEFT - 8}" y="{top + 4:.1f}" '
            f'text-anchor="end">{_tick(value, up, y.factor)}</text>'
        )
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    half = (_TOP + foot) / 2
    grid.append(
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{foot}" '
        f'y2="{foot}"/>'
        f'<text class="axis-title" x="{middle}" y="{HEIGHT - 8}" '
        f'text-anchor="middle">{escape(x.title)}</text>'
        f'<text class="axis-title" transform="translate(14 {half}) rotate(-90)" '
        f'text-anchor="middle">{escape(y.title)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(grid)}{''.join(parts)}</svg>"
    )
