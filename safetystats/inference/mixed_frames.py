"""Comparisons of classes as tidy tables: effects, fits, contrasts, marginal means, overlap of capabilities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from safetystats.inference.mixed import benjamini_hochberg, holm
from safetystats.inference.mixed_bootstrap import NO_TEST, BootstrapTest
from safetystats.inference.mixed_compare import Comparison
from safetystats.inference.mixed_contrasts import (
    capability_overlap,
    combine,
    common_range,
    explained_variance,
    pairwise_contrasts,
    partial_r2,
    weights_at,
)
from safetystats.inference.mixed_profile import BOUNDARY_RATIO, FloatArray
from safetystats.inference.mixed_values import Grouping, term_names

EFFECT_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "term", "estimate", "std_error", "lower", "upper", "estimate_native", "lower_native",
    "upper_native", "estimate_standardised", "partial_r2", "test", "p_value", "p_error", "n_bootstrap", "p_adjusted",
    "p_holm", "p_likelihood_ratio", "p_likelihood_ratio_adjusted", "p_likelihood_ratio_holm", "std_error_robust",
    "p_robust", "estimate_imputed", "std_error_imputed", "lower_imputed", "upper_imputed", "freedom_imputed",
    "p_imputed", "missing_information", "n_imputations", "group_variance", "residual_variance", "log_likelihood",
    "n_models", "n_groups", "status",
)  # fmt: skip
FIT_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "status", "n_models", "n_groups", "n_paired", "n_dropped", "score_mean", "score_sd",
    "group_variance", "residual_variance", "icc", "r2_marginal", "r2_conditional", "log_likelihood",
    "log_likelihood_ml", "variance_statistic", "p_variance", "p_variance_error", "n_bootstrap", "p_variance_chi_bar",
    "n_imputations", "n_boundary_draws", "optimiser", "why",
)  # fmt: skip
CONTRAST_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "kind", "class_a", "class_b", "n_paired", "estimate", "std_error", "lower", "upper",
    "estimate_native", "estimate_standardised", "test", "p_value", "p_error", "n_bootstrap", "p_likelihood_ratio",
    "p_holm", "p_adjusted", "status",
)  # fmt: skip
MEAN_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "model_class", "capability", "mean", "lower", "upper", "mean_sd", "lower_sd",
    "upper_sd", "level", "extrapolated", "n_models", "status",
)  # fmt: skip
OVERLAP_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "class_a", "class_b", "n_a", "n_b", "share_a", "share_b", "lower", "upper",
)  # fmt: skip
DIAGNOSTIC_COLUMNS: tuple[str, ...] = ("fit", "check", "value", "limit", "outcome", "why")

CHOSEN_CAPABILITIES: tuple[float, ...] = (-1.0, 0.0, 1.0)
"""Low, average and high: pooled sd of capability from the mean, at which marginal means are given."""

_OUTCOMES = {
    "ok": "pass",
    "boundary": "pass",
    "ols_cluster_robust": "pass",
    "not_converged": "fail",
    "not_applicable": "not_applicable",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One benchmark under one grouping, and what takes it back to its own unit.

    Attributes
    ----------
    benchmark, area : str
    grouping : {"lineage", "family"}
    comparison : Comparison
        In pooled sd of score and capability.
    centre, scale : float
        Mean and sd of the aligned score over the models of the fit, in its own unit.
    """

    benchmark: str
    area: str
    grouping: Grouping
    comparison: Comparison
    centre: float
    scale: float

    def place(self) -> dict[str, Any]:
        """Return the columns that say which fit a row belongs to."""
        return {"benchmark": self.benchmark, "area": self.area, "group": self.grouping}


def effects_frame(found: Sequence[Compared], classes: Sequence[str], reference_class: str) -> pd.DataFrame:
    """Return one row per benchmark, grouping and term; terms that a fit lacks have NaN, so that none vanishes."""
    expected = term_names(classes, reference_class)
    records = [
        _effect(one, one.comparison.fit.terms.index(term) if term in one.comparison.fit.terms else None, term)
        for one in found
        for term in (expected if one.comparison.fit.status == "not_applicable" else one.comparison.fit.terms)
    ]
    frame = pd.DataFrame.from_records(records, columns=list(EFFECT_COLUMNS))
    over = ["group", "term"]
    _adjust(frame, over, "p_value", "p_adjusted", benjamini_hochberg)
    _adjust(frame, over, "p_value", "p_holm", holm)
    _adjust(frame, over, "p_likelihood_ratio", "p_likelihood_ratio_adjusted", benjamini_hochberg)
    _adjust(frame, over, "p_likelihood_ratio", "p_likelihood_ratio_holm", holm)
    return frame


def _effect(one: Compared, i: int | None, term: str) -> dict[str, Any]:
    fit, imputed, scale = one.comparison.fit, one.comparison.imputed, one.scale
    row: dict[str, Any] = dict.fromkeys(EFFECT_COLUMNS, np.nan) | one.place()
    row |= {"term": term, "test": "", "n_bootstrap": 0, "n_imputations": 0, "status": fit.status}
    row |= {key: getattr(fit, key) for key in ("group_variance", "residual_variance", "log_likelihood")}
    row |= {"n_models": fit.n_models, "n_groups": fit.n_groups}
    if i is None or fit.status == "not_applicable":
        return row
    row |= {key: getattr(fit, key)[i] for key in ("estimate", "std_error", "lower", "upper", "std_error_robust")}
    shift = one.centre if i == 0 else 0.0
    row |= {f"{key}_native": shift + scale * getattr(fit, key)[i] for key in ("estimate", "lower", "upper")}
    row |= {"estimate_standardised": fit.estimate[i] / _unexplained_sd(one) if i else np.nan}
    row |= {"partial_r2": partial_r2(fit)[i], "p_robust": fit.p_robust[i]}
    row |= _test_columns(one, one.comparison.term_test(i), fit.p_value[i])
    if imputed is not None and imputed.n_draws:
        row |= {
            f"{key}_imputed": getattr(imputed, key)[i] for key in ("estimate", "std_error", "lower", "upper", "freedom")
        }
        row |= {"p_imputed": imputed.p_value[i], "missing_information": imputed.missing_information[i]}
        row |= {"n_imputations": imputed.n_draws}
    return row


def _test_columns(one: Compared, test: BootstrapTest, p_value: float) -> dict[str, Any]:
    """Return the columns of a test: the bootstrap is the headline where there is one."""
    if np.isnan(p_value):
        return {}
    if one.comparison.fit.status == "ols_cluster_robust":
        return {"test": "cluster_robust_t", "p_value": p_value}
    bootstrapped = test.replicates > 0
    return {
        "test": "parametric_bootstrap" if bootstrapped else "likelihood_ratio",
        "p_value": test.p_value if bootstrapped else p_value,
        "p_error": test.p_error,
        "n_bootstrap": test.replicates,
        "p_likelihood_ratio": p_value,
    }


def _unexplained_sd(one: Compared) -> float:
    """Return the sd of what class and capability leave: groups and residual together."""
    fit = one.comparison.fit
    return float(np.sqrt(np.nansum([fit.group_variance, fit.residual_variance])))


def _adjust(
    frame: pd.DataFrame, over: list[str], source: str, target: str, method: Callable[[FloatArray], FloatArray]
) -> None:
    frame[target] = np.nan
    for rows in frame.groupby(over, sort=False).groups.values():
        frame.loc[rows, target] = method(frame.loc[rows, source].to_numpy(dtype=np.float64))


def fits_frame(found: Sequence[Compared]) -> pd.DataFrame:
    """Return one row per benchmark and grouping: variances, explained variance, the test of the group variance."""
    records = []
    for one in found:
        fit, test, imputed = one.comparison.fit, one.comparison.variance, one.comparison.imputed
        marginal, conditional = explained_variance(one.comparison.rows, fit)
        same = ("status", "n_models", "n_groups", "n_dropped", "group_variance", "residual_variance", "log_likelihood",
                "log_likelihood_ml", "optimiser", "why")  # fmt: skip
        records.append(
            one.place()
            | {key: getattr(fit, key) for key in same}
            | {
                "n_paired": _n_paired(one, fit.classes),
                "score_mean": one.centre,
                "score_sd": one.scale,
                "icc": fit.group_variance / (fit.group_variance + fit.residual_variance),
                "r2_marginal": marginal,
                "r2_conditional": conditional,
                "variance_statistic": test.statistic,
                "p_variance": test.p_value,
                "p_variance_error": test.p_error,
                "n_bootstrap": test.replicates,
                "p_variance_chi_bar": test.p_asymptotic,
                "n_imputations": imputed.n_draws if imputed else 0,
                "n_boundary_draws": imputed.n_boundary if imputed else 0,
            }
        )
    return pd.DataFrame.from_records(records, columns=list(FIT_COLUMNS))


def _n_paired(one: Compared, classes: Sequence[str]) -> int:
    """Return the number of groups with a model in at least two of the classes."""
    rows = one.comparison.rows
    members: dict[int, set[str]] = {}
    for code, label in zip(rows.codes.tolist(), rows.labels.tolist(), strict=True):
        if label in classes:
            members.setdefault(code, set()).add(label)
    return sum(len(labels) > 1 for labels in members.values())


def contrasts_frame(found: Sequence[Compared]) -> pd.DataFrame:
    """Return one row per benchmark, grouping, kind and pair of classes; not those of fits that do not apply."""
    records = []
    for one in found:
        fit = one.comparison.fit
        if fit.status == "not_applicable":
            continue
        contrasts = pairwise_contrasts(fit.classes, fit.reference_class)
        values = combine(one.comparison.rows, fit, np.array([contrast.weights for contrast in contrasts]))
        for i, contrast in enumerate(contrasts):
            row: dict[str, Any] = dict.fromkeys(CONTRAST_COLUMNS, np.nan) | one.place()
            row |= {"kind": contrast.kind, "class_a": contrast.class_a, "class_b": contrast.class_b}
            row |= {"n_paired": _n_paired(one, (contrast.class_a, contrast.class_b)), "status": fit.status}
            row |= {key: getattr(values, key)[i] for key in ("estimate", "std_error", "lower", "upper")}
            row |= {"estimate_native": one.scale * values.estimate[i], "n_bootstrap": 0, "test": ""}
            row |= {"estimate_standardised": values.estimate[i] / _unexplained_sd(one)}
            test = one.comparison.tests.get(contrast.weights, NO_TEST)
            p_value = test.p_asymptotic
            if fit.status == "ols_cluster_robust" and sum(map(abs, contrast.weights)) == 1.0:
                p_value = fit.p_value[int(np.argmax(np.abs(contrast.weights)))]
            records.append(row | _test_columns(one, test, p_value))
    frame = pd.DataFrame.from_records(records, columns=list(CONTRAST_COLUMNS))
    _adjust(frame, ["group", "benchmark", "kind"], "p_value", "p_holm", holm)
    _adjust(frame, ["group", "kind", "class_a", "class_b"], "p_value", "p_adjusted", benjamini_hochberg)
    return frame


def means_frame(found: Sequence[Compared]) -> pd.DataFrame:
    """Return the expected score of every class at chosen capabilities, in the unit of the score and in sd."""
    records = []
    for one in found:
        fit, rows = one.comparison.fit, one.comparison.rows
        if fit.status == "not_applicable":
            continue
        low, high = common_range(rows)
        wanted = [(name, at) for name in fit.classes for at in CHOSEN_CAPABILITIES]
        weights = np.stack([weights_at(fit.classes, fit.reference_class, name, at) for name, at in wanted])
        values = combine(rows, fit, weights)
        for i, (name, at) in enumerate(wanted):
            row = one.place() | {"model_class": name, "capability": at, "level": fit.level, "status": fit.status}
            for target, source in (("mean", "estimate"), ("lower", "lower"), ("upper", "upper")):
                number = float(getattr(values, source)[i])
                row |= {target: one.centre + one.scale * number, f"{target}_sd": number}
            row |= {"extrapolated": not low <= at <= high, "n_models": int((rows.labels == name).sum())}
            records.append(row)
    return pd.DataFrame.from_records(records, columns=list(MEAN_COLUMNS))


def overlap_frame(found: Sequence[Compared], classes: Sequence[str]) -> pd.DataFrame:
    """Return one row per benchmark and pair of classes, over the models that have a score."""
    first = {one.benchmark: one for one in reversed(found)}
    records = [
        {"benchmark": one.benchmark, "area": one.area}
        | {key: getattr(overlap, key) for key in OVERLAP_COLUMNS if key not in ("benchmark", "area")}
        for one in reversed(first.values())
        for overlap in capability_overlap(one.comparison.rows.capability, one.comparison.rows.labels.tolist(), classes)
    ]
    return pd.DataFrame.from_records(records, columns=list(OVERLAP_COLUMNS))


def diagnostics_frame(found: Sequence[Compared]) -> pd.DataFrame:
    """Return one row per fit: the ratio of variances, the status, and why."""
    records = [
        {
            "fit": f"mixed/{one.grouping}/{one.benchmark}",
            "check": one.comparison.fit.status,
            "value": one.comparison.fit.group_variance / one.comparison.fit.residual_variance,
            "limit": BOUNDARY_RATIO,
            "outcome": _OUTCOMES[one.comparison.fit.status],
            "why": one.comparison.fit.why,
        }
        for one in found
    ]
    return pd.DataFrame.from_records(records, columns=list(DIAGNOSTIC_COLUMNS))


def keyed(found: Sequence[Compared]) -> Mapping[tuple[Grouping, str], Comparison]:
    """Return the comparisons by grouping and benchmark."""
    return {(one.grouping, one.benchmark): one.comparison for one in found}
