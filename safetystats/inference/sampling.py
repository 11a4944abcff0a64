"""Compile a factor graph once and draw from it for any data that fit its size."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import nutpie
import xarray as xr

from safetystats.errors import FitError
from safetystats.inference.arrays import FactorArrays, FactorSize
from safetystats.inference.factor import factor_graph
from safetystats.inference.streams import Report
from safetystats.specs import FactorPriors, SamplingPlan

KEPT_STATS = ("diverging", "energy", "n_steps", "step_size_bar")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFactor:
    """A compiled factor graph and the size it was compiled for."""

    size: FactorSize
    handle: Any


@functools.lru_cache(maxsize=4)
def compile_factor(priors: FactorPriors, size: FactorSize) -> CompiledFactor:
    """Compile the factor graph for one size; the same arguments compile once per process."""
    return CompiledFactor(size=size, handle=nutpie.compile_pymc_model(factor_graph(priors, size), backend="numba"))


def draw_posterior(
    compiled: CompiledFactor, arrays: FactorArrays, plan: SamplingPlan, seed: int, report: Report | None = None
) -> xr.DataTree:
    """Draw from the posterior with NUTS and a low-rank mass matrix.

    The capability of a model and the intercepts and scales of the benchmarks are strongly correlated in the
    posterior; with a diagonal mass matrix the gates failed in trials.

    Returns
    -------
    DataTree
        Groups `posterior` (rho, total_sd, icc, intercept, theta; dims chain, draw and padded benchmark or model) and
        `sample_stats`.

    Raises
    ------
    KeyboardInterrupt
        If sampling was interrupted; the sampler itself would return the draws it has.
    FitError
        If the sampler finds no starting point or stops with an error.
    """
    total = plan.chains * (plan.draws + plan.tune)
    callback = None
    if report is not None:
        say = report

        def callback(chains: Sequence[Any]) -> None:
            say(sum(chain.finished_draws for chain in chains), total)

    try:
        with warnings.catch_warnings():
            # An interrupted sampler can return fewer draws than chains; that is dealt with below.
            warnings.filterwarnings("ignore", message="Found chain dimension", category=UserWarning)
            tree = nutpie.sample(
                compiled.handle.with_data(**arrays.as_data()),
                draws=plan.draws,
                tune=plan.tune,
                chains=plan.chains,
                cores=min(plan.chains, os.cpu_count() or 1),
                seed=seed,
                adaptation="low_rank",
                target_accept=plan.target_accept,
                save_warmup=False,
                progress_bar=False,
                progress_callback=callback,
                progress_rate=250,
            )
    except RuntimeError as error:
        raise FitError(f"the sampler stopped: {error}") from error
    if tree["posterior"].sizes["draw"] < plan.draws or tree["posterior"].sizes["chain"] < plan.chains:
        # An interrupt ends the sampler early, and it returns what it has: that is no fit.
        raise KeyboardInterrupt
    posterior = tree["posterior"].to_dataset()[["rho", "total_sd", "icc", "intercept", "theta"]]
    stats = tree["sample_stats"].to_dataset()
    return xr.DataTree.from_dict(
        {"posterior": posterior, "sample_stats": stats[[name for name in KEPT_STATS if name in stats]]}
    )
