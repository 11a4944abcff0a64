"""`safetystats assess` and `safetystats reference` as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from safetystats import cli
from safetystats.summaries.references import find_reference, reference_names
from safetystats.tables.load import load_table

COLUMN = "classic_truthfulqa"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    scores = load_table("helm-classic").scores[COLUMN].dropna()
    path = tmp_path / "mine.csv"
    scores.rename_axis("model").rename("score").to_csv(path)
    return path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["safetystats", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_the_answer_goes_to_stdout(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with mine.open("a", encoding="utf-8") as stream:
        stream.write("bigscience/blooom,0.2\n")
    assert call(monkeypatch, "assess", mine, "--against", "helm-classic", "--direction", "higher_is_safer") == 0
    out, err = capsys.readouterr()
    assert out.startswith("base: undetermined. ρ 0.4")
    assert "Scores of 67 models on mine" in out
    assert err.strip() == 'Left out: "bigscience/blooom" is no model of helm-classic; alike: bigscience/bloom.'


def test_a_verdict_withheld_for_noise_is_no_failed_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "coins.csv"
    shares = {model: rng.binomial(30, 0.5) / 30 for model in find_reference("helm-classic").classes["base"].models}
    pd.Series(shares, name="score").rename_axis("model").to_csv(path)
    arguments = ("assess", path, "--against", "helm-classic", "--direction", "higher_is_safer", "--items", "30")
    assert call(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("base: withheld.")
    assert "the verdict is withheld (reliability 0." in out
    assert "gate" not in err


def test_json_is_the_content_and_out_writes_files(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "card"
    code = call(
        monkeypatch, "assess", mine, "--against", "helm-classic", "--direction", "higher_is_safer", "--name", "Mine",
        "--items", "654", "--json", "--out", out,
    )  # fmt: skip
    assert code == 0
    content = json.loads(capsys.readouterr().out)
    assert content["benchmark"]["name"] == "Mine"
    assert {path.name for path in out.iterdir()} == {
        "Mine.html", "Mine.md", "Mine.json", "Mine.svg", "Mine-intervals.svg", "matching.csv", "correlations.csv",
        "estimands.csv", "influence.csv",
    }  # fmt: skip


def test_a_dry_run_computes_nothing(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("safetystats.summaries.assess.assess_column", None)
    arguments = ("assess", mine, "--against", "helm-classic", "--direction", "higher_is_safer", "--dry-run")
    assert call(monkeypatch, *arguments) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 67
    assert "(the same name)" in out
    assert "chat: 24 of 24 models of helm-classic." in err
    assert call(monkeypatch, *arguments, "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["how"] == "exact"


def test_three_models_end_with_code_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,score\nbigscience/bloom,1\nbloom 176b,2\nopenai/ada,3\nopenai/curie,4\n", encoding="utf-8")
    arguments = ("assess", path, "--against", "helm-classic", "--direction", "higher_is_safer")
    assert call(monkeypatch, *arguments) == 3
    assert 'row 3, column "model": expected every model once' in capsys.readouterr().err
    path.write_text("model,score\nbigscience/bloom,1\nopenai/ada,3\nopenai/curie,4\n", encoding="utf-8")
    assert call(monkeypatch, *arguments) == 3
    out, err = capsys.readouterr()
    assert "base: nothing can be said: 3 of its models have a score, fewer than 5." in err
    assert out == ""


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--against", "helm-classic", "--direction", "up"), 2, "one of higher_is_safer"),
        (("--against", "no-such", "--direction", "higher_is_safer"), 2, "helm-classic"),
        (("--against", "helm-classic"), 2, "--direction"),
        (("--against", "helm-classic", "--direction", "higher_is_safer", "--items", "0"), 2, "positive whole number"),
        (("--against", "helm-classic", "--direction", "higher_is_safer", "--limit", "2"), 2, "limit"),
    ],
)
def test_mistakes_end_in_one_message(
    mine: Path, options: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(monkeypatch, "assess", mine, *options) == code
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_the_stored_draws_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "reference", "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["table"] for row in rows] == reference_names()
    assert {row["spec"] for row in rows} == {"two-level"}


def test_the_stored_draws_go_with_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "reference", "check", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["table"] for row in rows} == {"chat-2025", "helm-classic", "ren2024"}
    assert {row["outcome"] for row in rows} <= {"pass", "not_run"}
    proved = {row["table"] for row in rows if row["check"] == "log_density" and row["outcome"] == "pass"}
    assert {"chat-2025", "helm-classic"} <= proved


def test_another_density_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from safetystats.summaries import reference_make

    monkeypatch.setattr(reference_make, "_log_density", lambda *_: 0.0)
    assert call(monkeypatch, "reference", "check", "helm-classic") == 3


def test_the_road_of_an_assessment_loads_no_sampler_and_no_drawing() -> None:
    heavy = ("pymc", "pytensor", "nutpie", "numba", "arviz_stats", "xarray", "statsmodels", "matplotlib")
    code = (
        "import sys, safetystats.summaries.assess, safetystats.reporting.assess\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
