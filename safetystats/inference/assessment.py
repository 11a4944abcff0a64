"""The cut posterior of one new benchmark from stored draws of capability; nothing is sampled by NUTS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
INFLUENCE_DRAWS, INFLUENCE_EACH = 250, 4
"""Draws of capability, and of parameters for each, behind the posterior without one model."""


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


def rho_without_each(
    column: FloatArray, theta: FloatArray, families: IntArray, spec: FactorSpec, seed: int, *labels: str
) -> tuple[FloatArray, FloatArray]:
    """Return draws of rho with all scores, and without the score of each model in turn.

    Capability stays that of the fit to all models, so that this is the influence of a score, given capability. All are
    drawn from the same source of randomness, so that most of the Monte Carlo error of a difference cancels. Scores are
    taken as exact.

    Parameters
    ----------
    column, theta, families, spec, seed, *labels
        As for `assess_column`; at least `MIN_MODELS` scores.

    Returns
    -------
    whole : array, shape (S,)
    without : array, shape (n, S)
        NaN where the model has no score, or where too few are left.
    """
    some = theta[thinned(len(theta), INFLUENCE_DRAWS)]
    plan = CutPlan(candidates=CANDIDATES * INFLUENCE_EACH, icc_cells=spec.cut.icc_cells)

    def drawn(scores: FloatArray) -> FloatArray:
        rng = np.random.default_rng(seed_for(seed, *labels))
        (found,) = cut_posterior(
            scores[:, None], some, families, spec.priors, plan, [rng], families_matter=spec.families,
            each=INFLUENCE_EACH,
        )  # fmt: skip
        return np.full(len(some) * INFLUENCE_EACH, np.nan) if found is None else found.rho

    seen = np.isfinite(column)
    if seen.sum() < MIN_MODELS:
        raise ValueError(f"needs at least {MIN_MODELS} scores")
    whole = drawn(column)
    without = np.full((len(column), len(whole)), np.nan)
    for row in np.flatnonzero(seen):
        less = column.copy()
        less[row] = np.nan
        without[row] = drawn(less)
    return whole, without
