"""Figures of the checks: eigenvalues with their references, and correlations before and after shrinkage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from safetystats.reporting.figure_parts import by_area, ending_text, headline_rows, left_out_text
from safetystats.reporting.figure_style import (
    BAND,
    BLUE,
    EDGE,
    FOOT,
    GAP,
    GRID,
    INK,
    PALE,
    VERMILLION,
    WIDTH,
    Drawing,
    Mark,
    arrange,
    correlation_axis,
    finish,
    guide_lines,
    key,
    legend,
    legend_height,
    new_figure,
    panel_title,
    points,
    row_axes,
    spans,
    styled,
    write_rows,
)
from safetystats.reporting.figure_text import extremes_text, fit_text, safe_text
from safetystats.summaries.numbers import count_text, join_words, number_text, percent_text

DATA = Mark(colour=INK, shape="o", size=4.2)
PLAIN = Mark(colour=BLUE, shape="s", filled=False, dashed=True, size=3.6)
CLUSTERED = Mark(colour=VERMILLION, shape="^", filled=False, dashed=True, size=4.0)
ALONE = Mark(colour=INK, shape="o", filled=False, size=4.0)
SHRUNKEN = Mark(colour=BLUE, shape="s", size=3.8)
AREA = Mark(colour=VERMILLION, shape="D", size=4.4)
_HEIGHT, _ACROSS = 2.0, 3
_AREA, _MIDDLE = "\0area", "middle of the area"


def draw_scree(factors: pd.DataFrame, quantile: float) -> Drawing | None:
    """Draw the eigenvalues of the capability benchmarks beside those of data without a factor, a panel per class.

    Parameters
    ----------
    factors : DataFrame
        Table `number_of_factors`.
    quantile : float
        Quantile of the references.

    Returns
    -------
    Drawing or None
        None where there is nothing to draw.
    """
    if factors.empty:
        return None
    data = factors.copy()
    parts = {str(name): part for name, part in data.groupby("model_class", sort=False)}
    entries = [
        _line(DATA, "data"), _line(PLAIN, "no factor, models independent"),
        _line(CLUSTERED, "no factor, families share noise"),
    ]  # fmt: skip
    with styled():
        across = min(len(parts), _ACROSS)
        lines = -(-len(parts) // across)
        top, cell = legend_height(entries), (WIDTH - 0.42 - EDGE) / across
        figure = new_figure(top + lines * (_HEIGHT + 0.24 + FOOT))
        for place, (name, part) in enumerate(parts.items()):
            down = top + 0.24 + (place // across) * (_HEIGHT + 0.24 + FOOT)
            axes = _panel(figure, 0.42 + (place % across) * cell, down, cell - 0.4)
            _scree_panel(axes, part)
            panel_title(axes, fit_text(name, cell - 0.4, bold=True))
            if place % across == 0:
                axes.set_ylabel("eigenvalue")
        legend(figure, entries)
        caption = (
            "Eigenvalues of the Spearman matrix of the capability benchmarks, and the "
            f"{percent_text(quantile)} quantile of the eigenvalues of data without a factor: models independent, and "
            "columns whose noise families share. "
        ) + " ".join(f"{safe_text(name)}: {_rules(part)}." for name, part in parts.items())
        alt = "Line plot of eigenvalues by component, one panel per class. " + " ".join(
            f"{safe_text(name)}: the first eigenvalue is {number_text(part['eigenvalue'].iloc[0])}, the second "
            f"{number_text(part['eigenvalue'].iloc[1])} against references of {number_text(part['reference'].iloc[1])} "
            f"and {number_text(part['reference_clustered'].iloc[1])}."
            for name, part in parts.items()
        )
        return finish(figure, name="scree", caption=caption, alt=alt, data=data)


def draw_shrinkage(
    shrunken: pd.DataFrame,
    posterior: pd.DataFrame,
    *,
    labels: Mapping[str, str],
    headline: Collection[str],
    rope: float,
    level: float,
) -> Drawing | None:
    """Draw the posterior correlation of every safety benchmark before and after shrinkage towards its area.

    Parameters
    ----------
    shrunken : DataFrame
        Table `shrunken_correlations`.
    posterior : DataFrame
        Table `posterior_correlations`; the cut posterior is drawn.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    rope : float
        Limit of the region of practical equivalence.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing or None
        None where nothing was shrunk.
    """
    both = posterior[posterior["mode"] == "cut"].merge(
        shrunken[shrunken["unit"] == "benchmark"].rename(columns={"name": "benchmark"})[
            ["model_class", "benchmark", "mean", "lower", "upper"]
        ],
        on=["model_class", "benchmark"], suffixes=("", "_shrunken"),
    )  # fmt: skip
    if both.empty:
        return None
    data, left_out = headline_rows(both, headline)
    data["area"] = data["area"].fillna("").astype(str)
    areas = shrunken[shrunken["unit"] == "area"]
    classes = list(dict.fromkeys(data["model_class"]))
    entries: list[Line2D | Patch] = [
        key(ALONE, "by itself (cut posterior)"), key(SHRUNKEN, "shrunken"), key(AREA, _MIDDLE),
        Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label=f"|ρ| < {number_text(rope)}"),
    ]  # fmt: skip
    with styled():
        groups, ending = by_area(data, "mean", labels)
        by_key = {safe_text(area) or "no area": area for area in data["area"]}
        middles = {
            heading: {_AREA + by_key[heading]: f"{_MIDDLE} {place}"} | dict(members)
            for place, (heading, members) in enumerate(groups.items())
        }
        rows = arrange(middles, 2.3 if len(classes) > 1 else 2.5)
        rows = replace(rows, labels={k: _MIDDLE if k.startswith(_AREA) else v for k, v in rows.labels.items()})
        top = legend_height(entries) + 0.24
        figure = new_figure(top + rows.height + FOOT)
        width = (WIDTH - rows.left - EDGE - 0.1 - GAP * (len(classes) - 1)) / len(classes)
        for column, name in enumerate(classes):
            axes = row_axes(figure, rows.left + column * (width + GAP), width, top, rows.pitch, rows.extent)
            axes.axvspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
            axes.axvline(0, color=PALE, linewidth=0.6, zorder=1)
            correlation_axis(axes, "correlation with capability, ρ" if width > 2 else "correlation ρ")
            guide_lines(axes, list(rows.y.values()))
            panel_title(axes, fit_text(name, width, bold=True))
            part = data[data["model_class"] == name]
            y = rows.places(part["benchmark"])
            spans(axes, y - 0.17, part["lower"], part["upper"], ALONE, 1.0)
            points(axes, y - 0.17, part["mean"], ALONE)
            spans(axes, y + 0.19, part["lower_shrunken"], part["upper_shrunken"], SHRUNKEN, 1.0)
            points(axes, y + 0.19, part["mean_shrunken"], SHRUNKEN)
            own = areas[(areas["model_class"] == name) & (_AREA + areas["name"].astype(str)).isin(set(rows.y))]
            y = rows.places(_AREA + own["name"].astype(str))
            spans(axes, y, own["lower"], own["upper"], AREA, 1.6)
            points(axes, y, own["mean"], AREA)
            if column == 0:
                write_rows(axes, rows)
        legend(figure, entries)
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the correlation ρ of each safety "
            "benchmark with latent capability, by itself (cut posterior) and beneath it in the hierarchical layer that "
            "shrinks benchmarks towards their area, with a middle benchmark of the area on top; the band is the region "
            f"of practical equivalence, |ρ| < {number_text(rope)}."
        )
        caption += left_out_text(data["benchmark"].nunique(), left_out) + ending_text(ending)
        pulled = (data["mean_shrunken"] - data["mean"]).abs()
        alt = f"Forest plot of {count_text(data['benchmark'].nunique(), 'safety benchmark')} by area. " + " ".join(
            f"{safe_text(str(name))}: shrunken means {extremes_text(part, 'mean_shrunken', 'benchmark', labels)}; the "
            f"largest move is {number_text(pulled[part.index].max())}."
            for name, part in data.groupby("model_class", sort=False)
        )
        return finish(figure, name="shrinkage", caption=caption, alt=alt, data=data)


def _rules(part: pd.DataFrame) -> str:
    first = part.iloc[0]
    counts = (int(first["n_parallel"]), int(first["n_parallel_clustered"]), int(first["n_map"]))
    words = ("by parallel analysis", "by parallel analysis with families", "by the minimum average partial")
    return join_words([f"{count} {rule}" for count, rule in zip(counts, words, strict=True)])


def _line(mark: Mark, label: str) -> Line2D:
    return Line2D(
        [], [], color=mark.colour, lw=1.0, linestyle=(0, (3, 2)) if mark.dashed else "solid", marker=mark.shape,
        markersize=mark.size, markerfacecolor=mark.colour if mark.filled else "white", markeredgecolor=mark.colour,
        label=label,
    )  # fmt: skip


def _panel(figure: Figure, left: float, top: float, width: float) -> Axes:
    """Return axes placed in inches from the left and the top."""
    whole = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH, (whole - top - _HEIGHT) / whole, width / WIDTH, _HEIGHT / whole))
    for side in ("right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelsize=7.5, width=0.6, size=2.5)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]))
    return axes


def _scree_panel(axes: Axes, part: pd.DataFrame) -> None:
    x = part["component"].to_numpy(dtype=np.float64)
    for column, mark in (("reference", PLAIN), ("reference_clustered", CLUSTERED), ("eigenvalue", DATA)):
        line = _line(mark, "")
        line.set_data(x, part[column].to_numpy(dtype=np.float64))
        axes.add_line(line)
    low = float(np.nanmin(part[["eigenvalue", "reference", "reference_clustered"]].to_numpy(dtype=np.float64)))
    high = float(np.nanmax(part[["eigenvalue", "reference", "reference_clustered"]].to_numpy(dtype=np.float64)))
    axes.set_xlim(0.6, x.max() + 0.4)
    axes.set_ylim(min(0.0, low) - 0.04 * high, 1.06 * high)
    axes.set_xlabel("component")
