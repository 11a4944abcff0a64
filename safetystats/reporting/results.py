"""Every number that the text quotes, by key; the text takes them from here and from nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from safetystats.reporting import (
    results_checks,
    results_classes,
    results_model_sets,
    results_relations,
    results_verdicts,
)
from safetystats.reporting.prose import Value
from safetystats.reporting.results_checks import mechanical
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.gates import failed
from safetystats.summaries.posterior import VERDICTS

Results = Mapping[str, Value]

DISAGREEMENT = 0.3
"""A posterior mean this far from Spearman's coefficient is named: outliers, bending or families may be behind it."""

BORDERLINE = 0.01
"""A probability this near to the verdict's threshold could fall on either side with another seed."""

_KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "posterior_correlations": (
        ("model_class", "benchmark", "mode"),
        ("mean", "sd", "lower", "upper", "icc", "p_entangled", "p_distinct", "p_inverse", "verdict", "slope",
         "slope_lower", "slope_upper", "n_models", "n_families", "pareto_k"),
    ),
    "capability_correlations": (
        ("model_class", "benchmark", "method", "interval"), ("correlation", "lower", "upper", "n_models"),
    ),
    "capability_loadings": (("model_class", "method", "benchmark"), ("loading", "lower", "upper", "icc")),
    "capability_scores": (("model_class", "method", "model"), ("score", "lower", "upper")),
}  # fmt: skip


def collect_results(analysis: Analysis) -> dict[str, Value]:
    """Return all numbers of a study by key, e.g. `posterior_correlations/chat/wmdp/cut/mean`."""
    found: dict[str, Value] = {}
    for name, (keys, columns) in (
        _KEYED
        | results_checks.KEYED
        | results_classes.KEYED
        | results_verdicts.KEYED
        | results_model_sets.KEYED
        | results_relations.KEYED
    ).items():
        frame = analysis.tables[name]
        for row in frame.to_dict("records"):
            stem = "/".join([name, *(str(row[key]) for key in keys)])
            found |= {f"{stem}/{column}": _plain(row[column]) for column in columns}
    found |= {key: _plain(value) for key, value in analysis.facts.items()}
    found |= _counts(analysis)
    found |= _verdicts(analysis.tables["posterior_correlations"], analysis.plan.table.classes)
    found |= _remarks(analysis) | _prior(analysis)
    found |= _capability(analysis)
    found |= _diagnostics(analysis)
    found |= results_checks.check_results(analysis)
    found |= results_classes.class_results(analysis)
    found |= results_verdicts.verdicts_results(analysis)
    found |= results_model_sets.model_sets_results(analysis)
    found |= results_relations.relations_results(analysis)
    return found


def _counts(analysis: Analysis) -> dict[str, Value]:
    plan = analysis.plan
    analysed = plan.prepared.select(roles=("capability", "safety"))
    known = analysed.scores.notna().to_numpy()
    found: dict[str, Value] = {
        "models": plan.prepared.n_models,
        "models_read": int(plan.flow.steps["models"].iloc[0]),
        "benchmarks_read": int(plan.flow.steps["benchmarks"].iloc[0]),
        "cells_read": int(plan.flow.steps["cells"].iloc[0]),
        "families": int(plan.prepared.models["family"].nunique()),
        "lineages": int(plan.prepared.models["lineage"].nunique()),
        "capability_benchmarks": len(plan.prepared.columns("capability")),
        "safety_benchmarks": len(plan.prepared.columns("safety")),
        "cells": int(known.sum()),
        "missing": int((~known).sum()),
        "missing_share": float((~known).mean()),
        "left_out": len(plan.flow.left_out),
        "level": plan.study.level,
        "rope": plan.study.rope.limit,
        "rope_probability": plan.study.rope.probability,
        "seed": plan.study.seed,
        "chains": plan.factor.sampling.chains,
        "draws": plan.factor.sampling.draws,
        "tune": plan.factor.sampling.tune,
        "target_accept": plan.factor.sampling.target_accept,
        "resamples": plan.score.resamples,
        "candidates": plan.factor.cut.candidates,
        "icc_cells": plan.factor.cut.icc_cells,
    }
    for row in plan.flow.classes.to_dict("records"):
        found |= {f"{key}.{row['model_class']}": int(row[key]) for key in ("models", "families", "lineages", "missing")}
    lineages = [set(plan.table.select(model_class=c).models["lineage"]) for c in plan.table.classes]
    found["paired_lineages"] = len(set.intersection(*lineages)) if len(lineages) > 1 else 0
    for severity in ("error", "warning", "note"):
        found[f"audit.{severity}"] = sum(f.severity == severity for f in analysis.audit.findings)
    return found


def _prior(analysis: Analysis) -> dict[str, Value]:
    """Probability of each verdict's region before the data, and the mean that rho has then."""
    prior, limit = analysis.plan.factor.priors.loading, analysis.plan.study.rope.limit
    below, above = stats.beta.cdf([(1 - limit) / 2, (1 + limit) / 2], prior.alpha, prior.beta)
    return {
        "prior_p_distinct": float(above - below),
        "prior_p_entangled": float(1 - above),
        "prior_p_inverse": float(below),
        "prior_rho_mean": 2 * prior.alpha / (prior.alpha + prior.beta) - 1,
    }


def _remarks(analysis: Analysis) -> dict[str, Value]:
    """What a reader must know of the verdicts: shared runs, headline counts, outliers, Monte Carlo error."""
    found: dict[str, Value] = {"disagreement_limit": DISAGREEMENT, "borderline_width": BORDERLINE}
    shared, plan = mechanical(analysis), analysis.plan
    rope = plan.study.rope.probability
    correlations = analysis.tables["capability_correlations"]
    spearman = correlations[correlations["method"].astype(str).str.split("/").str[0] == "spearman"]
    headline = set(plan.table.benchmarks.index[plan.table.benchmarks["headline"].astype(bool)])
    for label in plan.table.classes:
        posterior = analysis.tables["posterior_correlations"]
        cut = posterior[(posterior["model_class"] == label) & (posterior["mode"] == "cut")].set_index("benchmark")
        own = spearman[spearman["model_class"] == label].drop_duplicates("benchmark").set_index("benchmark")
        gap = (own["correlation"].reindex(cut.index) - cut["mean"]).abs()
        apart = [str(name) for name in gap.index[gap > DISAGREEMENT]]
        chances = cut[["p_entangled", "p_distinct", "p_inverse"]].max(axis=1)
        chief = cut[cut.index.isin(headline)]
        settled = cut[cut["verdict"].isin(["entangled", "inverse"])]
        found |= {
            f"mechanical.{label}": int(cut.index.isin(shared).sum()),
            f"mechanical_settled.{label}": int(settled.index.isin(shared).sum()),
            f"settled.{label}": len(settled),
            f"disagreements.{label}": len(apart),
            f"borderline.{label}": int(((chances - rope).abs() < BORDERLINE).sum()),
            f"headline.{label}": len(chief),
        }
        found |= {f"headline.{label}.{v}": int((chief["verdict"] == v).sum()) for v in VERDICTS}
        found |= {f"disagreement.{label}.{place}": name for place, name in enumerate(apart)}
        free = cut[~cut.index.isin(shared)]
        if len(free):
            found[f"largest_mean_of.{label}"] = str(free["mean"].abs().idxmax())
    return found


def _verdicts(posterior: pd.DataFrame, classes: tuple[str, ...]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for label in classes:
        own = posterior[posterior["model_class"] == label]
        for mode in ("cut", "joint"):
            rows = own[own["mode"] == mode]
            found[f"benchmarks.{label}.{mode}"] = len(rows)
            for verdict in VERDICTS:
                found[f"verdicts.{label}.{mode}.{verdict}"] = int((rows["verdict"] == verdict).sum())
        cut, joint = (own[own["mode"] == mode].set_index("benchmark") for mode in ("cut", "joint"))
        if len(cut):
            gap = (joint["mean"] - cut["mean"]).abs()
            found[f"largest_gap.{label}"] = float((joint["mean"] - cut["mean"])[gap.idxmax()])
            found[f"gap_outward.{label}"] = int((joint["mean"].abs() > cut["mean"].abs()).sum())
            found[f"largest_gap_of.{label}"] = str(gap.idxmax())
            found[f"largest_mean_of.{label}"] = str(cut["mean"].abs().idxmax())
            found[f"median_width.{label}"] = float((cut["upper"] - cut["lower"]).median())
            found[f"verdicts_differ.{label}"] = int((cut["verdict"] != joint["verdict"].reindex(cut.index)).sum())
    return found


def _capability(analysis: Analysis) -> dict[str, Value]:
    found: dict[str, Value] = {}
    loadings, scores = analysis.tables["capability_loadings"], analysis.tables["capability_scores"]
    for label in analysis.plan.table.classes:
        latent = loadings[(loadings["model_class"] == label) & (loadings["method"] == "latent")].set_index("benchmark")
        found |= {
            f"loading_smallest.{label}": float(latent["loading"].min()),
            f"loading_smallest_of.{label}": str(latent["loading"].idxmin()),
            f"loading_largest.{label}": float(latent["loading"].max()),
            f"loading_largest_of.{label}": str(latent["loading"].idxmax()),
            f"icc_median.{label}": float(latent["icc"].median()),
        }
        own = scores[scores["model_class"] == label].pivot(index="model", columns="method", values="score")
        other = [name for name in own.columns if name != "latent"]
        if other:
            both = own.dropna()
            found[f"score_agreement.{label}"] = float(both["latent"].corr(both[other[0]], method="spearman"))
        latent_scores = own["latent"]
        found[f"capability_highest_of.{label}"] = str(latent_scores.idxmax())
        found[f"capability_lowest_of.{label}"] = str(latent_scores.idxmin())
    return found


def _diagnostics(analysis: Analysis) -> dict[str, Value]:
    diagnostics = analysis.tables["diagnostics"]
    sampled = diagnostics[diagnostics["fit"].str.startswith("capability/")]
    # Mixed fits have a status instead, and the weights of a joint posterior that fail are replaced by a refit.
    replaced = diagnostics["check"].isin(["pareto_k", "effective_draws"])
    bayesian = diagnostics[~diagnostics["fit"].str.startswith(("mixed/", "intervals/")) & ~replaced]
    found: dict[str, Value] = {
        "checks": int(bayesian["outcome"].isin(["pass", "fail"]).sum()),
        "checks_failed": len(failed(list(analysis.checks))),
        "joint_refits": int((diagnostics["check"] == "refit").sum()),
    }
    worst = {"r_hat": "max", "ess_bulk": "min", "ess_tail": "min", "divergences": "sum", "e_bfmi": "min"}
    for check, how in worst.items():
        found[f"worst.{check}"] = float(sampled.loc[sampled["check"] == check, "value"].agg(how))
    found["worst.ess"] = min(float(found["worst.ess_bulk"]), float(found["worst.ess_tail"]))
    weighted = diagnostics["fit"].str.startswith("joint/") & (diagnostics["check"] == "pareto_k")
    khat = diagnostics.loc[weighted, "value"]
    found["worst.pareto_k"] = float(khat.max()) if len(khat) else float("nan")
    return found


def _plain(value: object) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | int | float):
        return value
    raise TypeError(f"not a plain value: {value!r}")
