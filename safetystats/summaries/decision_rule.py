"""The decision rule: which verdict the posterior probabilities of the three regions give."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from safetystats.specs import Rope

FloatArray = npt.NDArray[np.float64]

Verdict = Literal["entangled", "inverse", "distinct", "undetermined", "withheld"]
NOISE = 0.01
"""Change of a probability near 0.95 that its Monte Carlo error, about 0.005 with the draws of a set, can make."""
_REGIONS: tuple[str, ...] = ("entangled", "inverse", "distinct")
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


def verdict_changes(old: str, new: str, whole: tuple[float, float, float], without: tuple[float, float, float]) -> bool:
    """Return whether a verdict is another one by more than Monte Carlo error.

    What must have moved by more than `NOISE` is the probability of the region of the old verdict, or of the new one
    where the old one is undetermined. Withheld verdicts do not change, and undetermined ones do not by being withheld.

    Parameters
    ----------
    old, new : str
        Verdicts.
    whole, without : tuple of float
        P(entangled), P(inverse) and P(distinct) behind them; no change where they are NaN.
    """
    if old in (new, "withheld") or not {old, new} & set(_REGIONS) or not np.isfinite(without).all():
        return False
    region = _REGIONS.index(old if old in _REGIONS else new)
    return abs(without[region] - whole[region]) > NOISE
