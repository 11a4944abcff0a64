"""From the one Markdown document to pages, through pandoc."""

from __future__ import annotations

from pathlib import Path

from safetystats.reporting.page import PageData, finish_page
from safetystats.shelf import shelf_path

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
        What the script of the page draws and offers; from `safetystats.reporting.page.page_data`.
    """
    page = _pandoc(
        markdown,
        "html5",
        [
            "--standalone",
            f"--template={shelf_path('reports', 'style', 'page.html')}",
            "--embed-resources",
            f"--resource-path={resources}",
            "--mathml",
            "--toc",
            "--toc-depth=2",
            "--metadata",
            f"title={title}",
            "--metadata",
            "lang=en",
        ],
    )
    return finish_page(page, data)


def to_github(markdown: str, *, title: str) -> str:
    """Return Markdown as GitHub shows it, citations resolved; figures stay links."""
    return f"# {title}\n\n" + _pandoc(markdown, "gfm-raw_html+tex_math_dollars", ["--shift-heading-level-by=1"])


def _pandoc(markdown: str, target: str, arguments: list[str]) -> str:
    import pypandoc

    common = [
        "--citeproc",
        f"--bibliography={shelf_path('reports', 'references.bib')}",
        "--metadata",
        "link-citations=true",
        "--wrap=none",
        "--columns=10000",
    ]
    return str(pypandoc.convert_text(markdown, target, format=_READER, extra_args=[*common, *arguments]))
