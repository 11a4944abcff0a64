"""Four intervals for capabilities correlations: BCa, families, Bayesian bootstrap over lineages, Fisher-z.

`bca` and `family_bootstrap` are frequentist resampling intervals over models and over families, `bayesian_bootstrap`
gives draws from a posterior under a Dirichlet process prior of no mass (Rubin 1981), `fisher` is the closed form that
the others are checked against. `benchmarks/coverage_intervals.md` measures what they cover at the size of ren2024 (26
models, 9 families, 95 %): 91 to 97 % where families differ in the residuals alone, `family_bootstrap` the lowest at no
correlation; where capability is clustered by family too, 93 to 96 % for `family_bootstrap`, and for the others, which
take models as independent, 89 to 95 % with mild clustering and 85 to 90 % with strong.

All are equal-tailed. The score is made anew in every resample unless the target says `score_fixed`; Fisher-z has no
such choice and treats the score as known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from safetystats.scores.correlation import IntArray
from safetystats.scores.resampling import (
    Seed,
    Target,
    bca_bounds,
    bootstrap_weights,
    correlations_under,
    lineage_weights,
    point_correlations,
)
from safetystats.scores.weighted import Correlation, FloatArray

IntervalKind = Literal["bca", "family_bootstrap", "bayesian_bootstrap", "fisher"]
INTERVAL_KINDS: tuple[str, ...] = get_args(IntervalKind)

# With fewer clusters a cluster bootstrap tends to be too narrow (Cameron, Gelbach & Miller 2008: trouble at 5 to 30).
FEW_CLUSTERS = 12
# An interval is not given when more than this share of the draws had to be left out.
LARGEST_LOSS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrelationIntervals:
    """Intervals for the correlations of B benchmarks.

    Attributes
    ----------
    kind : {"bca", "family_bootstrap", "bayesian_bootstrap", "fisher"}
    level : float
        Nominal coverage, e.g. 0.95.
    estimate, lower, upper : array, shape (B,)
        NaN where there is no estimate or no interval.
    n_draws : array of int, shape (B,)
        Draws used; 0 for Fisher-z.
    note : tuple of str, length B
        What the reader must be told: draws left out, another interval in place of BCa, few clusters; else empty.
    """

    kind: IntervalKind
    level: float
    estimate: FloatArray
    lower: FloatArray
    upper: FloatArray
    n_draws: IntArray
    note: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassDifference:
    """Difference of capabilities correlations between two classes, class a less class b, for B benchmarks.

    Attributes
    ----------
    level : float
    delta, lower, upper : array, shape (B,)
        Difference of the sample correlations, and the equal-tailed interval of the paired draws.
    p_positive : array, shape (B,)
        Share of paired draws above zero; ties count half.
    """

    level: float
    delta: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_positive: FloatArray


def bca(target: Target, *, level: float = 0.95, n_resamples: int = 2000, seed: Seed) -> CorrelationIntervals:
    """Return bias-corrected and accelerated bootstrap intervals over models (Efron 1987), by `scipy.stats.bootstrap`.

    The acceleration is that of the jackknife of the whole procedure. Resamples without a correlation are left out and
    counted in the note. Where scipy cannot make an interval (the bootstrap or jackknife distribution is degenerate),
    the percentile interval stands in and the note says so.

    Parameters
    ----------
    target : Target
        n models, B benchmarks.
    level : float
    n_resamples : int
    seed : int, SeedSequence or Generator

    Returns
    -------
    CorrelationIntervals
    """
    low, high, distribution = bca_bounds(target, level, n_resamples, np.random.default_rng(seed), None)
    plain = _from_draws("bca", distribution, point_correlations(target), level)
    for b in np.flatnonzero((plain.n_draws < n_resamples) & np.isfinite(plain.lower)):
        column = dataclasses.replace(target, values=target.values[:, [b]], member=target.member[[b]])
        kept = distribution[np.isfinite(distribution[:, b]), b]
        low[b], high[b] = (side[0] for side in bca_bounds(column, level, 0, None, kept[:, None])[:2])
    made = np.isfinite(low) & np.isfinite(high)
    instead = np.isfinite(plain.lower) & ~made
    said = ("BCa could not be computed: percentile interval instead" if swap else "" for swap in instead)
    return dataclasses.replace(
        plain,
        lower=np.where(made, low, plain.lower),
        upper=np.where(made, high, plain.upper),
        note=tuple(_join(first, second) for first, second in zip(said, plain.note, strict=True)),
    )


def family_bootstrap(
    target: Target, families: Sequence[Hashable], *, level: float = 0.95, n_resamples: int = 2000, seed: Seed
) -> CorrelationIntervals:
    """Return percentile intervals from resampling families with replacement, each with all its models.

    Parameters
    ----------
    target : Target
    families : sequence, length n
        Family of each model; a note warns below 12 families, where such intervals tend to be too narrow.
    level : float
    n_resamples : int
    seed : int, SeedSequence or Generator

    Returns
    -------
    CorrelationIntervals
    """
    draws = correlations_under(target, bootstrap_weights(families, n_resamples, seed))
    few = len(set(families))
    warning = f"few clusters: {few} families, interval may be too narrow" if few < FEW_CLUSTERS else ""
    return _from_draws("family_bootstrap", draws, point_correlations(target), level, warning)


def bayesian_bootstrap(
    targets: Mapping[str, Target], lineages: Mapping[str, Sequence[Hashable]], *, n_draws: int = 2000, seed: Seed
) -> dict[str, FloatArray]:
    """Return posterior draws of the correlations of every class, paired by lineage.

    Draw d of one class and draw d of another come from the same Dirichlet weights on lineages, so their difference
    keeps the pairing of base models with what was tuned from them.

    Parameters
    ----------
    targets : mapping from class to Target
    lineages : mapping from class to sequence, length n_class
        Same classes. Families in their place give a Bayesian bootstrap over families.
    n_draws : int
    seed : int, SeedSequence or Generator

    Returns
    -------
    dict from class to array, shape (n_draws, B_class)
        For `interval_from_draws` and `class_difference`.
    """
    weights = lineage_weights(lineages, n_draws, seed)
    return {model_class: correlations_under(target, weights[model_class]) for model_class, target in targets.items()}


def interval_from_draws(target: Target, draws: FloatArray, *, level: float = 0.95) -> CorrelationIntervals:
    """Return equal-tailed intervals of Bayesian-bootstrap draws, shape (D, B), around the sample correlations."""
    return _from_draws("bayesian_bootstrap", draws, point_correlations(target), level)


def class_difference(
    estimate_a: FloatArray, draws_a: FloatArray, estimate_b: FloatArray, draws_b: FloatArray, *, level: float = 0.95
) -> ClassDifference:
    """Return the difference of two classes from paired draws.

    Parameters
    ----------
    estimate_a, estimate_b : array, shape (B,)
        Sample correlations of the same benchmarks in the two classes.
    draws_a, draws_b : array, shape (D, B)
        From one call of `bayesian_bootstrap`.
    level : float

    Returns
    -------
    ClassDifference
    """
    differences = draws_a - draws_b
    delta = estimate_a - estimate_b
    spread = _from_draws("bayesian_bootstrap", differences, delta, level)
    usable = np.isfinite(differences)
    above = np.where(usable, np.heaviside(differences, 0.5), 0.0).sum(axis=0)
    share = np.where(np.isfinite(spread.lower), above / np.maximum(usable.sum(axis=0), 1), np.nan)
    return ClassDifference(level=level, delta=delta, lower=spread.lower, upper=spread.upper, p_positive=share)


def fisher(
    estimate: FloatArray, n_models: IntArray, *, correlation: Correlation, level: float = 0.95
) -> CorrelationIntervals:
    """Return Fisher-z intervals tanh(atanh(r) -/+ z se), a check that knows nothing of families.

    Squared standard errors: Spearman (1 + r^2 / 2) / (n - 3) (Bonett & Wright 2000), Kendall 0.437 / (n - 4)
    (Fieller, Hartley & Pearson 1957, in Bonett & Wright), Pearson 1 / (n - 3) (Fisher 1921).

    Parameters
    ----------
    estimate : array, shape (B,)
    n_models : array of int, shape (B,)
    correlation : {"spearman", "kendall", "pearson"}
    level : float

    Returns
    -------
    CorrelationIntervals
        NaN with a note where n is too small or the correlation is -1 or 1.
    """
    from scipy import stats

    estimate = np.asarray(estimate, dtype=np.float64)
    lost = 4 if correlation == "kendall" else 3
    inside = np.isfinite(estimate) & (np.abs(estimate) < 1.0)
    enough = np.asarray(n_models) > lost
    r = np.where(inside, estimate, 0.0)
    numerator = {"spearman": 1.0 + r**2 / 2.0, "kendall": np.full_like(r, 0.437), "pearson": np.ones_like(r)}[
        correlation
    ]
    error = np.sqrt(numerator / np.where(enough, np.asarray(n_models) - lost, 1))
    reach = float(stats.norm.ppf(0.5 + level / 2.0)) * error
    given = inside & enough
    notes = [
        "" if ok or not np.isfinite(value) else "Fisher-z interval undefined: |r| = 1 or too few models"
        for ok, value in zip(given, estimate, strict=True)
    ]
    return CorrelationIntervals(
        kind="fisher",
        level=level,
        estimate=estimate,
        lower=np.where(given, np.tanh(np.arctanh(r) - reach), np.nan),
        upper=np.where(given, np.tanh(np.arctanh(r) + reach), np.nan),
        n_draws=np.zeros(len(estimate), dtype=np.int64),
        note=tuple(notes),
    )


def _from_draws(
    kind: IntervalKind, draws: FloatArray, estimate: FloatArray, level: float, warning: str = ""
) -> CorrelationIntervals:
    """Return equal-tailed percentile intervals (B,) of draws (D, B), leaving out draws without a correlation."""
    usable = np.isfinite(draws).sum(axis=0)
    kept = (usable >= (1.0 - LARGEST_LOSS) * len(draws)) & np.isfinite(estimate)
    lower, upper = np.full(len(estimate), np.nan), np.full(len(estimate), np.nan)
    tails = [0.5 - level / 2.0, 0.5 + level / 2.0]
    if kept.any():
        lower[kept], upper[kept] = np.nanquantile(draws[:, kept], tails, axis=0)
    notes = []
    for count, ok, value in zip(usable, kept, estimate, strict=True):
        lost = f"{len(draws) - count} of {len(draws)} draws have no correlation" if count < len(draws) else ""
        withheld = "no interval: " if lost and not ok else ""
        notes.append(_join(withheld + lost, warning) if np.isfinite(value) else "")
    return CorrelationIntervals(
        kind=kind, level=level, estimate=estimate, lower=lower, upper=upper, n_draws=usable, note=tuple(notes)
    )


def _join(first: str, second: str) -> str:
    return "; ".join(part for part in (first, second) if part)
