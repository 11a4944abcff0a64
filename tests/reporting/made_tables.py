"""Tables of the checks as a full study would write them, made by hand: what the text says of them is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd
from made_classes import FACTS, class_tables

from safetystats.specs import FactorSpec, Scrutiny, read_spec
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.gates import Check, diagnostics_table
from safetystats.summaries.glossary import TABLES, conform

SPECS = ("one-factor", "k-factor", "bifactor")
DISCREPANCIES = {
    "eigenvalue_2": "second eigenvalue of the correlation matrix",
    "largest_residual": "largest absolute correlation left by the best single factor",
    "largest_score": "largest absolute z-score",
}


def fully_checked(analysis: Analysis) -> Analysis:
    """Return the analysis as if the study had asked for every check."""
    plan = analysis.plan
    compared = {name: spec for name in SPECS if isinstance(spec := read_spec(name, "factor"), FactorSpec)}
    study = plan.study.model_copy(update={"scrutiny": Scrutiny()})
    checks = [check for check in analysis.checks if not check.fit.startswith(("specs", "priors"))]
    for name in compared:
        checks += [
            Check(fit=f"specs/{name}/{c}", check="gates", value=1.02, limit=1.01, why="made by hand",
                  outcome="not_applicable" if name == "k-factor" else "pass")
            for c in plan.table.classes
        ]  # fmt: skip
    return dataclasses.replace(
        analysis,
        plan=dataclasses.replace(plan, study=study, compared=compared),
        tables={
            **analysis.tables,
            **check_tables(analysis),
            **class_tables(analysis),
            "diagnostics": diagnostics_table(checks),
        },
        facts={**analysis.facts, **FACTS},
        checks=tuple(checks),
    )


def check_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return every table of the checks for the classes and benchmarks of an analysis."""
    classes = analysis.plan.table.classes
    posterior = analysis.tables["posterior_correlations"]
    cut = posterior[posterior["mode"] == "cut"]
    loadings = analysis.tables["capability_loadings"]
    found: dict[str, list[pd.DataFrame]] = {}
    for label in classes:
        own = cut[cut["model_class"] == label]
        capability = list(dict.fromkeys(loadings.loc[loadings["model_class"] == label, "benchmark"].astype(str)))
        models = [str(m) for m in analysis.plan.prepared.select(model_class=label).models.index]
        made = {
            "number_of_factors": number_of_factors(label, len(capability)),
            "predictive_checks": predictive_checks(label, capability, models),
            "boundary_cases": boundary_cases(label, capability),
            "spec_comparison": spec_comparison(label, analysis.plan.study.factor),
            "leave_one_out": leave_one_out(label, analysis.plan.study.factor),
            "prior_sensitivity": prior_sensitivity(label, capability, own, analysis.plan.factor),
            "shrunken_correlations": shrunken_correlations(label, own),
        }
        for name, frame in made.items():
            found.setdefault(name, []).append(frame)
    return {name: conform(name, pd.concat(frames, ignore_index=True)) for name, frames in found.items()}


def number_of_factors(label: str, components: int, n_map: int = 2) -> pd.DataFrame:
    place = np.arange(components)
    return pd.DataFrame(
        {
            "model_class": label, "component": place + 1, "eigenvalue": 5.0 * 0.3**place,
            "reference": 1.9 - place / 10, "reference_clustered": 2.0 - place / 10, "average_partial": 0.3,
            "n_parallel": 1, "n_parallel_clustered": 1, "n_map": n_map,
        }
    )  # fmt: skip


def predictive_checks(label: str, benchmarks: Sequence[str], models: Sequence[str]) -> pd.DataFrame:
    where = ("", f"{benchmarks[0]} and {benchmarks[1]}", f"{models[0]} and {benchmarks[0]}")
    rows = [
        {"model_class": label, "predictive": kind, "discrepancy": name, "what": what, "where": place, "observed": 1.25,
         "median": 1.0, "lower": 0.75, "upper": 1.2, "tail_probability": 0.001 if unusual else 0.4, "unusual": unusual}
        for kind in ("prior", "posterior")
        for (name, what), place in zip(DISCREPANCIES.items(), where, strict=True)
        for unusual in [kind == "posterior" and name != "eigenvalue_2"]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def boundary_cases(label: str, benchmarks: Sequence[str]) -> pd.DataFrame:
    sentence = f"{benchmarks[0]} keeps almost no variance of its own (a Heywood case)."
    return pd.DataFrame(
        [{"model_class": label, "benchmark": benchmarks[0], "what": "heywood", "value": 0.75, "limit": 0.5,
          "sentence": sentence}]
    )  # fmt: skip


def spec_comparison(label: str, own: str, best: str = "k-factor") -> pd.DataFrame:
    order = [best, *(name for name in (own, "one-factor", "k-factor") if name != best)]
    rows = [
        {"model_class": label, "unit": unit, "spec": name, "elpd": -200.0 - 8 * place, "elpd_error": 12.0,
         "difference": -8.0 * place, "difference_error": 2.5 * place, "p_loo": 15.0, "n_parameters": 12, "n_units": 20,
         "n_refitted": 1 if unit == "family" else 0, "n_doubtful": 0, "note": ""}
        for unit in ("model", "family")
        for place, name in enumerate(order)
    ]  # fmt: skip
    absent = dict.fromkeys(TABLES["spec_comparison"], np.nan) | {"model_class": label, "spec": "bifactor"}
    note = "does not apply: expected an area with 2 or more benchmarks, got general"
    rows += [absent | {"unit": unit, "note": note} for unit in ("model", "family")]
    return pd.DataFrame(rows)


def leave_one_out(label: str, own: str) -> pd.DataFrame:
    return pd.DataFrame(
        [{"model_class": label, "spec": own, "unit": "family", "label": "Llama", "elpd": -9.5, "pareto_k": 0.9,
          "refitted": True}]
    )  # fmt: skip


def prior_sensitivity(label: str, capability: Sequence[str], cut: pd.DataFrame, spec: FactorSpec) -> pd.DataFrame:
    """One conflict for every prior and class; the first safety benchmark changes its verdict under the last prior."""
    blank = dict.fromkeys(TABLES["prior_sensitivity"], np.nan) | {"model_class": label, "verdict": "", "diagnosis": ""}
    names = [*capability, *cut["benchmark"].astype(str)]
    rows = []
    for prior in ("likelihood", "capability_loading", "icc"):
        for place, name in enumerate(names):
            flagged = place == 0 and prior != "likelihood"
            rows.append(
                blank | {"how": "power scaling", "prior": prior, "alternative": "", "benchmark": name,
                         "value": 0.2 if flagged or prior == "likelihood" else 0.01,
                         "diagnosis": "prior-data conflict" if flagged else "none"}
            )  # fmt: skip
    verdicts = cut.set_index("benchmark")["verdict"].astype(str).to_dict()
    first = str(cut["benchmark"].iloc[0])
    for other in spec.alternatives:
        for name in names:
            verdict = verdicts.get(name, "")
            if name == first and other == spec.alternatives[-1]:
                verdict = "distinct" if verdict != "distinct" else "undetermined"
            rows.append(
                blank | {"how": "other prior", "prior": other.prior, "alternative": other.label, "benchmark": name,
                         "mean": 0.5, "change": -0.125 if name == first else 0.03, "verdict": verdict}
            )  # fmt: skip
    return pd.DataFrame(rows)


def shrunken_correlations(label: str, cut: pd.DataFrame) -> pd.DataFrame:
    """Every posterior is pulled halfway to zero and undetermined."""
    shared = {"model_class": label, "level": 0.95, "p_entangled": 0.2, "p_distinct": 0.7, "p_inverse": 0.1,
              "verdict": "undetermined"}  # fmt: skip
    rows = [shared | {"unit": "overall", "name": "all", "area": "", "n_benchmarks": len(cut), "mean": 0.25,
                      "lower": -0.125, "upper": 0.5}]  # fmt: skip
    for area, group in cut.groupby("area", sort=False):
        rows.append(
            shared | {"unit": "area", "name": str(area), "area": str(area), "n_benchmarks": len(group),
                      "mean": float(group["mean"].mean()) / 2, "lower": -0.25, "upper": 0.5}
        )  # fmt: skip
    rows += [
        shared | {"unit": "benchmark", "name": row["benchmark"], "area": row["area"], "n_benchmarks": 1,
                  "mean": row["mean"] / 2, "lower": row["lower"] / 2, "upper": row["upper"] / 2}
        for row in cut.to_dict("records")
    ]  # fmt: skip
    return pd.DataFrame(rows)
