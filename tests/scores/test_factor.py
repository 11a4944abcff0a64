"""One-factor maximum likelihood: a stationary point, as likely as plain EM finds, and a bound on uniquenesses."""

from __future__ import annotations

import numpy as np
import pytest

from safetystats.scores.factor import UNIQUENESS_FLOOR, _discrepancy, _em_step, ml_one_factor


def correlation(seed: int, n: int, doublet: float) -> np.ndarray:
    """Correlation matrix of a sample whose first two benchmarks share something of their own."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 1)) + rng.standard_normal((n, 6))
    values[:, :2] += doublet * rng.standard_normal((n, 1))
    return np.corrcoef(values.T)


@pytest.mark.parametrize("doublet", [0.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_stationary_point_as_likely_as_plain_em_finds(seed: int, doublet: float) -> None:
    matrices = correlation(seed, 26, doublet)[None]
    loading, uniqueness = ml_one_factor(matrices)
    moved, _ = _em_step(matrices, loading, uniqueness)
    np.testing.assert_allclose(moved, loading, atol=1e-7, rtol=0)  # ten times the tolerance of the iterations
    plain = np.full((1, 6), 0.5), np.full((1, 6), 0.75)
    for _ in range(4_000):
        plain = _em_step(matrices, *plain)
    assert _discrepancy(matrices, loading, uniqueness)[0] <= _discrepancy(matrices, *plain)[0] + 1e-9


def test_a_heywood_case_stops_at_the_bound() -> None:
    matrices = np.stack([correlation(seed, 26, 4.0) for seed in range(20)])
    loading, uniqueness = ml_one_factor(matrices)
    assert np.isfinite(loading).all()
    assert uniqueness.min() == UNIQUENESS_FLOOR


def test_exact_one_factor_matrices_are_recovered() -> None:
    truth = np.array([[0.9, 0.8, 0.7, 0.6], [0.5, 0.5, 0.9, 0.3]])
    matrices = truth[:, :, None] * truth[:, None, :]
    matrices[:, np.arange(4), np.arange(4)] = 1.0
    loading, uniqueness = ml_one_factor(matrices)
    loading = loading * np.sign(loading.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(loading, truth, atol=1e-6)  # EM stops at steps of 1e-8
    np.testing.assert_allclose(uniqueness, 1 - truth**2, atol=1e-6)


def test_one_bad_matrix_does_not_hold_up_the_others() -> None:
    both = np.stack([correlation(1, 26, 0.0), correlation(2, 26, 4.0)])
    alone = ml_one_factor(both[:1])
    np.testing.assert_allclose(ml_one_factor(both)[0][0], alone[0][0], atol=1e-12)
