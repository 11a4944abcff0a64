"""The figures of a report: each takes tables and returns a `Drawing`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from safetystats.reporting.figure_style import (
    BAND, BLUE, GREEN, GREY, INK, ORANGE, PALE, PURPLE, SKY, SMALL, TEXT, TINY, VERMILLION, WIDTH, Drawing, Mark, Row,
    beside, finish, fit_names, fit_text, handle, legend, new_figure, pitch_for, points, row_axes, safe_text, spans,
    styled, text_width,
)  # fmt: skip
from safetystats.summaries.numbers import count_text, estimate_text, join_words, number_text, percent_text
from safetystats.tables.table import ScoreTable

VERDICT_MARKS: Mapping[str, Mark] = {
    "entangled": Mark(colour=VERMILLION, shape="o"),
    "inverse": Mark(colour=PURPLE, shape="v", size=5.2),
    "distinct": Mark(colour=BLUE, shape="s", size=4.2),
    "undetermined": Mark(colour=INK, shape="o", filled=False),
    "withheld": Mark(colour=GREY, shape="^", filled=False, dashed=True),
}
"""Shape and fill say the same as the colour, so that the verdicts can be told apart in black and white."""
JOINT = Mark(colour=PALE, shape="D", filled=False, size=2.6)
RECIPE = Mark(colour=INK, shape="x", size=3.8)
CLASS_MARKS: tuple[Mark, ...] = (
    Mark(colour=BLUE, shape="o"), Mark(colour=VERMILLION, shape="s", size=4.2), Mark(colour=GREEN, shape="^"),
    Mark(colour=ORANGE, shape="D", size=3.8), Mark(colour=PURPLE, shape="v"), Mark(colour=SKY, shape="P"),
)  # fmt: skip
GAP, EDGE = 0.18, 0.08


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
    chosen = posterior[posterior["benchmark"].isin(list(headline))]
    left_out = posterior["benchmark"].nunique() - chosen["benchmark"].nunique() if len(chosen) else 0
    data = (chosen if len(chosen) else posterior).copy()
    if data.empty:
        return _nothing("forest", "No safety benchmark has a posterior correlation.", data)
    recipe = correlations[correlations["method"] == "spearman"].drop_duplicates(["model_class", "benchmark"])
    recipe = recipe[["model_class", "benchmark", "correlation"]].rename(columns={"correlation": "spearman"})
    data = data.merge(recipe, on=["model_class", "benchmark"], how="left")
    cut = data[data["mode"] == "cut"]
    classes = list(dict.fromkeys(cut["model_class"]))
    rows = _by_area(cut, "mean")
    place = {row.key: i for i, row in enumerate(rows) if row.key is not None}
    verdicts = [v for v in VERDICT_MARKS if (cut["verdict"] == v).any()]
    numbers = len(classes) == 1

    with styled():
        pitch = pitch_for(len(rows))
        names, left = _label_column(rows, labels, 2.5)
        top, right = 0.78, 1.3 if numbers else EDGE
        figure = new_figure(top + len(rows) * pitch + 0.42)
        width = (WIDTH - left - right - GAP * (len(classes) - 1)) / len(classes)
        for column, name in enumerate(classes):
            axes = row_axes(figure, left + column * (width + GAP), width, top, pitch, len(rows))
            axes.axvspan(-rope, rope, color=BAND, linewidth=0, zorder=0)
            axes.axvline(0, color=PALE, linewidth=0.6, zorder=1)
            _correlation_axis(axes, "posterior correlation with capability" if width > 2.3 else "correlation")
            part = cut[cut["model_class"] == name]
            axes.set_title(_class_title(name, part), fontsize=TEXT, fontweight="bold", pad=4)
            joint = data[(data["mode"] == "joint") & (data["model_class"] == name)]
            y = joint["benchmark"].map(place).to_numpy() + 0.27
            spans(axes, y, joint["lower"], joint["upper"], JOINT, 0.7)
            points(axes, y, joint["mean"], JOINT)
            y = part["benchmark"].map(place).to_numpy(dtype=float)
            points(axes, y - 0.27, part["spearman"], RECIPE)
            for verdict in verdicts:
                some = (part["verdict"] == verdict).to_numpy()
                spans(axes, y[some], part["lower"][some], part["upper"][some], VERDICT_MARKS[verdict])
                points(axes, y[some], part["mean"][some], VERDICT_MARKS[verdict])
            if column == 0:
                _write_rows(axes, rows, names, left)
            if numbers:
                for i, (mean, low, high) in enumerate(zip(part["mean"], part["lower"], part["upper"], strict=True)):
                    beside(axes, WIDTH - EDGE, y[i], estimate_text(mean, low, high), align="right", size=SMALL)
        legend(
            figure,
            [
                *(handle(VERDICT_MARKS[v], v) for v in verdicts),
                handle(JOINT, "joint posterior"), handle(RECIPE, "2024 Spearman"),
                Patch(facecolor=BAND, edgecolor=PALE, linewidth=0.5, label=f"|ρ| < {number_text(rope)}"),
            ],
            4,
        )  # fmt: skip
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the correlation ρ of each safety "
            f"benchmark with latent capability (cut posterior, aligned scores; {_sizes(cut)}), with the joint posterior "
            f"beneath and the 2024 Spearman correlation as a cross above; the band is the region of practical "
            f"equivalence, |ρ| < {number_text(rope)}."
        )
        if left_out:
            caption += f" Only the {len(place)} headline benchmarks are shown; {left_out} more are in the table."
        alt = f"Forest plot of {count_text(len(place), 'safety benchmark')} by area. " + " ".join(
            f"{safe_text(name)}: {_extremes(part, 'mean', labels, 'benchmark')}; {_verdict_counts(part)}."
            for name, part in cut.groupby("model_class", sort=False)
        )
        return finish(figure, name="forest", caption=caption, alt=alt, data=data)


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
        have it.
    """
    data = scores[scores["method"] == "latent"].copy()
    if data.empty:
        return _nothing("capability", "No model has a latent capability score.", data)
    others = scores[scores["method"] != "latent"]
    first = others["method"].iloc[0] if len(others) else ""
    component = others[others["method"] == first].drop_duplicates(["model_class", "model"])
    component = component[["model_class", "model", "score"]].rename(columns={"score": "component"})
    data = data.merge(component, on=["model_class", "model"], how="left")
    data["component_rescaled"] = np.concatenate([_rescaled(p) for _, p in data.groupby("model_class", sort=False)])
    data = data.sort_values(["score"], ascending=False, kind="stable")
    parts = {str(name): part.reset_index(drop=True) for name, part in data.groupby("model_class", sort=False)}
    parts = {str(name): parts[str(name)] for name in dict.fromkeys(scores["model_class"]) if str(name) in parts}
    n_columns = min(len(parts), 2)
    with styled():
        deep = [max(len(p) for p in list(parts.values())[i : i + n_columns]) for i in range(0, len(parts), n_columns)]
        pitch = pitch_for(sum(deep), roomy=0.17)
        head, foot = 0.3, 0.42
        figure = new_figure(0.25 + sum(n * pitch + head + foot for n in deep))
        cell = WIDTH / n_columns
        low, high = _limits(data[["lower", "upper", "score", "component_rescaled"]])
        mark = Mark(colour=BLUE, shape="o", size=3.8)
        for i, (name, part) in enumerate(parts.items()):
            start = (i % n_columns) * cell
            top = 0.25 + sum(n * pitch + head + foot for n in deep[: i // n_columns]) + head
            room = 0.46 * cell - EDGE
            names = fit_names({m: labels.get(m, m) for m in part["model"]}, room, TINY)
            family = [fit_text(f, 0.2 * cell, TINY) for f in part["family"].astype(str)]
            left = EDGE + max(text_width(t, TINY) for t in names.values()) + 0.06
            right = max(text_width(t, TINY) for t in [*family, "family"]) + 0.06 + EDGE
            axes = row_axes(figure, start + left, cell - left - right, top, pitch, len(part))
            axes.set_xlim(low, high)
            axes.set_xlabel("latent capability (sd)")
            axes.set_title(f"{fit_text(name, 1.5)} ({len(part)})", fontsize=TEXT, fontweight="bold", pad=4)
            y = np.arange(len(part), dtype=np.float64)
            spans(axes, y, part["lower"], part["upper"], mark, 1.1)
            points(axes, y, part["component_rescaled"], RECIPE)
            points(axes, y, part["score"], mark)
            for k, key in enumerate(part["model"]):
                beside(axes, start + left - 0.06, k, names[key], align="right", size=TINY)
                beside(axes, start + cell - right + 0.06, k, family[k], size=TINY, colour=GREY)
        legend(figure, [handle(mark, "latent capability"), handle(RECIPE, "2024 component score, rescaled")], 2)
        sizes = join_words([f"{len(part)} {safe_text(name)}" for name, part in parts.items()])
        missing = int(data["component_rescaled"].isna().sum())
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the latent capability θ of each model "
            f"(n = {sizes} models), in standard deviations of its class, so that classes are not to be compared; crosses "
            "show the 2024 component score, brought to the mean and sd of the latent scores of the same models"
        )
        caption += f" ({count_text(missing, 'model')} without it)." if missing else "."
        alt = "Dot plot of models sorted by capability, family beside. " + " ".join(
            f"{safe_text(name)}: {_extremes(part, 'score', labels, 'model')}." for name, part in parts.items()
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
    data = loadings[loadings["method"] == "latent"].copy()
    if data.empty:
        return _nothing("loadings", "No capability benchmark has a latent loading.", data)
    classes = list(dict.fromkeys(data["model_class"]))
    order = data.groupby("benchmark", sort=False)["loading"].mean().sort_values(ascending=False, kind="stable")
    rows = [Row(str(key), str(key)) for key in order.index]
    place = {row.key: i for i, row in enumerate(rows)}
    with styled():
        pitch = pitch_for(len(rows), roomy=max(0.24, 0.13 * len(classes)), tight=0.13 * len(classes))
        names, left = _label_column(rows, labels, 2.8)
        top = 0.36
        figure = new_figure(top + len(rows) * pitch + 0.42)
        axes = row_axes(figure, left, WIDTH - left - 0.2, top, pitch, len(rows))
        low, _ = _limits(data[["lower", "loading"]])
        axes.set_xlim(min(0.0, low), 1.02)
        axes.set_xlabel("loading: correlation with latent capability")
        marks = [CLASS_MARKS[i % len(CLASS_MARKS)] for i in range(len(classes))]
        for i, name in enumerate(classes):
            part = data[data["model_class"] == name]
            y = part["benchmark"].map(place).to_numpy(dtype=float) + _offset(i, len(classes))
            spans(axes, y, part["lower"], part["upper"], marks[i])
            points(axes, y, part["loading"], marks[i])
        _write_rows(axes, rows, names, left)
        legend(figure, [handle(m, fit_text(c, 1.5, SMALL)) for m, c in zip(marks, classes, strict=True)], 4)
        caption = (
            f"Posterior mean and {percent_text(level)} equal-tailed interval of the loading of each capability "
            f"benchmark, its correlation with latent capability, in {join_words([safe_text(c) for c in classes])} models "
            f"(n = {len(rows)} benchmarks)."
        )
        alt = f"Dot plot of {count_text(len(rows), 'capability benchmark')} sorted by loading. " + " ".join(
            f"{safe_text(name)}: {_extremes(part, 'loading', labels, 'benchmark')}."
            for name, part in data.groupby("model_class", sort=False)
        )
        return finish(figure, name="loadings", caption=caption, alt=alt, data=data)


def draw_class_differences(
    differences: pd.DataFrame, *, labels: Mapping[str, str], headline: Collection[str], level: float
) -> Drawing | None:
    """Draw how much the 2024 correlation of each benchmark differs between classes; None where there is one class.

    Parameters
    ----------
    differences : DataFrame
        Table `class_differences`.
    labels : mapping of str to str
        Names of benchmarks.
    headline : collection of str
        Benchmarks to show; all are shown if none of them is in the table.
    level : float
        Coverage of the intervals.

    Returns
    -------
    Drawing or None
    """
    if differences.empty:
        return None
    chosen = differences[differences["benchmark"].isin(list(headline))]
    data = (chosen if len(chosen) else differences).copy()
    left_out = differences["benchmark"].nunique() - data["benchmark"].nunique()
    data["pair"] = data["class_a"].astype(str) + " − " + data["class_b"].astype(str)
    pairs = list(dict.fromkeys(data["pair"]))
    rows = _by_area(data, "delta")
    place = {row.key: i for i, row in enumerate(rows) if row.key is not None}
    clear = Mark(colour=VERMILLION, shape="o")
    unclear = Mark(colour=INK, shape="o", filled=False)
    with styled():
        pitch = pitch_for(len(rows))
        names, left = _label_column(rows, labels, 2.5)
        top, right = 0.6, 1.4 if len(pairs) == 1 else EDGE
        figure = new_figure(top + len(rows) * pitch + 0.42)
        width = (WIDTH - left - right - GAP * (len(pairs) - 1)) / len(pairs)
        low, high = _limits(data[["lower", "upper", "delta"]])
        for column, pair in enumerate(pairs):
            part = data[data["pair"] == pair]
            axes = row_axes(figure, left + column * (width + GAP), width, top, pitch, len(rows))
            axes.axvline(0, color=GREY, linewidth=0.8, zorder=1)
            axes.set_xlim(min(low, -0.1), max(high, 0.1))
            axes.set_xlabel("difference of correlations")
            axes.set_title(fit_text(pair, width, TEXT, bold=True), fontsize=TEXT, fontweight="bold", pad=4)
            y = part["benchmark"].map(place).to_numpy(dtype=float)
            apart = ((part["lower"] > 0) | (part["upper"] < 0)).to_numpy()
            for mark, some in ((clear, apart), (unclear, ~apart)):
                spans(axes, y[some], part["lower"][some], part["upper"][some], mark)
                points(axes, y[some], part["delta"][some], mark)
            if column == 0:
                _write_rows(axes, rows, names, left)
            if len(pairs) == 1:
                for i, (mean, l, h) in enumerate(zip(part["delta"], part["lower"], part["upper"], strict=True)):
                    beside(axes, WIDTH - EDGE, y[i], estimate_text(mean, l, h), align="right", size=SMALL)
        legend(figure, [handle(clear, "interval excludes 0"), handle(unclear, "interval includes 0")], 2)
        few, many = int(data["n_pairs"].min()), int(data["n_pairs"].max())
        paired = str(few) if few == many else f"{few} to {many}"
        caption = (
            f"Difference between classes ({join_words([safe_text(p) for p in pairs])}) in the 2024 correlation of each "
            f"benchmark with the capability score (aligned scores), with {percent_text(level)} equal-tailed Bayesian "
            f"bootstrap intervals over lineages (n = {paired} lineages with a model in both classes)."
        )
        if left_out:
            caption += f" Only the {len(place)} headline benchmarks are shown; {left_out} more are in the table."
        alt = f"Forest plot of {count_text(len(place), 'benchmark')} by area. " + " ".join(
            f"{safe_text(str(pair))}: {_extremes(part, 'delta', labels, 'benchmark')}; "
            f"{int(((part['lower'] > 0) | (part['upper'] < 0)).sum())} of {len(part)} intervals exclude zero."
            for pair, part in data.groupby("pair", sort=False)
        )
        return finish(figure, name="class_differences", caption=caption, alt=alt, data=data)


def draw_missing(table: ScoreTable) -> Drawing | None:
    """Draw which cells are missing among capability and safety benchmarks; None where none is."""
    return None


# --- shared by the figures ---


def _by_area(frame: pd.DataFrame, value: str) -> list[Row]:
    """Return headings and benchmarks: areas and benchmarks within them from the largest mean value down."""
    rows: list[Row] = []
    known = frame.assign(area=frame["area"].fillna("").astype(str))
    areas = known.groupby("area", sort=False)[value].mean().sort_values(ascending=False, kind="stable")
    for area in areas.index:
        part = known[known["area"] == area].groupby("benchmark", sort=False)[value].mean()
        rows.append(Row(str(area) or "no area", None))
        rows += [Row(str(k), str(k)) for k in part.sort_values(ascending=False, kind="stable").index]
    return rows


def _label_column(rows: Sequence[Row], labels: Mapping[str, str], widest: float) -> tuple[dict[str, str], float]:
    keys = [row.key for row in rows if row.key is not None]
    names = fit_names({key: labels.get(key, key) for key in keys}, widest)
    return names, EDGE + max(text_width(text) for text in names.values()) + 0.1


def _write_rows(axes, rows, names, left) -> None:
    for i, row in enumerate(rows):
        if row.key is None:
            beside(axes, EDGE, i, fit_text(row.text, WIDTH / 2, TEXT, bold=True), bold=True)
        else:
            beside(axes, left - 0.08, i, names[row.key], align="right")


def _correlation_axis(axes, label: str) -> None:
    axes.set_xlim(-1.03, 1.03)
    ticks = (-1.0, -0.5, 0.0, 0.5, 1.0)
    axes.set_xticks(ticks, [number_text(t, 1) for t in ticks])
    axes.set_xlabel(label)


def _class_title(name: str, part: pd.DataFrame) -> str:
    few, many = int(part["n_models"].min()), int(part["n_models"].max())
    n = str(many) if few == many else f"{few} to {many}"
    return f"{fit_text(name, 1.2)} (n = {n})"


def _sizes(frame: pd.DataFrame) -> str:
    words = []
    for name, part in frame.groupby("model_class", sort=False):
        few, many = int(part["n_models"].min()), int(part["n_models"].max())
        words.append(f"{few if few == many else f'{few} to {many}'} {safe_text(str(name))}")
    return f"n = {join_words(words)} models"


def _verdict_counts(part: pd.DataFrame) -> str:
    counts = part["verdict"].value_counts()
    return join_words([f"{counts[v]} {v}" for v in VERDICT_MARKS if v in counts])


def _extremes(part: pd.DataFrame, value: str, labels: Mapping[str, str], key: str) -> str:
    known = part.dropna(subset=[value])
    if known.empty:
        return "no values"
    low, high = known.loc[known[value].idxmin()], known.loc[known[value].idxmax()]

    def words(row: pd.Series) -> str:
        name = fit_text(labels.get(row[key], row[key]), WIDTH)
        return f"{number_text(row[value])} ({name})"

    return f"from {words(low)} to {words(high)}"


def _rescaled(part: pd.DataFrame) -> np.ndarray:
    raw, target = part["component"].to_numpy(dtype=np.float64), part["score"].to_numpy(dtype=np.float64)
    both = np.isfinite(raw) & np.isfinite(target)
    if both.sum() < 2 or np.ptp(raw[both]) == 0:
        return np.full(len(part), np.nan)
    z = (raw - raw[both].mean()) / raw[both].std()
    return np.asarray(target[both].mean() + target[both].std() * z)


def _limits(frame: pd.DataFrame) -> tuple[float, float]:
    values = frame.to_numpy(dtype=np.float64)
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (-1.0, 1.0)
    margin = 0.04 * max(high - low, 0.1)
    return low - margin, high + margin


def _offset(i: int, n: int) -> float:
    return 0.0 if n == 1 else (i - (n - 1) / 2) * min(0.4, 0.8 / n)


def _nothing(name: str, why: str, data: pd.DataFrame) -> Drawing:
    with styled():
        figure = new_figure(0.5)
        figure.text(0.5, 0.5, why, ha="center", va="center", color=GREY)
        return finish(figure, name=name, caption=why, alt=why, data=data)
