"""The audit on the three tables of the project: the traps of the paper's data, one by one, and of our own tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetystats.tables.audit import Audit, AuditFinding, audit
from safetystats.tables.load import load_table

COPIED = ("Llama-2-7b-hf", "falcon-7b-instruct", "gemma-2b", "gemma-7b")


@pytest.fixture(scope="module")
def ren2024(mirror: Path) -> Audit:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFETYSTATS_DATA", str(mirror))
        return audit(load_table("ren2024"))


def one(result: Audit, check: str, benchmark: str, model_class: str | None = None) -> AuditFinding:
    """Return the finding of a check that concerns a benchmark (and class)."""
    found = [f for f in result.of(check) if benchmark in f.benchmarks and model_class in (None, f.model_class)]
    assert len(found) == 1, result.to_frame()[["check", "model_class", "message"]].to_string()
    return found[0]


def test_machiavelli_is_raw_harm_although_labelled_negated(ren2024: Audit) -> None:
    totals = {"machiavelli-power.Σ", "machiavelli-utility.Σ", "machiavelli-violations.Σ"}
    found = one(ren2024, "negated_but_positive", "machiavelli-power.Σ")
    assert set(found.benchmarks) == totals
    assert found.severity == "warning"
    assert totals <= set(one(ren2024, "label_against_direction", "machiavelli-power.Σ").benchmarks)


def test_discrim_eval_is_not_negated(ren2024: Audit) -> None:
    one(ren2024, "label_against_direction", "discrim_eval")
    found = one(ren2024, "signed_maximum", "discrim_eval")
    assert len(found.benchmarks) == 8


def test_two_sided_columns(ren2024: Audit) -> None:
    found = one(ren2024, "two_sided", "discrim_eval_hispanic")
    assert "simple_cooccurrence_bias" in found.benchmarks
    assert len(found.benchmarks) == 8


def test_duplicate_column(ren2024: Audit) -> None:
    found = one(ren2024, "duplicate_column", "machiavelli-utility.Σ")
    assert set(found.benchmarks) == {"machiavelli-utility.suffering", "machiavelli-utility.Σ"}
    assert len(ren2024.of("duplicate_column")) == 1


def test_adv_mnli_mismatched_is_copied_for_four_models(ren2024: Audit) -> None:
    found = one(ren2024, "copied_cells", "adv_mnli_mismatched")
    assert set(found.benchmarks) == {"adv_mnli", "adv_mnli_mismatched"}
    assert tuple(sorted(found.models)) == COPIED
    assert tuple(sorted(one(ren2024, "impossible_fraction", "adv_mnli_mismatched").models)) == COPIED


def test_wmdp_is_off_for_three_models(ren2024: Audit) -> None:
    three = {"gemma-2b", "gemma-7b", "falcon-7b-instruct"}
    found = one(ren2024, "impossible_fraction", "wmdp")
    assert set(found.benchmarks) == {"wmdp", "wmdp_bio", "wmdp_chem", "wmdp_cyber"}
    assert set(found.models) == three
    assert set(one(ren2024, "aggregate_broken", "wmdp").models) == three


def test_uneven_machiavelli_effort(ren2024: Audit) -> None:
    found = one(ren2024, "uneven_effort", "machiavelli-samples")
    assert found.models[:2] == ("falcon-180B-chat", "Mixtral-8x22B-Instruct-v0.1")
    assert found.value == 26
    assert "machiavelli-power.Σ" in found.benchmarks


def test_saturated_and_floored_columns(ren2024: Audit) -> None:
    for model_class in ("base", "chat"):
        assert one(ren2024, "ceiling", "moralchoice", model_class).severity == "warning"
        assert one(ren2024, "floor", "drop_em", model_class).severity == "warning"


def test_mixed_scales(ren2024: Audit) -> None:
    message = ren2024.of("mixed_scales")[0].message
    for unit in ("proportion", "percent", "Elo", "judge score 1-10"):
        assert unit in message


def test_failed_runs_that_look_like_scores(ren2024: Audit) -> None:
    found = one(ren2024, "failed_run", "minerva_math")
    assert {"gemma-7b", "Qwen1.5-110B-Chat"} <= set(found.models)
    everyone = {(f.benchmarks[0], m) for f in ren2024.of("failed_run") for m in f.models}
    assert everyone == {
        ("minerva_math", "gemma-7b"),
        ("minerva_math", "Qwen1.5-110B-Chat"),
        ("minerva_math", "Qwen1.5-72B-Chat"),
        ("minerva_math", "Qwen1.5-7B-Chat"),
        ("bbh", "gemma-1.1-7b-it"),
        ("gsm8k", "Qwen1.5-4B-Chat"),
    }


def test_item_counts_are_exact_elsewhere(ren2024: Audit) -> None:
    assert one(ren2024, "half_counts", "gpqa").benchmarks == ("gpqa",)
    assert ren2024.of("not_a_share") == ()
    assert {b for f in ren2024.of("impossible_fraction") for b in f.benchmarks if not b.startswith("wmdp")} == {
        "adv_mnli_mismatched",
        "scruples",
    }


def test_sampling_error_is_known(ren2024: Audit) -> None:
    chat = one(ren2024, "low_reliability", "superglue_copa", "chat")
    assert "superglue_copa 0.67" in chat.message


def test_calibration_columns_reuse_capability_runs(ren2024: Audit) -> None:
    found = one(ren2024, "reused_runs", "brier_mmlu")
    assert len(found.benchmarks) == 12
    assert all(name.startswith(("brier_", "rmsce_")) for name in found.benchmarks)


def test_wmdp_nearly_is_a_capability_benchmark(ren2024: Audit) -> None:
    assert set(one(ren2024, "near_duplicate_of_capability", "wmdp_bio").benchmarks) == {"wmdp", "wmdp_bio"}


def test_compute_is_capability(ren2024: Audit) -> None:
    message = ren2024.of("compute_is_capability")[0].message
    assert "base 0.96 (n = 24)" in message
    assert "chat 0.94 (n = 21)" in message


def test_aggregates_stand_beside_their_parts(ren2024: Audit) -> None:
    found = one(ren2024, "aggregate_beside_parts", "bbq")
    assert set(found.benchmarks) == {
        *("bbq", "halueval", "adv_glue", "decodingtrust_adv_glue++", "ethics_all", "truthfulqa_truth*info", "wmdp"),
        *("discrim_eval", "rules_all", "superglue", "glue", "HarmBench-DirectRequest-all"),
        *("HarmBench-HumanJailbreaks-all", "HarmBench-TAP-T-all", "HarmBench-GCG-T-all"),
    }
    assert found.severity == "warning"


def test_undeclared_and_inferred_directions_and_families(ren2024: Audit) -> None:
    assert one(ren2024, "undeclared_direction", "beavertails").benchmarks == ("beavertails", "persona")
    assert "advanced_ai_risk" in one(ren2024, "inferred_direction", "advanced_ai_risk").benchmarks
    assert [f.value for f in ren2024.of("few_families")] == [9, 9]
    assert ren2024.of("unpaired_lineages")[0].models == ("Yi-9B",)
    assert one(ren2024, "absent_column", "LMSYS_Chatbot_Arena").model_class == "base"


def test_the_user_is_not_drowned(ren2024: Audit) -> None:
    assert len(ren2024.findings) <= 50
    assert len(ren2024.graver_than("note")) <= 30
    assert ren2024.graver_than("warning") == ()


def test_chat_2025() -> None:
    result = audit(load_table("chat-2025"))
    ceilings = one(result, "ceiling", "helm_xstest", "chat")
    assert {"helm_xstest", "helm_simple_safety_tests", "helm_anthropic_red_team"} <= set(ceilings.benchmarks)
    assert ceilings.severity == "warning"
    assert result.of("one_source")[0].value == pytest.approx(10 / 13)
    assert "of 940" in one(result, "partial_cells", "nyt_connections_ext").message
    assert len(one(result, "impossible_fraction", "helm_bbq_accuracy").models) == 4
    assert one(result, "missing_by_capability", "nyt_connections_ext").severity == "warning"


def test_helm_classic() -> None:
    result = audit(load_table("helm-classic"))
    assert result.of("impossible_fraction") == ()
    assert "bigscience/T0pp" in one(result, "below_chance", "classic_imdb").models
    assert len(one(result, "reused_runs", "classic_robust_mmlu").benchmarks) == 9
    assert result.of("few_families") == ()
