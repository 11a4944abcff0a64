"""The example on the page about sets of models runs and prints one line for every safety benchmark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from safetystats.tables.load import load_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "model-sets.md"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(examples) == 1
    exec(compile(examples[0], str(PAGE), "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load_table("helm-classic").columns("safety"))
    assert all("without three" in line for line in lines)


def test_the_tables_that_the_page_lists_are_those_of_the_code() -> None:
    from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES

    assert re.findall(r"^\| `(\w+)\.csv`", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE) == list(
        MODEL_SETS_TABLES
    )
