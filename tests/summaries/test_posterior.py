"""Tables of the latent-factor model, number by number on draws written by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fits_by_hand import CHAINS, DRAWS, capability_fit, good_draws, only, prepared, safety_fit

from safetystats.specs import Rope
from safetystats.summaries.estimands import summarise
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.posterior import (
    latent_loadings,
    latent_scores,
    posterior_correlations,
    verdict_of,
)

SINGLE = 1e-6
"""Draws of safety benchmarks are kept in single precision."""


def steps() -> np.ndarray:
    """1000 draws that take the values 0.0005, 0.0015, ..., 0.9995, in mixed order; shape (1, CHAINS, DRAWS)."""
    values = (np.arange(CHAINS * DRAWS) + 0.5) / (CHAINS * DRAWS)
    return np.random.default_rng(1).permutation(values).reshape(1, CHAINS, DRAWS)


def test_numbers_of_a_known_posterior() -> None:
    table = prepared()
    fit = safety_fit(capability_fit(table), steps(), total_sd=2.0)
    row = only(posterior_correlations(fit, 0.9, Rope(), set()), mode="cut")
    name = table.columns("safety")[0]
    assert (row["model_class"], row["benchmark"], row["n_models"]) == ("base", name, 8)
    assert row["n_families"] == table.models["family"].nunique() == 3
    assert row["mean"] == pytest.approx(0.5, abs=SINGLE)
    assert row["sd"] == pytest.approx(np.sqrt(1 / 12), abs=1e-5)
    assert row["lower"] == pytest.approx(0.05, abs=0.0011)  # one draw
    assert row["upper"] == pytest.approx(0.95, abs=0.0011)
    assert row["p_entangled"] == pytest.approx(0.6, abs=SINGLE)
    assert row["p_distinct"] == pytest.approx(0.4, abs=SINGLE)
    assert row["p_inverse"] == 0.0
    assert row["verdict"] == "undetermined"
    assert row["icc"] == pytest.approx(0.25, abs=SINGLE)
    assert row["level"] == 0.9


def test_slope_is_in_native_units() -> None:
    """y_native = location + spread z, z = ... + rho s theta: so the slope is rho s spread per sd of capability."""
    table = prepared()
    name = table.columns("safety")[0]
    fit = safety_fit(capability_fit(table), steps(), total_sd=2.0)
    row = only(posterior_correlations(fit, 0.9, Rope(), set()), mode="cut")
    spread = float(table.spread.loc["base", name])
    assert row["slope"] == pytest.approx(0.5 * 2.0 * spread, rel=1e-5)
    assert row["slope_lower"] == pytest.approx(row["lower"] * 2.0 * spread, rel=1e-5)
    assert row["slope_upper"] == pytest.approx(row["upper"] * 2.0 * spread, rel=1e-5)


def test_no_slope_on_a_transformed_scale() -> None:
    table = prepared()
    bent = table.replace(preparation=dataclasses.replace(table.preparation, transform="rank_normal"))
    row = only(posterior_correlations(safety_fit(capability_fit(bent), steps()), 0.9, Rope(), set()), mode="cut")
    assert np.isnan([row["slope"], row["slope_lower"], row["slope_upper"]]).all()
    assert np.isfinite(row["lower"])


def test_joint_uses_the_weights() -> None:
    """Weight proportional to rho turns the uniform into density 2 rho: mean 2/3, P(rho > 0.4) = 1 - 0.16."""
    rho = steps()
    fit = safety_fit(capability_fit(prepared()), rho, weight=rho / rho.sum())
    table = posterior_correlations(fit, 0.9, Rope(), set())
    row = only(table, mode="joint")
    assert row["mean"] == pytest.approx(2 / 3, abs=1e-5)
    assert row["sd"] == pytest.approx(np.sqrt(1 / 18), abs=1e-5)
    assert row["lower"] == pytest.approx(np.sqrt(0.05), abs=0.0011)
    assert row["upper"] == pytest.approx(np.sqrt(0.95), abs=0.0011)
    assert row["p_entangled"] == pytest.approx(0.84, abs=1e-5)
    assert only(table, mode="cut")["mean"] == pytest.approx(0.5, abs=SINGLE)


def test_a_refit_replaces_the_weights() -> None:
    rho = steps()
    fit = safety_fit(
        capability_fit(prepared()), rho, weight=rho / rho.sum(), pareto_k=1.3, refit={}, refit_rho=-good_draws()
    )
    table = posterior_correlations(fit, 0.95, Rope(), set())
    row = only(table, mode="joint")
    assert row["mean"] == pytest.approx(-0.7, abs=0.01)  # four errors: 4 * 0.05 / sqrt(1000)
    assert row["verdict"] == "inverse"
    assert row["pareto_k"] == 1.3
    assert only(table, mode="cut")["mean"] == pytest.approx(0.5, abs=SINGLE)


def test_weights_of_zero_and_one() -> None:
    """All weight on one draw: the posterior is this draw."""
    rho, weight = steps(), np.zeros((1, CHAINS, DRAWS))
    weight[0, 1, 7] = 1.0
    row = only(
        posterior_correlations(safety_fit(capability_fit(prepared()), rho, weight=weight), 0.9, Rope(), set()),
        mode="joint",
    )
    assert row["mean"] == row["lower"] == row["upper"] == pytest.approx(rho[0, 1, 7], abs=SINGLE)
    assert row["sd"] == 0.0


def test_weighted_interval_by_hand() -> None:
    values, weight = np.array([3.0, 1.0, 2.0, 4.0]), np.array([0.2, 0.1, 0.6, 0.1])
    assert summarise(values, weight, 0.5)[2:] == (2.0, 3.0)  # cumulative 0.1, 0.7, 0.9, 1.0 at 1, 2, 3, 4
    assert summarise(values, weight, 0.9)[2:] == (1.0, 4.0)
    gaps = summarise(np.array([1.0, np.nan]), np.array([0.5, 0.5]), 0.5)
    assert np.isnan(gaps).all()


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.95, 0.0, 0.05), "entangled"),
        ((0.0, 0.97, 0.03), "inverse"),
        ((0.02, 0.02, 0.96), "distinct"),
        ((0.949, 0.0, 0.051), "undetermined"),
        ((0.5, 0.1, 0.4), "undetermined"),
        ((float("nan"), float("nan"), float("nan")), "undetermined"),
    ],
)
def test_verdicts(probabilities: tuple[float, float, float], expected: str) -> None:
    assert verdict_of(*probabilities, 0.95) == expected


@pytest.mark.parametrize(
    ("centre", "expected"), [(0.7, "entangled"), (-0.7, "inverse"), (0.0, "distinct"), (0.4, "undetermined")]
)
def test_verdicts_follow_the_draws(centre: float, expected: str) -> None:
    table = posterior_correlations(
        safety_fit(capability_fit(prepared()), good_draws(centre=centre)), 0.95, Rope(), set()
    )
    assert set(table["verdict"]) == {expected}
    sums = table[["p_entangled", "p_inverse", "p_distinct"]].sum(axis=1)
    np.testing.assert_allclose(sums, 1.0, atol=SINGLE)


def test_the_limit_and_probability_are_those_of_the_study() -> None:
    fit = safety_fit(capability_fit(prepared()), steps())
    row = only(posterior_correlations(fit, 0.9, Rope(limit=0.1, probability=0.9), set()), mode="cut")
    assert row["p_entangled"] == pytest.approx(0.9, abs=SINGLE)
    row = only(posterior_correlations(fit, 0.9, Rope(limit=0.2, probability=0.75), set()), mode="cut")
    assert row["verdict"] == "entangled"


@pytest.mark.parametrize(
    ("held", "cut", "joint"),
    [
        (set(), "entangled", "entangled"),
        ({"cut/base"}, "withheld", "entangled"),
        ({"joint/base"}, "entangled", "withheld"),
        ({"joint/base/safety_1"}, "entangled", "withheld"),
        ({"joint/base/safety_2", "cut/chat"}, "entangled", "entangled"),
        ({"cut/base", "joint/base"}, "withheld", "withheld"),
    ],
)
def test_a_withheld_verdict_is_not_shown(held: set[str], cut: str, joint: str) -> None:
    table = posterior_correlations(safety_fit(capability_fit(prepared()), good_draws()), 0.95, Rope(), held)
    assert only(table, mode="cut")["verdict"] == cut
    assert only(table, mode="joint")["verdict"] == joint
    assert np.isfinite(table["mean"]).all()


def test_counts_follow_the_scores_of_the_benchmark() -> None:
    table = prepared()
    scores = table.scores.copy()
    lonely = table.models["family"] == table.models["family"].iloc[-1]
    scores.loc[lonely.to_numpy(), "safety_1"] = np.nan
    gappy = table.replace(scores=scores)
    row = only(posterior_correlations(safety_fit(capability_fit(gappy), steps()), 0.9, Rope(), set()), mode="cut")
    assert row["n_models"] == 8 - int(lonely.sum())
    assert row["n_families"] == 2


def test_no_benchmarks_give_an_empty_table() -> None:
    fit = safety_fit(capability_fit(prepared()), np.zeros((0, CHAINS, DRAWS)))
    found = posterior_correlations(fit, 0.9, Rope(), set())
    assert len(found) == 0
    assert tuple(found.columns) == TABLES["posterior_correlations"]


def test_scores_and_loadings_by_hand() -> None:
    table = prepared()
    ramp = np.broadcast_to(np.linspace(0, 1, DRAWS)[:, None], (CHAINS, DRAWS, 3)) * np.array([1.0, 0.5, -0.2])
    fit = capability_fit(table, rho=ramp)
    loadings = latent_loadings(fit, 0.9).set_index("benchmark")
    np.testing.assert_allclose(loadings["loading"], [0.5, 0.25, -0.1], atol=1e-12)
    np.testing.assert_allclose(loadings["upper"], [0.95, 0.475, -0.01], atol=1e-3)
    np.testing.assert_allclose(loadings["lower"], [0.05, 0.025, -0.19], atol=1e-3)
    icc = fit.posterior["icc"].mean(("chain", "draw")).to_numpy()
    np.testing.assert_allclose(loadings["icc"], icc, atol=1e-12)
    scores = latent_scores(fit, 0.95).set_index("model")
    theta = fit.posterior["theta"]
    for model in table.scores.index:
        values = theta.sel(model=model).to_numpy().ravel()
        assert scores.loc[model, "score"] == pytest.approx(values.mean())
        assert scores.loc[model, "lower"] == pytest.approx(np.quantile(values, 0.025))
        assert scores.loc[model, "upper"] == pytest.approx(np.quantile(values, 0.975))
        assert scores.loc[model, "family"] == table.models.loc[model, "family"]
    assert set(scores["method"]) == {"latent"}
