"""The density of a factor model as a function that the sampler calls by its address, its data one row of numbers."""

from __future__ import annotations

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.inference.factor_kernel import Problem, log_density
from safetystats.inference.native import DENSITY, EXPANSION, array_at, callback, compiled

HEAD = 9
"""Numbers before the arrays of a packed problem."""


def packed(problem: Problem) -> FloatArray:
    """Return a problem as one row of numbers, their count first, which the sampler hands back to `sampled_density`."""
    (k, n_further), n, n_families = problem.places.shape, len(problem.values), len(problem.sizes)
    head = [k, n_further, n, n_families, len(problem.cells), problem.families, problem.first_cell, problem.constant]
    arrays = [np.ravel(part) for part in problem if isinstance(part, np.ndarray)]
    return np.concatenate([[1 + len(head) + sum(map(len, arrays))], head, *arrays], dtype=np.float64)


@compiled
def unpacked(flat: FloatArray) -> Problem:
    """Return the problem that was packed."""
    k, n_further, n, n_families, n_missing = int(flat[1]), int(flat[2]), int(flat[3]), int(flat[4]), int(flat[5])
    at = HEAD
    loading = flat[at : at + 2 * k].reshape(k, 2)
    at += 2 * k
    numbers = flat[at : at + 10].reshape(5, 2)
    at += 10
    anchors = flat[at : at + k]
    at += k
    places = flat[at : at + k * n_further].reshape(k, n_further).astype(np.int64)
    at += k * n_further
    values = flat[at : at + n * k].reshape(n, k)
    at += n * k
    family_of = flat[at : at + n].astype(np.int64)
    at += n
    sizes = flat[at : at + n_families]
    at += n_families
    cells = flat[at : at + 2 * n_missing].reshape(n_missing, 2).astype(np.int64)
    at += 2 * n_missing
    cross = flat[at : at + k * k].reshape(k, k)
    at += k * k
    means = flat[at : at + n_families * k].reshape(n_families, k)
    return Problem(
        flat[6] > 0, loading, numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], anchors, places, values,
        family_of, sizes, cells, cross, means, int(flat[7]), flat[8],
    )  # fmt: skip


@callback(DENSITY)
def sampled_density(n_dim, point, slope, value, data):  # type: ignore[no-untyped-def]
    """Evaluate the density of a packed problem, for the sampler."""
    length = int(array_at(data, (1,), np.float64)[0])
    problem = unpacked(array_at(data, (length,), np.float64))
    gradient = array_at(slope, (n_dim,))
    found = log_density(array_at(point, (n_dim,)), problem, gradient)
    array_at(value, (1,))[0] = found
    return 0 if np.isfinite(found) and np.isfinite(gradient).all() else 1


@callback(EXPANSION)
def kept_point(n_dim, n_kept, point, kept, data):  # type: ignore[no-untyped-def]
    """Keep the point as it is."""
    for i in range(n_dim):
        kept[i] = point[i]
    return 0
