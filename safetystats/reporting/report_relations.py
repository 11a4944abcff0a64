"""Tables of the report about bending, noise and specifications, as Markdown, and what their sentences depend on."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.text import escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.bending import PLACES
from safetystats.summaries.numbers import ABSENT, MINUS, estimate_text, number_text, percent_text, probability_text
from safetystats.summaries.specifications import CHOICES, POOLED

Names = Mapping[str, str]
MOST_ROWS = 30
"""Rows of a table in the report; those that matter most come first, and all are in the CSV file."""
CHOICE_NAMES: Mapping[str, str] = {
    "score_method": "the capability score", "coefficient": "the coefficient", "scale": "the scale of the scores",
    "subset": "the set of capability benchmarks", "families": "how families are handled",
}  # fmt: skip


def relations_context(analysis: Analysis, names: Names) -> dict[str, object]:
    """Return tables, and which sentences there are.

    Parameters
    ----------
    analysis : Analysis
    names : mapping of str to str
        Names of benchmarks, not escaped.
    """
    shares = analysis.tables["specification_shares"]
    return {
        "has_bending": len(analysis.tables["bending"]) > 0,
        "has_specifications": len(shares) > 0,
        "has_noise": len(analysis.tables["noise_or_distinct"]) > 0,
        "specification_classes": list(dict.fromkeys(shares["model_class"].astype(str))),
        "pooled": POOLED,
        "choice_names": CHOICE_NAMES,
        "choices": list(CHOICES),
        "bending_table": bending_table(analysis, names),
        "noise_table": noise_table(analysis, names),
        "shares_table": shares_table(analysis, names),
    }


def bending_table(analysis: Analysis, names: Names) -> str:
    """Return line against curve, and local slopes, for the benchmarks with the largest difference."""
    frame, local = analysis.tables["bending"], analysis.tables["local_slopes"]
    if frame.empty:
        return ""
    shown = frame.sort_values("difference", ascending=False, kind="stable").head(MOST_ROWS)
    slopes = local.set_index(["model_class", "benchmark", "place"])
    rows = []
    for r in shown.to_dict("records"):
        own = [slopes.loc[(r["model_class"], r["benchmark"], place)] for place in PLACES]
        rows.append(
            [
                escape(names[str(r["benchmark"])]), escape(str(r["model_class"])), number_text(r["n_models"], 0),
                number_text(r["difference"], 1), number_text(r["difference_error"], 1), "yes" if r["bends"] else "no",
                probability_text(r["p_flatter"]), *(_slope(each) for each in own),
                estimate_text(own[0]["line_slope"], own[0]["line_lower"], own[0]["line_upper"]),
            ]
        )  # fmt: skip
    level = interval_head(analysis.plan.study.level)
    head = [
        "Benchmark", "Class", "n", "Curve less line", "Error", "Bends", "P(flatter)",
        *(f"Slope, {place} {level}" for place in PLACES), f"Straight line {level}",
    ]  # fmt: skip
    quantiles = ", ".join(percent_text(value) for value in PLACES.values())
    caption = (
        "Predictive density of the curve less that of the straight line, each score left out in turn, with its "
        f"standard error; whether it bends by the study's rule; probability that the curve is flatter at high "
        f"capability than at low; slopes per standard deviation of capability where {quantiles} of the models of the "
        f"class are less capable. ‡: extrapolation, no model with a score is there.{_cut(frame, 'bending')}"
    )
    return table_markdown(head, rows, source="bending", caption=caption, numeric=(2, 3, 4, 6, 7, 8, 9, 10))


def noise_table(analysis: Analysis, names: Names) -> str:
    """Return reliability and corrected correlations of the least reliable benchmarks, and what the verdicts become."""
    frame = analysis.tables["noise_or_distinct"]
    known = frame[frame["reliability"].notna()]
    if known.empty:
        return ""
    order = known.assign(first=known["verdict_after"] == known["verdict"])
    shown = order.sort_values(["first", "reliability"], kind="stable").head(MOST_ROWS)
    rows = [
        [
            escape(names[str(r["benchmark"])]), escape(str(r["model_class"])), number_text(r["n_models"], 0),
            percent_text(r["error_share"], 1),
            estimate_text(r["reliability"], r["reliability_lower"], r["reliability_upper"]),
            percent_text(r["reliable_left"]), number_text(r["mean"]),
            estimate_text(r["true"], r["true_lower"], r["true_upper"]) if pd.notna(r["true"]) else ABSENT,
            escape(str(r["verdict"])), escape(str(r["verdict_true"])) or ABSENT, escape(str(r["verdict_after"])),
        ]
        for r in shown.to_dict("records")
    ]  # fmt: skip
    level = interval_head(analysis.plan.study.level)
    head = [
        "Benchmark", "Class", "n", "Error", f"Reliability {level}", f"Left 1 {MINUS} ρ²", "ρ", f"ρ, corrected {level}",
        "Verdict", "Corrected", "Stated",
    ]  # fmt: skip
    caption = (
        "Sampling error of the items as a share of the variance between models; reliability; share of the variance "
        "free of error that capability leaves; correlation as observed and free of sampling error; verdict of either, "
        f"and the one that is stated. Benchmarks of unknown reliability are left out.{_cut(known, 'noise_or_distinct')}"
    )
    return table_markdown(head, rows, source="noise_or_distinct", caption=caption, numeric=range(2, 8))


def shares_table(analysis: Analysis, names: Names) -> str:
    """Return the share of the specifications with each verdict, beside the verdict of the study."""
    frame = analysis.tables["specification_shares"]
    if frame.empty:
        return ""
    posterior = analysis.tables["posterior_correlations"]
    cut = posterior[posterior["mode"] == "cut"].set_index(["model_class", "benchmark"])["verdict"]
    headline = analysis.plan.table.benchmarks["headline"].astype(bool)
    order = frame.assign(
        other=(frame["model_class"] == POOLED) | ~frame["benchmark"].map(headline).astype(bool)
    ).sort_values("other", kind="stable")  # fmt: skip
    rows = [
        [
            escape(names[str(r["benchmark"])]), escape(str(r["model_class"])),
            escape(str(cut.get((r["model_class"], r["benchmark"]), ABSENT))), number_text(r["n_specifications"], 0),
            *(
                f"{percent_text(r[f'share_{verdict}'])} ({percent_text(r[f'whole_{verdict}'])})"
                for verdict in ("entangled", "distinct", "inverse", "undetermined")
            ),
            estimate_text(r["median"], r["lowest"], r["highest"]),
            _decisive(r),
        ]
        for r in order.head(MOST_ROWS).to_dict("records")
    ]  # fmt: skip
    head = [
        "Benchmark", "Class", "Verdict", "n", "Entangled", "Distinct", "Inverse", "Undetermined",
        "Median \\[range\\]", "Decided most by",
    ]  # fmt: skip
    caption = (
        "Verdict of the study (cut posterior), number n of the listed specifications, and their weighted share with "
        "each verdict, before noise is looked at (in brackets without those within families); median, lowest and "
        "highest estimate; the choice between whose options most of the variance of the closed-form estimates lies "
        f"(and its share).{_cut(frame, 'specification_shares')}"
    )
    return table_markdown(head, rows, source="specification_shares", caption=caption, numeric=range(3, 9))


def _decisive(row: Mapping[str, object]) -> str:
    choice = str(row["decisive"])
    return f"{CHOICE_NAMES[choice]} ({percent_text(float(str(row[f'by_{choice}'])))})" if choice else ABSENT


def _slope(row: pd.Series) -> str:
    return estimate_text(row["slope"], row["lower"], row["upper"]) + (" ‡" if row["extrapolated"] else "")


def _cut(frame: pd.DataFrame, table: str) -> str:
    if len(frame) <= MOST_ROWS:
        return ""
    return f" {number_text(MOST_ROWS, 0)} of {number_text(len(frame), 0)} rows; all are in `tables/{table}.csv`."
