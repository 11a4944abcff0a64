"""Tables of the report about verdicts over limits, ranks, slopes and further models, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.text import escape, interval_head, table_markdown
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.liability import QUADRANTS
from safetystats.summaries.numbers import (
    ABSENT,
    estimate_text,
    interval_text,
    number_text,
    percent_text,
    probability_text,
    significant_text,
)
from safetystats.summaries.verdicts import QUANTITIES

Names = Mapping[str, str]
LETTERS: Mapping[str, str] = {"entangled": "E", "inverse": "I", "distinct": "D", "undetermined": "·", "withheld": "–"}
MOST_ROWS = 60
"""Rows shown of a table; all others are in the file."""


def verdicts_context(analysis: Analysis, names: Names) -> dict[str, object]:
    """Return tables of the questions about verdicts, and which of their sentences there are.

    Parameters
    ----------
    analysis : Analysis
    names : mapping of str to str
        Names of benchmarks, not escaped.
    """
    tables = analysis.tables
    asked = {name: list(dict.fromkeys(tables[name]["model_class"])) for name in ("verdict_curve", "published_labels")}
    return {
        "verdicts_classes": asked["verdict_curve"],
        "settle_classes": list(dict.fromkeys(tables["models_to_settle"]["model_class"])),
        "labels_classes": asked["published_labels"],
        "labels_shares": bool(tables["published_labels"]["n_specifications"].notna().any()),
        "curve_tables": curve_tables(analysis, names),
        "rank_tables": rank_tables(analysis, names),
        "liability_tables": liability_tables(analysis, names),
        "settle_tables": settle_tables(analysis, names),
        "labels_tables": labels_tables(analysis, names),
    }


def curve_tables(analysis: Analysis, names: Names) -> str:
    """Return the verdict of every headline benchmark at every limit, by class."""
    parts = []
    for label, part in _by_class(analysis, "verdict_curve"):
        wide = part.pivot(index="benchmark", columns="limit", values="verdict").reindex(
            dict.fromkeys(part["benchmark"])
        )
        rows = [
            [_name(names, name), *(LETTERS[str(word)] for word in words)]
            for name, words in zip(wide.index, wide.to_numpy(), strict=True)
        ]
        caption = (
            f"{escape(label)}: verdict (E entangled, I inverse, D distinct, · undetermined, – withheld) at limits of "
            "the region of practical equivalence."
        )
        head = ["Benchmark", *(number_text(float(limit)) for limit in wide.columns)]
        parts.append(table_markdown(head, rows[:MOST_ROWS], caption=caption, source="verdict_curve"))
    return "\n\n".join(parts)


def rank_tables(analysis: Analysis, names: Names) -> str:
    """Return the ranks by rho of the headline benchmarks, by class."""
    parts = []
    for label, part in _by_class(analysis, "rank_order"):
        own = part[part["quantity"] == QUANTITIES[0]].sort_values("mean_rank", kind="stable")
        absolute = part[part["quantity"] == QUANTITIES[1]].set_index("benchmark")
        rows = [
            [
                _name(names, r["benchmark"]), number_text(r["mean_rank"], 1),
                interval_text(r["rank_lower"], r["rank_upper"], 0), probability_text(r["p_top_quarter"]),
                probability_text(r["p_first"]), number_text(float(absolute.loc[r["benchmark"], "mean_rank"]), 1),
                probability_text(float(absolute.loc[r["benchmark"], "p_top_quarter"])),
            ]
            for r in own.to_dict("records")
        ]  # fmt: skip
        caption = (
            f"{escape(label)}: posterior of the rank by $\\rho$ among {int(part['n_benchmarks'].iloc[0])} benchmarks, "
            "the largest first, with the probability of being among the first quarter and of being the first; and by "
            "$|\\rho|$. Residuals of different benchmarks are taken as independent given capability."
        )
        head = [
            "Benchmark", "Mean rank", interval_head(analysis.plan.study.level), "P(top quarter)", "P(first)",
            "Mean rank, absolute", "P(top quarter), absolute",
        ]  # fmt: skip
        parts.append(
            table_markdown(head, rows[:MOST_ROWS], caption=caption, source="rank_order", numeric=(1, 2, 3, 4, 5, 6))
        )
    return "\n\n".join(parts)


def liability_tables(analysis: Analysis, names: Names) -> str:
    """Return correlation, slope and quadrant of the headline benchmarks, by class."""
    parts = []
    for label, part in _by_class(analysis, "liability"):
        rows = [
            [
                _name(names, r["benchmark"]), number_text(r["mean"]),
                significant_text(r["slope"], 2) + " " + _ends(r["slope_lower"], r["slope_upper"]),
                significant_text(r["smallest_effect"], 2), significant_text(r["sd_between"], 2),
                *(probability_text(r[column]) for column in QUADRANTS.values()),
                percent_text(r["share_at_floor"]), percent_text(r["share_at_ceiling"]),
                escape(str(r["quadrant"])) or ABSENT,
            ]
            for r in part.to_dict("records")
        ]  # fmt: skip
        caption = (
            f"{escape(label)}: posterior mean of $\\rho$; slope per sd of capability with its interval, smallest "
            "effect of interest and sd between models, in the unit of the aligned score; probabilities of the four "
            f"combinations of correlation ($|\\rho|$ above {number_text(analysis.plan.study.rope.limit)} or not) and "
            "slope (above the smallest effect in absolute value or not); models near the bounds of the score."
        )
        head = [
            "Benchmark", "ρ", f"Slope {interval_head(analysis.plan.study.level)}", "Smallest effect", "Sd",
            "P(high, large)", "P(high, small)", "P(low, large)", "P(low, small)", "At floor", "At ceiling", "Quadrant",
        ]  # fmt: skip
        parts.append(
            table_markdown(
                head, rows[:MOST_ROWS], caption=caption, source="liability", numeric=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
            )
        )
    return "\n\n".join(parts)


def settle_tables(analysis: Analysis, names: Names) -> str:
    """Return what further models would do for the headline benchmarks, by class."""
    parts = []
    for label, part in _by_class(analysis, "models_to_settle"):
        sizes = sorted(set(part["further"].astype(int)))
        rows = []
        for name, own in part.groupby("benchmark", sort=False):
            first, by_size = own.iloc[0], own.set_index("further")
            rows.append(
                [
                    _name(names, str(name)), number_text(first["n_models"], 0), number_text(first["mean"]),
                    number_text(first["width"]),
                    *(number_text(float(by_size.loc[size, "width_expected"])) for size in sizes),
                    *(number_text(float(by_size.loc[size, "p_settled"])) for size in sizes),
                    number_text(first["further_approximate"], 0),
                ]
            )  # fmt: skip
        caption = (
            f"{escape(label)}: width of the interval of $\\rho$ as it is and, expected, after so many further models; "
            "probability that the verdict is then settled; further models by the normal approximation, which takes the "
            "mean to stay where it is (empty: no number would do). Largest Monte Carlo error of a probability: "
            f"{number_text(float(part['p_settled_error'].max()))}."
        )
        head = [
            "Benchmark", "Models", "ρ", "Width", *(f"Width +{size}" for size in sizes),
            *(f"P(settled) +{size}" for size in sizes), "Approximation",
        ]  # fmt: skip
        numeric = tuple(range(1, len(head)))
        parts.append(
            table_markdown(head, rows[:MOST_ROWS], caption=caption, source="models_to_settle", numeric=numeric)
        )
    return "\n\n".join(parts)


def labels_tables(analysis: Analysis, names: Names) -> str:
    """Return published labels beside the verdicts, by class."""
    parts = []
    frame = analysis.tables["published_labels"]
    for label, part in frame.groupby("model_class", sort=False):
        shares = bool(part["n_specifications"].notna().any())
        rows = [
            [
                _name(names, r["benchmark"]), number_text(r["published"]), escape(str(r["label"])),
                estimate_text(r["mean"], r["lower"], r["upper"]),
                escape(str(r["verdict"])), escape(str(r["agreement"])),
                *([percent_text(r["share_entangled"]), percent_text(r["share_distinct"]),
                   percent_text(r["share_inverse"]), percent_text(r["share_undetermined"])] if shares else []),
            ]
            for r in part.to_dict("records")
        ]  # fmt: skip
        head = [
            "Benchmark", "Printed", "Label", f"ρ {interval_head(analysis.plan.study.level)}", "Verdict",
            "Label is",
            *(["Specs entangled", "Specs distinct", "Specs inverse", "Specs undetermined"] if shares else []),
        ]  # fmt: skip
        caption = (
            f"{escape(str(label))}: capabilities correlation as printed by Ren et al. [-@ren2024] and its label, "
            "beside the cut posterior, whose probabilities are in the tables of the posterior correlations. Printed "
            "signs are those of the columns as published."
        )
        parts.append(
            table_markdown(head, rows, caption=caption, source="published_labels", numeric=(1, 3, *range(6, len(head))))
        )
    return "\n\n".join(parts)


def _by_class(analysis: Analysis, name: str) -> list[tuple[str, pd.DataFrame]]:
    """Return the rows of headline benchmarks (all where there are none) by class."""
    frame, flags = analysis.tables[name], analysis.plan.table.benchmarks["headline"].astype(bool)
    found = []
    for label, part in frame.groupby("model_class", sort=False):
        chief = part[part["benchmark"].map(flags).astype(bool)]
        found.append((str(label), chief if len(chief) else part))
    return found


def _name(names: Names, benchmark: str) -> str:
    return escape(names.get(str(benchmark), str(benchmark)))


def _ends(lower: float, upper: float) -> str:
    return "" if pd.isna(lower) else f"[{significant_text(lower, 2)}, {significant_text(upper, 2)}]"
