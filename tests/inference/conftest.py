"""Fits that several tests look at."""

from __future__ import annotations

import pytest
from factor_data import closed_table, fit_small, quick_spec

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="session")
def small() -> tuple[ScoreTable, Truth]:
    return closed_table()


@pytest.fixture(scope="session")
def small_fits(
    small: tuple[ScoreTable, Truth], tmp_path_factory: pytest.TempPathFactory
) -> tuple[CapabilityFit, SafetyFit]:
    """Short runs on a small simulated table; no joint refits."""
    return fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path_factory.mktemp("fits"))
