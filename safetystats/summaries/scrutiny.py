"""The checks that a referee asks for, as tables: one factor or more, prediction, other specs and priors, shrinkage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
import pandas as pd

from safetystats.errors import DataError
from safetystats.inference.arrays import GraphKind
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability
from safetystats.inference.loo import LeaveOut, Unit, compare_leave_out, leave_out
from safetystats.inference.parameters import FactorDraws
from safetystats.inference.predictive import NativeScale, boundary_warnings, predictive_check, prior_draws
from safetystats.inference.problems import kind_for, structure_of
from safetystats.inference.sensitivity import power_scaling
from safetystats.inference.store import FitStore
from safetystats.inference.streams import Report, seed_for
from safetystats.scores.n_factors import count_factors
from safetystats.specs import FactorSpec
from safetystats.summaries.glossary import conform
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
    """Fit other specs to the same columns; by (spec, class), the reason in words where a spec does not apply.

    Specs with further factors share one graph, of the size of the largest.
    """
    tables = [fit.table for fit in fits.values()]
    found: dict[tuple[str, str], CapabilityFit | str] = {}
    kinds: dict[str, GraphKind] = {}
    own = next(iter(fits.values())).kind
    for name, spec in specs.items():
        try:
            kind = kind_for(tables, spec)
        except DataError as error:
            reason = "; ".join(f"expected {fault.expected}, got {fault.got}" for fault in error.faults)
            found |= {(name, label): reason for label in fits}
            continue
        kinds[name] = own if kind.size == own.size and not kind.noisy else kind
    most = max((kind.size.n_further for kind in kinds.values()), default=0)
    for name, kind in kinds.items():
        if kind.size.n_further:
            size = kind.size.__class__(
                n_models=kind.size.n_models, n_benchmarks=kind.size.n_benchmarks, n_families=kind.size.n_families,
                n_further=most,
            )  # fmt: skip
            kind = GraphKind(evaluator=kind.evaluator, size=size, noisy=kind.noisy)
        for label, fit in fits.items():
            found[name, label] = fit_capability(fit.table, specs[name], fit.seed, kind, store, report)
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
                {"model_class": label, "unit": unit, "spec": row.name, "note": ""}
                | {k: v for k, v in asdict(row).items() if k != "name"}
                for row in compare_leave_out(found)
            ]
            comparison += [
                {"model_class": label, "unit": unit, "spec": name, "note": f"does not apply: {reason}"}
                for (name, c), reason in others.items()
                if c == label and isinstance(reason, str)
            ]
    return conform("leave_one_out", pd.DataFrame(pointwise)), conform("spec_comparison", pd.DataFrame(comparison))


def power_scaling_rows(fits: Mapping[str, CapabilityFit], safety: Mapping[str, SafetyFit]) -> list[dict[str, object]]:
    """Return the power-scaling sensitivity of every correlation to every prior of the capability fit."""
    rows: list[dict[str, object]] = []
    for label, fit in fits.items():
        cut = safety[label].draws["cut"].to_dataset()
        extra = {
            name: cut["rho"].sel(benchmark=name).to_numpy().ravel().astype(np.float64)
            for name in safety[label].benchmarks
        }
        anchors = np.ones(len(fit.benchmarks), dtype=bool)
        found = power_scaling(fit.parameters, fit.data, fit.spec.priors, anchors, fit.benchmarks, extra)
        rows += [
            {
                "model_class": label, "how": "power scaling", "prior": row.component, "alternative": "",
                "benchmark": row.quantity, "value": row.value, "mean": float("nan"), "change": float("nan"),
                "verdict": "", "diagnosis": row.diagnosis,
            }
            for row in found
        ]  # fmt: skip
    return rows
