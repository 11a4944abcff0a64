"""Figures of the relation behind a verdict: curves against lines, and specification curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from safetystats.reporting.figure_parts import CLASS_MARKS, VERDICT_MARKS, nothing
from safetystats.reporting.figure_style import (
    BAND,
    BLUE,
    EDGE,
    FOOT,
    GREY,
    INK,
    PALE,
    SKY,
    VERMILLION,
    WIDTH,
    Drawing,
    FloatArray,
    Mark,
    beside,
    finish,
    key,
    legend,
    legend_height,
    new_figure,
    panel,
    row_axes,
    styled,
)
from safetystats.reporting.figure_text import SMALL, TEXT, TINY, counts_text, fit_names, fit_text, safe_text
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.numbers import count_text, join_words, number_text, percent_text
from safetystats.tables.table import ScoreTable

NOTE = 0.12  # share of a panel that the note at its top takes
ACROSS, MOST_PANELS = 3, 9
HEIGHT, HEAD, BELOW, SIDE, ROOM = 1.5, 0.42, 0.22, 0.42, 0.16
"""Inches: height of a panel, of its title, room beneath, room for its numbers, between panels."""
MOST_POINTS = 250
"""Most points of a curve where several share a figure; more cannot be seen."""
MODEL = Mark(colour=BLUE, shape="o", size=3.0)
OWN, RECIPE = Mark(colour=INK, shape="D", filled=False, size=4.4), Mark(colour=INK, shape="x", size=4.8)
CHOICES: Mapping[str, str] = {
    "score_method": "Capability", "coefficient": "Coefficient", "scale": "Scale", "subset": "Benchmarks",
    "families": "Families", "prior": "Prior of ρ",
}  # fmt: skip
WITHOUT = "one left out"
WORDS: Mapping[str, str] = {
    "spearman_pca_2024": "PCA, Spearman matrix", "pearson_pca": "PCA, Pearson matrix", "mean_z": "mean of z-scores",
    "ml_factor": "ML factor", "rank_normal": "normal scores", "identity": "as they are", "none": "ignored",
    "means": "means", "within": "within", "capable": "most capable model", "all": "all", "logit": "logit",
    "population": "population ρ", "spearman": "Spearman", "kendall": "Kendall", "pearson": "Pearson",
}  # fmt: skip


def draw_relations(analysis: Analysis, *, labels: Mapping[str, str], headline: Sequence[str]) -> list[Drawing]:
    """Draw bending and specification curves, of those that the study has.

    Parameters
    ----------
    analysis : Analysis
    labels : mapping of str to str
        Names of benchmarks.
    headline : sequence of str
        Benchmarks whose specification curves may be drawn.
    """
    plan, tables = analysis.plan, analysis.tables
    drawn = []
    if len(tables["bending"]):
        linear = plan.prepared.preparation.transform == "identity"
        drawn.append(
            draw_bending(
                tables["bending"], tables["bending_curves"], tables["capability_scores"],
                plan.aligned if linear else plan.prepared, labels=labels, level=plan.study.level,
            )
        )  # fmt: skip
    if len(tables["specifications"]):
        drawn.append(
            draw_specification_curves(
                tables["specifications"], tables["specification_shares"], classes=plan.table.classes, labels=labels,
                headline=headline, rope=plan.study.rope.limit,
            )
        )  # fmt: skip
    return drawn


def draw_bending(
    bending: pd.DataFrame,
    curves: pd.DataFrame,
    capability: pd.DataFrame,
    table: ScoreTable,
    *,
    labels: Mapping[str, str],
    level: float,
) -> Drawing:
    """Draw line and curve of the benchmarks with the largest evidence of bending.

    Parameters
    ----------
    bending, curves, capability : DataFrame
        Tables `bending`, `bending_curves` and `capability_scores`.
    table : ScoreTable
        Scores on the scale of the curves.
    labels : mapping of str to str
        Names of benchmarks.
    level : float
        Coverage of the bands.
    """
    if bending.empty:
        return nothing("bending", "No benchmark has scores of enough models for a curve.", bending)
    shown = bending.sort_values("difference", ascending=False, kind="stable").head(MOST_PANELS)
    theta = capability[capability["method"] == "latent"].set_index(["model_class", "model"])["score"].astype(float)
    entries = [
        key(MODEL, "model"), Line2D([], [], color=GREY, lw=1.1, ls=(0, (4, 2)), label="straight line"),
        Line2D([], [], color=VERMILLION, lw=1.4, label="curve"),
        Line2D([], [], color=VERMILLION, lw=1.4, ls=(0, (1, 1.2)), label="extrapolated"),
    ]  # fmt: skip
    with styled():
        figure, frames = _panels(len(shown), entries)
        titles = _titles(frames, [str(name) for name in shown["benchmark"]], labels)
        for axes, row in zip(frames, shown.to_dict("records"), strict=True):
            label, name = str(row["model_class"]), str(row["benchmark"])
            part = curves[(curves["model_class"] == label) & (curves["benchmark"] == name)]
            own = table.select(model_class=label)
            known = [m for m in own.scores.index if (label, m) in theta.index]
            x, low, high = (part[c].to_numpy(dtype=np.float64) for c in ("capability", "lower", "upper"))
            axes.fill_between(x, low, high, color=SKY, alpha=0.3, linewidth=0)
            axes.plot(x, part["line"], color=GREY, lw=1.1, ls=(0, (4, 2)))
            outside = part["extrapolated"].to_numpy(dtype=bool)
            inside = np.where(outside, np.nan, part["expected"])
            axes.plot(x, part["expected"], color=VERMILLION, lw=1.4, ls=(0, (1, 1.2)))
            axes.plot(x, inside, color=VERMILLION, lw=1.4)
            axes.plot(
                [theta[(label, m)] for m in known], own.scores.loc[known, name], ls="none", marker=MODEL.shape,
                ms=MODEL.size, mfc=MODEL.colour, mec="white", mew=0.3, zorder=4,
            )  # fmt: skip
            bottom, top = axes.get_ylim()
            axes.set_ylim(bottom, top + NOTE * (top - bottom))
            _title(axes, titles[name], label, f"{number_text(row['difference'], 1)} elpd")
        _beneath(frames, "latent capability (sd)")
        legend(figure, entries)
        caption = (
            f"Aligned score on latent capability of the {count_text(len(shown), 'benchmark')} for which a logistic "
            "curve predicts best against the straight line, by the difference of the expected log predictive density "
            f"(elpd, each score left out in turn), with the {percent_text(level)} band of the curve; capability in "
            "standard deviations of the population of the class, posterior means of the models."
        )
        words = [
            f"{safe_text(labels.get(str(r['benchmark']), str(r['benchmark'])))} ({safe_text(str(r['model_class']))}), "
            f"{number_text(r['difference'], 1)}"
            for r in shown.to_dict("records")
        ]  # fmt: skip
        alt = (
            f"{count_text(len(shown), 'scatter plot')} with a line and a curve. Elpd of the curve less that of the "
            f"line: {join_words(words)}."
        )
        data = curves.merge(shown[["model_class", "benchmark"]], on=["model_class", "benchmark"])
        return finish(figure, name="bending", caption=caption, alt=alt, data=data)


def draw_specification_curves(
    specifications: pd.DataFrame,
    shares: pd.DataFrame,
    *,
    classes: Sequence[str],
    labels: Mapping[str, str],
    headline: Sequence[str],
    rope: float,
) -> Drawing:
    """Draw the sorted estimates of all specifications, one panel per benchmark, the classes over each other.

    Parameters
    ----------
    specifications, shares : DataFrame
        Tables `specifications` and `specification_shares`.
    classes : sequence of str
    labels : mapping of str to str
        Names of benchmarks.
    headline : sequence of str
        Benchmarks to choose from; those whose verdict depends most on the specification are drawn.
    rope : float
        Limit of the verdict.
    """
    own = shares[shares["model_class"].isin(classes) & shares["benchmark"].isin(set(specifications["benchmark"]))]
    own = own[own["benchmark"].isin(headline)] if own["benchmark"].isin(headline).any() else own
    if own.empty:
        return nothing("specification_curves", "No specification was computed.", specifications)
    agreement = own.set_index("benchmark")[[c for c in own.columns if c.startswith("share_")]].astype(float).max(axis=1)
    names = [str(n) for n in agreement.groupby(level=0).min().sort_values(kind="stable").index[:MOST_PANELS]]
    marks = {name: CLASS_MARKS[i % len(CLASS_MARKS)] for i, name in enumerate(classes)}
    entries: list[Line2D | Patch] = [
        *(Line2D([], [], color=marks[c].colour, lw=1.6, label=fit_text(c, 1.5, SMALL)) for c in classes),
        key(OWN, "this study"), key(RECIPE, "2024 recipe"),
        Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label=f"|ρ| < {number_text(rope)}"),
    ]  # fmt: skip
    data = specifications[specifications["benchmark"].isin(names) & specifications["model_class"].isin(classes)]
    with styled():
        figure, frames = _panels(len(names), entries)
        titles = _titles(frames, names, labels)
        for axes, name in zip(frames, names, strict=True):
            axes.axhspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
            for label in classes:
                part = _sorted(data[(data["model_class"] == label) & (data["benchmark"] == name)])
                x = np.linspace(0, 100, len(part))
                few = np.unique(np.linspace(0, len(part) - 1, min(len(part), MOST_POINTS)).round().astype(np.int64))
                shown = part.iloc[few]
                axes.fill_between(
                    x[few], shown["lower"], shown["upper"], color=marks[label].colour, alpha=0.15, linewidth=0, zorder=1
                )
                axes.plot(x[few], shown["estimate"], color=marks[label].colour, lw=1.6, zorder=3)
                _special(axes, x, part)
            axes.set_ylim(-1.03, 1.03)
            axes.set_xlim(-1, 101)
            _title(axes, titles[name], "", "")
        _beneath(frames, "specifications, per cent")
        legend(figure, entries)
        caption = (
            f"Specification curves of the {count_text(len(names), 'benchmark')} whose verdict depends most on how the "
            "correlation is computed: estimates of all specifications in increasing order, in per cent of the "
            "specifications, each shown once, with their intervals; the band is the region of practical equivalence."
        )
        alt = f"{count_text(len(names), 'panel')} of sorted estimates. " + " ".join(
            f"{safe_text(labels.get(str(r['benchmark']), str(r['benchmark'])))}, {safe_text(str(r['model_class']))}: "
            f"{number_text(r['lowest'])} to {number_text(r['highest'])}."
            for r in own[own["benchmark"].isin(names)].to_dict("records")
        )
        return finish(figure, name="specification_curves", caption=caption, alt=alt, data=data)


def draw_specification_curve(
    specifications: pd.DataFrame, *, benchmark: str, model_class: str, label: str, rope: float
) -> Drawing:
    """Draw all specifications of one benchmark and class in increasing order, with the choices behind each beneath.

    Parameters
    ----------
    specifications : DataFrame
        Table `specifications`.
    benchmark, model_class : str
        Which rows.
    label : str
        Name of the benchmark.
    rope : float
        Limit of the verdict.
    """
    own = specifications
    part = _sorted(own[(own["benchmark"] == benchmark) & (own["model_class"] == model_class)])
    if part.empty:
        return nothing("specification_curve", "No specification of this benchmark and class is listed.", part)
    shown = part.assign(subset=part["subset"].where(~part["subset"].str.startswith("without "), WITHOUT))
    rows: list[tuple[str, str, str]] = [
        (column, str(option), title)
        for column, title in CHOICES.items()
        for option in dict.fromkeys(shown.sort_values("specification")[column].astype(str))
        if option
    ]
    entries: list[Line2D | Patch] = [
        key(VERDICT_MARKS[v], v) for v in VERDICT_MARKS if (part["verdict"] == v).any()
    ]  # fmt: skip
    entries += [key(OWN, "this study"), key(RECIPE, "2024 recipe")]
    entries += [Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label=f"|ρ| < {number_text(rope)}")]
    left, high, pitch = 1.95, 2.6, 0.14
    with styled():
        top = legend_height(entries) + 0.26
        figure = new_figure(top + high + 0.2 + len(rows) * pitch + FOOT)
        x = np.arange(1, len(part) + 1)
        axes = panel(figure, left, top, WIDTH - left - EDGE, high)
        axes.axhspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
        for verdict, mark in VERDICT_MARKS.items():
            some = (part["verdict"] == verdict).to_numpy()
            _strokes(axes, x[some], part["lower"][some], part["upper"][some], mark.colour, 0.4, 0.35)
            axes.plot(x[some], part["estimate"][some], ls="none", marker=".", ms=2.2, color=mark.colour, zorder=3)
        _special(axes, x, part)
        axes.set_ylim(-1.03, 1.03)
        axes.set_xlim(0, len(part) + 1)
        axes.set_ylabel("correlation with capability")
        axes.set_xticks([])
        axes.set_title(
            fit_text(f"{safe_text(label)}, {safe_text(model_class)}", WIDTH - left - EDGE, TEXT, bold=True),
            fontsize=TEXT, fontweight="bold", loc="left", pad=4,
        )  # fmt: skip
        lower = row_axes(figure, left, WIDTH - left - EDGE, top + high + 0.2, pitch, len(rows))
        lower.set_xlim(0, len(part) + 1)
        lower.set_xlabel("specification, by estimate")
        title = ""
        for place, (column, option, heading) in enumerate(rows):
            used = (shown[column].astype(str) == option).to_numpy()
            at = np.full(int(used.sum()), float(place))
            _strokes(lower, x[used], at - 0.36, at + 0.36, INK, 0.35, 1.0)
            words = fit_text(WORDS.get(option, option), left - 0.9, TINY)
            beside(lower, left - 0.08, place, words, align="right", size=TINY)
            if heading != title:
                beside(lower, EDGE, place, heading, size=TINY, bold=True)
                title = heading
        legend(figure, entries)
        caption = (
            f"Specification curve of {safe_text(label)}, {safe_text(model_class)} models: "
            f"{count_text(len(part), 'specification')} in increasing order of the estimate, coloured by verdict, with "
            "intervals; beneath, the choices behind each."
        )
        alt = (
            f"Sorted estimates from {number_text(part['estimate'].min())} to {number_text(part['estimate'].max())}; "
            f"{counts_text(part['verdict'], list(VERDICT_MARKS))}."
        )
        return finish(figure, name="specification_curve", caption=caption, alt=alt, data=part)


def _panels(count: int, entries: Sequence[Line2D | Patch]) -> tuple[Figure, list[Axes]]:
    """Return a figure with panels in rows of `ACROSS`."""
    top = legend_height(entries)
    lines = -(-count // ACROSS)
    figure = new_figure(top + lines * (HEAD + HEIGHT + BELOW) + 0.22)
    wide = (WIDTH - EDGE - ACROSS * SIDE - (ACROSS - 1) * ROOM) / ACROSS
    return figure, [
        panel(
            figure, SIDE + (i % ACROSS) * (wide + SIDE + ROOM), top + HEAD + (i // ACROSS) * (HEAD + HEIGHT + BELOW),
            wide, HEIGHT,
        )
        for i in range(count)
    ]  # fmt: skip


def _titles(frames: Sequence[Axes], names: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """Return a title of at most two lines for every benchmark, no two alike."""
    width = 0.9 * frames[0].get_position().width * WIDTH  # names are bold, and measured as if they were not
    return fit_names({name: safe_text(labels.get(name, name)) or name for name in names}, width, TEXT, lines=2)


def _beneath(frames: Sequence[Axes], text: str) -> None:
    """Write what the horizontal axis is under the lowest panel of each column."""
    for axes in frames[-ACROSS:]:
        axes.set_xlabel(text, fontsize=SMALL, labelpad=1.5)


def _strokes(
    axes: Axes,
    x: np.ndarray,
    lower: pd.Series | FloatArray,
    upper: pd.Series | FloatArray,
    colour: str,
    thick: float,
    alpha: float,
) -> None:
    """Draw vertical strokes as one path, which keeps the file small."""
    nothing_between = np.full(len(x), np.nan)
    across = np.column_stack([x, x, nothing_between]).ravel()
    up = np.column_stack([np.asarray(lower), np.asarray(upper), nothing_between]).ravel()
    axes.plot(across, up, color=colour, lw=thick, alpha=alpha, solid_capstyle="butt", zorder=2)


def _title(axes: Axes, name: str, label: str, note: str) -> None:
    """Write the name over a panel, and class and note inside it."""
    width = axes.get_position().width * WIDTH
    axes.set_title(name, fontsize=SMALL, fontweight="bold", loc="left", pad=3, linespacing=1.0)
    inside = ", ".join(part for part in (fit_text(label, width / 2, TINY) if label else "", note) if part)
    if inside:
        axes.text(
            0.02, 0.97, inside, transform=axes.transAxes, ha="left", va="top", fontsize=TINY, color=GREY, zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6},
        )  # fmt: skip


def _sorted(part: pd.DataFrame) -> pd.DataFrame:
    """Return the specifications that have an estimate, the smallest first."""
    known = part[part["estimate"].notna() & (part["verdict"] != "")]
    return known.sort_values("estimate", kind="stable").reset_index(drop=True)


def _special(axes: Axes, x: np.ndarray, part: pd.DataFrame) -> None:
    """Mark the study's own specification and the 2024 recipe."""
    for named, mark in (("study", OWN), ("2024", RECIPE)):
        at = (part["named"] == named).to_numpy()
        axes.plot(
            x[at], part["estimate"][at], ls="none", marker=mark.shape, ms=mark.size, color=mark.colour,
            mec=mark.colour, mfc="white" if named == "study" else mark.colour, mew=1.0, zorder=5,
        )  # fmt: skip
