"""The random-intercept likelihood of many responses at once, in the spectral form of its residuals.

    y = X beta + u[group] + e,   u ~ N(0, r s2),   e ~ N(0, s2)

Let the columns of A be an orthonormal basis of what is orthogonal to X, and U diag(mu) U' the decomposition of
A' Z Z' A. The entries of w = U' A' y are independent with variances s2 (1 + r mu_k), whatever beta is, and the residual
sum of squares in the metric of V = I + r Z Z' is sum_k w_k^2 / (1 + r mu_k). The profile of one response in r is then a
sum over n - p numbers, that of a thousand responses one product of matrices, which is what a bootstrap needs.

References
----------
Crainiceanu, C. M. and Ruppert, D. (2004). Likelihood ratio tests in linear mixed models with one variance component.
    Journal of the Royal Statistical Society B 66(1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safetystats.inference.mixed_profile import BOUNDARY_RATIO, FloatArray, IntArray

LOG_GRID: FloatArray = np.linspace(np.log(1e-6), np.log(1e8), 43)
"""Logarithms of the ratios scanned beside zero, three per decade; the best cell is then refined."""

NEWTON_STEPS = 4
"""Steps from the best point of the grid: the log-likelihood then is within 1e-8 of its maximum (see the tests)."""

NEGLIGIBLE_VALUE = 1e-10
"""Eigenvalues below this count as zero: they are at least of the order of one where groups have two members."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spectrum:
    """One design, or a stack of m designs, in spectral form.

    Attributes
    ----------
    values : array, shape (k,) or (m, k)
        Eigenvalues mu of A' Z Z' A, k = n - p.
    projector : array, shape (k, n) or (m, k, n)
        U' A'.
    sizes : array, shape (G,)
        Rows in each group.
    n, p : int
        Rows and columns of X.
    """

    values: FloatArray
    projector: FloatArray
    sizes: FloatArray
    n: int
    p: int


def make_spectrum(columns: FloatArray, codes: IntArray) -> Spectrum:
    """Decompose one design or a stack of designs of the same rows and groups.

    Parameters
    ----------
    columns : array, shape (n, p) or (m, n, p)
        Of full column rank, p < n.
    codes : array of int, shape (n,)
        Group of each row, 0 to G - 1, every group used.
    """
    n, p = columns.shape[-2:]
    outside = np.linalg.qr(columns, mode="complete")[0][..., p:]
    membership = (codes[:, None] == np.arange(codes.max() + 1)).astype(np.float64)
    sums = membership.T @ outside
    values, vectors = np.linalg.eigh(np.swapaxes(sums, -1, -2) @ sums)
    return Spectrum(
        values=np.where(values > NEGLIGIBLE_VALUE, values, 0.0),
        projector=np.swapaxes(outside @ vectors, -1, -2),
        sizes=np.bincount(codes).astype(np.float64),
        n=n,
        p=p,
    )


def best_ratios(spectrum: Spectrum, components: FloatArray, *, reml: bool) -> tuple[FloatArray, FloatArray]:
    """Return for each response the ratio of variances with the highest likelihood, and -2 log-likelihood there.

    Constants that do not depend on the response are left out of the second value: under ML it may be compared between
    designs of the same rows, under REML only between ratios of one design.

    Parameters
    ----------
    spectrum : Spectrum
        Of one design, or of m = b designs, one for each response.
    components : array, shape (b, k)
        w = `projector` @ y of each response.
    reml : bool

    Returns
    -------
    ratio, deviance : array, shape (b,)
        A ratio of zero stands for the boundary; ratios above the grid are not looked for.
    """
    squares, values = components**2, spectrum.values
    if values.ndim == 1:
        alive = values > 0.0
        squares = np.column_stack([squares[:, alive], squares[:, ~alive].sum(axis=1)])
        values = np.append(values[alive], 0.0)
    weight = float(spectrum.n - spectrum.p if reml else spectrum.n)
    if reml:
        determinant, times = values, np.ones(values.shape[-1])
    else:
        determinant, counts = np.unique(spectrum.sizes, return_counts=True)
        times = counts.astype(np.float64)
    return best_of_profile(squares, values, determinant, times, np.asarray(weight))


def best_of_profile(
    squares: FloatArray, values: FloatArray, determinant: FloatArray, times: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return where -2 log L = weight log sum_k squares_k / (1 + r values_k) + sum_d times_d log(1 + r d) is least.

    Parameters
    ----------
    squares : array, shape (b, k)
        Squared components of each response.
    values : array, shape (k,) or (b, k)
    determinant : array, shape (d,) or (b, d)
        Eigenvalues whose sum of log(1 + r d) is the log-determinant: those of A' Z Z' A under REML, sizes of the groups
        under ML.
    times : array, shape (d,)
        How often each occurs.
    weight : array, shape () or (b,)
        n - p under REML, n under ML.

    Returns
    -------
    ratio, deviance : array, shape (b,)
        As `best_ratios`.
    """
    grid = np.exp(LOG_GRID)
    if values.ndim == 1:
        rss = squares @ (1.0 / (1.0 + values[:, None] * grid))
    else:
        rss = np.stack([np.sum(squares / (1.0 + values * ratio), axis=1) for ratio in grid], axis=1)
    logs = times @ np.log1p(determinant[..., None] * grid)
    scanned = weight[..., None] * np.log(rss) + logs
    at_zero = weight * np.log(squares.sum(axis=1))
    peak = np.argmin(scanned, axis=1)
    place = LOG_GRID[peak].copy()
    best = scanned[np.arange(len(peak)), peak]
    low, high = LOG_GRID[np.maximum(peak - 1, 0)], LOG_GRID[np.minimum(peak + 1, LOG_GRID.size - 1)]
    # On the boundary there is nothing to refine: neither Newton's steps nor their cost.
    inside = np.flatnonzero(best < at_zero)
    place[inside], best[inside] = _refined(
        squares[inside],
        _rows(values, inside),
        _rows(determinant, inside),
        times,
        weight if weight.ndim == 0 else weight[inside],
        place[inside],
        best[inside],
        low[inside],
        high[inside],
    )
    ratio = np.where((best < at_zero) & (np.exp(place) > BOUNDARY_RATIO), np.exp(place), 0.0)
    return ratio, np.minimum(best, at_zero)


def _rows(array: FloatArray, chosen: IntArray) -> FloatArray:
    """Return the rows of what differs between responses; what is common to all, shape (k,), as it is."""
    return array if array.ndim == 1 else array[chosen]


def _refined(
    squares: FloatArray,
    values: FloatArray,
    determinant: FloatArray,
    times: FloatArray,
    weight: FloatArray,
    place: FloatArray,
    best: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Take Newton steps in the log ratio inside the bracket (low, high), keeping the best place.

    `squares` and `values` have shapes (b, k) and (k,) or (b, k); the log-determinant is the sum of
    log(1 + ratio d) over `determinant`, each d as often as `times` says; the rest has shape (b,).
    """
    trial = place
    for _ in range(NEWTON_STEPS + 1):
        ratio = np.exp(trial)[:, None]
        share = ratio * values / (1.0 + ratio * values)
        parts = squares * (1.0 - share)
        rss = parts.sum(axis=1)
        member = ratio * determinant / (1.0 + ratio * determinant)
        value = weight * np.log(rss) + np.log1p(ratio * determinant) @ times
        better = value < best
        place, best = np.where(better, trial, place), np.where(better, value, best)
        first = -(parts * share).sum(axis=1) / rss
        slope = weight * first + member @ times
        bend = weight * ((parts * share * (2.0 * share - 1.0)).sum(axis=1) / rss - first**2)
        bend += (member * (1.0 - member)) @ times
        low = np.where(slope < 0.0, np.maximum(low, trial), low)
        high = np.where(slope > 0.0, np.minimum(high, trial), high)
        usable = bend > 0.0
        step = trial - slope / np.where(usable, bend, 1.0)
        middle = 0.5 * (low + high)
        trial = np.where(usable & (step > low) & (step < high), step, middle)
    return place, best
