"""Tables of the report about the comparison of classes, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from safetystats.reporting.results_checks import mechanical
from safetystats.reporting.results_classes import clear, of_kind, pairs_of
from safetystats.reporting.text import escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.crossed_tables import ALL
from safetystats.summaries.numbers import (
    ABSENT,
    MINUS,
    estimate_text,
    number_text,
    p_text,
    percent_text,
    probability_text,
)

Names = Mapping[str, str]
MOST_MODELS = 10
"""Models shown with the largest excess, and with the smallest."""
UNSEEN = " ○"
"""Mark of a difference whose weights missed a limit."""
_LEFT = {"model": "a model", "lineage": "a lineage"}
_PARAMETERS = {"loading": "loading", "intercept": "intercept"}
_TERMS = {"class": "Class effect", "interaction": "Interaction"}


def differences_tables(analysis: Analysis, names: Names) -> str:
    """Return one table per pair of classes: the paired difference, the unpaired one, bootstrap and Steiger's test."""
    plan, frame = analysis.plan, analysis.tables["posterior_differences"]
    interval, gates = interval_head(plan.study.level), plan.factor.gates
    head = [
        "Benchmark", "Pairs", f"Δρ {interval}", "P(Δρ > 0)", "P(equivalent)", f"Δρ, unpaired {interval}",
        f"ψ {interval}", f"Bootstrap {interval}", "Steiger, p",
    ]  # fmt: skip
    parts, shared = [], mechanical(analysis)
    for first, second, part in pairs_of(frame):
        rows = []
        for row in part.sort_values(["area", "delta"]).to_dict("records"):
            missed = row["pareto_k"] > gates.pareto_k or row["effective"] < gates.ess
            rows.append(
                [
                    escape(names[row["benchmark"]]) + (" †" if row["benchmark"] in shared else ""),
                    str(row["n_pairs"]),
                    _estimate(row, "delta") + (UNSEEN if missed else ""), probability_text(row["p_positive"]),
                    probability_text(row["p_equivalent"]), _estimate(row, "unpaired_delta", "unpaired_"),
                    _estimate(row, "psi", "psi_"), _estimate(row, "bootstrap_delta", "bootstrap_"),
                    p_text(row["p_adjusted"]),
                ]
            )  # fmt: skip
        caption = (
            f"Difference Δρ of the correlations with latent capability, {escape(first)} {MINUS} {escape(second)}: "
            "posterior mean and equal-tailed interval from the cut posterior with the pairing by lineage "
            f"kept; P(equivalent) that |Δρ| is below {number_text(plan.study.rope.difference)}; the same without the "
            "pairing; the correlation ψ of what capability leaves unexplained in paired models; the difference of "
            "Spearman's coefficients with the interval of the Bayesian bootstrap over lineages; and the p-value "
            "of Steiger's test of the latter, adjusted over the benchmarks (Benjamini and Hochberg)."
            + (" † reuses runs of capability benchmarks." if shared & set(part["benchmark"]) else "")
            + (f"{UNSEEN} weights beyond a limit." if any(UNSEEN in r[2] for r in rows) else "")
        )
        parts.append(
            table_markdown(head, rows, source="posterior_differences", caption=caption, numeric=range(1, len(head)))
        )
    return "\n\n".join(parts)


def invariance_table(analysis: Analysis) -> str:
    """Return the leave-one-out comparison of the models of invariance; empty where none was made."""
    frame = analysis.tables["invariance"]
    if frame.empty:
        return ""
    rows = [
        [
            _LEFT[str(r["unit"])], escape(str(r["invariance"])), number_text(r["elpd"], 1),
            number_text(r["elpd_error"], 1), escape(str(r["freer"])) or ABSENT, number_text(r["difference"], 1),
            number_text(r["difference_error"], 1), number_text(r["n_units"], 0), number_text(r["n_refitted"], 0),
            number_text(r["n_doubtful"], 0), escape(str(r["verdict"])),
        ]
        for r in frame.to_dict("records")
    ]  # fmt: skip
    head = [
        "Left out", "Invariance", "elpd", "SE", "Against", "Difference", "SE", "Units", "Refitted", "Not reliable",
        "Verdict",
    ]  # fmt: skip
    caption = (
        "Leave-one-out predictive densities (elpd) of the capability benchmarks under three models of all classes "
        "together, each against the next freer one: configural, metric (equal loadings), scalar (equal intercepts too)."
    )
    return table_markdown(head, rows, source="invariance", caption=caption, numeric=(2, 3, 5, 6, 7, 8, 9))


def invariance_loadings_table(analysis: Analysis, names: Names) -> str:
    """Return the loadings and intercepts that differ on the aligned scale; empty where none does."""
    frame = analysis.tables["invariance_loadings"]
    own = frame[(frame["scale"] == "aligned") & clear(frame)]
    if own.empty:
        return ""
    rows = [
        [
            escape(names.get(str(r["benchmark"]), str(r["benchmark"]))), _PARAMETERS[str(r["parameter"])],
            escape(f"{r['class_a']} {MINUS} {r['class_b']}"), number_text(r["value_a"]), number_text(r["value_b"]),
            _estimate(r, "delta"),
        ]
        for r in own.to_dict("records")
    ]  # fmt: skip
    head = [
        "Benchmark", "Parameter", "Classes", "First", "Second",
        f"Difference {interval_head(analysis.plan.study.level)}",
    ]  # fmt: skip
    caption = (
        "Loadings and intercepts of the capability benchmarks whose difference between classes has an interval without "
        "zero, in the configural model with capability of each class put on the scale of the reference class; in "
        "standard deviations over all models, not adjusted for their number."
    )
    return table_markdown(head, rows, source="invariance_loadings", caption=caption, numeric=(3, 4, 5))


def mixed_tables(analysis: Analysis, names: Names) -> str:
    """Return a table of class effects and one of interactions for every class that is compared."""
    plan, frame = analysis.plan, analysis.tables["mixed_effects"]
    group, others = plan.mixed.groups[0], plan.mixed.groups[1:]
    interval = interval_head(plan.study.level)
    parts = []
    for label in plan.table.classes[1:]:
        for kind, title in _TERMS.items():
            rows_of = of_kind(frame, kind)
            rows_of = rows_of[rows_of["term"].astype(str).str.endswith(f"class[{label}]")]
            beside = {other: _by_benchmark(rows_of, other) for other in others}
            rows = [
                [
                    escape(names[str(row["benchmark"])]), number_text(row["n_models"], 0),
                    number_text(row["n_groups"], 0), _estimate(row, "estimate"), p_text(row["p_value"]),
                    p_text(row["p_adjusted"]), p_text(row["p_holm"]),
                    _estimate_at(row, "estimate_imputed", "lower_imputed", "upper_imputed"),
                    *(_other(beside[other].get(str(row["benchmark"]))) for other in others),
                    escape(str(row["status"]).replace("_", " ")),
                ]
                for row in rows_of[rows_of["group"] == group].to_dict("records")
            ]  # fmt: skip
            if not rows:
                continue
            head = [
                "Benchmark", "n", "Groups", f"{title} {interval}", "p", "BH", "Holm", f"Imputed {interval}",
                *(f"By {other} {interval}" for other in others), "Status",
            ]  # fmt: skip
            parts.append(
                table_markdown(
                    head,
                    rows,
                    source="mixed_effects",
                    caption=_mixed_caption(analysis, label, kind),
                    numeric=range(1, len(head) - 1),
                )
            )
    return "\n\n".join(parts)


def _mixed_caption(analysis: Analysis, label: str, kind: str) -> str:
    plan = analysis.plan
    what = (
        f"level at average capability, {escape(label)} {MINUS} {escape(plan.table.classes[0])}"
        if kind == "class"
        else f"slope in capability, {escape(label)} {MINUS} {escape(plan.table.classes[0])}"
    )
    words = (
        f"Difference of {what}, in standard deviations of the benchmark over all models, with an intercept per "
        f"{plan.mixed.groups[0]}; p of the test"
    )
    words += " in the model without interaction" if kind == "class" else ""
    words += (
        ", adjusted over the benchmarks by Benjamini and Hochberg (BH) and by Holm; imputed: pooled over draws of "
        "capability"
    )
    beside = "".join(f"; beside it the same with an intercept per {other}" for other in plan.mixed.groups[1:])
    return words + beside + "."


def crossed_table(analysis: Analysis) -> str:
    """Return slopes, class effects and interactions overall and by area; one table per class that is compared."""
    frame, plan = analysis.tables["crossed_effects"], analysis.plan
    interval = interval_head(plan.study.level)
    reference = plan.table.classes[0]
    own = frame[frame["level_of"].isin(["overall", "area"])]
    keyed = {
        (str(r["level_of"]), str(r["name"]), str(r["term"]), str(r["model_class"])): r for r in own.to_dict("records")
    }
    places = list(dict.fromkeys((str(r["level_of"]), str(r["name"])) for r in own.to_dict("records")))
    parts = []
    for label in plan.table.classes[1:] if places else ():
        rows = []
        for place in places:
            slopes = [keyed[*place, "capability", each] for each in (reference, label)]
            effects = [keyed[*place, term, label] for term in ("class", "capability:class")]
            name = "*overall*" if place[0] == "overall" else escape(place[1])
            rows.append([name, number_text(slopes[0]["n_benchmarks"], 0), *(_estimate(r, "mean") for r in slopes)])
            for row in effects:
                rows[-1] += [_estimate(row, "mean"), probability_text(row["p_positive"])]
        head = [
            "Area", "Benchmarks", f"Slope, {escape(reference)} {interval}", f"Slope, {escape(label)} {interval}",
            f"Class effect {interval}", "P(> 0)", f"Interaction {interval}", "P(> 0)",
        ]  # fmt: skip
        caption = (
            f"Crossed model, {escape(label)} {MINUS} {escape(reference)}: slope per standard deviation of capability, "
            "difference of level at average capability and difference of slopes, in standard deviations of a benchmark "
            "over all models; posterior mean and equal-tailed interval, of a middle benchmark of the area and of a "
            "middle area. Single benchmarks are in `tables/crossed_effects.csv`."
        )
        parts.append(table_markdown(head, rows, source="crossed_effects", caption=caption, numeric=range(1, len(head))))
    return "\n\n".join(parts)


def progress_table(analysis: Analysis, models: Names) -> str:
    """Return the models with the largest and the smallest excess over all benchmarks; empty where there is none."""
    frame = analysis.tables["differential_progress"]
    own = frame[frame["area"] == ALL].sort_values("excess", ascending=False, kind="stable")
    if own.empty:
        return ""
    shown = own if len(own) <= 2 * MOST_MODELS else pd.concat([own.head(MOST_MODELS), own.tail(MOST_MODELS)])
    rows = [
        [
            escape(models.get(str(r["model"]), str(r["model"]))), escape(str(r["model_class"])),
            number_text(r["n_scores"], 0), number_text(r["capability"]), number_text(r["safety"]),
            number_text(r["expected"]), _estimate(r, "excess", "excess_"), probability_text(r["excess_p_positive"]),
            _estimate(r, "within_class", "within_class_"),
        ]
        for r in shown.to_dict("records")
    ]  # fmt: skip
    interval = interval_head(analysis.plan.study.level)
    head = [
        "Model", "Class", "Scores", "Capability", "Safety", "Expected", f"Excess {interval}", "P(> 0)",
        f"Within its class {interval}",
    ]  # fmt: skip
    which = (
        f"the {number_text(MOST_MODELS, 0)} models with the largest excess and the {number_text(MOST_MODELS, 0)} with "
        "the smallest"
        if len(shown) < len(own)
        else "all models, by excess"
    )
    caption = (
        f"Safety beyond what capability predicts, averaged over the benchmarks: {which}. Capability in standard "
        "deviations over all models, the rest in those of a benchmark; the excess is from the mean of the lines "
        "of the classes, the last column from the line of the model's own class. All models, and areas, are in "
        "`tables/differential_progress.csv`."
    )
    return table_markdown(head, rows, source="differential_progress", caption=caption, numeric=range(2, len(head)))


def shifts_table(analysis: Analysis, models: Names) -> str:
    """Return the shifts within lineages over all benchmarks, one table per pair of classes; empty without a lineage."""
    frame = analysis.tables["lineage_shifts"]
    interval, parts = interval_head(analysis.plan.study.level), []
    head = [
        "From", "To", "Shift in capability", f"Shift in safety {interval}", f"Explained by capability {interval}",
        f"Unexplained {interval}", "P(> 0)",
    ]  # fmt: skip
    for first, second, part in pairs_of(frame[frame["area"] == ALL]):
        rows = [
            [
                escape(models.get(str(r["model_a"]), str(r["model_a"]))),
                escape(models.get(str(r["model_b"]), str(r["model_b"]))), number_text(r["capability_shift"]),
                _estimate(r, "safety_shift", "safety_shift_"), _estimate(r, "explained", "explained_"),
                _estimate(r, "unexplained", "unexplained_"), probability_text(r["unexplained_p_positive"]),
            ]
            for r in part.sort_values("unexplained", ascending=False, kind="stable").to_dict("records")
        ]  # fmt: skip
        caption = (
            f"Shifts within lineages, {escape(first)} to {escape(second)}, averaged over the benchmarks (crossed "
            "model): capability in standard deviations over all models, safety in standard deviations of a benchmark. "
            "Areas are in `tables/lineage_shifts.csv`."
        )
        parts.append(table_markdown(head, rows, source="lineage_shifts", caption=caption, numeric=range(2, len(head))))
    return "\n\n".join(parts)


def overlap_table(analysis: Analysis) -> str:
    """Return the range of capability that both classes of a pair cover, over the benchmarks."""
    frame = analysis.tables["capability_overlap"]
    rows = []
    for first, second, part in pairs_of(frame):
        lower, upper = part["lower"].astype(float).median(), part["upper"].astype(float).median()
        rows.append(
            [
                escape(first), escape(second), *_shares(part, ("share_a", "share_b")), number_text(lower),
                number_text(upper),
            ]
        )  # fmt: skip
    head = ["Class", "Other class", "Models of the class inside", "Models of the other inside", "From", "To"]
    caption = (
        "Range of capability that both classes cover, in standard deviations over all models, and the share of the "
        "models of each inside the range of the other; medians over the benchmarks, with the smallest share."
    )
    return (
        table_markdown(head, rows, source="capability_overlap", caption=caption, numeric=(2, 3, 4, 5)) if rows else ""
    )


# --- parts ---


def _shares(part: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    values = [part[column].astype(float) for column in columns]
    return [f"{percent_text(v.median())} (least {percent_text(v.min())})" for v in values]


def _estimate(row: Mapping[str, float], value: str, prefix: str = "") -> str:
    """Return `value [lower, upper]`, the ends in columns that begin with the prefix; a dash without a value."""
    return _estimate_at(row, value, f"{prefix}lower", f"{prefix}upper")


def _estimate_at(row: Mapping[str, float], value: str, lower: str, upper: str) -> str:
    if pd.isna(row[value]):
        return ABSENT
    return estimate_text(float(row[value]), float(row[lower]), float(row[upper]))


def _by_benchmark(rows: pd.DataFrame, group: str) -> dict[str, Mapping[str, float]]:
    return {str(r["benchmark"]): r for r in rows[rows["group"] == group].to_dict("records")}


def _other(row: Mapping[str, float] | None) -> str:
    return ABSENT if row is None else _estimate(row, "estimate")
