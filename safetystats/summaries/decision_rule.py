"""The decision rule: which verdict the posterior probabilities of the three regions give. Loads nothing."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["entangled", "inverse", "distinct", "undetermined", "withheld"]
VERDICTS: tuple[Verdict, ...] = ("entangled", "inverse", "distinct", "undetermined", "withheld")


def verdict_of(p_entangled: float, p_inverse: float, p_distinct: float, probability: float) -> Verdict:
    """Return the verdict that has at least the stated posterior probability; undetermined if none has."""
    if p_entangled >= probability:
        return "entangled"
    if p_inverse >= probability:
        return "inverse"
    if p_distinct >= probability:
        return "distinct"
    return "undetermined"
