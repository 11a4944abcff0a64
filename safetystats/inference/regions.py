"""What draws of rho say of regions and ranks: functions of arrays, benchmarks side by side.

Draws of different benchmarks that stand in one row share their draw of capability (`safetystats.inference.cut`). Given
capability, what is left of the benchmarks is taken as independent: a rank, or a comparison of two benchmarks, carries
the uncertainty of capability that they have in common, and not what their residuals may have in common. Where several
are near copies, the others meet as many rivals as there are copies, although in truth these pass them together or not
at all: P(first) can be far off, for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]


class Regions(NamedTuple):
    """Posterior probabilities of three regions of rho, each of shape (n_limits, n_benchmarks).

    entangled: rho above the limit; inverse: rho below minus the limit; distinct: between. They sum to one up to draws
    that are exactly at a limit.
    """

    entangled: FloatArray
    inverse: FloatArray
    distinct: FloatArray


class Ranks(NamedTuple):
    """Posterior of the rank of every benchmark, each of shape (n_benchmarks,); rank 1 has the largest value.

    `top` is the probability of being among the `n_top` first, `first` that of being the first. Ties share both.
    """

    mean: FloatArray
    lower: FloatArray
    upper: FloatArray
    top: FloatArray
    first: FloatArray


class Quadrants(NamedTuple):
    """Probabilities of the four combinations of correlation and slope, each of shape (n_benchmarks,).

    High is |rho| above its limit, large is |slope| above the smallest effect of interest. They sum to one; all are NaN
    where there is no smallest effect or no slope.
    """

    high_large: FloatArray
    high_small: FloatArray
    low_large: FloatArray
    low_small: FloatArray


def region_probabilities(rho: FloatArray, limits: Sequence[float]) -> Regions:
    """Return how probable it is that rho lies above, below, and within each limit.

    Parameters
    ----------
    rho : array, shape (n_draws, n_benchmarks)
    limits : sequence of float
        In (0, 1).

    References
    ----------
    Kruschke (2018), rejecting or accepting parameter values in Bayesian estimation, Adv. Methods Pract. Psychol.
    Sci. 1.
    """
    return Regions(
        entangled=np.array([(rho > limit).mean(axis=0) for limit in limits]),
        inverse=np.array([(rho < -limit).mean(axis=0) for limit in limits]),
        distinct=np.array([(np.abs(rho) < limit).mean(axis=0) for limit in limits]),
    )


def posterior_ranks(values: FloatArray, level: float, n_top: int) -> Ranks:
    """Return the posterior of the rank of every benchmark among all, the largest value first.

    Parameters
    ----------
    values : array, shape (n_draws, n_benchmarks)
        Draws of rho, or of its absolute value; rows share their draw of capability.
    level : float
        Coverage of the equal-tailed interval.
    n_top : int
        How many ranks count as the top.

    References
    ----------
    Goldstein and Spiegelhalter (1996), league tables and their limitations, J. R. Stat. Soc. A 159.
    """
    ranks = stats.rankdata(-values, method="average", axis=1)
    lower, upper = np.quantile(ranks, ((1 - level) / 2, (1 + level) / 2), axis=0, method="inverted_cdf")
    best = ranks == ranks.min(axis=1, keepdims=True)
    return Ranks(
        mean=ranks.mean(axis=0),
        lower=np.asarray(lower),
        upper=np.asarray(upper),
        top=(ranks <= n_top).mean(axis=0),
        first=(best / best.sum(axis=1, keepdims=True)).mean(axis=0),
    )


def p_greater(first: FloatArray, second: FloatArray) -> float:
    """Return the probability that the first of two quantities is the larger one; ties count half.

    Parameters
    ----------
    first, second : array, shape (n_draws,)
        Draws that share their draws of capability.
    """
    return float((first > second).mean() + 0.5 * (first == second).mean())


def quadrant_probabilities(rho: FloatArray, slope: FloatArray, limit: float, smallest: FloatArray) -> Quadrants:
    """Return how probable each combination of a high correlation and a large slope is.

    Parameters
    ----------
    rho : array, shape (n_draws, n_benchmarks)
    slope : array, shape (n_draws, n_benchmarks)
        Change of the score per sd of capability, in its own unit; NaN where there is none.
    limit : float
        Absolute correlation above which it is high.
    smallest : array, shape (n_benchmarks,)
        Smallest effect of interest in the unit of the score; NaN where none is stated.
    """
    known = np.isfinite(slope).all(axis=0) & np.isfinite(smallest)
    high, large = np.abs(rho) > limit, np.abs(slope) > np.where(known, smallest, np.inf)

    def share(where: npt.NDArray[np.bool_]) -> FloatArray:
        return np.where(known, where.mean(axis=0), np.nan)

    return Quadrants(
        high_large=share(high & large),
        high_small=share(high & ~large),
        low_large=share(~high & large),
        low_small=share(~high & ~large),
    )


def share_at_bounds(
    scores: FloatArray, lower: FloatArray, upper: FloatArray, margin: float
) -> tuple[FloatArray, FloatArray]:
    """Return the shares of models at the floor and at the ceiling of every benchmark, each of shape (n_benchmarks,).

    Parameters
    ----------
    scores : array, shape (n_models, n_benchmarks)
        In the unit of the benchmark, NaN where missing.
    lower, upper : array, shape (n_benchmarks,)
        Bounds of the score; NaN or infinite where there is none.
    margin : float
        Share of the range within which a score counts as being at the bound.

    Returns
    -------
    floor, ceiling : array
        NaN where a benchmark is not bounded on both sides, or has no score.
    """
    span, count = upper - lower, np.isfinite(scores).sum(axis=0)
    known = np.isfinite(span) & (count > 0)
    with np.errstate(invalid="ignore"):
        below = (scores <= lower + margin * span).sum(axis=0)
        above = (scores >= upper - margin * span).sum(axis=0)
    n = np.maximum(count, 1)
    return np.where(known, below / n, np.nan), np.where(known, above / n, np.nan)
