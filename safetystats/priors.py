"""Priors as values: the families of distributions that a spec can name, and the priors of each model."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Spec(BaseModel):
    """Parent of all specs: frozen, no unknown keys, no silent conversions between kinds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of the spec's canonical JSON."""
        return hashlib.sha256(self.model_dump_json().encode("utf-8")).hexdigest()


class BetaPrior(Spec):
    """Beta(alpha, beta) on the unit interval."""

    family: Literal["beta"]
    alpha: Positive
    beta: Positive
    reason: str = ""


class LogNormalPrior(Spec):
    """LogNormal(mu, sigma): log of the value is Normal(mu, sigma)."""

    family: Literal["lognormal"]
    mu: Finite
    sigma: Positive
    reason: str = ""


class NormalPrior(Spec):
    """Normal(mu, sigma)."""

    family: Literal["normal"]
    mu: Finite
    sigma: Positive
    reason: str = ""


class HalfNormalPrior(Spec):
    """Half-normal: the absolute value of Normal(0, sigma)."""

    family: Literal["half_normal"]
    sigma: Positive
    reason: str = ""


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
