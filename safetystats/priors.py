"""The priors of every model, as values that a spec states with a reason."""

from __future__ import annotations

from safetystats.spec_parts import BetaPrior, HalfNormalPrior, LogNormalPrior, NormalPrior, Spec


class FactorPriors(Spec):
    """Priors of the factor model, in units of the z-scored columns (DESIGN 3.3).

    `capability_loading` is the prior of (rho + 1) / 2 of the capability benchmarks, `loading` that of a safety
    benchmark, `total_sd` of s, `icc` of kappa, `capability_icc` of omega, `intercept` of alpha. `further_loading` is
    the prior of (r + 1) / 2, where r is the partial correlation of a benchmark with a further factor given the factors
    before it.
    """

    capability_loading: BetaPrior
    loading: BetaPrior
    total_sd: LogNormalPrior
    icc: BetaPrior
    capability_icc: BetaPrior
    intercept: NormalPrior
    further_loading: BetaPrior = BetaPrior(
        family="beta", alpha=3.0, beta=3.0, reason="symmetric about none; sd of the partial correlation 0.38"
    )


class CrossedPriors(Spec):
    """Priors of the crossed model, in sd of the scores over all models, and per sd of capability (DESIGN 3.6).

    `intercept`, `slope`, `class_effect` and `interaction` are those of the overall coefficients, with classes
    contrasted about their centre; `area_sd` and `benchmark_sd` of the sds between areas and between the benchmarks of
    an area, of each of the four; `model_sd` and `model_area_sd` of what a model has beyond class and capability, in all
    areas and further in one, and `lineage_share` and `lineage_area_share` of the share of its variance that models of
    one lineage have in common.
    `residual_sd` is the prior of the median residual sd over benchmarks, `residual_spread` of the sd of their
    logarithms.
    """

    intercept: NormalPrior
    slope: NormalPrior
    class_effect: NormalPrior
    interaction: NormalPrior
    area_sd: HalfNormalPrior
    benchmark_sd: HalfNormalPrior
    model_sd: HalfNormalPrior
    model_area_sd: HalfNormalPrior
    lineage_share: BetaPrior
    lineage_area_share: BetaPrior
    residual_sd: LogNormalPrior
    residual_spread: LogNormalPrior


class InvariancePriors(Spec):
    """Priors of the multi-group factor model beside those of the factor spec, in sd of the pooled z-scores.

    `total_sd` is the prior of s in the reference class (pooled z-scores do not have sd one there); in every other class
    `loading_difference` is that of its loading less that of the reference class, `intercept_difference` the same of
    intercepts, `log_unique_ratio` that of the log ratio of unique variances, `latent_mean` that of mean capability and
    `latent_sd` of its sd, the reference class having zero and one.
    """

    total_sd: LogNormalPrior
    loading_difference: NormalPrior
    intercept_difference: NormalPrior
    log_unique_ratio: NormalPrior
    latent_mean: NormalPrior
    latent_sd: LogNormalPrior
