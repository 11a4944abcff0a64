"""The documentation says what the code does: columns, commands, links, numbers of files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from safetystats.specs import Questions, Rope, Scrutiny
from safetystats.summaries.estimands import ESTIMANDS
from safetystats.summaries.glossary import GLOSSARY, TABLES, columns_page, meaning
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_every_column_has_a_meaning_and_every_meaning_a_column() -> None:
    places = [(table, column) for table, columns in TABLES.items() for column in columns]
    assert not [place for place in places if not meaning(*place)]
    used = {f"{table}.{column}" if f"{table}.{column}" in GLOSSARY else column for table, column in places}
    assert used == set(GLOSSARY)


def test_every_reference_of_a_spec_is_in_the_bibliography() -> None:
    bibliography = (ROOT / "reports" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{(\w+),", bibliography, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    for path in ROOT.glob("models/*.toml"):
        assert set(tomllib.loads(path.read_text(encoding="utf-8"))["references"]) <= set(keys), path.name


@pytest.mark.parametrize("page", ["docs/study.md", "docs/latent-model.md", "README.md"])
def test_specs_and_study_keys_that_pages_name_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    kinds = {"scrutiny": Scrutiny, "rope": Rope, "questions": Questions}
    for kind, key in re.findall(r"`\[(scrutiny|rope|questions)\] (\w+)`", text):
        assert key in kinds[kind].model_fields
    for command in re.findall(r"safetystats (?:models|fits|data|reference) (\w+)", text):
        assert command in ("list", "show", "clean", "describe", "fetch", "check", "make")


def test_the_estimands_that_the_page_lists_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "latent-model.md").read_text(encoding="utf-8")
    table = text.split("## Estimands")[1].split("## Verdict")[0]
    named = [name for row in table.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)]
    assert set(named) == set(ESTIMANDS)


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


@pytest.mark.parametrize(("page", "command"), [("verdicts.md", "plan"), ("assess.md", "assess")])
def test_the_options_of_a_command_on_its_page_exist(page: str, command: str) -> None:
    from typer.testing import CliRunner

    from safetystats.cli import app

    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if re.match(rf"\s*(?:\$ )?safetystats {command}\b", line)]
    named = {option for line in own for option in re.findall(r"--[a-z-]+", line)}
    assert named
    for option in named:
        assert option in shown


@pytest.mark.parametrize(
    ("page", "tables"),
    [("model-sets.md", MODEL_SETS_TABLES), ("relations.md", RELATIONS_TABLES), ("verdicts.md", VERDICTS_TABLES)],
)
def test_the_tables_that_a_page_lists_are_those_of_the_code(page: str, tables: dict[str, tuple[str, ...]]) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+)\.csv`", text)) & set(TABLES) >= set(tables)
