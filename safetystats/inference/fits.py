"""Fit the capability benchmarks of one class, and hang every safety benchmark on the latent capability.

`fit_capability` samples the factor model of the capability benchmarks; `fit_safety` gives the cut posterior of every
safety benchmark from those draws, the weights that turn it into the joint posterior, and a refit with NUTS of the joint
model of a benchmark where the weights cannot be trusted. Each looks into the store first, and every refit is stored by
itself, so that a run that was stopped goes on from what is finished.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from arviz_stats.base import array_stats

from safetystats.inference.arrays import FloatArray, GraphKind
from safetystats.inference.attempts import sample
from safetystats.inference.convergence import Convergence, convergence
from safetystats.inference.cut import CutDraws, cut_posterior, fixed_set_correlation
from safetystats.inference.parameters import FactorData, FactorDraws, draws_of
from safetystats.inference.problems import data_of, family_codes, noise_of, structure_of
from safetystats.inference.store import FitStore, fit_key, with_attrs
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import FactorSpec, SamplingPlan
from safetystats.tables.table import ScoreTable

PARAMETERS = ("rho", "total_sd", "icc", "intercept")
Evaluator = Literal["integrated", "completed", "sampled"]
"""Factors integrated out; the same, with the missing cells as variables; factors as variables."""
IDENTITY = {"transform", "families", "further", "n_further", "measurement", "priors", "sampling", "gates"}
"""Fields of a spec that decide the numbers of a sampled fit."""


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
        Groups `posterior` (rho, total_sd, icc, intercept over benchmark; capability_icc; theta over model; further over
        benchmark and factor where there are further factors; dims chain, draw first) and `sample_stats`.
    kind : GraphKind or None
        Graph that it was sampled with; None where factors were integrated out.
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
    kind: GraphKind | None
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

    @property
    def benchmarks(self) -> list[str]:
        """The capability benchmarks, in table order."""
        return self.table.columns("capability")

    @property
    def data(self) -> FactorData:
        """What was fitted."""
        return data_of(self.table, self.benchmarks, self.spec)

    @property
    def evaluator(self) -> Evaluator:
        """How it was sampled."""
        if self.kind is not None:
            return "sampled"
        return "integrated" if self.data.complete else "completed"

    @property
    def parameters(self) -> FactorDraws:
        """Draws of the benchmarks' parameters, chain by chain."""
        return draws_of(self.posterior)

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
        Group `cut`: rho, total_sd, icc, intercept over (benchmark, chain, draw), single precision, `fixed_set`, the
        correlation of the scores with capability over exactly these models, and the mean `efficiency` of the candidates
        over benchmark. Group
        `joint`: log_weight over (benchmark, chain, draw), normalised, and over benchmark pareto_k and `effective`,
        the effective number of weighted draws, 1 / sum of squared weights. Group `refit`: rho, total_sd, icc,
        intercept and fixed_set of benchmarks whose joint posterior was sampled anew, and their r_hat, ess, divergences,
        e_bfmi and mode_gap over all parameters; absent if there are none.
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


def fit_capability(
    table: ScoreTable,
    spec: FactorSpec,
    seed: int,
    kind: GraphKind | None,
    store: FitStore,
    report: Report | None = None,
) -> CapabilityFit:
    """Sample the factor model of the capability benchmarks of one class.

    Parameters
    ----------
    table : ScoreTable
        One class, aligned, z-scored within the class.
    spec : FactorSpec
    seed : int
    kind : GraphKind or None
        Graph to compile, if any (see `safetystats.inference.problems.kind_for`); it does not change the posterior.
    store : FitStore
    report : callable or None
        Called with (draws done, draws in all).

    Raises
    ------
    FitError
        If the sampler stops with an error.
    DataError
        If the spec asks for further factors that the table's areas do not give.
    """
    names = table.columns("capability")
    data, structure, label = data_of(table, names, spec), structure_of(table, names, spec), table.classes[0]
    key = fit_key(
        "capability", data.values.tobytes(), data.families.tobytes(), data.noise.tobytes(), structure.pattern.tobytes(),
        names, list(table.scores.index), label, spec.model_dump_json(include=IDENTITY), seed, kind,
    )  # fmt: skip
    proof = _Proof(data=data, spec=spec, anchors=structure.anchors)
    saved = store.load(key, proof.holds)
    if saved is None:
        draws, plans = sample(kind, data, structure, spec, seed_for(seed, "capability", label), report)
        saved = with_attrs(
            _labelled(draws, names, [str(m) for m in table.scores.index]),
            kind="capability",
            table_name=table.name,
            model_class=label,
            spec=spec.model_dump_json(),
            seed=seed,
            table=table.fingerprint,
            plans=json.dumps([plan.model_dump() for plan in plans]),
        )
        saved = with_attrs(saved, log_density=proof.log_density(saved))
        store.save(key, saved)
        reused = False
    else:
        plans = tuple(SamplingPlan(**plan) for plan in json.loads(saved.attrs["plans"]))
        reused = True
    return CapabilityFit(table=table, spec=spec, seed=seed, draws=saved, kind=kind, plans=plans, key=key, reused=reused)


def fit_safety(fit: CapabilityFit, store: FitStore, report: Report | None = None) -> SafetyFit:
    """Draw from the cut posterior of every safety benchmark and make its joint posterior ready.

    Parameters
    ----------
    fit : CapabilityFit
    store : FitStore
    report : callable or None
        Called with (draws done, draws in all) while a joint model is refitted.
    """
    table, spec = fit.table, fit.spec
    names = table.columns("safety")
    values, noise = table.matrix(names), noise_of(table, names, spec)
    key = fit_key(
        "safety", fit.key, values.tobytes(), noise.tobytes(), names, spec.model_dump_json(include=IDENTITY | {"cut"})
    )
    saved = store.load(key)
    if saved is not None:
        left_out = json.loads(saved.attrs["left_out"])
        return SafetyFit(capability=fit, draws=saved, left_out=left_out, key=key, reused=True)

    rngs = [np.random.default_rng(seed_for(fit.seed, "safety", fit.model_class, name)) for name in names]
    results = cut_posterior(
        values, fit.theta, family_codes(table), spec.priors, spec.cut, rngs,
        noise=noise if noise.any() else None, families_matter=spec.families,
    )  # fmt: skip
    kept = [(name, draws) for name, draws in zip(names, results, strict=True) if draws is not None]
    shape = (fit.posterior.sizes["chain"], fit.posterior.sizes["draw"])
    columns = {name: values[:, names.index(name)] for name, _ in kept}
    groups = _safety_groups(kept, shape, [fixed_set_correlation(fit.theta, columns[name]) for name, _ in kept])
    joint = groups["joint"]
    trusted = (joint["pareto_k"] <= spec.gates.pareto_k) & (joint["effective"] >= spec.gates.ess)
    doubtful = [name for (name, _), good in zip(kept, trusted.to_numpy(), strict=True) if not good]
    if doubtful:
        groups["refit"] = xr.concat([_joint_refit(fit, name, store, report) for name in doubtful], dim="benchmark")
    left_out = {
        name: f"{int(np.isfinite(values[:, i]).sum())} models have a score"
        for i, (name, draws) in enumerate(zip(names, results, strict=True))
        if draws is None
    }
    tree = with_attrs(
        xr.DataTree.from_dict(groups),
        kind="safety",
        table_name=table.name,
        model_class=fit.model_class,
        capability=fit.key,
        spec=spec.model_dump_json(),
        seed=fit.seed,
        table=table.fingerprint,
        left_out=json.dumps(left_out),
    )
    store.save(key, tree)
    return SafetyFit(capability=fit, draws=tree, left_out=left_out, key=key, reused=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proof:
    """What a saved fit must reproduce: the log density of one of its draws, computed anew from the data at hand."""

    data: FactorData
    spec: FactorSpec
    anchors: npt.NDArray[np.bool_]

    def log_density(self, tree: xr.DataTree) -> float:
        """Return log prior plus log marginal likelihood of the draw in the middle of the first chain."""
        from safetystats.inference.marginal import log_density

        posterior = tree["posterior"].to_dataset()
        one = draws_of(posterior.isel(chain=[0], draw=[posterior.sizes["draw"] // 2]))
        return float(log_density(one, self.data, self.spec.priors, self.anchors)[0])

    def holds(self, tree: xr.DataTree) -> bool:
        """Return whether the stored log density is that of the stored draw under these data and priors."""
        stored = float(tree.attrs.get("log_density", np.nan))
        return bool(np.isclose(self.log_density(tree), stored, rtol=1e-9, atol=1e-6))


def _labelled(tree: xr.DataTree, benchmarks: list[str], models: list[str]) -> xr.DataTree:
    posterior = tree["posterior"].to_dataset().assign_coords(benchmark=benchmarks, model=models)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})


def _safety_groups(
    kept: list[tuple[str, CutDraws]], shape: tuple[int, int], fixed: list[FloatArray]
) -> dict[str, xr.Dataset]:
    dims = ("benchmark", "chain", "draw")
    names = [name for name, _ in kept]

    def stack(columns: list[FloatArray]) -> npt.NDArray[np.float32]:
        return np.array(columns, dtype=np.float32).reshape(len(kept), *shape)

    efficiency = np.array([draws.efficiency.mean() for _, draws in kept])
    cut = xr.Dataset(
        {field: (dims, stack([getattr(draws, field) for _, draws in kept])) for field in PARAMETERS}
        | {"fixed_set": (dims, stack(fixed)), "efficiency": (("benchmark",), efficiency)},
        coords={"benchmark": names},
    )
    log_weight = np.zeros((len(kept), *shape), dtype=np.float32)
    pareto_k, effective = np.zeros(len(kept)), np.zeros(len(kept))
    for row, (_, draws) in enumerate(kept):
        smoothed, pareto_k[row] = joint_weights(draws.log_marginal, shape)
        log_weight[row], effective[row] = smoothed.reshape(shape), 1 / float((np.exp(smoothed) ** 2).sum())
    joint = xr.Dataset(
        {
            "log_weight": (dims, log_weight),
            "pareto_k": (("benchmark",), pareto_k),
            "effective": (("benchmark",), effective),
        },
        coords={"benchmark": names},
    )
    return {"cut": cut, "joint": joint}


def joint_weights(log_marginal: FloatArray, shape: tuple[int, int]) -> tuple[FloatArray, float]:
    """Return Pareto-smoothed, normalised log weights proportional to p(y | theta), and their Pareto k.

    Parameters
    ----------
    log_marginal : array, shape (n_draws,)
        log p(y | theta) of every draw, chain by chain.
    shape : (int, int)
        Chains and draws.

    References
    ----------
    Vehtari, Simpson, Gelman, Yao and Gabry (2024), J. Mach. Learn. Res. 25.
    """
    ratio = np.exp(log_marginal - log_marginal.max()).reshape(shape)
    r_eff = min(1.0, float(array_stats.ess(ratio, method="mean", chain_axis=0, draw_axis=1)) / ratio.size)
    # psislw takes pointwise log likelihoods, for leave-one-out: it negates its argument to get log weights.
    smoothed, pareto_k = array_stats.psislw(-log_marginal, r_eff=r_eff)
    return np.asarray(smoothed, dtype=np.float64), float(pareto_k)


def _joint_refit(fit: CapabilityFit, name: str, store: FitStore, report: Report | None) -> xr.Dataset:
    """Sample the joint model of the capability benchmarks and one safety benchmark; keep the latter's parameters."""
    table, spec = fit.table, fit.spec
    names = [*fit.benchmarks, name]
    data, structure = data_of(table, names, spec), structure_of(table, names, spec)
    key = fit_key("joint", fit.key, name, data.values[:, -1].tobytes(), data.noise[:, -1].tobytes())
    saved = store.load(key)
    if saved is not None:
        return saved["refit"].to_dataset()
    seed = seed_for(fit.seed, "joint", f"{fit.model_class}/{name}")
    draws, plans = sample(fit.kind, data, structure, spec, seed, report)
    found = convergence(draws)
    posterior = draws["posterior"].to_dataset()
    theta = posterior["theta"].to_numpy()
    fixed = fixed_set_correlation(theta.reshape(-1, theta.shape[-1]), data.values[:, -1]).reshape(theta.shape[:2])
    # A second attempt has more draws: thinned, so that all refits have the same number and stand in one array.
    step = plans[-1].draws // spec.sampling.draws
    own = (
        posterior[list(PARAMETERS)]
        .isel(benchmark=[-1])
        .assign(
            fixed_set=(("chain", "draw", "benchmark"), fixed[..., None]),
            capability_icc=posterior["capability_icc"].expand_dims("benchmark", axis=-1),
        )
    )
    refit = (
        own.isel(draw=slice(None, None, step))
        .assign_coords(benchmark=[name], draw=np.arange(spec.sampling.draws))
        .assign(
            r_hat=("benchmark", [found.r_hat]),
            ess=("benchmark", [found.ess]),
            divergences=("benchmark", [found.divergences]),
            e_bfmi=("benchmark", [found.e_bfmi]),
            mode_gap=("benchmark", [found.mode_gap]),
        )
    )
    tree = with_attrs(
        xr.DataTree.from_dict({"refit": refit}), kind="joint", table_name=table.name, model_class=fit.model_class,
        benchmark=name, capability=fit.key, seed=fit.seed, spec=spec.model_dump_json(),
    )  # fmt: skip
    store.save(key, tree)
    return refit
