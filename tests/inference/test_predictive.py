"""Predictive checks: replications against moments, priors against scipy, discrepancies against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import minimize

from safetystats.inference.boundary import boundary_warnings
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.inference.predictive import (
    DISCREPANCIES,
    NativeScale,
    PredictiveRow,
    discrepancies,
    predictive_check,
    prior_draws,
    replicate,
)
from safetystats.specs import BetaPrior, FactorPriors, LogNormalPrior, NormalPrior

FloatArray = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

MC_SDS = 4.5
"""Monte Carlo standard errors that a simulated moment may lie from its expectation; 1 in 150 000 lies farther."""
KS_LEVEL = 1e-4
"""Level of the Kolmogorov-Smirnov tests; seeds are fixed, so that a pass stays one."""
EXACT = 1e-10
ROOT_OF_ROUNDING = 1e-6
"""A variance that should be zero is 1e-16 on some processors; its root, times a normal, is below this."""
LEAST_SQUARES = 1e-5
"""Gap to a general optimiser, on the scale of correlations."""


def beta(alpha: float, beta_: float) -> BetaPrior:
    return BetaPrior(family="beta", alpha=alpha, beta=beta_)


def priors(capability: BetaPrior | None = None, loading: BetaPrior | None = None) -> FactorPriors:
    return FactorPriors(
        capability_loading=capability or beta(2.0, 2.0),
        loading=loading or beta(2.0, 2.0),
        total_sd=LogNormalPrior(family="lognormal", mu=0.1, sigma=0.5),
        icc=beta(1.0, 3.0),
        capability_icc=beta(2.0, 3.5),
        intercept=NormalPrior(family="normal", mu=-0.2, sigma=0.7),
        further_loading=beta(3.0, 2.0),
    )


def fixed(
    rho: list[float], n_draws: int, icc: float = 0.3, further: list[list[float]] | None = None, sd: float = 1.0,
    omega: float = 0.0,
) -> FactorDraws:  # fmt: skip
    """Return the same parameters over and over; the intercept of column b is b / 10."""
    k = len(rho)
    loadings = np.zeros((k, 0)) if further is None else np.array(further)
    return FactorDraws(
        rho=np.tile(rho, (n_draws, 1)),
        total_sd=np.full((n_draws, k), sd),
        icc=np.full((n_draws, k), icc),
        capability_icc=np.full(n_draws, omega),
        intercept=np.tile(np.arange(k) / 10, (n_draws, 1)),
        further=np.tile(loadings, (n_draws, 1, 1)),
    )


def z_scored(values: FloatArray) -> FloatArray:
    return np.asarray((values - np.nanmean(values, 0)) / np.nanstd(values, 0))


def check(
    values: FloatArray, draws: FactorDraws, families: FloatArray, *, scale: NativeScale | None = None,
    noise: float = 0.0, standardised: bool = True,
) -> dict[str, PredictiveRow]:  # fmt: skip
    n, k = values.shape
    rows = predictive_check(
        draws,
        FactorData(values=values, families=families.astype(np.int64), noise=np.full((n, k), noise)),
        np.random.default_rng(8),
        benchmarks=[f"b{i}" for i in range(k)],
        models=[f"m{i}" for i in range(n)],
        scale=scale,
        standardised=standardised,
    )
    return {row.discrepancy: row for row in rows}


def assert_mean(sample: FloatArray, expected: float) -> None:
    """Assert that independent values have the expected mean."""
    assert abs(sample.mean() - expected) <= MC_SDS * sample.std(ddof=1) / np.sqrt(len(sample))


@pytest.mark.parametrize("omega", [0.0, 0.35])
def test_replications_have_the_covariance_of_the_model(omega: float) -> None:
    rho, further, icc, sd = [0.8, -0.5, 0.3], [[0.3, 0.0], [0.4, 0.5], [0.0, -0.6]], 0.4, 1.7
    draws = fixed(rho, 20_000, icc, further, sd, omega)
    noise = np.array([[0.0, 0.5, 0.2], [0.3, 0.0, 0.0], [0.0, 0.0, 1.0]])
    y = replicate(draws, np.array([4, 4, 9]), noise, np.random.default_rng(1))
    assert y.shape == (20_000, 3, 3)
    loadings = np.column_stack([rho, further])
    unique = sd**2 * (1 - (loadings**2).sum(1))
    y = y - draws.intercept[:, None, :]
    for a in range(3):
        assert_mean(y[:, 0, a], 0.0)
        for b in range(3):
            between = sd**2 * loadings[a] @ loadings[b]
            same = unique[a] if a == b else 0.0
            for m in range(3):
                assert_mean(y[:, m, a] * y[:, m, b], between + same + (noise[m, a] if a == b else 0.0))
            kin = omega * sd**2 * rho[a] * rho[b]
            assert_mean(y[:, 0, a] * y[:, 1, b], kin + icc * same)  # one family
            assert_mean(y[:, 0, a] * y[:, 2, b], 0.0)  # two families


def test_capability_is_correlated_within_families_by_omega() -> None:
    """A benchmark that is capability itself (rho 1, s 1, alpha 0): omega of each draw, families of three and one."""
    omega, n = np.array([0.0, 0.3, 0.8, 1.0]), 20_000
    draws = replace(fixed([1.0], 4 * n), capability_icc=np.repeat(omega, n))
    families = np.array([7, 2, 7, 7])
    theta = replicate(draws, families, np.zeros((4, 1)), np.random.default_rng(22))[..., 0].reshape(4, n, 4)
    for share, drawn in zip(omega, theta, strict=True):
        for i in range(4):
            assert_mean(drawn[:, i], 0.0)
            assert_mean(drawn[:, i] ** 2, 1.0)
            for j in range(i):
                assert_mean(drawn[:, i] * drawn[:, j], share if families[i] == families[j] else 0.0)
    # omega 1: one capability for the family
    np.testing.assert_allclose(theta[3][:, [2, 3]], theta[3][:, [0, 0]], rtol=0, atol=ROOT_OF_ROUNDING)


def test_replications_of_the_same_models_keep_their_capability() -> None:
    draws = fixed([0.9, 0.6], 20_000)
    theta = np.tile([2.0, -1.0], (20_000, 1))
    y = replicate(draws, np.array([0, 1]), np.zeros((2, 2)), np.random.default_rng(2), theta)
    for m, capability in enumerate([2.0, -1.0]):
        assert_mean(y[:, m, 0], 0.9 * capability)
        assert_mean(y[:, m, 1], 0.1 + 0.6 * capability)
        assert_mean((y[:, m, 1] - 0.1 - 0.6 * capability) ** 2, 1 - 0.6**2)


def test_priors_are_those_stated() -> None:
    given, n = priors(loading=beta(1.5, 3.0)), 4000
    draws = prior_draws(given, 3, np.array([False, False, True]), n, np.random.default_rng(3), n_further=2)
    frozen = {
        "total_sd": (draws.total_sd[:, 1], stats.lognorm(0.5, scale=np.exp(0.1))),
        "icc": (draws.icc[:, 2], stats.beta(1, 3)),
        "capability_icc": (draws.capability_icc, stats.beta(2, 3.5)),
        "intercept": (draws.intercept[:, 0], stats.norm(-0.2, 0.7)),
        "loading": ((draws.rho[:, 0] + 1) / 2, stats.beta(1.5, 3)),
        "one anchor": (stats.beta(2, 2).cdf((draws.rho[:, 2] + 1) / 2) * 2 - 1, stats.uniform()),  # the upper half
    }
    first = draws.further[..., 0] / np.sqrt(1 - draws.rho**2)
    second = draws.further[..., 1] / np.sqrt(1 - draws.rho**2 - draws.further[..., 0] ** 2)
    frozen["first partial"] = ((first[:, 0] + 1) / 2, stats.beta(3, 2))
    frozen["second partial"] = ((second[:, 2] + 1) / 2, stats.beta(3, 2))
    for name, (sample, law) in frozen.items():
        assert stats.kstest(sample, law.cdf).pvalue > KS_LEVEL, name
    assert abs(stats.spearmanr(first[:, 0], second[:, 0]).statistic) < MC_SDS / np.sqrt(n)


@pytest.mark.parametrize("capability", [beta(2.0, 2.0), beta(2.0, 4.0)], ids=["symmetric", "asymmetric"])
def test_anchors_follow_the_prior_restricted_to_a_positive_sum(capability: BetaPrior) -> None:
    anchors = np.array([True, False, True])
    draws = prior_draws(priors(capability), 3, anchors, 4000, np.random.default_rng(4))
    assert (draws.rho[:, anchors].sum(1) >= 0).all()
    # The marginal of one anchor: its prior times the probability that the other makes up for it.
    law = stats.beta(capability.alpha, capability.beta)
    grid = np.linspace(0, 1, 20_001)
    density = law.pdf(grid) * law.sf(1 - grid)
    cumulated = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    for column in (0, 2):
        unit = (draws.rho[:, column] + 1) / 2
        assert stats.kstest(np.interp(unit, grid, cumulated / cumulated[-1]), "uniform").pvalue > KS_LEVEL
    assert stats.kstest((draws.rho[:, 1] + 1) / 2, stats.beta(2, 2).cdf).pvalue > KS_LEVEL  # not restricted


def test_prior_draws_keep_pattern_and_plain_residuals() -> None:
    pattern = np.array([[True, False], [True, True], [False, False]])
    draws = prior_draws(priors(), 3, np.ones(3, dtype=bool), 50, np.random.default_rng(5), 2, pattern, families=False)
    assert ((draws.further != 0) == pattern).all()
    assert (draws.unique > 0).all()
    assert (draws.icc == 0).all()
    assert draws.capability_icc.shape == (50,)
    assert (draws.capability_icc == 0).all()
    with pytest.raises(ValueError, match="shapes"):
        prior_draws(priors(), 4, np.ones(3, dtype=bool), 5, np.random.default_rng(5))
    with pytest.raises(ValueError, match="excludes a positive sum"):
        prior_draws(priors(beta(1.0, 400.0)), 3, np.ones(3, dtype=bool), 5, np.random.default_rng(5))


def incomplete(seed: int = 6) -> tuple[FloatArray, FloatArray]:
    """Return correlated scores with gaps, and families."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(25, 1)) * np.array([1.0, -2, 0.5, 3, 1]) + rng.normal(size=(25, 5)) * [1, 2, 1, 1, 2] + 7
    values[rng.random(values.shape) < 0.12] = np.nan
    return values, rng.integers(0, 6, 25)


def test_discrepancies_follow_their_definitions() -> None:
    values, families = incomplete()
    found = discrepancies(values, families)
    r = pd.DataFrame(values).corr().to_numpy()
    eigenvalues = np.sort(np.linalg.eigvalsh(r))[::-1]
    for i in range(3):
        assert found[f"eigenvalue_{i + 1}"] == pytest.approx(eigenvalues[i], abs=EXACT)

    off = ~np.eye(5, dtype=bool)
    best = minimize(
        lambda x: ((r - np.outer(x, x))[off] ** 2).sum(),
        np.array([0.5, -0.5, 0.5, 0.5, 0.5]),
        bounds=[(-1, 1)] * 5,
        options={"ftol": 1e-15, "gtol": 1e-10},
    ).x
    rest = np.abs(r - np.outer(best, best))[off]
    assert found["srmr"] == pytest.approx(np.sqrt((rest**2).mean()), abs=LEAST_SQUARES)
    assert found["largest_residual"] == pytest.approx(rest.max(), abs=LEAST_SQUARES)

    z = z_scored(values)
    assert found["largest_score"] == pytest.approx(np.nanmax(np.abs(z)), abs=EXACT)
    skewness = [abs(stats.skew(column, nan_policy="omit")) for column in values.T]
    assert found["largest_skewness"] == pytest.approx(max(skewness), abs=EXACT)

    frame = pd.DataFrame(z)
    between = frame.groupby(families).transform("mean").where(frame.notna())
    assert found["family_share"] == pytest.approx(float(((between**2).sum() / (frame**2).sum()).mean()), abs=EXACT)
    score = np.nansum(z * best, 1) / (np.isfinite(z) * np.abs(best)).sum(1)
    score = pd.Series(score - score.mean())
    share = float((score.groupby(families).transform("mean") ** 2).sum() / (score**2).sum())
    assert found["family_share_of_factor"] == pytest.approx(share, abs=LEAST_SQUARES)


def test_many_data_sets_are_the_same_as_one_by_one_and_scales_do_not_matter() -> None:
    sets = np.stack([incomplete(seed)[0] for seed in range(4)])
    families = incomplete()[1]
    together = discrepancies(sets, families)
    for i in range(4):
        alone = discrepancies(sets[i] * [3, 1, 0.1, 50, 2] - 4, families)
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            assert together[name][i] == pytest.approx(float(value), abs=LEAST_SQUARES), name


def test_a_heywood_case_keeps_its_loading_in_bounds() -> None:
    r = np.array([[1, 0.9, 0.9], [0.9, 1, 0.3], [0.9, 0.3, 1]])  # the exact single factor would need 1.64
    values = np.random.default_rng(7).normal(size=(60, 3))
    values = (values - values.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(values.T, ddof=0))).T
    vectors, squares = np.linalg.eigh(r)[1], np.maximum(np.linalg.eigh(r)[0], 0)
    made = values @ (vectors * np.sqrt(squares)).T
    r = np.corrcoef(made.T)
    found = discrepancies(made)
    # With the first loading at one the others are (r_1b + l_c r_23) / (1 + l_c^2).
    low, high = 0.0, 1.0
    for _ in range(200):
        low, high = (r[0, 1] + high * r[1, 2]) / (1 + high**2), (r[0, 2] + low * r[1, 2]) / (1 + low**2)
    rest = np.abs([r[0, 1] - low, r[0, 2] - high, r[1, 2] - low * high])
    assert found["largest_residual"] == pytest.approx(rest.max(), abs=LEAST_SQUARES)
    assert rest.max() > 0.1


def test_constant_columns_and_strangers_count_as_uncorrelated() -> None:
    values = np.random.default_rng(1).normal(size=(12, 4))
    values[:, 0] = 0.1
    values[:7, 1], values[9:, 2] = np.nan, np.nan  # two models in common
    found = discrepancies(values)
    assert all(np.isfinite(value) for value in found.values())
    r = np.eye(4)
    for a, b in ((1, 3), (2, 3)):
        both = np.isfinite(values[:, a] + values[:, b])
        r[a, b] = r[b, a] = np.corrcoef(values[both, a], values[both, b])[0, 1]
    assert found["eigenvalue_1"] == pytest.approx(np.linalg.eigvalsh(r)[-1], abs=EXACT)


def test_two_factors_are_unusual_for_one_and_not_for_two() -> None:
    families = np.arange(60) % 12
    rho, second = [0.8] * 6, [[0.5], [0.5], [0.5], [-0.5], [-0.5], [-0.5]]
    truth = fixed(rho, 1, 0.2, second)
    values = z_scored(replicate(truth, families, np.zeros((60, 6)), np.random.default_rng(21))[0])
    one = check(values, fixed(rho, 1000, 0.2), families)
    for name in ("eigenvalue_2", "largest_residual", "srmr"):
        assert one[name].unusual
        assert one[name].tail_probability < 0.005
        assert one[name].observed > one[name].upper
    left, right = one["largest_residual"].where.split(" and ")
    assert int(left[1]) // 3 <= int(right[1]) // 3
    two = check(values, fixed(rho, 1000, 0.2, second), families)
    assert not any(two[name].unusual for name in ("eigenvalue_2", "largest_residual", "srmr"))


def test_one_factor_data_are_not_unusual() -> None:
    families = np.arange(60) % 12
    rho = [0.9, 0.8, 0.7, 0.8, 0.6, -0.5]
    values = replicate(fixed(rho, 1, 0.3), families, np.zeros((60, 6)), np.random.default_rng(12))[0]
    values[::7, 2] = np.nan
    rows = check(z_scored(values), fixed(rho, 1000, 0.3), families)
    assert list(rows) == [name for name in DISCREPANCIES if name != "near_ceiling"]
    assert not any(row.unusual for row in rows.values())
    assert all(row.lower <= row.median <= row.upper for row in rows.values())
    assert rows["eigenvalue_1"].where == ""
    model, benchmark = rows["largest_score"].where.split(" and ")
    z = np.abs(z_scored(values))
    assert z[int(model[1:]), int(benchmark[1:])] == np.nanmax(z)


def test_tail_probabilities_are_uniform_when_the_parameters_are_known() -> None:
    families, draws = np.arange(30) % 7, fixed([0.8, 0.6, 0.7, 0.4, 0.5], 200, 0.4)
    sets = replicate(fixed([0.8, 0.6, 0.7, 0.4, 0.5], 60, 0.4), families, np.zeros((30, 5)), np.random.default_rng(13))
    tails = pd.DataFrame(
        [{name: row.tail_probability for name, row in check(z_scored(y), draws, families).items()} for y in sets]
    )
    for name in tails:
        assert stats.kstest(tails[name], "uniform").pvalue > KS_LEVEL, name


def test_families_that_share_more_than_the_model_says_are_unusual() -> None:
    families = np.repeat(np.arange(10), 5)
    rng = np.random.default_rng(14)
    rho = [0.8, 0.8, 0.7, 0.6]
    capability = np.repeat(rng.normal(size=10), 5)[None]  # the same for a whole family
    values = z_scored(replicate(fixed(rho, 1, 0.0), families, np.zeros((50, 4)), rng, capability)[0])
    rows = check(values, fixed(rho, 1000, 0.0), families)
    assert rows["family_share_of_factor"].tail_probability < 0.005
    assert not check(values, fixed(rho, 1000, 0.0, omega=1.0), families)["family_share_of_factor"].unusual
    shared = z_scored(replicate(fixed(rho, 1, 0.9), families, np.zeros((50, 4)), rng)[0])
    assert check(shared, fixed(rho, 1000, 0.0), families)["family_share"].unusual
    assert not check(shared, fixed(rho, 1000, 0.9), families)["family_share"].unusual


def test_a_ceiling_is_unusual_and_named() -> None:
    families = np.arange(60) % 12
    rho = [0.8, 0.7, 0.7, 0.6]
    latent = replicate(fixed(rho, 1, 0.2), families, np.zeros((60, 4)), np.random.default_rng(15))[0]
    native = 50 + 12 * latent
    native[:, 1] = np.minimum(100.0, 97 + 10 * latent[:, 1])
    bounds = np.array([[0.0, 0, 0, np.nan], [100.0, 100, 100, np.nan]])
    scale = NativeScale(location=native.mean(0), spread=native.std(0), lower=bounds[0], upper=bounds[1])
    rows = check(z_scored(native), fixed(rho, 1000, 0.2), families, scale=scale)
    ceiling = rows["near_ceiling"]
    assert ceiling.observed == pytest.approx((native[:, 1] >= 95).mean(), abs=EXACT)
    assert ceiling.where == "b1"
    assert ceiling.unusual
    assert ceiling.tail_probability < 0.025
    assert rows["largest_skewness"].unusual
    assert rows["largest_skewness"].where == "b1"

    native[:, 1] = 60 + 12 * latent[:, 1]
    free = replace(scale, location=native.mean(0), spread=native.std(0))
    assert not check(z_scored(native), fixed(rho, 1000, 0.2), families, scale=free)["near_ceiling"].unusual


def test_z_scored_data_are_compared_with_z_scored_replications() -> None:
    families = np.arange(40) % 9
    rho = [0.8, 0.7, 0.6, 0.6]
    values = z_scored(replicate(fixed(rho, 1), families, np.zeros((40, 4)), np.random.default_rng(16))[0])
    scale = NativeScale(location=np.full(4, 80.0), spread=np.full(4, 10.0), lower=np.zeros(4), upper=np.full(4, 100.0))
    wide = fixed(rho, 400, sd=5.0)  # as a draw from the prior can be
    again = check(values, wide, families, scale=scale)["near_ceiling"]
    assert again.upper < 0.25
    assert check(values, wide, families, scale=scale, standardised=False)["near_ceiling"].median > 0.35


def test_the_prior_predictive_check_takes_draws_of_the_prior() -> None:
    families = np.arange(40) % 9
    values = z_scored(replicate(fixed([0.99] * 6, 1), families, np.zeros((40, 6)), np.random.default_rng(17))[0])
    draws = prior_draws(priors(), 6, np.ones(6, dtype=bool), 500, np.random.default_rng(18))
    rows = check(values, draws, families, noise=0.01)
    assert rows["eigenvalue_1"].tail_probability < 0.01  # so strong a factor is rare under this prior


def test_boundary_cases_are_named_with_their_numbers() -> None:
    rng = np.random.default_rng(19)
    rho = np.column_stack([rng.uniform(0.98, 1, 200), rng.uniform(-0.2, 0.8, 200), rng.uniform(0.5, 0.7, 200)])
    icc = np.column_stack([rng.uniform(0, 0.015, 200), rng.uniform(0.3, 0.5, 200), rng.uniform(0.92, 1, 200)])
    draws = FactorDraws(
        rho=rho, total_sd=np.ones((200, 3)), icc=icc, capability_icc=np.zeros(200), intercept=np.zeros((200, 3)),
        further=np.zeros((200, 3, 0)),
    )  # fmt: skip
    rows = {(row.benchmark, row.what): row for row in boundary_warnings(draws, ["a", "b", "c"])}
    assert [*rows] == [
        *(("a", what) for what in ("heywood", "communality", "dominant", "icc_low")),
        ("b", "negative"),
        ("c", "icc_high"),
    ]
    odds = rho**2 / (1 - rho**2)
    assert rows["a", "dominant"].value == pytest.approx((odds[:, 0] / odds.sum(1)).mean(), abs=EXACT)
    assert rows["b", "negative"].value == (rho[:, 1] < 0).mean()
    assert rows["a", "communality"].value == pytest.approx((rho[:, 0] ** 2).mean(), abs=EXACT)
    assert all(row.value > row.limit and row.sentence.startswith(row.benchmark) for row in rows.values())

    anchors = np.array([True, False, True])
    assert ("b", "negative") not in {
        (row.benchmark, row.what) for row in boundary_warnings(draws, list("abc"), anchors)
    }
    plain = fixed([0.8, 0.7, 0.7], 100, icc=0.0)
    assert boundary_warnings(plain, ["a", "b", "c"]) == []
    with_further = fixed([0.8, 0.7, 0.7], 100, further=[[0.59], [0.0], [0.0]])
    assert [row.what for row in boundary_warnings(with_further, ["a", "b", "c"])] == ["heywood", "communality"]
