"""Tables of the report about sets of models as Markdown, and what its prose depends on."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.prose import Quoter
from safetystats.reporting.text import escape, interval_head, table_markdown
from safetystats.scores.model_sets import EXACT_SIZE
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.numbers import ABSENT, estimate_text, number_text, probability_text

Names = Mapping[str, str]
MOST_ROWS = 40
"""Rows of a table beyond which only headline benchmarks are shown."""
COVARIATE_WORDS = {"log_compute": "log compute", "log_size": "log size", "release_date": "release date"}
GIVEN = ("yes", "marked")
"""Outcomes with which a partial correlation is stated."""
RESTRICTIONS = {
    "released_until": "released until", "released_after": "released after", "released_in": "released in",
    "access": "access", "family_only": "only family", "family_without": "without family",
}  # fmt: skip
_VERDICTS = ("entangled", "inverse", "distinct", "undetermined", "withheld")


def model_sets_context(analysis: Analysis, quoter: Quoter) -> dict[str, object]:
    """Return tables and switches of the section about sets of models."""
    names, models, classes = quoter.names, quoter.models, analysis.plan.table.classes
    partial = analysis.tables["partial_correlations"]
    return {
        "model_sets_asked": analysis.plan.study.questions.model_sets,
        "smallest_tables": smallest_tables(analysis, names, models),
        "restricted_tables": restricted_tables(analysis),
        "partial_tables": partial_tables(analysis, names),
        "refused_table": refused_table(analysis, names),
        "parents_table": parents_table(analysis, names),
        "partial_covariates": {
            c: [str(each) for each in dict.fromkeys(partial.loc[partial["model_class"] == c, "covariate"])]
            for c in classes
        },
        "covariate_words": COVARIATE_WORDS,
        "set_change_classes": [c for c in classes if f"set_change_of.{c}.model" in quoter.results],
        "reach_classes": [c for c in classes if f"reach_largest_of.{c}.{EXACT_SIZE}" in quoter.results],
    }


def smallest_tables(analysis: Analysis, names: Names, models: Names) -> str:
    """Return, by class, how few models change the label of 2024 and the verdict of every benchmark."""
    frame, parts = analysis.tables["smallest_sets"], []
    head = ["Benchmark", "Spearman", "Label", "Left out", "Becomes", "Verdict", "P", "Left out", "P then", "Becomes"]
    for label in analysis.plan.table.classes:
        own, more = _shown(analysis, frame[frame["model_class"] == label])
        if own.empty:
            continue
        rows = []
        for benchmark, group in own.groupby("benchmark", sort=False):
            by_target = {str(row["target"]): row for row in group.to_dict("records")}
            old, new = by_target.get("label_2024"), by_target.get("verdict")
            row = [escape(names.get(str(benchmark), str(benchmark)))]
            row += (
                [ABSENT] * 4 if old is None else [number_text(old["value"]), escape(old["stated"]), *_left(old, models)]
            )
            row += (
                [ABSENT] * 5
                if new is None
                else [
                    escape(new["stated"]), probability_text(new["value"]), _size(new, models),
                    probability_text(new["value_without"]), escape(str(new["reached"])) or ABSENT,
                ]
            )  # fmt: skip
            rows.append(row)
        caption = (
            f"The smallest set of models, class {escape(label)}, whose removal changes the label of 2024 (high: |r| "
            "at least the limit) and the verdict of the cut posterior. ≥: no set of fewer models does it (verdicts: "
            "none was found among those drawn), and no larger one was found; ≤: a greedy search found a set of this "
            "size, a smaller one may exist; (?): it could not be seen that sets not drawn are far from a change. P: of "
            "the region of the verdict (of the new verdict where the old one is undetermined)." + more
        )
        parts.append(table_markdown(head, rows, source="smallest_sets", caption=caption, numeric=(1, 6, 8)))
    return "\n\n".join(parts)


def _left(row: Mapping[str, object], models: Names) -> list[str]:
    if pd.isna(row["n_removed"]):
        return [_size(row, models), ABSENT]
    return [_size(row, models), f"{escape(str(row['reached']))} ({number_text(_float(row, 'value_without'))})"]


def _size(row: Mapping[str, object], models: Names) -> str:
    """Return the size of a set with its bound, and the models where they are three at most."""
    if row["stated"] == "withheld":
        return ABSENT
    doubt = "" if row["certified"] else " (?)"
    if pd.isna(row["n_removed"]):
        return f"≥ {number_text(_float(row, 'lower_bound'), 0)}{doubt}"
    size = number_text(_float(row, "n_removed"), 0)
    removed = str(row["removed"]).split("; ")
    shown = "" if len(removed) > 3 else ": " + ", ".join(escape(models.get(name, name)) for name in removed)
    return f"{'≤ ' if row['how'] == 'greedy' else ''}{size}{shown}{doubt}"


def restricted_tables(analysis: Analysis) -> str:
    """Return, by class, how the verdicts come out within parts of the models."""
    frame, parts = analysis.tables["restricted_sets"], []
    head = ["Models", "n", "Benchmarks", *_VERDICTS[:4], "Differ from all"]
    for label in analysis.plan.table.classes:
        own = frame[frame["model_class"] == label]
        rows = []
        for (kind, part), group in own.groupby(["restriction", "part"], sort=False):
            counts = [str(int((group["verdict"] == verdict).sum())) for verdict in _VERDICTS[:4]]
            rows.append(
                [
                    f"{RESTRICTIONS.get(str(kind), escape(str(kind)))} {escape(str(part))}",
                    number_text(group["n_models"].max(), 0), str(len(group)), *counts,
                    str(int(group["flips"].astype(bool).sum())),
                ]
            )  # fmt: skip
        if not rows:
            continue
        caption = (
            f"Verdicts within parts of the {escape(label)} models, scores of the others left out and capability as "
            "with all models: number of benchmarks by verdict, and how many differ from the verdict with all models. "
            "With fewer models verdicts become undetermined; only one settled verdict against another contradicts."
        )
        parts.append(table_markdown(head, rows, source="restricted_sets", caption=caption, numeric=range(1, len(head))))
    return "\n\n".join(parts)


def partial_tables(analysis: Analysis, names: Names) -> str:
    """Return, by class, correlations with capability with compute, size or release date held fixed, where one is given.

    Covariates and benchmarks for which none is given are in `refused_table`.
    """
    frame, level, parts = analysis.tables["partial_correlations"], analysis.plan.study.level, []
    for label in analysis.plan.table.classes:
        own, more = _shown(analysis, _told(frame[frame["model_class"] == label]))
        covariates = [str(each) for each in dict.fromkeys(own["covariate"])]
        if not covariates:
            continue
        head = ["Benchmark", f"r {interval_head(level)}"]
        for covariate in covariates:
            head += [f"given {_covariate(covariate)} {interval_head(level)}", "VIF"]
        rows = []
        for benchmark, group in own.groupby("benchmark", sort=False):
            by_covariate = {str(row["covariate"]): row for row in group.to_dict("records")}
            first = by_covariate[next(iter(by_covariate))]
            row = [
                escape(names.get(str(benchmark), str(benchmark))),
                estimate_text(first["plain"], first["plain_lower"], first["plain_upper"]),
            ]
            for covariate in covariates:
                row += _partial(by_covariate.get(covariate))
            rows.append(row)
        caption = (
            f"Product-moment correlation of benchmarks with capability, class {escape(label)}, plain (over the models "
            "that have the first covariate) and with a covariate held fixed: median and equal-tailed interval over "
            "draws of capability, each with Bayesian-bootstrap weights of families; VIF: variance inflation of "
            "capability beside the covariate. Above its limit no estimate is given; ‡: little of capability is left."
            + more
        )
        parts.append(
            table_markdown(head, rows, source="partial_correlations", caption=caption, numeric=range(1, len(head)))
        )
    return "\n\n".join(parts)


def refused_table(analysis: Analysis, names: Names) -> str:
    """Return which benchmarks have no partial correlation, by class, covariate and reason; empty without one."""
    frame = analysis.tables["partial_correlations"]
    none = frame[~frame["given"].isin(GIVEN)]
    if none.empty:
        return ""
    rows = []
    for (label, covariate, why), part in none.groupby(["model_class", "covariate", "given"], sort=False):
        asked = ((frame["model_class"] == label) & (frame["covariate"] == covariate)).sum()
        known = [number_text(each, 1) for each in (part["vif"].min(), part["vif"].max())]
        rows.append(
            [
                escape(str(label)), _covariate(str(covariate)),
                "too few models" if why == "no" else escape(str(why)), number_text(len(part), 0),
                " to ".join(dict.fromkeys(known)),
                f"all {number_text(asked, 0)}" if len(part) == asked
                else "; ".join(escape(names.get(str(each), str(each))) for each in part["benchmark"]),
            ]
        )  # fmt: skip
    caption = (
        "Benchmarks without a partial correlation, and why: number, range of the variance inflation of capability "
        "beside the covariate, and which they are."
    )
    head = ["Class", "Held fixed", "Why", "Benchmarks", "VIF", "Which"]
    return table_markdown(head, rows, source="partial_correlations", caption=caption, numeric=(3, 4))


def _told(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of covariates and of benchmarks that have an estimate anywhere."""
    given = frame[frame["given"].isin(GIVEN)]
    return frame[frame["covariate"].isin(given["covariate"]) & frame["benchmark"].isin(given["benchmark"])]


def _covariate(name: str) -> str:
    return COVARIATE_WORDS.get(name, escape(name))


def _partial(row: Mapping[str, object] | None) -> list[str]:
    if row is None or row["given"] == "no":
        return [ABSENT, ABSENT]
    vif = number_text(_float(row, "vif"), 1)
    if row["given"] == "refused":
        return ["refused", vif]
    text = estimate_text(_float(row, "partial"), _float(row, "lower"), _float(row, "upper"))
    return [text + (" ‡" if row["given"] == "marked" else ""), vif]


def parents_table(analysis: Analysis, names: Names) -> str:
    """Return the 2024 correlations of benchmarks that reuse runs of capability benchmarks; empty without one."""
    frame = analysis.tables["parent_left_out"]
    if frame.empty:
        return ""
    interval = interval_head(analysis.plan.study.level)
    head = ["Class", "Benchmark", "Reuses runs of", "n", "Spearman", "Without", f"Change {interval}", "Label"]
    shown, more = _shown(analysis, frame)
    rows = [
        [
            escape(str(r["model_class"])), escape(names.get(str(r["benchmark"]), str(r["benchmark"]))),
            ", ".join(escape(names.get(each, each)) for each in str(r["parents"]).split("; ")),
            number_text(r["n_models"], 0), number_text(r["spearman"]), number_text(r["spearman_without"]),
            estimate_text(r["difference"], r["lower"], r["upper"]),
            _change(str(r["label_2024"]), str(r["label_without"])),
        ]
        for r in shown.to_dict("records")
    ]  # fmt: skip
    caption = (
        "Safety benchmarks that reuse the runs of capability benchmarks: Spearman's coefficient with the 2024 score, "
        "and with the score made without those capability benchmarks; change with the interval of the Bayesian "
        "bootstrap over lineages." + more
    )
    return table_markdown(head, rows, source="parent_left_out", caption=caption, numeric=(3, 4, 5, 6))


def _change(before: str, after: str) -> str:
    return escape(before) if before == after else f"{escape(before)} → {escape(after)}"


def _shown(analysis: Analysis, frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the rows of headline benchmarks where there are too many of all, and the sentence that says so."""
    benchmarks = analysis.plan.table.benchmarks
    headline = set(benchmarks.index[benchmarks["headline"].astype(bool)])
    chosen = frame[frame["benchmark"].isin(headline)]
    if frame["benchmark"].nunique() <= MOST_ROWS or chosen.empty:
        return frame, ""
    return chosen, " Headline benchmarks only; the others are in the file."


def _float(row: Mapping[str, object], column: str) -> float:
    return float(row[column])  # type: ignore[arg-type]
