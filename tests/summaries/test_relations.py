"""Bending, noise and specifications as tables, on fits written by hand; the rule that withholds "distinct"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import capability_fit, good_draws, only, prepared, safety_fit

from safetystats.inference.fits import SafetyFit
from safetystats.spec_questions import RelationRules
from safetystats.specs import QUICK_QUESTIONS, Questions, Rope, read_study
from safetystats.summaries.bending import BEYOND, GRID, PLACES, bending_tables
from safetystats.summaries.decisions import decide
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.noise_or_distinct import UNKNOWN, judged, noise_or_distinct, withhold_distinct
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.posterior import posterior_correlations
from safetystats.summaries.relations import FOLDER, relations_answers
from safetystats.summaries.specifications import POOLED, WITHIN, class_material, has_logit, weights_of
from safetystats.summaries.talk import Silence

ROPE, RULES = Rope(), RelationRules()
N_SAFETY = 3


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_study("made", read_study("helm-classic"))


@pytest.fixture(scope="module")
def safety(plan: Plan) -> Mapping[str, SafetyFit]:
    """Both classes, capability drawn at random: what the tables look like is known, not what they say."""
    found = {}
    for label in plan.prepared.classes:
        fit = capability_fit(plan.prepared.select(model_class=label))
        found[label] = safety_fit(fit, good_draws(N_SAFETY, centre=0.0, sd=0.1))
    return found


def verdict(rho: np.ndarray, noise: float, sd: float = 1.0, *, error_free: bool = False) -> dict[str, object]:
    return judged(rho, np.full(rho.shape, sd), noise, ROPE, RULES, 0.95, error_free=error_free)


def test_distinct_is_withheld_by_each_of_its_reasons_and_no_other_verdict_is() -> None:
    rng = np.random.default_rng(1)
    near, wide, high = (rng.normal(c, s, 4000) for c, s in ((0.0, 0.1), (0.0, 0.18), (0.7, 0.05)))
    reliable = verdict(near, 0.1)
    assert (reliable["verdict"], reliable["verdict_after"], reliable["why"]) == ("distinct", "distinct", "")
    assert reliable["reliability"] == pytest.approx(0.9)
    assert reliable["true"] == pytest.approx(near.mean() / np.sqrt(0.9))
    low = verdict(near, 0.6)
    assert low["verdict_after"] == "withheld"
    assert "reliability 0.40 is below the 0.50" in str(low["why"])
    # 0.18 within 0.4 with probability 0.97; corrected for a reliability of 0.55 it is 0.24, with probability 0.90.
    moved = verdict(wide, 0.45)
    assert (moved["verdict"], moved["verdict_true"], moved["verdict_after"]) == ("distinct", "undetermined", "withheld")
    assert "probability of 0.9" in str(moved["why"])
    lost = judged(near, np.where(np.arange(4000) < 400, 0.3, 2.0), 0.2, ROPE, RULES, 0.95, error_free=False)
    assert lost["verdict_after"] == "withheld"
    assert lost["p_all_error"] == pytest.approx(0.1)
    assert "10% of the draws" in str(lost["why"])
    other = verdict(high, 0.6)
    assert (other["verdict"], other["verdict_after"], other["why"]) == ("entangled", "entangled", "")


def test_unknown_reliability_leaves_the_verdict_and_says_so() -> None:
    found = verdict(np.random.default_rng(2).normal(0, 0.1, 2000), float("nan"))
    assert (found["verdict_after"], found["why"]) == ("distinct", UNKNOWN)
    assert np.isnan(float(str(found["reliability"])))


def test_a_fit_that_knows_the_error_is_corrected_already() -> None:
    rho = np.random.default_rng(3).normal(0, 0.1, 2000)
    found = verdict(rho, 0.25, error_free=True)
    assert found["reliability"] == pytest.approx(0.8)
    assert found["true"] == pytest.approx(rho.mean())


def test_withheld_stands_in_the_main_table_in_both_modes_and_nowhere_else() -> None:
    table = prepared(2)
    fit = safety_fit(capability_fit(table), good_draws(2, centre=0.0, sd=0.1))
    posterior = posterior_correlations(fit, 0.95, ROPE, set())
    assert set(posterior["verdict"]) == {"distinct"}
    noise, checks = noise_or_distinct({fit.capability.model_class: fit}, ROPE, RULES, 0.95)
    assert list(noise.columns) == list(RELATIONS_TABLES["noise_or_distinct"])
    first = str(noise["benchmark"].iloc[0])
    noise.loc[noise["benchmark"] == first, "verdict_after"] = "withheld"
    noise.loc[noise["benchmark"] != first, "verdict_after"] = "distinct"
    changed = withhold_distinct(posterior, noise).set_index(["benchmark", "mode"])["verdict"]
    assert list(changed.loc[first]) == ["withheld", "withheld"]
    assert set(changed.drop(first)) == {"distinct"}
    assert {check.outcome for check in checks} <= {"not_applicable"}


def test_rows_of_noise_come_from_the_items_of_the_table(safety: Mapping[str, SafetyFit]) -> None:
    found, checks = noise_or_distinct(safety, ROPE, RULES, 0.95)
    assert len(found) == len(safety) * N_SAFETY
    held = found[found["verdict_after"] == "withheld"]
    assert len(held) == len(checks)
    known = found[found["items_known"] == 1]
    assert len(known)
    assert (known["reliability"] + known["error_share"]).to_numpy() == pytest.approx(1.0)


def test_tables_of_bending_mark_extrapolation(safety: Mapping[str, SafetyFit]) -> None:
    found = bending_tables(safety, RULES, 0.95)
    assert {name: list(frame.columns) for name, frame in found.items()} == {
        name: list(RELATIONS_TABLES[name]) for name in found
    }
    assert len(found["bending"]) == len(safety) * N_SAFETY
    slopes = found["local_slopes"]
    assert len(slopes) == len(found["bending"]) * (len(PLACES) + 1)
    assert slopes.loc[slopes["place"] == BEYOND, "extrapolated"].all()
    assert not slopes.loc[slopes["place"] == "middle", "extrapolated"].any()
    assert (slopes["lower"] <= slopes["slope"]).all()
    assert (slopes["slope"] <= slopes["upper"]).all()
    assert len(found["bending_curves"]) == len(found["bending"]) * GRID
    part = found["bending"].iloc[0]
    assert part["difference"] == pytest.approx(part["elpd_curve"] - part["elpd_line"])


def test_the_curve_is_in_the_unit_of_the_score(safety: Mapping[str, SafetyFit], plan: Plan) -> None:
    curves = bending_tables(safety, RULES, 0.95)["bending_curves"]
    for (label, name), part in curves.groupby(["model_class", "benchmark"]):
        own = plan.aligned.select(model_class=str(label)).scores[name].dropna()
        # Capability is noise here: the curve stays near the mean of the scores.
        assert part["expected"].mean() == pytest.approx(own.mean(), abs=own.std())


@pytest.fixture(scope="module")
def answered(
    plan: Plan, safety: Mapping[str, SafetyFit], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pd.DataFrame]:
    root = tmp_path_factory.mktemp("store")
    found = relations_answers(plan, safety, Silence(), root)
    assert len(list((root / FOLDER).glob("*.npy"))) == (len(safety) + 1) * N_SAFETY
    return dict(found.tables)


def test_shares_are_those_of_the_listed_specifications(answered: dict[str, pd.DataFrame]) -> None:
    listed, shares = answered["specifications"], answered["specification_shares"]
    assert set(shares["model_class"]) == {"base", "chat", POOLED}
    for row in shares.to_dict("records"):
        own = listed[(listed["model_class"] == row["model_class"]) & (listed["benchmark"] == row["benchmark"])]
        counted = own[own["verdict"] != ""]
        assert row["n_specifications"] == len(counted)
        assert row["n_undefined"] == len(own) - len(counted)
        for name in ("entangled", "distinct", "inverse", "undetermined"):
            own_weight = counted["weight"].where(counted["verdict"] == name, 0.0)
            assert row[f"share_{name}"] == pytest.approx(own_weight.sum() / counted["weight"].sum())
            whole = counted["families"] != WITHIN
            expected = own_weight[whole].sum() / counted.loc[whole, "weight"].sum()
            assert row[f"whole_{name}"] == pytest.approx(expected)
        assert row["n_whole"] == whole.sum() < row["n_specifications"]
        assert (row["lowest"], row["highest"]) == (counted["estimate"].min(), counted["estimate"].max())
        below, above = (
            counted.loc[side, "weight"].sum() / counted["weight"].sum()
            for side in (counted["estimate"] < row["median"], counted["estimate"] > row["median"])
        )
        assert max(below, above) <= 0.5
        assert row[f"by_{row['decisive']}"] == max(row[c] for c in shares.columns if c.startswith("by_"))


def test_specifications_without_one_benchmark_weigh_as_one_choice() -> None:
    from safetystats.inference.specification import specifications

    few, many = (specifications([f"b{i}" for i in range(n)], "identity", latent=True) for n in (6, 12))
    totals = []
    for every in (few, many):
        weight = weights_of(every)
        single = np.array([each.subset.startswith("without ") for each in every])
        assert (weight[~single] == 1).all()
        totals.append(weight[single].sum())
    # Twice as many benchmarks, and the near copies weigh no more.
    assert totals[0] == pytest.approx(totals[1])


def test_a_benchmark_with_a_score_outside_its_bounds_has_no_logit(plan: Plan, safety: Mapping[str, SafetyFit]) -> None:
    import dataclasses

    fit = safety["base"]
    name = next(n for n in fit.benchmarks if np.isfinite(plan.aligned.benchmarks.loc[n, ["lower", "upper"]].sum()))
    place = fit.benchmarks.index(name)
    assert has_logit(class_material(plan, fit), place)
    rows = plan.aligned.benchmarks.copy()
    rows.loc[name, "upper"] = plan.aligned.select(model_class="base").scores[name].max() - 1e-3
    outside = dataclasses.replace(plan, aligned=plan.aligned.replace(benchmarks=rows))
    assert not has_logit(class_material(outside, fit), place)
    assert [has_logit(class_material(outside, fit), i) for i in range(N_SAFETY)].count(False) == 1


def test_the_2024_recipe_is_among_the_specifications(answered: dict[str, pd.DataFrame], plan: Plan) -> None:
    from safetystats.scores.recipe import capability_correlations

    known = capability_correlations(plan.table, methods=("spearman",), intervals=("fisher",), level=0.95)
    listed = answered["specifications"]
    for row in listed[(listed["named"] == "2024") & (listed["model_class"] != POOLED)].to_dict("records"):
        own = only(known, model_class=row["model_class"], benchmark=row["benchmark"])
        assert row["estimate"] == pytest.approx(own["correlation"], abs=1e-12)
        assert (row["lower"], row["upper"]) == pytest.approx((own["lower"], own["upper"]), abs=1e-12)
    own = listed[listed["named"] == "study"]
    assert set(own["model_class"]) == {"base", "chat"}
    assert set(own["prior"]) == {"Beta(1, 1)"}


def test_a_study_that_does_not_ask_says_so_and_still_looks_at_noise(
    plan: Plan, safety: Mapping[str, SafetyFit]
) -> None:
    import dataclasses

    study = plan.study.model_copy(update={"questions": QUICK_QUESTIONS})
    found = decide(dataclasses.replace(plan, study=study), safety, Silence())
    assert len(found.tables["noise_or_distinct"]) == len(safety) * N_SAFETY
    for name in RELATIONS_TABLES.keys() - {"noise_or_distinct"}:
        assert found.tables[name].empty
        assert list(found.tables[name].columns) == list(RELATIONS_TABLES[name])
    assert [c.outcome for c in found.checks if c.fit == "relations"] == ["not_run"]


def test_rules_are_keys_of_the_study() -> None:
    assert Questions.model_validate({"least_reliability": 0.7}).least_reliability == 0.7
