"""Figures of verdicts: over limits of the region of practical equivalence, and correlation against slope."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from safetystats.reporting.figure_parts import (
    VERDICT_MARKS,
    by_area,
    ending_text,
    headline_rows,
    left_out_text,
    limits,
    nothing,
)
from safetystats.reporting.figure_style import (
    BAND,
    BLUE,
    EDGE,
    FOOT,
    GAP,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    WIDTH,
    Drawing,
    FloatArray,
    Mark,
    arrange,
    finish,
    guide_lines,
    key,
    legend,
    legend_height,
    new_figure,
    panel,
    panel_title,
    points,
    row_axes,
    styled,
    write_rows,
)
from safetystats.reporting.figure_text import TINY, counts_text, fit_names, safe_text, text_width, without_shared_ending
from safetystats.reporting.text import LONGEST_NAME
from safetystats.summaries.numbers import count_text, join_words, number_text, percent_text

QUADRANT_MARKS: Mapping[str, Mark] = {
    "high and large": Mark(colour=VERMILLION, shape="o"),
    "high and small": Mark(colour=ORANGE, shape="D", size=4.0),
    "low and large": Mark(colour=GREEN, shape="^"),
    "low and small": Mark(colour=BLUE, shape="s", size=4.2),
    "undetermined": Mark(colour=INK, shape="o", filled=False),
    "withheld": Mark(colour=GREY, shape="^", filled=False, dashed=True),
}
"""Combination of correlation and slope; shape and fill say the same as the colour."""
ROOM = 8.5
"""Distance of a number from others that is enough, in points of print."""
RINGS = (8.6, 14.0, 20.0, 28.0, 38.0)
"""Distances at which the number of a point may stand, in points of print; from the second on a line leads to it."""
MOST_POINTS = 36
"""Benchmarks that are drawn in a panel at most: those with the largest correlations."""
MANY_POINTS = 16
"""Benchmarks beyond which every panel has the whole width."""


def draw_verdicts(
    tables: Mapping[str, pd.DataFrame],
    *,
    labels: Mapping[str, str],
    headline: Collection[str],
    rope: float,
    level: float,
) -> list[Drawing | None]:
    """Return the figures of the questions about verdicts; none where a study does not ask them."""
    curve, posterior = tables["verdict_curve"], tables["posterior_correlations"]
    if curve.empty:
        return []
    return [
        draw_verdict_curve(curve, posterior, labels=labels, headline=headline),
        draw_liability(tables["liability"], posterior, labels=labels, headline=headline, rope=rope, level=level),
    ]


def draw_verdict_curve(
    curve: pd.DataFrame, posterior: pd.DataFrame, *, labels: Mapping[str, str], headline: Collection[str]
) -> Drawing:
    """Draw the verdict of every headline benchmark at every limit, one panel per class.

    Parameters
    ----------
    curve : DataFrame
        Table `verdict_curve`.
    posterior : DataFrame
        Table `posterior_correlations`; its cut means order the rows.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.

    Returns
    -------
    Drawing
    """
    data, left_out = headline_rows(curve, headline)
    if data.empty:
        return nothing("verdict_curve", "No benchmark has a verdict at several limits.", data)
    cut = posterior.loc[posterior["mode"] == "cut", ["model_class", "benchmark", "mean"]]
    data = data.merge(cut, on=["model_class", "benchmark"], how="left")
    classes = list(dict.fromkeys(data["model_class"]))
    words = [word for word in VERDICT_MARKS if (data["verdict"] == word).any()]
    entries = [key(VERDICT_MARKS[word], word) for word in words]
    with styled():
        groups, ending = by_area(data, "mean", labels)
        rows = arrange(groups, 2.3)
        top = legend_height(entries) + 0.24
        figure = new_figure(top + rows.height + FOOT)
        width = (WIDTH - rows.left - EDGE - 0.1 - GAP * (len(classes) - 1)) / len(classes)
        steps = sorted(set(data["limit"]))
        stated = float(data.loc[data["stated"].astype(bool), "limit"].iloc[0])
        for column, name in enumerate(classes):
            axes = row_axes(figure, rows.left + column * (width + GAP), width, top, rows.pitch, rows.extent)
            half = min(np.diff(steps), default=0.05) / 2
            axes.axvspan(stated - half, stated + half, color=BAND, linewidth=0, zorder=0)
            axes.set_xlim(steps[0] - 2 * half, steps[-1] + 2 * half)
            shown = steps[:: 1 if width > 3 else 2]
            axes.set_xticks(shown, [number_text(step) for step in shown])
            axes.set_xlabel("limit of the region of practical equivalence" if width > 2.4 else "limit")
            axes.grid(visible=False)
            guide_lines(axes, list(rows.y.values()))
            panel_title(axes, safe_text(name))
            part = data[data["model_class"] == name]
            y = rows.places(part["benchmark"])
            for word in words:
                some = (part["verdict"] == word).to_numpy()
                points(axes, y[some], part["limit"][some], VERDICT_MARKS[word])
            if column == 0:
                write_rows(axes, rows)
        legend(figure, entries)
        caption = (
            f"Verdict of each safety benchmark at limits from {number_text(steps[0])} to {number_text(steps[-1])} of "
            "the region of practical equivalence (cut posterior); the band is the limit of the study, "
            f"{number_text(stated)}."
        )
        caption += left_out_text(len(rows.y), left_out) + ending_text(ending)
        alt = f"Strip chart of {count_text(len(rows.y), 'safety benchmark')} by area, a mark per limit. " + " ".join(
            f"{safe_text(str(name))}, limit {number_text(limit)}: {counts_text(part['verdict'], list(VERDICT_MARKS))}."
            for name, own in data.groupby("model_class", sort=False)
            for limit, part in own.groupby("limit", sort=True)
            if limit in (steps[0], stated, steps[-1])
        )
        return finish(figure, name="verdict_curve", caption=caption, alt=alt, data=data)


def draw_liability(
    rows: pd.DataFrame,
    posterior: pd.DataFrame,
    *,
    labels: Mapping[str, str],
    headline: Collection[str],
    rope: float,
    level: float,
) -> Drawing | None:
    """Draw correlation against slope over the smallest effect of interest, one panel per class.

    Parameters
    ----------
    rows : DataFrame
        Table `liability`.
    posterior : DataFrame
        Table `posterior_correlations`; its cut intervals are drawn.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    rope : float
        Limit of |rho|.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing or None
        None where no benchmark has a smallest effect. Points are numbered, with their names beneath.
    """
    data, left_out = headline_rows(rows[rows["quadrant"].astype(str) != ""], headline)
    if data.empty:
        return None
    cut = posterior.loc[posterior["mode"] == "cut", ["model_class", "benchmark", "lower", "upper"]]
    data = data.merge(cut, on=["model_class", "benchmark"], how="left")
    for end in ("slope", "slope_lower", "slope_upper"):
        data[f"{end}_over"] = data[end] / data["smallest_effect"]
    order = data.groupby("benchmark", sort=False)["mean"].mean().sort_values(ascending=False, kind="stable")
    kept = order.abs().sort_values(ascending=False, kind="stable").index[:MOST_POINTS]
    order = order[order.index.isin(kept)]
    left_out += data["benchmark"].nunique() - len(order)
    data = data[data["benchmark"].isin(kept)]
    numbers = {str(name): place for place, name in enumerate(order.index, start=1)}
    names, ending = without_shared_ending({str(b): labels.get(str(b), str(b)) for b in order.index})
    classes = list(dict.fromkeys(data["model_class"]))
    words = [word for word in QUADRANT_MARKS if (data["quadrant"] == word).any()]
    entries = [key(QUADRANT_MARKS[word], word) for word in words]
    with styled():
        across = min(len(classes), 1 if len(numbers) > MANY_POINTS else 2)
        down = -(-len(classes) // across)
        width, high, head = (WIDTH - 0.5 * across - EDGE) / across, 2.6, 0.24
        columns = 2
        lines = -(-len(numbers) // columns)
        listed = 0.13 * lines + 0.12
        above = legend_height(entries)
        figure = new_figure(above + down * (head + high + FOOT) + listed)
        span = limits(data[["slope_over", "slope_lower_over", "slope_upper_over"]].assign(low=-1.2, high=1.2))
        for place, name in enumerate(classes):
            left = 0.5 + (place % across) * (width + 0.5)
            axes = panel(figure, left, above + head + (place // across) * (head + high + FOOT), width - 0.1, high)
            _quadrants(axes, data[data["model_class"] == name], numbers, words, rope, span)
            panel_title(axes, safe_text(name))
            axes.set_xlabel("posterior correlation with capability, ρ")
            if place % across == 0:
                axes.set_ylabel("slope over smallest effect of interest")
        legend(figure, entries)
        cell = (WIDTH - 2 * EDGE) / columns
        short = fit_names(names, cell - text_width("00 ", TINY) - 0.1, TINY, longest=LONGEST_NAME)
        for benchmark, number in numbers.items():
            column, line = divmod(number - 1, lines)
            figure.text(
                (EDGE + column * cell) / WIDTH, (listed - 0.06 - 0.13 * line) / figure.get_figheight(),
                f"{number} {short[benchmark]}", fontsize=TINY, ha="left", va="top",
            )  # fmt: skip
        caption = (
            f"Posterior means and {percent_text(level)} equal-tailed intervals of the correlation ρ with latent "
            "capability, and of the slope per standard deviation of capability in units of the smallest effect of "
            f"interest (cut posterior, aligned scores). Bands: |ρ| below {number_text(rope)}, and slopes below the "
            "smallest effect. Numbers stand for the benchmarks beneath."
        )
        caption += left_out_text(len(numbers), left_out) + ending_text(ending)
        alt = f"Scatter plot of {count_text(len(numbers), 'safety benchmark')}, one panel per class. " + " ".join(
            f"{safe_text(str(name))}: {counts_text(part['quadrant'], list(QUADRANT_MARKS))}; slopes above the smallest "
            f"effect in their mean: {join_words(_steep(part, names)) or 'none'}."
            for name, part in data.groupby("model_class", sort=False)
        )
        return finish(figure, name="liability", caption=caption, alt=alt, data=data)


def _quadrants(
    axes: Axes, part: pd.DataFrame, numbers: Mapping[str, int], words: list[str], rope: float, span: tuple[float, float]
) -> None:
    """Draw one class: bands, intervals in both directions, numbered points."""
    axes.axvspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
    axes.axhspan(-1, 1, color=BAND, linewidth=0, zorder=0)
    axes.axvline(0, color=PALE, linewidth=0.6, zorder=1)
    axes.axhline(0, color=PALE, linewidth=0.6, zorder=1)
    axes.set_xlim(-1.03, 1.03)
    axes.set_ylim(*span)
    ticks = (-1.0, -0.5, 0.0, 0.5, 1.0)
    axes.set_xticks(ticks, [number_text(tick, 1) for tick in ticks])
    for word in words:
        own, mark = part[part["quadrant"] == word], QUADRANT_MARKS[word]
        y = own["slope_over"].to_numpy(dtype=np.float64)
        axes.hlines(y, own["lower"], own["upper"], color=mark.colour, lw=0.6, alpha=0.6, zorder=2)
        axes.vlines(
            own["mean"],
            own["slope_lower_over"],
            own["slope_upper_over"],
            color=mark.colour,
            lw=0.6,
            alpha=0.6,
            zorder=2,
        )
        points(axes, y, own["mean"], mark)
    size = axes.get_window_extent()
    x = (part["mean"].to_numpy(dtype=np.float64) + 1.03) / 2.06 * size.width
    y = (part["slope_over"].to_numpy(dtype=np.float64) - span[0]) / (span[1] - span[0]) * size.height
    for row, (right, up) in zip(part.to_dict("records"), _offsets(x, y, size.width, size.height), strict=True):
        far = np.hypot(right, up) > RINGS[0] + 0.1
        axes.annotate(
            str(numbers[str(row["benchmark"])]), (row["mean"], row["slope_over"]), xytext=(right, up),
            textcoords="offset points", fontsize=TINY, color=INK, zorder=5, ha="center", va="center",
            bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.2},
            arrowprops={"arrowstyle": "-", "color": GREY, "lw": 0.4, "shrinkA": 0, "shrinkB": 1} if far else None,
        )  # fmt: skip


def _offsets(x: FloatArray, y: FloatArray, width: float, height: float) -> list[tuple[float, float]]:
    """Return where the number of every point stands, in points of print from it, away from other points and numbers.

    Greedy, in order: of the places on rings about the point the nearest with room, else the one with the most.

    Parameters
    ----------
    x, y : array, shape (n,)
        In points of print from the corner of the panel.
    width, height : float
        Of the panel, in points of print.
    """
    angles = np.deg2rad([45, 135, 315, 225, 0, 180, 90, 270, 22.5, 157.5, 337.5, 202.5, 67.5, 112.5, 292.5, 247.5])
    places = np.array([(r * np.cos(a), r * np.sin(a)) for r in RINGS for a in angles])
    taken = np.column_stack([x, y])
    chosen = []
    for here in taken.copy():
        at = here + places
        room = np.hypot(*(at[:, None, :] - taken[None, :, :]).transpose(2, 0, 1)).min(axis=1)
        room[((at < 4) | (at > np.array([width, height]) - 4)).any(axis=1)] = 0.0
        best = int(np.argmax(np.minimum(np.round(room, 3), ROOM)))
        chosen.append((float(places[best, 0]), float(places[best, 1])))
        taken = np.vstack([taken, at[best]])
    return chosen


def _steep(part: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    own = part[part["slope_over"].abs() > 1].sort_values("slope_over", ascending=False, kind="stable")
    return [safe_text(names[str(name)])[:90] for name in own["benchmark"].head(6)]
