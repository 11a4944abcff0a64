"""The arithmetic of the crossed density, compiled: one area at a time, so that its matrices stay in the cache.

What is computed is explained in `safetystats.inference.crossed_marginal`. Arrays in NumPy took longer, most of it
in calls on small arrays, and held the interpreter's lock, so that chains could not run at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.crossed_values import Layout
from safetystats.inference.native import compiled


class Scales(NamedTuple):
    """One set of variances; sds of coefficients by column, variances of models and of lineages."""

    residual_sd: FloatArray  # (B,)
    benchmark_sd: FloatArray  # (p,)
    area_sd: FloatArray  # (p,)
    top_sd: FloatArray  # (p,)
    own_area: float
    lineage_area: float
    own: float
    lineage: float


class Levels(NamedTuple):
    """Everything of one set of variances that does not depend on the scores; r columns in the widest area.

    Per pattern the coefficients of a benchmark are written in the basis in which their prior is standard normal and
    the columns of the design are orthogonal over the seen models; then their posterior covariance is diagonal. In
    area a, H_a is the posterior covariance of V_a given V_0 with all coefficients fixed, `low` and `held` are rows U
    with Q_a = E_a - U'U and W_a = H_a + U'U: the information on V_0, and the posterior covariance of V_a given V_0.
    """

    weight: FloatArray  # (B,): 1 / s_b^2
    turn: FloatArray  # (N, p, p): eigenvectors of the products of scaled columns
    basis: FloatArray  # (N, p, p): the same, scaled; columns of the design times this are orthogonal over the pattern
    squares: FloatArray  # (N, p): their squared lengths
    left: FloatArray  # (B, p): posterior variances of coefficients in the basis, given V_a
    rows: FloatArray  # (A, r, n): the orthogonal columns of all patterns of an area, zero where not seen
    within: FloatArray  # (A, r, r): rows H rows'
    fixed: FloatArray  # (A, n): diagonal of H
    held: FloatArray  # (A, r + p, n)
    shared: FloatArray  # (n, n): X T_1 X' + K_1
    info: FloatArray  # (A, n, n): Q, information of an area on V_0
    total: FloatArray  # (n, n): sum of Q over areas
    top: FloatArray  # (n, n): a root of the posterior covariance of V_0, top top'
    log_det: float


@compiled
def inverse_root(matrix: FloatArray) -> tuple[FloatArray, float]:
    """Return lower R with R'R the inverse of a positive definite matrix, and the log determinant of the matrix."""
    factor = np.linalg.cholesky(matrix)
    n, log_det = len(factor), 0.0
    out = np.zeros((n, n))
    for i in range(n):
        log_det += 2.0 * np.log(factor[i, i])
        for k in range(i):
            for j in range(k + 1):
                out[i, j] -= factor[i, k] * out[k, j]
        out[i, i] = 1.0
        for j in range(i + 1):
            out[i, j] /= factor[i, i]
    return out, log_det


@compiled
def by_lineage(rows: FloatArray, lineage_of: IntArray) -> FloatArray:
    """Return sums over the models of a lineage, given back to each of them, shape (k, n) as `rows`."""
    out = np.empty(rows.shape)
    sums = np.empty(len(lineage_of))
    for i in range(len(rows)):
        sums[:] = 0.0
        for m in range(len(lineage_of)):
            sums[lineage_of[m]] += rows[i, m]
        for m in range(len(lineage_of)):
            out[i, m] = sums[lineage_of[m]]
    return out


@compiled
def covariance(x: FloatArray, sd: FloatArray, own: float, lineage: float, lineage_of: IntArray) -> FloatArray:
    """Return X T X' + own I + lineage ZZ', shape (n, n)."""
    scaled = x * sd
    out = scaled @ scaled.T
    for i in range(len(x)):
        out[i, i] += own
        for j in range(len(x)):
            if lineage_of[i] == lineage_of[j]:
                out[i, j] += lineage
    return out


@compiled
def levels_of(layout: Layout, at: Scales) -> Levels:
    """Return what the density needs of one set of variances; a matrix that is not positive definite is an error."""
    x, (n_patterns, n), p = layout.x, layout.pattern_seen.shape, layout.x.shape[1]
    n_areas, n_benchmarks = len(layout.widths), len(at.residual_sd)
    widest = p * layout.widths.max()
    weight, log_det = at.residual_sd**-2.0, 0.0
    turn, basis, squares = np.empty((n_patterns, p, p)), np.empty((n_patterns, p, p)), np.empty((n_patterns, p))
    for k in range(n_patterns):
        scaled = layout.pattern_cross[k] * at.benchmark_sd
        values, vectors = np.linalg.eigh((scaled.T * at.benchmark_sd).T)
        squares[k] = np.maximum(values, 0.0)
        turn[k] = vectors
        for i in range(p):
            basis[k, i] = at.benchmark_sd[i] * vectors[i]
    left, taken, sums = np.empty((n_benchmarks, p)), np.zeros((n_patterns, p)), np.zeros(n_patterns)
    for b in range(n_benchmarks):
        k = layout.pattern_of[b]
        sums[k] += weight[b]
        log_det += 2.0 * layout.n_seen[b] * np.log(at.residual_sd[b])
        for i in range(p):
            left[b, i] = 1.0 / (1.0 + weight[b] * squares[k, i])
            log_det -= np.log(left[b, i])
            taken[k, i] += weight[b] ** 2 * left[b, i]
    precision = np.zeros((n_areas, n))
    rows, root_taken = np.zeros((n_areas, widest, n)), np.zeros((n_areas, widest))
    for k in range(n_patterns):
        a, start = layout.pattern_area[k], p * layout.pattern_place[k]
        columns = x @ basis[k]
        for m in range(n):
            precision[a, m] += sums[k] * layout.pattern_seen[k, m]
            for i in range(p):
                rows[a, start + i, m] = columns[m, i] * layout.pattern_seen[k, m]
        root_taken[a, start : start + p] = np.sqrt(taken[k])

    within, fixed = np.zeros((n_areas, widest, widest)), np.empty((n_areas, n))
    held, info = np.zeros((n_areas, widest + p, n)), np.empty((n_areas, n, n))
    area_columns, total = (x * at.area_sd).T.copy(), np.zeros((n, n))
    own, lineage, lineage_of = at.own_area, at.lineage_area, layout.lineage_of
    for a in range(n_areas):
        rank = p * layout.widths[a]
        # Coefficients fixed: E_a and H_a are diagonal but for pairs of one lineage.
        u = 1.0 / (1.0 + own * precision[a])
        e = precision[a] * u
        in_lineage = 1.0 + lineage * by_lineage(e.reshape(1, n), lineage_of)[0]
        pull = lineage / in_lineage
        first = np.zeros(n)
        for m in range(n):
            log_det -= np.log(u[m])
            if first[lineage_of[m]] == 0.0:
                first[lineage_of[m]] = 1.0
                log_det += np.log(in_lineage[m])
        fixed[a] = own * u + pull * u**2
        # Coefficients of benchmarks
        scaled = rows[a, :rank] * u
        common = by_lineage(scaled, lineage_of) * pull
        kept, low = own * scaled + u * common, scaled - e * common
        within[a, :rank, :rank] = rows[a, :rank] @ kept.T
        inner = np.eye(rank)
        for i in range(rank):
            for j in range(rank):
                inner[i, j] -= root_taken[a, i] * within[a, i, j] * root_taken[a, j]
        root, more = inverse_root(inner)
        log_det += more
        root = root * root_taken[a, :rank]
        low = root @ low
        held[a, :rank] = root @ kept
        # Coefficients of areas
        scaled = area_columns * e
        known = scaled - by_lineage(scaled, lineage_of) * (pull * e) - (area_columns @ low.T) @ low
        root, more = inverse_root(np.eye(p) + known @ area_columns.T)
        log_det += more
        held[a, widest:] = root @ (area_columns - own * known - lineage * by_lineage(known, lineage_of))
        known = root @ known
        info[a] = -(low.T @ low) - known.T @ known
        for i in range(n):
            info[a, i, i] += e[i]
            for j in range(n):
                if lineage_of[i] == lineage_of[j]:
                    info[a, i, j] -= pull[i] * e[i] * e[j]
        total += info[a]

    shared = covariance(x, at.area_sd, own, lineage, lineage_of)
    above = np.linalg.cholesky(covariance(x, at.top_sd, at.own, at.lineage, lineage_of))
    root, more = inverse_root(np.eye(n) + above.T @ total @ above)
    top = above @ root.T
    return Levels(
        weight, turn, basis, squares, left, rows, within, fixed, held, shared, info, total, top, log_det + more
    )


@compiled
def means_of(layout: Layout, levels: Levels, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Return Sigma^-1 y summed by area, means of V_a, shape (A, n); rows' y, shape (B, p); and y' Sigma^-1 y."""
    x, (n_areas, n), p = layout.x, levels.fixed.shape, layout.x.shape[1]
    sums, turned = np.zeros((n_areas, n)), y @ x
    vectors, quadratic = np.zeros(levels.squares.shape), 0.0
    for b in range(len(y)):
        k, w = layout.pattern_of[b], levels.weight[b]
        turned[b] = levels.basis[k].T @ turned[b]
        for m in range(n):
            sums[layout.area_of[b], m] += w * y[b, m]
            quadratic += w * y[b, m] ** 2
        for i in range(p):
            vectors[k, i] += w**2 * levels.left[b, i] * turned[b, i]
            quadratic -= w**2 * levels.left[b, i] * turned[b, i] ** 2
    for k in range(len(vectors)):
        sums[layout.pattern_area[k]] -= layout.pattern_seen[k] * (x @ (levels.basis[k] @ vectors[k]))
    scores = np.empty((n_areas, n))
    for a in range(n_areas):
        scores[a] = sums[a] - levels.info[a] @ (levels.shared @ sums[a])
    top = levels.top @ (levels.top.T @ scores.sum(axis=0))
    areas = np.empty((n_areas, n))
    for a in range(n_areas):
        scores[a] -= levels.info[a] @ top
        areas[a] = top + levels.shared @ scores[a]
    # y' Sigma^-1 y = sum_b y_b' C_b^-1 (y_b - V_a), with V_a at its posterior mean
    return scores, areas, turned, quadratic - (sums * areas).sum()


@compiled
def squared_sums(rows: FloatArray, lineage_of: IntArray) -> float:
    """Return the sum over lineages and columns of squared sums over models; `rows` has shape (n, k)."""
    sums = np.zeros(rows.shape)
    for m in range(len(rows)):
        sums[lineage_of[m]] += rows[m]
    return float((sums**2).sum())


@compiled
def slopes_of(
    layout: Layout, levels: Levels, y: FloatArray, scores: FloatArray, areas: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return derivatives of the log likelihood.

    Parameters
    ----------
    y : array, shape (B, n)
    scores, areas : arrays, shape (A, n)
        From `means_of`.

    Returns
    -------
    array, shape (B,)
        By the log residual sds.
    arrays, shape (p,)
        By the log sds of coefficients between benchmarks, and, to be multiplied by their variance, between areas.
    arrays, shape (2,)
        Twice those by I and by ZZ' in the covariance of V_a, and of V_0.
    """
    x, (n_areas, n), p, n_benchmarks = layout.x, scores.shape, layout.x.shape[1], len(y)
    widest, total = levels.rows.shape[1], levels.total
    by_residual, by_column = np.empty(n_benchmarks), np.zeros(p)
    # g g' - Q + Q P Q, with g = Sigma^-1 y summed over benchmarks and P the covariance of V_0
    inside = np.zeros(2)
    for i in range(n):
        for j in range(n):
            if layout.lineage_of[i] == layout.lineage_of[j]:
                inside[1] -= total[i, j]
        inside[0] -= total[i, i]
    outside = inside.copy()
    spread, together = total @ levels.top, scores.sum(axis=0).reshape(n, 1)
    outside[0] += (spread**2).sum() + (together**2).sum()
    outside[1] += squared_sums(spread, layout.lineage_of) + squared_sums(together, layout.lineage_of)
    columns = total @ x
    by_area = -(columns * x).sum(axis=0)
    variance, between = np.empty((n_areas, n)), np.empty((n_areas, widest, widest))
    for a in range(n_areas):
        rank = p * layout.widths[a]
        spread = levels.info[a] @ levels.top
        inside[0] += (spread**2).sum() + (scores[a] ** 2).sum()
        inside[1] += squared_sums(spread, layout.lineage_of)
        inside[1] += squared_sums(scores[a].copy().reshape(n, 1), layout.lineage_of)
        by_area += ((x.T @ spread) ** 2).sum(axis=1) + (x.T @ scores[a]) ** 2
        carried = levels.top - levels.shared @ spread
        variance[a] = levels.fixed[a] + (levels.held[a] ** 2).sum(axis=0) + (carried**2).sum(axis=1)
        rows = levels.rows[a, :rank]
        kept, moved = rows @ levels.held[a].T, rows @ carried
        between[a, :rank, :rank] = levels.within[a, :rank, :rank] + kept @ kept.T + moved @ moved.T
    # Benchmarks: posterior second moments of deviations and residuals
    spreads, moments = np.empty(len(levels.squares)), np.zeros(levels.turn.shape)
    for k in range(len(spreads)):
        spreads[k] = layout.pattern_seen[k] @ variance[layout.pattern_area[k]]
    rest, slack, shift = np.empty(n), np.empty(p), np.empty(p)
    for b in range(n_benchmarks):
        k, a, w = layout.pattern_of[b], layout.area_of[b], levels.weight[b]
        start = p * layout.pattern_place[k]
        for m in range(n):
            rest[m] = layout.seen[b, m] * (y[b, m] - areas[a, m])
        turned_rest = levels.basis[k].T @ (x.T @ rest)
        residual = rest @ rest + spreads[k]
        for i in range(p):
            slack[i] = w * levels.left[b, i]
            shift[i] = slack[i] * turned_rest[i]
            square, known = levels.squares[k, i], slack[i] * between[a, start + i, start + i]
            residual += square * levels.left[b, i] + shift[i] * (square * shift[i] - 2.0 * turned_rest[i])
            residual += (slack[i] * square - 2.0) * known
            moments[k, i, i] += levels.left[b, i] - 1.0
        for i in range(p):
            for j in range(p):
                moments[k, i, j] += shift[i] * shift[j] + slack[i] * slack[j] * between[a, start + i, start + j]
        by_residual[b] = w * residual - layout.n_seen[b]
    for k in range(len(moments)):
        by_column += ((levels.turn[k] @ moments[k]) * levels.turn[k]).sum(axis=1)
    return by_residual, by_column, by_area, inside, outside
