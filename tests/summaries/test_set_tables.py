"""Sets of models: what leaving them out does to verdicts, on tables in which it is known what it does."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fits_by_hand import CHAINS, DRAWS, capability_fit, safety_fit

from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import family_codes
from safetystats.inference.set_posterior import posteriors_with, posteriors_without
from safetystats.specs import CutPlan, Questions, Rope, StudySpec
from safetystats.summaries import set_search
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.model_sets import model_sets_answers
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.set_closed import MARKED, covariates_of, parent_left_out, partial_correlations
from safetystats.summaries.set_context import ClassSets, chances_of, class_sets
from safetystats.summaries.set_influence import restricted_sets, set_influence
from safetystats.summaries.set_search import verdict_sets
from safetystats.summaries.talk import Silence
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

N_MODELS, SAFETY = 16, ("safety_1", "safety_2", "safety_3")


def planted(seed: int = 5) -> ScoreTable:
    """Return models of one class; two of them hide that the first benchmark goes with capability.

    The second benchmark goes with capability without them; the third has no relation.
    """
    table = simulate_table(
        n_models=N_MODELS, n_families=8, capability_loadings=[0.95, 0.95, 0.95, 0.9],
        safety_correlations=[0.95, 0.95, 0.0], seed=seed,
    )[0]  # fmt: skip
    scores = table.scores.copy()
    order = scores[table.columns("capability")].mean(axis=1).sort_values().index
    spread = np.ptp(scores["safety_1"])
    scores.loc[order[0], "safety_1"] = scores["safety_1"].max() + 0.4 * spread
    scores.loc[order[-1], "safety_1"] = scores["safety_1"].min() - 0.4 * spread
    dates = [f"20{20 + i // 4}-0{1 + i % 4}-01" for i in range(N_MODELS)]
    models = table.models.assign(
        release_date=dates, n_params=1e9 * np.arange(1, N_MODELS + 1), access=["open", "limited"] * (N_MODELS // 2)
    )
    return table.replace(scores=scores, models=models)


def the_planted(table: ScoreTable) -> set[str]:
    order = table.scores[table.columns("capability")].mean(axis=1).sort_values().index
    return {str(order[0]), str(order[-1])}


def fit_of(table: ScoreTable, diverging: int = 0) -> SafetyFit:
    """Return a fit whose draws of capability are the mean of the benchmarks with a little noise, and their cut."""
    prepared = standardise(align(table))
    fit = capability_fit(prepared, diverging=diverging)
    posterior, rng = fit.draws["posterior"].to_dataset(), np.random.default_rng(3)
    centre = prepared.matrix(prepared.columns("capability")).mean(axis=1)
    theta = centre + 0.1 * rng.normal(size=posterior["theta"].shape)
    draws = fit.draws.copy()
    draws["posterior"] = posterior.assign(theta=(("chain", "draw", "model"), theta))
    fit = replace(fit, draws=draws)
    names = prepared.columns("safety")
    drawn = cut_posterior(
        prepared.matrix(names), fit.theta, family_codes(prepared), fit.spec.priors, CutPlan(candidates=64),
        [np.random.default_rng(i) for i in range(len(names))],
    )  # fmt: skip
    rho = np.stack([each.rho for each in drawn if each is not None]).reshape(len(names), CHAINS, DRAWS)
    return safety_fit(fit, rho)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of the shipped table with the planted one put in its place."""
    study = StudySpec(title="t", question="q", table="helm-classic")
    found = plan_study("made", study)
    table = planted()
    return replace(found, table=table, aligned=align(table), prepared=standardise(align(table)))


@pytest.fixture(scope="module")
def sets(plan: Plan) -> ClassSets:
    found = class_sets(plan, fit_of(plan.table))
    assert not found.held
    return found


def by_hand(sets: ClassSets, name: str, removed: tuple[int, ...]) -> tuple[float, float, float]:
    """Return the probabilities without some models, by place in the fit, as `posteriors_without` draws them."""
    kept = np.ones((1, len(sets.models)))
    kept[0, list(removed)] = 0
    drawn = posteriors_without(sets.benchmarks[name], kept, sets.rope.limit, sets.level, sets.theta)
    return chances_of(drawn, 0)


# --- posteriors without some models ---


def test_leaving_out_nothing_changes_nothing_and_an_unscored_model_neither(sets: ClassSets) -> None:
    benchmark = sets.benchmarks["safety_1"]
    kept = np.ones((1, N_MODELS))
    drawn = posteriors_without(benchmark, kept, 0.4, 0.95, sets.theta)
    assert drawn.mean[0] == pytest.approx(benchmark.rho.mean(), abs=1e-12)
    assert chances_of(drawn, 0) == pytest.approx(sets.chances("safety_1"), abs=1e-3)
    assert drawn.n_models[0] == N_MODELS


def test_a_set_is_the_posterior_of_a_table_without_the_scores(sets: ClassSets) -> None:
    """Against the whole cut posterior with many draws; the thinned one has 2400, whose error is about 0.01."""
    fit = sets.fit.capability
    kept = np.ones((1, N_MODELS))
    kept[0, [2, 3, 7]] = 0
    column = np.where(kept[0] > 0, sets.benchmarks["safety_1"].scores, np.nan)[:, None]
    plan = CutPlan(candidates=256)
    full = cut_posterior(
        column, fit.theta, family_codes(fit.table), fit.spec.priors, plan, [np.random.default_rng(9)], each=8
    )[0]
    assert full is not None
    for draw in (posteriors_with, posteriors_without):
        found = draw(sets.benchmarks["safety_1"], kept, 0.4, 0.95, sets.theta)
        assert found.mean[0] == pytest.approx(full.rho.mean(), abs=0.03)
        assert found.p_distinct[0] == pytest.approx((np.abs(full.rho) < 0.4).mean(), abs=0.05)
        assert found.n_models[0] == N_MODELS - 3


def test_too_few_models_have_no_posterior(sets: ClassSets) -> None:
    kept = np.zeros((1, N_MODELS))
    kept[0, :4] = 1
    assert np.isnan(posteriors_with(sets.benchmarks["safety_1"], kept, 0.4, 0.95, sets.theta).mean[0])


# --- influence ---


def test_every_model_and_family_is_left_out_once(sets: ClassSets) -> None:
    frame, singles = set_influence(sets)
    assert list(frame.columns) == list(MODEL_SETS_TABLES["set_influence"])
    counts = frame.groupby(["benchmark", "unit"]).size()
    assert (counts.xs("model", level="unit") == N_MODELS).all()
    assert (counts.xs("family", level="unit") == len(set(sets.families))).all()
    models = frame[frame["unit"] == "model"].set_index(["benchmark", "label"])
    for name in SAFETY:
        change = models.loc[name, "change"].to_numpy(dtype=float)
        np.testing.assert_allclose(change, singles[name].mean - sets.benchmarks[name].rho.mean(), atol=1e-12)
    first = models.loc["safety_1"]
    assert set(first["change"].astype(float).abs().nlargest(2).index) == the_planted(sets.fit.capability.table)
    # A family of one is its model.
    alone = [f for f in set(sets.families) if sets.families.count(f) == 1]
    families = frame[frame["unit"] == "family"].set_index(["benchmark", "label"])
    for family in alone:
        model = sets.models[sets.families.index(family)]
        assert families.loc[("safety_2", family), "p_without"] == models.loc[("safety_2", model), "p_without"]


def test_a_change_within_monte_carlo_error_does_not_count(sets: ClassSets) -> None:
    assert not sets.changed((0.949, 0.0, 0.051), (0.951, 0.0, 0.049))
    assert sets.changed((0.93, 0.0, 0.07), (0.951, 0.0, 0.049))
    assert sets.changed((0.96, 0.0, 0.04), (0.94, 0.0, 0.06))
    assert not sets.changed((0.955, 0.0, 0.045), (0.948, 0.0, 0.052))
    assert not replace(sets, held=True).changed((0.96, 0.0, 0.04), (0.1, 0.0, 0.9))


def test_distinct_is_withheld_for_noise_and_is_no_change(sets: ClassSets) -> None:
    own = replace(sets, noisy=frozenset({"safety_3"})).of("safety_3")
    near, far, high = (0.0, 0.0, 0.99), (0.1, 0.0, 0.9), (0.96, 0.0, 0.04)
    assert sets.of("safety_3").verdict(near) == "distinct"
    assert sets.changed(far, near)
    assert own.verdict(near) == "withheld"
    assert not own.changed(far, near)
    assert not own.changed(near, high)
    assert own.changed(far, high)
    assert own.changed(high, near)
    assert replace(sets, noisy=frozenset({"safety_3"})).of("safety_1") is not own


# --- smallest sets ---


@pytest.fixture(scope="module")
def searched(sets: ClassSets) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of `smallest_sets` and `reachable` for verdicts, with sets of two models at most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_search, "largest_exact", lambda n: 2)
        patch.setattr(set_search, "largest_greedy", lambda n: 2)
        flips, reach = verdict_sets(sets, set_influence(sets)[1])
    return pd.DataFrame(flips).set_index("benchmark"), pd.DataFrame(reach).set_index(["benchmark", "k"])


def test_the_planted_pair_is_found(sets: ClassSets, searched: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows, _ = searched
    first = rows.loc["safety_1"]
    assert first["stated"] == "undetermined"
    assert first["n_removed"] <= 2
    assert set(first["removed"].split("; ")) <= the_planted(sets.fit.capability.table)
    assert first["reached"] == "entangled"
    assert first["value_without"] >= sets.rope.probability > first["value"]
    assert rows.loc["safety_2", "stated"] == "entangled"


def test_no_smaller_set_changes_the_verdict(sets: ClassSets, searched: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Every pair and every single model is drawn, whatever the ranking says of it."""
    rows, _ = searched
    checked = 0
    for name in SAFETY:
        row, whole = rows.loc[name], sets.chances(name)
        for size in (1, 2):
            every = np.array(list(combinations(range(N_MODELS), size)))
            kept = np.ones((len(every), N_MODELS))
            kept[np.arange(len(every))[:, None], every] = 0
            drawn = posteriors_without(sets.benchmarks[name], kept, sets.rope.limit, sets.level, sets.theta)
            changing = {
                tuple(int(i) for i in removed)
                for place, removed in enumerate(every)
                if sets.changed(whole, chances_of(drawn, place))
            }
            if row["certified"] and size < row["lower_bound"]:
                assert not changing
                checked += 1
            if row["n_removed"] == size:
                assert tuple(sorted(sets.models.index(m) for m in row["removed"].split("; "))) in changing
                checked += 1
    assert checked >= len(SAFETY)


def test_no_set_reaches_a_distinct_that_noise_withholds(sets: ClassSets, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wider limit the first benchmark is undetermined, and distinct without one of the planted models."""
    monkeypatch.setattr(set_search, "largest_exact", lambda n: 2)
    monkeypatch.setattr(set_search, "largest_greedy", lambda n: 2)
    few = replace(sets, benchmarks={"safety_1": sets.benchmarks["safety_1"]})
    rho = np.sort(np.abs(few.benchmarks["safety_1"].rho))
    wide = replace(few, rope=Rope(limit=float(rho[int(0.93 * len(rho))])))
    plain = verdict_sets(wide, set_influence(wide)[1])[0][0]
    assert (plain["stated"], plain["reached"]) == ("undetermined", "distinct")
    noisy = replace(wide, noisy=frozenset({"safety_1"}))
    frame, singles = set_influence(noisy)
    held = verdict_sets(noisy, singles)[0][0]
    assert held["stated"] == "undetermined"
    assert held["reached"] != "distinct"
    assert "distinct" not in set(frame["verdict_without"])
    assert "withheld" in set(frame["verdict_without"])
    assert not frame.loc[frame["verdict_without"] == "withheld", "flips"].any()


def test_what_is_stated_of_a_set_is_drawn(sets: ClassSets, searched: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    rows, ends = searched
    row = rows.loc["safety_1"]
    removed = tuple(sets.models.index(m) for m in row["removed"].split("; "))
    assert row["value_without"] == pytest.approx(by_hand(sets, "safety_1", removed)[0], abs=1e-12)
    # More models left out reach at least as far, but for what the approximation misses and for Monte Carlo error.
    for name in SAFETY:
        width = (ends.loc[name, "highest"] - ends.loc[name, "lowest"]).to_numpy(dtype=float)
        assert (np.diff(width) > -0.02).all()
        assert (ends.loc[name, "lowest"] <= ends.loc[name, "value"] + 0.02).all()
        assert (ends.loc[name, "highest"] >= ends.loc[name, "value"] - 0.02).all()


def leverage(seed: int = 1) -> ScoreTable:
    """Return models of which three are far out in capability and carry what two benchmarks have to do with it.

    Their posteriors are all beyond the limit, with any one model left out too; without two of the three they are not.
    The third benchmark is capability but for a trace of noise.
    """
    table = simulate_table(
        n_models=24, n_families=20, capability_loadings=[0.95, 0.95, 0.95, 0.9], safety_correlations=[0.9, 0.9, 0.9],
        seed=seed,
    )[0]  # fmt: skip
    scores, rng = table.scores.copy(), np.random.default_rng(seed)
    far, columns = list(scores.index[[2, 9, 16]]), table.columns("capability")
    scores.loc[far, columns] += np.array([[4.0], [4.0], [-4.0]]) * scores[columns].std().to_numpy()
    capability = ((scores[columns] - scores[columns].mean()) / scores[columns].std()).mean(axis=1)
    for name, slope, noise in zip(SAFETY, (0.2, 0.3, 1.0), (0.3, 0.3, 0.03), strict=True):
        scores[name] = slope * capability + noise * rng.normal(size=24)
        scores.loc[far, name] = (1.0 if slope == 1 else 1.1) * capability[far]
    return table.replace(scores=scores)


@pytest.fixture(scope="module")
def levered(plan: Plan) -> tuple[ClassSets, pd.DataFrame]:
    """The class of that table, and its rows of `smallest_sets` with sets of two models at most."""
    table = leverage()
    own = replace(plan, table=table, aligned=align(table), prepared=standardise(align(table)))
    found = class_sets(own, fit_of(table))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(set_search, "largest_exact", lambda n: 2)
        patch.setattr(set_search, "largest_greedy", lambda n: 2)
        flips, _ = verdict_sets(found, set_influence(found)[1])
    return found, pd.DataFrame(flips).set_index("benchmark")


def test_models_of_leverage_are_found_where_no_single_one_shows_the_error_of_the_ranking(
    levered: tuple[ClassSets, pd.DataFrame],
) -> None:
    """The pair is further from a change, by the ranking, than the least tolerance; drawn, it changes the verdict."""
    found, rows = levered
    for name in SAFETY[:2]:
        row = rows.loc[name]
        assert (row["stated"], row["value"]) == ("entangled", 1.0)
        assert (row["n_removed"], row["lower_bound"]) == (2, 2)
        removed = tuple(found.models.index(m) for m in row["removed"].split("; "))
        assert set(removed) <= {2, 9, 16}
        assert found.changed(found.chances(name), by_hand(found, name, removed))


def test_without_a_set_that_tells_the_error_nothing_is_certified(levered: tuple[ClassSets, pd.DataFrame]) -> None:
    row = levered[1].loc[SAFETY[2]]
    assert (row["stated"], row["value"], row["how"]) == ("entangled", 1.0, "none found")
    assert row["lower_bound"] == 3
    assert not row["certified"]


def test_the_error_of_drawn_sets_widens_the_search(
    levered: tuple[ClassSets, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ranking that errs unevenly is found out by the first sets drawn; one that errs evenly is believed."""
    found, _ = levered
    monkeypatch.setattr(set_search, "AT_ONCE", 2)
    search = set_search._Search(
        sets=found, benchmark=found.benchmarks[SAFETY[0]], column=0, places=np.arange(24), stated="entangled",
        whole=found.chances(SAFETY[0]), shift=np.zeros(3), tolerance=set_search.LEAST_TOLERANCE,
    )  # fmt: skip
    some = [(2, 9), (2, 16), (9, 16)]
    drawn = search.margin(search.chances(some))
    order = np.argsort(drawn)
    pairs, drawn = np.array(some)[order], drawn[order]
    assert drawn[0] < drawn[1] < 0 < drawn[2]
    # The pair that changes the verdict is ranked last; one of the others is nearer than it is put, one further.
    uneven = np.array([drawn[0] + 0.9, drawn[1] - 0.7, drawn[1] - 0.75])
    errors = drawn[:2] - uneven[:2]
    assert errors.max() < -uneven[2] < errors.max() + np.ptp(errors)
    looked = set_search._nearest_drawn(search, pairs, uneven)
    assert looked.hit is not None
    assert looked.hit.removed == tuple(pairs[-1])
    assert looked.tolerance > -uneven[2]
    even = drawn - 0.01
    even[2] = even[:2].min() - 1.0
    looked = set_search._nearest_drawn(search, pairs, even)
    assert looked.complete
    assert looked.hit is None


# --- the door ---


@pytest.fixture(scope="module")
def answered(plan: Plan) -> dict[str, pd.DataFrame]:
    fits = {plan.table.classes[0]: fit_of(plan.table, diverging=7)}
    found = model_sets_answers(plan, fits, Silence())
    return dict(found.tables)


def test_all_tables_are_there_with_their_columns(answered: dict[str, pd.DataFrame], plan: Plan) -> None:
    assert set(answered) == set(MODEL_SETS_TABLES)
    for name, columns in MODEL_SETS_TABLES.items():
        assert tuple(answered[name].columns) == columns
        assert len(answered[name]) or name == "parent_left_out"


def test_a_failed_gate_withholds_verdicts_but_not_labels(answered: dict[str, pd.DataFrame]) -> None:
    """The fit of these tables has divergences."""
    rows = answered["smallest_sets"]
    verdicts = rows[rows["target"] == "verdict"]
    assert set(verdicts["stated"]) == {"withheld"}
    assert verdicts["n_removed"].isna().all()
    assert set(answered["set_influence"]["verdict"]) == {"withheld"}
    assert not answered["set_influence"]["flips"].any()
    assert set(rows.loc[rows["target"] == "label_2024", "stated"]) <= {"high", "low"}


def test_what_is_not_asked_is_empty_and_says_so(plan: Plan) -> None:
    study = plan.study.model_copy(update={"questions": Questions(model_sets=False)})
    found = model_sets_answers(replace(plan, study=study), {}, Silence())
    assert [check.outcome for check in found.checks] == ["not_run"]
    assert {name: tuple(frame.columns) for name, frame in found.tables.items()} == MODEL_SETS_TABLES
    assert all(frame.empty for frame in found.tables.values())


# --- parts, covariates, parents ---


def test_parts_are_those_of_date_access_and_family(sets: ClassSets, plan: Plan) -> None:
    frame = restricted_sets(sets, plan.table.models)
    first = frame[frame["benchmark"] == "safety_2"].set_index(["restriction", "part"])
    assert first.loc[("access", "open"), "n_models"] == N_MODELS // 2
    until, after = (first.xs(kind, level="restriction").iloc[0] for kind in ("released_until", "released_after"))
    assert until["n_models"] + after["n_models"] == N_MODELS
    assert "released_in" not in first.index.get_level_values(0)
    assert (frame["n_models"] >= 5).all()
    unknown = plan.table.models.assign(release_date="", access="")
    assert set(restricted_sets(sets, unknown)["restriction"]) <= {"family_only", "family_without"}


def test_partial_correlations_are_given_marked_or_refused(sets: ClassSets, plan: Plan) -> None:
    models = plan.table.models
    theta = sets.fit.capability.theta.mean(axis=0)
    rng = np.random.default_rng(2)
    nearly = models.assign(flop=np.exp(theta + 0.05 * rng.normal(size=N_MODELS)))
    frame, checks = partial_correlations(sets, nearly, 10.0, 7)
    rows = frame.set_index(["covariate", "benchmark"])
    assert (rows.loc["log_compute", "given"] == "refused").all()
    assert rows.loc["log_compute", "partial"].isna().all()
    assert (rows.loc["log_compute", "vif"] > 10).all()
    assert not checks
    limit = 1.5 * float(rows.loc["log_compute", "vif"].max())
    wide, _ = partial_correlations(sets, nearly, limit, 7)
    marked = wide.set_index(["covariate", "benchmark"]).loc["log_compute"]
    assert (marked["given"] == "marked").all()
    assert (marked["vif"] > MARKED * limit).all()
    free = rows.loc["log_size"]
    assert (free["given"] == "yes").all()
    assert ((free["lower"] <= free["partial"]) & (free["partial"] <= free["upper"])).all()
    size = np.log(models["n_params"].to_numpy(dtype=float))
    for name in SAFETY:
        # The correlation of what least squares on the covariate leaves.
        y, x = (v - np.polyval(np.polyfit(size, v, 1), size) for v in (sets.benchmarks[name].scores, theta))
        assert free.loc[name, "partial_score"] == pytest.approx(np.corrcoef(y, x)[0, 1], abs=1e-9)
    assert rows.loc["log_compute", "partial_score"].isna().all()
    again, _ = partial_correlations(sets, nearly, 10.0, 7)
    pd.testing.assert_frame_equal(frame, again)
    none, missing = partial_correlations(sets, models.assign(n_params=np.nan, release_date=""), 10.0, 7)
    assert none.empty
    assert {check.outcome for check in missing} == {"not_applicable"}


def test_covariates_are_logs_and_years() -> None:
    models = pd.DataFrame({"flop": [np.e, 0.0], "n_params": [np.nan, 1.0], "release_date": ["2021-01-01", ""]})
    found = covariates_of(models)
    np.testing.assert_allclose(found["log_compute"], [1.0, np.nan])
    np.testing.assert_allclose(found["log_size"], [np.nan, 0.0])
    assert found["release_date"][0] == pytest.approx(366 / 365.25)
    assert np.isnan(found["release_date"][1])


def test_parents_of_helm_classic_are_left_out_of_the_score(plan: Plan) -> None:
    table = load_table("helm-classic")
    frame = parent_left_out(table, plan.score, 0.4, 0.95, 200, 5).set_index(["model_class", "benchmark"])
    row = frame.loc[("base", "classic_fair_boolq")]
    assert row["parents"] == "classic_boolq"
    assert row["spearman_without"] < row["spearman"]
    assert row["difference"] == pytest.approx(row["spearman_without"] - row["spearman"])
    assert row["lower"] <= row["upper"]
    part = table.select(model_class="base")
    rest = [name for name in part.columns("capability") if name != "classic_boolq"]
    from scipy import stats

    from safetystats.scores.capability import capability_score

    score = capability_score(part.matrix(rest), method=plan.score.method, missing="drop").score
    expected = stats.spearmanr(score, part.scores["classic_fair_boolq"], nan_policy="omit").statistic
    assert row["spearman_without"] == pytest.approx(expected, abs=1e-9)


def test_a_study_file_sets_the_limit(tmp_path: Path) -> None:
    from safetystats.specs import read_study

    path = tmp_path / "s.toml"
    path.write_text('title="t"\nquestion="q"\ntable="helm-classic"\n[questions]\nvif_limit = 4.5\n', encoding="utf-8")
    assert read_study(path).questions.vif_limit == 4.5
