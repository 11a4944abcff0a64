"""Columns of the tables of influence and their meanings; `glossary` takes them in."""

from __future__ import annotations

INFLUENCE_TABLES: dict[str, tuple[str, ...]] = {
    "class_influence": (
        "benchmark", "area", "group", "term", "unit", "n_units", "n_refused", "estimate", "p_value", "label",
        "estimate_without", "std_error_without", "p_without", "dfbetas", "estimate_least", "estimate_most", "n_sign",
        "n_side", "changed_by",
    ),
    "difference_influence": (
        "benchmark", "area", "class_a", "class_b", "end", "label", "model_class", "n_units", "delta", "lower", "upper",
        "first_look", "delta_without", "lower_without", "upper_without", "level", "p_positive_without", "change",
        "crosses", "pareto_k", "effective", "r_delta", "r_label", "r_without",
    ),
}  # fmt: skip
"""Columns of each table, in the order they are written."""

INFLUENCE_GLOSSARY: dict[str, str] = {
    "changed_by": "units whose removal takes the p-value to the other side of 0.05, five at most, between semicolons",
    "crosses": "whether the interval with all models and the one without this leave out zero differently",
    "delta_without": "posterior mean of the difference without the score of this model; empty where not made anew",
    "dfbetas": "estimate less estimate without the unit, over the standard error without it",
    "end": "lowest: the model whose removal makes the difference smallest; highest: largest",
    "estimate_least": "smallest estimate with one unit left out",
    "estimate_most": "largest estimate with one unit left out",
    "estimate_without": "the estimate without the unit that changes it most",
    "first_look": "change of the difference without the model, pairing ignored, in posterior sd with it",
    "lower_without": "lower end of the interval without the model",
    "n_refused": "units without which the model cannot be fitted",
    "n_side": "units whose removal takes the p-value to the other side of 0.05",
    "n_sign": "units whose removal changes the sign of the estimate",
    "p_positive_without": "posterior probability that the difference is above zero, without the model",
    "p_without": "chi-square p-value of the likelihood ratio without that unit",
    "r_delta": "Spearman correlation with the 2024 score in class_a less that in class_b",
    "r_label": "model whose removal makes that difference smallest (end lowest) or largest (highest)",
    "r_without": "that difference without r_label, the 2024 score made without it too",
    "std_error_without": "standard error without that unit",
    "upper_without": "upper end of the interval without the model",
    "class_influence.label": "the unit whose removal changes the estimate most, by dfbetas",
    "class_influence.n_units": "units that were left out, one at a time",
    "class_influence.p_value": "chi-square p-value of the likelihood ratio with all models, as p_likelihood_ratio",
    "class_influence.unit": "what was left out at a time: model or lineage",
    "difference_influence.change": "difference without the model less that with it, in posterior sd with it",
    "difference_influence.delta": "posterior mean of the difference of correlations, all models",
    "difference_influence.label": "model whose score was left out",
    "difference_influence.model_class": "class of that model",
    "difference_influence.n_units": "models of both classes with a score",
    "difference_influence.pareto_k": "shape of the tail of the weights that put the pairing in, without the model",
}
