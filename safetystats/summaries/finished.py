"""A run that is finished: its folder read back, every table proved against the digest that the run recorded.

Nothing here samples or fits. The score table itself is read again from where the run took it, and is used only if its
fingerprint is the one the run recorded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from safetystats.errors import DataError, SafetyStatsError
from safetystats.shelf import sha256_bytes
from safetystats.specs import StudySpec
from safetystats.summaries.plan import plan_study
from safetystats.summaries.record import damaged, read_object, read_record
from safetystats.tables.table import ScoreTable

_LABELS = (
    "model_class", "model", "benchmark", "area", "family", "lineage", "name", "mode", "method", "interval", "verdict",
    "unit", "spec", "how", "prior", "alternative", "diagnosis", "check", "severity", "benchmarks", "models", "message",
    "remedy", "fit", "outcome", "why", "what", "where", "sentence", "discrepancy", "predictive", "estimand", "note",
    "label", "class_a", "class_b", "term", "status", "test", "level_of", "group", "kind",
    "place", "named", "score_method", "coefficient", "scale", "subset", "families", "decisive", "verdict_true",
    "verdict_after", "end", "changed_by", "r_label", "freer", "stricter", "quantity", "effect_from", "quadrant",
    "agreement", "statistic", "removed", "removed_lowest", "removed_highest", "restriction", "part", "parents",
    "covariate", "target", "reached", "given", "label_2024", "label_without", "verdict_all", "verdict_without",
)  # fmt: skip
"""Columns that are text whatever they look like: a benchmark may be called `1`, a class `NA`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FinishedRun:
    """What a run's folder holds.

    Attributes
    ----------
    folder : Path
    record : mapping
        `run.json`: study, specs, fingerprints, versions, gates.
    results : mapping
        `results.json`: every number the report quotes, by key; None where there is no number.
    tables : mapping of str to DataFrame
        `tables/*.csv` that `record` names, each with the content it had when it was written.
    scores : ScoreTable or None
        The table of the run, read again; None if it is not to be had as it was.
    scores_why : str
        Why `scores` is None; else empty.
    """

    folder: Path
    record: Mapping[str, Any]
    results: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    scores: ScoreTable | None
    scores_why: str

    @property
    def study(self) -> StudySpec:
        """The study as it was run."""
        return StudySpec.model_validate_json(json.dumps(self.record["spec"]))

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes with a posterior, in the order of the run; the first is the reference."""
        return tuple(dict.fromkeys(self.tables["capability_scores"]["model_class"]))


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises
    ------
    StudyError
        If the folder is not that of a run.
    DataError
        If a file is missing, cannot be read, or is not what the run wrote.
    """
    record, results = read_record(folder), read_object(folder / "results.json")
    tables: dict[str, pd.DataFrame] = {}
    faults = []
    for name, digest in record["tables"].items():
        path = folder / "tables" / f"{name}.csv"
        if not path.is_file():
            faults.append(damaged(path, "a table of the run"))
            continue
        if sha256_bytes(path.read_bytes()) != digest:
            faults.append(damaged(path, "the table as the run wrote it", "another content"))
            continue
        tables[name] = pd.read_csv(
            path, dtype=dict.fromkeys(_LABELS, "str"), keep_default_na=False, na_values=_not_text(path)
        )
    if faults:
        raise DataError(faults)
    scores, why = _scores(record)
    return FinishedRun(folder=folder, record=record, results=results, tables=tables, scores=scores, scores_why=why)


def _not_text(path: Path) -> dict[str, list[str]]:
    """Return which cells are missing: empty ones, in columns of numbers; empty text is text."""
    with path.open(encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
    return {name: [""] for name in header if name not in _LABELS}


def _scores(record: Mapping[str, Any]) -> tuple[ScoreTable | None, str]:
    """Return the table of a run as it was then, or None and why not."""
    try:
        study = StudySpec.model_validate_json(json.dumps(record["spec"]))
        table = plan_study(str(record["study"]), study).table
    except (SafetyStatsError, ValueError):
        return None, "the table of the run cannot be read here"
    if table.fingerprint != record["table"]["fingerprint"]:
        return None, "the table has changed since the run"
    return table, ""
