"""Attempts: more draws, smaller steps and another seed while a gate says no."""

from __future__ import annotations

import xarray as xr

from safetystats.inference.attempts import until_gates
from safetystats.specs import SamplingPlan

FIRST = SamplingPlan(chains=2, draws=100, tune=100, target_accept=0.8)


def test_every_attempt_has_a_seed_of_its_own() -> None:
    """A chain that cannot move from its starting point does not move from it in another attempt either."""
    seen: list[tuple[SamplingPlan, int]] = []

    def draw(plan: SamplingPlan, seed: int) -> xr.DataTree:
        seen.append((plan, seed))
        return xr.DataTree()

    _, plans = until_gates(draw, FIRST, 7, lambda _: False)
    assert [plan for plan, _ in seen] == list(plans)
    assert len({seed for _, seed in seen}) == len(plans) == 3
    assert seen[0] == (FIRST, 7)
    assert all(plan.draws == 200 and plan.tune == 200 for plan in plans[1:])
    assert plans[0].target_accept < plans[1].target_accept < plans[2].target_accept
    again = seen.copy()
    seen.clear()
    until_gates(draw, FIRST, 7, lambda _: False)
    assert seen == again


def test_what_passes_is_not_drawn_again() -> None:
    _, plans = until_gates(lambda *_: xr.DataTree(), FIRST, 7, lambda _: True)
    assert plans == (FIRST,)
