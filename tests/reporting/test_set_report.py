"""Sets of models in the report: numbers, tables, prose and figure say what tables made by hand hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from test_figures import HOSTILE, assert_sound, assert_texts_apart

from safetystats.reporting import figure_style, report_model_sets
from safetystats.reporting.figures_model_sets import draw_reachable
from safetystats.reporting.prose import Quoter, Value, render_prose
from safetystats.reporting.results_model_sets import model_sets_results
from safetystats.reporting.text import escape
from safetystats.shelf import shelf_path
from safetystats.specs import QUICK_QUESTIONS, StudySpec
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.plan import plan_study
from safetystats.tables.audit import Audit

B1, B2, B3 = "classic_truthfulqa", "classic_civilcomments", "classic_fair_boolq"
MODELS = ("bigscience/T0pp", "writer/palmyra-x", "google/ul2", "openai/ada")
FACTS: Mapping[str, Value] = {
    "model_sets.capability_draws": 150, "model_sets.draws": 2400, "model_sets.ranking_draws": 30,
    "model_sets.partial_draws": 1000, "rope": 0.4, "level": 0.95,
}  # fmt: skip


def frames() -> dict[str, pd.DataFrame]:
    """Three benchmarks: one whose label hangs on a model, one that stands, one whose verdict is withheld."""
    smallest = [
        {"benchmark": B1, "target": "label_2024", "stated": "high", "n_removed": 1.0, "lower_bound": 1,
         "certified": True, "how": "smallest", "most": 6, "removed": MODELS[0], "value": 0.45,
         "value_without": 0.31, "reached": "low"},
        {"benchmark": B1, "target": "verdict", "stated": "entangled", "n_removed": 4.0, "lower_bound": 3,
         "certified": False, "how": "greedy", "most": 6, "removed": "; ".join(MODELS), "value": 0.97,
         "value_without": 0.9, "reached": "undetermined"},
        {"benchmark": B2, "target": "label_2024", "stated": "low", "n_removed": np.nan, "lower_bound": 4,
         "certified": True, "how": "none found", "most": 6, "removed": "", "value": 0.1, "value_without": np.nan,
         "reached": ""},
        {"benchmark": B2, "target": "verdict", "stated": "undetermined", "n_removed": 2.0, "lower_bound": 2,
         "certified": True, "how": "smallest", "most": 6, "removed": "; ".join(MODELS[:2]), "value": 0.5,
         "value_without": 0.96, "reached": "distinct"},
        {"benchmark": B3, "target": "verdict", "stated": "withheld", "n_removed": np.nan, "lower_bound": 1,
         "certified": True, "how": "none found", "most": 6, "removed": "", "value": 0.5, "value_without": np.nan,
         "reached": ""},
    ]  # fmt: skip
    reach = [
        {"benchmark": name, "statistic": "spearman", "n_models": 24, "k": k, "value": value,
         "lowest": value - 0.1 * k, "highest": value + 0.05 * k, "removed_lowest": MODELS[0],
         "removed_highest": MODELS[1], "n_sets": 24, "exact": k < 4}
        for name, value in ((B1, 0.45), (B2, 0.1), (B3, -0.6))
        for k in (1, 2, 3, 6)
    ]  # fmt: skip
    influence = [
        {"benchmark": name, "unit": unit, "label": label, "n_models": 23, "mean": 0.5, "mean_without": 0.5 + change,
         "change": change, "p_verdict": 0.9, "p_without": 0.8, "verdict": "entangled",
         "verdict_without": "undetermined" if flips else "entangled", "flips": flips, "spearman": 0.45,
         "spearman_without": 0.31, "label_2024": "high", "label_without": "low", "label_flips": label == MODELS[0]}
        for name, unit, label, change, flips in (
            (B1, "model", MODELS[0], -0.3, True), (B2, "model", MODELS[0], 0.1, True),
            (B2, "model", MODELS[1], 0.01, False), (B1, "family", "T5", 0.2, True),
        )
    ]  # fmt: skip
    restricted = [
        {"benchmark": name, "restriction": "released_until", "part": "2022-07-20", "n_models": 12, "n_families": 6,
         "mean": 0.5, "lower": 0.1, "upper": 0.8, "level": 0.95, "p_entangled": 0.7, "p_distinct": 0.3,
         "p_inverse": 0.0, "verdict": verdict, "verdict_all": "entangled", "flips": verdict != "entangled",
         "spearman": 0.4}
        for name, verdict in ((B1, "undetermined"), (B2, "distinct"))
    ]  # fmt: skip
    partial = [
        {"benchmark": B1, "covariate": covariate, "n_models": 22, "n_families": 11, "plain": 0.6, "plain_lower": 0.2,
         "plain_upper": 0.8, "partial": np.nan if given == "refused" else 0.1, "lower": -0.2, "upper": 0.4,
         "partial_score": np.nan if given == "refused" else 0.2,
         "level": 0.95, "covariate_correlation": 0.9, "vif": vif, "vif_limit": 10.0, "given": given, "why": ""}
        for covariate, vif, given in (("log_compute", 16.0, "refused"), ("log_size", 7.5, "marked"))
    ]  # fmt: skip
    parents = [
        {"benchmark": B3, "parents": "classic_boolq", "n_models": 22, "spearman": 0.42, "spearman_without": 0.35,
         "difference": -0.07, "lower": -0.1, "upper": -0.01, "level": 0.95, "label_2024": "high",
         "label_without": "low"}
    ]  # fmt: skip
    rows = {
        "smallest_sets": smallest, "reachable": reach, "set_influence": influence, "restricted_sets": restricted,
        "partial_correlations": partial, "parent_left_out": parents,
    }  # fmt: skip
    common = {"model_class": "chat", "area": "an area"}
    return {
        name: pd.DataFrame([common | row for row in own], columns=list(MODEL_SETS_TABLES[name]))
        for name, own in rows.items()
    }


def analysis_of(tables: Mapping[str, pd.DataFrame], *, asked: bool = True) -> Analysis:
    study = StudySpec(title="t", question="q", table="helm-classic", classes=("chat",))
    if not asked:
        study = study.model_copy(update={"questions": QUICK_QUESTIONS})
    plan = plan_study("made", study)
    return Analysis(
        plan=plan, audit=Audit(findings=(), table="made", fingerprint="f"), tables=tables, checks=(), fits={},
        facts=FACTS, timings={}, reused=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysis_of(frames())


def quoter_of(analysis: Analysis) -> Quoter:
    names, models = analysis.plan.table.benchmarks["name"], analysis.plan.table.models["name"]
    return Quoter(
        results=dict(FACTS) | model_sets_results(analysis),
        names={str(k): str(v) for k, v in names.items()}, models={str(k): str(v) for k, v in models.items()},
    )  # fmt: skip


def rendered(analysis: Analysis, template: str = "model_sets.md") -> str:
    q = quoter_of(analysis)
    context = {
        "num": q.num, "pct": q.pct, "count": q.count, "est": q.est, "name": q.name, "model": q.model,
        "number": q.number, "text": q.text, "escape": escape, "classes": analysis.plan.table.classes,
        "reachable_figure": "FIGURE",
    }  # fmt: skip
    return render_prose(template, context | report_model_sets.model_sets_context(analysis, q)).replace("\\", "")


def empty() -> dict[str, pd.DataFrame]:
    return {name: pd.DataFrame(columns=list(columns)) for name, columns in MODEL_SETS_TABLES.items()}


# --- numbers ---


def test_changes_are_counted_by_size_and_target(analysis: Analysis) -> None:
    results = model_sets_results(analysis)
    assert [results[f"flip.chat.label_2024.{k}"] for k in (1, 2, 3)] == [1, 1, 1]
    assert [results[f"flip.chat.verdict.{k}"] for k in (1, 2, 3)] == [0, 1, 1]
    assert results["flip_settled_asked.chat.verdict"] == 1
    assert results["flip_settled.chat.verdict.3"] == 0
    assert results["flip_asked.chat.verdict"] == 2
    assert results["flip_uncertified.chat.verdict"] == 1
    assert results["flip_ever.chat.verdict"] == 2


def test_extremes_belong_to_their_benchmarks(analysis: Analysis) -> None:
    results = model_sets_results(analysis)
    assert results["reach_median.chat.3"] == pytest.approx(0.45)
    assert (results["set_most_of.chat.model"], results["set_most.chat.model"]) == (MODELS[0], 2)
    assert (results["set_change_of.chat.model"], results["set_change_by.chat.model"]) == (B1, MODELS[0])
    assert results["set_change_to.chat.model"] == pytest.approx(0.2)
    assert results["set_labels.chat.model"] == 2
    assert (results["restricted_flips.chat"], results["restricted_opposed.chat"]) == (2, 1)
    assert results["partial_refused.chat.log_compute"] == 1
    assert results["partial_clear.chat.log_size"] == 0
    assert results["partial_plain_clear.chat.log_size"] == 1
    assert (results["parents_changed.chat"], results["parents_largest.chat"]) == (1, -0.07)


# --- words ---


def test_the_section_states_sizes_bounds_and_doubts(analysis: Analysis) -> None:
    text = rendered(analysis)
    first = next(line for line in text.splitlines() if line.startswith("|") and "| 0.45 |" in line)
    assert "1: " in first
    assert "low (0.31)" in first
    assert "≤ 4 (?)" in first
    assert "≥ 4" in text
    assert "0.10 [−0.20, 0.40] ‡" in text
    assert "given log compute" not in text, "a covariate that no benchmark has an estimate for has no column"
    assert "| chat | log compute | refused | 1 | 16.0 | all 1 |" in text
    assert "high → low" in text
    assert "FIGURE" in text
    assert "released until 2022-07-20" in text


def test_a_study_that_does_not_ask_says_so() -> None:
    text = rendered(analysis_of(empty(), asked=False))
    assert "does not ask this" in text
    assert "FIGURE" not in text


def test_empty_tables_are_told_in_words() -> None:
    text = rendered(analysis_of(empty()))
    assert "No model left out alone changes a verdict" in text
    assert "No part of the models could be formed" in text
    assert "Without the parent benchmark" not in text


def test_the_methods_paragraph_names_its_sources(analysis: Analysis) -> None:
    text = rendered(analysis, "methods_model_sets.md")
    assert "2400" in text
    for key in ("@yule1907", "@marquardt1970", "@rubin1981"):
        assert key in text


# --- figure ---


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made while a test runs."""
    found: list[Figure] = []

    def make(**settings: object) -> Figure:
        found.append(Figure(**settings))
        return found[-1]

    monkeypatch.setattr(figure_style, "Figure", make)
    return found


@pytest.mark.parametrize("classes", [("chat",), ("base", "chat"), ("a", "b", "c")])
def test_the_figure_is_sound(classes: tuple[str, ...], figures: list[Figure]) -> None:
    own = frames()["reachable"]
    several = pd.concat([own.assign(model_class=name) for name in classes], ignore_index=True)
    drawing = draw_reachable(several, labels={B1: "First", B2: HOSTILE["dollar"]}, headline=(), rope=0.4)
    assert drawing is not None
    assert_sound(drawing)
    assert_texts_apart(figures[0])
    assert set(drawing.data["k"]) == {1, 2, 3}
    # 0.45 and -0.6 can be taken inside the limit with three models; 0.1 stays below it.
    assert "for 1 of 3" in drawing.alt
    assert "1, 2 or 3 models" in drawing.caption


def test_without_the_question_there_is_no_figure() -> None:
    assert draw_reachable(empty()["reachable"], labels={}, headline=(), rope=0.4) is None


def test_benchmarks_without_a_partial_correlation_are_named_once() -> None:
    made = frames()
    row = made["partial_correlations"].iloc[0]
    more = [
        row.to_dict() | {"benchmark": name, "covariate": "log_size", "given": given, "vif": vif, "partial": partial}
        for name, given, vif, partial in ((B2, "refused", 11.0, np.nan), (B3, "no", np.nan, np.nan))
    ]
    partial = pd.concat([made["partial_correlations"], pd.DataFrame(more)], ignore_index=True)
    found = analysis_of({**made, "partial_correlations": partial})
    names = {B1: "First", B2: "Second", B3: "Third"}
    stated = report_model_sets.partial_tables(found, names)
    assert [line for line in stated.splitlines() if line.startswith(("| Second", "| Third"))] == []
    assert "| First |" in stated
    others = report_model_sets.refused_table(found, names).replace("\\", "")
    assert "| chat | log size | refused | 1 | 11.0 | Second |" in others
    assert "| chat | log size | too few models | 1 | – | Third |" in others
    assert "| chat | log compute | refused | 1 | 16.0 | all 1 |" in others
    given = partial[partial["given"] == "marked"]
    whole = analysis_of({**made, "partial_correlations": given})
    assert report_model_sets.refused_table(whole, names) == ""
    none = analysis_of({**made, "partial_correlations": partial[partial["given"] != "marked"]})
    assert report_model_sets.partial_tables(none, names) == ""


@pytest.mark.parametrize("path", sorted(shelf_path("reports", "prose").glob("*.md")), ids=lambda path: path.stem)
def test_what_is_included_begins_after_a_blank_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    for place, line in enumerate(lines):
        if "{% include" in line and place:
            before = lines[:place]
            while before and before[-1].startswith(("{% if", "{% for")):
                before.pop()
            assert not before or not before[-1].strip(), f"{path.name}:{place + 1}"
