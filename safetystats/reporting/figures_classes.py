"""Figures of the comparison of classes: differences of correlations, and expected scores at given capability."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from safetystats.reporting.figure_parts import (
    APART,
    CLASS_MARKS,
    NOT_APART,
    by_area,
    ending_text,
    headline_rows,
    left_out_text,
    limits,
    write_estimates,
)
from safetystats.reporting.figure_style import (
    EDGE,
    FOOT,
    GAP,
    GREY,
    PALE,
    WIDTH,
    Drawing,
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
    spans,
    styled,
    write_rows,
)
from safetystats.reporting.figure_text import SMALL, extremes_text, fit_names, fit_text, range_text, safe_text
from safetystats.summaries.numbers import count_text, join_words, percent_text

UNPAIRED = Mark(colour=PALE, shape="|", size=3.0)
MOST_PANELS, ACROSS = 12, 3
_LEFT, _TITLE, _HEIGHT = 0.55, 0.32, 1.25


def draw_class_differences(
    differences: pd.DataFrame, *, labels: Mapping[str, str], headline: Collection[str], level: float
) -> Drawing | None:
    """Draw the posterior difference between classes of each benchmark's correlation with capability.

    Parameters
    ----------
    differences : DataFrame
        Table `posterior_differences`.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing or None
        None where there is no difference to show: one class, or no benchmark that two classes share.
    """
    known = differences[differences["delta"].notna()]
    if known.empty:
        return None
    data, left_out = headline_rows(known, headline)
    data["pair"] = data["class_a"].astype(str) + " − " + data["class_b"].astype(str)
    pairs = list(dict.fromkeys(data["pair"]))
    clear = (data["lower"] > 0) | (data["upper"] < 0)
    entries = [key(APART, "interval excludes 0")] if clear.any() else []
    entries += [key(NOT_APART, "interval includes 0")] if not clear.all() else []
    entries.append(Line2D([], [], color=PALE, lw=0.9, label="pairing ignored"))
    with styled():
        groups, ending = by_area(data, "delta", labels)
        rows = arrange(groups, 2.4)
        top = legend_height(entries) + 0.24
        figure = new_figure(top + rows.height + FOOT)
        right = 1.45 if len(pairs) == 1 else EDGE + 0.1
        width = (WIDTH - rows.left - right - GAP * (len(pairs) - 1)) / len(pairs)
        low, high = limits(data[["lower", "upper", "unpaired_lower", "unpaired_upper"]])
        for column, pair in enumerate(pairs):
            part = data[data["pair"] == pair]
            axes = row_axes(figure, rows.left + column * (width + GAP), width, top, rows.pitch, rows.extent)
            axes.set_xlim(min(low, -0.1), max(high, 0.1))
            guide_lines(axes, list(rows.y.values()))
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
            axes.set_xlabel("difference of correlations, Δρ" if width > 1.7 else "Δρ")
            panel_title(axes, fit_text(pair, width, bold=True))
            y = rows.places(part["benchmark"])
            spans(axes, y + 0.3, part["unpaired_lower"], part["unpaired_upper"], UNPAIRED, 0.9)
            apart = clear[part.index].to_numpy()
            for mark, some in ((APART, apart), (NOT_APART, ~apart)):
                spans(axes, y[some], part["lower"][some], part["upper"][some], mark)
                points(axes, y[some], part["delta"][some], mark)
            if column == 0:
                write_rows(axes, rows)
            if len(pairs) == 1:
                write_estimates(axes, y, part, "delta", f"Δρ [{percent_text(level)}]")
        legend(figure, entries)
        caption = (
            f"Difference between classes ({join_words([safe_text(p) for p in pairs])}) in the correlation ρ of each "
            f"safety benchmark with latent capability: posterior mean and {percent_text(level)} equal-tailed interval "
            f"(cut posterior), the pairing of models by lineage kept (n = {range_text(data['n_pairs'])} lineages with "
            "a model in both classes), and beneath it as a thin line the interval that ignores the pairing; not "
            "adjusted for the number of benchmarks." + left_out_text(len(rows.y), left_out)
        )
        silent = differences["benchmark"].nunique() - known["benchmark"].nunique()
        caption += f" For {count_text(silent, 'benchmark')} there is no difference to compute." if silent else ""
        caption += ending_text(ending)
        alt = f"Forest plot of {count_text(len(rows.y), 'benchmark')} by area. " + " ".join(
            f"{safe_text(pair)}: differences {extremes_text(part, 'delta', 'benchmark', labels)}; "
            f"{int(clear[part.index].sum())} of {len(part)} intervals exclude zero."
            for pair, part in data.groupby("pair", sort=False)
        )
        return finish(figure, name="class_differences", caption=caption, alt=alt, data=data)


def draw_marginal_means(
    means: pd.DataFrame, *, group: str, labels: Mapping[str, str], headline: Collection[str], level: float
) -> Drawing | None:
    """Draw what each class is expected to score at low, average and high capability, a panel per benchmark.

    Parameters
    ----------
    means : DataFrame
        Table `marginal_means`.
    group : str
        Grouping of the mixed models to show.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all if none of them is in the table. At most `MOST_PANELS`, from each area in turn.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing or None
        None where no mixed model was fitted.
    """
    known = means[(means["group"] == group) & means["mean_sd"].notna()]
    if known.empty:
        return None
    chosen, _ = headline_rows(known, headline)
    names = first_by_area(chosen, MOST_PANELS)
    data = chosen[chosen["benchmark"].isin(names)].copy()
    classes = list(dict.fromkeys(means["model_class"].astype(str)))
    marks = {label: CLASS_MARKS[place % len(CLASS_MARKS)] for place, label in enumerate(classes)}
    beyond = bool(data["extrapolated"].astype(bool).any())
    entries = [_entry(marks[label], fit_text(label, 2.0, SMALL)) for label in classes]
    if beyond:
        entries.append(_entry(Mark(colour=GREY, shape="o", filled=False, dashed=True), "beyond what all classes cover"))
    with styled():
        across = min(ACROSS, len(names))
        lines = -(-len(names) // across)
        cell = (WIDTH - _LEFT - EDGE) / across
        wide, tall = min(cell, 2.6) - 0.14, _HEIGHT
        top = legend_height(entries)
        figure = new_figure(top + lines * (tall + _TITLE) + (lines - 1) * 0.1 + FOOT)
        titles = fit_names({name: labels.get(name, name) for name in names}, wide, SMALL, lines=2)
        low, high = limits(data[["lower_sd", "upper_sd", "mean_sd"]])
        for place, name in enumerate(names):
            line, column = divmod(place, across)
            down = top + _TITLE + line * (tall + _TITLE + 0.1)
            axes = panel(figure, _LEFT + column * cell, down, wide, tall)
            axes.set_ylim(low, high)
            axes.set_xlim(-1.35, 1.35)
            axes.set_xticks([-1, 0, 1])
            axes.axhline(0, color=PALE, linewidth=0.6, zorder=1)
            _means(axes, data[data["benchmark"] == name], classes, marks)
            axes.set_title(titles[name], fontsize=SMALL, loc="left", pad=3)
            axes.tick_params(labelleft=column == 0, labelbottom=place + across >= len(names))
            if column == 0:
                axes.set_ylabel("score (sd)", fontsize=SMALL)
            if place + across >= len(names):
                axes.set_xlabel("capability (sd)", fontsize=SMALL)
        legend(figure, entries)
        left = known["benchmark"].nunique() - len(names)
        caption = (
            f"Expected score of each class at capability −1, 0 and 1 (standard deviations over all models), with "
            f"{percent_text(level)} intervals, from the mixed model with an intercept per {safe_text(group)}; scores "
            "in standard deviations of the benchmark over all models, higher is safer."
        )
        caption += (
            " Hollow marks and dashed lines lie beyond the capabilities that all classes cover." if beyond else ""
        )
        caption += (
            f" Shown: {count_text(len(names), 'benchmark')}, headline ones first and areas in turn; the table has "
            f"{left} more."
            if left
            else ""
        )
        alt = f"{count_text(len(names), 'panel')} of lines over capability, one line per class. " + " ".join(
            f"{safe_text(label)} at average capability: {extremes_text(part, 'mean_sd', 'benchmark', labels)}."
            for label, part in data[data["capability"] == 0].groupby("model_class", sort=False)
        )
        return finish(figure, name="marginal_means", caption=caption, alt=alt, data=data)


def first_by_area(frame: pd.DataFrame, most: int) -> list[str]:
    """Return at most so many benchmarks, from each area in turn, grouped by area in the order of the table."""
    area = frame.drop_duplicates("benchmark")[["benchmark", "area"]].astype(str)
    turn = area.groupby("area", sort=False).cumcount()
    chosen = area.loc[turn.sort_values(kind="stable").index[:most]]
    order = {name: place for place, name in enumerate(dict.fromkeys(area["area"]))}
    return [str(b) for b in chosen.sort_values("area", key=lambda a: a.map(order), kind="stable")["benchmark"]]


# --- parts ---


def _means(axes: Axes, part: pd.DataFrame, classes: list[str], marks: Mapping[str, Mark]) -> None:
    """Draw one line per class, the marks a little apart so that intervals do not hide each other."""
    for place, label in enumerate(classes):
        own = part[part["model_class"].astype(str) == label].sort_values("capability")
        if own.empty:
            continue
        mark, aside = marks[label], 0.1 * (place - (len(classes) - 1) / 2)
        x = own["capability"].to_numpy(dtype=np.float64) + aside
        y, low, high = (own[name].to_numpy(dtype=np.float64) for name in ("mean_sd", "lower_sd", "upper_sd"))
        beyond = own["extrapolated"].to_numpy(dtype=bool)
        for i in range(len(x) - 1):
            line = (0, (2, 1.5)) if beyond[i] or beyond[i + 1] else "solid"
            axes.add_line(Line2D(x[i : i + 2], y[i : i + 2], color=mark.colour, lw=1.0, linestyle=line, zorder=3))
        there = np.isfinite(low) & np.isfinite(high)
        axes.vlines(x[there], low[there], high[there], color=mark.colour, lw=0.9, zorder=3)
        for filled in (True, False):
            some = beyond != filled
            axes.add_line(
                Line2D(x[some], y[some], linestyle="none", marker=mark.shape, markersize=mark.size * 0.8, zorder=4,
                       markeredgecolor=mark.colour, markerfacecolor=mark.colour if filled else "white")
            )  # fmt: skip


def _entry(mark: Mark, label: str) -> Line2D:
    return Line2D(
        [], [], color=mark.colour, lw=1.0, linestyle=(0, (2, 1.5)) if mark.dashed else "solid", marker=mark.shape,
        markersize=mark.size * 0.8, markeredgecolor=mark.colour,
        markerfacecolor=mark.colour if mark.filled else "white", label=label,
    )  # fmt: skip
