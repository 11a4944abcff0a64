r"""Regression of one benchmark on capability where the sampling error of every score is known.

    y = alpha + beta theta + r,   r_m = u_f + e_m + epsilon_m,   u ~ N(0, kappa v), e ~ N(0, (1 - kappa) v), epsilon_m ~
    N(0, w_m)

with known w. Given kappa and v the covariance of r is known, so that the marginal likelihood under a flat base prior of
alpha and beta is closed form (generalised least squares), but in v it has no conjugate form: v gets nodes of its own
beside those of kappa. They are points of a lattice that is even in posterior sd of log v, from its expected Fisher
information 1/2 sum (v / (v + w_m))^2 and one unit for the prior. A sum over such a lattice is exact to many digits for
smooth densities (trapezoidal rule), wherever the lattice begins; shifting it for every few draws of theta makes v
continuous.

The base prior of v is what the stated prior says of v at a typical slope: with c the variance that capability explains
and t^2 = v + c,

    b(v) = p(s = t) (v / t^2)^(m - 1) / (2 t^2),

m the least of two and both parameters of the prior of (rho + 1) / 2. The weight of a candidate, p(alpha) p(rho) p(s) /
(2 s^2 b(v)), is bounded, and nearly even where the prior of s weighs, as it does when most of the variance is error.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from safetystats.specs import FactorPriors

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STEP = 0.75
"""Distance of two nodes, in posterior sd of log v."""
LOWEST, HIGHEST = 1e-6, 1e3
"""Range of v, in units of the variance of the scores."""
LEAST_EXPLAINED = 0.02
"""Least c of the base prior, in variances of the z-scored column."""
NEGLIGIBLE = 1e-9
"""Nodes that hold less than this share of every posterior are left out."""


class Nodes(NamedTuple):
    """Nodes of v, all arrays of shape (V,)."""

    variance: FloatArray
    log_base: FloatArray  # log b(v), but for a constant
    log_mass: FloatArray  # log of b(v) times the width of the cell


class Cells(NamedTuple):
    """Generalised least squares for every draw of theta in every cell of (kappa, v); C = G V cells, v the faster."""

    icc: FloatArray  # (C,)
    variance: FloatArray  # (C,)
    log_base: FloatArray  # (C,)
    log_marginal: FloatArray  # (T, C): log of the cell's prior mass times p(y | theta, cell)
    slope: FloatArray  # (T, C)
    slope_sd: FloatArray  # (T, C)
    ones: FloatArray  # (C,): 1' V^-1 1
    ones_y: FloatArray  # (C,)
    ones_theta: FloatArray  # (T, C)


def variance_nodes(y: FloatArray, noise: FloatArray, explained: float, priors: FactorPriors, shift: float) -> Nodes:
    """Return the nodes of v.

    Parameters
    ----------
    y, noise : array, shape (n,)
        Scores and the known variances of their errors; not all of these are zero.
    explained : float
        c of the base prior.
    priors : FactorPriors
    shift : float
        Where between two points of the lattice it begins, in [0, 1); the number of nodes does not depend on it.
    """
    scale = y.var() + noise.mean()
    fine = np.linspace(np.log(LOWEST * scale), np.log(HIGHEST * scale), 2000)
    speed = _root_information(np.exp(fine), noise) / STEP
    place = np.concatenate([[0.0], ((speed[1:] + speed[:-1]) / 2 * np.diff(fine)).cumsum()])
    log_variance = np.interp(np.arange(int(place[-1])) + shift, place, fine)
    variance = np.exp(log_variance)
    power = min(2.0, priors.loading.alpha, priors.loading.beta)
    log_sd = np.log(variance + max(explained, LEAST_EXPLAINED)) / 2
    z = (log_sd - priors.total_sd.mu) / priors.total_sd.sigma
    log_base = (power - 1) * (log_variance - 2 * log_sd) - 0.5 * z**2 - 3 * log_sd
    width = STEP / _root_information(variance, noise)
    return Nodes(variance, log_base, log_base + log_variance + np.log(width))


def _root_information(variance: FloatArray, noise: FloatArray) -> FloatArray:
    """Return the root of the information about log v, shape (V,)."""
    return np.asarray(np.sqrt(1 + 0.5 * ((variance[:, None] / (variance[:, None] + noise)) ** 2).sum(1)))


def explained_variance(cells: Cells) -> float:
    """Return the mean square of the slopes, over draws of theta and their posteriors."""
    share = special.softmax(cells.log_marginal, axis=1)
    return float((share * cells.slope**2).sum(axis=1).mean())


def window(log_marginal: FloatArray, n_nodes: int) -> slice:
    """Return the nodes that matter for any of some draws of theta, and two on either side."""
    by_node = special.logsumexp(log_marginal.reshape(len(log_marginal), -1, n_nodes), axis=1)
    share = np.exp(by_node - special.logsumexp(by_node, axis=1, keepdims=True)).max(axis=0)
    kept = np.flatnonzero(share > NEGLIGIBLE)
    return slice(max(int(kept[0]) - 2, 0), int(kept[-1]) + 3)


def noisy_cells(
    y: FloatArray,
    noise: FloatArray,
    theta: FloatArray,
    families: IntArray,
    icc: FloatArray,
    log_mass: FloatArray,
    nodes: Nodes,
) -> Cells:
    """Return the regressions of y on every draw of theta in every cell.

    Parameters
    ----------
    y, noise : array, shape (n,)
        Scores and the known variances of their errors.
    theta : array, shape (T, n)
    families : array of int, shape (n,)
        Family codes.
    icc, log_mass : array, shape (G,)
        Nodes of kappa and their log prior mass.
    nodes : Nodes
        Nodes of v.
    """
    kappa, variance = np.repeat(icc, len(nodes.variance)), np.tile(nodes.variance, len(icc))
    shared = kappa * variance
    codes, counts = np.unique(families, return_inverse=True, return_counts=True)[1:]
    alone = counts[codes] == 1  # the variance of a family of one is its own
    own = (1 - kappa) * variance + noise[:, None] + np.where(alone[:, None], shared, 0.0)  # (n, C)
    # V^-1 = D^-1 - sum over families of c (D^-1 1)(D^-1 1)', with D the diagonal `own` and c below.
    precision = 1 / own
    solved_ones, solved_y = precision.copy(), precision * y[:, None]
    log_det = np.log(own).sum(0)
    theta_theta = theta**2 @ precision  # (T, C)
    for family in np.flatnonzero(counts > 1):
        rows = codes == family
        part = precision[rows]
        total = part.sum(0)
        c = shared / (1 + shared * total)
        log_det += np.log1p(shared * total)
        solved_ones[rows] -= part * (c * total)
        solved_y[rows] -= part * (c * solved_y[rows].sum(0))
        theta_theta -= (theta[:, rows] @ (part * np.sqrt(c))) ** 2
    ones, ones_y, y_y = solved_ones.sum(0), solved_y.sum(0), y @ solved_y
    ones_theta = theta @ solved_ones
    det = np.maximum(ones * theta_theta - ones_theta**2, np.finfo(float).tiny)
    slope = (ones * (theta @ solved_y) - ones_theta * ones_y) / det
    rss = np.maximum(y_y - ones_y**2 / ones - slope**2 * det / ones, 0.0)
    prior = np.repeat(log_mass, len(nodes.variance)) + np.tile(nodes.log_mass, len(icc))
    return Cells(
        icc=kappa,
        variance=variance,
        log_base=np.tile(nodes.log_base, len(icc)),
        log_marginal=prior - (len(y) - 2) / 2 * np.log(2 * np.pi) - 0.5 * (log_det + np.log(det) + rss),
        slope=slope,
        slope_sd=np.sqrt(ones / det),
        ones=ones,
        ones_y=ones_y,
        ones_theta=ones_theta,
    )
