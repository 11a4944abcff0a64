"""Run NUTS: the one call of the sampler, for compiled graphs and for densities that are written out."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import nutpie
import xarray as xr

from safetystats.errors import FitError
from safetystats.inference.streams import Report
from safetystats.specs import SamplingPlan

KEPT_STATS = ("diverging", "energy", "n_steps", "step_size_bar")


def nuts(
    handle: Any,
    plan: SamplingPlan,
    seed: int,
    adaptation: Literal["diag", "low_rank"],
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw from a posterior with NUTS (Hoffman and Gelman 2014), as nutpie adapts it.

    Parameters
    ----------
    handle : object
        What nutpie samples from, with its data.
    plan : SamplingPlan
    seed : int
    adaptation : {"diag", "low_rank"}
        Mass matrix.
    report : callable or None
        Called with (draws done, draws in all).
    cores : int or None
        Chains that run at once; all cores unless given.

    Returns
    -------
    DataTree
        Groups `posterior`, all chains and draws of the plan, and `sample_stats`, those of `KEPT_STATS`.

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
            tree: xr.DataTree = nutpie.sample(
                handle,
                draws=plan.draws,
                tune=plan.tune,
                chains=plan.chains,
                cores=min(plan.chains, cores or os.cpu_count() or 1),
                seed=seed,
                adaptation=adaptation,
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
    stats = tree["sample_stats"].to_dataset()
    return xr.DataTree.from_dict(
        {
            "posterior": tree["posterior"].to_dataset(),
            "sample_stats": stats[[name for name in KEPT_STATS if name in stats]],
        }
    )
