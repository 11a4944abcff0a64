"""The cut posterior of one new benchmark from stored draws of capability; nothing is sampled by NUTS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safetystats.inference.control_variate import CANDIDATES as INFLUENCE_CANDIDATES
from safetystats.inference.control_variate import CAPABILITY_DRAWS, EACH, moved_numbers, numbers_of
from safetystats.inference.cut import MIN_MODELS, CutDraws, cut_posterior
from safetystats.inference.reference import thinned
from safetystats.inference.streams import seed_for
from safetystats.specs import CutPlan, FactorSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DRAWS = 4000
"""Draws of the parameters that are aimed at: as many as a study has."""
CANDIDATES = 16
"""Candidates for every draw that is kept where several are kept for one draw of capability."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AssessedColumn:
    """Posterior of the parameters of one benchmark in one class.

    Attributes
    ----------
    draws : CutDraws
        Arrays of shape (T * each,).
    each : int
        Draws of the parameters for one draw of capability; they stand side by side.
    """

    draws: CutDraws
    each: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeftOut:
    """Posteriors of one benchmark in one class with the score of one model left out, each in turn.

    Attributes
    ----------
    whole : CutDraws
        With all scores, from as few draws and the same source of randomness.
    without : tuple of (CutDraws or None), length n
        None where the model has no score, or where too few are left.
    """

    whole: CutDraws
    without: tuple[CutDraws | None, ...]


def assess_column(
    column: FloatArray,
    theta: FloatArray,
    families: IntArray,
    spec: FactorSpec,
    seed: int,
    *labels: str,
    noise: FloatArray | None = None,
) -> AssessedColumn | None:
    """Return the cut posterior of a column.

    Parameters
    ----------
    column : array, shape (n,)
        z-scores within the class, NaN for a model without a score.
    theta : array, shape (T, n)
        Draws of capability.
    families : array of int, shape (n,)
    spec : FactorSpec
        Its priors and numerical settings.
    seed : int
    *labels : str
        Name the stream of random numbers. A study uses "safety", class and benchmark. Where the name of the benchmark
        is not among them, another name gives the same draws.
    noise : array, shape (n,), or None
        Known variance of the sampling error of every score, in squared units of the z-scores.

    Returns
    -------
    AssessedColumn or None
        None where fewer than `MIN_MODELS` models have a score.
    """
    each = max(1, round(DRAWS / len(theta)))
    plan = spec.cut if each == 1 else CutPlan(candidates=CANDIDATES * each, icc_cells=spec.cut.icc_cells)
    rng = np.random.default_rng(seed_for(seed, *labels))
    (found,) = cut_posterior(
        column[:, None], theta, families, spec.priors, plan, [rng], noise=None if noise is None else noise[:, None],
        families_matter=spec.families, each=each,
    )  # fmt: skip
    return None if found is None else AssessedColumn(draws=found, each=each)


def without_each(
    column: FloatArray, theta: FloatArray, families: IntArray, spec: FactorSpec, seed: int, *labels: str
) -> LeftOut:
    """Return the cut posterior with all scores, and without the score of each model in turn, from few draws.

    Capability stays that of the fit to all models, so that this is the influence of a score, given capability. All are
    drawn from the same source of randomness, so that most of the Monte Carlo error of a difference cancels. Scores are
    taken as exact.

    Parameters
    ----------
    column, theta, families, spec, seed, *labels
        As for `assess_column`; at least `MIN_MODELS` scores.
    """
    some = theta[thinned(len(theta), CAPABILITY_DRAWS)]
    plan = CutPlan(candidates=INFLUENCE_CANDIDATES, icc_cells=spec.cut.icc_cells)

    def drawn(scores: FloatArray) -> CutDraws | None:
        rng = np.random.default_rng(seed_for(seed, *labels))
        (found,) = cut_posterior(
            scores[:, None], some, families, spec.priors, plan, [rng], families_matter=spec.families, each=EACH
        )
        return found

    seen = np.isfinite(column)
    whole = drawn(column)
    if whole is None:
        raise ValueError(f"needs at least {MIN_MODELS} scores")
    without: list[CutDraws | None] = []
    for row in range(len(column)):
        less = column.copy()
        less[row] = np.nan
        without.append(drawn(less) if seen[row] else None)
    return LeftOut(whole=whole, without=tuple(without))


def numbers_without_each(left_out: LeftOut, rho: FloatArray, limit: float, level: float) -> FloatArray:
    """Return what the stated numbers become without each score: plus the change that the few draws show.

    Parameters
    ----------
    left_out : LeftOut
    rho : array, shape (n_draws,)
        All draws of the posterior that is stated.
    limit : float
        Of the region of practical equivalence.
    level : float
        Coverage of the equal-tailed interval.

    Returns
    -------
    array, shape (n, 6)
        `safetystats.inference.control_variate.NUMBERS`; NaN where there is no posterior.
    """
    nothing = np.full(6, np.nan)
    rows = [nothing if each is None else numbers_of(each.rho, limit, level) for each in left_out.without]
    whole = numbers_of(left_out.whole.rho, limit, level)
    return moved_numbers(numbers_of(rho, limit, level), whole, np.array(rows), len(left_out.whole.rho))
