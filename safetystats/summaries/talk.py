"""Who is told how far a run is, and the stages it goes through; needs no other library."""

from __future__ import annotations

from typing import Protocol

STAGE_SHARES: dict[str, float] = {
    "auditing the table": 1,
    "capability scores and correlations": 20,
    "sampling the capability model": 12,
    "posterior correlations of safety benchmarks": 10,
    "other specs and priors, leave-one-out": 60,
    "comparison of the classes": 60,
    "questions about the verdicts": 30,
    "tables and checks": 4,
    "figures and report": 10,
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
