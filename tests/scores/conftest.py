"""What the tests of the scores share."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetystats.tables.load import load_table
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="session")
def ren2024(mirror: Path) -> ScoreTable:
    """The paper's own table in native scores, from the mirror."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFETYSTATS_DATA", str(mirror))
        return load_table("ren2024")
