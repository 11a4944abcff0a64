"""Correlations under many choices against scipy one by one, and what must not change them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.scores.intervals import fisher
from safetystats.scores.specification import (
    FEWEST,
    HANDLINGS,
    Estimates,
    handled_correlations,
    region,
    variance_shares,
)
from safetystats.scores.weighted import Correlation

FloatArray = npt.NDArray[np.float64]
COEFFICIENTS: tuple[Correlation, ...] = ("spearman", "kendall", "pearson")
SCIPY = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}


def made(seed: int, n: int = 30) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    score, values = rng.normal(size=(3, n)), rng.normal(size=(n, 4)).round(1)
    score[1, :3] = np.nan
    values[5:8, 2] = np.nan
    return score, values, rng.integers(0, 9, size=n)


def by_hand(
    x: FloatArray, y: FloatArray, family: npt.NDArray[np.int64], handling: str
) -> tuple[FloatArray, FloatArray, int]:
    """Return the points and their count with pandas."""
    frame = pd.DataFrame({"x": x, "y": y, "f": family}).dropna()
    if handling == "none":
        return frame["x"].to_numpy(), frame["y"].to_numpy(), len(frame)
    if handling == "means":
        frame = frame.groupby("f").mean().round(9)
        return frame["x"].to_numpy(), frame["y"].to_numpy(), len(frame)
    if handling == "capable":
        frame = frame.loc[frame.groupby("f")["x"].idxmax()]
        return frame["x"].to_numpy(), frame["y"].to_numpy(), len(frame)
    frame = frame[frame.groupby("f")["x"].transform("size") > 1]
    own = frame.groupby("f")[["x", "y"]].transform("mean")
    count = len(frame) - frame["f"].nunique() + 1
    return (frame["x"] - own["x"]).to_numpy(), (frame["y"] - own["y"]).round(9).to_numpy(), count


@pytest.mark.parametrize("handling", HANDLINGS)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_correlation_is_that_of_scipy_over_the_same_points(handling: str, seed: int) -> None:
    score, values, families = made(seed)
    known = next(h for h in HANDLINGS if h == handling)
    found = handled_correlations(score, values, families, known, COEFFICIENTS)
    for coefficient, (value, count) in found.items():
        for d in range(len(score)):
            for b in range(values.shape[1]):
                x, y, points = by_hand(score[d], values[:, b], families, handling)
                assert count[d, b] == points
                assert value[d, b] == pytest.approx(SCIPY[coefficient](x, y).statistic, abs=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10.0), st.floats(-10.0, 10.0))
def test_units_do_not_matter_and_ranks_see_no_monotone_scale(seed: int, unit: float, origin: float) -> None:
    score, values, families = made(seed)
    for handling in HANDLINGS:
        plain = handled_correlations(score, values, families, handling, COEFFICIENTS)
        moved = handled_correlations(score * unit, values * unit + origin, families, handling, COEFFICIENTS)
        for coefficient in COEFFICIENTS:
            # Family means are rounded to a billionth of the range, so that what is tied stays tied.
            assert moved[coefficient].value == pytest.approx(plain[coefficient].value, abs=1e-7, nan_ok=True)
        if handling in ("none", "capable"):
            bent = handled_correlations(score, np.exp(values), families, handling, ("spearman", "kendall"))
            assert bent["kendall"].value == pytest.approx(plain["kendall"].value, abs=1e-12, nan_ok=True)
            assert bent["spearman"].value == pytest.approx(plain["spearman"].value, abs=1e-12, nan_ok=True)


def test_constant_columns_and_few_points_have_no_correlation() -> None:
    score, values, families = made(3)
    values[:, 0] = 1.0
    values[FEWEST - 1 :, 1] = np.nan
    found = handled_correlations(score, values, families, "none", ("pearson",))["pearson"]
    assert np.isnan(found.value[:, :2]).all()
    assert (found.points[:, :2] == 0).all()
    judged = region(found, "pearson", 0.4, 0.95)
    assert np.isnan(judged.p_distinct[:, :2]).all()
    assert np.isfinite(judged.p_distinct[:, 2:]).all()


@pytest.mark.parametrize("coefficient", COEFFICIENTS)
def test_intervals_are_those_of_fisher_and_probabilities_go_with_them(coefficient: Correlation) -> None:
    value, count = np.array([[-0.7, 0.0, 0.31, 0.9]]), np.array([[12.0, 26.0, 43.0, 9.0]])
    found = region(Estimates(value, count), coefficient, 0.4, 0.9)
    known = fisher(value[0], count[0].astype(np.int64), correlation=coefficient, level=0.9)

    def shown(x: FloatArray) -> FloatArray:
        return np.sin(np.pi * x / 2) if coefficient == "kendall" else x

    assert found.lower[0] == pytest.approx(shown(known.lower), abs=1e-12)
    assert found.upper[0] == pytest.approx(shown(known.upper), abs=1e-12)
    assert found.p_entangled + found.p_inverse + found.p_distinct == pytest.approx(1.0)
    # P(rho > limit) is 0.95 where the lower end of the 90 % interval is the limit.
    edge = region(Estimates(value, count), coefficient, float(found.lower[0, 3]), 0.9)
    assert edge.p_entangled[0, 3] == pytest.approx(0.95)


def test_kendall_is_on_the_scale_of_the_normal_correlation() -> None:
    rng = np.random.default_rng(4)
    pair = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=4000)
    families = np.arange(4000)
    found = handled_correlations(pair[None, :, 0], pair[:, 1:], families, "none", ("kendall",))["kendall"]
    # Four standard errors of a correlation of 0.6 of 4000 pairs by Kendall's tau.
    assert region(found, "kendall", 0.4, 0.95).estimate[0, 0] == pytest.approx(0.6, abs=0.05)


def test_shares_of_variance_are_eta_squared() -> None:
    rng = np.random.default_rng(6)
    values, levels = rng.normal(size=(2, 60)), rng.integers(0, 3, size=60)
    values[0, :5] = np.nan
    found = variance_shares(values, levels)
    for row, share in zip(values, found, strict=True):
        keep = np.isfinite(row)
        groups = [row[keep & (levels == level)] for level in range(3)]
        f = stats.f_oneway(*groups).statistic
        within = keep.sum() - 3
        assert share == pytest.approx(f * 2 / (f * 2 + within))
    assert np.isnan(variance_shares(np.ones((1, 4)), np.array([0, 0, 1, 1]))).all()


def test_a_weight_counts_as_so_many_equal_columns() -> None:
    rng = np.random.default_rng(7)
    values, levels, weights = rng.normal(size=(2, 12)), rng.integers(0, 3, size=12), rng.integers(1, 4, size=12)
    values[1, 2] = np.nan
    repeated = variance_shares(np.repeat(values, weights, axis=1), np.repeat(levels, weights))
    np.testing.assert_allclose(variance_shares(values, levels, weights / 5), repeated)
