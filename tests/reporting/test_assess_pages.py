"""The card and the paragraph of an assessment say what its content says, adapt to what is missing, and are safe."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from safetystats.reporting.assess import assessment_markdown, paragraph_text, summary_text, write_assessment
from safetystats.reporting.badge import draw_badge
from safetystats.reporting.writers import to_html
from safetystats.summaries.assess import NOISE_UNKNOWN, assess
from safetystats.summaries.assess_content import GATE
from safetystats.summaries.numbers import estimate_text
from safetystats.tables.load import load_table

HOSTILE = "<script>alert(1)</script> a_b*c$d|e#f%g\\h`i` {{ x }} {% y %}"
COLUMN = "classic_truthfulqa"


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    scores = load_table("helm-classic").scores[COLUMN].dropna()
    found = assess(scores, "helm-classic", "higher_is_safer", name="TruthfulQA", items=654, unit="share correct")
    return dict(found.content)


@pytest.fixture(scope="module")
def nothing() -> dict[str, Any]:
    scores = load_table("helm-classic").scores[COLUMN].dropna().iloc[:3]
    return dict(assess(scores, "helm-classic", "lower_is_safer", name="Few").content)


def test_the_paragraph_quotes_the_content(content: dict[str, Any]) -> None:
    text = paragraph_text(content)
    for own in content["classes"].values():
        cut = own["cut"]
        assert f"ρ is {estimate_text(cut['mean'], cut['lower'], cut['upper'])}" in text
        assert own["verdict"] in text
        assert f"{own['n_models']} models of {own['n_families']} families" in text
    assert "\\" not in text
    assert "\n" not in text
    assert "share correct" in text


def test_every_number_of_the_paragraph_is_in_the_content(content: dict[str, Any]) -> None:
    text = re.sub(r"HELM Classic v\S+ \d+ base and \d+ chat models|safetystats [\d.]+", "", paragraph_text(content))
    text = re.sub(r"Without \S+,", "", text)
    numbers = re.findall(r"\d+(?:\.\d+)?", text)

    def values(part: object) -> list[float]:
        if isinstance(part, dict):
            return [v for each in part.values() for v in values(each)]
        return [float(part)] if isinstance(part, int | float) and not isinstance(part, bool) else []

    known = [*values(content), 0.001, 0.999, 95]
    for number in numbers:
        digits = len(number.partition(".")[2])
        assert any(round(abs(value), digits) == float(number) for value in known), number


def test_a_class_of_which_nothing_can_be_said(nothing: dict[str, Any]) -> None:
    assert "Of base models nothing can be said" in paragraph_text(nothing)
    text = assessment_markdown(nothing)
    assert "What would change it" not in text
    assert "nothing can be said" in text
    assert "base: no posterior" in draw_badge("Few", nothing["classes"])
    assert summary_text(nothing)[0].startswith("base: nothing can be said: 3 of its models have a score")


@pytest.mark.parametrize(
    ("direction", "words"),
    [("lower_is_safer", "turned so that higher is safer"), ("zero_is_ideal", "minus its distance from zero")],
)
def test_the_slope_says_what_was_done_to_the_score(content: dict[str, Any], direction: str, words: str) -> None:
    changed = copy.deepcopy(content)
    changed["benchmark"]["direction"] = direction
    assert words in paragraph_text(changed)
    assert words not in paragraph_text(content)


def test_what_is_withheld_is_said(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    for why in (GATE, "reliability 0.22 is below the 0.50 that the study asks for"):
        changed["classes"]["base"] |= {"verdict": "withheld", "verdict_why": why}
        changed["classes"]["base"]["change"] |= {"settled": False, "models_needed": None}
        assert f"the verdict is withheld ({why})" in paragraph_text(changed)
        page = to_html(assessment_markdown(changed).replace("![", "["), title="t", resources=Path("."))
        assert page.count(f"The verdict is withheld: {why}.") == 1
        assert page.count(f"The verdict is withheld:</em> {why}.") == 1
        assert ("It would be" in page) is (why != GATE)
        assert why in draw_badge("x", changed["classes"])
        assert why[1:] in summary_text(changed)[0]
        assert "settle it" not in summary_text(changed)[0]


def test_what_was_not_checked_for_noise_is_said(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    changed["classes"]["base"] |= {"verdict": "distinct", "verdict_why": NOISE_UNKNOWN}
    changed["classes"]["base"]["change"] |= {"settled": True, "models_needed": None}
    assert f"distinct; {NOISE_UNKNOWN}" in paragraph_text(changed)
    assert NOISE_UNKNOWN in assessment_markdown(changed)
    assert NOISE_UNKNOWN[1:] in summary_text(changed)[0]
    assert NOISE_UNKNOWN not in paragraph_text(content)


def test_what_one_model_less_changes_is_counted_once(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    own = changed["classes"]["base"]
    own["influence"] |= {"n_changing": 0, "changing": []}
    assert "No one score less changes the verdict" in assessment_markdown(changed)
    assert "leaving out one model" not in paragraph_text({**changed, "classes": {"base": own}})
    own["influence"] |= {"n_changing": 2, "changing": own["influence"]["changing"][:1] or ["some/model"]}
    assert f"changes the verdict in 2 cases of {own['n_models']}" in paragraph_text(changed)


def test_all_files_are_written_and_hold_together(content: dict[str, Any], tmp_path: Path) -> None:
    paths = write_assessment(content, tmp_path)
    assert {path.name for path in paths} == {
        "TruthfulQA.json", "TruthfulQA.md", "TruthfulQA.html", "TruthfulQA.svg", "TruthfulQA-intervals.svg",
    }  # fmt: skip
    assert json.loads((tmp_path / "TruthfulQA.json").read_text(encoding="utf-8")) == content
    page = (tmp_path / "TruthfulQA.html").read_text(encoding="utf-8")
    assert 'http-equiv="Content-Security-Policy"' in page
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 2
    assert all("data:image/svg+xml" in image and 'alt="' in image for image in images)
    assert "joint" not in (tmp_path / "TruthfulQA-intervals.svg").read_text(encoding="utf-8")


def test_any_name_is_shown_as_it_is(content: dict[str, Any]) -> None:
    changed = copy.deepcopy(content)
    changed["benchmark"] |= {"name": HOSTILE, "unit": HOSTILE}
    changed["matching"][0]["given"] = HOSTILE
    changed["classes"] = {HOSTILE: changed["classes"]["base"]}
    page = to_html(assessment_markdown(changed).replace("![", "["), title="t", resources=Path("."))
    assert "<script>alert" not in page
    assert "{{ x }}" in paragraph_text(changed)


def test_the_page_states_what_was_measured() -> None:
    root = Path(__file__).resolve().parents[2]
    frame = pd.read_csv(root / "benchmarks" / "assess.csv")
    other = int((frame["run_verdict"] != frame["assessed_verdict"]).sum())
    words = {0: "none", 1: "one", 2: "two", 3: "three"}
    assert f"{words[other]} of {len(frame)} verdicts" in (root / "docs" / "assess.md").read_text(encoding="utf-8")
