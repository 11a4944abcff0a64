"""Fits with draws written by hand, so that every number of a table can be checked with pencil and paper."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.problems import kind_for
from safetystats.specs import FactorSpec, read_spec
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

CHAINS, DRAWS = 2, 500


def prepared(n_safety: int = 2) -> ScoreTable:
    table, _ = simulate_table(
        n_models=8, n_families=3, capability_loadings=[0.9, 0.8, 0.7], safety_correlations=[0.5] * n_safety, seed=4
    )
    return standardise(align(table))


def spec() -> FactorSpec:
    found = read_spec("two-level", "factor")
    assert isinstance(found, FactorSpec)
    return found


def capability_fit(table: ScoreTable, rho: np.ndarray | None = None, diverging: int = 0) -> CapabilityFit:
    rng = np.random.default_rng(8)
    names, models = table.columns("capability"), [str(m) for m in table.scores.index]
    flags = np.zeros((CHAINS, DRAWS), dtype=bool)
    flags.flat[:diverging] = True
    drawn = {
        name: (("chain", "draw", "benchmark"), rng.normal(0.5, 0.1, size=(CHAINS, DRAWS, len(names))))
        for name in ("rho", "total_sd", "icc", "intercept")
    }
    if rho is not None:
        drawn["rho"] = (("chain", "draw", "benchmark"), rho)
    drawn["capability_icc"] = (("chain", "draw"), rng.uniform(0.2, 0.4, size=(CHAINS, DRAWS)))
    drawn["theta"] = (("chain", "draw", "model"), rng.normal(size=(CHAINS, DRAWS, len(models))))
    posterior = xr.Dataset(drawn, coords={"benchmark": names, "model": models})
    stats = xr.Dataset(
        {"diverging": (("chain", "draw"), flags), "energy": (("chain", "draw"), rng.normal(size=(CHAINS, DRAWS)))}
    )
    draws = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})
    plan = spec().sampling
    return CapabilityFit(
        table=table, spec=spec(), seed=1, draws=draws, kind=kind_for([table], spec()), plans=(plan,), key="k",
        reused=False,
    )  # fmt: skip


def safety_fit(
    capability: CapabilityFit,
    rho: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    total_sd: float = 1.0,
    efficiency: float = 0.9,
    pareto_k: float = 0.2,
    refit: dict[str, float] | None = None,
    refit_rho: np.ndarray | None = None,
    left_out: dict[str, str] | None = None,
) -> SafetyFit:
    """Return a fit of the first benchmarks, draws of shape (benchmarks, CHAINS, DRAWS); the refit is of the first."""
    dims = ("benchmark", "chain", "draw")
    names = capability.table.columns("safety")[: len(rho)]
    even = np.full(rho.shape, 1 / (CHAINS * DRAWS)) if weight is None else weight
    cut = xr.Dataset(
        {
            "rho": (dims, rho.astype(np.float32)),
            "total_sd": (dims, np.full(rho.shape, total_sd, dtype=np.float32)),
            "icc": (dims, np.full(rho.shape, 0.25, dtype=np.float32)),
            "intercept": (dims, np.zeros(rho.shape, dtype=np.float32)),
            "efficiency": (("benchmark",), np.full(len(rho), efficiency)),
        },
        coords={"benchmark": names},
    )
    with np.errstate(divide="ignore"):
        joint = xr.Dataset(
            {
                "log_weight": (dims, np.log(even).astype(np.float32)),
                "pareto_k": (("benchmark",), np.full(len(rho), pareto_k)),
                "effective": (("benchmark",), 1 / (even**2).sum((1, 2))),
            },
            coords={"benchmark": names},
        )
    groups = {"cut": cut, "joint": joint}
    if refit is not None:
        facts = {"r_hat": 1.001, "ess": 900.0, "divergences": 0.0, "e_bfmi": 0.9, "mode_gap": 0.1, **refit}
        drawn = rho[:1] if refit_rho is None else refit_rho
        groups["refit"] = xr.Dataset(
            {name: (dims, drawn if name == "rho" else np.ones(drawn.shape)) for name in ("rho", "total_sd", "icc")}
            | {name: (("benchmark",), [value]) for name, value in facts.items()},
            coords={"benchmark": names[:1]},
        )
    return SafetyFit(
        capability=capability, draws=xr.DataTree.from_dict(groups), left_out=left_out or {}, key="s", reused=False
    )


def good_draws(n: int = 1, centre: float = 0.7, sd: float = 0.05, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).normal(centre, sd, size=(n, CHAINS, DRAWS))


def only(table: pd.DataFrame, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]
