"""Regions, ranks and quadrants: against brute force, and what must hold whatever the draws are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from safetystats.inference.regions import (
    p_greater,
    posterior_ranks,
    quadrant_probabilities,
    region_probabilities,
    share_at_bounds,
)

FAST = settings(max_examples=60, deadline=None, derandomize=True)
DRAWS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12), elements=st.floats(-1, 1, width=32)
)


@FAST
@given(DRAWS)
def test_regions_cover_everything_and_move_one_way_along_the_limits(rho: np.ndarray) -> None:
    limits = (0.2, 0.31, 0.4, 0.55, 0.7)
    found = region_probabilities(rho, limits)
    at = np.array([(np.abs(rho) == limit).mean(axis=0) for limit in limits])
    np.testing.assert_allclose(found.entangled + found.inverse + found.distinct + at, 1.0, atol=1e-12)
    for smaller, larger in pairwise(range(len(limits))):
        assert (found.distinct[smaller] <= found.distinct[larger]).all()
        assert (found.entangled[smaller] >= found.entangled[larger]).all()
        assert (found.inverse[smaller] >= found.inverse[larger]).all()


@FAST
@given(DRAWS)
def test_turning_the_sign_swaps_entangled_and_inverse(rho: np.ndarray) -> None:
    found, turned = region_probabilities(rho, (0.4,)), region_probabilities(-rho, (0.4,))
    np.testing.assert_array_equal(found.entangled, turned.inverse)
    np.testing.assert_array_equal(found.distinct, turned.distinct)


def test_ranks_by_counting() -> None:
    values = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.4], [0.7, 0.7, 0.1]])
    found = posterior_ranks(values, 0.5, n_top=1)
    np.testing.assert_allclose(found.mean, [(1 + 3 + 1.5) / 3, (3 + 2 + 1.5) / 3, (2 + 1 + 3) / 3])
    np.testing.assert_allclose(found.first, [(1 + 0.5) / 3, 0.5 / 3, 1 / 3])
    np.testing.assert_allclose(found.top, [1 / 3, 0, 1 / 3])  # a shared first place is the rank 1.5


@FAST
@given(DRAWS, st.randoms(use_true_random=False))
def test_ranks_follow_their_benchmark_and_sum_up(values: np.ndarray, random: object) -> None:
    found = posterior_ranks(values, 0.9, n_top=1)
    k = values.shape[1]
    assert found.mean.sum() == pytest.approx(k * (k + 1) / 2)
    assert found.first.sum() == pytest.approx(1.0)
    assert ((found.lower >= 1) & (found.upper <= k) & (found.lower <= found.upper)).all()
    order = list(range(k))
    random.shuffle(order)  # type: ignore[attr-defined]
    moved = posterior_ranks(values[:, order], 0.9, n_top=1)
    np.testing.assert_allclose(moved.mean, found.mean[order])
    # Doubling is exact, so that no two values become equal by rounding.
    np.testing.assert_allclose(posterior_ranks(2 * values, 0.9, 1).mean, found.mean)


def test_a_pair_is_compared_draw_by_draw() -> None:
    rng = np.random.default_rng(3)
    shared = rng.normal(0, 1, 4000)
    first, second = shared + 0.1, shared
    assert p_greater(first, second) == 1.0  # what they share does not blur the comparison
    assert p_greater(first, second) + p_greater(second, first) == 1.0
    assert p_greater(shared, shared) == 0.5


def test_what_dependent_residuals_would_change() -> None:
    """The limit that docs/verdicts.md names: draws of different benchmarks are taken as independent given theta."""
    rng = np.random.default_rng(0)
    n, k = 20_000, 8
    other, first = rng.normal(0.5, 0.1, (2, n))
    copies = posterior_ranks(np.column_stack([other, *(first + rng.normal(0, 0.01, n) for _ in range(k))]), 0.95, 1)
    drawn = posterior_ranks(np.column_stack([other, rng.normal(0.5, 0.1, (n, k))]), 0.95, 1)
    error = 4 * np.sqrt(0.25 / n)  # four Monte Carlo errors of a share
    assert drawn.first[0] == pytest.approx(1 / (k + 1), abs=error)
    assert copies.first[0] > 0.4  # about 1/2 less the chance that a little noise puts a copy ahead of a near tie
    # A benchmark that lies above: its rank as drawn is narrower than with copies that pass it together.
    above = other + 0.1
    narrow = posterior_ranks(np.column_stack([above, rng.normal(0.5, 0.1, (n, k))]), 0.8, 1)
    wide = posterior_ranks(np.column_stack([above, *(first + rng.normal(0, 0.01, n) for _ in range(k))]), 0.8, 1)
    assert wide.upper[0] - wide.lower[0] > narrow.upper[0] - narrow.lower[0]
    # Opposed residuals: the difference of the two varies more than that of independent draws.
    opposed = 1.0 - first
    assert np.std(first - opposed) > 1.3 * np.std(first - other)


def test_quadrants_by_counting() -> None:
    rho = np.array([[0.5, 0.5], [0.5, -0.6], [0.1, 0.1], [-0.7, 0.2]])
    slope = np.array([[2.0, 2.0], [0.5, 0.5], [3.0, 3.0], [-2.0, 0.1]])
    found = quadrant_probabilities(rho, slope, 0.4, np.array([1.0, np.nan]))
    np.testing.assert_allclose([p[0] for p in found], [0.5, 0.25, 0.25, 0.0])
    assert np.isnan([p[1] for p in found]).all()
    none = quadrant_probabilities(rho, np.full_like(slope, np.nan), 0.4, np.array([1.0, 1.0]))
    assert np.isnan(none).all()


@FAST
@given(DRAWS, st.floats(0.01, 100))
def test_quadrants_do_not_depend_on_the_unit(rho: np.ndarray, unit: float) -> None:
    slope, smallest = 3 * rho, np.full(rho.shape[1], 0.5)
    found = quadrant_probabilities(rho, slope, 0.4, smallest)
    assert np.sum(found, axis=0) == pytest.approx(1.0)
    # A power of two is exact, so that no draw changes sides by rounding.
    exact = 2.0 ** np.round(np.log2(unit))
    np.testing.assert_array_equal(found, quadrant_probabilities(rho, exact * slope, 0.4, exact * smallest))


def test_models_at_the_bounds() -> None:
    scores = np.array([[0.0, 1.0, 5.0], [0.04, 0.97, 7.0], [0.5, np.nan, 8.0], [1.0, 0.2, 9.0]])
    floor, ceiling = share_at_bounds(scores, np.array([0.0, 0.0, 0.0]), np.array([1.0, 1.0, np.inf]), 0.05)
    np.testing.assert_allclose(floor, [0.5, 0.0, np.nan])
    np.testing.assert_allclose(ceiling, [0.25, 2 / 3, np.nan])
