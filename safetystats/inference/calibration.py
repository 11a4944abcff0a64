"""Simulation-based calibration: data drawn from the prior, and the rank of each truth among its posterior draws.

If parameters are drawn from the prior and data from the parameters, the rank of a parameter among draws of its
posterior is uniform, whatever the model (Cook, Gelman and Rubin 2006; Talts et al. 2018). Ranks are looked at as an
empirical distribution function with an envelope that holds over all of its points at once (Säilynoja, Bürkner and
Vehtari 2022).

References
----------
Cook, Gelman and Rubin (2006), J. Comput. Graph. Stat. 15; Talts, Betancourt, Simpson, Vehtari and Gelman (2018),
arXiv:1804.06788; Säilynoja, Bürkner and Vehtari (2022), Stat. Comput. 32.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from arviz_stats.ecdf_utils import get_pointwise_confidence_band
from scipy import special

from safetystats.inference.arrays import FloatArray, Structure
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.inference.predictive import prior_draws, replicate
from safetystats.specs import FactorPriors

ENVELOPE_SEED, ENVELOPE_SIMULATIONS, ENVELOPE_BATCH = 2022, 20_000, 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedData:
    """One draw of everything from the prior.

    Attributes
    ----------
    truth : FactorDraws
        Parameters of the benchmarks; one draw.
    theta : array, shape (n_models,)
        Capability.
    data : FactorData
        Scores on the scale that the priors are stated on. They are not z-scores: the total sd and the intercept vary.
    """

    truth: FactorDraws
    theta: FloatArray
    data: FactorData


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Envelope:
    """Band that the empirical distribution function of n uniform numbers stays in, at all points at once.

    Attributes
    ----------
    points, lower, upper : array, shape (n - 1,)
        Where the function is looked at, and its bounds there.
    """

    points: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def half_width(self) -> float:
        """Half of the largest distance between the bounds."""
        return float((self.upper - self.lower).max() / 2)

    def ecdf(self, values: FloatArray) -> FloatArray:
        """Return the empirical distribution function of values, shape (n,), at the points."""
        return np.asarray(np.searchsorted(np.sort(values), self.points, side="right") / len(values))

    def holds(self, values: FloatArray) -> bool:
        """Return whether the distribution function of values, shape (n,), is inside at every point."""
        found, slack = self.ecdf(values), 0.5 / len(values)
        return bool(((found > self.lower - slack) & (found < self.upper + slack)).all())


def simulate_data(
    priors: FactorPriors, structure: Structure, like: FactorData, rng: np.random.Generator
) -> SimulatedData:
    """Draw parameters from the prior under the sign rule, and data from them.

    Parameters
    ----------
    priors : FactorPriors
    structure : Structure
        Anchors, further factors, and whether families share capability and residuals.
    like : FactorData
        Families, missing cells and known sampling errors of the data; its scores are not used.
    rng : Generator
    """
    n_models, n_benchmarks = like.values.shape
    truth = prior_draws(
        priors,
        n_benchmarks,
        structure.anchors,
        1,
        rng,
        n_further=structure.pattern.shape[1],
        pattern=structure.pattern,
        families=structure.families,
    )
    codes = np.unique(like.families, return_inverse=True)[1]
    omega = float(truth.capability_icc[0])
    shared = rng.standard_normal(int(codes.max()) + 1)[codes]
    theta = np.sqrt(omega) * shared + np.sqrt(1 - omega) * rng.standard_normal(n_models)
    values = replicate(truth, like.families, like.noise, rng, theta=theta[None])[0]
    values = np.where(np.isfinite(like.values), values, np.nan)
    return SimulatedData(
        truth=truth, theta=theta, data=FactorData(values=values, families=like.families, noise=like.noise)
    )


def rank_statistic(
    truth: FloatArray,
    draws: FloatArray,
    rng: np.random.Generator,
    n_ranks: int = 100,
    weights: FloatArray | None = None,
) -> FloatArray:
    """Return normalised ranks of true values among draws, uniform on (0, 1) if the draws are from the posterior.

    L = `n_ranks` - 1 draws are taken, evenly spaced (or resampled in proportion to the weights), and the rank r of the
    truth among them becomes (r + U) / (L + 1) with U uniform; ties are broken at random by the same U.

    Parameters
    ----------
    truth : array, shape (...)
    draws : array, shape (n_draws, ...)
        At least L; chains one after the other. Autocorrelation among the draws that are taken spreads the ranks out.
    rng : Generator
    n_ranks : int
    weights : array, shape (n_draws,), or None
        Weights of the draws, with sum one.

    Returns
    -------
    array, shape (...)
    """
    if weights is None:
        rows = np.linspace(0, len(draws) - 1, n_ranks - 1).round().astype(int)
    else:
        points = (np.arange(n_ranks - 1) + rng.random()) / (n_ranks - 1)
        rows = np.minimum(np.searchsorted(np.cumsum(weights), points), len(draws) - 1)
    taken = draws[rows]
    below, ties = (taken < truth).sum(0), (taken == truth).sum(0)
    return np.asarray((below + rng.random(np.shape(truth)) * (ties + 1)) / n_ranks)


@functools.lru_cache(maxsize=64)
def ecdf_envelope(n: int, probability: float = 0.99) -> Envelope:
    """Return the simultaneous envelope of the distribution function of n independent uniform numbers.

    The band is binomial at each of the points 1/n, ..., (n - 1)/n, at the pointwise probability for which that share
    of simulated samples, of a fixed seed, lies inside at all of them (Säilynoja et al. 2022, algorithm 1). ArviZ gives
    the band for a pointwise probability; its own simulation of that probability rounds counts down, so it is not used.

    Parameters
    ----------
    n : int
        At least 2.
    probability : float
    """
    rng = np.random.default_rng(ENVELOPE_SEED)
    points = np.arange(1, n) / n
    smallest = np.empty(ENVELOPE_SIMULATIONS)
    for start in range(0, ENVELOPE_SIMULATIONS, ENVELOPE_BATCH):
        bins = rng.multinomial(n, np.full(n, 1 / n), size=ENVELOPE_BATCH)
        counts = bins.cumsum(axis=1)[:, :-1]
        low = special.bdtr(counts, n, points).min(axis=1)
        # P(X >= c) = P(n - X <= n - c), which keeps its digits in the tail.
        high = special.bdtr(n - counts, n, 1 - points).min(axis=1)
        smallest[start : start + ENVELOPE_BATCH] = np.minimum(low, high)
    pointwise = 1 - 2 * np.quantile(smallest, 1 - probability)
    lower, upper = get_pointwise_confidence_band(pointwise, n, points)
    return Envelope(points=points, lower=np.asarray(lower), upper=np.asarray(upper))
