"""Intervals: scipy called naively, closed forms by hand, explicit loops, and what the notes must say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from safetystats.scores.intervals import (
    bayesian_bootstrap,
    bca,
    class_difference,
    family_bootstrap,
    fisher,
    interval_from_draws,
)
from safetystats.scores.resampling import (
    Target,
    bootstrap_weights,
    correlations_under,
    lineage_weights,
    point_correlations,
    target_scores,
)
from safetystats.scores.weighted import CORRELATIONS, Correlation

# Same resamples, two code paths.
ROUNDING = 1e-9
SEED = 31


def target(seed: int = 30, n: int = 20, correlation: Correlation = "spearman") -> Target:
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal((n, 1))
    capability = theta + 0.7 * rng.standard_normal((n, 5))
    values = theta * [0.9, -0.4, 0.0] + rng.standard_normal((n, 3))
    return Target(capability=capability, values=values, member=np.full(3, -1), correlation=correlation)


def naive_recipe(capability: np.ndarray, column: np.ndarray) -> float:
    """The 2024 recipe on actual rows; scores rounded so that a repeated row ties with itself."""
    vectors = np.linalg.eigh(stats.spearmanr(capability).statistic)[1][:, -1]
    vectors = vectors * np.sign(vectors[np.argmax(np.abs(vectors))])
    score = stats.zscore(capability) @ vectors
    return float(stats.spearmanr(score.round(9), column).statistic)


def test_bca_with_fixed_score_is_scipy_called_naively() -> None:
    fixed = dataclasses.replace(target(), score_fixed=True)
    found = bca(fixed, n_resamples=500, seed=SEED)
    score = target_scores(fixed)[:, 0]
    for b, column in enumerate(fixed.values.T):
        naive = stats.bootstrap(
            (score, column),
            lambda x, y: stats.spearmanr(x, y).statistic,
            paired=True,
            vectorized=False,
            n_resamples=500,
            method="BCa",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        np.testing.assert_allclose([found.lower[b], found.upper[b]], naive, atol=ROUNDING, rtol=0)
    assert set(found.note) == {""}


def test_bca_of_the_whole_procedure_is_scipy_called_naively() -> None:
    whole = target()
    found = bca(whole, level=0.9, n_resamples=300, seed=SEED)
    naive = stats.bootstrap(
        (np.arange(20),),
        lambda rows: naive_recipe(whole.capability[rows], whole.values[rows, 0]),
        vectorized=False,
        n_resamples=300,
        confidence_level=0.9,
        method="BCa",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    np.testing.assert_allclose([found.lower[0], found.upper[0]], naive, atol=ROUNDING, rtol=0)
    fixed = bca(dataclasses.replace(whole, score_fixed=True), level=0.9, n_resamples=300, seed=SEED)
    assert abs(fixed.lower[0] - found.lower[0]) > 1e-4  # the score's own uncertainty is in there


def test_bca_counts_lost_resamples_and_says_when_there_is_no_interval() -> None:
    whole = target()
    score = target_scores(whole)[:, 0]
    rare, few = np.zeros(20), np.zeros(20)
    rare[0] = 1.0  # constant in a third of the resamples
    few[:4] = 1.0  # constant in about one of a hundred
    columns = np.stack([score, rare, few, np.ones(20)], axis=1)
    awkward = dataclasses.replace(whole, values=columns, member=np.full(4, -1), score_fixed=True)
    found = bca(awkward, n_resamples=400, seed=SEED)
    np.testing.assert_allclose([found.lower[0], found.upper[0]], [1.0, 1.0], atol=ROUNDING)
    assert "no interval" in found.note[1]
    assert np.isnan(found.lower[1])
    assert 0 < 400 - found.n_draws[2] < 20
    assert found.note[2] == f"{400 - found.n_draws[2]} of 400 draws have no correlation"
    assert found.lower[2] < found.estimate[2] < found.upper[2]
    assert np.isnan([found.estimate[3], found.lower[3]]).all()


def test_bca_says_when_percentiles_stand_in() -> None:
    """A benchmark that is the score: tau is exactly 1 in every resample, and the acceleration is 0 / 0."""
    whole = target(correlation="kendall")
    twin = dataclasses.replace(whole, values=target_scores(whole)[:, [0]], member=np.array([-1]), score_fixed=True)
    found = bca(twin, n_resamples=100, seed=SEED)
    assert found.note == ("BCa could not be computed: percentile interval instead",)
    np.testing.assert_allclose([found.lower[0], found.upper[0]], [1.0, 1.0], atol=ROUNDING)


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_family_bootstrap_against_a_loop_over_rows(correlation: Correlation) -> None:
    whole = target(correlation=correlation)
    families = np.repeat(np.arange(5), 4)
    weights = bootstrap_weights(families.tolist(), 50, SEED)
    draws = correlations_under(whole, weights)
    for d in range(50):
        drawn = np.repeat(np.arange(20), weights[d].astype(int))
        again = Target(
            capability=whole.capability[drawn], values=whole.values[drawn], member=whole.member, correlation=correlation
        )
        np.testing.assert_allclose(draws[d], point_correlations(again), atol=ROUNDING, rtol=0)
        assert len(set(weights[d].reshape(5, 4).std(axis=1))) == 1  # a family is drawn whole


def test_family_bootstrap_warns_of_few_clusters() -> None:
    few = family_bootstrap(target(), np.repeat(np.arange(5), 4).tolist(), n_resamples=200, seed=SEED)
    assert all("few clusters: 5 families" in note for note in few.note)
    many = family_bootstrap(target(), list(range(20)), n_resamples=200, seed=SEED)
    assert set(many.note) == {""}


def test_percentile_bootstrap_of_single_models_is_scipys() -> None:
    """With every model a family of its own, to Monte Carlo error of two seeds."""
    fixed = dataclasses.replace(target(), score_fixed=True)
    found = family_bootstrap(fixed, list(range(20)), n_resamples=20_000, seed=SEED)
    naive = stats.bootstrap(
        (target_scores(fixed)[:, 0], fixed.values[:, 0]),
        lambda x, y, axis: stats.pearsonr(stats.rankdata(x, axis=-1), stats.rankdata(y, axis=-1), axis=-1).statistic,
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose([found.lower[0], found.upper[0]], naive, atol=0.02)  # four Monte Carlo standard errors


def test_a_draw_of_fewer_than_three_models_is_no_correlation() -> None:
    weights = np.zeros((2, 20))
    weights[0, :2] = 5.0
    weights[1, :] = 1.0
    draws = correlations_under(dataclasses.replace(target(), score_fixed=True), weights)
    assert np.isnan(draws[0]).all()
    assert np.isfinite(draws[1]).all()


def test_lineage_weights_are_dirichlet_and_shared_between_classes() -> None:
    weights = lineage_weights({"base": ["a", "b", "c"], "chat": ["c", "a", "d", "a"]}, 40_000, SEED)
    base, chat = weights["base"], weights["chat"]
    np.testing.assert_array_equal(base[:, 0], chat[:, 1])
    np.testing.assert_array_equal(chat[:, 1], chat[:, 3])
    np.testing.assert_array_equal(base[:, 2], chat[:, 0])
    total = base.sum(axis=1) + chat[:, 2]
    np.testing.assert_allclose(total, 1.0, atol=ROUNDING)
    assert base[:, 0].mean() == pytest.approx(1 / 4, abs=0.005)
    assert base[:, 0].var() == pytest.approx(3 / 80, abs=0.002)  # (1/4)(3/4) / (4 + 1)


def test_bayesian_bootstrap_keeps_the_pairing() -> None:
    base = target(40)
    tuned = dataclasses.replace(base, values=base.values + 0.05 * np.random.default_rng(3).standard_normal((20, 3)))
    names = [f"lineage {m}" for m in range(20)]
    draws = bayesian_bootstrap({"base": base, "chat": tuned}, {"base": names, "chat": names}, n_draws=2000, seed=SEED)
    points = point_correlations(base), point_correlations(tuned)
    paired = class_difference(points[1], draws["chat"], points[0], draws["base"])
    np.testing.assert_allclose(paired.delta, points[1] - points[0])
    shuffled = class_difference(points[1], draws["chat"][::-1], points[0], draws["base"])
    assert ((shuffled.upper - shuffled.lower) > 3 * (paired.upper - paired.lower)).all()
    same = class_difference(points[0], draws["base"], points[0], draws["base"])
    np.testing.assert_array_equal(same.lower, 0.0)
    np.testing.assert_array_equal(same.p_positive, 0.5)
    swapped = class_difference(points[0], draws["base"], points[1], draws["chat"])
    np.testing.assert_allclose(swapped.lower, -paired.upper, atol=ROUNDING)
    np.testing.assert_allclose(swapped.p_positive, 1 - paired.p_positive, atol=ROUNDING)


def test_bayesian_bootstrap_interval_is_near_the_others() -> None:
    whole = target(41, n=200)
    names = list(range(200))
    draws = bayesian_bootstrap({"all": whole}, {"all": names}, n_draws=4000, seed=SEED)["all"]
    bayes = interval_from_draws(whole, draws)
    plain = fisher(point_correlations(whole), np.full(3, 200), correlation="spearman")
    np.testing.assert_allclose(bayes.lower, plain.lower, atol=0.06)  # other assumptions, same first order
    np.testing.assert_allclose(bayes.upper, plain.upper, atol=0.06)


def test_fisher_by_hand() -> None:
    """r = 0.5, n = 28: atanh 0.549306, se sqrt(1.125 / 25) = 0.212132, reach 0.415771: tanh of 0.133535, 0.965077."""
    found = fisher(np.array([0.5]), np.array([28]), correlation="spearman")
    assert found.lower[0] == pytest.approx(0.132747, abs=2e-6)
    assert found.upper[0] == pytest.approx(0.746533, abs=2e-6)
    tau = fisher(np.array([0.5]), np.array([28]), correlation="kendall")  # se sqrt(0.437 / 24) = 0.134939
    assert tau.lower[0] == pytest.approx(np.tanh(0.549306 - 0.264475), abs=2e-6)


def test_fisher_for_pearson_is_scipys() -> None:
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((2, 30))
    expected = stats.pearsonr(x, y)
    found = fisher(np.array([expected.statistic]), np.array([30]), correlation="pearson", level=0.9)
    np.testing.assert_allclose([found.lower[0], found.upper[0]], expected.confidence_interval(0.9), atol=ROUNDING)


def test_fisher_says_where_it_is_undefined() -> None:
    found = fisher(np.array([1.0, 0.2, np.nan]), np.array([20, 3, 0]), correlation="spearman")
    assert np.isnan(found.lower).all()
    assert [bool(note) for note in found.note] == [True, True, False]


def test_missing_capability_and_given_scores() -> None:
    whole = target()
    holed = whole.capability.copy()
    holed[4, 2] = np.nan
    dropped = dataclasses.replace(whole, capability=holed, missing="drop")
    keep = np.arange(20) != 4
    less = dataclasses.replace(whole, capability=whole.capability[keep], values=whole.values[keep])
    np.testing.assert_allclose(point_correlations(dropped), point_correlations(less), atol=ROUNDING)
    theta = whole.capability.mean(axis=1)
    given = dataclasses.replace(whole, given_score=theta)
    expected = [stats.spearmanr(theta, column).statistic for column in whole.values.T]
    np.testing.assert_allclose(point_correlations(given), expected, atol=ROUNDING)
    assert np.isfinite(bca(given, n_resamples=100, seed=SEED).lower).all()


def test_inside_the_capability_set_the_score_leaves_the_benchmark_out_in_every_draw() -> None:
    whole = target()
    inside = dataclasses.replace(whole, values=whole.capability[:, [2]], member=np.array([2]))
    outside = dataclasses.replace(
        whole, capability=np.delete(whole.capability, 2, axis=1), values=whole.capability[:, [2]], member=np.array([-1])
    )
    weights = bootstrap_weights(list(range(20)), 20, SEED)
    np.testing.assert_allclose(correlations_under(inside, weights), correlations_under(outside, weights), atol=ROUNDING)


def test_same_seed_same_interval() -> None:
    first, second, third = (bca(target(), n_resamples=99, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.lower, second.lower)
    assert (first.lower != third.lower).all()
