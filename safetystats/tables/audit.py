"""An audit of a score table: traps in the data that no parser can see.

`audit` runs every check of `CHECKS` on a raw table. The checks know nothing of particular benchmarks: they judge the
values against each other and against the dictionary (role, direction, bounds, item counts, printed metric, notes).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.tables.audit_aggregates import aggregate_direction, aggregates_beside_parts
from safetystats.tables.audit_capability import (
    below_chance,
    compute_collinearity,
    failed_runs,
    near_duplicates_of_capability,
    reused_runs,
)
from safetystats.tables.audit_columns import (
    constant_columns,
    copied_cells,
    duplicate_columns,
    near_duplicates,
    out_of_bounds,
)
from safetystats.tables.audit_counts import (
    at_chance,
    impossible_fractions,
    low_reliability,
    noted_cells,
    saturation,
    uneven_effort,
)
from safetystats.tables.audit_design import (
    families,
    missing_by_capability,
    missing_cells,
    mixed_scales,
    one_source,
    unpaired_lineages,
)
from safetystats.tables.audit_direction import (
    impossible_label,
    inferred_directions,
    label_against_direction,
    negated_but_positive,
    odd_one_out,
    two_sided,
    undeclared_directions,
)
from safetystats.tables.audit_finding import SEVERITIES, AuditFinding, Severity
from safetystats.tables.table import Preparation, ScoreTable

__all__ = ["AUDIT_COLUMNS", "CHECKS", "Audit", "AuditFinding", "Severity", "audit"]

AUDIT_COLUMNS: tuple[str, ...] = (
    "severity",
    "check",
    "model_class",
    "benchmarks",
    "models",
    "value",
    "message",
    "remedy",
)

CHECKS: tuple[Callable[[ScoreTable], list[AuditFinding]], ...] = (
    out_of_bounds,
    negated_but_positive,
    aggregate_direction,
    odd_one_out,
    label_against_direction,
    duplicate_columns,
    copied_cells,
    impossible_fractions,
    failed_runs,
    below_chance,
    uneven_effort,
    aggregates_beside_parts,
    reused_runs,
    near_duplicates_of_capability,
    compute_collinearity,
    near_duplicates,
    constant_columns,
    saturation,
    at_chance,
    low_reliability,
    two_sided,
    undeclared_directions,
    inferred_directions,
    impossible_label,
    missing_cells,
    missing_by_capability,
    families,
    unpaired_lineages,
    mixed_scales,
    one_source,
    noted_cells,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What an audit found, the gravest first.

    Attributes
    ----------
    table : str
        Name of the audited table.
    fingerprint : str
        Its fingerprint.
    findings : tuple of AuditFinding
        Errors, then warnings, then notes; within these in the order of `CHECKS`.
    """

    table: str
    fingerprint: str
    findings: tuple[AuditFinding, ...]

    def of(self, check: str) -> tuple[AuditFinding, ...]:
        """Return the findings of one check."""
        return tuple(finding for finding in self.findings if finding.check == check)

    def graver_than(self, severity: Severity) -> tuple[AuditFinding, ...]:
        """Return the findings that are graver than `severity`, e.g. errors and warnings for "note"."""
        limit = SEVERITIES.index(severity)
        return tuple(finding for finding in self.findings if SEVERITIES.index(finding.severity) < limit)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding, columns `AUDIT_COLUMNS`; names are joined with "; "."""
        rows = [
            (
                f.severity,
                f.check,
                f.model_class or "",
                "; ".join(f.benchmarks),
                "; ".join(f.models),
                f.value,
                f.message,
                f.remedy,
            )
            for f in self.findings
        ]
        return pd.DataFrame(rows, columns=list(AUDIT_COLUMNS)).astype({"value": "float64"})


def audit(table: ScoreTable) -> Audit:
    """Run every check on a raw table.

    Parameters
    ----------
    table : ScoreTable
        As it was read: not aligned, transformed or standardised.

    Returns
    -------
    Audit

    Raises
    ------
    DataError
        If the table has been prepared; its numbers no longer are what was published.
    """
    done = table.preparation
    if done.aligned or done.transform != "identity" or done.standardised != "none":
        raise DataError(
            [
                Fault(
                    file=table.name,
                    expected=f"a table as it was read ({Preparation()})",
                    got=str(done),
                    remedy="Audit the table before preparing it.",
                )
            ]
        )
    findings = [finding for check in CHECKS for finding in check(table)]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(table=table.name, fingerprint=table.fingerprint, findings=tuple(findings))
