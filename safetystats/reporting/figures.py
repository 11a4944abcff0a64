"""Figures of a report: each takes tables and returns a `Drawing`; those of correlations are made here."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from safetystats.reporting.figure_parts import (
    JOINT,
    RECIPE,
    VERDICT_MARKS,
    by_area,
    ending_text,
    headline_rows,
    left_out_text,
    nothing,
    write_estimates,
)
from safetystats.reporting.figure_style import (
    BAND,
    EDGE,
    FOOT,
    GAP,
    PALE,
    WIDTH,
    Drawing,
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
from safetystats.reporting.figure_text import (
    class_sizes,
    counts_text,
    extremes_text,
    fit_text,
    range_text,
    safe_text,
    text_width,
)
from safetystats.reporting.figures_models import draw_capability, draw_loadings, draw_missing
from safetystats.summaries.numbers import count_text, join_words, number_text, percent_text

__all__ = ["draw_capability", "draw_forest", "draw_loadings", "draw_missing"]


def draw_forest(
    posterior: pd.DataFrame,
    correlations: pd.DataFrame,
    *,
    labels: Mapping[str, str],
    headline: Collection[str],
    rope: float,
    level: float,
) -> Drawing:
    """Draw the posterior correlation of every safety benchmark with capability, classes side by side.

    Parameters
    ----------
    posterior : DataFrame
        Table `posterior_correlations`.
    correlations : DataFrame
        Table `capability_correlations`; the Spearman correlation on aligned columns is shown beside.
    labels : mapping of str to str
        Names of benchmarks; an identifier without a name stands for itself.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    rope : float
        Limit of the region of practical equivalence.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing
    """
    data, left_out = headline_rows(posterior, headline)
    if data.empty:
        return nothing("forest", "No safety benchmark has a posterior correlation.", data)
    recipe = correlations[correlations["method"] == "spearman"].drop_duplicates(["model_class", "benchmark"])
    recipe = recipe[["model_class", "benchmark", "correlation"]].rename(columns={"correlation": "spearman"})
    data = data.merge(recipe, on=["model_class", "benchmark"], how="left")
    cut = data[data["mode"] == "cut"]
    joint = data[data["mode"] == "joint"]
    classes = list(dict.fromkeys(cut["model_class"]))
    verdicts = [verdict for verdict in VERDICT_MARKS if (cut["verdict"] == verdict).any()]
    entries: list[Line2D | Patch] = [*(key(VERDICT_MARKS[verdict], verdict) for verdict in verdicts)]
    if len(joint):
        entries.append(key(JOINT, "joint posterior"))
    if data["spearman"].notna().any():
        entries.append(key(RECIPE, "2024 Spearman"))
    entries.append(Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label=f"|ρ| < {number_text(rope)}"))

    with styled():
        groups, ending = by_area(cut, "mean", labels)
        rows = arrange(groups, 2.3 if len(classes) > 1 else 2.5)
        top = legend_height(entries) + 0.24
        figure = new_figure(top + rows.height + FOOT)
        right = 1.3 if len(classes) == 1 else EDGE + 0.1
        width = (WIDTH - rows.left - right - GAP * (len(classes) - 1)) / len(classes)
        for column, name in enumerate(classes):
            axes = row_axes(figure, rows.left + column * (width + GAP), width, top, rows.pitch, rows.extent)
            axes.axvspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
            axes.axvline(0, color=PALE, linewidth=0.6, zorder=1)
            correlation_axis(axes, "posterior correlation with capability, ρ" if width > 2 else "correlation ρ")
            guide_lines(axes, list(rows.y.values()))
            beneath, part = joint[joint["model_class"] == name], cut[cut["model_class"] == name]
            size = f" (n = {range_text(part['n_models']).replace(' to ', '–')})"
            panel_title(axes, fit_text(name, width + 0.2 - text_width(size, bold=True), bold=True) + size)
            y = rows.places(beneath["benchmark"]) + 0.28
            spans(axes, y, beneath["lower"], beneath["upper"], JOINT, 0.7)
            points(axes, y, beneath["mean"], JOINT)
            y = rows.places(part["benchmark"])
            points(axes, y - 0.3, part["spearman"], RECIPE)
            for verdict in verdicts:
                some = (part["verdict"] == verdict).to_numpy()
                spans(axes, y[some], part["lower"][some], part["upper"][some], VERDICT_MARKS[verdict])
                points(axes, y[some], part["mean"][some], VERDICT_MARKS[verdict])
            if column == 0:
                write_rows(axes, rows)
            if len(classes) == 1:
                write_estimates(axes, y, part, "mean", f"ρ [{percent_text(level)}]")
        legend(figure, entries)
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the correlation ρ of each safety "
            f"benchmark with latent capability (cut posterior, aligned scores; {class_sizes(cut)})"
        )
        beside_it = [
            *(["the joint posterior beneath"] if len(joint) else []),
            *(["the 2024 Spearman correlation as a cross above"] if data["spearman"].notna().any() else []),
        ]
        caption += f", with {join_words(beside_it)}" if beside_it else ""
        caption += f"; the band is the region of practical equivalence, |ρ| < {number_text(rope)}."
        caption += left_out_text(len(rows.y), left_out) + ending_text(ending)
        alt = f"Forest plot of {count_text(len(rows.y), 'safety benchmark')} by area. " + " ".join(
            f"{safe_text(name)}: posterior means {extremes_text(part, 'mean', 'benchmark', labels)}; "
            f"{counts_text(part['verdict'], list(VERDICT_MARKS))}."
            for name, part in cut.groupby("model_class", sort=False)
        )
        return finish(figure, name="forest", caption=caption, alt=alt, data=data)
