"""What all figures share: palette, text that is safe to draw, panels with rows, and the step from canvas to files.

Figures are 7 inches wide, in DejaVu Sans (it comes with matplotlib, so that every machine draws the same), with text
as outlines in the SVG. Names come from tables and are text: nothing in them is read as mathematics or markup, blanks
and line ends become single spaces, and a character that the font lacks becomes U+FFFD, the replacement character.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.lines import Line2D
from matplotlib.transforms import blended_transform_factory

WIDTH = 7.0
DPI = 220
PAGE = 9.3
LONGEST = 45
TEXT, SMALL, TINY = 8.0, 7.5, 6.5
ELLIPSIS = "…"

INK, GREY, PALE, GRID, BAND = "#222222", "#6b6b6b", "#a9a9a9", "#e4e4e4", "#f0f0ec"
ORANGE, SKY, GREEN, BLUE, VERMILLION, PURPLE = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
"""Okabe and Ito's colours."""

STYLE: Mapping[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": TEXT,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.6,
    "axes.unicode_minus": True,
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


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a figure: a heading where `key` is None, else a thing with its label."""

    text: str
    key: str | None


@contextmanager
def styled() -> Iterator[None]:
    """Draw with matplotlib's defaults and this style, whatever the user's settings; restore them after."""
    defaults = {key: value for key, value in mpl.rcParamsDefault.items() if key != "backend"}
    with mpl.rc_context(defaults | dict(STYLE)):
        yield


# --- text ---


def safe_text(text: str) -> str:
    """Return text that the font can draw on one line; what it cannot becomes U+FFFD, invisible controls vanish."""
    flat = " ".join(unicodedata.normalize("NFC", str(text)).split())
    seen = [c for c in flat if unicodedata.category(c) not in ("Cc", "Cf")]
    return "".join(c if _has_glyph(c) else "\N{REPLACEMENT CHARACTER}" for c in seen)


def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Return the width of a line of text, in inches."""
    width, _, _ = _ruler().get_text_width_height_descent(text, _font(size, bold), ismath=False)
    return float(width) / _ruler().dpi


def fit_text(text: str, width: float, size: float = TEXT, bold: bool = False) -> str:
    """Return safe text no wider than `width` inches and no longer than 45 characters, ending in an ellipsis if cut."""
    whole = safe_text(text)
    if len(whole) <= LONGEST and text_width(whole, size, bold) <= width:
        return whole
    low, high = 0, min(len(whole), LONGEST - 1)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(whole[:middle].rstrip() + ELLIPSIS, size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return whole[:low].rstrip(" ,;:(-") + ELLIPSIS


def fit_names(names: Mapping[str, str], width: float, size: float = TEXT) -> dict[str, str]:
    """Return a label for every key; where cutting makes two names alike, their middle is cut instead of their end."""
    fitted = {key: fit_text(name, width, size) for key, name in names.items()}
    counts = pd.Series(list(fitted.values()), dtype=object).value_counts()
    for key, label in fitted.items():
        if counts[label] > 1 and label.endswith(ELLIPSIS):
            whole = safe_text(names[key])
            tail = whole[-12:]
            head = fit_text(whole[:-12] + " " * LONGEST + "x", width - text_width(tail, size), size)
            fitted[key] = head + tail
    return fitted


@cache
def _ruler() -> RendererAgg:
    return RendererAgg(8, 8, 200)


@cache
def _font(size: float, bold: bool) -> FontProperties:
    return FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")


@cache
def _has_glyph(character: str) -> bool:
    return bool(get_font(findfont(_font(TEXT, False))).get_char_index(ord(character)))


# --- canvas ---


def pitch_for(n_rows: int, roomy: float = 0.2, tight: float = 0.132, rest: float = 1.2) -> float:
    """Return the height of a row in inches: roomy, closer where the figure would not fit on a page."""
    return float(np.clip((PAGE - rest) / max(n_rows, 1), tight, roomy))


def new_figure(height: float) -> Figure:
    """Return a figure 7 inches wide that no global state knows of."""
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def row_axes(figure: Figure, left: float, width: float, top: float, pitch: float, n_rows: int) -> Axes:
    """Return axes placed in inches from the left and the top, with one row per unit, the first row on top."""
    height = figure.get_figheight()
    axes = figure.add_axes(
        (left / WIDTH, (height - top - n_rows * pitch) / height, width / WIDTH, n_rows * pitch / height)
    )
    axes.set_ylim(n_rows - 0.5, -0.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    return axes


def beside(axes: Axes, inches: float, row: float, text: str, *, align: str = "left", size: float = TEXT,
           bold: bool = False, colour: str = INK) -> None:  # fmt: skip
    """Write a line of text beside a row, at a distance in inches from the left edge of the figure."""
    where = blended_transform_factory(axes.figure.transFigure, axes.transData)
    axes.text(
        inches / WIDTH, row, text, transform=where, ha=align, va="center_baseline", fontsize=size, color=colour,
        fontweight="bold" if bold else "normal", clip_on=False,
    )  # fmt: skip


def spans(axes: Axes, rows: Sequence[float], lower: Sequence[float], upper: Sequence[float], mark: Mark,
          thick: float = 1.3) -> None:  # fmt: skip
    """Draw intervals; those with an end that is not a number are left out."""
    y, low, high = (np.asarray(v, dtype=np.float64) for v in (rows, lower, upper))
    there = np.isfinite(low) & np.isfinite(high)
    if there.any():
        axes.hlines(
            y[there], low[there], high[there], color=mark.colour, linewidth=thick,
            linestyle=(0, (2, 1.5)) if mark.dashed else "solid", zorder=3,
        )  # fmt: skip


def points(axes: Axes, rows: Sequence[float], values: Sequence[float], mark: Mark) -> None:
    """Draw points; those that are not a number are left out."""
    y, x = (np.asarray(v, dtype=np.float64) for v in (rows, values))
    there = np.isfinite(x)
    if there.any():
        axes.add_line(handle(mark, "", x=x[there], y=y[there]))


def handle(mark: Mark, label: str, x: Sequence[float] = (), y: Sequence[float] = ()) -> Line2D:
    """Return markers without a line, for the plot and for the legend."""
    return Line2D(
        x, y, linestyle="none", marker=mark.shape, markersize=mark.size, markeredgecolor=mark.colour,
        markerfacecolor=mark.colour if mark.filled else "white", markeredgewidth=0.9, label=label, zorder=4,
    )  # fmt: skip


def legend(figure: Figure, handles: Sequence[Any], columns: int, top: float = 0.06) -> None:
    """Put the legend above everything, from the left edge."""
    figure.legend(
        handles=list(handles), loc="upper left", bbox_to_anchor=(0.0, 1 - top / figure.get_figheight()), ncols=columns,
        borderaxespad=0.0, borderpad=0.2, handletextpad=0.5, columnspacing=1.4, handlelength=1.6, labelspacing=0.35,
    )  # fmt: skip


# --- files ---


def finish(figure: Figure, *, name: str, caption: str, alt: str, data: pd.DataFrame) -> Drawing:
    """Return the figure as SVG and PNG; the same figure gives the same bytes."""
    raster, vector = io.BytesIO(), io.StringIO()
    figure.savefig(raster, format="png", metadata={"Software": None})
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Drawing(
        name=name, caption=caption, alt=alt, svg=_inline_svg(vector.getvalue(), name, caption, alt),
        png=raster.getvalue(), data=data.reset_index(drop=True),
    )  # fmt: skip


def _inline_svg(svg: str, name: str, caption: str, alt: str) -> str:
    """Make an SVG fit to stand in a page beside others: own ids, no page-wide style, title and description."""
    body = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    body = body.replace("url(#", f"url(#{name}-")
    opening, rest = body.split(">", 1)
    opening += f' role="img" aria-labelledby="{name}-title {name}-desc" stroke-linejoin="round" stroke-linecap="butt">'
    words = f'<title id="{name}-title">{escape(caption)}</title>\n<desc id="{name}-desc">{escape(alt)}</desc>'
    return f"{opening}\n{words}{rest}"
