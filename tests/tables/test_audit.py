"""The audit on tables made for it: every check finds its trap, and a clean table raises no alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from safetystats.errors import DataError
from safetystats.tables.audit import AUDIT_COLUMNS, CHECKS, Audit, audit
from safetystats.tables.audit_aggregates import aggregates
from safetystats.tables.audit_finding import counted, decimals, listed, number, pearson, places, spearman, z_scores
from safetystats.tables.table import BENCHMARK_COLUMNS, CELL_COLUMNS, MODEL_COLUMNS, Preparation, ScoreTable

N_FAMILIES, PER_FAMILY = 14, 2
CAPABILITY = [f"cap_{word}" for word in ("north", "south", "east", "west", "up", "down")]
SAFETY = [f"safe_{word}" for word in ("red", "green", "blue", "white", "black", "grey", "pink", "gold")]


def clean(seed: int, *, rounded: int | None = None) -> ScoreTable:
    """Draw a table without traps: one factor, 14 families of two lineages, base and chat, binomial scores."""
    rng = np.random.default_rng(seed)
    n = 2 * N_FAMILIES * PER_FAMILY
    lineage = np.repeat(np.arange(n // 2), 2)
    classes = np.tile(["base", "chat"], n // 2)
    family = lineage // PER_FAMILY
    theta = rng.normal(size=n // 2)[lineage] + 0.3 * rng.normal(size=n)
    names = CAPABILITY + SAFETY
    loading = np.r_[np.full(len(CAPABILITY), 0.85), rng.uniform(-0.8, 0.8, len(SAFETY))]
    noise = rng.normal(size=(n, len(names)))
    items = rng.integers(400, 3000, len(names)).astype(float)
    latent = 0.1 + 0.8 * (loading * theta[:, None] + np.sqrt(1 - loading**2) * noise)
    scores = rng.binomial(items.astype(int), 1 / (1 + np.exp(-latent))) / items
    if rounded is not None:
        scores = np.round(scores, rounded)
    index = pd.Index([f"{c}-{k}" for k, c in zip(lineage, classes, strict=True)], name="model")
    models = pd.DataFrame(index=index, columns=list(MODEL_COLUMNS), dtype=object)
    models["name"], models["model_class"] = index, classes
    models["family"], models["lineage"] = [f"family {f}" for f in family], [f"lineage {k}" for k in lineage]
    models["n_params"], models["flop"] = np.nan, np.nan
    benchmarks = pd.DataFrame(index=pd.Index(names, name="benchmark"), columns=list(BENCHMARK_COLUMNS), dtype=object)
    benchmarks["name"], benchmarks["area"], benchmarks["metric"] = names, "area", "Accuracy (↑)"
    benchmarks["role"] = ["capability"] * len(CAPABILITY) + ["safety"] * len(SAFETY)
    benchmarks["direction"] = ["higher_is_better"] * len(CAPABILITY) + ["higher_is_safer"] * len(SAFETY)
    benchmarks["unit"], benchmarks["source"], benchmarks["note"] = "proportion", "somewhere", ""
    benchmarks["headline"] = True
    for column, value in (("lower", 0.0), ("upper", 1.0), ("chance", np.nan), ("n_items", items)):
        benchmarks[column] = value
        benchmarks[column] = benchmarks[column].astype("float64")
    return ScoreTable(
        name=f"clean-{seed}",
        title="Clean",
        scores=pd.DataFrame(scores, index=index, columns=benchmarks.index),
        models=models,
        benchmarks=benchmarks,
    )


def changed(table: ScoreTable, edit: Callable[[pd.DataFrame, pd.DataFrame, pd.DataFrame], None]) -> ScoreTable:
    """Edit copies of scores, models and benchmarks in place."""
    scores, models, benchmarks = table.scores.copy(), table.models.copy(), table.benchmarks.copy()
    edit(scores, models, benchmarks)
    return table.replace(scores=scores, models=models, benchmarks=benchmarks)


def with_column(table: ScoreTable, name: str, values: np.ndarray, **entries: object) -> ScoreTable:
    """Add a column whose dictionary entry is that of `safe_red` but for `entries`."""
    scores, benchmarks = table.scores.copy(), table.benchmarks.copy()
    scores[name] = values
    row = benchmarks.loc["safe_red"].copy()
    row["n_items"] = np.nan
    for key, value in entries.items():
        row[key] = value
    benchmarks = pd.concat([benchmarks, row.to_frame(name).T.astype(benchmarks.dtypes.to_dict())])
    return table.replace(scores=scores, benchmarks=benchmarks)


def only(result: Audit, check: str) -> str:
    """Return the message of the one finding of a check."""
    found = result.of(check)
    assert len(found) == 1, result.to_frame()[["check", "message"]].to_string()
    return found[0].message


@pytest.mark.parametrize("rounded", [None, 3])
@pytest.mark.parametrize("seed", range(20))
def test_a_clean_table_raises_no_warning(seed: int, rounded: int | None) -> None:
    result = audit(clean(seed, rounded=rounded))
    assert result.graver_than("note") == (), [f.message for f in result.graver_than("note")]
    assert len(result.findings) <= 4


def test_the_audit_of_the_same_table_is_the_same_and_names_it() -> None:
    table = clean(1)
    first, second = audit(table), audit(table)
    assert first == second
    assert first.table == table.name
    assert first.fingerprint == table.fingerprint
    frame = first.to_frame()
    assert tuple(frame.columns) == AUDIT_COLUMNS
    assert len(frame) == len(first.findings)
    assert len(CHECKS) == len(set(CHECKS))


def test_an_audit_without_findings_still_has_a_frame() -> None:
    frame = Audit(table="t", fingerprint="f", findings=()).to_frame()
    assert tuple(frame.columns) == AUDIT_COLUMNS
    assert frame["value"].dtype == np.float64


def test_findings_are_ordered_by_severity() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        scores.iloc[3, 8] = 1.5
        benchmarks.loc["safe_blue", "direction"] = "undeclared"

    result = audit(changed(clean(2), edit))
    ranks = [("error", "warning", "note").index(f.severity) for f in result.findings]
    assert ranks == sorted(ranks)
    assert ranks[0] == 0
    assert result.graver_than("warning") == result.of("out_of_bounds")
    assert "outside" in only(result, "out_of_bounds")
    assert only(result, "undeclared_direction").endswith("safe_blue.")


def test_a_prepared_table_is_refused() -> None:
    with pytest.raises(DataError, match="before preparing"):
        audit(clean(1).replace(preparation=Preparation(aligned=True)))


def test_small_and_empty_tables_are_audited() -> None:
    table = clean(3)
    audit(table.select(models=list(table.scores.index[:3])))
    audit(table.select(roles=["safety"]))
    audit(table.select(model_class="chat"))
    audit(table.select(benchmarks=[]))
    audit(table.select(models=[]))

    def blank(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        scores.loc[:, "safe_red"] = np.nan
        scores.loc[:, "cap_up"] = np.nan

    audit(changed(table, blank))


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (-1.0, 0.0), (100.0, 0.0), (-100.0, 100.0)])
def test_duplicates_up_to_scale_and_sign(slope: float, shift: float) -> None:
    table = clean(4)
    values = slope * table.scores["safe_blue"].to_numpy() + shift
    result = audit(with_column(table, "other", values, lower=np.nan, upper=np.nan))
    assert "safe_blue" in only(result, "duplicate_column")
    assert result.of("duplicate_column")[0].value == pytest.approx(slope)


def test_a_nearly_equal_column_is_no_duplicate() -> None:
    table = clean(4)
    values = table.scores["safe_blue"].to_numpy() + np.random.default_rng(0).normal(0, 1e-3, table.n_models)
    result = audit(with_column(table, "other", values))
    assert result.of("duplicate_column") == ()
    assert "safe_blue with other" in only(result, "near_duplicate")


def test_constant_column_of_one_class() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        scores.loc[models["model_class"] == "chat", "safe_gold"] = 0.5

    found = audit(changed(clean(5), edit)).of("constant_column")
    assert [(f.model_class, f.benchmarks) for f in found] == [("chat", ("safe_gold",))]


def test_copied_cells_are_found_and_the_wrong_column_is_named() -> None:
    table = clean(6)
    rows = table.scores.index[[3, 17, 20, 41]]

    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        rng = np.random.default_rng(6)
        for name, items in (("safe_red", 162), ("safe_pink", 121)):
            benchmarks.loc[name, "n_items"] = items
            scores[name] = rng.binomial(items, 0.3 + 0.4 * rng.random(len(scores))) / items
        scores.loc[rows, "safe_red"] = scores.loc[rows, "safe_pink"]

    result = audit(changed(table, edit))
    message = only(result, "copied_cells")
    assert result.of("copied_cells")[0].models == tuple(rows)
    assert "no counts out of the 162 items of safe_red" in message
    assert result.of("impossible_fraction")[0].models == tuple(rows)


@pytest.mark.parametrize("items", [18, 50, 100])
def test_ties_on_coarse_grids_and_at_bounds_are_no_copies(items: int) -> None:
    for seed in range(10):
        table = clean(seed)

        def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame, seed: int = seed) -> None:
            rng = np.random.default_rng(seed)
            level = rng.random(len(scores))
            for name in SAFETY:
                benchmarks.loc[name, "n_items"] = np.nan if seed % 2 else items
                scores[name] = rng.binomial(items, 0.2 + 0.6 * level) / items
            scores.iloc[:12, -2:] = 1.0

        assert audit(changed(table, edit)).of("copied_cells") == ()


def test_impossible_fractions_halves_and_columns_that_are_no_share() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        rng = np.random.default_rng(7)
        n = len(scores)
        benchmarks.loc[["safe_red", "safe_green", "safe_blue", "safe_white"], "n_items"] = [500.0, 300.0, 700.0, 400.0]
        scores["safe_red"] = rng.integers(100, 400, n) / 500
        scores.iloc[4, scores.columns.get_loc("safe_red")] = 123.3 / 500
        scores["safe_green"] = rng.integers(200, 400, n) / 600
        scores["safe_blue"] = rng.random(n)
        accuracy = rng.integers(150, 390, n) / 400
        scores["safe_white"] = np.minimum((1 - accuracy) / 0.75, 1)
        scores.iloc[9, scores.columns.get_loc("safe_white")] = 0.4321
        benchmarks.loc["safe_white", "note"] = "min((1 - accuracy) / 0.75, 1)"

    table = changed(clean(7), edit)
    result = audit(table)
    broken = result.of("impossible_fraction")
    assert len(broken) == 1
    assert broken[0].benchmarks == ("safe_red", "safe_white")
    assert broken[0].models == tuple(table.scores.index[[4, 9]])
    assert "safe_green" in only(result, "half_counts")
    assert "safe_blue" in only(result, "not_a_share")


def test_printed_precision_is_respected() -> None:
    table = clean(8, rounded=2)
    assert audit(table).of("impossible_fraction") == ()
    assert audit(table).of("not_a_share") == ()


def test_labels_and_directions() -> None:
    table = clean(9)
    level = 100 + np.random.default_rng(9).normal(0, 5, table.n_models)
    harm = with_column(table, "harm", level, metric="Negated score (↑)", lower=np.nan, upper=np.nan, unit="index")
    assert audit(harm).of("negated_but_positive")[0].severity == "error"
    told = changed(
        harm, lambda s, m, b: b.__setitem__("direction", b["direction"].mask(b.index == "harm", "lower_is_safer"))
    )
    result = audit(told)
    assert result.of("negated_but_positive")[0].severity == "warning"
    assert only(result, "label_against_direction").endswith("harm.")
    signed = with_column(table, "gap", level - 100, metric="difference", lower=np.nan, upper=np.nan)
    assert "gap" in only(audit(signed), "signed_values")
    ideal = with_column(table, "gap", level - 100, metric="x", lower=np.nan, upper=np.nan, direction="zero_is_ideal")
    assert audit(ideal).of("signed_values") == ()
    assert "gap" in only(audit(ideal), "two_sided")
    accuracy = with_column(table, "gap", level, lower=np.nan, upper=np.nan)
    assert "gap" in only(audit(accuracy), "impossible_label")


def test_the_odd_one_out_of_a_group_of_siblings() -> None:
    table = clean(10)
    rng = np.random.default_rng(10)
    level = rng.normal(size=table.n_models)
    for k in range(5):
        values = (-1 if k == 3 else 1) * level + 0.4 * rng.normal(size=table.n_models)
        table = with_column(table, f"set_{'abcde'[k]}", values - 10, lower=np.nan, upper=np.nan, metric="score")
    assert only(audit(table), "odd_one_out").startswith("set_d ")


def test_aggregates_of_every_kind_and_their_direction() -> None:
    table = clean(11)
    parts = [table.scores[name].to_numpy() for name in SAFETY]
    rng = np.random.default_rng(11)
    signed = [rng.normal(size=table.n_models) for _ in range(4)]
    whole = {
        "safe_all": (parts[0] + parts[1] + parts[2]) / 3,
        "safe_weighted": 0.2 * parts[3] + 0.5 * parts[4] + 0.3 * parts[5],
        "safe_product": parts[6] * parts[7],
    }
    for name, values in whole.items():
        table = with_column(table, name, values)
    for k, values in enumerate(signed):
        table = with_column(
            table,
            f"gap_{k}",
            values,
            lower=np.nan,
            upper=np.nan,
            direction="zero_is_ideal",
            unit="difference",
            metric="",
        )
    loose = {"lower": np.nan, "upper": np.nan, "unit": "difference", "metric": ""}
    table = with_column(table, "gap", np.max(np.abs(signed), axis=0), direction="lower_is_safer", **loose)
    kinds = {a.column: (a.kind, len(a.parts)) for a in aggregates(table)}
    assert kinds == {
        "safe_all": ("mean", 3),
        "safe_weighted": ("weighted mean", 3),
        "safe_product": ("product", 2),
        "gap": ("maximum of absolute values", 4),
    }
    result = audit(table)
    assert len(result.of("aggregate_beside_parts")) == 1
    assert result.of("signed_maximum") == ()
    table = changed(table, lambda s, m, b: s.__setitem__("gap", np.max(signed, axis=0)))
    assert "signed" in only(audit(table), "signed_maximum")

    def turn(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        benchmarks.loc["safe_all", "direction"] = "lower_is_safer"
        scores.iloc[[2, 5], scores.columns.get_loc("safe_weighted")] += 0.01

    result = audit(changed(table, turn))
    assert result.of("aggregate_direction")[0].severity == "error"
    assert result.of("aggregate_broken")[0].models == tuple(table.scores.index[[2, 5]])


def test_a_failed_run_is_found_by_weaker_models_and_by_its_lineage() -> None:
    table = clean(12)
    strong = table.scores[CAPABILITY].mean(axis=1).sort_values(kind="stable").index[-1]

    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        scores.loc[strong, "cap_east"] = 0.0
        models["lineage"] = models.index

    result = audit(changed(table, edit))
    assert result.of("failed_run")[0].models == (strong,)
    assert "weaker models higher" in only(result, "failed_run")
    weak = table.scores[CAPABILITY].mean(axis=1).sort_values(kind="stable").index[0]
    result = audit(changed(table, lambda s, m, b: s.__setitem__("cap_east", s["cap_east"].mask(s.index == weak, 0.0))))
    assert result.of("failed_run")[0].models == (weak,)
    assert "of the way up" in only(result, "failed_run")


def test_a_score_far_below_chance() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        benchmarks.loc["safe_pink", "chance"] = 0.25
        scores.iloc[7, scores.columns.get_loc("safe_pink")] = 0.0

    result = audit(changed(clean(13), edit))
    assert only(result, "below_chance").split(": ")[1].startswith(f"{clean(13).scores.index[7]} 0 on safe_pink")


def test_reused_runs_near_duplicates_and_compute() -> None:
    table = clean(14)
    ability = table.scores["cap_north"].to_numpy()
    rng = np.random.default_rng(14)
    table = with_column(table, "brier_cap_north", ability**2 + 1e-4 * rng.normal(size=len(ability)))
    table = with_column(table, "safe_twin", np.exp(-ability) + 1e-4 * rng.normal(size=len(ability)), upper=np.nan)
    score = z_scores(table.matrix(CAPABILITY)).mean(axis=1)
    table = changed(table, lambda s, m, b: m.__setitem__("flop", np.exp(3 * score + 50)))
    result = audit(table)
    assert result.of("reused_runs")[0].benchmarks == ("brier_cap_north",)
    assert result.of("near_duplicate_of_capability")[0].benchmarks == ("safe_twin",)
    assert result.of("compute_is_capability")[0].value > 0.95


def test_saturation_chance_and_reliability() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        rng = np.random.default_rng(15)
        n = len(scores)
        scores["safe_red"] = rng.binomial(1000, 0.97, n) / 1000
        scores["safe_green"] = rng.binomial(1000, 0.02, n) / 1000
        scores["safe_blue"] = rng.binomial(1000, 0.02, n) / 1000
        scores["cap_west"] = rng.binomial(500, 0.25, n) / 500
        benchmarks.loc[["safe_red", "safe_green", "safe_blue"], "n_items"] = 1000.0
        benchmarks.loc["cap_west", ["n_items", "chance"]] = [500.0, 0.25]
        benchmarks.loc["safe_blue", "direction"] = "lower_is_safer"
        benchmarks["metric"] = ""

    result = audit(changed(clean(15), edit))
    assert [set(f.benchmarks) for f in result.of("ceiling")] == [{"safe_red", "safe_blue"}] * 2
    assert [f.benchmarks for f in result.of("floor")] == [("safe_green",)] * 2
    assert [f.benchmarks for f in result.of("at_chance")] == [("cap_west",)] * 2
    assert {name for f in result.of("low_reliability") for name in f.benchmarks} >= {"safe_red", "cap_west"}


def test_uneven_effort_from_bookkeeping_and_from_cells() -> None:
    table = clean(16)
    samples = np.full(table.n_models, 750.0)
    samples[[2, 11]] = 26, 432
    table = with_column(
        table, "safe-samples", samples, role="bookkeeping", direction="none", unit="count", lower=np.nan, upper=np.nan
    )
    keys = [(table.scores.index[0], "safe_red"), (table.scores.index[5], "safe_red"), (table.scores.index[5], "cap_up")]
    cells = pd.DataFrame("", index=pd.MultiIndex.from_tuples(keys), columns=list(CELL_COLUMNS))
    cells["note"] = ["601 of 940 puzzles", "759 of 940 puzzles", "second attempt"]
    result = audit(table.replace(cells=cells))
    assert result.of("uneven_effort")[0].models == tuple(table.scores.index[[2, 11]])
    assert "601 of 940" in only(result, "partial_cells")
    assert result.of("noted_cells")[0].benchmarks == ("cap_up",)


def test_missing_cells_families_and_lineages() -> None:
    def edit(scores: pd.DataFrame, models: pd.DataFrame, benchmarks: pd.DataFrame) -> None:
        chat = models["model_class"] == "chat"
        scores.loc[~chat, "safe_red"] = np.nan
        weak = scores.loc[chat, CAPABILITY].mean(axis=1).sort_values(kind="stable").index[:13]
        scores.loc[weak, "safe_blue"] = np.nan
        models["family"] = np.where(np.arange(len(models)) < 40, "big", models["family"])
        models.iloc[-2:, models.columns.get_loc("lineage")] = ["alone", "alone too"]

    result = audit(changed(clean(17), edit))
    assert result.of("absent_column")[0].model_class == "base"
    assert result.of("missing_cells")[0].severity == "warning"
    assert "by weaker models" in only(result, "missing_by_capability")
    assert [f.model_class for f in result.of("few_families")] == ["base", "chat"]
    assert result.of("unpaired_lineages")[0].value == 2


def test_scales_and_sources() -> None:
    table = clean(18)
    score = 50 * table.scores["safe_red"].to_numpy() + np.random.default_rng(18).normal(size=table.n_models)
    table = with_column(
        table, "elo", score, unit="Elo", lower=np.nan, upper=np.nan, metric="rating", source="arena-2025"
    )
    result = audit(table)
    assert only(result, "mixed_scales") == "2 different scales: proportion (14) and Elo (1)."
    assert result.of("one_source")[0].value == pytest.approx(14 / 15)


def test_helpers() -> None:
    assert listed(["a"]) == "a"
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed([str(k) for k in range(9)], 3) == "0, 1, 2 and 6 more"
    assert counted(1, "family", "families") == "1 family"
    assert counted(2, "column") == "2 columns"
    assert [number(v) for v in (0.0, 0.12345, 12.5, 12345.6, 3e-7)] == ["0", "0.123", "12.5", "12,346", "3e-07"]
    assert decimals(np.array([0.25, 0.5, np.nan])) == 2
    assert decimals(np.array([0.25, 1 / 3])) is None
    assert places(np.array([0.123, 0.456, 0.5, np.nan]))[:3].tolist() == [3, 3, 3]
    x = np.random.default_rng(19).normal(size=(30, 3))
    x[3, 0] = np.nan
    frame = pd.DataFrame(x)
    np.testing.assert_allclose(pearson(x, x), frame.corr().to_numpy(), atol=1e-12)
    np.testing.assert_allclose(spearman(x, x), frame.corr(method="spearman").to_numpy(), atol=1e-12)
