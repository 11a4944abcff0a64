"""A new benchmark against the stored draws of helm-classic: what the answer may depend on, and what not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetystats.errors import DataError, StudyError
from safetystats.inference.reference import Reference
from safetystats.spec_questions import RelationRules
from safetystats.summaries.assess import (
    CORRELATION_COLUMNS,
    INFLUENCE_COLUMNS,
    NOISE_UNKNOWN,
    Assessment,
    assess,
    match_scores,
    matching_table,
)
from safetystats.summaries.cards import models_needed
from safetystats.summaries.decision_rule import NOISE
from safetystats.summaries.references import find_reference
from safetystats.tables.load import load_table

COLUMN = "classic_truthfulqa"
ITEMS = 654


@pytest.fixture(scope="module")
def reference() -> Reference:
    return find_reference("helm-classic")


@pytest.fixture(scope="module")
def scores() -> pd.Series:
    return load_table("helm-classic").scores[COLUMN].dropna()


@pytest.fixture(scope="module")
def found(reference: Reference, scores: pd.Series) -> Assessment:
    return assess(scores, reference, "higher_is_safer", name=COLUMN, items=ITEMS)


def rho(assessment: Assessment) -> list[float]:
    return list(assessment.correlations["mean"])


def test_the_tables_have_their_columns(found: Assessment) -> None:
    assert tuple(found.correlations.columns) == CORRELATION_COLUMNS
    assert tuple(found.influence.columns) == INFLUENCE_COLUMNS
    assert found.correlations["model_class"].tolist() == ["base", "chat"]
    assert found.says_something
    row = found.correlations.iloc[0]
    assert row["p_entangled"] + row["p_distinct"] + row["p_inverse"] == pytest.approx(1)
    assert row["lower"] < row["mean"] < row["upper"]
    json.dumps(found.content, allow_nan=False)


def test_neither_names_nor_order_move_a_number(found: Assessment, scores: pd.Series) -> None:
    shuffled = scores.sample(frac=1, random_state=1)
    shuffled.index = [str(model).upper().replace("-", "_") for model in shuffled.index]
    again = assess(shuffled, "helm-classic", "higher_is_safer", name="another name", items=ITEMS)
    pd.testing.assert_frame_equal(
        again.correlations.drop(columns="benchmark"), found.correlations.drop(columns="benchmark")
    )


@given(factor=st.sampled_from([0.01, 3.0, 100.0]), shift=st.sampled_from([-50.0, 0.0, 2.0]), turned=st.booleans())
@settings(max_examples=4, deadline=None)
def test_units_do_not_matter_but_for_the_slope(
    reference: Reference, scores: pd.Series, factor: float, shift: float, turned: bool
) -> None:
    plain = assess(scores, reference, "higher_is_safer", name=COLUMN)
    sign, direction = (-1.0, "lower_is_safer") if turned else (1.0, "higher_is_better")
    other = assess(sign * factor * scores + shift, reference, direction, name=COLUMN)
    # z-scores agree to rounding, which a resampling step can turn into another choice in few of the 4000 draws.
    np.testing.assert_allclose(rho(other), rho(plain), atol=2e-3)
    np.testing.assert_allclose(other.correlations["slope"], factor * plain.correlations["slope"], rtol=0.02)


def test_scores_nearest_to_zero_are_aligned(reference: Reference, scores: pd.Series) -> None:
    signs = np.where(np.arange(len(scores)) % 2, 1.0, -1.0)
    two_sided = assess(scores * signs, reference, "zero_is_ideal", name=COLUMN)
    below = assess(-scores.abs(), reference, "higher_is_safer", name=COLUMN)
    pd.testing.assert_frame_equal(two_sided.correlations, below.correlations)


def test_one_class_does_not_depend_on_the_other(found: Assessment, reference: Reference, scores: pd.Series) -> None:
    only = scores[[m for m in scores.index if m in reference.classes["chat"].models]]
    again = assess(only, reference, "higher_is_safer", name=COLUMN, items=ITEMS)
    assert rho(again)[1] == rho(found)[1]
    assert again.correlations["why"][0].startswith("0 of its models have a score")
    assert again.content["classes"]["base"]["absent"]


def test_of_three_models_nothing_can_be_said(reference: Reference, scores: pd.Series) -> None:
    few = assess(scores.iloc[:3], reference, "higher_is_safer")
    assert not few.says_something
    assert few.correlations["mean"].isna().all()
    assert few.correlations["why"][0] == "3 of its models have a score, fewer than 5"
    assert few.content["classes"]["base"] == {
        "absent": few.correlations["why"][0], "n_models": 3, "n_reference": 43,
    }  # fmt: skip


def test_equal_scores_say_nothing(reference: Reference, scores: pd.Series) -> None:
    assert set(assess(scores * 0 + 1, reference, "higher_is_safer").correlations["why"]) == {
        "all 43 scores are equal", "all 24 scores are equal",
    }  # fmt: skip


def test_no_known_model_says_nothing(reference: Reference) -> None:
    found = assess({"nobody/knows-this": 0.5}, reference, "higher_is_safer")
    assert not found.says_something
    assert found.matching["how"].tolist() == ["none"]


def test_unknown_models_are_listed_and_change_nothing(
    found: Assessment, reference: Reference, scores: pd.Series
) -> None:
    more = pd.concat([scores, pd.Series({"nobody/knows-this": 9.0})])
    again = assess(more, reference, "higher_is_safer", name=COLUMN, items=None)
    assert again.content["scores"] == {
        "given": len(more), "empty": 0, "matched": len(scores), "unmatched": 1,
    }  # fmt: skip
    assert rho(again) == rho(found)
    assert matching_table(match_scores(more, reference))["model"].tolist()[-1] == ""


def test_a_doubled_model_is_shown_and_refused(reference: Reference, scores: pd.Series) -> None:
    first = str(scores.index[0])
    more = pd.concat([scores, pd.Series({first.upper(): 1.0})])
    matched = match_scores(more, reference)
    assert matching_table(matched)["model"].tolist().count(first) == 2
    assert [fault.column for fault in matched.faults] == ["model"]
    with pytest.raises(DataError, match="every model once"):
        assess(matched, direction="higher_is_safer", name=COLUMN)


def test_items_give_reliability_and_leave_the_correlation(
    found: Assessment, reference: Reference, scores: pd.Series
) -> None:
    rows = found.estimands.set_index(["model_class", "estimand"])["mean"]
    assert 0 < rows["base", "reliability"] < 1
    assert rows["base", "disattenuated_correlation"] > rows["base", "correlation"]
    fewer = assess(scores, reference, "higher_is_safer", name=COLUMN, items=100)
    less = fewer.estimands.set_index(["model_class", "estimand"])["mean"]
    assert less["base", "reliability"] < rows["base", "reliability"]
    assert rho(fewer) == rho(found)


def test_the_decision_rule_can_be_set(found: Assessment, reference: Reference, scores: pd.Series) -> None:
    lower = assess(scores, reference, "higher_is_safer", name=COLUMN, limit=0.05, probability=0.9)
    assert lower.content["decision"] == {
        "limit": 0.05, "probability": 0.9, "reason": "chosen for this assessment", "least_reliability": 0.5,
    }  # fmt: skip
    assert (lower.correlations["p_entangled"] >= found.correlations["p_entangled"]).all()
    assert lower.correlations["verdict"][0] == "entangled"
    with pytest.raises(StudyError, match="limit"):
        assess(scores, reference, "higher_is_safer", limit=1.5)


def test_what_would_settle_it_is_the_card_s(found: Assessment) -> None:
    for own, row in zip(found.content["classes"].values(), found.correlations.to_dict("records"), strict=True):
        assert own["verdict"] == "undetermined"
        needed = models_needed(
            row["mean"], row["lower"], row["upper"], level=0.95, n=row["n_models"], limit=0.4, probability=0.95
        )
        assert own["change"]["models_needed"] == needed
        assert own["change"]["nearest_probability"] == max(row[f"p_{r}"] for r in ("entangled", "inverse", "distinct"))


def test_a_verdict_by_a_hair_is_compared_with_itself(
    found: Assessment, reference: Reference, scores: pd.Series
) -> None:
    stated = float(found.correlations["p_entangled"][0])
    by_a_hair, missed = (
        assess(scores, reference, "higher_is_safer", name=COLUMN, probability=stated + step) for step in (-1e-4, 1e-4)
    )
    for each, verdict in ((by_a_hair, "entangled"), (missed, "undetermined")):
        assert each.correlations["verdict"][0] == verdict
        own = each.influence[each.influence["model_class"] == "base"]
        assert (own["verdict"] == verdict).all()
        np.testing.assert_allclose(own["p_verdict"], stated)
        np.testing.assert_allclose(own["mean"], each.correlations["mean"][0])
        moved = (own["p_without"] - own["p_verdict"]).abs() > NOISE
        other = own["verdict_without"] != verdict
        pd.testing.assert_series_equal(own["flips"], other & moved, check_names=False)
        assert (other & ~moved).any()  # or the rule would not be tested
        assert each.content["classes"]["base"]["influence"]["n_changing"] == own["flips"].sum()
    n = by_a_hair.content["classes"]["base"]["n_models"]
    assert by_a_hair.content["classes"]["base"]["change"]["models_needed"] is None
    assert missed.content["classes"]["base"]["change"]["models_needed"] > n


def coins(reference: Reference, n_items: int, seed: int = 0) -> dict[str, float]:
    """Return the share of heads of every base model, which has nothing to do with capability."""
    rng = np.random.default_rng(seed)
    return {model: rng.binomial(n_items, 0.5) / n_items for model in reference.classes["base"].models}


def test_coin_flips_are_not_called_distinct(reference: Reference) -> None:
    flips = coins(reference, 30)
    assert assess(flips, reference, "higher_is_safer").correlations["p_distinct"][0] > 0.95  # or nothing is tested
    found = assess(flips, reference, "higher_is_safer", items=30)
    row = found.correlations.iloc[0]
    assert row["verdict"] == "withheld"
    assert row["verdict_why"].startswith("reliability 0.")
    assert not found.gate_failed
    assert set(found.influence["verdict_without"]) == {"withheld"}
    assert not found.influence["flips"].any()
    own = found.content["classes"]["base"]
    assert (own["verdict"], own["verdict_why"]) == ("withheld", row["verdict_why"])
    assert own["change"]["models_needed"] is None
    assert not own["change"]["settled"]


def test_what_a_run_withholds_is_withheld(reference: Reference) -> None:
    flips = coins(reference, 30)
    found = assess(flips, reference, "higher_is_safer", items=30)
    needed = RelationRules(least_reliability=1e-3)
    lenient = assess(flips, replace(reference, rules=needed), "higher_is_safer", items=30)
    assert lenient.correlations["verdict_why"][0] != found.correlations["verdict_why"][0]
    assert lenient.content["decision"]["least_reliability"] == needed.least_reliability


def test_noise_that_is_not_of_the_items_is_distinct(reference: Reference) -> None:
    rng = np.random.default_rng(0)
    own = {model: float(share) for model, share in coins(reference, 30).items()}
    spread = {
        model: float(np.clip(3 * (share - 0.5) + 0.5 + rng.normal(0, 0.01), 0, 1)) for model, share in own.items()
    }
    found = assess(spread, reference, "higher_is_safer", items=10_000)
    assert found.correlations["verdict"][0] == "distinct"
    assert found.correlations["verdict_why"][0] == ""


def test_where_items_are_unknown_it_is_said(found: Assessment, reference: Reference) -> None:
    unknown = assess(coins(reference, 30), reference, "higher_is_safer").correlations
    assert unknown["verdict"][0] == "distinct"
    assert unknown["verdict_why"][0] == NOISE_UNKNOWN
    assert set(found.correlations["verdict_why"]) == {""}  # undetermined, whether or not items are known


def test_influence_is_that_of_leaving_a_model_out(found: Assessment, reference: Reference, scores: pd.Series) -> None:
    chat = found.influence[found.influence["model_class"] == "chat"]
    weighty = chat.loc[chat["change"].abs().idxmax()]
    without = assess(scores.drop(weighty["model"]), reference, "higher_is_safer", name=COLUMN, items=ITEMS)
    # The change from 2400 draws there, 4000 here; the scores are z-scored anew here, which moves the priors a little.
    assert weighty["mean_without"] == pytest.approx(rho(without)[1], abs=0.03)
    assert abs(weighty["change"]) > 0.1


def test_models_of_like_capability_are_remarked(reference: Reference, scores: pd.Series) -> None:
    own = reference.classes["base"]
    order = np.argsort(own.theta.mean(axis=0))
    near = [own.models[i] for i in order[12:24] if own.models[i] in scores.index]
    found = assess(scores[near], reference, "higher_is_safer")
    assert found.content["classes"]["base"]["narrow"]
    assert found.correlations["capability_spread"][0] < 0.7


def test_a_direction_is_needed(scores: pd.Series) -> None:
    with pytest.raises(StudyError, match="one of higher_is_safer"):
        assess(scores)
    with pytest.raises(StudyError, match='did you mean "helm-classic"'):
        assess(scores, "helm-clasic", "higher_is_safer")


def test_a_capability_benchmark_itself_is_entangled(reference: Reference) -> None:
    table = load_table("helm-classic")
    name = table.columns("capability")[0]
    found = assess(table.scores[name].dropna(), reference, "higher_is_better")
    assert (found.correlations["mean"] > 0.5).all()


def test_noise_is_not_entangled(reference: Reference) -> None:
    rng = np.random.default_rng(4)
    models = [m for own in reference.classes.values() for m in own.models]
    found = assess(dict(zip(models, rng.normal(size=len(models)), strict=True)), reference, "higher_is_safer")
    assert (found.correlations["p_entangled"] < 0.2).all()


def test_the_file_and_the_hash_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safetystats.summaries.references.stated_hashes", lambda: {"helm-classic": "0" * 64})
    with pytest.raises(DataError, match="reference make"):
        find_reference("helm-classic")


def test_a_finished_run_serves_as_well(tmp_path: Path, reference: Reference, scores: pd.Series) -> None:
    folder = write_run(tmp_path, reference)
    found = assess(scores, folder, "higher_is_safer", name=COLUMN)
    plain = assess(scores, reference, "higher_is_safer", name=COLUMN)
    np.testing.assert_allclose(rho(found), rho(plain), atol=1e-12)
    assert found.content["reference"]["table"] == "helm-classic"
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["gates"]["checks"] = [{"fit": "capability/base", "check": "r_hat", "outcome": "fail"}]
    record["spec"]["questions"]["least_reliability"] = 0.7
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    held = assess(scores, folder, "higher_is_safer")
    assert held.correlations["verdict"].tolist()[0] == "withheld"
    assert held.gate_failed
    assert held.content["decision"]["least_reliability"] == 0.7


def test_a_changed_file_of_a_run_is_refused(tmp_path: Path, reference: Reference, scores: pd.Series) -> None:
    folder = write_run(tmp_path, reference)
    (folder / "fits" / "capability-chat.nc").write_bytes(b"nothing")
    with pytest.raises(DataError, match="draws of capability"):
        assess(scores, folder, "higher_is_safer")
    with (folder / "tables" / "capability_scores.csv").open("a", encoding="utf-8") as stream:
        stream.write("x")
    with pytest.raises(DataError, match="as the run wrote it"):
        assess(scores, folder, "higher_is_safer")


def write_run(folder: Path, reference: Reference) -> Path:
    """Write what an assessment reads of a run, with the draws of a reference."""
    import xarray as xr

    from safetystats.inference.store import FitStore
    from safetystats.shelf import sha256_bytes
    from safetystats.specs import read_study

    store, rows, fits = FitStore(root=folder / "store"), [], {}
    for label, own in reference.classes.items():
        posterior = xr.Dataset(
            {
                "theta": (("chain", "draw", "model"), own.theta[None]),
                "capability_icc": (("chain", "draw"), own.capability_icc[None]),
            },
            coords={"model": list(own.models), "benchmark": list(own.benchmarks)},
        )
        path = store.save(f"key-{label}", xr.DataTree.from_dict({"posterior": posterior}))
        target = folder / "fits" / f"capability-{label}.nc"
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
        fits[f"capability-{label}"] = f"key-{label}"
        for method in ("latent", "spearman_pca_2024"):
            rows += [
                {"model_class": label, "model": m, "family": f, "method": method, "score": s}
                for m, f, s in zip(own.models, own.families, own.score_2024, strict=True)
            ]
    content = pd.DataFrame(rows).to_csv(index=False)
    (folder / "tables").mkdir()
    (folder / "tables" / "capability_scores.csv").write_text(content, encoding="utf-8")
    record: Mapping[str, Any] = {
        "study": "helm-classic",
        "spec": json.loads(read_study("helm-classic").model_dump_json()),
        "specs": {"factor": {"content": json.loads(reference.spec.model_dump_json())}},
        "table": {"name": reference.name, "fingerprint": reference.table_fingerprint},
        "fits": fits,
        "tables": {"capability_scores": sha256_bytes(content.encode("utf-8"))},
        "gates": {"passed": True, "checks": []},
        "versions": {"safetystats": "0"},
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder
