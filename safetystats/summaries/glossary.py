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
    "posterior_estimands": (
        "model_class", "benchmark", "area", "n_models", "n_families", "mode", "estimand", "mean", "sd", "lower",
        "upper", "level",
    ),
    "shrunken_correlations": (
        "model_class", "unit", "name", "area", "n_benchmarks", "mean", "lower", "upper", "level", "p_entangled",
        "p_distinct", "p_inverse", "verdict",
    ),
    "number_of_factors": (
        "model_class", "component", "eigenvalue", "reference", "reference_clustered", "average_partial", "n_parallel",
        "n_parallel_clustered", "n_map",
    ),
    "predictive_checks": (
        "model_class", "predictive", "discrepancy", "what", "where", "observed", "median", "lower", "upper",
        "tail_probability", "unusual",
    ),
    "boundary_cases": ("model_class", "benchmark", "what", "value", "limit", "sentence"),
    "spec_comparison": (
        "model_class", "unit", "spec", "elpd", "elpd_error", "difference", "difference_error", "p_loo",
        "n_parameters", "n_units", "n_refitted", "n_doubtful", "note",
    ),
    "leave_one_out": ("model_class", "spec", "unit", "label", "elpd", "pareto_k", "refitted"),
    "prior_sensitivity": (
        "model_class", "how", "prior", "alternative", "benchmark", "value", "mean", "change", "p_change", "verdict",
        "diagnosis",
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
    "alternative": "the other prior, in words",
    "average_partial": "mean squared partial correlation once one component fewer than this is taken out (Velicer)",
    "change": "posterior mean under the other prior less that under the stated one",
    "component": "component of the correlation matrix, by size",
    "diagnosis": "of power scaling: none, prior-data conflict, strong prior or weak likelihood, or not applicable",
    "difference": "elpd less that of the best spec",
    "difference_error": "standard error of the difference, relatives taken together; too small for few families",
    "discrepancy": "identifier of the quantity in which data and replications are compared",
    "eigenvalue": "eigenvalue of the Spearman matrix of the capability benchmarks",
    "elpd": "log predictive density of what was left out, given the rest",
    "elpd_error": "standard error of elpd, units of a family taken together",
    "estimand": "quantity that is estimated; see the page on the latent model",
    "how": "power scaling of the stated prior, or a fit with another prior",
    "label": "what was left out",
    "median": "median over replications",
    "n_benchmarks": "benchmarks that the row stands for",
    "n_doubtful": "units with a Pareto k above its limit that were not refitted",
    "n_map": "number of factors by Velicer's minimum average partial",
    "n_parameters": "parameters of the spec once capability, further factors and family effects are integrated out",
    "n_parallel": "number of factors by Horn's parallel analysis, models independent",
    "n_parallel_clustered": "number of factors by parallel analysis with noise that families share",
    "n_refitted": "units for which the model was fitted again without them",
    "n_units": "units with a score",
    "name": "area or benchmark",
    "note": "why there is no number",
    "observed": "value in the data",
    "p_loo": "effective number of parameters",
    "predictive": "prior or posterior: which distribution replications are drawn from",
    "prior": "name of the prior in the spec, or likelihood",
    "reference": "95th percentile of the eigenvalue in normal data without any factor",
    "reference_clustered": "the same, in data whose noise is shared by families",
    "refitted": "whether the value comes from a fit without the unit",
    "sentence": "what was found, in words",
    "spec": "factor spec that was fitted",
    "tail_probability": "share of replications with a larger value, ties counted half",
    "unit": "what a row stands for, or what is left out at a time",
    "unusual": "whether the tail probability is below 0.025 or above 0.975",
    "what": "the quantity, in words",
    "where": "where the data have the extreme",
    "boundary_cases.limit": "value beyond which the case is named",
    "leave_one_out.pareto_k": "shape of the tail of the leave-one-out weights",
    "posterior_estimands.lower": "lower end of the equal-tailed interval of the estimand",
    "posterior_estimands.mean": "posterior mean of the estimand",
    "posterior_estimands.sd": "posterior sd of the estimand",
    "posterior_estimands.upper": "upper end of the equal-tailed interval of the estimand",
    "predictive_checks.lower": "lower end of the 95 % interval over replications",
    "predictive_checks.upper": "upper end of the 95 % interval over replications",
    "prior_sensitivity.mean": "posterior mean of rho under the other prior (cut posterior for safety benchmarks)",
    "prior_sensitivity.value": "power-scaling sensitivity: change of the posterior per doubling of the prior's power",
    "prior_sensitivity.p_change": "largest change of P(entangled), P(inverse) or P(distinct), with the same draws",
    "prior_sensitivity.verdict": "verdict under the other prior; changes within two Monte Carlo errors do not count",
    "shrunken_correlations.mean": "posterior mean of rho in the hierarchical model over the benchmarks of the class",
    "shrunken_correlations.verdict": "verdict of the shrunken correlation",
}


def meaning(table: str, column: str) -> str:
    """Return what a column of a table says; a meaning of this table alone goes before the common one."""
    return GLOSSARY.get(f"{table}.{column}", GLOSSARY.get(column, ""))


def conform(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with exactly the columns of the named table, in order; a missing column raises KeyError."""
    return frame.loc[:, list(TABLES[name])].reset_index(drop=True)


def columns_page() -> str:
    """Return the page of documentation that explains every column of every table, as Markdown."""
    parts = ["# Columns of the tables\n\nMade from the glossary in `safetystats/summaries/glossary.py`.\n"]
    for table, columns in TABLES.items():
        parts.append(f"## {table}.csv\n\n| column | meaning |\n|---|---|\n")
        parts[-1] += "".join(f"| `{name}` | {meaning(table, name).replace('|', chr(92) + '|')} |\n" for name in columns)
    return "\n".join(parts)
