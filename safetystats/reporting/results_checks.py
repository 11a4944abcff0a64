"""Numbers that the text quotes of the estimands, of the checks of the factor model and of shrinkage, by key."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np
import pandas as pd

from safetystats.inference.hierarchy import shrink
from safetystats.inference.predictive import UNUSUAL
from safetystats.inference.sensitivity import LIKELIHOOD, THRESHOLD
from safetystats.reporting.prose import Value
from safetystats.scores.n_factors import count_factors
from safetystats.summaries import priors, scrutiny
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.estimands import MOST_UNDEFINED
from safetystats.summaries.noise_or_distinct import withhold_distinct
from safetystats.summaries.posterior import verdict_of

LOO_DIFFERENCE = 4
"""Differences of elpd below this say little (Sivula et al. 2020)."""

LOO_ERRORS = 2
"""Standard errors that a difference of elpd must exceed to be named."""

KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "number_of_factors": (
        ("model_class", "component"), ("eigenvalue", "reference", "reference_clustered", "average_partial"),
    ),
    "predictive_checks": (
        ("model_class", "predictive", "discrepancy"), ("observed", "median", "lower", "upper", "tail_probability"),
    ),
    "boundary_cases": (("model_class", "benchmark", "what"), ("value", "limit")),
    "spec_comparison": (
        ("model_class", "unit", "spec"),
        (
            "elpd", "elpd_error", "difference", "difference_error", "p_loo", "n_parameters", "n_units", "n_refitted",
            "n_doubtful",
        ),
    ),
    "shrunken_correlations": (
        ("model_class", "unit", "name"), ("mean", "lower", "upper", "verdict", "n_benchmarks"),
    ),
}  # fmt: skip
"""Tables of the checks that go into the results row by row: keys and columns."""


def check_results(analysis: Analysis) -> dict[str, Value]:
    """Return counts, extremes and settings of the checks, by key and class."""
    found = _settings(analysis)
    for label in analysis.plan.table.classes:

        def own(table: str, label: str = label) -> pd.DataFrame:
            frame = analysis.tables[table]
            return frame[frame["model_class"] == label]

        cut = own("posterior_correlations")
        cut = cut[cut["mode"] == "cut"].set_index("benchmark")
        found |= _factors(label, own("number_of_factors"))
        found |= _predictive(label, own("predictive_checks"))
        found[f"boundary.{label}"] = len(own("boundary_cases"))
        found |= _specs(label, own("spec_comparison"), analysis.plan.study.factor)
        found |= _power(label, own("prior_sensitivity"), stated_verdicts(analysis, label))
        found |= _other_priors(label, own("prior_sensitivity"), stated_verdicts(analysis, label))
        found |= _shrinkage(label, own("shrunken_correlations"), stated_verdicts(analysis, label))
        found |= _estimands(label, own("posterior_estimands"), cut)
    return found


def mechanical(analysis: Analysis) -> set[str]:
    """Return the safety benchmarks that reuse runs of capability benchmarks, as the audit found."""
    named = {name for finding in analysis.audit.of("reused_runs") for name in finding.benchmarks}
    return named & set(analysis.plan.prepared.columns("safety"))


def stated_verdicts(analysis: Analysis, label: str) -> dict[str, str]:
    """Return the verdicts that the cut posterior gives, also where a failed gate withholds them, by benchmark.

    "Distinct" is withheld for noise here too, as it is in the tables that these are compared with.
    """
    frame, probability = analysis.tables["posterior_correlations"], analysis.plan.study.rope.probability
    cut = frame[(frame["model_class"] == label) & (frame["mode"] == "cut")]
    words = [
        verdict_of(row["p_entangled"], row["p_inverse"], row["p_distinct"], probability)
        for row in cut.to_dict("records")
    ]
    found = withhold_distinct(cut.assign(verdict=words), analysis.tables["noise_or_distinct"])
    return dict(zip(found["benchmark"].astype(str), found["verdict"].astype(str), strict=True))


def _settings(analysis: Analysis) -> dict[str, Value]:
    """What the checks were set to."""
    factors, layer = (inspect.signature(f).parameters for f in (count_factors, shrink))
    diagnostics = analysis.tables["diagnostics"]
    others = diagnostics["fit"].str.startswith("specs/") & (diagnostics["check"] == "gates")
    spec = analysis.plan.factor
    return {
        "factor_sets": factors["n_sets"].default,
        "factor_quantile": factors["quantile"].default,
        "factor_icc": factors["icc"].default,
        "check_draws": scrutiny.MOST_DRAWS,
        "grid_draws": priors.GRID_DRAWS,
        "unusual_tail": UNUSUAL,
        "power_threshold": THRESHOLD,
        "loo_difference": LOO_DIFFERENCE,
        "loo_errors": LOO_ERRORS,
        "all_error_limit": MOST_UNDEFINED,
        "shrink_mu": layer["mu_scale"].default,
        "shrink_within": layer["within_scale"].default,
        "shrink_between": layer["between_scale"].default,
        "n_further": spec.n_further,
        "prior_alternatives": len(spec.alternatives),
        "other_fits": int(others.sum()),
        "other_fits_unmet": int((diagnostics.loc[others, "outcome"] != "pass").sum()),
    }


def _factors(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    if frame.empty:
        return {}
    first = frame.iloc[0]
    return {
        f"factors.components.{label}": len(frame),
        f"factors.parallel.{label}": int(first["n_parallel"]),
        f"factors.clustered.{label}": int(first["n_parallel_clustered"]),
        f"factors.map.{label}": int(first["n_map"]),
    }


def _predictive(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for kind in ("prior", "posterior"):
        rows = frame[frame["predictive"] == kind]
        unusual = rows[rows["unusual"].astype(bool)]
        found |= {f"predictive.{label}.{kind}": len(rows), f"predictive_unusual.{label}.{kind}": len(unusual)}
        found |= {f"predictive_unusual.{label}.{kind}.{i}": str(v) for i, v in enumerate(unusual["discrepancy"])}
    return found


def _specs(label: str, frame: pd.DataFrame, own: str) -> dict[str, Value]:
    """What leave-one-out says of the specs of one class; `frame` has them best first."""
    found: dict[str, Value] = {}
    for unit in scrutiny.UNITS:
        rows = frame[(frame["unit"] == unit) & frame["elpd"].notna()].reset_index(drop=True)
        stem = f"{label}.{unit}"
        found |= {
            f"loo_specs.{stem}": len(rows),
            f"loo_absent.{stem}": int(((frame["unit"] == unit) & frame["elpd"].isna()).sum()),
            f"loo_refitted.{stem}": int(rows["n_refitted"].sum()),
            f"loo_doubtful.{stem}": int(rows["n_doubtful"].sum()),
        }
        if rows.empty:
            continue
        found |= {
            f"loo_units.{stem}": int(rows["n_units"].iloc[0]),
            f"loo_best.{stem}": str(rows["spec"].iloc[0]),
            f"loo_apart.{stem}": int(_apart(rows).sum()),
            f"loo_beyond.{stem}": int((rows["p_loo"].astype(float) > rows["n_parameters"].astype(float)).sum()),
        }
        place = int(np.flatnonzero(rows["spec"] == own)[0])
        found |= {
            f"loo_place.{stem}": place + 1,
            f"loo_own_apart.{stem}": int(_apart(rows)[place]),
            f"loo_own_elpd.{stem}": float(rows["elpd"][place]),
            f"loo_own_error.{stem}": float(rows["elpd_error"][place]),
        }
        other = place if place else 1  # the study's own spec, or where that is best the one after it
        if len(rows) > 1:
            found |= {
                f"loo_other.{stem}": str(rows["spec"][other]),
                f"loo_gap.{stem}": float(-rows["difference"][other]),
                f"loo_gap_error.{stem}": float(rows["difference_error"][other]),
            }
    return found


def _apart(rows: pd.DataFrame) -> pd.Series:
    """Return which specs lie further below the best than chance and approximation would explain."""
    gap = -rows["difference"].astype(float)
    return (gap > LOO_DIFFERENCE) & (gap > LOO_ERRORS * rows["difference_error"].astype(float))


def _power(label: str, frame: pd.DataFrame, stated: Mapping[str, str]) -> dict[str, Value]:
    """What power scaling flags; the likelihood of the capability benchmarks says little of a safety benchmark."""
    rows = frame[frame["how"] == "power scaling"]
    priors = rows[(rows["prior"] != LIKELIHOOD) & rows["value"].notna()]
    weak = rows[(rows["prior"] == LIKELIHOOD) & (rows["diagnosis"] != "none") & ~rows["benchmark"].isin(set(stated))]
    flagged = priors[priors["diagnosis"] != "none"]
    found: dict[str, Value] = {
        f"power.{label}": int(rows["benchmark"].nunique()),
        f"power_priors.{label}": int(priors["prior"].nunique()),
        f"power_flagged.{label}": int(flagged["benchmark"].nunique()),
        f"power_conflict.{label}": int(
            flagged.loc[flagged["diagnosis"] == "prior-data conflict", "benchmark"].nunique()
        ),
        f"power_weak_likelihood.{label}": int(weak["benchmark"].nunique()),
    }
    if len(priors):
        largest = priors.loc[priors["value"].astype(float).idxmax()]
        found |= {
            f"power_largest.{label}": float(largest["value"]),
            f"power_largest_of.{label}": str(largest["benchmark"]),
            f"power_largest_prior.{label}": str(largest["prior"]),
        }
    for prior, group in priors.groupby("prior", sort=False):
        found[f"power_flagged.{label}.{prior}"] = int((group["diagnosis"] != "none").sum())
    return found


def _other_priors(label: str, frame: pd.DataFrame, stated: Mapping[str, str]) -> dict[str, Value]:
    rows = frame[frame["how"] == "other prior"]
    safety = rows[rows["benchmark"].isin(set(stated))]
    moved = safety[safety["verdict"] != safety["benchmark"].map(dict(stated))]
    found: dict[str, Value] = {
        f"alternatives.{label}": len(rows[["prior", "alternative"]].drop_duplicates()),
        f"alternatives_changing.{label}": len(moved[["prior", "alternative"]].drop_duplicates()),
        f"alternatives_changed.{label}": int(moved["benchmark"].nunique()),
        f"alternatives_safety.{label}": int(safety["benchmark"].nunique()),
    }
    for what, part in (("safety", safety), ("loading", rows[~rows["benchmark"].isin(set(stated))])):
        if len(part):
            largest = part.loc[part["change"].astype(float).abs().idxmax()]
            found |= {
                f"largest_change.{label}.{what}": float(largest["change"]),
                f"largest_change_of.{label}.{what}": str(largest["benchmark"]),
                f"largest_change_prior.{label}.{what}": str(largest["prior"]),
                f"largest_change_alternative.{label}.{what}": str(largest["alternative"]),
            }
    return found


def _shrinkage(label: str, frame: pd.DataFrame, stated: Mapping[str, str]) -> dict[str, Value]:
    rows = frame[(frame["unit"] == "benchmark") & frame["name"].isin(set(stated))]
    before = rows["name"].map(dict(stated))
    moved = rows["verdict"] != before
    found: dict[str, Value] = {
        f"shrunk.{label}": len(rows),
        f"shrunk_areas.{label}": int((frame["unit"] == "area").sum()),
        f"shrunk_changed.{label}": int(moved.sum()),
    }
    steps = pd.Series(before[moved] + "/" + rows.loc[moved, "verdict"], dtype=object).value_counts(sort=False)
    found |= {f"shrunk_step.{label}.{i}": str(step) for i, step in enumerate(steps.index)}
    found |= {f"shrunk_step_count.{label}.{i}": int(count) for i, count in enumerate(steps)}
    found[f"shrunk_steps.{label}"] = len(steps)
    return found


def _estimands(label: str, frame: pd.DataFrame, cut: pd.DataFrame) -> dict[str, Value]:
    """What the other estimands say beside rho, from the cut posterior."""
    own = frame[frame["mode"] == "cut"]

    def mean_of(name: str) -> pd.Series:
        rows = own[own["estimand"] == name].set_index("benchmark")["mean"].astype(float)
        return rows.reindex(cut.index).dropna()

    found: dict[str, Value] = {}
    for key, name in (("within_family", "within_family_correlation"), ("disattenuated", "disattenuated_correlation")):
        values = mean_of(name)
        found[f"{key}_known.{label}"] = len(values)
        if len(values):
            gap = values - cut.loc[values.index, "mean"]
            place = str(gap.abs().idxmax())
            found |= {f"{key}_gap.{label}": float(gap[place]), f"{key}_gap_of.{label}": place}
    reliability = mean_of("reliability")
    found[f"reliability_known.{label}"] = len(reliability)
    if len(reliability):
        found |= {
            f"reliability_smallest.{label}": float(reliability.min()),
            f"reliability_smallest_of.{label}": str(reliability.idxmin()),
        }
    found[f"all_error.{label}"] = int((mean_of("p_all_error") > MOST_UNDEFINED).sum())
    fixed = frame[(frame["mode"] == "joint") & (frame["estimand"] == "fixed_set_correlation")]
    width = (fixed["upper"].astype(float) - fixed["lower"].astype(float)).dropna()
    if len(width):
        found[f"fixed_set_width.{label}"] = float(width.median())
    return found
