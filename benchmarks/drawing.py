"""How a plot looks: colours, whiskers and labels. The same values always give the same files.

The colours are Okabe and Ito's, which the colour-blind can tell apart. Points and bars show the
median of the repetitions; whiskers reach from the lower to the upper quartile.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

OURS, OTHER, ACCENT = "#0072B2", "#9A9A9A", "#D55E00"
COLOURS = (OURS, ACCENT, "#009E73", "#CC79A7")
ROOM_FOR_A_NUMBER = 2.0  # on a logarithmic axis, before a mark
MARKERS = ("o", "s", "^", "D")
WHISKER = {"ecolor": "#333333", "elinewidth": 1, "capsize": 2}
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tapring",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
}

Values = Sequence[float]


@dataclass(frozen=True, slots=True)
class Row:
    """A bar, with an optional second figure drawn as a mark."""

    label: str
    values: Values
    ours: bool = False
    mark: float | None = None

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True, slots=True)
class Line:
    """Values plotted against a number."""

    label: str
    points: Mapping[float, Values]
    colour: str
    ours: bool = False
    dashed: bool = False


@contextmanager
def figure(
    name: str, folder: Path, title: str, below: str, size: tuple[float, float]
) -> Iterator[Any]:
    """A figure to draw into, saved as NAME.svg and NAME.png."""
    with mpl.rc_context(STYLE):
        made = Figure(figsize=size, layout="constrained")
        made.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        made.supxlabel(below, x=0.01, ha="left", fontsize=7, color="#666666")
        yield made
        folder.mkdir(parents=True, exist_ok=True)
        made.savefig(folder / f"{name}.svg", metadata={"Date": None})
        made.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})


def bars(axes: Any, rows: Sequence[Row], unit: str, *, log: bool) -> None:
    """Horizontal bars, the first on top, each with its median."""
    places = range(len(rows))
    values = [row.median for row in rows]
    colours = [OURS if row.ours else OTHER for row in rows]
    spread = _whiskers([row.values for row in rows])
    axes.barh(places, values, height=0.7, color=colours, xerr=spread, error_kw=WHISKER)
    axes.set_yticks(places, [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    embolden(axes, [row.label for row in rows if row.ours])
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(unit)
    if log:
        _logarithmic(axes, "x")
    for at, row in enumerate(rows):
        end = row.median + spread[1][at]
        if row.mark and end < row.mark < end * ROOM_FOR_A_NUMBER:
            end = row.mark
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        weight = "bold" if row.ours else "normal"
        axes.annotate(number(row.median), (end, at), **place, fontsize=8, fontweight=weight)
    axes.margins(x=0.12)


def marks(axes: Any, rows: Sequence[Row], label: str) -> None:
    """Draw the second figure of each row, over its bar."""
    found = [(row.mark, at) for at, row in enumerate(rows) if row.mark is not None]
    if found:
        places, heights = zip(*found, strict=True)
        axes.scatter(places, heights, marker="D", s=18, color=ACCENT, zorder=3, label=label)


def dots(axes: Any, rows: Sequence[str], series: dict[str, dict[str, Values]], unit: str) -> None:
    """One mark per row and series, on a logarithmic axis."""
    for (label, taken), colour, marker in zip(series.items(), COLOURS, MARKERS, strict=False):
        places = [rows.index(row) for row in taken]
        axes.errorbar(
            [median(values) for values in taken.values()],
            places,
            xerr=_whiskers(list(taken.values())),
            fmt=marker,
            color=colour,
            markersize=6,
            label=label,
            **{**WHISKER, "ecolor": colour},
        )
    axes.set_yticks(range(len(rows)), rows)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    _logarithmic(axes, "x")
    axes.set_xlabel(unit)
    legend(axes, len(series))


def lines(axes: Any, drawn: Sequence[Line]) -> None:
    """Lines with whiskers; ours are thicker."""
    for line, marker in zip(drawn, cycle(MARKERS), strict=False):
        axes.errorbar(
            list(line.points),
            [median(values) for values in line.points.values()],
            yerr=_whiskers(list(line.points.values())),
            fmt="--" if line.dashed else f"{marker}-",
            color=line.colour,
            markersize=5,
            linewidth=2.2 if line.ours else 1.2,
            label=line.label,
            **{**WHISKER, "ecolor": line.colour},
        )
    axes.yaxis.set_major_formatter(_thousands)
    legend(axes, 2)


def legend(axes: Any, columns: int) -> None:
    """Put the legend above the plot, where it hides nothing."""
    axes.legend(frameon=False, ncols=columns, loc="lower left", bbox_to_anchor=(0, 1))


def both_logarithmic(axes: Any, places: Sequence[float]) -> None:
    """Logarithmic axes; the horizontal one with ticks at ``places``."""
    _logarithmic(axes, "x")
    _logarithmic(axes, "y")
    axes.set_xticks(places, [f"{place:,g}" for place in places])
    axes.minorticks_off()


def _logarithmic(axes: Any, which: str) -> None:
    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_formatter(_thousands)
    axis.set_minor_locator(NullLocator())


def _thousands(value: float, _: object) -> str:
    return f"{value:,g}"


def beside(axes: Any, at: tuple[float, float], told: str) -> None:
    """Write a note to the right of a point."""
    place = {"xytext": (12, 0), "textcoords": "offset points", "va": "center"}
    axes.annotate(told, at, **place, fontsize=8, style="italic")


def embolden(axes: Any, rows: Sequence[str]) -> None:
    """Set the labels of ``rows`` in bold."""
    for label in axes.get_yticklabels():
        if label.get_text() in rows:
            label.set_fontweight("bold")


def number(value: float) -> str:
    """Three significant digits at most, or all integer digits of a number from 100 up."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _whiskers(every: Sequence[Values]) -> list[list[float]]:
    ends = [_quartiles(values) for values in every]
    middles = [median(values) for values in every]
    below = [middle - low for middle, (low, _) in zip(middles, ends, strict=True)]
    above = [high - middle for middle, (_, high) in zip(middles, ends, strict=True)]
    return [below, above]


def _quartiles(values: Values) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return low, high
