"""The examples of the page on questions about a verdict run, and print what the page is about."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "verdicts.md"


def test_the_python_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
    first, ranks, regions = capsys.readouterr().out.strip().splitlines()[:3]
    assert 0.5 < float(first) < 1
    means = [float(x) for x in ranks.strip("[]").split()]
    assert means == sorted(means)
    assert regions.startswith("[[")


def test_the_options_of_the_command_on_the_page_exist() -> None:
    from typer.testing import CliRunner

    from safetystats.cli import app

    shown = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    command = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("safetystats plan")
    )
    options = re.findall(r"--[a-z]+", command)
    assert len(options) >= 5
    for option in options:
        assert option in shown
