"""One-factor maximum likelihood on correlation matrices, many at once.

EM for factor analysis (Rubin & Thayer 1982, equations 5 to 8) with uniquenesses bounded below, as R's `factanal` does
(`lower = 0.005`). The bounded step is still the exact M-step, so the likelihood never falls. EM is slow where a
uniqueness runs to the bound (a Heywood case), but it is the only iteration here that vectorises over two thousand
resamples without a line search.
"""

from __future__ import annotations

import numpy as np

from safetystats.scores.weighted import FloatArray

UNIQUENESS_FLOOR = 0.005
TOLERANCE = 1e-8
MAX_ITERATIONS = 10_000


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
        Up to sign. NaN where the largest change of a loading still exceeds `TOLERANCE` after `MAX_ITERATIONS`.
    """
    n_draws, size, _ = matrices.shape
    diagonal = np.diagonal(matrices, axis1=1, axis2=2)
    spectrum, vectors = np.linalg.eigh(matrices)
    loading = vectors[:, :, -1] * np.sqrt(np.maximum(spectrum[:, -1:] - 1.0, 0.1) * size / (size - 1))
    loading = np.clip(loading, -0.99, 0.99)
    uniqueness = np.maximum(diagonal - loading**2, UNIQUENESS_FLOOR)
    final_loading, final_uniqueness = np.full((n_draws, size), np.nan), np.full((n_draws, size), np.nan)
    active = np.arange(n_draws)
    for _ in range(MAX_ITERATIONS):
        if active.size == 0:
            break
        precision = loading / uniqueness
        beta = precision / (1.0 + (loading * precision).sum(axis=1, keepdims=True))
        cross = (matrices[active] @ beta[:, :, None])[:, :, 0]
        second = 1.0 - (beta * loading).sum(axis=1) + (beta * cross).sum(axis=1)
        updated = cross / second[:, None]
        uniqueness = np.maximum(diagonal[active] - updated * cross, UNIQUENESS_FLOOR)
        done = np.abs(updated - loading).max(axis=1) < TOLERANCE
        if done.any():
            final_loading[active[done]], final_uniqueness[active[done]] = updated[done], uniqueness[done]
            active, updated, uniqueness = active[~done], updated[~done], uniqueness[~done]
        loading = updated
    return final_loading, final_uniqueness
