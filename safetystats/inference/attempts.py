"""Sample until the gates are met: up to three attempts, each with more draws and smaller steps."""

from __future__ import annotations

import xarray as xr

from safetystats.inference.arrays import GraphKind, Structure
from safetystats.inference.convergence import convergence
from safetystats.inference.parameters import FactorData
from safetystats.inference.streams import Report
from safetystats.specs import FactorSpec, SamplingPlan

LATER_ACCEPT = (0.99, 0.998)
"""Target acceptance of a second and a third attempt, which have twice the draws."""


def sample(
    kind: GraphKind, data: FactorData, structure: Structure, spec: FactorSpec, seed: int, report: Report | None = None
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    """Draw; while a gate fails, draw anew with twice the draws and smaller steps, twice at most; return all plans.

    Raises
    ------
    FitError
        If the sampler stops with an error.
    """
    from safetystats.inference.sampling import compile_factor, draw_posterior

    compiled = compile_factor(kind)
    plans = [spec.sampling]
    draws = draw_posterior(compiled, data, spec.priors, structure, spec.sampling, seed, report)
    for accept in LATER_ACCEPT:
        if convergence(draws).passes(spec.gates):
            break
        more = {"draws": 2 * spec.sampling.draws, "tune": 2 * spec.sampling.tune}
        accept_now = max(spec.sampling.target_accept, accept)
        plans.append(spec.sampling.model_copy(update={**more, "target_accept": accept_now}))
        draws = draw_posterior(compiled, data, spec.priors, structure, plans[-1], seed, report)
    return draws, tuple(plans)
