"""Pages from the text that a run keeps. Nothing is fitted, no table is read, and no heavy library is loaded.

What is computed from the tables of a run (cards, the guidelines) starts from `safetystats.summaries.finished`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetystats.errors import DataError, refuse_unknown
from safetystats.reporting.bibliography import cited_entries
from safetystats.reporting.text import ANY_LENGTH, escape
from safetystats.reporting.writers import to_docx, to_github, to_html, to_latex, to_typst
from safetystats.shelf import shelf_path, write_atomic
from safetystats.summaries.numbers import count_text, number_text
from safetystats.summaries.record import damaged, read_object, read_record

FORMATS = ("html", "md", "pdf", "docx", "tex")
"""What `write_formats` writes; `tex` is methods.tex and results.tex with the figures as PDF."""

FORMS = ("short", "long", "checklist")
"""Forms of the methods section."""

TEXTS = ("report", "methods-short", "methods-checklist")
"""Documents in pandoc's dialect that a run keeps in `text/`; every page is made from them."""

PAGE_DATA = "text/page.json"
"""What the HTML page draws and offers; a run keeps it beside its texts."""

_NOT_RESULTS = ("failed-gates", "summary", "methods", "barg", "references")
_HEADING = re.compile(r"^# .*\{#([\w-]+)\}[ \t]*$", flags=re.MULTILINE)
_FIGURE = re.compile(r"\]\((figures/[\w-]+\.svg)\)")
_LINK = re.compile(r"\[([^\[\]]+)\]\((#[\w-]+)\)")
_MINUTES_FROM = 120


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RunFolder:
    """The folder of a finished run.

    Attributes
    ----------
    folder : Path
    title : str
        Of the study.
    texts : mapping of str to str
        Documents in pandoc's dialect, by the names in `TEXTS`.
    page_data : mapping
        What the script of the HTML page draws and offers.
    record : mapping
        What `run.json` says.
    """

    folder: Path
    title: str
    texts: Mapping[str, str]
    page_data: Mapping[str, Any]
    record: Mapping[str, Any]

    @property
    def gates_passed(self) -> bool:
        """True if no check failed."""
        return bool(self.record["gates"]["passed"])


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenPages:
    """What was written.

    Attributes
    ----------
    paths : tuple of Path
    remarks : tuple of str
        What a reader should know of them, such as why a PDF could not be checked against PDF/UA.
    """

    paths: tuple[Path, ...]
    remarks: tuple[str, ...]


def open_run(folder: Path) -> RunFolder:
    """Read the folder of a finished run.

    Raises
    ------
    StudyError
        If it is none.
    DataError
        If it lacks files, all of which are listed, or if one cannot be read.
    """
    record = read_record(folder)
    paths = {name: folder / "text" / f"{name}.md" for name in TEXTS}
    absent = [path for path in (*paths.values(), folder / PAGE_DATA) if not path.is_file()]
    texts = {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path not in absent}
    figures = sorted({path for text in texts.values() for path in _FIGURE.findall(text)})
    absent += [path for name in figures for path in _both(folder / name) if not path.is_file()]
    if absent:
        raise DataError([damaged(path) for path in absent])
    return RunFolder(
        folder=folder,
        title=str(record["spec"]["title"]),
        texts=texts,
        page_data=read_object(folder / PAGE_DATA),
        record=record,
    )


def write_formats(
    run: RunFolder, formats: Sequence[str], told: Callable[[str], None] = lambda name: None
) -> WrittenPages:
    """Write pages of a run into its folder, each whole or not at all.

    Parameters
    ----------
    run : RunFolder
    formats : sequence of str
        Of `FORMATS`.
    told : callable
        Called with the name of each file before it is made.

    Raises
    ------
    StudyError
        If a format is unknown.
    PdfError
        If the PDF cannot be set.
    """
    refuse_unknown(formats, FORMATS, "--format")
    folder, report = run.folder, run.texts["report"]
    paths: list[Path] = []
    remarks: list[str] = []

    def write(name: str, make: Callable[[], str | bytes]) -> None:
        told(name)
        write_atomic(folder / name, make())
        paths.append(folder / name)

    def pdf() -> bytes:
        from safetystats.reporting.pdf import to_pdf

        made = to_pdf(to_typst(report, title=run.title), folder)
        if not made.accessible:
            remarks.append(f"report.pdf is tagged but not checked against PDF/UA-1: {made.why_not}")
        return made.content

    pages: dict[str, Callable[[], str | bytes]] = {
        "md": lambda: to_github(report, title=run.title),
        "docx": lambda: to_docx(report, title=run.title, resources=folder),
        "pdf": pdf,
        "html": lambda: to_html(report, title=run.title, resources=folder, data=run.page_data),
    }
    if "tex" in formats:
        write("references.bib", lambda: references(run))
        write("methods.tex", lambda: to_latex(methods_source(run), title=run.title))
        write("results.tex", lambda: to_latex(results_source(run), title=run.title))
        for name in sorted(set(_FIGURE.findall(results_source(run)))):
            write(name.removesuffix("svg") + "pdf", lambda name=name: _figure_pdf(folder / name))  # type: ignore[misc]
    for kind, make in pages.items():  # HTML last: where a run has one, it has all
        if kind in formats:
            write(f"report.{kind}", make)
    return WrittenPages(paths=tuple(paths), remarks=tuple(remarks))


def methods(run: RunFolder, form: str, kind: str = "md") -> str:
    """Return the methods section of a run in one of three forms, as Markdown or LaTeX.

    Parameters
    ----------
    run : RunFolder
    form : {'short', 'long', 'checklist'}
        One paragraph; the section of the report; the answers that checklists of conferences ask for.
    kind : {'md', 'tex'}
        Markdown has the references at its end, LaTeX cites with natbib. Links to other sections of the report become
        words.
    """
    refuse_unknown([form], FORMS, "--form")
    refuse_unknown([kind], ("md", "tex"), "--format")
    if form == "long":
        source = methods_source(run)
    elif form == "short":
        source = _failed(run) + run.texts["methods-short"]
    else:
        source = _failed(run) + run.texts["methods-checklist"].rstrip() + "\n\n" + compute_text(run.record)
    if kind == "tex":
        return to_latex(source, title=run.title)
    source = _LINK.sub(lambda found: found.group(0) if f"{{{found.group(2)}}}" in source else found.group(1), source)
    return to_github(source + "\n\n# References {#references}\n\n::: {#refs}\n:::\n")


def methods_source(run: RunFolder) -> str:
    """Return the methods section of the report in pandoc's dialect, after a failed gate if there is one."""
    return _failed(run) + sections(run.texts["report"])["methods"]


def results_source(run: RunFolder) -> str:
    """Return the sections of the report that are results, one level lower, under one heading."""
    parts = [text for name, text in sections(run.texts["report"]).items() if name not in _NOT_RESULTS]
    lower = re.sub(r"^(#+ )", r"#\1", "".join(parts), flags=re.MULTILINE)
    return _failed(run) + "# Results {#results}\n\n" + lower


def sections(markdown: str) -> dict[str, str]:
    """Return the sections of a document under headings of the first level, by identifier, in order."""
    found = list(_HEADING.finditer(markdown))
    ends = [match.start() for match in found[1:]] + [len(markdown)]
    return {match.group(1): markdown[match.start() : end] for match, end in zip(found, ends, strict=True)}


def references(run: RunFolder) -> str:
    """Return the BibTeX entries that the texts of a run cite."""
    bibliography = shelf_path("reports", "references.bib").read_text(encoding="utf-8")
    return cited_entries(bibliography, list(run.texts.values()))


def compute_text(record: Mapping[str, Any]) -> str:
    """Return what a run took, from its record; times differ between runs, so that no page of the report has them."""
    from safetystats.reporting.prose import render_prose

    timings = {str(stage): float(seconds) for stage, seconds in record["timings"].items()}
    longest = max(timings, key=lambda stage: timings[stage])
    machine = record.get("machine", {})
    context = {
        "wall_time": _duration(sum(timings.values())),
        "longest_stage": escape(longest, ANY_LENGTH),
        "longest_time": _duration(timings[longest]),
        "reused": bool(record.get("fits_reused")),
        "platform": escape(str(record["platform"]), ANY_LENGTH),
        "cores": count_text(int(machine["cores"]), "processor core") if machine.get("cores") else "",
        "study": escape(str(record["study"]), ANY_LENGTH),
    }
    return render_prose("compute.md", context)


def _duration(seconds: float) -> str:
    if seconds < _MINUTES_FROM:
        return f"{number_text(seconds, 0)} seconds"
    return f"{number_text(seconds / 60, 0)} minutes"


def _failed(run: RunFolder) -> str:
    return sections(run.texts["report"]).get("failed-gates", "")


def _both(svg: Path) -> tuple[Path, Path]:
    return svg, svg.with_suffix(".png")


def _figure_pdf(path: Path) -> bytes:
    from safetystats.reporting.pdf import svg_to_pdf

    return svg_to_pdf(path)
