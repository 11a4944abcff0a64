"""What a posterior becomes with some scores left out: what all draws give, plus the change that fewer draws show.

The change is from the whole to what is left, both with the same thinned draws of capability and the same source of
randomness, whose error is in part common and cancels (a control variate; Hammersley and Handscomb 1964, ch. 5).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import special

from safetystats.inference.arrays import FloatArray

CAPABILITY_DRAWS = 150
"""Draws of capability with which a set's posterior is drawn."""
EACH = 16
"""Draws of the parameters for each of them, from as many candidates as follow."""
CANDIDATES = 64

NUMBERS = ("mean", "lower", "upper", "p_entangled", "p_inverse", "p_distinct")
"""What is kept of a posterior: correlations first, then probabilities."""
N_CORRELATIONS = 3


def numbers_of(rho: FloatArray, limit: float, level: float) -> FloatArray:
    """Return the `NUMBERS` of draws of rho, shape (6,).

    Parameters
    ----------
    rho : array, shape (n_draws,)
    limit : float
        Of the region of practical equivalence.
    level : float
        Coverage of the equal-tailed interval.
    """
    chances = ((rho > limit).mean(), (rho < -limit).mean(), (np.abs(rho) < limit).mean())
    return np.array([rho.mean(), *np.quantile(rho, ((1 - level) / 2, (1 + level) / 2)), *chances])


def moved_numbers(stated: FloatArray, whole: FloatArray, without: FloatArray, n_draws: int) -> FloatArray:
    """Return the stated numbers plus the change to each row: of Fisher's z for correlations, of probits for shares.

    Parameters
    ----------
    stated : array, shape (6,)
        `NUMBERS` with all scores, from all draws.
    whole : array, shape (6,)
        The same from as few draws as `without`.
    without : array, shape (n_sets, 6)
        With scores left out; NaN where there is no posterior.
    n_draws : int
        Draws behind `whole` and each row: a share of none of them, or of all, is taken as half a draw from there.

    Returns
    -------
    array, shape (n_sets, 6)
    """
    share = 0.5 / n_draws
    return np.asarray(
        np.where(
            np.arange(len(NUMBERS)) < N_CORRELATIONS,
            np.tanh(_change(np.arctanh, stated, whole, without, -1 + share, 1 - share)),
            special.ndtr(_change(special.ndtri, stated, whole, without, share, 1 - share)),
        )
    )


def _change(
    scale: Callable[[FloatArray], FloatArray],
    stated: FloatArray,
    whole: FloatArray,
    without: FloatArray,
    low: float,
    high: float,
) -> FloatArray:
    """Return stated + without - whole on a scale without ends."""
    own, first, rows = (scale(np.clip(numbers, low, high)) for numbers in (stated, whole, without))
    return np.asarray(own + rows - first)
