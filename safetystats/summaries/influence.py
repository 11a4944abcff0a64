"""Does a class effect, an interaction or a difference of correlations rest on one model, or on one lineage?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from safetystats.inference.cut_influence import changes_without
from safetystats.inference.fits import SafetyFit
from safetystats.inference.mixed_compare import Comparison
from safetystats.inference.mixed_influence import Deletions, each_label, leave_out
from safetystats.inference.mixed_values import Grouping
from safetystats.inference.paired import PairedDraws, paired_posteriors, sides_of
from safetystats.scores.question import ask
from safetystats.scores.resampling import correlations_under, models_with_both, point_correlations
from safetystats.specs import FactorSpec, ScoreSpec
from safetystats.summaries.estimands import summarise
from safetystats.tables.table import ScoreTable

INFLUENCE_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "term", "unit", "n_units", "n_refused", "estimate", "p_value", "label",
    "estimate_without", "std_error_without", "p_without", "dfbetas", "estimate_least", "estimate_most", "n_sign",
    "n_side", "changed_by",
)  # fmt: skip
DIFFERENCE_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "class_a", "class_b", "end", "label", "model_class", "n_units", "delta", "lower", "upper",
    "first_look",
    "delta_without", "lower_without", "upper_without", "level", "p_positive_without", "change", "crosses", "pareto_k",
    "effective", "r_delta", "r_label", "r_without",
)  # fmt: skip
NEAR = 0.5
"""Posterior sds within which an end of an interval counts as near zero: the first look takes widths as unchanged."""
ENDS = ("lowest", "highest")
"""Without the model whose score makes the difference largest, and without the one that makes it smallest."""
SIDE = 0.05
"""Level whose sides are told apart; of the unadjusted chi-square test."""
UNITS = ("model", "lineage")
"""What is left out; relatives with the same deviation hide each other while only one of them goes."""
LISTED = 5
"""Most units named as changing a side."""


def class_influence(
    comparisons: Mapping[tuple[Grouping, str], Comparison], table: ScoreTable, capability: pd.Series
) -> pd.DataFrame:
    """Return what leaving out one model, or one lineage, does to every class effect and interaction.

    Capability and the scales stay those of all models. Fits without a likelihood have no row (status
    `ols_cluster_robust`, `not_applicable`).

    Parameters
    ----------
    comparisons : mapping of (grouping, benchmark) to Comparison
        From `fit_mixed_table`, of this table and capability.
    table : ScoreTable
    capability : Series
        Of each model; those without one are in no fit.

    Returns
    -------
    DataFrame
        Columns `INFLUENCE_COLUMNS`. `label` is the unit whose removal changes the estimate most, by `dfbetas`, estimate
        less estimate without it over the standard error without it; `changed_by` the units whose removal takes the
        p-value to the other side of 0.05, the one that moves it most first.
    """
    known = np.isfinite(capability.reindex(table.scores.index).to_numpy(dtype=np.float64))
    rows = []
    for (grouping, name), comparison in comparisons.items():
        if comparison.fit.status not in ("ok", "boundary", "not_converged"):
            continue
        used = table.models[known & table.scores[name].notna().to_numpy()]
        members = {"model": [str(model) for model in used.index], "lineage": [str(each) for each in used["lineage"]]}
        for unit in UNITS:
            labels, left_out = each_label(members[unit])
            found = leave_out(comparison.rows, left_out, reml=comparison.fit.reml)
            place = {
                "benchmark": name,
                "area": str(table.benchmarks.loc[name, "area"]),
                "group": grouping,
                "unit": unit,
            }
            rows += [
                place | _term(comparison, found, labels, term) for term in range(2, len(comparison.fit.terms))
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(INFLUENCE_COLUMNS))


def _term(comparison: Comparison, found: Deletions, labels: Sequence[str], term: int) -> dict[str, object]:
    """Return the columns of one term of one fit."""
    estimate, p_value = float(comparison.fit.estimate[term]), float(comparison.fit.p_value[term])
    without, p_without = found.estimate[:, term], found.p_value[:, term]
    change = (estimate - without) / found.std_error[:, term]
    fitted = np.isfinite(change)
    row: dict[str, object] = {
        "term": comparison.fit.terms[term], "n_units": len(labels), "n_refused": int((~fitted).sum()),
        "estimate": estimate, "p_value": p_value, "label": "", "estimate_without": np.nan, "std_error_without": np.nan,
        "p_without": np.nan, "dfbetas": np.nan, "estimate_least": np.nan, "estimate_most": np.nan, "n_sign": 0,
        "n_side": 0, "changed_by": "",
    }  # fmt: skip
    if not fitted.any():
        return row
    top = int(np.nanargmax(np.abs(change)))
    crossed = fitted & ((p_without < SIDE) != (p_value < SIDE))
    order = np.argsort(p_without if p_value >= SIDE else -p_without, kind="stable")
    return row | {
        "label": labels[top], "estimate_without": without[top], "std_error_without": found.std_error[top, term],
        "p_without": p_without[top], "dfbetas": change[top], "estimate_least": float(np.nanmin(without)),
        "estimate_most": float(np.nanmax(without)), "n_sign": int((fitted & (without * estimate < 0)).sum()),
        "n_side": int(crossed.sum()), "changed_by": "; ".join([labels[i] for i in order if crossed[i]][:LISTED]),
    }  # fmt: skip


def difference_influence(
    fits: Mapping[str, SafetyFit], differences: pd.DataFrame, table: ScoreTable, factor: FactorSpec, score: ScoreSpec,
    level: float,
) -> pd.DataFrame:  # fmt: skip
    """Return the difference of correlations without the model that lowers it most, and without the one that raises it.

    Which two models these are is found by the cut posterior without each score in turn (`changes_without`), pairing
    ignored; this first look says by how much the difference moves. Where the interval, moved by that much, would change
    sides of zero or end near it (`NEAR`), the posterior with the pairing kept is made anew without the model; and for
    the largest change of each pair of classes in each direction. Elsewhere the columns that need it are NaN, and
    `crosses` is False. Capability stays that of the fits to all models.

    Parameters
    ----------
    fits : mapping of str to SafetyFit
        By class, in the order of the study.
    differences : DataFrame
        From `posterior_differences`.
    table : ScoreTable
        As read; for the 2024 statistic, whose capability score is made without the model too.
    factor : FactorSpec
        Of the fits.
    score : ScoreSpec
    level : float
        Coverage of the equal-tailed intervals.

    Returns
    -------
    DataFrame
        Columns `DIFFERENCE_COLUMNS`, two rows for every row of `differences`; none for a benchmark without a posterior
        once a score is left out. `first_look` is the change by the first look, in posterior sd.
    """
    rows: list[dict[str, object]] = []
    changes = {
        label: changes_without(fit, [name for name in fit.benchmarks if name in set(differences["benchmark"])])
        for label, fit in fits.items()
    }
    for (class_a, class_b), part in differences.groupby(["class_a", "class_b"], sort=False):
        moved = {
            str(name): pd.concat([changes[class_a][name], -changes[class_b][name]]).dropna()
            for name in part["benchmark"]
        }
        names = [name for name in moved if len(moved[name])]
        closed = _closed_without(table, str(class_a), str(class_b), score)
        known_of = {str(row["benchmark"]): row for row in part.to_dict("records")}
        for end in ENDS:
            chosen = {
                name: str(moved[name].idxmin() if end == "lowest" else moved[name].idxmax()) for name in names
            }  # fmt: skip
            looked = {name: float(moved[name][chosen[name]]) for name in names}
            most = max(names, key=lambda name: abs(looked[name]), default="")
            anew = [name for name in names if name == most or _at_stake(known_of[name], looked[name])]
            drawn = _paired_without(fits, str(class_a), str(class_b), anew, chosen, factor)
            for name in names:
                known = known_of[name]
                rows.append(
                    {key: known[key] for key in ("benchmark", "area", "class_a", "class_b", "delta", "lower", "upper")}
                    | {"end": end, "label": chosen[name], "model_class": _class_of(fits, chosen[name])}
                    | {"n_units": len(moved[name]), "level": level, "first_look": looked[name] / known["sd"]}
                    | _without_numbers(drawn.get(name), known, level)
                    | closed[end][name]
                )
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def _paired_without(
    fits: Mapping[str, SafetyFit], class_a: str, class_b: str, names: Sequence[str], chosen: Mapping[str, str],
    factor: FactorSpec,
) -> dict[str, PairedDraws]:  # fmt: skip
    """Return the paired posterior of each of these benchmarks without the model chosen for it."""
    sides = {}
    for label in (class_a, class_b):
        own = set(fits[label].capability.table.scores.index)
        sides[label] = sides_of(fits[label], names, {name: chosen[name] for name in names if chosen[name] in own})
    return paired_posteriors(sides[class_a], sides[class_b], factor)


def _at_stake(known: Mapping[str, float], change: float) -> bool:
    """Return whether an interval that moves by this much could change sides of zero."""
    lower, upper = known["lower"] + change, known["upper"] + change
    off, moved_off = known["lower"] > 0 or known["upper"] < 0, lower > 0 or upper < 0
    return off != moved_off or min(abs(lower), abs(upper)) <= NEAR * known["sd"]


def _without_numbers(drawn: PairedDraws | None, known: Mapping[str, float], level: float) -> dict[str, object]:
    if drawn is None:
        return {"crosses": False}
    found = summarise(drawn.delta, drawn.weight, level)
    return {
        "delta_without": found.mean, "lower_without": found.lower, "upper_without": found.upper,
        "p_positive_without": float(drawn.weight @ (drawn.delta > 0)),
        "change": (found.mean - known["delta"]) / known["sd"], "pareto_k": drawn.pareto_k,
        "effective": drawn.effective,
        "crosses": bool((found.lower > 0 or found.upper < 0) != (known["lower"] > 0 or known["upper"] < 0)),
    }  # fmt: skip


def _closed_without(
    table: ScoreTable, class_a: str, class_b: str, score: ScoreSpec
) -> dict[str, dict[str, dict[str, object]]]:
    """Return the least and the largest difference of Spearman coefficients without one model, by end and benchmark."""
    question = ask(table, "spearman", score_method=score.method, roles=("safety",), capability=None, missing="drop")
    whole, parts, models = {}, {}, []
    for sign, label in ((1.0, class_a), (-1.0, class_b)):
        target = question.targets[label]
        n = len(target.values)
        whole[label] = sign * point_correlations(target)
        change = sign * correlations_under(target, 1.0 - np.eye(n)) - whole[label]
        parts[label] = np.where(models_with_both(target), change, np.nan)
        models += [str(model) for model in table.select(model_class=label).scores.index]
    total, change = whole[class_a] + whole[class_b], np.concatenate([parts[class_a], parts[class_b]])
    found: dict[str, dict[str, dict[str, object]]] = {end: {} for end in ENDS}
    for j, name in enumerate(question.benchmarks):
        own = change[:, j]
        for end, pick in (("lowest", np.nanargmin), ("highest", np.nanargmax)):
            row = int(pick(own)) if np.isfinite(own).any() else None
            found[end][name] = {
                "r_delta": total[j], "r_label": "" if row is None else models[row],
                "r_without": np.nan if row is None else total[j] + own[row],
            }  # fmt: skip
    return found


def _class_of(fits: Mapping[str, SafetyFit], model: str) -> str:
    return next(label for label, fit in fits.items() if model in fit.capability.table.scores.index)
