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

from safetystats.errors import DataError, Fault, SafetyStatsError, StudyError, suggest
from safetystats.shelf import sha256_bytes
from safetystats.specs import StudySpec
from safetystats.summaries.plan import plan_study
from safetystats.tables.table import ScoreTable

RUNS = Path("reports", "out")
"""Where `safetystats run` writes unless told otherwise."""
_LABELS = (
    "model_class", "model", "benchmark", "area", "family", "lineage", "name", "mode", "method", "interval", "verdict",
    "unit", "spec", "how", "prior", "alternative", "diagnosis", "check", "severity", "benchmarks", "models", "message",
    "remedy", "fit", "outcome", "why", "what", "where", "sentence", "discrepancy", "predictive", "estimand", "note",
    "label", "class_a", "class_b", "term", "status", "test", "level_of", "group", "kind",
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


def find_run(folder_or_table: str, runs: Path = RUNS) -> Path:
    """Return the folder of a finished run: the folder named, or the newest run of the table named.

    Parameters
    ----------
    folder_or_table : str
        A folder that `safetystats run` or `compare` wrote, or the name of a score table.
    runs : Path
        Folder with runs to choose from where a table is named.

    Raises
    ------
    StudyError
        If there is no such run; the message says how to make one.
    """
    folder = Path(folder_or_table)
    if (folder / "run.json").is_file():
        return folder
    found: list[tuple[float, Path]] = []
    known: set[str] = set()
    for record in sorted(runs.glob("*/run.json")):
        try:
            table = json.loads(record.read_text(encoding="utf-8"))["table"]["name"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        known.add(str(table))
        if table == folder_or_table:
            found.append((record.stat().st_mtime, record.parent))
    if found:
        return max(found)[1]
    raise StudyError(
        [
            Fault(
                file=folder_or_table,
                expected=f"the folder of a finished run, or a table of which {runs} has a run",
                got="a folder without run.json" if folder.is_dir() else f"neither{suggest(folder_or_table, known)}",
                remedy="Make the run first, for instance `safetystats run helm-classic --out DIR` or "
                "`safetystats compare TABLE --out DIR`, and name DIR.",
            )
        ]
    )


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run.

    Raises
    ------
    DataError
        If a file is missing, cannot be read, or is not what the run wrote.
    """
    record, results = (_read_json(folder / name) for name in ("run.json", "results.json"))
    tables: dict[str, pd.DataFrame] = {}
    faults = []
    for name, digest in record["tables"].items():
        path = folder / "tables" / f"{name}.csv"
        if not path.is_file():
            faults.append(_fault(path, "a table of the run", "no file"))
            continue
        if sha256_bytes(path.read_bytes()) != digest:
            faults.append(_fault(path, "the table as the run wrote it", "another content"))
            continue
        tables[name] = pd.read_csv(
            path, dtype=dict.fromkeys(_LABELS, "str"), keep_default_na=False, na_values=_not_text(path)
        )
    if faults:
        raise DataError(faults)
    scores, why = _scores(record)
    return FinishedRun(
        folder=folder, record=record, results=results, tables=tables, scores=scores, scores_why=why
    )  # fmt: skip


def _not_text(path: Path) -> dict[str, list[str]]:
    """Return which cells are missing: empty ones, in columns of numbers; empty text is text."""
    with path.open(encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
    return {name: [""] for name in header if name not in _LABELS}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError([_fault(path, "a file of a finished run", "no file")]) from None
    except ValueError as error:
        raise DataError([_fault(path, "JSON", f"a syntax error: {error}")]) from None
    if not isinstance(content, dict):
        raise DataError([_fault(path, "a JSON object", type(content).__name__)])
    return content


def _fault(path: Path, expected: str, got: str) -> Fault:
    return Fault(file=str(path), expected=expected, got=got, remedy="Run the study again; saved fits are used again.")


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
