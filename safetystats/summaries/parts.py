"""The prepared table class by class, as it is fitted."""

from __future__ import annotations

from safetystats.tables.table import ScoreTable


def class_parts(prepared: ScoreTable) -> dict[str, ScoreTable]:
    """Return the models of every class that have a capability score, in the order of the table.

    Capability columns without a score in a class are left out of its part, and so are models without any capability
    score.

    Parameters
    ----------
    prepared : ScoreTable
        Aligned, transformed, z-scored within classes.
    """
    return {label: with_capability(prepared.select(model_class=label)) for label in prepared.classes}


def with_capability(part: ScoreTable) -> ScoreTable:
    """Leave out capability columns that are missing in this class, and models without any capability score."""
    names = [name for name in part.columns("capability") if part.scores[name].notna().any()]
    absent = [name for name in part.columns("capability") if name not in names]
    kept = part.scores.index[part.scores[names].notna().any(axis=1)]
    return part.select(models=kept, benchmarks=[b for b in part.columns() if b not in absent])
