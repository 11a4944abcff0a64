r"""Shrinkage across safety benchmarks: a hierarchical normal layer on Fisher's z.

Each benchmark b has z_b, what the data say of atanh(rho_b), and the errors of all z_b a known covariance V, with
correlations C:

    z ~ N(zeta, V),   zeta ~ N(mu_area, tau_within^2 [(1 - phi) I + phi C]),   mu_area ~ N(mu, tau_between^2 I),
    mu ~ N(0, mu_scale^2),

with half-normal priors on both taus. All scales are on the scale of z. The defaults, mu_scale 1 and both taus 0.5, say
that an overall correlation anywhere between -0.96 and 0.96, and benchmarks of one area that lie 0.5 apart in z (0 and
0.46, 0.8 and 0.92), are nothing unusual. Given both taus and phi everything is Gaussian (Lindley and Smith 1972; Gelman
et al. 2013, section 5.4), so the taus' posterior is computed on a grid of cells for every phi, and all else drawn
exactly given these three.

The errors of benchmarks scored on the same models are not independent (`safetystats.inference.error_covariance`): a
model that by luck or lineage does well on one does so on those that resemble it, and a correlation that is too high in
one is too high in all of them. Taken for independent, B benchmarks on n models pass for B n pieces of information about
an area where there are scarcely more than n. Draws of a cut posterior do not show this, since benchmarks are drawn
independently given capability.

But benchmarks whose residuals resemble each other also have much the same correlation with capability: they may be
variants of one another. With phi = 0, deviations from the area are independent whatever the errors are, so that what
a group of variants has in common is taken for error, and is taken away, many posterior sds of it where there are
many variants. phi says how far deviations resemble each other as errors do; it has equal prior weights on a few values.
At phi = 1 and equal variances every benchmark keeps the same share of its own deviation. How often intervals cover
with and without it: benchmarks/shrinkage.md.

References
----------
Gelman, A. et al. (2013). Bayesian Data Analysis, third edition. CRC.
Lindley, D. V. and Smith, A. F. M. (1972). Bayes estimates for the linear model. JRSS B 34.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LIKENESS = (0.0, 0.5, 1.0)
"""Values of phi: deviations independent of each other, correlated half as errors are, and as much as they."""
PRIOR_REACH = 5.0
"""The grid ends at this many prior scales, or at thrice the root mean square of z where that is more."""
NEGLIGIBLE = 1e-4
"""Posterior mass of a tau that may be left outside the fine grid, at either end."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchyDraws:
    """Draws on the scale of z; with one area `tau_between` is zero and `mu_area` equals `mu`."""

    mu: FloatArray  # (D,)
    mu_area: FloatArray  # (D, A)
    zeta: FloatArray  # (D, B)
    tau_within: FloatArray  # (D,)
    tau_between: FloatArray  # (D,)
    likeness: FloatArray  # (D,): phi


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchySummary:
    """Rows of (posterior mean, lower, upper) with equal-tailed intervals of the stated level.

    Correlations are tanh(mu) (of the middle area, not the mean over areas), tanh(mu_area) (of the middle benchmark of
    an area) and tanh(zeta). Both taus are on the scale of z; `tau_between` is NaN with one area.
    """

    level: float
    overall: FloatArray  # (3,)
    area: FloatArray  # (A, 3)
    benchmark: FloatArray  # (B, 3)
    tau_within: FloatArray  # (3,)
    tau_between: FloatArray  # (3,)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conditional:
    """The Gaussian posterior of (mu, mu_area, zeta), 1 + A + B values in this order, given both taus."""

    mean: FloatArray
    covariance: FloatArray
    log_marginal: float  # log p(z | taus)


class _Problem(NamedTuple):
    """Data turned so that errors and deviations are both diagonal: one factorisation serves all taus.

    With L L' = (1 - phi) I + phi C, the axes are L times the eigenvectors of L^-1 V L'^-1.
    """

    axes: FloatArray  # (B, B)
    variance: FloatArray  # (B,): of the errors along the axes
    z: FloatArray  # (B,)
    members: FloatArray  # (B, A): who belongs to which area, turned
    codes: IntArray  # (B,)
    mu_scale: float
    log_det: float  # of L


class _Grid(NamedTuple):
    """Edges of the cells of both taus, a single one where a tau is fixed, and the log posterior mass of the cells."""

    problem: _Problem
    within: FloatArray
    between: FloatArray
    log_mass: FloatArray


class _Given(NamedTuple):
    """What P pairs of taus imply; mu = mu_scale w_A and mu_area = mu + tau_between w_a with w unit normal a priori."""

    log_marginal: FloatArray  # (P,)
    half: FloatArray  # (P, A + 1): the mean of w is solve(root', half)
    root: FloatArray  # (P, A + 1, A + 1): lower Cholesky factor of the precision of w


def shrink(
    z: FloatArray,
    covariance: FloatArray,
    areas: IntArray,
    rng: np.random.Generator,
    *,
    mu_scale: float = 1.0,
    within_scale: float = 0.5,
    between_scale: float = 0.5,
    likeness: Sequence[float] = LIKENESS,
    grid: int = 20,
    n_draws: int = 4000,
) -> HierarchyDraws:
    """Draw from the posterior of the hierarchical model.

    For every phi a coarse grid finds where the taus are, a fine one over that box holds their posterior; taus are drawn
    uniformly within their cells, the Gaussian rest exactly given what was drawn.

    Parameters
    ----------
    z : array, shape (B,)
        Posterior means of atanh(rho_b).
    covariance : array, shape (B, B)
        Of the errors of z, positive definite; see `estimate_covariance`.
    areas : array of int, shape (B,)
        Area codes 0, ..., A - 1, each in use. One area shows nothing of tau_between: it is then set to zero, so that mu
        is the mean of that area with prior N(0, mu_scale^2).
    rng : Generator
    mu_scale, within_scale, between_scale : float
        Prior sd of mu, and scales of the half-normal priors of both taus.
    likeness : sequence of float
        Values of phi, from 0 to 1, with equal prior weights.
    grid : int
        Cells per tau; with 20 the ends of a tau's interval were right to 0.05 of its posterior sd, with 10 to 0.2.
    n_draws : int

    Returns
    -------
    HierarchyDraws

    Raises
    ------
    ValueError
        Shapes that do not fit, values not finite, gaps in the codes, scales not positive, covariance not definite.
    """
    if min(within_scale, between_scale) <= 0 or grid < 2 or n_draws < 1:
        raise ValueError(
            f"scales {within_scale}, {between_scale}, grid {grid}, n_draws {n_draws}: expected positive ones"
        )
    grids = [_grid(_turn(z, covariance, areas, mu_scale, phi), (within_scale, between_scale), grid) for phi in likeness]
    log_share = np.array([np.logaddexp.reduce(found.log_mass, axis=None) for found in grids])
    share = np.exp(log_share - np.logaddexp.reduce(log_share))
    counts = rng.multinomial(n_draws, share / share.sum())
    parts = [
        _draw(found, phi, int(count), rng) for found, phi, count in zip(grids, likeness, counts, strict=True) if count
    ]
    order = rng.permutation(n_draws)
    return HierarchyDraws(
        **{
            name: np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("mu", "mu_area", "zeta", "tau_within", "tau_between", "likeness")
        }
    )


def conditional(
    z: FloatArray,
    covariance: FloatArray,
    areas: IntArray,
    tau_within: float,
    tau_between: float,
    *,
    mu_scale: float = 1.0,
    likeness: float = 0.0,
) -> Conditional:
    """Return the posterior given both taus (zero or more) and phi, in closed form; other parameters as in `shrink`.

    With both taus zero and a large `mu_scale` the mean of mu is the generalised-least-squares mean (complete pooling);
    with a large `tau_within` zeta is z with covariance V (no pooling).
    """
    problem = _turn(z, covariance, areas, mu_scale, likeness)
    n_areas = problem.members.shape[1]
    given = _given(problem, np.array([tau_within]), np.array([tau_between]))
    spread = np.linalg.inv(given.root[0]).T  # w = spread (half + unit normal)
    to_means = np.vstack([np.zeros(n_areas + 1), tau_between * np.eye(n_areas, n_areas + 1)])
    to_means[:, -1] = mu_scale
    means, means_root = to_means @ spread @ given.half[0], to_means @ spread
    weight = tau_within**2 / (problem.variance + tau_within**2)
    membership = problem.axes @ problem.members
    back = membership - (problem.axes * weight) @ problem.members  # zeta = fixed + back mu_area + noise
    fixed = problem.axes @ (weight * problem.z)
    root = np.vstack([means_root, back @ means_root[1:]])
    total = root @ root.T
    noise = (problem.axes * (weight * problem.variance)) @ problem.axes.T
    total[n_areas + 1 :, n_areas + 1 :] += noise
    mean = np.concatenate([means, fixed + back @ means[1:]])
    return Conditional(mean=mean, covariance=total, log_marginal=float(given.log_marginal[0]))


def summarise(draws: HierarchyDraws, *, level: float = 0.95) -> HierarchySummary:
    """Return means and equal-tailed intervals of that level, correlations on the scale of rho, taus on that of z."""
    tails = [(1 - level) / 2, (1 + level) / 2]

    def rows(values: FloatArray) -> FloatArray:
        ends = np.quantile(values, tails, axis=0)
        return np.stack([values.mean(axis=0), ends[0], ends[1]], axis=-1)

    one_area = draws.mu_area.shape[1] == 1
    return HierarchySummary(
        level=level,
        overall=rows(np.tanh(draws.mu)),
        area=rows(np.tanh(draws.mu_area)),
        benchmark=rows(np.tanh(draws.zeta)),
        tau_within=rows(draws.tau_within),
        tau_between=np.full(3, np.nan) if one_area else rows(draws.tau_between),
    )


def _turn(z: FloatArray, covariance: FloatArray, areas: IntArray, mu_scale: float, likeness: float) -> _Problem:
    """Return the checked problem in axes of its own."""
    z, covariance, areas = np.asarray(z, dtype=np.float64), np.asarray(covariance, dtype=np.float64), np.asarray(areas)
    size = len(z)
    if z.shape != (size,) or covariance.shape != (size, size) or areas.shape != (size,):
        raise ValueError(f"z {z.shape}, covariance {covariance.shape}, areas {areas.shape} do not fit")
    if not (np.isfinite(z).all() and np.isfinite(covariance).all() and mu_scale > 0 and 0 <= likeness <= 1):
        raise ValueError("z and covariance must be finite, mu_scale positive, and likeness from 0 to 1")
    codes = np.unique(areas)
    if not np.array_equal(codes, np.arange(len(codes))):
        raise ValueError(f"areas must be codes 0, ..., A - 1, each in use; got {codes.tolist()}")
    covariance = (covariance + covariance.T) / 2
    smallest = float(np.linalg.eigvalsh(covariance)[0])
    if smallest <= 0:
        raise ValueError(f"covariance is not positive definite: its smallest eigenvalue is {smallest:.3g}")
    sd = np.sqrt(np.diagonal(covariance))
    root = np.linalg.cholesky((1 - likeness) * np.eye(size) + likeness * covariance / np.outer(sd, sd))
    white = np.linalg.solve(root, np.linalg.solve(root, covariance).T)
    variance, vectors = np.linalg.eigh((white + white.T) / 2)
    members = (areas[:, None] == codes).astype(np.float64)
    turned = vectors.T @ np.linalg.solve(root, np.column_stack([z, members]))
    return _Problem(
        axes=root @ vectors,
        variance=variance,
        z=turned[:, 0],
        members=turned[:, 1:],
        codes=areas.astype(np.int64),
        mu_scale=mu_scale,
        log_det=float(np.log(np.diagonal(root)).sum()),
    )


def _given(problem: _Problem, tau_within: FloatArray, tau_between: FloatArray) -> _Given:
    """Return what pairs of taus (P,) imply: z has the errors' and the deviations' covariance, and that of the means."""
    n_areas = problem.members.shape[1]
    weight = 1.0 / (problem.variance + tau_within[:, None] ** 2)
    products = problem.members[:, :, None] * problem.members[:, None, :]
    precision = (weight @ products.reshape(len(problem.z), -1)).reshape(-1, n_areas, n_areas)
    scaled = weight @ (problem.members * problem.z[:, None])
    loading = np.zeros((len(weight), n_areas, n_areas + 1))
    loading[:, np.arange(n_areas), np.arange(n_areas)] = tau_between[:, None]
    loading[:, :, -1] = problem.mu_scale
    root = np.linalg.cholesky(np.eye(n_areas + 1) + np.swapaxes(loading, 1, 2) @ precision @ loading)
    half = np.linalg.solve(root, (scaled[:, None, :] @ loading).swapaxes(1, 2))[:, :, 0]
    quadratic = weight @ problem.z**2 - (half**2).sum(axis=1)
    log_det = 2 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1) - np.log(weight).sum(axis=1)
    log_marginal = -0.5 * (quadratic + log_det + len(problem.z) * np.log(2 * np.pi)) - problem.log_det
    return _Given(log_marginal, half, root)


def _log_mass(problem: _Problem, within: FloatArray, between: FloatArray, scales: tuple[float, float]) -> FloatArray:
    """Return log posterior masses, up to a constant, of the cells between edges; a single edge is the value itself."""
    points, logs = [], []
    for edges, scale in zip((within, between), scales, strict=True):
        points.append((edges[1:] + edges[:-1]) / 2 if len(edges) > 1 else edges)
        logs.append(np.log(np.diff(edges)) - 0.5 * (points[-1] / scale) ** 2 if len(edges) > 1 else np.zeros(1))
    pairs = [axis.ravel() for axis in np.meshgrid(*points, indexing="ij")]
    marginal = _given(problem, *pairs).log_marginal.reshape(len(points[0]), len(points[1]))
    return np.asarray(marginal + logs[0][:, None] + logs[1], dtype=np.float64)


def _box(edges: FloatArray, log_mass: FloatArray, grid: int) -> FloatArray:
    """Return `grid` + 1 even edges over the cells that hold nearly all mass, with one cell more on either side."""
    share = np.exp(log_mass - np.logaddexp.reduce(log_mass)).cumsum()
    first = int(np.searchsorted(share, NEGLIGIBLE))
    last = int(np.searchsorted(share, 1 - NEGLIGIBLE))
    return np.linspace(edges[max(first - 1, 0)], edges[min(last + 2, len(edges) - 1)], grid + 1)


def _grid(problem: _Problem, scales: tuple[float, float], grid: int) -> _Grid:
    """Return the posterior of the taus on a grid of cells where it has its mass."""
    several = problem.members.shape[1] > 1
    of_data = problem.axes @ problem.z  # z itself
    reach = 3 * float(np.sqrt((of_data**2).mean()))
    coarse = [(np.arange(grid + 1) / grid) ** 2 * max(PRIOR_REACH * scale, reach) for scale in scales]
    within, between = coarse[0], coarse[1] if several else np.zeros(1)
    log_mass = _log_mass(problem, within, between, scales)
    within = _box(within, np.logaddexp.reduce(log_mass, axis=1), grid)
    between = _box(between, np.logaddexp.reduce(log_mass, axis=0), grid) if several else between
    return _Grid(problem, within, between, _log_mass(problem, within, between, scales))


def _draw(found: _Grid, likeness: float, n_draws: int, rng: np.random.Generator) -> HierarchyDraws:
    """Draw the taus, and the Gaussian part once for every pair of them."""
    problem, within, between, log_mass = found
    share = np.exp(log_mass - log_mass.max())
    rows, columns = np.unravel_index(rng.choice(share.size, size=n_draws, p=(share / share.sum()).ravel()), share.shape)
    tau_within = within[rows] + np.diff(within)[rows] * rng.random(n_draws)
    width = np.diff(between) if len(between) > 1 else np.zeros(1)
    tau_between = between[columns] + width[columns] * rng.random(n_draws)
    given = _given(problem, tau_within, tau_between)
    unit = given.half + rng.standard_normal(given.half.shape)
    unit = np.linalg.solve(np.swapaxes(given.root, 1, 2), unit[:, :, None])[:, :, 0]
    mu = problem.mu_scale * unit[:, -1]
    mu_area = mu[:, None] + tau_between[:, None] * unit[:, :-1]
    weight = tau_within[:, None] ** 2 / (problem.variance + tau_within[:, None] ** 2)
    noise = np.sqrt(weight * problem.variance) * rng.standard_normal((len(mu), len(problem.z)))
    away = weight * (problem.z - mu_area @ problem.members.T) + noise
    return HierarchyDraws(
        mu=mu,
        mu_area=mu_area,
        zeta=mu_area[:, problem.codes] + away @ problem.axes.T,
        tau_within=tau_within,
        tau_between=tau_between,
        likeness=np.full(n_draws, likeness),
    )
