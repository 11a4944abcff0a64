"""The audit by the Bayesian Analysis Reporting Guidelines (Kruschke 2021): every item, and where it is answered.

What the items ask and how they are answered is prose, in `reports/prose/barg.toml`; answers depend on the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from safetystats.reporting.prose import Quoter, Value, render_prose, render_text
from safetystats.reporting.text import ANY_LENGTH, escape, table_markdown
from safetystats.shelf import shelf_path
from safetystats.specs import StudySpec, read_toml

BARG_COLUMNS: tuple[str, ...] = ("step", "letter", "asks", "status", "answer", "where")
STATUSES: tuple[str, ...] = ("answered", "not applicable", "author", "not run", "failed")
WORDS: Mapping[str, str] = {
    "answered": "answered",
    "not applicable": "does not apply",
    "author": "author to supply",
    "not run": "not run",
    "failed": "a check failed",
}


def barg_audit(results: Mapping[str, Any], study: StudySpec, classes: Sequence[str]) -> pd.DataFrame:
    """Return one row per item of the guidelines.

    Parameters
    ----------
    results : mapping
        Numbers of the run by key, of `results.json`.
    study : StudySpec
        As it was run.
    classes : sequence of str
        Classes of the run.

    Returns
    -------
    DataFrame
        Columns `BARG_COLUMNS`; `status` in `STATUSES`; `answer` is Markdown; `where` has identifiers of sections,
        separated by blanks.

    References
    ----------
    Kruschke, J. K. (2021). Bayesian analysis reporting guidelines. Nature Human Behaviour 5, 1282-1291.
    """
    values: dict[str, Value] = {key: float("nan") if value is None else value for key, value in results.items()}
    quoter = Quoter(results=values, names={}, models={})

    def every(stem: str, ending: str = "") -> bool:
        """Whether a count is above zero in every class."""
        keys = [".".join(part for part in (stem, c, ending) if part) for c in classes]
        return all(key in values and float(quoter.number(key)) > 0 for key in keys)

    context: dict[str, object] = {
        "num": quoter.num, "pct": quoter.pct, "count": quoter.count, "number": quoter.number, "escape": escape,
        "classes": list(classes),
        "every": every,
        "grid": every("alternatives"),
        "withheld": sum(int(quoter.number(f"verdicts.{c}.cut.withheld")) for c in classes),
        "reason": study.rope.reason,
        "seed": str(study.seed),
    }  # fmt: skip
    rows = []
    for item in read_toml(shelf_path("reports", "prose", "barg.toml"))["item"]:
        status = render_text(item["status"], context).strip()
        if status not in STATUSES:
            raise ValueError(f"barg.toml: {item['asks']} has the status {status!r}")
        rows.append(
            (
                item["step"],
                item["letter"],
                item["asks"],
                status,
                render_text(item["answer"], context).strip(),
                " ".join(item["where"]),
            )
        )
    return pd.DataFrame(rows, columns=list(BARG_COLUMNS))


def barg_markdown(audit: pd.DataFrame, *, linked: bool = True) -> str:
    """Return the section with the table of the audit, as Markdown in pandoc's dialect.

    Parameters
    ----------
    audit : DataFrame
        From `barg_audit`.
    linked : bool
        Whether the sections are in the same document, so that they can be linked.
    """
    counts: dict[str, Value] = {status: int((audit["status"] == status).sum()) for status in STATUSES}
    quoter = Quoter(results={**counts, "items": len(audit)}, names={}, models={})
    rows = [
        [
            escape(f"{row['step']}, {row['letter']}" if row["letter"] else str(row["step"])),
            escape(str(row["asks"]), ANY_LENGTH),
            WORDS[str(row["status"])],
            str(row["answer"]),
            ", ".join(f"[{name}](#{name})" if linked else escape(name) for name in str(row["where"]).split()),
        ]
        for row in audit.to_dict("records")
    ]
    table = table_markdown(
        ["Item", "What it asks", "Status", "Answer", "Section"],
        rows,
        caption="Items of the Bayesian Analysis Reporting Guidelines, and where they are answered.",
    )
    context = {"num": quoter.num, "number": quoter.number, "count": quoter.count, "table": table}
    return render_prose("barg.md", context)
