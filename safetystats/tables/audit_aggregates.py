"""Aggregates that stand beside their parts, found by exact arithmetic on columns that share a prefix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from safetystats.tables.audit_finding import (
    AuditFinding,
    BoolArray,
    aligned,
    column,
    counted,
    decimals,
    listed,
    matrix,
    number,
    scored_columns,
    spearman,
    text_of,
    tokens,
)
from safetystats.tables.table import FloatArray, ScoreTable

_LEAST_EXACT = 0.85


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregate:
    """A column that is computed from others.

    Attributes
    ----------
    column : str
        The aggregate.
    parts : tuple of str
        What it is computed from.
    kind : str
        "mean", "weighted mean", "weighted sum", "maximum", "minimum", "maximum of absolute values" or "product".
    weights : tuple of float
        Of a mean or sum, in the order of `parts`; empty otherwise.
    exceptions : tuple of str
        Models for which the arithmetic does not hold.
    """

    column: str
    parts: tuple[str, ...]
    kind: str
    weights: tuple[float, ...] = ()
    exceptions: tuple[str, ...] = ()


def _weights(parts: FloatArray, target: FloatArray, tolerance: float) -> tuple[FloatArray, BoolArray] | None:
    """Return non-negative weights that reproduce the target, and for which rows they do; None if for too few."""
    from scipy.optimize import nnls

    rows = np.ones(len(target), dtype=np.bool_)
    total = float(((target - target.mean()) ** 2).sum())
    for _ in range(4):
        # Columns far larger than the rest make nnls stop early, so they are scaled first.
        scale = np.sqrt((parts[rows] ** 2).mean(axis=0))
        scale[scale == 0] = 1.0
        try:
            weights = np.asarray(nnls(parts[rows] / scale, target[rows])[0], dtype=np.float64) / scale
        except RuntimeError:
            return None
        off = np.abs(parts @ weights - target)
        exact = off <= tolerance
        if exact.mean() >= _LEAST_EXACT:
            return weights, np.asarray(exact)
        if float((off[rows] ** 2).sum()) > 0.01 * total:
            return None
        rows = np.asarray(off <= np.quantile(off, 0.9))
    return None


def _linear(name: str, others: list[str], table: ScoreTable, tolerance: float) -> Aggregate | None:
    """Return the aggregate if the column is a non-negative combination of two or more of the others."""
    values = matrix(table, [name, *others])
    complete = np.isfinite(values).all(axis=1)
    if complete.sum() < 2 * len(others) + 5:
        return None
    solved = _weights(values[complete, 1:], values[complete, 0], tolerance)
    if solved is None:
        return None
    weights, exact = solved
    used = weights > 1e-4 * weights.max()
    if used.sum() < 2:
        return None
    chosen = weights[used]
    total = float(chosen.sum())
    if abs(total - 1) > 0.01:
        kind = "weighted sum"
    else:
        kind = "mean" if np.ptp(chosen) < 1e-3 / len(chosen) else "weighted mean"
    return Aggregate(
        column=name,
        parts=tuple(part for part, use in zip(others, used, strict=True) if use),
        kind=kind,
        weights=tuple(float(w) for w in chosen),
        exceptions=tuple(str(m) for m in table.scores.index[complete][~exact]),
    )


def _extreme(name: str, others: list[str], table: ScoreTable, tolerance: float) -> Aggregate | None:
    """Return the aggregate if the column is the largest, smallest or largest absolute value of the others."""
    values = matrix(table, [name, *others])
    complete = np.isfinite(values).all(axis=1)
    if complete.sum() < 8 or len(others) < 2:
        return None
    target, parts = values[complete, 0], values[complete, 1:]
    best: Aggregate | None = None
    for kind, candidate, wanted in (
        ("maximum of absolute values", np.abs(parts), target),
        ("maximum", parts, target),
        ("minimum", -parts, -target),
    ):
        exact = np.abs(candidate.max(axis=1) - wanted) <= tolerance
        if exact.mean() >= _LEAST_EXACT and np.bincount(candidate.argmax(axis=1)).max() <= 0.8 * exact.sum():
            broken = tuple(str(m) for m in table.scores.index[complete][~exact])
            if best is None or len(broken) < len(best.exceptions):
                best = Aggregate(column=name, parts=tuple(others), kind=kind, exceptions=broken)
    return best


def _product(name: str, others: list[str], table: ScoreTable, tolerance: float) -> Aggregate | None:
    """Return the aggregate if the column is the product of two of the others."""
    values = matrix(table, [name, *others])
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < 8:
        return None
    products = values[:, 1:, None] * values[:, None, 1:]
    fits = np.triu(np.all(np.abs(products - values[:, :1, None]) <= tolerance, axis=0), 1)
    for i, j in np.argwhere(fits):
        return Aggregate(column=name, parts=(others[i], others[j]), kind="product")
    return None


@lru_cache(maxsize=2)
def aggregates(table: ScoreTable) -> tuple[Aggregate, ...]:
    """Return the columns that are exactly computed from columns with which they share a prefix.

    A column is compared with the columns that share its first words, the longest shared prefix first. Weights must be
    non-negative, so that a part is not found to be "computed" from its aggregate; the arithmetic must hold, to the
    printed precision, for at least 85 % of the models.
    """
    columns = scored_columns(table)
    words = {name: tokens(name) for name in columns}
    found = []
    for name in columns:
        values = column(table, name)
        spread = float(np.nanstd(values)) if np.isfinite(values).sum() > 5 else 0.0
        places = decimals(values)
        tolerance = max(1e-7 * spread, 0.0 if places is None else 1.01 * 10.0**-places)
        if spread == 0 or tolerance > 0.05 * spread:
            continue
        tried: set[int] = set()
        for length in range(len(words[name]), 0, -1):
            others = [c for c in columns if c != name and words[c][:length] == words[name][:length]]
            if len(others) < 2 or len(others) in tried:
                continue
            tried.add(len(others))
            hit = _product(name, others, table, tolerance) or _extreme(name, others, table, tolerance)
            hit = hit or _linear(name, others, table, tolerance)
            if hit is not None:
                found.append(hit)
                break
    return tuple(found)


def aggregates_beside_parts(table: ScoreTable) -> list[AuditFinding]:
    """Columns computed from other columns of the table: counting both counts the same evidence twice."""
    every = aggregates(table)
    if not every:
        return []
    told = listed((f"{a.column} ({a.kind} of {len(a.parts)})" for a in every), 24)
    found = [
        AuditFinding(
            check="aggregate_beside_parts",
            severity="warning" if _headline_twice(table, every) else "note",
            benchmarks=tuple(a.column for a in every),
            value=float(len(every)),
            message=f"{counted(len(every), 'column')} {'is' if len(every) == 1 else 'are'} computed exactly from "
            f"others of the table: {told}.",
            remedy="Analyse either the aggregate or its parts; a pooled model over both counts the same items twice.",
        )
    ]
    for a in every:
        if a.exceptions:
            found.append(
                AuditFinding(
                    check="aggregate_broken",
                    severity="warning",
                    benchmarks=(a.column, *a.parts),
                    models=a.exceptions,
                    value=float(len(a.exceptions)),
                    message=f"{a.column} is the {a.kind} of {listed(a.parts, 4)} in all models but "
                    f"{len(a.exceptions)} ({listed(a.exceptions)}).",
                    remedy="Scores of these models come from another run or were filled in: look them up or drop them.",
                )
            )
    return found


def _headline_twice(table: ScoreTable, every: Sequence[Aggregate]) -> bool:
    """Tell whether an aggregate and one of its parts are both headline benchmarks."""
    headline = table.benchmarks["headline"].astype(bool)
    return any(headline[a.column] and headline[list(a.parts)].any() for a in every)


def aggregate_direction(table: ScoreTable) -> list[AuditFinding]:
    """Aggregates whose declared direction does not agree with that of their parts."""
    found = []
    for a in aggregates(table):
        own = text_of(table, "direction", a.column)
        directions = {str(d) for d in table.benchmarks.loc[list(a.parts), "direction"]} - {"undeclared", "none"}
        one_way = {"higher_is_better": "up", "higher_is_safer": "up", "lower_is_safer": "down"}
        ways = {one_way[d] for d in directions if d in one_way}
        if own in one_way and len(ways) == 1 and "zero_is_ideal" not in directions and ways != {one_way[own]}:
            found.append(
                AuditFinding(
                    check="aggregate_direction",
                    severity="error",
                    benchmarks=(a.column, *a.parts),
                    value=-1.0,
                    message=f"{a.column} is declared {own}, but the parts of which it is the {a.kind} are declared "
                    f"{listed(sorted(directions))}.",
                    remedy="Correct the direction of the aggregate or of its parts.",
                )
            )
        parts = matrix(table, a.parts)
        if a.kind == "maximum" and "zero_is_ideal" in directions and (parts < 0).any():
            signed, size = np.nanmax(parts, axis=1), np.nanmax(np.abs(parts), axis=1)
            hidden = np.asarray(size - signed > 1e-12)
            rho = float(spearman(aligned(table, [a.column]), -size[:, None])[0, 0])
            found.append(
                AuditFinding(
                    check="signed_maximum",
                    severity="warning",
                    benchmarks=(a.column, *a.parts),
                    models=tuple(str(m) for m in table.scores.index[hidden]),
                    value=float((size - signed).max()),
                    message=f"{a.column} is the largest signed value of {len(a.parts)} two-sided columns, not "
                    f"the largest absolute one: for {counted(int(hidden.sum()), 'model')} a larger negative effect is "
                    f"left out (by up to {number(float((size - signed).max()))}; rank correlation {rho:.2f}).",
                    remedy="Take the largest absolute value of the parts instead.",
                )
            )
    return found
