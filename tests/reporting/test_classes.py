"""Classes in the report: numbers, tables and figures say what the tables made by hand hold, and fall back in words."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from made_classes import invariance, made, posterior_differences
from matplotlib.figure import Figure
from test_checks import render, with_tables
from test_figures import HOSTILE, assert_sound, assert_texts_apart

from safetystats.reporting import figure_style, report_classes
from safetystats.reporting.document import summary_lines
from safetystats.reporting.figures_classes import (
    MOST_PANELS,
    draw_class_differences,
    draw_marginal_means,
    first_by_area,
)
from safetystats.reporting.figures_shifts import draw_lineage_shifts
from safetystats.reporting.results import collect_results
from safetystats.reporting.spec_text import CROSSED_NAMES
from safetystats.specs import CrossedPriors
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.comparison import NAMES
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary import TABLES

AREAS = {f"b{i}": f"area {i % 3}" for i in range(9)}


def models_table(classes: tuple[str, ...], n_lineages: int = 6) -> pd.DataFrame:
    """One model of every class in every lineage, and one lineage of the first class alone."""
    rows = [(f"m{c}-{i}", c, f"family {i // 2}", f"line {i}") for c in classes for i in range(n_lineages)]
    rows.append(("alone", classes[0], "family 9", "line 99"))
    frame = pd.DataFrame(rows, columns=["model", "model_class", "family", "lineage"])
    return frame.set_index("model")


def tables_of(
    classes: tuple[str, ...] = ("base", "chat"), areas: dict[str, str] | None = None
) -> dict[str, pd.DataFrame]:
    return made(classes, areas or AREAS, models_table(classes))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made while a test runs."""
    found: list[Figure] = []

    def make(**settings: object) -> Figure:
        found.append(Figure(**settings))
        return found[-1]

    monkeypatch.setattr(figure_style, "Figure", make)
    return found


def plain(text: str) -> str:
    return text.replace("\\", "")


# --- numbers ---


def test_differences_are_counted_with_and_without_pairing(checked: Analysis) -> None:
    results = collect_results(checked)
    assert results["difference_clear.chat.base"] == 1
    assert results["difference_clear_unpaired.chat.base"] == 0
    assert results["difference_clear_bootstrap.chat.base"] == 1
    assert results["equivalent.chat.base"] == 1
    assert results["steiger_small.chat.base"] == 1
    assert results["psi_median.chat.base"] == pytest.approx(0.6)
    assert results["width_ratio.chat.base"] == pytest.approx(0.8)
    assert (results["pairs_least.chat.base"], results["pairs_most.chat.base"]) == (12, 14)
    first = checked.tables["posterior_differences"]["benchmark"].iloc[0]
    assert results["largest_difference_of.chat.base"] == first
    assert results[f"posterior_differences/chat/base/{first}/delta"] == 0.5


def test_mixed_models_are_counted_by_grouping_and_kind(checked: Analysis) -> None:
    results = collect_results(checked)
    assert (results["mixed_bh.lineage.class"], results["mixed_bh.family.class"]) == (1, 0)
    assert (results["mixed_holm.lineage.class"], results["mixed_holm.lineage.interaction"]) == (1, 0)
    assert (results["mixed_changes.class"], results["mixed_changes.interaction"]) == (1, 0)
    assert results["mixed_status.family.boundary"] == 1
    assert results["mixed_status.family.ok"] == 11
    assert (results["variance_small.lineage"], results["variance_differ.lineage"]) == (1, 1)
    assert (results["plug_in_clear.lineage.class"], results["imputed_clear.lineage.class"]) == (12, 0)
    assert results["imputed_largest.lineage.class"] == pytest.approx(-0.125)
    assert results["marginal_extrapolated"] == 12
    assert results["overlap_a.chat.base"] == 0.75


def test_the_gravest_verdict_leaving_out_lineages_is_the_one(checked: Analysis) -> None:
    for metric, scalar, verdict in (
        ("holds", "holds", "holds"), ("holds", "fails", "fails"),
        ("not distinguishable", "holds", "not distinguishable"),
        ("withheld", "not distinguishable", "withheld"), ("fails", "withheld", "fails"),
    ):  # fmt: skip
        results = collect_results(with_tables(checked, invariance=invariance(metric, scalar)))
        assert results["invariance_verdict"] == verdict
    results = collect_results(checked)
    assert (results["invariance_loadings_clear"], results["invariance_intercepts_clear"]) == (0, 1)
    mixed = invariance("holds", "holds")
    mixed.loc[mixed["unit"] == "model", "verdict"] = "fails"
    assert collect_results(with_tables(checked, invariance=mixed))["invariance_verdict"] == "holds"


def test_progress_and_shifts_are_those_of_all_areas(checked: Analysis) -> None:
    results, progress = collect_results(checked), checked.tables["differential_progress"]
    own = progress[progress["area"] == "all"]
    assert (results["progress_above"], results["progress_below"]) == (3, 2)
    assert results["progress_highest_of"] == own["model"].iloc[0]
    assert results["progress_highest/mean"] == pytest.approx(0.5)
    assert results["progress_lowest/upper"] == pytest.approx(-0.4)
    shifts = checked.tables["lineage_shifts"]
    assert results["shifts.base.chat"] == (shifts["area"] == "all").sum() > 5
    assert results["unexplained_mean.base.chat"] == pytest.approx(0.375)
    assert (results["unexplained_above.base.chat"], results["unexplained_below.base.chat"]) == (1, 0)


def test_what_single_models_decide_is_counted(checked: Analysis) -> None:
    results = collect_results(checked)
    for unit in ("model", "lineage"):
        end = f"lineage.class.{unit}"
        assert (results[f"influence_small.{end}"], results[f"influence_lost.{end}"]) == (1, 1)
        assert (results[f"influence_sign.{end}"], results[f"influence_gained.{end}"]) == (1, 0)
        assert results[f"influence_lost.family.class.{unit}"] == 0
    assert results["influence_most.lineage.interaction.model"] == results["influence.lineage.interaction.model"] == 12
    assert results["influence_most_of.lineage.class.model"] == checked.plan.table.models.index[0]
    assert (results["difference_lost.chat.base"], results["difference_gained.chat.base"]) == (1, 0)
    assert results["difference_moved.chat.base"] == pytest.approx(0.25)


# --- text ---


def test_text_quotes_the_tables(checked: Analysis) -> None:
    text = {key: plain(part) for key, part in render(checked).items()}
    differences = text["class-differences"]
    assert "Of 12 differences, 1 has a 95 % interval that leaves out zero (1 above it, 0 below)" in differences
    assert "with the pairing ignored 0, and by the Bayesian bootstrap of Spearman's coefficients 1." in differences
    assert "0.50 [0.10, 0.90]; it was chosen for being large" in differences
    assert (
        "| 0.50 [0.10, 0.90] | 0.990 | 0.400 | 0.50 [0.00, 1.00] | 0.60 [0.10, 0.90] | 0.50 [0.05, 0.95] | 0.040 |"
        in differences
    )
    mixed = text["mixed"]
    assert "By lineage: 11 fits ok, 1 on the boundary" in mixed
    assert "1 of 12 class effects has an adjusted p-value below 0.05 (1 by Holm's); 0 of 12 interactions have" in mixed
    assert "Between the two groupings 1 of 12 class effects and 0 of 12 interactions change sides" in mixed
    assert "| 0.50 [0.10, 0.90] | 0.001 | 0.002 | 0.012 | 0.38 [−0.12, 0.88] | 0.50 [0.10, 0.90] | ok |" in mixed
    assert "overall class effect is 0.12 [−0.12, 0.38] standard deviations" in text["crossed"]
    assert "| *overall* | 12 |" in text["crossed"]
    assert "3 have an interval of the excess above zero and 2 below" in text["progress"]
    assert "0.12 goes with the shift in capability and 0.38 does not" in text["shifts"]
    assert text["shifts"].count("0.38 [") == collect_results(checked)["shifts"]


@pytest.mark.parametrize(
    ("verdicts", "words", "limits"),
    [
        (("holds", "fails"), "the data speak against one scale", "is contradicted by the data"),
        (("holds", "holds"), "finds nothing against one scale", "is supposed"),
        (("holds", "not distinguishable"), "do not say whether there is one scale", "is supposed"),
        (("withheld", "withheld"), "There is no verdict, because a fit missed a limit", "is supposed"),
    ],
)
def test_the_text_says_whether_there_is_one_scale(
    checked: Analysis, verdicts: tuple[str, str], words: str, limits: str
) -> None:
    text = render(with_tables(checked, invariance=invariance(*verdicts)))
    assert words in text["common-scale"]
    assert limits in text["methods-limits"]
    if verdicts[1] != "fails":
        assert "compares scores on scales that differ" not in text["common-scale"]


def test_without_a_comparison_of_scales_it_is_an_assumption(checked: Analysis) -> None:
    none = {name: checked.tables[name].iloc[:0] for name in ("invariance", "invariance_loadings")}
    text = render(with_tables(checked, **none))
    assert "was not looked at (option `invariance`)" in text["common-scale"]
    assert "an assumption of what follows" in text["common-scale"]
    assert "configural" not in text["methods-classes"]


def test_a_closed_form_scale_is_told_with_its_reason(checked: Analysis) -> None:
    why = "no fit of capability on one scale for all classes: expected 3 benchmarks, got 2"
    note = Check(fit="common", check="status", value=np.nan, limit=np.nan, outcome="not_applicable", why=why)
    none = {name: checked.tables[name].iloc[:0] for name in ("invariance", "invariance_loadings")}
    found = with_tables(checked, **none)
    found = dataclasses.replace(found, checks=(*found.checks, note), facts={**found.facts, "common_scale": "mean"})
    text = {key: plain(part) for key, part in render(found).items()}
    assert "closed-form score over all classes together, the mean of the capability benchmarks" in text["common-scale"]
    assert "expected 3 benchmarks, got 2" in text["common-scale"]
    assert "No factor model of all classes together was used." in text["methods-classes"]


def test_rows_that_rest_on_one_model_are_shown_and_no_others(checked: Analysis) -> None:
    text = {key: plain(part) for key, part in render(checked).items()}
    assert (
        "Of 1 class effect with an unadjusted chi-square p-value below 0.05, 1 has a larger one without some model and "
        "1 without some lineage; 1 and 1 change sign."
    ) in text["mixed"]
    assert (
        "No interaction has an unadjusted chi-square p-value below 0.05. Of 12 interactions with a larger p-value, 0 "
        "fall below without some model and 0 without some lineage."
    ) in text["mixed"]
    assert text["mixed"].count("| −0.12 | 0.600 | 2.5 |") == 2
    differences = text["class-differences"]
    assert "Where the interval could then change sides of zero, and for the largest changes" in differences
    assert "Of 1 interval without zero, 1 takes zero in; of the others 0 leave it out." in differences
    assert differences.count("| 0.25 [−0.15, 0.65] |") == 1
    quiet = {name: checked.tables[name].copy() for name in ("class_influence", "difference_influence")}
    quiet["class_influence"]["n_side"] = 0
    quiet["difference_influence"]["crosses"] = False
    text = {key: plain(part) for key, part in render(with_tables(checked, **quiet)).items()}
    assert "DFBETAS" not in text["mixed"]
    assert "of the others 0 leave it out" in text["class-differences"]


def test_sentences_of_influence_for_one_row_and_for_none(checked: Analysis) -> None:
    frame = checked.tables["difference_influence"]
    names = list(dict.fromkeys(frame["benchmark"]))
    one = plain(
        render(with_tables(checked, difference_influence=frame[frame["benchmark"] == names[0]]))["class-differences"]
    )
    assert "Of 1 interval without zero, 1 takes zero in. The largest change" in one
    other = frame[frame["benchmark"] == names[1]].assign(crosses=True)
    none = plain(render(with_tables(checked, difference_influence=other))["class-differences"])
    assert "With all models no interval leaves out zero; 1 does without one of them. The largest change" in none
    effects = checked.tables["class_influence"]
    small = effects[(effects["benchmark"] == names[0]) & (effects["group"] == "lineage")]
    text = plain(render(with_tables(checked, class_influence=small))["mixed"])
    assert "Of 1 class effect with an unadjusted chi-square p-value below 0.05, 1 has a larger one" in text
    assert "with a larger p-value" not in text.split("No interaction")[0].split("Of 1 class effect")[1]
    assert "Of 1 interaction with a larger p-value, 0 fall below without some model" in text
    refused = plain(render(with_tables(checked, class_influence=small.assign(label="", n_refused=9)))["mixed"])
    assert "is most often" not in refused
    gone = render(with_tables(checked, class_influence=effects.iloc[:0]))["mixed"]
    assert "What single models decide" not in gone


def test_intercepts_without_a_verdict_say_that_loadings_are_the_reason(checked: Analysis) -> None:
    text = render(with_tables(checked, invariance=invariance("fails", "withheld")))["common-scale"]
    assert "no verdict, because equal intercepts presuppose equal loadings" in text
    assert "against one scale, already in the loadings" in text
    assert "a fit missed a limit" not in text


def test_weights_beyond_a_limit_and_missing_pairs_are_told(checked: Analysis) -> None:
    table = checked.tables["posterior_differences"].copy()
    table.loc[0, "pareto_k"] = 0.9
    text = plain(render(with_tables(checked, posterior_differences=table))["class-differences"])
    assert "For 1 benchmark, marked ○ in the table" in text
    assert "0.50 [0.10, 0.90] ○ |" in text
    table[["psi", "psi_lower", "psi_upper", "statistic", "p_value", "p_adjusted"]] = np.nan
    text = plain(render(with_tables(checked, posterior_differences=table))["class-differences"])
    assert "No lineage has models in both classes" in text
    assert "Steiger's test does not apply." in text


def test_what_was_left_out_of_the_crossed_model_is_listed(checked: Analysis) -> None:
    name = str(checked.tables["posterior_differences"]["benchmark"].iloc[0])
    note = Check(fit=f"crossed/{name}", check="status", value=np.nan, limit=np.nan, outcome="not_applicable",
                 why="left out: all scores are the same")  # fmt: skip
    text = plain(render(dataclasses.replace(checked, checks=(*checked.checks, note)))["crossed"])
    assert re.search(r"- Not in this model: TruthfulQA[^:]*: all scores are the same\.", text)


def test_the_summary_has_one_line_of_classes(checked: Analysis) -> None:
    lines = [line for line in summary_lines(checked, collect_results(checked)) if line.startswith("Classes")]
    assert len(lines) == 1
    assert "1 of 12 differences of correlations has an unadjusted 95 % interval" in lines[0]
    assert plain(lines[0]).endswith("chat 0.12 [−0.12, 0.38] sd of a benchmark.")


def test_empty_tables_leave_sentences_that_say_so(checked: Analysis) -> None:
    text = render(with_tables(checked, **{name: pd.DataFrame(columns=list(TABLES[name])) for name in NAMES}))
    assert "was not looked at" in text["common-scale"]
    assert "crossed" not in text
    assert "nan" not in text["mixed"].lower().split()


def test_methods_have_every_prior_of_the_crossed_model(checked: Analysis) -> None:
    text = render(checked)["methods-classes"]
    assert set(CROSSED_NAMES) == set(CrossedPriors.model_fields)
    assert all(f"| {words} |" in text for words in CROSSED_NAMES.values())
    assert "$\\mathrm{HalfN}(0, 0.5^2)$" in text
    assert "12 parametric bootstraps from the smaller model, 0 chi-square" in text


def test_most_models_each_way_are_shown(checked: Analysis) -> None:
    table = report_classes.progress_table(checked, {})
    assert table.count("\n| ") == 2 * report_classes.MOST_MODELS + 1
    few = checked.tables["differential_progress"].groupby("area").head(4)
    assert "all models, by excess" in report_classes.progress_table(with_tables(checked, differential_progress=few), {})


# --- figures ---


def test_the_forest_shows_both_intervals() -> None:
    drawing = draw_class_differences(tables_of()["posterior_differences"], labels={}, headline=(), level=0.95)
    assert drawing is not None
    assert_sound(drawing)
    assert "1 of 9 intervals exclude zero" in drawing.alt
    assert "ignores the pairing" in drawing.caption
    assert (drawing.data["unpaired_lower"] < drawing.data["lower"]).all()


def test_panels_take_areas_in_turn_and_say_what_is_left() -> None:
    areas = {f"b{i}": "first" if i < 20 else "second" for i in range(23)}
    table = tables_of(areas=areas)["marginal_means"]
    names = first_by_area(table, MOST_PANELS)
    assert len(names) == MOST_PANELS
    assert names == [f"b{i}" for i in (*range(MOST_PANELS - 3), 20, 21, 22)]
    drawing = draw_marginal_means(table, group="lineage", labels={}, headline=(), level=0.95)
    assert drawing is not None
    assert (
        f"Shown: {MOST_PANELS} benchmarks, headline ones first and areas in turn; the table has 11 more."
        in drawing.caption
    )
    assert "Hollow marks" in drawing.caption
    assert set(drawing.data["group"]) == {"lineage"}
    table["extrapolated"] = False
    inside = draw_marginal_means(table, group="family", labels={}, headline=("b3",), level=0.95)
    assert inside is not None
    assert "Hollow" not in inside.caption
    assert set(inside.data["benchmark"]) == {"b3"}


def test_arrows_count_what_capability_leaves() -> None:
    tables = tables_of()
    drawing = draw_lineage_shifts(tables["lineage_shifts"], tables["differential_progress"], level=0.95)
    assert drawing is not None
    assert "6 arrows" in drawing.alt
    assert "by 0.25 and safety by 0.50; the unexplained part lies above zero for 1 and below zero for 0." in drawing.alt
    assert set(drawing.data["area"]) == {"all", "area 0", "area 1", "area 2"}
    many = tables_of(areas={f"b{i}": f"area {i}" for i in range(8)})
    drawing = draw_lineage_shifts(many["lineage_shifts"], many["differential_progress"], level=0.95)
    assert drawing is not None
    assert set(drawing.data["area"]) == {"all"}


def test_no_table_no_figure() -> None:
    def empty(name: str) -> pd.DataFrame:
        return pd.DataFrame(columns=list(TABLES[name]))

    assert draw_marginal_means(empty("marginal_means"), group="lineage", labels={}, headline=(), level=0.95) is None
    assert draw_lineage_shifts(empty("lineage_shifts"), empty("differential_progress"), level=0.95) is None
    assert posterior_differences(("base",), AREAS).empty


@pytest.mark.parametrize(
    ("classes", "n"), [(("base", "chat"), 12), (("base", "chat"), 1), (("base", "chat", "reasoning"), 5)]
)
def test_figures_of_whole_studies_are_apart_and_inside(classes: tuple[str, ...], n: int, figures: list[Figure]) -> None:
    keys = [f"b{i}" for i in range(n)]
    labels = {b: f"Worst-case accuracy under fairness perturbation {b}" for b in keys}
    areas = {b: ("strict instruction following", "bias & toxicity", "x")[i % 3] for i, b in enumerate(keys)}
    check_figures(tables_of(classes, areas), labels, figures)


def test_hostile_names_of_classes_areas_and_benchmarks_are_text(figures: list[Figure]) -> None:
    areas = dict(zip(HOSTILE, ["area $x_1$", "<i>b</i>", "\u202e", ""] * 3, strict=False))
    check_figures(tables_of(("ba$e_", "<b>chat</b>"), areas), HOSTILE, figures)


def check_figures(tables: dict[str, pd.DataFrame], labels: dict[str, str], figures: list[Figure]) -> None:
    drawings = [
        draw_class_differences(tables["posterior_differences"], labels=labels, headline=(), level=0.95),
        draw_marginal_means(tables["marginal_means"], group="lineage", labels=labels, headline=(), level=0.95),
        draw_lineage_shifts(tables["lineage_shifts"], tables["differential_progress"], level=0.95),
    ]
    for drawing, figure in zip(drawings, figures, strict=True):
        assert drawing is not None
        assert_sound(drawing)
        assert_texts_apart(figure)
        assert figure.get_figheight() <= 10.8
