"""Multi-group fits: maximum likelihood of lavaan, alignment, leave-out of pairs, what is refused, and whole runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factor_data import FloatArray, read_factor
from groups_data_made import (
    N_FAMILIES,
    SIZE,
    WEAK,
    changed_names,
    default_spec,
    invariance_spec,
    made_draws,
    made_fit,
    many_models,
    quick_invariance,
    two_classes,
)

from safetystats.errors import DataError
from safetystats.inference.groups import (
    common_table,
    fit_common,
    fit_groups,
    group_convergence,
    group_data,
    group_size,
    pooled_capability,
)
from safetystats.inference.groups_data import LEVELS, GroupDraws, Level, aligned_draws, group_arrays
from safetystats.inference.groups_loo import leave_group_units_out, log_conditional
from safetystats.inference.marginal import family_log_likelihood
from safetystats.inference.store import FitStore
from safetystats.specs import NormalPrior, SamplingPlan
from safetystats.tables.prepare import standardise, unstandardise

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
LIKELIHOOD = 0.01
"""Posterior means against maximum likelihood with 5000 models: posterior sds are about 0.01 to 0.03, the Monte Carlo
error of 2000 draws below 0.001; the largest difference was 0.004."""
ROUNDING = 1e-9


def lavaan(level: Level) -> tuple[GroupDraws, float]:
    """Estimates of lavaan as one draw, and their log likelihood."""
    table = pd.read_csv(REFERENCE / "groups_lavaan.csv", comment="#", keep_default_na=False)
    table = table[table["level"] == level]

    def wide(quantity: str) -> FloatArray:
        return np.array(table["value"][table["quantity"] == quantity]).reshape(1, 2, -1)

    found = GroupDraws(
        loading=wide("loading"),
        intercept=wide("intercept"),
        unique=wide("unique"),
        icc=np.zeros((1, 2, 8)),
        capability_icc=np.zeros((1, 2)),
        latent_mean=wide("latent_mean")[..., 0],
        latent_sd=np.sqrt(wide("latent_variance")[..., 0]),
    )
    return found, float(table["value"][table["quantity"] == "log_likelihood"].iloc[0])


def log_likelihood(draws: GroupDraws) -> float:
    return sum(float(family_log_likelihood(draws.of_class(c), own).sum()) for c, own in enumerate(many_models()))


def test_moments_of_the_reference_are_those_of_the_simulated_models() -> None:
    stored = pd.read_csv(REFERENCE / "groups_moments.csv", comment="#")
    for label, own in zip(("base", "chat"), many_models(), strict=True):
        part = stored[stored["class"] == label].iloc[:, 3:].to_numpy(dtype=np.float64)
        np.testing.assert_allclose(part[0], own.values.mean(axis=0), rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(part[1:], np.cov(own.values.T, ddof=0), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("level", LEVELS)
def test_lavaan_finds_the_same_likelihood_and_its_maximum(level: Level) -> None:
    """Its log likelihood at its estimates is ours, and a step away from them, within the level, is worse."""
    best, expected = lavaan(level)
    # Estimates are written with 15 digits; sums over 5000 models carry 1e-9 of their size.
    assert log_likelihood(best) == pytest.approx(expected, abs=1e-4)
    shared = {"loading": level != "configural", "intercept": level == "scalar"}
    for name in ("loading", "intercept", "unique"):
        for step in (-0.03, 0.03):
            moved = getattr(best, name).copy()
            moved[:, slice(None) if shared.get(name) else 1, 2] += step
            assert log_likelihood(replace(best, **{name: moved})) < expected - 0.1, (name, step)
    for name in {"metric": ("latent_sd",), "scalar": ("latent_sd", "latent_mean")}.get(level, ()):
        for step in (-0.1, 0.1):
            moved = getattr(best, name) + np.array([0.0, step])
            assert log_likelihood(replace(best, **{name: moved})) < expected - 0.1, (name, step)


@pytest.mark.slow
def test_posterior_means_are_maximum_likelihood_with_many_models_and_weak_priors() -> None:
    """Slow: one compilation and three runs."""
    from safetystats.inference.sampling import compile_groups, draw_groups

    wide = NormalPrior(family="normal", mu=0.0, sigma=2.0)
    factor = default_spec().priors.model_copy(update={"intercept": wide})
    priors = invariance_spec().priors.model_copy(update=WEAK)
    data, plan = many_models(), SamplingPlan(chains=4, draws=500, tune=1000, target_accept=0.9)
    for level in LEVELS:
        arrays = group_arrays(data, factor, priors, level, SIZE, families=False)
        tree = draw_groups(compile_groups(SIZE), data, arrays, plan, seed=1)
        found, (expected, _) = tree["posterior"].to_dataset(), lavaan(level)
        assert group_convergence(tree).r_hat < 1.02
        for name in ("loading", "intercept", "unique", "latent_mean", "latent_sd"):
            mean = found[name].mean(("chain", "draw")).to_numpy()
            np.testing.assert_allclose(mean, getattr(expected, name)[0], rtol=0, atol=LIKELIHOOD, err_msg=name)


def test_alignment_keeps_the_density_and_finds_what_differs() -> None:
    table = common_table(two_classes(3))
    draws = made_draws(np.random.default_rng(1), 40, "configural")
    aligned = aligned_draws(draws)
    for place, own in enumerate(group_data(table, default_spec())):
        before, after = (family_log_likelihood(each.of_class(place), own) for each in (draws, aligned))
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-8)
    assert (aligned.loading[:, 0] == draws.loading[:, 0]).all()
    # Capability of the second class with mean 0.6 and sd 1.5, and three benchmarks that are not invariant.
    loading, intercept = draws.loading.copy(), draws.intercept.copy()
    loading[:, 1] = 1.5 * (loading[:, 0] + np.where(np.arange(8) == 2, -0.4, 0.0))
    shift = np.where(np.arange(8) == 5, 0.7, np.where(np.arange(8) == 6, -0.3, 0.0))
    intercept[:, 1] = intercept[:, 0] + shift + loading[:, 1] / 1.5 * 0.6
    found = aligned_draws(replace(draws, loading=loading, intercept=intercept))
    np.testing.assert_allclose(found.latent_sd[:, 1], 1.5, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.latent_mean[:, 1], 0.6, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose((found.loading[:, 1] - found.loading[:, 0])[:, 2], -0.4, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.intercept[:, 1] - found.intercept[:, 0], shift + np.zeros((40, 8)), atol=ROUNDING)


def test_alignment_minimises_absolute_differences() -> None:
    draws = made_draws(np.random.default_rng(2), 5, "configural")
    found = aligned_draws(draws)
    for step in (-0.02, 0.02):
        sd = found.latent_sd[:, [1]] + step
        before = np.abs(draws.loading[:, 1] - found.latent_sd[:, [1]] * draws.loading[:, 0]).sum(1)
        assert (np.abs(draws.loading[:, 1] - sd * draws.loading[:, 0]).sum(1) > before).all()
        moved = found.intercept[:, 1] - step * found.loading[:, 1] - draws.intercept[:, 0]
        assert (np.abs(moved).sum(1) > np.abs(found.intercept[:, 1] - draws.intercept[:, 0]).sum(1)).all()


def test_pairs_are_left_out_together() -> None:
    table = two_classes(4)
    draws = made_draws(np.random.default_rng(5), 200, "scalar")
    fit = made_fit(table, "scalar", draws)
    by_model, by_lineage = (leave_group_units_out(fit, unit, 150) for unit in ("model", "lineage"))
    assert by_model.labels == tuple(table.scores.index)
    lineage = fit.table.models["lineage"].to_numpy(dtype=str)
    assert by_lineage.labels == tuple(dict.fromkeys(lineage))
    assert len(by_lineage.labels) * 2 == len(by_model.labels)
    both = lineage == by_lineage.labels[0]
    assert both.sum() == 2
    single = log_conditional(draws, fit, np.eye(len(both), dtype=bool))[:, both]
    pair = log_conditional(draws, fit, both[None])
    # One model in each class: independent given the parameters.
    np.testing.assert_allclose(pair[:, 0], single.sum(axis=1), rtol=0, atol=1e-8)


def test_capability_is_standardised_in_every_draw() -> None:
    theta = np.random.default_rng(6).normal(2.0, 3.0, size=(50, 7))
    found = pooled_capability(theta)
    np.testing.assert_allclose(found.mean(axis=1), 0, atol=ROUNDING)
    np.testing.assert_allclose(found.std(axis=1), 1, atol=ROUNDING)
    np.testing.assert_allclose(pooled_capability(5 - 0.0 + 2 * theta), found, atol=ROUNDING)


def test_only_common_benchmarks_and_scored_models_enter() -> None:
    table = two_classes(7)
    names = table.columns("capability")
    scores = table.scores.copy()
    scores.iloc[3, :] = np.nan
    chat = (table.models["model_class"] == "chat").to_numpy()
    scores.loc[scores.index[chat][2:], names[1]] = np.nan
    found = common_table(table.replace(scores=scores))
    assert found.columns() == [name for name in names if name != names[1]]
    assert found.n_models == table.n_models - 1
    size = group_size(found, default_spec())
    assert (size.n_classes, size.n_models, size.n_benchmarks, size.n_missing) == (2, 45, 7, 0)
    assert size.n_families <= N_FAMILIES


def test_what_has_no_common_scale_is_refused() -> None:
    table = two_classes(7)
    with pytest.raises(ValueError, match='standardised by="pooled"'):
        common_table(standardise(unstandardise(table), by="class"))
    with pytest.raises(DataError, match="1 classes with 8"):
        common_table(table.select(model_class="base"))
    with pytest.raises(DataError, match="2 classes with 2"):
        common_table(table.select(benchmarks=table.columns("capability")[:2]))
    for name in ("k-factor", "two-level-binomial"):
        with pytest.raises(ValueError, match="one factor and takes scores as exact"):
            group_size(common_table(table), read_factor(name))


def test_diagnostics_see_every_free_parameter() -> None:
    """A class whose chains disagree, in any parameter, is found; what is held equal or constant is no fault."""
    table = two_classes(4)
    chosen = [*table.scores.index[:8], *table.scores.index[-8:]]  # diagnostics of capability take a while
    table = table.select(models=chosen, benchmarks=table.columns("capability")[:3])
    size = group_size(common_table(table), default_spec())
    for level in LEVELS:
        draws = made_draws(np.random.default_rng(8), 400, level, size)
        good = made_fit(table, level, draws)
        assert np.isfinite(good.convergence().r_hat)
        assert good.convergence().r_hat < 1.05
        for name in ("loading", "intercept", "unique", "icc", "capability_icc", "latent_mean", "latent_sd"):
            values = getattr(draws, name).copy()
            if name.startswith("latent") and values[:, 1].std() == 0:
                continue
            values[:200, 1] *= 1.5
            values[:200, 1] += 0.2
            bad = made_fit(
                table, level, replace(draws, **{name: np.clip(values, None, 0.99 if "icc" in name else None)})
            )
            assert bad.convergence().r_hat > 1.2, (level, name)


@pytest.mark.slow
def test_a_run_is_saved_repeated_and_refused_if_its_data_change(tmp_path: Path) -> None:
    """Slow: one compilation and five runs; leaving a pair out in earnest agrees with importance sampling."""
    table, store, factor, spec = two_classes(1), FitStore(root=tmp_path), default_spec(), quick_invariance()
    fit = fit_common(table, factor, spec, 5, store)
    assert not fit.reused
    assert fit.level == "scalar"
    assert fit.convergence().passes(spec.gates)
    again = fit_common(table, factor, spec, 5, store)
    assert again.reused
    assert (again.theta == fit.theta).all()
    assert json.loads(fit.draws.attrs["spec"])["kind"] == "invariance"
    assert not fit_groups(table, factor, spec, "metric", 5, store).reused
    # Capability of each model follows its scores, whichever class it is of.
    means = pd.Series(pooled_capability(fit.theta).mean(axis=0), index=fit.models)
    assert means.corr(table.scores[table.columns("capability")].mean(axis=1)) > 0.95
    by_class = means.groupby(table.models["model_class"].to_numpy()).mean()
    assert by_class["chat"] > by_class["base"] + 0.2
    smoothed = leave_group_units_out(fit, "lineage", 2000)
    strict = replace(fit, spec=spec.model_copy(update={"gates": spec.gates.model_copy(update={"pareto_k": -1.0})}))
    worst = int(smoothed.pareto_k.argmax())
    units = np.array(fit.table.models["lineage"] == smoothed.labels[worst])
    rest = strict.table.select(models=[m for m, gone in zip(fit.models, units, strict=True) if not gone])
    refit = fit_groups(rest, factor, spec, "scalar", 5, store, fit.size)
    density = log_conditional(refit.parameters, fit, units[None])[:, 0]
    exact = float(np.log(np.mean(np.exp(density))))
    # Both carry Monte Carlo error; a density of a pair over 16 scores is of the order of -15.
    assert smoothed.elpd[worst] == pytest.approx(exact, abs=0.3)


def test_changed_names_are_capability_benchmarks() -> None:
    table = two_classes(1, shift=1.0)
    plain = two_classes(1)
    assert set(changed_names(table)) < set(table.columns("capability"))
    chat = (table.models["model_class"] == "chat").to_numpy()
    moved = (table.scores[chat].mean() - plain.scores[chat].mean()).abs() > 0.05
    assert set(moved.index[moved]) == set(changed_names(table))
