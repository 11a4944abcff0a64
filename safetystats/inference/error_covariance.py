r"""How the errors of correlations with one capability are correlated, when the same models were scored.

One pooled correlation goes into the formula, as in meta-analysis (Hafdahl 2007): with each benchmark's own rho, even
the true one, errors have a term rho rho' along the signal itself, which a hierarchical layer, not knowing that it
vanishes with rho, takes for an excuse to shrink everything.

References
----------
Dunn, O. J. and Clark, V. (1969). Correlation coefficients measured on the same individuals. JASA 64.
Hafdahl, A. R. (2007). Combining correlation matrices. Journal of Educational and Behavioral Statistics 32.
Pearson, K. and Filon, L. N. G. (1898). On the probable errors of frequency constants. Phil. Trans. A 191.
Schäfer, J. and Strimmer, K. (2005). A shrinkage approach to large-scale covariance matrix estimation. SAGMB 4.
Steiger, J. H. (1980). Tests for comparing elements of a correlation matrix. Psychological Bulletin 87.
"""

from __future__ import annotations

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.scores.n_factors import NO_RESIDUAL, pairwise_correlations

SMALLEST_EIGENVALUE = 0.05
"""Eigenvalues of the error correlations are raised to this: no contrast is known over four times better than a z."""
FEWEST_SHARED = 5
"""Fewest models that two benchmarks must share for their partial correlation to be estimated, not taken as nought."""


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
