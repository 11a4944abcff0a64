"""Fits that several tests look at; the graph is compiled once for all of them (`factor_data.SIZE`)."""

from __future__ import annotations

import pytest
from factor_data import SIZE, default_spec, fit_small, quick_spec, small_table

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.sampling import CompiledFactor, compile_factor
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="session")
def compiled() -> CompiledFactor:
    return compile_factor(default_spec().priors, SIZE)


@pytest.fixture(scope="session")
def small() -> tuple[ScoreTable, Truth]:
    return small_table()


@pytest.fixture(scope="session")
def small_fits(
    compiled: CompiledFactor, small: tuple[ScoreTable, Truth], tmp_path_factory: pytest.TempPathFactory
) -> tuple[CapabilityFit, SafetyFit]:
    """Short runs on a small simulated table; no joint refits."""
    return fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path_factory.mktemp("fits"))
