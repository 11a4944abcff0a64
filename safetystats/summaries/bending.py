"""Tables of whether relations with capability bend: line against curve, local slopes, and the curves for the figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.bending import Bending, bending, explained, heights, slopes
from safetystats.inference.fits import SafetyFit
from safetystats.inference.loo import standard_error
from safetystats.inference.problems import family_codes
from safetystats.inference.streams import Report, seed_for
from safetystats.spec_questions import RelationRules
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.tables.table import ScoreTable

FloatArray = npt.NDArray[np.float64]

CAPABILITY_DRAWS = 60
"""Draws of capability; line and curve are averaged over the same ones, so that most of their error cancels."""
PLACES: Mapping[str, float] = {"low": 0.1, "middle": 0.5, "high": 0.9}
"""Quantiles of capability, over the models of the class, at which slopes are given."""
BEYOND = "beyond"
"""The place one standard deviation of capability above the most capable model: always extrapolation."""
GRID = 41
"""Points of a curve, from the least to the most capable model of the class."""


def bending_tables(
    safety: Mapping[str, SafetyFit], rules: RelationRules, level: float, report: Report | None = None
) -> dict[str, pd.DataFrame]:
    """Return the tables `bending`, `local_slopes` and `bending_curves`.

    Parameters
    ----------
    safety : mapping of str to SafetyFit
        By class.
    rules : RelationRules
        When a curve counts.
    level : float
        Coverage of the equal-tailed intervals.
    report : callable or None
        Called with (benchmarks done, benchmarks in all).
    """
    total = sum(len(fit.benchmarks) for fit in safety.values())
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in ("bending", "local_slopes", "bending_curves")}
    done = 0
    for label, fit in safety.items():
        found = fit_bending(fit)
        table, capability = fit.capability.table, fit.capability.theta.mean(axis=0)
        for name in fit.benchmarks:
            done += 1
            result = found.get(name)
            if result is None:
                continue
            facts = {"model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"])}
            families = family_codes(table)[result.seen]
            spread, centre, unit = _scale(table, label, name)
            rows["bending"].append(facts | _comparison(result, families, capability, rules))
            rows["local_slopes"] += [facts | row for row in _slopes(result, capability, spread, centre, unit, level)]
            rows["bending_curves"] += [facts | row for row in _curve(result, capability, spread, centre, level)]
        if report is not None and total:
            report(done, total)
    return {name: pd.DataFrame(found, columns=list(RELATIONS_TABLES[name])) for name, found in rows.items()}


def fit_bending(fit: SafetyFit) -> dict[str, Bending]:
    """Return line and curve of every benchmark of a class that has enough scores, from evenly spaced draws."""
    table, spec, names = fit.capability.table, fit.capability.spec, fit.benchmarks
    every = fit.capability.theta
    chosen = np.linspace(0, len(every) - 1, min(CAPABILITY_DRAWS, len(every))).round().astype(np.int64)
    rngs = [
        np.random.default_rng(seed_for(fit.capability.seed, "bending", fit.capability.model_class, name))
        for name in names
    ]
    found = bending(
        table.matrix(names), every[chosen], family_codes(table), spec.priors, rngs, families_matter=spec.families
    )
    return {name: result for name, result in zip(names, found, strict=True) if result is not None}


def _scale(table: ScoreTable, label: str, name: str) -> tuple[float, float, str]:
    """Return sd and mean that the scores were standardised with and their unit; 1 and 0 where transformed."""
    if table.preparation.transform != "identity":
        return 1.0, 0.0, "sd"
    return float(table.spread.loc[label, name]), float(table.location.loc[label, name]), "score"


def _comparison(
    result: Bending, families: npt.NDArray[np.int64], capability: FloatArray, rules: RelationRules
) -> dict[str, object]:
    gain = result.elpd_curve - result.elpd_line
    difference, error = float(gain.sum()), standard_error(gain, families)
    ends = np.quantile(capability, [PLACES["low"], PLACES["high"]])
    rise = np.abs(slopes(result.curve, ends))
    top = int(np.argmax(np.abs(gain)))
    return {
        "n_models": int(result.seen.sum()), "n_families": len(np.unique(families)),
        "elpd_line": float(result.elpd_line.sum()), "elpd_curve": float(result.elpd_curve.sum()),
        "difference": difference, "difference_error": error,
        "largest_part": float(gain[top]),
        "bends": bool(difference > rules.bending_elpd and difference > rules.bending_errors * error),
        "p_flatter": float((rise[:, 1] < rise[:, 0]).mean()),
        "explained_line": float(explained(result.line).mean()),
        "explained_curve": float(explained(result.curve).mean()),
    }  # fmt: skip


def _slopes(
    result: Bending, capability: FloatArray, spread: float, centre: float, unit: str, level: float
) -> list[dict[str, object]]:
    at = np.append(np.quantile(capability, list(PLACES.values())), capability.max() + capability.std())
    rise, high = slopes(result.curve, at) * spread, heights(result.curve, at) * spread + centre
    line = slopes(result.line, at[:1])[:, 0] * spread
    lower, upper = np.quantile(rise, ((1 - level) / 2, (1 + level) / 2), axis=0)
    line_lower, line_upper = np.quantile(line, ((1 - level) / 2, (1 + level) / 2))
    return [
        {
            "place": place, "quantile": PLACES.get(place, np.nan), "capability": float(x), "slope": float(s.mean()),
            "lower": float(low), "upper": float(top), "level": level, "line_slope": float(line.mean()),
            "line_lower": float(line_lower), "line_upper": float(line_upper), "expected": float(h.mean()),
            "unit": unit, "extrapolated": _outside(x, capability[result.seen]),
        }
        for place, x, s, low, top, h in zip((*PLACES, BEYOND), at, rise.T, lower, upper, high.T, strict=True)
    ]  # fmt: skip


def _curve(
    result: Bending, capability: FloatArray, spread: float, centre: float, level: float
) -> list[dict[str, object]]:
    at = np.linspace(capability.min(), capability.max(), GRID)
    curve, line = (heights(shape, at) * spread + centre for shape in (result.curve, result.line))
    lower, upper = np.quantile(curve, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return [
        {
            "capability": float(x), "expected": float(c.mean()), "lower": float(low), "upper": float(top),
            "level": level, "line": float(s.mean()), "extrapolated": _outside(x, capability[result.seen]),
        }
        for x, c, low, top, s in zip(at, curve.T, lower, upper, line.T, strict=True)
    ]  # fmt: skip


def _outside(x: float, seen: FloatArray) -> bool:
    """Return whether a capability lies outside the range of the models that have a score."""
    return bool(x < seen.min() - 1e-9 or x > seen.max() + 1e-9)
