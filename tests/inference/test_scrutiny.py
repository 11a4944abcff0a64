"""The checks of a fitted factor model as tables, on a small simulated class; one compiled graph serves them all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factor_data import closed_table, default_spec, fit_small, quick, quick_spec, read_factor

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.store import FitStore
from safetystats.specs import QUICK, BetaPrior, FactorSpec, PriorAlternative, Rope, Scrutiny
from safetystats.summaries import priors, scrutiny

SAME = PriorAlternative(prior="icc", label="the same", value=default_spec().priors.icc)
NARROW = PriorAlternative(prior="loading", label="at zero", value=BetaPrior(family="beta", alpha=400.0, beta=400.0))
STRONG = PriorAlternative(
    prior="capability_loading", label="small", value=BetaPrior(family="beta", alpha=30.0, beta=20.0)
)
MONTE_CARLO = 0.05
"""Means of rho from 500 draws of capability each: Monte Carlo errors are below 0.012, and this is four of them."""


def spec_with(*others: PriorAlternative) -> FactorSpec:
    return quick_spec(draws=250, pareto_k=0.7, ess=1.0, r_hat=2.0).model_copy(update={"alternatives": others})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scrutiny")


@pytest.fixture(scope="module")
def fits(folder: Path) -> tuple[CapabilityFit, SafetyFit]:
    return fit_small(closed_table()[0], spec_with(SAME, NARROW, STRONG), folder)


def test_other_specs_are_fitted_or_say_why_they_do_not_apply(
    fits: tuple[CapabilityFit, SafetyFit], folder: Path
) -> None:
    others = scrutiny.fit_others(
        {"base": fits[0]},
        {"one-factor": quick(read_factor("one-factor"), 250), "bifactor": quick(read_factor("bifactor"), 250)},
        FitStore(root=folder), None,
    )  # fmt: skip
    one = others["one-factor", "base"]
    assert isinstance(one, CapabilityFit)
    assert not one.parameters.icc.any()
    assert not one.parameters.capability_icc.any()
    reason = others["bifactor", "base"]  # all simulated capability benchmarks are of one area
    assert isinstance(reason, str)
    assert "simulated capability" in reason


def test_leave_one_out_adds_up_and_is_exact_where_asked(fits: tuple[CapabilityFit, SafetyFit], folder: Path) -> None:
    store = FitStore(root=folder)
    absent = {("other", "base"): "no"}
    pointwise, comparison = scrutiny.leave_out_tables("own", {"base": fits[0]}, absent, store, True, None)
    sizes = pointwise.groupby("unit").size()
    assert dict(sizes) == {"family": fits[0].table.models["family"].nunique(), "model": fits[0].table.n_models}
    for unit in ("model", "family"):
        rows = comparison[(comparison["unit"] == unit) & (comparison["spec"] == "own")]
        of_unit = pointwise[pointwise["unit"] == unit]
        assert rows["elpd"].item() == pytest.approx(of_unit["elpd"].sum())
        assert rows["n_refitted"].item() == of_unit["refitted"].sum()
        assert rows["n_doubtful"].item() == 0
    assert (comparison.loc[comparison["spec"] == "other", "note"] == "does not apply: no").all()
    # Without relatives there is less to predict from: families left out whole are predicted worse in sum.
    total = comparison[comparison["spec"] == "own"].set_index("unit")["elpd"]
    assert total["family"] < total["model"]


def test_prior_grid_moves_what_the_prior_decides(fits: tuple[CapabilityFit, SafetyFit], folder: Path) -> None:
    found = priors.prior_sensitivity(
        {"base": fits[0]}, {"base": fits[1]}, FitStore(root=folder), Rope(), grid=True, report=None
    )
    other = found[found["how"] == "other prior"].set_index(["alternative", "benchmark"])
    assert other.loc["the same", "change"].abs().max() < MONTE_CARLO
    safety = fits[1].benchmarks
    assert other.loc["at zero"].loc[safety, "mean"].abs().max() < 0.1
    assert (other.loc["at zero"].loc[safety, "verdict"] == "distinct").all()
    np.testing.assert_array_equal(other.loc["at zero"].loc[fits[0].benchmarks, "change"], 0.0)
    assert other.loc["small"].loc[["capability_1", "capability_2"], "change"].max() < -MONTE_CARLO
    scaled = found[found["how"] == "power scaling"]
    assert set(scaled["prior"]) >= {"likelihood", "capability_loading", "icc", "capability_icc"}
    assert set(scaled["benchmark"]) == {*fits[0].benchmarks, *safety}
    without = priors.prior_sensitivity(
        {"base": fits[0]}, {"base": fits[1]}, FitStore(root=folder), Rope(), grid=False, report=None
    )
    assert set(without["how"]) == {"power scaling"}


def test_shrinkage_pulls_benchmarks_together(fits: tuple[CapabilityFit, SafetyFit]) -> None:
    found = scrutiny.shrunken_correlations({"base": fits[1]}, 0.95, Rope())
    assert found["unit"].tolist() == ["overall", "area", "benchmark", "benchmark", "benchmark"]
    own = fits[1].draws["cut"]["rho"].to_numpy().reshape(3, -1).mean(axis=1)
    shrunk = found.loc[found["unit"] == "benchmark", "mean"].to_numpy()
    assert np.ptp(shrunk) < np.ptp(own)
    assert (np.argsort(shrunk) == np.argsort(own)).all()
    assert (found["lower"] < found["mean"]).all()
    assert (found["mean"] < found["upper"]).all()


def test_tables_of_prediction_boundaries_and_factors(fits: tuple[CapabilityFit, SafetyFit]) -> None:
    named = {"base": fits[0]}
    factors = scrutiny.number_of_factors(named)
    assert factors["eigenvalue"].sum() == pytest.approx(len(fits[0].benchmarks))
    checks = scrutiny.predictive_checks(named)
    assert set(checks["predictive"]) == {"prior", "posterior"}
    assert checks["tail_probability"].between(0, 1).all()
    negative = scrutiny.boundary_cases(named)  # the fifth capability benchmark was simulated with a loading of -0.6
    assert ("capability_5", "negative") in set(zip(negative["benchmark"], negative["what"], strict=True))


def test_what_was_not_run_is_said(fits: tuple[CapabilityFit, SafetyFit], folder: Path) -> None:
    spec = fits[0].spec
    _, comparison = scrutiny.leave_out_tables("own", {"base": fits[0]}, {}, FitStore(root=folder), False, None)
    checks = scrutiny.scrutiny_checks(QUICK, spec, {}, comparison)
    assert {(check.fit, check.outcome) for check in checks} >= {("specs", "not_run"), ("priors", "not_run")}
    doubtful = comparison.loc[comparison["n_doubtful"] > 0]
    assert len([check for check in checks if check.fit.startswith("leave_one_out/")]) == len(doubtful)
    wanted = Scrutiny(compare=("one-factor",))
    full = scrutiny.scrutiny_checks(wanted, spec, {("one-factor", "base"): replace(fits[0])}, comparison.iloc[:0])
    assert [check.outcome for check in full] == ["pass"]
    plain = spec.model_copy(update={"alternatives": ()})
    none = scrutiny.scrutiny_checks(wanted, plain, {("x", "base"): "why"}, comparison.iloc[:0])
    assert (none[0].outcome, none[0].why) == ("not_applicable", "why")
