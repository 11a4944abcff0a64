"""Partial correlations against regression residuals and against the inverse of a correlation matrix."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.scores.partial import partial_correlation, variance_inflation, weighted_pearson


def three(seed: int, n: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=n), rng.normal(size=n)
    return first + 0.5 * second, second, 0.6 * second + rng.normal(size=n)


def residuals(y: np.ndarray, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    design = np.column_stack([np.ones_like(x), x]) * np.sqrt(weights)[:, None]
    beta, *_ = np.linalg.lstsq(design, y * np.sqrt(weights), rcond=None)
    return y - beta[0] - beta[1] * x


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_it_is_the_correlation_of_residuals(seed: int) -> None:
    y, x, z = three(seed)
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(y)), size=2)
    weights[1] = 1.0
    found = partial_correlation(y, x, z, weights)
    for row in range(2):
        own = weights[row]
        expected = weighted_pearson(residuals(y, z, own), residuals(x, z, own), own[None])[0]
        assert found[row] == pytest.approx(expected, abs=1e-9)
    inverse = np.linalg.inv(np.corrcoef([y, x, z]))
    assert found[1] == pytest.approx(-inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1]), abs=1e-9)


def test_pearson_is_that_of_scipy_and_weights_repeat_rows() -> None:
    y, x, _ = three(1)
    assert weighted_pearson(y, x, np.ones((1, 25)))[0] == pytest.approx(stats.pearsonr(y, x).statistic, abs=1e-12)
    counts = np.random.default_rng(0).integers(0, 4, size=(1, 25)).astype(float)
    repeated = np.repeat(np.arange(25), counts[0].astype(int))
    expected = stats.pearsonr(y[repeated], x[repeated]).statistic
    assert weighted_pearson(y, x, counts)[0] == pytest.approx(expected, abs=1e-12)


def test_draws_of_one_variable_are_taken_row_by_row() -> None:
    y, x, z = three(2)
    draws = np.stack([x, -x, z])
    found = partial_correlation(y, draws, z, np.ones((3, 25)))
    assert found[0] == pytest.approx(-found[1], abs=1e-12)
    assert np.isnan(found[2])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.01, 100), shift=st.floats(-50, 50))
def test_units_do_not_matter(seed: int, scale: float, shift: float) -> None:
    y, x, z = three(seed)
    ones = np.ones((1, 25))
    np.testing.assert_allclose(
        partial_correlation(y, x, z, ones), partial_correlation(scale * y + shift, x, -scale * z + shift, ones),
        atol=1e-7,
    )  # fmt: skip
    assert variance_inflation(x, z) == pytest.approx(variance_inflation(scale * x + shift, -z), rel=1e-6)


def test_variance_inflation_is_that_of_least_squares() -> None:
    """The variance of the slope of capability grows by it when the covariate is taken in."""
    _, x, z = three(4)
    both = np.column_stack([np.ones(25), x, z])
    alone = both[:, :2]
    grown = np.linalg.inv(both.T @ both)[1, 1] / np.linalg.inv(alone.T @ alone)[1, 1]
    assert variance_inflation(x, z) == pytest.approx(grown, rel=1e-9)
    assert variance_inflation(x, x) == np.inf
    assert variance_inflation(x, 3 - 2 * x) == np.inf


def test_error_in_capability_shrinks_the_partial_correlation_by_more_than_the_plain_one() -> None:
    """Capability with reliability 0.9, a covariate that has no effect of its own; 40 000 models, error about 0.005."""
    rng, n, reliability = np.random.default_rng(8), 40_000, 0.9
    capability, noise = rng.normal(size=n), rng.normal(size=(4, n))
    covariate = 0.85 * capability + np.sqrt(1 - 0.85**2) * noise[0]
    scores = 0.7 * capability + np.sqrt(1 - 0.7**2) * noise[1]
    # Posterior mean of capability, and a draw, which scatters about it.
    mean = reliability * capability + np.sqrt(reliability * (1 - reliability)) * noise[2]
    draw = mean + np.sqrt(1 - reliability) * noise[3]
    ones = np.ones((1, n))
    plain = [float(weighted_pearson(scores, x, ones)[0]) for x in (capability, mean, draw)]
    partial = [float(partial_correlation(scores, x, covariate, ones)[0]) for x in (capability, mean, draw)]
    assert plain[2] / plain[0] == pytest.approx(reliability, abs=0.02)
    assert partial[2] / partial[0] < plain[2] / plain[0] - 0.1
    assert partial[2] + 0.02 < partial[1] < partial[0] - 0.02
