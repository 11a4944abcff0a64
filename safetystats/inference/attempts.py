"""Sample until the gates are met: up to three attempts, each with more draws and smaller steps."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from safetystats.inference.arrays import GraphKind, Structure
from safetystats.inference.convergence import convergence
from safetystats.inference.parameters import FactorData
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import FactorSpec, SamplingPlan

LATER_ACCEPT = (0.99, 0.998)
"""Target acceptance of a second and a third attempt, which have twice the draws."""


def sample(
    kind: GraphKind | None,
    data: FactorData,
    structure: Structure,
    spec: FactorSpec,
    seed: int,
    report: Report | None = None,
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    """Draw; while a gate fails, draw anew with twice the draws and smaller steps, twice at most; return all plans.

    Raises
    ------
    FitError
        If the sampler stops with an error.
    """
    from safetystats.inference.sampling import draw_posterior

    def draw(plan: SamplingPlan, seed: int) -> xr.DataTree:
        return draw_posterior(kind, data, spec.priors, structure, plan, seed, report)

    return until_gates(draw, spec.sampling, seed, lambda tree: convergence(tree).passes(spec.gates))


def until_gates(
    draw: Callable[[SamplingPlan, int], xr.DataTree],
    first: SamplingPlan,
    seed: int,
    passes: Callable[[xr.DataTree], bool],
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    """Draw by the first plan, and while `passes` says no, with twice the draws and smaller steps, twice at most.

    Every attempt has a seed of its own: from the same starting points a chain that could not move would not move again.

    Returns
    -------
    tree : DataTree
        The last draws.
    plans : tuple of SamplingPlan
        All that was tried, the last one being that of `tree`.
    """
    plans = [first]
    tree = draw(first, seed)
    for accept in LATER_ACCEPT:
        if passes(tree):
            break
        more = {"draws": 2 * first.draws, "tune": 2 * first.tune}
        plans.append(first.model_copy(update={**more, "target_accept": max(first.target_accept, accept)}))
        tree = draw(plans[-1], seed_for(seed, "attempt", str(len(plans))))
    return tree, tuple(plans)
