"""A failed gate is named, and withholds the verdicts that hang on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fits_by_hand import CHAINS, DRAWS, capability_fit, good_draws, only, prepared, safety_fit, spec

from safetystats.inference.convergence import MODE_LIMIT
from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.specs import Rope
from safetystats.summaries.gates import (
    MIN_CANDIDATES,
    Check,
    capability_checks,
    diagnostics_table,
    failed,
    safety_checks,
    withheld,
)
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.posterior import posterior_correlations


def names_of(checks: list[Check]) -> set[str]:
    return {check.check for check in checks}


def verdicts(fit: SafetyFit, checks: list[Check]) -> dict[str, str]:
    table = posterior_correlations(fit, 0.95, Rope(), withheld(checks))
    return {mode: only(table, benchmark="safety_1", mode=mode)["verdict"] for mode in ("cut", "joint")}


def all_checks(fit: SafetyFit) -> list[Check]:
    return [*capability_checks(fit.capability), *safety_checks(fit)]


def good() -> CapabilityFit:
    return capability_fit(prepared())


def test_good_fits_pass_everything() -> None:
    fit = safety_fit(good(), good_draws(2))
    checks = all_checks(fit)
    assert failed(checks) == []
    assert withheld(checks) == set()
    assert names_of(capability_checks(fit.capability)) == {
        "r_hat", "ess_bulk", "ess_tail", "divergences", "e_bfmi", "one_mode",
    }  # fmt: skip
    assert names_of(safety_checks(fit)) == {"r_hat", "ess", "candidates", "pareto_k", "effective_draws"}
    ways = [c for c in checks if c.check in ("pareto_k", "effective_draws")]
    assert {c.outcome for c in ways} == {"not_applicable"}  # they choose how the joint posterior is computed
    assert verdicts(fit, checks) == {"cut": "entangled", "joint": "entangled"}


def test_divergences_withhold_both_verdicts() -> None:
    fit = safety_fit(capability_fit(prepared(), diverging=3), good_draws())
    checks = all_checks(fit)
    assert [(c.fit, c.check, c.value, c.limit) for c in failed(checks)] == [("capability/base", "divergences", 3, 0)]
    assert verdicts(fit, checks) == {"cut": "withheld", "joint": "withheld"}


@pytest.mark.parametrize("fault", ["two modes", "constant", "not a number"])
def test_bad_chains_withhold_both_verdicts(fault: str) -> None:
    rho = np.random.default_rng(1).normal(0.5, 0.1, size=(CHAINS, DRAWS, 3))
    if fault == "two modes":
        rho[0, :, 1] -= 0.9
    else:
        rho[:, :, 1] = 0.2 if fault == "constant" else np.nan
    with np.errstate(all="ignore"):
        fit = safety_fit(capability_fit(prepared(), rho=rho), good_draws())
        checks = all_checks(fit)
    assert "r_hat" in names_of(failed(checks))
    assert ("one_mode" in names_of(failed(checks))) == (fault != "constant")
    if fault == "two modes":
        one_mode = next(c for c in checks if c.check == "one_mode")
        assert one_mode.value > one_mode.limit == MODE_LIMIT
        assert next(c for c in checks if c.check == "r_hat").why.endswith("rho[capability_2]")
    assert verdicts(fit, checks) == {"cut": "withheld", "joint": "withheld"}


def test_chains_of_a_safety_benchmark_that_differ() -> None:
    rho = good_draws(2)
    rho[1, 0] -= 0.3
    fit = safety_fit(good(), rho)
    checks = all_checks(fit)
    worst = next(c for c in failed(checks) if c.check == "r_hat")
    assert worst.fit == "safety/base"
    assert "safety_2" in worst.why
    assert verdicts(fit, checks) == {"cut": "withheld", "joint": "withheld"}


def test_too_few_candidates() -> None:
    share = (MIN_CANDIDATES - 0.1) / spec().cut.candidates
    fit = safety_fit(good(), good_draws(), efficiency=share)
    checks = all_checks(fit)
    assert names_of(failed(checks)) == {"candidates"}
    assert verdicts(fit, checks) == {"cut": "withheld", "joint": "withheld"}


@pytest.mark.parametrize("k", [0.71, 1.5, np.inf, np.nan])
def test_weights_that_cannot_be_trusted_withhold_the_joint_verdict(k: float) -> None:
    fit = safety_fit(good(), good_draws(), pareto_k=k)
    checks = all_checks(fit)
    assert names_of(failed(checks)) == {"pareto_k"}
    assert verdicts(fit, checks) == {"cut": "entangled", "joint": "withheld"}


def test_few_effective_weights_withhold_the_joint_verdict() -> None:
    weight = np.zeros((1, CHAINS, DRAWS))
    weight[0, 0, :399] = 1 / 399
    checks = all_checks(fit := safety_fit(good(), good_draws(), weight=weight))
    worst = failed(checks)
    assert [(c.fit, c.check, round(c.value)) for c in worst] == [("joint/base", "effective_draws", 399)]
    assert verdicts(fit, checks) == {"cut": "entangled", "joint": "withheld"}


def test_a_good_refit_passes() -> None:
    fit = safety_fit(good(), good_draws(2), pareto_k=1.2, refit={})
    checks = safety_checks(fit)
    refit = next(c for c in checks if c.check == "refit")
    assert (refit.fit, refit.outcome) == ("joint/base/safety_1", "pass")
    assert "Pareto k 1.20 and 1000 effective draws" in refit.why
    k = next(c for c in checks if c.check == "pareto_k")  # the other benchmark, whose weights were not replaced
    assert "safety_2" in k.why
    assert verdicts(safety_fit(good(), good_draws(), pareto_k=1.2, refit={}), [refit]) == {
        "cut": "entangled", "joint": "entangled",
    }  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [{"r_hat": 1.02}, {"ess": 399.0}, {"divergences": 1.0}, {"e_bfmi": 0.29}, {"mode_gap": 1.1}, {"r_hat": np.nan}],
    ids=lambda fault: next(iter(fault)),
)
def test_a_bad_refit_withholds_its_joint_verdict_alone(fault: dict[str, float]) -> None:
    fit = safety_fit(good(), good_draws(), pareto_k=1.2, refit=fault)
    checks = all_checks(fit)
    assert [c.fit for c in failed(checks)] == ["joint/base/safety_1"]
    assert withheld(checks) == {"joint/base/safety_1"}
    assert verdicts(fit, checks) == {"cut": "entangled", "joint": "withheld"}


def test_left_out_benchmarks_are_named_and_fail_nothing() -> None:
    fit = safety_fit(good(), good_draws(), left_out={"safety_2": "4 models have a score"})
    checks = safety_checks(fit)
    gone = next(c for c in checks if c.fit == "safety/base/safety_2")
    assert gone.outcome == "not_applicable"
    assert "4 models have a score" in gone.why
    assert failed(checks) == []
    nothing = safety_fit(good(), np.zeros((0, CHAINS, DRAWS)), left_out={"safety_1": "2 models have a score"})
    assert [c.outcome for c in safety_checks(nothing)] == ["not_applicable"]


def test_further_attempts_are_said() -> None:
    one = good()
    two = dataclasses.replace(one, plans=(*one.plans, *one.plans))
    assert all("attempt" not in c.why for c in capability_checks(one))
    assert all("attempt 2" in c.why for c in capability_checks(two))


def test_diagnostics_table() -> None:
    checks = all_checks(safety_fit(capability_fit(prepared(), diverging=1), good_draws()))
    table = diagnostics_table(checks)
    assert tuple(table.columns) == TABLES["diagnostics"]
    assert len(table) == len(checks)
    assert only(table, outcome="fail")["check"] == "divergences"
    assert len(diagnostics_table([])) == 0
