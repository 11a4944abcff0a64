"""The closed-form likelihood against one written from the definition, with dense matrices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mixed_data import SETS, columns_of, fit, fit_ren2024, read_inputs, score_names
from scipy import stats
from scipy.optimize import minimize_scalar
from statsmodels.regression.linear_model import OLS

from safetystats.inference.mixed import MixedFit
from safetystats.inference.mixed_profile import (
    FloatArray,
    best_ratio,
    cluster_robust_covariance,
    fit_at,
    log_likelihoods,
    make_design,
    satterthwaite_freedom,
)

RELATIVE = 1e-4
"""What was asked; the two searches agree to about 1e-6, which is what the flatness of a maximum leaves."""
BOUNDARY_ABSOLUTE = 1e-5
"""Group variance, in squared pooled sd, below which the dense search and ours both mean zero."""


def dense_fit(y: FloatArray, x: FloatArray, groups: FloatArray, *, reml: bool) -> dict[str, object]:
    """Maximise the likelihood over log(ratio), and compare with a ratio of zero; nothing shared with the package."""
    n, p = x.shape
    same = groups[:, None] == groups[None, :]

    def at(ratio: float) -> dict[str, object]:
        v = np.eye(n) + ratio * same
        inverse = np.linalg.inv(v)
        gram = x.T @ inverse @ x
        beta = np.linalg.solve(gram, x.T @ inverse @ y)
        residual = y - x @ beta
        freedom = n - p if reml else n
        variance = residual @ inverse @ residual / freedom
        deviance = freedom * np.log(2 * np.pi * variance) + np.linalg.slogdet(v)[1] + freedom
        if reml:
            deviance += np.linalg.slogdet(gram)[1]
        return {
            "estimate": beta,
            "std_error": np.sqrt(variance * np.diag(np.linalg.inv(gram))),
            "group_variance": ratio * variance,
            "residual_variance": variance,
            "log_likelihood": -0.5 * deviance,
        }

    def deviance(log_ratio: float) -> float:
        return -2.0 * at(np.exp(log_ratio))["log_likelihood"]  # type: ignore[operator]

    grid = np.linspace(-16.0, 16.0, 65)
    centre = grid[int(np.argmin([deviance(g) for g in grid]))]
    polished = minimize_scalar(deviance, bounds=(centre - 0.6, centre + 0.6), method="bounded", options={"xatol": 1e-9})
    inside, zero = at(np.exp(polished.x)), at(0.0)
    return zero if zero["log_likelihood"] >= inside["log_likelihood"] - 1e-9 else inside  # type: ignore[operator]


def check(found: MixedFit, data: pd.DataFrame, name: str, *, reml: bool) -> None:
    y, x, groups = columns_of(data, name)
    expected = dense_fit(y, x, groups, reml=reml)
    for key in ("estimate", "std_error"):
        np.testing.assert_allclose(
            getattr(found, key), expected[key], rtol=RELATIVE, atol=1e-7, err_msg=f"{name} {key}"
        )
    for key in ("residual_variance", "log_likelihood"):
        assert getattr(found, key) == pytest.approx(expected[key], rel=RELATIVE), (name, key)
    assert found.group_variance == pytest.approx(expected["group_variance"], rel=RELATIVE, abs=BOUNDARY_ABSOLUTE), name
    assert found.optimiser, f"{name}: no statsmodels optimiser confirmed the maximum"
    assert found.status in {"ok", "boundary"}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", score_names("helm-classic"))
def test_equals_a_dense_profile_on_helm_classic(name: str, reml: bool) -> None:
    data = read_inputs("helm-classic")
    check(fit(data, name, reml=reml), data, name, reml=reml)


def test_equals_a_dense_profile_on_ren2024(mirror: Path) -> None:
    data, fits = fit_ren2024(mirror)
    asked = {name: found for name, found in fits.items() if found.status != "not_applicable"}
    assert len(asked) >= 120
    for name, found in asked.items():
        check(found, data, name, reml=True)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_the_grid_and_the_single_fit_are_one_likelihood(name: str, reml: bool) -> None:
    data = read_inputs(name)
    y, x, groups = columns_of(data, score_names(name)[0])
    design = make_design(y, x, groups)
    ratios = np.array([0.0, 1e-6, 0.3, 20.0, 1e6])
    many = log_likelihoods(design, ratios, reml=reml)
    alone = [fit_at(design, float(ratio), reml=reml).log_likelihood for ratio in ratios]
    np.testing.assert_allclose(many, alone, rtol=1e-12)


def test_a_perfect_lineage_has_no_maximum() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(10), 2)
    x = np.column_stack([np.ones(20), rng.normal(size=20)])
    y = rng.normal(size=10)[groups] + x[:, 1]
    assert np.isinf(best_ratio(make_design(y, x, groups), reml=True))


def test_clustered_errors_equal_those_of_statsmodels_at_a_ratio_of_zero() -> None:
    y, x, groups = columns_of(read_inputs("three"), "ratio_1")
    design = make_design(y, x, groups)
    ours = cluster_robust_covariance(design, fit_at(design, 0.0, reml=True))
    theirs = OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": groups}).cov_params()
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_freedom_on_the_boundary_is_that_of_least_squares() -> None:
    y, x, groups = columns_of(read_inputs("pairs"), "negative")
    design = make_design(y, x, groups)
    freedom = satterthwaite_freedom(design, fit_at(design, 0.0, reml=True), reml=True)
    np.testing.assert_allclose(freedom, y.size - x.shape[1], rtol=1e-9)


def test_size_of_the_test_and_coverage_of_the_interval_without_a_class_effect() -> None:
    """400 simulations of 27 pairs: the LR test may be somewhat liberal, the t interval should hold its level."""
    rng = np.random.default_rng(2024)
    draws, n = 400, 54
    groups = np.repeat(np.arange(27), 2)
    chat = np.tile([0.0, 1.0], 27)
    rejected = covered = 0
    for _ in range(draws):
        capability = rng.normal(size=27)[groups] + 0.3 * rng.normal(size=n)
        y = 0.5 * capability + rng.normal(size=27)[groups] + rng.normal(size=n)
        x = np.column_stack([np.ones(n), capability, chat])
        larger, smaller = make_design(y, x, groups), make_design(y, x[:, :2], groups)
        gain = 2.0 * (
            fit_at(larger, best_ratio(larger, reml=False), reml=False).log_likelihood
            - fit_at(smaller, best_ratio(smaller, reml=False), reml=False).log_likelihood
        )
        rejected += stats.chi2.sf(gain, 1) < 0.05
        best = fit_at(larger, best_ratio(larger, reml=True), reml=True)
        freedom = satterthwaite_freedom(larger, best, reml=True)[2]
        covered += abs(best.coefficients[2]) < stats.t.ppf(0.975, freedom) * np.sqrt(best.covariance[2, 2])
    # Binomial sd at 5 % and 400 draws is 1.1 points: three of them either side, and room for the LR test's first order.
    assert 0.02 < rejected / draws < 0.095
    assert 0.917 < covered / draws < 0.983
