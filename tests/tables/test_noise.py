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


def jeffreys(share: np.ndarray, n_items: float) -> np.ndarray:
    """Variance at the observed share itself, with half an item added each way."""
    q = (share * n_items + 0.5) / (n_items + 1)
    return np.asarray(q * (1 - q) / n_items)


def test_by_hand() -> None:
    found = values_of(table_of([[0.5], [0.9], [0.2], [1.0], [NAN], [0.9], [0.7]], n_items=10))
    # Two base models: no more than their mean is known, 14 of 20.
    base = 14.5 / 21 * 6.5 / 21 / 10
    # Four chat models, 28 of 40, with 2.5, 10.5, 9.5 and 7.5 of 11 in their own variances.
    w = (2.5 * 8.5 + 10.5 * 0.5 + 9.5 * 1.5 + 7.5 * 3.5) / 121 / 10 / 4
    r = 1 - w / ((0.5**2 + 0.3**2 + 0.2**2 + 0.0) / 3)
    assert 0.8 < r < 10 / 11
    q = 28.5 / 41 + r * (np.array([0.2, 1.0, 0.9, 0.7]) - 28.5 / 41)
    chat = q * (1 - q) / 10
    np.testing.assert_allclose(found, [base, base, chat[0], chat[1], NAN, chat[2], chat[3]], rtol=1e-12)


def test_models_that_differ_no_more_than_their_errors_have_one_variance() -> None:
    values = [[0.0], [1.0], [0.62], [0.58], [0.60]]  # of 50 items: error 0.07
    np.testing.assert_allclose(values_of(table_of(values))[2:], 90.5 / 151 * 60.5 / 151 / 50, rtol=1e-12)
    values[2:] = [[0.6]] * 3
    np.testing.assert_allclose(values_of(table_of(values))[2:], 90.5 / 151 * 60.5 / 151 / 50, rtol=1e-12)


def test_the_mean_of_the_class_weighs_as_much_as_one_item() -> None:
    """All or nothing: hardly any of the variance is error, and a model at 100 % is still not exact."""
    found = values_of(table_of([[0.5], [0.5], *[[1.0], [0.0]] * 5], n_items=20))[2:]
    q = 0.5 + 20 / 21 * 0.5
    np.testing.assert_allclose(found, q * (1 - q) / 20, rtol=1e-12)


@pytest.mark.parametrize("end", [0.0, 1.0])
@pytest.mark.parametrize("others", [1, 2, 3, 20])
def test_the_ends_have_positive_variance(end: float, others: int) -> None:
    for first in (end, 0.5, 1 - end):
        found = values_of(table_of([[end], [end], [first], *[[end]] * others]))
        assert np.isfinite(found).all()
        assert (found > 0).all()


@pytest.mark.parametrize(("mean", "size", "left"), [(0.98, 60.0, 0.6), (0.99, 100.0, 0.4), (0.99, 1e6, 0.05)])
def test_near_the_ceiling(mean: float, size: float, left: float) -> None:
    """1000 columns of 20 models, 100 items, true shares Beta(mean size, (1 - mean) size).

    The mean variance is within 5 % of the truth (1 to 2 % above; at each own share with half an item added it is 22 to
    46 % above), and of its covariance with the error at most `left` remains. Inside one column the correlation stays:
    shrinking multiplies by a number.
    """
    rng = np.random.default_rng(1)
    true = rng.beta(mean * size, (1 - mean) * size, size=(22, 1000))
    share = rng.binomial(100, true) / 100
    found = sampling_variance(table_of(share.tolist(), n_items=100)).to_numpy()[2:]
    true, share = true[2:], share[2:]
    error, old = share - true, jeffreys(share, 100)
    truth = (true * (1 - true) / 100).mean()
    assert found.mean() == pytest.approx(truth, rel=0.05)
    assert old.mean() > 1.2 * truth

    def covariance(variance: np.ndarray) -> float:
        return float(((variance - variance.mean(axis=0)) * error).mean())

    assert covariance(old) < 0
    assert abs(covariance(found)) < left * abs(covariance(old))
    assert abs(np.corrcoef(found.ravel(), error.ravel())[0, 1]) < abs(np.corrcoef(old.ravel(), error.ravel())[0, 1])
    # Weighting scores by their precision counts lucky ones for more: a mean that is too high, and now less so.
    excess = [((share / w).sum(0) / (1 / w).sum(0) - true.mean(axis=0)).mean() for w in (found, old)]
    assert 0 <= excess[0] < excess[1]


def test_percent_is_the_square_of_a_hundred_times_as_much() -> None:
    shares = [[0.2], [0.7], [1.0]]
    percent = [[20.0], [70.0], [100.0]]
    np.testing.assert_allclose(values_of(table_of(percent, upper=100)), 1e4 * values_of(table_of(shares)), rtol=1e-12)


def test_equals_the_variance_of_simulated_scores() -> None:
    rng = np.random.default_rng(3)
    for p in (0.1, 0.5, 0.85):
        scores = rng.binomial(200, p, size=(20_000, 1)) / 200
        found = values_of(table_of(scores.tolist(), n_items=200))
        # The variance of 20 000 scores is known to 1 %.
        assert found.mean() == pytest.approx(scores.var(), rel=0.04)


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
    scores = [[0.5], [1.0], [0.0], [0.5], [0.8], [1.0]]
    right = np.array([50.0, 20.0, 80.0, 50.0, 32.0, 20.0])
    found = values_of(table_of(scores, n_items=80, note="min((1 - accuracy) / 0.75, 1)"))
    plain = values_of(table_of((right[:, None] / 80).tolist(), n_items=80))
    np.testing.assert_allclose(found, plain / 0.75**2, rtol=1e-12)


def test_shipped_tables() -> None:
    for name, known in (("helm-classic", 14), ("chat-2025", 12)):
        found = sampling_variance(standardise(align(load_table(name))))
        assert found.notna().any().sum() == known
        assert (found.to_numpy()[found.notna()] > 0).all()
    assert found["helm_simple_safety_tests"].mean() > 0.05  # 100 items, near the ceiling
    assert found["nyt_connections_ext"].mean() < 0.01
