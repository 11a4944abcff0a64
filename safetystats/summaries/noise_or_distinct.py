"""Is a benchmark that looks distinct only noisy? Reliability, corrected correlations, and when "distinct" is withheld.

A correlation near zero has two explanations: what the benchmark measures has little to do with capability, or the
benchmark measures little but the sampling error of its items. Item counts tell them apart. No split halves: the error
of a score follows from the items (`safetystats.tables.noise`).
"""

from __future__ import annotations

from collections.abc import Mapping

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
    reliability,
    summarise,
)
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.posterior import verdict_of, verdict_shares

FloatArray = npt.NDArray[np.float64]
UNKNOWN = "reliability unknown: noise cannot be told from distinctness"


def noise_or_distinct(
    safety: Mapping[str, SafetyFit], rope: Rope, rules: RelationRules, level: float
) -> tuple[pd.DataFrame, list[Check]]:
    """Return the table `noise_or_distinct`, and a check for every verdict "distinct" that is withheld.

    "Distinct" is withheld where the posterior mean of the reliability is below `rules.least_reliability`, where so
    little reliable variance is left that the corrected correlation is undefined in more than `MOST_UNDEFINED` of the
    draws, and where the correlation free of sampling error is not within the limit with the probability that a verdict
    needs. Everything is of the cut posterior. Where items are unknown the verdict stays, and `why` says so.

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
        errors = known_noise(table, fit.benchmarks)
        for place, name in enumerate(fit.benchmarks):
            cut = fit.draws["cut"].to_dataset().sel(benchmark=name)
            rho, total_sd = (np.asarray(cut[p].to_numpy().ravel(), dtype=np.float64) for p in ("rho", "total_sd"))
            seen = table.scores[name].notna().to_numpy()
            noise = errors[seen, place]
            row = {
                "model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"]),
                "n_models": int(seen.sum()), "items_known": float((noise > 0).mean()),
                "n_items": float(table.benchmarks.loc[name, "n_items"]),
            } | judged(
                rho, total_sd, float(noise.mean()) if noise.any() else float("nan"), rope, rules, level,
                error_free=fit.capability.spec.measurement == "binomial",
            )  # fmt: skip
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


def withhold_distinct(posterior: pd.DataFrame, noise: pd.DataFrame) -> pd.DataFrame:
    """Return the table `posterior_correlations` with "distinct" withheld where noise may be behind it.

    Parameters
    ----------
    posterior : DataFrame
        Table `posterior_correlations`; the benchmark's verdicts in both modes are withheld if they are "distinct".
    noise : DataFrame
        Table `noise_or_distinct`.
    """
    held = noise[noise["verdict_after"] == "withheld"]
    keys = set(zip(held["model_class"], held["benchmark"], strict=True))
    own = [key in keys for key in zip(posterior["model_class"], posterior["benchmark"], strict=True)]
    changed = posterior["verdict"].where(
        ~(np.array(own, dtype=bool) & (posterior["verdict"] == "distinct")), "withheld"
    )
    return posterior.assign(verdict=changed)


def _named(stem: str, found: Summary) -> dict[str, object]:
    """Return mean and interval as columns `stem`, `stem_lower` and `stem_upper`."""
    return {stem: found.mean, f"{stem}_lower": found.lower, f"{stem}_upper": found.upper}
