"""The table of differences between classes: its rows, its orientation, and its gates."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import capability_fit, safety_fit, spec

from safetystats.inference.fits import SafetyFit
from safetystats.specs import Gates, PairedPlan, Rope, ScoreSpec
from safetystats.summaries.class_contrasts import (
    CLOSED_COLUMNS,
    COLUMNS,
    class_pairs,
    closed_differences,
    difference_checks,
    posterior_differences,
)
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

CLASSES = ("base", "chat", "tuned")
SPEC = spec().model_copy(update={"paired": PairedPlan(capability_draws=40, draws_each=16)})
SCORE = ScoreSpec(kind="score", title="t", resamples=200)


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return simulate_table(
        n_models=10, n_families=4, capability_loadings=[0.9, 0.8, 0.85], safety_correlations=[0.7, 0.0], seed=3,
        classes=CLASSES, pairing=0.9,
    )[0]  # fmt: skip


def fits(table: ScoreTable, benchmarks: int = 2) -> dict[str, SafetyFit]:
    prepared = standardise(align(table))
    rng = np.random.default_rng(2)
    found = {}
    for label in CLASSES:
        capability = capability_fit(prepared.select(model_class=label))
        values = rng.uniform(-0.5, 0.5, (benchmarks, 2, 500))
        fit = safety_fit(capability, values)
        object.__setattr__(fit.capability, "spec", SPEC)
        found[label] = fit
    return found


@pytest.fixture(scope="module")
def closed(table: ScoreTable) -> pd.DataFrame:
    return closed_differences(table, SCORE, 0.9, 5)


@pytest.fixture(scope="module")
def found(table: ScoreTable, closed: pd.DataFrame) -> pd.DataFrame:
    return posterior_differences(fits(table), closed, SPEC, 0.9, Rope())


def test_all_pairs_of_classes_the_later_less_the_earlier() -> None:
    assert class_pairs(CLASSES) == [("chat", "base"), ("tuned", "base"), ("tuned", "chat")]
    assert class_pairs(("base",)) == []


def test_one_row_for_each_benchmark_and_pair(found: pd.DataFrame) -> None:
    assert tuple(found.columns) == COLUMNS
    assert len(found) == 6
    assert (found["n_pairs"] == 10).all()
    assert (found["level"] == 0.9).all()
    np.testing.assert_allclose(found["delta"], found["rho_a"] - found["rho_b"], rtol=0, atol=1e-12)
    assert ((found["lower"] < found["delta"]) & (found["delta"] < found["upper"])).all()
    assert found[["p_positive", "p_equivalent", "unpaired_p_positive"]].stack().between(0, 1).all()
    assert found[list(CLOSED_COLUMNS)].notna().all().all()


def test_differences_of_three_classes_add_up_without_pairing(found: pd.DataFrame) -> None:
    part = found[found["benchmark"] == "safety_1"].set_index(["class_a", "class_b"])["unpaired_delta"]
    total = part["tuned", "chat"] + part["chat", "base"]
    assert part["tuned", "base"] == pytest.approx(total, abs=1e-12)


def test_a_study_of_one_class_has_no_row(table: ScoreTable) -> None:
    one = {"base": fits(table)["base"]}
    empty = closed_differences(table.select(model_class="base"), SCORE, 0.9, 5)
    assert posterior_differences(one, empty, SPEC, 0.9, Rope()).empty


def test_without_common_lineages_pairing_changes_nothing(table: ScoreTable, closed: pd.DataFrame) -> None:
    models = table.models.assign(lineage=[f"own-{k}" for k in range(table.n_models)])
    alone = posterior_differences(fits(table.replace(models=models)), closed, SPEC, 0.9, Rope())
    for name in ("delta", "sd", "lower", "upper", "p_positive", "p_equivalent"):
        np.testing.assert_allclose(alone[name], alone[f"unpaired_{name}"], rtol=0, atol=1e-12)
    assert alone[["psi", "psi_lower", "psi_upper", "pareto_k"]].isna().all().all()
    assert difference_checks(alone, Gates()) == []


def test_checks_name_the_worst(found: pd.DataFrame) -> None:
    poor = found.copy()
    poor.loc[0, "pareto_k"], poor.loc[3, "effective"] = 0.9, 12.0
    checks = {(c.fit, c.check): c for c in difference_checks(poor, Gates())}
    assert len(checks) == 6
    bad = checks["difference/chat-base", "pareto_k"]
    assert (bad.outcome, bad.value) == ("fail", 0.9)
    assert poor.loc[0, "benchmark"] in bad.why
    few = checks[f"difference/{poor.loc[3, 'class_a']}-{poor.loc[3, 'class_b']}", "effective"]
    assert (few.outcome, few.value) == ("fail", 12.0)
