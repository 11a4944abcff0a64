"""Figure of shifts within lineages: arrows from one class to another in the plane of capability and safety."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch

from safetystats.reporting.figure_parts import limits
from safetystats.reporting.figure_style import (
    BLUE,
    EDGE,
    FOOT,
    GREY,
    PALE,
    VERMILLION,
    WIDTH,
    Drawing,
    finish,
    legend,
    legend_height,
    new_figure,
    panel,
    panel_title,
    styled,
)
from safetystats.reporting.figure_text import SMALL, fit_text, safe_text, text_width
from safetystats.summaries.crossed_tables import ALL
from safetystats.summaries.numbers import count_text, join_words, number_text, percent_text

FAINT = ("o", "s", "^", "D", "v", "P")
MOST_AREAS, ACROSS = 6, 3
_LEFT, _TITLE, _MAIN, _SMALL = 0.55, 0.24, 3.6, 1.6

Kind = tuple[str, str | tuple[int, tuple[int, int]], str]
_ABOVE: Kind = (BLUE, "solid", "unexplained part above 0")
_UNDER: Kind = (VERMILLION, (0, (4, 1)), "unexplained part below 0")
_OPEN: Kind = (GREY, "solid", "interval includes 0")
_DASHES = (0, (3, 2))


def draw_lineage_shifts(shifts: pd.DataFrame, progress: pd.DataFrame, *, level: float) -> Drawing | None:
    """Draw arrows from one class to a later one within each lineage, over the other models as faint points.

    Parameters
    ----------
    shifts : DataFrame
        Table `lineage_shifts`.
    progress : DataFrame
        Table `differential_progress`: the points, and the line that capability predicts.
    level : float
        Coverage of the intervals that decide the colours.

    Returns
    -------
    Drawing or None
        None without a lineage in two classes.
    """
    whole = shifts[shifts["area"] == ALL]
    if whole.empty:
        return None
    areas = [str(area) for area in dict.fromkeys(shifts["area"]) if area != ALL]
    small = areas if 2 <= len(areas) <= MOST_AREAS else []
    data = shifts[shifts["area"].isin([ALL, *small])].copy()
    classes = list(dict.fromkeys(progress["model_class"].astype(str)))
    entries: list[Line2D] = [
        Line2D([], [], color=colour, lw=0.8 if words == _OPEN[2] else 1.4, linestyle=line, label=words,
               solid_capstyle="butt")
        for colour, line, words in _kinds(data)
    ]  # fmt: skip
    entries.append(Line2D([], [], color=PALE, lw=0.9, linestyle=_DASHES, label="what capability predicts"))
    entries += [
        Line2D([], [], linestyle="none", marker=FAINT[place % len(FAINT)], markersize=3, markeredgecolor=PALE,
               markerfacecolor="white", label=fit_text(label, 2.0, SMALL))
        for place, label in enumerate(classes)
    ]  # fmt: skip
    with styled():
        top, cell = legend_height(entries), (WIDTH - EDGE) / ACROSS
        lines = -(-len(small) // ACROSS)
        figure = new_figure(top + _TITLE + _MAIN + FOOT + lines * (_TITLE + _SMALL + FOOT))
        spread = progress[progress["area"].isin([ALL, *small])]
        x = limits(pd.concat([spread["capability"], data["capability_a"], data["capability_b"]]).to_frame())
        places = [(ALL, panel(figure, _LEFT, top + _TITLE, WIDTH - _LEFT - EDGE - 0.1, _MAIN))]
        for place, area in enumerate(small):
            line, column = divmod(place, ACROSS)
            down = top + _TITLE + _MAIN + FOOT + line * (_TITLE + _SMALL + FOOT) + _TITLE
            places.append((area, panel(figure, column * cell + _LEFT, down, cell - _LEFT - 0.1, _SMALL)))
        for area, axes in places:
            whole_area = area == ALL
            part = data[data["area"] == area]
            _plane(axes, part, progress[progress["area"] == area], classes, thick=1.2 if whole_area else 0.8)
            axes.set_xlim(*x)
            axes.set_xlabel("capability (sd over all models)" if whole_area else "capability")
            if whole_area or area in small[::ACROSS]:
                axes.set_ylabel("safety (sd of a benchmark over all models)" if whole_area else "safety")
            size = f" ({number_text(int(part['n_benchmarks'].iloc[0]), 0)})"
            name = "all areas" if whole_area else safe_text(area) or "no area"
            room = WIDTH - 1 if whole_area else cell - _LEFT
            panel_title(axes, fit_text(name, room - text_width(size, bold=True), bold=True) + size)
        legend(figure, entries)
        steps = [f"{safe_text(str(a))} to {safe_text(str(b))}" for a, b in _pairs(whole)]
        caption = (
            f"Shifts within lineages from {join_words(steps)} in the plane of capability and safety (crossed model, "
            "posterior means averaged over the benchmarks, aligned scores, higher is safer). The dashed line is what "
            "capability predicts, the mean of the lines of the classes. Colours: whether the part of the shift in "
            f"safety that capability does not explain has a {percent_text(level)} interval off zero. Pale points are "
            "all models; in brackets, the number of benchmarks."
        )
        alt = (
            f"Scatter of {count_text(progress['model'].nunique(), 'model')} with {count_text(len(whole), 'arrow')}. "
        ) + " ".join(
            _told(whole[(whole["class_a"] == a) & (whole["class_b"] == b)], step)
            for (a, b), step in zip(_pairs(whole), steps, strict=True)
        )
        return finish(figure, name="lineage_shifts", caption=caption, alt=alt, data=data)


# --- parts ---


def _plane(axes: Axes, part: pd.DataFrame, others: pd.DataFrame, classes: list[str], thick: float) -> None:
    """Draw the points of all models, the predicted line and the arrows."""
    for place, label in enumerate(classes):
        own = others[others["model_class"].astype(str) == label]
        axes.add_line(
            Line2D(own["capability"].to_numpy(), own["safety"].to_numpy(), linestyle="none", markersize=3, zorder=2,
                   marker=FAINT[place % len(FAINT)], markeredgecolor=PALE, markerfacecolor="white", markeredgewidth=0.6)
        )  # fmt: skip
    line = others.sort_values("capability")[["capability", "expected"]].to_numpy(dtype=np.float64)
    axes.add_line(Line2D(line[:, 0], line[:, 1], color=PALE, lw=0.9, linestyle=_DASHES, zorder=1))
    for row in part.to_dict("records"):
        colour, style, words = _kind(row)
        axes.add_patch(
            FancyArrowPatch(
                (row["capability_a"], row["safety_a"]), (row["capability_b"], row["safety_b"]), arrowstyle="-|>",
                mutation_scale=7 if thick > 1 else 5, color=colour,
                lw=thick * (0.7 if words == _OPEN[2] else 1.2), linestyle=style, shrinkA=0, shrinkB=0,
                zorder=3,
            )
        )  # fmt: skip
    ends = pd.concat([part["safety_a"], part["safety_b"], others["safety"], others["expected"]]).to_frame()
    axes.set_ylim(*limits(ends))


def _kind(row: Mapping[str, float]) -> Kind:
    """Return colour, line and words of an arrow; the line says the same as the colour."""
    if row["unexplained_lower"] > 0:
        return _ABOVE
    return _UNDER if row["unexplained_upper"] < 0 else _OPEN


def _kinds(whole: pd.DataFrame) -> list[Kind]:
    seen = {_kind(row) for row in whole.to_dict("records")}
    return [kind for kind in (_ABOVE, _UNDER, _OPEN) if kind in seen]


def _told(part: pd.DataFrame, step: str) -> str:
    """Say what the arrows from one class to another show."""
    up, under = int((part["unexplained_lower"] > 0).sum()), int((part["unexplained_upper"] < 0).sum())
    return (
        f"From {step} capability shifts on average by {number_text(float(part['capability_shift'].mean()))} and safety "
        f"by {number_text(float(part['safety_shift'].mean()))}; the unexplained part lies above zero for {up} and "
        f"below zero for {under}."
    )


def _pairs(whole: pd.DataFrame) -> list[tuple[str, str]]:
    return list(dict.fromkeys(zip(whole["class_a"], whole["class_b"], strict=True)))
