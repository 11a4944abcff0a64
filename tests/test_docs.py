"""The documentation says what the code does: columns, commands, links, numbers of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safetystats.summaries.glossary import GLOSSARY, TABLES, columns_page

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_every_column_has_one_meaning_and_every_meaning_a_column() -> None:
    used = {column for columns in TABLES.values() for column in columns}
    assert used == set(GLOSSARY)


def test_the_columns_page_is_made_from_the_glossary() -> None:
    # To renew it: write `columns_page()` to docs/columns.md.
    assert (ROOT / "docs" / "columns.md").read_text(encoding="utf-8") == columns_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_inside_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_begins_with_the_two_commands() -> None:
    lines = [line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("make ")]
    assert [line.split("#")[0].strip() for line in lines[:2]] == ["make report", "make test"]


def test_the_number_of_audit_checks_is_the_one_the_pages_state() -> None:
    from safetystats.tables.audit import CHECKS

    for page in ("CHANGELOG.md", "docs/tables.md"):
        assert f"{len(CHECKS)} checks" in (ROOT / page).read_text(encoding="utf-8")
