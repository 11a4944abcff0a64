"""Text about verdicts, from tables made by hand: counts, letters, labels, and a study that does not ask."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from safetystats.reporting import results_verdicts
from safetystats.reporting.prose import Quoter, render_prose
from safetystats.reporting.report_verdicts import verdicts_context
from safetystats.reporting.results_verdicts import verdicts_results
from safetystats.reporting.text import escape
from safetystats.specs import StudySpec
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.settling import FURTHER

NAMES = {"one": "The first", "two": "The second"}
WORDS = {"one": ("entangled", "entangled", "undetermined"), "two": ("undetermined", "distinct", "distinct")}
LIMITS = (0.3, 0.4, 0.5)


def tables() -> dict[str, pd.DataFrame]:
    """Return the tables of one class with two benchmarks; the first is entangled, the second distinct at 0.40."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in VERDICTS_TABLES}
    for place, name in enumerate(NAMES):
        common = {"model_class": "base", "benchmark": name, "area": "an area", "level": 0.95, "n_models": 20}
        words = WORDS[name]
        for limit, word in zip(LIMITS, words, strict=True):
            rows["verdict_curve"].append(
                common | {"limit": limit, "verdict": word, "stated": limit == 0.4, "changes": word != words[1],
                          "p_entangled": 0.9, "p_distinct": 0.1, "p_inverse": 0.0, "p_error": 0.01}
            )  # fmt: skip
        for quantity in ("correlation", "absolute correlation"):
            rows["rank_order"].append(
                common | {"quantity": quantity, "n_benchmarks": 2, "mean_rank": 1 + place, "rank_lower": 1,
                          "rank_upper": 2, "p_top_quarter": 0.9 - place / 2, "p_first": 0.9 - place / 2}
            )  # fmt: skip
        quadrant = ("high and large", "")[place]
        chances = [float("nan")] * 4 if place else [0.96, 0.04, 0.0, 0.0]
        rows["liability"].append(
            common | dict(zip(("p_high_large", "p_high_small", "p_low_large", "p_low_small"), chances, strict=True))
            | {"quadrant": quadrant, "effect_from": ("share of range", "none")[place], "mean": 0.6, "slope": 0.1,
               "slope_lower": 0.05, "slope_upper": 0.2, "sd_between": 0.2, "smallest_effect": 0.04,
               "share_at_floor": 0.0, "share_at_ceiling": 0.5}
        )  # fmt: skip
        rows["models_to_settle"] += [
            common | {"n_families": 7, "further": size, "further_families": 3, "n_simulations": 60, "mean": 0.4,
                      "mean_expected": 0.4, "width": 0.5, "width_expected": 0.3, "width_error": 0.01, "p_settled": 0.7,
                      "p_settled_error": 0.06, "settled_entangled": 0.7, "settled_distinct": 0.0,
                      "settled_inverse": 0.0, "further_approximate": float("nan")}
            for size in FURTHER
        ]  # fmt: skip
        rows["published_labels"].append(
            common | {"headline": True, "published": 0.62 - place / 2, "label": ("high", "low")[place], "mean": 0.6,
                      "lower": 0.4, "upper": 0.8, "p_entangled": 0.97, "p_distinct": 0.03, "p_inverse": 0.0,
                      "verdict": words[1], "agreement": "confirmed"}
        )  # fmt: skip
    return {name: pd.DataFrame(made, columns=list(VERDICTS_TABLES[name])) for name, made in rows.items()}


def section(made: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(results_verdicts, "mechanical", lambda analysis: {"one"})
    study = StudySpec(title="made", question="made?", table="made")
    benchmarks = pd.DataFrame({"headline": [True, True]}, index=list(NAMES))
    analysis: Any = SimpleNamespace(
        tables=made, plan=SimpleNamespace(study=study, table=SimpleNamespace(classes=("base",), benchmarks=benchmarks))
    )
    common = {"rope": 0.4, "rope_probability": 0.95, "settle_simulations": 60}
    quoter = Quoter(results={**verdicts_results(analysis), **common}, names=NAMES, models={})
    words = {name: getattr(quoter, name) for name in ("num", "pct", "count", "est", "name", "number", "text")}
    figures = {"verdict_curve_figure": "", "liability_figure": ""}
    return render_prose("verdicts.md", {**words, **figures, "escape": escape, **verdicts_context(analysis, NAMES)})


def test_the_section_counts_what_the_tables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    text = section(tables(), monkeypatch)
    assert "from 0.30 to 0.50" in text
    assert "0 of 2 benchmarks have the same verdict at every limit; 2 have another one" in text
    assert "At 0.30 there are 1 entangled, 0 inverse and 0 distinct, 1 undetermined; at 0.50 there are 0" in text
    assert "The first has the largest probability of being the most entangled, 0.90; it reuses runs" in text
    assert "1 of 2 benchmarks has a smallest effect. High correlation and large slope: 1;" in text
    assert "No headline benchmark is undetermined." in text
    assert "of 1 labelled low, 1 is distinct here, 0 entangled or inverse, and 0 undetermined; of 1 others" in text
    assert "| The first | E | E | · |" in text
    assert "| The second | · | D | D |" in text
    assert "Specs entangled" not in text


def test_undetermined_benchmarks_are_said_to_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tables()
    curve = made["verdict_curve"]
    made["verdict_curve"] = curve.assign(verdict=curve["verdict"].where(curve["benchmark"] == "one", "undetermined"))
    text = section(made, monkeypatch)
    assert "Of 1 undetermined headline benchmark, 0 would be settled with probability 0.80 or more" in text
    assert "the median probability of a settled verdict after 100 is 0.70" in text.lower()
    assert "0.60 times their present width" in text


def test_shares_of_specifications_are_shown_where_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    made = tables()
    made["published_labels"] = made["published_labels"].assign(
        share_entangled=0.75, share_distinct=0.0, share_inverse=0.0, share_undetermined=0.25, n_specifications=48
    )
    text = section(made, monkeypatch)
    assert "Specs entangled" in text
    assert "75 %" in text


def test_a_study_that_does_not_ask_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    empty = {name: frame.iloc[:0] for name, frame in tables().items()}
    text = section(empty, monkeypatch)
    assert "were not looked at" in text
    assert "|" not in text
