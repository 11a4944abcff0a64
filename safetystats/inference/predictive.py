"""Predictive checks of a factor model: what would new data look like, and where do the data look different?

New scores are drawn for the same models, families, missing cells and known sampling errors, from draws of the posterior
or of the prior, and prepared like the data: if those are z-scores, replications are z-scored anew, column by column.
What is compared (`DISCREPANCIES`) is what a one-factor model can get wrong: further factors, pairs of benchmarks that
share more than capability, outliers, skewness, ceilings, and families that differ more or less than assumed.

A posterior predictive tail probability is not uniform under the model: the data are used twice, so that it stays nearer
to 1/2 than a p-value would. It is conservative: near 0 or 1 it is stronger evidence of misfit than its size says, in
the middle it is weak evidence of fit (Meng 1994; Bayarri and Berger 2000).

References
----------
Gelman, Meng and Stern (1996); Meng (1994); Bayarri and Berger (2000), JASA 95, 1127-1142. The single factor: Harman and
Jones (1966); with bounded loadings Harman and Fukuda (1966), Psychometrika 31, 351-368 and 563-571.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safetystats.inference.arrays import BoolArray, FloatArray, IntArray
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import BetaPrior, FactorPriors

DISCREPANCIES = {
    "eigenvalue_1": "largest eigenvalue of the correlation matrix",
    "eigenvalue_2": "second eigenvalue of the correlation matrix",
    "eigenvalue_3": "third eigenvalue of the correlation matrix",
    "srmr": "root mean square of the correlations left by the best single factor",
    "largest_residual": "largest absolute correlation left by the best single factor",
    "largest_score": "largest absolute z-score",
    "largest_skewness": "largest absolute skewness of a benchmark",
    "near_ceiling": "largest share of models close to the upper bound of a benchmark",
    "family_share": "share of variance between families, mean over benchmarks",
    "family_share_of_factor": "share of variance between families in the score on the best single factor",
}
_OF_CELLS, _OF_COLUMNS = ("largest_residual", "largest_score"), ("largest_skewness", "near_ceiling")

UNUSUAL = 0.025  # tail probability on either side below which an observed discrepancy is called unusual
CLOSE = 0.05  # distance from the upper bound, as a share of the range, within which a score is close to the ceiling
MIN_SHARED = 3  # fewest models that two benchmarks share; pairs with fewer count as uncorrelated

_TINY, _TIE, _SETTLED = 1e-12, 1e-9, 1e-7
_SWEEPS, _ATTEMPTS = 500, 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NativeScale:
    """How z-scores turn into scores that have bounds: native = location + spread * z.

    Shapes (n_benchmarks,); bounds of the aligned scores, NaN where unknown; location 0, spread 1 if not z-scored.
    """

    location: FloatArray
    spread: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictiveRow:
    """One discrepancy of the data beside its predictive distribution.

    `what` is it in words, `where` the benchmark, pair of benchmarks, or model and benchmark at which the data have the
    extreme (empty for others); median and equal-tailed 95 % interval (`lower`, `upper`) over the replications;
    `tail_probability` is P(T_rep > T_obs) + P(T_rep = T_obs) / 2, `unusual` if outside [UNUSUAL, 1 - UNUSUAL].
    """

    discrepancy: str
    what: str
    where: str
    observed: float
    median: float
    lower: float
    upper: float
    tail_probability: float
    unusual: bool


def prior_draws(
    priors: FactorPriors,
    n_benchmarks: int,
    anchors: BoolArray,
    n_draws: int,
    rng: np.random.Generator,
    n_further: int = 0,
    pattern: BoolArray | None = None,
    families: bool = True,
) -> FactorDraws:
    """Draw the parameters of the benchmarks from their prior, under the sign rule.

    Parameters
    ----------
    priors : FactorPriors
    n_benchmarks, n_draws : int
    anchors : array of bool, shape (n_benchmarks,)
        Capability benchmarks: their loadings follow `capability_loading`, restricted to a positive sum by rejection,
        which is exact for any prior; the others follow `loading`. Without any anchor there is no restriction.
    rng : Generator
    n_further : int
        Further factors: lambda_bj = r_bj sqrt(1 - rho_b^2 - sum_{i<j} lambda_bi^2), (r + 1) / 2 from `further_loading`.
    pattern : array of bool, shape (n_benchmarks, n_further), or None
        Which benchmarks load on which further factor; all on all if None.
    families : bool
        Whether families share capability and residuals; omega and kappa are zero otherwise.

    Raises
    ------
    ValueError
        If shapes do not agree, or the prior gives a positive sum next to no probability.
    """
    on = np.ones((n_benchmarks, n_further)) if pattern is None else np.asarray(pattern, dtype=np.float64)
    if anchors.shape != (n_benchmarks,) or on.shape != (n_benchmarks, n_further):
        raise ValueError(f"shapes {anchors.shape}, {on.shape} for {n_benchmarks} benchmarks, {n_further} factors")
    shape = (n_draws, n_benchmarks)
    rho = _signed(priors.loading, rng, shape)
    held = np.flatnonzero(anchors)
    rho[:, held] = _signed(priors.capability_loading, rng, (n_draws, len(held)))
    for _ in range(_ATTEMPTS):
        turned = np.flatnonzero(rho[:, held].sum(1) < 0)
        if not len(turned):
            break
        rho[np.ix_(turned, held)] = _signed(priors.capability_loading, rng, (len(turned), len(held)))
    else:
        raise ValueError("the prior of the loadings of capability benchmarks almost excludes a positive sum")
    further = np.empty((*shape, n_further))
    left = 1 - rho**2
    for j in range(n_further):
        further[..., j] = _signed(priors.further_loading, rng, shape) * on[:, j] * np.sqrt(left)
        left = left - further[..., j] ** 2
    return FactorDraws(
        rho=rho,
        total_sd=rng.lognormal(priors.total_sd.mu, priors.total_sd.sigma, shape),
        icc=rng.beta(priors.icc.alpha, priors.icc.beta, shape) if families else np.zeros(shape),
        capability_icc=(
            rng.beta(priors.capability_icc.alpha, priors.capability_icc.beta, n_draws)
            if families
            else np.zeros(n_draws)
        ),
        intercept=rng.normal(priors.intercept.mu, priors.intercept.sigma, shape),
        further=further,
    )


def replicate(
    draws: FactorDraws, families: IntArray, noise: FloatArray, rng: np.random.Generator, theta: FloatArray | None = None
) -> FloatArray:
    """Draw one complete data set for every draw of the parameters, shape (n_draws, n_models, n_benchmarks).

    Parameters
    ----------
    draws : FactorDraws
    families : array of int, shape (n_models,)
        Codes of the families; their effects are drawn anew.
    noise : array, shape (n_models, n_benchmarks)
        Known variance of the sampling error.
    rng : Generator
    theta : array, shape (n_draws, n_models), or None
        Capability; drawn anew if None. Further factors are always drawn anew.
    """
    names, codes = np.unique(families, return_inverse=True)
    n_draws, n_benchmarks = draws.rho.shape
    eta = rng.standard_normal((n_draws, len(codes), 1 + draws.further.shape[-1]))
    if theta is None:
        omega = draws.capability_icc[:, None]
        theta = np.sqrt(omega) * rng.standard_normal((n_draws, len(names)))[:, codes] + np.sqrt(1 - omega) * eta[..., 0]
    eta[..., 0] = theta
    unique = np.maximum(draws.unique, 0)
    shared = np.sqrt(draws.icc * unique)[:, None, :] * rng.standard_normal((n_draws, len(names), n_benchmarks))
    own = np.sqrt(((1 - draws.icc) * unique)[:, None, :] + noise)
    own *= rng.standard_normal((n_draws, len(codes), n_benchmarks))
    signal = eta @ np.swapaxes(draws.loadings, -1, -2)
    return np.asarray(draws.intercept[:, None, :] + signal + shared[:, codes] + own)


def discrepancies(
    values: FloatArray, families: IntArray | None = None, scale: NativeScale | None = None
) -> dict[str, FloatArray]:
    """Return the discrepancies of one or many data sets; all but `near_ceiling` are free of the columns' scales.

    Parameters
    ----------
    values : array, shape (..., n_models, n_benchmarks)
        NaN where missing; at least two benchmarks.
    families : array of int, shape (n_models,), or None
        Without them the shares between families are left out.
    scale : NativeScale or None
        Without it, or if no benchmark has both bounds, `near_ceiling` is left out.

    Returns
    -------
    dict of str to array of shape (...)
        Keys are those of `DISCREPANCIES`. Correlations are Pearson's over the models that each two benchmarks share.
        The best single factor has the least sum of squared off-diagonal residuals with loadings in [-1, 1]; with fewer
        than four benchmarks it mostly leaves none.
        Shares between families are ratios of sums of squares (eta squared), not corrected for chance.
    """
    return _reduced(_pieces(values, families, scale))


def predictive_check(
    draws: FactorDraws,
    data: FactorData,
    rng: np.random.Generator,
    *,
    benchmarks: Sequence[str],
    models: Sequence[str],
    scale: NativeScale | None = None,
    theta: FloatArray | None = None,
    standardised: bool = True,
) -> list[PredictiveRow]:
    """Compare data with one replication per draw; a prior predictive check if the draws are from `prior_draws`.

    Parameters
    ----------
    draws : FactorDraws
        With 2000 the Monte Carlo standard error of a tail probability of 0.025 is about 0.0035.
    data : FactorData
        Replications have its models, families, missing cells and sampling errors.
    rng : Generator
    benchmarks, models : sequence of str
        Names of columns and rows.
    scale : NativeScale or None
        For ceilings.
    theta : array, shape (n_draws, n_models), or None
        Capability of these very models; new models of the same families if None.
    standardised : bool
        Whether the columns of the data are z-scores. Replications are then z-scored anew over the same cells, as the
        data were, and shape is compared, not mean and spread.

    Returns
    -------
    list of PredictiveRow
        One per discrepancy. Tail probabilities are conservative (see the module).
    """
    seen = np.isfinite(data.values)
    copies = np.where(seen, replicate(draws, data.families, data.noise, rng, theta), np.nan)
    if standardised:
        copies = np.where(seen, _standardise(copies)[0], np.nan)
    replicated = discrepancies(copies, data.families, scale)
    pieces = _pieces(data.values, data.families, scale)
    return [
        _row(name, float(value), replicated[name], _place(name, pieces, benchmarks, models))
        for name, value in _reduced(pieces).items()
    ]


def _signed(prior: BetaPrior, rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return np.asarray(2 * rng.beta(prior.alpha, prior.beta, shape) - 1)


def _standardise(values: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Return z-scores (ddof 0) with zeros where missing or constant, and which cells are there."""
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(-2, keepdims=True), 1)
    mean = np.where(seen, values, 0).sum(-2, keepdims=True) / count
    centred = np.where(seen, values - mean, 0)
    sd = np.sqrt((centred**2).sum(-2, keepdims=True) / count)
    varies = sd > _TINY * np.abs(mean)
    return np.asarray(np.where(varies, centred / np.where(varies, sd, 1), 0)), seen


def _correlations(z: FloatArray, seen: FloatArray) -> FloatArray:
    """Return Pearson correlations over the models that each two columns share, shape (..., k, k)."""
    across = np.swapaxes(z, -1, -2)
    n = np.swapaxes(seen, -1, -2) @ seen
    total, squares = across @ seen, np.swapaxes(z**2, -1, -2) @ seen  # of the first column, where the second is seen
    own = squares - total**2 / np.maximum(n, 1)
    other = np.swapaxes(own, -1, -2)
    shared = across @ z - total * np.swapaxes(total, -1, -2) / np.maximum(n, 1)
    defined = (n >= MIN_SHARED) & (own > _TINY) & (other > _TINY)
    r = np.where(defined, shared / np.sqrt(np.where(defined, own * other, 1)), 0)
    return np.where(np.eye(z.shape[-1], dtype=bool), 1.0, np.clip(r, -1, 1))


def _single_factor(r: FloatArray, start: FloatArray) -> FloatArray:
    """Return loadings in [-1, 1] with least squared off-diagonal residuals, by coordinate descent, shape (..., k)."""
    loadings = np.clip(start, -1, 1)
    for _ in range(_SWEEPS):
        before = loadings.copy()
        for b in range(r.shape[-1]):
            others = np.where(np.arange(r.shape[-1]) == b, 0, loadings)
            weight = np.maximum((others**2).sum(-1), _TINY)
            loadings[..., b] = np.clip((r[..., b, :] * others).sum(-1) / weight, -1, 1)
        if np.abs(loadings - before).max() < _SETTLED:
            break
    return loadings


def _pieces(values: FloatArray, families: IntArray | None, scale: NativeScale | None) -> dict[str, FloatArray]:
    """Return what the discrepancies are the extremes or means of; leading dimensions are those of `values`."""
    z, present = _standardise(values)
    seen = present.astype(np.float64)
    count = np.maximum(seen.sum(-2), 1)
    r = _correlations(z, seen)
    eigenvalues, vectors = np.linalg.eigh(r)
    loadings = _single_factor(r, vectors[..., -1] * np.sqrt(eigenvalues[..., -1:]))
    residual = np.abs(r - loadings[..., :, None] * loadings[..., None, :])
    pieces = {
        "eigenvalues": eigenvalues[..., ::-1],
        "largest_residual": np.where(np.eye(r.shape[-1], dtype=bool), 0.0, residual),
        "largest_score": np.abs(z),
        "largest_skewness": np.abs((z**3).sum(-2) / count),
    }
    if families is not None:
        weight = np.maximum((seen * np.abs(loadings)[..., None, :]).sum(-1), _TINY)
        factor = (z * loadings[..., None, :]).sum(-1) / weight
        pieces["family_share"] = _between(z, seen, families)
        score, there = _standardise(np.where(present.any(-1), factor, np.nan)[..., None])
        pieces["family_share_of_factor"] = _between(score, there.astype(np.float64), families)
    if scale is not None and np.isfinite(scale.upper - scale.lower).any():
        native = scale.location + scale.spread * np.where(present, values, np.nan)
        pieces["near_ceiling"] = (native >= scale.upper - CLOSE * (scale.upper - scale.lower)).sum(-2) / count
    return pieces


def _between(z: FloatArray, seen: FloatArray, families: IntArray) -> FloatArray:
    """Return the share of the sum of squares that lies between families, by column, shape (..., k); z has mean zero."""
    members = (np.unique(families)[:, None] == families).astype(np.float64)
    between = ((members @ z) ** 2 / np.maximum(members @ seen, 1)).sum(-2)
    return np.asarray(between / np.maximum((z**2).sum(-2), _TINY))


def _reduced(pieces: dict[str, FloatArray]) -> dict[str, FloatArray]:
    eigenvalues, k = pieces["eigenvalues"], pieces["eigenvalues"].shape[-1]
    found = {f"eigenvalue_{i + 1}": eigenvalues[..., i] for i in range(min(3, k))}
    found["srmr"] = np.sqrt((pieces["largest_residual"] ** 2).sum((-2, -1)) / (k * (k - 1)))
    found |= {name: pieces[name].max((-2, -1)) for name in _OF_CELLS}
    found |= {name: pieces[name].max(-1) for name in _OF_COLUMNS if name in pieces}
    return found | {name: piece.mean(-1) for name, piece in pieces.items() if name.startswith("family_share")}


def _place(name: str, pieces: dict[str, FloatArray], benchmarks: Sequence[str], models: Sequence[str]) -> str:
    """Return the names at the extreme of one data set, empty for a discrepancy that is none."""
    if name not in (*_OF_CELLS, *_OF_COLUMNS):
        return ""
    *row, column = np.unravel_index(int(pieces[name].argmax()), pieces[name].shape)
    rows = models if name == "largest_score" else benchmarks
    return " and ".join([*(rows[int(i)] for i in row), benchmarks[int(column)]])


def _row(name: str, observed: float, replicated: FloatArray, where: str) -> PredictiveRow:
    tied = np.abs(replicated - observed) <= _TIE
    tail = float(((replicated > observed) & ~tied).mean() + tied.mean() / 2)
    lower, median, upper = (float(q) for q in np.quantile(replicated, [0.025, 0.5, 0.975]))
    return PredictiveRow(
        discrepancy=name, what=DISCREPANCIES[name], where=where, observed=observed, median=median, lower=lower,
        upper=upper, tail_probability=tail, unusual=not UNUSUAL <= tail <= 1 - UNUSUAL,
    )  # fmt: skip
