"""A verdict withheld for noise: one decision, the same in every table that states a verdict of the posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import capability_fit, good_draws, only, prepared, safety_fit

from safetystats.inference.fits import SafetyFit
from safetystats.spec_questions import RelationRules
from safetystats.specs import Questions, Rope, read_study
from safetystats.summaries import published, settling
from safetystats.summaries.api import Fit, verdicts
from safetystats.summaries.estimands import LEAST_KNOWN, mean_error
from safetystats.summaries.liability import liability
from safetystats.summaries.noise_or_distinct import (
    UNKNOWN,
    VERDICT_TABLES,
    doubtful,
    doubtful_pairs,
    noise_or_distinct,
    withheld_for_noise,
)
from safetystats.summaries.plan import plan_study
from safetystats.summaries.posterior import posterior_correlations, posterior_estimands
from safetystats.summaries.published import published_labels
from safetystats.summaries.settling import models_to_settle, settle_run
from safetystats.summaries.verdicts import verdict_curve, verdicts_answers
from safetystats.tables.table import ScoreTable

ROPE, RULES = Rope(), RelationRules()
NOISY, OTHER = "truthfulqa_mc1", "bbq_amb"


def with_items(table: ScoreTable, name: str, n_items: float, models: Sequence[str] | None = None) -> ScoreTable:
    """Return the table with a benchmark that is a share of so many items, for these models or all."""
    rows, location, spread = table.benchmarks.copy(), table.location.copy(), table.spread.copy()
    rows.loc[name, ["lower", "upper", "n_items"]] = [0.0, 1.0, n_items if models is None else np.nan]
    location[name], spread[name] = 0.5, 0.1
    cells = table.cells
    if models is not None:
        index = pd.MultiIndex.from_product([list(models), [name]], names=["model", "benchmark"])
        cells = pd.DataFrame({"n_items": n_items}, index=index)
    return table.replace(benchmarks=rows, location=location, spread=spread, cells=cells)


def fit_of(n_items: float, centre: float = 0.0, sd: float = 0.1, models: Sequence[str] | None = None) -> SafetyFit:
    """Return a fit of two benchmarks with like draws; of the first the items are known."""
    table = prepared()
    names = {"safety_1": NOISY, "safety_2": OTHER}
    table = table.replace(
        name="ren2024", scores=table.scores.rename(columns=names), benchmarks=table.benchmarks.rename(index=names),
        location=table.location.rename(columns=names), spread=table.spread.rename(columns=names),
    )  # fmt: skip
    rho = np.concatenate([good_draws(1, centre, sd), good_draws(1, centre, sd, seed=3)])
    return safety_fit(capability_fit(with_items(table, NOISY, n_items, models)), rho)


@pytest.fixture(scope="module")
def noisy() -> SafetyFit:
    """Ten items: the error of a share of one half, 0.16, is more than the sd between models, 0.1."""
    return fit_of(10)


def label_of(fit: SafetyFit) -> str:
    return fit.capability.model_class


def test_no_table_says_distinct_where_it_is_withheld(noisy: SafetyFit, monkeypatch: pytest.MonkeyPatch) -> None:
    label = label_of(noisy)
    noise, checks = noise_or_distinct({label: noisy}, ROPE, RULES, 0.95)
    assert noise["verdict"].tolist() == ["distinct", "distinct"]
    assert noise["verdict_after"].tolist() == ["withheld", "distinct"]
    assert [check.fit for check in checks] == [f"noise/{label}/{NOISY}"]
    pairs = doubtful({label: noisy}, ROPE, RULES, 0.95)
    assert pairs == {(label, NOISY)}

    curve = verdict_curve(noisy, ROPE, RULES)
    stated = curve[curve["stated"]].set_index("benchmark")["verdict"]
    assert stated.to_dict() == {NOISY: "withheld", OTHER: "distinct"}
    assert "distinct" not in set(curve.loc[curve["benchmark"] == NOISY, "verdict"])

    numbers = pd.DataFrame(
        {"quantity": ["low_correlation", *["capabilities_correlation"] * 2], "benchmark": ["", NOISY, OTHER],
         "model_class": ["", label, label], "value": [40.0, 1.0, 2.0], "place": ""}
    )  # fmt: skip
    monkeypatch.setattr(published, "published_numbers", lambda: numbers)
    labels = published_labels({label: noisy}, noisy.capability.table, ROPE, 0.95, {label: False}, pairs)
    assert labels["verdict"].tolist() == ["withheld", "distinct"]
    assert labels["agreement"].tolist() == ["withheld", "confirmed"]

    effects = Questions(smallest_effect={NOISY: 10.0, OTHER: 10.0})
    dictionary = noisy.capability.table.benchmarks
    rows = liability(noisy, dictionary, effects, ROPE, 0.95, noisy={NOISY}).set_index("benchmark")["quadrant"]
    assert rows.to_dict() == {NOISY: "withheld", OTHER: "low and small"}


def test_the_study_hands_the_decision_to_its_tables(noisy: SafetyFit) -> None:
    plan = plan_study("helm-classic", read_study("helm-classic"))
    names = {NOISY: "classic_truthfulqa", OTHER: "classic_civilcomments"}
    table = noisy.capability.table
    table = table.replace(
        scores=table.scores.rename(columns=names), benchmarks=table.benchmarks.rename(index=names),
        location=table.location.rename(columns=names), spread=table.spread.rename(columns=names),
    )  # fmt: skip
    renamed = safety_fit(
        replace(noisy.capability, table=table), noisy.draws["cut"]["rho"].to_numpy().astype(np.float64)
    )
    plan = replace(plan, factor=plan.factor.model_copy(update={"measurement": "binomial"}))  # futures are left out

    class Told:
        def stage(self, name: str) -> None: ...
        def progress(self, done: int, total: int) -> None: ...

    found = verdicts_answers(plan, {label_of(noisy): renamed}, Told()).tables
    stated = found["verdict_curve"][found["verdict_curve"]["stated"]].set_index("benchmark")["verdict"]
    assert stated.to_dict() == {"classic_truthfulqa": "withheld", "classic_civilcomments": "distinct"}


def test_tables_that_are_made_before_are_withheld_after(noisy: SafetyFit) -> None:
    label = label_of(noisy)
    posterior = posterior_correlations(noisy, 0.95, ROPE, set())
    other = pd.DataFrame({"model_class": label, "benchmark": [NOISY, OTHER, NOISY], "verdict": ["distinct"] * 2 + [""]})
    tables = {
        "posterior_correlations": posterior, "prior_sensitivity": other,
        "shrunken_correlations": other.rename(columns={"benchmark": "name"}),
        "noise_or_distinct": noise_or_distinct({label: noisy}, ROPE, RULES, 0.95)[0],
    }  # fmt: skip
    found = withheld_for_noise(tables)
    assert set(found) == set(VERDICT_TABLES)
    assert found["posterior_correlations"]["verdict"].tolist() == ["withheld"] * 2 + ["distinct"] * 2
    assert found["prior_sensitivity"]["verdict"].tolist() == ["withheld", "distinct", ""]
    assert found["shrunken_correlations"]["verdict"].tolist() == ["withheld", "distinct", ""]


def test_the_curve_decides_at_every_limit() -> None:
    """With 60 items the reliability is above one half: only the corrected correlation can withhold."""
    fit = fit_of(60, centre=0.2, sd=0.1)
    row = only(noise_or_distinct({label_of(fit): fit}, ROPE, RULES, 0.95)[0], benchmark=NOISY)
    assert row["reliability"] > RULES.least_reliability
    assert (row["verdict"], row["verdict_after"]) == ("distinct", "withheld")
    curve = verdict_curve(fit, ROPE, RULES)
    own = curve[curve["benchmark"] == NOISY].set_index("limit")["verdict"]
    assert own.loc[0.40] == "withheld"
    assert own.loc[0.70] == "distinct"
    stricter = verdict_curve(fit, ROPE, RelationRules(least_reliability=0.9))
    assert "distinct" not in set(stricter.loc[stricter["benchmark"] == NOISY, "verdict"])


def test_an_unreliable_benchmark_is_called_distinct_by_no_other_posterior_either() -> None:
    fit = fit_of(10, centre=0.3)
    noise = noise_or_distinct({label_of(fit): fit}, ROPE, RULES, 0.95)[0]
    assert set(noise["verdict_after"]) == {"undetermined"}
    assert doubtful_pairs(noise) == {(label_of(fit), NOISY)}
    assert not doubtful_pairs(noise.assign(least_reliability=0.0, p_all_error=0.0))


def test_further_models_do_not_lessen_the_noise_of_the_items(noisy: SafetyFit, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"rope": ROPE, "level": 0.95, "n_simulations": 20}
    plain = models_to_settle(noisy, [NOISY, OTHER], (10,), **asked).set_index("benchmark")
    held = models_to_settle(noisy, [NOISY, OTHER], (10,), noisy={NOISY}, **asked).set_index("benchmark")
    assert plain.loc[NOISY, "settled_distinct"] > 0
    assert (held.loc[NOISY, "settled_distinct"], held.loc[NOISY, "further_approximate"]) == (
        0,
        pytest.approx(np.nan, nan_ok=True),
    )
    assert held.loc[NOISY, "p_settled"] == held.loc[NOISY, ["settled_entangled", "settled_inverse"]].sum()
    pd.testing.assert_series_equal(held.loc[OTHER], plain.loc[OTHER])

    seen: dict[str, object] = {}

    def recorded(fit: SafetyFit, names: Sequence[str], further: Sequence[int], **rest: object) -> pd.DataFrame:
        seen["noisy"] = rest["noisy"]
        return held.reset_index()

    plan = plan_study("helm-classic", read_study("helm-classic"))
    monkeypatch.setattr(settling, "models_to_settle", recorded)
    monkeypatch.setattr(settling, "chief_benchmarks", lambda fit, flags: fit.benchmarks)
    settle_run(plan, {label_of(noisy): noisy}, n_simulations=20)
    assert seen["noisy"] == {NOISY}


def test_python_withholds_as_a_study_does(noisy: SafetyFit) -> None:
    label = label_of(noisy)
    fit = Fit(
        table=noisy.capability.table, spec=noisy.capability.spec, seed=1, capability={label: noisy.capability},
        safety={label: noisy},
    )  # fmt: skip
    # The gates look at capability too, whose draws are noise here: only what noise withholds is asked.
    found = verdicts(fit, (0.4, 0.7))
    assert set(found.loc[found["benchmark"] == NOISY, "verdict"]) == {"withheld"}
    assert set(found.loc[(found["benchmark"] == OTHER) & (found["mode"] == "cut"), "verdict"]) == {"distinct"}


# --- items known for part of the scores ---


def test_the_mean_error_is_that_of_the_scores_whose_items_are_known() -> None:
    assert mean_error(np.array([0.2, 0.4, 0.0, 0.0])) == pytest.approx(0.3)
    assert mean_error(np.array([0.2, 0.4])) == pytest.approx(0.3)
    few = np.zeros(100)
    few[: int(100 * LEAST_KNOWN) - 1] = 0.2
    assert np.isnan(mean_error(few))
    few[int(100 * LEAST_KNOWN) - 1] = 0.2
    assert mean_error(few) == pytest.approx(0.2)
    assert np.isnan(mean_error(np.zeros(3)))


def test_a_score_of_unknown_items_is_not_free_of_error() -> None:
    models = [str(m) for m in prepared().scores.index]
    rows = {}
    for known in (8, 4, 1):
        fit = fit_of(30, models=models[:known])
        rows[known] = only(noise_or_distinct({label_of(fit): fit}, ROPE, RULES, 0.95)[0], benchmark=NOISY)
        draws = fit.draws.copy()
        cut = draws["cut"].to_dataset()
        draws["cut"] = cut.assign(fixed_set=cut["rho"])
        estimands = posterior_estimands(replace(fit, draws=draws), 0.95)
        own = only(estimands, benchmark=NOISY, mode="cut", estimand="reliability")["mean"]
        assert own == pytest.approx(rows[known]["reliability"], nan_ok=True)
    # The variance of a share near one half hardly depends on the share: half of the scores say what all say.
    assert rows[4]["reliability"] == pytest.approx(rows[8]["reliability"], abs=0.03)
    assert (rows[8]["verdict_after"], rows[4]["verdict_after"]) == ("withheld", "withheld")
    assert "items are known" not in rows[8]["why"]
    assert rows[4]["why"].endswith("items are known for 4 of 8 scores, their mean error is taken for the others")
    assert rows[4]["items_known"] == 0.5
    assert np.isnan(rows[1]["reliability"])
    assert rows[1]["verdict_after"] == "distinct"
    assert rows[1]["why"] == f"{UNKNOWN}; items are known for 1 of 8 scores, too few to speak for the others"
