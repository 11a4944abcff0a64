"""The checks that a referee asks for, as tables: one factor or more, prediction, other specs and priors, shrinkage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from safetystats.errors import DataError
from safetystats.inference.arrays import FloatArray
from safetystats.inference.boundary import boundary_warnings
from safetystats.inference.error_covariance import estimate_covariance
from safetystats.inference.fisher_z import data_moments
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability
from safetystats.inference.hierarchy import shrink
from safetystats.inference.loo import LeaveOut, Unit, compare_leave_out, leave_out
from safetystats.inference.parameters import FactorDraws
from safetystats.inference.predictive import NativeScale, predictive_check, prior_draws
from safetystats.inference.problems import kinds_for, structure_of
from safetystats.inference.store import FitStore
from safetystats.inference.streams import Report, seed_for
from safetystats.scores.n_factors import count_factors
from safetystats.specs import FactorSpec, Rope, Scrutiny
from safetystats.summaries.gates import Check, Outcome
from safetystats.summaries.glossary import TABLES, conform
from safetystats.summaries.posterior import verdict_of, verdict_shares
from safetystats.tables.table import ScoreTable

MOST_DRAWS = 2000
"""Draws used for prediction and leave-one-out: their Monte Carlo error is far below what is told apart."""
UNITS: tuple[Unit, ...] = ("model", "family")


def number_of_factors(fits: Mapping[str, CapabilityFit]) -> pd.DataFrame:
    """Return eigenvalues and rules for the number of factors of each class's capability benchmarks."""
    rows = []
    for label, fit in fits.items():
        rng = np.random.default_rng(seed_for(fit.seed, "number of factors", label))
        found = count_factors(fit.data.values, rng, families=fit.data.families)
        for place in range(len(found.eigenvalues)):
            rows.append(
                {
                    "model_class": label,
                    "component": place + 1,
                    "eigenvalue": found.eigenvalues[place],
                    "reference": found.reference_quantile[place],
                    "reference_clustered": found.clustered_quantile[place],
                    "average_partial": found.map_squared[place],
                    "n_parallel": found.n_parallel,
                    "n_parallel_clustered": found.n_parallel_clustered,
                    "n_map": found.n_map_squared,
                }
            )
    return conform("number_of_factors", pd.DataFrame(rows))


def predictive_checks(fits: Mapping[str, CapabilityFit]) -> pd.DataFrame:
    """Return prior and posterior predictive checks of the capability benchmarks."""
    rows = []
    for label, fit in fits.items():
        data, names = fit.data, fit.benchmarks
        structure = structure_of(fit.table, names, fit.spec)
        prior = prior_draws(
            fit.spec.priors, len(names), structure.anchors, MOST_DRAWS,
            np.random.default_rng(seed_for(fit.seed, "prior predictive", label)),
            structure.pattern.shape[1], structure.pattern, fit.spec.families,
        )  # fmt: skip
        models, scale = [str(m) for m in fit.table.scores.index], native_scale(fit.table, names)
        for kind, draws in (("prior", prior), ("posterior", fit.parameters.thinned(MOST_DRAWS))):
            rng = np.random.default_rng(seed_for(fit.seed, f"{kind} replications", label))
            found = predictive_check(draws, data, rng, benchmarks=names, models=models, scale=scale)
            rows += [{"model_class": label, "predictive": kind} | asdict(row) for row in found]
    return conform("predictive_checks", pd.DataFrame(rows))


def boundary_cases(fits: Mapping[str, CapabilityFit]) -> pd.DataFrame:
    """Return parameters of the capability benchmarks at the edge of their range (Heywood cases and others)."""
    rows = [
        {"model_class": label} | asdict(row)
        for label, fit in fits.items()
        for row in boundary_warnings(fit.parameters, fit.benchmarks)
    ]
    return conform("boundary_cases", pd.DataFrame(rows, columns=["model_class", "benchmark", "what", "value", "limit",
    "sentence"]))  # fmt: skip


def native_scale(table: ScoreTable, names: list[str]) -> NativeScale | None:
    """Return how the z-scores of one class turn into native scores with bounds; None where a transform was applied."""
    if table.preparation.transform != "identity":
        return None
    label = table.classes[0]
    about = table.benchmarks.loc[names]
    upward = np.asarray(about["direction"].isin(["higher_is_better", "higher_is_safer"]))
    lower, upper = (about[end].to_numpy(dtype=np.float64) for end in ("lower", "upper"))
    return NativeScale(
        location=table.location.loc[label, names].to_numpy(dtype=np.float64),
        spread=table.spread.loc[label, names].to_numpy(dtype=np.float64),
        lower=np.where(upward, lower, -upper),
        upper=np.where(upward, upper, -lower),
    )


def fit_others(
    fits: Mapping[str, CapabilityFit], specs: Mapping[str, FactorSpec], store: FitStore, report: Report | None
) -> dict[tuple[str, str], CapabilityFit | str]:
    """Fit other specs to the same columns; by (spec, class), the reason in words where a spec does not apply."""
    tables = {label: fit.table for label, fit in fits.items()}
    found: dict[tuple[str, str], CapabilityFit | str] = {}
    for name, spec in specs.items():
        try:
            kinds = kinds_for(tables, spec)
        except DataError as error:
            reason = "; ".join(f"expected {fault.expected}, got {fault.got}" for fault in error.faults)
            found |= {(name, label): reason for label in fits}
            continue
        for label, fit in fits.items():
            found[name, label] = fit_capability(fit.table, spec, fit.seed, kinds[label], store, report)
    return found


def left_out(fit: CapabilityFit, unit: Unit, store: FitStore, exact: bool, report: Report | None) -> LeaveOut:
    """Return the leave-one-out densities of a fit; where importance sampling fails, from fits without the unit."""
    models = [str(model) for model in fit.table.scores.index]
    families = list(dict.fromkeys(str(family) for family in fit.table.models["family"]))

    def refit(rows: list[int]) -> FactorDraws:
        kept = fit.table.select(models=[model for row, model in enumerate(models) if row not in rows])
        return fit_capability(kept, fit.spec, fit.seed, fit.kind, store, report).parameters.thinned(MOST_DRAWS)

    return leave_out(
        fit.parameters.thinned(MOST_DRAWS), fit.data, unit, models if unit == "model" else families,
        refit if exact else None, fit.spec.gates.pareto_k,
    )  # fmt: skip


def leave_out_tables(
    own: str,
    fits: Mapping[str, CapabilityFit],
    others: Mapping[tuple[str, str], CapabilityFit | str],
    store: FitStore,
    exact: bool,
    report: Report | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return pointwise leave-one-out densities of every spec, and the comparison of specs.

    Returns
    -------
    leave_one_out : DataFrame
        One row per class, spec, unit and label.
    spec_comparison : DataFrame
        One row per class, unit and spec, best first; a spec that does not apply has the reason in `note`.
    """
    pointwise, comparison = [], []
    for label, fit in fits.items():
        every = {own: fit} | {
            name: found for (name, c), found in others.items() if c == label and isinstance(found, CapabilityFit)
        }
        for unit in UNITS:
            found = {name: left_out(one, unit, store, exact, report) for name, one in every.items()}
            for name, result in found.items():
                pointwise += [
                    {"model_class": label, "spec": name, "unit": unit, "label": point, "elpd": elpd,
                     "pareto_k": k, "refitted": bool(again)}
                    for point, elpd, k, again in zip(
                        result.labels, result.elpd, result.pareto_k, result.refitted, strict=True
                    )
                ]  # fmt: skip
            comparison += [
                {
                    "model_class": label,
                    "unit": unit,
                    "spec": row.name,
                    "note": "",
                    "n_parameters": n_parameters(every[row.name]),
                }
                | {k: v for k, v in asdict(row).items() if k != "name"}
                for row in compare_leave_out(found)
            ]
            comparison += [
                {"model_class": label, "unit": unit, "spec": name, "note": f"does not apply: {reason}"}
                for (name, c), reason in others.items()
                if c == label and isinstance(reason, str)
            ]
    return conform("leave_one_out", pd.DataFrame(pointwise)), conform("spec_comparison", pd.DataFrame(comparison))


def n_parameters(fit: CapabilityFit) -> int:
    """Return how many parameters a factor model has once capability, factors and family effects are integrated out."""
    spec, k = fit.spec, len(fit.benchmarks)
    further = int(structure_of(fit.table, fit.benchmarks, spec).pattern.sum())
    return k * (4 if spec.families else 3) + further + int(spec.families)


def scrutiny_checks(
    wanted: Scrutiny,
    spec: FactorSpec,
    others: Mapping[tuple[str, str], CapabilityFit | str],
    comparison: pd.DataFrame,
) -> list[Check]:
    """Return what was not run or does not apply, whether other specs converged, and units that nothing was said of."""
    checks: list[Check] = []

    def told(fit: str, check: str, outcome: Outcome, why: str, value: float = np.nan, limit: float = np.nan) -> None:
        checks.append(Check(fit=fit, check=check, value=value, limit=limit, outcome=outcome, why=why))

    if not wanted.compare:
        told("specs", "comparison", "not_run", "the study names no other factor spec to compare with")
    for (name, label), found in others.items():
        if isinstance(found, str):
            told(f"specs/{name}/{label}", "comparison", "not_applicable", found)
            continue
        worst = found.convergence()
        good = worst.passes(found.spec.gates)
        why = (
            f"R-hat {worst.r_hat:.3f} ({worst.r_hat_of}), smallest effective sample size {worst.ess:.0f}, divergences "
        )
        why += f"{worst.divergences}, mode gap {worst.mode_gap:.2f}; only the comparison of specs rests on this fit"
        told(f"specs/{name}/{label}", "gates", "pass" if good else "not_applicable", why, worst.r_hat, spec.gates.r_hat)
    for row in comparison.to_dict("records"):
        if row["n_doubtful"] > 0:
            why = "units with an unreliable leave-one-out density; " + (
                "their refit failed" if wanted.exact_refits else "exact refits were not run"
            )
            label = f"leave_one_out/{row['spec']}/{row['model_class']}/{row['unit']}"
            told(label, "pareto_k", "not_run", why, float(row["n_doubtful"]), 0.0)
    if not wanted.prior_grid:
        told("priors", "grid", "not_run", "the study does not repeat the fit with other priors")
    elif not spec.alternatives:
        told("priors", "grid", "not_applicable", "the factor spec states no alternative priors")
    return checks


def shrunken_correlations(safety: Mapping[str, SafetyFit], level: float, rope: Rope) -> pd.DataFrame:
    """Return the safety correlations of a class shrunk towards their areas, and those of the areas (cut posterior).

    The prior that each correlation had by itself is divided out: the layer has a prior of its own.

    Parameters
    ----------
    safety : mapping of str to SafetyFit
        By class.
    level : float
    rope : Rope

    Returns
    -------
    DataFrame
        Table `shrunken_correlations`: one row for all benchmarks together, one per area, one per benchmark. Classes
        with fewer than two benchmarks have none.
    """
    rows: list[dict[str, object]] = []
    for label, fit in safety.items():
        names = fit.benchmarks
        if len(names) < 2:
            continue
        table, seed = fit.capability.table, fit.capability.seed
        rho = fit.draws["cut"]["rho"].to_numpy().reshape(len(names), -1).astype(np.float64)
        z, error = data_moments(rho, fit.capability.spec.priors.loading)
        codes, areas = pd.factorize(table.benchmarks.loc[names, "area"])
        covariance = estimate_covariance(z, error, table.matrix(names), fit.capability.theta.mean(axis=0))
        rng = np.random.default_rng(seed_for(seed, "shrinkage", label))
        drawn = shrink(z, covariance, codes.astype(np.int64), rng)
        parts: list[tuple[str, str, str, int, FloatArray]] = [("overall", "all", "", len(names), drawn.mu)]
        parts += [
            ("area", str(area), str(area), int((codes == place).sum()), drawn.mu_area[:, place])
            for place, area in enumerate(areas)
        ]
        parts += [
            ("benchmark", name, str(areas[codes[place]]), 1, drawn.zeta[:, place]) for place, name in enumerate(names)
        ]
        for unit, name, area, count, draws in parts:
            values = np.tanh(draws)
            lower, upper = np.quantile(values, ((1 - level) / 2, (1 + level) / 2))
            high, low, near = verdict_shares(values, rope)
            rows.append(
                {"model_class": label, "unit": unit, "name": name, "area": area, "n_benchmarks": count,
                 "mean": values.mean(), "lower": lower, "upper": upper, "level": level, "p_entangled": high,
                 "p_distinct": near, "p_inverse": low, "verdict": verdict_of(high, low, near, rope.probability)}
            )  # fmt: skip
    return conform("shrunken_correlations", pd.DataFrame(rows, columns=list(TABLES["shrunken_correlations"])))
