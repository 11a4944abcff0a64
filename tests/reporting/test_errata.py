"""The errata page: its proof is recomputed, its numbers come from the proof, its words stay careful."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from safetystats import cli
from safetystats.reporting.errata import errata_markdown, write_errata
from safetystats.summaries.errata import ERRATA_COLUMNS, Errata, find_errata, published_numbers
from safetystats.tables.load import load_table
from safetystats.tables.table import ScoreTable

REFERENCE = Path(__file__).parents[1] / "reference"
# The paper prints one decimal of a per cent; 0.01 more for its own rounding of intermediate values.
ONE_DECIMAL = 0.06


@pytest.fixture(scope="module")
def ren2024(mirror: Path) -> ScoreTable:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAFETYSTATS_DATA", str(mirror))
        return load_table("ren2024")


@pytest.fixture(scope="module")
def found(ren2024: ScoreTable) -> Errata:
    return find_errata(ren2024, published_numbers())


def test_printed_numbers_are_those_of_the_reference() -> None:
    printed = published_numbers()
    table = pd.read_csv(REFERENCE / "ren2024_published.csv", comment="#").set_index("column")
    for row in printed[printed["quantity"] == "capabilities_correlation"].itertuples():
        assert row.value == table.loc[row.benchmark, f"{row.model_class}_cc"]
    compute = printed[printed["quantity"] == "compute_correlation"].set_index("benchmark")["value"]
    pd.testing.assert_series_equal(
        compute.sort_index(), table["chat_compute_corr"].dropna().sort_index(), check_names=False
    )
    calibration = pd.read_csv(REFERENCE / "ren2024_calibration.csv", comment="#")
    own = printed[printed["quantity"] == "calibration"].set_index(["benchmark", "model_class"])["value"]
    assert len(own) == 2 * len(calibration)
    for line in calibration.to_dict("records"):
        for label in ("base", "chat"):
            assert own[f"{line['metric']}_{line['dataset']}", label] == line[label]


def test_every_printed_number_comes_back(found: Errata) -> None:
    rows = found.rows[found.rows["item"] != "copied"]
    assert tuple(found.rows.columns) == ERRATA_COLUMNS
    assert rows["item"].value_counts().to_dict() == {
        "machiavelli": 6, "discrim_eval": 2, "slope": 2, "compute": 20, "calibration": 24,
    }  # fmt: skip
    np.testing.assert_allclose(rows["computed"], rows["published"], atol=ONE_DECIMAL, rtol=0)


def test_the_description_of_the_text_does_not_give_them(found: Errata) -> None:
    for item in ("machiavelli", "discrim_eval", "slope"):
        rows = found.rows[found.rows["item"] == item]
        assert (rows["alternative"] - rows["published"]).abs().min() > 10
    assert found.facts["compute.in_file"] == 21
    assert found.facts["compute.with_two"] == 23
    assert (found.facts["copied.same"], found.facts["copied.whole_other"], found.facts["copied.whole_own"]) == (4, 4, 0)
    assert found.facts["copied.rest"] == found.facts["copied.rest_whole_own"] == 49


def test_the_proof_follows_the_data(ren2024: ScoreTable, found: Errata) -> None:
    """Negating the harm in the table takes the finding away: nothing on the page is fixed beforehand."""
    scores = ren2024.scores.copy()
    harm = [name for name in scores.columns if str(name).startswith("machiavelli") and str(name).endswith("Σ")]
    scores[harm] = -scores[harm]
    other = find_errata(ren2024.replace(scores=scores), published_numbers())
    assert other.facts["machiavelli.negative"] == other.facts["machiavelli.values"]
    assert float(other.facts["machiavelli.largest_miss"]) > 100
    assert other.facts["calibration.largest_miss"] == found.facts["calibration.largest_miss"]


def test_the_page_is_careful_and_takes_its_numbers_from_the_proof(ren2024: ScoreTable, found: Errata) -> None:
    text = errata_markdown(found, ren2024)
    items = re.findall(r"^# (?!Where|References)[^\n]*\n\n([^\n]*)", text, flags=re.MULTILINE)
    assert len(items) == 6
    assert all("t appears that" in item for item in items)
    for word in ("wrong", "error", "mistake", "fraud", "false"):
        assert word not in " ".join(items)
    assert text.count("What this rests on:") == 6
    moved = Errata(rows=found.rows, facts={**found.facts, "compute.with_two": 77})
    assert "use 77 chat models rather than the 21" in errata_markdown(moved, ren2024)
    lacking = Errata(rows=found.rows, facts={k: v for k, v in found.facts.items() if k != "copied.same"})
    with pytest.raises(KeyError, match=r"copied\.same"):
        errata_markdown(lacking, ren2024)


def test_pages_are_written(ren2024: ScoreTable, found: Errata, tmp_path: Path) -> None:
    files = write_errata(found, ren2024, tmp_path)
    assert [path.suffix for path in files] == [".html", ".md", ".csv"]
    assert "**??" not in files[1].read_text(encoding="utf-8")
    page = files[0].read_text(encoding="utf-8")
    assert page.count("<caption>") == 7
    assert len(pd.read_csv(files[2])) == len(found.rows)


def test_the_command(
    tmp_path: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> int | str | None:
        monkeypatch.setattr("sys.argv", ["safetystats", "errata", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code

    monkeypatch.setenv("SAFETYSTATS_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("SAFETYSTATS_DATA", str(mirror))
    assert command("--json") == 0
    assert json.loads(capsys.readouterr().out)["facts"]["compute.in_file"] == 21
    monkeypatch.delenv("SAFETYSTATS_DATA")
    assert command() == 3
    assert "safetystats data fetch ren2024" in " ".join(capsys.readouterr().err.split())
    assert command("helm-classic") == 2
