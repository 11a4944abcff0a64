"""From the one Markdown document to pages, through pandoc; PDF goes on through typst (`pdf`)."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from safetystats import __version__
from safetystats.reporting.page import PageData, finish_page
from safetystats.shelf import EPOCH, shelf_path

_READER = "markdown-raw_html-raw_tex-raw_attribute-smart-example_lists-yaml_metadata_block"


def to_html(markdown: str, *, title: str, resources: Path, data: PageData | None = None) -> str:
    """Return one HTML page that loads nothing: style, script, figures and formulas are inside.

    Parameters
    ----------
    markdown : str
        In pandoc's dialect; raw HTML in it is shown as text.
    title : str
    resources : Path
        Folder that the figures' paths are relative to.
    data : mapping, optional
        What the script of the page draws and offers; from `safetystats.reporting.page_data.page_data`.
    """
    page = _pandoc(
        markdown,
        "html5",
        [
            *_CITED,
            "--standalone",
            f"--template={_style('page.html')}",
            f"--lua-filter={_style('html.lua')}",
            "--embed-resources",
            f"--resource-path={resources}",
            "--mathml",
            "--toc",
            "--toc-depth=2",
            *_metadata(title),
        ],
    )
    return finish_page(page, data)


def to_github(markdown: str, *, title: str = "") -> str:
    """Return Markdown as GitHub shows it, citations resolved; figures stay links. Without a title, levels stay."""
    head = f"# {title}\n\n" if title else ""
    shift = ["--shift-heading-level-by=1"] if title else []
    return head + _pandoc(markdown, "gfm-raw_html+tex_math_dollars", [*_CITED, *shift])


def to_latex(markdown: str, *, title: str) -> str:
    """Return LaTeX to be pasted into an article of one or two columns: floats, labels, natbib citations.

    Parameters
    ----------
    markdown : str
    title : str
        For the comment at the top.
    """
    return _pandoc(
        markdown,
        "latex",
        [
            "--natbib",
            "--standalone",
            f"--template={_style('latex.tex')}",
            f"--lua-filter={_style('latex.lua')}",
            f"--variable=version={__version__}",
            *_metadata(" ".join(title.split())),
        ],
    )


def to_docx(markdown: str, *, title: str, resources: Path) -> bytes:
    """Return a Word document: native equations and tables, figures as PNG, styles of `reports/style/reference.docx`.

    Parameters
    ----------
    markdown : str
    title : str
    resources : Path
        Folder that the figures' paths are relative to.
    """
    with tempfile.TemporaryDirectory() as scratch, _dated():
        path = Path(scratch) / "report.docx"
        _pandoc(
            markdown,
            "docx",
            [
                *_CITED,
                f"--lua-filter={_style('docx.lua')}",
                f"--reference-doc={_style('reference.docx')}",
                f"--resource-path={resources}",
                *_metadata(title),
            ],
            path,
        )
        return _fitted(path)


def to_typst(markdown: str, *, title: str, contents: bool = True) -> str:
    """Return a typst document; its figures are named by paths relative to where it stands."""
    return _pandoc(
        markdown,
        "typst",
        [
            *_CITED,
            "--standalone",
            f"--template={_style('report.typ')}",
            f"--lua-filter={_style('typst.lua')}",
            *(["--variable=contents=yes"] if contents else []),
            *([f"--variable=date={_typst_date()}"] if "SOURCE_DATE_EPOCH" in os.environ else []),
            *_metadata(title),
        ],
    )


_CITED = (
    "--citeproc",
    f"--bibliography={shelf_path('reports', 'references.bib')}",
    "--metadata",
    "link-citations=true",
)


def _fitted(path: Path) -> bytes:
    """Return a Word file whose tables take the width that their text needs: pandoc fixes it for a narrower page."""
    made = BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename == "word/document.xml":
                content = content.replace(b'<w:tblLayout w:type="fixed" />', b'<w:tblLayout w:type="autofit" />')
            new.writestr(zipfile.ZipInfo(member.filename, member.date_time), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _style(name: str) -> Path:
    return shelf_path("reports", "style", name)


def _metadata(title: str) -> list[str]:
    return ["--metadata", f"title={title}", "--metadata", "lang=en"]


def _typst_date() -> str:
    from datetime import UTC, datetime

    day = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), tz=UTC)
    return f"year: {day.year}, month: {day.month}, day: {day.day}"


@contextmanager
def _dated() -> Iterator[None]:
    """Give pandoc a date, so that the same document is the same file."""
    before = os.environ.get("SOURCE_DATE_EPOCH")
    os.environ["SOURCE_DATE_EPOCH"] = before or str(EPOCH)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SOURCE_DATE_EPOCH"]


def _pandoc(markdown: str, target: str, arguments: Sequence[str], path: Path | None = None) -> str:
    import pypandoc

    return str(
        pypandoc.convert_text(
            markdown,
            target,
            format=_READER,
            extra_args=["--wrap=none", "--columns=10000", *arguments],
            outputfile=None if path is None else str(path),
        )
    )
