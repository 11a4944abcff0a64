"""Fits that several tests look at; two graphs are compiled for all of them (`factor_data`)."""

from __future__ import annotations

import pytest
from factor_data import INTEGRATED, SAMPLED, closed_table, fit_small, quick_spec

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.sampling import CompiledFactor, compile_factor
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="session")
def integrated() -> CompiledFactor:
    """Capability integrated out."""
    return compile_factor(INTEGRATED)


@pytest.fixture(scope="session")
def sampled() -> CompiledFactor:
    """Capability sampled, with room for two further factors and sampling error."""
    return compile_factor(SAMPLED)


@pytest.fixture(scope="session")
def small() -> tuple[ScoreTable, Truth]:
    return closed_table()


@pytest.fixture(scope="session")
def small_fits(
    integrated: CompiledFactor, small: tuple[ScoreTable, Truth], tmp_path_factory: pytest.TempPathFactory
) -> tuple[CapabilityFit, SafetyFit]:
    """Short runs on a small simulated table; no joint refits."""
    return fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path_factory.mktemp("fits"))
