r"""Shrinkage across safety benchmarks: a hierarchical normal layer on Fisher's z.

Each benchmark b has z_b, what the data say of atanh(rho_b), and the errors of all z_b a known covariance V:

    z ~ N(zeta, V),   zeta_b ~ N(mu_area(b), tau_within^2),   mu_area ~ N(mu, tau_between^2),   mu ~ N(0, mu_scale^2),

with half-normal priors on both taus. All scales are on the scale of z. The defaults, mu_scale 1 and both taus 0.5, say
that an overall correlation anywhere between -0.96 and 0.96, and benchmarks of one area that lie 0.5 apart in z (0 and
0.46, 0.8 and 0.92), are nothing unusual. Given both taus everything is Gaussian (Lindley and Smith 1972; Gelman et al.
2013, section 5.4), so the taus' posterior is computed on a grid of cells and all else drawn exactly given the taus.

The errors of benchmarks scored on the same models are not independent: a model that by luck or lineage does well on
one does so on those that resemble it, and a correlation that is too high in one is too high in all of them. Taken for
independent, B benchmarks on n models pass for B n pieces of information about an area where there are scarcely more
than n: intervals of its mean are too short, the more so the larger B, and what errors share looks like a difference of
areas. Draws of a cut posterior do not show this, since benchmarks are drawn independently given capability.

In simulations (26 models, 40 benchmarks in 4 areas, partial correlation 0.5 within areas) 90 % intervals of area means
covered in 69 % with independent errors and in 84 % with `estimate_covariance`; in 87 % and 90 % without partial
correlation. With each benchmark's own rho in the formula, even the true one, they covered in 57 to 65 %: the errors
then have a term rho rho' along the signal itself, which the layer, not knowing that it vanishes with rho, takes for an
excuse to shrink everything. So one pooled correlation goes into the formula, as in meta-analysis (Hafdahl 2007).

References
----------
Dunn, O. J. and Clark, V. (1969). Correlation coefficients measured on the same individuals. JASA 64.
Gelman, A. et al. (2013). Bayesian Data Analysis, third edition. CRC.
Hafdahl, A. R. (2007). Combining correlation matrices. Journal of Educational and Behavioral Statistics 32.
Lindley, D. V. and Smith, A. F. M. (1972). Bayes estimates for the linear model. JRSS B 34.
Pearson, K. and Filon, L. N. G. (1898). On the probable errors of frequency constants. Phil. Trans. A 191.
Schäfer, J. and Strimmer, K. (2005). A shrinkage approach to large-scale covariance matrix estimation. SAGMB 4.
Steiger, J. H. (1980). Tests for comparing elements of a correlation matrix. Psychological Bulletin 87.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from safetystats.scores.n_factors import NO_RESIDUAL, pairwise_correlations

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PRIOR_REACH = 5.0
"""The grid ends at this many prior scales, or at thrice the root mean square of z where that is more."""
NEGLIGIBLE = 1e-4
"""Posterior mass of a tau that may be left outside the fine grid, at either end."""
SMALLEST_EIGENVALUE = 0.05
"""Eigenvalues of the error correlations are raised to this: no contrast is known over four times better than a z."""
FEWEST_SHARED = 5
"""Fewest models that two benchmarks must share for their partial correlation to be estimated, not taken as nought."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HierarchyDraws:
    """Draws on the scale of z; with one area `tau_between` is zero and `mu_area` equals `mu`."""

    mu: FloatArray  # (D,)
    mu_area: FloatArray  # (D, A)
    zeta: FloatArray  # (D, B)
    tau_within: FloatArray  # (D,)
    tau_between: FloatArray  # (D,)


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
    """Data turned to the axes in which V, hence V + tau_within^2 I, is diagonal: one factorisation serves all taus."""

    axes: FloatArray  # (B, B)
    variance: FloatArray  # (B,): of the errors along the axes
    z: FloatArray  # (B,)
    members: FloatArray  # (B, A): who belongs to which area, turned
    codes: IntArray  # (B,)
    mu_scale: float


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
    grid: int = 20,
    n_draws: int = 4000,
) -> HierarchyDraws:
    """Draw from the posterior of the hierarchical model.

    A coarse grid finds where the taus are, a fine one over that box holds their posterior; taus are drawn uniformly
    within their cells, the Gaussian rest exactly given the taus drawn.

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
    problem = _turn(z, covariance, areas, mu_scale)
    scales, several = (within_scale, between_scale), problem.members.shape[1] > 1
    reach = 3 * float(np.sqrt((problem.z**2).mean()))
    coarse = [(np.arange(grid + 1) / grid) ** 2 * max(PRIOR_REACH * scale, reach) for scale in scales]
    within, between = coarse[0], coarse[1] if several else np.zeros(1)
    log_mass = _log_mass(problem, within, between, scales)
    within = _box(within, np.logaddexp.reduce(log_mass, axis=1), grid)
    between = _box(between, np.logaddexp.reduce(log_mass, axis=0), grid) if several else between
    log_mass = _log_mass(problem, within, between, scales)
    share = np.exp(log_mass - log_mass.max())
    rows, columns = np.unravel_index(rng.choice(share.size, size=n_draws, p=(share / share.sum()).ravel()), share.shape)
    tau_within = within[rows] + np.diff(within)[rows] * rng.random(n_draws)
    width = np.diff(between) if several else np.zeros(1)
    tau_between = between[columns] + width[columns] * rng.random(n_draws)
    return _draw_given(problem, tau_within, tau_between, rng)


def conditional(
    z: FloatArray,
    covariance: FloatArray,
    areas: IntArray,
    tau_within: float,
    tau_between: float,
    *,
    mu_scale: float = 1.0,
) -> Conditional:
    """Return the posterior given both taus (zero or more), in closed form; other parameters as in `shrink`.

    With both taus zero and a large `mu_scale` the mean of mu is the generalised-least-squares mean (complete pooling);
    with a large `tau_within` zeta is z with covariance V (no pooling).
    """
    problem = _turn(z, covariance, areas, mu_scale)
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


def error_correlations(rho: FloatArray, partial: FloatArray) -> FloatArray:
    r"""Return asymptotic correlations between the errors of correlations that share one variable.

    For r_jk and r_jh with j in common, normal data have (Pearson and Filon 1898; Dunn and Clark 1969; Steiger 1980)

        n cov = r_kh (1 - r_jk^2 - r_jh^2) - r_jk r_jh (1 - r_jk^2 - r_jh^2 - r_kh^2) / 2.

    Divided by (1 - r_jk^2)(1 - r_jh^2), and in p, the partial correlation of k and h given j, this is

        c = p sqrt((1 - r_jk^2)(1 - r_jh^2)) + r_jk r_jh (1 + p^2) / 2,

    positive semi-definite if the matrix of p is (Schur's product theorem), and the same for Fisher's z.

    Parameters
    ----------
    rho : array, shape (B,)
        Correlations with the common variable.
    partial : array, shape (B, B)
        Partial correlations given it, ones on the diagonal.

    Returns
    -------
    array, shape (B, B)
        Ones on the diagonal.
    """
    unique, products = np.sqrt(1.0 - rho**2), np.outer(rho, rho)
    return np.asarray(partial * np.outer(unique, unique) + products * (1.0 + partial**2) / 2, dtype=np.float64)


def estimate_covariance(
    z: FloatArray, sd: FloatArray, scores: FloatArray, capability: FloatArray, *, damping: float | None = None
) -> FloatArray:
    """Return the covariance of the errors of z: marginal posterior sds, and correlations from the models in common.

    Errors correlate as in `error_correlations` at the pooled correlation tanh(mean z), times n_kh / sqrt(n_k n_h) for
    the models that both have. Partial correlations given capability are pairwise complete. Those of a few dozen models
    are noisy, and with more benchmarks than models singular, as if some contrasts were free of error: so they are
    damped towards zero (Schäfer and Strimmer 2005). What is indefinite even then, or nearly so, is raised to positive
    definite and rescaled. Why not a diagonal matrix, and why pooled: see the module.

    Parameters
    ----------
    z, sd : array, shape (B,)
        Posterior means and sds of atanh(rho_b). The sds carry what widens a single posterior (families, uncertain
        capability); only correlations are added here.
    scores : array, shape (n, B)
        Of the benchmarks, aligned as they were for rho; NaN where missing.
    capability : array, shape (n,)
        Posterior mean of capability.
    damping : float, optional
        Share, 0 to 1, taken off the partial correlations; by default the sum of their sampling variances over that of
        their squares, at most 1.

    Returns
    -------
    array, shape (B, B)
        Positive definite, `sd` squared on the diagonal.
    """
    z, sd, scores, capability = (np.asarray(part, dtype=np.float64) for part in (z, sd, scores, capability))
    if z.ndim != 1 or sd.shape != z.shape or scores.shape != (*capability.shape, *z.shape):
        raise ValueError(f"z {z.shape}, sd {sd.shape}, scores {scores.shape}: expected (B,), (B,) and (n, B)")
    if not (np.isfinite(z).all() and np.isfinite(capability).all() and np.isfinite(sd).all() and (sd > 0).all()):
        raise ValueError("z, sd and capability must be finite, and sd positive")
    seen = np.isfinite(scores).astype(np.float64)
    shared = seen.T @ seen
    partial = pairwise_correlations(_residuals(scores, capability), "pearson")
    known = np.isfinite(partial) & (shared >= FEWEST_SHARED) & ~np.eye(len(z), dtype=bool)
    partial = np.where(known, partial, 0.0)
    if damping is None:
        noise = ((1.0 - partial**2) ** 2 / np.maximum(shared - 2.0, 1.0))[known].sum()
        damping = min(1.0, float(noise / max((partial**2).sum(), np.finfo(float).tiny)))
    partial = (1.0 - damping) * partial + np.eye(len(z))
    count = np.maximum(np.diagonal(shared), 1.0)
    correlation = (
        error_correlations(np.full(len(z), np.tanh(z.mean())), partial) * shared / np.sqrt(np.outer(count, count))
    )
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(_positive_definite(correlation) * np.outer(sd, sd), dtype=np.float64)


def _residuals(scores: FloatArray, capability: FloatArray) -> FloatArray:
    """Return scores (n, B) less their least-squares line on capability (n,), each over its own models."""
    seen = np.isfinite(scores)
    count = np.maximum(seen.sum(axis=0), 1)
    x = np.where(seen, capability[:, None], 0.0)
    y = np.where(seen, scores, 0.0)
    x = np.where(seen, x - x.sum(axis=0) / count, 0.0)
    y = np.where(seen, y - y.sum(axis=0) / count, 0.0)
    slope = (x * y).sum(axis=0) / np.maximum((x**2).sum(axis=0), np.finfo(float).tiny)
    left = y - slope * x
    varies = (left**2).sum(axis=0) > NO_RESIDUAL * (y**2).sum(axis=0)
    return np.where(seen & varies, left, np.nan)


def _positive_definite(correlation: FloatArray) -> FloatArray:
    """Return the matrix (B, B) with eigenvalues raised to `SMALLEST_EIGENVALUE` and a unit diagonal."""
    spectrum, vectors = np.linalg.eigh((correlation + correlation.T) / 2)
    if spectrum[0] >= SMALLEST_EIGENVALUE:
        return correlation
    raised = (vectors * np.maximum(spectrum, SMALLEST_EIGENVALUE)) @ vectors.T
    spread = np.sqrt(np.diagonal(raised))
    return np.asarray(raised / np.outer(spread, spread), dtype=np.float64)


def _turn(z: FloatArray, covariance: FloatArray, areas: IntArray, mu_scale: float) -> _Problem:
    """Return the checked problem in the axes of the error covariance."""
    z, covariance, areas = np.asarray(z, dtype=np.float64), np.asarray(covariance, dtype=np.float64), np.asarray(areas)
    size = len(z)
    if z.shape != (size,) or covariance.shape != (size, size) or areas.shape != (size,):
        raise ValueError(f"z {z.shape}, covariance {covariance.shape}, areas {areas.shape} do not fit")
    if not (np.isfinite(z).all() and np.isfinite(covariance).all() and mu_scale > 0):
        raise ValueError("z and covariance must be finite, and mu_scale positive")
    codes = np.unique(areas)
    if not np.array_equal(codes, np.arange(len(codes))):
        raise ValueError(f"areas must be codes 0, ..., A - 1, each in use; got {codes.tolist()}")
    variance, axes = np.linalg.eigh((covariance + covariance.T) / 2)
    if variance[0] <= 0:
        raise ValueError(f"covariance is not positive definite: its smallest eigenvalue is {variance[0]:.3g}")
    members = (areas[:, None] == codes).astype(np.float64)
    return _Problem(axes, variance, axes.T @ z, axes.T @ members, areas.astype(np.int64), mu_scale)


def _given(problem: _Problem, tau_within: FloatArray, tau_between: FloatArray) -> _Given:
    """Return what pairs of taus (P,) imply: z has covariance K + C C' with K = V + tau_within^2 I, C from the means."""
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
    return _Given(-0.5 * (quadratic + log_det + len(problem.z) * np.log(2 * np.pi)), half, root)


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


def _draw_given(
    problem: _Problem, tau_within: FloatArray, tau_between: FloatArray, rng: np.random.Generator
) -> HierarchyDraws:
    """Draw the Gaussian part, once for every pair of taus (D,)."""
    given = _given(problem, tau_within, tau_between)
    unit = given.half + rng.standard_normal(given.half.shape)
    unit = np.linalg.solve(np.swapaxes(given.root, 1, 2), unit[:, :, None])[:, :, 0]
    mu = problem.mu_scale * unit[:, -1]
    mu_area = mu[:, None] + tau_between[:, None] * unit[:, :-1]
    weight = tau_within[:, None] ** 2 / (problem.variance + tau_within[:, None] ** 2)
    noise = np.sqrt(weight * problem.variance) * rng.standard_normal((len(mu), len(problem.z)))
    away = weight * (problem.z - mu_area @ problem.members.T) + noise
    zeta = mu_area[:, problem.codes] + away @ problem.axes.T
    return HierarchyDraws(mu=mu, mu_area=mu_area, zeta=zeta, tau_within=tau_within, tau_between=tau_between)
