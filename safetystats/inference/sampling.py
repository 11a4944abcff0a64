"""Compile a factor graph once and draw from it for any data, priors and structure that fit its size."""

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
    completed_data,
    integrated_data,
    prior_data,
    sampled_data,
)
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.factor import factor_graph
from safetystats.inference.groups_data import BENCHMARK_FIELDS, CLASS_FIELDS, GroupSize, group_draws
from safetystats.inference.groups_graph import groups_graph
from safetystats.inference.nuts import nuts
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.streams import Report
from safetystats.specs import FactorPriors, SamplingPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledFactor:
    """A compiled factor graph and what it was compiled as."""

    kind: GraphKind
    handle: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledGroups:
    """A compiled graph of several classes and what it was compiled as."""

    size: GroupSize
    handle: Any


@functools.lru_cache(maxsize=4)
def compile_groups(size: GroupSize) -> CompiledGroups:
    """Compile the graph of several classes, for all levels of invariance; the same size compiles once per process."""
    return CompiledGroups(size=size, handle=nutpie.compile_pymc_model(groups_graph(size), backend="numba"))


@functools.lru_cache(maxsize=8)
def compile_factor(kind: GraphKind) -> CompiledFactor:
    """Compile one kind of factor graph; the same kind compiles once per process."""
    return CompiledFactor(kind=kind, handle=nutpie.compile_pymc_model(factor_graph(kind), backend="numba"))


def draw_posterior(
    compiled: CompiledFactor,
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
    compiled : CompiledFactor
        Large enough for the data.
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
        If the data do not fit the graph.
    """
    kind, (n, k) = compiled.kind, data.values.shape
    arrays: dict[str, FloatArray | IntArray] = dict(prior_data(priors, structure.anchors, kind.size))
    if kind.evaluator == "integrated":
        arrays |= integrated_data(data.values, data.families, structure, kind)
    elif kind.evaluator == "completed":
        arrays |= completed_data(data.values, data.families, structure, kind)
    else:
        arrays |= sampled_data(data.values, data.families, data.noise, structure, kind)
    tree = nuts(compiled.handle.with_data(**arrays), plan, seed, "low_rank", report, cores)
    drawn = tree["posterior"].to_dataset()
    found: dict[str, tuple[tuple[str, ...], FloatArray]] = {
        name: (("chain", "draw", "benchmark"), drawn[name].to_numpy()[..., :k])
        for name in ("rho", "total_sd", "icc", "intercept")
    }
    found["capability_icc"] = (("chain", "draw"), drawn["capability_icc"].to_numpy())
    if not structure.families:
        found |= {name: (found[name][0], np.zeros_like(found[name][1])) for name in ("icc", "capability_icc")}
    if structure.pattern.shape[1]:
        further = drawn["further"].to_numpy()[..., :k, : structure.pattern.shape[1]]
        found["further"] = (("chain", "draw", "benchmark", "factor"), further)
    coords = {"chain": drawn["chain"].to_numpy(), "draw": drawn["draw"].to_numpy()}
    posterior = xr.Dataset(found, coords=coords)
    if kind.evaluator != "sampled":
        missing = None
        if not data.complete:
            cells = drawn["missing"].to_numpy()[..., : int((~np.isfinite(data.values)).sum())]
            missing = cells.reshape(-1, cells.shape[-1])
            posterior["missing"] = (("chain", "draw", "cell"), cells)
        flat = draw_capability(draws_of(posterior), data, np.random.default_rng([seed, 1]), missing)
        theta = flat.reshape(*found["rho"][1].shape[:2], n)
    else:
        theta = drawn["theta"].to_numpy()[..., :n]
    posterior["theta"] = (("chain", "draw", "model"), theta)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})


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
