"""The errata page of ren2024: prose with the numbers of the proof, and a table per item."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from safetystats.reporting.content import csv_text
from safetystats.reporting.prose import Quoter, render_prose
from safetystats.reporting.text import ANY_LENGTH, escape, table_markdown
from safetystats.reporting.writers import to_github, to_html
from safetystats.shelf import write_atomic
from safetystats.summaries import numbers
from safetystats.summaries.errata import Errata
from safetystats.tables.ren2024 import BASE_URL, COMMIT, FILES
from safetystats.tables.table import ScoreTable

FORMATS = ("html", "md", "csv")
TITLE = "Ren et al. (2024): what appears to be wrong in the printed numbers"
STEM = "errata-ren2024"

_HEADS = {
    "slope": ("printed as slope", "intercept", "slope"),
    "compute": ("printed", "with two more models", "models of the file"),
    "copied": ("score", "times items of adv\\_mnli", "times own items"),
    "calibration": ("printed", "with accuracy", "with the score"),
}
_CAPTIONS = {
    "machiavelli": "Correlations with the capabilities score, per cent: values as in the files, and with the sign "
    "turned so that higher is safer.",
    "discrim_eval": "Correlations with the capabilities score, per cent: values as in the file, and with the sign "
    "turned so that higher is safer.",
    "slope": "Accuracy on TruthfulQA in points, regressed on the capabilities score.",
    "compute": "Rank correlations with training compute, chat models, per cent.",
    "copied": "Scores that are equal in both columns, and the number of items that each would be.",
    "calibration": "Rank correlations of the calibration measures, per cent.",
}


def write_errata(found: Errata, table: ScoreTable, folder: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write the page and the table of its numbers.

    Parameters
    ----------
    found : Errata
        From `safetystats.summaries.errata.find_errata`.
    table : ScoreTable
        The table it was found in.
    folder : Path
        Made if it does not exist.
    formats : iterable of str
        Of `FORMATS`.
    """
    wanted, markdown, written = set(formats), errata_markdown(found, table), []
    for form in FORMATS:
        if form not in wanted:
            continue
        if form == "csv":
            content = csv_text(found.rows)
        elif form == "md":
            content = to_github(markdown, title=escape(TITLE))
        else:
            with tempfile.TemporaryDirectory() as scratch:
                content = to_html(markdown, title=TITLE, resources=Path(scratch))
        path = folder / f"{STEM}.{form}"
        write_atomic(path, content)
        written.append(path)
    return written


def errata_markdown(found: Errata, table: ScoreTable) -> str:
    """Return the page as Markdown in pandoc's dialect."""
    quoter = Quoter(results=found.facts, names={}, models={})
    names = {str(k): str(v) for k, v in table.benchmarks["name"].items()}
    context: dict[str, object] = {
        "num": quoter.num,
        "number": quoter.number,
        "text": quoter.text,
        "escape": escape,
        "scientific": lambda key: _scientific(float(quoter.number(key))),
        "tables": {item: _item_table(item, rows, names) for item, rows in found.rows.groupby("item", sort=False)},
        "files": _files(table),
    }
    return render_prose("errata.md", context)


def _item_table(item: str, rows: pd.DataFrame, names: dict[str, str]) -> str:
    heads = _HEADS.get(item, ("printed", "computed", "as described"))
    digits = 4 if item == "copied" else 1
    cells = [
        [
            escape(names.get(str(row["benchmark"]), str(row["benchmark"])))
            + (f", {escape(str(row['model']))}" if row["model"] else ""),
            escape(str(row["model_class"])),
            str(row["n_models"]),
            numbers.number_text(float(row["published"]), digits),
            *(numbers.number_text(float(row[column]), 2) for column in ("computed", "alternative")),
            escape(str(row["place"])),
        ]
        for row in rows.to_dict("records")
    ]
    header = ["Benchmark", "Class", "Models", *heads, "Printed in"]
    return table_markdown(header, cells, caption=_CAPTIONS[item], numeric=(2, 3, 4, 5))


def _files(table: ScoreTable) -> str:
    rows = [[f"`{name}`", f"`{digest}`"] for name, digest in FILES.items()]
    rows.append(["the table as read, with our dictionary", f"`{table.fingerprint}`"])
    caption = f"Files and their sha256, at commit {COMMIT[:12]} of {escape(BASE_URL, ANY_LENGTH)}."
    return table_markdown(["File", "sha256"], rows, caption=caption)


def _scientific(value: float) -> str:
    """Return a round large number as a power of ten, as Markdown."""
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"${float(mantissa):g} \\times 10^{{{int(exponent)}}}$"
