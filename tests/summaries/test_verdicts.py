"""Tables about verdicts, from draws written by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import CHAINS, DRAWS, capability_fit, good_draws, only, prepared, safety_fit

from safetystats.errors import StudyError
from safetystats.inference.fits import SafetyFit
from safetystats.specs import Questions, Rope, read_study
from safetystats.summaries import published, settling
from safetystats.summaries.answers import Answers
from safetystats.summaries.cards import models_needed
from safetystats.summaries.errata import published_numbers
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.liability import QUADRANTS, liability, smallest_effects
from safetystats.summaries.plan import plan_study
from safetystats.summaries.posterior import posterior_correlations
from safetystats.summaries.published import agreement, published_labels, with_specification_shares
from safetystats.summaries.settling import first_settled, models_to_settle, share_error
from safetystats.summaries.verdicts import LIMITS, p_more_entangled, rank_order, verdict_curve, verdicts_answers
from safetystats.tables.table import ScoreTable

ROPE = Rope()


def two(first: float = 0.7, second: float = 0.1, sd: float = 0.05) -> SafetyFit:
    rho = np.concatenate([good_draws(1, first, sd), good_draws(1, second, sd, seed=3)])
    return safety_fit(capability_fit(prepared()), rho)


def renamed(table: ScoreTable, names: dict[str, str]) -> ScoreTable:
    return table.replace(
        name="ren2024", scores=table.scores.rename(columns=names), benchmarks=table.benchmarks.rename(index=names),
        location=table.location.rename(columns=names), spread=table.spread.rename(columns=names),
    )  # fmt: skip


def test_the_curve_has_the_verdict_of_the_study_and_the_others() -> None:
    fit = two(0.7, 0.1, 0.02)
    curve = verdict_curve(fit, ROPE)
    assert tuple(curve.columns) == VERDICTS_TABLES["verdict_curve"]
    assert len(curve) == 2 * len(LIMITS)
    assert tuple(round(0.2 + 0.05 * i, 2) for i in range(11)) == LIMITS
    high = curve[curve["benchmark"] == "safety_1"].set_index("limit")
    assert high.loc[0.4, "verdict"] == high.loc[0.65, "verdict"] == "entangled"
    assert high.loc[0.70, "verdict"] == "undetermined"
    assert high["changes"].tolist() == [False] * 10 + [True]
    assert curve[curve["stated"]]["limit"].tolist() == [0.4, 0.4]
    low = curve[curve["benchmark"] == "safety_2"]
    assert (low["verdict"] == "distinct").all()
    whole = posterior_correlations(fit, 0.95, ROPE, set())
    cut = whole[whole["mode"] == "cut"].set_index("benchmark")
    stated = curve[curve["stated"]].set_index("benchmark")
    for column in ("p_entangled", "p_inverse", "p_distinct"):
        np.testing.assert_allclose(stated[column], cut[column], atol=1e-12)
    assert (stated["verdict"] == cut["verdict"]).all()


def test_a_limit_of_the_studys_own_is_added_and_a_failed_gate_withholds() -> None:
    curve = verdict_curve(two(), Rope(limit=0.37), held=True)
    assert sorted(set(curve["limit"])) == sorted({*LIMITS, 0.37})
    assert set(curve["verdict"]) == {"withheld"}
    assert not curve["changes"].any()
    assert curve["p_entangled"].notna().all()


def test_the_error_of_a_probability_is_that_of_as_many_independent_draws() -> None:
    rho = np.random.default_rng(4).normal(0.4, 0.2, size=(1, CHAINS, DRAWS))
    curve = verdict_curve(safety_fit(capability_fit(prepared(1)), rho), ROPE)
    row = only(curve, limit=0.4)
    p = max(row["p_entangled"], row["p_distinct"])
    # The draws are independent: ESS is their number within the error of its estimate.
    assert row["p_error"] == pytest.approx(math.sqrt(p * (1 - p) / (CHAINS * DRAWS)), rel=0.25)


def test_ranks_and_pairs() -> None:
    fit = two(-0.8, 0.5, 0.05)
    ranks = rank_order(fit, 0.95)
    assert tuple(ranks.columns) == VERDICTS_TABLES["rank_order"]
    assert only(ranks, quantity="correlation", benchmark="safety_2")["mean_rank"] == 1
    assert only(ranks, quantity="absolute correlation", benchmark="safety_1")["p_first"] > 0.99
    assert p_more_entangled(fit, "safety_2", "safety_1") == 1
    assert p_more_entangled(fit, "safety_1", "safety_2", absolute=True) > 0.99
    with pytest.raises(KeyError, match="safety_9"):
        p_more_entangled(fit, "safety_1", "safety_9")


def test_slopes_are_held_against_the_smallest_effect_in_native_units() -> None:
    fit = two(0.7, 0.1)
    table = fit.capability.table
    dictionary = table.benchmarks.copy()
    spread = table.spread.loc[fit.capability.model_class]
    stated = Questions(smallest_effect={"safety_1": 0.6 * float(spread["safety_1"])})
    rows = liability(fit, dictionary, stated, ROPE, 0.95)
    assert tuple(rows.columns) == VERDICTS_TABLES["liability"]
    first = only(rows, benchmark="safety_1")
    assert first["effect_from"] == "stated"
    assert first["slope"] == pytest.approx(first["mean"] * float(spread["safety_1"]))  # total_sd is one
    assert first["sd_between"] == pytest.approx(float(spread["safety_1"]))
    rho = fit.draws["cut"]["rho"].to_numpy()[0].ravel().astype(np.float64)
    assert first["p_high_large"] == pytest.approx((rho > 0.6).mean(), abs=2e-3)  # single precision of the draws
    assert first["p_high_small"] == pytest.approx(((rho > 0.4) & (rho <= 0.6)).mean(), abs=2e-3)
    assert first["quadrant"] == "high and large"
    second = only(rows, benchmark="safety_2")
    assert (second["effect_from"], second["quadrant"]) == ("none", "")
    assert np.isnan(second[list(QUADRANTS.values())].astype(float)).all()


def test_a_share_of_the_declared_range_is_the_default() -> None:
    fit = two(0.7, 0.1)
    table = fit.capability.table
    native = table.matrix(["safety_1"])[:, 0] * table.spread["safety_1"].iloc[0] + table.location["safety_1"].iloc[0]
    low, span = native.min(), np.ptp(native)
    dictionary = table.benchmarks.copy()
    dictionary.loc["safety_1", ["lower", "upper"]] = [low, low + 2 * span]
    row = only(liability(fit, dictionary, Questions(), ROPE, 0.95), benchmark="safety_1")
    assert row["smallest_effect"] == pytest.approx(0.05 * 2 * span)
    assert row["effect_from"] == "share of range"
    assert row["share_at_floor"] >= 1 / len(native)
    assert row["share_at_ceiling"] == 0
    held = only(liability(fit, dictionary, Questions(), ROPE, 0.95, held=True), benchmark="safety_1")
    assert held["quadrant"] == "withheld"
    assert smallest_effects(["a", "b"], np.array([np.inf, 10.0]), Questions(smallest_share=0.1))[1] == [
        "none", "share of range",
    ]  # fmt: skip


def test_what_would_settle_it_stands_beside_the_approximation() -> None:
    fit = two(0.6, 0.2, 0.15)
    rows = models_to_settle(fit, ["safety_1"], (60, 10), rope=ROPE, level=0.95, n_simulations=20)
    assert tuple(rows.columns) == VERDICTS_TABLES["models_to_settle"]
    assert rows["further"].tolist() == [10, 60]
    np.testing.assert_allclose(
        rows["p_settled"], rows[["settled_entangled", "settled_distinct", "settled_inverse"]].sum(axis=1)
    )
    assert rows["p_settled"].between(0, 1).all()
    assert rows["width_expected"].iloc[1] < rows["width_expected"].iloc[0]
    drawn = fit.draws["cut"]["rho"].to_numpy()[0].ravel()
    lower, upper = np.quantile(drawn, [0.025, 0.975])
    needed = models_needed(float(drawn.mean()), lower, upper, level=0.95, n=8, limit=0.4, probability=0.95)
    assert rows["further_approximate"].iloc[0] == pytest.approx(needed - 8, abs=1)
    assert models_to_settle(fit, [], (5,), rope=ROPE, level=0.95, n_simulations=20).empty
    assert first_settled(pd.DataFrame({"further": [5, 10, 20], "p_settled": [0.1, 0.8, 0.9]}), 0.8) == 10
    assert math.isnan(first_settled(pd.DataFrame({"further": [5], "p_settled": [0.1]}), 0.8))


def test_the_error_of_a_share_is_never_zero() -> None:
    assert share_error(0.5, 100) == pytest.approx(0.05, rel=0.03)
    assert 0 < share_error(0.0, 60) < 0.05
    assert share_error(0.0, 60) == pytest.approx(share_error(1.0, 60))


def test_published_labels_stand_beside_the_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = pd.DataFrame(
        {
            "quantity": ["low_correlation", *["capabilities_correlation"] * 4],
            "benchmark": ["", "truthfulqa_mc1", "bbq_amb", "not_here", "bbq_amb"],
            "model_class": ["", "base", "base", "base", "other"],
            "value": [40.0, 69.7, -30.8, 99.0, 10.0],
            "place": "",
        }
    )
    monkeypatch.setattr(published, "published_numbers", lambda: numbers)
    table = renamed(prepared(), {"safety_1": "truthfulqa_mc1", "safety_2": "bbq_amb"})
    rho = np.concatenate([good_draws(1, 0.7, 0.02), good_draws(1, 0.8, 0.02, seed=3)])
    fits = {"base": safety_fit(capability_fit(table), rho)}
    rows = published_labels(fits, table, ROPE, 0.95, {"base": False}, ())
    assert tuple(rows.columns) == VERDICTS_TABLES["published_labels"]
    assert rows["label"].tolist() == ["high", "low"]
    assert rows["verdict"].tolist() == ["entangled", "entangled"]
    assert rows["agreement"].tolist() == ["confirmed", "contradicted"]
    assert rows["n_specifications"].isna().all()
    signed = table.benchmarks.assign(direction=["zero_is_ideal"] * len(table.benchmarks))
    other = published_labels(fits, table.replace(benchmarks=signed), ROPE, 0.95, {"base": False}, ())
    assert set(other["agreement"]) == {"not comparable"}
    assert published_labels(fits, table.replace(name="mine"), ROPE, 0.95, {"base": False}, ()).empty
    assert set(published_labels(fits, table, ROPE, 0.95, {"base": True}, ())["agreement"]) == {"withheld"}

    shares = pd.DataFrame(
        [{"model_class": "base", "benchmark": "bbq_amb", "share_entangled": 0.75, "share_distinct": 0.0,
          "share_inverse": 0.0, "share_undetermined": 0.25, "n_specifications": 48}]
    )  # fmt: skip
    both = with_specification_shares(Answers(tables={"published_labels": rows, "specification_shares": shares}))
    joined = both.tables["published_labels"].set_index("benchmark")
    assert tuple(both.tables["published_labels"].columns) == VERDICTS_TABLES["published_labels"]
    assert joined.loc["bbq_amb", "share_entangled"] == 0.75
    assert np.isnan(joined.loc["truthfulqa_mc1", "n_specifications"])
    alone = Answers(tables={"published_labels": rows})
    assert with_specification_shares(alone) is alone


@pytest.mark.parametrize(
    ("label", "verdict", "word"),
    [("low", "distinct", "confirmed"), ("low", "inverse", "contradicted"), ("high", "inverse", "confirmed"),
     ("high", "distinct", "contradicted"), ("high", "undetermined", "open"), ("low", "withheld", "withheld")],
)  # fmt: skip
def test_agreement(label: str, verdict: str, word: str) -> None:
    assert agreement(label, verdict) == word


def test_every_correlation_that_the_paper_prints_is_there() -> None:
    printed = published_numbers().query("quantity == 'capabilities_correlation'")
    assert not printed.duplicated(["benchmark", "model_class"]).any()
    assert (printed["value"].abs() <= 100).all()
    low = printed[printed["value"].abs() < 40]
    assert 0 < len(low) < len(printed)
    assert set(printed["model_class"]) == {"base", "chat"}


def test_an_unknown_benchmark_or_class_is_refused() -> None:
    plan = plan_study("helm-classic", read_study("helm-classic"))
    fits = {"base": two()}
    with pytest.raises(StudyError, match="safety_1"):
        settling.settle_run(plan, fits, benchmark="safety_l", n_simulations=20)
    with pytest.raises(StudyError, match="a class of the run"):
        settling.settle_run(plan, fits, model_class="chat", n_simulations=20)
    wrong = read_study("helm-classic").model_copy(
        update={"questions": Questions(smallest_effect={"classic_truthful": 1.0})}
    )
    with pytest.raises(StudyError, match=r"questions\.smallest_effect"):
        plan_study("helm-classic", wrong)


def test_what_is_not_asked_or_takes_too_long_is_empty_and_said() -> None:
    plan = plan_study("helm-classic", read_study("helm-classic"))
    told: list[tuple[int, int]] = []

    class Told:
        def stage(self, name: str) -> None:
            raise AssertionError(name)

        def progress(self, done: int, total: int) -> None:
            told.append((done, total))

    names = {"safety_1": "classic_truthfulqa", "safety_2": "classic_civilcomments"}
    table = renamed(prepared(), names).replace(name="made")
    rho = np.concatenate([good_draws(1, 0.7, 0.02), good_draws(1, 0.0, 0.02, seed=3)])
    fits = {"base": safety_fit(capability_fit(table), rho)}
    without = plan.study.model_copy(update={"questions": Questions(verdicts=False)})
    found = verdicts_answers(replace(plan, study=without), fits, Told())
    assert {check.outcome for check in found.checks} == {"not_run"}
    assert set(found.tables) == set(VERDICTS_TABLES)
    assert all(frame.empty for frame in found.tables.values())

    binomial = replace(plan, factor=plan.factor.model_copy(update={"measurement": "binomial"}))
    found = verdicts_answers(binomial, fits, Told())
    assert {(check.check, check.outcome) for check in found.checks} == {
        ("models_to_settle", "not_run"), ("published_labels", "not_applicable"),
    }  # fmt: skip
    assert found.tables["models_to_settle"].empty
    for name in ("verdict_curve", "rank_order", "liability"):
        assert tuple(found.tables[name].columns) == VERDICTS_TABLES[name]
        assert set(found.tables[name]["benchmark"]) == set(names.values())
    assert not told
