"""Is a benchmark that looks distinct only noisy? Reliability, corrected correlations, and when "distinct" is withheld.

A correlation near zero has two explanations: what the benchmark measures has little to do with capability, or the
benchmark measures little but the sampling error of its items. Item counts tell them apart. No split halves: the error
of a score follows from the items (`safetystats.tables.noise`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import known_noise
from safetystats.spec_questions import RelationRules
from safetystats.specs import Rope
from safetystats.summaries.estimands import (
    MOST_UNDEFINED,
    Summary,
    disattenuated_correlation,
    mean_error,
    reliability,
    summarise,
)
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.posterior import verdict_of, verdict_shares

FloatArray = npt.NDArray[np.float64]
Pair = tuple[str, str]
"""Class and benchmark."""
VERDICT_TABLES: Mapping[str, str] = {
    "posterior_correlations": "benchmark", "prior_sensitivity": "benchmark", "shrunken_correlations": "name",
}  # fmt: skip
"""Tables whose verdicts are made before noise is looked at, and their column of the benchmark."""
UNKNOWN = "reliability unknown: noise cannot be told from distinctness"


def noise_or_distinct(
    safety: Mapping[str, SafetyFit], rope: Rope, rules: RelationRules, level: float
) -> tuple[pd.DataFrame, list[Check]]:
    """Return the table `noise_or_distinct`, and a check for every verdict "distinct" that is withheld.

    "Distinct" is withheld where the posterior mean of the reliability is below `rules.least_reliability`, where so
    little reliable variance is left that the corrected correlation is undefined in more than `MOST_UNDEFINED` of the
    draws, and where the correlation free of sampling error is not within the limit with the probability that a verdict
    needs. Everything is of the cut posterior. Where items are known for part of the scores their mean error is taken
    for the others (`mean_error`); where they are unknown the verdict stays. `why` says either.

    Parameters
    ----------
    safety : mapping of str to SafetyFit
    rope : Rope
    rules : RelationRules
    level : float
        Coverage of the equal-tailed intervals.
    """
    rows: list[dict[str, object]] = []
    checks: list[Check] = []
    for label, fit in safety.items():
        table = fit.capability.table
        error_free = fit.capability.spec.measurement == "binomial"
        for name, errors in _errors(fit).items():
            mean = mean_error(errors)
            row = {
                "model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"]),
                "n_models": len(errors), "items_known": float((errors > 0).mean()),
                "n_items": float(table.benchmarks.loc[name, "n_items"]),
            } | judged(*_drawn(fit, name), mean, rope, rules, level, error_free=error_free)  # fmt: skip
            row["why"] = "; ".join(each for each in (str(row["why"]), _partly(errors, mean)) if each)
            rows.append(row)
            if row["verdict_after"] != row["verdict"]:
                found = row["reliability"]
                assert isinstance(found, float)
                checks.append(
                    Check(
                        fit=f"noise/{label}/{name}", check="reliability", value=found,
                        limit=rules.least_reliability, outcome="not_applicable",
                        why=f'the verdict "distinct" is withheld: {row["why"]}',
                    )
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(RELATIONS_TABLES["noise_or_distinct"])), checks


def judged(
    rho: FloatArray,
    total_sd: FloatArray,
    noise: float,
    rope: Rope,
    rules: RelationRules,
    level: float,
    *,
    error_free: bool,
) -> dict[str, object]:
    """Return what sampling error leaves of one verdict.

    Parameters
    ----------
    rho, total_sd : array, shape (T,)
        Draws of the cut posterior.
    noise : float
        Mean variance of the sampling error, in squared units of total_sd; NaN where items are unknown.
    rope, rules, level
        As for `noise_or_distinct`.
    error_free : bool
        True if rho and total_sd are those of the score free of sampling error.
    """
    high, low, near = verdict_shares(rho, rope)
    verdict = verdict_of(high, low, near, rope.probability)
    nothing = Summary(*[float("nan")] * 4)
    row: dict[str, object] = {
        "mean": float(rho.mean()), "level": level, "least_reliability": rules.least_reliability, "verdict": verdict,
        "verdict_after": verdict, "verdict_true": "",
    }  # fmt: skip
    if not np.isfinite(noise):
        return row | _named("reliability", nothing) | _named("true", nothing) | {
            "error_share": np.nan, "reliable_left": np.nan, "p_all_error": np.nan, "p_distinct_true": np.nan,
            "why": UNKNOWN,
        }  # fmt: skip
    share = np.clip(reliability(total_sd, noise, error_free=error_free), 0.0, 1.0)
    true = disattenuated_correlation(rho, total_sd, noise, error_free=error_free)
    lost = float((~(np.abs(true) <= 1)).mean())
    defined = lost <= MOST_UNDEFINED
    kept = np.clip(true[np.isfinite(true)], -1.0, 1.0) if defined else np.empty(0)
    of_share = summarise(share, None, level)
    of_true = summarise(kept, None, level) if defined else nothing
    shares = verdict_shares(kept, rope) if defined else (np.nan, np.nan, np.nan)
    corrected = verdict_of(*shares, rope.probability) if defined else ""
    why = ""
    if of_share.mean < rules.least_reliability:
        why = f"reliability {of_share.mean:.2f} is below the {rules.least_reliability:.2f} that the study asks for"
    elif not defined:
        why = f"in {lost:.0%} of the draws sampling error has all of the variance that capability leaves"
    elif corrected != "distinct":
        why = f"the correlation free of sampling error is within the limit with a probability of {shares[2]:.2f} only"
    return row | _named("reliability", of_share) | _named("true", of_true) | {
        "error_share": 1 - of_share.mean, "reliable_left": float((1 - kept**2).mean()) if defined else np.nan,
        "p_all_error": lost, "p_distinct_true": shares[2], "verdict_true": corrected,
        "verdict_after": "withheld" if verdict == "distinct" and why else verdict,
        "why": why if verdict == "distinct" else "",
    }  # fmt: skip


def doubtful_pairs(noise: pd.DataFrame) -> frozenset[Pair]:
    """Return the classes and benchmarks of which no table states "distinct", whatever the posterior it looks at.

    Those of which it is withheld, and those of which it would be if they were distinct: less reliable than the study
    asks for, or with a corrected correlation that is undefined in too many draws. Neither hangs on the correlation.

    Parameters
    ----------
    noise : DataFrame
        Table `noise_or_distinct`.
    """
    reliable = noise["reliability"].astype(float)
    held = (
        ((noise["verdict"] == "distinct") & (noise["verdict_after"] == "withheld"))
        | (reliable < noise["least_reliability"].astype(float))
        | (noise["p_all_error"].astype(float) > MOST_UNDEFINED)
    )
    return frozenset(zip(noise.loc[held, "model_class"], noise.loc[held, "benchmark"], strict=True))


def doubtful(safety: Mapping[str, SafetyFit], rope: Rope, rules: RelationRules, level: float) -> frozenset[Pair]:
    """Return `doubtful_pairs` of these fits; parameters as for `noise_or_distinct`."""
    return doubtful_pairs(noise_or_distinct(safety, rope, rules, level)[0])


def withheld_at(
    fit: SafetyFit, name: str, rope: Rope, rules: RelationRules, limits: Sequence[float]
) -> tuple[bool, ...]:
    """Return, for each limit, whether the verdict "distinct" of a benchmark at this limit is withheld for noise."""
    drawn, mean = _drawn(fit, name), mean_error(_errors(fit, [name])[name])
    error_free = fit.capability.spec.measurement == "binomial"
    return tuple(
        judged(*drawn, mean, rope.model_copy(update={"limit": limit}), rules, 0.95, error_free=error_free)[
            "verdict_after"
        ]
        == "withheld"
        for limit in limits
    )


def withhold_distinct(frame: pd.DataFrame, noise: pd.DataFrame, name: str = "benchmark") -> pd.DataFrame:
    """Return a table of verdicts with "distinct" withheld where noise may be behind it.

    Parameters
    ----------
    frame : DataFrame
        With columns `model_class` and `verdict`, and that of `name`: verdicts of a posterior of the same scores, cut
        or joint, shrunken, or under another prior.
    noise : DataFrame
        Table `noise_or_distinct`.
    name : str
        Column of the benchmark.
    """
    keys = doubtful_pairs(noise)
    own = np.array([key in keys for key in zip(frame["model_class"], frame[name], strict=True)], dtype=bool)
    return frame.assign(verdict=frame["verdict"].where(~(own & (frame["verdict"] == "distinct")), "withheld"))


def withheld_for_noise(tables: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the tables `VERDICT_TABLES` of a study with "distinct" withheld where noise may be behind it."""
    noise = tables["noise_or_distinct"]
    return {name: withhold_distinct(tables[name], noise, column) for name, column in VERDICT_TABLES.items()}


def _drawn(fit: SafetyFit, name: str) -> tuple[FloatArray, FloatArray]:
    """Return the cut draws of rho and total_sd of a benchmark, each of shape (T,)."""
    cut = fit.draws["cut"].to_dataset().sel(benchmark=name)
    rho, total_sd = (np.asarray(cut[p].to_numpy().ravel(), dtype=np.float64) for p in ("rho", "total_sd"))
    return rho, total_sd


def _errors(fit: SafetyFit, names: Sequence[str] | None = None) -> dict[str, FloatArray]:
    """Return the error variances of the observed scores by benchmark, each of shape (n_models,); zero: unknown."""
    table, chosen = fit.capability.table, list(fit.benchmarks if names is None else names)
    errors = known_noise(table, chosen)
    return {name: errors[table.scores[name].notna().to_numpy(), place] for place, name in enumerate(chosen)}


def _partly(errors: FloatArray, mean: float) -> str:
    """Return what is to be said where items are known for part of the scores; empty where for all or none."""
    known = int((errors > 0).sum())
    if known in (0, len(errors)):
        return ""
    then = "their mean error is taken for the others" if np.isfinite(mean) else "too few to speak for the others"
    return f"items are known for {known} of {len(errors)} scores, {then}"


def _named(stem: str, found: Summary) -> dict[str, object]:
    """Return mean and interval as columns `stem`, `stem_lower` and `stem_upper`."""
    return {stem: found.mean, f"{stem}_lower": found.lower, f"{stem}_upper": found.upper}
