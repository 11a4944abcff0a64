"""The mixed-effects table: columns of the output contract, units, adjustment, and rows that stay."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from safetystats.inference import mixed_frames
from safetystats.inference.mixed import benjamini_hochberg, fit_mixed, holm
from safetystats.inference.mixed_bootstrap import Bootstrap
from safetystats.inference.mixed_table import MixedTable, fit_mixed_table
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
    draws = pd.DataFrame(
        capability.to_numpy() + 0.1 * np.random.default_rng(1).normal(size=(30, len(capability))),
        columns=capability.index,
    )
    return fit_mixed_table(
        table, capability, draws=draws, imputations=10,
        bootstrap=Bootstrap(replicates=99, replicates_small=199, seed=1),
    )  # fmt: skip


def lineage(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["group"] == "lineage"].reset_index(drop=True)


def test_columns_are_those_of_the_output_contract(result: MixedTable) -> None:
    expected = [
        "benchmark", "area", "term", "estimate", "std_error", "lower", "upper", "p_value", "p_adjusted",
        "group_variance", "residual_variance", "log_likelihood", "n_models", "n_groups", "status",
    ]  # fmt: skip
    assert set(expected) < set(result.effects.columns)
    for frame, columns in (
        (result.effects, mixed_frames.EFFECT_COLUMNS),
        (result.fits, mixed_frames.FIT_COLUMNS),
        (result.contrasts, mixed_frames.CONTRAST_COLUMNS),
        (result.marginal_means, mixed_frames.MEAN_COLUMNS),
        (result.overlap, mixed_frames.OVERLAP_COLUMNS),
        (result.diagnostics, mixed_frames.DIAGNOSTIC_COLUMNS),
    ):
        assert tuple(frame.columns) == columns


def test_every_benchmark_grouping_and_term_has_its_row(table: ScoreTable, result: MixedTable) -> None:
    safety = table.columns(role="safety")
    for grouping in ("lineage", "family"):
        rows = result.effects[result.effects["group"] == grouping]
        assert list(rows["benchmark"].unique()) == safety
        assert (rows.groupby("benchmark").size() == 4).all()
    names = [f"mixed/{grouping}/{name}" for grouping in ("lineage", "family") for name in safety]
    assert list(result.diagnostics["fit"]) == names
    quiet = result.diagnostics["check"] == "ok"
    assert (result.diagnostics.loc[~quiet, "why"] != "").all()
    sizes = result.fits.groupby("group")["n_groups"].first()
    assert sizes["family"] < sizes["lineage"]


def test_effects_in_each_unit(table: ScoreTable, result: MixedTable) -> None:
    rows = lineage(result.effects)
    for _, row in rows[rows["term"] != "(Intercept)"].iterrows():
        sd = table.scores[row["benchmark"]].std(ddof=0)
        assert row["estimate_native"] == pytest.approx(row["estimate"] * sd)
        left = np.sqrt(row["group_variance"] + row["residual_variance"])
        assert row["estimate_standardised"] == pytest.approx(row["estimate"] / left)
        assert 0.0 <= row["partial_r2"] < 1.0
    zero = rows[rows["term"] == "(Intercept)"].set_index("benchmark")["estimate_native"]
    means = lineage(result.marginal_means)
    base = means[(means["model_class"] == "base") & (means["capability"] == 0.0)].set_index("benchmark")["mean"]
    np.testing.assert_allclose(zero, base)


def test_marginal_means_differ_by_the_class_effect_and_say_where_they_extrapolate(
    table: ScoreTable, capability: pd.Series, result: MixedTable
) -> None:
    means = lineage(result.marginal_means).set_index(["benchmark", "model_class", "capability"])
    effects = lineage(result.effects).set_index(["benchmark", "term"])
    for name in table.columns(role="safety"):
        for at in (-1.0, 0.0, 1.0):
            gap = means.loc[(name, "chat", at), "mean_sd"] - means.loc[(name, "base", at), "mean_sd"]
            slope = effects.loc[(name, "capability:class[chat]"), "estimate"]
            assert gap == pytest.approx(effects.loc[(name, "class[chat]"), "estimate"] + at * slope)
    # Chat models of middling capability only: low and high capabilities are then extrapolated.
    z = (capability - capability.mean()) / capability.std(ddof=0)
    middle = (table.models["model_class"] == "base") | (z.abs() < 0.7)
    kept = table.select(models=table.scores.index[middle])
    small = fit_mixed_table(kept, capability, benchmarks=["classic_truthfulqa"], groups=("lineage",))
    said = small.marginal_means.set_index(["model_class", "capability"])["extrapolated"]
    assert list(said.loc["base"]) == [True, False, True]
    shares = small.overlap.iloc[0]
    assert (shares["class_a"], shares["class_b"], shares["share_a"]) == ("chat", "base", 1.0)
    assert shares["share_b"] < 0.8


def test_the_bootstrap_is_the_headline_and_the_chi_square_stands_beside(result: MixedTable) -> None:
    rows = result.effects[result.effects["term"] != "(Intercept)"]
    assert set(rows["test"]) == {"parametric_bootstrap"}
    assert set(rows["n_bootstrap"]) == {99, 199}
    assert (rows["p_value"] >= 1 / 200).all()
    assert np.corrcoef(rows["p_value"], rows["p_likelihood_ratio"])[0, 1] > 0.98
    assert (rows["p_error"] < 0.06).all()
    tested = result.fits[result.fits["status"] == "boundary"]
    assert (tested["p_variance"] == 1.0).all()
    assert (tested["p_variance_chi_bar"] == 1.0).all()


def test_imputed_columns_come_from_the_draws(result: MixedTable) -> None:
    rows = result.effects[result.effects["term"] != "(Intercept)"]
    assert set(rows["n_imputations"]) == {10}
    assert rows["missing_information"].between(0.0, 0.6).all()
    assert (rows["lower_imputed"] < rows["estimate_imputed"]).all()


def test_contrasts_of_two_classes_are_the_terms(result: MixedTable) -> None:
    effects = result.effects.set_index(["group", "benchmark", "term"])
    for _, row in result.contrasts.iterrows():
        term = "class[chat]" if row["kind"] == "class" else "capability:class[chat]"
        other = effects.loc[(row["group"], row["benchmark"], term)]
        for column in ("estimate", "std_error", "lower", "upper", "p_value", "p_likelihood_ratio", "p_adjusted"):
            assert row[column] == pytest.approx(other[column]), column
        assert row["p_holm"] == row["p_value"]


def test_results_do_not_depend_on_which_others_are_asked_for(
    table: ScoreTable, capability: pd.Series, result: MixedTable
) -> None:
    plan = Bootstrap(replicates=99, replicates_small=199, seed=1)
    name = "classic_civilcomments"
    alone = fit_mixed_table(table, capability, benchmarks=[name], groups=("family",), bootstrap=plan).effects
    rows = result.effects[(result.effects["benchmark"] == name) & (result.effects["group"] == "family")]
    np.testing.assert_array_equal(alone["p_value"], rows["p_value"])


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
    effects = lineage(result.effects)
    rows = effects[effects["benchmark"] == name].set_index("term")
    slope = native.estimate[1] * capability.std(ddof=0) / sd
    assert rows.loc["capability", "estimate"] == pytest.approx(slope, rel=1e-6)
    at_average = native.estimate[2] + native.estimate[3] * capability.mean()
    assert rows.loc["class[chat]", "estimate"] == pytest.approx(at_average / sd, rel=1e-6)
    assert rows.loc["class[chat]", "p_likelihood_ratio"] == pytest.approx(native.p_value[2], rel=1e-6)


def test_adjusted_over_benchmarks_within_a_term(result: MixedTable) -> None:
    for term, rows in result.effects.groupby(["group", "term"]):
        for adjusted, source, method in (
            ("p_adjusted", "p_value", benjamini_hochberg), ("p_holm", "p_value", holm),
            ("p_likelihood_ratio_adjusted", "p_likelihood_ratio", benjamini_hochberg),
            ("p_likelihood_ratio_holm", "p_likelihood_ratio", holm),
        ):  # fmt: skip
            np.testing.assert_allclose(rows[adjusted], method(rows[source].to_numpy()), err_msg=str(term))
    assert result.effects.loc[result.effects["term"] == "(Intercept)", "p_adjusted"].isna().all()


def test_pooled_scores_give_the_same_effects(table: ScoreTable, capability: pd.Series, result: MixedTable) -> None:
    again = fit_mixed_table(standardise(table, by="pooled"), capability, groups=("lineage",)).effects
    columns = ["benchmark", "term", "estimate", "std_error", "p_likelihood_ratio", "group_variance"]
    pd.testing.assert_frame_equal(again[columns], lineage(result.effects)[columns], rtol=1e-6, atol=1e-9)
    assert set(again["test"]) == {"", "likelihood_ratio"}


def test_a_benchmark_without_one_class_keeps_its_rows(table: ScoreTable, capability: pd.Series) -> None:
    scores = table.scores.copy()
    scores.loc[table.models["model_class"] == "base", "classic_truthfulqa"] = np.nan
    result = fit_mixed_table(
        table.replace(scores=scores),
        capability,
        benchmarks=["classic_truthfulqa", "classic_civilcomments"],
        groups=("lineage",),
    )
    rows = result.effects[result.effects["benchmark"] == "classic_truthfulqa"]
    assert list(rows["term"]) == ["(Intercept)", "capability", "class[chat]", "capability:class[chat]"]
    assert rows["estimate"].isna().all()
    assert set(rows["status"]) == {"not_applicable"}
    assert "only class chat" in result.diagnostics.loc[0, "why"]
    other = result.effects[result.effects["benchmark"] == "classic_civilcomments"]
    np.testing.assert_allclose(other["p_adjusted"], other["p_value"])
    assert set(result.contrasts["benchmark"]) == {"classic_civilcomments"}
    assert result.fits.set_index("benchmark").loc["classic_truthfulqa", "status"] == "not_applicable"
    assert np.isnan(result.overlap.set_index("benchmark").loc["classic_truthfulqa", "share_a"])


def test_models_without_capability_are_left_out(table: ScoreTable, capability: pd.Series) -> None:
    found = fit_mixed_table(table, capability.iloc[:-3], benchmarks=["classic_truthfulqa"])
    assert list(found.fits["n_dropped"]) == [3, 3]
    assert found.comparisons["family", "classic_truthfulqa"].fit.n_dropped == 3


def test_misuse_is_refused(table: ScoreTable, capability: pd.Series) -> None:
    with pytest.raises(ValueError, match="aligned"):
        fit_mixed_table(load_table("helm-classic"), capability)
    with pytest.raises(ValueError, match="within classes"):
        fit_mixed_table(standardise(table, by="class"), capability)
    with pytest.raises(ValueError, match="no such benchmark"):
        fit_mixed_table(table, capability, benchmarks=["nothing"])
    with pytest.raises(ValueError, match="does not vary"):
        fit_mixed_table(table, capability * 0.0)
