"""Draws of capability where it was integrated out: exact, from its conditional distribution given the parameters."""

from __future__ import annotations

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.inference.parameters import FactorData, FactorDraws


def draw_capability(draws: FactorDraws, data: FactorData, rng: np.random.Generator) -> FloatArray:
    """Draw theta given parameters and complete data, one for every draw of the parameters.

    In Helmert contrasts inside each family the rows are independent: for a contrast the precision of theta is
    1 / t + sum_b l_b^2 / d_b with t = 1 - omega, d = (1 - kappa) v and slopes l = s rho; for sqrt(n_f) times the mean
    of family f it is the same with t = 1 - omega + n_f omega and d = (1 - kappa) v + n_f kappa v. Contrasts need not be
    written out: deviations from the family mean have the same distribution.

    Parameters
    ----------
    draws : FactorDraws
        One factor.
    data : FactorData
        Without missing cells and without known sampling error.
    rng : Generator

    Returns
    -------
    array, shape (n_draws, n_models)
    """
    if not data.complete or data.noise.any() or draws.further.shape[-1]:
        raise ValueError("needs complete data, no known sampling error and one factor")
    families = np.unique(data.families, return_inverse=True)[1]
    counts = np.bincount(families).astype(np.float64)
    members = (families[:, None] == np.arange(len(counts))) / counts  # (n, F)
    means = members.T @ data.values  # (F, k)
    slope, within = draws.total_sd * draws.rho, (1 - draws.icc) * draws.unique
    weight = slope / within
    omega = draws.capability_icc
    variance_inside = 1 / (1 / (1 - omega) + (slope * weight).sum(1))  # (T,)
    noise = rng.standard_normal((draws.n_draws, len(families)))
    inside = (data.values - means[families]) @ weight.T * variance_inside  # (n, T)
    deviation = inside.T + (noise - (noise @ members)[:, families]) * np.sqrt(variance_inside)[:, None]
    level = np.empty((draws.n_draws, len(counts)))
    for f, n_f in enumerate(counts):
        variance = within + n_f * draws.icc * draws.unique
        information = 1 / (1 - omega + n_f * omega) + (slope**2 / variance).sum(1)
        centre = np.sqrt(n_f) * ((means[f] - draws.intercept) * slope / variance).sum(1) / information
        level[:, f] = (centre + rng.standard_normal(draws.n_draws) / np.sqrt(information)) / np.sqrt(n_f)
    return np.asarray(level[:, families] + deviation)
