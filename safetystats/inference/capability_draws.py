"""Draws of capability where it was integrated out: exact, from its conditional distribution given the parameters."""

from __future__ import annotations

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.inference.parameters import FactorData, FactorDraws


def draw_capability(
    draws: FactorDraws, data: FactorData, rng: np.random.Generator, missing: FloatArray | None = None
) -> FloatArray:
    """Draw theta given parameters and scores, one for every draw of the parameters.

    In Helmert contrasts inside each family the rows are independent: in a contrast the factors have precision
    diag(1 / t) + L' D^-1 L with loadings L, t = 1 - omega for theta and one for others, and D = (1 - kappa) v; for
    sqrt(n_f) times the mean of family f it is the same with t = 1 - omega + n_f omega and D = (1 - kappa) v + n_f kappa
    v. Contrasts need not be written out: deviations from the family mean have the same distribution.

    Parameters
    ----------
    draws : FactorDraws
    data : FactorData
        Without known sampling error.
    rng : Generator
    missing : array, shape (n_draws, n_missing), or None
        Draws of the missing cells, row by row.

    Returns
    -------
    array, shape (n_draws, n_models)
    """
    if (missing is None and not data.complete) or data.noise.any():
        raise ValueError("needs complete data, or draws of what is missing, and no known sampling error")
    values = data.values[None]
    if missing is not None:
        values = np.repeat(values, draws.n_draws, axis=0)
        values[:, ~np.isfinite(data.values)] = missing
    families = np.unique(data.families, return_inverse=True)[1]
    counts = np.bincount(families).astype(np.float64)
    members = (families[:, None] == np.arange(len(counts))) / counts  # (n, F)
    means = members.T @ values  # (1 or T, F, k)
    loadings, within, omega = draws.loadings, (1 - draws.icc) * draws.unique, draws.capability_icc
    noise = rng.standard_normal((draws.n_draws, len(families)))
    weight, variance_inside = _regression(loadings, within, 1 - omega)
    inside = ((values - means[:, families]) @ weight[..., None])[..., 0]  # (T, n)
    deviation = inside + (noise - (noise @ members)[:, families]) * np.sqrt(variance_inside)[:, None]
    level = np.empty((draws.n_draws, len(counts)))
    for f, n_f in enumerate(counts):
        weight, variance = _regression(loadings, within + n_f * draws.icc * draws.unique, 1 - omega + n_f * omega)
        centre = np.sqrt(n_f) * ((means[:, f] - draws.intercept) * weight).sum(1)
        level[:, f] = (centre + rng.standard_normal(draws.n_draws) * np.sqrt(variance)) / np.sqrt(n_f)
    return np.asarray(level[:, families] + deviation)


def _regression(loadings: FloatArray, unique: FloatArray, spread: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weights of a row's scores in the mean of theta, shape (T, k), and its variance, shape (T,).

    Given the row, factors are normal with precision diag(1 / t) + L' D^-1 L, where t is `spread` for theta and one for
    the others, L are the loadings (T, k, K) and D the unique variances (T, k).
    """
    weighted = loadings / unique[..., None]
    precision = np.swapaxes(loadings, 1, 2) @ weighted
    diagonal = np.arange(precision.shape[1])
    precision[:, diagonal, diagonal] += np.column_stack([1 / spread, np.ones((len(spread), len(diagonal) - 1))])
    first = np.linalg.inv(precision)[:, 0]  # (T, K): covariance of theta with all factors
    return np.asarray((weighted @ first[..., None])[..., 0]), first[:, 0]
