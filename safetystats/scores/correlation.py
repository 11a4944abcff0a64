"""Capabilities correlations: how a capability score and each benchmark correlate, over the models that have both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from safetystats.scores.weighted import CORRELATIONS, Correlation, FloatArray, weighted_correlations

IntArray = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
FEWEST_MODELS = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapabilitiesCorrelations:
    """The capabilities correlation of each of B benchmarks.

    Attributes
    ----------
    method : {"spearman", "kendall", "pearson"}
    correlation : array, shape (B,)
        Between -1 and 1; NaN where there is none to speak of, and then `why` says why.
    n_models : array of int, shape (B,)
        Models with both a score and a value.
    why : tuple of str, length B
        Empty where `correlation` is a number, else why it does not apply.
    """

    method: Correlation
    correlation: FloatArray
    n_models: IntArray
    why: tuple[str, ...]


def capabilities_correlations(
    score: FloatArray, values: FloatArray, *, method: Correlation = "spearman"
) -> CapabilitiesCorrelations:
    """Return the correlation of a capability score with every benchmark.

    Parameters
    ----------
    score : array, shape (n,) or (n, B)
        Capability score, NaN for a model without one. Two dimensions give each benchmark a score of its own, such as
        the leave-one-out score of a capability benchmark (see `own_scores`).
    values : array, shape (n, B)
        NaN where a model has no value. Used as they are: alignment of directions is the caller's.
    method : {"spearman", "kendall", "pearson"}
        Spearman with mid-ranks (what Ren et al. 2024 report), Kendall's tau-b, or the product moment.

    Returns
    -------
    CapabilitiesCorrelations

    Raises
    ------
    ValueError
        Unknown method, or shapes that do not fit.
    """
    if method not in CORRELATIONS:
        raise ValueError(f"method must be one of {', '.join(CORRELATIONS)}; got {method!r}")
    score, values = np.asarray(score, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if score.shape not in ((values.shape[0],), values.shape):
        raise ValueError(f"score has shape {score.shape}, values {values.shape}: expected (n,) or (n, B) and (n, B)")
    ones = np.ones((1, values.shape[0]))
    if score.ndim == 1:
        correlation = weighted_correlations(score[None, :], values, ones, method)[0]
    else:
        columns = range(values.shape[1])
        parts = [weighted_correlations(score[None, :, b], values[:, [b]], ones, method)[0] for b in columns]
        correlation = np.concatenate(parts) if parts else np.empty(0)
    scores = np.broadcast_to(score[:, None] if score.ndim == 1 else score, values.shape)
    both = np.isfinite(scores) & np.isfinite(values)
    n_models = both.sum(axis=0)
    why = tuple(_why(scores[both[:, b], b], values[both[:, b], b]) for b in range(values.shape[1]))
    correlation = np.where(n_models >= FEWEST_MODELS, correlation, np.nan)
    return CapabilitiesCorrelations(method=method, correlation=correlation, n_models=n_models, why=why)


def own_scores(score: FloatArray, leave_one_out: FloatArray, member: IntArray) -> FloatArray:
    """Return for each benchmark the score to correlate it with: leave-one-out inside the capability set.

    Parameters
    ----------
    score : array, shape (n,)
    leave_one_out : array, shape (n, k)
        From `safetystats.scores.capability.leave_one_out_scores`.
    member : array of int, shape (B,)
        Column of the benchmark in the capability matrix, -1 for a benchmark outside it.

    Returns
    -------
    array, shape (n, B)
    """
    return np.stack([score if j < 0 else leave_one_out[:, j] for j in member], axis=1)


def _why(score: FloatArray, values: FloatArray) -> str:
    if len(values) < FEWEST_MODELS:
        return f"not applicable: {len(values)} model(s) have both, {FEWEST_MODELS} are needed"
    if len(np.unique(values)) < 2:
        return "not applicable: all models have the same value"
    if len(np.unique(score)) < 2:
        return "not applicable: all models have the same score"
    return ""
