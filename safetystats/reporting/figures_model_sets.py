"""Figure of the range that choosing models can reach: Spearman's coefficient with one, two or three models left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from safetystats.reporting.figure_parts import by_area, ending_text, headline_rows, left_out_text
from safetystats.reporting.figure_style import (
    BAND,
    EDGE,
    FOOT,
    GAP,
    INK,
    PALE,
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
from safetystats.reporting.figure_text import fit_text, safe_text
from safetystats.summaries.numbers import count_text, number_text

SHADES = ("#0B3C5D", "#328CC1", "#A9D0E8")
"""Dark to light for one, two and three models: told apart by lightness alone, and by width."""
WIDTHS = (5.0, 3.4, 1.8)
POINT = Mark(colour=INK, shape="o", filled=False, size=3.6)


def draw_reachable(
    reachable: pd.DataFrame, *, labels: Mapping[str, str], headline: Collection[str], rope: float
) -> Drawing | None:
    """Draw for every benchmark the range of Spearman's coefficient that leaving out k models can reach.

    Parameters
    ----------
    reachable : DataFrame
        Table `reachable`; the rows in which all sets of k models were looked at are drawn.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    rope : float
        Limit of the labels high and low.

    Returns
    -------
    Drawing or None
        None where the question was not asked.
    """
    exact = reachable[(reachable["statistic"] == "spearman") & reachable["exact"].astype(bool)]
    if exact.empty:
        return None
    data, left_out = headline_rows(exact, headline)
    data = data.assign(k=data["k"].astype(int))
    sizes = sorted(data["k"].unique())
    classes = list(dict.fromkeys(data["model_class"].astype(str)))
    words = [f"{count_text(k, 'model')} left out" for k in sizes]
    entries: list[Line2D | Patch] = [Patch(facecolor=SHADES[i], linewidth=0, label=w) for i, w in enumerate(words)]
    entries += [key(POINT, "all models"), Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label="low")]
    with styled():
        groups, ending = by_area(data, "value", labels)
        rows = arrange(groups, 2.3 if len(classes) > 1 else 2.5)
        top = legend_height(entries) + 0.24
        figure = new_figure(top + rows.height + FOOT)
        width = (WIDTH - rows.left - EDGE - 0.1 - GAP * (len(classes) - 1)) / len(classes)
        for column, name in enumerate(classes):
            axes = row_axes(figure, rows.left + column * (width + GAP), width, top, rows.pitch, rows.extent)
            axes.axvspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
            axes.axvline(0, color=PALE, linewidth=0.6, zorder=1)
            correlation_axis(axes, "Spearman correlation with the 2024 score" if width > 3 else "Spearman correlation")
            guide_lines(axes, list(rows.y.values()))
            part = data[data["model_class"] == name]
            panel_title(axes, fit_text(f"{name} (n = {int(part['n_models'].max())})", width + 0.2, bold=True))
            for place in reversed(range(len(sizes))):
                own = part[part["k"] == sizes[place]]
                mark = Mark(colour=SHADES[place], shape="o")
                spans(axes, rows.places(own["benchmark"]), own["lowest"], own["highest"], mark, WIDTHS[place])
            first = part[part["k"] == sizes[0]]
            points(axes, rows.places(first["benchmark"]), first["value"], POINT)
            if column == 0:
                write_rows(axes, rows)
        legend(figure, entries)
        caption = (
            "Range of the capabilities correlation (Spearman, 2024 score made anew without the models, aligned scores) "
            f"over all sets of {_sizes(sizes)} left out; circles: all models. The band is below the limit, |r| < "
            f"{number_text(rope)}, where the label of 2024 is low; a bar that crosses its edge is a label that such a "
            "choice of models changes." + left_out_text(len(rows.y), left_out) + ending_text(ending)
        )
        alt = f"Nested bars for {count_text(len(rows.y), 'safety benchmark')} by area. " + " ".join(
            _told(data[data["model_class"] == name], name, sizes[-1], rope) for name in classes
        )
        return finish(figure, name="reachable", caption=caption, alt=alt, data=data)


def _sizes(sizes: list[int]) -> str:
    if len(sizes) == 1:
        return count_text(sizes[0], "model")
    return f"{', '.join(str(k) for k in sizes[:-1])} or {count_text(sizes[-1], 'model')}"


def _told(part: pd.DataFrame, name: str, k: int, rope: float) -> str:
    """Say how many bars of the widest kind cross the limit, and how long they are."""
    own = part[part["k"] == k]
    inside = own["value"].abs() < rope
    crossing = (inside & ((own["highest"] >= rope) | (own["lowest"] <= -rope))) | (
        ~inside & (own["lowest"] < rope) & (own["highest"] > -rope)
    )
    width = float((own["highest"] - own["lowest"]).median())
    return (
        f"{safe_text(name)}: with {count_text(k, 'model')} left out the range is {number_text(width)} wide (median) "
        f"and reaches over the limit for {int(crossing.sum())} of {len(own)}."
    )
