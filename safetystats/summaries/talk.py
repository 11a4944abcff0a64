"""Who is told how far a run is, and the stages it goes through; needs no other library."""

from __future__ import annotations

from typing import Protocol

STAGE_SHARES: dict[str, float] = {
    "auditing the table": 1,
    "capability scores and correlations": 10,
    "sampling the capability model": 25,
    "posterior correlations of safety benchmarks": 25,
    "other specs and priors, leave-one-out": 140,
    "comparison of the classes": 450,
    "questions about the verdicts": 60,
    "tables and checks": 2,
    "figures and report": 25,
}
"""Stages in order, each with its usual share of the time of a first run."""

STAGES: tuple[str, ...] = tuple(STAGE_SHARES)


class Talk(Protocol):
    """Who is told how far the work is."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def progress(self, done: int, total: int) -> None:
        """Work within the stage has advanced."""


class Silence:
    """Tells nobody."""

    def stage(self, name: str) -> None:
        """Say nothing."""

    def progress(self, done: int, total: int) -> None:
        """Say nothing."""
