"""Where tables stand in the PDF: no page with a head and no rows, none left empty before a turned one."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pypdfium2
import pytest

from safetystats.reporting.pdf import to_pdf
from safetystats.reporting.text import table_markdown
from safetystats.reporting.writers import to_typst

FEWEST = 3
"""Rows that stay together where a table begins and where it ends."""
SHORT = 10
"""Lines up to which a table stays whole."""


def pages(markdown: str, folder: Path) -> list[tuple[bool, str]]:
    """Return whether a page is turned, and its text, page by page."""
    found = to_pdf(to_typst(markdown, title="t", contents=False), folder)
    assert found.accessible, found.why_not
    document = pypdfium2.PdfDocument(BytesIO(found.content))
    texts = [page.get_textpage().get_text_bounded().replace("\u00a0", " ") for page in document]
    return [(page.get_width() > page.get_height(), text) for page, text in zip(document, texts, strict=True)]


def table(rows: int, columns: int = 4, cell: str = "0.5") -> str:
    """Return a table whose rows begin with `row7`, whose head begins with `Head`."""
    head = ["Head", *(f"Column {k}" for k in range(1, columns))]
    body = [[f"row{place}", *[cell] * (columns - 1)] for place in range(rows)]
    return table_markdown(head, body, caption="A table.", numeric=range(1, columns))


def text(paragraphs: int) -> str:
    return "\n\n".join(f"Paragraph {k} says a few words on one line." for k in range(paragraphs))


@pytest.mark.parametrize("rows", [*range(59, 65)])
def test_no_page_has_the_head_of_a_table_and_hardly_a_row(rows: int, tmp_path: Path) -> None:
    found = pages(f"# One\n\n{table(rows)}\n\nThe end.\n", tmp_path)
    counts = [page.count("row") for _, page in found if "Head" in page]
    assert sum(counts) == rows
    assert min(counts) >= FEWEST
    assert all("Head" in page for _, page in found if "row" in page), "a foot is no head"


@pytest.mark.parametrize("before", [*range(34, 41)])
def test_a_table_begins_with_some_rows_or_on_the_next_page(before: int, tmp_path: Path) -> None:
    found = pages(f"# One\n\n{text(before)}\n\n{table(30)}\n\nThe end.\n", tmp_path)
    assert min(page.count("row") for _, page in found if "Head" in page) >= FEWEST


@pytest.mark.parametrize("before", [32, 34, 36, 38])
def test_a_short_table_stays_whole(before: int, tmp_path: Path) -> None:
    found = pages(f"# One\n\n{text(before)}\n\n{table(SHORT)}\n\nThe end.\n", tmp_path)
    assert [page.count("row") for _, page in found if "row" in page] == [SHORT]


def test_turned_tables_wait_for_the_end_of_their_section(tmp_path: Path) -> None:
    wide = table(12, columns=17, cell="a long 0.5")
    markdown = f"# One\n\nBefore.\n\n{wide}\n\n{wide}\n\nBetween.\n\n{wide}\n\n## Part\n\nAfter.\n\n# Two\n\nThe end.\n"
    (first, turned, *_, last) = pages(markdown, tmp_path)
    assert not first[0]
    for words in ("Before.", "Table 1 and Table 2 stand on turned pages, from page 2.", "Between.", "Part", "After."):
        assert words in first[1].splitlines()
    assert "Table 3 stands on a turned page: page 2." in first[1].splitlines()
    assert turned[0]
    assert turned[1].count("row") > 12, "tables that wait share pages"
    assert not last[0]
    assert "The end." in last[1]


def test_a_table_is_turned_only_if_intervals_below_their_estimates_do_not_help(tmp_path: Path) -> None:
    interval = "−0.55 \\[−0.71, −0.31\\]"
    ((turned, page), *others) = pages(f"# One\n\n{table(12, columns=9, cell=interval)}\n", tmp_path)
    assert not others
    assert not turned
    lines = [line.strip() for line in page.splitlines()]
    assert page.count("[−0.71, −0.31]") == 12 * 8, "an interval is never broken"
    assert not any("−0.55 [" in line for line in lines)
    ((turned, page), *_) = pages(f"# One\n\n{table(12, columns=5, cell=interval)}\n", tmp_path)
    assert not turned
    assert page.count("−0.55 [−0.71, −0.31]") == 12 * 4, "where there is room all is on one line"


def test_the_per_cent_sign_stays_with_its_number() -> None:
    made = to_typst("A share of 95 % of 3 things, 50 %, and 7 \\[%\\].\n", title="t")
    assert "95~%" in made
    assert "50~%," in made
    assert "7 \\[" in made


def test_the_list_of_contents_fills_both_columns(tmp_path: Path) -> None:
    headings = "\n\n".join(f"# Heading {k}\n\nText." for k in range(30))
    found = to_pdf(to_typst(headings, title="t"), tmp_path)
    textpage = pypdfium2.PdfDocument(BytesIO(found.content))[0].get_textpage()
    places = []
    for k in range(30):
        searcher = textpage.search(f"Heading {k} .", match_whole_word=False)
        where = searcher.get_next()
        assert where is not None, k
        places.append(textpage.get_charbox(where[0])[0])
    left = [place for place in places if place < 200]
    assert 13 <= len(left) <= 17
