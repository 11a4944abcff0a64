"""A wrong word for a direction is never answered with its opposite."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetystats.errors import DataError
from safetystats.shelf import shelf_path
from safetystats.tables.load import load_table


@pytest.mark.parametrize("word", ["lower_is_better", "lower", "minimize", "smaller_is_better"])
def test_lower_is_never_turned_into_higher(tmp_path: Path, word: str) -> None:
    for path in shelf_path("data", "helm-classic").glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    file = tmp_path / "benchmarks.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("lower_is_safer", word, 1), encoding="utf-8")
    with pytest.raises(DataError, match='Did you mean "lower_is_safer"') as caught:
        load_table(tmp_path)
    assert "higher_is_better?" not in str(caught.value)
