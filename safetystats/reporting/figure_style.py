"""What all figures share: palette, marks, panels with rows, and the step from canvas to files.

Figures are 7 inches wide, in DejaVu Sans (it comes with matplotlib, so every machine draws the same), with text as
outlines in the SVG: exact everywhere, and read aloud through its title and description.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import blended_transform_factory

from safetystats.reporting.figure_text import SMALL, TEXT, fit_names, fit_text, text_width
from safetystats.summaries.numbers import number_text

FloatArray = npt.NDArray[np.float64]

WIDTH, PAGE, DPI = 7.0, 9.3, 220
EDGE, GAP, FOOT = 0.08, 0.3, 0.42

INK, GREY, PALE, GRID, BAND = "#222222", "#666666", "#a3a3a3", "#e6e6e6", "#eeeee9"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
"""The last six are Okabe and Ito's colours, which people with colour-blindness can tell apart."""

STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "text.parse_math": False,
    "text.hinting": "no_hinting",
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.6,
    "axes.formatter.useoffset": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "figure.dpi": 72,
    "svg.fonttype": "path",
    "svg.hashsalt": "safetystats",
    "path.simplify": False,
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """One figure, ready to be written.

    Attributes
    ----------
    name : str
        Stem of the files; also the prefix of every id in the SVG, so that several can stand in one page.
    caption : str
        What is plotted: estimand, kind and level of the intervals, number of models.
    alt : str
        What one sees, for those who do not see it.
    svg : str
        Without XML declaration, with `<title>` and `<desc>`; text as outlines.
    png : bytes
        At 220 dots per inch.
    data : DataFrame
        The plotted numbers.
    """

    name: str
    caption: str
    alt: str
    svg: str
    png: bytes
    data: pd.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How a point is drawn: shape and fill tell the same as the colour."""

    colour: str
    shape: str
    filled: bool = True
    dashed: bool = False
    size: float = 4.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labelled rows under headings, placed from the top.

    Attributes
    ----------
    labels : mapping of str to str
        Text of each row, cut or broken to fit.
    y : mapping of str to float
        Place of each row, in rows from the first.
    headings : tuple of (float, str)
        Place and text of each heading.
    extent : float
        Rows in all, gaps counted.
    pitch : float
        Height of a row in inches.
    left : float
        Where the axes begin, in inches from the left edge.
    """

    labels: Mapping[str, str]
    y: Mapping[str, float]
    headings: tuple[tuple[float, str], ...]
    extent: float
    pitch: float
    left: float

    @property
    def height(self) -> float:
        """Height of all rows in inches."""
        return self.extent * self.pitch

    def places(self, keys: pd.Series) -> FloatArray:
        """Return the place of the row of every key."""
        return np.array([self.y[str(name)] for name in keys], dtype=np.float64)


@contextmanager
def styled() -> Iterator[None]:
    """Draw with matplotlib's defaults and this style, whatever the user's settings; restore those after."""
    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    with mpl.rc_context(defaults | dict(STYLE)):
        yield


# --- rows and panels ---


def arrange(
    groups: Mapping[str, Mapping[str, str]], widest: float, *, roomy: float = 0.2, tight: float = 0.132
) -> Rows:
    """Place labelled rows under headings.

    Parameters
    ----------
    groups : mapping of str to mapping of str to str
        Label by key, by heading; rows under an empty heading have none.
    widest : float
        Most inches for a label.
    roomy, tight : float
        Height of a row in inches where there is room, and at least.

    Returns
    -------
    Rows
        On one page if the tight height allows; long labels take two lines where rows are roomy.
    """
    names = {key: label for group in groups.values() for key, label in group.items()}
    count = len(names) + 1.4 * sum(1 for heading in groups if heading)
    pitch = float(np.clip((PAGE - 1.2) / max(count, 1), tight, roomy))
    labels = fit_names(names, widest, lines=2 if pitch >= 0.17 else 1)
    y: dict[str, float] = {}
    headings: list[tuple[float, str]] = []
    at = 0.0
    for heading, group in groups.items():
        if heading:
            at += 0.4 if y else 0.0
            headings.append((at, heading))
            at += 1.0
        for key in group:
            extra = 0.4 if "\n" in labels[key] else 0.0
            y[key] = at + extra / 2
            at += 1 + extra
    left = EDGE + max(text_width(text) for text in labels.values()) + 0.1
    return Rows(labels=labels, y=y, headings=tuple(headings), extent=max(at, 1.0), pitch=pitch, left=left)


def new_figure(height: float) -> Figure:
    """Return a figure 7 inches wide that no global state knows of."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def row_axes(figure: Figure, left: float, width: float, top: float, pitch: float, extent: float) -> Axes:
    """Return axes placed in inches from the left and the top, one unit of y per row, the first row on top."""
    whole, high = figure.get_figheight(), extent * pitch
    axes = figure.add_axes((left / WIDTH, (whole - top - high) / whole, width / WIDTH, high / whole))
    axes.set_ylim(extent - 0.5, -0.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=int(np.clip(width / 0.42, 4, 8)), steps=[1, 2, 5, 10]))
    return axes


def panel(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes placed in inches from the left and the top, with both scales."""
    whole = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, (whole - top - height) / whole, width / WIDTH, height / whole))
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="both", labelsize=7, width=0.6, size=2.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    return axes


def guide_lines(axes: Axes, places: Sequence[float] | FloatArray) -> None:
    """Draw a hairline along every row, so that the eye finds the label."""
    low, high = axes.get_xlim()
    axes.hlines(places, low, high, color=GRID, linewidth=0.4, zorder=0.5)
    axes.set_xlim(low, high)


def write_rows(axes: Axes, rows: Rows) -> None:
    """Write the headings and labels to the left of the axes."""
    for place, text in rows.headings:
        beside(axes, EDGE, place, fit_text(text, WIDTH / 2, TEXT, bold=True), bold=True)
    for key, place in rows.y.items():
        beside(axes, rows.left - 0.08, place, rows.labels[key], align="right")


def beside(
    axes: Axes, inches: float, row: float, text: str, *, align: str = "left", size: float = TEXT, bold: bool = False,
    colour: str = INK,
) -> None:  # fmt: skip
    """Write text beside a row, at a distance in inches from the left edge of the figure."""
    where = blended_transform_factory(axes.figure.transFigure, axes.transData)
    axes.text(
        inches / WIDTH, row, text, transform=where, ha=align, va="center" if "\n" in text else "center_baseline",
        fontsize=size, color=colour, fontweight="bold" if bold else "normal", linespacing=1.0, clip_on=False,
    )  # fmt: skip


def panel_title(axes: Axes, text: str) -> None:
    """Write the title over a panel, from its left end."""
    axes.set_title(text, fontsize=TEXT, fontweight="bold", loc="left", pad=4)


# --- marks ---


def spans(axes: Axes, rows: FloatArray, lower: pd.Series, upper: pd.Series, mark: Mark, thick: float = 1.3) -> None:
    """Draw intervals; those with an end that is not a number are left out."""
    low, high = lower.to_numpy(dtype=np.float64), upper.to_numpy(dtype=np.float64)
    there = np.isfinite(low) & np.isfinite(high)
    if there.any():
        line = (0, (2, 1.5)) if mark.dashed else "solid"
        axes.hlines(rows[there], low[there], high[there], color=mark.colour, lw=thick, linestyle=line, zorder=3)


def points(axes: Axes, rows: FloatArray, values: pd.Series, mark: Mark) -> None:
    """Draw points; those that are not a number are left out."""
    x = values.to_numpy(dtype=np.float64)
    there = np.isfinite(x)
    if there.any():
        axes.add_line(_markers(mark, "", x[there], rows[there]))


def key(mark: Mark, label: str) -> Line2D:
    """Return an entry of the legend."""
    return _markers(mark, label, np.empty(0), np.empty(0))


def legend(figure: Figure, entries: Sequence[Any]) -> None:
    """Put the legend above everything, in as few lines as it needs."""
    columns = -(-len(entries) // _legend_lines(entries))
    figure.legend(
        handles=list(entries), loc="upper left", bbox_to_anchor=(0.0, 1 - 0.05 / figure.get_figheight()),
        ncols=columns, borderaxespad=0.0, borderpad=0.2, handletextpad=0.4, columnspacing=1.2, handlelength=1.5,
        labelspacing=0.3,
    )  # fmt: skip


def legend_height(entries: Sequence[Any]) -> float:
    """Return how far down the legend reaches, in inches."""
    return 0.09 + 0.145 * _legend_lines(entries)


def _legend_lines(entries: Sequence[Any]) -> int:
    lines = 1
    while lines < len(entries) and _legend_width(entries, lines) > WIDTH - 2 * EDGE:
        lines += 1
    return lines


def _legend_width(entries: Sequence[Any], lines: int) -> float:
    columns = [entries[i : i + lines] for i in range(0, len(entries), lines)]
    return sum(0.34 + max(text_width(entry.get_label(), SMALL) for entry in column) for column in columns)


def _markers(mark: Mark, label: str, x: FloatArray, y: FloatArray) -> Line2D:
    return Line2D(
        x, y, linestyle="none", marker=mark.shape, markersize=mark.size, markeredgecolor=mark.colour,
        markerfacecolor=mark.colour if mark.filled else "white", markeredgewidth=0.9, label=label, zorder=4,
    )  # fmt: skip


def correlation_axis(axes: Axes, label: str) -> None:
    """Show the whole range of a correlation."""
    axes.set_xlim(-1.03, 1.03)
    ticks = (-1.0, -0.5, 0.0, 0.5, 1.0)
    axes.set_xticks(ticks, [number_text(tick, 1) for tick in ticks])
    axes.set_xlabel(label)


# --- files ---


def finish(figure: Figure, *, name: str, caption: str, alt: str, data: pd.DataFrame) -> Drawing:
    """Return the figure as SVG and PNG; the same figure gives the same bytes."""
    raster, vector = io.BytesIO(), io.StringIO()
    figure.savefig(raster, format="png", metadata={"Software": None})
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = _inline_svg(vector.getvalue(), name, caption, alt)
    return Drawing(
        name=name, caption=caption, alt=alt, svg=svg, png=raster.getvalue(), data=data.reset_index(drop=True)
    )


def _inline_svg(svg: str, name: str, caption: str, alt: str) -> str:
    """Make an SVG fit to stand in a page beside others: own ids, no style for the whole page, title, description."""
    body = svg[svg.index("<svg") :]
    for idle in (r"<!--.*?-->\s*", r"<metadata>.*?</metadata>\s*", r"<defs>\s*<style.*?</style>\s*</defs>\s*"):
        body = re.sub(idle, "", body, flags=re.DOTALL)
    body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    opening, rest = body.split(">", 1)
    opening += f' role="img" aria-labelledby="{name}-title {name}-desc" stroke-linejoin="round" stroke-linecap="butt">'
    words = f'<title id="{name}-title">{escape(caption)}</title>\n<desc id="{name}-desc">{escape(alt)}</desc>'
    return f"{opening}\n{words}{rest}"
