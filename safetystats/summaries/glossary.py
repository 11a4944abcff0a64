"""Every column of every table that a study writes: its meaning, and which table has it."""

from __future__ import annotations

import pandas as pd

TABLES: dict[str, tuple[str, ...]] = {
    "capability_scores": ("model_class", "model", "family", "method", "score", "lower", "upper", "level"),
    "capability_loadings": ("model_class", "benchmark", "method", "loading", "lower", "upper", "level", "icc"),
    "capability_correlations": (
        "model_class", "benchmark", "area", "n_models", "n_families", "method", "correlation", "interval",
        "lower", "upper", "level",
    ),
    "posterior_correlations": (
        "model_class", "benchmark", "area", "n_models", "n_families", "mode", "mean", "sd", "lower", "upper", "level",
        "icc", "p_entangled", "p_distinct", "p_inverse", "verdict", "slope", "slope_lower", "slope_upper", "pareto_k",
    ),
    "class_differences": (
        "benchmark", "area", "n_pairs", "class_a", "class_b", "delta", "lower", "upper", "p_positive",
    ),
    "mixed_effects": (
        "benchmark", "area", "term", "estimate", "std_error", "lower", "upper", "p_value", "p_adjusted",
        "group_variance", "residual_variance", "log_likelihood", "n_models", "n_groups", "status",
    ),
    "diagnostics": ("fit", "check", "value", "limit", "outcome", "why"),
    "audit": ("check", "severity", "model_class", "benchmarks", "models", "value", "message", "remedy"),
}  # fmt: skip
"""Columns of each table, in the order they are written."""

GLOSSARY: dict[str, str] = {
    "area": "field of safety that the benchmark belongs to",
    "benchmark": "identifier of the benchmark",
    "benchmarks": "benchmarks concerned, separated by blanks",
    "check": "what was checked",
    "class_a": "class whose correlation comes first in the difference",
    "class_b": "class whose correlation is subtracted",
    "correlation": "correlation of the benchmark with the capability score over the models that have both",
    "delta": "correlation in class_a less correlation in class_b, the 2024 statistic on aligned scores",
    "estimate": "restricted maximum likelihood estimate; in sd of the benchmark over all models, per sd of capability",
    "family": "developer series of the model",
    "fit": "fit that the check belongs to",
    "group_variance": "variance of the random intercepts of lineages, in squared sd of the benchmark",
    "icc": "posterior mean of kappa, the share of the unique variance that models of one family have in common",
    "interval": "kind of interval",
    "level": "nominal coverage of the interval; equal-tailed unless the kind says otherwise",
    "limit": "limit that the value must meet",
    "loading": "correlation with capability (two-level) or weight in the first component (2024)",
    "log_likelihood": "restricted log-likelihood at the estimate",
    "lower": "lower end of the interval",
    "mean": "posterior mean of rho, the correlation of the aligned score with latent capability",
    "message": "what was found",
    "method": "how the number was computed",
    "mode": "cut: safety scores do not move capability; joint: they do",
    "model": "identifier of the model",
    "model_class": "class of the models (base, chat, ...)",
    "models": "models concerned, separated by blanks",
    "n_families": "families with at least one model that has a score",
    "n_groups": "lineages in the fit",
    "n_models": "models with a score",
    "n_pairs": "lineages with a model in both classes",
    "outcome": "pass, fail, not_run or not_applicable",
    "p_adjusted": "p-value after Benjamini and Hochberg over the benchmarks, within the term",
    "p_distinct": "posterior probability that |rho| is below the limit of the region of practical equivalence",
    "p_entangled": "posterior probability that rho is above the limit",
    "p_inverse": "posterior probability that rho is below minus the limit",
    "p_positive": "share of paired draws in which the difference is above zero",
    "p_value": "likelihood-ratio test by ML; of class and capability in the additive model, not the one estimated",
    "pareto_k": "shape of the tail of the weights that turn the cut into the joint posterior",
    "remedy": "what to do about it",
    "residual_variance": "residual variance, in squared sd of the benchmark",
    "score": "capability of the model: component score, or posterior mean of theta",
    "sd": "posterior sd of rho",
    "severity": "error: wrong as declared; warning: conclusions may change; note: good to know",
    "slope": "posterior mean change of the aligned score, in its own unit, per sd of capability",
    "slope_lower": "lower end of the interval of the slope",
    "slope_upper": "upper end of the interval of the slope",
    "status": "ok, boundary, not_converged, ols_cluster_robust or not_applicable",
    "std_error": "standard error, from (X' V^-1 X)^-1 at the estimated variances",
    "term": "term of the model; class[c] against the reference class, at average capability",
    "upper": "upper end of the interval",
    "value": "the number that was found",
    "verdict": "entangled, inverse, distinct, undetermined, or withheld because a gate failed",
    "why": "the reason in words",
}


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with exactly the columns of the named table, in order; a missing column raises KeyError."""
    return frame.loc[:, list(TABLES[name])].reset_index(drop=True)


def columns_page() -> str:
    """Return the page of documentation that explains every column of every table, as Markdown."""
    parts = ["# Columns of the tables\n\nMade from the glossary in `safetystats/summaries/glossary.py`.\n"]
    for table, columns in TABLES.items():
        parts.append(f"## {table}.csv\n\n| column | meaning |\n|---|---|\n")
        parts[-1] += "".join(f"| `{name}` | {GLOSSARY[name].replace('|', chr(92) + '|')} |\n" for name in columns)
    return "\n".join(parts)
