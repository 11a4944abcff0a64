"""The data of Ren et al. 2024 (arXiv 2407.21792), read as their authors published them.

Three files of github.com/centerforaisafety/safetywashing at one commit, known by their sha256 and never part of this
project; the dictionary (role, area, direction, unit, items, families, lineages) is ours and ships as `data/ren2024`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.shelf import cache_root, sha256_file, shelf_path
from safetystats.tables.assemble import assemble
from safetystats.tables.parse import parse_benchmarks, parse_models, parse_numbers
from safetystats.tables.sheet import FaultList, Sheet, read_sheet
from safetystats.tables.table import SOURCE_COLUMNS, Direction, ScoreTable
from safetystats.tables.wide import parse_matrix, with_our_names

COMMIT = "bee302c11f174afb064d721123b16b810d34f4fd"
BASE_URL = f"https://raw.githubusercontent.com/centerforaisafety/safetywashing/{COMMIT}/data"
FILES: Mapping[str, str] = {
    "benchmarks_base_models.csv": "52b0af4f6d6c4426614f4b95d21086d25955fa8c978d88349bdeed82bdcb1be5",
    "benchmarks_chat_models.csv": "5ede988872d8bba23d0bb87fcebb9704d7fe7d4e6f065226b691499333f57c58",
    "benchmarks_info.csv": "a043fd235bff9b38897e7cd2a566dbdf041f56eb779dcdd0c45e55809e758470",
}
"""The paper's files and their sha256."""

TITLE = "Safetywashing (Ren et al. 2024): 27 base and 26 chat models"
_ARROWS: Mapping[str, Direction | None] = {"↑": "higher_is_safer", "↓": "lower_is_safer", "→": "undeclared"}


def printed_direction(metric: str) -> Direction:
    """Return the direction that the paper's metric text prints.

    Parameters
    ----------
    metric : str
        E.g. "Negated score (↑)"; the arrow is what counts, the words are not read.

    Returns
    -------
    str
        "higher_is_safer" for ↑, "lower_is_safer" for ↓, "undeclared" for → or for no arrow at all or for several.
    """
    found = [direction for arrow, direction in _ARROWS.items() if arrow in metric and direction is not None]
    return found[0] if len(found) == 1 else "undeclared"


def places_in(folder: Path) -> list[Path]:
    """Return the folders below a mirror in which the paper's files may lie, in order of search."""
    return [folder, folder / "upstream", folder / "ren2024", folder / "ren2024" / "upstream"]


def search_places() -> list[Path]:
    """Return all folders that are searched for the paper's files: the cache, then the mirror `SAFETYSTATS_DATA`."""
    mirror = os.environ.get("SAFETYSTATS_DATA")
    return [cache_root() / "ren2024", *(places_in(Path(mirror).expanduser()) if mirror else [])]


def find_files(places: Sequence[Path]) -> dict[str, Path]:
    """Return the paper's files, by name, found in the first of the folders that has each with the right content.

    Raises
    ------
    DataError
        If one is missing, or is there with another content; all faults at once, with what to do.
    """
    found: dict[str, Path] = {}
    faults: list[Fault] = []
    for name, digest in FILES.items():
        strangers = []
        for place in places:
            path = place / name
            if not path.is_file():
                continue
            got = sha256_file(path)
            if got == digest:
                found[name] = path
                break
            strangers.append((path, got))
        if name in found:
            continue
        faults.extend(
            Fault(
                file=str(path),
                expected=f"the paper's file with sha256 {digest[:16]}...",
                got=f"a file of this name with sha256 {got[:16]}...",
                remedy="It was changed or cut short, or is of another commit: delete it and fetch it again with "
                "`safetystats data fetch ren2024`.",
            )
            for path, got in strangers
        )
        if not strangers:
            faults.append(
                Fault(
                    file=name,
                    expected="the paper's data, which are not part of this project",
                    got="no such file in " + ", ".join(str(place) for place in places),
                    remedy="Run `safetystats data fetch ren2024`; without a network, take the files from a folder with "
                    "`safetystats data fetch ren2024 --from DIR`, or name the folder in SAFETYSTATS_DATA.",
                )
            )
    if faults:
        raise DataError(faults)
    return found


def load_ren2024(places: Sequence[Path] | None = None) -> ScoreTable:
    """Load the paper's data as one table of 53 models.

    Parameters
    ----------
    places : sequence of Path, optional
        Folders to search for the three files; by default the cache, then the mirror in `SAFETYSTATS_DATA`.

    Returns
    -------
    ScoreTable
        Scores as published (native units, native signs), base models first. `direction` is what our dictionary
        declares; `metric` is what the paper's info file prints, arrow included, so that the two can be compared.
        `n_params` (total parameters, a count) and `flop` (training compute in FLOP) are the paper's `model_size` and
        `FLOP`.

    Raises
    ------
    DataError
        If a file is missing or is not the paper's.
    """
    files = find_files(search_places() if places is None else places)
    faults = FaultList()
    ours = shelf_path("data", "ren2024")
    entries_sheet = read_sheet(ours / "benchmarks.csv", faults)
    models_sheet = read_sheet(ours / "models.csv", faults)
    info = read_sheet(files["benchmarks_info.csv"], faults)
    halves = [read_sheet(path, faults) for name, path in files.items() if name != "benchmarks_info.csv"]
    entries = parse_benchmarks(entries_sheet, faults) if entries_sheet else None
    known = parse_models(models_sheet, faults) if models_sheet else None
    faults.raise_if_any()
    if entries is None or known is None or info is None:
        faults.stop()
    parts = [_read_half(sheet, entries.index, faults) for sheet in halves if sheet is not None]
    metadata = pd.concat([part[0] for part in parts])
    scores = pd.concat([part[1] for part in parts])
    for name in scores.index.difference(known.index):
        faults.add(
            str(ours / "models.csv"),
            column="model",
            expected=f'a row for "{name}"',
            got="none",
            remedy="Add family and lineage of the model.",
        )
    faults.raise_if_any()
    models = known.loc[scores.index].assign(name=metadata["name"], n_params=metadata["n_params"], flop=metadata["flop"])
    printed = dict(zip(info.column("benchmark"), info.column("metric"), strict=True))
    entries["metric"] = [printed.get(name, "") for name in entries.index]
    entries["source"] = "ren2024"
    return assemble(
        name="ren2024",
        title=TITLE,
        scores=scores,
        models=models,
        benchmarks=entries.astype({"metric": "str", "source": "str"}),
        sources=_sources(),
        file=", ".join(str(path) for path in files.values()),
        dictionary=str(ours / "benchmarks.csv"),
    )


def _read_half(sheet: Sheet, benchmarks: pd.Index, faults: FaultList) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return metadata and scores of one of the two score files; the Elo and AlpacaEval columns exist in one only."""
    sheet = with_our_names(sheet, benchmarks)
    scores = parse_matrix(sheet, benchmarks, faults)
    metadata = pd.DataFrame(
        {
            "name": sheet.column("name"),
            "n_params": np.asarray(parse_numbers(sheet, "n_params", faults), dtype=np.float64),
            "flop": np.asarray(parse_numbers(sheet, "flop", faults), dtype=np.float64),
        },
        index=scores.index,
    )
    return metadata.astype({"name": "str"}), scores


def _sources() -> pd.DataFrame:
    row = {
        "title": "Ren et al. 2024, Safetywashing: Do AI Safety Benchmarks Actually Measure Safety Progress? "
        "(arXiv 2407.21792)",
        "url": f"https://github.com/centerforaisafety/safetywashing/tree/{COMMIT}/data",
        "date": "2024-08",
        "table": ", ".join(FILES),
        "licence": "MIT, Copyright (c) 2024 centerforaisafety",
    }
    index = pd.Index(["ren2024"], name="source", dtype="str")
    return pd.DataFrame({column: [row[column]] for column in SOURCE_COLUMNS}, index=index).astype("str")
