"""The tables of the report as Markdown, each made from one table of the study."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.results_checks import mechanical
from safetystats.reporting.text import ANY_LENGTH, escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.flow import Flow
from safetystats.summaries.numbers import (
    ABSENT,
    estimate_text,
    interval_text,
    number_text,
    percent_text,
    probability_text,
    significant_text,
)
from safetystats.tables.table import ScoreTable

Names = Mapping[str, str]
_INTERVALS = {
    "bca": "BCa",
    "family_bootstrap": "families",
    "bayesian_bootstrap": "Bayesian bootstrap",
    "fisher": "Fisher z",
}


def flow_table(flow: Flow) -> str:
    """Return models, benchmarks and cells step by step."""
    rows = [
        [escape(str(r["step"])), *(str(r[c]) for c in ("models", "benchmarks", "cells", "missing"))]
        for r in flow.steps.to_dict("records")
    ]
    head = ["Step", "Models", "Benchmarks", "Scores", "Missing cells"]
    return table_markdown(head, rows, caption="From the file to the analysis.", numeric=(1, 2, 3, 4))


def class_table(flow: Flow) -> str:
    """Return the composition of each class."""
    rows = [
        [escape(str(r["model_class"])), *(str(r[c]) for c in ("models", "families", "lineages", "cells", "missing"))]
        for r in flow.classes.to_dict("records")
    ]
    head = ["Class", "Models", "Families", "Lineages", "Scores", "Missing cells"]
    return table_markdown(
        head, rows, caption="Classes in the analysis (capability and safety benchmarks).", numeric=(1, 2, 3, 4, 5)
    )


def left_out_table(flow: Flow, names: Names) -> str:
    """Return what was left out, with the reason; equal reasons share a row."""
    rows = []
    for (what, reason), group in flow.left_out.groupby(["what", "reason"], sort=False):
        labels = [names.get(str(n), str(n)) for n in group["name"]]
        rows.append([escape(str(what)), str(len(labels)), escape(str(reason)), escape(", ".join(labels), ANY_LENGTH)])
    return table_markdown(
        ["What", "Number", "Reason", "Names"], rows, source="left_out", caption="Left out, and why.", numeric=(1,)
    )


def audit_table(analysis: Analysis) -> str:
    """Return the errors and warnings of the audit."""
    rows = [
        [
            escape(f.severity),
            escape(f.check),
            escape(f.model_class or ABSENT),
            escape(f.message, ANY_LENGTH),
            escape(f.remedy, ANY_LENGTH),
        ]
        for f in analysis.audit.graver_than("note")
    ]
    head = ["Severity", "Check", "Class", "Finding", "What to do"]
    return table_markdown(head, rows, source="audit", caption="What the audit of the table found.")


def source_table(table: ScoreTable) -> str:
    """Return where the scores come from."""
    rows = [
        [escape(str(key)), *(escape(str(row[c])) for c in ("title", "date", "url", "licence"))]
        for key, row in table.sources.iterrows()
    ]
    return table_markdown(["Source", "Title", "Date", "Address", "Licence"], rows, caption="Sources of the scores.")


def loadings_table(analysis: Analysis, names: Names) -> str:
    """Return latent loadings and component weights of the capability benchmarks."""
    frame, level = analysis.tables["capability_loadings"], analysis.plan.study.level
    classes = analysis.plan.table.classes
    head = ["Capability benchmark"]
    for label in classes:
        head += [f"{escape(label)}: loading {interval_head(level)}", "κ", "weight (2024)"]
    keyed = frame.set_index(["model_class", "method", "benchmark"]).sort_index()
    methods = [m for m in frame["method"].unique() if m != "latent"]
    rows = []
    for benchmark in frame["benchmark"].unique():
        row = [escape(names[benchmark])]
        for label in classes:
            latent = _at(keyed, (label, "latent", benchmark))
            weight = _at(keyed, (label, methods[0], benchmark)) if methods else None
            row.append(ABSENT if latent is None else estimate_text(latent["loading"], latent["lower"], latent["upper"]))
            row.append(ABSENT if latent is None else number_text(latent["icc"]))
            row.append(ABSENT if weight is None else number_text(weight["loading"]))
        rows.append(row)
    return table_markdown(
        head,
        rows,
        source="capability_loadings",
        caption="Loadings on latent capability (posterior mean and equal-tailed interval), posterior mean of κ, and "
        "weight of the z-score in the component score of the 2024 recipe.",
        numeric=range(1, len(head)),
    )


def posterior_tables(analysis: Analysis, names: Names) -> str:
    """Return one table of posterior correlations per class, cut with joint beside it."""
    frame, study = analysis.tables["posterior_correlations"], analysis.plan.study
    interval, limit = interval_head(study.level), number_text(study.rope.limit)
    shared = mechanical(analysis)
    head = [
        "Benchmark", "Area", "n", f"ρ, cut {interval}", "Verdict", "P(entangled)", "P(distinct)", "P(inverse)",
        f"ρ, joint {interval}", "Joint − cut",
    ]  # fmt: skip
    parts = []
    for label in analysis.plan.table.classes:
        own = frame[frame["model_class"] == label]
        joint = own[own["mode"] == "joint"].set_index("benchmark")
        rows = []
        for row in own[own["mode"] == "cut"].sort_values(["area", "mean"]).to_dict("records"):
            other = joint.loc[row["benchmark"]]
            rows.append(
                [
                    escape(names[row["benchmark"]]) + (" †" if row["benchmark"] in shared else ""),
                    escape(row["area"]), str(row["n_models"]),
                    estimate_text(row["mean"], row["lower"], row["upper"]), row["verdict"],
                    *(probability_text(row[c]) for c in ("p_entangled", "p_distinct", "p_inverse")),
                    estimate_text(other["mean"], other["lower"], other["upper"]),
                    number_text(other["mean"] - row["mean"]),
                ]
            )  # fmt: skip
        caption = (
            f"Posterior correlation ρ of safety benchmarks with latent capability, class {escape(label)}: "
            "posterior mean and equal-tailed interval. Verdict (limit "
            f"{limit}, probability {number_text(study.rope.probability)}) and probabilities are from the cut posterior."
            + (" † reuses runs of capability benchmarks." if shared else "")
        )
        parts.append(
            table_markdown(head, rows, source="posterior_correlations", caption=caption, numeric=(2, 3, 5, 6, 7, 8, 9))
        )
    return "\n\n".join(parts)


def correlation_tables(analysis: Analysis, names: Names) -> str:
    """Return Spearman's coefficient on aligned scores with its intervals, and the posterior mean beside it."""
    frame, level = analysis.tables["capability_correlations"], analysis.plan.study.level
    own = frame[frame["method"].astype(str).str.split("/").str[0] == "spearman"]
    kinds = [kind for kind in _INTERVALS if kind in set(own["interval"])]
    head = ["Benchmark", "n", "Spearman", *(_INTERVALS[kind] for kind in kinds), "posterior mean (cut)", "n, posterior"]
    posterior = analysis.tables["posterior_correlations"]
    cut = posterior[posterior["mode"] == "cut"].set_index(["model_class", "benchmark"])
    means, sizes = cut["mean"].to_dict(), cut["n_models"].to_dict()
    parts = []
    for label in analysis.plan.table.classes:
        rows = []
        safety = own[(own["model_class"] == label) & own["benchmark"].isin(analysis.plan.aligned.columns("safety"))]
        for benchmark, group in safety.groupby("benchmark", sort=False):
            by_kind = {row["interval"]: row for row in group.to_dict("records")}
            first = by_kind[kinds[0]]
            rows.append(
                [
                    escape(names[str(benchmark)]),
                    str(first["n_models"]),
                    number_text(first["correlation"]),
                    *(interval_text(by_kind[kind]["lower"], by_kind[kind]["upper"]) for kind in kinds),
                    number_text(means.get((label, benchmark), float("nan"))),
                    str(sizes.get((label, benchmark), ABSENT)),
                ]
            )
        caption = (
            f"Capabilities correlation (Spearman, aligned scores), class {escape(label)}, with {percent_text(level)} "
            "intervals of several kinds, and the posterior mean of ρ."
        )
        parts.append(
            table_markdown(head, rows, source="capability_correlations", caption=caption, numeric=range(1, len(head)))
        )
    return "\n\n".join(parts)


def diagnostics_table(analysis: Analysis) -> str:
    """Return all checks but those of mixed models that ended well, which are in the CSV."""
    frame = analysis.tables["diagnostics"]
    well = frame["fit"].str.startswith("mixed/") & (frame["outcome"] == "pass")
    shown = frame[~(well | frame["fit"].str.startswith("intervals/"))]
    rows = [
        [
            escape(r["fit"]), escape(r["check"]), significant_text(r["value"], 4), significant_text(r["limit"]),
            escape(r["outcome"].replace("_", " ")), escape(r["why"], ANY_LENGTH),
        ]
        for r in shown.to_dict("records")
    ]  # fmt: skip
    caption = (
        "Checks of the fits. Mixed models that ended well, and notes on intervals, are in `tables/diagnostics.csv`."
    )
    return table_markdown(
        ["Fit", "Check", "Value", "Limit", "Outcome", "Why"],
        rows,
        source="diagnostics",
        caption=caption,
        numeric=(2, 3),
    )


def _at(keyed: pd.DataFrame, place: tuple[str, ...]) -> pd.Series | None:
    return keyed.loc[place] if place in keyed.index else None
