"""Small data and settings that the tests of the factor model share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from safetystats.inference.arrays import GraphKind
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.parameters import FactorDraws
from safetystats.inference.store import FitStore
from safetystats.specs import FactorSpec, Gates, SamplingPlan, read_spec
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import Truth, simulate_table
from safetystats.tables.table import ScoreTable

FloatArray = npt.NDArray[np.float64]
REFERENCE = Path(__file__).resolve().parents[1] / "reference"

INTEGRATED = None
"""Factors integrated out: no graph."""
SAMPLED = GraphKind(n_models=24, n_benchmarks=7, n_families=8, n_further=2, noisy=True)
"""The graph that tests compile: it holds the simulated tables with gaps, noise and a factor for each of two areas."""


def read_factor(name: str) -> FactorSpec:
    spec = read_spec(name, "factor")
    assert isinstance(spec, FactorSpec)
    return spec


def default_spec() -> FactorSpec:
    return read_factor("two-level")


def quick(spec: FactorSpec, draws: int = 500, tune: int = 500, **gates: float) -> FactorSpec:
    """The same model with a short run, and gates that a short run passes."""
    return spec.model_copy(
        update={
            "sampling": SamplingPlan(chains=4, draws=draws, tune=tune, target_accept=0.9),
            "gates": Gates.model_validate({"ess": 40.0, "r_hat": 1.1, "divergences": 50, **gates}),
        }
    )


def quick_spec(draws: int = 500, **gates: float) -> FactorSpec:
    return quick(default_spec(), draws, **gates)


def small_table(
    *,
    seed: int = 11,
    safety: tuple[float, ...] = (0.6, 0.0, -0.5),
    missing: float = 0.1,
    n_models: int = 24,
    complete_capability: bool = False,
) -> tuple[ScoreTable, Truth]:
    """One class, aligned and z-scored; scores are missing everywhere, or in safety columns only."""
    table, truth = simulate_table(
        n_models=n_models,
        n_families=8,
        capability_loadings=[0.9, 0.8, 0.75, 0.85, -0.6],
        safety_correlations=list(safety),
        icc=0.3,
        missing=missing,
        seed=seed,
    )
    if complete_capability:
        scores = table.scores.copy()
        scores.iloc[:, :5] = truth.scores[:, :5]
        table = table.replace(scores=scores)
    return standardise(align(table)), truth


def closed_table() -> tuple[ScoreTable, Truth]:
    """Capability scores without gaps, safety scores with gaps: capability can be integrated out."""
    return small_table(complete_capability=True)


def fit_small(
    table: ScoreTable, spec: FactorSpec, folder: Path, seed: int = 5, kind: GraphKind | None = INTEGRATED
) -> tuple[CapabilityFit, SafetyFit]:
    store = FitStore(root=folder)
    fit = fit_capability(table, spec, seed, kind, store)
    return fit, fit_safety(fit, store)


def repeated(draws: FactorDraws, times: int) -> FactorDraws:
    """Every draw as often as asked, copies side by side."""
    names = ("rho", "total_sd", "icc", "capability_icc", "intercept", "further")
    return replace(draws, **{name: np.repeat(getattr(draws, name), times, axis=0) for name in names})
