"""Which verdicts differ by more than Monte Carlo error."""

from __future__ import annotations

import math

import pytest

from safetystats.summaries.decision_rule import NOISE, verdict_changes, verdict_of

PROBABILITY = 0.95


def changes(before: float, after: float) -> bool:
    """Return whether the verdict changes where P(entangled) goes from one value to another, the rest undetermined."""
    whole, without = (before, 0.0, 1 - before), (after, 0.0, 1 - after)
    old, new = verdict_of(*whole, PROBABILITY), verdict_of(*without, PROBABILITY)
    return verdict_changes(old, new, whole, without)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (0.951, 0.949, False),
        (0.949, 0.951, False),
        (0.955, 0.955 - NOISE + 1e-6, False),
        (0.955, 0.955 - NOISE - 1e-6, True),
        (0.945, 0.945 + NOISE + 1e-6, True),
        (0.999, 0.952, False),
        (0.97, 0.02, True),
    ],
)
def test_the_probability_must_move_by_more_than_its_error(before: float, after: float, *, changed: bool) -> None:
    assert changes(before, after) is changed


def test_withheld_verdicts_do_not_change() -> None:
    far = ((0.0, 0.0, 1.0), (0.5, 0.0, 0.5))
    assert verdict_changes("distinct", "undetermined", *far)
    assert not verdict_changes("withheld", "undetermined", *far)
    assert not verdict_changes("undetermined", "withheld", *far[::-1])
    assert not verdict_changes("distinct", "undetermined", far[0], (math.nan,) * 3)
