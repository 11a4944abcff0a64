"""What the ways in give: embedded tables, folders, wide files, parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from safetystats.errors import DataError
from safetystats.shelf import shelf_names, shelf_path
from safetystats.tables.load import load_table, table_names
from safetystats.tables.table import BENCHMARK_COLUMNS, CELL_COLUMNS, MODEL_COLUMNS, SOURCE_COLUMNS, ScoreTable
from safetystats.tables.wide import load_wide

DICTIONARY = """benchmark,role,direction,headline,n_items
math,capability,higher_is_better,,100
code,capability,higher_is_better,,
text,capability,higher_is_better,no,
risk,safety,lower_is_safer,1,50
"""
WIDE = """Name,Class,FAMILY,Model_Size,FLOP,risk,math,code,text
a-1,base,A,1e9,,0.1,0.5,0.4,40
a-2,base,A,2e9,1e22,,0.6,0.5,50
b Σ*1,chat,B,3000000000,,0.3,0.7,0.6,60
"""


def check_shape(table: ScoreTable) -> None:
    """Check what the container promises."""
    assert list(table.models.columns) == list(MODEL_COLUMNS)
    assert list(table.benchmarks.columns) == list(BENCHMARK_COLUMNS)
    assert list(table.sources.columns) == list(SOURCE_COLUMNS)
    assert list(table.cells.columns) == list(CELL_COLUMNS)
    assert table.scores.index.equals(table.models.index)
    assert table.scores.columns.equals(table.benchmarks.index)
    assert set(table.scores.dtypes) == {np.dtype("float64")}
    assert table.benchmarks["headline"].dtype == bool
    for column in ("model_class", "family", "lineage"):
        assert (table.models[column] != "").all()
    for column in ("n_params", "flop"):
        assert table.models[column].dtype == np.float64
    for column in ("lower", "upper", "chance", "n_items"):
        assert table.benchmarks[column].dtype == np.float64


@pytest.mark.parametrize(
    ("name", "classes", "n_families", "n_capability", "n_safety", "missing"),
    [
        ("helm-classic", {"base": 43, "chat": 24}, 25, 8, 12, 9),
        ("chat-2025", {"chat": 57}, 18, 6, 7, 67),
    ],
)
def test_embedded(
    name: str, classes: dict[str, int], n_families: int, n_capability: int, n_safety: int, missing: int
) -> None:
    table = load_table(name)
    check_shape(table)
    assert table.models["model_class"].value_counts().to_dict() == classes
    assert table.models["family"].nunique() == n_families
    assert (len(table.columns("capability")), len(table.columns("safety"))) == (n_capability, n_safety)
    assert int(table.scores.isna().sum().sum()) == missing
    assert table.title != name
    long = pd.read_csv(shelf_path("data", name, "scores.csv"))
    for model, benchmark, score in long[["model", "benchmark", "score"]].itertuples(index=False):
        assert table.scores.loc[model, benchmark] == score
    assert set(table.cells["source"]) <= set(table.sources.index)
    assert len(table.cells) == len(long)


def test_a_lineage_that_is_not_declared_is_the_model_itself() -> None:
    models = load_table("helm-classic").models
    given = pd.read_csv(shelf_path("data", "helm-classic", "models.csv"), dtype="str", index_col=0)["lineage"]
    assert (models["lineage"][given.isna()] == models.index[given.isna()]).all()
    assert (models["lineage"] == given)[given.notna()].all()


def test_no_upstream_file_ships() -> None:
    names = sorted(path.name for path in shelf_path("data", "ren2024").iterdir())
    # Numbers printed in the paper, and our draws of capability.
    assert names == ["benchmarks.csv", "models.csv", "published.csv", "reference.npz"]
    assert table_names() == sorted({*shelf_names("data"), "ren2024"})


def test_fingerprint_is_of_the_content() -> None:
    assert load_table("helm-classic").fingerprint == load_table(shelf_path("data", "helm-classic")).fingerprint
    assert load_table("helm-classic").fingerprint != load_table("chat-2025").fingerprint


def test_wide(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(WIDE, encoding="utf-8")
    (tmp_path / "benchmarks.csv").write_text(DICTIONARY, encoding="utf-8")
    table = load_table(tmp_path / "mine.csv")
    check_shape(table)
    assert (table.name, table.n_models, table.classes) == ("mine", 3, ("base", "chat"))
    assert table.columns() == ["math", "code", "text", "risk"]
    assert table.models["n_params"].tolist() == [1e9, 2e9, 3e9]
    assert table.models.loc["a-2", "flop"] == 1e22
    assert table.models["lineage"].tolist() == table.models.index.tolist()
    assert np.isnan(table.scores.loc["a-2", "risk"])
    assert table.scores.loc["b Σ*1"].tolist() == [0.7, 0.6, 60.0, 0.3]
    assert table.benchmarks["headline"].tolist() == [True, True, False, True]


def test_wide_takes_its_own_dictionary_before_the_common_one(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(WIDE, encoding="utf-8")
    (tmp_path / "benchmarks.csv").write_text("of another table", encoding="utf-8")
    (tmp_path / "mine.benchmarks.csv").write_text(DICTIONARY, encoding="utf-8")
    given = tmp_path / "d.csv"
    given.write_text(DICTIONARY.replace("code,capability", "code,reference"), encoding="utf-8")
    assert len(load_wide(tmp_path / "mine.csv").columns("capability")) == 3
    with pytest.raises(DataError, match="at least 3 benchmarks with the role capability"):
        load_wide(str(tmp_path / "mine.csv"), str(given))


def test_a_benchmark_may_have_the_name_of_a_metadata_column(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(WIDE.replace("risk", "type"), encoding="utf-8")
    (tmp_path / "benchmarks.csv").write_text(DICTIONARY.replace("risk", "type"), encoding="utf-8")
    assert "type" in load_table(tmp_path / "mine.csv").columns("safety")


def test_unnamed_first_column_is_the_model(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(WIDE.replace("Name,", ","), encoding="utf-8")
    (tmp_path / "benchmarks.csv").write_text(DICTIONARY, encoding="utf-8")
    assert load_table(tmp_path / "mine.csv").scores.index[0] == "a-1"


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "mine.csv").write_text(WIDE, encoding="utf-8")
    (tmp_path / "benchmarks.csv").write_text(DICTIONARY, encoding="utf-8")
    pd.read_csv(tmp_path / "mine.csv").to_parquet(tmp_path / "mine.parquet")
    assert load_table(tmp_path / "mine.parquet").fingerprint == load_table(tmp_path / "mine.csv").fingerprint


def test_a_name_wins_over_a_folder_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "helm-classic").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load_table("helm-classic").n_models == 67
    with pytest.raises(DataError, match=r"scores\.csv"):
        load_table("./helm-classic")
