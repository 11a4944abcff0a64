"""The folder of a finished run, made by hand: what cards and pages say of it is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from made_text import SVG, png, texts

from safetystats.reporting.folder import PAGE_DATA
from safetystats.reporting.page import data_text
from safetystats.reporting.page_data import pack
from safetystats.shelf import sha256_bytes
from safetystats.specs import StudySpec
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.plan import plan_study

SETTLED, OPEN, CHAT_ONLY = "classic_truthfulqa", "classic_civilcomments", "classic_robust_mmlu"
CUT = {
    ("base", SETTLED): (0.80, 0.60, 0.91, "entangled"),
    ("chat", SETTLED): (0.55, 0.20, 0.78, "undetermined"),
    ("base", OPEN): (0.10, -0.25, 0.42, "undetermined"),
    ("chat", CHAT_ONLY): (-0.05, -0.40, 0.31, "undetermined"),
}
"""Posterior mean, interval and verdict of the cut posterior, by class and benchmark."""
WHY_ABSENT = "no posterior: 2 models have a score"


def study(table: str = "helm-classic", title: str = "A run made by hand") -> StudySpec:
    return StudySpec(title=title, question="Is the card right?", table=table, classes=("base", "chat"))


def make_run(
    folder: Path,
    asked: StudySpec | None = None,
    *,
    names: Sequence[str] = ("a", "b"),
    benchmarks: Mapping[str, str] | None = None,
    failed: bool = False,
    priors: bool = True,
    fingerprint: str | None = None,
) -> Path:
    """Write the files of a run but its fits; the text holds `names`, and `benchmarks` renames the three benchmarks."""
    asked = asked or study()
    plan = plan_study("made", asked)
    own = {name: (benchmarks or {}).get(name, name) for name in (SETTLED, OPEN, CHAT_ONLY)}
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    for label in ("base", "chat"):
        rows["capability_scores"].append({"model_class": label, "model": f"some {label}"})
        rows["spec_comparison"].append(
            {"model_class": label, "unit": "model", "spec": "two-level", "elpd": -10.0, "n_units": 40, "n_doubtful": 3}
        )
    for (label, name), (mean, lower, upper, verdict) in CUT.items():
        common = {"model_class": label, "benchmark": own[name], "area": "some area", "n_models": 40, "n_families": 20}
        chances = {"p_entangled": 0.96 if verdict == "entangled" else 0.5, "p_inverse": 0.0}
        chances["p_distinct"] = 1 - chances["p_entangled"]
        slope = {"slope": 0.04, "slope_lower": 0.01, "slope_upper": 0.07, "icc": 0.2, "pareto_k": 0.3, "sd": 0.1}
        ends = {"mean": mean, "lower": lower, "upper": upper}
        for mode in ("cut", "joint"):
            shown = "withheld" if failed else verdict if mode == "cut" else "entangled"
            rows["posterior_correlations"].append(
                {**common, **chances, **slope, **ends, "mode": mode, "verdict": shown, "level": 0.95}
            )
        rows["posterior_estimands"].append({**common, "mode": "cut", "estimand": "reliability", "mean": 0.9})
        rows["capability_correlations"].append(
            {**common, "method": "spearman", "interval": "fisher", "correlation": 0.7, "lower": 0.5, "upper": 0.8}
        )
        rows["shrunken_correlations"].append(
            {**ends, "model_class": label, "unit": "benchmark", "name": own[name], "verdict": verdict}
        )
        if priors:
            rows["prior_sensitivity"] += [
                {"model_class": label, "how": "other prior", "prior": "loading", "alternative": words,
                 "benchmark": own[name], "mean": 0.3, "change": change, "verdict": other}
                for words, change, other in (("wider", -0.21, "distinct"), ("narrower", 0.02, verdict))
            ]  # fmt: skip
    rows["audit"].append(
        {"check": "reused_runs", "severity": "warning", "benchmarks": f"other {own[SETTLED]}", "value": 1.0,
         "message": "It reuses runs.", "remedy": "Say so."}
    )  # fmt: skip
    rows["audit"].append(
        {"check": "ceiling", "severity": "note", "benchmarks": f"x{own[SETTLED]} other", "value": 1.0,
         "message": "Of a longer name.", "remedy": "None."}
    )  # fmt: skip
    digests = {}
    for name, columns in TABLES.items():
        text = _csv(rows[name], columns)
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / f"{name}.csv").write_text(text, encoding="utf-8", newline="")
        digests[name] = sha256_bytes(text.encode("utf-8"))
    checks = [
        {"fit": f"safety/base/{own[CHAT_ONLY]}", "check": "models", "outcome": "not_applicable", "why": WHY_ABSENT},
    ]
    if failed:
        checks.append({"fit": "capability/base", "check": "r_hat", "outcome": "fail", "why": "made to fail"})
    record = {
        "study": "made",
        "spec": json.loads(asked.model_dump_json()),
        "specs": {"factor": {"fingerprint": "f" * 64}},
        "table": {"name": plan.table.name, "fingerprint": fingerprint or plan.table.fingerprint},
        "tables": digests,
        "gates": {"passed": not failed, "checks": checks},
        "versions": {"safetystats": "0.0.made"},
        "fits_reused": False,
        "timings": {"sampling the model": 150.0, "tables": 3.0},
        "platform": "Linux-made",
        "machine": {"processor": "x86_64", "cores": 2},
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "results.json").write_text("{}", encoding="utf-8")
    for part in ("text", "figures"):
        (folder / part).mkdir(exist_ok=True)
    for name, text in texts(names, passed=not failed).items():
        (folder / "text" / f"{name}.md").write_text(text, encoding="utf-8")
    data = {"figures": {"fig": pack(pd.DataFrame({"name": list(names)}))}, "scatter": None, "words": list(names)}
    (folder / PAGE_DATA).write_text(data_text(data), encoding="utf-8")
    (folder / "figures" / "fig.svg").write_text(SVG, encoding="utf-8")
    (folder / "figures" / "fig.png").write_bytes(png())
    return folder


def _csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    return str(pd.DataFrame(list(rows), columns=list(columns)).to_csv(index=False, lineterminator="\n"))
