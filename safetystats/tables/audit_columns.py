"""Checks of the columns as numbers: bounds, constants, duplicates, copied cells."""

from __future__ import annotations

import math

import numpy as np

from safetystats.tables.audit_aggregates import aggregates
from safetystats.tables.audit_counts import counts, off_counts
from safetystats.tables.audit_finding import (
    AuditFinding,
    as_share,
    class_rows,
    column,
    counted,
    decimals,
    listed,
    matrix,
    number,
    number_of,
    pearson,
    scored_columns,
    span,
    text_of,
)
from safetystats.tables.table import FloatArray, ScoreTable

_FEWEST_COPIES = 3
_COPY_LEVEL = 1e-2
_NEARLY_ONE = 0.99


def out_of_bounds(table: ScoreTable) -> list[AuditFinding]:
    """Values below the declared lower or above the declared upper bound of their column."""
    found = []
    for name in table.columns():
        low, high = span(table, name)
        values = column(table, name)
        slack = 1e-9 * max([1.0, *(abs(bound) for bound in (low, high) if np.isfinite(bound))])
        outside = (values < low - slack) | (values > high + slack)
        if outside.any():
            models = tuple(str(m) for m in table.scores.index[outside])
            worst = values[outside][np.argmax(np.fmax(low - values[outside], values[outside] - high))]
            found.append(
                AuditFinding(
                    check="out_of_bounds",
                    severity="error",
                    benchmarks=(name,),
                    models=models,
                    value=float(worst),
                    message=f"{name} is declared to lie in [{number(low)}, {number(high)}], but "
                    f"{counted(len(models), 'model')} ({listed(models, 4)}) lie outside, up to {number(float(worst))}.",
                    remedy="Correct the values, or the bounds and the unit in benchmarks.csv.",
                )
            )
    return found


def constant_columns(table: ScoreTable) -> list[AuditFinding]:
    """Columns with one value for all models of a class: they have no correlation with anything."""
    found = []
    for name, rows in class_rows(table):
        columns = scored_columns(table)
        values = matrix(table, columns)[rows]
        n = np.isfinite(values).sum(axis=0)
        filled = np.where(np.isfinite(values), values, 0.0)
        flat = [
            column
            for j, column in enumerate(columns)
            if n[j] >= 3
            and np.ptp(filled[np.isfinite(values[:, j]), j]) <= 1e-12 * max(1.0, np.abs(filled[:, j]).max())
        ]
        if flat:
            found.append(
                AuditFinding(
                    check="constant_column",
                    severity="warning",
                    benchmarks=tuple(flat),
                    model_class=name,
                    value=float(len(flat)),
                    message=f"{counted(len(flat), 'column')} ({listed(flat)}) "
                    f"{'has' if len(flat) == 1 else 'have'} one single value for all {name} models.",
                    remedy="Leave them out of this class; a correlation is not defined.",
                )
            )
    return found


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float] | None:
    """Return slope and intercept if y is exactly slope * x + intercept (to 1e-9 of its spread), else None."""
    rows = np.isfinite(x) & np.isfinite(y)
    if len(np.unique(x[rows])) < 4 or len(np.unique(y[rows])) < 4:
        return None
    dx, dy = x[rows] - x[rows].mean(), y[rows] - y[rows].mean()
    slope = float(dx @ dy / (dx @ dx))
    if np.abs(dy - slope * dx).max() > 1e-9 * np.abs(dy).max():
        return None
    return slope, float(y[rows].mean() - slope * x[rows].mean())


def _twins(table: ScoreTable) -> list[tuple[str, str, float, float]]:
    """Return pairs of columns of which the second is an exact line of the first, with slope and intercept."""
    columns = scored_columns(table)
    values = matrix(table, columns)
    close = np.abs(np.nan_to_num(pearson(values, values, least=4))) > 1 - 1e-9
    pairs = []
    for i, j in np.argwhere(np.triu(close, 1)):
        line = _line(values[:, i], values[:, j])
        if line is not None:
            pairs.append((columns[i], columns[j], *line))
    return pairs


def duplicate_columns(table: ScoreTable) -> list[AuditFinding]:
    """Columns that hold the same numbers, perhaps up to sign or scale, over all models that have both."""
    found = []
    for first, second, slope, intercept in _twins(table):
        same = abs(slope - 1) < 1e-9 and abs(intercept) < 1e-9
        how = "is equal to" if same else f"is exactly {number(intercept)} plus {number(slope)} times"
        found.append(
            AuditFinding(
                check="duplicate_column",
                severity="warning",
                benchmarks=(first, second),
                value=slope,
                message=f"{second} {how} {first} for every model with both.",
                remedy="Keep one of the two; counting both counts the same evidence twice.",
            )
        )
    return found


def _step(table: ScoreTable, benchmark: str, values: FloatArray) -> int | float:
    """Return the item count of a column whose values are shares of it, else its least difference (an upper limit)."""
    share = as_share(table, benchmark)
    items = number_of(table, "n_items", benchmark)
    if share is not None:
        finite = share[np.isfinite(share)] * items
        if np.mean(np.abs(finite - np.round(finite)) < 1e-6) > 0.5:
            return int(items)
    gaps = np.diff(np.unique(values[np.isfinite(values)]))
    printed = decimals(values)
    least = float(gaps.min()) if len(gaps) else math.inf
    return max(least, 10.0**-printed if printed is not None else 0.0)


def _common_step(a: int | float, b: int | float, scale: float) -> float:
    """Return the distance between attainable differences of two columns."""
    if isinstance(a, int) and isinstance(b, int):
        return scale / math.lcm(a, b)
    return max(scale / a if isinstance(a, int) else a, scale / b if isinstance(b, int) else b)


def _expected(difference: FloatArray, step: float) -> float:
    """Return how many exact ties chance would give at most: ties per grid point, as the near misses have them.

    The near misses within the three quartiles of the non-zero differences, and within 50 steps, are spread over the
    grid points there; the densest of these windows counts.
    """
    apart = np.abs(difference[difference != 0])
    if not len(apart):
        return math.inf
    windows = np.maximum([50 * step, *np.quantile(apart, [0.25, 0.5, 0.75])], step)
    inside = 1 + (apart[:, None] <= windows * (1 + 1e-9)).sum(axis=0)
    return float((inside * step / (2 * windows)).max())


def near_duplicates(table: ScoreTable) -> list[AuditFinding]:
    """Pairs of columns outside the capability set that nearly are one (|Pearson| > 0.99 in every class).

    Exact duplicates and aggregates beside their parts are told by other checks.
    """
    columns = [name for name in scored_columns(table) if text_of(table, "role", name) != "capability"]
    values = matrix(table, columns)
    told = {frozenset(pair[:2]) for pair in _twins(table)}
    told |= {frozenset((a.column, part)) for a in aggregates(table) for part in a.parts}
    least = np.full((len(columns), len(columns)), np.inf)
    for _, rows in class_rows(table):
        rho = np.abs(pearson(values[rows], values[rows], least=10))
        least = np.fmin(least, rho)
    close = np.triu(np.isfinite(least) & (least > _NEARLY_ONE), 1)
    pairs = [(columns[i], columns[j], float(least[i, j])) for i, j in np.argwhere(close)]
    pairs = sorted((p for p in pairs if frozenset(p[:2]) not in told), key=lambda p: -p[2])
    if not pairs:
        return []
    return [
        AuditFinding(
            check="near_duplicate",
            severity="note",
            benchmarks=tuple(dict.fromkeys(name for pair in pairs for name in pair[:2])),
            value=pairs[0][2],
            message=f"{counted(len(pairs), 'pair')} of columns nearly hold the same numbers (|r| > {_NEARLY_ONE} in "
            f"every class): {listed(f'{a} with {b} {r:.3f}' for a, b, r in pairs)}.",
            remedy="They are hardly separate evidence: report one, or say that they are two versions of one test.",
        )
    ]


def copied_cells(table: ScoreTable) -> list[AuditFinding]:
    """Values that two otherwise different columns share to the last digit for more models than chance can explain.

    For each pair of columns the ties (not at a bound, nor at a value that a column takes often) are compared with a
    Poisson count whose mean is the number of near misses per point of the grid on which the differences must lie (its
    step is one over the least common multiple of the item counts). Pairs of an aggregate and its parts
    are left out. The level is Bonferroni-adjusted over all pairs.
    """
    from scipy.stats import poisson

    columns = scored_columns(table)
    values = matrix(table, columns)
    usable = np.isfinite(values)
    for j, name in enumerate(columns):
        for bound in (*span(table, name), 0.0, 1.0, 100.0):
            usable[:, j] &= values[:, j] != bound
        levels, where, times = np.unique(values[:, j], return_inverse=True, return_counts=True)
        usable[:, j] &= times[where] <= max(3, table.n_models // 10) if len(levels) else False
    masked = np.where(usable, values, np.nan)
    ties = np.abs(masked[:, :, None] - masked[:, None, :]) <= 1e-12 * np.nan_to_num(np.abs(masked))[:, :, None]
    twins = {frozenset(pair[:2]) for pair in _twins(table)}
    twins |= {frozenset((a.column, part)) for a in aggregates(table) for part in a.parts}
    n_pairs = max(1, len(columns) * (len(columns) - 1) // 2)
    hits: list[tuple[str, str, tuple[str, ...], int]] = []
    for i, j in np.argwhere(np.triu(ties.sum(axis=0) >= _FEWEST_COPIES, 1)):
        if frozenset((columns[i], columns[j])) in twins:
            continue
        both = np.isfinite(values[:, i]) & np.isfinite(values[:, j])
        scale = span(table, columns[i])[1] if span(table, columns[i])[1] == 100.0 else 1.0
        step = _common_step(_step(table, columns[i], values[:, i]), _step(table, columns[j], values[:, j]), scale)
        mean = _expected((values[:, i] - values[:, j])[both], step)
        tied = ties[:, i, j]
        if float(poisson.sf(tied.sum() - 1, mean)) * n_pairs < _COPY_LEVEL:
            models = tuple(str(m) for m in table.scores.index[tied])
            hits.append((columns[i], columns[j], models, int(both.sum())))
    return [_copy_finding(table, *hit) for hit in hits]


def _copy_finding(table: ScoreTable, first: str, second: str, models: tuple[str, ...], n: int) -> AuditFinding:
    misfit = []
    for name in (first, second):
        implied = counts(table, name)
        if implied is not None and off_counts(*implied)[table.scores.index.isin(models)].mean() > 0.5:
            misfit.append(
                f"; the values are no counts out of the {number_of(table, 'n_items', name):.0f} items of {name}, so "
                "they belong to the other"
            )
    return AuditFinding(
        check="copied_cells",
        severity="warning",
        benchmarks=(first, second),
        models=models,
        value=float(len(models)),
        message=f"{first} and {second} agree to the last digit for {len(models)} of {n} models "
        f"({listed(models, 4)}) and "
        f"differ elsewhere, more often than their grids allow by chance{''.join(misfit[:1])}.",
        remedy="Look them up at the source; set copied cells to missing, or drop one column if both are one test.",
    )
