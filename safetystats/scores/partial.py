"""Partial correlation with one covariate held fixed, and how far that covariate is capability itself."""

from __future__ import annotations

import numpy as np

from safetystats.scores.weighted import CONSTANT, FloatArray


def weighted_pearson(first: FloatArray, second: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted product-moment correlation, draw by draw.

    Parameters
    ----------
    first, second : array, shape (n,) or (n_draws, n)
        Finite.
    weights : array, shape (n_draws, n)
        Non-negative, each row with a positive sum.

    Returns
    -------
    array, shape (n_draws,)
        NaN where either is constant.
    """
    shares = weights / weights.sum(axis=1, keepdims=True)
    a, b = (x - (shares * x).sum(axis=1, keepdims=True) for x in (first, second))
    variance = (shares * a**2).sum(axis=1) * (shares * b**2).sum(axis=1)
    scale = np.sqrt(np.where(variance > np.finfo(float).tiny, variance, np.nan))
    return np.asarray(np.clip((shares * a * b).sum(axis=1) / scale, -1.0, 1.0))


def partial_correlation(
    first: FloatArray, second: FloatArray, covariate: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return the correlation of two variables with a third held fixed (Yule 1907), draw by draw.

    It is the correlation of the residuals of both after linear regression on the covariate.

    Parameters
    ----------
    first, second, covariate : array, shape (n,) or (n_draws, n)
    weights : array, shape (n_draws, n)

    Returns
    -------
    array, shape (n_draws,)
        NaN where one is constant, or the covariate determines one of the others.

    References
    ----------
    Yule, G. U. (1907). On the theory of correlation for any number of variables. Proceedings of the Royal Society A 79.
    """
    r_12 = weighted_pearson(first, second, weights)
    r_13 = weighted_pearson(first, covariate, weights)
    r_23 = weighted_pearson(second, covariate, weights)
    left = np.minimum(1 - r_13**2, 1 - r_23**2)
    scale = np.sqrt(np.where(left > CONSTANT, (1 - r_13**2) * (1 - r_23**2), np.nan))
    return np.asarray(np.clip((r_12 - r_13 * r_23) / scale, -1.0, 1.0))


def variance_inflation(capability: FloatArray, covariate: FloatArray) -> float:
    """Return the variance inflation factor 1 / (1 - r^2) of capability beside one covariate.

    Parameters
    ----------
    capability, covariate : array, shape (n,)

    Returns
    -------
    float
        At least 1; infinite where one determines the other.

    References
    ----------
    Marquardt, D. W. (1970). Generalized inverses, ridge regression, biased linear estimation, and nonlinear estimation.
    Technometrics 12.
    """
    r = float(weighted_pearson(capability, covariate, np.ones((1, len(capability))))[0])
    return 1 / (1 - r**2) if 1 - r**2 > CONSTANT else float("inf")
