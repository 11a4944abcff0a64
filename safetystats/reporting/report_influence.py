"""Tables of the report about what single models and lineages decide, as Markdown: rows in which something changes."""

from __future__ import annotations

from collections.abc import Mapping

from safetystats.reporting.results_classes import KINDS, of_kind, pairs_of
from safetystats.reporting.text import escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.influence import LISTED, SIDE
from safetystats.summaries.numbers import ABSENT, MINUS, estimate_text, number_text, p_text

Names = Mapping[str, str]
_TERMS = {"class": "class", "interaction": "interaction"}
MOST_ROWS = 40
"""Rows shown; those that change most come first."""


def influence_table(analysis: Analysis, names: Names, models: Names) -> str:
    """Return the class effects and interactions whose test changes sides without one unit; empty where none does."""
    frame, group = analysis.tables["class_influence"], analysis.plan.mixed.groups[0]
    changed = frame[(frame["group"] == group) & (frame["n_side"].astype(float) > 0)]
    if changed.empty:
        return ""
    rows, several = [], len(analysis.plan.table.classes) > 2
    shown = changed.sort_values("dfbetas", key=lambda each: -each.abs(), kind="stable").head(MOST_ROWS)
    for kind in KINDS:
        for r in of_kind(shown, kind).to_dict("records"):
            term = _TERMS[kind] + (f" ({str(r['term']).split('[')[1].rstrip(']')})" if several else "")
            rows.append(
                [
                    escape(names.get(str(r["benchmark"]), str(r["benchmark"]))), escape(term), escape(str(r["unit"])),
                    number_text(r["estimate"]), p_text(r["p_value"]),
                    escape(models.get(str(r["label"]), str(r["label"]))), number_text(r["estimate_without"]),
                    p_text(r["p_without"]), number_text(r["dfbetas"], 1),
                    f"{number_text(r['n_side'], 0)} of {number_text(r['n_units'], 0)}",
                    _listed(str(r["changed_by"]), models),
                ]
            )  # fmt: skip
    head = [
        "Benchmark", "Term", "Left out", "Estimate", "p", "Without", "Estimate", "p", "DFBETAS", "Change sides",
        "These",
    ]  # fmt: skip
    caption = (
        f"Class effects and interactions, with an intercept per {escape(group)}, whose unadjusted chi-square p-value "
        f"changes sides of {number_text(SIDE)} when one model, or one lineage, is left out: estimate and p with all; "
        "without the unit that changes the estimate most; that change in standard errors (DFBETAS); how many units "
        f"change the side, and up to {number_text(LISTED, 0)} of them. All others are in `tables/class_influence.csv`."
        + (f" The {number_text(MOST_ROWS, 0)} rows that change most are shown." if len(changed) > MOST_ROWS else "")
    )
    return table_markdown(head, rows, caption=caption, numeric=(3, 4, 6, 7, 8, 9))


def difference_influence_tables(analysis: Analysis, names: Names, models: Names) -> str:
    """Return, by pair of classes, the differences whose interval leaves out zero either with all models or without."""
    frame, level = analysis.tables["difference_influence"], interval_head(analysis.plan.study.level)
    parts = []
    for first, second, part in pairs_of(frame):
        rows = [
            [
                escape(names.get(str(r["benchmark"]), str(r["benchmark"]))),
                estimate_text(float(r["delta"]), float(r["lower"]), float(r["upper"])),
                escape(models.get(str(r["label"]), str(r["label"]))), escape(str(r["model_class"])),
                estimate_text(float(r["delta_without"]), float(r["lower_without"]), float(r["upper_without"])),
                number_text(r["r_delta"]), number_text(r["r_without"]),
                escape(models.get(str(r["r_label"]), str(r["r_label"]))) or ABSENT,
            ]
            for r in part[part["crosses"].astype(bool)].to_dict("records")
        ]  # fmt: skip
        if not rows:
            continue
        head = [
            "Benchmark", f"Δρ {level}", "Without", "Class", f"Δρ {level}", "Spearman's", "Without one", "Which",
        ]  # fmt: skip
        caption = (
            f"Differences of correlations, {escape(first)} {MINUS} {escape(second)}, whose interval leaves out zero "
            "either with all models or without the one that moves the difference most in a direction, not both; beside "
            "them the difference of Spearman's coefficients with the 2024 score, and what it becomes without the model "
            "that moves it most in the same direction, the score made without it too."
        )
        parts.append(table_markdown(head, rows, caption=caption, numeric=(1, 4, 5, 6)))
    return "\n\n".join(parts)


def _listed(changed_by: str, models: Names) -> str:
    return ", ".join(escape(models.get(name, name)) for name in changed_by.split("; "))
