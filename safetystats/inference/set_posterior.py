"""Cut posterior of a benchmark when the scores of some models are left out, set by set.

Capability stays that of the fit to all models: what is left out are scores of the safety benchmark, not what is known
of capability. So this answers what the verdict would be if these models had not been scored on this benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.control_variate import CANDIDATES as CANDIDATES
from safetystats.inference.control_variate import CAPABILITY_DRAWS as CAPABILITY_DRAWS
from safetystats.inference.control_variate import EACH as EACH
from safetystats.inference.control_variate import NUMBERS, moved_numbers, numbers_of
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import family_codes, noise_of
from safetystats.inference.set_kernel import SetPosteriors, set_posteriors
from safetystats.inference.streams import seed_for
from safetystats.specs import CutPlan

RANKING_DRAWS = 30
"""Draws of capability over which the approximation averages that ranks all sets."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetDraws:
    """Posteriors of one benchmark without each of several sets of models; arrays have shape (n_sets,).

    Attributes
    ----------
    n_models : array of int
        Models with a score that are left.
    mean, lower, upper : array
        Of rho; NaN where too few models are left.
    p_entangled, p_inverse, p_distinct : array
    """

    n_models: IntArray
    mean: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_entangled: FloatArray
    p_inverse: FloatArray
    p_distinct: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Benchmark:
    """One benchmark of a fit, with what its posteriors without some models need.

    Attributes
    ----------
    fit : SafetyFit
    name : str
    rho : array, shape (n_draws,)
        All draws of the cut posterior.
    """

    fit: SafetyFit
    name: str
    rho: FloatArray

    @property
    def scores(self) -> FloatArray:
        """Standardised scores, NaN where missing, shape (n_models,)."""
        return self.fit.capability.table.matrix([self.name])[:, 0]


def benchmarks_of(fit: SafetyFit) -> list[Benchmark]:
    """Return the benchmarks with a posterior, in table order."""
    rho = fit.draws["cut"]["rho"].to_numpy().astype(np.float64)
    return [Benchmark(fit=fit, name=name, rho=rho[place].ravel()) for place, name in enumerate(fit.benchmarks)]


def thinned(theta: FloatArray, most: int) -> FloatArray:
    """Return at most `most` draws, evenly spaced."""
    chosen = np.linspace(0, len(theta) - 1, min(most, len(theta))).round().astype(np.int64)
    return np.asarray(theta[chosen])


def posteriors_with(benchmark: Benchmark, kept: FloatArray, limit: float, level: float, theta: FloatArray) -> SetDraws:
    """Return the cut posterior given only the scores of the models of each set.

    Parameters
    ----------
    benchmark : Benchmark
    kept : array, shape (n_sets, n_models)
        Zero for a model whose score is left out.
    limit : float
        Of the region of practical equivalence.
    level : float
        Coverage of the equal-tailed interval.
    theta : array, shape (n_draws, n_models)
        Draws of capability, thinned (`CAPABILITY_DRAWS`); the same source of randomness serves every set.
    """
    capability = benchmark.fit.capability
    spec, table = capability.spec, capability.table
    scores = np.where(kept > 0, benchmark.scores, np.nan).T
    noise = noise_of(table, [benchmark.name], spec)
    seed = seed_for(capability.seed, "model sets", capability.model_class, benchmark.name)
    found = cut_posterior(
        scores, theta, family_codes(table), spec.priors,
        CutPlan(candidates=CANDIDATES, icc_cells=spec.cut.icc_cells),
        [np.random.default_rng(seed) for _ in range(scores.shape[1])],
        noise=np.repeat(noise, scores.shape[1], axis=1) if noise.any() else None, families_matter=spec.families,
        each=EACH,
    )  # fmt: skip
    numbers = np.full((len(found), 6), np.nan)
    for row, draws in enumerate(found):
        if draws is not None:
            numbers[row] = numbers_of(draws.rho, limit, level)
    return _set_draws(np.isfinite(scores).sum(axis=0), numbers)


def posteriors_without(
    benchmark: Benchmark, kept: FloatArray, limit: float, level: float, theta: FloatArray
) -> SetDraws:
    """Return the same where few models are left out: what all draws of the fit give, plus the change.

    The change is from the whole to the set, both with the thinned draws, whose error is in part common and cancels (a
    control variate): of Fisher's z for mean and interval, and of probits for probabilities. Parameters as in
    `posteriors_with`.
    """
    drawn = posteriors_with(benchmark, np.vstack([np.ones(kept.shape[1]), kept]), limit, level, theta)
    numbers = np.stack([getattr(drawn, name) for name in NUMBERS], axis=1)
    stated = numbers_of(benchmark.rho, limit, level)
    moved = moved_numbers(stated, numbers[0], numbers[1:], len(theta) * EACH)
    return _set_draws(drawn.n_models[1:], moved)


def _set_draws(n_models: IntArray, numbers: FloatArray) -> SetDraws:
    return SetDraws(n_models=n_models, **dict(zip(NUMBERS, numbers.T, strict=True)))


def same_models(benchmarks: Sequence[Benchmark]) -> list[tuple[IntArray, list[Benchmark]]]:
    """Return the benchmarks that are scored by the same models together, with the places of those models."""
    groups: dict[bytes, tuple[IntArray, list[Benchmark]]] = {}
    for benchmark in benchmarks:
        seen = np.isfinite(benchmark.scores)
        places = np.flatnonzero(seen).astype(np.int64)
        groups.setdefault(seen.tobytes(), (places, []))[1].append(benchmark)
    return list(groups.values())


def ranked_posteriors(
    benchmarks: Sequence[Benchmark], places: IntArray, kept: FloatArray, limit: float
) -> SetPosteriors:
    """Return approximate posteriors for many sets, by which these are ranked.

    Parameters
    ----------
    benchmarks : sequence of Benchmark
        Of one fit, scored by the same models.
    places : array of int, shape (n,)
        Those models.
    kept : array, shape (n_sets, n)
        Zero for a model of `places` that is left out.
    limit : float

    Returns
    -------
    SetPosteriors
        Columns in the order of the benchmarks. Scores are taken as exact.
    """
    capability = benchmarks[0].fit.capability
    theta = thinned(capability.theta, RANKING_DRAWS)[:, places]
    scores = np.stack([benchmark.scores[places] for benchmark in benchmarks], axis=1)
    families, spec = family_codes(capability.table)[places], capability.spec
    return set_posteriors(scores, theta, families, kept, spec.priors, limit, families_matter=spec.families)
