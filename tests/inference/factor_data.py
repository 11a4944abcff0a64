"""Small data and settings that the tests of the factor model share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from safetystats.inference.arrays import FactorSize
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.store import FitStore
from safetystats.specs import FactorSpec, Gates, SamplingPlan, read_spec
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import Truth, simulate_table
from safetystats.tables.table import ScoreTable

FloatArray = npt.NDArray[np.float64]
REFERENCE = Path(__file__).resolve().parents[1] / "reference"
SIZE = FactorSize(n_models=27, n_benchmarks=13, n_families=9)
"""The one size that tests compile for: it holds ren2024 with one safety column."""


def default_spec() -> FactorSpec:
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    return spec


def quick_spec(draws: int = 500, **gates: float) -> FactorSpec:
    """The default priors, a short run, and gates that a short run passes."""
    return default_spec().model_copy(
        update={
            "sampling": SamplingPlan(chains=4, draws=draws, tune=500, target_accept=0.9),
            "gates": Gates.model_validate({"ess": 40.0, "r_hat": 1.1, "divergences": 50, **gates}),
        }
    )


def small_table(
    *, seed: int = 11, safety: tuple[float, ...] = (0.6, 0.0, -0.5), missing: float = 0.1, n_models: int = 24
) -> tuple[ScoreTable, Truth]:
    """One class, aligned and z-scored."""
    table, truth = simulate_table(
        n_models=n_models,
        n_families=8,
        capability_loadings=[0.9, 0.8, 0.75, 0.85, -0.6],
        safety_correlations=list(safety),
        icc=0.3,
        missing=missing,
        seed=seed,
    )
    return standardise(align(table)), truth


def fit_small(table: ScoreTable, spec: FactorSpec, folder: Path, seed: int = 5) -> tuple[CapabilityFit, SafetyFit]:
    store = FitStore(root=folder)
    fit = fit_capability(table, spec, seed, SIZE, store)
    return fit, fit_safety(fit, SIZE, store)
