"""The whole procedure under weights on models: z-scores, eigenvector, score and correlation, redone in every draw."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from safetystats.scores.capability import Missing, ScoreMethod, capability_score, usable_models, weighted_scores
from safetystats.scores.correlation import FEWEST_MODELS, IntArray
from safetystats.scores.weighted import BoolArray, Correlation, FloatArray, weighted_correlations

Seed = int | np.random.SeedSequence | np.random.Generator

# Numbers held at once in the largest work array (draws x models x models or benchmarks): about 30 MB.
WORK_SIZE = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """What is estimated and resampled: the correlation of one capability score with each of B benchmarks.

    Attributes
    ----------
    capability : array, shape (n, k)
        Capability benchmarks, higher = more capable.
    values : array, shape (n, B)
        Benchmarks to correlate with the score; NaN where missing.
    member : array of int, shape (B,)
        Column of a benchmark in `capability`, whose score then leaves that column out; -1 outside the capability set.
    score_method : str
        See `safetystats.scores.capability`.
    correlation : {"spearman", "kendall", "pearson"}
    missing : {"raise", "drop", "available"}
        As in `capability_score`.
    score_fixed : bool
        False: the score is a function of the models and is made anew in every draw (the interval is that of the whole
        procedure). True: the full-sample scores are held, as if capability were known without error.
    given_score : array, shape (n,), optional
        A score made elsewhere (a posterior mean), held fixed in every draw and used for all benchmarks.
    """

    capability: FloatArray
    values: FloatArray
    member: IntArray
    score_method: ScoreMethod = "spearman_pca_2024"
    correlation: Correlation = "spearman"
    missing: Missing = "raise"
    score_fixed: bool = False
    given_score: FloatArray | None = None


def correlations_under(target: Target, weights: FloatArray) -> FloatArray:
    """Return the correlations of a target in every draw of weights.

    The sign of an eigenvector in a draw is the one that points the same way as that of the full sample, so that a draw
    cannot flip the axis.

    Parameters
    ----------
    target : Target
    weights : array, shape (D, n)
        Whole numbers for a bootstrap, Dirichlet draws for a Bayesian bootstrap, a zero for a jackknife.

    Returns
    -------
    array, shape (D, B)
        NaN in a draw where benchmark or score is constant or fewer than 3 distinct models have both.
    """
    n_models, n_benchmarks = target.values.shape
    batch = max(1, WORK_SIZE // (n_models * max(n_models, n_benchmarks)))
    result = np.full((len(weights), n_benchmarks), np.nan)
    for dropped in np.unique(target.member):
        columns = np.flatnonzero(target.member == dropped)
        capability = target.capability if dropped < 0 else np.delete(target.capability, dropped, axis=1)
        usable, reference, full_score = _full_sample(target, capability)
        for start in range(0, len(weights), batch):
            part = weights[start : start + batch] * usable
            if full_score is None:
                drawn = part.sum(axis=1) > 0
                made = weighted_scores(capability, part[drawn], method=target.score_method, reference=reference)
                score = np.full(part.shape, np.nan)
                score[drawn] = made[0]
            else:
                score = np.broadcast_to(full_score, part.shape)
            values = target.values[:, columns]
            correlations = weighted_correlations(score, values, part, target.correlation)
            distinct = (part > 0).astype(np.int64) @ np.isfinite(values).astype(np.int64)
            result[start : start + batch, columns] = np.where(distinct >= FEWEST_MODELS, correlations, np.nan)
    return result


def point_correlations(target: Target) -> FloatArray:
    """Return the correlations of a target in the sample itself, shape (B,)."""
    correlations: FloatArray = correlations_under(target, np.ones((1, len(target.values))))[0]
    return correlations


def target_scores(target: Target) -> FloatArray:
    """Return the full-sample score that each benchmark is correlated with, shape (n, B), NaN where a model has none."""
    scores = np.full(target.values.shape, np.nan)
    for dropped in np.unique(target.member):
        columns = target.member == dropped
        if target.given_score is not None:
            score = target.given_score
        else:
            capability = target.capability if dropped < 0 else np.delete(target.capability, dropped, axis=1)
            score = capability_score(capability, method=target.score_method, missing=target.missing).score
        scores[:, columns] = score[:, None]
    return scores


def models_with_both(target: Target) -> BoolArray:
    """Return which models have both score and benchmark, shape (n, B)."""
    both: BoolArray = np.isfinite(target_scores(target)) & np.isfinite(target.values)
    return both


def bootstrap_weights(groups: Sequence[Hashable], n_draws: int, seed: Seed) -> FloatArray:
    """Return how often each model is drawn when whole groups are resampled with replacement.

    Parameters
    ----------
    groups : sequence, length n
        Group of each model (its family; the model itself for the plain bootstrap).
    n_draws : int
    seed : int, SeedSequence or Generator

    Returns
    -------
    array, shape (n_draws, n)
        Whole numbers; as many groups are drawn as there are, so the number of models varies between draws.
    """
    code, n_groups = _codes(groups)
    even = np.full(n_groups, 1.0 / n_groups)
    return np.random.default_rng(seed).multinomial(n_groups, even, size=n_draws)[:, code].astype(np.float64)


def lineage_weights(lineages: Mapping[str, Sequence[Hashable]], n_draws: int, seed: Seed) -> dict[str, FloatArray]:
    """Return Bayesian-bootstrap weights on lineages, the same in every class.

    Each draw is one Dirichlet(1, ..., 1) over all lineages that occur in any class (Rubin 1981). A model has the whole
    weight of its lineage, so a base model and what was tuned from it rise and fall together.

    Parameters
    ----------
    lineages : mapping from class to sequence of length n_class
        Lineage of each model.
    n_draws : int
    seed : int, SeedSequence or Generator

    Returns
    -------
    dict from class to array, shape (n_draws, n_class)
        Not normalised within a class: the functions of this floor do that.
    """
    every = [lineage for members in lineages.values() for lineage in members]
    code, n_lineages = _codes(every)
    drawn = np.random.default_rng(seed).dirichlet(np.ones(n_lineages), size=n_draws)
    weights: dict[str, FloatArray] = {}
    start = 0
    for model_class, members in lineages.items():
        weights[model_class] = drawn[:, code[start : start + len(members)]]
        start += len(members)
    return weights


def bca_bounds(
    target: Target, level: float, n_resamples: int, rng: np.random.Generator | None, earlier: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return BCa bounds of `scipy.stats.bootstrap`, over models, and the draws they come from.

    Parameters
    ----------
    target : Target
    level : float
    n_resamples : int
        Zero if `earlier` draws are given.
    rng : Generator or None
    earlier : array, shape (D, B), optional
        Draws to make the bounds of, instead of new ones.

    Returns
    -------
    lower, upper : array, shape (B,)
        NaN where scipy cannot make them.
    draws : array, shape (D, B)
    """
    from scipy import stats

    n_models = len(target.values)

    def statistic(rows: IntArray, axis: int = -1) -> FloatArray:
        flat = rows.reshape(-1, rows.shape[-1])
        offset = n_models * np.arange(len(flat))[:, None]
        counts = np.bincount((flat + offset).ravel(), minlength=n_models * len(flat)).reshape(len(flat), n_models)
        correlations = correlations_under(target, counts.astype(np.float64)).T
        return correlations[:, 0] if rows.ndim == 1 else correlations

    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n_models),), statistic, n_resamples=n_resamples, vectorized=True, axis=-1, method="BCa",
            confidence_level=level, rng=rng,
            bootstrap_result=None if earlier is None else SimpleNamespace(bootstrap_distribution=earlier.T),
        )  # fmt: skip
    low, high = (np.array(side, dtype=np.float64) for side in result.confidence_interval)
    return low, high, np.asarray(result.bootstrap_distribution.T, dtype=np.float64)


def _codes(groups: Sequence[Hashable]) -> tuple[IntArray, int]:
    """Return the group number of each model, in order of first appearance, and the number of groups."""
    number = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    return np.array([number[group] for group in groups], dtype=np.int64), len(number)


def _full_sample(target: Target, capability: FloatArray) -> tuple[FloatArray, FloatArray | None, FloatArray | None]:
    """Return which models have a score (n,), the loading that sets signs (k,), and the score (n,) if it is held."""
    if target.given_score is not None:
        return np.isfinite(target.given_score).astype(np.float64), None, target.given_score
    usable = usable_models(capability, method=target.score_method, missing=target.missing).astype(np.float64)
    scores, loadings, _, _ = weighted_scores(capability, usable[None, :], method=target.score_method)
    return usable, loadings[0], scores[0] if target.score_fixed else None
