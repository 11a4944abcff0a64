"""The graph's density against explicit covariance matrices, its gradient, and the sign rule."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pymc as pm
import pytest
from factor_data import FloatArray, default_spec
from pytensor.compile.mode import Mode
from scipy import special, stats

from safetystats.inference.arrays import FactorArrays, FactorSize, factor_arrays
from safetystats.inference.factor import factor_graph
from safetystats.specs import BetaPrior, FactorPriors

ROUNDING = 1e-8
"""Log densities are of the order of 1e2 to 1e4; both routes carry about 1e-13 of that."""
CONSTANTS = 1e-6
"""PyMC holds some normalising constants in single precision (measured: 4e-7); they matter to nothing."""
TINY = FactorSize(n_models=9, n_benchmarks=4, n_families=5)
PLAIN = Mode(linker="py", optimizer="fast_compile")
"""No numba: the graph as it is written, without rewrites that could hide a fault."""


def tilted() -> FactorPriors:
    return default_spec().priors.model_copy(update={"loading": BetaPrior(family="beta", alpha=4.0, beta=1.5)})


def tiny_data() -> tuple[FloatArray, np.ndarray]:
    """Seven models, three families, three benchmarks; a family unseen on the second, one model unseen on the third."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(7, 3))
    values[4:6, 1] = np.nan
    values[0, 2] = np.nan
    return values, np.array([0, 0, 0, 1, 2, 2, 1])


def padded(values: FloatArray, families: np.ndarray) -> FactorArrays:
    return factor_arrays(values, families, np.array([True, True, False]), TINY)


def graph_with(priors: FactorPriors, arrays: FactorArrays, size: FactorSize = TINY) -> pm.Model:
    graph = factor_graph(priors, size)
    with graph:
        pm.set_data(arrays.as_data())
    return graph


def random_point(rng: np.random.Generator, size: FactorSize = TINY) -> dict[str, FloatArray]:
    """A point in the space the sampler moves in."""
    k = size.n_benchmarks
    return {
        "loading_unit_logodds__": rng.normal(0.5, 1.5, size=k),
        "total_sd_log__": rng.normal(0.0, 0.7, size=k),
        "icc_logodds__": rng.normal(-1.0, 1.5, size=k),
        "intercept": rng.normal(size=k),
        "theta_free": rng.normal(size=size.n_models),
    }


def log_density(graph: pm.Model) -> Callable[[dict[str, FloatArray]], float]:
    compiled = graph.compile_fn(graph.logp(jacobian=False), mode=PLAIN)
    return lambda point: float(compiled(point))


def by_hand(
    point: dict[str, FloatArray], values: FloatArray, families: np.ndarray, priors: FactorPriors, n_anchors: int
) -> float:
    """Return the log density from explicit covariance matrices, one multivariate normal per family and benchmark."""
    unit = special.expit(point["loading_unit_logodds__"])
    s = np.exp(point["total_sd_log__"])
    kappa = special.expit(point["icc_logodds__"])
    alpha, theta = point["intercept"], point["theta_free"]
    rho = 2 * unit - 1
    turned = unit if rho[:n_anchors].sum() >= 0 else 1 - unit
    total = stats.beta.logpdf(turned, priors.loading.alpha, priors.loading.beta).sum()
    total += stats.lognorm.logpdf(s, priors.total_sd.sigma, scale=np.exp(priors.total_sd.mu)).sum()
    total += stats.beta.logpdf(kappa, priors.icc.alpha, priors.icc.beta).sum()
    total += stats.norm.logpdf(alpha, priors.intercept.mu, priors.intercept.sigma).sum()
    total += stats.norm.logpdf(theta).sum()
    for b in range(values.shape[1]):
        unique = s[b] ** 2 * (1 - rho[b] ** 2)
        for f in np.unique(families):
            rows = np.flatnonzero((families == f) & np.isfinite(values[:, b]))
            if len(rows):
                covariance = np.full((len(rows), len(rows)), kappa[b] * unique) + np.eye(len(rows)) * (
                    (1 - kappa[b]) * unique
                )
                mean = alpha[b] + s[b] * rho[b] * theta[rows]
                total += stats.multivariate_normal.logpdf(values[rows, b], mean, covariance)
    return float(total)


@pytest.mark.parametrize("priors", [default_spec().priors, tilted()], ids=["symmetric", "tilted"])
def test_density_equals_explicit_normals(priors: FactorPriors) -> None:
    values, families = tiny_data()
    found = log_density(graph_with(priors, padded(values, families)))
    rng = np.random.default_rng(7)
    points = [random_point(rng) for _ in range(8)]
    points += [{**p, "loading_unit_logodds__": -p["loading_unit_logodds__"]} for p in points[:3]]
    got = np.array([found(p) for p in points])
    expected = np.array([by_hand(p, values, families, priors, n_anchors=2) for p in points])
    np.testing.assert_allclose(np.diff(got), np.diff(expected), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(got, expected, rtol=0, atol=CONSTANTS)


def test_padding_follows_the_prior_and_nothing_else() -> None:
    """Without scores the density is the prior's; moving padded parameters changes it by their prior alone."""
    priors = default_spec().priors
    values, families = tiny_data()
    blank = log_density(graph_with(priors, padded(np.full_like(values, np.nan), families)))
    full = log_density(graph_with(priors, padded(values, families)))
    rng = np.random.default_rng(8)
    point = random_point(rng)
    other = random_point(rng)
    moved = {
        name: np.where(np.arange(len(v)) >= (7 if name == "theta_free" else 3), other[name], v)
        for name, v in point.items()
    }
    prior = [by_hand(p, np.zeros((7, 0)), families, priors, 2) for p in (point, moved)]
    assert blank(point) == pytest.approx(prior[0], abs=CONSTANTS)
    assert full(moved) - full(point) == pytest.approx(prior[1] - prior[0], abs=ROUNDING)


def test_density_is_symmetric_under_a_joint_change_of_sign() -> None:
    """This is what makes turning each draw exact, for a tilted prior too."""
    values, families = tiny_data()
    for priors in (default_spec().priors, tilted()):
        found = log_density(graph_with(priors, padded(values, families)))
        point = random_point(np.random.default_rng(9))
        mirrored = {**point, **{name: -point[name] for name in ("loading_unit_logodds__", "theta_free")}}
        assert found(mirrored) == pytest.approx(found(point), abs=ROUNDING)


def test_gradient_is_finite_far_out() -> None:
    values, families = tiny_data()
    graph = graph_with(tilted(), padded(values, families))
    gradient = graph.compile_fn(graph.dlogp(), mode=PLAIN)
    k = TINY.n_benchmarks
    for loading, log_sd, icc in itertools.product((-25.0, 25.0), (-8.0, 8.0), (-25.0, 25.0)):
        point = {
            "loading_unit_logodds__": np.full(k, loading),
            "total_sd_log__": np.full(k, log_sd),
            "icc_logodds__": np.full(k, icc),
            "intercept": np.full(k, 10.0),
            "theta_free": np.linspace(-6, 6, TINY.n_models),
        }
        assert np.isfinite(gradient(point)).all(), (loading, log_sd, icc)


def test_tilted_prior_equals_importance_sampling_under_the_constraint() -> None:
    """A tiny problem: the graph's density and the sign rule against the prior cut to sum(rho) > 0."""
    size = FactorSize(n_models=3, n_benchmarks=2, n_families=2)
    priors = default_spec().priors.model_copy(update={"loading": BetaPrior(family="beta", alpha=3.0, beta=1.5)})
    values, families = np.array([[-1.2, 0.9], [0.1, -0.4], [1.1, 0.3]]), np.array([0, 0, 1])
    arrays = factor_arrays(values, families, np.ones(2, dtype=bool), size)
    found = log_density(graph_with(priors, arrays, size))
    rng = np.random.default_rng(21)

    def draw(n: int, a: float, b: float) -> dict[str, FloatArray]:
        return {
            "unit": rng.beta(a, b, size=(n, 2)),
            "s": rng.lognormal(0, 0.5, size=(n, 2)),
            "kappa": rng.beta(1, 3, size=(n, 2)),
            "alpha": rng.normal(size=(n, 2)),
            "theta": rng.normal(size=(n, 3)),
        }

    def likelihood(p: dict[str, FloatArray]) -> FloatArray:
        rho, total = 2 * p["unit"] - 1, np.zeros(len(p["unit"]))
        for b in range(2):
            unique, kappa = p["s"][:, b] ** 2 * (1 - rho[:, b] ** 2), p["kappa"][:, b]
            error = values[:, b] - p["alpha"][:, [b]] - (p["s"] * rho)[:, [b]] * p["theta"]
            cov = unique[:, None, None] * (
                kappa[:, None, None] * (families[:, None] == families) + (1 - kappa)[:, None, None] * np.eye(3)
            )
            total += -0.5 * (
                np.linalg.slogdet(cov)[1] + (error * np.linalg.solve(cov, error[..., None])[..., 0]).sum(1)
            )
        return np.asarray(total)

    def estimate(rho: FloatArray, log_weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        w = np.exp(log_weight - log_weight.max())
        w /= w.sum()
        mean = w @ rho
        return mean, np.sqrt((w**2) @ (rho - mean) ** 2)

    brute = draw(200_000, 3.0, 1.5)
    rho = 2 * brute["unit"] - 1
    kept = rho.sum(1) > 0
    expected, error = estimate(rho[kept], likelihood(brute)[kept])

    n = 4000
    start = draw(n, 2.0, 2.0)
    density = np.array(
        [
            found(
                {
                    "loading_unit_logodds__": special.logit(start["unit"][i]),
                    "total_sd_log__": np.log(start["s"][i]),
                    "icc_logodds__": special.logit(start["kappa"][i]),
                    "intercept": start["alpha"][i],
                    "theta_free": start["theta"][i],
                }
            )
            for i in range(n)
        ]
    )
    proposal = (
        stats.beta.logpdf(start["unit"], 2, 2).sum(1)
        + stats.lognorm.logpdf(start["s"], 0.5).sum(1)
        + stats.beta.logpdf(start["kappa"], 1, 3).sum(1)
        + stats.norm.logpdf(start["alpha"]).sum(1)
        + stats.norm.logpdf(start["theta"]).sum(1)
    )
    free = 2 * start["unit"] - 1
    turned = np.where(free.sum(1) >= 0, 1.0, -1.0)[:, None] * free
    got, own = estimate(turned, density - proposal)
    assert (own < 0.05).all()
    np.testing.assert_array_less(np.abs(got - expected), 4 * np.hypot(own, error))
