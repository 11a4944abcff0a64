"""Tables of the crossed model: what they say is what the draws say, and the parts of a shift add up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from crossed_data import crossed_spec, made_table

from safetystats.inference.crossed import CrossedFit, fit_crossed
from safetystats.inference.store import FitStore
from safetystats.summaries.crossed_tables import (
    ALL,
    EFFECT_COLUMNS,
    PROGRESS_COLUMNS,
    SHIFT_COLUMNS,
    class_lines,
    crossed_effects,
    differential_progress,
    lineage_shifts,
)
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, Preparation, ScoreTable


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> CrossedFit:
    table, capability = made_table()
    return fit_crossed(table, capability, crossed_spec(draws=100, tune=100, ess=10.0, r_hat=1.3), 3, FitStore(
        root=tmp_path_factory.mktemp("crossed")
    ))  # fmt: skip


def test_class_lines_are_centred_contrasts() -> None:
    """Three classes: mean of the levels is the level, differences from the first are the class effects."""
    coefficients = np.array([1.0, 2.0, 0.3, 0.6, -0.5, 0.5])
    level, slope = class_lines(coefficients, 3)
    np.testing.assert_allclose(level.mean(), 1.0)
    np.testing.assert_allclose(level[1:] - level[0], [0.3, 0.6])
    np.testing.assert_allclose(slope.mean(), 2.0)
    np.testing.assert_allclose(slope[1:] - slope[0], [-0.5, 0.5])


def test_effects_at_every_level(fit: CrossedFit) -> None:
    table = crossed_effects(fit, 0.9)
    assert tuple(table.columns) == EFFECT_COLUMNS
    assert len(table) == 6 * (1 + 2 + 7)
    row = table[(table["level_of"] == "benchmark") & (table["name"] == "b5") & (table["term"] == "class")].iloc[0]
    own = fit.posterior["benchmark_coefficient"].sel(benchmark="b5", coefficient="class[chat]").to_numpy().ravel()
    assert row["area"] == "ethics"
    assert row["mean"] == pytest.approx(own.mean(), abs=1e-6)
    assert (row["lower"], row["upper"]) == pytest.approx(tuple(np.quantile(own, [0.05, 0.95])), abs=1e-5)
    assert row["p_positive"] == (own > 0).mean()
    means = table[table["level_of"] == "overall"].set_index(["term", "model_class"])["mean"]
    assert means["class", "chat"] == pytest.approx(means["intercept", "chat"] - means["intercept", "base"])
    assert means["capability:class", "chat"] == pytest.approx(means["capability", "chat"] - means["capability", "base"])


def test_progress_splits_expected_safety(fit: CrossedFit) -> None:
    table = differential_progress(fit, 0.95)
    assert tuple(table.columns) == PROGRESS_COLUMNS
    assert len(table) == fit.table.n_models * 3
    np.testing.assert_allclose(table["safety"], table["expected"] + table["excess"], atol=1e-6)
    assert ((table["excess_lower"] < table["excess"]) & (table["excess"] < table["excess_upper"])).all()
    wide = table.pivot(index="model", columns="area", values="safety")
    np.testing.assert_allclose(wide["all"], (4 * wide["truth"] + 3 * wide["ethics"]) / 7, atol=1e-5)
    # The line less the data: the fitted safety must follow the observed mean score of the area.
    seen = fit.table.scores[["b0", "b1", "b2", "b3"]]
    observed = ((seen - seen.mean()) / seen.std(ddof=0)).mean(axis=1)
    assert np.corrcoef(observed, wide["truth"].loc[observed.index])[0, 1] > 0.9


def test_shifts_add_up_and_are_differences_of_progress(fit: CrossedFit) -> None:
    shifts, progress = lineage_shifts(fit, 0.95), differential_progress(fit, 0.95).set_index(["model", "area"])
    assert tuple(shifts.columns) == SHIFT_COLUMNS
    assert len(shifts) == 7 * 3  # the base model of the first lineage has no capability
    np.testing.assert_allclose(shifts["safety_shift"], shifts["explained"] + shifts["unexplained"], atol=1e-6)
    np.testing.assert_allclose(shifts["safety_shift"], shifts["safety_b"] - shifts["safety_a"], atol=1e-6)
    np.testing.assert_allclose(shifts["capability_shift_lower"], shifts["capability_shift"], atol=1e-9)
    places = pd.MultiIndex.from_frame(shifts[["model_b", "area"]])
    np.testing.assert_allclose(shifts["safety_b"], progress.loc[places, "safety"].to_numpy(), atol=1e-6)
    # What capability does not explain: the classes' lines at the pair's mean capability, and the models' own effects.
    row = shifts.iloc[2]
    names = [str(m) for m in fit.table.scores.index]
    a, b = names.index(row["model_a"]), names.index(row["model_b"])
    level, slope = class_lines(fit.values("benchmark_coefficient").mean(axis=1), 2)
    middle = fit.capability[:, [a, b]].mean(axis=1)
    weights = np.array([4, 3]) / 7
    own = fit.values("model_area_effect") @ np.eye(len(names))
    between = weights @ (own[..., b] - own[..., a]).T
    wanted = level[:, 1] - level[:, 0] + (slope[:, 1] - slope[:, 0]) * middle + between
    assert row["area"] == "all"
    assert row["unexplained"] == pytest.approx(wanted.mean(), abs=1e-5)
    assert row["unexplained_p_positive"] == pytest.approx((wanted > 0).mean(), abs=0.01)


def test_draws_of_capability_widen_what_it_explains(fit: CrossedFit) -> None:
    """A model's capability has an sd of 0.3: the shift one of 0.42, and the explained part slope times that more."""
    plain = lineage_shifts(fit, 0.95)
    noise = np.random.default_rng(4).normal(0.0, 0.3, (4000, fit.capability.shape[1]))
    found = lineage_shifts(fit, 0.95, fit.capability[0] + noise)
    width = found["capability_shift_upper"] - found["capability_shift_lower"]
    np.testing.assert_allclose(width, 2 * 1.96 * 0.3 * np.sqrt(2), rtol=0.25)  # as many draws as the fit has
    np.testing.assert_allclose(found["safety_shift"], found["explained"] + found["unexplained"], atol=1e-6)
    np.testing.assert_allclose(found["safety_shift"], plain["safety_shift"], atol=1e-9)
    wider = (found["explained_upper"] - found["explained_lower"]) - (
        plain["explained_upper"] - plain["explained_lower"]
    )
    assert (wider > 0).mean() > 0.9


CLASSES = ("base", "chat", "tuned")
LINES = {"base": (0.0, 1.0), "chat": (0.3, 1.5), "tuned": (0.9, 0.5)}
"""Level at average capability and slope of every class, the same on both benchmarks."""


def three_classes() -> CrossedFit:
    """Draws, all alike, of three classes: lineage `all` has each, `two` has no base model, `one` no other."""
    models = {
        "b": ("base", "all", -1.0), "c": ("chat", "all", 0.5), "t": ("tuned", "all", 1.5), "c2": ("chat", "two", 0.0),
        "t2": ("tuned", "two", -0.5), "b1": ("base", "one", -0.5),
    }  # fmt: skip
    about = pd.DataFrame(index=list(models), columns=list(MODEL_COLUMNS), data="")
    about["model_class"], about["lineage"] = ([row[place] for row in models.values()] for place in (0, 1))
    about["family"] = "f"
    what = pd.DataFrame(index=["x", "y"], columns=list(BENCHMARK_COLUMNS), data="")
    what["role"], what["area"] = "safety", "truth"
    table = ScoreTable(
        name="made", title="Made", scores=pd.DataFrame(0.0, index=list(models), columns=["x", "y"]), models=about,
        benchmarks=what, preparation=Preparation(aligned=True),
    )  # fmt: skip
    level, slope = (np.array([LINES[label][place] for label in CLASSES]) for place in (0, 1))
    coefficients = np.concatenate([[level.mean(), slope.mean()], level[1:] - level[0], slope[1:] - slope[0]])
    lineages = ("all", "two", "one")
    drawn = {
        "benchmark_coefficient": (("benchmark", "coefficient"), np.tile(coefficients, (2, 1))),
        "area_coefficient": (("area", "coefficient"), coefficients[None]),
        "overall": (("coefficient",), coefficients),
        "model_area_effect": (("area", "model"), np.zeros((1, len(models)))),
        "lineage_area_effect": (("area", "lineage"), np.array([[0.25, 0.0, 0.0]])),
    }
    posterior = xr.Dataset(
        {name: (("chain", "draw", *dims), np.broadcast_to(v, (1, 3, *v.shape))) for name, (dims, v) in drawn.items()}
    )
    posterior["capability"] = (("chain", "model"), np.array([[row[2] for row in models.values()]]))
    spec = crossed_spec()
    return CrossedFit(
        table=table, classes=CLASSES, areas=("truth",), lineages=lineages, spec=spec, seed=1,
        draws=xr.DataTree.from_dict({"posterior": posterior}), plans=(spec.sampling,), n_imputations=1, left_out={},
        key="k", reused=False,
    )  # fmt: skip


def test_three_classes_are_set_against_the_mean_of_their_lines() -> None:
    progress = differential_progress(three_classes(), 0.95).set_index(["model", "area"]).xs(ALL, level="area")
    # Mean level 0.4, mean slope 1.
    np.testing.assert_allclose(progress["expected"], 0.4 + progress["capability"])
    np.testing.assert_allclose(progress.loc["t", "safety"], 0.9 + 0.5 * 1.5 + 0.25)
    np.testing.assert_allclose(progress.loc["t", "excess"], 0.9 + 0.5 * 1.5 + 0.25 - (0.4 + 1.5))
    np.testing.assert_allclose(progress["within_class"], [0.25, 0.25, 0.25, 0.0, 0.0, 0.0])


def test_three_classes_have_shifts_between_any_two_of_them() -> None:
    shifts = lineage_shifts(three_classes(), 0.95)
    own = shifts[shifts["area"] == ALL]
    assert list(zip(own["model_a"], own["model_b"], strict=True)) == [("b", "c"), ("b", "t"), ("c", "t"), ("c2", "t2")]
    assert list(zip(own["class_a"], own["class_b"], strict=True))[-2:] == [("chat", "tuned")] * 2
    rows = own.set_index(["model_a", "model_b"])
    for first, second in rows.index:
        row = rows.loc[(first, second)]
        (level_a, slope_a), (level_b, slope_b) = LINES[row["class_a"]], LINES[row["class_b"]]
        assert row["explained"] == pytest.approx((slope_a + slope_b) / 2 * row["capability_shift"])
        middle = (row["capability_a"] + row["capability_b"]) / 2
        assert row["unexplained"] == pytest.approx(level_b - level_a + (slope_b - slope_a) * middle)
    assert rows.loc[("c2", "t2"), "lineage"] == "two"
