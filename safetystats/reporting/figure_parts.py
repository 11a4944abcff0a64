"""Parts of the figures of a report: their marks, what of a table is drawn, and in which order."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from safetystats.reporting.figure_style import (
    BLUE,
    EDGE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    Drawing,
    FloatArray,
    Mark,
    beside,
    finish,
    new_figure,
    styled,
)
from safetystats.reporting.figure_text import SMALL, safe_text, without_shared_ending
from safetystats.summaries.numbers import count_text, estimate_text

VERDICT_MARKS: Mapping[str, Mark] = {
    "entangled": Mark(colour=VERMILLION, shape="o"),
    "inverse": Mark(colour=PURPLE, shape="v", size=5.2),
    "distinct": Mark(colour=BLUE, shape="s", size=4.2),
    "undetermined": Mark(colour=INK, shape="o", filled=False),
    "withheld": Mark(colour=GREY, shape="^", filled=False, dashed=True),
}
"""Shape and fill say the same as the colour, so that verdicts can be told apart in black and white."""
JOINT = Mark(colour=PALE, shape="D", filled=False, size=2.4)
RECIPE = Mark(colour=INK, shape="x", size=3.2)
LATENT = Mark(colour=BLUE, shape="o", size=3.8)
APART, NOT_APART = Mark(colour=VERMILLION, shape="o"), Mark(colour=INK, shape="o", filled=False)
CLASS_MARKS: tuple[Mark, ...] = (
    Mark(colour=BLUE, shape="o"), Mark(colour=VERMILLION, shape="s", size=4.2), Mark(colour=GREEN, shape="^"),
    Mark(colour=ORANGE, shape="D", size=3.8), Mark(colour=PURPLE, shape="v"), Mark(colour=SKY, shape="P"),
)  # fmt: skip
MISSING = Mark(colour=VERMILLION, shape="s", size=5.5)
MOST_ROWS, MOST_COLUMNS = 60, 55


def write_estimates(axes: Axes, y: FloatArray, part: pd.DataFrame, value: str, head: str) -> None:
    """Write point and interval at the right edge."""
    axes.annotate(
        head, (1 - EDGE / WIDTH, 1), xycoords=("figure fraction", "axes fraction"), xytext=(0, 4),
        textcoords="offset points", ha="right", va="baseline", fontsize=SMALL, color=GREY, annotation_clip=False,
    )  # fmt: skip
    for place, middle, low, high in zip(y, part[value], part["lower"], part["upper"], strict=True):
        beside(axes, WIDTH - EDGE, place, estimate_text(middle, low, high), align="right", size=SMALL)


def nothing(name: str, why: str, data: pd.DataFrame) -> Drawing:
    """Return a figure that says why there is none."""
    with styled():
        figure = new_figure(0.5)
        figure.text(0.5, 0.5, why, ha="center", va="center", color=GREY)
        return finish(figure, name=name, caption=why, alt=why, data=data)


# --- what is drawn ---


def most_missing(gaps: pd.DataFrame) -> pd.DataFrame:
    """Order rows and columns from most missing down, like patterns together, and cut to what fits."""
    rows = gaps.sum(axis=1).sort_values(ascending=False, kind="stable").index[:MOST_ROWS]
    columns = gaps.sum(axis=0).sort_values(ascending=False, kind="stable").index[:MOST_COLUMNS]
    grid = gaps.loc[rows, columns]
    across = sorted(range(grid.shape[1]), key=lambda c: tuple(~grid.iloc[:, c].to_numpy()))
    down = sorted(range(grid.shape[0]), key=lambda r: tuple(~grid.iloc[r, across].to_numpy()))
    return grid.iloc[down, across]


def headline_rows(frame: pd.DataFrame, headline: Collection[str]) -> tuple[pd.DataFrame, int]:
    """Return the rows of headline benchmarks (all if there are none), and how many benchmarks were left out."""
    chosen = frame[frame["benchmark"].isin(list(headline))]
    if chosen.empty:
        return frame.copy(), 0
    return chosen.copy(), frame["benchmark"].nunique() - chosen["benchmark"].nunique()


def by_area(frame: pd.DataFrame, value: str, labels: Mapping[str, str]) -> tuple[dict[str, dict[str, str]], str]:
    """Return labels by area; areas, and benchmarks within them, from the largest mean value down."""
    keys = [str(b) for b in dict.fromkeys(frame["benchmark"])]
    names, ending = without_shared_ending({b: labels.get(b, b) for b in keys})
    known = frame.assign(area=[safe_text(a) or "no area" for a in frame["area"].fillna("").astype(str)])
    areas = known.groupby("area", sort=False)[value].mean().sort_values(ascending=False, kind="stable")
    groups = {}
    for area in areas.index:
        means = known[known["area"] == area].groupby("benchmark", sort=False)[value].mean()
        groups[str(area)] = {str(b): names[str(b)] for b in means.sort_values(ascending=False, kind="stable").index}
    return groups, ending


def rescaled(component: pd.Series, latent: pd.Series) -> FloatArray:
    """Return the component score with the mean and sd of the latent scores of the models that have both."""
    raw, target = component.to_numpy(dtype=np.float64), latent.to_numpy(dtype=np.float64)
    both = np.isfinite(raw) & np.isfinite(target)
    if both.sum() < 2 or np.ptp(raw[both]) == 0:
        return np.full(len(raw), np.nan)
    z = (raw - raw[both].mean()) / raw[both].std()
    return np.asarray(target[both].mean() + target[both].std() * z)


def limits(frame: pd.DataFrame) -> tuple[float, float]:
    """Return the ends of an axis that holds every number of the frame."""
    values = frame.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (-1.0, 1.0)
    margin = 0.04 * max(high - low, 0.1)
    return low - margin, high + margin


def left_out_text(shown: int, left_out: int) -> str:
    """Return the sentence of a caption about benchmarks that are not drawn; empty where all are."""
    return f" Shown: {count_text(shown, 'headline benchmark')}; the table has {left_out} more." if left_out else ""


def ending_text(ending: str) -> str:
    """Return the sentence of a caption about the ending left off the names; empty where there is none."""
    return f" Names are shown without “{ending}”, which all share." if ending else ""
