"""The joint posterior: importance weights and refits against a direct fit of thirteen columns.

`tests/reference/joint_by_nuts.csv` was made by `joint_by_nuts.py` beside it: another graph (family effects sampled,
nothing integrated out, no padding), all thirteen columns at once.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from factor_data import INTEGRATED, REFERENCE, FloatArray, default_spec, fit_small, quick_spec, small_table

from safetystats.inference import fits as fits_module
from safetystats.inference.convergence import convergence
from safetystats.inference.cut import CutDraws
from safetystats.inference.fits import CapabilityFit, SafetyFit, _safety_groups, fit_capability, fit_safety
from safetystats.inference.parameters import FactorData
from safetystats.inference.store import FitStore
from safetystats.specs import Gates, Rope, SamplingPlan, read_study
from safetystats.summaries.plan import plan_study
from safetystats.summaries.posterior import posterior_correlations

MEANS, ENDS = 0.02, 0.03
"""Demanded of the fast route: a fifth of the smallest posterior sd here, and well below anything a verdict turns on."""


def reference() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "joint_by_nuts.csv", comment="#").set_index(["model_class", "benchmark"])


@pytest.fixture(scope="module")
def fits(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[SafetyFit, pd.DataFrame]]:
    """Fast route on ren2024, with the benchmarks of the reference."""
    spec = default_spec().model_copy(
        update={
            "sampling": SamplingPlan(chains=4, draws=1500, tune=800, target_accept=0.9),
            "gates": Gates(divergences=5, pareto_k=50.0, ess=100.0),
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFETYSTATS_DATA", str(mirror))
        plan = plan_study("ren2024", read_study("ren2024"))
    store = FitStore(root=tmp_path_factory.mktemp("joint"))
    found = {}
    for label in ("base", "chat"):
        part = plan.prepared.select(model_class=label)
        names = [*part.columns("capability"), *reference().loc[label].index]
        fit = fit_capability(part.select(benchmarks=names), spec, 20240731, INTEGRATED, store)
        assert fit.convergence().passes(spec.gates)
        safety = fit_safety(fit, store)
        found[label] = (safety, posterior_correlations(safety, 0.95, Rope(), set()).set_index(["benchmark", "mode"]))
    return found


def test_reference_is_fit_to_be_one() -> None:
    """Of all parameters, among them omega and 26 or 27 capabilities, and of rho, which is what is compared."""
    rows = reference()
    assert len(rows) >= 4
    assert set(rows.index.get_level_values(0)) == {"base", "chat"}
    assert (rows["r_hat"] < 1.02).all()
    assert (rows["ess"] > 300).all()
    assert (rows["rho_ess"] > 4000).all()
    assert (rows["divergences"] == 0).all()


def test_weighted_joint_posterior_equals_a_direct_fit(fits: dict[str, tuple[SafetyFit, pd.DataFrame]]) -> None:
    differences = []
    for (label, name), row in reference().iterrows():
        safety, table = fits[label]
        assert name not in safety.refitted, "the weights are what is tested here"
        got = table.loc[(name, "joint")]
        assert got["pareto_k"] <= default_spec().gates.pareto_k, "weights that a study would trust"
        differences.append(
            [f"{label}/{name}", got["mean"] - row["rho_mean"], got["lower"] - row["rho_q025"],
             got["upper"] - row["rho_q975"], got["sd"] / row["rho_sd"] - 1, got["icc"] - row["kappa_mean"]]
        )  # fmt: skip
    found = pd.DataFrame(differences, columns=["fit", "mean", "lower", "upper", "sd", "icc"]).set_index("fit")
    message = found.round(4).to_string()
    assert (found["mean"].abs() <= MEANS).all(), message
    assert (found[["lower", "upper"]].abs() <= ENDS).all(axis=None), message
    assert (found["sd"].abs() <= 0.1).all(), message  # four Monte Carlo errors of 400 effective draws: 0.14
    assert (found["icc"].abs() <= 0.03).all(), message


def test_refit_equals_a_direct_fit(fits: dict[str, tuple[SafetyFit, pd.DataFrame]], tmp_path: Path) -> None:
    """The joint model of the first pair of the reference, sampled anew with capability integrated out."""
    (label, name), row = next(reference().iterrows())
    capability = fits[label][0].capability
    alone = capability.table.select(benchmarks=[*capability.benchmarks, name])
    doubted = replace(
        capability, table=alone, spec=capability.spec.model_copy(update={"gates": Gates(divergences=5, pareto_k=1e-9)})
    )
    safety = fit_safety(doubted, FitStore(root=tmp_path))
    assert safety.refitted == [name]
    refit = safety.draws["refit"].sel(benchmark=name)
    assert float(refit["r_hat"]) < 1.01
    rho = refit["rho"].to_numpy()
    assert rho.mean() == pytest.approx(row["rho_mean"], abs=MEANS)
    np.testing.assert_allclose(np.quantile(rho, [0.025, 0.975]), row[["rho_q025", "rho_q975"]].astype(float), atol=ENDS)
    assert float(refit["icc"].mean()) == pytest.approx(row["kappa_mean"], abs=0.02)
    assert float(refit["total_sd"].mean()) == pytest.approx(row["s_mean"], abs=0.02)
    # omega: posterior sd about 0.15, and the reference has a few hundred effective draws of it.
    assert float(refit["capability_icc"].mean()) == pytest.approx(row["omega_mean"], abs=0.04)


def groups_of(log_marginal: FloatArray, rho: FloatArray) -> dict[str, object]:
    ones = np.ones(log_marginal.size)
    draws = CutDraws(rho=rho, total_sd=ones, icc=ones, intercept=ones, log_marginal=log_marginal, efficiency=ones)
    return dict(_safety_groups([("b", draws)], (4, log_marginal.size // 4), [rho]))


def test_weights_favour_draws_with_a_high_likelihood() -> None:
    """A known case: N(0, 1) draws weighted into N(0.5, 0.8); arviz's psislw negates what it is given."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=20_000)
    log_ratio = -0.5 * ((x - 0.5) / 0.8) ** 2 + 0.5 * x**2 - np.log(0.8)
    joint = groups_of(log_ratio - 300.0, x)["joint"]
    log_weight = joint["log_weight"].to_numpy().ravel().astype(float)  # type: ignore[index]
    weight = np.exp(log_weight)
    assert weight.sum() == pytest.approx(1.0, abs=1e-5)  # single precision
    assert weight @ x == pytest.approx(0.5, abs=0.02)  # three errors
    assert np.sqrt(weight @ (x - weight @ x) ** 2) == pytest.approx(0.8, abs=0.02)
    assert float(joint["pareto_k"][0]) < 0.5  # type: ignore[index]


def test_pareto_k_tells_hopeless_weights() -> None:
    """N(0, 1) draws cannot be weighted into N(0, 3): the ratio has no variance; a point mass even less."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=8000)
    assert float(groups_of(0.5 * x**2 * (1 - 1 / 9), x)["joint"]["pareto_k"][0]) > 0.7  # type: ignore[index]
    narrow = groups_of(-0.5 * ((x - 4.5) / 0.01) ** 2, x)["joint"]
    assert not float(narrow["pareto_k"][0]) <= 0.7  # type: ignore[index]


def test_refit_is_triggered_and_agrees_with_the_weights(tmp_path: Path) -> None:
    table = small_table(missing=0.0, safety=(0.4, -0.2))[0]
    weighted = fit_small(table, quick_spec(800, pareto_k=50.0), tmp_path / "weighted")[1]
    assert weighted.refitted == []
    refit = fit_small(table, quick_spec(800, pareto_k=1e-9), tmp_path / "refit")[1]
    assert refit.refitted == table.columns("safety")
    assert all(np.isfinite(values).all() for values in refit.draws["refit"].data_vars.values())
    assert refit.draws["refit"]["capability_icc"].dims == refit.draws["refit"]["rho"].dims
    tables = [
        posterior_correlations(s, 0.95, Rope(), set()).query("mode == 'joint'").set_index("benchmark")
        for s in (weighted, refit)
    ]
    for name in refit.refitted:
        a, b = (t.loc[name] for t in tables)
        assert a["pareto_k"] < 0.7
        assert a["mean"] == pytest.approx(b["mean"], abs=MEANS)
        assert a["lower"] == pytest.approx(b["lower"], abs=0.05)  # short runs: 3 errors of a 2.5 % quantile, sd 0.15
        assert a["upper"] == pytest.approx(b["upper"], abs=0.05)
        assert a["mean"] != b["mean"]


def test_refits_of_one_and_of_two_attempts_stand_together(
    small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second attempt has twice the draws: thinned, not padded with gaps; its diagnostics are of all draws."""
    capability = small_fits[0]
    plan = capability.plans[0]
    trees: list[xr.DataTree] = []

    def sample(kind: None, data: FactorData, *_: object) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
        assert kind is None
        posterior = capability.draws["posterior"].to_dataset().drop_vars(["benchmark", "model"])
        stats = capability.draws["sample_stats"].to_dataset()
        twice = len(trees) == 1
        if twice:
            rows, draw = np.repeat(np.arange(plan.draws), 2), np.arange(2 * plan.draws)
            posterior, stats = (part.isel(draw=rows).assign_coords(draw=draw) for part in (posterior, stats))
        trees.append(xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats}))
        return trees[-1], (plan, plan.model_copy(update={"draws": 2 * plan.draws})) if twice else (plan,)

    monkeypatch.setattr(fits_module, "sample", sample)
    made = fit_safety(replace(capability, spec=quick_spec(pareto_k=1e-9)), FitStore(root=tmp_path))
    assert made.refitted == capability.table.columns("safety")
    assert len(trees) == 3
    refit = made.draws["refit"]
    assert refit.sizes["draw"] == plan.draws
    last = capability.posterior["rho"].isel(benchmark=-1).to_numpy()
    for row in range(3):
        np.testing.assert_array_equal(refit["rho"].isel(benchmark=row).to_numpy(), last)
    np.testing.assert_array_equal(refit["ess"].to_numpy(), [convergence(tree).ess for tree in trees])
    assert small_fits[1].refitted == []
