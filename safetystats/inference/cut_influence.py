"""Which model's score moves the correlation of a benchmark with capability? The cut posterior without each in turn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from safetystats.inference.arrays import FloatArray
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import family_codes
from safetystats.inference.streams import seed_for
from safetystats.specs import CutPlan

CAPABILITY_DRAWS = 150
"""Draws of capability; the same ones with and without a model, so that most of their error cancels."""
EACH = 4
CANDIDATES = 16
"""Candidates for every draw that is kept, as in `safetystats.inference.paired`."""


def changes_without(fit: SafetyFit, benchmarks: Sequence[str]) -> pd.DataFrame:
    """Return how the posterior mean of rho changes when the score of one model is left out.

    Capability stays that of the fit to all models, so that this is the influence of a score, given capability. The cut
    posterior is drawn anew in closed form from the same source of randomness; nothing is sampled, and no weight can
    fail. Scores are taken as exact.

    Parameters
    ----------
    fit : SafetyFit
    benchmarks : sequence of str
        Among `fit.benchmarks`.

    Returns
    -------
    DataFrame, shape (n_models, n_benchmarks)
        Mean without the model less mean with it; NaN where the model has no score, or where too few are left.
    """
    table, spec, names = fit.capability.table, fit.capability.spec, list(benchmarks)
    every = fit.capability.theta
    chosen = np.linspace(0, len(every) - 1, min(CAPABILITY_DRAWS, len(every))).round().astype(np.int64)
    theta, families, values = every[chosen], family_codes(table), table.matrix(names)
    plan = CutPlan(candidates=CANDIDATES * EACH, icc_cells=spec.cut.icc_cells)

    def means(scores: FloatArray, wanted: list[str]) -> FloatArray:
        rngs = [
            np.random.default_rng(seed_for(fit.capability.seed, "influence", fit.capability.model_class, name))
            for name in wanted
        ]
        found = cut_posterior(
            scores, theta, families, spec.priors, plan, rngs, families_matter=spec.families, each=EACH
        )
        return np.array([np.nan if draws is None else draws.rho.mean() for draws in found])

    whole = means(values, names)
    changes = np.full(values.shape, np.nan)
    for row in range(len(values)):
        scored = np.flatnonzero(np.isfinite(values[row]))
        if not scored.size:
            continue
        without = values[:, scored]
        without[row] = np.nan
        changes[row, scored] = means(without, [names[i] for i in scored]) - whole[scored]
    return pd.DataFrame(changes, index=table.scores.index, columns=names)
