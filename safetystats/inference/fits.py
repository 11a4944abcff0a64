"""Fit the capability benchmarks of one class, and hang every safety benchmark on the latent capability.

`fit_capability` samples the two-level model of the capability benchmarks; `fit_safety` gives the cut posterior of every
safety benchmark from those draws, the weights that turn it into the joint posterior, and a refit with NUTS of the joint
model of a benchmark where the weights cannot be trusted. Both look into the store first.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from arviz_stats.base import array_stats

from safetystats.inference.arrays import FactorArrays, FactorSize, FloatArray, IntArray, factor_arrays
from safetystats.inference.convergence import Convergence, convergence
from safetystats.inference.cut import CutDraws, cut_posterior
from safetystats.inference.store import FitStore, fit_key, with_attrs
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import FactorSpec, SamplingPlan
from safetystats.tables.table import ScoreTable

LATER_ACCEPT = (0.99, 0.998)
"""Target acceptance of a second and a third attempt, which have twice the draws."""
PARAMETERS = ("rho", "total_sd", "icc", "intercept")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapabilityFit:
    """Posterior of the latent capability of one class's models and of the loadings of the capability benchmarks.

    Attributes
    ----------
    table : ScoreTable
        The class's prepared table: aligned, transformed as the spec says, z-scored within the class.
    spec : FactorSpec
    seed : int
        Seed of the study; the fit's own stream is derived from it and the class.
    draws : DataTree
        Groups `posterior` (rho, total_sd, icc, intercept over benchmark; theta over model; dims chain, draw first) and
        `sample_stats`.
    plans : tuple of SamplingPlan
        The plan that was run; further ones if it did not pass the gates.
    key : str
        Identity of the fit in the store.
    reused : bool
        True if it was taken from the store.
    """

    table: ScoreTable
    spec: FactorSpec
    seed: int
    draws: xr.DataTree
    plans: tuple[SamplingPlan, ...]
    key: str
    reused: bool

    @property
    def model_class(self) -> str:
        """Class of the models."""
        return self.table.classes[0]

    @property
    def posterior(self) -> xr.Dataset:
        """Draws with dims chain, draw and benchmark or model."""
        return self.draws["posterior"].to_dataset()

    @property
    def theta(self) -> FloatArray:
        """Draws of capability, shape (n_draws, n_models), chain by chain."""
        values = self.posterior["theta"].transpose("chain", "draw", "model").to_numpy()
        return np.asarray(values.reshape(-1, values.shape[-1]), dtype=np.float64)

    def convergence(self) -> Convergence:
        """Return the diagnostics over all parameters."""
        return convergence(self.draws)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SafetyFit:
    """Posterior of every safety benchmark of one class given capability.

    Attributes
    ----------
    capability : CapabilityFit
    draws : DataTree
        Group `cut`: rho, total_sd, icc, intercept over (benchmark, chain, draw), single precision, and the mean
        `efficiency` of the candidates over benchmark. Group
        `joint`: log_weight over (benchmark, chain, draw), normalised, and over benchmark pareto_k and `effective`,
        the effective number of weighted draws, 1 / sum of squared weights. Group `refit`: rho, total_sd, icc,
        intercept of benchmarks whose joint posterior was sampled anew, and their r_hat, ess, divergences, e_bfmi and
        mode_gap over all parameters; absent if there are none.
    left_out : dict
        Benchmarks without a posterior, each with the reason.
    key, reused
        As for `CapabilityFit`.
    """

    capability: CapabilityFit
    draws: xr.DataTree
    left_out: dict[str, str]
    key: str
    reused: bool

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks with a posterior, in table order."""
        return [str(name) for name in self.draws["cut"]["benchmark"].to_numpy()]

    @property
    def refitted(self) -> list[str]:
        """Benchmarks whose joint posterior was sampled with NUTS."""
        return [str(n) for n in self.draws["refit"]["benchmark"].to_numpy()] if "refit" in self.draws.children else []


def family_codes(table: ScoreTable) -> IntArray:
    """Return families as 0, 1, ... in order of appearance, shape (n_models,)."""
    return np.asarray(pd.factorize(table.models["family"])[0], dtype=np.int64)


def size_for(tables: list[ScoreTable]) -> FactorSize:
    """Return the size that holds the capability columns and one safety column of every class."""
    return FactorSize(
        n_models=max(table.n_models for table in tables),
        n_benchmarks=max(len(table.columns("capability")) for table in tables) + 1,
        n_families=max(table.models["family"].nunique() for table in tables),
    )


def fit_capability(
    table: ScoreTable, spec: FactorSpec, seed: int, size: FactorSize, store: FitStore, report: Report | None = None
) -> CapabilityFit:
    """Sample the two-level model of the capability benchmarks of one class.

    Parameters
    ----------
    table : ScoreTable
        One class, aligned, z-scored within the class.
    spec : FactorSpec
    seed : int
    size : FactorSize
        Size to compile for (see `size_for`); it does not change the posterior.
    store : FitStore
    report : callable or None
        Called with (draws done, draws in all).

    Raises
    ------
    FitError
        If the sampler stops with an error.
    """
    names = table.columns("capability")
    values = table.matrix(names)
    families = family_codes(table)
    label = table.classes[0]
    key = fit_key(
        "capability", values.tobytes(), families.tobytes(), names, list(table.scores.index), label,
        spec.model_dump_json(include={"priors", "sampling", "gates"}), seed, size,
    )  # fmt: skip
    saved = store.load(key)
    if saved is not None:
        plans = tuple(SamplingPlan(**plan) for plan in json.loads(saved.attrs["plans"]))
        return CapabilityFit(table=table, spec=spec, seed=seed, draws=saved, plans=plans, key=key, reused=True)

    arrays = factor_arrays(values, families, np.ones(len(names), dtype=bool), size)
    draws, plans = _sample(arrays, spec, size, (seed, "capability", label), report)
    draws = _trim(draws, names, [str(m) for m in table.scores.index])
    draws = with_attrs(
        draws,
        kind="capability",
        model_class=label,
        spec=spec.model_dump_json(),
        seed=seed,
        table=table.fingerprint,
        plans=json.dumps([plan.model_dump() for plan in plans]),
    )
    store.save(key, draws)
    return CapabilityFit(table=table, spec=spec, seed=seed, draws=draws, plans=plans, key=key, reused=False)


def fit_safety(fit: CapabilityFit, size: FactorSize, store: FitStore, report: Report | None = None) -> SafetyFit:
    """Draw from the cut posterior of every safety benchmark and make its joint posterior ready.

    Parameters
    ----------
    fit : CapabilityFit
    size : FactorSize
        For the refits.
    store : FitStore
    report : callable or None
        Called with (draws done, draws in all) while a joint model is refitted.
    """
    table, spec = fit.table, fit.spec
    names = table.columns("safety")
    values = table.matrix(names)
    key = fit_key(
        "safety",
        fit.key,
        values.tobytes(),
        names,
        spec.model_dump_json(include={"priors", "cut", "gates", "sampling"}),
        size,
    )
    saved = store.load(key)
    if saved is not None:
        left_out = json.loads(saved.attrs["left_out"])
        return SafetyFit(capability=fit, draws=saved, left_out=left_out, key=key, reused=True)

    rngs = [np.random.default_rng(seed_for(fit.seed, "safety", fit.model_class, name)) for name in names]
    results = cut_posterior(values, fit.theta, family_codes(table), spec.priors, spec.cut, rngs)
    kept = [(name, draws) for name, draws in zip(names, results, strict=True) if draws is not None]
    shape = (fit.posterior.sizes["chain"], fit.posterior.sizes["draw"])
    groups = _safety_groups(kept, shape)
    joint = groups["joint"]
    trusted = (joint["pareto_k"] <= spec.gates.pareto_k) & (joint["effective"] >= spec.gates.ess)
    doubtful = [name for (name, _), good in zip(kept, trusted.to_numpy(), strict=True) if not good]
    if doubtful:
        groups["refit"] = xr.concat(
            [_joint_refit(fit, name, values[:, names.index(name)], size, report) for name in doubtful], dim="benchmark"
        )
    left_out = {
        name: f"{int(np.isfinite(values[:, i]).sum())} models have a score"
        for i, (name, draws) in enumerate(zip(names, results, strict=True))
        if draws is None
    }
    tree = xr.DataTree.from_dict(groups)
    tree = with_attrs(
        tree,
        kind="safety",
        model_class=fit.model_class,
        capability=fit.key,
        spec=spec.model_dump_json(),
        seed=fit.seed,
        left_out=json.dumps(left_out),
    )
    store.save(key, tree)
    return SafetyFit(capability=fit, draws=tree, left_out=left_out, key=key, reused=False)


def _sample(
    arrays: FactorArrays, spec: FactorSpec, size: FactorSize, labels: tuple[int, str, str], report: Report | None
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    """Draw; while a gate fails, draw anew with twice the draws and smaller steps, twice at most; return all plans."""
    from safetystats.inference.sampling import compile_factor, draw_posterior

    compiled = compile_factor(spec.priors, size)
    seed = seed_for(labels[0], *labels[1:])
    n, k = int((arrays.members.sum(0) > 0).sum()), int((arrays.seen.sum(0) > 0).sum())
    plans = [spec.sampling]
    draws = draw_posterior(compiled, arrays, spec.sampling, seed, report)
    for accept in LATER_ACCEPT:
        if convergence(_cut_to(draws, n, k)).passes(spec.gates):
            break
        more = {"draws": 2 * spec.sampling.draws, "tune": 2 * spec.sampling.tune}
        plans.append(
            spec.sampling.model_copy(update={**more, "target_accept": max(spec.sampling.target_accept, accept)})
        )
        draws = draw_posterior(compiled, arrays, plans[-1], seed, report)
    return draws, tuple(plans)


def _cut_to(tree: xr.DataTree, n_models: int, n_benchmarks: int) -> xr.DataTree:
    """Drop the padding and name the dimensions."""
    posterior = tree["posterior"].to_dataset()
    renamed = {
        str(name): xr.DataArray(
            posterior[name].to_numpy()[..., : n_models if name == "theta" else n_benchmarks],
            dims=("chain", "draw", "model" if name == "theta" else "benchmark"),
        )
        for name in posterior.data_vars
    }
    kept = xr.Dataset(renamed, coords={"chain": posterior["chain"].values, "draw": posterior["draw"].values})
    return xr.DataTree.from_dict({"posterior": kept, "sample_stats": tree["sample_stats"].to_dataset()})


def _trim(tree: xr.DataTree, benchmarks: list[str], models: list[str]) -> xr.DataTree:
    cut = _cut_to(tree, len(models), len(benchmarks))
    posterior = cut["posterior"].to_dataset().assign_coords(benchmark=benchmarks, model=models)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": cut["sample_stats"].to_dataset()})


def _safety_groups(kept: list[tuple[str, CutDraws]], shape: tuple[int, int]) -> dict[str, xr.Dataset]:
    dims = ("benchmark", "chain", "draw")
    names = [name for name, _ in kept]

    def stack(field: str) -> npt.NDArray[np.float32]:
        return np.array([getattr(draws, field) for _, draws in kept], dtype=np.float32).reshape(len(kept), *shape)

    efficiency = np.array([draws.efficiency.mean() for _, draws in kept])
    cut = xr.Dataset(
        {field: (dims, stack(field)) for field in PARAMETERS} | {"efficiency": (("benchmark",), efficiency)},
        coords={"benchmark": names},
    )
    log_weight = np.zeros((len(kept), *shape), dtype=np.float32)
    pareto_k, effective = np.zeros(len(kept)), np.zeros(len(kept))
    for row, (_, draws) in enumerate(kept):
        ratio = np.exp(draws.log_marginal - draws.log_marginal.max()).reshape(shape)
        r_eff = min(1.0, float(array_stats.ess(ratio, method="mean", chain_axis=0, draw_axis=1)) / ratio.size)
        # psislw takes pointwise log likelihoods, for leave-one-out: it negates its argument to get log weights.
        smoothed, k = array_stats.psislw(-draws.log_marginal, r_eff=r_eff)
        log_weight[row] = np.asarray(smoothed).reshape(shape)
        pareto_k[row], effective[row] = float(k), 1 / float((np.exp(smoothed) ** 2).sum())
    joint = xr.Dataset(
        {
            "log_weight": (dims, log_weight),
            "pareto_k": (("benchmark",), pareto_k),
            "effective": (("benchmark",), effective),
        },
        coords={"benchmark": names},
    )
    return {"cut": cut, "joint": joint}


def _joint_refit(
    fit: CapabilityFit, name: str, column: FloatArray, size: FactorSize, report: Report | None
) -> xr.Dataset:
    """Sample the joint model of the capability benchmarks and one safety benchmark; keep the latter's parameters."""
    table = fit.table
    values = np.column_stack([table.matrix(table.columns("capability")), column])
    anchors = np.append(np.ones(values.shape[1] - 1, dtype=bool), False)
    arrays = factor_arrays(values, family_codes(table), anchors, size)
    draws, plans = _sample(arrays, fit.spec, size, (fit.seed, "joint", f"{fit.model_class}/{name}"), report)
    kept = _cut_to(draws, values.shape[0], values.shape[1])
    found = convergence(kept)
    # A second attempt has more draws: thinned, so that all refits have the same number and stand in one array.
    step = plans[-1].draws // fit.spec.sampling.draws
    posterior = kept["posterior"].to_dataset()[list(PARAMETERS)].isel(benchmark=[-1], draw=slice(None, None, step))
    return posterior.assign_coords(benchmark=[name], draw=np.arange(fit.spec.sampling.draws)).assign(
        r_hat=("benchmark", [found.r_hat]),
        ess=("benchmark", [found.ess]),
        divergences=("benchmark", [found.divergences]),
        e_bfmi=("benchmark", [found.e_bfmi]),
        mode_gap=("benchmark", [found.mode_gap]),
    )
