"""Two classes of simulated models that the tests of measurement invariance share, and fits made by hand."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from safetystats.inference.groups import GroupFit, common_table, group_size
from safetystats.inference.groups_data import GroupDraws, GroupSize, Level
from safetystats.inference.parameters import FactorData
from safetystats.specs import FactorSpec, Gates, InvarianceSpec, LogNormalPrior, NormalPrior, SamplingPlan, read_spec
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

FloatArray = npt.NDArray[np.float64]
LOADINGS = (0.9, 0.85, 0.8, 0.75, 0.7, 0.8, 0.65, 0.85)
N_MODELS, N_FAMILIES = 45, 12
SIZE = GroupSize(n_classes=2, n_models=N_MODELS, n_benchmarks=len(LOADINGS), n_families=N_FAMILIES)
"""The one multi-group graph that tests compile; with complete scores the number of models does not matter."""


def default_spec() -> FactorSpec:
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    return spec


def invariance_spec() -> InvarianceSpec:
    spec = read_spec("class-invariance", "invariance")
    assert isinstance(spec, InvarianceSpec)
    return spec


def quick_invariance(draws: int = 500) -> InvarianceSpec:
    """A short run, and gates that a short run passes."""
    return invariance_spec().model_copy(
        update={
            "sampling": SamplingPlan(chains=4, draws=draws, tune=500, target_accept=0.9),
            "gates": Gates.model_validate({"ess": 40.0, "r_hat": 1.1, "divergences": 50}),
        }
    )


def two_classes(seed: int, *, shift: float = 0.0, loading: float | None = None) -> ScoreTable:
    """Base and chat models of the same lineages, chat half a sd more capable, aligned and z-scored over both.

    Parameters
    ----------
    seed : int
    shift : float
        Added to the chat scores on three of eight benchmarks (`changed_names`), in sd of the benchmark: no scalar
        invariance.
    loading : float, optional
        Correlation with capability of the same benchmarks in the chat class: no metric invariance.
    """
    table, truth = simulate_table(
        n_models=N_MODELS, n_families=N_FAMILIES, capability_loadings=list(LOADINGS), safety_correlations=[0.3],
        icc=0.2, seed=seed, classes=("base", "chat"), pairing=0.5,
    )  # fmt: skip
    names, k = table.columns("capability"), len(LOADINGS)
    chat = (table.models["model_class"] == "chat").to_numpy()
    values = (table.matrix(names) - truth.location[:k]) / truth.spread[:k]
    values[chat] += 0.5 * np.array(LOADINGS)
    rng = np.random.default_rng([seed, 1])
    for b in [names.index(name) for name in changed_names(table)]:
        values[chat, b] += shift
        if loading is not None:
            noise = rng.normal(size=chat.sum()) * np.sqrt(1 - loading**2)
            values[chat, b] = loading * (truth.theta[chat] + 0.5) + noise
    scores = table.scores.copy()
    scores[names] = values
    return standardise(align(table.replace(scores=scores)), by="pooled")


def changed_names(table: ScoreTable) -> list[str]:
    """The benchmarks that `two_classes` changes: the first, the fourth and the sixth."""
    names = table.columns("capability")
    return [names[place] for place in (0, 3, 5)]


WEAK = {
    "loading_difference": NormalPrior(family="normal", mu=0.0, sigma=1.0),
    "intercept_difference": NormalPrior(family="normal", mu=0.0, sigma=2.0),
    "log_unique_ratio": NormalPrior(family="normal", mu=0.0, sigma=2.0),
    "latent_mean": NormalPrior(family="normal", mu=0.0, sigma=2.0),
    "latent_sd": LogNormalPrior(family="lognormal", mu=0.0, sigma=1.0),
    "total_sd": LogNormalPrior(family="lognormal", mu=0.0, sigma=1.0),
}
"""Twice as wide as the shipped ones, some thirty times the posterior sds with 5000 models."""


def many_models(seed: int = 41) -> list[FactorData]:
    """3000 and 2000 independent models; loadings and intercepts of two classes that differ a little everywhere."""
    rng = np.random.default_rng(seed)
    loading = np.array(LOADINGS)
    found = []
    for n, mean, sd, change in ((3000, 0.0, 1.0, 0.0), (2000, 0.4, 1.2, 0.1)):
        own = loading + change * np.array([1, -1, 1, -1, 0, 1, -1, 0])
        nu = change * np.array([-1, 2, 0, 1, -2, 1, 0, -1])
        theta = mean + sd * rng.normal(size=(n, 1))
        values = nu + own * theta + np.sqrt(1 - loading**2) * (1 + change) * rng.normal(size=(n, len(loading)))
        found.append(FactorData(values=values, families=np.arange(n) % N_FAMILIES, noise=np.zeros_like(values)))
    return found


def made_draws(rng: np.random.Generator, n_draws: int, level: Level, size: GroupSize = SIZE) -> GroupDraws:
    """Draws scattered about plausible values, as a level has them."""
    shape = (n_draws, size.n_classes, size.n_benchmarks)

    def about(centre: float | FloatArray, spread: float, *, equal: bool = False) -> FloatArray:
        values = centre + spread * rng.normal(size=shape)
        return np.repeat(values[:, :1], size.n_classes, axis=1) if equal else np.asarray(values)

    mean, sd = np.zeros(shape[:2]), np.ones(shape[:2])
    if level == "scalar":
        mean[:, 1:] = 0.5 + 0.1 * rng.normal(size=(n_draws, size.n_classes - 1))
    if level != "configural":
        sd[:, 1:] = np.exp(0.1 * rng.normal(size=(n_draws, size.n_classes - 1)))
    return GroupDraws(
        loading=about(0.75, 0.05, equal=level != "configural"),
        intercept=about(0.0, 0.05, equal=level == "scalar"),
        unique=np.exp(about(-1.0, 0.1)),
        icc=1 / (1 + np.exp(-about(-1.0, 0.3))),
        capability_icc=rng.uniform(0.2, 0.4, size=shape[:2]),
        latent_mean=mean,
        latent_sd=sd,
    )


def made_fit(table: ScoreTable, level: Level, draws: GroupDraws, theta: FloatArray | None = None) -> GroupFit:
    """A fit around given draws, in two chains; capability is noise unless given."""
    table = common_table(table)
    half, rng = draws.n_draws // 2, np.random.default_rng(3)
    theta = rng.normal(size=(2 * half, table.n_models)) if theta is None else theta

    def chains(values: FloatArray) -> FloatArray:
        return np.asarray(values.reshape(2, half, *values.shape[1:]))

    dims = ("chain", "draw", "model_class")
    wide = {n: ((*dims, "benchmark"), chains(getattr(draws, n))) for n in ("loading", "intercept", "unique", "icc")}
    narrow = {n: (dims, chains(getattr(draws, n))) for n in ("capability_icc", "latent_mean", "latent_sd")}
    posterior = xr.Dataset(
        {**wide, **narrow, "theta": (("chain", "draw", "model"), chains(theta))},
        coords={
            "chain": [0, 1], "draw": np.arange(half), "model_class": list(table.classes),
            "benchmark": table.columns("capability"), "model": list(table.scores.index),
        },
    )  # fmt: skip
    stats = xr.Dataset(
        {
            "diverging": (("chain", "draw"), np.zeros((2, half), dtype=bool)),
            "energy": (("chain", "draw"), rng.normal(size=(2, half))),
        }
    )
    return GroupFit(
        table=table, factor=default_spec(), spec=quick_invariance(), level=level, seed=1,
        draws=xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats}),
        size=group_size(table, default_spec()), plans=(quick_invariance().sampling,), key=level, reused=False,
    )  # fmt: skip
