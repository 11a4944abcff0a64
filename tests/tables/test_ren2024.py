"""The paper's files: read as they are, known by their hashes, fetched or copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pooch
import pytest
import requests
from scipy import stats

from safetystats.errors import DataError
from safetystats.tables.fetch import fetch_ren2024
from safetystats.tables.load import load_table
from safetystats.tables.ren2024 import FILES, load_ren2024, printed_direction
from safetystats.tables.table import ScoreTable


@pytest.fixture(scope="module")
def upstream(mirror: Path) -> Path:
    return mirror / "ren2024" / "upstream"


@pytest.fixture(scope="module")
def table(upstream: Path) -> ScoreTable:
    return load_ren2024([upstream])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no mirror."""
    monkeypatch.setenv("SAFETYSTATS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SAFETYSTATS_DATA", raising=False)
    return tmp_path / "cache" / "ren2024"


def test_counts(table: ScoreTable) -> None:
    assert table.scores.shape == (53, 178)
    assert table.models["model_class"].value_counts().to_dict() == {"base": 27, "chat": 26}
    assert table.classes == ("base", "chat")
    assert table.models["family"].nunique() == 9
    assert table.models["lineage"].nunique() == 27
    assert len(table.columns("capability")) == 12
    assert table.models["flop"].notna().groupby(table.models["model_class"]).sum().to_dict() == {"base": 24, "chat": 21}
    assert int(table.benchmarks.query("role == 'safety'")["headline"].sum()) > 40


def test_scores_are_the_published_ones(table: ScoreTable, upstream: Path) -> None:
    for name in ("benchmarks_base_models.csv", "benchmarks_chat_models.csv"):
        raw = pd.read_csv(upstream / name, index_col="model")
        ours = table.scores.loc[raw.index]
        for column in table.columns():
            expected = raw[column] if column in raw else pd.Series(np.nan, index=raw.index)
            np.testing.assert_allclose(ours[column], expected, rtol=1e-15)
        np.testing.assert_array_equal(table.models.loc[raw.index, "n_params"], raw["model_size"])
        np.testing.assert_array_equal(table.models.loc[raw.index, "flop"], raw["FLOP"])
        assert table.models.loc[raw.index, "name"].tolist() == raw["name"].tolist()
        assert table.models.loc[raw.index, "model_class"].tolist() == raw["type"].tolist()


def test_sizes_are_counts(table: ScoreTable) -> None:
    assert table.models.loc["Mistral-7B-v0.1", "n_params"] == 7e9
    assert table.models.loc["Llama-2-70b-hf", "flop"] == 8.1e23


def test_odd_names_survive(table: ScoreTable) -> None:
    for name in (
        "machiavelli-violations.Σ",
        "truthfulqa_truth*info",
        "decodingtrust_adv_glue++",
        "discrim_eval_non-binary",
    ):
        assert table.scores[name].notna().all()


def test_both_directions_are_kept(table: ScoreTable) -> None:
    row = table.benchmarks.loc["machiavelli-violations.Σ"]
    assert (row["metric"], row["direction"]) == ("Negated score (↑)", "lower_is_safer")
    assert printed_direction(row["metric"]) == "higher_is_safer"
    assert table.benchmarks.loc["LMSYS_Chatbot_Arena", "metric"] == "N/A"
    assert (table.benchmarks["metric"] != "").all()


def test_published_correlation_reproduces(table: ScoreTable) -> None:
    chat = table.select(model_class="chat")
    capability = chat.matrix(chat.columns("capability"))
    z = (capability - capability.mean(axis=0)) / capability.std(axis=0)
    vector = np.linalg.eigh(stats.spearmanr(capability).statistic)[1][:, -1]
    score = z @ (vector * np.sign(vector[np.argmax(np.abs(vector))]))
    for name, published in (("truthfulqa_mc1", 0.812), ("wmdp_bio", -0.875), ("machiavelli-violations.Σ", -0.529)):
        assert stats.spearmanr(score, chat.scores[name]).statistic == pytest.approx(published, abs=0.0015)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        ("Accuracy (↑)", "higher_is_safer"),
        ("Error (↓)", "lower_is_safer"),
        ("Score (→)", "undeclared"),
        ("N/A", "undeclared"),
        ("", "undeclared"),
        ("↑ or ↓", "undeclared"),
        ("Negated score (↑)", "higher_is_safer"),
    ],
)
def test_printed_direction(metric: str, direction: str) -> None:
    assert printed_direction(metric) == direction


@pytest.mark.parametrize("below", ["", "upstream", "ren2024", "ren2024/upstream"])
def test_mirror(below: str, upstream: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(upstream, tmp_path / "mirror" / below)
    monkeypatch.setenv("SAFETYSTATS_DATA", str(tmp_path / "mirror"))
    assert load_table("ren2024").n_models == 53
    assert not cache.exists()


def test_nowhere_to_be_found(cache: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_table("ren2024")
    assert caught.value.exit_code == 3
    assert [fault.file for fault in caught.value.faults] == list(FILES)
    for way in ("safetystats data fetch ren2024", "--from DIR", "SAFETYSTATS_DATA"):
        assert way in caught.value.faults[0].remedy
    assert str(cache) in caught.value.faults[0].got


def test_a_changed_file_is_named(upstream: Path, cache: Path) -> None:
    shutil.copytree(upstream, cache)
    path = cache / "benchmarks_info.csv"
    path.write_bytes(path.read_bytes().replace(b"LogiQA", b"LogicQA"))
    with pytest.raises(DataError) as caught:
        load_table("ren2024")
    (fault,) = caught.value.faults
    assert fault.file == str(path)
    assert "a043fd235bff9b38" in fault.expected
    assert "delete it and fetch it again" in fault.remedy


def test_a_good_mirror_helps_out_a_bad_cache(upstream: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir(parents=True)
    (cache / "benchmarks_info.csv").write_text("cut sh", encoding="utf-8")
    monkeypatch.setenv("SAFETYSTATS_DATA", str(upstream))
    assert load_table("ren2024").n_models == 53


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_fetch_from_a_folder(mirror: Path, cache: Path, depth: int) -> None:
    said: list[str] = []
    source = [mirror, mirror / "ren2024", mirror / "ren2024" / "upstream"][depth]
    paths = fetch_ren2024(source, said.append)
    assert paths == [cache / name for name in FILES]
    assert len(said) == 3
    assert load_table("ren2024").n_models == 53
    fetch_ren2024(None, said.append)
    assert all("already in" in line for line in said[3:])
    assert sorted(path.name for path in cache.iterdir()) == sorted(FILES)


def test_fetch_from_a_folder_with_a_wrong_file(upstream: Path, tmp_path: Path, cache: Path) -> None:
    shutil.copytree(upstream, tmp_path / "source")
    (tmp_path / "source" / "benchmarks_info.csv").write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match="another commit"):
        fetch_ren2024(tmp_path / "source")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(("name", "got"), [("nowhere", "nothing of this name"), ("file", "a file")])
def test_fetch_from_what_is_no_folder(tmp_path: Path, cache: Path, name: str, got: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught:
        fetch_ren2024(tmp_path / name)
    assert caught.value.faults[0].got == got


class Answer:
    """A downloader that answers like the network would."""

    def __init__(self, content: bytes | Exception) -> None:
        self.content = content

    def __call__(self, url: str, output_file: str, mirror: object) -> None:
        if isinstance(self.content, Exception):
            raise self.content
        Path(output_file).write_bytes(self.content)


@pytest.mark.parametrize(
    ("content", "got", "remedy"),
    [
        (requests.exceptions.ConnectionError("no route"), "ConnectionError", "Check the network"),
        (requests.exceptions.Timeout("too slow"), "Timeout", "--from DIR"),
        (b"<html>Please log in</html>", "another content", "a login page"),
    ],
)
def test_fetch_without_a_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | Exception, got: str, remedy: str
) -> None:
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda timeout: Answer(content))
    with pytest.raises(DataError) as caught:
        fetch_ren2024()
    (fault,) = caught.value.faults
    assert caught.value.exit_code == 3
    assert fault.file.endswith("bee302c11f174afb064d721123b16b810d34f4fd/data/benchmarks_base_models.csv")
    assert got in fault.got
    assert remedy in fault.remedy
    assert list(cache.iterdir()) == []


def test_fetch_reports_the_status(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = requests.Response()
    answer.status_code = 404
    error = requests.exceptions.HTTPError("404", response=answer)
    monkeypatch.setattr(pooch, "HTTPDownloader", lambda timeout: Answer(error))
    with pytest.raises(DataError, match="HTTPError, status 404"):
        fetch_ren2024()


def test_fetch_downloads_and_mends(
    upstream: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def download(url: str, output_file: str, mirror: object) -> None:
        shutil.copy(upstream / url.rsplit("/", maxsplit=1)[1], output_file)

    monkeypatch.setattr(pooch, "HTTPDownloader", lambda timeout: download)
    cache.mkdir(parents=True)
    (cache / "benchmarks_info.csv").write_text("cut sh", encoding="utf-8")
    said: list[str] = []
    fetch_ren2024(progress=said.append)
    assert len(said) == 3
    assert load_table("ren2024").n_models == 53
    assert capsys.readouterr() == ("", "")


def test_fetch_into_a_folder_that_may_not_be_written(
    upstream: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("safetystats.tables.fetch.write_atomic", refuse)
    with pytest.raises(DataError, match="SAFETYSTATS_CACHE"):
        fetch_ren2024(upstream)
