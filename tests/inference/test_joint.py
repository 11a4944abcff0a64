"""The joint posterior: importance weights against a direct fit of thirteen columns, and the refit where weights fail.

`tests/reference/joint_by_nuts.csv` was made by `joint_by_nuts.py` beside it: another graph (family effects sampled,
nothing integrated out, no padding), all thirteen columns at once.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from factor_data import REFERENCE, SIZE, FloatArray, default_spec, fit_small, quick_spec

from safetystats.inference.cut import CutDraws
from safetystats.inference.fits import SafetyFit, _safety_groups, fit_capability, fit_safety
from safetystats.inference.sampling import CompiledFactor
from safetystats.inference.store import FitStore
from safetystats.specs import Gates, Rope, SamplingPlan, read_study
from safetystats.summaries.analysis import plan_study
from safetystats.summaries.posterior import posterior_correlations
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable

MEANS, ENDS = 0.02, 0.03
"""Demanded of the fast route: a fifth of the smallest posterior sd here, and well below anything a verdict turns on."""


def reference() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "joint_by_nuts.csv", comment="#").set_index(["model_class", "benchmark"])


@pytest.fixture(scope="module")
def fits(
    mirror: Path, compiled: CompiledFactor, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[SafetyFit, pd.DataFrame]]:
    """Fast route on ren2024, with the benchmarks of the reference."""
    spec = default_spec().model_copy(
        update={
            "sampling": SamplingPlan(chains=4, draws=1500, tune=1000, target_accept=0.96),
            "gates": Gates(divergences=5),
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
        fit = fit_capability(part.select(benchmarks=names), spec, 20240731, SIZE, store)
        assert fit.convergence().passes(spec.gates)
        safety = fit_safety(fit, SIZE, store)
        found[label] = (safety, posterior_correlations(safety, 0.95, Rope(), set()).set_index(["benchmark", "mode"]))
    return found


def test_reference_is_fit_to_be_one() -> None:
    rows = reference()
    assert len(rows) >= 8
    assert set(rows.index.get_level_values(0)) == {"base", "chat"}
    assert (rows["r_hat"] < 1.01).all()
    assert (rows["ess"] > 1000).all()
    assert (rows["rho_ess"] > 4000).all()
    assert (rows["divergences"] == 0).all()


def test_weighted_joint_posterior_equals_a_direct_fit(fits: dict[str, tuple[SafetyFit, pd.DataFrame]]) -> None:
    differences = []
    for (label, name), row in reference().iterrows():
        safety, table = fits[label]
        assert name not in safety.refitted, "the weights are what is tested here"
        got = table.loc[(name, "joint")]
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


def groups_of(log_marginal: FloatArray, rho: FloatArray) -> dict[str, object]:
    ones = np.ones(log_marginal.size)
    draws = CutDraws(rho=rho, total_sd=ones, icc=ones, intercept=ones, log_marginal=log_marginal, efficiency=ones)
    return dict(_safety_groups([("b", draws)], (4, log_marginal.size // 4)))


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


def test_refit_is_triggered_and_agrees_with_the_weights(
    compiled: CompiledFactor, small: tuple[ScoreTable, Truth], tmp_path: Path
) -> None:
    table = small[0].select(benchmarks=[*small[0].columns("capability"), small[0].columns("safety")[0]])
    weighted = fit_small(table, quick_spec(800, pareto_k=50.0), tmp_path / "weighted")[1]
    assert weighted.refitted == []
    refit = fit_small(table, quick_spec(800, pareto_k=1e-9), tmp_path / "refit")[1]
    k = weighted.draws["joint"]["pareto_k"].to_numpy()
    assert refit.refitted == [n for n, value in zip(weighted.benchmarks, k, strict=True) if not value <= 1e-9]
    assert refit.refitted
    assert np.isfinite(refit.draws["refit"]["rho"].to_numpy()).all()
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
    small: tuple[ScoreTable, Truth],
    small_fits: tuple[object, SafetyFit],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second attempt has twice the draws: thinned, not padded with gaps."""
    from safetystats.inference import fits as module

    capability, safety = small_fits[1].capability, small_fits[1]
    plan, calls = capability.plans[0], []

    def sample(*given: object) -> tuple[object, tuple[SamplingPlan, ...]]:
        calls.append(given)
        tree = capability.draws
        posterior = tree["posterior"].to_dataset().drop_vars(["benchmark", "model"])
        twice = len(calls) == 2
        if twice:
            posterior = posterior.isel(draw=np.repeat(np.arange(plan.draws), 2)).assign_coords(
                draw=np.arange(2 * plan.draws)
            )
        stats = tree["sample_stats"].to_dataset()
        second = plan.model_copy(update={"draws": 2 * plan.draws})
        return (
            type(tree).from_dict({"posterior": posterior, "sample_stats": stats}),
            (plan, second) if twice else (plan,),
        )

    monkeypatch.setattr(module, "_sample", sample)
    monkeypatch.setattr(module, "_cut_to", lambda tree, *_: tree)
    spec = quick_spec(pareto_k=1e-9)
    fit = type(capability)(
        table=capability.table, spec=spec, seed=5, draws=capability.draws, plans=(plan,), key="k", reused=False
    )
    made = fit_safety(fit, SIZE, FitStore(root=tmp_path))
    assert len(calls) >= 2
    assert len(made.refitted) == len(calls)
    assert np.isfinite(made.draws["refit"]["rho"].to_numpy()).all()
    assert made.draws["refit"].sizes["draw"] == plan.draws
    assert safety.refitted == []
