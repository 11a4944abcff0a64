r"""What further models would do to the posterior of a correlation: a simulation from the posterior at hand.

One simulated future takes a draw of (theta, omega, rho, s, kappa, alpha) of the cut posterior as the truth, draws
further models from the population that it describes, and makes the cut posterior of old and new models together anew.
The old scores stay what they are, so that this is a predictive distribution given the data, not a power calculation at
an assumed effect (O'Hagan and Stevens 2001 call the probability of a conclusion under it assurance).

Capability of a new model is known no better than that of an old one. Draws of theta are described as

    theta_m^(j) = a_j + b_j c_m + d_mj,   d_mj ~ N(0, q),

with c the posterior mean of the capabilities at hand: a_j and b_j are errors that all models share, q the variance of
the error of a single model, R = 1 - q its reliability. A new model of true capability theta has

    c | theta ~ N((R theta - a_t) / b_t, R q / b_t^2),

which makes c the posterior mean and theta a draw about it in the future t; the analyst sees c, and draws
a_j + b_j c + d for every j. Shared errors are left as they are, although the capability scores of more models would
shrink them.

Because draws of capability are made without the safety score, the cut lowers correlations by about R, and it has done
so to the rho at hand. New scores are drawn with rho / R, so that the second lowering meets the first and the mean of
rho over futures stays about where it is: to about 0.01, since the division is a linear approximation, the scores at
hand are kept, and the posteriors of futures rest on few draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import family_codes, noise_of
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import CutPlan, FactorPriors

CAPABILITY_DRAWS = 80
"""Draws of capability behind every posterior of a simulated future."""
EACH = 6
"""Draws of the parameters for each of them."""
CANDIDATES = 8
"""Candidates for every draw that is kept."""
LARGEST = 0.999
"""Largest absolute correlation that a future is drawn with."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A class as it stands: its scores, and draws of the cut posterior that share their draws of capability.

    Attributes
    ----------
    theta : array, shape (n_draws, n_models)
    capability_icc : array, shape (n_draws,)
        omega; zeros where families do not matter.
    rho, total_sd, icc, intercept : array, shape (n_draws, n_benchmarks)
    scores : array, shape (n_models, n_benchmarks)
        z-scored, NaN where missing.
    noise : array, shape (n_models, n_benchmarks)
        Known variance of the sampling error of every score; zeros where there is none.
    families : array of int, shape (n_models,)
        Family codes.
    """

    theta: FloatArray
    capability_icc: FloatArray
    rho: FloatArray
    total_sd: FloatArray
    icc: FloatArray
    intercept: FloatArray
    scores: FloatArray
    noise: FloatArray
    families: IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Futures:
    """Posteriors of rho in simulated futures; all arrays of shape (n_simulations, n_sizes, n_benchmarks).

    Attributes
    ----------
    entangled, inverse, distinct : array
        Posterior probabilities that rho is above the limit, below minus the limit, and between.
    mean, width : array
        Posterior mean, and width of the equal-tailed interval.
    n_families : array of int, shape (n_sizes,)
        New families among the further models.
    """

    entangled: FloatArray
    inverse: FloatArray
    distinct: FloatArray
    mean: FloatArray
    width: FloatArray
    n_families: IntArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Errors:
    """How draws of capability differ from their mean: a and b of every draw, and the variance of what is left."""

    shift: FloatArray  # (n_draws,)
    scale: FloatArray  # (n_draws,)
    own: float


def known_of(fit: SafetyFit, benchmarks: Sequence[str]) -> Known:
    """Return what a fit knows of some of its benchmarks."""
    capability, names = fit.capability, list(benchmarks)
    cut = fit.draws["cut"].to_dataset().sel(benchmark=names)

    def drawn(parameter: str) -> FloatArray:
        values = cut[parameter].transpose("chain", "draw", "benchmark").to_numpy()
        return np.asarray(values.reshape(-1, len(names)), dtype=np.float64)

    omega = capability.posterior["capability_icc"].transpose("chain", "draw").to_numpy().ravel()
    return Known(
        theta=capability.theta,
        capability_icc=np.asarray(omega, dtype=np.float64) * float(capability.spec.families),
        rho=drawn("rho"), total_sd=drawn("total_sd"), icc=drawn("icc"), intercept=drawn("intercept"),
        scores=capability.table.matrix(names), noise=noise_of(capability.table, names, capability.spec),
        families=family_codes(capability.table),
    )  # fmt: skip


def new_families(n_further: int, n_families: int | None, families: IntArray, rng: np.random.Generator) -> IntArray:
    """Return the family of every further model, shape (n_further,); codes beyond those at hand are new families.

    Parameters
    ----------
    n_further : int
    n_families : int or None
        New families that the further models are spread over evenly. None: as many models in a new family as families
        at hand have on average. 0: families at hand, as likely as they are large.
    families : array of int, shape (n_models,)
        Codes 0, 1, ... of the models at hand.
    rng : Generator
    """
    first = int(families.max()) + 1
    if n_families == 0:
        return np.asarray(rng.choice(families, size=n_further), dtype=np.int64)
    place = np.arange(n_further)
    if n_families is not None:
        return np.asarray(first + place % n_families, dtype=np.int64)
    size = len(families) / len(np.unique(families))
    return np.asarray(first + np.floor(place / size), dtype=np.int64)


def futures(
    known: Known,
    further: Sequence[int],
    *,
    priors: FactorPriors,
    icc_cells: int,
    limit: float,
    level: float,
    n_simulations: int,
    seeds: Sequence[int],
    n_families: int | None = None,
    families_matter: bool = True,
    report: Report | None = None,
) -> Futures:
    """Simulate the posterior of every benchmark after further models.

    Parameters
    ----------
    known : Known
    further : sequence of int
        Numbers of further models; a larger set holds the models of the smaller ones.
    priors : FactorPriors
    icc_cells : int
        Cells of the grid of kappa.
    limit : float
        Of the region of practical equivalence.
    level : float
        Coverage of the intervals.
    n_simulations : int
    seeds : sequence of int, length n_benchmarks + 1
        Of the futures of capability, and of each benchmark: its futures do not depend on which others there are.
    n_families : int or None
        See `new_families`.
    families_matter : bool
        False: models of one family share nothing but their name.
    report : callable or None
        Called with (simulations done, simulations in all).

    Returns
    -------
    Futures

    References
    ----------
    O'Hagan and Stevens (2001), Bayesian assessment of sample size for clinical trials of cost-effectiveness, Med.
    Decis. Making 21; Kruschke (2015), Doing Bayesian Data Analysis, ch. 13.
    """
    n_sets, (_, n_benchmarks), most = len(further), known.scores.shape, max(further)
    errors = _errors(known.theta)
    chosen = np.linspace(0, len(known.theta) - 1, min(CAPABILITY_DRAWS, len(known.theta))).round().astype(np.int64)
    plan = CutPlan(candidates=CANDIDATES * EACH, icc_cells=icc_cells)
    tails = ((1 - level) / 2, (1 + level) / 2)
    shape = (n_simulations, n_sets, n_benchmarks)
    found = {name: np.full(shape, np.nan) for name in ("entangled", "inverse", "distinct", "mean", "width")}
    counts = np.zeros(n_sets, dtype=np.int64)
    for number in range(n_simulations):
        rng = np.random.default_rng([seeds[0], number])
        rngs = [np.random.default_rng([seed, number]) for seed in seeds[1:]]
        draw = int(rng.integers(len(known.theta)))
        codes = new_families(most, n_families, known.families, rng)
        true, theta = _new_capability(known, draw, codes, errors, chosen, rng)
        scores, noise = _new_scores(known, draw, codes, true, 1 - errors.own, rngs)
        for place, size in enumerate(further):
            counts[place] = len(set(codes[:size]) - set(known.families))
            posterior = cut_posterior(
                np.vstack([known.scores, scores[:size]]),
                np.hstack([known.theta[chosen], theta[:, :size]]),
                np.concatenate([known.families, codes[:size]]),
                priors, plan, rngs,
                noise=np.vstack([known.noise, noise[:size]]) if known.noise.any() else None,
                families_matter=families_matter, each=EACH,
            )  # fmt: skip
            for column, draws in enumerate(posterior):
                if draws is None:
                    continue
                cell, rho = (number, place, column), draws.rho
                found["entangled"][cell], found["inverse"][cell] = (rho > limit).mean(), (rho < -limit).mean()
                found["distinct"][cell], found["mean"][cell] = (np.abs(rho) < limit).mean(), rho.mean()
                found["width"][cell] = np.subtract(*np.quantile(rho, tails[::-1]))
        if report is not None:
            report(number + 1, n_simulations)
    return Futures(**found, n_families=counts)


def futures_of(
    fit: SafetyFit,
    benchmarks: Sequence[str],
    further: Sequence[int],
    *,
    limit: float,
    level: float,
    n_simulations: int,
    n_families: int | None = None,
    report: Report | None = None,
) -> Futures:
    """Simulate the posteriors of some benchmarks of a fit after further models; parameters as in `futures`."""
    capability = fit.capability
    return futures(
        known_of(fit, benchmarks), further,
        priors=capability.spec.priors, icc_cells=capability.spec.cut.icc_cells, limit=limit, level=level,
        n_simulations=n_simulations,
        seeds=[seed_for(capability.seed, "futures", capability.model_class, name) for name in ("", *benchmarks)],
        n_families=n_families, families_matter=capability.spec.families, report=report,
    )  # fmt: skip


def _errors(theta: FloatArray) -> _Errors:
    """Regress every draw of capability on the posterior mean over the models; (n_draws, n_models)."""
    n = theta.shape[1]
    centre = theta.mean(axis=0)
    apart = centre - centre.mean()
    scale = theta @ apart / (apart @ apart)
    shift = theta.mean(axis=1) - scale * centre.mean()
    left = theta - shift[:, None] - scale[:, None] * centre
    return _Errors(shift=shift, scale=scale, own=min(float((left**2).mean()) * n / (n - 2), 0.99))


def _new_capability(
    known: Known, draw: int, codes: IntArray, errors: _Errors, chosen: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return the true capability of new models, (m,), and draws of it as an analyst would have them, (J, m)."""
    omega, m = float(known.capability_icc[draw]), len(codes)
    family = _shared(known.theta[draw], known.families, codes, omega, 1 - omega, rng)
    true = family[codes] + np.sqrt(1 - omega) * rng.standard_normal(m)
    reliable = 1 - errors.own
    mean = (reliable * true - errors.shift[draw]) / errors.scale[draw]
    seen = mean + np.sqrt(reliable * errors.own) / errors.scale[draw] * rng.standard_normal(m)
    own = np.sqrt(errors.own) * rng.standard_normal((len(chosen), m))
    return true, errors.shift[chosen, None] + errors.scale[chosen, None] * seen + own


def _new_scores(
    known: Known, draw: int, codes: IntArray, true: FloatArray, reliable: float, rngs: Sequence[np.random.Generator]
) -> tuple[FloatArray, FloatArray]:
    """Return scores of new models and the variance of their sampling error, both (m, n_benchmarks)."""
    m, n_benchmarks = len(codes), known.scores.shape[1]
    scores, noise = np.empty((m, n_benchmarks)), np.zeros((m, n_benchmarks))
    for column, rng in enumerate(rngs):
        seen = np.isfinite(known.scores[:, column])
        rho, sd = float(known.rho[draw, column]), float(known.total_sd[draw, column])
        kappa, alpha = float(known.icc[draw, column]), float(known.intercept[draw, column])
        residual = known.scores[seen, column] - alpha - sd * rho * known.theta[draw, seen]
        slope = sd * np.clip(rho / reliable, -LARGEST, LARGEST)
        unique = sd**2 - slope**2
        noise[:, column] = known.noise[seen, column].mean()
        own = (1 - kappa) * unique + noise[0, column]
        family = _shared(residual, known.families[seen], codes, kappa * unique, own, rng)
        scores[:, column] = alpha + slope * true + family[codes] + np.sqrt(own) * rng.standard_normal(m)
    return scores, noise


def _shared(
    values: FloatArray, families: IntArray, codes: IntArray, between: float, within: float, rng: np.random.Generator
) -> FloatArray:
    """Draw what families share, by code: given the members' values where there are some, else from the population.

    The member m of family f has the value a_f + N(0, within), a_f ~ N(0, between), so that given n_f members a_f is
    normal with mean between * sum / (within + n_f between) and variance between * within / (within + n_f between).
    """
    size = int(max(families.max(), codes.max())) + 1
    sums = np.bincount(families, weights=values, minlength=size)
    counts = np.bincount(families, minlength=size)
    total = np.maximum(within + counts * between, np.finfo(float).tiny)
    mean, variance = between * sums / total, between * within / total
    return np.asarray(mean + np.sqrt(variance) * rng.standard_normal(size))
