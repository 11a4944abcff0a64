"""Closed-form capabilities correlations under many choices at once: how families are handled, and which coefficient.

A specification is one way to compute the correlation of a benchmark with capability. Here are the numbers for many
capability scores and many benchmarks together; which specifications there are is decided above.

How families are handled:

`none`     every model counts, as if models were independent
`means`    one point per family, the means of its models
`within`   deviations from the family means, in families of two or more
`capable`  one model per family, the one with the highest capability score

Estimates of Kendall's tau are given as the correlation of a bivariate normal with that tau, sin(pi tau / 2) (Kruskal
1958); Spearman's and Pearson's coefficients as they are.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from safetystats.scores.weighted import BoolArray, Correlation, FloatArray, weighted_correlations

IntArray = npt.NDArray[np.int64]
Handling = Literal["none", "means", "within", "capable"]
HANDLINGS: tuple[Handling, ...] = get_args(Handling)
FEWEST = 5
"""Fewest independent points for a correlation: models, families, or models less what family means take."""
TIED = 1e-9
"""Differences of family means, and of deviations from them, below this share of the range are rounding."""


class Estimates(NamedTuple):
    """Correlations of D capability scores with B benchmarks, arrays of shape (D, B).

    `value` is the coefficient itself (tau for Kendall's), `points` the number of independent points that its standard
    error goes by; NaN and 0 where there is no correlation.
    """

    value: FloatArray
    points: FloatArray


class Region(NamedTuple):
    """What an estimate says of a limit t: P(rho > t), P(rho < -t), P(|rho| < t), its interval; arrays of one shape."""

    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_entangled: FloatArray
    p_inverse: FloatArray
    p_distinct: FloatArray


def handled_correlations(
    score: FloatArray,
    values: FloatArray,
    families: IntArray,
    handling: Handling,
    coefficients: tuple[Correlation, ...],
) -> dict[Correlation, Estimates]:
    """Return the correlations of many capability scores with many benchmarks.

    Parameters
    ----------
    score : array, shape (D, n)
        Capability scores, one per row; NaN for a model without one.
    values : array, shape (n, B)
        Aligned scores on the benchmarks; NaN where missing.
    families : array of int, shape (n,)
        Family codes.
    handling : {"none", "means", "within", "capable"}
    coefficients : tuple of {"spearman", "kendall", "pearson"}

    Returns
    -------
    dict
        `Estimates` by coefficient, over the models that have both a capability score and a score on the benchmark.
    """
    shape = (len(score), values.shape[1])
    found: dict[Correlation, Estimates] = {
        name: Estimates(np.full(shape, np.nan), np.zeros(shape)) for name in coefficients
    }
    for rows, known in _patterns(np.isfinite(score)):
        for columns, seen in _patterns(np.isfinite(values).T):
            both = known & seen
            if both.sum() < FEWEST:
                continue
            block = np.ix_(rows, columns)
            points, columns_of, weights, count = _points(
                score[np.ix_(rows, np.flatnonzero(both))], values[np.ix_(np.flatnonzero(both), columns)],
                families[both], handling,
            )  # fmt: skip
            if count < FEWEST:
                continue
            for name in coefficients:
                value = weighted_correlations(points, columns_of, weights, name)
                found[name].value[block] = value
                found[name].points[block] = np.where(np.isfinite(value), count, 0)
    return found


def region(estimates: Estimates, coefficient: Correlation, limit: float, level: float) -> Region:
    """Return intervals and probabilities of the regions of a verdict, by the normal distribution of Fisher's z.

    Squared standard errors of z: Spearman (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000), Kendall 0.437 / (n - 4)
    (Fieller, Hartley and Pearson 1957), Pearson 1 / (n - 3) (Fisher 1921), n the count. The probabilities are those of
    a flat prior of z: "entangled" with probability 0.95 is a one-sided interval of 95 % that lies above the limit.
    NaN where the count is too small or the coefficient is -1 or 1.
    """
    value, count = estimates
    lost = 4 if coefficient == "kendall" else 3
    usable = np.isfinite(value) & (np.abs(value) < 1) & (count > lost)
    r = np.where(usable, value, 0.0)
    numerator = {"spearman": 1 + r**2 / 2, "kendall": np.full_like(r, 0.437), "pearson": np.ones_like(r)}[coefficient]
    error = np.sqrt(numerator / np.where(usable, count - lost, 1.0))
    z, reach = np.arctanh(r), stats.norm.ppf(0.5 + level / 2) * error

    def correlation(tau: FloatArray) -> FloatArray:
        return np.asarray(np.sin(np.pi * tau / 2) if coefficient == "kendall" else tau)

    edge = np.arctanh(2 / np.pi * np.arcsin(limit) if coefficient == "kendall" else limit)
    above, below = stats.norm.sf((edge - z) / error), stats.norm.cdf((-edge - z) / error)

    def given(values: FloatArray) -> FloatArray:
        return np.where(usable, values, np.nan)

    return Region(
        estimate=correlation(value),
        lower=given(correlation(np.tanh(z - reach))),
        upper=given(correlation(np.tanh(z + reach))),
        p_entangled=given(above),
        p_inverse=given(below),
        p_distinct=given(1 - above - below),
    )


def variance_shares(values: FloatArray, levels: IntArray, weights: FloatArray | None = None) -> FloatArray:
    """Return the share of the variance of each row that lies between the levels of a choice (eta squared).

    Parameters
    ----------
    values : array, shape (B, S)
        NaN where there is none.
    levels : array of int, shape (S,)
        Level of the choice in each column.
    weights : array, shape (S,), optional
        Weight of each column; all alike unless given.

    Returns
    -------
    array, shape (B,)
        One-way: choices that are not crossed with all others share what they have in common. NaN without variance.
    """
    seen = np.isfinite(values) * (np.ones(values.shape[1]) if weights is None else weights)
    members = (levels[:, None] == np.unique(levels)).astype(np.float64)  # (S, L)
    count = seen @ members
    known = np.where(seen > 0, values, 0.0)
    sizes = seen.sum(axis=1, keepdims=True)
    mean = (seen * known).sum(axis=1, keepdims=True) / np.where(sizes > 0, sizes, 1.0)
    centred = np.where(seen > 0, known - mean, 0.0)
    between = (((seen * centred) @ members) ** 2 / np.where(count > 0, count, 1.0)).sum(axis=1)
    whole = (seen * centred**2).sum(axis=1)
    return np.asarray(np.divide(between, whole, out=np.full(len(values), np.nan), where=whole > 0))


def _patterns(finite: BoolArray) -> list[tuple[IntArray, BoolArray]]:
    """Return (rows, pattern) for every distinct pattern among the rows of a boolean array."""
    patterns, member = np.unique(finite, axis=0, return_inverse=True)
    return [(np.flatnonzero(np.ravel(member) == i), pattern) for i, pattern in enumerate(patterns)]


def _points(
    score: FloatArray, values: FloatArray, families: IntArray, handling: Handling
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Return scores (D, m), values (m, B) and weights (D, m) of the points, and how many independent ones there are."""
    codes = np.unique(families, return_inverse=True)[1]
    counts = np.bincount(codes)
    ones = np.ones_like(score)
    if handling == "none":
        return score, values, ones, score.shape[1]
    if handling == "capable":
        weights = np.zeros_like(score)
        for code in range(len(counts)):
            own = np.flatnonzero(codes == code)
            weights[np.arange(len(score)), own[score[:, own].argmax(axis=1)]] = 1.0
        return score, values, weights, len(counts)
    share = (codes == np.arange(len(counts))[:, None]) / counts[:, None]  # (F, n)
    score_means, value_means = score @ share.T, share @ values
    extent, width = np.ptp(score, axis=1, keepdims=True), np.ptp(values, axis=0)
    if handling == "means":
        return _settled(score_means, extent), _settled(value_means, width), np.ones_like(score_means), len(counts)
    several = counts[codes] > 1
    n_families = int((counts > 1).sum())
    inner = _settled((score - score_means[:, codes])[:, several], extent)
    outer = _settled((values - value_means[codes])[several], width)
    return inner, outer, ones[:, several], int(several.sum()) - n_families + 1


def _settled(values: FloatArray, extent: FloatArray) -> FloatArray:
    """Return values rounded to `TIED` of the extent, so that what is tied in exact arithmetic is tied."""
    unit = np.where(extent > 0, extent, 1.0) * TIED
    return np.asarray(np.round(values / unit) * unit)
