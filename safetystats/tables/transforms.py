"""Monotone transforms of one column of scores, each with its inverse. Functions of arrays; no tables here."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special, stats

FloatArray = npt.NDArray[np.float64]
TransformName = Literal["identity", "logit", "rank_normal"]

ITEMS_IF_UNKNOWN = 100.0
"""Item count that the corrections of `LogitTransform` assume where none is declared."""


class Transform(Protocol):
    """A weakly increasing map of scores and its inverse, elementwise, NaN to NaN, any shape."""

    def forward(self, x: FloatArray) -> FloatArray:
        """Map native scores to the transformed scale."""
        ...

    def inverse(self, z: FloatArray) -> FloatArray:
        """Map transformed values back to native scores."""
        ...


@dataclass(frozen=True, slots=True)
class IdentityTransform:
    """The scores as they are."""

    def forward(self, x: FloatArray) -> FloatArray:
        """Return a copy."""
        return np.array(x, dtype=np.float64)

    def inverse(self, z: FloatArray) -> FloatArray:
        """Return a copy."""
        return np.array(z, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTransform:
    """Log odds of the share of the way from the floor to the ceiling, kept finite at both.

    With the floor c (the chance level, or the lower bound where none is declared) and the ceiling u,

        p = min(max((x - c) / (u - c), 0), 1),   z = log((p + a) / (1 - p + b)).

    Attributes
    ----------
    floor, upper : float
        c and u, in the units of the scores.
    floor_correction, ceiling_correction : float
        a and b, both positive.

    Notes
    -----
    `from_items` takes b = 1 / (2n), and a = max(1 / (2n), sqrt(q / ((1 - q) n))) with q = (c - lower) / (u - lower):
    one standard error of a guessing model, on the scale of p. Without a chance level this is the empirical logit
    log((k + 1/2) / (n - k + 1/2)) of k right answers out of n (Haldane 1956, Anscombe 1956). Above a chance level half
    an item would not do: a guessing model lands on either side of chance by some standard errors, and its logit would
    be an outlier decided by noise. A score below chance counts as chance. The inverse is exact on [c, u].
    """

    floor: float
    upper: float
    floor_correction: float
    ceiling_correction: float

    @classmethod
    def from_items(
        cls, *, lower: float, upper: float, chance: float = math.nan, n_items: float = math.nan
    ) -> LogitTransform:
        """Return the transform for a scale from `lower` to `upper`; NaN where chance level or item count is unknown."""
        n = n_items if math.isfinite(n_items) else ITEMS_IF_UNKNOWN
        floor = chance if math.isfinite(chance) else lower
        q = (floor - lower) / (upper - lower)
        half_item = 0.5 / n
        return cls(
            floor=floor,
            upper=upper,
            floor_correction=max(half_item, math.sqrt(q / ((1.0 - q) * n))),
            ceiling_correction=half_item,
        )

    def forward(self, x: FloatArray) -> FloatArray:
        """Return z; finite wherever x is."""
        p = np.clip((np.asarray(x, dtype=np.float64) - self.floor) / (self.upper - self.floor), 0.0, 1.0)
        z: FloatArray = np.log((p + self.floor_correction) / (1.0 - p + self.ceiling_correction))
        return z

    def inverse(self, z: FloatArray) -> FloatArray:
        """Return x, never outside [floor, upper]."""
        # (p + a) / (1 - p + b) = e^z  =>  p = s (1 + a + b) - a  with  s = 1 / (1 + e^-z)
        a, b = self.floor_correction, self.ceiling_correction
        p = np.clip(special.expit(np.asarray(z, dtype=np.float64)) * (1.0 + a + b) - a, 0.0, 1.0)
        x: FloatArray = self.floor + p * (self.upper - self.floor)
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RankNormalTransform:
    """Normal scores of the ranks among the observed values, by Blom's formula; linear between them, flat outside.

    Attributes
    ----------
    values, normals : array, shape (n_distinct,)
        The distinct observed scores, increasing, and their normal scores.
    """

    values: FloatArray = field(repr=False)
    normals: FloatArray = field(repr=False)

    @classmethod
    def from_scores(cls, x: FloatArray) -> RankNormalTransform:
        """Fit to observed scores of shape (n,), NaN left out; ties share their average rank.

        The normal score of rank r among n is the normal quantile of (r - 3/8) / (n + 1/4) (Blom 1958).
        """
        observed = x[~np.isnan(x)]
        values, places = np.unique(observed, return_index=True)
        ranks = stats.rankdata(observed, method="average")[places]
        normals = special.ndtri((ranks - 0.375) / (len(observed) + 0.25))
        return cls(values=values, normals=np.asarray(normals, dtype=np.float64))

    def forward(self, x: FloatArray) -> FloatArray:
        """Return normal scores; all NaN if there was no score to rank."""
        return _interpolate(x, self.values, self.normals)

    def inverse(self, z: FloatArray) -> FloatArray:
        """Return scores, never outside the observed range."""
        return _interpolate(z, self.normals, self.values)


def _interpolate(x: FloatArray, knots: FloatArray, heights: FloatArray) -> FloatArray:
    x = np.asarray(x, dtype=np.float64)
    if not len(knots):
        return np.full(x.shape, np.nan)
    return np.asarray(np.interp(x, knots, heights), dtype=np.float64)
