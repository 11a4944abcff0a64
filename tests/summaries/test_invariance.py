"""The verdict on measurement invariance, which benchmark is named, and the tables, from fits made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from groups_data_made import (
    changed_names,
    default_spec,
    invariance_spec,
    made_draws,
    made_fit,
    quick_invariance,
    two_classes,
)

from safetystats.inference.groups import GroupFit
from safetystats.inference.groups_data import LEVELS, Level
from safetystats.inference.loo import LeaveOut
from safetystats.inference.store import FitStore
from safetystats.summaries.invariance import (
    INVARIANCE_COLUMNS,
    LOADING_COLUMNS,
    SCORE_COLUMNS,
    UNITS,
    check_invariance,
    common_scores,
    invariance_checks,
    invariance_table,
    loading_differences,
    verdict_of_difference,
)

TABLE = two_classes(2)
NAMES = TABLE.columns("capability")


@pytest.mark.parametrize(
    ("difference", "error", "expected"),
    [
        (-10.0, 4.0, "fails"),
        (-10.0, 5.5, "not distinguishable"),
        (-3.9, 1.0, "not distinguishable"),
        (-3.9, 0.04, "holds"),
        (-4.1, 0.01, "fails"),
        (0.0, 1.9, "holds"),
        (0.0, 2.1, "not distinguishable"),
        (5.0, 4.0, "holds"),
        (float("nan"), 1.0, "not distinguishable"),
    ],
)
def test_verdict_follows_the_rule(difference: float, error: float, expected: str) -> None:
    assert verdict_of_difference(difference, error, invariance_spec().rule) == expected


def fits() -> dict[Level, GroupFit]:
    """Few models, since the diagnostics of capability take a while; draws enough for the gates of a short run."""
    table, rng = TABLE.select(models=[*TABLE.scores.index[:6], *TABLE.scores.index[-6:]]), np.random.default_rng(4)
    return {level: made_fit(table, level, made_draws(rng, 800, level)) for level in LEVELS}


def left(elpd: np.ndarray, unit: str, k: float = 0.3) -> LeaveOut:
    labels = tuple(f"{unit} {place}" for place in range(len(elpd)))
    return LeaveOut(
        unit="model" if unit == "model" else "lineage", labels=labels, families=np.arange(len(elpd)), elpd=elpd,
        pareto_k=np.full(len(elpd), k), refitted=np.zeros(len(elpd), dtype=bool), limit=0.7, p_loo=3.0,
    )  # fmt: skip


def results(scalar: float, k: float = 0.3) -> dict[str, dict[str, LeaveOut]]:
    """The metric model is as good as the configural one; the scalar one worse by `scalar` for each of 40 units."""
    rng = np.random.default_rng(5)
    base = rng.normal(-10, 1, size=40)
    loss = scalar + 0.1 * rng.normal(size=40)
    return {u: {"configural": left(base, u, k), "metric": left(base, u), "scalar": left(base + loss, u)} for u in UNITS}


def test_differences_are_named_on_a_common_scale() -> None:
    """Chat models with capability 0.5 higher and twice as spread; one intercept and one loading differ."""
    draws = made_draws(np.random.default_rng(6), 400, "configural")
    jitter = 0.01 * np.random.default_rng(7).normal(size=(2, 400, 8))
    loading, intercept = draws.loading.copy(), draws.intercept.copy()
    loading[:, 1] = 2 * (loading[:, 0] + jitter[0] - 0.3 * (np.arange(8) == 1))
    intercept[:, 1] = intercept[:, 0] + jitter[1] + 0.25 * loading[:, 1] + 0.6 * (np.arange(8) == 4)
    table = loading_differences(
        made_fit(TABLE, "configural", replace(draws, loading=loading, intercept=intercept)), 0.95
    )
    assert tuple(table.columns) == LOADING_COLUMNS
    assert len(table) == 2 * 2 * 8
    row = table.set_index(["scale", "parameter", "benchmark"]).sort_index()
    own = row.loc[("own", "loading", NAMES[0])]
    assert (own["class_a"], own["class_b"]) == ("chat", "base")
    assert own["value_a"] == pytest.approx(loading[:, 1, 0].mean())
    assert own["value_b"] == pytest.approx(loading[:, 0, 0].mean())
    assert own["delta"] == pytest.approx(own["value_a"] - own["value_b"])
    delta = loading[:, 1, 0] - loading[:, 0, 0]
    assert [own["lower"], own["upper"]] == pytest.approx(np.quantile(delta, [0.025, 0.975]))
    assert own["p_positive"] == 1
    aligned = row.loc["aligned"]
    clear = aligned[(aligned["lower"] > 0) | (aligned["upper"] < 0)]
    assert set(clear.index) == {("loading", NAMES[1]), ("intercept", NAMES[4])}
    # A median over eight benchmarks leaves an error of the order of the jitter.
    assert clear.loc[("loading", NAMES[1]), "delta"] == pytest.approx(-0.3, abs=0.02)
    assert clear.loc[("intercept", NAMES[4]), "delta"] == pytest.approx(0.6, abs=0.02)


def test_a_failing_comparison_names_the_benchmark_and_a_withheld_one_nothing() -> None:
    own = fits()
    loadings = loading_differences(own["configural"], 0.95)
    shifted = loadings.copy()
    here = (shifted["benchmark"] == NAMES[4]) & (shifted["parameter"] == "intercept") & (shifted["scale"] == "aligned")
    assert here.sum() == 1
    shifted.loc[here, ["delta", "lower", "upper"]] = [-0.8, -1.1, -0.5]
    table = invariance_table(own, results(-1.0), shifted)
    assert tuple(table.columns) == INVARIANCE_COLUMNS
    assert list(zip(table["unit"], table["invariance"], strict=True)) == [(u, name) for u in UNITS for name in LEVELS]
    assert list(table["verdict"]) == ["reference", "holds", "fails"] * 2
    assert list(table["freer"]) == ["", "configural", "metric"] * 2
    scalar = table.iloc[-1]
    expected = results(-1.0)["lineage"]
    pointwise = expected["scalar"].elpd - expected["metric"].elpd
    assert scalar["difference"] == pytest.approx(pointwise.sum())
    assert scalar["difference_error"] == pytest.approx(np.sqrt(40) * pointwise.std(ddof=1))
    assert scalar["sentence"].startswith("The data speak against intercepts equal over classes")
    assert f"{NAMES[4]} (chat less base −0.80 [−1.10, −0.50])" in scalar["sentence"]
    assert "are compatible with loadings equal" in table.iloc[1]["sentence"]
    vague = invariance_table(own, results(-0.05), loadings).iloc[-1]
    assert vague["verdict"] in ("not distinguishable", "holds")

    stuck = own["metric"].draws["posterior"].to_dataset().copy(deep=True)
    stuck["loading"][0] += 0.4
    stats = own["metric"].draws["sample_stats"].to_dataset()
    bad = replace(own["metric"], draws=xr.DataTree.from_dict({"posterior": stuck, "sample_stats": stats}))
    held = invariance_table({**own, "metric": bad}, results(-1.0), loadings)
    assert list(held["verdict"]) == ["reference", "withheld", "withheld"] * 2
    assert "did not pass the gates" in held.iloc[1]["sentence"]
    assert "there is none on equal loadings" in held.iloc[2]["sentence"]


@pytest.mark.parametrize("scalar", [-1.0, 0.0])
def test_unequal_loadings_leave_no_verdict_on_intercepts(scalar: float) -> None:
    own, found = fits(), results(scalar)
    found["model"]["configural"] = left(found["model"]["metric"].elpd + 1.0, "model")
    table = invariance_table(own, found, loading_differences(own["configural"], 0.95)).set_index(["unit", "invariance"])
    assert table.loc[("model", "metric"), "verdict"] == "fails"
    refused = table.loc[("model", "scalar")]
    assert refused["verdict"] == "withheld"
    assert refused["sentence"] == (
        "No verdict on intercepts equal over classes (scalar invariance): it presupposes equal loadings, against which "
        "the data speak."
    )
    assert refused["difference"] == pytest.approx(table.loc[("lineage", "scalar"), "difference"], abs=3.0)
    assert table.loc[("lineage", "scalar"), "verdict"] == ("fails" if scalar else "holds")


def test_doubtful_units_are_counted_and_reported() -> None:
    own, found = fits(), results(0.0, k=0.9)
    table = invariance_table(own, found, loading_differences(own["configural"], 0.95))
    assert list(table["n_doubtful"]) == [40, 0, 0] * 2
    assert "40 units have a Pareto k above" in table.iloc[1]["sentence"]
    checks = {(check.fit, check.check): check for check in invariance_checks(own, found)}
    assert checks["invariance/configural", "pareto_k_lineage"].outcome == "not_applicable"
    assert checks["invariance/metric", "pareto_k_lineage"].outcome == "pass"
    assert {check.check for check in checks.values()} >= {"r_hat", "ess_bulk", "ess_tail", "divergences", "e_bfmi"}


def test_common_scores_are_z_scores_over_all_models() -> None:
    theta = np.random.default_rng(8).normal(size=(100, TABLE.n_models)) + 3 * np.arange(TABLE.n_models)
    fit = made_fit(TABLE, "scalar", made_draws(np.random.default_rng(9), 100, "scalar"), theta)
    table = common_scores(fit, 0.9)
    assert tuple(table.columns) == SCORE_COLUMNS
    z = (theta - theta.mean(1, keepdims=True)) / theta.std(1, keepdims=True)
    np.testing.assert_allclose(table["score"], z.mean(0))
    np.testing.assert_allclose(table["upper"], np.quantile(z, 0.95, axis=0))
    assert list(table["model"]) == list(TABLE.scores.index)
    with pytest.raises(ValueError, match="no common scale"):
        common_scores(fits()["metric"], 0.9)
    with pytest.raises(ValueError, match="give the configural one"):
        loading_differences(fit, 0.9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shift", "loading", "verdicts"),
    [
        (0.0, None, {"metric": {"holds", "not distinguishable"}, "scalar": {"holds", "not distinguishable"}}),
        (-1.0, None, {"metric": {"holds", "not distinguishable"}, "scalar": {"fails"}}),
        (0.0, 0.0, {"metric": {"fails"}}),
    ],
    ids=["invariant", "intercepts", "loadings"],
)
def test_simulated_classes_get_the_verdict_they_should(
    shift: float, loading: float | None, verdicts: dict[str, set[str]], tmp_path: Path
) -> None:
    """Slow: one compilation and three runs each. Differences so large that these seeds are no close call."""
    table = two_classes(21, shift=shift, loading=loading)
    found = check_invariance(table, default_spec(), quick_invariance(), 3, FitStore(root=tmp_path))
    rows = found.invariance.set_index(["unit", "invariance"])["verdict"]
    for name, allowed in verdicts.items():
        assert rows["lineage", name] in allowed, list(found.invariance["sentence"])
    if shift:
        clear = found.loadings.query("scale == 'aligned' and parameter == 'intercept' and upper < 0")
        assert set(clear["benchmark"]) == set(changed_names(table))
