"""The mixed-effects table: columns of the output contract, units, adjustment, and rows that stay."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from safetystats.inference.mixed import benjamini_hochberg, fit_mixed
from safetystats.inference.mixed_table import DIAGNOSTIC_COLUMNS, EFFECT_COLUMNS, MixedTable, fit_mixed_table
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return align(load_table("helm-classic"))


@pytest.fixture(scope="module")
def capability(table: ScoreTable) -> pd.Series:
    scores = table.scores[table.columns(role="capability")]
    return ((scores - scores.mean()) / scores.std(ddof=0)).mean(axis=1)


@pytest.fixture(scope="module")
def result(table: ScoreTable, capability: pd.Series) -> MixedTable:
    return fit_mixed_table(table, capability)


def test_columns_are_those_of_the_output_contract(result: MixedTable) -> None:
    expected = [
        "benchmark", "area", "term", "estimate", "std_error", "lower", "upper", "p_value", "p_adjusted",
        "group_variance", "residual_variance", "log_likelihood", "n_models", "n_groups", "status",
    ]  # fmt: skip
    assert list(result.effects.columns) == expected == list(EFFECT_COLUMNS)
    assert tuple(result.diagnostics.columns) == DIAGNOSTIC_COLUMNS


def test_every_benchmark_and_term_has_its_row(table: ScoreTable, result: MixedTable) -> None:
    safety = table.columns(role="safety")
    assert list(result.effects["benchmark"].unique()) == safety
    assert (result.effects.groupby("benchmark").size() == 4).all()
    assert list(result.diagnostics["fit"]) == [f"mixed/{name}" for name in safety]
    quiet = result.diagnostics["check"] == "ok"
    assert (result.diagnostics.loc[~quiet, "why"] != "").all()


def test_effects_are_in_pooled_sd(table: ScoreTable, capability: pd.Series, result: MixedTable) -> None:
    name = "classic_truthfulqa"
    native = fit_mixed(
        table.scores[name],
        capability,
        table.models["model_class"].to_numpy(),
        table.models["lineage"].to_numpy(),
        reference_class="base",
    )
    sd = table.scores[name].std(ddof=0)
    rows = result.effects[result.effects["benchmark"] == name].set_index("term")
    slope = native.estimate[1] * capability.std(ddof=0) / sd
    assert rows.loc["capability", "estimate"] == pytest.approx(slope, rel=1e-6)
    at_average = native.estimate[2] + native.estimate[3] * capability.mean()
    assert rows.loc["class[chat]", "estimate"] == pytest.approx(at_average / sd, rel=1e-6)
    assert rows.loc["class[chat]", "p_value"] == pytest.approx(native.p_value[2], rel=1e-6)


def test_adjusted_over_benchmarks_within_a_term(result: MixedTable) -> None:
    for term, rows in result.effects.groupby("term"):
        expected = benjamini_hochberg(rows["p_value"].to_numpy())
        np.testing.assert_allclose(rows["p_adjusted"], expected, err_msg=str(term))
    assert result.effects.loc[result.effects["term"] == "(Intercept)", "p_adjusted"].isna().all()


def test_pooled_scores_give_the_same_table(table: ScoreTable, capability: pd.Series, result: MixedTable) -> None:
    again = fit_mixed_table(standardise(table, by="pooled"), capability)
    pd.testing.assert_frame_equal(again.effects, result.effects, rtol=1e-6, atol=1e-9)


def test_a_benchmark_without_one_class_keeps_its_rows(table: ScoreTable, capability: pd.Series) -> None:
    scores = table.scores.copy()
    scores.loc[table.models["model_class"] == "base", "classic_truthfulqa"] = np.nan
    result = fit_mixed_table(
        table.replace(scores=scores), capability, benchmarks=["classic_truthfulqa", "classic_civilcomments"]
    )
    rows = result.effects[result.effects["benchmark"] == "classic_truthfulqa"]
    assert list(rows["term"]) == ["(Intercept)", "capability", "class[chat]", "capability:class[chat]"]
    assert rows["estimate"].isna().all()
    assert set(rows["status"]) == {"not_applicable"}
    assert "only class chat" in result.diagnostics.loc[0, "why"]
    other = result.effects[result.effects["benchmark"] == "classic_civilcomments"]
    np.testing.assert_allclose(other["p_adjusted"], other["p_value"])


def test_models_without_capability_are_left_out(table: ScoreTable, capability: pd.Series) -> None:
    fits = fit_mixed_table(table, capability.iloc[:-3], benchmarks=["classic_truthfulqa"]).fits
    assert fits["classic_truthfulqa"].n_dropped == 3


def test_misuse_is_refused(table: ScoreTable, capability: pd.Series) -> None:
    with pytest.raises(ValueError, match="aligned"):
        fit_mixed_table(load_table("helm-classic"), capability)
    with pytest.raises(ValueError, match="within classes"):
        fit_mixed_table(standardise(table, by="class"), capability)
    with pytest.raises(ValueError, match="no such benchmark"):
        fit_mixed_table(table, capability, benchmarks=["nothing"])
    with pytest.raises(ValueError, match="does not vary"):
        fit_mixed_table(table, capability * 0.0)
