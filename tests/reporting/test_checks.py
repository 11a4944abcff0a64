"""The checks of the model in the report: every variant of a sentence, the numbers in it, and what was not run."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from made_tables import number_of_factors, shrunken_correlations, spec_comparison

from safetystats.reporting.document import render_document
from safetystats.reporting.report_checks import place_text
from safetystats.reporting.results import collect_results
from safetystats.reporting.spec_text import PRIOR_NAMES
from safetystats.reporting.writers import to_html
from safetystats.shelf import shelf_names
from safetystats.specs import FactorPriors, FactorSpec, Scrutiny, read_spec
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.glossary import TABLES

PARTS = ("number-of-factors", "predictive", "specs", "prior-sensitivity", "shrinkage", "estimands", "methods-model",
         "methods-checks", "methods-limits", "cut-joint", "methods-cut", "methods-decision")  # fmt: skip


def render(found: Analysis) -> dict[str, str]:
    """Return the text of every section by its identifier."""
    text = render_document(found, collect_results(found), {})
    pieces = re.split(r"^#+ .*\{#([\w-]+)\}$", text, flags=re.MULTILINE)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def with_tables(found: Analysis, **tables: pd.DataFrame) -> Analysis:
    return dataclasses.replace(found, tables={**found.tables, **tables})


def with_spec(found: Analysis, name: str, **changes: object) -> Analysis:
    """Return the analysis as if its factor spec were another one, with fields changed."""
    spec = read_spec(name, "factor")
    assert isinstance(spec, FactorSpec)
    return dataclasses.replace(found, plan=dataclasses.replace(found.plan, factor=spec.model_copy(update=changes)))


def per_class(found: Analysis, make: object) -> pd.DataFrame:
    return pd.concat([make(c) for c in found.plan.table.classes], ignore_index=True)  # type: ignore[operator]


# --- number of factors ---


def test_rules_that_disagree_settle_nothing(checked: Analysis) -> None:
    text = render(checked)["number-of-factors"]
    assert "keeps 1 against models that are independent and 1 against noise that families share" in text
    assert "is reached with 2. The second eigenvalue is 1.50, where data without a factor stay below 1.80 and" in text
    assert "The rules do not agree" in text
    assert "nearly blind" in text


@pytest.mark.parametrize(("n", "words"), [(1, "The rules agree on one."), (2, "The rules agree.")])
def test_rules_that_agree(checked: Analysis, n: int, words: str) -> None:
    table = per_class(checked, lambda c: number_of_factors(c, 8, n_map=n))
    table[["n_parallel", "n_parallel_clustered"]] = n
    assert words in render(with_tables(checked, number_of_factors=table))["number-of-factors"]


def test_table_and_prose_have_the_same_eigenvalue(analysis: Analysis) -> None:
    second = analysis.tables["number_of_factors"].query("model_class == 'chat' and component == 2").iloc[0]
    text = render(analysis)["number-of-factors"]
    assert f"The second eigenvalue is {second['eigenvalue']:.2f}" in text
    assert f"| chat | 2 | {second['eigenvalue']:.3f} |" in text


# --- predictive checks and boundary cases ---


def test_unusual_quantities_are_named_with_their_place_and_range(checked: Analysis) -> None:
    text = render(checked)["predictive"]
    assert "Against the posterior, 2 of 3 quantities are unusual: largest absolute correlation left" in text
    assert ", 1.25 where replications have 0.75 to 1.20;" in text
    assert "Against the prior, 0 are unusual." in text
    assert "(MMLU, 5 subjects and BoolQ)" in text.replace("\\", "")
    assert "keeps almost no variance of its own \\(a Heywood case\\) | 0.750 | 0.50 |" in text
    assert "conservative" in text


def test_one_unusual_quantity_against_the_prior(checked: Analysis) -> None:
    table = checked.tables["predictive_checks"].copy()
    table["unusual"] = (table["predictive"] == "prior") & (table["discrepancy"] == "eigenvalue_2")
    text = render(with_tables(checked, predictive_checks=table))["predictive"]
    assert "0 of 3 quantities are unusual. Against the prior, 1 is unusual: second eigenvalue" in text


def test_nothing_at_the_edge(checked: Analysis) -> None:
    none = checked.tables["boundary_cases"].iloc[:0]
    assert (
        "No parameter of a capability benchmark lies at the edge"
        in render(with_tables(checked, boundary_cases=none))["predictive"]
    )


def test_places_become_names_even_where_a_name_has_an_and() -> None:
    names = {"a": "A", "b and c": "B & C", "c": "C"}
    assert place_text("a and b and c", names, {}) == "A and B \\& C"
    assert place_text("m and c", names, {"m": "M*"}) == "M\\* and C"
    assert place_text("b and c", names, {}) == "B \\& C"
    assert place_text("x and <y>", names, {}) == "x and \\<y\\>"


# --- other specs ---


def test_another_spec_predicts_better(checked: Analysis) -> None:
    text = render(checked)["specs"]
    assert "*Two\\-level two\\-factor model \\(capability and one unrestricted factor\\)* predicts best of 3" in text
    assert (
        "the study's spec lies 8.0 lower (standard error 2.5), a difference that is counted by the rule below" in text
    )
    assert "by that rule 2 of the specs lie below the best" in text
    assert "3 densities over all specs come from a fit without the unit" in text
    assert "Not compared, base. Two\\-level bifactor model" in text
    assert "2 of the 6 fits of other specs missed a limit" in text


def test_the_studys_spec_predicts_best(checked: Analysis) -> None:
    own = checked.plan.study.factor
    table = per_class(checked, lambda c: spec_comparison(c, own, best=own))
    text = render(with_tables(checked, spec_comparison=table))["specs"]
    assert "the study's spec predicts best of 3; the next, *One\\-factor model" in text
    assert "lies 8.0 lower (standard error 2.5); by the rule below 2 of the specs lie below the best" in text


def test_small_differences_are_not_counted_and_doubtful_units_are_told(checked: Analysis) -> None:
    table = checked.tables["spec_comparison"].copy()
    table["difference"] /= 4
    table.loc[table["elpd"].notna(), "n_doubtful"] = 1
    table["n_refitted"] = table["n_refitted"] * 0
    text = render(with_tables(checked, spec_comparison=table))["specs"]
    assert "a difference that is not counted by the rule below; by that rule 0 of the specs lie below" in text
    assert "3 densities are not reliable: importance sampling failed and no fit without the unit is there." in text
    assert "come from a fit" not in text


def test_without_comparison_and_refits_the_text_says_not_run(analysis: Analysis) -> None:
    text = render(analysis)
    assert "Not run: the study names no other spec to compare with" in text["specs"]
    assert "were not run (the study's option `exact_refits`)" in text["specs"]
    assert "the elpd of *Two\\-level one\\-factor model" in text["specs"]
    assert "counted here" not in text["specs"]
    assert "Not run: the study does not repeat the fit with the 12 other priors" in text["prior-sensitivity"]
    assert "fits with other priors" not in text["methods-checks"]
    assert "by fits without the unit" not in text["methods-checks"]


# --- priors ---


def test_flags_and_changes_are_counted_per_prior(checked: Analysis) -> None:
    text, results = render(checked)["prior-sensitivity"], collect_results(checked)
    assert "1 of 20 correlations is flagged for at least one of 2 priors, 1 of them with a prior-data conflict" in text
    assert "the largest sensitivity is 0.200" in text
    assert "| base | loading of a capability benchmark | 20 | 1 | 0 | 0.200 |" in text
    assert "under 1 of 12 other priors a verdict changes, in all for 1 of 12 safety benchmarks" in text
    assert "The largest change of a posterior mean is −0.12" in text
    assert "Among the loadings of the capability benchmarks it is 0.03" in text
    assert text.count("| 1 of 12 |") == 2
    assert results["largest_change.base.safety"] == -0.125


def test_a_weak_likelihood_is_told(checked: Analysis) -> None:
    table = checked.tables["prior_sensitivity"].copy()
    table.loc[(table["prior"] == "likelihood") & (table["model_class"] == "chat"), "diagnosis"] = (
        "strong prior or weak likelihood"
    )
    text = render(with_tables(checked, prior_sensitivity=table))["prior-sensitivity"]
    assert "For 8 loadings the likelihood itself is weak." in text


def test_a_spec_without_other_priors(analysis: Analysis) -> None:
    text = render(with_spec(analysis, "two-level", alternatives=()))["prior-sensitivity"]
    assert "Not applicable: the spec states no other priors." in text


# --- shrinkage and estimands ---


def test_verdicts_that_change_when_shrunk_are_counted_by_step(checked: Analysis) -> None:
    posterior = checked.tables["posterior_correlations"]
    cut = posterior[(posterior["mode"] == "cut") & (posterior["model_class"] == "chat")]
    settled = int((cut["verdict"] != "undetermined").sum())
    results, text = collect_results(checked), render(checked)["shrinkage"]
    assert results["shrunk_changed.chat"] == settled
    assert f"{settled} of 12 verdicts change when shrunk" in text or settled == 1
    assert "the correlation is 0.25 \\[−0.12, 0.50\\]" in text.replace("[−0.12, 0.50]", "\\[−0.12, 0.50\\]")
    assert "| *all benchmarks* | 12 |" in text


def test_one_safety_benchmark_is_not_shrunk(checked: Analysis) -> None:
    posterior = checked.tables["posterior_correlations"]
    cut = posterior[(posterior["mode"] == "cut") & (posterior["model_class"] == "base")]
    only_base = with_tables(checked, shrunken_correlations=shrunken_correlations("base", cut))
    assert "**chat.** Nothing was shrunk: that takes two safety benchmarks" in render(only_base)["shrinkage"]


def test_estimands_without_item_counts(analysis: Analysis) -> None:
    table = analysis.tables["posterior_estimands"].copy()
    noise = ("disattenuated_correlation", "reliability", "reliable_share_left", "p_all_error")
    table.loc[table["estimand"].isin(noise), ["mean", "sd", "lower", "upper"]] = np.nan
    text = render(with_tables(analysis, posterior_estimands=table))["estimands"]
    assert text.count("Item counts are not known for any benchmark") == 2
    table.loc[table["estimand"] == "reliability", "mean"] = 0.9
    table.loc[(table["estimand"] == "p_all_error") & (table["model_class"] == "chat"), "mean"] = 0.5
    text = render(with_tables(analysis, posterior_estimands=table))["estimands"]
    assert "the smallest reliability is 0.90" in text
    assert "For 12 benchmarks the corrected correlation is undefined or beyond one" in text
    table.loc[table["estimand"] == "disattenuated_correlation", "mean"] = 1.0
    assert "moves the posterior mean most for" in render(with_tables(analysis, posterior_estimands=table))["estimands"]


def test_tables_that_are_empty_leave_sentences_that_say_so(analysis: Analysis) -> None:
    names = ("number_of_factors", "predictive_checks", "boundary_cases", "prior_sensitivity", "shrunken_correlations",
             "posterior_estimands")  # fmt: skip
    text = render(with_tables(analysis, **{n: pd.DataFrame(columns=list(TABLES[n])) for n in names}))
    assert "The number of factors was not looked at." in text["number-of-factors"]
    assert "There are no predictive checks." in text["predictive"]
    assert "Nothing was shrunk" in text["shrinkage"]


# --- methods follow the spec ---


@pytest.mark.parametrize("name", [n for n in shelf_names("models", ".toml") if not n.startswith(("class-", "score-"))])
def test_methods_follow_the_spec(analysis: Analysis, name: str, tmp_path: pytest.TempPathFactory) -> None:
    found = with_spec(analysis, name)
    spec, text = found.plan.factor, render(found)
    model = text["methods-model"]
    assert ("\\omega" in model) == spec.families
    assert ("with models taken as independent" in model) == (not spec.families)
    assert ("\\lambda" in model) == (spec.further != "none")
    assert ("unrestricted" in spec.further) == ("1 further factor on which" in model)
    assert ("the bifactor model" in model) == (spec.further == "areas")
    assert ("\\varepsilon" in model) == (spec.measurement == "binomial")
    assert ("normal scores of their ranks" in text["methods-data"]) == (spec.transform == "rank_normal")
    rows = {key: words for key, (_, words) in PRIOR_NAMES.items()}
    assert (f"| {rows['further_loading']} |" in model) == (spec.further != "none")
    assert (f"| {rows['capability_icc']} |" in model) == spec.families
    assert f"| {rows['capability_loading']} | $\\mathrm{{Beta}}(6, 1)$ |" in model
    assert f"| {rows['loading']} | $\\mathrm{{Beta}}(1, 1)$ |" in model
    assert set(PRIOR_NAMES) == set(FactorPriors.model_fields)
    page = to_html("\n\n".join(f"# x\n\n{text[part]}" for part in PARTS), title="t", resources=tmp_path)  # type: ignore[arg-type]
    assert "$$" not in page
    assert 'class="math' not in page or "<math" in page


def test_the_evaluator_is_told_by_class(analysis: Analysis) -> None:
    facts = {**analysis.facts, "evaluator.base": "sampled", "evaluator.chat": "integrated"}
    model = render(dataclasses.replace(analysis, facts=facts))["methods-model"]
    assert (
        "For chat models, whose capability benchmarks have no missing cell, capability and the family effects" in model
    )
    assert "For base models capability was sampled along with the parameters" in model
    model = render(dataclasses.replace(analysis, facts=facts | {"evaluator.base": "completed"}))["methods-model"]
    assert "For base models the missing cells were sampled along with the parameters, and capability and the" in model
    assert "sampled along with the parameters, and the family effects" not in model


def test_the_priors_of_the_verdicts_are_computed(analysis: Analysis) -> None:
    text, results = render(analysis), collect_results(analysis)
    assert results["prior_p_distinct"] == pytest.approx(0.4)
    assert "*distinct* the probability 0.40, *entangled* 0.30 and *inverse* 0.30." in text["methods-decision"]
    assert "symmetric about zero" in text["methods-limits"]
    spec = analysis.plan.factor
    upward = spec.priors.model_copy(update={"loading": spec.priors.loading.model_copy(update={"alpha": 3.0})})
    assert "symmetric about zero" not in render(with_spec(analysis, "two-level", priors=upward))["methods-limits"]


def test_settings_of_the_checks_are_those_of_the_code(checked: Analysis) -> None:
    results = collect_results(checked)
    assert (results["factor_sets"], results["factor_quantile"]) == (1000, 0.95)
    assert "1000 sets without a factor" in render(checked)["methods-checks"].replace("1 000", "1000")
    assert set(Scrutiny().compare) <= set(checked.plan.compared)
