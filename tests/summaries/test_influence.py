"""What single models decide: the tables of influence, for mixed models and for differences of correlations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import capability_fit, safety_fit, spec

from safetystats.inference.cut_influence import changes_without
from safetystats.inference.fits import SafetyFit
from safetystats.inference.mixed_table import fit_mixed_table
from safetystats.scores.capability import capability_score
from safetystats.specs import PairedPlan, Rope, ScoreSpec
from safetystats.summaries import influence
from safetystats.summaries.class_contrasts import closed_differences, posterior_differences
from safetystats.summaries.influence import (
    DIFFERENCE_COLUMNS,
    INFLUENCE_COLUMNS,
    SIDE,
    class_influence,
    difference_influence,
)
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

SPEC = spec().model_copy(update={"paired": PairedPlan(capability_draws=40, draws_each=16)})
SCORE = ScoreSpec(kind="score", title="t", resamples=200)
BENCHMARKS = ("classic_fair_mmlu", "classic_fair_boolq", "classic_robust_mmlu")


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    table = align(load_table("helm-classic"))
    pooled = standardise(table, by="pooled")
    values = capability_score(pooled.matrix(pooled.columns("capability")), method="mean_z", missing="available").score
    capability = pd.Series(values, index=table.scores.index)
    mixed = fit_mixed_table(table, capability, benchmarks=BENCHMARKS, groups=("lineage",))
    return class_influence(mixed.comparisons, table, capability)


def test_encoder_decoder_models_of_helm_classic_decide_interactions(found: pd.DataFrame) -> None:
    """T0pp and T5 score high on what capability benchmarks of generation do not show; both are one lineage."""
    assert tuple(found.columns) == INFLUENCE_COLUMNS
    assert len(found) == len(BENCHMARKS) * 2 * 2
    rows = found.set_index(["benchmark", "term", "unit"])
    slope = rows.xs("capability:class[chat]", level="term")
    assert set(slope.xs("model", level="unit")["label"]) == {"bigscience/T0pp"}
    assert set(slope.xs("lineage", level="unit")["label"]) == {"t5-11b"}
    fair = slope.loc[("classic_fair_mmlu", "model")]
    assert fair["p_value"] < SIDE < 0.5 < fair["p_without"]
    assert fair["estimate"] < 0 < fair["estimate_without"]
    assert fair["n_side"] == len(fair["changed_by"].split("; "))
    assert set(fair["changed_by"].split("; ")) == {"bigscience/T0pp", "google/t5-11b"}
    # Each of the pair hides the other: only without both is the interaction of fair BoolQ beyond 0.05.
    boolq = slope.loc["classic_fair_boolq"]
    assert boolq.loc["model", "n_side"] == 0
    assert boolq.loc["lineage", "changed_by"] == "t5-11b"


def test_numbers_of_a_row_belong_together(found: pd.DataFrame) -> None:
    change = (found["estimate"] - found["estimate_without"]) / found["std_error_without"]
    np.testing.assert_allclose(found["dfbetas"], change)
    assert (found["estimate_least"] <= found["estimate_without"]).all()
    assert (found["estimate_without"] <= found["estimate_most"]).all()
    assert (found["n_refused"] == 0).all()
    assert set(found.loc[found["unit"] == "model", "n_units"]) == {67} or (found["n_units"] <= 67).all()
    assert ((found["n_side"] > 0) == (found["changed_by"] != "")).all()


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    """Two classes, a benchmark that goes with capability in both; one chat model is far off the line."""
    made = simulate_table(
        n_models=16, n_families=6, capability_loadings=[0.9, 0.9, 0.9], safety_correlations=[0.8, 0.0], seed=3,
        classes=("base", "chat"), pairing=0.9,
    )[0]  # fmt: skip
    scores = made.scores.copy()
    chat = made.models.index[made.models["model_class"] == "chat"]
    capability = scores.loc[chat, made.columns("capability")].rank().sum(axis=1)
    scores.loc[capability.idxmax(), "safety_1"] = scores["safety_1"].min() - 2 * np.ptp(scores["safety_1"])
    return made.replace(scores=scores)


def fits(table: ScoreTable) -> dict[str, SafetyFit]:
    """Fits whose draws of capability are the mean of the capability benchmarks, with a little noise."""
    prepared, rng, found = standardise(align(table)), np.random.default_rng(2), {}
    for label in table.classes:
        own = prepared.select(model_class=label)
        fit = capability_fit(own)
        posterior = fit.draws["posterior"].to_dataset()
        mean = own.matrix(own.columns("capability")).mean(axis=1)
        noise = 0.1 * rng.normal(size=posterior["theta"].shape)
        draws = fit.draws.copy()
        draws["posterior"] = posterior.assign(theta=(("chain", "draw", "model"), mean + noise))
        fit = replace(fit, spec=SPEC, draws=draws)
        found[label] = safety_fit(fit, rng.uniform(-0.5, 0.5, (2, 2, 500)))
    return found


def odd_one(table: ScoreTable) -> str:
    return str(table.scores["safety_1"].idxmin())


def test_the_score_that_moves_a_correlation_is_found(table: ScoreTable) -> None:
    chat = fits(table)["chat"]
    changes = changes_without(chat, ["safety_1", "safety_2"])
    assert changes.shape == (16, 2)
    assert changes["safety_1"].abs().idxmax() == odd_one(table)
    assert changes.loc[odd_one(table), "safety_1"] > 0.3
    # Without any one of the others the odd one stays, and so does what it does.
    assert changes["safety_1"].drop(odd_one(table)).abs().max() < 0.5 * changes.loc[odd_one(table), "safety_1"]
    assert changes_without(chat, ["safety_2"])["safety_2"].equals(changes["safety_2"])


def test_models_without_a_score_have_no_change(table: ScoreTable) -> None:
    scores = table.scores.copy()
    first = str(table.models.index[table.models["model_class"] == "chat"][0])
    scores.loc[first, "safety_2"] = np.nan
    changes = changes_without(fits(table.replace(scores=scores))["chat"], ["safety_1", "safety_2"])
    assert np.isnan(changes.loc[first, "safety_2"])
    assert changes.notna().sum().tolist() == [16, 15]


def test_differences_without_the_models_that_move_them_most(table: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(influence, "NEAR", np.inf)
    own, rope = fits(table), Rope()
    closed = closed_differences(table, SCORE, 0.9, 5)
    differences = posterior_differences(own, closed, SPEC, 0.9, rope)
    found = difference_influence(own, differences, table, SPEC, SCORE, 0.9)
    assert tuple(found.columns) == DIFFERENCE_COLUMNS
    rows = found.set_index(["benchmark", "end"])
    assert len(found) == 4
    odd = rows.loc[("safety_1", "highest")]
    assert (odd["label"], odd["model_class"], odd["r_label"]) == (odd_one(table), "chat", odd_one(table))
    assert odd["delta_without"] > odd["delta"] + 0.3
    assert odd["r_without"] > odd["r_delta"]
    stated = differences.set_index("benchmark")
    assert odd["change"] == pytest.approx((odd["delta_without"] - odd["delta"]) / stated.loc["safety_1", "sd"])
    assert odd["r_delta"] == pytest.approx(stated.loc["safety_1", "r_a"] - stated.loc["safety_1", "r_b"])
    for name in ("safety_1", "safety_2"):
        assert rows.loc[(name, "lowest"), "delta_without"] < rows.loc[(name, "highest"), "delta_without"]
        assert rows.loc[(name, "lowest"), "r_without"] <= rows.loc[(name, "lowest"), "r_delta"]
    off = (found["lower"] > 0) | (found["upper"] < 0)
    off_without = (found["lower_without"] > 0) | (found["upper_without"] < 0)
    assert (found["crosses"] == (off != off_without)).all()


def test_only_what_could_change_sides_is_made_anew(table: ScoreTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark that differs much between the classes in both directions stays off zero; its rows are not made."""
    far = table.scores.copy()
    base = far.index[table.models["model_class"] == "base"]
    capability = far[table.columns("capability")].rank().sum(axis=1)
    far["safety_2"] = np.where(far.index.isin(base), -capability, capability) + 0.01 * far["safety_2"]
    changed = table.replace(scores=far)
    own, closed = fits(changed), closed_differences(changed, SCORE, 0.9, 5)
    differences = posterior_differences(own, closed, SPEC, 0.9, Rope())
    found = difference_influence(own, differences, changed, SPEC, SCORE, 0.9)
    monkeypatch.setattr(influence, "NEAR", np.inf)
    every = difference_influence(own, differences, changed, SPEC, SCORE, 0.9)
    anew = found["delta_without"].notna()
    assert not anew.all()
    assert set(found.loc[~anew, "benchmark"]) == {"safety_2"}
    assert every["delta_without"].notna().all()
    assert not every.loc[~anew, "crosses"].any()
    pd.testing.assert_frame_equal(found[anew], every[anew])
    pd.testing.assert_series_equal(found["first_look"], every["first_look"])
    largest = found["first_look"].abs().groupby(found["end"]).idxmax()
    assert anew[largest].all()
    # The first look ignores the pairing and is not far from the change with it.
    np.testing.assert_allclose(every["first_look"], every["change"], atol=0.4)


def test_spearman_without_a_model_is_that_of_a_table_without_it(table: ScoreTable) -> None:
    own = fits(table)
    closed = closed_differences(table, SCORE, 0.9, 5)
    found = difference_influence(own, posterior_differences(own, closed, SPEC, 0.9, Rope()), table, SPEC, SCORE, 0.9)
    row = found.set_index(["benchmark", "end"]).loc[("safety_2", "lowest")]
    rest = table.select(models=[m for m in table.scores.index if m != row["r_label"]])
    again = closed_differences(rest, SCORE, 0.9, 5).set_index("benchmark").loc["safety_2"]
    assert row["r_without"] == pytest.approx(again["r_a"] - again["r_b"], abs=1e-9)


def test_one_class_has_no_row(table: ScoreTable) -> None:
    part = {"chat": fits(table)["chat"]}
    closed = closed_differences(table.select(model_class="chat"), SCORE, 0.9, 5)
    differences = posterior_differences(part, closed, SPEC, 0.9, Rope())
    assert difference_influence(part, differences, table, SPEC, SCORE, 0.9).empty
