"""Verdicts beyond one limit and one benchmark: over thresholds, as ranks, with the slope, and after more models."""

from __future__ import annotations

import math
from collections.abc import Mapping

import arviz_stats as az
import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.regions import p_greater, posterior_ranks, region_probabilities
from safetystats.spec_questions import RelationRules
from safetystats.specs import Rope
from safetystats.summaries.answers import Answers
from safetystats.summaries.gates import Check, Outcome, capability_checks, safety_checks, withheld
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.liability import liability
from safetystats.summaries.noise_or_distinct import doubtful, withheld_at
from safetystats.summaries.plan import Plan
from safetystats.summaries.posterior import verdict_of
from safetystats.summaries.published import published_labels
from safetystats.summaries.settling import SIMULATIONS, settle_run
from safetystats.summaries.talk import Talk

FloatArray = npt.NDArray[np.float64]

LIMITS: tuple[float, ...] = tuple(round(0.20 + 0.05 * step, 2) for step in range(11))
"""Limits of the curve of verdicts: 0.20, 0.25, ..., 0.70; the study's own is added."""
QUANTITIES = ("correlation", "absolute correlation")
TOP = 4
"""One in how many benchmarks counts as the top."""


def verdicts_answers(plan: Plan, safety: Mapping[str, SafetyFit], told: Talk) -> Answers:
    """Return the tables of this question, all of them, empty where it is not asked.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class.
    told : Talk
    """
    empty = {name: pd.DataFrame(columns=list(columns)) for name, columns in VERDICTS_TABLES.items()}
    if not plan.study.questions.verdicts:
        why = "verdicts over thresholds, ranks, slopes and further models: [questions] verdicts is false"
        return Answers(tables=empty, checks=(_note("questions", "not_run", why),))
    study, exact = plan.study, plan.factor.measurement == "exact"
    fits = {label: fit for label, fit in safety.items() if fit.benchmarks}
    held = {label: verdicts_withheld(fit) for label, fit in fits.items()}
    rules = study.questions
    noisy = doubtful(fits, study.rope, rules, study.level)
    tables = {
        "verdict_curve": [verdict_curve(fit, study.rope, rules, held=held[label]) for label, fit in fits.items()],
        "rank_order": [rank_order(fit, study.level) for fit in fits.values()],
        "liability": [
            liability(
                fit, plan.aligned.benchmarks, rules, study.rope, study.level, held=held[label],
                noisy={name for own, name in noisy if own == label},
            )
            for label, fit in fits.items()
        ],
        "models_to_settle": [
            *([settle_run(plan, fits, n_simulations=SIMULATIONS, report=told.progress)] if exact else []),
        ],
        "published_labels": [published_labels(fits, plan.table, study.rope, study.level, held, noisy)],
    }  # fmt: skip
    joined = {
        name: pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
        for name, frames in tables.items()
        if any(len(frame) for frame in frames)
    }
    found = {name: joined[name][list(empty[name].columns)] if name in joined else empty[name] for name in empty}
    checks = []
    if not exact:
        why = "with sampling error in the fit futures take minutes a benchmark: safetystats plan, for one at a time"
        checks.append(_note("models_to_settle", "not_run", why))
    if not len(found["published_labels"]):
        checks.append(_note("published_labels", "not_applicable", "no labels are published for this table"))
    return Answers(tables=found, checks=tuple(checks), facts={"settle_simulations": SIMULATIONS})


def verdicts_withheld(fit: SafetyFit) -> bool:
    """Return whether a gate withholds the verdicts of the cut posterior of this class."""
    label = fit.capability.model_class
    return f"cut/{label}" in withheld([*capability_checks(fit.capability), *safety_checks(fit)])


def correlation_draws(fit: SafetyFit) -> FloatArray:
    """Return the cut draws of rho, shape (n_draws, n_benchmarks), chain by chain; rows share their draw of theta."""
    values = fit.draws["cut"]["rho"].transpose("chain", "draw", "benchmark").to_numpy()
    return np.asarray(values.reshape(-1, values.shape[-1]), dtype=np.float64)


def verdict_curve(
    fit: SafetyFit, rope: Rope, rules: RelationRules | None = None, *, held: bool = False
) -> pd.DataFrame:
    """Return the verdict of every benchmark of a class at limits from 0.20 to 0.70.

    Parameters
    ----------
    fit : SafetyFit
    rope : Rope
        Its limit is among those looked at; its probability is what a verdict needs.
    rules : RelationRules or None
        When "distinct" is withheld for noise, looked at limit by limit; None: those of a study that states none.
    held : bool
        Whether a gate withholds the verdicts.

    Returns
    -------
    DataFrame
        Table `verdict_curve`. `p_error` is the Monte Carlo error of the largest of the three probabilities, with the
        effective sample size of rho.
    """
    rho, limits = correlation_draws(fit), sorted({*LIMITS, rope.limit})
    found = region_probabilities(rho, limits)
    ess = az.ess(fit.draws["cut"].to_dataset()[["rho"]], method="bulk")["rho"].to_numpy()
    rows = []
    for column, name in enumerate(fit.benchmarks):
        own = [
            {
                "limit": limit,
                "p_entangled": float(found.entangled[place, column]),
                "p_inverse": float(found.inverse[place, column]),
                "p_distinct": float(found.distinct[place, column]),
            }
            for place, limit in enumerate(limits)
        ]
        words: list[str] = ["withheld" if held else verdict_of(*_chances(row), rope.probability) for row in own]
        near = [place for place, word in enumerate(words) if word == "distinct"]
        noisy = withheld_at(fit, name, rope, rules or RelationRules(), [limits[place] for place in near])
        for place in (place for place, withheld_here in zip(near, noisy, strict=True) if withheld_here):
            words[place] = "withheld"
        stated = words[limits.index(rope.limit)]
        for row, word in zip(own, words, strict=True):
            most = max(_chances(row))
            rows.append(
                {
                    "model_class": fit.capability.model_class, "benchmark": name,
                    "area": str(fit.capability.table.benchmarks.loc[name, "area"]), **row, "verdict": word,
                    "p_error": math.sqrt(most * (1 - most) / ess[column]), "stated": row["limit"] == rope.limit,
                    "changes": word != stated,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(VERDICTS_TABLES["verdict_curve"]))


def rank_order(fit: SafetyFit, level: float) -> pd.DataFrame:
    """Return the posterior of the rank of every benchmark of a class, by rho and by its absolute value.

    Ranks are taken draw by draw among all benchmarks of the class with a posterior; draws of different benchmarks share
    their draw of capability, and given capability their residuals are taken as independent.

    Returns
    -------
    DataFrame
        Table `rank_order`.
    """
    rho, names = correlation_draws(fit), fit.benchmarks
    n_top = math.ceil(len(names) / TOP)
    parts = []
    for quantity, values in zip(QUANTITIES, (rho, np.abs(rho)), strict=True):
        found = posterior_ranks(values, level, n_top)
        parts.append(
            pd.DataFrame(
                {
                    "model_class": fit.capability.model_class, "quantity": quantity, "benchmark": names,
                    "area": fit.capability.table.benchmarks.loc[names, "area"].to_numpy(),
                    "n_benchmarks": len(names), "mean_rank": found.mean, "rank_lower": found.lower,
                    "rank_upper": found.upper, "level": level, "p_top_quarter": found.top, "p_first": found.first,
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def p_more_entangled(fit: SafetyFit, first: str, second: str, *, absolute: bool = False) -> float:
    """Return the posterior probability that one benchmark is more entangled with capability than another.

    Parameters
    ----------
    fit : SafetyFit
    first, second : str
        Benchmarks of the fit.
    absolute : bool
        Compare |rho| instead of rho.

    Raises
    ------
    KeyError
        If the fit has no such benchmark.
    """
    rho = pd.DataFrame(correlation_draws(fit), columns=fit.benchmarks)
    pair = [rho[name].to_numpy() for name in (first, second)]
    return p_greater(*(np.abs(each) if absolute else each for each in pair))


def _chances(row: Mapping[str, float]) -> tuple[float, float, float]:
    return row["p_entangled"], row["p_inverse"], row["p_distinct"]


def _note(check: str, outcome: Outcome, why: str) -> Check:
    return Check(fit="verdicts", check=check, value=math.nan, limit=math.nan, outcome=outcome, why=why)
