"""Sampling error of shares: by hand, by simulation, and the same however the table was prepared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from safetystats.tables.load import load_table
from safetystats.tables.noise import sampling_variance
from safetystats.tables.prepare import Grouping, align, standardise, transform
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, ScoreTable

NAN = float("nan")


def table_of(
    values: list[list[float]], *, upper: float = 1.0, lower: float = 0.0, n_items: float = 50.0,
    direction: str = "higher_is_safer", note: str = "",
) -> ScoreTable:  # fmt: skip
    """Columns that are declared alike; the first two models are base, the others chat."""
    scores = np.array(values, dtype=np.float64)
    models = pd.DataFrame("", index=[f"m{i}" for i in range(len(scores))], columns=list(MODEL_COLUMNS))
    models["model_class"] = ["base" if i < 2 else "chat" for i in range(len(scores))]
    benchmarks = pd.DataFrame("", index=[f"b{i}" for i in range(scores.shape[1])], columns=list(BENCHMARK_COLUMNS))
    benchmarks["role"], benchmarks["direction"], benchmarks["note"] = "safety", direction, note
    for column, value in (("lower", lower), ("upper", upper), ("chance", NAN), ("n_items", n_items)):
        benchmarks[column] = value
    return ScoreTable(
        name="made",
        title="made",
        scores=pd.DataFrame(scores, index=models.index, columns=benchmarks.index, dtype="float64"),
        models=models,
        benchmarks=benchmarks,
    )


def values_of(table: ScoreTable) -> np.ndarray:
    return sampling_variance(table).to_numpy()[:, 0]


def test_by_hand() -> None:
    found = values_of(table_of([[0.5], [0.9], [0.0], [1.0], [NAN]], n_items=10))
    # x = 5, 9, 0, 10 of 10: q = 5.5 / 11, 9.5 / 11, 0.5 / 11, 10.5 / 11
    expected = [0.25 / 10, 9.5 * 1.5 / 121 / 10, 0.5 * 10.5 / 121 / 10, 0.5 * 10.5 / 121 / 10, NAN]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_percent_is_the_square_of_a_hundred_times_as_much() -> None:
    shares = [[0.2], [0.7], [1.0]]
    percent = [[20.0], [70.0], [100.0]]
    np.testing.assert_allclose(values_of(table_of(percent, upper=100)), 1e4 * values_of(table_of(shares)), rtol=1e-12)


def test_equals_the_variance_of_simulated_scores() -> None:
    rng = np.random.default_rng(3)
    for p in (0.1, 0.5, 0.85):
        scores = rng.binomial(200, p, size=(20_000, 1)) / 200
        found = values_of(table_of(scores.tolist(), n_items=200))
        # The half items of the prior add 1.4 % at 0.1; the variance of 20 000 scores is known to 1 %.
        assert found.mean() == pytest.approx(scores.var(), rel=0.045)


@pytest.mark.parametrize(
    "declared",
    [
        {"n_items": NAN},
        {"n_items": 0.0},
        {"upper": 5.0},
        {"upper": NAN},
        {"lower": -1.0},
        {"direction": "zero_is_ideal", "lower": -1.0},
    ],
)
def test_unknown_items_have_no_known_error(declared: dict[str, float]) -> None:
    table = table_of([[0.2], [0.7], [0.4]], **declared)  # type: ignore[arg-type]
    assert np.isnan(values_of(table)).all()
    assert np.isnan(values_of(align(table))).all()


def test_a_score_outside_its_bounds_has_none() -> None:
    assert np.isnan(values_of(table_of([[0.2], [1.2], [-0.1]]))).tolist() == [False, True, True]


def test_transformed_scores_have_none() -> None:
    table = transform(align(table_of([[0.2], [0.7], [0.4]])), "logit")
    assert np.isnan(values_of(table)).all()


@pytest.mark.parametrize("direction", ["higher_is_safer", "lower_is_safer"])
@pytest.mark.parametrize("by", ["class", "pooled"])
@pytest.mark.parametrize("upper", [1.0, 100.0])
def test_prepared_tables(direction: str, by: Grouping, upper: float) -> None:
    values = upper * np.array([[0.0, 0.1], [0.6, 0.3], [0.7, 1.0], [1.0, 0.2], [0.8, NAN]])
    table = table_of(values.tolist(), upper=upper, direction=direction)
    native = sampling_variance(table)
    assert np.isfinite(native.to_numpy()).sum() == 9
    aligned = align(table)
    pd.testing.assert_frame_equal(sampling_variance(aligned), native)
    prepared = standardise(aligned, by)
    groups = [table.models["model_class"] == name for name in table.classes] if by == "class" else [slice(None)]
    expected = native.copy()
    for rows in groups:
        expected.loc[rows] /= table.scores.loc[rows].var(ddof=0)
    pd.testing.assert_frame_equal(sampling_variance(prepared), expected)


def test_a_constant_column_has_none_where_it_was_not_standardised() -> None:
    prepared = standardise(align(table_of([[0.5], [0.5], [0.7], [0.8]])))
    assert np.isnan(values_of(prepared)).tolist() == [True, True, False, False]


def test_items_of_a_single_score_come_first() -> None:
    table = table_of([[0.5, 0.5], [0.5, 0.5], [0.4, 0.3]], n_items=100)
    index = pd.MultiIndex.from_tuples([("m1", "b1"), ("m0", "b0"), ("gone", "b0")], names=["model", "benchmark"])
    cells = pd.DataFrame({"note": "", "n_items": [25.0, NAN, 3.0]}, index=index)
    found = sampling_variance(table.replace(cells=cells))
    expected = sampling_variance(table)
    expected.loc["m1", "b1"] *= 4
    pd.testing.assert_frame_equal(found, expected)


def test_chance_corrected_columns() -> None:
    """min((1 - accuracy) / 0.75, 1) with 80 items: 20 right is clipped at 1, 50 right is 0.5."""
    table = table_of([[0.5], [1.0], [0.0]], n_items=80, note="min((1 - accuracy) / 0.75, 1)")
    right = np.array([50.0, 20.0, 80.0])
    q = (right + 0.5) / 81
    np.testing.assert_allclose(values_of(table), q * (1 - q) / 80 / 0.75**2, rtol=1e-12)


def test_shipped_tables() -> None:
    for name, known in (("helm-classic", 14), ("chat-2025", 12)):
        found = sampling_variance(standardise(align(load_table(name))))
        assert found.notna().any().sum() == known
        assert (found.to_numpy()[found.notna()] > 0).all()
    assert found["helm_simple_safety_tests"].mean() > 0.05  # 100 items, near the ceiling
    assert found["nyt_connections_ext"].mean() < 0.01
