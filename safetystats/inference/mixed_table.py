"""The mixed-effects comparison of model classes on every benchmark of a table, one row per benchmark and term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from safetystats.inference.mixed import benjamini_hochberg, fit_mixed
from safetystats.inference.mixed_profile import BOUNDARY_RATIO, FloatArray
from safetystats.inference.mixed_values import NEGLIGIBLE, IntervalKind, MixedFit
from safetystats.tables.table import ScoreTable

EFFECT_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "term", "estimate", "std_error", "lower", "upper", "p_value", "p_adjusted",
    "group_variance", "residual_variance", "log_likelihood", "n_models", "n_groups", "status",
)  # fmt: skip
DIAGNOSTIC_COLUMNS: tuple[str, ...] = ("fit", "check", "value", "limit", "outcome", "why")

_OUTCOMES = {
    "ok": "pass",
    "boundary": "pass",
    "ols_cluster_robust": "pass",
    "not_converged": "fail",
    "not_applicable": "not_applicable",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedTable:
    """Mixed-effects fits of many benchmarks.

    Attributes
    ----------
    effects : DataFrame
        Columns `EFFECT_COLUMNS`, one row per benchmark and term, benchmarks in table order; a benchmark to which the
        model does not apply keeps its rows, with NaN.
    diagnostics : DataFrame
        Columns `DIAGNOSTIC_COLUMNS`, one row per benchmark: the ratio of the variances of lineages and residuals (NaN
        if not estimated), and why, where the status is not "ok" or there is a note.
    fits : mapping from benchmark to MixedFit
        In pooled sd of the score and of capability.
    """

    effects: pd.DataFrame
    diagnostics: pd.DataFrame
    fits: Mapping[str, MixedFit]


def fit_mixed_table(
    table: ScoreTable,
    capability: pd.Series,
    *,
    benchmarks: Sequence[str] | None = None,
    reference_class: str | None = None,
    group: Literal["lineage", "family"] = "lineage",
    reml: bool = True,
    level: float = 0.95,
    interval: IntervalKind = "satterthwaite",
) -> MixedTable:
    """Fit score ~ capability * class + (1 | group) to every benchmark.

    Scores are the aligned ones, standardised by the mean and sd (ddof 0) of *all* models that enter the fit, both
    classes together: z-scores within a class would remove the very difference that is asked for. Capability is
    standardised in the same way, once for all benchmarks. "class[c]" is then the difference between class c and the
    reference class, in pooled sd of the score, at average capability (safer if positive); "capability" the slope in
    the reference class, in pooled sd of the score for one sd of capability; "capability:class[c]" how much steeper it
    is in class c. Variances are in squared pooled sd. `p_adjusted` is Benjamini-Hochberg's over the benchmarks within
    a term.

    Parameters
    ----------
    table : ScoreTable
        Aligned; not standardised within classes.
    capability : Series
        Capability of each model, on one scale for all classes, index: model identifiers. Models that are absent or NaN
        are left out and counted.
    benchmarks : sequence of str, optional
        Default: all benchmarks of role "safety".
    reference_class : str, optional
        Default: the first class of the table.
    group : {"lineage", "family"}
        What the random intercept stands for.
    reml, level, interval
        As in `fit_mixed`.

    Returns
    -------
    MixedTable

    Raises
    ------
    ValueError
        If the table is not aligned or is standardised within classes, a benchmark is unknown, no model has a
        capability or all have the same, or `reference_class` is no class of the table.
    """
    if not table.preparation.aligned:
        raise ValueError("fit_mixed_table needs an aligned table: call align first")
    if table.preparation.standardised == "class":
        raise ValueError("scores standardised within classes have no class difference left: standardise pooled")
    chosen = table.columns(role="safety") if benchmarks is None else [str(name) for name in benchmarks]
    unknown = [name for name in chosen if name not in table.scores.columns]
    if unknown:
        raise ValueError(f"no such benchmark in {table.name}: {', '.join(unknown)}")
    ability = _standardised(capability.reindex(table.scores.index).to_numpy(dtype=np.float64))
    if not np.nan_to_num(ability).any():
        raise ValueError(f"capability does not vary among the models of {table.name} for which it is known")
    reference = table.classes[0] if reference_class is None else reference_class
    expected = _expected_terms(table.classes, reference)
    fits = {}
    for name in chosen:
        score = table.scores[name].to_numpy(dtype=np.float64)
        fit = fit_mixed(
            _standardised(np.where(np.isfinite(ability), score, np.nan)),
            ability,
            table.models["model_class"].to_numpy(dtype=object),
            table.models[group].to_numpy(dtype=object),
            reference_class=reference,
            reml=reml,
            level=level,
            interval=interval,
        )
        fits[name] = fit if fit.status != "not_applicable" else _with_terms(fit, expected)
    areas = {name: str(table.benchmarks.loc[name, "area"]) for name in chosen}
    return MixedTable(effects=_effects(fits, areas), diagnostics=_diagnostics(fits), fits=fits)


def _standardised(values: FloatArray) -> FloatArray:
    """Return z-scores (ddof 0) over what is finite, NaN elsewhere; a constant becomes zeros."""
    known = np.isfinite(values)
    out = np.full(values.shape, np.nan)
    if known.any():
        centred = values[known] - values[known].mean()
        sd = float(centred.std())
        out[known] = centred / sd if sd > NEGLIGIBLE * np.abs(values[known]).max() else 0.0
    return out


def _expected_terms(classes: Sequence[str], reference: str) -> tuple[str, ...]:
    others = sorted(name for name in classes if name != reference)
    return (
        "(Intercept)",
        "capability",
        *(f"class[{name}]" for name in others),
        *(f"capability:class[{name}]" for name in others),
    )


def _with_terms(fit: MixedFit, terms: tuple[str, ...]) -> MixedFit:
    """Give a fit that does not apply the terms that were asked for, all NaN, so that none of them vanishes silently."""
    blank = np.full(len(terms), np.nan)
    return replace(
        fit, terms=terms, estimate=blank, std_error=blank, std_error_robust=blank, freedom=blank, lower=blank,
        upper=blank, p_value=blank, tested=("",) * len(terms),
    )  # fmt: skip


def _effects(fits: Mapping[str, MixedFit], areas: Mapping[str, str]) -> pd.DataFrame:
    records = [
        {
            "benchmark": name,
            "area": areas[name],
            "term": term,
            "estimate": fit.estimate[i],
            "std_error": fit.std_error[i],
            "lower": fit.lower[i],
            "upper": fit.upper[i],
            "p_value": fit.p_value[i],
            "p_adjusted": np.nan,
            "group_variance": fit.group_variance,
            "residual_variance": fit.residual_variance,
            "log_likelihood": fit.log_likelihood,
            "n_models": fit.n_models,
            "n_groups": fit.n_groups,
            "status": fit.status,
        }
        for name, fit in fits.items()
        for i, term in enumerate(fit.terms)
    ]
    frame = pd.DataFrame.from_records(records, columns=list(EFFECT_COLUMNS))
    for rows in frame.groupby("term", sort=False).groups.values():
        frame.loc[rows, "p_adjusted"] = benjamini_hochberg(frame.loc[rows, "p_value"].to_numpy(dtype=np.float64))
    return frame


def _diagnostics(fits: Mapping[str, MixedFit]) -> pd.DataFrame:
    records = [
        {
            "fit": f"mixed/{name}",
            "check": fit.status,
            "value": fit.group_variance / fit.residual_variance,
            "limit": BOUNDARY_RATIO,
            "outcome": _OUTCOMES[fit.status],
            "why": fit.why,
        }
        for name, fit in fits.items()
    ]
    return pd.DataFrame.from_records(records, columns=list(DIAGNOSTIC_COLUMNS))
