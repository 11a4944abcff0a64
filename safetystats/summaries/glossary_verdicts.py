"""Columns of the tables about verdicts and their meanings; `glossary` takes them in."""

from __future__ import annotations

VERDICTS_TABLES: dict[str, tuple[str, ...]] = {
    "verdict_curve": (
        "model_class", "benchmark", "area", "limit", "p_entangled", "p_distinct", "p_inverse", "verdict", "p_error",
        "stated", "changes",
    ),
    "rank_order": (
        "model_class", "quantity", "benchmark", "area", "n_benchmarks", "mean_rank", "rank_lower", "rank_upper",
        "level", "p_top_quarter", "p_first",
    ),
    "liability": (
        "model_class", "benchmark", "area", "n_models", "mean", "limit", "slope", "slope_lower", "slope_upper", "level",
        "sd_between", "sd_lower", "sd_upper", "smallest_effect", "effect_from", "p_high_large", "p_high_small",
        "p_low_large", "p_low_small", "quadrant", "share_at_floor", "share_at_ceiling",
    ),
    "models_to_settle": (
        "model_class", "benchmark", "area", "n_models", "n_families", "further", "further_families", "n_simulations",
        "mean", "mean_expected", "width", "width_expected", "width_error", "level", "p_settled", "p_settled_error",
        "settled_entangled", "settled_distinct", "settled_inverse", "further_approximate",
    ),
    "published_labels": (
        "model_class", "benchmark", "area", "headline", "published", "label", "n_models", "mean", "lower", "upper",
        "level", "p_entangled", "p_distinct", "p_inverse", "verdict", "agreement", "share_entangled", "share_distinct",
        "share_inverse", "share_undetermined", "n_specifications",
    ),
}  # fmt: skip
"""Columns of each table, in the order they are written."""

VERDICTS_GLOSSARY: dict[str, str] = {
    "agreement": "confirmed, contradicted, open, withheld, or not comparable: the printed one is of signed scores",
    "changes": "whether the verdict differs from that at the limit of the study",
    "effect_from": "stated in the study, share of range (of the bounds in the dictionary), or none",
    "further": "further models of the class with a score on the benchmark",
    "further_approximate": "further models by the normal approximation if the mean stayed; empty: none would do",
    "further_families": "new families among the further models",
    "headline": "whether the dictionary marks the benchmark as a headline one",
    "mean_expected": "posterior mean after the further models, mean over simulated futures",
    "mean_rank": "posterior mean of the rank; 1 is the largest",
    "n_simulations": "simulated futures",
    "p_first": "posterior probability of being the largest of the class",
    "p_high_large": "probability that |rho| is above the limit and |slope| above the smallest effect of interest",
    "p_high_small": "probability that |rho| is above the limit and |slope| is not above the smallest effect",
    "p_low_large": "probability that |rho| is not above the limit and |slope| is above the smallest effect",
    "p_low_small": "probability that neither |rho| nor |slope| is above what is asked of it",
    "p_settled": "share of simulated futures with a verdict other than undetermined or withheld",
    "p_settled_error": "Monte Carlo standard error of that share",
    "p_top_quarter": "posterior probability of being among the first quarter of the benchmarks of the class",
    "published": "capabilities correlation as printed by Ren et al. (2024), as a share",
    "quadrant": "combination with enough probability, undetermined or withheld (for noise where low); empty without a "
    "smallest effect",
    "quantity": "correlation (rho), or absolute correlation (|rho|)",
    "rank_lower": "lower end of the interval of the rank",
    "rank_upper": "upper end of the interval of the rank",
    "sd_between": "posterior mean of the sd of the score between models, in its own unit",
    "sd_lower": "lower end of the interval of that sd",
    "sd_upper": "upper end of the interval of that sd",
    "settled_distinct": "share of simulated futures with the verdict distinct; zero where noise withholds it",
    "settled_entangled": "share of simulated futures with the verdict entangled",
    "settled_inverse": "share of simulated futures with the verdict inverse",
    "share_at_ceiling": "share of models within 5 % of the range from the upper bound; empty where there is none",
    "share_at_floor": "share of models within 5 % of the range from the lower bound; empty where there is none",
    "smallest_effect": "smallest change per sd of capability that is of interest, in the unit of the score",
    "verdict_curve.stated": "whether the limit is that of the study",
    "width": "width of the interval of rho as it is",
    "width_error": "Monte Carlo standard error of the expected width",
    "width_expected": "width of the interval after the further models, mean over simulated futures",
    "liability.limit": "limit of |rho| above which the correlation is high",
    "published_labels.label": "low where the printed correlation is below 40 % in absolute value, else high",
    "verdict_curve.limit": "limit of the region of practical equivalence that the row is for",
    "verdict_curve.p_error": "Monte Carlo standard error of the largest of the three probabilities",
    "verdict_curve.verdict": "verdict at this limit; withheld where it is distinct and noise may be behind it",
}
