"""The decision rule: which verdict the posterior probabilities of the three regions give."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from safetystats.specs import Rope

FloatArray = npt.NDArray[np.float64]

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


def verdict_shares(rho: FloatArray, rope: Rope) -> tuple[float, float, float]:
    """Return the shares of draws above the limit, below minus the limit, and between them."""
    return float((rho > rope.limit).mean()), float((rho < -rope.limit).mean()), float((np.abs(rho) < rope.limit).mean())
