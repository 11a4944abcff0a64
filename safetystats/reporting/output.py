"""Write a study's folder: tables, figures, results, fits, pages. Every file appears whole or not at all."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from safetystats.reporting.content import csv_text, json_text, plain
from safetystats.reporting.document import FigureText, render_texts, summary_lines
from safetystats.reporting.folder import FORMATS, PAGE_DATA, open_run, write_formats
from safetystats.reporting.page import data_text
from safetystats.reporting.page_data import page_data
from safetystats.reporting.prose import Value
from safetystats.reporting.results import collect_results
from safetystats.reporting.text import labels_for
from safetystats.shelf import sha256_bytes, write_atomic
from safetystats.summaries.analysis import Analysis

_LIBRARIES = (
    "safetystats", "pymc", "nutpie", "pytensor", "numba", "arviz-stats", "arviz-base", "statsmodels", "scipy", "numpy",
    "pandas", "xarray", "h5netcdf", "matplotlib", "pypandoc-binary", "typst", "jinja2",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written.

    Attributes
    ----------
    folder : Path
    report : Path
        The HTML report.
    summary : tuple of str
        The lines that stand first in it, as plain text.
    gates_passed : bool
    remarks : tuple of str
        What a reader should know of the pages, such as why a PDF could not be checked against PDF/UA.
    """

    folder: Path
    report: Path
    summary: tuple[str, ...]
    gates_passed: bool
    remarks: tuple[str, ...]


def write_report(analysis: Analysis, folder: Path) -> Written:
    """Write everything that DESIGN section 5 names and that this version makes, and return where it is.

    Parameters
    ----------
    analysis : Analysis
    folder : Path
        Made if it does not exist; files of the same names are replaced, other files are left alone. `run.json` goes
        first and comes after the tables and texts, so that a folder that was half replaced is not taken for a run.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    from safetystats.reporting import (
        figures,
        figures_checks,
        figures_classes,
        figures_model_sets,
        figures_relations,
        figures_shifts,
        figures_verdicts,
    )

    plan = analysis.plan
    results = collect_results(analysis)
    table = plan.table
    labels = labels_for({str(k): str(v) for k, v in table.benchmarks["name"].items()})
    models = labels_for({str(k): str(v) for k, v in table.models["name"].items()})
    headline = [str(name) for name in table.benchmarks.index[table.benchmarks["headline"].astype(bool)]]
    level, tables = plan.study.level, analysis.tables
    drawings = [
        figures.draw_loadings(tables["capability_loadings"], labels=labels, level=level),
        figures.draw_capability(tables["capability_scores"], labels=models, level=level),
        figures.draw_forest(
            tables["posterior_correlations"],
            tables["capability_correlations"],
            labels=labels,
            headline=headline,
            rope=plan.study.rope.limit,
            level=level,
        ),
        figures_checks.draw_scree(tables["number_of_factors"], float(results["factor_quantile"])),
        figures_checks.draw_shrinkage(
            tables["shrunken_correlations"],
            tables["posterior_correlations"],
            labels=labels,
            headline=headline,
            rope=plan.study.rope.limit,
            level=level,
        ),
        figures_classes.draw_class_differences(
            tables["posterior_differences"], labels=labels, headline=headline, level=level
        ),
        figures_classes.draw_marginal_means(
            tables["marginal_means"], group=plan.mixed.groups[0], labels=labels, headline=headline, level=level
        ),
        figures_shifts.draw_lineage_shifts(tables["lineage_shifts"], tables["differential_progress"], level=level),
        *figures_verdicts.draw_verdicts(
            tables, labels=labels, headline=headline, rope=plan.study.rope.limit, level=level
        ),
        figures_model_sets.draw_reachable(
            tables["reachable"], labels=labels, headline=headline, rope=plan.study.rope.limit
        ),
        *figures_relations.draw_relations(analysis, labels=labels, headline=headline),
        figures.draw_missing(plan.aligned.select(roles=("capability", "safety"))),
    ]
    drawn = [drawing for drawing in drawings if drawing is not None]
    # Until its tables are whole again, the folder is not that of a finished run.
    (folder / "run.json").unlink(missing_ok=True)
    for drawing in drawn:
        write_atomic(folder / "figures" / f"{drawing.name}.svg", drawing.svg)
        write_atomic(folder / "figures" / f"{drawing.name}.png", drawing.png)
    for name, frame in tables.items():
        write_atomic(folder / "tables" / f"{name}.csv", csv_text(frame))
    write_atomic(folder / "tables" / "left_out.csv", csv_text(plan.flow.left_out))
    write_atomic(folder / "results.json", json_text(results))
    for name, path in analysis.fits.items():
        write_atomic(folder / "fits" / f"{name}.nc", path.read_bytes())

    texts = {d.name: FigureText(name=d.name, caption=d.caption, alt=d.alt) for d in drawn}
    for name, text in render_texts(analysis, results, texts).items():
        write_atomic(folder / "text" / f"{name}.md", text)
    write_atomic(folder / PAGE_DATA, data_text(page_data(analysis)))
    write_atomic(folder / "run.json", json_text(_run_record(analysis)))
    pages = write_formats(open_run(folder), FORMATS)
    return Written(
        folder=folder,
        report=folder / "report.html",
        summary=tuple(plain(line) for line in summary_lines(analysis, results)),
        gates_passed=analysis.gates_passed,
        remarks=pages.remarks,
    )


def _run_record(analysis: Analysis) -> dict[str, object]:
    plan = analysis.plan
    tables: dict[str, Value] = {
        name: sha256_bytes(csv_text(frame).encode("utf-8")) for name, frame in analysis.tables.items()
    }
    return {
        "study": plan.name,
        "spec": json.loads(plan.study.model_dump_json()),
        "specs": {
            name: {"fingerprint": spec.fingerprint, "content": json.loads(spec.model_dump_json())}
            for name in ("score", "factor", "mixed", "crossed", "invariance")
            for spec in (getattr(plan, name),)
        },
        "table": {"name": plan.table.name, "fingerprint": plan.table.fingerprint},
        "fits": {name: path.stem for name, path in analysis.fits.items()},
        "fits_reused": analysis.reused,
        "tables": tables,
        "gates": {
            "passed": analysis.gates_passed,
            "checks": [dataclasses.asdict(check) for check in analysis.checks],
        },
        "timings": dict(analysis.timings),
        "versions": {"python": sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in _LIBRARIES},
        "platform": platform.platform(),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
    }
