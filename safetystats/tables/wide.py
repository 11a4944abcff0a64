"""Wide score files: one row per model, one column per benchmark, metadata columns between them.

What the benchmark columns mean stands in a dictionary file: role and direction of each. Without it a wide file cannot
be read, since neither can be told from the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.errors import MissingPartError
from safetystats.tables.assemble import assemble
from safetystats.tables.parse import parse_benchmarks, parse_models, parse_numbers
from safetystats.tables.sheet import FaultList, Sheet, check_rows, did_you_mean, read_bytes, read_sheet
from safetystats.tables.table import SOURCE_COLUMNS, ScoreTable

ALIASES: Mapping[str, tuple[str, ...]] = {
    "model": ("model", "model_id", "model_name", "name", "", "unnamed: 0"),
    "name": ("name",),
    "model_class": ("model_class", "class", "type"),
    "family": ("family",),
    "lineage": ("lineage", "base_model"),
    "n_params": ("n_params", "model_size", "params", "parameters"),
    "flop": ("flop", "flops"),
    "release_date": ("release_date",),
    "access": ("access",),
    "note": ("note",),
}
"""Names, in lower case, under which a wide file may carry what is known of a model; the first one present is taken."""


def load_wide(scores: str | Path, dictionary: str | Path | None = None) -> ScoreTable:
    """Load a wide score file with its benchmark dictionary.

    Parameters
    ----------
    scores : str or Path
        CSV (or parquet, if pyarrow is installed): one row per model. The model stands in a column `model` or `name` or
        in an unnamed first column; needed are also `model_class` (or `class` or `type`) and `family`; optional are
        `lineage`, `n_params` (or `model_size`; a count, not billions), `flop`, `release_date`, `access`, `note` and,
        beside `model`, `name`. Every other column is a benchmark and stands in the dictionary.
    dictionary : str or Path, optional
        CSV with `benchmark`, `role`, `direction` and, optionally, `name`, `area`, `headline`, `metric`, `unit`,
        `lower`, `upper`, `chance`, `n_items`, `source`, `note`. By default `<stem>.benchmarks.csv`, else
        `benchmarks.csv`, in the folder of `scores`.

    Returns
    -------
    ScoreTable
        Scores in native units; the name is the stem of the file.

    Raises
    ------
    DataError
        With every fault that was found.
    MissingPartError
        For a parquet file without pyarrow.
    """
    path = Path(scores)
    faults = FaultList()
    sheet = read_parquet(path, faults) if path.suffix.lower() == ".parquet" else read_sheet(path, faults)
    beside = _dictionary_path(path, faults) if dictionary is None else Path(dictionary)
    entries_sheet = read_sheet(beside, faults) if beside else None
    entries = parse_benchmarks(entries_sheet, faults) if entries_sheet else None
    if sheet is None or entries is None or beside is None or entries_sheet is None:
        faults.stop()
    sheet = with_our_names(sheet, entries.index)
    models = parse_models(sheet, faults)
    matrix = parse_matrix(sheet, entries.index, faults)
    check_dictionary(sheet, entries, entries_sheet, faults)
    faults.raise_if_any()
    if models is None:
        faults.stop()
    return assemble(
        name=path.stem,
        title=path.stem,
        scores=matrix,
        models=models,
        benchmarks=entries,
        sources=pd.DataFrame(columns=list(SOURCE_COLUMNS)),
        file=sheet.file,
        dictionary=entries_sheet.file,
    )


def _dictionary_path(path: Path, faults: FaultList) -> Path | None:
    own, common = path.with_name(f"{path.stem}.benchmarks.csv"), path.with_name("benchmarks.csv")
    for candidate in (own, common):
        if candidate.exists():
            return candidate
    faults.add(
        str(path),
        expected=f"a benchmark dictionary beside it: {own.name} or {common.name}",
        got="neither",
        remedy="Write a CSV with the columns benchmark, role, direction, one row for every score column; or name the "
        "dictionary explicitly.",
    )
    return None


def with_our_names(sheet: Sheet, benchmarks: Iterable[str]) -> Sheet:
    """Return the sheet with its metadata columns under our names; a column that is a benchmark keeps its own."""
    taken = set(benchmarks)
    names: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        for alias in aliases:
            found = [
                theirs
                for place, theirs in enumerate(sheet.header)
                if theirs.lower() == alias and theirs not in taken and theirs not in names and (alias or place == 0)
            ]
            if found:
                names[found[0]] = ours
                break
    return sheet.renamed(names)


def parse_matrix(sheet: Sheet, benchmarks: Iterable[str], faults: FaultList) -> pd.DataFrame:
    """Return the scores, shape (n_models, n_benchmarks); NaN where a cell is empty or the column is missing."""
    empty = [math.nan] * len(sheet.rows)
    columns = {name: parse_numbers(sheet, name, faults) if name in sheet.header else empty for name in benchmarks}
    values = np.column_stack([np.asarray(column, dtype=np.float64) for column in columns.values()])
    return pd.DataFrame(
        values,
        index=pd.Index(sheet.column("model"), name="model", dtype="str"),
        columns=pd.Index(list(columns), name="benchmark", dtype="str"),
    )


def check_dictionary(sheet: Sheet, entries: pd.DataFrame, entries_sheet: Sheet, faults: FaultList) -> None:
    """Record score columns without a dictionary entry and entries without a column."""
    unclaimed = [name for name in sheet.header if name not in ALIASES and name not in entries.index]
    unused = [name for name in entries.index if name not in sheet.header]
    for name in unclaimed:
        faults.add(
            sheet.file,
            row=1,
            column=sheet.label(name),
            expected="a column that stands in the benchmark dictionary, or one of the metadata columns",
            got=f'"{sheet.label(name)}"',
            remedy=f"{did_you_mean(name, [*unused, *ALIASES])}Add it to {entries_sheet.file} with role and direction "
            "(bookkeeping and none if it is no score), or delete the column.",
        )
    for line, name in zip(entries_sheet.lines, entries.index, strict=True):
        if name in unused and name:
            faults.add(
                entries_sheet.file,
                row=line,
                column=entries_sheet.label("benchmark"),
                expected=f"a benchmark that is a column of {sheet.file}",
                got=f'"{name}"',
                remedy=f"{did_you_mean(name, unclaimed)}Correct the name or delete the row.",
            )


def read_parquet(path: Path, faults: FaultList) -> Sheet | None:
    """Read a parquet file as a sheet; rows are counted as in an exported CSV, the header being line 1.

    Raises
    ------
    MissingPartError
        Without pyarrow.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPartError("reading parquet", "parquet") from error
    file = str(path)
    content = read_bytes(path, file, faults)
    if content is None:
        return None
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError) as error:
        faults.add(
            file,
            expected="a parquet file",
            got=f"something else ({str(error).splitlines()[0]})",
            remedy="Write it again, or save it as CSV.",
        )
        return None
    header = [str(name) for name in table.column_names]
    columns = [[_cell_text(value) for value in table.column(place).to_pylist()] for place in range(len(header))]
    rows = list(zip(*columns, strict=True))
    return check_rows(file, [header, *map(list, rows)], list(range(1, len(rows) + 2)), faults)


def _cell_text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    return repr(value) if isinstance(value, float) else str(value)
