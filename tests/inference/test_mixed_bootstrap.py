"""Spectral profile and parametric bootstrap: against the closed-form profile, lme4's own simulations, and theory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mixed_data import FOLDER, GROUP_COLUMNS, SETS, columns_of, read_inputs, score_names
from scipy import stats

from safetystats.inference.mixed_bootstrap import Bootstrap, BootstrapTest, effect_test, variance_test
from safetystats.inference.mixed_profile import best_ratio, log_likelihoods, make_design
from safetystats.inference.mixed_spectrum import best_ratios, make_spectrum

GAIN_TOLERANCE = 1e-7
"""Likelihood ratios of the two forms of the profile; measured 2e-11. The tie of the bootstrap is 1e-8."""
MONTE_CARLO_ERRORS = 3.5
"""Standard errors that two Monte Carlo p-values may differ by; ten comparisons pass by chance in 99.5 % of seeds."""


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", SETS)
def test_both_forms_of_the_profile_have_one_maximum(name: str, reml: bool) -> None:
    data = read_inputs(name)
    for benchmark in score_names(name):
        y, x, groups = columns_of(data, benchmark)
        design, spectrum = make_design(y, x, groups), make_spectrum(x, groups)
        at = np.array([best_ratio(design, reml=reml), 0.0])
        best, zero = log_likelihoods(design, at, reml=reml)
        components = spectrum.projector @ design.response
        ratio, deviance = best_ratios(spectrum, components[None, :], reml=reml)
        weight = spectrum.n - spectrum.p if reml else spectrum.n
        gain = weight * np.log(components @ components) - deviance[0]
        assert gain == pytest.approx(2.0 * (best - zero), abs=GAIN_TOLERANCE), benchmark
        assert ratio[0] == pytest.approx(at[0], rel=1e-3, abs=1e-6), benchmark


def test_many_responses_and_many_designs_are_the_single_ones() -> None:
    rng = np.random.default_rng(1)
    _, x, groups = columns_of(read_inputs("three"), "ratio_1")
    designs = np.stack([x, np.column_stack([x[:, 0], rng.normal(size=(len(x), x.shape[1] - 1))])])
    responses = rng.normal(size=(2, len(x))) + rng.normal(size=(2, groups.max() + 1))[:, groups]
    stacked = make_spectrum(designs, groups)
    found = best_ratios(stacked, np.einsum("mkn,mn->mk", stacked.projector, responses), reml=True)
    for i in range(2):
        one = make_spectrum(designs[i], groups)
        alone = best_ratios(one, (one.projector @ responses[i])[None, :], reml=True)
        assert found[0][i] == pytest.approx(alone[0][0], rel=1e-6)
        assert found[1][i] == pytest.approx(alone[1][0], abs=GAIN_TOLERANCE)


def _ours(row: pd.Series) -> BootstrapTest:
    data = read_inputs(row["set"])
    data = data.assign(group=data[GROUP_COLUMNS[row["grouping"]]])
    y, x, groups = columns_of(data, row["benchmark"])
    plan = Bootstrap(replicates=4999, replicates_small=4999, seed=11)
    if row["term"] == "group variance":
        return variance_test(y, x, groups, plan)
    others = (x.shape[1] - 2) // 2
    if row["term"].startswith("class"):
        x = x[:, : 2 + others]
    return effect_test(y, x, x[:, :-1], groups, plan)


def test_p_values_equal_those_of_simulating_and_refitting_with_lme4() -> None:
    rows = pd.read_csv(FOLDER / "mixed_bootstrap.csv", comment="#")
    assert len(rows) >= 3
    for _, row in rows.iterrows():
        ours = _ours(row)
        assert ours.statistic == pytest.approx(row["statistic"], abs=1e-4), row["term"]
        both = (ours.p_value * ours.replicates + row["p_value"] * row["replicates"]) / (
            ours.replicates + row["replicates"]
        )
        error = np.sqrt(both * (1.0 - both) * (1.0 / ours.replicates + 1.0 / row["replicates"]))
        assert abs(ours.p_value - row["p_value"]) < MONTE_CARLO_ERRORS * error, (row["benchmark"], row["term"])


def test_without_groups_the_bootstrap_is_the_f_test() -> None:
    """With groups of one the model is least squares, whose exact test is known."""
    y, x, _ = columns_of(read_inputs("pairs"), "ratio_0.5")
    found = effect_test(
        y, x, x[:, :3], np.arange(y.size), Bootstrap(replicates=9999, replicates_small=9999, seed=3)
    )  # fmt: skip
    n, p = x.shape
    statistic = (np.exp(found.statistic / n) - 1.0) * (n - p)
    exact = stats.f.sf(statistic, 1, n - p)
    assert found.p_value == pytest.approx(exact, abs=MONTE_CARLO_ERRORS * found.p_error)


def test_the_variance_has_an_atom_at_zero_and_both_p_values_say_one() -> None:
    y, x, groups = columns_of(read_inputs("pairs"), "negative")
    found = variance_test(y, x, groups, Bootstrap(seed=1))
    assert (found.statistic, found.p_value, found.p_asymptotic) == (0.0, 1.0, 1.0)


def test_chi_bar_square_is_half_of_chi_square() -> None:
    y, x, groups = columns_of(read_inputs("pairs"), "ratio_0.5")
    found = variance_test(y, x, groups, Bootstrap(seed=1))
    assert found.p_asymptotic == pytest.approx(0.5 * stats.chi2.sf(found.statistic, 1))
    assert abs(found.p_value - found.p_asymptotic) < 0.05


def test_the_number_of_replicates_follows_the_p_value() -> None:
    y, x, groups = columns_of(read_inputs("pairs"), "ratio_5")
    plan = Bootstrap(replicates=199, replicates_small=1999, seed=5)
    strong = y + 2.0 * x[:, 1]
    clear = effect_test(strong, x[:, :3], x[:, [0, 2]], groups, plan)
    assert clear.replicates == 1999
    assert clear.p_value < 0.01
    dull = effect_test(y, np.column_stack([x, np.sin(np.arange(y.size))]), x, groups, plan)
    assert dull.replicates == 199
    assert dull.p_value > 0.1
    assert dull.p_error == pytest.approx(np.sqrt(dull.p_value * (1 - dull.p_value) / 200))
    assert effect_test(strong, x[:, :3], x[:, [0, 2]], groups, plan) == clear
    other = effect_test(
        y, np.column_stack([x, np.sin(np.arange(y.size))]), x, groups, Bootstrap(replicates=199, seed=6)
    )
    assert other.p_value != dull.p_value
    none = effect_test(strong, x[:, :3], x[:, [0, 2]], groups, Bootstrap(replicates=0))
    assert np.isnan(none.p_value)
    assert none.p_asymptotic == clear.p_asymptotic


def test_a_variance_that_cannot_be_identified_is_not_tested() -> None:
    y, x, _ = columns_of(read_inputs("pairs"), "ratio_5")
    assert np.isnan(variance_test(y, x, np.arange(y.size), Bootstrap()).p_value)
