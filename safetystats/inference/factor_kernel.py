r"""The factor model with capability, further factors and family effects integrated out: log density and gradient.

Helmert contrasts inside the families make the rows of complete data independent (`safetystats.inference.factor`): n - F
contrasts with mean zero, of which only the cross-products S matter, and for each of the F families sqrt(n_f) times its
mean. A row has covariance

    C = D + A A',    D = (1 - kappa + c kappa) v,    A = (l_0 sqrt(t), l_1, ..., l_J),    t = 1 - omega + c omega,

with c = 0 in contrasts and c = n_f in families, so that C^-1 = D^-1 - W V' with W = D^-1 A and V = W (I + A'W)^-1. With
M = C^-1 S C^-1 - n C^-1 the derivatives of the log likelihood of n rows with cross-products S are diag(M) / 2 by D and
M l_j (times t for capability) by the loadings; they are carried back to the free parameters one benchmark at a time.
Missing cells are free parameters without a prior: the marginal posterior is that given the observed cells.

The free parameters are, in this order: the logits of (rho + 1) / 2, log s, alpha, each over the benchmarks; with
families the logits of kappa over the benchmarks and of omega; the logits of (r + 1) / 2 of the further loadings that
there are, benchmark by benchmark, r the partial correlation with a factor given those before it; and the missing cells.

References
----------
Woodbury (1950); Magnus and Neudecker (2019), Matrix Differential Calculus, ch. 15.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.native import DENSITY, array_at, callback, compiled

HEAD = 9
"""Numbers before the arrays of a packed problem."""


class Problem(NamedTuple):
    """Data, priors and structure of one fit: n models in F families, k benchmarks, J further factors."""

    families: bool  # whether models of one family share capability and residuals
    loading: FloatArray  # (k, 2): shapes of the beta prior of (rho + 1) / 2
    total_sd: FloatArray  # (2,): mean and sd of log s
    intercept: FloatArray  # (2,): mean and sd of alpha
    icc: FloatArray  # (2,): shapes of the beta prior of kappa
    capability_icc: FloatArray  # (2,): of omega
    further: FloatArray  # (2,): of (r + 1) / 2
    anchors: FloatArray  # (k,): one for a capability benchmark
    places: IntArray  # (k, J): where in a point the parameter of a further loading is; -1 where there is none
    values: FloatArray  # (n, k): scores, zero where missing
    family_of: IntArray  # (n,)
    sizes: FloatArray  # (F,): models of each family
    cells: IntArray  # (n_missing, 2): model and benchmark of each missing cell
    cross: FloatArray  # (k, k): cross-products within families, of complete data
    means: FloatArray  # (F, k): family means, of complete data
    first_cell: int  # where in a point the missing cells begin
    constant: float  # of the log density: what does not depend on the parameters


class Columns(NamedTuple):
    """Parameters of the benchmarks at one point; m = 1 + J factors."""

    rho: FloatArray  # (k,)
    sd: FloatArray  # (k,)
    mean: FloatArray  # (k,)
    icc: FloatArray  # (k,)
    partial: FloatArray  # (k, J)
    left: FloatArray  # (k, m): share of variance left by the first factors; the last is that of the unique part
    unique: FloatArray  # (k,)
    loadings: FloatArray  # (m, k): in units of y, capability first
    omega: float
    rest: float  # 1 - omega


class Slopes(NamedTuple):
    """Derivatives of the log likelihood by what the rows are made of; filled in group by group."""

    mean: FloatArray  # (k,)
    unique: FloatArray  # (k,)
    icc: FloatArray  # (k,)
    loadings: FloatArray  # (m, k)
    omega: FloatArray  # (1,)


@compiled
def logistic(x: float) -> tuple[float, float, float, float]:
    """Return the inverse logit p, 1 - p, and the logarithms of both, without cancellation."""
    small = np.exp(-abs(x))
    p, q, log_p = 1.0 / (1.0 + small), small / (1.0 + small), -np.log1p(small)
    return (p, q, log_p, log_p - x) if x >= 0 else (q, p, log_p + x, log_p)


@compiled
def of_beta(x: FloatArray, at: int, above: float, below: float, slope: FloatArray) -> tuple[float, float, float]:
    """Return p and 1 - p at a logit whose p has a beta prior, and the log prior; write its derivative into `slope`."""
    p, q, log_p, log_q = logistic(x[at])
    slope[at] = above * q - below * p
    return p, q, above * log_p + below * log_q


@compiled
def within_families(values: FloatArray, family_of: IntArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return scores less the mean of their family, shape (n, k), and the means, shape (F, k)."""
    n, k = values.shape
    means, inside = np.zeros((len(sizes), k)), np.empty((n, k))
    for m in range(n):
        for b in range(k):
            means[family_of[m], b] += values[m, b] / sizes[family_of[m]]
    for m in range(n):
        for b in range(k):
            inside[m, b] = values[m, b] - means[family_of[m], b]
    return inside, means


@compiled
def low_rank(loadings: FloatArray, variance: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return W = D^-1 A and V with C^-1 = D^-1 - W V', both transposed, and log det C, for C = D + A A'.

    Loadings and what is returned have shape (m, k): factors in rows, so that inner loops run along the benchmarks.
    """
    m, k = loadings.shape
    w, v, inner, log_det = np.empty((m, k)), np.empty((m, k)), np.eye(m), 0.0
    for b in range(k):
        log_det += np.log(variance[b])
        for i in range(m):
            v[i, b] = w[i, b] = loadings[i, b] / variance[b]
    for i in range(m):
        for j in range(i + 1):  # Cholesky factor of I + A' W, row by row
            for b in range(k):
                inner[i, j] += loadings[j, b] * w[i, b]
            for h in range(j):
                inner[i, j] -= inner[i, h] * inner[j, h]
            inner[i, j] = inner[i, j] / inner[j, j] if i > j else np.sqrt(inner[i, i])
        log_det += 2.0 * np.log(inner[i, i])
    for b in range(k):
        for i in range(m):
            for h in range(i):
                v[i, b] -= inner[i, h] * v[h, b]
            v[i, b] /= inner[i, i]
        for i in range(m - 1, -1, -1):
            for h in range(i + 1, m):
                v[i, b] -= inner[h, i] * v[h, b]
            v[i, b] /= inner[i, i]
    return w, v, log_det


@compiled
def columns_of(x: FloatArray, problem: Problem, slope: FloatArray) -> tuple[Columns, float]:
    """Return the parameters and the log prior without constants; write its derivatives into `slope`, shape as `x`.

    The prior of a loading is that of the loading turned to the side where those of the anchors have a positive sum.
    """
    k, n_further = problem.places.shape
    rho, sd, icc, unique = np.empty(k), np.empty(k), np.zeros(k), np.empty(k)
    partial, left, loadings = np.zeros((k, n_further)), np.empty((k, n_further + 1)), np.zeros((n_further + 1, k))
    value, anchored, omega, rest = 0.0, 0.0, 0.0, 1.0
    for b in range(k):
        p, q, _, _ = logistic(x[b])
        rho[b], left[b, 0] = p - q, 4.0 * p * q
        anchored += problem.anchors[b] * rho[b]
    turned = 0 if anchored >= 0 else 1
    for b in range(k):
        value += of_beta(x, b, problem.loading[b, turned], problem.loading[b, 1 - turned], slope)[2]
        sd[b] = np.exp(x[k + b])
        for at, prior in ((k + b, problem.total_sd), (2 * k + b, problem.intercept)):
            z = (x[at] - prior[0]) / prior[1]
            value -= 0.5 * z * z
            slope[at] = -z / prior[1]
    at = 3 * k
    if problem.families:
        for b in range(k + 1):
            prior = problem.icc if b < k else problem.capability_icc
            p, q, log_prior = of_beta(x, at + b, prior[0], prior[1], slope)
            value += log_prior
            if b < k:
                icc[b] = p
            else:
                omega, rest = p, q
    for b in range(k):
        loadings[0, b] = sd[b] * rho[b]
        for j in range(n_further):
            left[b, j + 1] = left[b, j]
            at = problem.places[b, j]
            if at >= 0:
                p, q, log_prior = of_beta(x, at, problem.further[0], problem.further[1], slope)
                value += log_prior
                partial[b, j] = p - q
                loadings[j + 1, b] = sd[b] * partial[b, j] * np.sqrt(left[b, j])
                left[b, j + 1] *= 4.0 * p * q
        unique[b] = sd[b] ** 2 * left[b, n_further]
    return Columns(rho, sd, x[2 * k : 3 * k], icc, partial, left, unique, loadings, omega, rest), value


@compiled
def scaled(columns: Columns, count: float) -> tuple[FloatArray, FloatArray, float]:
    """Return A', shape (m, k), D, shape (k,), and the root of t for rows that share `count` family effects."""
    loadings, variance = columns.loadings.copy(), np.empty(len(columns.rho))
    root = np.sqrt(columns.rest + count * columns.omega)
    for b in range(len(variance)):
        loadings[0, b] *= root
        variance[b] = (1.0 - columns.icc[b] + count * columns.icc[b]) * columns.unique[b]
    return loadings, variance, root


@compiled
def add_slopes(
    slopes: Slopes, columns: Columns, count: float, root: float, by_variance: FloatArray, by_loading: FloatArray
) -> None:
    """Add derivatives by D, shape (k,), and by A', shape (m, k)."""
    for b in range(len(by_variance)):
        slopes.omega[0] += 0.5 * (count - 1.0) / root * by_loading[0, b] * columns.loadings[0, b]
        by_loading[0, b] *= root
        slopes.unique[b] += by_variance[b] * (1.0 - columns.icc[b] + count * columns.icc[b])
        slopes.icc[b] += by_variance[b] * (count - 1.0) * columns.unique[b]
    for i in range(len(by_loading)):
        for b in range(len(by_variance)):
            slopes.loadings[i, b] += by_loading[i, b]


@compiled
def contrasts(
    columns: Columns, n_rows: float, cross: FloatArray, slopes: Slopes
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Return the log likelihood of the contrasts within families, and W', V' and D; add its derivatives."""
    loadings, variance, root = scaled(columns, 0.0)
    m, k = loadings.shape
    w, v, log_det = low_rank(loadings, variance)
    taken = np.zeros((m, k))  # W' S
    for i in range(m):
        for b in range(k):
            for c in range(k):
                taken[i, c] += w[i, b] * cross[b, c]
    quadratic, row, by_variance, by_loading = 0.0, np.empty(k), np.empty(k), np.empty((m, k))
    for b in range(k):
        for c in range(k):  # row b of C^-1 S
            row[c] = cross[b, c] / variance[b]
        for i in range(m):
            for c in range(k):
                row[c] -= v[i, b] * taken[i, c]
        quadratic += row[b]
        by_variance[b] = 0.5 * (row[b] - n_rows) / variance[b]
        for i in range(m):
            on_w, on_v = 0.0, 0.0
            for c in range(k):
                on_w += row[c] * w[i, c]
                on_v += row[c] * v[i, c]
            by_variance[b] -= 0.5 * (on_w - n_rows * w[i, b]) * v[i, b]
            by_loading[i, b] = on_v - n_rows * v[i, b]
    add_slopes(slopes, columns, 0.0, root, by_variance, by_loading)
    return -0.5 * (n_rows * log_det + quadratic), w, v, variance


@compiled
def families_of_size(
    columns: Columns, problem: Problem, size: float, means: FloatArray, slopes: Slopes, scores: FloatArray
) -> float:
    """Return the log likelihood of the means of all families of one size; add its derivatives.

    The derivatives by the means themselves, less their sign, are written into `scores`, shape (F, k).
    """
    loadings, variance, root = scaled(columns, size)
    m, k = loadings.shape
    w, v, log_det = low_rank(loadings, variance)
    n_rows, quadratic, residual, share = 0.0, 0.0, np.empty(k), np.sqrt(size)
    by_variance, by_loading = np.zeros(k), np.zeros((m, k))
    for f in range(len(problem.sizes)):
        if problem.sizes[f] != size:
            continue
        n_rows += 1.0
        score = scores[f]  # C^-1 residual, for now
        for b in range(k):
            residual[b] = share * (means[f, b] - columns.mean[b])
            score[b] = residual[b] / variance[b]
        for i in range(m):
            along = 0.0
            for b in range(k):
                along += w[i, b] * residual[b]
            for b in range(k):
                score[b] -= v[i, b] * along
        for i in range(m):
            along = 0.0
            for b in range(k):
                along += loadings[i, b] * score[b]
            for b in range(k):
                by_loading[i, b] += score[b] * along
        for b in range(k):
            quadratic += score[b] * residual[b]
            by_variance[b] += 0.5 * score[b] ** 2
            score[b] *= share
            slopes.mean[b] += score[b]
    for b in range(k):
        by_variance[b] -= 0.5 * n_rows / variance[b]
    for i in range(m):
        for b in range(k):
            by_variance[b] += 0.5 * n_rows * w[i, b] * v[i, b]
            by_loading[i, b] -= n_rows * v[i, b]
    add_slopes(slopes, columns, size, root, by_variance, by_loading)
    return -0.5 * (n_rows * log_det + quadratic)


@compiled
def to_free(problem: Problem, columns: Columns, slopes: Slopes, slope: FloatArray) -> None:
    """Add the derivatives of the log likelihood by the free parameters to `slope`."""
    (k, n_further), at = problem.places.shape, 3 * len(columns.rho)
    if problem.families:
        for b in range(k):
            slope[at + b] += slopes.icc[b] * columns.icc[b] * (1.0 - columns.icc[b])
        slope[at + k] += slopes.omega[0] * columns.omega * columns.rest
    for b in range(k):
        slope[k + b] += 2.0 * columns.unique[b] * slopes.unique[b]
        for i in range(n_further + 1):
            slope[k + b] += slopes.loadings[i, b] * columns.loadings[i, b]
        slope[2 * k + b] += slopes.mean[b]
        by_left = columns.sd[b] ** 2 * slopes.unique[b]
        for j in range(n_further - 1, -1, -1):
            at = problem.places[b, j]
            if at >= 0:
                r, root = columns.partial[b, j], np.sqrt(columns.left[b, j])
                kept, by_loading = (1.0 - r) * (1.0 + r), columns.sd[b] * slopes.loadings[j + 1, b]
                slope[at] += 0.5 * kept * (by_loading * root - 2.0 * r * columns.left[b, j] * by_left)
                by_left = by_left * kept + 0.5 * by_loading * r / root
        by_rho = columns.sd[b] * slopes.loadings[0, b] - 2.0 * columns.rho[b] * by_left
        slope[b] += 0.5 * by_rho * columns.left[b, 0]


@compiled
def log_density(x: FloatArray, problem: Problem, slope: FloatArray) -> float:
    """Return the log density of the free parameters, normalised; write its gradient into `slope`, shape as `x`."""
    slope[:] = 0.0
    columns, value = columns_of(x, problem, slope)
    (k, n_further), n_families = problem.places.shape, len(problem.sizes)
    n, n_missing = len(problem.values), len(problem.cells)
    slopes = Slopes(np.zeros(k), np.zeros(k), np.zeros(k), np.zeros((n_further + 1, k)), np.zeros(1))
    values, cross, means = problem.values, problem.cross, problem.means
    if n_missing:
        values = problem.values.copy()
        for i in range(n_missing):
            values[problem.cells[i, 0], problem.cells[i, 1]] = x[problem.first_cell + i]
        values, means = within_families(values, problem.family_of, problem.sizes)
        cross = values.T @ values
    if n > n_families:
        likelihood, w, v, variance = contrasts(columns, float(n - n_families), cross, slopes)
        value += likelihood
        for i in range(n_missing):
            m, b = problem.cells[i]
            slope[problem.first_cell + i] -= values[m, b] / variance[b]
            for c in range(k):
                slope[problem.first_cell + i] += (w[:, b] * v[:, c]).sum() * values[m, c]
    scores = np.zeros((n_families, k))
    for f in range(n_families):
        first = True
        for earlier in range(f):
            first = first and problem.sizes[earlier] != problem.sizes[f]
        if first:
            value += families_of_size(columns, problem, problem.sizes[f], means, slopes, scores)
    for i in range(n_missing):
        m, b = problem.cells[i]
        f = problem.family_of[m]
        slope[problem.first_cell + i] -= scores[f, b] / problem.sizes[f]
    to_free(problem, columns, slopes, slope)
    return value + problem.constant


@compiled
def unpacked(flat: FloatArray) -> Problem:
    """Return the problem that was packed."""
    k, n_further, n, n_families, n_missing = int(flat[1]), int(flat[2]), int(flat[3]), int(flat[4]), int(flat[5])
    lengths = np.array(
        [2 * k, 10, k, k * n_further, n * k, n, n_families, 2 * n_missing, k * k, n_families * k], dtype=np.int64
    )
    ends = HEAD + np.cumsum(lengths)
    part = [flat[ends[i] - lengths[i] : ends[i]] for i in range(len(ends))]
    numbers, places = part[1].reshape(5, 2), part[3].reshape(k, n_further).astype(np.int64)
    cells = part[7].reshape(n_missing, 2).astype(np.int64)
    return Problem(
        flat[6] > 0, part[0].reshape(k, 2), numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], part[2], places,
        part[4].reshape(n, k), part[5].astype(np.int64), part[6], cells, part[8].reshape(k, k),
        part[9].reshape(n_families, k), int(flat[7]), flat[8],
    )  # fmt: skip


@callback(DENSITY)
def sampled_density(n_dim, point, slope, value, data):  # type: ignore[no-untyped-def]
    """Evaluate the density of a packed problem, for the sampler; zero if all went well."""
    array_at(value, (1,))[0] = np.nan  # what is left if memory runs out: the sampler would take an error for a success
    length = int(array_at(data, (1,), np.float64)[0])
    problem = unpacked(array_at(data, (length,), np.float64))
    if n_dim != problem.first_cell + len(problem.cells):
        return 2
    gradient = array_at(slope, (n_dim,))
    found = log_density(array_at(point, (n_dim,)), problem, gradient)
    array_at(value, (1,))[0] = found
    return 0 if np.isfinite(found) and np.isfinite(gradient).all() else 1
