r"""Posterior of a benchmark's correlation for thousands of sets of models at once, by approximation.

Given capability theta and the residual intraclass correlation kappa, the regression of a benchmark on theta depends on
the models only through sums, over all models and over each family (`safetystats.inference.cut`). A set of models is a
row of zeros and ones, so that the sums of all sets are products of matrices. What is left is one regression per set,
draw of theta and cell of kappa, and this is where the approximation is. Under the base prior of the cut,

    z = artanh(rho) = arsinh(beta / sqrt(v)),   v ~ inverse gamma,   beta | v normal,   alpha | beta, v normal,

so z, log s and alpha are smooth functions of three independent variates; they are taken as jointly normal with the
moments of the delta method (z is what Fisher's transformation makes of a correlation, so that it nearly is). The stated
priors of s (log-normal) and alpha (normal) are then two observations of a normal vector, and that of rho, a beta
density, one step of Newton's method in z. Sets are ranked by this; what is stated of a set is drawn by `cut_posterior`.

References
----------
Fisher, R. A. (1921). On the "probable error" of a coefficient of correlation. Metron 1. (The transformation.)
Tierney, L. and Kadane, J. B. (1986). Accurate approximations for posterior moments. J. Am. Stat. Assoc. 81.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.cut import MIN_MODELS, icc_grid
from safetystats.specs import FactorPriors

CELLS = 8
"""Cells of the grid of kappa."""
SETS_AT_ONCE = 400
"""Sets held in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetPosteriors:
    """Approximate posteriors, one per set of models and benchmark; arrays have shape (n_sets, n_benchmarks).

    Attributes
    ----------
    mean : array
        Of rho.
    p_entangled, p_inverse : array
        Probabilities of rho above the limit, and below minus the limit.
    """

    mean: FloatArray
    p_entangled: FloatArray
    p_inverse: FloatArray

    @property
    def p_distinct(self) -> FloatArray:
        """Probability of |rho| below the limit."""
        return np.asarray(1.0 - self.p_entangled - self.p_inverse)


class _Grid(NamedTuple):
    icc: FloatArray
    log_mass: FloatArray


class _Sums(NamedTuple):
    """Generalised sums a' R^-1 b over the models of a set; G cells, B benchmarks, S sets."""

    n: FloatArray  # (S,)
    ones: FloatArray  # (G, 1, S)
    ones_theta: FloatArray  # (G, 1, S)
    theta_theta: FloatArray  # (G, 1, S)
    ones_y: FloatArray  # (G, B, S)
    theta_y: FloatArray  # (G, B, S)
    y_y: FloatArray  # (G, B, S)


def set_posteriors(
    scores: FloatArray,
    theta: FloatArray,
    families: IntArray,
    kept: FloatArray,
    priors: FactorPriors,
    limit: float,
    families_matter: bool = True,
) -> SetPosteriors:
    """Return approximate cut posteriors of benchmarks given only the models of each set.

    Parameters
    ----------
    scores : array, shape (n_models, n_benchmarks)
        Without a missing cell: benchmarks scored by the same models, and those models only.
    theta : array, shape (n_draws, n_models)
        Draws of capability; they are not changed by leaving a model's score out.
    families : array of int, shape (n_models,)
    kept : array, shape (n_sets, n_models)
        One for a model of the set, zero for one left out.
    priors : FactorPriors
    limit : float
        Limit of the region of practical equivalence.
    families_matter : bool
        False: kappa is 0.

    Returns
    -------
    SetPosteriors
        NaN for a set of fewer than `MIN_MODELS` models.
    """
    grid, log_mass = icc_grid(priors, CELLS) if families_matter else (np.zeros(1), np.zeros(1))
    found = np.full((3, len(kept), scores.shape[1]), np.nan)
    enough = np.flatnonzero(kept.sum(axis=1) >= MIN_MODELS)
    for start in range(0, len(enough), SETS_AT_ONCE):
        rows = enough[start : start + SETS_AT_ONCE]
        made = _averaged(scores, theta, families, kept[rows], _Grid(grid, log_mass), priors, limit)
        found[:, rows] = made.transpose(0, 2, 1)
    return SetPosteriors(mean=found[0], p_entangled=found[1], p_inverse=found[2])


def _averaged(
    scores: FloatArray,
    theta: FloatArray,
    families: IntArray,
    kept: FloatArray,
    grid: _Grid,
    priors: FactorPriors,
    limit: float,
) -> FloatArray:
    """Return mean, P(entangled) and P(inverse), averaged over draws of theta, shape (3, B, S)."""
    members = (families[:, None] == np.unique(families)).astype(np.float64)  # (n, F)
    counts = kept @ members  # (S, F)
    within = (1 - grid.icc)[:, None]  # (G, 1)
    weight = grid.icc[:, None, None] / (within[..., None] + counts * grid.icc[:, None, None])  # (G, S, F)
    log_det = (
        (counts - 1) * np.log(within[..., None]) + np.log(within[..., None] + counts * grid.icc[:, None, None])
    ).sum(-1)
    y_sums = (kept[None] * scores.T[:, None, :]) @ members  # (B, S, F)
    weighted_counts = weight * counts
    ones = ((counts.sum(-1) - (weighted_counts * counts).sum(-1)) / within)[:, None]
    ones_y = ((kept @ scores).T - np.einsum("gsf,bsf->gbs", weighted_counts, y_sums)) / within[..., None]
    y_y = ((kept @ scores**2).T - np.einsum("gsf,bsf->gbs", weight, y_sums**2)) / within[..., None]
    base = (grid.log_mass[:, None] - 0.5 * log_det)[:, None]
    total = np.zeros((3, scores.shape[1], len(kept)))
    for drawn in theta:
        sums = (kept * drawn) @ members  # (S, F)
        weighted = weight * sums
        moments = _Sums(
            n=kept.sum(axis=1),
            ones=ones,
            ones_theta=((sums.sum(-1) - (weighted_counts * sums).sum(-1)) / within)[:, None],
            theta_theta=((kept @ drawn**2 - (weighted * sums).sum(-1)) / within)[:, None],
            ones_y=ones_y,
            theta_y=((kept @ (drawn[:, None] * scores)).T - np.einsum("gsf,bsf->gbs", weighted, y_sums))
            / within[..., None],
            y_y=y_y,
        )
        total += _of_one_draw(moments, base, priors, limit)
    return total / len(theta)


def _of_one_draw(sums: _Sums, base: FloatArray, priors: FactorPriors, limit: float) -> FloatArray:
    """Return mean, P(entangled) and P(inverse) with kappa averaged over, shape (3, B, S)."""
    freedom = sums.n - 2
    det = sums.ones * sums.theta_theta - sums.ones_theta**2
    slope = (sums.ones * sums.theta_y - sums.ones_theta * sums.ones_y) / det
    intercept = (sums.ones_y - sums.ones_theta * slope) / sums.ones
    rss = np.maximum(
        sums.y_y - intercept * sums.ones_y - slope * sums.theta_y, np.finfo(float).eps * np.maximum(sums.y_y, 1.0)
    )
    log_weight = base - 0.5 * np.log(det) - 0.5 * freedom * np.log(rss)
    middle, spread, log_prior = _normal_z(sums, slope, intercept, rss, priors)
    log_weight = log_weight + log_prior
    share = np.exp(log_weight - log_weight.max(axis=0))
    share /= share.sum(axis=0)
    edge, rho = np.arctanh(limit), np.tanh(middle)
    mean = rho * (1 - (1 - rho**2) * spread**2)
    values = (mean, special.ndtr((middle - edge) / spread), special.ndtr((-edge - middle) / spread))
    return np.stack([(share * value).sum(axis=0) for value in values])


def _normal_z(
    sums: _Sums, slope: FloatArray, intercept: FloatArray, rss: FloatArray, priors: FactorPriors
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean and sd of z = artanh(rho) under the stated priors, and log of what they add to the evidence."""
    half = (sums.n - 2) / 2
    log_v = np.log(rss / 2) - special.digamma(half)  # posterior mean of log v
    var_u = special.polygamma(1, half) / 4  # variance of u = log(v) / 2
    c = sums.ones / (sums.ones * sums.theta_theta - sums.ones_theta**2)  # var(beta) / v
    root_v = np.exp(log_v / 2)
    delta = slope / root_v
    rho = delta / np.sqrt(1 + delta**2)
    rest = 1 - rho**2
    # To first order z = z0 - rho u + sqrt(rest c) e, log s = l0 + rest u + rho sqrt(rest c) e and
    # alpha = a - h sqrt(v c) e + ...; the means are taken to second order.
    h = sums.ones_theta / sums.ones
    z = np.arcsinh(delta) + 0.5 * rho * rest * (var_u - c)
    log_s = log_v / 2 + 0.5 * np.log1p(delta**2) + rest * (rho**2 * var_u + (0.5 - rho**2) * c)
    across = -h * c * root_v * np.sqrt(rest)
    z_z, z_s = rho**2 * var_u + rest * c, rho * rest * (c - var_u)
    s_s, s_a = rest**2 * var_u + rho**2 * rest * c, rho * across
    a_a = root_v**2 * (h**2 * c + 1 / sums.ones)
    # The priors of log s, whose density has 1 / s beside the normal one, and of alpha as two observations.
    sd, mean = priors.total_sd, priors.intercept
    gap_s, gap_a = sd.mu - sd.sigma**2 - log_s, mean.mu - intercept
    s_s, a_a = s_s + sd.sigma**2, a_a + mean.sigma**2
    det = s_s * a_a - s_a**2
    by_s, by_a = (z_s * a_a - across * s_a) / det, (across * s_s - z_s * s_a) / det
    middle = z + by_s * gap_s + by_a * gap_a
    variance = z_z - by_s * z_s - by_a * across
    log_prior = -0.5 * np.log(det) - 0.5 * (a_a * gap_s**2 - 2 * s_a * gap_s * gap_a + s_s * gap_a**2) / det
    # The prior of rho and the Jacobian of the base prior: (1 + rho)^a (1 - rho)^b in z.
    a, b = priors.loading.alpha, priors.loading.beta
    at = np.tanh(middle)
    steep, bend = a * (1 - at) - b * (1 + at), (a + b) * (1 - at**2)
    tilted = 1 / (1 / variance + bend)
    log_prior = (
        log_prior + a * np.log1p(at) + b * np.log1p(-at) + 0.5 * steep**2 * tilted + 0.5 * np.log(tilted / variance)
    )
    return middle + steep * tilted, np.sqrt(tilted), log_prior
