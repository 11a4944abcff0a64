"""How many further models would settle a verdict: by simulation, beside the approximation of the cards."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.growth import futures_of
from safetystats.inference.streams import Report
from safetystats.specs import Rope
from safetystats.summaries.cards import models_needed
from safetystats.summaries.estimands import summarise
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES

REGIONS = ("entangled", "inverse", "distinct")


def models_to_settle(
    fit: SafetyFit,
    benchmarks: Sequence[str],
    further: Sequence[int],
    *,
    rope: Rope,
    level: float,
    n_simulations: int,
    n_families: int | None = None,
    report: Report | None = None,
) -> pd.DataFrame:
    """Return the expected interval width and the probability of a settled verdict after further models of a class.

    Parameters
    ----------
    fit : SafetyFit
    benchmarks : sequence of str
        Benchmarks of the fit.
    further : sequence of int
        Numbers of further models with a score on every one of them, positive.
    rope : Rope
        Limit and probability of the verdict.
    level : float
        Coverage of the equal-tailed intervals.
    n_simulations : int
        Simulated futures.
    n_families : int or None
        New families that the further models are spread over; None: as many models to a new family as families have
        now; 0: families at hand.
    report : callable or None
        Called with (simulations done, simulations in all).

    Returns
    -------
    DataFrame
        Table `models_to_settle`, one row per benchmark and number of further models. How futures are drawn:
        `safetystats.inference.growth`.
    """
    columns = list(VERDICTS_TABLES["models_to_settle"])
    if not benchmarks:
        return pd.DataFrame(columns=columns)
    sizes = sorted(set(further))
    found = futures_of(
        fit, benchmarks, sizes, limit=rope.limit, level=level, n_simulations=n_simulations, n_families=n_families,
        report=report,
    )  # fmt: skip
    table, cut = fit.capability.table, fit.draws["cut"].to_dataset()["rho"]
    rows = []
    for column, name in enumerate(benchmarks):
        now = summarise(cut.sel(benchmark=name).to_numpy().ravel().astype(np.float64), None, level)
        seen = table.scores[name].notna()
        n = int(seen.sum())
        needed = models_needed(
            now.mean, now.lower, now.upper, level=level, n=n, limit=rope.limit, probability=rope.probability
        )
        for place, size in enumerate(sizes):
            here = (slice(None), place, column)
            settled = {region: getattr(found, region)[here] >= rope.probability for region in REGIONS}
            shares = {region: float(flags.mean()) for region, flags in settled.items()}
            p_settled, width = sum(shares.values()), found.width[here]
            rows.append(
                {
                    "model_class": fit.capability.model_class, "benchmark": name,
                    "area": str(table.benchmarks.loc[name, "area"]), "n_models": n,
                    "n_families": int(table.models.loc[seen.to_numpy(), "family"].nunique()), "further": size,
                    "further_families": int(found.n_families[place]), "n_simulations": n_simulations,
                    "mean": now.mean, "mean_expected": float(found.mean[here].mean()), "width": now.upper - now.lower,
                    "width_expected": float(width.mean()),
                    "width_error": float(width.std(ddof=1) / math.sqrt(n_simulations)), "level": level,
                    "p_settled": p_settled, "p_settled_error": share_error(p_settled, n_simulations),
                    **{f"settled_{region}": share for region, share in shares.items()},
                    "further_approximate": needed - n if math.isfinite(needed) else math.nan,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def share_error(share: float, n: int) -> float:
    """Return the Monte Carlo standard error of a share of n simulations, not zero at the ends.

    The root of p(1 - p) / n at p = (x + 2) / (n + 4), which Agresti and Coull (1998) centre their interval at.
    """
    middle = (share * n + 2) / (n + 4)
    return math.sqrt(middle * (1 - middle) / (n + 4))


def first_settled(rows: pd.DataFrame, probability: float) -> float:
    """Return the smallest number of further models whose chance of a settled verdict reaches a probability; else NaN.

    Parameters
    ----------
    rows : DataFrame
        Rows of `models_to_settle` of one benchmark and class.
    probability : float
    """
    enough = rows.loc[rows["p_settled"] >= probability, "further"]
    return float(enough.min()) if len(enough) else math.nan
