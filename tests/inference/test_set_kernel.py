"""The approximation by which sets of models are ranked, against the cut posterior and against a grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetystats.inference.cut import MIN_MODELS, cut_posterior
from safetystats.inference.set_kernel import set_posteriors
from safetystats.specs import CutPlan, FactorPriors, FactorSpec, read_spec

LIMIT = 0.4
ERROR = 0.05
"""Most that a probability may be off, in sets of as few as 16 models; it ranks sets, what is stated of one is drawn."""


def priors() -> FactorPriors:
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    return spec.priors


def data(seed: int, rho: float, n: int = 24, n_draws: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores (n, 1), draws of theta and families of a benchmark whose families share residuals."""
    rng = np.random.default_rng(seed)
    families = np.arange(n) % 8
    ability = rng.normal(size=n)
    theta = ability + 0.15 * rng.normal(size=(n_draws, n))
    residual = np.sqrt(0.3) * rng.normal(size=8)[families] + np.sqrt(0.7) * rng.normal(size=n)
    scores = rho * ability + np.sqrt(1 - rho**2) * residual
    return ((scores - scores.mean()) / scores.std())[:, None], theta, families


def some_sets(n: int) -> np.ndarray:
    kept = np.ones((4, n))
    kept[1, 0] = 0
    kept[2, [1, 5, 9]] = 0
    kept[3, : n // 3] = 0
    return kept


@pytest.mark.parametrize("rho", [-0.7, 0.0, 0.5, 0.85])
def test_it_is_near_the_cut_posterior_without_the_models(rho: float) -> None:
    scores, theta, families = data(4, rho)
    kept = some_sets(len(scores))
    found = set_posteriors(scores, theta, families, kept, priors(), LIMIT)
    without = np.where(kept.T > 0, scores, np.nan)
    plan = CutPlan(candidates=1024, icc_cells=48)
    rngs = [np.random.default_rng(row) for row in range(len(kept))]
    drawn = cut_posterior(without, theta, families, priors(), plan, rngs, each=256)
    for row, draws in enumerate(drawn):
        assert draws is not None
        # A density of rho is seldom above two, so that a mean that is off by half moves a probability by all of it.
        assert found.mean[row, 0] == pytest.approx(draws.rho.mean(), abs=ERROR / 2)
        assert found.p_entangled[row, 0] == pytest.approx((draws.rho > LIMIT).mean(), abs=ERROR)
        assert found.p_inverse[row, 0] == pytest.approx((draws.rho < -LIMIT).mean(), abs=ERROR)
        assert found.p_distinct[row, 0] == pytest.approx((np.abs(draws.rho) < LIMIT).mean(), abs=ERROR)


def test_without_families_it_is_near_the_posterior_on_a_grid() -> None:
    """Independent of the sampler: alpha in closed form, rho and log s summed over a grid."""
    scores, theta, families = data(7, 0.55, n_draws=1)
    y, x, n = scores[:, 0], theta[0], len(scores)
    found = set_posteriors(scores, theta, families, np.ones((1, n)), priors(), LIMIT, families_matter=False)
    rho = np.tanh(np.linspace(-2.5, 2.5, 1001))[:, None]
    log_s = np.linspace(-1.2, 1.2, 241)[None]
    v, beta = np.exp(2 * log_s) * (1 - rho**2), np.exp(log_s) * rho
    own = priors()
    precision = n / v + 1 / own.intercept.sigma**2
    squares = (y @ y) - 2 * beta * (y @ x) + beta**2 * (x @ x)
    log_density = -0.5 * (n * np.log(v) + squares / v - ((y.sum() - beta * x.sum()) / v) ** 2 / precision)
    log_density += -0.5 * np.log(precision) - 0.5 * ((log_s - own.total_sd.mu) / own.total_sd.sigma) ** 2
    log_density += own.loading.alpha * np.log1p(rho) + own.loading.beta * np.log1p(-rho)
    weight = np.exp(log_density - log_density.max()).sum(axis=1)
    weight /= weight.sum()
    assert found.mean[0, 0] == pytest.approx(float(weight @ rho[:, 0]), abs=ERROR / 2)
    assert found.p_entangled[0, 0] == pytest.approx(float(weight[rho[:, 0] > LIMIT].sum()), abs=ERROR)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_a_zero_weight_is_a_model_that_is_not_there(seed: int) -> None:
    scores, theta, families = data(seed, 0.4, n=14, n_draws=3)
    removed = np.random.default_rng(seed).choice(14, size=3, replace=False)
    rest = np.setdiff1d(np.arange(14), removed)
    kept = np.ones((1, 14))
    kept[0, removed] = 0
    with_zeros = set_posteriors(scores, theta, families, kept, priors(), LIMIT)
    smaller = set_posteriors(scores[rest], theta[:, rest], families[rest], np.ones((1, 11)), priors(), LIMIT)
    for name in ("mean", "p_entangled", "p_inverse"):
        np.testing.assert_allclose(getattr(with_zeros, name), getattr(smaller, name), atol=1e-10)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_turning_a_benchmark_round_turns_its_posterior_round(seed: int) -> None:
    scores, theta, families = data(seed, 0.4, n=14, n_draws=3)
    both = set_posteriors(np.hstack([scores, -scores]), theta, families, some_sets(14), priors(), LIMIT)
    np.testing.assert_allclose(both.mean[:, 0], -both.mean[:, 1], atol=1e-10)
    np.testing.assert_allclose(both.p_entangled[:, 0], both.p_inverse[:, 1], atol=1e-10)
    np.testing.assert_allclose(both.p_distinct[:, 0], both.p_distinct[:, 1], atol=1e-10)


def test_sets_do_not_depend_on_which_others_there_are() -> None:
    scores, theta, families = data(2, 0.3, n_draws=4)
    kept = np.random.default_rng(1).integers(0, 2, size=(900, len(scores))).astype(float)
    together = set_posteriors(scores, theta, families, kept, priors(), LIMIT)
    alone = set_posteriors(scores, theta, families, kept[500:501], priors(), LIMIT)
    np.testing.assert_allclose(together.mean[500], alone.mean[0], atol=1e-12)
    few = kept.sum(axis=1) < MIN_MODELS
    assert few.any()
    assert np.isnan(together.mean[few]).all()
    assert np.isfinite(together.mean[~few]).all()
