"""Correlation and slope together: a benchmark can correlate with capability while its score hardly moves with it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.regions import quadrant_probabilities, share_at_bounds
from safetystats.specs import Questions, Rope
from safetystats.summaries.estimands import summarise
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES

NEAR = 0.05
"""Share of the range within which a model counts as being at a bound, as in the audit."""
QUADRANTS: dict[str, str] = {
    "high and large": "p_high_large", "high and small": "p_high_small", "low and large": "p_low_large",
    "low and small": "p_low_small",
}  # fmt: skip
"""Correlation and slope, and the column that has the probability."""


def liability(
    fit: SafetyFit,
    dictionary: pd.DataFrame,
    questions: Questions,
    rope: Rope,
    level: float,
    *,
    held: bool = False,
    noisy: Collection[str] = (),
) -> pd.DataFrame:
    """Return, for every benchmark of a class, how probable each combination of correlation and slope is.

    Parameters
    ----------
    fit : SafetyFit
    dictionary : DataFrame
        Benchmarks of the aligned table: bounds `lower` and `upper` of the aligned score.
    questions : Questions
        Smallest effects of interest.
    rope : Rope
        Limit of |rho|, and the probability that a quadrant needs.
    level : float
        Coverage of the equal-tailed intervals.
    held : bool
        Whether a gate withholds verdicts.
    noisy : collection of str
        Benchmarks of which "distinct" is withheld for noise: so is a quadrant of low correlation.

    Returns
    -------
    DataFrame
        Table `liability`. Slopes are those of the cut posterior, in the unit of the aligned score per sd of capability
        in the population of the class; there are none where scores were transformed.

    References
    ----------
    The distinction of correlation and slope is that of the decision chart of Ren et al. (2024).
    """
    table, label, names = fit.capability.table, fit.capability.model_class, fit.benchmarks
    cut = fit.draws["cut"].to_dataset().transpose("chain", "draw", ...)
    shape = (-1, len(names))
    rho, total_sd = (cut[p].to_numpy().reshape(shape).astype(np.float64) for p in ("rho", "total_sd"))
    spread = table.spread.loc[label, names].to_numpy(dtype=np.float64)
    if table.preparation.transform != "identity":
        spread = np.full(len(names), np.nan)
    sd = total_sd * spread
    slope = rho * sd
    lower, upper = (dictionary.loc[names, end].to_numpy(dtype=np.float64) for end in ("lower", "upper"))
    native = table.matrix(names) * spread + table.location.loc[label, names].to_numpy(dtype=np.float64)
    smallest, source = smallest_effects(names, upper - lower, questions)
    chances = quadrant_probabilities(rho, slope, rope.limit, smallest)
    floor, ceiling = share_at_bounds(native, lower, upper, NEAR)
    rows = []
    for place, name in enumerate(names):
        of_slope, of_sd = summarise(slope[:, place], None, level), summarise(sd[:, place], None, level)
        own = {column: float(value[place]) for column, value in zip(QUADRANTS.values(), chances, strict=True)}
        rows.append(
            {
                "model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"]),
                "n_models": int(table.scores[name].notna().sum()), "mean": float(rho[:, place].mean()),
                "limit": rope.limit, "slope": of_slope.mean, "slope_lower": of_slope.lower,
                "slope_upper": of_slope.upper, "level": level, "sd_between": of_sd.mean, "sd_lower": of_sd.lower,
                "sd_upper": of_sd.upper, "smallest_effect": float(smallest[place]), "effect_from": source[place],
                **own, "quadrant": _quadrant(own, rope.probability, held=held, noisy=name in noisy),
                "share_at_floor": float(floor[place]),
                "share_at_ceiling": float(ceiling[place]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(VERDICTS_TABLES["liability"]))


def smallest_effects(names: list[str], spans: np.ndarray, questions: Questions) -> tuple[np.ndarray, list[str]]:
    """Return the smallest effect of interest of every benchmark, and where it is from.

    Parameters
    ----------
    names : list of str
    spans : array, shape (n_benchmarks,)
        Range of the score; NaN or infinite where it is not bounded.
    questions : Questions

    Returns
    -------
    smallest : array, shape (n_benchmarks,)
        NaN where none is stated and the score is not bounded.
    source : list of str
        "stated", "share of range" or "none".
    """
    smallest, source = np.full(len(names), np.nan), []
    for place, (name, span) in enumerate(zip(names, spans, strict=True)):
        if name in questions.smallest_effect:
            smallest[place] = questions.smallest_effect[name]
            source.append("stated")
        elif np.isfinite(span) and span > 0:
            smallest[place] = questions.smallest_share * span
            source.append("share of range")
        else:
            source.append("none")
    return smallest, source


def _quadrant(chances: dict[str, float], probability: float, *, held: bool, noisy: bool) -> str:
    if any(np.isnan(value) for value in chances.values()):
        return ""
    if held:
        return "withheld"
    found = next((name for name, column in QUADRANTS.items() if chances[column] >= probability), "undetermined")
    return "withheld" if noisy and found.startswith("low") else found
