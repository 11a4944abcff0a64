"""Estimands of a benchmark: closed forms, simulated populations, and what happens where one is undefined."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from safetystats.summaries.estimands import (
    COLUMNS,
    ESTIMANDS,
    BenchmarkDraws,
    attenuated_correlation,
    disattenuated_correlation,
    estimand_draws,
    estimand_rows,
    rank_correlation,
    reliability,
    summarise,
    within_family_correlation,
)

FloatArray = npt.NDArray[np.float64]
NAN = float("nan")
FACTS = {"model_class": "base", "benchmark": "b", "area": "bias", "n_models": 7, "n_families": 3, "mode": "cut"}


def one(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float64)


def drawn(**changes: object) -> BenchmarkDraws:
    """Two draws that can be worked out by hand."""
    first = BenchmarkDraws(
        rho=one(0.6, -0.8), total_sd=one(1.0, 1.25), icc=one(0.0, 0.5), capability_icc=one(0.0, 0.25),
        fixed_set=one(1.0, -0.5), spread=10.0, mean_noise=0.36,
    )  # fmt: skip
    return dataclasses.replace(first, **changes)


def test_by_hand_where_the_fit_knows_no_error() -> None:
    found = estimand_draws(drawn())
    assert list(found) == list(ESTIMANDS)
    expected = {
        "correlation": (0.6, -0.8),
        "rank_correlation": (6 / np.pi * np.arcsin(0.3), -6 / np.pi * np.arcsin(0.4)),
        "fixed_set_correlation": (1.0, -0.5),
        "within_family_correlation": (0.6, -0.8 * np.sqrt(0.75) / np.sqrt(0.48 + 0.5 * 0.36)),
        "slope": (6.0, -10.0),
        "sd_between_models": (10.0, 12.5),
        "icc": (0.0, 0.5),
        "attenuated_correlation": (0.6, -0.8),
        "disattenuated_correlation": (0.6 / 0.8, -1.0 / np.sqrt(1.5625 - 0.36)),
        "reliability": (0.64, 1 - 0.36 / 1.5625),
        "reliable_share_left": (1 - 0.5625, 1 - 1 / 1.2025),
        "p_all_error": (0.0, 0.0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-12, err_msg=name)


def test_by_hand_where_the_fit_knows_the_error() -> None:
    plain, free = estimand_draws(drawn()), estimand_draws(drawn(error_free=True))
    np.testing.assert_allclose(free["reliability"], [1 / 1.36, 1.5625 / 1.9225])
    np.testing.assert_allclose(free["disattenuated_correlation"], [0.6, -0.8])
    np.testing.assert_allclose(free["attenuated_correlation"], [0.6 / np.sqrt(1.36), -1.0 / np.sqrt(1.9225)])
    np.testing.assert_allclose(free["reliable_share_left"], [0.64, 0.36])
    for name in ("correlation", "slope", "icc", "fixed_set_correlation", "within_family_correlation"):
        np.testing.assert_array_equal(free[name], plain[name], err_msg=name)


def test_both_fits_agree_about_one_population() -> None:
    """(rho, s) of the score free of error, and what they are of the score with it."""
    rho, s, w = one(0.9, -0.3, 0.0), one(0.8, 1.1, 0.5), 0.3
    seen = np.sqrt(s**2 + w)
    rho_seen = rho * s / seen
    np.testing.assert_allclose(disattenuated_correlation(rho_seen, seen, w, error_free=False), rho)
    np.testing.assert_allclose(attenuated_correlation(rho, s, w, error_free=True), rho_seen)
    np.testing.assert_allclose(reliability(seen, w, error_free=False), reliability(s, w, error_free=True))


def test_equal_what_a_simulated_population_shows() -> None:
    """400 000 models in families of five from the model itself; 0.01 is four errors of a correlation or more."""
    rng = np.random.default_rng(1)
    n, size, rho, s, kappa, omega, w = 400_000, 5, 0.7, 1.3, 0.6, 0.3, 0.5
    family = np.repeat(np.arange(n // size), size)
    theta = np.sqrt(omega) * rng.normal(size=n // size)[family] + np.sqrt(1 - omega) * rng.normal(size=n)
    shared = rng.normal(size=n // size)[family]
    unique = s * np.sqrt(1 - rho**2) * (np.sqrt(kappa) * shared + np.sqrt(1 - kappa) * rng.normal(size=n))
    free = s * rho * theta + unique
    seen = free + np.sqrt(w) * rng.normal(size=n)
    got = {
        k: v[0] for k, v in estimand_draws(
            BenchmarkDraws(
                rho=one(rho), total_sd=one(s), icc=one(kappa), capability_icc=one(omega), fixed_set=one(NAN),
                spread=2.0, mean_noise=w, error_free=True,
            )
        ).items()
    }  # fmt: skip

    def within(values: FloatArray) -> FloatArray:
        means = np.bincount(family, values) / size
        return np.asarray(values - means[family])

    def corr(x: FloatArray, y: FloatArray) -> float:
        return float(np.corrcoef(x, y)[0, 1])

    true = corr(theta, free)
    expected = {
        "correlation": true,
        "rank_correlation": stats.spearmanr(theta, free).statistic,
        "within_family_correlation": corr(within(theta), within(free)),
        "slope": 2.0 * np.polyfit(theta, free, 1)[0],
        "sd_between_models": 2.0 * free.std(),
        "attenuated_correlation": corr(theta, seen),
        "disattenuated_correlation": true,
        "reliability": free.var() / seen.var(),
        "reliable_share_left": 1 - true**2,
    }
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, abs=0.01 * (2 if name in {"slope", "sd_between_models"} else 1)), name
    # The figures are apart, so that a mix-up would show.
    assert abs(got["within_family_correlation"] - rho) > 0.05
    assert abs(got["within_family_correlation"] - within_family_correlation(one(rho), one(kappa), one(0.0))) > 0.02
    assert abs(got["rank_correlation"] - rho) > 0.012


def test_rank_and_within_family_correlations_keep_their_range() -> None:
    rho = np.linspace(-1, 1, 41)
    shared = within_family_correlation(rho, np.full(41, 0.4), np.full(41, 0.7))
    for found in (rank_correlation(rho), within_family_correlation(rho, np.full(41, 0.4), np.zeros(41)), shared):
        np.testing.assert_allclose(found[[0, 20, 40]], [-1, 0, 1], atol=1e-12)
        assert (np.diff(found) > 0).all()
    assert (np.abs(rank_correlation(rho)) <= np.abs(rho) + 1e-12).all()
    np.testing.assert_allclose(within_family_correlation(rho, np.zeros(41), np.zeros(41)), rho)  # no families
    # Families that share as much of both leave the correlation as it is.
    np.testing.assert_allclose(within_family_correlation(rho, np.full(41, 0.4), np.full(41, 0.4)), rho)


@pytest.mark.parametrize(("rho", "icc", "omega"), [(0.7, 0.6, 0.45), (-0.4, 0.2, 0.8), (0.9, 0.0, 0.3), (0.5, 0.7, 0)])
def test_within_family_correlation_is_that_of_differences(rho: float, icc: float, omega: float) -> None:
    """Two models in each of 200 000 families: 0.01 is four errors of the correlation of their differences."""
    rng = np.random.default_rng(3)

    def drawn_with(share: float) -> FloatArray:
        common, own = rng.normal(size=(200_000, 1)), rng.normal(size=(200_000, 2))
        return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * own)

    theta = drawn_with(omega)
    score = 1.7 * (rho * theta + np.sqrt(1 - rho**2) * drawn_with(icc))
    expected = np.corrcoef(np.diff(theta)[:, 0], np.diff(score)[:, 0])[0, 1]
    assert within_family_correlation(one(rho), one(icc), one(omega))[0] == pytest.approx(expected, abs=0.01)


def test_families_that_share_everything() -> None:
    found = within_family_correlation(one(0.5, 0.5, 1.0, 0.0), one(0.3, 1.0, 0.3, 1.0), one(1.0, 1.0, 1.0, 0.5))
    np.testing.assert_array_equal(found, [0.0, NAN, NAN, NAN])


def test_unknown_items() -> None:
    """Nothing is said of the error; in a fit with errors such a column had none."""
    for error_free in (False, True):
        found = estimand_draws(drawn(mean_noise=NAN, error_free=error_free))
        for name in ("disattenuated_correlation", "reliability", "reliable_share_left", "p_all_error"):
            assert np.isnan(found[name]).all(), name
        np.testing.assert_array_equal(found["attenuated_correlation"], [0.6, -0.8])


def test_transformed_scores_and_capability_not_kept() -> None:
    found = estimand_draws(drawn(spread=NAN, fixed_set=one(NAN, NAN)))
    for name in ("slope", "sd_between_models", "fixed_set_correlation"):
        assert np.isnan(found[name]).all(), name
    assert np.isfinite(found["reliability"]).all()


def hundred(**changes: FloatArray) -> BenchmarkDraws:
    """A hundred draws alike, corrected correlation 0.75."""
    first = BenchmarkDraws(
        rho=np.full(100, 0.6), total_sd=np.ones(100), icc=np.zeros(100), capability_icc=np.zeros(100),
        fixed_set=np.full(100, NAN), mean_noise=0.36,
    )  # fmt: skip
    return dataclasses.replace(first, **changes)


@pytest.mark.parametrize(("n_bad", "defined"), [(4, True), (5, True), (6, False), (100, False)])
def test_draws_without_reliable_variance(n_bad: int, defined: bool) -> None:
    """Their share is told; beyond 5 % there is no summary of what they lack."""
    draws = hundred(total_sd=np.where(np.arange(100) < n_bad, 0.5, 1.0))
    rows = estimand_rows(draws, None, 0.9, **FACTS).set_index("estimand")
    assert rows.loc["p_all_error", "mean"] == pytest.approx(n_bad / 100)
    assert np.isnan(rows.loc["p_all_error", "upper"])
    for name, value in (("disattenuated_correlation", 0.75), ("reliable_share_left", 1 - 0.75**2)):
        if defined:
            assert rows.loc[name, "mean"] == pytest.approx(value)
            assert rows.loc[name, "lower"] == pytest.approx(value)
        else:
            assert rows.loc[name, ["mean", "sd", "lower", "upper"]].isna().all()
    assert np.isfinite(rows.loc["reliability", "mean"])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize(("n_beyond", "n_undefined", "defined"), [(5, 0, True), (3, 2, True), (3, 3, False)])
def test_corrected_correlations_beyond_one(n_beyond: int, n_undefined: int, defined: bool, sign: float) -> None:
    """0.9 / 0.8 is kept as a draw, counts as all error, and enters the summary as one."""
    place = np.arange(100)
    beyond, undefined = place < n_beyond, place >= 100 - n_undefined
    draws = hundred(rho=sign * np.where(beyond, 0.9, 0.6), total_sd=np.where(undefined, 0.6, 1.0))
    found = estimand_draws(draws)
    np.testing.assert_allclose(found["disattenuated_correlation"][beyond], sign * 1.125)
    assert np.isnan(found["disattenuated_correlation"][undefined]).all()
    np.testing.assert_array_equal(found["p_all_error"], (beyond | undefined).astype(float))
    rows = estimand_rows(draws, None, 0.98, **FACTS).set_index("estimand")
    assert rows.loc["p_all_error", "mean"] == pytest.approx((n_beyond + n_undefined) / 100)
    true, left = rows.loc["disattenuated_correlation"], rows.loc["reliable_share_left"]
    if not defined:
        assert true[["mean", "sd", "lower", "upper"]].isna().all()
        assert left[["mean", "sd", "lower", "upper"]].isna().all()
        return
    n = 100 - n_undefined
    assert true["mean"] == pytest.approx(sign * (n_beyond + 0.75 * (n - n_beyond)) / n)
    assert sorted((abs(true["lower"]), abs(true["upper"]))) == pytest.approx([0.75, 1.0])
    assert left["mean"] == pytest.approx((1 - 0.75**2) * (n - n_beyond) / n)
    assert left["lower"] == 0.0


def test_the_weight_of_draws_beyond_one_counts() -> None:
    draws = hundred(rho=np.where(np.arange(100) < 50, 0.9, 0.6))
    for share, defined in ((0.04, True), (0.06, False)):
        weight = np.where(np.arange(100) < 50, share, 1 - share)
        rows = estimand_rows(draws, weight, 0.9, **FACTS).set_index("estimand")
        assert rows.loc["p_all_error", "mean"] == pytest.approx(share)
        assert np.isfinite(rows.loc["disattenuated_correlation", "mean"]) == defined


def test_the_weight_of_undefined_draws_counts() -> None:
    draws = one(NAN, 1.0, 2.0)
    assert summarise(draws, one(0.04, 0.48, 0.48), 0.9).mean == pytest.approx(1.5)
    assert np.isnan(summarise(draws, one(0.06, 0.47, 0.47), 0.9).mean)
    assert np.isnan(summarise(draws, one(1.0, 0.0, 0.0), 0.9).mean)


def test_summary_is_that_of_the_repeated_draws() -> None:
    rng = np.random.default_rng(4)
    values, times = rng.normal(size=400), rng.integers(0, 5, size=400)
    repeated = np.repeat(values, times)
    found = summarise(values, 3.0 * times, 0.9)
    assert found.mean == pytest.approx(repeated.mean())
    assert found.sd == pytest.approx(repeated.std())
    expected = np.quantile(repeated, (0.05, 0.95), method="inverted_cdf")
    np.testing.assert_allclose((found.lower, found.upper), expected)
    assert summarise(repeated, None, 0.9) == pytest.approx(found)


def test_summary_of_normal_draws() -> None:
    draws = stats.norm(2, 3).ppf((np.arange(10_000) + 0.5) / 10_000)
    found = summarise(draws, None, 0.95)
    np.testing.assert_allclose(found, [2, 3, 2 - 3 * 1.96, 2 + 3 * 1.96], atol=0.01)


def test_rows() -> None:
    rows = estimand_rows(drawn(), one(3.0, 1.0), 0.95, **FACTS)
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["estimand"]) == list(ESTIMANDS)
    assert (rows["n_models"] == 7).all()
    assert (rows["n_families"] == 3).all()
    assert (rows["level"] == 0.95).all()
    slope = rows.set_index("estimand").loc["slope"]
    assert (slope["mean"], slope["lower"], slope["upper"]) == pytest.approx((0.75 * 6 - 0.25 * 10, -10, 6))
    assert slope["sd"] == pytest.approx(16 * np.sqrt(0.75 * 0.25))


def test_estimands_are_described_and_bounded() -> None:
    rng = np.random.default_rng(6)
    draws = BenchmarkDraws(
        rho=rng.uniform(-1, 1, 500), total_sd=rng.lognormal(0, 0.5, 500), icc=rng.uniform(0, 1, 500),
        capability_icc=rng.uniform(0, 1, 500), fixed_set=rng.uniform(-1, 1, 500), spread=4.0, mean_noise=0.2,
        error_free=True,
    )  # fmt: skip
    for name, values in estimand_draws(draws).items():
        estimand = ESTIMANDS[name]
        assert estimand.name == name
        assert estimand.symbol
        assert estimand.meaning
        assert "\n" not in estimand.meaning
        assert ((values >= estimand.lower) & (values <= estimand.upper)).all(), name
    assert len({estimand.symbol for estimand in ESTIMANDS.values()}) == len(ESTIMANDS)
