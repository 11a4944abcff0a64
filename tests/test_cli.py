"""The command line as a user meets it: exit codes, one message, no traceback, data on stdout and talk on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "safetystats", *arguments],
        cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def copy_table(name: str, to: Path) -> Path:
    from safetystats.shelf import shelf_path

    to.mkdir()
    for path in shelf_path("data", name).glob("*.csv"):
        (to / path.name).write_bytes(path.read_bytes())
    return to


def test_version_goes_to_stdout(tmp_path: Path) -> None:
    from safetystats import __version__

    done = call("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, f"safetystats {__version__}", "")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "no-such-study"], 2, "expected one of"),
        (["run", "missing.toml"], 2, "nothing at this path"),
        (["check", "helm-clasic"], 2, 'did you mean "helm-classic"'),
        (["audit", "no-such-table"], 3, "helm-classic"),
        (["data", "describe", "."], 3, "scores.csv"),
        (["data", "fetch", "helm-classic"], 2, "the only table that has to be fetched"),
        (["data", "fetch", "ren2024", "--from", "nowhere"], 3, "nowhere"),
        (["compare", "chat-2025"], 2, "All models of this table are of one class, so that there is nothing to compare"),
        (["compare", "chat-2025", "--classes", "base,chat"], 2, "classes of the table chat-2025 (chat)"),
        (["compare", "helm-classic", "--classes", "chat"], 2, "two classes or more, separated by commas"),
        (["run", "--level", "3"], 2, "No such option"),
        (["fit"], 2, "No such command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_end_in_one_message(tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    done = call(*arguments, cwd=tmp_path, SAFETYSTATS_CACHE=str(tmp_path / "cache"), COLUMNS="400")
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_study_with_a_class_that_is_not_there(tmp_path: Path) -> None:
    study = tmp_path / "mine.toml"
    study.write_text('title = "t"\nquestion = "q"\ntable = "helm-classic"\nclasses = ["bse"]\n')
    done = call("check", "mine.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert 'did you mean "base"' in done.stderr


def test_a_table_of_ones_own_is_checked_before_anything_is_fitted(tmp_path: Path) -> None:
    folder = copy_table("helm-classic", tmp_path / "mine")
    lines = (folder / "scores.csv").read_text().splitlines()
    lines[3] = lines[3].replace(lines[3].split(",")[2], "n/a", 1)
    (folder / "scores.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "study.toml").write_text('title = "t"\nquestion = "q"\ntable = "mine"\n')
    done = call("run", "study.toml", cwd=tmp_path, SAFETYSTATS_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 3
    assert 'row 4, column "score"' in done.stderr
    assert not (tmp_path / "reports").exists()


def test_check_says_what_would_be_fitted(tmp_path: Path) -> None:
    done = call("check", "--json", cwd=tmp_path)
    facts = json.loads(done.stdout)
    assert done.returncode == 0
    assert facts["classes"] == {"base": 43, "chat": 24}
    assert (facts["capability_benchmarks"], facts["safety_benchmarks"]) == (8, 12)


def test_data_list_and_describe(tmp_path: Path) -> None:
    listed = json.loads(call("data", "list", "--json", cwd=tmp_path).stdout)
    assert {row["table"] for row in listed["tables"]} == {"helm-classic", "chat-2025", "ren2024"}
    described = json.loads(call("data", "describe", "chat-2025", "--json", cwd=tmp_path).stdout)
    assert described["models"] == 57
    assert described["classes"] == {"chat": 57}


def test_audit_lists_findings_on_stdout(tmp_path: Path) -> None:
    done = call("audit", "chat-2025", cwd=tmp_path)
    assert done.returncode == 0
    assert "ceiling" in done.stdout
    assert "warning" in done.stderr
    found = json.loads(call("audit", "chat-2025", "--json", cwd=tmp_path).stdout)
    assert {row["severity"] for row in found} <= {"error", "warning", "note"}


def test_the_mirror_needs_no_fetch(tmp_path: Path, mirror: Path) -> None:
    cache = str(tmp_path / "cache")
    done = call("check", "ren2024", "--json", cwd=tmp_path, SAFETYSTATS_DATA=str(mirror), SAFETYSTATS_CACHE=cache)
    assert json.loads(done.stdout)["models"] == 53
    fetched = call("data", "fetch", "ren2024", "--from", str(mirror), cwd=tmp_path, SAFETYSTATS_CACHE=cache)
    assert fetched.returncode == 0
    assert len(fetched.stdout.splitlines()) == 3
    environment = {key: value for key, value in os.environ.items() if key != "SAFETYSTATS_DATA"}
    again = subprocess.run(
        [sys.executable, "-m", "safetystats", "check", "ren2024", "--json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, env=environment | {"SAFETYSTATS_CACHE": cache},
    )  # fmt: skip
    assert again.returncode == 0


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    done = call("run", "--out", "taken", cwd=tmp_path)
    assert done.returncode == 2
    assert (tmp_path / "taken").read_text() == "mine"


def test_paths_in_a_study_are_relative_to_the_study(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    copy_table("helm-classic", tmp_path / "mine")  # a decoy of the same name in the current folder
    folder = copy_table("chat-2025", inner / "mine")
    (inner / "study.toml").write_text('title = "t"\nquestion = "q"\ntable = "mine"\n')
    facts = json.loads(call("check", "inner/study.toml", "--json", cwd=tmp_path).stdout)
    assert facts["models"] == 57
    assert Path(facts["table"]) == Path("inner") / folder.name


def test_models_can_be_excluded_and_are_named(tmp_path: Path) -> None:
    text = 'title = "t"\nquestion = "q"\ntable = "helm-classic"\nexclude = ["{}"]\n'
    (tmp_path / "study.toml").write_text(text.format("bigscience/T0pp"))
    facts = json.loads(call("check", "study.toml", "--json", cwd=tmp_path).stdout)
    assert facts["classes"] == {"base": 43, "chat": 23}
    assert facts["left_out"] == {"bigscience/T0pp": "excluded by the study"}
    (tmp_path / "study.toml").write_text(text.format("bigscience/T0p"))
    done = call("check", "study.toml", cwd=tmp_path, COLUMNS="300")
    assert done.returncode == 2
    assert 'did you mean "bigscience/T0pp"' in done.stderr


def test_a_table_in_place_of_a_study_is_explained(tmp_path: Path) -> None:
    copy_table("helm-classic", tmp_path / "mine")
    done = call("run", "mine", cwd=tmp_path, COLUMNS="300")
    assert done.returncode == 2
    assert 'Write a study file with title, question and table = "mine"' in done.stderr
