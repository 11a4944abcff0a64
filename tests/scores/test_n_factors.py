"""The number of factors: against psych, against brute force, and on data with a known number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.scores.n_factors import (
    METHODS,
    MatrixMethod,
    average_partials,
    count_factors,
    leading_above,
    pairwise_correlations,
    reference_eigenvalues,
)
from safetystats.tables.load import load_table

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "n_factors_psych.csv"
SETS = ("helm-classic/base", "helm-classic/chat", "chat-2025/chat")
# The reference has 12 digits; eigenvalues of matrices that agree to rounding agree to rounding.
DIGITS = 1e-9
# Divided by residual variances of some hundredths.
MAP_DIGITS = 1e-6
# Four errors of the difference of two 95th percentiles of 2000 eigenvalues with sd 0.15 or less.
QUANTILE_ERROR = 0.05
# Reorderings of sums of order one.
ROUNDING = 1e-9

seeds = st.integers(min_value=0, max_value=2**32 - 1)


def capability(name: str) -> np.ndarray:
    table, model_class = name.split("/")
    part = load_table(table).select(model_class=model_class)
    return part.matrix(part.columns("capability"))


def factor_data(rng: np.random.Generator, loading: np.ndarray, n: int = 60) -> np.ndarray:
    """Return normal data (n, k) of loadings (k, m), with unit variance."""
    unique = np.sqrt(1 - (loading**2).sum(axis=1))
    return rng.standard_normal((n, loading.shape[1])) @ loading.T + rng.standard_normal((n, len(loading))) * unique


def with_holes(values: np.ndarray, rng: np.random.Generator, share: float = 0.1) -> np.ndarray:
    return np.where(rng.random(values.shape) < share, np.nan, values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SETS)
def test_agrees_with_psych(name: str, method: MatrixMethod) -> None:
    rows = pd.read_csv(REFERENCE, comment="#").query("set == @name and method == @method")
    values = capability(name)
    found = count_factors(values, np.random.default_rng(11), method=method, n_sets=2000)
    assert found.n_models == rows["n_models"].iloc[0]
    assert np.isnan(values).any() == (name != "helm-classic/base")
    np.testing.assert_allclose(found.eigenvalues, rows["eigenvalue"], rtol=0, atol=DIGITS)
    # psych's entry 1 is one component out; its last, with one component left, is 1 but for rounding.
    np.testing.assert_allclose(found.map_squared[1:], rows["map"].iloc[:-1], rtol=0, atol=MAP_DIGITS)
    if rows["sim_q95"].notna().all():
        np.testing.assert_allclose(found.reference_mean, rows["sim_mean"], rtol=0, atol=QUANTILE_ERROR / 2)
        np.testing.assert_allclose(found.reference_quantile, rows["sim_q95"], rtol=0, atol=QUANTILE_ERROR)
        assert found.n_parallel == rows["n_parallel"].iloc[0]


@pytest.mark.parametrize("method", METHODS)
def test_pairs_are_scipy_on_the_models_of_the_pair(method: MatrixMethod) -> None:
    rng = np.random.default_rng(3)
    values = with_holes(rng.standard_normal((30, 5)).round(1) * [1e-6, 1, 1e6, 3, 1] + [0, 50, 0, 1e4, 0], rng)
    one = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}[method]
    found = pairwise_correlations(values, method)
    for j in range(5):
        for other in range(5):
            both = np.isfinite(values[:, j]) & np.isfinite(values[:, other])
            expected = one(values[both, j], values[both, other]).statistic
            assert found[j, other] == pytest.approx(expected, abs=ROUNDING)


def test_partials_are_correlations_of_residuals() -> None:
    values = stats.zscore(factor_data(np.random.default_rng(4), np.array([[0.8, 0.0]] * 4 + [[0.3, 0.7]] * 3)))
    matrix = np.corrcoef(values, rowvar=False)
    vectors = np.linalg.eigh(matrix)[1][:, ::-1]
    squared, fourth = average_partials(matrix)
    for taken in range(6):
        components = values @ vectors[:, :taken]
        residual = values - components @ np.linalg.lstsq(components, values, rcond=None)[0]
        partial = np.corrcoef(residual, rowvar=False)[np.triu_indices(7, k=1)]
        assert squared[taken] == pytest.approx((partial**2).mean(), abs=ROUNDING)
        assert fourth[taken] == pytest.approx((partial**4).mean(), abs=ROUNDING)


def test_a_column_without_a_residual_ends_the_averages() -> None:
    squared, fourth = average_partials(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(np.isnan(squared), [False, True, True])
    np.testing.assert_array_equal(np.isnan(fourth), np.isnan(squared))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("loading", "number"), [
    (np.full((8, 1), 0.8), 1),
    (np.kron(np.eye(2), np.full((4, 1), 0.8)), 2),
])  # fmt: skip
def test_known_numbers_are_found(method: MatrixMethod, loading: np.ndarray, number: int) -> None:
    right = {"parallel": 0, "clustered": 0, "squared": 0, "fourth": 0}
    families = np.repeat(np.arange(15), 4)
    for seed in range(20):
        rng = np.random.default_rng([5, seed])
        found = count_factors(with_holes(factor_data(rng, loading), rng, 0.05), rng, families=families, method=method,
                              n_sets=100)  # fmt: skip
        right["parallel"] += found.n_parallel == number
        right["clustered"] += found.n_parallel_clustered == number
        right["squared"] += found.n_map_squared == number
        right["fourth"] += found.n_map_fourth == number
    assert min(right.values()) >= 18, right


def test_clustered_noise_is_taken_for_a_factor_by_the_plain_reference_only() -> None:
    """No factor, families of eight with intraclass correlation 0.5: the plain rule should say 0 in 95 % of the data."""
    families, wrong = np.repeat(np.arange(6), 8), np.zeros(2)
    present = np.ones((48, 8), dtype=bool)
    plain, clustered = reference_eigenvalues(
        present, np.random.default_rng(6), families=families, icc=0.5, method="pearson"
    )
    data = reference_eigenvalues(present, np.random.default_rng(7), families=families, icc=0.5, method="pearson")[1]
    for k, reference in enumerate((plain, clustered)):
        wrong[k] = (data[:, 0] > np.quantile(reference[:, 0], 0.95)).mean()
    assert wrong[0] > 0.3
    # Four binomial errors of 1000 data sets at 5 %, and as much again for the quantile itself.
    assert wrong[1] == pytest.approx(0.05, abs=0.04)


@given(seed=seeds, method=st.sampled_from(METHODS))
@settings(max_examples=25, deadline=None)
def test_only_the_pattern_of_correlation_matters(seed: int, method: MatrixMethod) -> None:
    rng = np.random.default_rng(seed)
    values = with_holes(factor_data(rng, rng.uniform(-0.9, 0.9, (5, 1)), n=25), rng)
    first = count_factors(values, np.random.default_rng(0), method=method, n_sets=5)
    order, signs = rng.permutation(5), rng.choice([-1.0, 1.0], 5)
    moved = np.exp(values) if method == "spearman" else 3.0 * values + 100.0
    again = count_factors((moved * signs)[:, order], np.random.default_rng(0), method=method, n_sets=5)
    assert first.eigenvalues.sum() == pytest.approx(5.0, abs=ROUNDING)
    assert (np.diff(first.eigenvalues) <= 0).all()
    np.testing.assert_allclose(again.eigenvalues, first.eigenvalues, rtol=0, atol=ROUNDING)
    for name in ("map_squared", "map_fourth"):
        np.testing.assert_allclose(getattr(again, name), getattr(first, name), rtol=1e-5, atol=ROUNDING)
    both = np.isfinite(first.map_squared)
    assert (first.map_fourth[both] <= first.map_squared[both] + ROUNDING).all()
    assert (again.n_map_squared, again.n_map_fourth) == (first.n_map_squared, first.n_map_fourth)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_rule_stops_at_the_first_that_fails(seed: int) -> None:
    rng = np.random.default_rng(seed)
    eigenvalues, reference = rng.standard_normal((2, 6))
    number = leading_above(eigenvalues, reference)
    assert (eigenvalues[:number] > reference[:number]).all()
    assert number == 6 or eigenvalues[number] <= reference[number]
    assert leading_above(eigenvalues, eigenvalues) == 0


def test_without_clustering_both_references_are_one() -> None:
    present = np.ones((20, 4), dtype=bool)
    families = np.repeat(np.arange(5), 4)
    plain, clustered = reference_eigenvalues(present, np.random.default_rng(8), families=families, icc=0.0, n_sets=5)
    np.testing.assert_array_equal(plain, clustered)
    alone, same = reference_eigenvalues(present, np.random.default_rng(8), n_sets=5)
    assert same is alone
    np.testing.assert_array_equal(alone, plain)


def test_what_cannot_be_answered_is_refused() -> None:
    rng = np.random.default_rng(9)
    values = rng.standard_normal((12, 4))
    values[:, 2] = 1.0
    with pytest.raises(ValueError, match="columns 0 and 2 have no correlation"):
        count_factors(values, rng)
    apart = rng.standard_normal((12, 3))
    apart[:6, 0], apart[6:, 1] = np.nan, np.nan
    for method in METHODS:
        with pytest.raises(ValueError, match="columns 0 and 1 have no correlation"):
            count_factors(apart, rng, method=method)
    with pytest.raises(ValueError, match="3 or more columns"):
        count_factors(values[:, :2], rng)
    with pytest.raises(ValueError, match=r"icc 1\.5"):
        count_factors(values, rng, icc=1.5)
    with pytest.raises(ValueError, match="method must be one of"):
        pairwise_correlations(values, "kendall")  # type: ignore[arg-type]
