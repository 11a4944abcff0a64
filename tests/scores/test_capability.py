"""Capability scores: against other code paths, their invariances, what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import FactorAnalysis

from safetystats.errors import DataError
from safetystats.scores.capability import (
    SCORE_METHODS,
    ScoreMethod,
    capability_score,
    given_score,
    leave_one_out_scores,
    weighted_scores,
)

# Eigenvectors and z-scores of order one by two routes.
ROUNDING = 1e-9
# EM stops at changes of 1e-8 in a loading; where it converges slowly the distance left is some hundred times that.
EM = 1e-5

LOADINGS = np.array([0.9, 0.85, 0.8, 0.75, 0.7, 0.6])
seeds = st.integers(min_value=0, max_value=2**32 - 1)
PCA = ("spearman_pca_2024", "pearson_pca")


def simulated(seed: int, n: int = 30, loadings: np.ndarray = LOADINGS) -> np.ndarray:
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n, 1))
    values = theta * loadings + rng.standard_normal((n, len(loadings))) * np.sqrt(1 - loadings**2)
    return values * rng.uniform(0.5, 50, len(loadings)) + rng.uniform(-5, 5, len(loadings))


def tolerance(method: str) -> float:
    return EM if method.startswith("ml_factor") else ROUNDING


@pytest.mark.parametrize("seed", range(5))
def test_2024_recipe_by_another_route(seed: int) -> None:
    """pandas for the ranks, an SVD instead of an eigendecomposition, numpy's std."""
    values = simulated(seed).round(1)
    matrix = pd.DataFrame(values).corr(method="spearman").to_numpy()
    left, singular, _ = np.linalg.svd(matrix)
    vector = left[:, 0] * np.sign(left[np.argmax(np.abs(left[:, 0])), 0])
    score = (values - values.mean(axis=0)) / values.std(axis=0) @ vector
    result = capability_score(values, method="spearman_pca_2024")
    np.testing.assert_allclose(result.score, score, atol=ROUNDING, rtol=0)
    np.testing.assert_allclose(result.eigenvalues, singular, atol=ROUNDING, rtol=0)
    assert result.share == pytest.approx(singular[0] / 6, abs=ROUNDING)


def test_pearson_pca_is_the_svd_of_z_scores() -> None:
    values = simulated(1)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    left, singular, _ = np.linalg.svd(z, full_matrices=False)
    result = capability_score(values, method="pearson_pca")
    np.testing.assert_allclose(np.abs(result.score), np.abs(left[:, 0]) * singular[0], atol=ROUNDING, rtol=0)
    assert result.share == pytest.approx(singular[0] ** 2 / (singular**2).sum(), abs=ROUNDING)


def test_mean_z_and_its_share() -> None:
    values = simulated(2)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    result = capability_score(values, method="mean_z")
    np.testing.assert_allclose(result.score, z.mean(axis=1), atol=ROUNDING, rtol=0)
    assert result.share == pytest.approx(np.mean([np.corrcoef(c, z.mean(axis=1))[0, 1] ** 2 for c in z.T]))


@pytest.mark.parametrize("seed", range(3))
def test_ml_factor_against_scikit_learn(seed: int) -> None:
    values = simulated(seed, n=200)
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    other = FactorAnalysis(n_components=1, tol=1e-12, max_iter=20_000, svd_method="lapack").fit(z)
    sign = np.sign(other.components_[0].sum())
    result = capability_score(values, method="ml_factor")
    np.testing.assert_allclose(result.loading, sign * other.components_[0], atol=EM, rtol=0)
    np.testing.assert_allclose(result.score, sign * other.transform(z)[:, 0], atol=10 * EM, rtol=0)


def test_ml_factor_against_statsmodels() -> None:
    factor = pytest.importorskip("statsmodels.multivariate.factor")
    values = simulated(3, n=200)
    fitted = factor.Factor(values, n_factor=1, method="ml").fit()
    loading = fitted.loadings[:, 0] * np.sign(fitted.loadings[:, 0].sum())
    result = capability_score(values, method="ml_factor")
    np.testing.assert_allclose(result.loading, loading, atol=1e-3, rtol=0)  # its optimiser stops early
    bartlett = capability_score(values, method="ml_factor_bartlett")
    scores = fitted.factor_scoring(method="bartlett")[:, 0] * np.sign(fitted.loadings[:, 0].sum())
    assert np.corrcoef(scores, bartlett.score)[0, 1] == pytest.approx(1.0, abs=1e-6)
    assert bartlett.score.std() > result.score.std()  # regression scores are shrunken


def test_ml_factor_recovers_loadings() -> None:
    result = capability_score(simulated(4, n=20_000), method="ml_factor")
    np.testing.assert_allclose(result.loading, LOADINGS, atol=0.03)  # five standard errors at 20 000 models


@pytest.mark.parametrize("method", SCORE_METHODS)
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_order_of_models_and_units_of_benchmarks_do_not_matter(method: ScoreMethod, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = simulated(seed)
    result = capability_score(values, method=method)
    order = rng.permutation(len(values))
    permuted = capability_score(values[order], method=method)
    np.testing.assert_allclose(permuted.score, result.score[order], atol=tolerance(method), rtol=0)
    rescaled = values * rng.uniform(0.01, 100, 6) + rng.uniform(-100, 100, 6)
    np.testing.assert_allclose(
        capability_score(rescaled, method=method).score, result.score, atol=10 * tolerance(method), rtol=0
    )


@pytest.mark.parametrize("method", [m for m in SCORE_METHODS if m != "mean_z"])
@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_the_largest_loading_is_positive(method: ScoreMethod, seed: int) -> None:
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=6)
    loading = capability_score(simulated(seed, n=60) * signs, method=method).loading
    assert loading[np.argmax(np.abs(loading))] > 0


def test_sign_of_a_tie_does_not_hang_on_rounding() -> None:
    values = simulated(5)[:, :2] * np.array([1.0, -1.0])
    loading = capability_score(values, method="pearson_pca").loading
    np.testing.assert_allclose(loading, [np.sqrt(0.5), -np.sqrt(0.5)], atol=ROUNDING)


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_leave_one_out(method: ScoreMethod) -> None:
    values = simulated(6)
    scores = leave_one_out_scores(values, method=method)
    assert scores.shape == values.shape
    without = capability_score(values[:, [0, 1, 3, 4, 5]], method=method).score
    np.testing.assert_allclose(scores[:, 2], without, atol=tolerance(method), rtol=0)


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_whole_weights_are_repeated_models(method: ScoreMethod) -> None:
    values = simulated(7)
    weights = np.random.default_rng(7).integers(0, 3, size=len(values))
    scores, loadings, _, _ = weighted_scores(values, weights[None].astype(float), method=method)
    repeated = capability_score(np.repeat(values, weights, axis=0), method=method)
    np.testing.assert_allclose(loadings[0], repeated.loading, atol=tolerance(method), rtol=0)
    np.testing.assert_allclose(np.repeat(scores[0], weights), repeated.score, atol=10 * tolerance(method), rtol=0)


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_missing_cells_are_refused_or_their_models_dropped(method: ScoreMethod) -> None:
    values = simulated(8)
    values[3, 1] = values[9, [0, 2]] = np.nan
    with pytest.raises(DataError, match="2 of 30 models"):
        capability_score(values, method=method)
    result = capability_score(values, method=method, missing="drop")
    assert np.flatnonzero(~result.used).tolist() == [3, 9]
    assert np.isnan(result.score[[3, 9]]).all()
    complete = capability_score(np.delete(values, [3, 9], axis=0), method=method)
    np.testing.assert_allclose(result.score[result.used], complete.score, atol=10 * tolerance(method), rtol=0)


def test_mean_of_available_cells() -> None:
    values = simulated(9)
    values[3, 1] = values[9, [0, 2]] = np.nan
    values[5] = np.nan
    result = capability_score(values, method="mean_z", missing="available")
    z = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    assert np.flatnonzero(~result.used).tolist() == [5]
    np.testing.assert_allclose(result.score[9], np.nanmean(z[9]), atol=ROUNDING)
    with pytest.raises(ValueError, match="mean_z only"):
        capability_score(values, method="pearson_pca", missing="available")


def test_what_cannot_be_scored_is_said() -> None:
    values = simulated(10)
    flat = values.copy()
    flat[:, 2] = 1.0
    with pytest.raises(DataError, match=r"column\(s\) \[2\]"):
        capability_score(flat, method="mean_z")
    with pytest.raises(DataError, match="at least 3 models"):
        capability_score(values[:2], method="mean_z")
    with pytest.raises(DataError, match="at least 3 capability benchmarks"):
        capability_score(values[:, :2], method="ml_factor")
    with pytest.raises(ValueError, match="method must be one of"):
        capability_score(values, method="pca")  # type: ignore[arg-type]


def test_a_draw_in_which_a_benchmark_is_constant_has_no_score() -> None:
    values = simulated(11)
    values[1:, 0] = 0.0
    weights = np.ones((2, 30))
    weights[1, 0] = 0.0
    for method in SCORE_METHODS:
        scores = weighted_scores(values, weights, method=method)[0]
        assert np.isfinite(scores[0]).all()
        assert np.isnan(scores[1]).all()


@pytest.mark.parametrize("method", SCORE_METHODS)
def test_equal_models_have_equal_scores(method: ScoreMethod) -> None:
    values = simulated(12)
    values[[7, 19, 29]] = values[0]
    assert np.unique(capability_score(values, method=method).score[[0, 7, 19, 29]]).size == 1


def test_a_score_from_elsewhere() -> None:
    result = given_score(np.array([1.0, np.nan, -1.0]), method="posterior_mean")
    assert result.method == "posterior_mean"
    assert result.used.tolist() == [True, False, True]
    assert result.loading.size == 0
