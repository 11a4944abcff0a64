"""Checks that use item counts: impossible fractions, saturation, sampling error, uneven test effort."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pandas as pd

from safetystats.tables.audit_finding import (
    AuditFinding,
    BoolArray,
    as_share,
    class_rows,
    column,
    counted,
    listed,
    number,
    number_of,
    places,
    scored_columns,
    span,
    text_of,
    tokens,
)
from safetystats.tables.table import FloatArray, ScoreTable

CHANCE_CORRECTED = re.compile(r"min\(\(1 - acc(?:uracy)?\) / ([0-9.]+), 1\)")
"""What the note of a column says whose scores are accuracies turned round and corrected for chance; c in group 1."""
_UNINFORMATIVE = 0.2
_NEAR = 0.05


def counts(table: ScoreTable, benchmark: str) -> tuple[FloatArray, FloatArray] | None:
    """Return the number of items that each score implies, and how far printed rounding can move it.

    A column declared as a share (bounds 0-1 or 0-100) with known `n_items` is multiplied out. If the column's note says
    `min((1 - accuracy) / c, 1)`, that is undone first and clipped scores become NaN. None: not declared as a share, or
    printed everywhere with too few decimals to tell one count from the next.
    """
    share = as_share(table, benchmark)
    if share is None:
        return None
    items = number_of(table, "n_items", benchmark)
    rounding = 1e-6 + 0.5 * 10.0 ** -places(column(table, benchmark)) / span(table, benchmark)[1] * items
    if not (rounding <= _UNINFORMATIVE).any():
        return None
    corrected = CHANCE_CORRECTED.search(text_of(table, "note", benchmark))
    if corrected:
        share = np.where(share >= 1, np.nan, 1 - float(corrected.group(1)) * share)
    return np.asarray(share * items, dtype=np.float64), rounding


def off_counts(count: FloatArray, rounding: FloatArray) -> BoolArray:
    """Mark counts that are further from a whole number than rounding explains; a missing score is not marked."""
    distance = np.abs(count - np.round(count))
    return np.asarray(np.isfinite(distance) & (distance > rounding) & (rounding <= _UNINFORMATIVE))


def impossible_fractions(table: ScoreTable) -> list[AuditFinding]:
    """Scores that are no whole number of the declared items.

    A few such cells in a column contradict the other cells (another test set, another pipeline, a filled-in value) and
    are a warning; a column of which most cells fail is not a share of that many items, which is a note, as are
    half-integers (the mean of two runs). Failing columns with the same first word are told together.
    """
    halves: list[str] = []
    other: list[str] = []
    broken: dict[str, list[tuple[str, BoolArray]]] = {}
    for name in scored_columns(table):
        implied = counts(table, name)
        if implied is None:
            continue
        off = off_counts(*implied)
        seen = np.isfinite(implied[0]).sum()
        if not off.any():
            continue
        still = off_counts(2 * implied[0], 2 * implied[1])
        if off.sum() >= 3 and 2 * np.nanmax(implied[1]) < _UNINFORMATIVE and still.sum() < off.sum() / 2:
            halves.append(name)
            off = still
        if off.sum() > 0.3 * seen:
            other.append(name)
        elif off.any():
            broken.setdefault(tokens(name)[0], []).append((name, off))
    found = [_broken_counts(table, group) for group in broken.values()]
    if halves:
        found.append(
            AuditFinding(
                check="half_counts",
                severity="note",
                benchmarks=tuple(halves),
                value=float(len(halves)),
                message=f"Scores of {listed(halves)} are half-integer counts of their items: the mean of two runs.",
                remedy="Their sampling error is smaller than that of one run; nothing need be done.",
            )
        )
    if other:
        found.append(
            AuditFinding(
                check="not_a_share",
                severity="note",
                benchmarks=tuple(other),
                value=float(len(other)),
                message=f"Most scores of {counted(len(other), 'column')} ({listed(other)}) are no whole number of the "
                "declared items: a mean over parts or judges, another item count, or no share at all.",
                remedy="Do not use binomial sampling error for them, or correct n_items.",
            )
        )
    return found


def _broken_counts(table: ScoreTable, group: list[tuple[str, BoolArray]]) -> AuditFinding:
    names = tuple(name for name, _ in group)
    off = np.any([mask for _, mask in group], axis=0)
    models = tuple(str(m) for m in table.scores.index[off])
    first, mask = group[0]
    value = float(column(table, first)[mask][0])
    items = int(number_of(table, "n_items", first))
    simple = Fraction(value / span(table, first)[1]).limit_denominator(items)
    fits = abs(float(simple) * span(table, first)[1] - value) < 1e-9
    example = f"{first} of {table.scores.index[mask][0]} is {value:.6g}"
    example += f" = {simple.numerator}/{simple.denominator}" if fits else ""
    return AuditFinding(
        check="impossible_fraction",
        severity="warning",
        benchmarks=names,
        models=models,
        value=float(len(models)),
        message=f"{counted(len(models), 'model')} ({listed(models)}) {'has' if len(models) == 1 else 'have'} scores in "
        f"{counted(len(names), 'column')} ({listed(names)}) that are no whole number of the declared items ({example}, "
        f"with {items} items), against the other scores.",
        remedy="They come from another test set, an incomplete run or were filled in: look them up or drop them.",
    )


def saturation(table: ScoreTable) -> list[AuditFinding]:
    """Columns of which many models of a class lie within 5 % of the range from a declared bound.

    The ceiling is the better bound: of a column declared lower_is_safer, the lower one.
    Half of the models or more is a warning, a quarter a note.
    """
    found = []
    for model_class, rows in class_rows(table):
        for end in ("ceiling", "floor"):
            shares: dict[str, float] = {}
            for name in scored_columns(table):
                low, high = span(table, name)
                values = column(table, name)[rows & np.isfinite(column(table, name))]
                if not np.isfinite(high - low) or len(values) < 5:
                    continue
                upward = (end == "ceiling") == (text_of(table, "direction", name) != "lower_is_safer")
                room = (high - values if upward else values - low) / (high - low)
                shares[name] = float(np.mean(room <= _NEAR))
            for least, most, severity in ((0.5, 1.01, "warning"), (0.25, 0.5, "note")):
                hit = sorted((n for n, s in shares.items() if least <= s < most), key=lambda n: -shares[n])
                if hit:
                    told = listed((f"{n} {100 * shares[n]:.0f} %" for n in hit), 8)
                    found.append(
                        AuditFinding(
                            check=end,
                            severity="warning" if severity == "warning" else "note",
                            benchmarks=tuple(hit),
                            model_class=model_class,
                            value=shares[hit[0]],
                            message=f"{model_class}: {counted(len(hit), 'column')} with {100 * least:.0f} % or more of "
                            f"the models within 5 % of the range from the {end}: {told}.",
                            remedy="Such models are hardly told apart; report these columns apart or on a logit scale.",
                        )
                    )
    return found


def at_chance(table: ScoreTable) -> list[AuditFinding]:
    """Columns on which many models of a class are not better than guessing (two standard errors)."""
    found = []
    for model_class, rows in class_rows(table):
        shares: dict[str, float] = {}
        for name in scored_columns(table):
            share, chance = as_share(table, name), number_of(table, "chance", name)
            if share is None or not chance > 0:
                continue
            chance /= span(table, name)[1]
            values = share[rows]
            limit = chance + 2 * np.sqrt(chance * (1 - chance) / number_of(table, "n_items", name))
            if np.isfinite(values).sum() >= 5:
                shares[name] = float(np.mean(values[np.isfinite(values)] <= limit))
        hit = sorted((n for n, s in shares.items() if s >= 0.25), key=lambda n: -shares[n])
        if hit:
            told = listed((f"{n} {100 * shares[n]:.0f} %" for n in hit), 8)
            found.append(
                AuditFinding(
                    check="at_chance",
                    severity="note",
                    benchmarks=tuple(hit),
                    model_class=model_class,
                    value=shares[hit[0]],
                    message=f"{model_class}: a quarter or more of the models are not better than guessing on {told}.",
                    remedy="The lower end of these columns does not rank models; do not read order into it.",
                )
            )
    return found


def reliability(table: ScoreTable, benchmark: str, rows: BoolArray) -> float:
    """Return 1 - mean binomial variance / observed variance between models; NaN where items are unknown."""
    share = as_share(table, benchmark)
    if share is None:
        return float("nan")
    values = share[rows & np.isfinite(share)]
    if len(values) < 5 or np.ptp(values) == 0 or values.min() < 0 or values.max() > 1:
        return float("nan")
    noise = np.mean(values * (1 - values)) / number_of(table, "n_items", benchmark)
    return float(1 - noise / np.var(values, ddof=1))


def low_reliability(table: ScoreTable) -> list[AuditFinding]:
    """Columns whose differences between models are largely the sampling error of their items."""
    found = []
    for model_class, rows in class_rows(table):
        known = {name: reliability(table, name, rows) for name in scored_columns(table)}
        for low, high, severity in ((-np.inf, 0.6, "warning"), (0.6, 0.8, "note")):
            hit = sorted((n for n, r in known.items() if low <= r < high), key=lambda n: known[n])
            if hit:
                told = listed((f"{n} {known[n]:.2f}" for n in hit), 8)
                found.append(
                    AuditFinding(
                        check="low_reliability",
                        severity="warning" if severity == "warning" else "note",
                        benchmarks=tuple(hit),
                        model_class=model_class,
                        value=known[hit[0]],
                        message=f"{model_class}: {counted(len(hit), 'column')} with a reliability between models below "
                        f"{number(high)} (sampling error of the items alone): {told}.",
                        remedy="Correlations shrink by the square root of this; use the binomial error model.",
                    )
                )
    return found


def uneven_effort(table: ScoreTable) -> list[AuditFinding]:
    """Models tested on fewer samples than the rest, from bookkeeping counts and from notes on single cells."""
    groups: dict[str, list[pd.Series]] = {}
    for name in table.columns("bookkeeping"):
        values = table.scores[name].dropna()
        full = float(values.mode().iloc[-1]) if len(values) >= 5 else 0.0
        if full <= 0 or (values == full).mean() < 0.5:
            continue
        short = values[values < 0.95 * full].sort_values(kind="stable")
        if len(short):
            groups.setdefault(tokens(name)[0], []).append(short.rename(f"{name} (mostly {full:g})"))
    found = []
    for prefix, shorts in groups.items():
        concerned = [name for name in scored_columns(table) if tokens(name)[0] == prefix]
        told = "; ".join(
            f"{short.name}: {listed((f'{model} {value:g}' for model, value in short.items()), 7)}" for short in shorts
        )
        found.append(
            AuditFinding(
                check="uneven_effort",
                severity="warning",
                benchmarks=(*(str(short.name).split(" (mostly")[0] for short in shorts), *concerned),
                models=tuple(dict.fromkeys(str(m) for short in shorts for m in short.index)),
                value=float(shorts[0].iloc[0]),
                message=f"Some models were tested less than the others on the {counted(len(concerned), 'column')} "
                f"named {prefix}...: {told}.",
                remedy="Leave out models with a small part of the test, or weight them by it.",
            )
        )
    return [*found, *_partial_cells(table)]


def _partial_cells(table: ScoreTable) -> list[AuditFinding]:
    """Cells whose note says that only a part of the items was used (`601 of 940`)."""
    if not len(table.cells) or "note" not in table.cells.columns:
        return []
    notes = table.cells["note"].dropna().astype(str)
    parts = notes.str.extract(r"(?P<done>\d+) of (?P<all>\d+)").dropna().astype(np.float64)
    parts = parts[parts["done"] < parts["all"]]
    found = []
    for benchmark, group in parts.groupby(level=1, sort=False):
        shares = (group["done"] / group["all"]).sort_values(kind="stable")
        found.append(
            AuditFinding(
                check="partial_cells",
                severity="warning" if shares.iloc[0] < 0.9 else "note",
                benchmarks=(str(benchmark),),
                models=tuple(str(m) for m in shares.index.get_level_values(0)),
                value=float(shares.iloc[0]),
                message=f"{counted(len(shares), 'score')} of {benchmark} rest on a part of its items, down to "
                f"{group['done'].min():g} of {group['all'].max():g}.",
                remedy="If the parts differ in difficulty these scores are not comparable: check without them.",
            )
        )
    return found


def noted_cells(table: ScoreTable) -> list[AuditFinding]:
    """Benchmarks with several settings among their scores, or with other notes on single cells."""
    if not len(table.cells):
        return []
    found = []
    for field, check in (("setting", "mixed_settings"), ("note", "noted_cells")):
        if field not in table.cells.columns:
            continue
        texts = table.cells[field].fillna("").astype(str)
        if field == "note":
            texts = texts[~texts.str.contains(r"\d+ of \d+")]
            texts = texts[texts != ""]
        kinds = texts.groupby(level=1, sort=False).nunique()
        hit = [str(b) for b in kinds.index[kinds > (1 if field == "setting" else 0)]]
        if hit:
            n = int((texts[texts.index.get_level_values(1).isin(hit)] != "").sum())
            found.append(
                AuditFinding(
                    check=check,
                    severity="note",
                    benchmarks=tuple(hit),
                    value=float(n),
                    message=f"{counted(n, 'score')} of {listed(hit)} {'has' if n == 1 else 'have'} a {field} of "
                    f"{'its' if n == 1 else 'their'} own in the table.",
                    remedy="Read them in the table's scores.csv before comparing these models.",
                )
            )
    return found
