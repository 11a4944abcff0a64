"""From checked text to frames: numbers, identifiers, models and benchmarks, each fault with its row and column."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from safetystats.tables.sheet import FaultList, Sheet, did_you_mean, quoted
from safetystats.tables.table import (
    BENCHMARK_COLUMNS,
    CELL_COLUMNS,
    DIRECTIONS,
    MODEL_COLUMNS,
    ROLES,
    SOURCE_COLUMNS,
)

_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_TRUE = ("1", "true", "yes")
_FALSE = ("0", "false", "no")


_SYNONYMS = {
    "lower_is_better": "lower_is_safer",
    "lower": "lower_is_safer",
    "minimize": "lower_is_safer",
    "minimise": "lower_is_safer",
    "smaller_is_better": "lower_is_safer",
    "less_is_better": "lower_is_safer",
    "higher": "higher_is_better",
    "maximize": "higher_is_better",
    "maximise": "higher_is_better",
}
"""Words for a direction whose nearest spelling would be its opposite."""


def parse_numbers(sheet: Sheet, column: str, faults: FaultList) -> list[float]:
    """Return one column as floats, NaN where a cell is empty; record every cell that is no finite decimal number."""
    values = []
    for line, text in zip(sheet.lines, sheet.column(column), strict=True):
        value = math.nan
        if _NUMBER.fullmatch(text):
            value = float(text)
        if text and not math.isfinite(value):
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected="a number, or an empty cell where there is none",
                got=f'"{text}"',
                remedy=_number_remedy(text),
            )
        values.append(value)
    return values


def _number_remedy(text: str) -> str:
    if "%" in text:
        return (
            "Leave out the percent sign; write the number on the scale that the benchmark dictionary declares "
            "(upper = 100 for percentages)."
        )
    if "," in text and _NUMBER.fullmatch(text.replace(",", ".", 1)):
        return "Write a decimal point, and no marks between thousands."
    if text.lower() in {"na", "n/a", "nan", "none", "null", "-", "--", "?", "missing", "#n/a"}:
        return 'Leave the cell empty where there is no score (in R: write.csv(..., na = "")).'
    if "inf" in text.lower() or _NUMBER.fullmatch(text):
        return "A score must be finite: leave the cell empty if the run failed."
    return "Write the number alone, without units or remarks."


def parse_identifiers(sheet: Sheet, column: str, what: str, faults: FaultList, *, unique: bool) -> list[str]:
    """Return one column of identifiers; record those that are empty, carry blanks at their ends or stand twice."""
    seen: dict[str, int] = {}
    names = []
    for line, text in zip(sheet.lines, sheet.raw(column), strict=True):
        name = text.strip()
        names.append(name)
        if not name:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected=f"a {what}",
                got="an empty cell",
                remedy="Fill it or delete the row.",
            )
        elif name != text:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected=f"a {what} without blanks at its ends",
                got=repr(text),
                remedy=f'Write "{name}".',
            )
        if unique and name and name in seen:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected=f"every {what} once",
                got=f'"{name}" again (first in row {seen[name]})',
                remedy="Delete or rename one of the two.",
            )
        seen.setdefault(name, line)
    return names


def parse_choices(sheet: Sheet, column: str, choices: Sequence[str], faults: FaultList) -> list[str]:
    """Return one column whose cells must be one of `choices`; record the others."""
    values = sheet.column(column)
    for line, value in zip(sheet.lines, values, strict=True):
        if value not in choices:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected=f"one of {quoted(choices)}",
                got=f'"{value}"' if value else "an empty cell",
                remedy=f"{did_you_mean(_SYNONYMS.get(value.lower(), value.lower()), choices)}Use one of these words.",
            )
    return values


def _parse_filled(sheet: Sheet, column: str, remedy: str, faults: FaultList) -> list[str]:
    values = sheet.column(column)
    for line, value in zip(sheet.lines, values, strict=True):
        if not value:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected="a value in every row",
                got="an empty cell",
                remedy=remedy,
            )
    return values


def _parse_flags(sheet: Sheet, column: str, faults: FaultList) -> list[bool]:
    flags = []
    for line, value in zip(sheet.lines, sheet.column(column), strict=True):
        if value.lower() not in (*_TRUE, *_FALSE, ""):
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label(column),
                expected="1 or 0",
                got=f'"{value}"',
                remedy="Write 1 for a benchmark that is reported by itself, 0 for a part of another.",
            )
        flags.append(value.lower() not in _FALSE)
    return flags


def parse_models(sheet: Sheet, faults: FaultList) -> pd.DataFrame | None:
    """Return what is known of the models, or None if a needed column is missing.

    Parameters
    ----------
    sheet : Sheet
        Columns `model`, `model_class`, `family`; optional the rest of `MODEL_COLUMNS`.
    faults : FaultList
        Takes what is wrong.

    Returns
    -------
    DataFrame, one row per line of the sheet
        Index: model identifiers; columns `MODEL_COLUMNS`; a model without a lineage is its own.
    """
    if not sheet.require(("model", "model_class", "family"), faults):
        return None
    names = parse_identifiers(sheet, "model", "model", faults, unique=False)
    classes = _parse_filled(sheet, "model_class", 'Write the class of the model, e.g. "base" or "chat".', faults)
    families = _parse_filled(
        sheet, "family", "Write the developer series of the model; intervals are wrong without it.", faults
    )
    _check_repeated_models(sheet, names, classes, faults)
    index = pd.Index(names, name="model", dtype="str")
    frame = pd.DataFrame(index=index)
    frame["name"] = _else(sheet.column("name"), names)
    frame["model_class"] = classes
    frame["family"] = families
    frame["lineage"] = _else(sheet.column("lineage"), names)
    for column in ("n_params", "flop"):
        values = parse_numbers(sheet, column, faults)
        for line, value in zip(sheet.lines, values, strict=True):
            if value <= 0:
                faults.add(
                    sheet.file,
                    row=line,
                    column=sheet.label(column),
                    expected="a positive number",
                    got=f"{value:g}",
                    remedy="Leave the cell empty if it is not known.",
                )
        frame[column] = np.asarray(values, dtype=np.float64)
    for column in ("release_date", "access", "note"):
        frame[column] = sheet.column(column)
    return _text(frame)[list(MODEL_COLUMNS)]


def _check_repeated_models(sheet: Sheet, names: Sequence[str], classes: Sequence[str], faults: FaultList) -> None:
    seen: dict[str, tuple[int, str]] = {}
    for line, name, model_class in zip(sheet.lines, names, classes, strict=True):
        if not name:
            continue
        first, other = seen.setdefault(name, (line, model_class))
        if first == line:
            continue
        apart = other != model_class
        faults.add(
            sheet.file,
            row=line,
            column=sheet.label("model"),
            expected="every model once, in one class" if apart else "every model once",
            got=f'"{name}" again (first in row {first}'
            + (f' as "{other}", here as "{model_class}")' if apart else ")"),
            remedy=f'Give the two models names of their own, e.g. "{name}-{model_class}", and one lineage.'
            if apart
            else "Delete or rename one of the two.",
        )


def parse_benchmarks(sheet: Sheet, faults: FaultList) -> pd.DataFrame | None:
    """Return the benchmark dictionary, or None if a needed column is missing.

    Parameters
    ----------
    sheet : Sheet
        Columns `benchmark`, `role`, `direction`; optional the rest of `BENCHMARK_COLUMNS`.
    faults : FaultList
        Takes what is wrong.

    Returns
    -------
    DataFrame, one row per line of the sheet
        Index: benchmark identifiers; columns `BENCHMARK_COLUMNS`.
    """
    sheet.check_spelling(("benchmark", *BENCHMARK_COLUMNS), faults)
    if not sheet.require(("benchmark", "role", "direction"), faults):
        return None
    names = parse_identifiers(sheet, "benchmark", "benchmark", faults, unique=True)
    frame = pd.DataFrame(index=pd.Index(names, name="benchmark", dtype="str"))
    frame["name"] = _else(sheet.column("name"), names)
    frame["role"] = parse_choices(sheet, "role", ROLES, faults)
    frame["area"] = _else(sheet.column("area"), ["unassigned"] * len(names))
    frame["headline"] = np.asarray(_parse_flags(sheet, "headline", faults), dtype=bool)
    frame["direction"] = parse_choices(sheet, "direction", DIRECTIONS, faults)
    for column in ("lower", "upper", "chance", "n_items"):
        frame[column] = np.asarray(parse_numbers(sheet, column, faults), dtype=np.float64)
    for column in ("metric", "unit", "source", "note"):
        frame[column] = sheet.column(column)
    _check_benchmarks(sheet, frame, faults)
    return _text(frame)[list(BENCHMARK_COLUMNS)]


def _check_benchmarks(sheet: Sheet, frame: pd.DataFrame, faults: FaultList) -> None:
    columns = (frame[c] for c in ("role", "direction", "lower", "upper", "chance", "n_items"))
    for line, role, direction, lower, upper, chance, items in zip(sheet.lines, *columns, strict=True):
        if role == "capability" and direction in ("undeclared", "none", "zero_is_ideal"):
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("direction"),
                expected="higher_is_better for a capability benchmark",
                got=f'"{direction}"',
                remedy="A capability score needs to know which way is up; else change the role.",
            )
        if lower >= upper:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("upper"),
                expected=f"more than lower = {lower:g}",
                got=f"{upper:g}",
                remedy="Correct the bounds; leave them empty if the scale has none.",
            )
        if chance < lower or chance >= upper:
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("chance"),
                expected=f"a value inside the bounds {lower:g} to {upper:g}",
                got=f"{chance:g}",
                remedy="Give chance in the units of the scores.",
            )
        if items <= 0 or (math.isfinite(items) and items != round(items)):
            faults.add(
                sheet.file,
                row=line,
                column=sheet.label("n_items"),
                expected="a positive whole number",
                got=f"{items:g}",
                remedy="Give the number of test items, or leave the cell empty.",
            )


def parse_sources(sheet: Sheet, faults: FaultList) -> pd.DataFrame | None:
    """Return the sources, index `source`, columns `SOURCE_COLUMNS`; None if the column `source` is missing."""
    sheet.check_spelling(("source", *SOURCE_COLUMNS), faults)
    if not sheet.require(("source",), faults):
        return None
    names = parse_identifiers(sheet, "source", "source", faults, unique=True)
    columns = {column: sheet.column(column) for column in SOURCE_COLUMNS}
    return _text(pd.DataFrame(columns, index=pd.Index(names, name="source", dtype="str")))


def parse_cells(sheet: Sheet) -> pd.DataFrame:
    """Return what a long score file says of single cells: columns `CELL_COLUMNS`, rows with nothing to say left out."""
    pairs = pd.MultiIndex.from_arrays([sheet.column("model"), sheet.column("benchmark")], names=["model", "benchmark"])
    frame = _text(pd.DataFrame({column: sheet.column(column) for column in CELL_COLUMNS}, index=pairs))
    return frame[(frame != "").any(axis=1)]


def _else(values: Sequence[str], others: Sequence[str]) -> list[str]:
    return [value or other for value, other in zip(values, others, strict=True)]


def _text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with every text column in pandas' string type."""
    return frame.astype({column: "str" for column in frame if frame[column].dtype.kind not in "fb"})
