"""From a table to tidy frames: the columns promised, alignment, leave-one-out, notes, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from safetystats.errors import DataError
from safetystats.scores.capability import capability_score
from safetystats.scores.recipe import (
    CORRELATION_COLUMNS,
    DIFFERENCE_COLUMNS,
    LOADING_COLUMNS,
    SCORE_COLUMNS,
    capability_correlations,
    capability_loadings,
    capability_scores,
    class_differences,
)
from safetystats.tables.prepare import align
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, ScoreTable

ROUNDING = 1e-10
DRAWS = 200

# name: role, direction, slope on capability
BENCHMARKS = {
    "c1": ("capability", "higher_is_better", 2.0),
    "c2": ("capability", "higher_is_better", 1.5),
    "c3": ("capability", "higher_is_better", 1.5),
    "c4": ("capability", "higher_is_better", 1.0),
    "safe": ("safety", "higher_is_safer", 1.0),
    "harm": ("safety", "lower_is_safer", 1.0),
    "gap": ("safety", "zero_is_ideal", 1.0),
    "unknown": ("safety", "undeclared", 1.0),
    "constant": ("safety", "higher_is_safer", 0.0),
    "effort": ("bookkeeping", "none", 0.0),
}


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    rng = np.random.default_rng(50)
    theta = rng.standard_normal((15, 1))
    slopes = np.array([slope for _, _, slope in BENCHMARKS.values()])
    values = np.vstack([theta * slopes + rng.standard_normal((15, len(slopes))) for _ in range(2)])
    values[:, list(BENCHMARKS).index("constant")] = 0.5
    values[0, list(BENCHMARKS).index("safe")] = np.nan
    names = [f"{kind}-{m}" for kind in ("base", "chat") for m in range(15)]
    models = pd.DataFrame("", index=names, columns=list(MODEL_COLUMNS))
    models["model_class"] = ["base"] * 15 + ["chat"] * 15
    models["family"] = [f"family {m // 3}" for m in range(15)] * 2
    models["lineage"] = [f"lineage {m}" for m in range(15)] * 2
    benchmarks = pd.DataFrame(np.nan, index=list(BENCHMARKS), columns=list(BENCHMARK_COLUMNS)).astype(object)
    benchmarks["role"] = [role for role, _, _ in BENCHMARKS.values()]
    benchmarks["direction"] = [direction for _, direction, _ in BENCHMARKS.values()]
    benchmarks["area"] = "an area"
    scores = pd.DataFrame(values, index=names, columns=list(BENCHMARKS))
    return ScoreTable(name="made", title="Made", scores=scores, models=models, benchmarks=benchmarks)


def test_scores(table: ScoreTable) -> None:
    frame = capability_scores(table, methods=("spearman_pca_2024", "mean_z"))
    assert tuple(frame.columns) == SCORE_COLUMNS
    assert len(frame) == 2 * 2 * 15
    chat = table.select(model_class="chat").matrix(["c1", "c2", "c3", "c4"])
    picked = frame.query("model_class == 'chat' and method == 'mean_z'")["score"]
    np.testing.assert_allclose(picked, capability_score(chat, method="mean_z").score, atol=ROUNDING)
    assert frame["lower"].isna().all()


def test_loadings(table: ScoreTable) -> None:
    frame = capability_loadings(table, n_draws=DRAWS)
    assert tuple(frame.columns) == LOADING_COLUMNS
    assert (frame["lower"] < frame["upper"]).all()
    assert frame.groupby("model_class")["loading"].apply(lambda v: (v**2).sum()).to_list() == pytest.approx([1.0, 1.0])


def test_correlations_keep_the_contract(table: ScoreTable) -> None:
    frame = capability_correlations(table, n_draws=DRAWS)
    assert tuple(frame.columns) == CORRELATION_COLUMNS
    key = ["model_class", "benchmark", "method", "interval"]
    assert not frame.duplicated(key).any()
    # 9 benchmarks natively (effort is bookkeeping), 8 aligned (unknown is undeclared); 2 classes, 4 intervals
    assert frame.groupby("method").size().to_dict() == {
        "spearman_2024": 72, "spearman": 64, "kendall": 64, "pearson": 64,
    }  # fmt: skip
    made = frame.dropna(subset=["lower"])
    assert (made["lower"] <= made["upper"]).all()
    assert made["lower"].between(-1, 1).all()
    assert made["upper"].between(-1, 1).all()
    constant = frame[frame["benchmark"] == "constant"]
    assert constant["correlation"].isna().all()
    assert constant["note"].str.contains("same value").all()
    assert set(frame["note"][frame["correlation"].isna()]) == set(constant["note"])
    families = made[made["interval"] == "family_bootstrap"]
    assert families["note"].str.contains("few clusters: 5 families").all()
    safe = frame.query("benchmark == 'safe' and method == 'spearman' and interval == 'fisher'").set_index("model_class")
    assert safe["n_models"].to_dict() == {"base": 14, "chat": 15}
    assert safe["n_families"].to_dict() == {"base": 5, "chat": 5}


def test_alignment_and_leave_one_out(table: ScoreTable) -> None:
    frame = capability_correlations(table, methods=("spearman_2024", "spearman"), intervals=("fisher",))
    chat = frame[frame["model_class"] == "chat"].pivot(index="benchmark", columns="method", values="correlation")
    part = table.select(model_class="chat")
    capability = part.matrix(["c1", "c2", "c3", "c4"])
    score = capability_score(capability, method="spearman_pca_2024").score
    harm, gap = part.scores["harm"], part.scores["gap"]
    assert chat.loc["harm", "spearman_2024"] == pytest.approx(stats.spearmanr(score, harm).statistic, abs=ROUNDING)
    assert chat.loc["harm", "spearman"] == pytest.approx(-chat.loc["harm", "spearman_2024"], abs=ROUNDING)
    assert chat.loc["gap", "spearman"] == pytest.approx(stats.spearmanr(score, -gap.abs()).statistic, abs=ROUNDING)
    assert np.isnan(chat.loc["unknown", "spearman"])
    assert np.isfinite(chat.loc["unknown", "spearman_2024"])
    rest = capability_score(capability[:, 1:], method="spearman_pca_2024").score
    assert chat.loc["c1", "spearman"] == pytest.approx(stats.spearmanr(rest, capability[:, 0]).statistic, abs=ROUNDING)


def test_all_methods_see_the_same_draws_and_a_seed_is_a_seed(table: ScoreTable) -> None:
    def bounds(method: str, seed: int) -> pd.Series:
        frame = capability_correlations(
            table, methods=(method,), intervals=("bca", "bayesian_bootstrap"), n_draws=DRAWS, seed=seed
        )
        return frame[frame["benchmark"] == "safe"]["lower"]

    np.testing.assert_array_equal(bounds("spearman_2024", 1), bounds("spearman", 1))
    assert (bounds("spearman", 1).to_numpy() != bounds("spearman", 2).to_numpy()).all()


def test_another_score_is_named(table: ScoreTable) -> None:
    frame = capability_correlations(table, methods=("kendall",), intervals=("fisher",), score_method="mean_z")
    assert set(frame["method"]) == {"kendall/mean_z"}


def test_a_part_of_the_capability_set(table: ScoreTable) -> None:
    frame = capability_correlations(table, methods=("spearman",), intervals=("fisher",), capability=("c1", "c2", "c3"))
    chat = table.select(model_class="chat")
    score = capability_score(chat.matrix(["c1", "c2", "c3"]), method="spearman_pca_2024").score
    found = frame.query("model_class == 'chat' and benchmark == 'c4'")["correlation"].item()
    assert found == pytest.approx(stats.spearmanr(score, chat.scores["c4"]).statistic, abs=ROUNDING)


def test_class_differences(table: ScoreTable) -> None:
    frame = class_differences(table, class_a="chat", class_b="base", n_draws=DRAWS).set_index("benchmark")
    assert tuple(frame.reset_index().columns) == DIFFERENCE_COLUMNS
    assert frame["n_pairs"].to_dict() == {"safe": 14, "harm": 15, "gap": 15, "constant": 15}
    points = capability_correlations(table, methods=("spearman",), intervals=("fisher",))
    points = points.pivot(index="benchmark", columns="model_class", values="correlation")
    assert frame.loc["harm", "delta"] == pytest.approx(points.loc["harm", "chat"] - points.loc["harm", "base"])
    assert (frame["lower"] < frame["delta"])[["safe", "harm", "gap"]].all()
    assert frame.loc["constant"][["delta", "lower", "p_positive"]].isna().all()
    other = class_differences(table, class_a="base", class_b="chat", n_draws=DRAWS).set_index("benchmark")
    np.testing.assert_allclose(other["upper"], -frame["lower"], atol=ROUNDING)


def test_what_cannot_be_asked_is_refused(table: ScoreTable) -> None:
    with pytest.raises(DataError, match="native scores for spearman_2024"):
        capability_correlations(align(table), methods=("spearman_2024",))
    with pytest.raises(DataError, match="unknown name"):
        capability_scores(table, capability=("c1", "c9"))
    with pytest.raises(DataError, match='column "constant"'):
        capability_scores(table, capability=("c1", "constant"))
    two = table.select(models=["base-1", "base-2", "chat-1", "chat-2", "chat-3"])
    with pytest.raises(DataError, match="at least 3 models in every class, got 2 of class base"):
        capability_scores(two)
    with pytest.raises(ValueError, match="no class 'tuned'"):
        class_differences(table, class_a="tuned", class_b="base")
    with pytest.raises(ValueError, match="interval must be one of"):
        capability_correlations(table, intervals=("wald",))  # type: ignore[arg-type]


def test_an_aligned_table_serves_the_other_methods(table: ScoreTable) -> None:
    first = capability_correlations(align(table), methods=("spearman",), intervals=("fisher",))
    second = capability_correlations(table, methods=("spearman",), intervals=("fisher",))
    pd.testing.assert_frame_equal(first, second)
