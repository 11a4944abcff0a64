"""Cards say what the run's tables say, adapt to what is missing, and are safe with any name."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from made_run import CHAT_ONLY, CUT, OPEN, SETTLED, WHY_ABSENT, make_run, study
from scipy import stats

from safetystats import cli
from safetystats.errors import DataError, StudyError
from safetystats.reporting.badge import COLOURS, draw_badge, draw_intervals
from safetystats.reporting.cards import card_markdown, card_stem, flat, write_cards
from safetystats.shelf import shelf_path
from safetystats.summaries.cards import SCHEMA, SCHEMA_VERSION, benchmark_card, card_names, models_needed
from safetystats.summaries.finished import FinishedRun, read_run
from safetystats.summaries.record import find_run

READABLE = 4.5  # contrast of small text, WCAG 2.1, success criterion 1.4.3
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script> a_b*c$d|e#f%g\\h`i` \u202egnirts \U0001f600 ]]> &amp;"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return read_run(make_run(tmp_path_factory.mktemp("run")))


def test_a_card_holds_the_numbers_of_the_tables(made: FinishedRun) -> None:
    assert card_names(made) == (SETTLED, OPEN, CHAT_ONLY)
    card = benchmark_card(made, SETTLED)
    assert (card["schema"], card["schema_version"]) == (SCHEMA, SCHEMA_VERSION)
    assert card["benchmark"]["n_items"] == 654
    assert card["benchmark"]["direction"] == "higher_is_safer"
    assert card["run"]["data_sha256"] == made.record["table"]["fingerprint"]
    for label in ("base", "chat"):
        own = card["classes"][label]
        assert (own["cut"]["mean"], own["cut"]["lower"], own["cut"]["upper"], own["verdict"]) == CUT[label, SETTLED]
        assert own["estimands"]["reliability"] == {"mean": 0.9, "lower": None, "upper": None}
        assert own["spearman"]["interval"] == "fisher"
    assert [finding["message"] for finding in card["audit"]] == ["It reuses runs."]
    assert benchmark_card(made, OPEN)["audit"] == []
    json.dumps(card, allow_nan=False)


def test_what_would_change_a_verdict(made: FinishedRun) -> None:
    card = benchmark_card(made, SETTLED)
    base, chat = (card["classes"][label]["change"] for label in ("base", "chat"))
    assert (base["settled"], chat["settled"]) == (True, False)
    assert (base["joint_differs"], chat["joint_differs"]) == (False, True)
    assert (base["priors_tried"], base["priors_changing"], base["priors_largest"]) == (2, 1, 0.21)
    assert [other["alternative"] for other in base["priors"]] == ["wider"]
    assert (base["loo_units"], base["loo_doubtful"], base["specs_compared"]) == (40, 3, 0)
    text = card_markdown(card, "stem")
    assert "Under 1 of 2 other priors the verdict differs; the mean moves by 0.21 at most." in text
    assert "The verdict would be *entangled*" in text


def test_a_class_without_a_posterior_says_why(made: FinishedRun) -> None:
    card = benchmark_card(made, CHAT_ONLY)
    assert card["classes"]["base"] == {"absent": WHY_ABSENT}
    assert f"**base:** {WHY_ABSENT.replace(':', chr(92) + ':')}." in card_markdown(card, "stem")
    assert "base: no posterior" in draw_badge("n", card["classes"])


def test_a_failed_gate_comes_first_and_withholds(tmp_path: Path) -> None:
    card = benchmark_card(read_run(make_run(tmp_path, failed=True)), SETTLED)
    text = card_markdown(card, "stem")
    assert text.index("made to fail") < text.index("# Verdict")
    assert "**base: withheld.** A check of the fit failed." in text
    assert "withheld" in draw_badge("n", card["classes"])
    assert not card["classes"]["base"]["change"]["settled"]


def test_a_verdict_withheld_for_noise_says_so_and_asks_for_no_models(made: FinishedRun) -> None:
    posterior = made.tables["posterior_correlations"].copy()
    own = (posterior["benchmark"] == SETTLED) & (posterior["model_class"] == "base")
    posterior.loc[own, ["mean", "lower", "upper", "p_entangled", "p_distinct"]] = [0.1, -0.2, 0.38, 0.02, 0.98]
    posterior.loc[own, "verdict"] = "withheld"
    noise = pd.DataFrame(
        [{"model_class": "base", "benchmark": SETTLED, "verdict": "distinct", "verdict_after": "withheld",
          "why": "reliability 0.22 is below what is asked"}]
    )  # fmt: skip
    run = dataclasses.replace(
        made, tables={**made.tables, "posterior_correlations": posterior, "noise_or_distinct": noise}
    )
    card = benchmark_card(run, SETTLED)
    text = card_markdown(card, "stem").replace("\\", "")
    assert card["classes"]["base"]["noise"] == "reliability 0.22 is below what is asked"
    assert "**base: withheld.** *Distinct* is withheld, because noise may be behind it: reliability 0.22" in text
    assert "A check of the fit failed" not in text
    assert card["classes"]["base"]["change"]["models_needed"] is None
    assert "further models do not lessen; more items would." in text
    assert card["classes"]["chat"]["noise"] == ""


def test_what_was_not_run_is_said(tmp_path: Path) -> None:
    text = card_markdown(benchmark_card(read_run(make_run(tmp_path, priors=False)), SETTLED), "stem")
    assert text.count("The run did not repeat the fit with other priors.") == 2
    assert text.count("The run compared no other spec.") == 2


def test_a_table_that_has_changed_gives_no_dictionary_entry(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path, fingerprint="0" * 64))
    assert run.scores is None
    card = benchmark_card(run, SETTLED)
    assert card["benchmark"] == {
        "id": SETTLED, "name": SETTLED, "area": "some area", "described": False,
        "why": "the table has changed since the run",
    }  # fmt: skip
    assert "the table has changed since the run." in card_markdown(card, "stem")


@pytest.mark.parametrize(
    ("mean", "lower", "upper"), [(0.0, -0.45, 0.45), (0.55, 0.2, 0.78), (-0.7, -0.88, -0.3), (0.3, -0.1, 0.6)]
)
def test_the_models_needed_settle_the_verdict(mean: float, lower: float, upper: float) -> None:
    n, limit, probability = 30, 0.4, 0.95
    found = models_needed(mean, lower, upper, level=0.95, n=n, limit=limit, probability=probability)
    error = (math.atanh(upper) - math.atanh(lower)) / (2 * stats.norm.ppf(0.975))

    def best(models: float) -> float:
        normal = stats.norm(math.atanh(mean), error * math.sqrt(n / models))
        inside = normal.cdf(math.atanh(limit)) - normal.cdf(-math.atanh(limit))
        return float(max(inside, normal.sf(math.atanh(limit)), normal.cdf(-math.atanh(limit))))

    assert found > n
    assert best(found) >= probability > best(found - 2)


def test_models_needed_at_the_ends() -> None:
    def needed(mean: float, lower: float, upper: float) -> float:
        return models_needed(mean, lower, upper, level=0.95, n=30, limit=0.4, probability=0.95)

    assert needed(0.9, 0.8, 0.95) == 30
    assert needed(0.4, 0.1, 0.6) == math.inf
    assert needed(0.3999, 0.1, 0.6) == math.inf


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    path = folder / "tables" / "posterior_correlations.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("0.8,", "0.9,", 1), encoding="utf-8")
    with pytest.raises(DataError, match="another content"):
        read_run(folder)


def test_the_newest_run_of_a_table_is_found(tmp_path: Path) -> None:
    for place, name in enumerate(("new", "old", "mid")):
        make_run(tmp_path / name)
        os.utime(
            tmp_path / name / "run.json",
            (1000 + (5 if name == "new" else place), 1000 + (5 if name == "new" else place)),
        )
    assert find_run("helm-classic", tmp_path) == tmp_path / "new"
    assert find_run(str(tmp_path / "old"), tmp_path) == tmp_path / "old"
    with pytest.raises(StudyError, match="safetystats run"):
        find_run("chat-2025", tmp_path)
    with pytest.raises(StudyError, match='did you mean "helm-classic"'):
        find_run("helm-clasic", tmp_path)


def test_an_unknown_benchmark_is_named(made: FinishedRun) -> None:
    with pytest.raises(StudyError, match=f'did you mean "{SETTLED}"') as error:
        benchmark_card(made, "classic_truthfulqa2")
    assert error.value.exit_code == 2


def test_stems_are_plain_and_apart() -> None:
    odd = ["a/b", "a\\b", "..", "", "a b", "a-b", "index", "Index", "\u03a3", "con:", "x" * 300, "x" * 301]
    stems = [card_stem(name) for name in odd]
    assert len({stem.lower() for stem in stems}) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}", stem) for stem in stems)
    assert card_stem(SETTLED) == SETTLED


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("verdict", sorted(COLOURS))
def test_a_badge_can_be_read(verdict: str) -> None:
    assert 1.05 / (luminance(COLOURS[verdict]) + 0.05) >= READABLE


def test_drawings_say_in_words_what_they_show(made: FinishedRun) -> None:
    card = benchmark_card(made, SETTLED)
    badge = ElementTree.fromstring(draw_badge(HOSTILE, card["classes"]))
    shown = [node.text for node in badge.iter(f"{SVG}text")]
    assert shown == [
        "capability correlation",
        "base: 0.80 [0.60, 0.91] entangled",
        "chat: 0.55 [0.20, 0.78] undetermined",
    ]
    title = badge.findtext(f"{SVG}title")
    assert title == badge.get("aria-label")
    assert "<script>alert(1)</script>" in str(title)
    strip = ElementTree.fromstring(draw_intervals(card))
    assert "chat, cut: 0.55 [0.20, 0.78]" in str(strip.findtext(f"{SVG}title"))
    assert len(list(strip.iter(f"{SVG}circle"))) == 4


def test_hostile_names_are_text_in_every_format(tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.mkdir()
    for path in shelf_path("data", "helm-classic").glob("*.csv"):
        (table / path.name).write_bytes(path.read_bytes())
    frame = pd.read_csv(table / "benchmarks.csv", dtype=str, keep_default_na=False)
    frame.loc[frame["benchmark"] == SETTLED, ["name", "metric", "note"]] = HOSTILE
    frame.to_csv(table / "benchmarks.csv", index=False)
    run = read_run(make_run(tmp_path / "run", study(str(table), HOSTILE)))
    files = write_cards(run, [SETTLED], tmp_path / "cards", index=True)
    assert {path.suffix for path in files[0].files} == {".html", ".md", ".json", ".svg"}
    page = (tmp_path / "cards" / f"{SETTLED}.html").read_text(encoding="utf-8")
    body = page[page.index("<main ") : page.index("</main>")]
    assert "<script" not in body.replace("&lt;script", "")
    assert body.count("&lt;script&gt;alert(1)&lt;/script&gt; a_b*c$d|e#f%g\\h`i` gnirts") >= 3
    assert "\u202e" not in page
    loads = re.findall(r'(?:src|data|poster|srcset)="([^"]*)"', page)
    assert loads
    assert all(place.startswith("data:") for place in loads)
    found = json.loads((tmp_path / "cards" / f"{SETTLED}.json").read_text(encoding="utf-8"))
    assert found["benchmark"]["name"] == HOSTILE
    index = (tmp_path / "cards" / "index.html").read_text(encoding="utf-8")
    assert f'href="{SETTLED}.html"' in index
    assert "<script" not in index[index.index("<main ") : index.index("</main>")].replace("&lt;script", "")


def test_every_number_of_a_card_comes_from_its_json(made: FinishedRun) -> None:
    card = json.loads(json.dumps(benchmark_card(made, SETTLED)))
    card["classes"]["base"]["cut"] |= {"mean": 0.1234, "lower": 0.0567, "upper": 0.2345}
    card["classes"]["base"]["n_models"] = 4321
    text = card_markdown(card, "stem")
    assert "0.12 [0.06, 0.23] over 4 321 models" in text.replace("\\", "")
    assert flat(card)["classes/base/n_models"] == 4321


def test_the_command_writes_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(make_run(tmp_path / "run"))

    def command(*words: str) -> int | str | None:
        monkeypatch.setattr("sys.argv", ["safetystats", "card", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code

    assert command(folder, SETTLED, "--format", "json,svg", "--out", str(tmp_path / "one")) == 0
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [f"{SETTLED}.json", f"{SETTLED}.svg"]
    capsys.readouterr()
    assert command(folder, "--all", "--json") == 0
    assert [card["benchmark"]["id"] for card in json.loads(capsys.readouterr().out)] == [SETTLED, OPEN, CHAT_ONLY]
    assert command(folder, "--all", "--format", "md") == 0
    assert (tmp_path / "run" / "cards" / "index.md").is_file()
    assert command(folder) == 2
    assert command(folder, SETTLED, "--all") == 2
    assert command(folder, SETTLED, "--format", "docx") == 2
    assert command(str(tmp_path), SETTLED) == 2
