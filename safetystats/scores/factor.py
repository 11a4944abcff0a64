"""One-factor maximum likelihood on correlation matrices, many at once.

EM for factor analysis (Rubin & Thayer 1982) with uniquenesses bounded below, as R's `factanal` does (`lower = 0.005`);
the bounded step is still the exact M-step, so the likelihood never falls. EM crawls where a uniqueness runs to the
bound (a Heywood case), so every other step is extrapolated (SQUAREM, scheme S3 of Varadhan & Roland 2008) and kept only
where the likelihood gains by it. No line search, hence it vectorises over resamples.
"""

from __future__ import annotations

import numpy as np

from safetystats.scores.weighted import FloatArray

UNIQUENESS_FLOOR = 0.005
TOLERANCE = 1e-8
MAX_ITERATIONS = 5_000


def ml_one_factor(matrices: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return loadings and uniquenesses of the one-factor model.

    The iterations start from the leading eigenvector, so that of several local optima (a doublet of tightly correlated
    benchmarks is one) the one nearest to the principal component is found.

    Parameters
    ----------
    matrices : array, shape (D, k, k)
        Correlation matrices, k >= 3; they may be singular.

    Returns
    -------
    loading, uniqueness : array, shape (D, k)
        Up to sign. NaN where an EM step still moves a loading by more than `TOLERANCE` after `MAX_ITERATIONS`.
    """
    n_draws, size, _ = matrices.shape
    spectrum, vectors = np.linalg.eigh(matrices)
    loading = vectors[:, :, -1] * np.sqrt(np.maximum(spectrum[:, -1:] - 1.0, 0.1) * size / (size - 1))
    loading = np.clip(loading, -0.99, 0.99)
    uniqueness = np.maximum(1.0 - loading**2, UNIQUENESS_FLOOR)
    final_loading, final_uniqueness = np.full((n_draws, size), np.nan), np.full((n_draws, size), np.nan)
    active = np.arange(n_draws)
    for _ in range(MAX_ITERATIONS):
        if active.size == 0:
            break
        now = matrices[active]
        first = _em_step(now, loading, uniqueness)
        second = _em_step(now, *first)
        leap = _em_step(now, *_extrapolate((loading, uniqueness), first, second))
        better = (_discrepancy(now, *leap) < _discrepancy(now, *second))[:, None]
        done = np.abs(first[0] - loading).max(axis=1) < TOLERANCE
        loading, uniqueness = (np.where(better, far, near) for far, near in zip(leap, second, strict=True))
        if done.any():
            final_loading[active[done]], final_uniqueness[active[done]] = loading[done], uniqueness[done]
            active, loading, uniqueness = active[~done], loading[~done], uniqueness[~done]
    return final_loading, final_uniqueness


def _em_step(matrices: FloatArray, loading: FloatArray, uniqueness: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return loading and uniqueness, each (D, k), after one E-step and one bounded M-step."""
    precision = loading / uniqueness
    beta = precision / (1.0 + (loading * precision).sum(axis=1, keepdims=True))
    cross = (matrices @ beta[:, :, None])[:, :, 0]
    second_moment = 1.0 - (beta * loading).sum(axis=1) + (beta * cross).sum(axis=1)
    updated = cross / second_moment[:, None]
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    return updated, np.maximum(diagonal - updated * cross, UNIQUENESS_FLOOR)


def _extrapolate(
    start: tuple[FloatArray, FloatArray], first: tuple[FloatArray, FloatArray], second: tuple[FloatArray, FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Return the SQUAREM point from three successive EM points, in loadings and log uniquenesses."""
    zero, one, two = (np.concatenate([point[0], np.log(point[1])], axis=1) for point in (start, first, second))
    step = one - zero
    bend = (two - one) - step
    length = np.linalg.norm(step, axis=1) / np.maximum(np.linalg.norm(bend, axis=1), 1e-300)
    alpha = np.clip(length, 1.0, 1e4)[:, None]
    far = zero + 2.0 * alpha * step + alpha**2 * bend
    size = start[0].shape[1]
    return far[:, :size], np.exp(np.clip(far[:, size:], np.log(UNIQUENESS_FLOOR), 0.0))


def _discrepancy(matrices: FloatArray, loading: FloatArray, uniqueness: FloatArray) -> FloatArray:
    """Return log|Sigma| + tr(Sigma^-1 S), shape (D,), which maximum likelihood makes small."""
    precision = loading / uniqueness
    information = 1.0 + (loading * precision).sum(axis=1)
    quadratic = (precision[:, None, :] @ matrices @ precision[:, :, None])[:, 0, 0]
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    trace = (diagonal / uniqueness).sum(axis=1) - quadratic / information
    result: FloatArray = np.log(uniqueness).sum(axis=1) + np.log(information) + trace
    return result
