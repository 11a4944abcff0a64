"""Is there one capability scale for several model classes? Measurement invariance as tables and a verdict in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from safetystats.inference.groups import GroupFit, fit_groups, pooled_capability
from safetystats.inference.groups_data import LEVELS, Level, aligned_draws
from safetystats.inference.groups_loo import leave_group_units_out
from safetystats.inference.loo import LeaveOut, standard_error
from safetystats.inference.store import FitStore
from safetystats.inference.streams import Report
from safetystats.specs import FactorSpec, InvarianceRule, InvarianceSpec
from safetystats.summaries.gates import Check, convergence_checks
from safetystats.summaries.numbers import interval_text, number_text
from safetystats.tables.prepare import standardise, transform
from safetystats.tables.table import ScoreTable

InvarianceVerdict = Literal["reference", "holds", "not distinguishable", "fails", "withheld"]
UNITS: tuple[Literal["model", "lineage"], ...] = ("model", "lineage")
MOST_DRAWS = 2000
"""Draws used for leave-one-out: their Monte Carlo error is far below what is told apart."""
STEPS: tuple[tuple[Level, Level, str], ...] = (("metric", "configural", "loading"), ("scalar", "metric", "intercept"))
"""Each restricted model, the next freer one, and the parameter that it holds equal."""
REFUSED: tuple[InvarianceVerdict, ...] = ("fails", "withheld")
"""Verdicts on one step that leave none on the next: it holds equal what the last one did, and more."""

INVARIANCE_COLUMNS: tuple[str, ...] = (
    "unit", "invariance", "elpd", "elpd_error", "p_loo", "freer", "difference", "difference_error", "n_units",
    "n_refitted", "n_doubtful", "pareto_k", "verdict", "sentence",
)  # fmt: skip
LOADING_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "parameter", "scale", "class_a", "class_b", "value_a", "value_b", "delta", "lower", "upper",
    "level", "p_positive",
)  # fmt: skip
SCORE_COLUMNS: tuple[str, ...] = ("model_class", "model", "family", "lineage", "score", "lower", "upper", "level")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Invariance:
    """Measurement invariance of the capability benchmarks over the classes of a table.

    Attributes
    ----------
    fits : mapping of level to GroupFit
        Configural, metric and scalar; the capability of the last is on one scale.
    invariance : DataFrame
        Columns `INVARIANCE_COLUMNS`, one row per unit left out (model, lineage) and model of invariance.
    loadings : DataFrame
        Columns `LOADING_COLUMNS`, one row per benchmark, parameter (loading, intercept), scale and class other than the
        reference class.
    scores : DataFrame
        Columns `SCORE_COLUMNS`, one row per model: capability on the common scale.
    checks : tuple of Check
        Gates of the three fits, and Pareto k of leave-one-out.
    """

    fits: Mapping[Level, GroupFit]
    invariance: pd.DataFrame
    loadings: pd.DataFrame
    scores: pd.DataFrame
    checks: tuple[Check, ...]


def pooled_table(aligned: ScoreTable, factor: FactorSpec) -> ScoreTable:
    """Return an aligned table, transformed as the factor spec says and z-scored over all models together."""
    return standardise(transform(aligned, factor.transform, by="pooled"), by="pooled")


def check_invariance(
    table: ScoreTable,
    factor: FactorSpec,
    spec: InvarianceSpec,
    seed: int,
    store: FitStore,
    level: float = 0.95,
    exact: bool = False,
    report: Report | None = None,
) -> Invariance:
    """Fit the configural, the metric and the scalar model and compare them by leave-one-out.

    Parameters
    ----------
    table : ScoreTable
        `pooled_table`; its first class is the reference.
    factor : FactorSpec
    spec : InvarianceSpec
    seed : int
    store : FitStore
    level : float
        Coverage of the equal-tailed intervals.
    exact : bool
        Whether lineages whose Pareto k exceeds its limit are left out in earnest, each by a fit without it. With small
        classes there are several, and importance sampling overstates their density.
    report : callable or None
        Called with (draws done, draws in all).
    """
    fits = {each: fit_groups(table, factor, spec, each, seed, store, report=report) for each in LEVELS}
    found = {
        unit: {
            name: leave_group_units_out(fit, unit, MOST_DRAWS, store if exact and unit == "lineage" else None, report)
            for name, fit in fits.items()
        }
        for unit in UNITS
    }
    loadings = loading_differences(fits["configural"], level)
    return Invariance(
        fits=fits,
        invariance=invariance_table(fits, found, loadings),
        loadings=loadings,
        scores=common_scores(fits["scalar"], level),
        checks=tuple(invariance_checks(fits, found)),
    )


def verdict_of_difference(difference: float, error: float, rule: InvarianceRule) -> InvarianceVerdict:
    """Return what a difference in elpd, restricted less freer model, says about the restriction.

    With d its size, e its standard error and the rule's c (4) and k (2): *fails* if d < -c and d + k e < 0, so that the
    freer model predicts better by more than k standard errors and more than c; *holds* if d - k e >= -c, so that even k
    standard errors to the worse the loss is at most c; *not distinguishable* otherwise.
    """
    if difference < -rule.elpd and difference + rule.errors * error < 0:
        return "fails"
    return "holds" if difference - rule.errors * error >= -rule.elpd else "not distinguishable"


def invariance_table(
    fits: Mapping[Level, GroupFit],
    found: Mapping[Literal["model", "lineage"], Mapping[Level, LeaveOut]],
    loadings: pd.DataFrame,
) -> pd.DataFrame:
    """Return the comparison of the three models, columns `INVARIANCE_COLUMNS`.

    The scalar model presupposes the metric one: with unequal loadings the difference of the intercepts depends on where
    capability has its zero. Where metric invariance fails, or has no verdict, there is none on scalar invariance; the
    difference in elpd stands there all the same.

    Parameters
    ----------
    fits : mapping of level to GroupFit
    found : mapping of unit to mapping of level to LeaveOut
        Leave-one-out densities of the same units under each model.
    loadings : DataFrame
        `loading_differences`, which name the benchmarks responsible.
    """
    rule = fits["configural"].spec.rule
    passed = {name: fit.convergence().passes(fit.spec.gates) for name, fit in fits.items()}
    freer_of = {name: (freer, parameter) for name, freer, parameter in STEPS}
    rows = []
    for unit, results in found.items():
        earlier: InvarianceVerdict = "reference"
        for name, result in results.items():
            row: dict[str, str | float | int] = {
                "unit": unit, "invariance": name, "elpd": result.total, "elpd_error": result.standard_error,
                "p_loo": result.p_loo, "freer": "", "difference": float("nan"), "difference_error": float("nan"),
                "n_units": len(result.labels), "n_refitted": int(result.refitted.sum()),
                "n_doubtful": len(result.doubtful), "pareto_k": float(result.pareto_k.max()), "verdict": "reference",
                "sentence": "",
            }  # fmt: skip
            if name in freer_of:
                freer, parameter = freer_of[name]
                pointwise = result.elpd - results[freer].elpd
                difference, error = float(pointwise.sum()), standard_error(pointwise, result.families)
                sound = passed[name] and passed[freer] and earlier not in REFUSED
                verdict = verdict_of_difference(difference, error, rule) if sound else "withheld"
                doubtful = len({*result.doubtful, *results[freer].doubtful})
                row |= {
                    "freer": freer, "difference": difference, "difference_error": error, "verdict": verdict,
                    "sentence": _sentence(
                        name, parameter, verdict, difference, error, unit, doubtful, loadings, earlier
                    ),
                }  # fmt: skip
                earlier = verdict
            rows.append(row)
    return pd.DataFrame(rows, columns=list(INVARIANCE_COLUMNS))


def loading_differences(fit: GroupFit, level: float) -> pd.DataFrame:
    """Return loadings and intercepts of every class against those of the reference class.

    Scale `own`: as the configural model has them, capability having mean zero and sd one in each class, so that a class
    with more spread in capability has larger loadings on every benchmark. Scale `aligned`: with capability of the class
    on the scale of the reference class (`aligned_draws`); these differences say which benchmark is responsible.

    Parameters
    ----------
    fit : GroupFit
        The configural one.
    level : float
        Coverage of the equal-tailed intervals.

    Returns
    -------
    DataFrame
        Columns `LOADING_COLUMNS`; in sd of the pooled z-scores.
    """
    if fit.level != "configural":
        raise ValueError(f"the {fit.level} model holds loadings or intercepts equal; give the configural one")
    names, areas = fit.table.columns("capability"), fit.table.benchmarks["area"]
    reference, tails = fit.classes[0], [(1 - level) / 2, (1 + level) / 2]
    rows = []
    for scale, draws in (("own", fit.parameters), ("aligned", aligned_draws(fit.parameters))):
        for parameter, values in (("loading", draws.loading), ("intercept", draws.intercept)):
            delta = values[:, 1:] - values[:, [0]]
            lower, upper = np.quantile(delta, tails, axis=0)
            # In a draw whose median benchmark this is, the aligned difference is zero.
            positive = (delta > 0).mean(axis=0) + 0.5 * (delta == 0).mean(axis=0)
            mean = values.mean(axis=0)
            rows += [
                {
                    "benchmark": name, "area": areas[name], "parameter": parameter, "scale": scale, "class_a": label,
                    "class_b": reference, "value_a": mean[c + 1, b], "value_b": mean[0, b],
                    "delta": delta[:, c, b].mean(), "lower": lower[c, b], "upper": upper[c, b], "level": level,
                    "p_positive": positive[c, b],
                }
                for c, label in enumerate(fit.classes[1:])
                for b, name in enumerate(names)
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(LOADING_COLUMNS))


def common_scores(fit: GroupFit, level: float) -> pd.DataFrame:
    """Return capability on the common scale, in sd over all models around their mean (`pooled_capability`)."""
    if fit.level != "scalar":
        raise ValueError(f"the {fit.level} model has no common scale; give the scalar one")
    theta = pooled_capability(fit.theta)
    lower, upper = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2], axis=0)
    models = fit.table.models
    return pd.DataFrame(
        {
            "model_class": models["model_class"].to_numpy(),
            "model": fit.models,
            "family": models["family"].to_numpy(),
            "lineage": models["lineage"].to_numpy(),
            "score": theta.mean(axis=0),
            "lower": lower,
            "upper": upper,
            "level": level,
        },
        columns=list(SCORE_COLUMNS),
    )


def invariance_checks(
    fits: Mapping[Level, GroupFit], found: Mapping[Literal["model", "lineage"], Mapping[Level, LeaveOut]]
) -> list[Check]:
    """Return the gates of the three fits, and whether importance sampling served leave-one-out."""
    checks = []
    for name, fit in fits.items():
        checks += convergence_checks(f"invariance/{name}", fit.convergence(), fit.spec.gates, len(fit.plans))
    for unit, results in found.items():
        for name, result in results.items():
            doubtful = result.doubtful
            worst = result.labels[int(result.pareto_k.argmax())]
            checks.append(
                Check(
                    fit=f"invariance/{name}", check=f"pareto_k_{unit}", value=float(result.pareto_k.max()),
                    limit=result.limit, outcome="not_applicable" if doubtful else "pass",
                    why=f"largest, of {worst}; {len(doubtful)} of {len(result.labels)} above the limit, not refitted",
                )
            )  # fmt: skip
    return checks


def _sentence(
    name: Level,
    parameter: str,
    verdict: InvarianceVerdict,
    difference: float,
    error: float,
    unit: str,
    n_doubtful: int,
    loadings: pd.DataFrame,
    earlier: InvarianceVerdict,
) -> str:
    """Say what one comparison found; `earlier` is the verdict on the step before."""
    equal = f"{parameter}s equal over classes ({name} invariance)"
    if verdict == "withheld" and earlier == "fails":
        return f"No verdict on {equal}: it presupposes equal loadings, against which the data speak."
    if verdict == "withheld" and earlier == "withheld":
        return f"No verdict on {equal}: there is none on equal loadings, which it presupposes."
    if verdict == "withheld":
        return f"No verdict on {equal}: a fit did not pass the gates."
    size = f"elpd difference {number_text(difference, 1)}, standard error {number_text(error, 1)}, leaving out {unit}s"
    doubt = f" {n_doubtful} units have a Pareto k above its limit." if n_doubtful else ""
    if verdict == "holds":
        return f"The data are compatible with {equal} ({size}).{doubt}"
    if verdict == "not distinguishable":
        return f"The data do not say whether {parameter}s are equal over classes ({name} invariance; {size}).{doubt}"
    return f"The data speak against {equal} ({size}).{doubt} {_responsible(parameter, loadings)}"


def _responsible(parameter: str, loadings: pd.DataFrame) -> str:
    """Name the benchmarks whose aligned difference has an interval without zero, largest first."""
    own = loadings[(loadings["parameter"] == parameter) & (loadings["scale"] == "aligned")]
    clear = own[(own["lower"] > 0) | (own["upper"] < 0)]
    if clear.empty:
        return f"No benchmark's {parameter} alone differs clearly."
    clear = clear.iloc[np.argsort(-clear["delta"].abs().to_numpy(), kind="stable")]
    told = [
        f"{row['benchmark']} ({row['class_a']} less {row['class_b']} {number_text(row['delta'])} "
        f"{interval_text(row['lower'], row['upper'])})"
        for row in clear.to_dict("records")
    ]
    return f"The {parameter} differs for {', '.join(told)}."
