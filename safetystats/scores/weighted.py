"""Rank statistics under weights on models: the one kernel behind points, bootstraps and jackknives.

A bootstrap resample is a vector of whole-number weights, a jackknife sample one with a zero, a Bayesian-bootstrap draw
one from a Dirichlet distribution. So everything here takes `weights` of shape (n_draws, n_models), and a plain estimate
is the case of a single row of ones. With whole-number weights every function equals its unweighted form on repeated
rows.

Letters in shapes: D draws, n models, B benchmarks. A weight of zero takes a model out of that draw.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Correlation = Literal["spearman", "kendall", "pearson"]
CORRELATIONS: tuple[str, ...] = get_args(Correlation)

# All variances below are of quantities scaled to order one; one below this bound is that of a constant column, since
# rounding in sums of at most some hundred such terms stays below 1e-13.
CONSTANT = 1e-12


def weighted_grades(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return mid-ranks under weights as shares of the total weight, centred at zero.

    The grade of model i is the share of weight on the models below it plus half the share on those tied with it, itself
    included, less one half. With unit weights that is (mid-rank - (n + 1) / 2) / n. Its weighted mean is zero whatever
    the ties.

    Parameters
    ----------
    values : array, shape (n, B)
        Scores common to all draws, without NaN where a weight is positive.
    weights : array, shape (D, n)
        Non-negative, each row with a positive sum.

    Returns
    -------
    array, shape (D, n, B)
        Between -1/2 and 1/2.
    """
    below = (values[:, None, :] > values[None, :, :]) + 0.5 * (values[:, None, :] == values[None, :, :])
    return np.asarray(np.tensordot(_shares(weights), below, axes=(1, 1)) - 0.5, dtype=np.float64)


def weighted_grades_per_draw(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the grades of a score that differs from draw to draw.

    Parameters
    ----------
    values, weights : array, shape (D, n)

    Returns
    -------
    array, shape (D, n)
        As in `weighted_grades`.
    """
    below = (values[:, :, None] > values[:, None, :]) + 0.5 * (values[:, :, None] == values[:, None, :])
    return np.asarray((below @ _shares(weights)[:, :, None])[:, :, 0] - 0.5, dtype=np.float64)


def weighted_z(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return z-scores (ddof 0) of all models, with mean and standard deviation taken under the weights.

    Parameters
    ----------
    values : array, shape (n, B)
        NaN cells take no part in the mean and standard deviation and stay NaN.
    weights : array, shape (D, n)

    Returns
    -------
    array, shape (D, n, B)
        Standard deviations; NaN throughout a column that is constant in that draw.
    """
    seen = np.isfinite(values)
    centre = np.where(seen, values, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    shifted = np.where(seen, values - centre, 0.0)
    extent = np.abs(shifted).max(axis=0)
    scaled = shifted / np.where(extent > 0, extent, 1.0)
    total = weights @ seen.astype(np.float64)
    total = np.where(total > 0, total, np.nan)
    mean = (weights @ scaled) / total
    variance = (weights @ scaled**2) / total - mean**2
    spread = np.sqrt(np.where(variance > CONSTANT, variance, np.nan))
    z = (scaled[None, :, :] - mean[:, None, :]) / spread[:, None, :]
    return np.asarray(np.where(seen[None, :, :], z, np.nan), dtype=np.float64)


def correlation_matrix(deviations: FloatArray, weights: FloatArray) -> FloatArray:
    """Return weighted correlation matrices from deviations (z-scores, or centred grades).

    Parameters
    ----------
    deviations : array, shape (D, n, k)
        Centred under the weights, of order one; finite where the weight is positive, else ignored.
    weights : array, shape (D, n)

    Returns
    -------
    array, shape (D, k, k)
        Symmetric, ones on the diagonal; NaN in the rows of a column that is constant in that draw.
    """
    rooted = np.where(weights[:, :, None] > 0, deviations, 0.0) * np.sqrt(_shares(weights))[:, :, None]
    cross = np.swapaxes(rooted, 1, 2) @ rooted
    variance = np.diagonal(cross, axis1=1, axis2=2)
    spread = np.sqrt(np.where(variance > CONSTANT, variance, np.nan))
    return np.asarray(np.clip(cross / (spread[:, :, None] * spread[:, None, :]), -1.0, 1.0), dtype=np.float64)


def weighted_correlations(
    score: FloatArray, values: FloatArray, weights: FloatArray, correlation: Correlation
) -> FloatArray:
    """Return the weighted correlation of a score with every benchmark, in every draw.

    Parameters
    ----------
    score : array, shape (D, n)
        One score per draw (repeat it for a fixed score). NaN for a model without a score.
    values : array, shape (n, B)
        NaN where a model has no value. A correlation uses the models that have both, and ranks are taken among those.
    weights : array, shape (D, n)
        Non-negative.
    correlation : {"spearman", "kendall", "pearson"}
        Spearman: Pearson correlation of weighted mid-ranks. Kendall: tau-b with each pair of models weighted by the
        product of their weights (ties corrected, Kendall 1945). Pearson: the weighted product moment.

    Returns
    -------
    array, shape (D, B)
        NaN where score or benchmark is constant among the models with positive weight.
    """
    compute = {"spearman": _spearman, "kendall": _kendall, "pearson": _pearson}[correlation]
    known = np.isfinite(score).any(axis=0)
    both = np.isfinite(values) & known[:, None]
    result = np.full((weights.shape[0], values.shape[1]), np.nan)
    patterns, member = np.unique(both, axis=1, return_inverse=True)
    for index, pattern in enumerate(patterns.T):
        columns = np.flatnonzero(np.ravel(member) == index)
        usable = np.isfinite(score[:, pattern]).all(axis=1) & (weights[:, pattern].sum(axis=1) > 0)
        if pattern.any() and usable.any():
            block = np.ix_(pattern, columns)
            shares = _shares(weights[np.ix_(usable, pattern)])
            result[np.ix_(usable, columns)] = compute(score[np.ix_(usable, pattern)], values[block], shares)
    return result


def _shares(weights: FloatArray) -> FloatArray:
    """Return weights divided by their sum in each draw, shape (D, n)."""
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _ratio(covariance: FloatArray, variance_a: FloatArray, variance_b: FloatArray) -> FloatArray:
    """Return covariance / sqrt(variances), NaN where either variance is nought but for rounding; shape (D, B)."""
    defined = (variance_a > CONSTANT) & (variance_b > CONSTANT)
    product = np.where(defined, variance_a * variance_b, np.nan)
    return np.asarray(np.clip(covariance / np.sqrt(product), -1.0, 1.0), dtype=np.float64)


def _product_moment(a: FloatArray, b: FloatArray, shares: FloatArray) -> FloatArray:
    """Return correlations (D, B) of centred deviations a (D, n) and b (D, n, B)."""
    weighted_a = shares * a
    covariance = (weighted_a[:, None, :] @ b)[:, 0, :]
    variance_b = (shares[:, None, :] @ b**2)[:, 0, :]
    return _ratio(covariance, (weighted_a * a).sum(axis=1)[:, None], variance_b)


def _spearman(score: FloatArray, values: FloatArray, shares: FloatArray) -> FloatArray:
    return _product_moment(weighted_grades_per_draw(score, shares), weighted_grades(values, shares), shares)


def _pearson(score: FloatArray, values: FloatArray, shares: FloatArray) -> FloatArray:
    middle = score - (shares * score).sum(axis=1, keepdims=True)
    extent = np.abs(middle).max(axis=1, keepdims=True)
    base = values - values.mean(axis=0)
    base = base / np.where(np.abs(base).max(axis=0) > 0, np.abs(base).max(axis=0), 1.0)
    deviations = base[None, :, :] - (shares @ base)[:, None, :]
    return _product_moment(middle / np.where(extent > 0, extent, 1.0), deviations, shares)


def _kendall(score: FloatArray, values: FloatArray, shares: FloatArray) -> FloatArray:
    first, second = np.triu_indices(score.shape[1], k=1)
    pair_weights = shares[:, first] * shares[:, second]
    order_a = np.sign(score[:, first] - score[:, second])
    order_b = np.sign(values[first] - values[second])
    covariance = (pair_weights * order_a) @ order_b
    variance_a = (pair_weights * order_a**2).sum(axis=1)[:, None]
    return _ratio(covariance, variance_a, pair_weights @ order_b**2)
