"""How many further models would settle a verdict: by simulation, beside the approximation of the cards."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from safetystats.errors import Fault, StudyError, suggest
from safetystats.inference.fits import SafetyFit
from safetystats.inference.growth import futures_of
from safetystats.inference.streams import Report
from safetystats.specs import Rope
from safetystats.summaries.cards import models_needed
from safetystats.summaries.estimands import summarise
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.noise_or_distinct import doubtful
from safetystats.summaries.plan import Plan

REGIONS = ("entangled", "inverse", "distinct")
FURTHER = (10, 20, 50, 100)
"""Numbers of further models that a study looks at."""
_COLUMNS = VERDICTS_TABLES["models_to_settle"]
SIMULATIONS = 60
"""Simulated futures behind each; `safetystats plan` takes more."""


def models_to_settle(
    fit: SafetyFit,
    benchmarks: Sequence[str],
    further: Sequence[int],
    *,
    rope: Rope,
    level: float,
    n_simulations: int,
    n_families: int | None = None,
    noisy: Collection[str] = (),
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
    noisy : collection of str
        Benchmarks of which "distinct" is withheld for noise, which further models do not lessen: futures within the
        limit are not settled for them.
    report : callable or None
        Called with (simulations done, simulations in all).

    Returns
    -------
    DataFrame
        Table `models_to_settle`, one row per benchmark and number of further models. How futures are drawn:
        `safetystats.inference.growth`.
    """
    columns = list(_COLUMNS)
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
        if name in noisy and abs(now.mean) < rope.limit:  # the approximation would settle it as distinct
            needed = math.inf
        for place, size in enumerate(sizes):
            here = (slice(None), place, column)
            settled = {region: getattr(found, region)[here] >= rope.probability for region in REGIONS}
            shares = {region: float(flags.mean()) for region, flags in settled.items()}
            if name in noisy:
                shares["distinct"] = 0.0
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


def settle_run(
    plan: Plan,
    fits: Mapping[str, SafetyFit],
    *,
    benchmark: str | None = None,
    model_class: str | None = None,
    further: Sequence[int] = FURTHER,
    n_simulations: int = 200,
    n_families: int | None = None,
    report: Report | None = None,
) -> pd.DataFrame:
    """Return what further models would do, for one benchmark or the headline ones, in one class or all.

    Parameters
    ----------
    plan : Plan
    fits : mapping of str to SafetyFit
        By class; of a finished run by `safetystats.summaries.reopened.reopen`.
    benchmark : str or None
        None: the headline benchmarks; all where there are none.
    model_class : str or None
        None: every class.
    further, n_simulations, n_families, report
        As in `models_to_settle`.

    Returns
    -------
    DataFrame
        Table `models_to_settle`.

    Raises
    ------
    StudyError
        If no fit has this class or benchmark.
    """
    labels = [label for label, fit in fits.items() if fit.benchmarks]
    if model_class is not None and model_class not in labels:
        raise _unknown("--class", "a class of the run", model_class, labels)
    labels = labels if model_class is None else [model_class]
    known = list(dict.fromkeys(name for label in labels for name in fits[label].benchmarks))
    if benchmark is not None and benchmark not in known:
        raise _unknown("benchmark", "a safety benchmark of the run with a posterior", benchmark, known)
    flags = plan.table.benchmarks["headline"].astype(bool)
    wanted = {label: chief_benchmarks(fits[label], flags) for label in labels}
    if benchmark is not None:
        wanted = {label: [benchmark] for label in labels if benchmark in fits[label].benchmarks}
    noisy = doubtful(fits, plan.study.rope, plan.study.questions, plan.study.level)
    parts = []
    for place, (label, names) in enumerate(wanted.items()):

        def told(done: int, total: int, place: int = place) -> None:
            if report is not None:
                report(place * total + done, len(wanted) * total)

        parts.append(
            models_to_settle(
                fits[label], names, further, rope=plan.study.rope, level=plan.study.level,
                n_simulations=n_simulations, n_families=n_families, report=told,
                noisy={name for own, name in noisy if own == label},
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(_COLUMNS))


def chief_benchmarks(fit: SafetyFit, headline: pd.Series) -> list[str]:
    """Return the headline benchmarks of a class with a posterior; all with one where there are none."""
    return [name for name in fit.benchmarks if headline[name]] or fit.benchmarks


def _unknown(where: str, expected: str, got: str, known: Sequence[str]) -> StudyError:
    remedy = f"There are: {', '.join(known)}."
    return StudyError(
        [Fault(file="plan", column=where, expected=expected, got=f'"{got}"{suggest(got, known)}', remedy=remedy)]
    )


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
