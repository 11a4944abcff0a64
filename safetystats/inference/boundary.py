"""Parameters of a factor model at the edge of what they can be: Heywood cases and their relatives, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safetystats.inference.arrays import BoolArray
from safetystats.inference.parameters import FactorDraws

HEYWOOD = 0.05  # share of unique variance below which a loading counts as being at its boundary
DOMINANT = 0.7  # share of the information about capability above which one benchmark nearly is capability
NEGATIVE = 0.05  # probability of a negative loading above which a capability benchmark is named
ICC_ENDS = (0.02, 0.9)  # values of kappa below and above which it counts as being at a boundary
PILED = 0.5  # posterior probability of a boundary region from which it is named
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class BoundaryRow:
    """A parameter of one benchmark at the edge of what it can be: what it is, the number found and its limit."""

    benchmark: str
    what: str
    value: float
    limit: float
    sentence: str


def boundary_warnings(
    draws: FactorDraws, benchmarks: Sequence[str], anchors: BoolArray | None = None
) -> list[BoundaryRow]:
    """Name the benchmarks of a posterior with a parameter at the edge of its range.

    `heywood`: probability of less than `HEYWOOD` unique variance, against `PILED`; `communality`: posterior mean of the
    variance not unique, against 1 - `HEYWOOD`. `dominant`: posterior mean of rho^2 / (1 - rho^2) over its sum over all
    benchmarks, against `DOMINANT`. `negative`: P(rho < 0) of an anchor (capability benchmark; all if None), against
    `NEGATIVE`. `icc_low`, `icc_high`: P(kappa beyond `ICC_ENDS`), against `PILED`, where kappa is not fixed.
    """
    unique = 1 - draws.rho**2 - (draws.further**2).sum(-1)
    information = draws.rho**2 / np.maximum(1 - draws.rho**2, _TINY)
    share = (information / np.maximum(information.sum(1, keepdims=True), _TINY)).mean(0)
    rows = []
    for b, name in enumerate(benchmarks):
        icc, anchor = draws.icc[:, b], anchors is None or bool(anchors[b])
        found = [
            ("heywood", (unique[:, b] < HEYWOOD).mean(), PILED, "keeps almost no variance of its own (a Heywood case)"),
            ("communality", 1 - unique[:, b].mean(), 1 - HEYWOOD, "keeps almost no variance of its own in the mean"),
            ("dominant", share[b], DOMINANT, "carries most of the information: capability is nearly this benchmark"),
        ]
        if anchor:
            found.append(("negative", (draws.rho[:, b] < 0).mean(), NEGATIVE, "may load negatively on capability"))
        if np.ptp(icc) > 0:
            low, high = (icc < ICC_ENDS[0]).mean(), (icc > ICC_ENDS[1]).mean()
            found.append(("icc_low", low, PILED, "has residuals that families hardly share: kappa piles up at zero"))
            found.append(("icc_high", high, PILED, "has residuals that are the family's: kappa piles up at one"))
        beyond = [row for row in found if row[1] > row[2]]
        rows += [BoundaryRow(name, what, float(x), limit, f"{name} {words}.") for what, x, limit, words in beyond]
    return rows
