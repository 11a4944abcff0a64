"""What several kinds of spec are made of: the parent of all, priors, and how a sampler is run and judged."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(gt=0, lt=1)]
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


class SamplingPlan(Spec):
    """How NUTS is run."""

    chains: Annotated[int, Field(ge=2, le=16)] = 4
    draws: Annotated[int, Field(ge=100, le=100_000)] = 1500
    tune: Annotated[int, Field(ge=100, le=100_000)] = 1500
    target_accept: Annotated[float, Field(ge=0.5, lt=1)] = 0.96


class Gates(Spec):
    """Limits that a fit must meet before a verdict is given (DESIGN 3.7)."""

    r_hat: Annotated[float, Field(gt=1)] = 1.01
    ess: Positive = 400.0
    divergences: Annotated[int, Field(ge=0)] = 0
    e_bfmi: Probability = 0.3
    pareto_k: Positive = 0.7
