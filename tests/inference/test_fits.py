"""Fits of whole tables: what they recover, what the same seed repeats, what must not disturb what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import nutpie
import pytest
import xarray as xr
from factor_data import INTEGRATED, SAMPLED, FloatArray, default_spec, fit_small, quick_spec, small_table
from scipy import stats

from safetystats.inference.arrays import Structure
from safetystats.inference.cut import fixed_set_correlation
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.parameters import FactorData
from safetystats.inference.problems import data_of, structure_of
from safetystats.inference.sampling import draw_posterior
from safetystats.inference.store import FitStore
from safetystats.inference.streams import seed_for
from safetystats.specs import BetaPrior, SamplingPlan
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable

SAME = 0.25
"""Difference of two posterior means in posterior sd: four errors of either side at 500 effective draws."""


def test_without_data_the_draws_follow_the_priors() -> None:
    """All cells unseen. Reference: priors drawn by numpy and turned by the sign rule over 7 anchors."""
    size = SAMPLED
    n, k = size.n_models, size.n_benchmarks
    blank = FactorData(values=np.full((n, k), np.nan), families=np.arange(n) % 8, noise=np.zeros((n, k)))
    every = Structure(anchors=np.ones(k, dtype=bool), pattern=np.ones((k, 2), dtype=bool))
    even = BetaPrior(family="beta", alpha=2.0, beta=2.0)
    priors = default_spec().priors.model_copy(update={"capability_loading": even})
    plan = SamplingPlan(chains=4, draws=1000, tune=400, target_accept=0.8)
    posterior = draw_posterior(SAMPLED, blank, priors, every, plan, seed=3)["posterior"].to_dataset()
    rng = np.random.default_rng(1)
    free = 2 * rng.beta(2, 2, size=(100_000, k)) - 1
    turned = free * np.where(free.sum(1, keepdims=True) >= 0, 1, -1)
    partial = 2 * rng.beta(3, 3, size=(100_000, k, 2)) - 1
    first = partial[..., 0] * np.sqrt(1 - free**2)
    second = partial[..., 1] * np.sqrt(1 - free**2 - first**2)
    tails = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    expected = {
        "rho": np.quantile(turned, tails),
        "total_sd": stats.lognorm.ppf(tails, 0.25),
        "icc": stats.beta.ppf(tails, 1, 3),
        "capability_icc": tails,
        "intercept": stats.norm.ppf(tails),
        "theta": stats.norm.ppf(tails),
        "further": np.quantile([first, second], tails),
    }
    for name, quantiles in expected.items():
        values = posterior[name].to_numpy().ravel()
        got = (values[:, None] < quantiles).mean(0)
        # Four errors of a share of 28 000 or more values, at least half of them effective; of omega there are 4000.
        limit = 0.017 if name != "capability_icc" else 0.045
        np.testing.assert_allclose(got, tails, rtol=0, atol=limit, err_msg=name)
    assert (posterior["rho"].sum("benchmark") >= 0).all()


def test_sign_rule_holds_in_every_draw(small_fits: tuple[CapabilityFit, SafetyFit]) -> None:
    assert (small_fits[0].posterior["rho"].sum("benchmark") > 0).all()


def assert_truth_is_recovered(fit: CapabilityFit, safety: SafetyFit, truth: Truth) -> None:
    """24 models: every loading, icc and safety correlation in its 99 % interval; capability close to the truth."""
    for name, expected in (("rho", truth.loadings[0, :5]), ("icc", truth.icc[:5])):
        lower, upper = fit.posterior[name].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
        assert ((lower < expected) & (expected < upper)).all(), name
    lower, upper = safety.draws["cut"]["rho"].quantile([0.005, 0.995], dim=("chain", "draw")).to_numpy()
    assert ((lower < truth.loadings[0, 5:]) & (truth.loadings[0, 5:] < upper)).all()
    assert np.corrcoef(fit.theta.mean(0), truth.theta)[0, 1] > 0.8
    assert float(fit.posterior["capability_icc"].mean()) < 0.5  # families are unrelated in the simulation


def test_recovers_the_truth(small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit]) -> None:
    assert_truth_is_recovered(*small_fits, small[1])


def test_recovers_the_truth_with_gaps(tmp_path: Path) -> None:
    """A tenth of all cells missing: capability is sampled."""
    table, truth = small_table()
    assert np.isnan(table.matrix(table.columns("capability"))).any()
    fit, safety = fit_small(table, quick_spec(400, pareto_k=50.0), tmp_path, kind=SAMPLED)
    assert fit.kind == SAMPLED
    assert_truth_is_recovered(fit, safety, truth)


def test_a_fit_knows_what_it_was_made_of(small_fits: tuple[CapabilityFit, SafetyFit]) -> None:
    fit = small_fits[0]
    n_draws, table = 2000, fit.table
    assert fit.parameters.rho.shape == (n_draws, 5)
    assert fit.parameters.capability_icc.shape == (n_draws,)
    assert fit.parameters.further.shape == (n_draws, 5, 0)
    np.testing.assert_array_equal(fit.data.values, table.matrix(table.columns("capability")))
    assert fit.data.complete
    np.testing.assert_array_equal(fit.theta[500:1000], fit.posterior["theta"].sel(chain=1).to_numpy())
    np.testing.assert_array_equal(fit.parameters.rho[500:1000], fit.posterior["rho"].sel(chain=1).to_numpy())


def test_the_same_seed_gives_the_same_draws(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    fit, safety = fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path)
    assert not fit.reused
    np.testing.assert_array_equal(fit.theta, small_fits[0].theta)
    for name in ("rho", "total_sd", "icc", "intercept"):
        np.testing.assert_array_equal(safety.draws["cut"][name], small_fits[1].draws["cut"][name])
    np.testing.assert_array_equal(safety.draws["joint"]["log_weight"], small_fits[1].draws["joint"]["log_weight"])


def assert_same_posterior(a: xr.DataArray, b: xr.DataArray) -> None:
    gap = np.abs(a.mean(("chain", "draw")) - b.mean(("chain", "draw")))
    assert (gap < SAME * b.std(("chain", "draw"))).all()


def test_another_seed_gives_other_draws_of_the_same_posterior(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    fit, safety = fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path, seed=6)
    assert not np.array_equal(fit.theta, small_fits[0].theta)
    assert_same_posterior(fit.posterior["rho"], small_fits[0].posterior["rho"])
    assert_same_posterior(fit.posterior["theta"], small_fits[0].posterior["theta"])
    assert_same_posterior(safety.draws["cut"]["rho"], small_fits[1].draws["cut"]["rho"])


def test_another_safety_benchmark_disturbs_nothing(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    table = small[0]
    last = table.columns("safety")[-1]
    fit, safety = small_fits
    store = FitStore(root=tmp_path)
    store.save(fit.key, fit.draws)
    alone = fit_capability(
        table.select(benchmarks=[*table.columns("capability"), last]), fit.spec, 5, INTEGRATED, store
    )
    assert alone.reused
    only = fit_safety(alone, store)
    assert only.benchmarks == [last]
    for group, name in (("cut", "rho"), ("cut", "icc"), ("joint", "log_weight")):
        np.testing.assert_array_equal(only.draws[group][name][0], safety.draws[group][name].sel(benchmark=last))


def test_another_class_disturbs_nothing(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    """Streams are named by class: fitted after another class, with the same compiled graph, the draws are the same."""
    other = small_table(seed=12, n_models=15, missing=0.0)[0]
    other = other.replace(models=other.models.assign(model_class="chat"))
    store = FitStore(root=tmp_path)
    spec = quick_spec(pareto_k=50.0)
    second = fit_capability(other, spec, 5, INTEGRATED, store)
    again = fit_capability(small[0], spec, 5, INTEGRATED, store)
    assert second.model_class == "chat"
    np.testing.assert_array_equal(again.theta, small_fits[0].theta)


def test_no_graph_is_compiled_for_any_class_prior_or_column(
    small: tuple[ScoreTable, Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is compiled, for another number of models, another prior or a sixth column; each leaves its mark."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr(nutpie, "compile_pymc_model", refuse)
    spec, store = quick_spec(200, pareto_k=50.0), FitStore(root=tmp_path)
    whole = small_table(missing=0.0)[0]
    base = fit_capability(whole, spec, 1, INTEGRATED, store)
    chat = fit_capability(small_table(seed=12, n_models=15, missing=0.0)[0], spec, 1, INTEGRATED, store)
    assert chat.theta.shape == (800, 15)
    low = BetaPrior(family="beta", alpha=30.0, beta=30.0)
    other = spec.model_copy(update={"priors": spec.priors.model_copy(update={"capability_loading": low})})
    pulled = fit_capability(whole, other, 1, INTEGRATED, store)
    assert (np.abs(pulled.parameters.rho.mean(0)) < np.abs(base.parameters.rho.mean(0)) - 0.1).all()
    names = [*base.benchmarks, whole.columns("safety")[0]]
    found = draw_posterior(
        None, data_of(whole, names, spec), spec.priors, structure_of(whole, names, spec), spec.sampling, seed=2
    )["posterior"]
    assert found["rho"].shape == (4, 200, 6)
    expected = np.corrcoef(base.theta.mean(0), whole.matrix(names)[:, -1])[0, 1]
    assert float(found["rho"][..., -1].mean()) == pytest.approx(expected, abs=0.2)


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
    safety = fit_safety(fit_capability(table.replace(scores=scores), fit.spec, 5, INTEGRATED, store), store)
    assert safety.left_out == {first: f"{seen} models have a score"}
    assert first not in safety.benchmarks
    assert FitStore(root=tmp_path).load(safety.key) is not None


def test_fixed_set_correlation_is_that_of_the_models_with_a_score() -> None:
    rng = np.random.default_rng(4)
    theta: FloatArray = rng.normal(size=(3, 8))
    column = rng.normal(size=8)
    column[[1, 6]] = np.nan
    seen = np.isfinite(column)
    expected = [np.corrcoef(row[seen], column[seen])[0, 1] for row in theta]
    np.testing.assert_allclose(fixed_set_correlation(theta, column), expected, rtol=1e-12)


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
