r"""The cut posterior of one safety benchmark given draws of the latent capability.

Capability is defined by the capability benchmarks alone: theta is drawn from their fit and never moved by safety data
(Plummer 2015). For each draw of theta the two-level model of one benchmark is a regression with compound-symmetric
residuals,

    y = alpha + beta theta + r,   r ~ N(0, v R(kappa)),   beta = s rho,   v = s^2 (1 - rho^2).

On a grid of kappa, and under the base prior p(alpha, beta, v) \propto 1 / v, the marginal likelihood and the
posterior of (alpha, beta, v) are closed form (normal-inverse-gamma). Candidates drawn from it are weighted with

    w = p(alpha) p(rho) p(s) v / (2 s^2)      (2 s^2 is the Jacobian of (rho, s) -> (beta, v)),

which is bounded for every prior that a spec can state, and one candidate per theta is kept with probability w
(sampling-importance-resampling, Rubin 1987). Its bias falls with the number of effective candidates; where they are few
(a handful of models or families, so that the priors weigh), the step is repeated with the kept draw among the new
candidates (iterated SIR, Andrieu, Lee and Vihola 2018), which leaves the cut posterior invariant and takes the bias
off geometrically. Averaging w also gives p(y | theta), the weight that turns the cut posterior into the joint one.

Where the sampling error of the scores is known, it stands beside r; v has no conjugate posterior then, and the grid is
one of kappa and v (`safetystats.inference.cut_noise`). The rest is the same, with rho, s and v those of the score free
of sampling error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from safetystats.inference.cut_noise import (
    Cells,
    Nodes,
    explained_variance,
    noisy_cells,
    variance_nodes,
    window,
)
from safetystats.specs import CutPlan, FactorPriors

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
_Candidates = tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]
"""rho, s, kappa, alpha and log weight, each of shape (n_draws, n_candidates)."""

MIN_MODELS = 5
"""Fewest scored models for which a regression on capability is attempted."""
SWEEPS = 10
"""Most repetitions of the resampling step."""
ONE_SWEEP = 2 / 3
"""Mean share of effective candidates above which one step is enough: its bias is then below 0.02 posterior sd."""
PILOT = 100
"""Draws of theta that tell which nodes of v matter where sampling error is known."""
CELLS_AT_ONCE = 400_000
"""Draws of theta times cells that are held in memory at once where sampling error is known."""
PARTS = 20
"""Least number of parts, each with nodes of v of its own, so that draws of v are not those of one lattice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutDraws:
    """Draws of one benchmark's parameters, one or `each` per draw of theta; arrays have shape (n_draws,) unless said.

    Attributes
    ----------
    rho, total_sd, icc, intercept : array, shape (n_draws * each,)
        Parameters in units of the z-scored benchmark; of the score free of sampling error where that is known. Those of
        one draw of theta stand side by side.
    log_marginal : array
        log p(y | theta) under the stated priors.
    efficiency : array
        Effective share of the candidates, (sum w)^2 / (J sum w^2), in (0, 1].
    """

    rho: FloatArray
    total_sd: FloatArray
    icc: FloatArray
    intercept: FloatArray
    log_marginal: FloatArray
    efficiency: FloatArray


class _Grid(NamedTuple):
    icc: FloatArray
    log_mass: FloatArray


class _Geometry(NamedTuple):
    """What depends on theta, families and the grid but not on the benchmark's scores."""

    theta: FloatArray  # (T, n)
    sums: FloatArray  # (T, F): sums of theta by family
    codes: IntArray  # (n,)
    weight: FloatArray  # (F, G): kappa / (1 - kappa + n_f kappa)
    within: FloatArray  # (G,): 1 - kappa
    log_det: FloatArray  # (G,)
    ones: FloatArray  # (G,): 1' R^-1 1
    ones_theta: FloatArray  # (T, G)
    theta_theta: FloatArray  # (T, G)


def icc_grid(priors: FactorPriors, cells: int) -> tuple[FloatArray, FloatArray]:
    """Return mid-points of equal cells on (0, 1) and the log prior mass of each cell, both of shape (cells,)."""
    edges = np.linspace(0.0, 1.0, cells + 1)
    mass = np.diff(stats.beta.cdf(edges, priors.icc.alpha, priors.icc.beta))
    return (edges[:-1] + edges[1:]) / 2, np.log(np.maximum(mass, np.finfo(float).tiny))


def cut_posterior(
    scores: FloatArray,
    theta: FloatArray,
    families: IntArray,
    priors: FactorPriors,
    plan: CutPlan,
    rngs: Sequence[np.random.Generator],
    noise: FloatArray | None = None,
    families_matter: bool = True,
    each: int = 1,
) -> list[CutDraws | None]:
    """Draw from the cut posterior of every benchmark.

    Parameters
    ----------
    scores : array, shape (n_models, n_benchmarks)
        Safety scores, z-scored within the class, NaN where missing.
    theta : array, shape (n_draws, n_models)
        Draws of capability from the fit of the capability benchmarks.
    families : array of int, shape (n_models,)
        Family codes.
    priors, plan
        Priors and numerical settings of the spec.
    rngs : sequence of Generator, length n_benchmarks
        Source of randomness of each benchmark: its draws do not depend on which others there are.
    noise : array, shape (n_models, n_benchmarks), or None
        Known variance of the sampling error of every score, in squared units of the z-scored column; not looked at
        where there is no score. None, or zeros for a column: no error.
    families_matter : bool
        False: models of one family share nothing but capability, kappa is 0.
    each : int
        Draws of the parameters that are kept for every draw of theta; with several, `plan.candidates` should be a few
        times as many, for they are drawn from the same candidates.

    Returns
    -------
    list
        One `CutDraws` per benchmark; None where fewer than `MIN_MODELS` models have a score.

    Raises
    ------
    ValueError
        If the variance of the error of a score is negative or not finite.

    References
    ----------
    Plummer (2015), cuts in Bayesian graphical models, Stat. Comput. 25; Rubin (1987), SIR; Andrieu, Lee and Vihola
    (2018), uniform ergodicity of the iterated conditional SMC, Bernoulli 24.
    """
    grid = _Grid(*icc_grid(priors, plan.icc_cells)) if families_matter else _Grid(np.zeros(1), np.zeros(1))
    errors = np.zeros_like(scores) if noise is None else noise
    geometries: dict[bytes, _Geometry] = {}
    results: list[CutDraws | None] = []
    for column, error, rng in zip(scores.T, errors.T, rngs, strict=True):
        seen = np.isfinite(column)
        if int(seen.sum()) < MIN_MODELS:
            results.append(None)
            continue
        if not (np.isfinite(error[seen]) & (error[seen] >= 0)).all():
            raise ValueError("the variance of the sampling error of a score is negative or not finite")
        if error[seen].any():
            results.append(
                _noisy_draws(column[seen], error[seen], theta[:, seen], families[seen], grid, priors, plan, rng, each)
            )
            continue
        key = seen.tobytes()
        if key not in geometries:
            geometries[key] = _geometry(theta[:, seen], families[seen], grid)
        results.append(_draws(column[seen], geometries[key], grid, priors, plan, rng, each))
    return results


def fixed_set_correlation(theta: FloatArray, column: FloatArray) -> FloatArray:
    """Return the Pearson correlation of scores with each draw of capability over the models that have a score.

    Parameters
    ----------
    theta : array, shape (n_draws, n_models)
    column : array, shape (n_models,)
        NaN where missing.

    Returns
    -------
    array, shape (n_draws,)
    """
    seen = np.isfinite(column)
    x = theta[:, seen] - theta[:, seen].mean(axis=1, keepdims=True)
    y = column[seen] - column[seen].mean()
    return np.asarray(x @ y / np.sqrt((x**2).sum(axis=1) * (y @ y)))


def _geometry(theta: FloatArray, families: IntArray, grid: _Grid) -> _Geometry:
    codes = np.unique(families, return_inverse=True)[1].astype(np.int64)
    counts = np.bincount(codes).astype(np.float64)
    members = (codes[:, None] == np.arange(len(counts))).astype(np.float64)
    within = 1 - grid.icc
    weight = grid.icc / (within + counts[:, None] * grid.icc)
    sums = theta @ members
    return _Geometry(
        theta=theta,
        sums=sums,
        codes=codes,
        weight=weight,
        within=within,
        log_det=((counts[:, None] - 1) * np.log(within) + np.log(within + counts[:, None] * grid.icc)).sum(0),
        ones=(counts.sum() - counts**2 @ weight) / within,
        ones_theta=(sums.sum(1)[:, None] - (sums * counts) @ weight) / within,
        theta_theta=((theta**2).sum(1)[:, None] - sums**2 @ weight) / within,
    )


def _draws(
    y: FloatArray, geo: _Geometry, grid: _Grid, priors: FactorPriors, plan: CutPlan, rng: np.random.Generator, each: int
) -> CutDraws:
    n, n_draws, n_candidates = len(y), geo.theta.shape[0], plan.candidates
    counts = np.bincount(geo.codes).astype(np.float64)
    y_sums = np.bincount(geo.codes, weights=y)
    ones_y = (y.sum() - (counts * y_sums) @ geo.weight) / geo.within  # (G,)
    theta_y = ((geo.theta @ y)[:, None] - (geo.sums * y_sums) @ geo.weight) / geo.within  # (T, G)
    y_y = (y @ y - y_sums**2 @ geo.weight) / geo.within  # (G,)

    det = geo.ones * geo.theta_theta - geo.ones_theta**2
    slope = (geo.ones * theta_y - geo.ones_theta * ones_y) / det
    intercept = (ones_y - geo.ones_theta * slope) / geo.ones
    rss = np.maximum(y_y - intercept * ones_y - slope * theta_y, np.finfo(float).eps * n)
    shape = (n - 2) / 2
    log_marginal = (
        grid.log_mass
        - 0.5 * (geo.log_det + np.log(det))
        - shape * np.log(rss / 2)
        + special.gammaln(shape)
        - shape * np.log(2 * np.pi)
    )

    cumulative = _cumulative(log_marginal)

    def candidates() -> _Candidates:
        """Return fresh candidates.

        kappa comes from its grid posterior (stratified uniforms), then v, beta, alpha from the conjugate posterior.
        """
        cells = _choose_cells(cumulative, n_candidates, rng)
        rows = np.arange(n_draws)[:, None]
        variance = rss[rows, cells] / (2 * rng.standard_gamma(shape, size=(n_draws, n_candidates)))
        beta = slope[rows, cells] + np.sqrt(variance * geo.ones[cells] / det[rows, cells]) * rng.standard_normal(
            variance.shape
        )
        centre = (ones_y[cells] - geo.ones_theta[rows, cells] * beta) / geo.ones[cells]
        alpha = centre + np.sqrt(variance / geo.ones[cells]) * rng.standard_normal(variance.shape)
        total_sd = np.sqrt(beta**2 + variance)
        rho = np.clip(beta / total_sd, -1 + 1e-12, 1 - 1e-12)
        log_weight = _log_prior(alpha, rho, total_sd, priors) + np.log(variance / (2 * total_sd**2))
        return rho, total_sd, grid.icc[cells], alpha, log_weight

    return _resampled(candidates, special.logsumexp(log_marginal, axis=1), rng, each)


def _noisy_draws(
    y: FloatArray,
    noise: FloatArray,
    theta: FloatArray,
    families: IntArray,
    grid: _Grid,
    priors: FactorPriors,
    plan: CutPlan,
    rng: np.random.Generator,
    each: int,
) -> CutDraws:
    """Return draws where sampling error is known, part by part of the draws of theta, with nodes of v of its own."""
    nodes = variance_nodes(y, noise, float(y.var()), priors, 0.5)
    pilot = noisy_cells(y, noise, theta[:: len(theta) // PILOT + 1], families, grid.icc, grid.log_mass, nodes)
    explained = explained_variance(pilot)
    used = window(pilot.log_marginal, len(nodes.variance))
    n_cells = len(grid.icc) * len(nodes.variance[used])
    n_parts = min(len(theta), max(PARTS, int(np.ceil(len(theta) * n_cells / CELLS_AT_ONCE))))
    shifts = (rng.permutation(n_parts) + rng.random(n_parts)) / n_parts
    parts = []
    for some, shift in zip(np.array_split(theta, n_parts), shifts, strict=True):
        nodes = Nodes(*(values[used] for values in variance_nodes(y, noise, explained, priors, shift)))
        cells = noisy_cells(y, noise, some, families, grid.icc, grid.log_mass, nodes)
        parts.append(_noisy_part(cells, priors, plan, rng, each))
    return CutDraws(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(CutDraws)})


def _noisy_part(cells: Cells, priors: FactorPriors, plan: CutPlan, rng: np.random.Generator, each: int) -> CutDraws:
    rows = np.arange(len(cells.log_marginal))[:, None]
    cumulative = _cumulative(cells.log_marginal)

    def candidates() -> _Candidates:
        """Return fresh candidates: (kappa, v) from the grid posterior, then beta and alpha from their normal one."""
        chosen = _choose_cells(cumulative, plan.candidates, rng)
        beta = cells.slope[rows, chosen] + cells.slope_sd[rows, chosen] * rng.standard_normal(chosen.shape)
        centre = (cells.ones_y[chosen] - cells.ones_theta[rows, chosen] * beta) / cells.ones[chosen]
        alpha = centre + rng.standard_normal(chosen.shape) / np.sqrt(cells.ones[chosen])
        total_sd = np.sqrt(beta**2 + cells.variance[chosen])
        rho = np.clip(beta / total_sd, -1 + 1e-12, 1 - 1e-12)
        log_weight = _log_prior(alpha, rho, total_sd, priors) - np.log(2 * total_sd**2) - cells.log_base[chosen]
        return rho, total_sd, cells.icc[chosen], alpha, log_weight

    return _resampled(candidates, special.logsumexp(cells.log_marginal, axis=1), rng, each)


def _resampled(
    candidates: Callable[[], _Candidates], log_marginal: FloatArray, rng: np.random.Generator, each: int
) -> CutDraws:
    """Return candidates for every draw of theta by iterated SIR; `log_marginal` is that of the base prior, (T,)."""
    n_draws = len(log_marginal)

    def choose(pool: list[FloatArray]) -> list[FloatArray]:
        """Return one of the last axis with probability proportional to its weight; (T, 1 or each, J) -> (T, each)."""
        cumulative = np.exp(pool[-1] - pool[-1].max(axis=-1, keepdims=True)).cumsum(axis=-1)
        chosen = (cumulative < rng.random((n_draws, each, 1)) * cumulative[..., -1:]).sum(axis=-1)
        groups = np.minimum(np.arange(each), pool[-1].shape[1] - 1)
        return [values[np.arange(n_draws)[:, None], groups, chosen] for values in pool]

    kept: list[FloatArray] = []
    log_sum, log_squares = np.full(n_draws, -np.inf), np.full(n_draws, -np.inf)
    for done in range(1, SWEEPS + 1):
        fresh = candidates()
        n_tried = done * fresh[-1].shape[1]
        log_sum = np.logaddexp(log_sum, special.logsumexp(fresh[-1], axis=1))
        log_squares = np.logaddexp(log_squares, special.logsumexp(2 * fresh[-1], axis=1))
        pool = [values[:, None, :] for values in fresh]
        if kept:
            # Every kept draw stands beside the same fresh candidates.
            pool = [
                np.concatenate([old[..., None], np.repeat(new, each, axis=1)], axis=-1)
                for old, new in zip(kept, pool, strict=True)
            ]
        kept = choose(pool)
        efficiency = np.exp(2 * log_sum - log_squares) / n_tried
        if efficiency.mean() >= ONE_SWEEP:
            break
    rho, total_sd, icc, alpha = (values.ravel() for values in kept[:-1])
    return CutDraws(
        rho=rho,
        total_sd=total_sd,
        icc=icc,
        intercept=alpha,
        log_marginal=log_marginal + log_sum - np.log(n_tried),
        efficiency=efficiency,
    )


def _cumulative(log_weight: FloatArray) -> FloatArray:
    """Return the cumulative probabilities of grid cells from their log weights, shape (T, G)."""
    share = np.exp(log_weight - special.logsumexp(log_weight, axis=1, keepdims=True)).cumsum(axis=1)
    return np.asarray(share / share[:, -1:])


def _choose_cells(cumulative: FloatArray, n_candidates: int, rng: np.random.Generator) -> IntArray:
    """Draw grid cells with stratified uniforms, in increasing order; shapes (T, G) -> (T, J)."""
    n_draws, n_cells = cumulative.shape
    uniform = (np.arange(n_candidates) + rng.random((n_draws, n_candidates))) / n_candidates
    rows = np.arange(n_draws)[:, None]
    flat = np.searchsorted((cumulative + rows).ravel(), (uniform + rows).ravel(), side="left")
    return np.asarray(np.clip(flat.reshape(uniform.shape) - rows * n_cells, 0, n_cells - 1), dtype=np.int64)


def _log_prior(alpha: FloatArray, rho: FloatArray, total_sd: FloatArray, priors: FactorPriors) -> FloatArray:
    """Log density of (alpha, rho, s) under the spec, all arrays of one shape."""
    a, b = priors.loading.alpha, priors.loading.beta
    mu, sigma = priors.total_sd.mu, priors.total_sd.sigma
    log_sd = np.log(total_sd)
    z_alpha = (alpha - priors.intercept.mu) / priors.intercept.sigma
    z_sd = (log_sd - mu) / sigma
    return np.asarray(
        (a - 1) * np.log1p(rho)
        + (b - 1) * np.log1p(-rho)
        - (a + b - 1) * np.log(2.0)
        - special.betaln(a, b)
        - 0.5 * (z_alpha**2 + z_sd**2)
        - log_sd
        - np.log(2 * np.pi * priors.intercept.sigma * sigma),
        dtype=np.float64,
    )
