"""What an answer to a question about the verdicts consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import pandas as pd

from safetystats.summaries.gates import Check


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """Tables, checks and single facts that answer questions about the verdicts.

    Attributes
    ----------
    tables : mapping of str to DataFrame
        By the name they have in the glossary; those of a question that was not asked are empty.
    checks : tuple of Check
    facts : mapping of str to (str, int, float)
        What the text quotes and no table holds.
    """

    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    facts: Mapping[str, str | int | float] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return several answers as one."""
        tables: dict[str, pd.DataFrame] = {}
        facts: dict[str, str | int | float] = {}
        for part in parts:
            tables |= part.tables
            facts |= part.facts
        return cls(tables=tables, checks=tuple(c for part in parts for c in part.checks), facts=facts)
