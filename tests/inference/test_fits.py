"""Fits of whole tables: what they recover, what the same seed repeats, what must not disturb what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factor_data import SIZE, default_spec, fit_small, quick_spec, small_table
from scipy import stats

from safetystats.inference.arrays import FactorArrays, FactorSize, factor_arrays
from safetystats.inference.fits import (
    CapabilityFit,
    SafetyFit,
    family_codes,
    fit_capability,
    fit_safety,
    size_for,
)
from safetystats.inference.sampling import CompiledFactor, draw_posterior
from safetystats.inference.store import FitStore
from safetystats.inference.streams import seed_for
from safetystats.specs import SamplingPlan
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import Truth, simulate_table
from safetystats.tables.table import ScoreTable


def test_without_data_the_draws_follow_the_priors(compiled: CompiledFactor) -> None:
    """All cells unseen. Reference: priors drawn by numpy and turned by the sign rule over 13 anchors."""
    zeros = np.zeros((SIZE.n_models, SIZE.n_benchmarks))
    arrays = FactorArrays(
        scores=zeros, seen=zeros, members=np.zeros((SIZE.n_families, SIZE.n_models)),
        counts=np.zeros((SIZE.n_families, SIZE.n_benchmarks)), anchors=np.ones(SIZE.n_benchmarks),
    )  # fmt: skip
    plan = SamplingPlan(chains=4, draws=1000, tune=300, target_accept=0.8)
    posterior = draw_posterior(compiled, arrays, plan, seed=3)["posterior"].to_dataset()
    free = 2 * np.random.default_rng(1).beta(2, 2, size=(100_000, SIZE.n_benchmarks)) - 1
    turned = free * np.where(free.sum(1, keepdims=True) >= 0, 1, -1)
    tails = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = {
        "rho": np.quantile(turned, tails),
        "total_sd": stats.lognorm.ppf(tails, 0.5),
        "icc": stats.beta.ppf(tails, 1, 3),
        "intercept": stats.norm.ppf(tails),
        "theta": stats.norm.ppf(tails),
    }
    for name, quantiles in expected.items():
        got = (posterior[name].to_numpy()[..., None] < quantiles).mean((0, 1, 2))
        # 52 000 values, at least half as many effective: four errors of a share are below 0.0125.
        np.testing.assert_allclose(got, tails, rtol=0, atol=0.0125, err_msg=name)
    assert (posterior["rho"].sum(posterior["rho"].dims[-1]) >= 0).all()


def test_sign_rule_holds_in_every_draw(small_fits: tuple[CapabilityFit, SafetyFit]) -> None:
    fit = small_fits[0]
    assert (fit.posterior["rho"].sum("benchmark") > 0).all()


def test_recovers_the_truth(small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit]) -> None:
    """24 models: every loading, icc and safety correlation in its 99 % interval; capability close to the truth."""
    truth, (fit, safety) = small[1], small_fits
    for name, expected in (("rho", truth.loadings[0, :5]), ("icc", truth.icc[:5])):
        lower, upper = fit.posterior[name].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
        assert ((lower < expected) & (expected < upper)).all(), name
    lower, upper = safety.draws["cut"]["rho"].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
    assert ((lower < truth.loadings[0, 5:]) & (truth.loadings[0, 5:] < upper)).all()
    assert np.corrcoef(fit.theta.mean(0), truth.theta)[0, 1] > 0.8


@pytest.mark.slow
def test_recovers_a_large_table(tmp_path: Path) -> None:
    """300 models, 30 families: minutes. Within 99 % intervals, and those are narrow."""
    loadings, correlations = [0.9, 0.8, 0.7, -0.5, 0.6], [0.7, 0.0, -0.4]
    table, truth = simulate_table(
        n_models=300, n_families=30, capability_loadings=loadings, safety_correlations=correlations,
        icc=[0.3, 0.1, 0.5, 0.2, 0.0, 0.3, 0.3, 0.3], missing=0.05, seed=3,
    )  # fmt: skip
    part = standardise(align(table))
    size = size_for([part])
    store = FitStore(root=tmp_path)
    fit = fit_capability(part, quick_spec(pareto_k=50.0), 1, size, store)
    safety = fit_safety(fit, size, store)
    assert fit.convergence().r_hat < 1.05
    rho = fit.posterior["rho"]
    lower, upper = rho.quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
    assert ((lower < loadings) & (loadings < upper)).all()
    assert (upper - lower < 0.3).all()
    lower, upper = fit.posterior["icc"].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
    assert ((lower - 0.01 < truth.icc[:5]) & (truth.icc[:5] < upper)).all()
    lower, upper = safety.draws["cut"]["rho"].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
    assert ((lower < correlations) & (correlations < upper)).all()
    assert (upper - lower < 0.45).all()


def test_the_same_seed_gives_the_same_draws(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    fit, safety = fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path)
    assert not fit.reused
    np.testing.assert_array_equal(fit.theta, small_fits[0].theta)
    for name in ("rho", "total_sd", "icc", "intercept"):
        np.testing.assert_array_equal(safety.draws["cut"][name], small_fits[1].draws["cut"][name])
    np.testing.assert_array_equal(safety.draws["joint"]["log_weight"], small_fits[1].draws["joint"]["log_weight"])


def test_another_seed_gives_other_draws_of_the_same_posterior(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    fit, safety = fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path, seed=6)
    assert not np.array_equal(fit.theta, small_fits[0].theta)
    for a, b in ((fit.posterior, small_fits[0].posterior), (safety.draws["cut"], small_fits[1].draws["cut"])):
        gap = np.abs(a["rho"].mean(("chain", "draw")) - b["rho"].mean(("chain", "draw")))
        assert (gap < 0.25 * b["rho"].std(("chain", "draw"))).all()  # four errors at 500 effective draws


def test_another_safety_benchmark_disturbs_nothing(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    table = small[0]
    last = table.columns("safety")[-1]
    fit, safety = small_fits
    store = FitStore(root=tmp_path)
    store.save(fit.key, fit.draws)
    alone = fit_capability(table.select(benchmarks=[*table.columns("capability"), last]), fit.spec, 5, SIZE, store)
    assert alone.reused
    only = fit_safety(alone, SIZE, store)
    assert only.benchmarks == [last]
    for group, name in (("cut", "rho"), ("cut", "icc"), ("joint", "log_weight")):
        np.testing.assert_array_equal(only.draws[group][name][0], safety.draws[group][name].sel(benchmark=last))


def test_another_class_disturbs_nothing(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    """Streams are named by class: fitted after another class, at the same compiled size, the draws are the same."""
    other = small_table(seed=12, n_models=15)[0]
    other = other.replace(models=other.models.assign(model_class="chat"))
    store = FitStore(root=tmp_path)
    spec = quick_spec(pareto_k=50.0)
    second = fit_capability(other, spec, 5, SIZE, store)
    again = fit_capability(small[0], spec, 5, SIZE, store)
    assert second.model_class == "chat"
    np.testing.assert_array_equal(again.theta, small_fits[0].theta)


def test_padding_does_not_change_the_posterior(
    small: tuple[ScoreTable, Truth], compiled: CompiledFactor, small_fits: tuple[CapabilityFit, SafetyFit]
) -> None:
    """Five columns in thirteen places, or in the last of them: the same posterior."""
    table = small[0]
    names = table.columns("capability")
    values = np.full((table.n_models, SIZE.n_benchmarks), np.nan)
    values[:, -len(names) :] = table.matrix(names)
    anchors = np.arange(SIZE.n_benchmarks) >= SIZE.n_benchmarks - len(names)
    arrays = factor_arrays(values, family_codes(table), anchors, SIZE)
    plan = quick_spec().sampling
    rho = draw_posterior(compiled, arrays, plan, seed=9)["posterior"]["rho"].to_numpy()[..., -len(names) :]
    usual = small_fits[0].posterior["rho"]
    gap = np.abs(rho.mean((0, 1)) - usual.mean(("chain", "draw")).to_numpy())
    assert (gap < 0.25 * usual.std(("chain", "draw")).to_numpy()).all()  # four errors at 500 effective draws


def test_too_few_scores_are_left_out_with_the_reason(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    table = small[0]
    first = table.columns("safety")[0]
    scores = table.scores.copy()
    scores.loc[scores.index[4:], first] = np.nan
    seen = int(scores[first].notna().sum())
    fit = small_fits[0]
    store = FitStore(root=tmp_path)
    store.save(fit.key, fit.draws)
    safety = fit_safety(fit_capability(table.replace(scores=scores), fit.spec, 5, SIZE, store), SIZE, store)
    assert safety.left_out == {first: f"{seen} models have a score"}
    assert first not in safety.benchmarks
    assert FitStore(root=tmp_path).load(safety.key) is not None


def test_data_that_do_not_fit_are_refused() -> None:
    size = FactorSize(n_models=3, n_benchmarks=2, n_families=2)
    families = np.array([0, 1, 1])
    good = np.zeros((3, 2))
    anchors = np.ones(2, dtype=bool)
    assert factor_arrays(good, families, anchors, size).counts.tolist() == [[1, 1], [2, 2]]
    for values, codes in (
        (np.zeros((4, 2)), np.zeros(4, dtype=int)),
        (np.zeros((3, 3)), families),
        (good, np.array([0, 1, 2])),
    ):
        with pytest.raises(ValueError, match="do not fit into"):
            factor_arrays(values, codes, np.ones(values.shape[1], dtype=bool), size)


def test_seeds_are_named() -> None:
    found = {
        seed_for(1, "capability", "base"),
        seed_for(2, "capability", "base"),
        seed_for(1, "capability", "chat"),
        seed_for(1, "capabilit", "ybase"),
        seed_for(1, "capability"),
        seed_for(1, "capability", "base", ""),
    }
    assert len(found) == 6
    assert seed_for(1, "capability", "base") == seed_for(1, "capability", "base")
    assert all(0 <= seed < 2**64 for seed in found)


def test_size_holds_every_class_and_one_safety_column() -> None:
    tables = [small_table()[0], small_table(seed=12, n_models=15)[0]]
    assert size_for(tables) == FactorSize(n_models=24, n_benchmarks=6, n_families=8)
    assert default_spec().gates.pareto_k == 0.7
