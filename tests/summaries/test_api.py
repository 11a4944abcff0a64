"""Fits without a study file: the tables are those of the draws, and what cannot be asked is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import capability_fit, good_draws, only, prepared, safety_fit, spec

import safetystats as ss
from safetystats.errors import DataError, StudyError
from safetystats.summaries.api import VERDICT_COLUMNS, Fit
from safetystats.summaries.glossary import TABLES

LIMITS = (0.2, 0.4, 0.6, 0.8)


@pytest.fixture(scope="module")
def fit() -> Fit:
    table = prepared(2)
    capability = capability_fit(table)
    safety = safety_fit(capability, np.concatenate([good_draws(centre=0.7), good_draws(centre=0.1, seed=3)]))
    label = table.classes[0]
    return Fit(table=table, spec=spec(), seed=1, capability={label: capability}, safety={label: safety})


def test_correlations_are_the_table_of_a_study(fit: Fit) -> None:
    found = ss.posterior_correlations(fit)
    assert tuple(found.columns) == TABLES["posterior_correlations"]
    assert len(found) == 4
    first = fit.safety[fit.table.classes[0]]
    drawn = first.draws["cut"]["rho"].sel(benchmark=first.benchmarks[0]).to_numpy()
    row = only(found, benchmark=first.benchmarks[0], mode="cut")
    assert row["mean"] == pytest.approx(drawn.mean(), abs=1e-6)
    assert row["p_entangled"] == pytest.approx((drawn > 0.4).mean())


def test_verdicts_at_several_limits_are_those_at_each(fit: Fit) -> None:
    curve = ss.verdicts(fit, LIMITS)
    assert tuple(curve.columns) == VERDICT_COLUMNS
    for limit in LIMITS:
        pd.testing.assert_frame_equal(
            curve[curve["limit"] == limit].reset_index(drop=True), ss.verdicts(fit, limit), check_dtype=False
        )
    for _, own in curve.groupby(["benchmark", "mode"]):
        assert (np.diff(own["p_distinct"]) >= 0).all()
        assert (np.diff(own["p_entangled"]) <= 0).all()
    assert (curve["probability"] == 0.95).all()


def test_a_higher_probability_settles_less(fit: Fit) -> None:
    def settled(probability: float) -> int:
        return int((ss.verdicts(fit, LIMITS, probability)["verdict"] != "undetermined").sum())

    assert settled(0.999) <= settled(0.95) <= settled(0.6)
    with pytest.raises(StudyError, match="limit"):
        ss.verdicts(fit, 1.2)


def test_verdicts_of_a_fit_that_failed_are_withheld(fit: Fit) -> None:
    label = fit.table.classes[0]
    bad = capability_fit(fit.capability[label].table, diverging=5)
    held = Fit(table=fit.table, spec=fit.spec, seed=1, capability={label: bad}, safety=fit.safety)
    assert "fail" in {check.outcome for check in held.checks}
    assert set(ss.verdicts(held)["verdict"]) == {"withheld"}


def test_one_class_cannot_be_compared(fit: Fit) -> None:
    with pytest.raises(StudyError, match="two classes or more"):
        ss.compare_classes(fit)


def test_what_cannot_be_fitted_is_refused_before_anything_is(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match='did you mean "chat"'):
        ss.fit("helm-classic", model_class="chatt", store=tmp_path)
    with pytest.raises(StudyError):
        ss.fit("helm-classic", "class-mixed", store=tmp_path)
    with pytest.raises(DataError):
        ss.fit("no-such-table", store=tmp_path)
    few = ss.load_table("helm-classic")
    with pytest.raises(DataError, match="from so few nothing can be said"):
        ss.fit(few.select(models=few.models.index[:4]), store=tmp_path)


@pytest.mark.slow
def test_an_assessment_equals_a_fit_of_the_whole_table(tmp_path: Path) -> None:
    fit = ss.fit("helm-classic", model_class=("base", "chat"), store=tmp_path)
    run = ss.posterior_correlations(fit).query("mode == 'cut'").set_index(["model_class", "benchmark"])
    for name in dict.fromkeys(run.index.get_level_values("benchmark")):
        direction = str(fit.table.benchmarks.loc[name, "direction"])
        found = ss.assess(fit.table.scores[name].dropna(), "helm-classic", direction, name=name).correlations
        for row in found[found["why"] == ""].to_dict("records"):
            # The issue's own tolerance: 4000 draws on both sides, of 1000 and of 4000 draws of capability.
            assert row["mean"] == pytest.approx(run.loc[(row["model_class"], name), "mean"], abs=0.02), name
    differences = ss.compare_classes(fit)
    assert tuple(differences.columns) == TABLES["posterior_differences"]
    assert set(differences["class_a"]) == {"chat"}
