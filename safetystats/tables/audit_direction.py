"""Checks of directions: what the dictionary declares, what the publisher printed, and what the values say."""

from __future__ import annotations

import re

import numpy as np

from safetystats.tables.audit_finding import (
    AuditFinding,
    aligned,
    class_rows,
    column,
    counted,
    listed,
    matrix,
    number,
    scored_columns,
    spearman,
    text_of,
    tokens,
)
from safetystats.tables.table import ScoreTable

_NEGATED = re.compile(r"\b(negat|invert|revers|flipped)", re.IGNORECASE)
_UNNEGATED = re.compile(r"\b(un-?|not )(negat|invert|revers|flipped)", re.IGNORECASE)
_SHARE_LABEL = re.compile(r"\b(accuracy|proportion|exact match)\b", re.IGNORECASE)
_UP, _DOWN = ("higher_is_better", "higher_is_safer"), ("lower_is_safer",)


def _label_claims_negation(label: str) -> bool:
    return bool(_NEGATED.search(label)) and not _UNNEGATED.search(label)


def negated_but_positive(table: ScoreTable) -> list[AuditFinding]:
    """Columns printed as negated although no value is negative, so that nothing was negated.

    Declared as the label says (higher is safer), the column enters every analysis upside down: an error. Declared as
    the values say, it is a warning that the published sign is not the one of the table.
    """
    found = []
    for declared, severity in ((_UP, "error"), (_DOWN, "warning")):
        columns = [
            name
            for name in scored_columns(table)
            if text_of(table, "direction", name) in declared
            and _label_claims_negation(f"{text_of(table, 'metric', name)} {text_of(table, 'unit', name)}")
            and np.nanmin(column(table, name), initial=np.inf) >= 0
            and np.nanmax(column(table, name), initial=0.0) > 0
        ]
        if columns:
            values = matrix(table, columns)
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            consequence = (
                "are declared as if the label were right" if severity == "error" else "are declared as raw harm"
            )
            found.append(
                AuditFinding(
                    check="negated_but_positive",
                    severity="error" if severity == "error" else "warning",
                    benchmarks=tuple(columns),
                    value=low,
                    message=f"{counted(len(columns), 'column')} ({listed(columns)}) labelled as negated "
                    f"({text_of(table, 'metric', columns[0]) or text_of(table, 'unit', columns[0])}) hold only "
                    f"positive values ({number(low)} to {number(high)}), so they were not negated; they {consequence}.",
                    remedy="Declare lower_is_safer and expect published correlations to have the opposite sign."
                    if severity == "error"
                    else "Keep the declared direction; published correlations of these columns have the opposite sign.",
                )
            )
    return found


def label_against_direction(table: ScoreTable) -> list[AuditFinding]:
    """Columns whose printed arrow points the other way than their declared direction."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name in scored_columns(table):
        label, direction = text_of(table, "metric", name), text_of(table, "direction", name)
        if "↑" in label and direction in _DOWN:
            groups.setdefault(("↑", direction), []).append(name)
        elif "↓" in label and direction in _UP:
            groups.setdefault(("↓", direction), []).append(name)
    return [
        AuditFinding(
            check="label_against_direction",
            severity="warning",
            benchmarks=tuple(columns),
            value=float(len(columns)),
            message=f"{counted(len(columns), 'column')} {'is' if len(columns) == 1 else 'are'} printed with {arrow} by "
            f"the publisher but declared {direction}: {listed(columns)}.",
            remedy="Check it on a model known to be unsafe; published correlations follow the printed arrow.",
        )
        for (arrow, direction), columns in groups.items()
    ]


def impossible_label(table: ScoreTable) -> list[AuditFinding]:
    """Columns labelled as a share (accuracy, proportion) with values that no share can have."""
    columns = [
        name
        for name in scored_columns(table)
        if _SHARE_LABEL.search(text_of(table, "metric", name))
        and ((column(table, name) < -1e-9) | (column(table, name) > 100 + 1e-9)).any()
    ]
    if not columns:
        return []
    values = matrix(table, columns)
    return [
        AuditFinding(
            check="impossible_label",
            severity="note",
            benchmarks=tuple(columns),
            value=float(len(columns)),
            message=f"{counted(len(columns), 'column')} ({listed(columns)}) labelled as a share of items hold values "
            f"from {number(float(np.nanmin(values)))} to {number(float(np.nanmax(values)))}, which no share can take.",
            remedy="Do not trust the printed metric of these columns; unit and direction must come from elsewhere.",
        )
    ]


def two_sided(table: ScoreTable) -> list[AuditFinding]:
    """Columns with an ideal at zero, and columns declared one-directional whose values lie on both sides of zero."""
    found = []
    ideal = [name for name in scored_columns(table) if text_of(table, "direction", name) == "zero_is_ideal"]
    if ideal:
        one_sided = [n for n in ideal if not ((column(table, n) <= 0).any() and (column(table, n) >= 0).any())]
        aside = f"; of these {listed(one_sided)} never crosses zero" if one_sided else ""
        found.append(
            AuditFinding(
                check="two_sided",
                severity="note",
                benchmarks=tuple(ideal),
                value=float(len(ideal)),
                message=f"{counted(len(ideal), 'column')} {'is' if len(ideal) == 1 else 'are'} two-sided, zero being "
                f"ideal: {listed(ideal)}{aside}.",
                remedy="They enter as -|x|; a correlation of the signed values is not a statement about safety.",
            )
        )
    signed = []
    for name in scored_columns(table):
        values = column(table, name)[np.isfinite(column(table, name))]
        if text_of(table, "direction", name) not in (*_UP, *_DOWN) or len(values) < 8:
            continue
        if min((values < 0).mean(), (values > 0).mean()) >= 0.15:
            signed.append(name)
    if signed:
        found.append(
            AuditFinding(
                check="signed_values",
                severity="warning",
                benchmarks=tuple(signed),
                value=float(len(signed)),
                message=f"{counted(len(signed), 'column')} ({listed(signed)}) declared one-directional "
                f"{'has' if len(signed) == 1 else 'have'} values on both sides of zero.",
                remedy="If zero is the ideal (a difference between groups, say), declare zero_is_ideal.",
            )
        )
    return found


def undeclared_directions(table: ScoreTable) -> list[AuditFinding]:
    """Safety columns of which nobody has said which way is safer."""
    columns = [n for n in table.columns("safety") if text_of(table, "direction", n) in ("undeclared", "none")]
    if not columns:
        return []
    return [
        AuditFinding(
            check="undeclared_direction",
            severity="note",
            benchmarks=tuple(columns),
            value=float(len(columns)),
            message=f"{counted(len(columns), 'safety column')} without a declared direction: {listed(columns)}.",
            remedy="They stay out of safety analyses until benchmarks.csv says which way is safer.",
        )
    ]


def inferred_directions(table: ScoreTable) -> list[AuditFinding]:
    """Columns whose direction the dictionary itself calls inferred from the values."""
    columns = [
        name
        for name in table.columns("safety")
        if re.search(r"direction (is )?(inferred|guessed|assumed)", text_of(table, "note", name), re.IGNORECASE)
    ]
    if not columns:
        return []
    return [
        AuditFinding(
            check="inferred_direction",
            severity="note",
            benchmarks=tuple(columns),
            value=float(len(columns)),
            message=f"The direction of {listed(columns)} was inferred from the values, says the dictionary.",
            remedy="State so where they are reported, or run the study with the direction turned round.",
        )
    ]


def odd_one_out(table: ScoreTable) -> list[AuditFinding]:
    """Columns that, as declared, run against all siblings (same prefix and area) while these agree among themselves.

    A column is named if in every class its mean rank correlation with at least three siblings is below -0.4 and that of
    the siblings among each other above 0.4.
    """
    columns = [n for n in table.columns("safety") if text_of(table, "direction", n) in (*_UP, *_DOWN)]
    groups: dict[tuple[str, str], list[str]] = {}
    for name in columns:
        groups.setdefault((tokens(name)[0], text_of(table, "area", name)), []).append(name)
    found = []
    for members in groups.values():
        if len(members) < 4 or not table.n_models:
            continue
        against, among = [], []
        for _, rows in class_rows(table):
            values = aligned(table, members)[rows]
            rho = spearman(values, values)
            np.fill_diagonal(rho, 0.0)
            p = len(members)
            own = rho.sum(axis=0) / (p - 1)
            against.append(own)
            among.append((rho.sum() - 2 * rho.sum(axis=0)) / max(1, (p - 1) * (p - 2)))
        odd = np.all((np.array(against) < -0.4) & (np.array(among) > 0.4), axis=0)
        for j in np.flatnonzero(odd):
            own_mean, rest_mean = float(np.mean(against, axis=0)[j]), float(np.mean(among, axis=0)[j])
            found.append(
                AuditFinding(
                    check="odd_one_out",
                    severity="warning",
                    benchmarks=(members[j],),
                    value=own_mean,
                    message=f"{members[j]} correlates {own_mean:.2f} on average with its {len(members) - 1} siblings, "
                    f"which correlate {rest_mean:.2f} among each other, all as declared.",
                    remedy="Check its direction in benchmarks.csv.",
                )
            )
    return found
