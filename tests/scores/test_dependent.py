"""Steiger's test and Zou's interval against the psych package, in limits that are known, and by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from safetystats.scores.dependent import (
    TEST_COLUMNS,
    CrossCorrelations,
    dependent_difference,
    dependent_differences,
    error_correlation,
)
from safetystats.tables.simulate import simulate_table

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
PRINTED = 1e-6
"""Samples are written with six decimals and results with a dozen."""


def samples() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "dependent_psych_samples.csv", comment="#", skipinitialspace=True)


@pytest.mark.parametrize("row", pd.read_csv(REFERENCE / "dependent_psych.csv", comment="#").to_dict("records"))
def test_all_paired_equals_psych(row: dict[str, float]) -> None:
    part = samples().query("sample == @row['sample']")
    x_a, y_a, x_b, y_b = (part[name].to_numpy() for name in ("x_a", "y_a", "x_b", "y_b"))
    names = list(range(len(part)))
    found = dependent_difference(x_a, y_a, names, x_b, y_b, names)
    assert found.n_pairs == row["n"]
    assert found.r_a == pytest.approx(row["r_a"], abs=PRINTED)
    assert found.r_b == pytest.approx(row["r_b"], abs=PRINTED)
    assert found.statistic == pytest.approx(row["z"], rel=PRINTED)
    assert found.p_value == pytest.approx(row["p"], rel=1e-4)
    assert found.lower == pytest.approx(row["lower"], abs=PRINTED)
    assert found.upper == pytest.approx(row["upper"], abs=PRINTED)


def test_error_correlation_is_that_of_simulated_correlations() -> None:
    """4000 samples of 200 of a normal with known correlations; error of the correlation of two r about 0.016."""
    matrix = np.array([[1, 0.6, 0.8, 0.4], [0.6, 1, 0.3, 0.7], [0.8, 0.3, 1, 0.5], [0.4, 0.7, 0.5, 1]])
    values = np.random.default_rng(3).multivariate_normal(np.zeros(4), matrix, (4000, 200))
    z = values - values.mean(axis=1, keepdims=True)
    z /= np.sqrt((z**2).sum(axis=1, keepdims=True))
    r_a, r_b = (z[..., 0] * z[..., 1]).sum(1), (z[..., 2] * z[..., 3]).sum(1)
    found = error_correlation(0.6, 0.5, CrossCorrelations(xx=0.8, xy=0.4, yx=0.3, yy=0.7))
    assert np.corrcoef(np.arctanh(r_a), np.arctanh(r_b))[0, 1] == pytest.approx(found, abs=4 * 0.016)
    assert found > 0.3


def test_without_pairs_it_is_the_test_of_independent_samples() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, 30)), rng.standard_normal((2, 30))
    found = dependent_difference(x[0], y[0], range(30), x[1][:20], y[1][:20], range(100, 120))
    r = [np.corrcoef(x[0], y[0])[0, 1], np.corrcoef(x[1][:20], y[1][:20])[0, 1]]
    assert found.statistic == pytest.approx((np.arctanh(r[0]) - np.arctanh(r[1])) / np.sqrt(1 / 27 + 1 / 17))
    assert found.error_correlation == 0.0


def paired_samples(rng: np.random.Generator, n_pairs: int, alone: tuple[int, int], rho: float) -> tuple[list, ...]:
    """Return x, y and lineages of both classes: capabilities correlate by 0.9, residuals by 0.7."""
    n = n_pairs + max(alone)
    theta = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], n).T
    e = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], n).T
    y = rho * theta + np.sqrt(1 - rho**2) * e
    sizes = [n_pairs + k for k in alone]
    names = [[*range(n_pairs), *range(1000 * c, 1000 * c + alone[c - 1])] for c in (1, 2)]
    return [theta[c][: sizes[c]] for c in (0, 1)], [y[c][: sizes[c]] for c in (0, 1)], names


def test_exchanging_the_classes_turns_the_sign_and_order_does_not_matter() -> None:
    x, y, names = paired_samples(np.random.default_rng(2), 15, (4, 7), 0.5)
    forth = dependent_difference(x[0], y[0], names[0], x[1], y[1], names[1])
    back = dependent_difference(x[1], y[1], names[1], x[0], y[0], names[0])
    assert (back.lower, back.upper) == pytest.approx((-forth.upper, -forth.lower))
    assert back.statistic == pytest.approx(-forth.statistic)
    order = np.random.default_rng(0).permutation(len(x[0]))
    moved = dependent_difference(x[0][order], y[0][order], [names[0][i] for i in order], x[1], y[1], names[1])
    assert tuple(moved) == pytest.approx(tuple(forth))


@pytest.mark.parametrize("coefficient", ["pearson", "spearman"])
@pytest.mark.parametrize(("n_pairs", "alone", "rho"), [(26, (0, 0), 0.5), (14, (10, 29), 0.5), (14, (10, 29), 0.0)])
def test_level_and_coverage_with_partial_pairing(
    coefficient: str, n_pairs: int, alone: tuple[int, int], rho: float
) -> None:
    """1500 samples: four simulation errors of 5 % are 2.3 points, and a point is left to the approximation."""
    rng = np.random.default_rng([4, n_pairs])
    found = []
    for _ in range(1500):
        x, y, names = paired_samples(rng, n_pairs, alone, rho)
        found.append(
            dependent_difference(x[0], y[0], names[0], x[1], y[1], names[1], coefficient=coefficient)  # type: ignore[arg-type]
        )
    rejected = np.mean([f.p_value < 0.05 for f in found])
    covered = np.mean([f.lower <= 0 <= f.upper for f in found])
    assert abs(rejected - 0.05) < 0.033
    assert abs(covered - 0.95) < 0.033


def test_the_table_has_one_row_for_each_benchmark() -> None:
    table, _ = simulate_table(
        n_models=14, n_families=5, capability_loadings=[0.9, 0.8, 0.85], safety_correlations=[0.6, 0.0, -0.4], seed=8,
        pairing=0.8, classes=("base", "chat"),
    )  # fmt: skip
    scores = table.scores.copy()
    scores.loc[scores.index[:11], "safety_2"] = np.nan
    table = table.replace(scores=scores)
    found = dependent_differences(table, class_a="chat", class_b="base")
    assert tuple(found.columns) == TEST_COLUMNS
    assert found["benchmark"].tolist() == ["safety_1", "safety_2", "safety_3"]
    assert found["n_pairs"].tolist() == [14, 0, 14]
    assert found.loc[1, "note"] == "3 base models"
    assert np.isnan(found.loc[1, "p_adjusted"])
    kept = found.loc[[0, 2]]
    np.testing.assert_allclose(kept["p_adjusted"], stats.false_discovery_control(kept["p_value"]))
    with pytest.raises(ValueError, match="no class 'tuned'"):
        dependent_differences(table, class_a="tuned", class_b="base")


def test_too_few_models_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        dependent_difference(np.arange(4.0), np.ones(4), range(4), np.arange(9.0), np.ones(9), range(9))
