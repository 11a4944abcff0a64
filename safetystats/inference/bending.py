r"""Does a benchmark's relation with capability bend? A logistic curve against a straight line, by leaving models out.

Given a draw of capability the scores of one benchmark are

    y = alpha + beta g(theta) + r,   r ~ N(0, v R(kappa)),

with the compound-symmetric residuals of the cut posterior. For the straight line g is theta itself, for the curve it is
logistic(k (theta - c)), a four-parameter logistic (Birnbaum 1968) whose two asymptotes are alpha and beta: monotone,
nearly straight for small k, and with c outside the range of the models it only slows down or only quickens. g is
standardised over the models of a draw, so that beta means the same in all of them.

On a grid of (k, c), kappa and the prior sd of beta everything is in closed form. alpha is flat, p(v) \propto 1 / v, and
beta | v ~ N(0, b^2 v) with nodes of b that make rho = beta / sqrt(beta^2 + v) about uniform, the same for line and
curve. With X = (1, g), M = X' R^-1 X + diag(0, 1 / b^2) and Q = R^-1 - R^-1 X M^-1 X' R^-1,

    p(y) \propto |R|^-1/2 (b^2 |M|)^-1/2 (y' Q y)^-(n - 1)/2,

and without model i the same holds with |R| b^2 |M| Q_ii and y' Q y - (Q y)_i^2 / Q_ii. So the density of a score given
all others is exact, with relatives among the others; it is averaged over the draws of capability, which no safety score
moves (cut).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.cut import icc_grid
from safetystats.specs import FactorPriors

MIN_MODELS = 8
"""Fewest scored models for which a curve is set against a line."""
STEEPNESS: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
"""k per sd of capability over the models: from nearly straight to nearly a step."""
CENTRES: tuple[float, ...] = (-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0)
"""c in sd of capability over the models, from their mean."""
ICC_CELLS = 8
SLOPE_NODES = 3
"""Nodes of the prior sd of beta."""
AT_ONCE = 6
"""Draws of capability held in memory at once."""
_LINE = np.array([[0.0, 0.0]])


class Shape(NamedTuple):
    """Drawn relations, all of shape (D,): y = level + slope (h(x) - middle) / extent, x = (theta - origin) / unit.

    h is logistic(steepness (x - centre)), or x itself where steepness is zero.
    """

    level: FloatArray
    slope: FloatArray
    variance: FloatArray
    steepness: FloatArray
    centre: FloatArray
    middle: FloatArray
    extent: FloatArray
    origin: float
    unit: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bending:
    """A straight line and a curve of one benchmark.

    Attributes
    ----------
    seen : array of bool, shape (n_models,)
        Models with a score; `elpd` has one entry for each of them, in order.
    elpd_line, elpd_curve : array, shape (n_seen,)
        Log predictive density of each score given the others.
    line, curve : Shape
        Draws of the relation, `each` for every draw of capability.
    """

    seen: np.ndarray
    elpd_line: FloatArray
    elpd_curve: FloatArray
    line: Shape
    curve: Shape


class _Part(NamedTuple):
    """What depends on some draws of capability, on families and the grid, but not on scores.

    t draws, S shapes, b nodes of the prior sd of beta, G cells of kappa, n models.
    """

    grid: FloatArray  # (S, 2)
    middle: FloatArray  # (t, S)
    extent: FloatArray  # (t, S)
    inverse_g: FloatArray  # (t, S, G, n): R^-1 g
    ones_g: FloatArray  # (t, S, 1, G)
    g_g: FloatArray  # (t, S, b, G): with 1 / b^2 added
    det: FloatArray  # (t, S, b, G)
    log_base: FloatArray  # (t, S, b, G)
    left: FloatArray  # (t, S, b, G, n): Q_ii


class _Residuals(NamedTuple):
    """R(kappa)^-1 by cell of kappa."""

    codes: IntArray  # (n,)
    weight: FloatArray  # (F, G)
    within: FloatArray  # (G,)
    log_det: FloatArray  # (G,)
    log_mass: FloatArray  # (G,)
    inverse_ones: FloatArray  # (G, n)
    ones: FloatArray  # (G,)
    diagonal: FloatArray  # (G, n)


def slope_nodes(count: int = SLOPE_NODES) -> FloatArray:
    """Return equally probable nodes of b, shape (count,), that make beta / sqrt(v) about t with two degrees of freedom.

    With beta / sqrt(v) ~ t_2 / sqrt(2), rho is uniform on (-1, 1). t_2 / sqrt(2) is a normal whose variance is the
    inverse of a chi-square variable with two degrees of freedom.
    """
    quantiles = stats.chi2.ppf((np.arange(count) + 0.5) / count, 2)
    return np.asarray(1 / np.sqrt(quantiles), dtype=np.float64)


def shape_grid() -> FloatArray:
    """Return (k, c) of every curve, shape (S, 2); all are equally probable."""
    return np.array([(k, c) for k in STEEPNESS for c in CENTRES])


def bending(
    scores: FloatArray,
    theta: FloatArray,
    families: IntArray,
    priors: FactorPriors,
    rngs: Sequence[np.random.Generator],
    families_matter: bool = True,
    each: int = 10,
) -> list[Bending | None]:
    """Set a logistic curve against a straight line for every benchmark.

    Parameters
    ----------
    scores : array, shape (n_models, n_benchmarks)
        Any scale; NaN where missing. Taken as exact.
    theta : array, shape (n_draws, n_models)
        Draws of capability.
    families : array of int, shape (n_models,)
        Family codes.
    priors : FactorPriors
        Of which the prior of kappa is used.
    rngs : sequence of Generator, length n_benchmarks
    families_matter : bool
        False: kappa is 0.
    each : int
        Draws of the relation for every draw of capability.

    Returns
    -------
    list
        One `Bending` per benchmark; None with fewer than `MIN_MODELS` scores, or where all are equal.

    References
    ----------
    Birnbaum (1968), in Lord and Novick, Statistical Theories of Mental Test Scores; leave-one-out in closed form:
    Sundararajan and Keerthi (2001), Neural Computation 13; cut: Plummer (2015), Stat. Comput. 25.
    """
    icc, log_mass = icc_grid(priors, ICC_CELLS) if families_matter else (np.zeros(1), np.zeros(1))
    found: list[Bending | None] = [None] * scores.shape[1]
    patterns: dict[bytes, list[int]] = {}
    for column in range(scores.shape[1]):
        seen = np.isfinite(scores[:, column])
        if seen.sum() >= MIN_MODELS and np.ptp(scores[seen, column]) > 0:
            patterns.setdefault(seen.tobytes(), []).append(column)
    for columns in patterns.values():
        seen = np.isfinite(scores[:, columns[0]])
        residuals = _residuals(families[seen], icc, log_mass)
        mean = theta[:, seen].mean(axis=0)
        origin, unit = float(mean.mean()), float(mean.std())
        x = (theta[:, seen] - origin) / unit
        results = {
            kind: _fit(scores[np.ix_(seen, columns)], x, grid, residuals, [rngs[c] for c in columns], each)
            for kind, grid in (("line", _LINE), ("curve", shape_grid()))
        }
        for place, column in enumerate(columns):
            line, curve = (results[kind][place] for kind in ("line", "curve"))
            found[column] = Bending(
                seen=seen, elpd_line=line[0], elpd_curve=curve[0],
                line=line[1]._replace(origin=origin, unit=unit), curve=curve[1]._replace(origin=origin, unit=unit),
            )  # fmt: skip
    return found


def heights(shape: Shape, at: FloatArray) -> FloatArray:
    """Return the drawn relations at values of capability, shape (D, len(at))."""
    h, _ = _height(shape, at)
    return np.asarray(shape.level[:, None] + shape.slope[:, None] * (h - shape.middle[:, None]) / shape.extent[:, None])


def slopes(shape: Shape, at: FloatArray) -> FloatArray:
    """Return the slopes of the drawn relations, per unit of capability, shape (D, len(at))."""
    _, rise = _height(shape, at)
    return np.asarray(shape.slope[:, None] * rise / shape.extent[:, None] / shape.unit)


def explained(shape: Shape) -> FloatArray:
    """Return the share of the variance over the models that the drawn relations explain, shape (D,)."""
    return np.asarray(shape.slope**2 / (shape.slope**2 + shape.variance))


def _height(shape: Shape, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return h and its derivative in x, each of shape (D, len(at))."""
    x = np.broadcast_to((at - shape.origin) / shape.unit, (len(shape.level), len(at)))
    k, c = shape.steepness[:, None], shape.centre[:, None]
    s = special.expit(k * (x - c))
    straight = k == 0
    return np.where(straight, x, s), np.where(straight, 1.0, k * s * (1 - s))


def _residuals(families: IntArray, icc: FloatArray, log_mass: FloatArray) -> _Residuals:
    codes = np.unique(families, return_inverse=True)[1].astype(np.int64)
    counts = np.bincount(codes).astype(np.float64)
    within = 1 - icc
    total = within + counts[:, None] * icc
    weight = icc / total
    inverse_ones = ((1 - weight * counts[:, None]) / within).T[:, codes]
    return _Residuals(
        codes=codes,
        weight=weight,
        within=within,
        log_det=((counts[:, None] - 1) * np.log(within) + np.log(total)).sum(axis=0),
        log_mass=log_mass,
        inverse_ones=inverse_ones,
        ones=inverse_ones.sum(axis=1),
        diagonal=((1 - weight) / within).T[:, codes],
    )


def _inverse(values: FloatArray, r: _Residuals) -> FloatArray:
    """Return R(kappa)^-1 times vectors of shape (..., n), as (..., G, n)."""
    members = (r.codes[:, None] == np.arange(len(r.weight))).astype(np.float64)
    taken = (values @ members)[..., None, :] * r.weight.T  # (..., G, F)
    return np.asarray((values[..., None, :] - taken[..., r.codes]) / r.within[:, None])


def _part(x: FloatArray, grid: FloatArray, r: _Residuals) -> _Part:
    """Return the geometry of some draws of capability, x of shape (t, n)."""
    k, c = grid[:, :1], grid[:, 1:]
    h = np.where(k == 0, x[:, None, :], special.expit(k * (x[:, None, :] - c)))  # (t, S, n)
    middle, extent = h.mean(axis=-1), h.std(axis=-1)
    g = (h - middle[..., None]) / extent[..., None]
    inverse_g = _inverse(g, r)
    precision = 1 / slope_nodes()[:, None] ** 2  # (b, 1)
    ones_g = inverse_g.sum(axis=-1)[:, :, None, :]
    g_g = (inverse_g * g[:, :, None, :]).sum(axis=-1)[:, :, None, :] + precision
    det = r.ones * g_g - ones_g**2
    log_base = r.log_mass - np.log(len(grid) * len(precision)) - 0.5 * (r.log_det - np.log(precision) + np.log(det))
    b, a = inverse_g[:, :, None], r.inverse_ones
    taken = (a**2 * g_g[..., None] - 2 * a * b * ones_g[..., None] + b**2 * r.ones[:, None]) / det[..., None]
    return _Part(grid, middle, extent, inverse_g, ones_g, g_g, det, log_base, r.diagonal - taken)


def _fit(
    ys: FloatArray, x: FloatArray, grid: FloatArray, r: _Residuals, rngs: list[np.random.Generator], each: int
) -> list[tuple[FloatArray, Shape]]:
    """Return pointwise elpd and draws for every column of ys, shape (n, B)."""
    n, n_columns = ys.shape
    log_density: list[list[FloatArray]] = [[] for _ in range(n_columns)]
    drawn: list[list[tuple[FloatArray, ...]]] = [[] for _ in range(n_columns)]
    inverse_y = _inverse(ys.T, r)  # (B, G, n)
    for start in range(0, len(x), AT_ONCE):
        part = _part(x[start : start + AT_ONCE], grid, r)
        log_left = 0.5 * np.log(part.left)
        for column in range(n_columns):
            y, iy = ys[:, column], inverse_y[column]
            ones_y, g_y = iy.sum(axis=-1), (part.inverse_g @ y)[:, :, None, :]
            slope = (r.ones * g_y - part.ones_g * ones_y) / part.det
            level = (part.g_g * ones_y - part.ones_g * g_y) / part.det
            rss = np.maximum(iy @ y - level * ones_y - slope * g_y, np.finfo(float).eps * n)
            whole = part.log_base - (n - 1) / 2 * np.log(rss)
            rest = iy - level[..., None] * r.inverse_ones - slope[..., None] * part.inverse_g[:, :, None]
            left = np.maximum(rss[..., None] - rest**2 / part.left, np.finfo(float).eps * n)
            without = part.log_base[..., None] - log_left - (n - 2) / 2 * np.log(left)
            constant = special.gammaln((n - 1) / 2) - special.gammaln((n - 2) / 2) - 0.5 * np.log(np.pi)
            flat = whole.reshape(len(whole), -1)
            log_density[column].append(
                special.logsumexp(flat, axis=1)[:, None] - _log_sum(without.reshape(len(flat), -1, n)) + constant
            )
            drawn[column].append(_draw(flat, level, slope, rss, part, r, n, rngs[column], each))
    results = []
    for column in range(n_columns):
        density = np.concatenate(log_density[column])
        level, slope, variance, steepness, centre, middle, extent = (
            np.concatenate(found) for found in zip(*drawn[column], strict=True)
        )
        elpd = special.logsumexp(density, axis=0) - np.log(len(density))
        shape = Shape(level, slope, variance, steepness, centre, middle, extent, origin=0.0, unit=1.0)
        results.append((np.asarray(elpd, dtype=np.float64), shape))
    return results


def _log_sum(values: FloatArray) -> FloatArray:
    """Return log of the sum of exponentials over the middle axis; (t, C, n) -> (t, n)."""
    largest = values.max(axis=1)
    return np.asarray(largest + np.log(np.exp(values - largest[:, None]).sum(axis=1)))


def _draw(
    log_weight: FloatArray,
    level: FloatArray,
    slope: FloatArray,
    rss: FloatArray,
    part: _Part,
    r: _Residuals,
    n: int,
    rng: np.random.Generator,
    each: int,
) -> tuple[FloatArray, ...]:
    """Return `each` draws of the relation for every draw of capability; arrays of shape (t * each,)."""
    share = np.exp(log_weight - special.logsumexp(log_weight, axis=1, keepdims=True)).cumsum(axis=1)
    uniform = (np.arange(each) + rng.random((len(share), each))) / each
    cell = np.minimum((share[:, None, :] < uniform[..., None] * share[:, None, -1:]).sum(axis=-1), share.shape[1] - 1)
    rows = np.repeat(np.arange(len(share)), each)
    s, b, g = np.unravel_index(cell.ravel(), rss.shape[1:])
    det, ones = part.det[rows, s, b, g], r.ones[g]
    variance = rss[rows, s, b, g] / (2 * rng.standard_gamma((n - 1) / 2, size=len(rows)))
    beta = slope[rows, s, b, g] + np.sqrt(variance * ones / det) * rng.standard_normal(len(rows))
    moved = level[rows, s, b, g] - part.ones_g[rows, s, 0, g] / ones * (beta - slope[rows, s, b, g])
    alpha = moved + np.sqrt(variance / ones) * rng.standard_normal(len(rows))
    return (
        alpha, beta, variance, part.grid[s, 0], part.grid[s, 1], part.middle[rows, s], part.extent[rows, s],
    )  # fmt: skip
