"""What an audit finds, and the small numerical helpers that all of its checks share.

The checks stand in the `audit_*` modules beside this one; `safetystats.tables.audit` runs them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from safetystats.tables.table import FloatArray, ScoreTable

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
BoolArray = npt.NDArray[np.bool_]
TAG = re.compile(r"[-_.\s*/:]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFinding:
    """One thing about a score table that its user should know before analysing it.

    Attributes
    ----------
    check : str
        Short identifier of the check.
    severity : {"error", "warning", "note"}
        error: an analysis of the table as declared would be wrong; warning: conclusions may change; note: good to know.
    message, remedy : str
        One sentence with the numbers, and what to do about it.
    benchmarks, models : tuple of str
        Columns and rows concerned; empty where the whole table is.
    model_class : str or None
        None where the finding is not about one class.
    value : float
        The number behind the message (a share, a correlation, a count); NaN where there is none.
    """

    check: str
    severity: Severity
    message: str
    remedy: str
    benchmarks: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    model_class: str | None = None
    value: float = math.nan


def listed(names: Iterable[str], most: int = 6) -> str:
    """Return `a, b and 3 more`, with at most `most` names written out."""
    unique = list(dict.fromkeys(names))
    if len(unique) > most + 1:
        return f"{', '.join(unique[:most])} and {len(unique) - most} more"
    return " and ".join([", ".join(unique[:-1]), unique[-1]]) if len(unique) > 1 else "".join(unique)


def number(value: float) -> str:
    """Return a float for a message: three significant digits, no exponent for everyday sizes."""
    return (
        f"{value:.3g}"
        if 1e-4 <= abs(value) < 1000 or value == 0
        else f"{value:,.0f}"
        if abs(value) >= 1
        else f"{value:.0e}"
    )


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Return `1 column`, `3 columns`."""
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def tokens(name: str) -> tuple[str, ...]:
    """Return the parts of a column's name between `-`, `_`, `.`, `*`, `/` and `:`."""
    return tuple(part for part in TAG.split(name) if part)


@lru_cache(maxsize=2)
def _entries(table: ScoreTable) -> dict[str, dict[str, object]]:
    """Return the dictionary by benchmark; a table is frozen, so its identity is enough of a key."""
    return {
        str(name): dict(row)
        for name, row in zip(table.benchmarks.index, table.benchmarks.to_dict("records"), strict=True)
    }


@lru_cache(maxsize=2)
def _columns(table: ScoreTable) -> dict[str, FloatArray]:
    values = table.matrix()
    values.flags.writeable = False
    return {str(name): values[:, j] for j, name in enumerate(table.scores.columns)}


def column(table: ScoreTable, benchmark: str) -> FloatArray:
    """Return one column, shape (n_models,), NaN where missing; not to be written to."""
    return _columns(table)[benchmark]


def matrix(table: ScoreTable, benchmarks: Sequence[str]) -> FloatArray:
    """Return some columns, shape (n_models, len(benchmarks)), as a new array (faster than `ScoreTable.matrix`)."""
    known = _columns(table)
    result = np.empty((table.n_models, len(benchmarks)))
    for j, name in enumerate(benchmarks):
        result[:, j] = known[name]
    return result


def text_of(table: ScoreTable, column: str, benchmark: str) -> str:
    """Return a text entry of the dictionary, empty where it is missing."""
    value = _entries(table)[benchmark][column]
    return value if isinstance(value, str) else ""


def number_of(table: ScoreTable, column: str, benchmark: str) -> float:
    """Return a numerical entry of the dictionary, NaN where it is missing."""
    value = _entries(table)[benchmark][column]
    return float(value) if isinstance(value, int | float) else math.nan


def class_rows(table: ScoreTable) -> list[tuple[str, BoolArray]]:
    """Return each model class with the mask of its rows."""
    labels = table.models["model_class"].to_numpy()
    return [(name, np.asarray(labels == name, dtype=np.bool_)) for name in table.classes]


def scored_columns(table: ScoreTable) -> list[str]:
    """Return all columns but bookkeeping ones."""
    return [name for name, entry in _entries(table).items() if entry["role"] != "bookkeeping"]


def span(table: ScoreTable, benchmark: str) -> tuple[float, float]:
    """Return the declared bounds of a column, NaN where there is none."""
    return number_of(table, "lower", benchmark), number_of(table, "upper", benchmark)


def as_share(table: ScoreTable, benchmark: str) -> FloatArray | None:
    """Return a column as a share of its items, or None where it is not declared as one (0-1 or 0-100, items known)."""
    low, high = span(table, benchmark)
    if not (low == 0 and high in (1.0, 100.0)) or not number_of(table, "n_items", benchmark) > 0:
        return None
    return np.asarray(column(table, benchmark) / high, dtype=np.float64)


def places(values: FloatArray, most: int = 9) -> FloatArray:
    """Return with how many decimals each value is printed; inf: full float precision; NaN: missing.

    A value that happens to end in zeros is taken to be printed like most of its column.
    """
    each = np.where(np.isfinite(values), np.inf, np.nan)
    for digits in range(most, -1, -1):
        each[np.abs(values - np.round(values, digits)) <= 1e-12 * np.maximum(1.0, np.abs(values))] = digits
    seen = each[np.isfinite(values)]
    if not len(seen):
        return np.asarray(each)
    kinds, times = np.unique(seen, return_counts=True)
    usual = np.inf if np.isinf(seen).mean() > 0.5 else float(kinds[times.argmax()])
    return np.asarray(np.maximum(each, usual))


def decimals(values: FloatArray) -> int | None:
    """Return how many decimals a column is printed with, or None where a value carries full float precision."""
    most = np.nanmax(places(values), initial=0.0)
    return None if np.isinf(most) else int(most)


def aligned(table: ScoreTable, benchmarks: Sequence[str]) -> FloatArray:
    """Return columns turned so that higher is better or safer, as declared; undeclared ones as they are."""
    values = matrix(table, benchmarks)
    for j, name in enumerate(benchmarks):
        direction = text_of(table, "direction", name)
        if direction == "lower_is_safer":
            values[:, j] *= -1
        elif direction == "zero_is_ideal":
            values[:, j] = -np.abs(values[:, j])
    return values


def z_scores(values: FloatArray) -> FloatArray:
    """Return column z-scores (ddof 0) over the observed rows; a constant or empty column becomes NaN."""
    seen = np.isfinite(values)
    n = np.maximum(seen.sum(axis=0), 1)
    centred = values - np.where(seen, values, 0.0).sum(axis=0) / n
    sd = np.sqrt(np.where(seen, centred**2, 0.0).sum(axis=0) / n)
    scale = np.maximum(1.0, np.nanmax(np.abs(np.where(seen, values, 0.0)), axis=0, initial=0.0))
    return np.asarray(np.divide(centred, sd, out=np.full_like(values, np.nan), where=sd > 1e-12 * scale))


def row_mean(values: FloatArray) -> FloatArray:
    """Return the mean of the observed entries of every row, NaN for an empty row."""
    seen = np.isfinite(values)
    n = seen.sum(axis=1)
    total = np.where(seen, values, 0.0).sum(axis=1)
    return np.asarray(np.divide(total, n, out=np.full(len(values), np.nan), where=n > 0))


def mean_capability(table: ScoreTable, without: str | None = None) -> FloatArray:
    """Return per model the mean z-score of the capability columns within its class: a stand-in for capability."""
    names = [name for name in table.columns("capability") if name != without]
    score = np.full(table.n_models, np.nan)
    for _, rows in class_rows(table):
        if names:
            score[rows] = row_mean(z_scores(aligned(table, names)[rows]))
    return score


def _ranks(values: FloatArray) -> FloatArray:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=0), dtype=np.float64)


def pearson(left: FloatArray, right: FloatArray, least: int = 8) -> FloatArray:
    """Return Pearson correlations of every left column with every right column over the rows that both have.

    Parameters
    ----------
    left, right : FloatArray, shapes (n, p) and (n, q)
        NaN where missing.
    least : int
        Fewer common rows give NaN.

    Returns
    -------
    FloatArray, shape (p, q)
    """
    return _correlations(left, right, least, np.asarray)


def spearman(left: FloatArray, right: FloatArray, least: int = 8) -> FloatArray:
    """Return Spearman correlations; everything else as in `pearson`."""
    return _correlations(left, right, least, _ranks)


def _correlations(
    left: FloatArray, right: FloatArray, least: int, scale: Callable[[FloatArray], FloatArray]
) -> FloatArray:
    result = np.full((left.shape[1], right.shape[1]), np.nan)
    for seen_left, columns_left in _patterns(left):
        for seen_right, columns_right in _patterns(right):
            rows = seen_left & seen_right
            if rows.sum() < least:
                continue
            a = z_scores(scale(left[np.ix_(rows, columns_left)]))
            b = z_scores(scale(right[np.ix_(rows, columns_right)]))
            result[np.ix_(columns_left, columns_right)] = a.T @ b / rows.sum()
    return result


def _patterns(values: FloatArray) -> list[tuple[BoolArray, list[int]]]:
    """Group columns by which rows they have."""
    groups: dict[bytes, list[int]] = {}
    seen = np.isfinite(values)
    for j in range(values.shape[1]):
        groups.setdefault(seen[:, j].tobytes(), []).append(j)
    return [(np.asarray(seen[:, columns[0]]), columns) for columns in groups.values()]
