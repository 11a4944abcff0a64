"""Capabilities correlations: scipy's numbers, and a reason wherever there is no number."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safetystats.scores.capability import capability_score, leave_one_out_scores
from safetystats.scores.correlation import capabilities_correlations, own_scores
from safetystats.scores.weighted import CORRELATIONS, Correlation

ROUNDING = 1e-12
SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20)
    score = rng.standard_normal(25)
    return score, (score[:, None] * [0.9, 0.3, -0.6] + rng.standard_normal((25, 3))).round(1)


@pytest.mark.parametrize("method", CORRELATIONS)
def test_against_scipy(data: tuple[np.ndarray, np.ndarray], method: Correlation) -> None:
    score, values = data
    values[4, 1] = np.nan
    result = capabilities_correlations(score, values, method=method)
    seen = np.isfinite(values)
    expected = [SCIPY[method](score[s], v[s]).statistic for v, s in zip(values.T, seen.T, strict=True)]
    np.testing.assert_allclose(result.correlation, expected, atol=ROUNDING, rtol=0)
    assert result.n_models.tolist() == [25, 24, 25]
    assert result.why == ("", "", "")


def test_rank_correlations_do_not_see_monotone_transforms(data: tuple[np.ndarray, np.ndarray]) -> None:
    score, values = data
    for method in ("spearman", "kendall"):
        plain = capabilities_correlations(score, values, method=method).correlation
        bent = capabilities_correlations(np.exp(score), values**3, method=method).correlation
        np.testing.assert_allclose(bent, plain, atol=ROUNDING, rtol=0)


def test_no_number_without_a_reason(data: tuple[np.ndarray, np.ndarray]) -> None:
    score, values = data
    values[:, 0] = 0.5
    values[2:, 1] = np.nan
    result = capabilities_correlations(score, values)
    assert np.isnan(result.correlation).tolist() == [True, True, False]
    assert "same value" in result.why[0]
    assert "2 model(s)" in result.why[1]
    assert result.why[2] == ""
    assert "same score" in capabilities_correlations(np.ones(25), values[:, [2]]).why[0]
    assert capabilities_correlations(score, values[:, :0]).why == ()


def test_a_capability_benchmark_is_held_against_the_others() -> None:
    rng = np.random.default_rng(21)
    values = rng.standard_normal((40, 1)) + rng.standard_normal((40, 5))
    score = capability_score(values, method="spearman_pca_2024").score
    left_out = leave_one_out_scores(values, method="spearman_pca_2024")
    own = own_scores(score, left_out, np.array([2, -1]))
    columns = values[:, [2, 2]]
    result = capabilities_correlations(own, columns)
    assert result.correlation[0] == pytest.approx(stats.spearmanr(left_out[:, 2], values[:, 2]).statistic, abs=ROUNDING)
    assert result.correlation[0] < result.correlation[1]  # the whole contains the part


def test_shapes_and_names_are_checked(data: tuple[np.ndarray, np.ndarray]) -> None:
    score, values = data
    with pytest.raises(ValueError, match="expected"):
        capabilities_correlations(score[:-1], values)
    with pytest.raises(ValueError, match="method must be one of"):
        capabilities_correlations(score, values, method="distance")  # type: ignore[arg-type]
