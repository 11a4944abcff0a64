"""Simulated tables: the moments are those that were asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from safetystats.tables.simulate import simulate_table

LOADINGS = [0.9, 0.8, 0.7, -0.5]
SAFETY = [0.6, 0.0, -0.4]


def draw(**changes: Any) -> Any:
    """Return a draw with some parameters changed."""
    given: dict[str, Any] = {
        "n_models": 40,
        "n_families": 9,
        "capability_loadings": LOADINGS,
        "safety_correlations": SAFETY,
        "seed": 20240726,
    }
    return simulate_table(**{**given, **changes})


def test_shapes_and_facts() -> None:
    table, truth = draw(classes=("base", "chat"))
    assert table.scores.shape == truth.scores.shape == truth.family_effects.shape == (80, 7)
    assert table.classes == truth.classes == ("base", "chat")
    assert table.columns() == list(truth.benchmarks)
    assert truth.theta.shape == (80,)
    assert truth.loadings.shape == (2, 7)
    np.testing.assert_array_equal(table.matrix(), truth.scores)
    lineages = table.models.groupby("lineage")["model_class"]
    assert (lineages.size() == 2).all()
    assert table.models.groupby("lineage")["family"].nunique().eq(1).all()
    assert not table.preparation.aligned


def test_family_sizes_are_uneven() -> None:
    table, _ = draw()
    sizes = table.models["family"].value_counts()
    assert len(sizes) == 9
    assert sizes.sum() == 40
    assert sizes.min() >= 1
    assert sizes.max() >= 3 * sizes.min()
    assert draw(n_families=40)[0].models["family"].value_counts().eq(1).all()
    assert draw(n_families=1)[0].models["family"].nunique() == 1


def test_the_same_seed_gives_the_same_table() -> None:
    assert draw()[0].fingerprint == draw()[0].fingerprint
    assert draw()[0].fingerprint != draw(seed=1)[0].fingerprint


def test_moments() -> None:
    """Over many models of many families, correlations, spreads and intraclass correlations are the true ones."""
    kappa = [0.2, 0.0, 0.5, 0.2, 0.2, 0.4, 1.0]
    table, truth = draw(n_models=20_000, n_families=5_000, icc=kappa)
    y, theta, rho = table.matrix(), truth.theta, truth.loadings[0]
    np.testing.assert_array_equal(rho, [*LOADINGS, *SAFETY])
    assert theta.mean() == pytest.approx(0.0, abs=0.03)
    assert theta.std() == pytest.approx(1.0, abs=0.02)
    found = [np.corrcoef(y[:, b], theta)[0, 1] for b in range(7)]
    np.testing.assert_allclose(found, rho, atol=0.03)
    z = (y - truth.location) / truth.spread
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=0.25)
    np.testing.assert_allclose(z.std(axis=0), 1.0, atol=0.15)
    rest = (z - np.outer(theta, rho)) / np.sqrt(1.0 - rho**2)
    family = table.models["family"].to_numpy()
    starts = np.flatnonzero(np.append(True, family[1:] != family[:-1])[:-1] & (family[1:] == family[:-1]))
    icc = (rest[starts] * rest[starts + 1]).mean(axis=0)
    np.testing.assert_allclose(icc, kappa, atol=0.08)


def test_classes_are_paired() -> None:
    _, truth = draw(n_models=20_000, n_families=5_000, classes=("base", "chat"), pairing=0.7)
    base, chat = truth.theta.reshape(2, -1)
    assert np.corrcoef(base, chat)[0, 1] == pytest.approx(0.7, abs=0.02)
    _, apart = draw(n_models=20_000, n_families=5_000, classes=("base", "chat"), pairing=0.0)
    assert np.corrcoef(*apart.theta.reshape(2, -1))[0, 1] == pytest.approx(0.0, abs=0.03)


def test_correlations_may_differ_by_class() -> None:
    by_class = {"base": [0.1, 0.2], "chat": [0.8, 0.9]}
    _, truth = draw(n_models=20_000, n_families=9_000, classes=("base", "chat"), safety_correlations=by_class, icc=0.0)
    np.testing.assert_array_equal(truth.loadings[:, 4:], [[0.1, 0.2], [0.8, 0.9]])
    chat = truth.scores[20_000:, 4]
    assert np.corrcoef(chat, truth.theta[20_000:])[0, 1] == pytest.approx(0.8, abs=0.01)


def test_missing_cells() -> None:
    table, truth = draw(n_models=400, missing=0.3)
    gaps = table.scores.isna().to_numpy()
    assert gaps.mean() == pytest.approx(0.3, abs=0.03)
    np.testing.assert_array_equal(table.matrix()[~gaps], truth.scores[~gaps])
    sparse, _ = draw(n_models=6, n_families=2, missing=0.95, classes=("base", "chat"))
    there = sparse.scores.notna()
    assert there.groupby(sparse.models["model_class"]).sum().ge(3).all().all()
    assert there.any(axis=1).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_models": 2, "n_families": 1}, "n_models must be at least 3"),
        ({"n_families": 41}, "n_families"),
        ({"n_families": 0}, "n_families"),
        ({"capability_loadings": [0.5, 0.5]}, "capability_loadings needs at least 3"),
        ({"safety_correlations": [1.5]}, "correlations and loadings"),
        ({"icc": 1.5}, "icc"),
        ({"missing": 1.0}, "missing"),
        ({"pairing": -0.1}, "pairing"),
        ({"safety_correlations": {"chat": [0.1]}}, "one sequence per class"),
        ({"safety_correlations": {"base": [0.1], "chat": [0.1, 0.2]}, "classes": ("base", "chat")}, "one length"),
    ],
)
def test_parameters_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**changes)
