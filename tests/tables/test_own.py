"""Somebody's scores of one benchmark: all faults at once, and the table made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from safetystats.errors import DataError, StudyError
from safetystats.tables.own import OwnBenchmark, given_scores, own_table, read_own_scores, upper_of
from safetystats.tables.prepare import align

MODELS = pd.DataFrame(
    {"model_class": ["base", "chat"], "family": ["f", "g"], "lineage": ["a", "b"]},
    index=pd.Index(["a", "b"], dtype="str"),
)


def own(direction: str = "higher_is_safer", n_items: int | None = None, upper: float | None = None) -> OwnBenchmark:
    return OwnBenchmark(name="mine", direction=direction, n_items=n_items, upper=upper)


def test_all_faults_of_a_file_come_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,score,remark\na,0.5,\n,0.4,\nb,50%,\na,0.3,\nc,,no run\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_own_scores(path)
    assert [(fault.row, fault.column) for fault in caught.value.faults] == [(3, "model"), (5, "model"), (4, "score")]
    assert "percent sign" in caught.value.faults[2].remedy


def test_a_missing_column_is_named_with_what_is_alike(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("models,score\na,0.5\n", encoding="utf-8")
    with pytest.raises(DataError, match='Did you mean "models"'):
        read_own_scores(path)


def test_models_without_a_score_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,score\na,0.5\nb,\n", encoding="utf-8")
    found = read_own_scores(path)
    assert (found.models, found.scores, found.lines, found.n_empty) == (("a",), (0.5,), (2,), 1)


def test_scores_from_memory_are_read_alike() -> None:
    frame = pd.DataFrame({"model": ["a", "b"], "score": [1.0, np.nan]})
    for scores in (frame, frame.set_index("model")["score"], {"a": 1.0, "b": float("nan")}):
        found = given_scores(scores)
        assert (found.models, found.scores, found.n_empty) == (("a",), (1.0,), 1)
    with pytest.raises(DataError, match="every model once"):
        given_scores(pd.DataFrame({"model": ["a", "a"], "score": [1.0, 2.0]}))
    with pytest.raises(DataError, match="a finite number"):
        given_scores({"a": float("inf")})
    with pytest.raises(DataError, match="a column of this name"):
        given_scores(pd.DataFrame({"name": ["a"], "score": [1.0]}))


@pytest.mark.parametrize(
    ("most", "items", "given_upper", "upper"),
    [(0.9, None, None, None), (0.9, 10, None, 1.0), (90.0, 10, None, 100.0), (0.9, 10, 100.0, 100.0)],
)
def test_the_scale_of_shares(most: float, items: int | None, given_upper: float | None, upper: float | None) -> None:
    found = upper_of(own(n_items=items, upper=given_upper), given_scores({"a": 0.1, "b": most}))
    assert found == upper if upper is not None else np.isnan(found)


@pytest.mark.parametrize(("worst", "given_upper"), [(-0.1, None), (120.0, None), (1.5, 1.0)])
def test_shares_outside_their_scale_are_refused(worst: float, given_upper: float | None) -> None:
    with pytest.raises(DataError, match="a share of the items"):
        upper_of(own(n_items=10, upper=given_upper), given_scores({"a": 0.5, "b": worst}))


@pytest.mark.parametrize(
    ("direction", "items", "upper", "message"),
    [
        ("lower_is_better", None, None, "one of higher_is_safer"),
        ("undeclared", None, None, "one of higher_is_safer"),
        ("higher_is_safer", 0, None, "a positive whole number"),
        ("higher_is_safer", 5, 10.0, "1 or 100"),
    ],
)
def test_a_benchmark_that_makes_no_sense(direction: str, items: int | None, upper: float | None, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        own(direction, items, upper)


def test_the_table_is_aligned_as_any_other() -> None:
    scores = pd.Series([0.2, -0.7], index=MODELS.index)
    for direction, expected in (("lower_is_safer", [-0.2, 0.7]), ("zero_is_ideal", [-0.2, -0.7])):
        table = align(own_table(own(direction), scores, MODELS, float("nan")))
        assert table.scores["mine"].tolist() == expected
