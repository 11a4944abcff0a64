"""Alignment, transforms and standardisation: what they promise, by example and by property."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from safetystats.errors import DataError
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, fit_transforms, standardise, transform, unstandardise
from safetystats.tables.ren2024 import load_ren2024
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, ScoreTable
from safetystats.tables.transforms import IdentityTransform, LogitTransform, RankNormalTransform, TransformName

DIRECTIONS = ["higher_is_better", "higher_is_safer", "lower_is_safer", "zero_is_ideal", "undeclared", "none"]
NAMES: list[TransformName] = ["identity", "logit", "rank_normal"]


def make_table(values: np.ndarray, directions: list[str], **columns: list[float]) -> ScoreTable:
    """Return a table from an array of shape (n_models, n_benchmarks); the first half of the models is base."""
    n_models, n_benchmarks = values.shape
    models = pd.DataFrame("", index=[f"m{i}" for i in range(n_models)], columns=list(MODEL_COLUMNS))
    models["model_class"] = ["base" if 2 * i < n_models else "chat" for i in range(n_models)]
    models[["n_params", "flop"]] = np.nan
    benchmarks = pd.DataFrame("", index=[f"b{i}" for i in range(n_benchmarks)], columns=list(BENCHMARK_COLUMNS))
    benchmarks["role"], benchmarks["direction"], benchmarks["headline"] = "safety", directions, True
    for column in ("lower", "upper", "chance", "n_items"):
        benchmarks[column] = columns.get(column, [np.nan] * n_benchmarks)
    return ScoreTable(
        name="made",
        title="made",
        scores=pd.DataFrame(values, index=models.index, columns=benchmarks.index, dtype="float64"),
        models=models,
        benchmarks=benchmarks,
    )


@pytest.fixture(scope="module")
def helm() -> ScoreTable:
    return load_table("helm-classic")


def test_align() -> None:
    values = np.array([[1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [2.0, 2.0, 0.0, -2.0, 2.0, 2.0], [np.nan] * 6, [3.0] * 6])
    table = make_table(
        values,
        DIRECTIONS,
        lower=[0, 0, 0, -4, 0, 0],
        upper=[4, 4, 4, 3, 4, 4],
        chance=[1, np.nan, 3, np.nan, np.nan, np.nan],
    )
    aligned = align(table)
    assert aligned.columns() == ["b0", "b1", "b2", "b3"]
    np.testing.assert_array_equal(aligned.matrix()[:2], [[1, 1, -1, -1], [2, 2, 0, -2]])
    assert np.isnan(aligned.matrix()[2]).all()
    assert not np.signbit(aligned.scores.loc["m1", "b2"])
    np.testing.assert_array_equal(aligned.benchmarks["lower"], [0, 0, -4, -4])
    np.testing.assert_array_equal(aligned.benchmarks["upper"], [4, 4, 0, 0])
    np.testing.assert_array_equal(aligned.benchmarks["chance"], [1, np.nan, -3, np.nan])
    assert aligned.benchmarks["direction"].tolist() == DIRECTIONS[:4]
    assert [name for name, _ in aligned.preparation.dropped] == ["b4", "b5"]
    assert "undeclared" in aligned.preparation.dropped[0][1]
    assert aligned.preparation.aligned
    assert align(aligned) is aligned
    np.testing.assert_array_equal(table.matrix(), values)


def test_aligned_scores_stay_inside_their_bounds(helm: ScoreTable) -> None:
    aligned = align(helm)
    values = aligned.matrix()
    with np.errstate(invalid="ignore"):
        inside = (values >= aligned.benchmarks["lower"].to_numpy()) & (values <= aligned.benchmarks["upper"].to_numpy())
    assert (inside | np.isnan(values)).all()


def test_ren2024_drops_what_has_no_direction(mirror: Path) -> None:
    aligned = align(load_ren2024([mirror / "ren2024" / "upstream"]))
    assert {name for name, _ in aligned.preparation.dropped} == {
        "machiavelli-steps",
        "machiavelli-samples",
        "machiavelli-games",
        "beavertails",
        "persona",
    }
    assert (aligned.scores["machiavelli-violations.Σ"] < 0).all()
    assert (aligned.scores["simple_cooccurrence_bias"] < 0).all()


def test_order_of_the_steps(helm: ScoreTable) -> None:
    with pytest.raises(ValueError, match="align comes before"):
        align(transform(helm, "rank_normal"))
    with pytest.raises(ValueError, match="transform comes once"):
        transform(standardise(helm), "logit")
    with pytest.raises(ValueError, match="transform comes once"):
        transform(transform(helm, "rank_normal"), "logit")
    with pytest.raises(ValueError, match="standardised already"):
        standardise(standardise(helm))
    with pytest.raises(ValueError, match="not standardised"):
        unstandardise(helm)
    wrong: Any = "probit"
    with pytest.raises(ValueError, match="no transform 'probit'"):
        transform(helm, wrong)
    with pytest.raises(ValueError, match='by must be "class" or "pooled"'):
        standardise(helm, wrong)


@pytest.mark.parametrize("by", ["class", "pooled"])
@pytest.mark.parametrize("name", NAMES)
def test_preparation_says_what_was_done(helm: ScoreTable, name: TransformName, by: Any) -> None:
    table = standardise(transform(align(helm), name, by=by), by)
    assert table.preparation == dataclasses.replace(helm.preparation, aligned=True, transform=name, standardised=by)
    assert list(table.location.index) == (["base", "chat"] if by == "class" else ["all"])
    assert table.location.shape == table.spread.shape
    for _, rows in table.scores.groupby(table.models["model_class"] if by == "class" else lambda model: "all"):
        np.testing.assert_allclose(rows.mean(), 0.0, atol=1e-12)
        np.testing.assert_allclose(rows.std(ddof=0), 1.0)
    assert table.scores.isna().equals(helm.scores.isna())
    back = unstandardise(table)
    np.testing.assert_allclose(back.matrix(), transform(align(helm), name, by=by).matrix(), atol=1e-12)
    assert back.preparation.standardised == "none"
    assert back.location.empty


def test_constant_columns_are_dropped_with_a_reason() -> None:
    values = np.array([[1, 5, 1, np.nan], [2, 5, 1, np.nan], [3, 5, 3, 1], [4, 5, 4, 4], [5, 5, 5, 2]], dtype=float)
    table = make_table(values, ["higher_is_safer"] * 4)
    by_class = standardise(table)
    assert by_class.columns() == ["b0", "b2", "b3"]
    assert dict(by_class.preparation.dropped) == {
        "b1": "all scores are equal in base; all scores are equal in chat",
        "b3": "only one score in base",
    }
    assert by_class.scores.loc[["m0", "m1", "m2"], "b3"].isna().all()
    assert np.isnan(by_class.spread.loc["base", "b3"])
    assert list(by_class.spread.columns) == by_class.columns()
    pooled = standardise(table, "pooled")
    assert pooled.columns() == ["b0", "b2", "b3"]
    assert pooled.preparation.dropped == (("b1", "all scores are equal"),)


def test_rounding_does_not_make_a_constant_column_vary() -> None:
    values = np.array([[0.1 * 3, 1], [0.3, 2], [0.3, 3], [0.1 + 0.2, 4], [0.3, 5]])
    assert standardise(make_table(values, ["higher_is_safer"] * 2)).columns() == ["b1"]


def test_logit_needs_bounds() -> None:
    table = make_table(np.arange(12.0).reshape(4, 3), ["higher_is_safer"] * 3, lower=[0, np.nan, 0], upper=[20, 5, 8])
    with pytest.raises(DataError) as caught:
        transform(table, "logit")
    first, second = caught.value.faults
    assert '"b1"' in first.got
    assert 'unbounded = "keep"' in first.remedy
    assert (second.column, second.got) == ("b2", '11 for "m3"')
    kept = transform(table.select(benchmarks=["b0", "b1"]), "logit", unbounded="keep")
    np.testing.assert_array_equal(kept.scores["b1"], table.scores["b1"])
    assert not np.allclose(kept.scores["b0"], table.scores["b0"])


def test_logit_is_the_empirical_logit_without_a_chance_level() -> None:
    right = np.arange(0.0, 41.0)
    logit = LogitTransform.from_items(lower=0.0, upper=1.0, n_items=40.0)
    np.testing.assert_allclose(logit.forward(right / 40.0), np.log((right + 0.5) / (40.0 - right + 0.5)))
    percent = LogitTransform.from_items(lower=0.0, upper=100.0, n_items=40.0)
    np.testing.assert_allclose(percent.forward(right / 0.4), logit.forward(right / 40.0))


def test_logit_of_chance_is_no_outlier() -> None:
    """A guessing model stays within what one standard error of guessing moves it to."""
    logit = LogitTransform.from_items(lower=0.0, upper=1.0, chance=0.25, n_items=1000.0)
    guesses = np.random.default_rng(1).binomial(1000, 0.25, size=2000) / 1000
    z = logit.forward(guesses)
    assert z.min() > -4.1
    assert z.max() < -2.4
    assert logit.forward(np.array([0.25]))[0] == logit.forward(np.array([0.1]))[0]
    np.testing.assert_allclose(logit.inverse(logit.forward(np.array([0.1, 0.25, 0.6, 1.0]))), [0.25, 0.25, 0.6, 1.0])


def test_logit_of_a_negated_rate_mirrors_the_logit_of_the_rate() -> None:
    rates = np.array([[0.0, 0.0], [0.02, 0.02], [0.5, 0.5], [1.0, 1.0]])
    table = make_table(rates, ["higher_is_safer", "lower_is_safer"], lower=[0, 0], upper=[1, 1], n_items=[50, 50])
    z = transform(align(table), "logit").matrix()
    np.testing.assert_allclose(z[:, 1], -z[:, 0], atol=1e-12)


def test_rank_normal_is_bloms() -> None:
    x = np.array([3.0, 1.0, 2.0, 2.0, np.nan])
    z = RankNormalTransform.from_scores(x).forward(x)
    expected = stats.norm.ppf((np.array([4, 1, 2.5, 2.5]) - 0.375) / 4.25)
    np.testing.assert_allclose(z, [*expected, np.nan])
    assert np.isnan(RankNormalTransform.from_scores(np.array([np.nan])).forward(x)).all()


def test_rank_normal_ranks_within_the_class(helm: ScoreTable) -> None:
    by_class = transform(helm, "rank_normal")
    pooled = transform(helm, "rank_normal", by="pooled")
    for name, rows in by_class.scores.groupby(helm.models["model_class"]):
        native = helm.scores.loc[rows.index]
        assert (rows["classic_mmlu"].rank() == native["classic_mmlu"].rank()).all(), name
    assert not np.allclose(by_class.scores["classic_mmlu"], pooled.scores["classic_mmlu"])
    assert set(fit_transforms(helm, "rank_normal", by="pooled")) == {("all", name) for name in helm.columns()}


finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
matrices = arrays(np.float64, (7, 3), elements=st.one_of(finite, st.just(float("nan"))))
shares = arrays(np.float64, st.integers(1, 12), elements=st.floats(0.0, 1.0))
fast = settings(max_examples=60, deadline=None, derandomize=True)


@fast
@given(
    x=shares, chance=st.sampled_from([float("nan"), 0.0, 0.25, 0.5]), items=st.sampled_from([float("nan"), 20.0, 9e3])
)
def test_logit_inverts_and_keeps_ranks(x: np.ndarray, chance: float, items: float) -> None:
    logit = LogitTransform.from_items(lower=0.0, upper=1.0, chance=chance, n_items=items)
    z = logit.forward(x)
    floored = np.maximum(x, logit.floor)
    assert np.isfinite(z).all()
    np.testing.assert_allclose(logit.inverse(z), floored, atol=1e-9)
    order = np.argsort(floored, kind="stable")
    assert (np.diff(z[order]) >= 0).all()


@fast
@given(x=arrays(np.float64, st.integers(1, 15), elements=finite))
def test_rank_normal_inverts_and_keeps_ranks(x: np.ndarray) -> None:
    fitted = RankNormalTransform.from_scores(x)
    z = fitted.forward(x)
    np.testing.assert_array_equal(fitted.inverse(z), x)
    np.testing.assert_array_equal(stats.rankdata(z), stats.rankdata(x))
    assert abs(z.sum()) < 1e-9 or len(np.unique(x)) < len(x)


@fast
@given(x=arrays(np.float64, 5, elements=finite))
def test_identity_inverts(x: np.ndarray) -> None:
    same = IdentityTransform()
    np.testing.assert_array_equal(same.inverse(same.forward(x)), x)
    assert same.forward(x) is not x


@fast
@given(values=matrices, seed=st.integers(0, 99))
def test_permuting_models_permutes_the_results(values: np.ndarray, seed: int) -> None:
    table = make_table(values, ["higher_is_safer", "lower_is_safer", "zero_is_ideal"])
    order = np.random.default_rng(seed).permutation(7)
    shuffled = table.replace(scores=table.scores.iloc[order], models=table.models.iloc[order])
    for by in ("class", "pooled"):
        one = standardise(transform(align(table), "rank_normal", by=by), by)
        two = standardise(transform(align(shuffled), "rank_normal", by=by), by)
        pd.testing.assert_frame_equal(one.scores.iloc[order], two.scores, rtol=1e-9, atol=1e-9)


@fast
@given(values=matrices)
def test_a_flipped_column_declared_as_flipped_is_the_same(values: np.ndarray) -> None:
    up = make_table(values, ["higher_is_safer"] * 3, lower=[-1e6] * 3, upper=[1e6] * 3, n_items=[99] * 3)
    down = make_table(-values, ["lower_is_safer"] * 3, lower=[-1e6] * 3, upper=[1e6] * 3, n_items=[99] * 3)
    for name in NAMES:
        one, two = (standardise(transform(align(table), name)) for table in (up, down))
        pd.testing.assert_frame_equal(one.scores, two.scores)
        pd.testing.assert_frame_equal(one.location, two.location)


@fast
@given(values=matrices, by=st.sampled_from(["class", "pooled"]))
def test_standardising_keeps_ranks_and_inverts(values: np.ndarray, by: Any) -> None:
    table = make_table(values, ["higher_is_safer"] * 3)
    z = standardise(table, by)
    back = unstandardise(z).matrix()
    there = ~np.isnan(back)
    scale = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
    np.testing.assert_allclose(back[there], table.matrix(z.columns())[there], atol=1e-9 * max(scale, 1.0))


def test_nothing_is_changed_in_place(helm: ScoreTable) -> None:
    before = helm.fingerprint
    standardise(transform(align(helm), "logit"))
    assert helm.fingerprint == before


def test_bigger_tables_are_quick() -> None:
    table, _ = simulate_table(
        n_models=200, n_families=20, capability_loadings=[0.9] * 50, safety_correlations=[0.1] * 50, seed=1
    )
    assert standardise(transform(table, "rank_normal")).scores.shape == (200, 100)
