"""Tables of the report about estimands, checks of the factor model and shrinkage, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from safetystats.inference.sensitivity import LIKELIHOOD
from safetystats.reporting.results_checks import stated_verdicts
from safetystats.reporting.spec_text import prior_name, prior_text
from safetystats.reporting.text import ANY_LENGTH, escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.numbers import (
    ABSENT,
    estimate_text,
    interval_text,
    number_text,
    probability_text,
    significant_text,
)

Names = Mapping[str, str]
MARK = " ‡"
_DENSITIES = ("elpd", "elpd_error", "difference", "difference_error", "p_loo")
_UNITS = {"model": "a model", "family": "a family"}
_ESTIMANDS = {
    "rank_correlation": "ρ, rank",
    "fixed_set_correlation": "r, these models",
    "within_family_correlation": "ρ, within families",
    "disattenuated_correlation": "ρ, free of sampling error",
    "reliability": "Reliability",
    "slope": "Slope",
    "icc": "κ",
}


_POINTS = ("rank_correlation", "reliability", "icc")


def spec_title(analysis: Analysis, spec: str) -> str:
    """Return the escaped title of a factor spec of the study; a spec that the study does not name stands for itself."""
    plan = analysis.plan
    if spec == plan.study.factor:
        return escape(plan.factor.title)
    return escape(plan.compared[spec].title if spec in plan.compared else spec)


def place_text(where: str, names: Names, models: Names) -> str:
    """Return where the data have an extreme: identifiers, joined by "and", turned into escaped names."""
    known = {**models, **names}
    if where in known:
        return escape(known[where])
    parts = where.split(" and ")
    for cut in range(1, len(parts)):
        first, second = " and ".join(parts[:cut]), " and ".join(parts[cut:])
        if first in known and second in known:
            return f"{escape(known[first])} and {escape(known[second])}"
    return escape(where)


def estimand_tables(analysis: Analysis, names: Names) -> str:
    """Return one table per class of what else is estimated of every safety benchmark, from the cut posterior."""
    frame, level = analysis.tables["posterior_estimands"], analysis.plan.study.level
    head = ["Benchmark", "n"]
    head += [words + ("" if name in _POINTS else f" {interval_head(level)}") for name, words in _ESTIMANDS.items()]
    parts = []
    for label in analysis.plan.table.classes:
        joint = frame["estimand"] == "fixed_set_correlation"
        own = frame[(frame["model_class"] == label) & (frame["mode"] == np.where(joint, "joint", "cut"))]
        rows = []
        for (_, benchmark), group in own.groupby(["area", "benchmark"], sort=True):
            by_name = {str(r["estimand"]): r for r in group.to_dict("records")}
            row = [escape(names[str(benchmark)]), str(group["n_models"].iloc[0])]
            row += [_estimand_text(by_name.get(name), name) for name in _ESTIMANDS]
            rows.append(row)
        if not rows:
            continue
        caption = (
            f"Estimands beside ρ, class {escape(label)}: posterior mean and, where it stands, equal-tailed interval "
            "from the cut posterior, of the correlation over these models from the joint one. Slope in native units of "
            "the aligned score per standard deviation of capability; "
            "an en dash where a quantity is not defined, as without item counts."
        )
        parts.append(
            table_markdown(head, rows, source="posterior_estimands", caption=caption, numeric=range(1, len(head)))
        )
    return "\n\n".join(parts)


def _estimand_text(row: Mapping[str, float] | None, name: str) -> str:
    if row is None or pd.isna(row["mean"]):
        return ABSENT
    if name == "slope":
        ends = ", ".join(significant_text(float(row[end])) for end in ("lower", "upper"))
        return f"{significant_text(float(row['mean']))} [{ends}]"
    if name in _POINTS:
        return number_text(float(row["mean"]))
    return estimate_text(float(row["mean"]), float(row["lower"]), float(row["upper"]))


def factors_table(analysis: Analysis) -> str:
    """Return eigenvalues, their references and the average partial correlations."""
    columns = ("eigenvalue", "reference", "reference_clustered", "average_partial")
    rows = [
        [escape(str(r["model_class"])), str(r["component"]), *(number_text(float(r[c]), 3) for c in columns)]
        for r in analysis.tables["number_of_factors"].to_dict("records")
    ]
    head = [
        "Class", "Component", "Eigenvalue", "Reference, models independent", "Reference, families share noise",
        "Average partial before it",
    ]  # fmt: skip
    caption = (
        "Eigenvalues of the Spearman matrix of the capability benchmarks, the quantiles of eigenvalues of data without "
        "a factor, and the mean squared partial correlation once the components before this one are taken out."
    )
    return table_markdown(head, rows, source="number_of_factors", caption=caption, numeric=(1, 2, 3, 4, 5))


def predictive_tables(analysis: Analysis, names: Names, models: Names) -> str:
    """Return one table per class: data against replications from the prior and from the posterior."""
    frame = analysis.tables["predictive_checks"]
    head = [
        "Quantity", "Where", "Data", "Posterior: median", "95 % of replications", "Share above", "Prior: median",
        "95 % of replications", "Share above",
    ]  # fmt: skip
    parts = []
    for label in analysis.plan.table.classes:
        own = frame[frame["model_class"] == label]
        keyed = {(r["predictive"], r["discrepancy"]): r for r in own.to_dict("records")}
        rows = []
        for discrepancy in own["discrepancy"].unique():
            kinds = [keyed.get((kind, discrepancy)) for kind in ("posterior", "prior")]
            first = next(found for found in kinds if found is not None)
            row = [
                escape(first["what"]),
                place_text(str(first["where"]), names, models),
                number_text(first["observed"]),
            ]
            for found in kinds:
                if found is None:
                    row += [ABSENT] * 3
                    continue
                row += [
                    number_text(found["median"]),
                    interval_text(found["lower"], found["upper"]),
                    probability_text(found["tail_probability"]) + (MARK if found["unusual"] else ""),
                ]
            rows.append(row)
        caption = (
            f"Predictive checks of the capability benchmarks, class {escape(label)}: the quantity in the data, its "
            "median and equal-tailed interval over replications, and the share of replications above the data (ties "
            f"counted half).{MARK} unusual."
        )
        parts.append(
            table_markdown(head, rows, source="predictive_checks", caption=caption, numeric=range(2, len(head)))
        )
    return "\n\n".join(parts)


def boundary_table(analysis: Analysis, names: Names) -> str:
    """Return parameters at the edge of their range."""
    rows = []
    for r in analysis.tables["boundary_cases"].to_dict("records"):
        words = str(r["sentence"]).removeprefix(str(r["benchmark"])).strip().removesuffix(".")
        name = escape(names.get(str(r["benchmark"]), str(r["benchmark"])))
        rows.append([escape(str(r["model_class"])), name, escape(words, ANY_LENGTH), number_text(r["value"], 3),
                     number_text(r["limit"])])  # fmt: skip
    caption = (
        "Parameters of capability benchmarks at the edge of their range: a posterior probability or mean, and the "
        "limit beyond which it is named."
    )
    return table_markdown(
        ["Class", "Benchmark", "What", "Value", "Limit"], rows, source="boundary_cases", caption=caption, numeric=(3, 4)
    )


def spec_tables(analysis: Analysis) -> str:
    """Return one table per class of the leave-one-out densities of all specs, best first."""
    frame = analysis.tables["spec_comparison"]
    head = [
        "Left out", "Spec", "elpd", "SE", "Difference from the best", "SE", "Effective parameters", "Parameters",
        "Units", "Refitted", "Not reliable",
    ]  # fmt: skip
    parts = []
    for label in analysis.plan.table.classes:
        own = frame[(frame["model_class"] == label) & frame["elpd"].notna()]
        rows = [
            [
                _UNITS.get(str(r["unit"]), escape(str(r["unit"]))), spec_title(analysis, str(r["spec"])),
                *(number_text(float(r[c]), 1) for c in _DENSITIES),
                *(number_text(float(r[c]), 0) for c in ("n_parameters", "n_units", "n_refitted", "n_doubtful")),
            ]
            for r in own.to_dict("records")
        ]  # fmt: skip
        caption = (
            f"Leave-one-out predictive densities (elpd) of the capability benchmarks, class {escape(label)}, with "
            "standard errors (SE), units of one family taken together. The numbers of refitted and of unreliable units "
            "are of all units of the "
            "spec; densities of different units are not to be compared."
        )
        parts.append(table_markdown(head, rows, source="spec_comparison", caption=caption, numeric=range(2, len(head))))
    return "\n\n".join(parts)


def absent_specs(analysis: Analysis, label: str) -> list[str]:
    """Return the specs that do not apply to a class, each with the reason, as Markdown."""
    frame = analysis.tables["spec_comparison"]
    own = frame[(frame["model_class"] == label) & frame["elpd"].isna()].drop_duplicates("spec")
    return [
        f"{spec_title(analysis, str(r['spec']))}: {escape(str(r['note']), ANY_LENGTH)}" for r in own.to_dict("records")
    ]


def power_table(analysis: Analysis, names: Names) -> str:
    """Return how many correlations follow each prior, by power scaling."""
    frame = analysis.tables["prior_sensitivity"]
    own = frame[(frame["how"] == "power scaling") & (frame["prior"] != LIKELIHOOD)]
    rows = []
    for (label, prior), group in own.groupby(["model_class", "prior"], sort=False):
        if group["value"].isna().all():
            rows.append([escape(str(label)), prior_name(str(prior)), str(len(group)), *[ABSENT] * 4])
            continue
        largest = group.loc[group["value"].astype(float).idxmax()]
        benchmark = str(largest["benchmark"])
        rows.append(
            [
                escape(str(label)), prior_name(str(prior)), str(len(group)),
                *(str(int((group["diagnosis"] == d).sum())) for d in
                  ("prior-data conflict", "strong prior or weak likelihood")),
                number_text(float(largest["value"]), 3), escape(names.get(benchmark, benchmark)),
            ]
        )  # fmt: skip
    head = [
        "Class", "Prior of", "Correlations", "Prior-data conflict", "Strong prior or weak likelihood",
        "Largest sensitivity", "Of",
    ]  # fmt: skip
    caption = (
        "Power scaling of the priors: how many of the correlations are flagged, and the largest sensitivity. An en "
        "dash: a uniform prior is the same when raised to a power, so that this says nothing of it."
    )
    return table_markdown(head, rows, source="prior_sensitivity", caption=caption, numeric=(2, 3, 4, 5))


def alternatives_table(analysis: Analysis, names: Names) -> str:
    """Return what other priors change: means and verdicts."""
    frame = analysis.tables["prior_sensitivity"]
    own = frame[frame["how"] == "other prior"]
    instead = {(str(a.prior), a.label): prior_text(a.value) for a in analysis.plan.factor.alternatives}
    rows = []
    for (label, prior, alternative), group in own.groupby(["model_class", "prior", "alternative"], sort=False):
        stated = stated_verdicts(analysis, str(label))
        safety = group[group["benchmark"].isin(set(stated))]
        changed = int((safety["verdict"] != safety["benchmark"].map(stated)).sum())
        rows.append(
            [
                escape(str(label)), prior_name(str(prior)), escape(str(alternative)),
                instead.get((str(prior), str(alternative)), ABSENT),
                *_largest(safety, names), f"{changed} of {len(safety)}",
                *_largest(group[~group["benchmark"].isin(set(stated))], names),
            ]
        )  # fmt: skip
    head = [
        "Class", "Prior of", "Alternative", "Instead", "Largest change, safety", "Of", "Verdicts that change",
        "Largest change, loadings", "Of",
    ]  # fmt: skip
    caption = (
        "Fits with other priors: largest change of a posterior mean, of ρ of the safety benchmarks (cut posterior) and "
        "of the loadings of the capability benchmarks, and the number of verdicts that change by more than Monte Carlo "
        "error."
    )
    return table_markdown(head, rows, source="prior_sensitivity", caption=caption, numeric=(4, 6, 7))


def area_table(analysis: Analysis) -> str:
    """Return the correlations of the areas in the hierarchical layer, and those of all benchmarks together."""
    frame = analysis.tables["shrunken_correlations"]
    rows = [
        [
            escape(str(r["model_class"])), "*all benchmarks*" if r["unit"] == "overall" else escape(str(r["name"])),
            str(r["n_benchmarks"]), estimate_text(r["mean"], r["lower"], r["upper"]),
            *(probability_text(r[c]) for c in ("p_entangled", "p_distinct", "p_inverse")), escape(str(r["verdict"])),
        ]
        for r in frame[frame["unit"] != "benchmark"].to_dict("records")
    ]  # fmt: skip
    interval = interval_head(analysis.plan.study.level)
    head = [
        "Class", "Area", "Benchmarks", f"ρ of the area {interval}", "P(entangled)", "P(distinct)", "P(inverse)",
        "Verdict",
    ]  # fmt: skip
    caption = (
        "Correlation with capability of a middle benchmark of each area, and of a middle area, in the hierarchical "
        "layer over the cut posteriors: posterior mean and equal-tailed interval. Shrunken correlations of single "
        "benchmarks are in `tables/shrunken_correlations.csv`."
    )
    return table_markdown(head, rows, source="shrunken_correlations", caption=caption, numeric=(2, 3, 4, 5, 6))


def _largest(rows: pd.DataFrame, names: Names) -> tuple[str, str]:
    if rows.empty:
        return ABSENT, ABSENT
    largest = rows.loc[rows["change"].astype(float).abs().idxmax()]
    benchmark = str(largest["benchmark"])
    return number_text(float(largest["change"])), escape(names.get(benchmark, benchmark))
