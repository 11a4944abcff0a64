"""The audit by the reporting guidelines: every item has an answer, and answers follow the run."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from safetystats.reporting.barg import BARG_COLUMNS, STATUSES, barg_audit, barg_markdown
from safetystats.shelf import shelf_path
from safetystats.specs import StudySpec

STUDY = StudySpec(title="t", question="q", table="helm-classic", classes=("base", "chat"))
ITEMS: list[dict[str, Any]] = tomllib.loads(shelf_path("reports", "prose", "barg.toml").read_text(encoding="utf-8"))[
    "item"
]


def made_results(**changes: float) -> dict[str, Any]:
    """Results of a full run in which everything went well."""
    found: dict[str, Any] = {
        "models": 67, "safety_benchmarks": 12, "capability_benchmarks": 8, "missing_share": 0.01, "joint_refits": 2,
        "prior_p_distinct": 0.4, "checks": 37, "checks_failed": 0, "worst.r_hat": 1.004, "worst.divergences": 0.0,
        "worst.ess_bulk": 2571.3, "worst.ess_tail": 1762.1, "level": 0.95, "rope": 0.4, "rope_probability": 0.95,
        "prior_alternatives": 12,
    }  # fmt: skip
    for label in ("base", "chat"):
        found |= {
            f"predictive.{label}.prior": 10, f"predictive_unusual.{label}.prior": 4,
            f"predictive.{label}.posterior": 10, f"predictive_unusual.{label}.posterior": 5,
            f"power.{label}": 20, f"power_flagged.{label}": 8, f"alternatives.{label}": 12,
            f"alternatives_changed.{label}": 3, f"alternatives_safety.{label}": 12, f"verdicts_differ.{label}": 1,
            f"benchmarks.{label}.cut": 12, f"verdicts.{label}.cut.withheld": 0,
        }  # fmt: skip
    return found | changes


def status_of(results: dict[str, Any], asks: str) -> tuple[str, str]:
    audit = barg_audit(results, STUDY, ("base", "chat"))
    row = audit[audit["asks"].str.startswith(asks)]
    assert len(row) == 1
    return str(row["status"].iloc[0]), str(row["answer"].iloc[0])


def test_every_item_has_an_answer() -> None:
    audit = barg_audit(made_results(), STUDY, ("base", "chat"))
    assert tuple(audit.columns) == BARG_COLUMNS
    assert len(audit) == len(ITEMS)
    assert audit["step"].nunique() == 7
    assert set(audit["status"]) <= set(STATUSES)
    assert "not run" not in set(audit["status"])
    assert audit["answer"].str.len().min() > 8
    assert not audit["answer"].str.contains(r"\{|\}|nan|undefined").any()


def test_letters_stand_only_where_they_were_compared() -> None:
    lettered = dict.fromkeys(dict.fromkeys(item["step"] for item in ITEMS), "")
    for item in ITEMS:
        lettered[item["step"]] += item["letter"]
    assert list(lettered.values()) == ["AB", "ABCDE", "ABCD", "ABC", "ABCDE", "BDE", "G"]
    assert "could not be read" in barg_markdown(barg_audit(made_results(), STUDY, ("base", "chat")))


def test_a_failed_gate_changes_the_answers() -> None:
    results = made_results(checks_failed=2) | {"verdicts.base.cut.withheld": 12}
    status, answer = status_of(results, "Convergence")
    assert status == "failed"
    assert answer.startswith("2 checks of 37 failed.")
    assert status_of(results, "Resolution")[0] == "failed"
    assert "12 of the verdicts are withheld." in status_of(results, "Estimates beside")[1]
    assert status_of(made_results(), "Convergence")[0] == "answered"


def test_what_a_quick_run_leaves_out_is_said() -> None:
    quick = made_results() | {"alternatives.base": 0, "alternatives.chat": 0}
    for asks in ("How the posterior depends on broad", "How the posterior depends on informed", "Whether decisions"):
        assert status_of(made_results(), asks)[0] == "answered"
        assert status_of(quick, asks)[0] == "not run"
    assert "12 other priors" in status_of(quick, "How the posterior depends on broad")[1]
    none = quick | {"prior_alternatives": 0}
    assert status_of(none, "How the posterior depends on broad")[0] == "not applicable"
    unchecked = made_results() | {"predictive.chat.prior": 0}
    assert status_of(unchecked, "A prior predictive check")[0] == "not run"


def test_a_missing_number_is_an_error() -> None:
    results = made_results()
    del results["worst.r_hat"]
    with pytest.raises(KeyError, match=r"worst\.r_hat"):
        barg_audit(results, STUDY, ("base", "chat"))


def test_the_table_counts_and_links() -> None:
    audit = barg_audit(made_results(), STUDY, ("base", "chat"))
    text = barg_markdown(audit)
    answered = int((audit["status"] == "answered").sum())
    assert f"{answered} items of {len(audit)} are answered" in text
    prose = "".join(path.read_text(encoding="utf-8") for path in shelf_path("reports", "prose").glob("*.md"))
    for name in set(re.findall(r"\(#([a-z0-9-]+)\)", text)):
        assert f"{{#{name}}}" in prose, name
    assert "](#" not in barg_markdown(audit, linked=False)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["asks"][:40])
def test_answers_use_no_number_of_their_own(item: dict[str, Any]) -> None:
    assert set(item) == {"step", "letter", "asks", "where", "status", "answer"}
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|`[^`]*`", "", item["asks"] + item["answer"], flags=re.DOTALL)
    assert not re.search(r"\d", text)
