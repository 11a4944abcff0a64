"""What a fit says of one benchmark, quantity by quantity (DESIGN 3.5): functions of draws, and a table of them.

Every function takes draws of the parameters, arrays of shape (T,), and returns draws of the quantity. rho and s are
those of the score as observed, or of the score free of sampling error where the fit had the error in it
(`BenchmarkDraws.error_free`); `attenuated_correlation` and `disattenuated_correlation` are the one and the other
whatever the fit.

A fit that knows nothing of the error may leave less variance than the error alone has. The correlation corrected
afterwards is then undefined or beyond one. Draws are kept as they are; `p_all_error` is the share of such draws, and
`estimand_rows` summarises what depends on them (`CORRECTED`) only where they are few, with draws clipped to its range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]

MOST_UNDEFINED = 0.05
"""Share of the draws in which a quantity may be undefined; with more, its summary is."""
LEAST_KNOWN = 0.25
"""Share of the scores whose items must be known for their mean error to be taken for the others: fewer do not speak for
them."""
CORRECTED = ("disattenuated_correlation", "reliable_share_left")
"""Plug-in corrections for sampling error: their summary is undefined where `p_all_error` exceeds `MOST_UNDEFINED`."""
COLUMNS: tuple[str, ...] = (
    "model_class", "benchmark", "area", "n_models", "n_families", "mode", "estimand", "mean", "sd", "lower", "upper",
    "level",
)  # fmt: skip
"""Columns of `estimand_rows`, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimand:
    """A quantity that is reported for every benchmark.

    Attributes
    ----------
    name, symbol, unit : str
        Identifier, how it is written, and its unit; "" for a pure number.
    meaning : str
        One line.
    lower, upper : float
        Range that the quantity has by definition. Draws of the plug-in corrections for sampling error may lie outside.
    """

    name: str
    symbol: str
    unit: str
    meaning: str
    lower: float = -1.0
    upper: float = 1.0


_INFINITE = float("inf")
ESTIMANDS: dict[str, Estimand] = {
    each.name: each
    for each in (
        Estimand(
            name="correlation", symbol="ρ", unit="",
            meaning="correlation with capability in the population that the models are a sample of",
        ),
        Estimand(
            name="rank_correlation", symbol="ρ_S", unit="",
            meaning="rank correlation with capability that goes with ρ in a bivariate normal, (6/π) asin(ρ/2)",
        ),
        Estimand(
            name="fixed_set_correlation", symbol="r", unit="",
            meaning="correlation of the observed scores with capability over exactly these models",
        ),
        Estimand(
            name="within_family_correlation", symbol="ρ_W", unit="",
            meaning="correlation with capability within one family, ρ√(1 − ω) / √(ρ²(1 − ω) + (1 − κ)(1 − ρ²))",
        ),
        Estimand(
            name="slope", symbol="β", unit="score per sd of capability", lower=-_INFINITE, upper=_INFINITE,
            meaning="change of the aligned score per sd of capability, in the unit of the score",
        ),
        Estimand(
            name="sd_between_models", symbol="s", unit="score", lower=0.0, upper=_INFINITE,
            meaning="sd of the score between models, in the unit of the score; free of sampling error where ρ is",
        ),
        Estimand(
            name="icc", symbol="κ", unit="", lower=0.0,
            meaning="share of what capability leaves unexplained that models of one family have in common",
        ),
        Estimand(
            name="attenuated_correlation", symbol="ρ_obs", unit="",
            meaning="correlation of the score as observed, with its sampling error, with capability",
        ),
        Estimand(
            name="disattenuated_correlation", symbol="ρ_true", unit="",
            meaning="correlation of the score free of sampling error with capability; where item counts are known",
        ),
        Estimand(
            name="reliability", symbol="R", unit="", lower=0.0,
            meaning="share of the variance between models that is not sampling error of the items",
        ),
        Estimand(
            name="reliable_share_left", symbol="1 − ρ_true²", unit="", lower=0.0,
            meaning="share of the reliable variance between models that capability leaves unexplained",
        ),
        Estimand(
            name="p_all_error", symbol="P(ρ_true undefined or beyond ±1)", unit="", lower=0.0,
            meaning="share of the draws in which the correlation corrected for sampling error is undefined or beyond 1",
        ),
    )
}  # fmt: skip
"""All estimands in the order of reports."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchmarkDraws:
    """Draws of one benchmark's parameters and what else its estimands need.

    Attributes
    ----------
    rho, total_sd, icc : array, shape (T,)
        rho, s and kappa, s in units of the prepared score.
    capability_icc : array, shape (T,)
        omega, the share of the variance of capability between families; zeros where families do not matter.
    fixed_set : array, shape (T,)
        Correlation of the observed scores with each draw of capability over exactly these models; NaN where unknown.
    spread : float
        Units of the score in one unit of the prepared score; NaN where the scores were transformed.
    mean_noise : float
        Mean variance of the sampling error of the scores (`mean_error`), in squared prepared units; NaN where items are
        unknown.
    error_free : bool
        True if the fit had this error in it, so that rho and s are those of the score free of it.
    """

    rho: FloatArray
    total_sd: FloatArray
    icc: FloatArray
    capability_icc: FloatArray
    fixed_set: FloatArray
    spread: float = float("nan")
    mean_noise: float = float("nan")
    error_free: bool = False


class Summary(NamedTuple):
    """Posterior mean, sd and equal-tailed interval; NaN where there is none."""

    mean: float
    sd: float
    lower: float
    upper: float


def mean_error(variances: FloatArray) -> float:
    """Return the mean error variance of the scores whose items are known, taken for the others too.

    Parameters
    ----------
    variances : array, shape (n,)
        Variance of the sampling error of every score that was observed; zero where its items are unknown.

    Returns
    -------
    float
        NaN where items are known for less than `LEAST_KNOWN` of the scores, or for none.
    """
    known = variances > 0
    if not known.any() or known.mean() < LEAST_KNOWN:
        return float("nan")
    return float(variances[known].mean())


def rank_correlation(rho: FloatArray) -> FloatArray:
    """Return the Spearman correlation of a bivariate normal with correlation rho (Pearson 1907), shape (T,)."""
    return np.asarray(6 / np.pi * np.arcsin(rho / 2))


def within_family_correlation(rho: FloatArray, icc: FloatArray, capability_icc: FloatArray) -> FloatArray:
    """Return the correlation among models of one family, where what the family shares is constant, shape (T,).

    rho sqrt(1 - omega) / sqrt(rho^2 (1 - omega) + (1 - kappa) (1 - rho^2)): of capability the share omega is the
    family's, of what capability leaves unexplained the share kappa. NaN where models of a family do not differ at all.
    """
    own = rho**2 * (1 - capability_icc)
    norm = np.sqrt(own + (1 - icc) * (1 - rho**2))
    return np.asarray(
        np.divide(rho * np.sqrt(1 - capability_icc), norm, out=np.full(rho.shape, np.nan), where=norm > 0)
    )


def reliability(total_sd: FloatArray, mean_noise: float, *, error_free: bool) -> FloatArray:
    """Return the share of the variance of the observed score that is not sampling error, shape (T,).

    s^2 / (s^2 + w) if s is that of the score free of error, otherwise 1 - w / s^2, which is negative where w > s^2.
    """
    variance = total_sd**2
    return np.asarray(variance / (variance + mean_noise) if error_free else 1 - mean_noise / variance)


def attenuated_correlation(rho: FloatArray, total_sd: FloatArray, mean_noise: float, *, error_free: bool) -> FloatArray:
    """Return the correlation of the score as observed: rho itself unless rho is free of error, shape (T,)."""
    return rho * np.sqrt(reliability(total_sd, mean_noise, error_free=True)) if error_free else rho.copy()


def disattenuated_correlation(
    rho: FloatArray, total_sd: FloatArray, mean_noise: float, *, error_free: bool
) -> FloatArray:
    """Return the correlation of the score free of sampling error (Spearman 1904), shape (T,).

    rho itself if it is free of error and the error is known; otherwise rho s / sqrt(s^2 - w), NaN in draws with
    s^2 <= w and everywhere if w is NaN. Beyond one where the unique variance is less than w.
    """
    if error_free:
        return np.where(np.isfinite(mean_noise), rho, np.nan)
    left = total_sd**2 - mean_noise
    root = np.sqrt(np.where(left > 0, left, np.nan))
    return np.asarray(rho * total_sd / root)


def estimand_draws(drawn: BenchmarkDraws) -> dict[str, FloatArray]:
    """Return draws of every estimand, each of shape (T,), in the order of `ESTIMANDS`; NaN where undefined."""
    rho, total_sd, noise = drawn.rho, drawn.total_sd, drawn.mean_noise
    known = bool(np.isfinite(noise))
    modelled = drawn.error_free and known
    nothing = np.full(rho.shape, np.nan)
    true = disattenuated_correlation(rho, total_sd, noise, error_free=modelled)
    share = reliability(total_sd, noise, error_free=modelled)
    found = {
        "correlation": rho,
        "rank_correlation": rank_correlation(rho),
        "fixed_set_correlation": drawn.fixed_set,
        "within_family_correlation": within_family_correlation(rho, drawn.icc, drawn.capability_icc),
        "slope": rho * total_sd * drawn.spread,
        "sd_between_models": total_sd * drawn.spread,
        "icc": drawn.icc,
        "attenuated_correlation": attenuated_correlation(rho, total_sd, noise, error_free=modelled),
        "disattenuated_correlation": true,
        "reliability": share,
        "reliable_share_left": 1 - true**2,
        "p_all_error": np.where(np.abs(true) <= 1, 0.0, 1.0) if known else nothing,
    }
    return {name: found[name] for name in ESTIMANDS}


def summarise(draws: FloatArray, weight: FloatArray | None, level: float) -> Summary:
    """Return the summary of weighted draws.

    Parameters
    ----------
    draws : array, shape (T,)
        NaN where the quantity is undefined. These draws are left out, unless their weight is more than
        `MOST_UNDEFINED`: then there is no summary.
    weight : array, shape (T,), or None
        Importance weights of any sum; None: all alike.
    level : float
        Coverage of the equal-tailed interval.
    """
    weight = np.ones(draws.shape) if weight is None else weight
    defined = ~np.isnan(draws)
    kept = weight[defined].sum()
    if not kept > 0 or kept < (1 - MOST_UNDEFINED) * weight.sum():
        return Summary(*[float("nan")] * 4)
    values, weight = draws[defined], weight[defined] / kept
    mean = float(weight @ values)
    lower, upper = np.quantile(values, ((1 - level) / 2, (1 + level) / 2), weights=weight, method="inverted_cdf")
    return Summary(mean, float(np.sqrt(weight @ (values - mean) ** 2)), float(lower), float(upper))


def estimand_rows(
    drawn: BenchmarkDraws,
    weight: FloatArray | None,
    level: float,
    *,
    model_class: str,
    benchmark: str,
    area: str,
    n_models: int,
    n_families: int,
    mode: str,
) -> pd.DataFrame:
    """Return one row per estimand of a benchmark, columns `COLUMNS`.

    Parameters
    ----------
    drawn : BenchmarkDraws
    weight : array, shape (T,), or None
        Weights of the draws (the joint posterior by importance weighting); None: all alike.
    level : float
        Coverage of the intervals.
    model_class, benchmark, area, mode : str
        What the rows are labelled with.
    n_models, n_families : int
        Models with a score, and their families.

    Notes
    -----
    `p_all_error` is a share of draws: it has a mean and neither sd nor interval. If it is more than `MOST_UNDEFINED`,
    the quantities in `CORRECTED` have no summary; otherwise their draws beyond the range are set to its end, and those
    that are undefined left out.
    """
    rows = []
    every = estimand_draws(drawn)
    weight = np.ones(drawn.rho.shape) if weight is None else weight
    few = weight[every["p_all_error"] == 1].sum() <= MOST_UNDEFINED * weight.sum()
    for name, draws in every.items():
        if name in CORRECTED:
            each = ESTIMANDS[name]
            draws = np.clip(draws, each.lower, each.upper) if few else np.full(draws.shape, np.nan)
        found = summarise(draws, weight, level)
        if name == "p_all_error":
            found = Summary(found.mean, *[float("nan")] * 3)
        rows.append(
            {
                "model_class": model_class,
                "benchmark": benchmark,
                "area": area,
                "n_models": n_models,
                "n_families": n_families,
                "mode": mode,
                "estimand": name,
                **found._asdict(),
                "level": level,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))
