"""What leaving models out can reach, against tables from which the models were really taken."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.scores.capability import capability_score
from safetystats.scores.model_sets import (
    EXACT_SIZE,
    FEWEST_LEFT,
    every_set,
    extremes_of,
    greedy_path,
    kept_after,
    largest_exact,
    largest_greedy,
    reachable_exactly,
    smallest_flip,
)
from safetystats.scores.resampling import Target, point_correlations


def target(n: int = 11, seed: int = 3, slope: float = 0.0) -> Target:
    rng = np.random.default_rng(seed)
    ability = rng.normal(size=n)
    capability = ability[:, None] + 0.4 * rng.normal(size=(n, 4))
    values = slope * ability[:, None] + rng.normal(size=(n, 2))
    return Target(capability=capability, values=values, member=np.array([-1, -1]))


def really_without(own: Target, removed: tuple[int, ...], column: int) -> float:
    """Return Spearman's coefficient of a table without the models, by scipy; the sign of the score kept."""
    rest = [i for i in range(len(own.values)) if i not in removed]
    score = capability_score(own.capability[rest], method="spearman_pca_2024").score
    return float(stats.spearmanr(score, own.values[rest, column]).statistic)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_range_is_that_over_all_tables_without_k_models(k: int) -> None:
    own = target()
    found = reachable_exactly(own, k)
    for column in range(2):
        every = {removed: really_without(own, removed, column) for removed in combinations(range(11), k)}
        assert found.n_sets == len(every)
        assert found.lowest[column] == pytest.approx(min(every.values()), abs=1e-9)
        assert found.highest[column] == pytest.approx(max(every.values()), abs=1e-9)
        assert abs(found.smallest[column]) == pytest.approx(min(abs(r) for r in every.values()), abs=1e-9)
        # The named models give the stated value.
        assert every[found.removed_lowest[column]] == pytest.approx(found.lowest[column], abs=1e-9)
        assert every[found.removed_highest[column]] == pytest.approx(found.highest[column], abs=1e-9)


def by_hand(own: Target, column: int, limit: float) -> int | None:
    """Return the size of the smallest set that changes sides of the limit, by looking at every set; None beyond 3."""
    start = abs(really_without(own, (), column)) < limit
    for k in range(1, EXACT_SIZE + 1):
        for removed in combinations(range(len(own.values)), k):
            if (abs(really_without(own, removed, column)) < limit) != start:
                return k
    return None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [0.2031, 0.4017])
def test_the_smallest_set_is_the_smallest(seed: int, limit: float) -> None:
    own = target(n=11, seed=seed, slope=0.5 * (seed % 3))
    ranges = [reachable_exactly(own, k) for k in range(1, 4)]
    values = point_correlations(own)
    for column in range(2):
        flip = smallest_flip(float(values[column]), column, ranges, (), limit)
        size = by_hand(own, column, limit)
        if size is None:
            assert flip.removed == ()
            assert flip.lower_bound == EXACT_SIZE + 1
            continue
        assert len(flip.removed) == size == flip.lower_bound
        reached = really_without(own, flip.removed, column)
        assert reached == pytest.approx(flip.value, abs=1e-9)
        assert (abs(reached) < limit) != (abs(values[column]) < limit)


def test_planted_gaming_is_found() -> None:
    """Two planted models hide that a benchmark goes with capability."""
    rng = np.random.default_rng(5)
    n = 26
    ability = np.sort(rng.normal(size=n))
    capability = ability[:, None] + 0.2 * rng.normal(size=(n, 6))
    values = (1.2 * ability + rng.normal(size=n))[:, None]
    rest = np.arange(1, n - 1)
    made = capability_score(capability[rest], method="spearman_pca_2024").score
    assert stats.spearmanr(made, values[rest, 0]).statistic > 0.45
    # The two stand at the wrong corners: the least able scores best, the most able worst.
    values[0], values[-1] = values[rest].max() + 1, values[rest].min() - 1
    own = Target(capability=capability, values=values, member=np.array([-1]))
    value = float(point_correlations(own)[0])
    assert abs(value) < 0.4
    ranges = [reachable_exactly(own, k) for k in (1, 2)]
    flip = smallest_flip(value, 0, ranges, (), 0.4)
    assert 1 <= len(flip.removed) <= 2
    assert set(flip.removed) <= {0, n - 1}
    assert set(ranges[1].removed_highest[0]) == {0, n - 1}


def test_a_jump_over_the_whole_region_is_not_a_flip_but_a_set_inside_it_is() -> None:
    """The range reaches from +0.6 to -0.6; only a set inside the region changes the label."""
    values = np.array([[0.6], [-0.6], [0.1]])
    found = extremes_of(values, np.array([[0], [1], [2]]))
    flip = smallest_flip(0.7, 0, [found], (), 0.4)
    assert flip.removed == (2,)
    assert flip.value == pytest.approx(0.1)
    none = extremes_of(values[:2], np.array([[0], [1]]))
    assert smallest_flip(0.7, 0, [none], (), 0.4).removed == ()


def test_a_greedy_path_only_gets_further_and_starts_as_the_best_single() -> None:
    own = target(n=16, seed=8)
    path = greedy_path(own, 0, (), 1.0, 5)
    single = reachable_exactly(own, 1)
    assert path.removed[0] == single.removed_highest[0]
    assert path.values[0] == pytest.approx(single.highest[0], abs=1e-12)
    assert [len(each) for each in path.removed] == [1, 2, 3, 4, 5]
    for removed, value in zip(path.removed, path.values, strict=True):
        assert really_without(own, removed, 0) == pytest.approx(value, abs=1e-9)
    # What is reached greedily is a bound: all pairs do at least as well.
    assert path.values[1] <= reachable_exactly(own, 2).highest[0] + 1e-12


def test_a_benchmark_without_numbers_has_no_range() -> None:
    own = target()
    values = own.values.copy()
    values[:, 1] = 3.0
    found = reachable_exactly(Target(capability=own.capability, values=values, member=own.member), 1)
    assert np.isnan(found.lowest[1])
    assert found.removed_lowest[1] == ()
    assert np.isfinite(found.lowest[0])


@given(n=st.integers(1, 60))
def test_sizes_leave_enough_models(n: int) -> None:
    exact, greedy = largest_exact(n), largest_greedy(n)
    assert 0 <= exact <= EXACT_SIZE
    assert greedy >= exact
    assert exact == 0 or n - exact >= FEWEST_LEFT
    assert greedy == 0 or n - greedy >= FEWEST_LEFT


@given(n=st.integers(3, 9), k=st.integers(1, 3))
def test_every_set_is_there_once(n: int, k: int) -> None:
    sets = every_set(n, k)
    assert [tuple(each) for each in sets.tolist()] == list(combinations(range(n), k))
    kept = kept_after(sets, n)
    assert (kept.sum(axis=1) == n - k).all()
    assert all((kept[row, list(each)] == 0).all() for row, each in enumerate(sets))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_monotone_transforms_and_order_of_models_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    own = target(n=10, seed=seed)
    order = rng.permutation(10)
    turned = Target(capability=own.capability[order], values=np.exp(own.values[order]), member=own.member)
    first, second = reachable_exactly(own, 2), reachable_exactly(turned, 2)
    np.testing.assert_allclose(first.lowest, second.lowest, atol=1e-9)
    np.testing.assert_allclose(first.highest, second.highest, atol=1e-9)
