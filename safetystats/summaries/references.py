"""Where stored draws of capability come from: files that ship with the tables, and folders of finished runs."""

from __future__ import annotations

import importlib.metadata
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from safetystats import __version__
from safetystats.errors import DataError, Fault, SafetyStatsError, StudyError, suggest
from safetystats.inference.reference import Reference, ReferenceClass, read_reference
from safetystats.shelf import sha256_bytes, sha256_file, shelf_names, shelf_path, write_atomic
from safetystats.specs import FactorSpec, StudySpec, parse_spec, read_toml
from safetystats.summaries.record import RECORD, damaged, read_record
from safetystats.tables.load import load_table
from safetystats.tables.sheet import FaultList, read_sheet

FILE = "reference.npz"
HASHES = "references.toml"
ALIASES = "aliases"
"""Column of `models.csv` with other names of a model, separated by semicolons."""
_LIBRARIES = ("pymc", "nutpie", "numpy", "scipy")


def reference_names() -> list[str]:
    """Return the tables with stored draws of capability."""
    return [name for name in shelf_names("data") if shelf_path("data", name, FILE).is_file()]


def find_reference(against: str | Path) -> Reference:
    """Return the stored draws of a table by name, or those of the folder of a finished run.

    Raises
    ------
    StudyError
        If there is neither.
    DataError
        If a file is damaged, or is not the one whose hash is stated.
    """
    name = str(against)
    names = reference_names()
    if name in names:
        path = shelf_path("data", name, FILE)
        stated, found = stated_hashes().get(name, ""), sha256_file(path)
        if stated != found:
            raise DataError(
                [
                    Fault(
                        file=str(path),
                        expected=f"the file with sha256 {stated[:16]}..., as {HASHES} states",
                        got=f"sha256 {found[:16]}...",
                        remedy="Restore the file, or make it anew with `safetystats reference make`.",
                    )
                ]
            )
        return read_reference(path)
    if (Path(against) / RECORD).is_file():
        return run_reference(Path(against))
    raise StudyError(
        [
            Fault(
                file="--against",
                expected=f"{', '.join(names)}, or the folder of a finished run",
                got=f'"{name}"{suggest(name, names)}',
                remedy="Name a table with stored draws, or make a run of your own table with `safetystats run`.",
            )
        ]
    )


def stated_hashes() -> dict[str, str]:
    """Return the sha256 of every shipped file of draws, by table."""
    path = shelf_path("data", HASHES)
    content = read_toml(path) if path.is_file() else {}
    return {str(name): str(entry["sha256"]) for name, entry in content.items()}


def write_hashes(hashes: Mapping[str, str]) -> Path:
    """Write the file that `stated_hashes` reads."""
    lines = ["# sha256 of the draws of capability that ship with each table; written by `safetystats reference make`."]
    for name in sorted(hashes):
        lines += ["", f"[{name}]", f'sha256 = "{hashes[name]}"']
    path = shelf_path("data", HASHES)
    write_atomic(path, "\n".join(lines) + "\n")
    return path


def other_names(table: str, models: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """Return the other names of models: what they are called in print, and the aliases in the table's `models.csv`.

    The names of ren2024 are in the paper's files and are left out.
    """
    aliases: dict[str, list[str]] = {}
    path = shelf_path("data", table, "models.csv")
    sheet = read_sheet(path, FaultList()) if table in shelf_names("data") else None
    if sheet is not None:
        for model, cell in zip(sheet.column("model"), sheet.column(ALIASES), strict=True):
            aliases[model] = [part.strip() for part in cell.split(";") if part.strip()]
    printed = [] if table == "ren2024" else models["name"].astype(str).tolist()
    found = []
    for place, model in enumerate(models.index):
        names = [*printed[place : place + 1], *aliases.get(str(model), [])]
        found.append(tuple(dict.fromkeys(name for name in names if name and name != model)))
    return tuple(found)


def versions_now() -> dict[str, str]:
    """Return the versions that stored draws are labelled with."""
    return {"safetystats": __version__} | {name: importlib.metadata.version(name) for name in _LIBRARIES}


def run_reference(folder: Path) -> Reference:
    """Return all draws of capability of a finished run.

    Raises
    ------
    StudyError, DataError
        If the folder is no run, or a file of it is missing or not what the run wrote.
    """
    from safetystats.inference.store import open_fit

    record = read_record(folder)
    study = StudySpec.model_validate_json(json.dumps(record["spec"]))
    scores = _score_rows(folder, record)
    spec = parse_spec(FactorSpec, record["specs"]["factor"]["content"], str(folder / RECORD))
    try:
        models = load_table(study.table).models
    except SafetyStatsError:
        models = None
    failed = [check for check in record["gates"]["checks"] if check["outcome"] == "fail"]
    classes: dict[str, ReferenceClass] = {}
    for label in dict.fromkeys(scores.loc[scores["method"] == "latent", "model_class"]):
        path = folder / "fits" / f"capability-{label}.nc"
        if not path.is_file():
            raise DataError([damaged(path, "the draws of capability of the run")])
        try:
            tree = open_fit(path, record["fits"].get(f"capability-{label}"))
        except (ValueError, OSError) as error:
            raise DataError([damaged(path, "the draws of capability as the run wrote them", str(error))]) from None
        posterior = tree["posterior"].to_dataset()
        names = [str(name) for name in posterior["model"].to_numpy()]
        theta = posterior["theta"].transpose("chain", "draw", "model").to_numpy()
        of_class = scores[scores["model_class"] == label]
        latent = of_class[of_class["method"] == "latent"].set_index("model")
        closed = of_class[of_class["method"] == "spearman_pca_2024"].set_index("model")["score"].astype("float64")
        known = models is not None and set(names) <= set(models.index)
        classes[label] = ReferenceClass(
            models=tuple(names),
            families=tuple(latent.loc[names, "family"].astype(str)),
            lineages=tuple(models.loc[names, "lineage"].astype(str)) if models is not None and known else tuple(names),
            others=other_names(str(record["table"]["name"]), models.loc[names])
            if models is not None and known
            else ((),) * len(names),
            theta=np.asarray(theta.reshape(-1, len(names)), dtype=np.float64),
            capability_icc=np.asarray(posterior["capability_icc"].to_numpy().ravel(), dtype=np.float64),
            score_2024=closed.reindex(names).to_numpy(dtype=np.float64),
            benchmarks=tuple(str(name) for name in posterior["benchmark"].to_numpy()),
            convergence={},
            failed=tuple(str(c["check"]) for c in failed if c["fit"] == f"capability/{label}"),
            proof={},
        )
    name = str(record["table"]["name"])
    return Reference(
        name=name, title=study.title, classes=classes, spec=spec, spec_name=study.factor, seed=study.seed,
        rope=study.rope, level=study.level,
        table_fingerprint=str(record["table"]["fingerprint"]), versions=record["versions"], source=str(folder),
        rules=study.questions,
    )  # fmt: skip


def _score_rows(folder: Path, record: Mapping[str, Any]) -> pd.DataFrame:
    """Return the table of capability scores of a run, proved against its digest."""
    path = folder / "tables" / "capability_scores.csv"
    if not path.is_file():
        raise DataError([damaged(path, "a table of the run")])
    content = path.read_bytes()
    if sha256_bytes(content) != record["tables"].get("capability_scores"):
        raise DataError([damaged(path, "the table as the run wrote it", "another content")])
    return pd.read_csv(io.BytesIO(content), dtype=dict.fromkeys(("model_class", "model", "family", "method"), "str"),
                       keep_default_na=False, na_values={"score": [""], "lower": [""], "upper": [""]})  # fmt: skip
