"""The report: numbers come from the results, failed gates come first, hostile names are text, nothing is loaded."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from made_tables import fully_checked
from seen import from_docx, from_latex, from_pdf, squeezed

from safetystats.errors import StudyError
from safetystats.reporting.document import render_document, render_texts
from safetystats.reporting.folder import open_run, results_source, write_formats
from safetystats.reporting.output import write_report
from safetystats.reporting.prose import Quoter
from safetystats.reporting.results import collect_results
from safetystats.reporting.text import escape, labels_for, shared_ending, table_markdown
from safetystats.reporting.writers import to_html
from safetystats.shelf import shelf_names, shelf_path
from safetystats.specs import StudySpec
from safetystats.summaries import analysis as analysis_module
from safetystats.summaries.analysis import Analysis, plan_study, run_study
from safetystats.summaries.finished import read_run
from safetystats.summaries.gates import Check
from safetystats.summaries.record import find_run

BANNED = (
    "significant", "causes", "caused by", "leads to", "no effect", "is safe", "proves", "proven", "substantial",
    "strong", "robustly", "clearly", "interestingly", "drives",
)  # fmt: skip
HOSTILE = (
    "<script>alert(1)</script>", "a_b*c$d|e#f%g\\h`i`", "[x](http://y)", "![p](q){.r}", "$\\rho$ & 50%", "@ren2024",
    "[^1]", "line\nbreak\ttab", "\u202egnirts\u202c", "\U0001f600 \u05e9\u05dc\u05d5\u05dd", "x" * 400, "1. list",
    "# head", ":::", "---", "{{ jinja }} {% raw %}", "'quoted' \"twice\"", "a~b~ c^d^", "https://example.org/x_y",
)  # fmt: skip


class Text(HTMLParser):
    """Collects what a reader sees, and every attribute that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.hidden += tag in ("style", "script")
        self.loads += [value or "" for name, value in attrs if name in ("src", "srcset", "data", "action", "poster")]
        self.loads += [value or "" for name, value in attrs if name == "href" and tag == "link"]

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


def read(page: str) -> Text:
    found = Text()
    found.feed(page)
    return found


def visible(name: str) -> str:
    """Return what is to be seen of a hostile name."""
    clean = " ".join(name.replace("\u202e", "").replace("\u202c", "").split())
    return clean if len(clean) <= 300 else clean[:299] + "\u2026"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_html(name: str, tmp_path: Path) -> None:
    markdown = f"Before {escape(name)} after.\n\n" + table_markdown(["A"], [[escape(name)]], caption=escape(name))
    page = to_html(markdown, title="t", resources=tmp_path)
    body = page[page.index("<main ") : page.index("</main>")]
    found = read(body)
    assert f"Before {visible(name)} after." in found.text
    assert found.text.count(visible(name)) == 3
    assert not {"script", "img", "a", "math", "code", "sup", "sub", "h1", "ol", "ul", "hr", "div"} & set(found.tags)


def test_every_number_of_the_document_comes_from_the_results(analysis: Analysis) -> None:
    results = collect_results(analysis)
    moved = {k: v + 1000 if isinstance(v, int) and k in ("models", "families") else v for k, v in results.items()}
    assert "1067 models" not in render_document(analysis, results, {})
    assert "1 067 models of 1 025 families" in render_document(analysis, moved, {})


OPEN, CLOSE = "\ue000", "\ue001"
"""Stand around what a sentence quotes, where every quotation is marked."""


@pytest.mark.parametrize("which", ["analysis", "checked"])
def test_every_number_in_a_sentence_is_quoted_by_key(
    which: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: Analysis = request.getfixturevalue(which)
    results = collect_results(found)
    for method in ("num", "pct", "count", "est", "name", "model"):
        real = getattr(Quoter, method)
        monkeypatch.setattr(Quoter, method, lambda self, *args, real=real, **kw: OPEN + real(self, *args, **kw) + CLOSE)
    texts = render_texts(found, results, {})
    plan, gates = found.plan, found.plan.factor.gates
    # Names, titles and reasons are text of the table and the study, whatever they hold.
    own_text = [plan.table.title, plan.study.rope.reason, plan.study.question]
    own_text += [str(name) for part in (plan.table.models, plan.table.benchmarks) for name in part["name"]]
    own_text += list(labels_for({str(k): str(v) for k, v in plan.table.benchmarks["name"].items()}).values())
    # Specs are quoted as such, and 2024 is the name of a recipe.
    by_spec = {str(plan.study.seed), f"{gates.ess:.0f}", f"{gates.e_bfmi:.1f}", f"{gates.pareto_k:.1f}", "2024"}
    by_spec |= {f"{gates.r_hat:.2f}", str(gates.divergences), "0.05"}
    for name, text in texts.items():
        prose = text.split("{#barg}")[0]
        prose = re.sub(rf"{OPEN}[^{CLOSE}]*{CLOSE}", "", prose)
        for piece in sorted(own_text, key=len, reverse=True):
            prose = prose.replace(escape(piece, 10_000), "")
        prose = re.sub(r"^\|.*$|^: .*$|^#.*$|^Python [\d.]+, safetystats .*$", "", prose, flags=re.MULTILINE)
        # Versions, and a reason that an error gives.
        prose = re.sub(r"\b(?:Python|[a-z-]+) \d+(?:\.\d+){2}", "", prose)
        prose = re.sub(r"does not apply\\: expected [^;]*?benchmarks", "", prose)
        prose = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`|\]\([^)]*\)|@[\w-]+|\{[^}]*\}", "", prose, flags=re.DOTALL)
        loose = [m for m in re.finditer(r"(?<![\w.])\d+(?:\.\d+)*", prose) if m.group(0) not in by_spec]
        assert [prose[max(m.start() - 40, 0) : m.end() + 20] for m in loose] == [], name


def test_a_missing_result_is_an_error_not_a_gap(analysis: Analysis) -> None:
    results = collect_results(analysis)
    del results["worst.r_hat"]
    with pytest.raises(KeyError, match=r"worst\.r_hat"):
        render_document(analysis, results, {})


def test_results_hold_the_tables(analysis: Analysis) -> None:
    results = collect_results(analysis)
    row = (
        analysis.tables["posterior_correlations"].query("benchmark == 'classic_truthfulqa' and mode == 'joint'").iloc[0]
    )
    stem = f"posterior_correlations/{row['model_class']}/classic_truthfulqa/joint"
    assert results[f"{stem}/mean"] == row["mean"]
    counted = sum(results[f"verdicts.base.cut.{v}"] for v in ("entangled", "inverse", "distinct", "undetermined"))  # type: ignore[misc]
    assert counted == results["benchmarks.base.cut"] == 12


@pytest.mark.parametrize("which", ["analysis", "checked"])
def test_prose_makes_no_claim_beyond_the_estimand(which: str, request: pytest.FixtureRequest) -> None:
    found: Analysis = request.getfixturevalue(which)
    texts = render_texts(found, collect_results(found), {})
    text = texts["report"]
    text = text.replace("trong prior or weak likelihood", "")  # what power scaling calls it
    prose = text.lower().split("# what the audit found")[0] + text.lower().split("# capability {#")[1]
    prose += texts["methods-short"].lower() + texts["methods-checklist"].lower()
    for word in BANNED:
        assert not re.search(rf"\b{re.escape(word)}\b", prose), word


@pytest.mark.parametrize("which", ["analysis", "checked"])
def test_the_short_form_is_a_paragraph_of_about_150_words(which: str, request: pytest.FixtureRequest) -> None:
    found: Analysis = request.getfixturevalue(which)
    results = collect_results(found)
    text = render_texts(found, results, {})["methods-short"].split("\n\n", maxsplit=1)[1]
    assert "\n\n" not in text.strip()
    assert 110 <= len(text.split()) <= 200  # "about 150": a third either way
    assert f"{results['models']} models" in text


@pytest.mark.parametrize("name", shelf_names("reports/prose", ".md"))
def test_prose_uses_no_number_of_its_own(name: str) -> None:
    text = shelf_path("reports", "prose", f"{name}.md").read_text(encoding="utf-8")
    text = re.sub(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?\}|\$\$.*?\$\$|\$[^$]*\$|@\w+|`[^`]*`", "", text, flags=re.DOTALL)
    allowed = {"2024", "0.05"}  # a year, and the level that the text states for adjusted p-values
    assert set(re.findall(r"\d+(?:\.\d+)?", text)) <= allowed


def test_every_citation_is_in_the_bibliography(analysis: Analysis) -> None:
    bibliography = shelf_path("reports", "references.bib").read_text(encoding="utf-8")
    for page in shelf_path("reports", "prose").glob("*.md"):
        for key in re.findall(r"@([a-z]+\d{4})", page.read_text(encoding="utf-8")):
            assert f"{{{key}," in bibliography, f"{page.name} cites {key}"
    del analysis


@pytest.mark.parametrize("which", ["analysis", "checked"])
def test_the_page_loads_nothing_and_describes_every_figure(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    write_report(request.getfixturevalue(which), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    found = read(page)
    assert found.loads
    assert all(place.startswith("data:") for place in found.loads)
    assert "undefined" not in found.text.lower().replace("undefined or beyond one", "")
    assert not re.search(r"\bnan\b", found.text.lower())
    for tag in re.findall(r"<img [^>]*>", page):
        alt = re.search(r'aria-label="([^"]*)"|alt="([^"]*)"', tag)
        assert alt is not None
        assert len(html.unescape(alt.group(1) or alt.group(2))) > 40
    for table in re.findall(r"<table.*?</table>", page, flags=re.DOTALL):
        assert "<caption>" in table


def test_a_written_run_is_read_back_and_its_page_written_again(checked: Analysis, tmp_path: Path) -> None:
    out = write_report(checked, tmp_path / "out").folder
    tables = read_run(out).tables
    assert set(tables) == set(checked.tables)
    for name, frame in checked.tables.items():
        for column in frame:
            if len(frame) and all(isinstance(value, str) for value in frame[column]):
                assert list(tables[name][column]) == list(frame[column]), f"{name}, {column}"
    first = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    write_formats(open_run(out), ["html"])
    assert (out / "report.html").read_bytes() == first
    assert b'"benchmarks":[{' in first
    assert "{#barg}" not in results_source(open_run(out))


def test_a_folder_that_was_half_replaced_is_no_run(
    analysis: Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_report(analysis, tmp_path / "out").folder
    assert find_run(str(out)) == out

    def interrupted(*args: object) -> dict[str, str]:
        raise KeyboardInterrupt

    monkeypatch.setattr("safetystats.reporting.output.render_texts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_report(analysis, out)
    with pytest.raises(StudyError, match="without run"):
        find_run(str(out))


def test_a_failed_gate_comes_first_and_withholds_verdicts(
    quick_study: StudySpec, store_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = analysis_module.capability_checks

    def one_fails(fit: object) -> list[Check]:
        checks = real(fit)  # type: ignore[arg-type]
        if checks[0].fit != "capability/base":
            return checks
        return [dataclasses.replace(checks[0], value=1.2, outcome="fail"), *checks[1:]]

    monkeypatch.setattr(analysis_module, "capability_checks", one_fails)
    found = run_study(plan_study("quick", quick_study), store_root)
    verdicts = found.tables["posterior_correlations"].groupby("model_class")["verdict"].unique()
    assert list(verdicts["base"]) == ["withheld"]
    assert "withheld" not in verdicts["chat"]
    written = write_report(found, tmp_path / "out")
    assert not written.gates_passed
    assert "failed" in written.summary[-1]
    text = read((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    body = text[text.rindex("A gate has failed") :]
    assert body.index("capability/base") < body.index("Summary")
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["gates"]["passed"] is False


def test_a_failed_gate_is_exit_code_four(
    quick_study: StudySpec, store_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import safetystats.specs
    from safetystats import cli

    failing = Check(fit="capability/base", check="r_hat", value=1.2, limit=1.01, outcome="fail", why="made to fail")
    monkeypatch.setattr(analysis_module, "capability_checks", lambda fit: [failing])
    monkeypatch.setattr(safetystats.specs, "read_study", lambda name: quick_study)
    monkeypatch.setenv("SAFETYSTATS_CACHE", str(store_root.parent))
    monkeypatch.setattr("sys.argv", ["safetystats", "run", "--quiet", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 4
    assert (tmp_path / "out" / "report.html").is_file()


def test_hostile_names_in_a_study_are_text(quick_study: StudySpec, store_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    folder.mkdir()
    for path in shelf_path("data", "helm-classic").glob("*.csv"):
        (folder / path.name).write_bytes(path.read_bytes())
    one_line = [name.replace("\n", " ").replace("\t", " ") for name in HOSTILE]
    for file in ("models.csv", "benchmarks.csv"):
        frame = pd.read_csv(folder / file, dtype=str, keep_default_na=False)
        frame.loc[: len(one_line) - 1, "name"] = one_line
        if file == "benchmarks.csv":
            frame.loc[frame["role"] == "safety", "area"] = one_line[: int((frame["role"] == "safety").sum())]
        frame.to_csv(folder / file, index=False)
    study = quick_study.model_copy(update={"table": str(folder), "title": HOSTILE[0], "question": HOSTILE[1]})
    found = run_study(plan_study("hostile", study), store_root)
    assert found.reused
    write_report(fully_checked(found), tmp_path / "out")
    page = read((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 2  # the data and the script
    assert visible(HOSTILE[0]) in page.text
    document = from_docx(tmp_path / "out" / "report.docx")
    pages = squeezed(from_pdf((tmp_path / "out" / "report.pdf").read_bytes()))
    latex = from_latex((tmp_path / "out" / "results.tex").read_text(encoding="utf-8"))
    for place in (0, 8, 12):  # a model and two benchmarks that the text names in tables
        assert visible(one_line[place]) in page.text
        assert squeezed(visible(one_line[place])) in squeezed(document)
        assert squeezed(visible(one_line[place])) in squeezed(latex)
    assert squeezed(one_line[0]) in pages
    assert "\\input" not in latex


def test_labels_lose_what_all_share_and_stay_apart() -> None:
    names = {"a": "MMLU (HELM)", "b": "BoolQ (HELM)", "c": "BoolQ (HELM)"}
    assert shared_ending(list(names.values())) == " (HELM)"
    assert labels_for(names) == {"a": "MMLU", "b": "BoolQ (b)", "c": "BoolQ (c)"}
    assert shared_ending(["x (1)", "y (2)", "z (1)"]) == ""


@pytest.mark.parametrize("which", ["analysis", "checked"])
def test_every_table_and_paragraph_of_the_prose_is_one(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    found: Analysis = request.getfixturevalue(which)
    markdown = render_document(found, collect_results(found), {})
    page = to_html(markdown, title="t", resources=tmp_path)
    assert markdown.count("\n: ") == page.count("<caption>")
    assert "|:---" not in read(page).text
    assert "| --- " not in read(page).text
    assert page.count("<p><strong>chat.</strong>") == page.count("<strong>chat.</strong>") > 7
    assert not re.search(r"(^|[^`])#{1,3} \w", read(page).text)
