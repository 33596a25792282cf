"""Charts of a report, drawn by matplotlib as SVG that follows the page's theme."""

import importlib.util
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The page's variables, by the colors that stand for them while a chart is drawn.
COLORS: Final = {
    "c1": "#64748b", "c2": "#2563eb", "c3": "#d97706", "c4": "#0d9488",
    "card": "#ffffff", "ink": "#18202b", "soft": "#5d6877", "rule": "#e1e5ea",
}  # fmt: skip
_SIZE: Final = (340 / 72, 240 / 72)  # inches; a point becomes a unit of the viewBox
_WIDE: Final = (1040 / 72, 300 / 72)  # as wide as the page
# What an axis shows at least, so that noise does not fill a chart: points of accuracy,
# and the share of the median latency to either side of it.
SPAN_POINTS: Final = 10.0
SPAN_SHARE: Final = 0.1
_LETTERS: Final = 32  # of a name
_NAMES: Final = 60  # that fit side by side under a chart as wide as the page
_LINE: Final = 0.12  # of the height of a profile, for a line of names above it
_RADIUS: Final = 22.0  # points, of the largest disc
_SOFT: Final = COLORS["soft"]
_STYLE: Final = {
    "axes.edgecolor": _SOFT, "axes.labelcolor": _SOFT, "axes.labelpad": 7,
    "axes.spines.left": False, "axes.spines.right": False, "axes.spines.top": False,
    "axes.grid": True, "axes.grid.axis": "y", "axes.axisbelow": True,
    "axes.formatter.useoffset": False, "grid.color": COLORS["rule"], "font.size": 12,
    "font.family": "DejaVu Sans",  # comes with matplotlib, so all measure alike
    "xtick.color": _SOFT, "xtick.major.size": 0,
    "ytick.color": _SOFT, "ytick.major.size": 0,
    "legend.frameon": False, "svg.fonttype": "none", "text.color": COLORS["ink"],
    "text.parse_math": False,  # names may hold dollars
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A point of the scatter: its area says how large it is."""

    label: str
    color: str  # a key of COLORS
    x: float
    y: float
    size: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve, points in order."""

    label: str
    color: str  # a key of COLORS
    points: tuple[tuple[float, float], ...]


def available() -> bool:
    """Whether there is a matplotlib to draw with."""
    return importlib.util.find_spec("matplotlib") is not None


def scatter(marks: Sequence[Mark], *, x: str, y: str) -> str:
    """Discs with their names, from zero on; `x` and `y` say what the axes are."""
    largest = max(mark.size for mark in marks)
    middle = max(mark.x for mark in marks) / 2
    with _empty(x, y) as (figure, axes):
        for mark in sorted(marks, key=lambda mark: -mark.size):
            radius = max(4.0, _RADIUS * (mark.size / largest) ** 0.5)
            axes.scatter(
                mark.x, mark.y, s=(2 * radius) ** 2, alpha=0.8, clip_on=False,
                color=COLORS[mark.color], edgecolor=COLORS["card"],
            )  # fmt: skip
            side = 1 if mark.x < middle else -1
            axes.annotate(
                _short(mark.label), (mark.x, mark.y), (side * (radius + 6), 0),
                textcoords="offset points", va="center",
                ha="left" if side > 0 else "right",
            )  # fmt: skip
        axes.margins(y=0.3)
        _no_closer(axes, SPAN_POINTS)
        axes.set_xlim(0, 2.24 * middle)  # room for half a disc
        return _svg(figure, f"{y} against {x}")


def curves(lines: Sequence[Line], *, x: str, y: str, zero: bool = False) -> str:
    """Lines with a dot at the end, and a legend; `zero`: `y` begins there."""
    with _empty(x, y) as (figure, axes):
        drawn = []
        for line in lines:
            across, up = zip(*line.points, strict=True)
            color = COLORS[line.color]
            drawn += axes.plot(across, up, "o-", color=color, lw=2.2, markevery=[-1])
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)
        if zero:
            axes.set_ylim(bottom=0)
        else:
            _no_closer(axes, SPAN_POINTS)
        axes.legend(drawn, [_short(line.label) for line in lines])
        return _svg(figure, f"{y} by {x}")


def profile(
    values: Sequence[float | None], names: Mapping[int, str], *, x: str, y: str
) -> str:
    """Stems in order; those in `names` stand out and say above what they are.

    A value of None is not known and leaves a gap. The chart is as wide as the page.
    """
    with _empty(x, y, size=_WIDE) as (figure, axes):
        for color, size, named in (("c2", 4, False), ("c3", 7, True)):
            known = {
                index: value
                for index, value in enumerate(values)
                if value is not None and (index in names) is named
            }
            at, up = list(known), list(known.values())
            axes.vlines(at, 0, up, color=COLORS[color], lw=1.2, alpha=0.4)
            axes.plot(at, up, "o", color=COLORS[color], ms=size)
        axes.margins(x=0.02)
        axes.locator_params(axis="x", integer=True)
        axes.grid(visible=False, axis="x")
        low, high = axes.get_ylim()
        step = (high - low) * _LINE
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
        axes.set_ylim(low, high + step * len(names))
        # The further right, the lower the name: so no line runs through a name.
        line = {"arrowstyle": "-", "color": _SOFT, "lw": 0.8, "relpos": (0, 0.5)}
        for row, index in enumerate(sorted(names, reverse=True)):
            axes.annotate(
                _short(names[index]), (index, values[index] or 0.0),
                (index, high + step * (row + 0.5)), va="center", arrowprops=line,
            )  # fmt: skip
        return _svg(figure, f"{y} by {x}")


def dumbbells(pairs: Sequence[tuple[str, float, float]], *, x: str, y: str) -> str:
    """A name, a number before and one after: rings and dots, joined; `y` by doublings.

    So the same share lost is the same length, wherever it is. As wide as the page.
    """
    before, after = ([pair[side] for pair in pairs] for side in (1, 2))
    at = range(len(pairs))
    with _empty(x, y, size=_WIDE) as (figure, axes):
        axes.set_yscale("log", base=2)
        axes.vlines(at, after, before, color=COLORS["c2"], lw=2, alpha=0.4)
        axes.plot(
            at, before, "o", color=COLORS["c1"], mfc=COLORS["card"], ms=7,
            label="before",
        )  # fmt: skip
        axes.plot(at, after, "o", color=COLORS["c2"], ms=5, label="after")
        axes.yaxis.set_major_formatter("{x:.0f}")
        step = -(-len(pairs) // _NAMES)
        axes.set_xticks(
            [*at][::step], [_short(name) for name, *_ in pairs][::step],
            rotation=90, fontsize=9,
        )  # fmt: skip
        axes.margins(x=0.02)
        axes.legend(ncols=2)
        return _svg(figure, f"{y} by {x}")


def histogram(
    samples: Sequence[float], *, label: str, color: str, marks: Sequence[float]
) -> str:
    """How often which latency was seen, in ms; `marks` are p50, p90, p99.

    The last bin holds everything beyond p99 and a little, so that one interrupted run
    does not squeeze the rest into a corner; the axis is no narrower than a tenth to
    either side of the median, so that noise looks as small as it is.
    """
    name, fill = _short(label), COLORS[color]
    middle = float(np.median(samples))
    p99 = min(np.max(samples), max([np.quantile(samples, 0.99), *marks]))
    low = min(np.min(samples), middle * (1 - SPAN_SHARE))
    high = max(p99 + (p99 - np.min(samples)) * 0.15, middle * (1 + SPAN_SHARE))
    kept = np.clip(samples, low, high)
    with _empty(f"{name}, ms", "runs") as (figure, axes):
        axes.hist(kept, 60, range=(low, high), color=fill, alpha=0.8, rwidth=0.9)
        axes.margins(x=0)
        # Each name a step lower, since p50 and p90 may be neighbors.
        for step, at in enumerate(marks):
            axes.axvline(at, color=_SOFT, linestyle="--", linewidth=1)
            axes.annotate(
                ("p50", "p90", "p99")[step], (at, 1), (4, -4 - 15 * step), va="top",
                xycoords=("data", "axes fraction"), textcoords="offset points",
            )  # fmt: skip
        return _svg(figure, f"latency of {name}")


def standalone(svg: str) -> str:
    """A chart that is a file of its own: colors instead of the page's variables."""
    for name, color in COLORS.items():
        svg = svg.replace(f"var(--{name})", color)
    return svg


def _no_closer(axes: "Axes", span: float) -> None:
    """Show at least `span` of the vertical axis, which is a percentage."""
    low, high = axes.get_ylim()
    missing = span - (high - low)
    if missing > 0:
        # From 100 % down, where there is no room above.
        above = min(missing / 2, max(0.0, 100 + (high - low) * 0.1 - high))
        axes.set_ylim(low - (missing - above), high + above)


def _short(name: str) -> str:
    """One line that leaves room for the chart."""
    line = "".join(letter if letter.isprintable() else " " for letter in name)
    return line if len(line) <= _LETTERS else line[: _LETTERS - 1] + "…"


@contextmanager
def _empty(
    x: str, y: str, *, size: tuple[float, float] = _SIZE
) -> "Iterator[tuple[Figure, Axes]]":
    """A figure without global state, in our style whatever the reader's own is."""
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot(xlabel=x, ylabel=y)
        axes.locator_params(nbins=6)
        yield figure, axes


def _svg(figure: "Figure", title: str) -> str:
    """An element of the page: always the same bytes, with every text escaped."""
    from matplotlib import rc_context

    file = io.StringIO()
    # The title keeps the identifiers of a page's charts apart.
    with rc_context({"svg.hashsalt": f"chart {title}"}), warnings.catch_warnings():
        # The reader's browser has other fonts than the one that measures here.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        described = {"Title": title, "Date": None}
        figure.savefig(file, format="svg", transparent=True, metadata=described)
    svg = '<svg role="img" ' + file.getvalue().partition("<svg ")[2]
    # Away with what every chart has, and with what would speak for the whole page.
    gone = r'(?<=<g) id="[^"]*"|<(metadata|style)\b.*?</\1>'
    svg = re.sub(gone, "", svg, flags=re.DOTALL)
    for name, color in COLORS.items():  # inside tags: no text holds a bare < or >
        svg = re.sub(rf"{color}(?=[^<>]*>)", f"var(--{name})", svg)
    return svg
