"""Posteriors of correlations on the scale of Fisher's z, free of their priors."""

from __future__ import annotations

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.specs import BetaPrior

NEARLY_ONE = 1 - 1e-9
LEAST_INFORMATION = 0.01
"""Least precision that the data are taken to have, as a share of the posterior's."""


def data_moments(rho: FloatArray, prior: BetaPrior) -> tuple[FloatArray, FloatArray]:
    """Return mean and sd of the normal in z = atanh(rho) that turns the prior into the posterior.

    A layer over many correlations must not take in the prior of each of them as well: it is divided out. With
    (rho + 1) / 2 ~ Beta(a, b) the log prior of z has slope a (1 - rho) - b (1 + rho) and curvature
    -(a + b) (1 - rho^2). Their posterior means are taken off those of the posterior, which is taken for normal.

    Parameters
    ----------
    rho : array, shape (n_benchmarks, n_draws)
        Posterior draws of the correlations.
    prior : BetaPrior
        Of (rho + 1) / 2.

    Returns
    -------
    mean, sd : arrays, shape (n_benchmarks,)
        Where a posterior is hardly narrower than the prior the sd is at most ten times the posterior's.
    """
    z = np.arctanh(np.clip(rho, -NEARLY_ONE, NEARLY_ONE))
    a, b = prior.alpha, prior.beta
    slope = (a * (1 - rho) - b * (1 + rho)).mean(axis=1)
    curvature = (a + b) * (1 - rho**2).mean(axis=1)
    after = 1 / z.var(axis=1)
    precision = np.maximum(after - curvature, LEAST_INFORMATION * after)
    return np.asarray(z.mean(axis=1) - slope / precision), np.asarray(1 / np.sqrt(precision))
