"""The cut posterior with known sampling error against numerical integration, and at its limits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import special, stats

from safetystats.inference.cut import CutDraws, cut_posterior
from safetystats.inference.cut_noise import noisy_cells, variance_nodes
from safetystats.specs import BetaPrior, CutPlan, FactorPriors, FactorSpec, LogNormalPrior, NormalPrior, read_spec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_spec = read_spec("two-level", "factor")
assert isinstance(_spec, FactorSpec)
PRIORS, PLAN = _spec.priors, _spec.cut
EDGES = PRIORS.model_copy(  # the density of rho is infinite at -1 and 1
    update={
        "loading": BetaPrior(family="beta", alpha=0.6, beta=0.8),
        "total_sd": LogNormalPrior(family="lognormal", mu=0.1, sigma=0.6),
        "icc": BetaPrior(family="beta", alpha=2.0, beta=2.0),
        "intercept": NormalPrior(family="normal", mu=0.2, sigma=0.7),
    }
)
REPEATS = 8_000
"""Draws of the same theta: Monte Carlo error of a mean is 0.011 posterior sd, of a 2.5 % quantile about 0.03 sd."""
MEAN, ENDS = 0.045, 0.12
"""In posterior sd: four Monte Carlo errors."""
LOG_MARGINAL = 0.01
"""Four Monte Carlo errors and 48 cells for kappa (below 0.005)."""
TAILS = [0.025, 0.05, 0.5, 0.95, 0.975]
FIELDS = ("rho", "total_sd", "icc", "intercept", "log_marginal", "efficiency")


def cut(
    y: FloatArray, theta: FloatArray, families: IntArray, noise: FloatArray | None, priors: FactorPriors = PRIORS,
    families_matter: bool = True, plan: CutPlan = PLAN,
) -> CutDraws:  # fmt: skip
    errors = None if noise is None else noise[:, None]
    rngs = [np.random.default_rng(7)]
    found = cut_posterior(y[:, None], np.atleast_2d(theta), families, priors, plan, rngs, errors, families_matter)[0]
    assert found is not None
    return found


def integrate(
    y: FloatArray, theta: FloatArray, families: IntArray, noise: FloatArray, priors: FactorPriors, matter: bool = True
) -> tuple[float, dict[str, tuple[FloatArray, FloatArray]]]:
    """Return log p(y | theta), and nodes and posterior mass of rho, s and kappa.

    alpha is integrated in closed form; asin(rho), log s and kappa by Gauss-Legendre, with the multivariate normal of
    all models from an explicit covariance matrix.
    """
    same = (families[:, None] == families).astype(float)
    (x, w_x), (z, w_z), (u, w_u) = (np.polynomial.legendre.leggauss(m) for m in (70, 60, 24 if matter else 1))
    rho = np.sin(np.pi / 2 * x)
    prior_s = priors.total_sd
    s = np.exp(prior_s.mu + 4.5 * prior_s.sigma * z)
    kappa = (u + 1) / 2 if matter else np.zeros(1)
    mass_kappa = w_u / 2 * stats.beta.pdf(kappa, priors.icc.alpha, priors.icc.beta) if matter else np.ones(1)
    mass_rho = w_x * np.pi / 2 * np.sqrt(1 - rho**2) / 2
    mass_rho = mass_rho * stats.beta.pdf((rho + 1) / 2, priors.loading.alpha, priors.loading.beta)
    mass_s = 4.5 * prior_s.sigma * w_z * stats.norm.pdf(np.log(s), prior_s.mu, prior_s.sigma)
    log_post = np.log(mass_rho)[:, None, None] + np.log(mass_s)[None, :, None] + np.log(mass_kappa)
    for i, r in enumerate(rho):
        unique = ((s**2 * (1 - r**2))[:, None] * np.ones(len(kappa)))[..., None, None]
        cov = unique * (kappa[:, None, None] * same + (1 - kappa[:, None, None]) * np.eye(len(y)))
        cov = cov + np.diag(noise) + priors.intercept.sigma**2
        error = y - priors.intercept.mu - (s * r)[:, None, None] * theta + np.zeros((len(s), len(kappa), len(y)))
        quadratic = (error * np.linalg.solve(cov, error[..., None])[..., 0]).sum(-1)
        log_post[i] += -0.5 * (np.linalg.slogdet(cov)[1] + quadratic + len(y) * np.log(2 * np.pi))
    total = float(special.logsumexp(log_post))
    post = np.exp(log_post - total)
    return total, {
        "rho": (rho, post.sum((1, 2))), "total_sd": (s, post.sum((0, 2))), "icc": (kappa, post.sum((0, 1))),
    }  # fmt: skip


def made(n: int = 12, slope: float = 0.7, error: float = 0.5, seed: int = 2) -> tuple[FloatArray, FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    families = np.sort(rng.integers(0, 5, size=n))
    theta = rng.normal(size=n)
    y = slope * theta + 0.4 * rng.normal(size=5)[families] + (0.3 + error) * rng.normal(size=n)
    return (y - y.mean()) / y.std(), theta, families


def uneven(n: int, mean: float) -> FloatArray:
    noise = np.random.default_rng(1).lognormal(0.0, 0.8, size=n)
    return np.asarray(noise * mean / noise.mean())


CASES = {
    "little noise": (uneven(12, 0.05), 0.7, PRIORS, True),
    "half noise": (uneven(12, 0.5), 0.7, PRIORS, True),
    "more noise than variance": (uneven(12, 1.5), -0.7, PRIORS, True),
    "some exact": (np.where(np.arange(12) % 3 == 0, 0.0, uneven(12, 0.3)), 0.7, PRIORS, True),
    "infinite density": (uneven(12, 0.4), 0.7, EDGES, True),
    "no families": (uneven(12, 0.4), 0.7, PRIORS, False),
    "neither": (np.zeros(12), 0.7, PRIORS, False),
}


@pytest.mark.parametrize(("noise", "slope", "priors", "matter"), CASES.values(), ids=CASES.keys())
def test_equals_numerical_integration(noise: FloatArray, slope: float, priors: FactorPriors, matter: bool) -> None:
    y, theta, families = made(slope=slope)
    log_marginal, expected = integrate(y, theta, families, noise, priors, matter)
    found = cut(y, np.tile(theta, (REPEATS, 1)), families, noise, priors, matter)
    for name, (nodes, mass) in expected.items():
        draws = getattr(found, name)
        mean = mass @ nodes
        sd = np.sqrt(mass @ (nodes - mean) ** 2)
        assert draws.mean() == pytest.approx(mean, abs=MEAN * sd), name
        if sd == 0:
            assert not draws.any()
            continue
        assert draws.std() == pytest.approx(sd, rel=0.06), name
        # The normal score of the distribution function at the nodes is smooth: interpolate its inverse.
        scores = special.ndtri(np.clip(mass.cumsum() - mass / 2, 1e-12, 1 - 1e-12))
        quantiles = np.interp(special.ndtri(TAILS), scores, nodes)
        np.testing.assert_allclose(np.quantile(draws, TAILS), quantiles, rtol=0, atol=ENDS * sd, err_msg=name)
    got = special.logsumexp(found.log_marginal) - np.log(REPEATS)
    assert got == pytest.approx(log_marginal, abs=LOG_MARGINAL)


def test_cells_equal_explicit_matrices() -> None:
    """Families of one, two and more; the flat prior of alpha and beta integrated out."""
    y, theta, _ = made()
    families = np.array([0, 4, 0, 0, 7, 2, 0, 2, 3, 3, 3, 5])
    noise, icc = uneven(12, 0.3), np.array([0.1, 0.7])
    nodes = variance_nodes(y, noise, 0.4, PRIORS, 0.3)
    cells = noisy_cells(y, noise, np.vstack([theta, theta**2]), families, icc, np.log([0.4, 0.6]), nodes)
    n_nodes = len(nodes.variance)
    for g, v, t in ((0, 0, 0), (1, n_nodes // 2, 1), (1, n_nodes - 1, 0), (0, n_nodes // 2, 1)):
        c = g * n_nodes + v
        assert (cells.icc[c], cells.variance[c]) == (icc[g], nodes.variance[v])
        same = families[:, None] == families
        cov = nodes.variance[v] * (icc[g] * same + (1 - icc[g]) * np.eye(12)) + np.diag(noise)
        design = np.column_stack([np.ones(12), theta if t == 0 else theta**2])
        information = design.T @ np.linalg.solve(cov, design)
        found = np.linalg.solve(information, design.T @ np.linalg.solve(cov, y))
        log_density = stats.multivariate_normal(design @ found, cov).logpdf(y)
        log_density += np.log(2 * np.pi) - 0.5 * np.linalg.slogdet(information)[1]
        assert cells.log_marginal[t, c] == pytest.approx(
            np.log([0.4, 0.6])[g] + nodes.log_mass[v] + log_density, rel=1e-8
        )
        assert cells.slope[t, c] == pytest.approx(found[1], rel=1e-8)
        assert cells.slope_sd[t, c] == pytest.approx(np.sqrt(np.linalg.inv(information)[1, 1]), rel=1e-8)
        centre = (cells.ones_y[c] - cells.ones_theta[t, c] * found[1]) / cells.ones[c]
        assert centre == pytest.approx(found[0], rel=1e-8)


def test_nodes_integrate_over_the_variance() -> None:
    """int v^2 / (v + w)^4 dv / (v + w) = B(3, 2) / w^2, wherever the lattice begins, with few nodes."""
    y, _, _ = made()
    noise = uneven(12, 0.3)
    for shift in (0.0, 0.2, 0.9):
        nodes = variance_nodes(y, noise, 0.4, PRIORS, shift)
        width = np.exp(nodes.log_mass - nodes.log_base)
        value = width @ (nodes.variance**2 / (nodes.variance + 0.3) ** 5)
        assert value == pytest.approx(special.beta(3, 2) / 0.3**2, rel=1e-3)
        assert len(nodes.variance) < 60


@pytest.mark.parametrize("seed", [2, 3])
def test_no_noise_is_the_limit(seed: int) -> None:
    y, theta, families = made(n=20, seed=seed)
    draws = theta + 0.2 * np.random.default_rng(3).normal(size=(4000, len(theta)))
    plain, limit = cut(y, draws, families, None), cut(y, draws, families, np.full(len(y), 1e-10))
    for name in ("rho", "total_sd", "icc", "intercept"):
        one, other = getattr(plain, name), getattr(limit, name)
        assert other.mean() == pytest.approx(one.mean(), abs=0.09 * one.std()), name  # four errors of a difference
        assert other.std() == pytest.approx(one.std(), rel=0.09), name
    # The marginal likelihood of each draw is the same but for its own candidates.
    difference = limit.log_marginal - plain.log_marginal
    assert difference.mean() == pytest.approx(0.0, abs=0.01)
    assert difference.std() < 0.15
    assert limit.efficiency.mean() > plain.efficiency.mean() - 0.02


def test_zeros_are_no_noise_and_columns_do_not_meet() -> None:
    y, theta, families = made()
    other = np.where(np.arange(12) == 4, np.nan, -y + theta)
    noise = np.column_stack([np.zeros(12), np.where(np.arange(12) == 4, np.nan, 0.2)])
    draws = theta + 0.1 * np.random.default_rng(0).normal(size=(300, 12))
    seeds = [np.random.default_rng(7), np.random.default_rng(8)]
    both = cut_posterior(np.column_stack([y, other]), draws, families, PRIORS, PLAN, seeds, noise)
    seeds = [np.random.default_rng(8)]
    second = cut_posterior(other[:, None], draws, families, PRIORS, PLAN, seeds, noise[:, 1:])
    for got, expected in zip(both, (cut(y, draws, families, None), second[0]), strict=True):
        assert got is not None
        assert expected is not None
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(got, name), getattr(expected, name))


@pytest.mark.parametrize("value", [np.nan, -0.1, np.inf])
def test_impossible_noise_is_refused(value: float) -> None:
    y, theta, families = made()
    noise = np.full(12, 0.1)
    noise[3] = value
    with pytest.raises(ValueError, match="sampling error"):
        cut(y, theta, families, noise)


@pytest.mark.parametrize("different", [0, 1])
def test_a_column_at_its_ceiling_stays_finite(different: int) -> None:
    """Every score at 100 %, or every score but one: the z-score of that one is far off, its error is not."""
    _, theta, families = made(n=20)
    y = np.zeros(20)
    y[:different] = -1.0
    y = (y - y.mean()) / (y.std() or 1.0)
    noise = np.where(np.arange(20) < different, 2.0, 0.3)
    found = cut(y, np.tile(theta, (500, 1)), families, noise)
    for name in FIELDS:
        assert np.isfinite(getattr(found, name)).all(), name
    assert np.quantile(found.rho, 0.1) < 0 < np.quantile(found.rho, 0.9)  # such a column says little


def test_recovers_the_correlation_free_of_error() -> None:
    """400 models, half of the variance error: without it rho is too small by the root of the reliability."""
    rng = np.random.default_rng(5)
    families = rng.integers(0, 60, size=400)
    theta = rng.normal(size=400)
    noise = rng.uniform(0.5, 1.5, size=400)
    free = 0.8 * theta + 0.6 * (np.sqrt(0.3) * rng.normal(size=60)[families] + np.sqrt(0.7) * rng.normal(size=400))
    y = free + np.sqrt(noise) * rng.normal(size=400)
    location, scale = y.mean(), y.std()
    y, noise = (y - location) / scale, noise / scale**2
    with_error, without = (cut(y, np.tile(theta, (400, 1)), families, w) for w in (noise, None))
    assert np.quantile(with_error.rho, 0.005) < 0.8 < np.quantile(with_error.rho, 0.995)
    assert np.quantile(with_error.total_sd, 0.005) < 1 / scale < np.quantile(with_error.total_sd, 0.995)
    assert without.rho.mean() == pytest.approx(with_error.rho.mean() * np.sqrt(0.5), abs=0.05)
    assert np.quantile(without.rho, 0.995) < 0.75


def test_variances_are_not_those_of_one_lattice() -> None:
    y, theta, families = made()
    found = cut(y, np.tile(theta, (1000, 1)), families, uneven(12, 0.3), families_matter=False)
    variance = found.total_sd**2 * (1 - found.rho**2)
    assert len(np.unique(variance.round(9))) > 60  # a lattice has about ten nodes here
    assert np.diff(np.sort(np.log(variance)))[20:-20].max() < 0.2
