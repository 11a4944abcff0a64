"""When a relation with capability counts as bent, and how reliable a score must be to be called distinct."""

from __future__ import annotations

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
