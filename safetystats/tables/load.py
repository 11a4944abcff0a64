"""The one way in: an embedded table, the paper's data, a folder in our form, or a wide file.

A folder in our form holds `scores.csv` (one row per score), `models.csv`, `benchmarks.csv` and, optionally,
`sources.csv` and `table.toml` (name, title, description, licence, sha256 of the other files).
"""

from __future__ import annotations

import math
import os
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.shelf import sha256_file, shelf_names, shelf_path
from safetystats.tables.assemble import assemble
from safetystats.tables.parse import (
    parse_benchmarks,
    parse_cells,
    parse_identifiers,
    parse_models,
    parse_numbers,
    parse_sources,
)
from safetystats.tables.ren2024 import load_ren2024
from safetystats.tables.sheet import (
    FaultList,
    Sheet,
    decode,
    did_you_mean,
    folder_listing,
    quoted,
    read_bytes,
    read_sheet,
)
from safetystats.tables.table import CELL_COLUMNS, MODEL_COLUMNS, SOURCE_COLUMNS, ScoreTable
from safetystats.tables.wide import load_wide

_FILES = ("scores.csv", "models.csv", "benchmarks.csv", "sources.csv")
_TOML_KEYS = ("name", "title", "description", "licence", "sha256")
_WIDE_SUFFIXES = (".csv", ".parquet")


def table_names() -> list[str]:
    """Return the names that `load_table` knows without a path, sorted."""
    return sorted({*shelf_names("data"), "ren2024"})


def load_table(name_or_path: str | Path) -> ScoreTable:
    """Load and check a score table.

    Parameters
    ----------
    name_or_path : str or Path
        An embedded name (see `table_names`), "ren2024" (the paper's data: from the cache or from the folder that
        `SAFETYSTATS_DATA` names), a folder in our form, or a wide CSV or parquet file with its benchmark dictionary
        beside it (see `safetystats.tables.wide.load_wide`). A path wins over a name only if it is not a bare name.

    Returns
    -------
    ScoreTable
        Scores in native units, as they stand in the file: nothing is aligned, dropped or rescaled.

    Raises
    ------
    DataError
        With every fault that was found, each with file, row, column and remedy.
    MissingPartError
        For a parquet file without pyarrow.
    """
    if isinstance(name_or_path, str):
        if name_or_path == "ren2024":
            return load_ren2024()
        if name_or_path in shelf_names("data"):
            return load_folder(shelf_path("data", name_or_path))
    path = Path(name_or_path).expanduser()
    if os.path.isdir(path):
        return load_folder(path)
    if os.path.isfile(path) and path.suffix.lower() in _WIDE_SUFFIXES:
        if path.name in _FILES and path.with_name("models.csv").exists():
            raise DataError([_one_of_four(str(name_or_path), path)])
        return load_wide(path)
    raise DataError([_no_table(str(name_or_path), path)])


def _one_of_four(given: str, path: Path) -> Fault:
    return Fault(
        file=given,
        expected="a folder in our form, or a wide file",
        got="one file out of a folder in our form",
        remedy=f"Name the folder: {path.parent}.",
    )


def _no_table(given: str, path: Path) -> Fault:
    names = table_names()
    if os.path.exists(path):
        return Fault(
            file=given,
            expected="a folder, or a file that ends in .csv or .parquet",
            got=f'a file that ends in "{path.suffix}"',
            remedy="Export the table as CSV with commas.",
        )
    near = folder_listing(path.parent)
    hint = did_you_mean(given, names) or did_you_mean(path.name, near)
    return Fault(
        file=given,
        expected="an embedded table, a folder or a file",
        got="nothing of this name",
        remedy=f"{hint}Embedded tables: {quoted(names)}. The folder {path.parent} holds {quoted(near)}.",
    )


def load_folder(folder: Path) -> ScoreTable:
    """Load a folder in our form; see `load_table`."""
    faults = FaultList()
    if not folder.is_dir():
        faults.add(str(folder), expected="a folder", got="a file", remedy="Name the folder that holds scores.csv.")
        faults.raise_if_any()
    heading = _read_heading(folder, faults)
    sheets = {
        file: read_sheet(folder / file, faults) for file in _FILES if file != "sources.csv" or (folder / file).exists()
    }
    scores, models_sheet, benchmarks_sheet = (sheets[file] for file in _FILES[:3])
    if models_sheet is not None:
        models_sheet.check_spelling(("model", *MODEL_COLUMNS), faults)
    models = parse_models(models_sheet, faults) if models_sheet else None
    benchmarks = parse_benchmarks(benchmarks_sheet, faults) if benchmarks_sheet else None
    sources_sheet = sheets.get("sources.csv")
    sources = parse_sources(sources_sheet, faults) if sources_sheet else None
    if scores is None or not scores.require(("model", "benchmark", "score"), faults):
        faults.stop()
    scores.check_spelling(("model", "benchmark", "score", *CELL_COLUMNS), faults)
    long = _parse_long(scores, models, benchmarks, faults)
    if sources is not None:
        _check_sources(scores, sources, faults)
        if benchmarks_sheet is not None:
            _check_sources(benchmarks_sheet, sources, faults)
    faults.raise_if_any()
    if models is None or benchmarks is None:
        faults.stop()
    values = np.full((len(models), len(benchmarks)), math.nan)
    rows, columns = models.index.get_indexer(long["model"]), benchmarks.index.get_indexer(long["benchmark"])
    values[rows, columns] = long["score"].to_numpy(dtype=np.float64)
    return assemble(
        name=heading.get("name", folder.resolve().name),
        title=heading.get("title", folder.resolve().name),
        scores=pd.DataFrame(values, index=models.index, columns=benchmarks.index),
        models=models,
        benchmarks=benchmarks,
        sources=sources if sources is not None else pd.DataFrame(columns=list(SOURCE_COLUMNS)),
        cells=parse_cells(scores),
        file=str(folder / "scores.csv"),
        dictionary=str(folder / "benchmarks.csv"),
    )


def _parse_long(
    sheet: Sheet, models: pd.DataFrame | None, benchmarks: pd.DataFrame | None, faults: FaultList
) -> pd.DataFrame:
    """Return the long scores; record unknown names and pairs that stand twice."""
    frame = pd.DataFrame(
        {
            "model": parse_identifiers(sheet, "model", "model", faults, unique=False),
            "benchmark": parse_identifiers(sheet, "benchmark", "benchmark", faults, unique=False),
            "score": parse_numbers(sheet, "score", faults),
        }
    )
    for column, known in (("model", models), ("benchmark", benchmarks)):
        if known is None:
            continue
        reported = set(known.index) | {""}
        for line, name in zip(sheet.lines, frame[column], strict=True):
            if name not in reported:
                reported.add(name)
                faults.add(
                    sheet.file,
                    row=line,
                    column=sheet.label(column),
                    expected=f"a {column} that stands in {column}s.csv",
                    got=f'"{name}"',
                    remedy=f"{did_you_mean(name, known.index)}Correct the name, or add it to {column}s.csv.",
                )
    first: dict[tuple[str, str], int] = {}
    for line, model, benchmark in zip(sheet.lines, frame["model"], frame["benchmark"], strict=True):
        earlier = first.setdefault((model, benchmark), line)
        if earlier != line and model and benchmark:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("benchmark"),
                expected="every pair of model and benchmark once",
                got=f'"{model}" on "{benchmark}" again (first in row {earlier})',
                remedy="Keep one score per pair; another setting is another benchmark.",
            )
    return frame


def _check_sources(sheet: Sheet, sources: pd.DataFrame, faults: FaultList) -> None:
    reported = set(sources.index) | {""}
    for line, name in zip(sheet.lines, sheet.column("source"), strict=True):
        if name not in reported:
            reported.add(name)
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("source"),
                expected="a source that stands in sources.csv",
                got=f'"{name}"',
                remedy=f"{did_you_mean(name, sources.index)}Correct the name, or add it to sources.csv.",
            )


def _read_heading(folder: Path, faults: FaultList) -> dict[str, str]:
    """Return name and title from table.toml, if there is one, and check the hashes it states."""
    path = folder / "table.toml"
    if not path.exists():
        return {}
    file = str(path)
    content = read_bytes(path, file, faults)
    text = None if content is None else decode(content, file, faults)
    if text is None:
        return {}
    try:
        heading = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        faults.add(file, expected="TOML", got=f"a syntax error: {error}", remedy="Correct the file or delete it.")
        return {}
    for key, value in heading.items():
        wanted: type = dict if key == "sha256" else str
        if key not in _TOML_KEYS:
            faults.add(
                file,
                column=key,
                expected=f"one of the keys {quoted(_TOML_KEYS)}",
                got=f'"{key}"',
                remedy=f"{did_you_mean(key, _TOML_KEYS)}Correct or delete the key.",
            )
        elif not isinstance(value, wanted):
            kind = "a table of file names and hashes" if wanted is dict else "text in quotation marks"
            faults.add(file, column=key, expected=kind, got=repr(value), remedy="Correct the value.")
    hashes = heading.get("sha256", {})
    for name, stated in hashes.items() if isinstance(hashes, dict) else ():
        _check_hash(folder / str(name), str(stated), file, faults)
    return {key: value for key in ("name", "title") if isinstance(value := heading.get(key), str) and value}


def _check_hash(path: Path, stated: str, file: str, faults: FaultList) -> None:
    if path.name not in _FILES or not path.is_file():
        faults.add(
            file,
            column=f"sha256.{path.name}",
            expected=f"one of the files {quoted(_FILES)} in this folder",
            got=f'"{path.name}"',
            remedy=f"{did_you_mean(path.name, _FILES)}Correct or delete the line.",
        )
        return
    found = sha256_file(path)
    if found != stated:
        faults.add(
            str(path),
            expected=f"the content with sha256 {stated[:16]}..., as table.toml states",
            got=f"sha256 {found[:16]}...",
            remedy="Restore the file; or, if the change is meant, write its new hash into table.toml.",
        )
