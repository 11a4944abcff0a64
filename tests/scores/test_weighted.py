"""The kernel: with ones it is scipy's, with whole numbers it is repeated rows, with a zero it is a row less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.scores.weighted import (
    CORRELATIONS,
    Correlation,
    correlation_matrix,
    weighted_correlations,
    weighted_grades,
    weighted_z,
)

# Sums of a few dozen terms of order one, in another order.
ROUNDING = 1e-10

SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}
seeds = st.integers(min_value=0, max_value=2**32 - 1)


def sample(seed: int, n: int = 15, width: int = 4, ties: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.standard_normal(n)
    values = 0.5 * score[:, None] + rng.standard_normal((n, width))
    return (score.round(1), values.round(0)) if ties else (score, values)


def reference(score: np.ndarray, values: np.ndarray, correlation: str) -> list[float]:
    return [SCIPY[correlation](score, column).statistic for column in values.T]


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("ties", [False, True])
def test_unit_weights_are_scipy(correlation: Correlation, ties: bool) -> None:
    score, values = sample(1, ties=ties)
    found = weighted_correlations(score[None], values, np.ones((1, len(score))), correlation)[0]
    np.testing.assert_allclose(found, reference(score, values, correlation), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("correlation", CORRELATIONS)
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_whole_weights_are_repeated_rows(correlation: Correlation, seed: int) -> None:
    score, values = sample(seed)
    weights = np.random.default_rng(seed).integers(0, 4, size=len(score))
    weights[:3] = 1, 2, 3
    again, repeated = np.repeat(score, weights), np.repeat(values, weights, axis=0)
    varies = (np.ptp(repeated, axis=0) > 0) & (np.ptp(again) > 0)
    found = weighted_correlations(score[None], values, weights[None].astype(float), correlation)[0]
    np.testing.assert_array_equal(np.isfinite(found), varies)
    expected = reference(again, repeated[:, varies], correlation) if varies.any() else []
    np.testing.assert_allclose(found[varies], expected, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_a_weight_of_zero_is_a_model_less(correlation: Correlation) -> None:
    score, values = sample(2)
    weights = np.random.default_rng(2).dirichlet(np.ones(len(score)))
    weights[4] = 0.0
    keep = np.arange(len(score)) != 4
    whole = weighted_correlations(score[None], values, weights[None], correlation)
    less = weighted_correlations(score[None, keep], values[keep], weights[None, keep], correlation)
    np.testing.assert_allclose(whole, less, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_the_scale_of_weights_does_not_matter(correlation: Correlation) -> None:
    score, values = sample(3)
    weights = np.random.default_rng(3).dirichlet(np.ones(len(score)), size=5)
    scores = np.tile(score, (5, 1))
    first = weighted_correlations(scores, values, weights, correlation)
    second = weighted_correlations(scores, values, 1e6 * weights, correlation)
    np.testing.assert_allclose(first, second, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_missing_values_are_left_out_pair_by_pair(correlation: Correlation) -> None:
    score, values = sample(4, ties=False)
    values[[0, 5], 1] = np.nan
    values[7, 2] = np.nan
    score[3] = np.nan
    found = weighted_correlations(score[None], values, np.ones((1, len(score))), correlation)[0]
    for b, column in enumerate(values.T):
        both = np.isfinite(column) & np.isfinite(score)
        assert found[b] == pytest.approx(SCIPY[correlation](score[both], column[both]).statistic, abs=ROUNDING)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_a_score_of_its_own_in_every_draw(correlation: Correlation) -> None:
    _, values = sample(5)
    scores = np.random.default_rng(5).standard_normal((6, len(values)))
    scores[2] = np.nan
    found = weighted_correlations(scores, values, np.ones(scores.shape), correlation)
    assert np.isnan(found[2]).all()
    for d in (0, 1, 3, 4, 5):
        np.testing.assert_allclose(found[d], reference(scores[d], values, correlation), atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_constant_column_has_no_correlation(correlation: Correlation) -> None:
    score, values = sample(6)
    values[:, 1] = 0.1 + 0.2
    found = weighted_correlations(score[None], values, np.ones((1, len(score))), correlation)[0]
    assert np.isnan(found).tolist() == [False, True, False, False]


def test_grades_are_midranks() -> None:
    _, values = sample(7)
    n = len(values)
    grades = weighted_grades(values, np.ones((1, n)))[0]
    ranks = stats.rankdata(values, axis=0)
    np.testing.assert_allclose(grades, (ranks - (n + 1) / 2) / n, atol=ROUNDING, rtol=0)


def test_z_scores_and_their_correlation_matrix() -> None:
    _, values = sample(8, ties=False)
    weights = np.random.default_rng(8).integers(1, 4, size=len(values))
    repeated = np.repeat(values, weights, axis=0)
    z = weighted_z(values, weights[None].astype(float))
    expected = (values - repeated.mean(axis=0)) / repeated.std(axis=0)
    np.testing.assert_allclose(z[0], expected, atol=ROUNDING, rtol=0)
    matrix = correlation_matrix(z, weights[None].astype(float))[0]
    np.testing.assert_allclose(matrix, np.corrcoef(repeated.T), atol=ROUNDING, rtol=0)
