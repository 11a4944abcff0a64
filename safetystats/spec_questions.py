"""Which questions about the verdicts a study asks, and the rules by which they are answered."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from safetystats.spec_parts import Positive, Probability, Spec


class RelationRules(Spec):
    """When a relation counts as bent, and how reliable a score must be to be called distinct.

    `bending_elpd`, `bending_errors`: a curve counts where its elpd exceeds that of the straight line by more than both,
    the second in standard errors. `least_reliability`: a benchmark whose scores are less reliable is not called
    distinct, since capability could explain no more than the reliable part of them.
    """

    bending_elpd: Positive = 4.0
    bending_errors: Positive = 2.0
    bending_reason: str = "below four the standard error of a difference is itself not to be relied on"
    least_reliability: Probability = 0.5
    reliability_reason: str = "below one half more of the differences between models is sampling error than not"


class Questions(RelationRules):
    """Which questions about the verdicts are asked; what is left out is reported as not run.

    `smallest_effect`: smallest change per sd of capability that is of interest, by benchmark, in the unit of its score;
    `smallest_share`: for the other benchmarks, as a share of the range that the dictionary declares.
    `vif_limit`: largest variance inflation of capability beside a covariate with which a partial correlation is given.
    """

    verdicts: bool = True
    model_sets: bool = True
    relations: bool = True
    smallest_effect: dict[str, Positive] = Field(default_factory=dict)
    smallest_share: Probability = 0.05
    vif_limit: Annotated[float, Field(gt=1)] = 5.0


QUICK_QUESTIONS = Questions(model_sets=False, relations=False)
