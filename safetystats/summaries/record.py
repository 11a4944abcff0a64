"""The folder of a finished run: which one is meant, and what its record says. Only `run.json` is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetystats.errors import DataError, Fault, StudyError, suggest

RUNS = Path("reports", "out")
"""Where `safetystats run` writes unless told otherwise."""

RECORD = "run.json"


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
    if (folder / RECORD).is_file():
        return folder
    found: list[tuple[float, Path]] = []
    known: set[str] = set()
    for path in sorted(runs.glob(f"*/{RECORD}")):
        try:
            table = json.loads(path.read_text(encoding="utf-8"))["table"]["name"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        known.add(str(table))
        if table == folder_or_table:
            found.append((path.stat().st_mtime, path.parent))
    if found:
        return max(found)[1]
    raise StudyError([_no_run(folder, f"the folder of a finished run, or a table of which {runs} has a run", known)])


def read_record(folder: Path) -> dict[str, Any]:
    """Return what a run recorded of itself.

    Raises
    ------
    StudyError
        If the folder is not that of a run.
    DataError
        If its record cannot be read, or is none.
    """
    path = folder / RECORD
    if not path.is_file():
        raise StudyError([_no_run(folder, "the folder of a finished run")])
    record = read_object(path)
    try:
        str(record["spec"]["title"]), bool(record["gates"]["passed"]), dict(record["tables"])
    except (KeyError, TypeError, ValueError) as error:
        got = f"{type(error).__name__}: {error}"
        raise DataError([damaged(path, "the record of a run, with spec, gates and tables", got)]) from None
    return record


def read_object(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file of a run holds.

    Raises
    ------
    DataError
        If there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError([damaged(path)]) from None
    except ValueError as error:
        raise DataError([damaged(path, "JSON", f"a syntax error: {error}")]) from None
    if not isinstance(content, dict):
        raise DataError([damaged(path, "a JSON object", type(content).__name__)])
    return content


def damaged(path: Path, expected: str = "a file of the run", got: str = "no file") -> Fault:
    """Return what is wrong with a file of a run."""
    return Fault(file=str(path), expected=expected, got=got, remedy="Run the study again; saved fits are used again.")


def _no_run(folder: Path, expected: str, known: set[str] | None = None) -> Fault:
    if folder.is_dir():
        got = f"a folder without {RECORD}"
    elif folder.exists():
        got = "a file"
    else:
        got = f"nothing of that name{suggest(str(folder), known or ())}"
    return Fault(
        file=str(folder),
        expected=expected,
        got=got,
        remedy="Make the run first, for instance `safetystats run helm-classic --out DIR` or "
        "`safetystats compare TABLE --out DIR`, and name DIR.",
    )
