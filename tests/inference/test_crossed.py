"""The crossed model fitted: known parameters come back, saved fits prove themselves, model effects are needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crossed_data import Dense, FloatArray, crossed_spec, made_design, made_table

from safetystats.inference.calibration import ecdf_envelope, rank_statistic
from safetystats.inference.crossed import CrossedFit, draw_crossed, fit_crossed, sample_crossed
from safetystats.inference.crossed_values import (
    CrossedData,
    Effects,
    Variances,
    design_of,
    free_of_sd,
    overall_prior,
    prior_free,
    simulate_crossed,
    variances_of,
)
from safetystats.inference.store import FitStore, with_attrs
from safetystats.specs import HalfNormalPrior, SamplingPlan

SPEC = crossed_spec(draws=200, tune=150)
TRUE_SDS = np.array([0.1, 0.3, 0.3, 0.2, 0.1, 0.3, 0.3, 0.1, 0.3, 0.4])
TRUE = np.concatenate([free_of_sd(TRUE_SDS), [0.0, 0.5], [-0.6, -1.0], np.full(20, -0.6)])


@pytest.fixture(scope="module")
def known() -> tuple[Effects, CrossedData, dict[str, FloatArray]]:
    like = made_design(20, (8, 7, 5), missing=30)
    effects, data = simulate_crossed(TRUE, like, SPEC.priors, np.random.default_rng(11))
    tree, plans = sample_crossed(data, SPEC, seed=12)
    assert len(plans) == 1
    posterior = tree["posterior"].to_dataset()
    return effects, data, {str(n): v.to_numpy() for n, v in posterior.items() if n != "capability"}


def flat(values: FloatArray) -> FloatArray:
    return np.asarray(values.reshape(-1, *values.shape[2:]))


def test_known_parameters_come_back(known: tuple[Effects, CrossedData, dict[str, FloatArray]]) -> None:
    effects, _, found = known
    at = variances_of(TRUE)
    far = 3.5
    """Posterior sds from the truth: about one of a thousand right answers lies further away, and 12 are looked at."""
    for name, truth in (
        ("model_sd", at.model_sd), ("model_area_sd", at.model_area_sd), ("residual_median", at.residual_median),
        ("benchmark_sd", at.benchmark_sd), ("overall", effects.overall),
    ):  # fmt: skip
        values = flat(found[name])
        assert (np.abs(values.mean(axis=0) - truth) < far * values.std(axis=0)).all(), name


def test_intervals_of_many_effects_cover(known: tuple[Effects, CrossedData, dict[str, FloatArray]]) -> None:
    effects, data, found = known
    area = effects.overall + effects.area
    truths = {
        "benchmark_coefficient": area[data.areas] + effects.benchmark,
        "model_area_effect": effects.model + effects.model_area,
        "lineage_area_effect": effects.lineage + effects.lineage_area,
        "both": effects.model + effects.model_area + (effects.lineage + effects.lineage_area)[:, data.lineages],
    }
    drawn = {**found, "both": found["model_area_effect"] + found["lineage_area_effect"][..., data.lineages]}
    for name, truth in truths.items():
        values = flat(drawn[name])
        lower, upper = np.quantile(values, [0.05, 0.95], axis=0)
        # 60 to 120 correlated effects each: a share below 0.75 would need an error of more than four binomial sds.
        assert ((lower < truth) & (truth < upper)).mean() > 0.75, name
        # Lineage and model of a pair can hardly be told apart; their sum can.
        limit = 0.8 if name in ("both", "benchmark_coefficient") else 0.3
        assert np.corrcoef(values.mean(axis=0).ravel(), truth.ravel())[0, 1] > limit, name


def test_draws_are_those_of_the_seed() -> None:
    data, plan = made_design(4, (2, 2)), SamplingPlan(chains=2, draws=100, tune=100, target_accept=0.8)
    one, two, other = (
        draw_crossed(design_of(data), data.capability, SPEC.priors, plan, seed, cores=1)["posterior"][
            "overall"
        ].to_numpy()
        for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_without_model_effects_the_class_effect_is_far_too_certain() -> None:
    """Pseudo-replication, both variances estimated: benchmarks would count as if each had models of its own."""
    like = made_design(10, (8, 8))
    sds = np.array([0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.7, 0.3])
    free = np.concatenate([free_of_sd(sds), [-2.0, -2.0, -0.6, -2.0], np.full(16, -0.6)])
    _, data = simulate_crossed(free, like, SPEC.priors, np.random.default_rng(13))
    none = HalfNormalPrior(family="half_normal", sigma=1e-3)
    without = SPEC.priors.model_copy(update={"model_sd": none, "model_area_sd": none})
    found = []
    for priors in (SPEC.priors, without):
        tree, _ = sample_crossed(data, SPEC.model_copy(update={"priors": priors}), seed=14)
        found.append(float(tree["posterior"]["benchmark_coefficient"][..., 2].mean("benchmark").std()))
    assert found[1] < 0.5 * found[0], found


def class_effect(
    whole: Dense, columns: FloatArray, prior: tuple[float, float], scores: FloatArray
) -> tuple[float, float]:
    """Return mean and sd of the overall class effect by normal theory."""
    mean, sd = prior
    gain = np.linalg.solve(whole.covariance, sd**2 * columns)
    return mean + gain @ (scores - whole.mean), float(np.sqrt(sd**2 - gain @ (sd**2 * columns)))


def test_only_with_model_effects_is_the_error_of_the_class_effect_as_stated() -> None:
    """Over simulated data sets with known variances: errors in units of the stated sd, with and without the effect."""
    like, rng = made_design(10, (6, 6)), np.random.default_rng(15)
    design = design_of(like)
    at = Variances(
        benchmark_sd=np.full(4, 0.1), area_sd=np.full(4, 0.05), model_sd=0.6, model_area_sd=0.3, lineage_share=0.2,
        lineage_area_share=0.2, residual_median=0.6, residual_spread=0.1, residual_sd=np.full(12, 0.6),
    )  # fmt: skip
    left = np.sqrt(0.6**2 + at.model_sd**2 + at.model_area_sd**2)
    blind = replace(at, model_sd=1e-6, model_area_sd=1e-6, residual_sd=np.full(12, left))
    columns = np.tile(design.x[:, 2], 12)
    means, sds = overall_prior(SPEC.priors, design.terms)
    right, wrong = (Dense(like, design, which, SPEC.priors) for which in (at, blind))
    free = np.concatenate([free_of_sd(np.full(4, 0.1)), free_of_sd(np.full(4, 0.05)), free_of_sd(np.array([0.6, 0.3])),
                           np.full(2, np.log(0.25)), [np.log(0.6), np.log(0.1)], np.full(12, np.log(0.6))])  # fmt: skip
    errors = []
    for _ in range(200):
        effects, data = simulate_crossed(free, like, SPEC.priors, rng)
        scores = data.scores.T.ravel()
        for whole in (right, wrong):
            mean, sd = class_effect(whole, columns, (float(means[2]), float(sds[2])), scores)
            errors.append((effects.overall[2] - mean) / sd)
    spread = np.array(errors).reshape(-1, 2).std(axis=0)
    assert abs(spread[0] - 1) < 0.2, spread  # four standard errors of an sd from 200
    assert spread[1] > 1.8, spread


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[CrossedFit, pd.Series, FitStore]:
    table, capability = made_table()
    store = FitStore(root=tmp_path_factory.mktemp("crossed"))
    return fit_crossed(table, capability, SPEC, 21, store), capability, store


def test_a_saved_fit_comes_back_and_proves_itself(stored: tuple[CrossedFit, pd.Series, FitStore]) -> None:
    fit, capability, store = stored
    assert not fit.reused
    again = fit_crossed(fit.table, capability, SPEC, 21, store)
    assert again.reused
    assert again.key == fit.key
    np.testing.assert_array_equal(again.values("overall"), fit.values("overall"))
    assert again.convergence()[0].passes(SPEC.gates)


def test_a_saved_fit_of_other_data_is_not_trusted(
    stored: tuple[CrossedFit, pd.Series, FitStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetystats.inference import crossed

    fit, capability, store = stored
    store.save(fit.key, with_attrs(fit.draws, log_density=float(fit.draws.attrs["log_density"]) + 0.01))
    sampled = []
    monkeypatch.setattr(crossed, "sample_crossed", lambda *_: sampled.append(1) or (_strip(fit), fit.plans))
    assert not fit_crossed(fit.table, capability, SPEC, 21, store).reused
    assert sampled


def _strip(fit: CrossedFit) -> object:
    return fit.draws


def test_what_cannot_be_fitted_is_named(stored: tuple[CrossedFit, pd.Series, FitStore]) -> None:
    fit = stored[0]
    assert fit.left_out == {"m00": "no capability", "flat": "all scores are equal"}
    assert "m00" not in fit.table.scores.index
    assert fit.posterior.sizes["model"] == fit.table.n_models


def test_capability_draws_are_fitted_in_turn_and_mixed(tmp_path: Path) -> None:
    table, capability = made_table()
    rng = np.random.default_rng(22)
    draws = capability.fillna(0.0).to_numpy() + 0.3 * rng.standard_normal((50, len(capability)))
    quick = crossed_spec(draws=100, tune=100, ess=10.0, r_hat=1.3)
    fit = fit_crossed(table, capability, quick, 23, FitStore(root=tmp_path), capability_draws=draws, n_imputations=2)
    assert len(fit.convergence()) == 2
    assert fit.posterior.sizes["chain"] == 2 * SPEC.sampling.chains
    assert fit.capability.shape == (len(fit.values("model_sd")), fit.table.n_models)
    assert np.abs(fit.capability[0] - fit.capability[-1]).max() > 0.1


def test_one_class_is_refused(tmp_path: Path) -> None:
    table, capability = made_table()
    with pytest.raises(ValueError, match="two classes"):
        fit_crossed(table.select(model_class="base"), capability, SPEC, 1, FitStore(root=tmp_path))


ENVELOPE, SIMULATIONS = 0.999, 30


@pytest.mark.slow
def test_ranks_of_truths_are_uniform() -> None:
    """Simulation-based calibration in small; `benchmarks/calibration_crossed.py` has the design of ren2024."""
    like = made_design(6, (3, 2, 2), missing=4)
    plan = SamplingPlan(chains=2, draws=100, tune=120, target_accept=0.8)
    found: dict[str, list[float]] = {}
    for number in range(SIMULATIONS):
        rng = np.random.default_rng([2025, number])
        free = prior_free(7, SPEC.priors, rng)
        effects, data = simulate_crossed(free, like, SPEC.priors, rng)
        tree = draw_crossed(design_of(data), data.capability, SPEC.priors, plan, int(rng.integers(2**62)), cores=1)
        drawn = {str(n): flat(v.to_numpy()) for n, v in tree["posterior"].to_dataset().items() if n != "capability"}
        at = variances_of(free)
        truths = {
            "overall": (effects.overall[2], drawn["overall"][:, 2]),
            "model_sd": (at.model_sd, drawn["model_sd"]),
            "lineage_share": (at.lineage_share, drawn["lineage_share"]),
            "area_sd": (at.area_sd[2], drawn["area_sd"][:, 2]),
            "residual_sd": (at.residual_sd[0], drawn["residual_sd"][:, 0]),
            "model_area_effect": (effects.model[0] + effects.model_area[0, 0], drawn["model_area_effect"][:, 0, 0]),
        }
        for name, (truth, values) in truths.items():
            found.setdefault(name, []).append(float(rank_statistic(np.asarray(truth), values, rng)))
    outside = {n: np.sort(v).round(2).tolist() for n, v in found.items()
               if not ecdf_envelope(len(v), ENVELOPE).holds(np.array(v))}  # fmt: skip
    assert not outside
