"""Draw from the posterior of a factor model, and from that of several classes.

Graphs are compiled once, and PyMC is imported where one is: where factors are integrated out, none is needed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import nutpie
import xarray as xr

from safetystats.inference.arrays import (
    FloatArray,
    GraphKind,
    IntArray,
    Structure,
    prior_data,
    sampled_data,
)
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.density_sampling import draw_compiled
from safetystats.inference.groups_data import BENCHMARK_FIELDS, CLASS_FIELDS, GroupSize, group_draws
from safetystats.inference.nuts import nuts
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.streams import Report
from safetystats.specs import FactorPriors, SamplingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledGroups:
    """A compiled graph of several classes and what it was compiled as."""

    size: GroupSize
    handle: Any


@functools.lru_cache(maxsize=4)
def compile_groups(size: GroupSize) -> CompiledGroups:
    """Compile the graph of several classes, for all levels of invariance; the same size compiles once per process."""
    from safetystats.inference.groups_graph import groups_graph

    return CompiledGroups(size=size, handle=nutpie.compile_pymc_model(groups_graph(size), backend="numba"))


@functools.lru_cache(maxsize=8)
def compile_factor(kind: GraphKind) -> Any:
    """Compile a graph in which capability is sampled; the same kind compiles once per process."""
    from safetystats.inference.factor import factor_graph

    return nutpie.compile_pymc_model(factor_graph(kind), backend="numba")


def draw_posterior(
    kind: GraphKind | None,
    data: FactorData,
    priors: FactorPriors,
    structure: Structure,
    plan: SamplingPlan,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw from the posterior with NUTS and a low-rank mass matrix.

    The capability of a model and the intercepts and scales of the benchmarks are strongly correlated in the
    posterior; with a diagonal mass matrix the gates failed in trials.

    Parameters
    ----------
    kind : GraphKind or None
        Graph in which capability is sampled, large enough for the data; None: factors and family effects are integrated
        out, and missing cells are sampled beside the parameters.
    data : FactorData
    priors : FactorPriors
    structure : Structure
    plan : SamplingPlan
    seed : int
    report : callable or None
        Called with (draws done, draws in all).
    cores : int or None
        Chains that run at once; all cores unless given.

    Returns
    -------
    DataTree
        Groups `posterior` (rho, total_sd, icc, intercept over benchmark; capability_icc; theta over model; with further
        factors `further` over benchmark and factor; where missing cells are variables `missing` over cell, row by row;
        dims chain and draw first) and `sample_stats`.

    Raises
    ------
    KeyboardInterrupt
        If sampling was interrupted; the sampler itself would return the draws it has.
    FitError
        If the sampler finds no starting point or stops with an error.
    ValueError
        If the data do not fit the graph, or have sampling error and factors are to be integrated out.
    """
    if kind is None:
        tree, found = _integrated(data, priors, structure, plan, seed, report, cores)
    else:
        tree, found = _sampled(kind, data, priors, structure, plan, seed, report, cores)
    if not structure.pattern.shape[1]:
        del found["further"]
    if not structure.families:
        found |= {name: np.zeros_like(found[name]) for name in ("icc", "capability_icc")}
    coords = {name: tree["posterior"][name].to_numpy() for name in ("chain", "draw")}
    posterior = xr.Dataset({name: (DIMS[name], values) for name, values in found.items()}, coords=coords)
    if kind is None:
        missing = None if data.complete else found["missing"].reshape(-1, found["missing"].shape[-1])
        flat = draw_capability(draws_of(posterior), data, np.random.default_rng([seed, 1]), missing)
        posterior["theta"] = (DIMS["theta"], flat.reshape(*found["capability_icc"].shape, -1))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})


DIMS = {
    **dict.fromkeys(("rho", "total_sd", "icc", "intercept"), ("chain", "draw", "benchmark")),
    "capability_icc": ("chain", "draw"),
    "further": ("chain", "draw", "benchmark", "factor"),
    "missing": ("chain", "draw", "cell"),
    "theta": ("chain", "draw", "model"),
}


def _integrated(
    data: FactorData,
    priors: FactorPriors,
    structure: Structure,
    plan: SamplingPlan,
    seed: int,
    report: Report | None,
    cores: int | None,
) -> tuple[xr.DataTree, dict[str, FloatArray]]:
    """Draw with factors integrated out; return what the sampler returned, and the parameters."""
    from safetystats.inference.factor_kernel import sampled_density
    from safetystats.inference.integrated import n_free, packed, parameters_at, problem_of, start_of
    from safetystats.inference.native import kept_point

    problem = problem_of(data, priors, structure)
    tree = draw_compiled(
        sampled_density, kept_point, packed(problem), lambda rng: start_of(problem, rng), n_free(problem), plan, seed,
        report, cores,
    )  # fmt: skip
    found = parameters_at(tree["posterior"]["free"].transpose("chain", "draw", "parameter").to_numpy(), problem)
    if data.complete:
        del found["missing"]
    return tree, found


def _sampled(
    kind: GraphKind,
    data: FactorData,
    priors: FactorPriors,
    structure: Structure,
    plan: SamplingPlan,
    seed: int,
    report: Report | None,
    cores: int | None,
) -> tuple[xr.DataTree, dict[str, FloatArray]]:
    """Draw with factors as variables; return what the sampler returned, and the parameters, cut to the data."""
    (n, k), n_further = data.values.shape, structure.pattern.shape[1]
    arrays = prior_data(priors, structure.anchors, kind.n_benchmarks, kind.n_further)
    arrays |= sampled_data(data.values, data.families, data.noise, structure, kind)
    tree = nuts(compile_factor(kind).with_data(**arrays), plan, seed, "low_rank", report, cores)
    drawn = tree["posterior"]
    found = {name: drawn[name].to_numpy()[..., :k] for name in ("rho", "total_sd", "icc", "intercept")}
    found |= {"capability_icc": drawn["capability_icc"].to_numpy(), "theta": drawn["theta"].to_numpy()[..., :n]}
    found["further"] = drawn["further"].to_numpy()[..., :k, :n_further] if n_further else np.empty(0)
    return tree, found


def draw_groups(
    compiled: CompiledGroups,
    data: Sequence[FactorData],
    arrays: Mapping[str, FloatArray | IntArray],
    plan: SamplingPlan,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw from the posterior of several classes with NUTS and a low-rank mass matrix.

    Parameters
    ----------
    compiled : CompiledGroups
    data : sequence of FactorData, length n_classes
    arrays : mapping of str to array
        The same data, with priors and masks (`safetystats.inference.groups_data.group_arrays`).
    plan, seed, report, cores
        As in `draw_posterior`.

    Returns
    -------
    DataTree
        Groups `posterior` (the fields of `GroupDraws`, dims chain, draw, model_class and benchmark; `theta` over model,
        class after class, in units of the reference class) and `sample_stats`.

    Raises
    ------
    KeyboardInterrupt, FitError, ValueError
        As in `draw_posterior`.
    """
    k = data[0].values.shape[1]
    tree = nuts(compiled.handle.with_data(**arrays), plan, seed, "low_rank", report, cores)
    drawn = tree["posterior"].to_dataset()
    dims = ("chain", "draw", "model_class")
    found: dict[str, tuple[tuple[str, ...], FloatArray]] = {
        name: ((*dims, "benchmark"), drawn[name].to_numpy()[..., :k]) for name in BENCHMARK_FIELDS
    }
    found |= {name: (dims, drawn[name].to_numpy()) for name in CLASS_FIELDS}
    posterior = xr.Dataset(found, coords={name: drawn[name].to_numpy() for name in ("chain", "draw")})
    draws, shape, theta, start = group_draws(posterior), (plan.chains, plan.draws), [], 0
    for place, own in enumerate(data):
        missing, gaps = None, int((~np.isfinite(own.values)).sum())
        if gaps:
            missing = drawn["missing"].to_numpy()[..., start : start + gaps].reshape(-1, gaps)
        start += gaps
        rng = np.random.default_rng([seed, 1, place])
        standard = draw_capability(draws.of_class(place), own, rng, missing)
        theta.append(draws.latent_mean[:, [place]] + draws.latent_sd[:, [place]] * standard)
    posterior["theta"] = (("chain", "draw", "model"), np.concatenate(theta, axis=1).reshape(*shape, -1))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})
