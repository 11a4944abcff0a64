"""The difference of capabilities correlations between classes: its posterior with pairing kept, and what stands beside.

Beside the paired posterior stand the one that ignores the pairing, the Bayesian bootstrap of the 2024 statistic, and
Steiger's test of two dependent correlations; the last two are of Spearman correlations with the 2024 score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.paired import PairedDraws, paired_posteriors, sides_of
from safetystats.inference.paired_likelihood import FloatArray
from safetystats.scores.dependent import dependent_differences
from safetystats.scores.recipe import class_differences
from safetystats.specs import FactorSpec, Gates, Rope, ScoreSpec
from safetystats.summaries.estimands import summarise
from safetystats.summaries.gates import Check
from safetystats.summaries.numbers import significant_text
from safetystats.tables.table import ScoreTable

POSTERIOR_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "class_a", "class_b", "n_a", "n_b", "n_pairs", "rho_a", "rho_b", "delta", "sd", "lower",
    "upper", "level", "p_positive", "p_equivalent", "unpaired_delta", "unpaired_sd", "unpaired_lower",
    "unpaired_upper", "unpaired_p_positive", "unpaired_p_equivalent", "psi", "psi_lower", "psi_upper", "pareto_k",
    "effective",
)  # fmt: skip
CLOSED_COLUMNS: tuple[str, ...] = (
    "bootstrap_delta", "bootstrap_lower", "bootstrap_upper", "bootstrap_p_positive", "r_a", "r_b", "r_lower",
    "r_upper", "error_correlation", "statistic", "p_value", "p_adjusted",
)  # fmt: skip
COLUMNS = (*POSTERIOR_COLUMNS, *CLOSED_COLUMNS)
"""Columns of `posterior_differences`."""
KEYS = ["benchmark", "class_a", "class_b"]


def class_pairs(classes: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs (a, b) of classes, b the earlier one: the difference is of a from b."""
    return [(later, earlier) for earlier, later in combinations(classes, 2)]


def posterior_differences(
    fits: Mapping[str, SafetyFit], closed: pd.DataFrame, spec: FactorSpec, level: float, rope: Rope
) -> pd.DataFrame:
    """Return the difference of correlations for every benchmark and pair of classes.

    Parameters
    ----------
    fits : mapping of str to SafetyFit
        By class, in the order of the study; fewer than two give no row.
    closed : DataFrame
        From `closed_differences`.
    spec : FactorSpec
        Of the fits.
    level : float
        Coverage of the equal-tailed intervals.
    rope : Rope
        `difference` is the limit below which correlations count as equal.

    Returns
    -------
    DataFrame
        Columns `COLUMNS`, cut posterior; benchmarks that both classes have a posterior of.
    """
    order = list(fits)
    wanted = {label: [n for n in fit.benchmarks if _elsewhere(fits, label, n)] for label, fit in fits.items()}
    sides = {label: sides_of(fit, wanted[label]) for label, fit in fits.items()}
    rows = []
    for class_a, class_b in class_pairs(order):
        table = fits[class_b].capability.table
        for name, drawn in paired_posteriors(sides[class_a], sides[class_b], spec).items():
            a, b = sides[class_a][name], sides[class_b][name]
            rows.append(
                {
                    "benchmark": name,
                    "area": table.benchmarks.loc[name, "area"],
                    "class_a": class_a,
                    "class_b": class_b,
                    "n_a": len(a.lineages),
                    "n_b": len(b.lineages),
                }
                | _numbers(drawn, (a.rho - b.rho).ravel(), level, rope)
            )
    frame = pd.DataFrame(rows, columns=list(POSTERIOR_COLUMNS))
    return frame.merge(closed, on=KEYS, how="left", validate="one_to_one")[list(COLUMNS)]


def closed_differences(table: ScoreTable, spec: ScoreSpec, level: float, seed: int) -> pd.DataFrame:
    """Return the Bayesian bootstrap of the 2024 statistic and Steiger's test, for every pair of classes.

    Parameters
    ----------
    table : ScoreTable
        As read.
    spec : ScoreSpec
    level : float
    seed : int

    Returns
    -------
    DataFrame
        Columns `KEYS` and `CLOSED_COLUMNS`; `p_adjusted` is Benjamini and Hochberg's within a pair of classes.
    """
    frames = []
    for class_a, class_b in class_pairs(table.classes):
        bootstrap = class_differences(
            table, class_a=class_a, class_b=class_b, score_method=spec.method, level=level, n_draws=spec.resamples,
            seed=seed,
        )  # fmt: skip
        names = {name: f"bootstrap_{name}" for name in ("delta", "lower", "upper", "p_positive")}
        tested = dependent_differences(
            table, class_a=class_a, class_b=class_b, score_method=spec.method, level=level
        ).rename(columns={"lower": "r_lower", "upper": "r_upper"})
        kept = [*KEYS, *(name for name in CLOSED_COLUMNS if name in tested)]
        frames.append(bootstrap[[*KEYS, *names]].rename(columns=names).merge(tested[kept], on=KEYS))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*KEYS, *CLOSED_COLUMNS])


def difference_checks(differences: pd.DataFrame, gates: Gates) -> list[Check]:
    """Return the gates of the pairing weights, one check per pair of classes and limit."""
    checks = []
    weighed = differences[differences["n_pairs"] > 0]
    for (class_a, class_b), part in weighed.groupby(["class_a", "class_b"], sort=False):
        for name, limit, worst in (
            ("pareto_k", gates.pareto_k, part["pareto_k"].idxmax()),
            ("effective", gates.ess, part["effective"].idxmin()),
        ):
            value = float(part.loc[worst, name])
            bad = part["pareto_k"] > limit if name == "pareto_k" else part["effective"] < limit
            checks.append(
                Check(
                    fit=f"difference/{class_a}-{class_b}", check=name, value=value, limit=limit,
                    outcome="fail" if bad.any() else "pass",
                    why=f"worst of {len(part)} benchmarks, {part.loc[worst, 'benchmark']}"
                    + (f"; {int(bad.sum())} beyond {significant_text(limit)}" if bad.any() else ""),
                )
            )  # fmt: skip
    return checks


def _elsewhere(fits: Mapping[str, SafetyFit], label: str, name: str) -> bool:
    return any(name in other.benchmarks for key, other in fits.items() if key != label)


def _numbers(drawn: PairedDraws, unpaired: FloatArray, level: float, rope: Rope) -> dict[str, object]:
    with_pairs, without = summarise(drawn.delta, drawn.weight, level), summarise(unpaired, None, level)
    psi = drawn.psi_quantiles(((1 - level) / 2, (1 + level) / 2))
    known = drawn.n_pairs > 0
    return {
        "n_pairs": drawn.n_pairs,
        "rho_a": float(drawn.weight @ drawn.rho_a),
        "rho_b": float(drawn.weight @ drawn.rho_b),
        "delta": with_pairs.mean,
        "sd": with_pairs.sd,
        "lower": with_pairs.lower,
        "upper": with_pairs.upper,
        "level": level,
        "p_positive": float(drawn.weight @ (drawn.delta > 0)),
        "p_equivalent": float(drawn.weight @ (np.abs(drawn.delta) < rope.difference)),
        "unpaired_delta": without.mean,
        "unpaired_sd": without.sd,
        "unpaired_lower": without.lower,
        "unpaired_upper": without.upper,
        "unpaired_p_positive": float((unpaired > 0).mean()),
        "unpaired_p_equivalent": float((np.abs(unpaired) < rope.difference).mean()),
        "psi": drawn.psi_mean if known else float("nan"),
        "psi_lower": float(psi[0]) if known else float("nan"),
        "psi_upper": float(psi[1]) if known else float("nan"),
        "pareto_k": drawn.pareto_k,
        "effective": drawn.effective,
    }
