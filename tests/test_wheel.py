"""An installed wheel, without the checkout, runs the default study; a second run reuses the fits."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from installed import Study, run

from safetystats.shelf import shelf_root
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.glossary_relations import RELATIONS_TABLES


def test_the_wheel_holds_what_the_checkout_holds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"safetystats"}
    shipped = {name.removeprefix("safetystats/_shelf/") for name in names if "/_shelf/" in name}
    folders = ("models", "data", "reports/recipes", "reports/prose", "reports/style")
    expected = {
        path.relative_to(shelf_root()).as_posix()
        for folder in folders
        for path in (shelf_root() / folder).rglob("*")
        if path.is_file()
    } | {"reports/references.bib"}
    assert shipped == expected
    assert not [name for name in names if "upstream" in name or "benchmarks_base_models" in name]


def test_the_default_study_runs_from_the_wheel(study: Study) -> None:
    _, folder, _, said = study
    assert said["gates_passed"] is True
    assert said["fits_reused"] is False
    assert len(said["summary"]) == 8  # type: ignore[arg-type]
    # Nothing need lie at its edge; only ren2024 has published labels; a quick run leaves out what is long.
    may_be_empty = {"boundary_cases", "invariance", "invariance_loadings", "published_labels"}
    may_be_empty |= MODEL_SETS_TABLES.keys() | (RELATIONS_TABLES.keys() - {"noise_or_distinct"})
    for name, columns in TABLES.items():
        with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.reader(stream))
        assert tuple(rows[0]) == columns
        assert (len(rows) > 1) or name in may_be_empty, f"{name}.csv is empty"
    page = (folder / "report.html").read_text(encoding="utf-8")
    for section in (
        "summary",
        "question",
        "data",
        "capability",
        "posterior",
        "estimands",
        "checks",
        "correlations",
        "classes",
        "diagnostics",
        "methods",
        "refs",
    ):
        assert f'id="{section}"' in page
    figures = re.findall(r"<img [^>]*>", page)
    assert len(figures) == 11
    assert all('src="data:image/svg+xml' in figure and 'aria-label="' in figure for figure in figures)
    assert 'http-equiv="Content-Security-Policy"' in page
    assert not list(folder.rglob(".*")), "a temporary file was left behind"


def test_a_second_run_reuses_the_fits_and_writes_the_same_bytes(
    study: Study,
) -> None:
    base, first, environment, _ = study
    said = run(base, environment, "second")
    assert said["fits_reused"] is True
    for path in sorted(first.rglob("*")):
        if path.is_file() and path.name != "run.json":
            assert path.read_bytes() == (base / "second" / path.relative_to(first)).read_bytes(), path.name


def test_numbers_of_the_text_are_results(study: Study) -> None:
    _, folder, _, _ = study
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert f"{results['models']} models" in text
    mean = results["posterior_correlations/chat/classic_truthfulqa/cut/mean"]
    assert f"{mean:.2f}" in text


def test_an_interrupt_leaves_no_half_written_file(
    study: Study,
) -> None:
    base, _, environment, _ = study
    code = (
        "import sys, safetystats.cli as cli, safetystats.reporting.folder as pages\n"
        "def stop(*args, **kwargs):\n    raise KeyboardInterrupt\n"
        "pages.to_html = stop\n"
        "sys.argv = ['safetystats', 'run', '--quick', '--out', 'third', '--quiet']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment, cwd=base
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    written = [path for path in (base / "third").rglob("*") if path.is_file()]
    assert not [path for path in written if path.name.startswith(".")]
    assert "report.html" not in {path.name for path in written}
    for path in written:
        assert (
            path.name == "run.json"
            or path.read_bytes() == (base / "first" / path.relative_to(base / "third")).read_bytes()
        )
