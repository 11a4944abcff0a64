"""Figures of models and of the capability score: latent capability, loadings, missing scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from safetystats.reporting.figure_parts import (
    CLASS_MARKS,
    LATENT,
    MISSING,
    MOST_COLUMNS,
    RECIPE,
    ending_text,
    limits,
    most_missing,
    nothing,
    rescaled,
)
from safetystats.reporting.figure_style import (
    EDGE,
    FOOT,
    GREY,
    GRID,
    WIDTH,
    Drawing,
    arrange,
    beside,
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
    SMALL,
    TINY,
    extremes_text,
    fit_names,
    fit_text,
    safe_text,
    text_width,
    without_shared_ending,
)
from safetystats.summaries.numbers import count_text, join_words, percent_text
from safetystats.tables.table import ScoreTable


def draw_capability(scores: pd.DataFrame, *, labels: Mapping[str, str], level: float) -> Drawing:
    """Draw the latent capability of every model, one panel per class, with the 2024 component score beside.

    Parameters
    ----------
    scores : DataFrame
        Table `capability_scores`.
    labels : mapping of str to str
        Names of models.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing
        The component score is brought, within the class, to the mean and sd of the latent scores of the models that
        have it. Panels have their own axes: capability is in sd of the class, so classes cannot be compared.
    """
    latent = scores[scores["method"] == "latent"]
    if latent.empty:
        return nothing("capability", "No model has a latent capability score.", latent)
    others = scores[scores["method"] != "latent"]
    component = others[others["method"] == (others["method"].iloc[0] if len(others) else "")]
    component = component.drop_duplicates(["model_class", "model"])[["model_class", "model", "score"]]
    merged = latent.merge(
        component.rename(columns={"score": "component"}), on=["model_class", "model"], how="left", validate="1:1"
    )
    parts = {}
    for name, part in merged.groupby("model_class", sort=False):
        both = part.assign(component_rescaled=rescaled(part["component"], part["score"]))
        parts[str(name)] = both.sort_values("score", ascending=False, kind="stable").reset_index(drop=True)
    data = pd.concat(parts.values(), ignore_index=True)
    entries = [key(LATENT, "latent capability")]
    without = int(data["component_rescaled"].isna().sum())
    if without < len(data):
        entries.append(key(RECIPE, "2024 component score, rescaled"))

    with styled():
        across = min(len(parts), 2)
        frames = list(parts.items())
        deepest = [max(len(part) for _, part in frames[i : i + across]) for i in range(0, len(frames), across)]
        pitch = float(np.clip(8.4 / sum(deepest), 0.142, 0.17))
        head, above = 0.24, legend_height(entries)
        figure = new_figure(above + sum(count * pitch + head + FOOT for count in deepest))
        for i, (name, part) in enumerate(frames):
            top = above + head + sum(count * pitch + head + FOOT for count in deepest[: i // across])
            _capability_panel(figure, part, name, labels, (i % across) * WIDTH / across, WIDTH / across, top, pitch)
        legend(figure, entries)
        sizes = join_words([f"{len(part)} {safe_text(name)}" for name, part in frames])
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the latent capability θ of each model "
            f"(n = {sizes} models), in standard deviations of the population of its class, with its family on the right"
        )
        caption += "; classes have their own scales and are not to be compared." if len(frames) > 1 else "."
        if without < len(data):
            caption += (
                " Crosses show the 2024 component score, brought to the mean and standard deviation of the latent "
                f"scores of the same models{f' ({count_text(without, "model")} without it)' if without else ''}."
            )
        alt = "Dot plot of models sorted by capability, one panel per class. " + " ".join(
            f"{safe_text(name)}: {count_text(len(part), 'model')}, posterior means "
            f"{extremes_text(part, 'score', 'model', labels)}."
            for name, part in frames
        )
        return finish(figure, name="capability", caption=caption, alt=alt, data=data)


def draw_loadings(loadings: pd.DataFrame, *, labels: Mapping[str, str], level: float) -> Drawing:
    """Draw the latent loading of every capability benchmark, the classes beside each other on one axis.

    Parameters
    ----------
    loadings : DataFrame
        Table `capability_loadings`.
    labels : mapping of str to str
        Names of benchmarks.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing
    """
    data = loadings[loadings["method"] == "latent"]
    if data.empty:
        return nothing("loadings", "No capability benchmark has a latent loading.", data)
    classes = list(dict.fromkeys(data["model_class"]))
    marks = [CLASS_MARKS[i % len(CLASS_MARKS)] for i in range(len(classes))]
    entries = [key(mark, fit_text(name, 1.5, SMALL)) for mark, name in zip(marks, classes, strict=True)]
    with styled():
        order = data.groupby("benchmark", sort=False)["loading"].mean().sort_values(ascending=False, kind="stable")
        names, ending = without_shared_ending({str(b): labels.get(str(b), str(b)) for b in order.index})
        rows = arrange({"": names}, 2.8, roomy=0.12 + 0.1 * len(classes), tight=0.08 + 0.06 * len(classes))
        top = legend_height(entries) + 0.06
        figure = new_figure(top + rows.height + FOOT)
        axes = row_axes(figure, rows.left, WIDTH - rows.left - 0.2, top, rows.pitch, rows.extent)
        low, _ = limits(data[["lower", "loading"]])
        axes.set_xlim(min(0.0, low), 1.01)
        axes.set_xlabel("loading: correlation with latent capability")
        step = min(0.4, 0.8 / len(classes))
        for i, name in enumerate(classes):
            part = data[data["model_class"] == name]
            y = rows.places(part["benchmark"]) + (i - (len(classes) - 1) / 2) * step
            spans(axes, y, part["lower"], part["upper"], marks[i])
            points(axes, y, part["loading"], marks[i])
        write_rows(axes, rows)
        legend(figure, entries)
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the loading of each capability "
            f"benchmark, its correlation with latent capability, in {join_words([safe_text(c) for c in classes])} "
            f"models (n = {count_text(len(rows.y), 'benchmark')})." + ending_text(ending)
        )
        alt = f"Dot plot of {count_text(len(rows.y), 'capability benchmark')} sorted by loading. " + " ".join(
            f"{safe_text(name)}: posterior means {extremes_text(part, 'loading', 'benchmark', labels)}."
            for name, part in data.groupby("model_class", sort=False)
        )
        return finish(figure, name="loadings", caption=caption, alt=alt, data=data)


def draw_missing(table: ScoreTable) -> Drawing | None:
    """Draw which cells are missing among capability and safety benchmarks.

    Only models and benchmarks with a missing cell are drawn, at most 60 rows and 55 columns: those with most missing.
    The longer side runs across where it fits, so that the figure stays low.

    Parameters
    ----------
    table : ScoreTable

    Returns
    -------
    Drawing or None
        None where no cell is missing.
    """
    kept = [str(b) for b in table.scores.columns if table.benchmarks.loc[b, "role"] in ("capability", "safety")]
    everything = table.scores[kept].isna()
    gaps = everything.loc[everything.any(axis=1), everything.any(axis=0)]
    if gaps.empty:
        return None
    across_models = (len(gaps) >= gaps.shape[1]) == (max(gaps.shape) <= MOST_COLUMNS)
    tagged = {
        str(m): f"{n} ({c})" if len(table.classes) > 1 else str(n)
        for m, n, c in zip(table.models.index, table.models["name"], table.models["model_class"], strict=True)
    }
    short, ending = without_shared_ending({str(b): str(table.benchmarks.loc[b, "name"]) for b in gaps.columns})
    names = tagged | short
    grid = most_missing(gaps.T if across_models else gaps)
    with styled():
        rows = arrange({"": {str(r): names[str(r)] for r in grid.index}}, 2.6, roomy=0.17)
        step = min(0.17, (WIDTH - rows.left - EDGE) / grid.shape[1])
        size = min(TINY, step * 72 * 0.92)
        columns = fit_names({str(c): names[str(c)] for c in grid.columns}, 2.2, size)
        entries = [key(MISSING, "missing score")]
        top = legend_height(entries) + max(text_width(text, size) for text in columns.values()) + 0.1
        figure = new_figure(top + rows.height + EDGE)
        axes = row_axes(figure, rows.left, step * grid.shape[1], top, rows.pitch, rows.extent)
        axes.set_xlim(-0.5, grid.shape[1] - 0.5)
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
        axes.set_xticks([])
        y = rows.places(pd.Series(grid.index.astype(str)))
        guide_lines(axes, y)
        axes.vlines(range(grid.shape[1]), -0.5, rows.extent - 0.5, color=GRID, linewidth=0.4, zorder=0.5)
        at, place = np.nonzero(grid.to_numpy())
        points(axes, y[at], pd.Series(place), dataclasses.replace(MISSING, size=min(5.5, step * 72 * 0.6)))
        for i, text in enumerate(columns.values()):
            axes.text(i, -0.6, text, rotation=90, ha="center", va="bottom", fontsize=size, clip_on=False)
        write_rows(axes, rows)
        legend(figure, entries)
        total, share = int(everything.to_numpy().sum()), float(everything.to_numpy().mean())
        drawn = f"{count_text(len(gaps), 'model')} and {count_text(gaps.shape[1], 'benchmark')}"
        caption = (
            f"Missing scores: {total} of {everything.size} cells ({percent_text(share, 1)}) of {len(everything)} "
            f"models and {everything.shape[1]} capability and safety benchmarks. Only the {drawn} with a missing score "
            "are drawn"
        )
        caption += "." if grid.size == gaps.size else ", and of these the ones with most missing."
        caption += ending_text(ending)
        count = gaps.sum(axis=0).sort_values(ascending=False, kind="stable")
        worst = join_words([f"{safe_text(names[str(b)])} ({n})" for b, n in count.head(3).items()])
        alt = (
            f"Grid of {count_text(grid.shape[0], 'row')} and {count_text(grid.shape[1], 'column')}, a square where a "
            f"score is missing. Models without a score, by benchmark: {worst}"
            f"{' have most' if len(count) > 3 else ''}."
        )
        data = everything.stack().rename("missing").rename_axis(["model", "benchmark"]).reset_index()
        data = data[data["missing"]].drop(columns="missing")
        return finish(figure, name="missing", caption=caption, alt=alt, data=data)


def _capability_panel(
    figure: Figure,
    part: pd.DataFrame,
    name: str,
    labels: Mapping[str, str],
    start: float,
    cell: float,
    top: float,
    pitch: float,
) -> None:
    """Draw one class: names on the left, families on the right."""
    names = fit_names({m: safe_text(labels.get(m, m)) or m for m in part["model"]}, 0.44 * cell, TINY)
    families = [fit_text(family, 0.2 * cell, TINY) for family in part["family"].fillna("").astype(str)]
    left = EDGE + max(text_width(text, TINY) for text in names.values()) + 0.08
    right = max(text_width(text, TINY) for text in families) + 0.06 + EDGE
    axes = row_axes(figure, start + left, cell - left - right, top, pitch, len(part))
    axes.set_xlim(*limits(part[["lower", "upper", "score", "component_rescaled"]]))
    y = np.arange(len(part), dtype=np.float64)
    guide_lines(axes, y)
    axes.set_xlabel("latent capability (sd)")
    panel_title(axes, f"{fit_text(name, 1.2, bold=True)} (n = {len(part)})")
    spans(axes, y, part["lower"], part["upper"], LATENT, 1.1)
    points(axes, y, part["score"], LATENT)
    points(axes, y - 0.3, part["component_rescaled"], RECIPE)
    for place, model in enumerate(part["model"]):
        beside(axes, start + left - 0.06, place, names[model], align="right", size=TINY)
        beside(axes, start + cell - right + 0.06, place, families[place], size=TINY, colour=GREY)
