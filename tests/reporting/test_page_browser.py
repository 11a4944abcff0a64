"""The HTML page in a real browser: it loads nothing, runs only its own script, and can be used by anyone."""

from __future__ import annotations

import base64
import csv
import importlib.util
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree

import pandas as pd
import pytest
from browser import NAMES, Page, find_browser

from safetystats.reporting.page_data import pack, scatter_data
from safetystats.reporting.text import escape, table_markdown
from safetystats.reporting.writers import to_html
from safetystats.specs import StudySpec
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.crossed_tables import ALL
from safetystats.summaries.plan import plan_study

pytestmark = pytest.mark.browser
HOSTILE = "</script><img src=x onerror=alert(1)> \u05e9\u05dc \U0001f600"
PHONE = 390
READABLE = 600
"""Pixels from which the smallest words of a figure, made for seven inches, can be read."""
VALUES = ("3", "20", "\u22121", "0.5", "7", "8", "9", "10", "11", "12", "100")


def made_analysis() -> Analysis:
    """Return what the page needs of a study: its plan, and capability made by hand."""
    asked = StudySpec(title="t", question="q", table="helm-classic", classes=("base", "chat"))
    plan = plan_study("made", asked)
    models = plan.table.models
    score = [round(-2 + 0.06 * place, 3) for place in range(len(models))]
    common = pd.DataFrame(
        {"model": models.index, "score": score, "lower": [s - 0.5 for s in score], "upper": [s + 0.5 for s in score]}
    )
    first = {c: models.index[models["model_class"] == c] for c in ("base", "chat")}
    shifts = pd.DataFrame({"area": [ALL, "x"], "model_a": first["base"][:2], "model_b": first["chat"][:2]})
    tables = {"common_capability": common, "lineage_shifts": shifts, "capability_scores": pd.DataFrame({"method": []})}
    return cast(Analysis, SimpleNamespace(plan=plan, tables=tables))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A page with everything that a report has: figure, long table, formula, a plot of models."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "figures").mkdir()
    (folder / "figures" / "forest.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="200" height="100">'
        '<rect width="200" height="100" fill="red"/></svg>',
        encoding="utf-8",
    )
    rows = [[f"row {k}", f"{value}"] for k, value in enumerate(VALUES)]
    markdown = (
        f"# Posterior {{#posterior}}\n\nA formula $\\rho$ and {escape('/*script*/ /*data*/ /*policy*/')}.\n\n"
        '![A figure.](figures/forest.svg){#fig-forest alt="A red rectangle that stands for a figure."}\n\n'
        + table_markdown(["Name", "Value"], rows, caption="Eleven rows.", numeric=(1,))
        + f"\n\n# Other {{#other}}\n\n{escape(HOSTILE)}\n"
    )
    scatter = cast(dict[str, Any], scatter_data(made_analysis()))
    scatter["models"][0]["name"] = HOSTILE
    frame = pd.DataFrame({"benchmark": ["a", HOSTILE], "mean": [0.25, None]})
    data = {"figures": {"forest": pack(frame)}, "scatter": scatter}
    path = folder / "page.html"
    path.write_text(to_html(markdown, title="/*policy*/ title", resources=folder, data=data), encoding="utf-8")
    return path, scatter


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    found = find_browser()
    assert found, f"no browser: none of {', '.join(NAMES)} is on the path, and SAFETYSTATS_TEST_BROWSER names none"
    with Page(found, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(browser: Page, written: tuple[Path, dict[str, Any]]) -> Page:
    browser.size(1200, 900)
    browser.dark(False)
    browser.open(written[0])
    return browser


def caught(page: Page, click: str, wait: int = 1500) -> tuple[str, str]:
    """Press a button and return what it would have saved: address and file name."""
    script = """(async () => {
      let got = null; const before = HTMLAnchorElement.prototype.click;
      HTMLAnchorElement.prototype.click = function () { got = [this.href, this.download]; };
      %s.click();
      for (let k = 0; k < %d && !got; k += 20) { await new Promise(r => setTimeout(r, 20)); }
      HTMLAnchorElement.prototype.click = before; return got; })()"""
    found = page.run(script % (click, wait))
    assert found, "nothing was saved"
    return str(found[0]), str(found[1])


def test_the_page_loads_nothing_and_complains_of_nothing(page: Page, written: tuple[Path, dict[str, Any]]) -> None:
    assert [place for place in page.requests if not place.startswith("data:")] == [written[0].resolve().as_uri()]
    assert page.complaints == []


def test_the_policy_lets_nothing_else_run_or_load(page: Page, written: tuple[Path, dict[str, Any]]) -> None:
    policy = str(page.run("document.querySelector('meta[http-equiv=Content-Security-Policy]').content"))
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", parts["script-src"])
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/=]{44}'", parts["style-src-elem"])
    blocked = page.run(
        """(async () => { const seen = [];
          document.addEventListener('securitypolicyviolation', e => seen.push(e.effectiveDirective));
          const script = document.createElement('script'); script.textContent = 'window.broken = 1';
          document.body.appendChild(script);
          const image = new Image(); image.src = 'https://example.invalid/x.png'; document.body.appendChild(image);
          await fetch('https://example.invalid/').catch(() => 0);
          await new Promise(r => setTimeout(r, 200));
          return [typeof window.broken, seen.sort()]; })()"""
    )
    assert blocked[0] == "undefined"
    assert {"script-src-elem", "img-src", "connect-src"} <= set(blocked[1])


def test_words_of_the_template_in_the_text_stay_text(page: Page) -> None:
    assert "/*script*/ /*data*/ /*policy*/." in str(page.run("document.querySelector('main').textContent"))
    assert page.run("document.title") == "/*policy*/ title"
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0


def test_tables_sort_by_number_and_filter(page: Page) -> None:
    values = "Array.from(document.querySelectorAll('main .frame table')).pop().tBodies[0]"
    shown = f"Array.from({values}.rows).map(r => r.cells[1].textContent)"
    head = f"{values}.parentNode.tHead.rows[0].cells[1]"
    ascending = ["\u22121", "0.5", "3", "7", "8", "9", "10", "11", "12", "20", "100"]
    page.run(f"{head}.querySelector('button').click()")
    assert page.run(shown) == ascending
    assert page.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    page.run(f"{head}.querySelector('button').click()")
    assert page.run(shown) == ascending[::-1]
    frame = f"{values}.closest('.frame')"
    field = f"{frame}.querySelector('input[type=search]')"
    page.run(f"(f => {{ f.value = 'ROW 1'; f.dispatchEvent(new Event('input')); }})({field})")
    assert page.run(f"Array.from({values}.rows).filter(r => !r.hidden).map(r => r.cells[0].textContent).sort()") == [
        "row 1", "row 10",
    ]  # fmt: skip
    assert page.run(f"{frame}.querySelector('.count').textContent") == "2 of 11 rows"


def test_hovering_and_keys_tell_a_model(page: Page, written: tuple[Path, dict[str, Any]]) -> None:
    scatter = written[1]
    values = scatter["benchmarks"][0]["values"]
    known = [k for k, value in enumerate(values) if value is not None]
    assert page.run("document.querySelectorAll('.scatter .point').length") == len(known)
    assert page.run("document.querySelectorAll('.scatter .arrow').length") == 1
    page.point(".scatter circle.point")
    told = str(page.run("document.querySelector('.scatter .tip').textContent"))
    assert told.startswith(f"{HOSTILE} (base, ")
    assert page.run("document.querySelector('.scatter .floating').hidden") is False
    page.run("document.querySelector('.scatter circle.point').focus()")
    page.press("ArrowRight")
    second = str(page.run("document.querySelector('.scatter .tip').textContent"))
    assert second.startswith(scatter["models"][known[1]]["name"])
    assert page.run("document.activeElement.getAttribute('aria-label')") == second
    assert page.run("document.querySelectorAll('.scatter .point[tabindex=\"0\"]').length") == 1


def test_another_benchmark_can_be_chosen(page: Page, written: tuple[Path, dict[str, Any]]) -> None:
    page.run(
        "(s => { s.value = '3'; s.dispatchEvent(new Event('change')); })(document.querySelector('.scatter select'))"
    )
    own = written[1]["benchmarks"][3]
    assert own["label"] in str(page.run("document.querySelector('.scatter svg').getAttribute('aria-label')"))
    table = "document.querySelector('.scatter details table')"
    assert page.run(f"{table}.tBodies[0].rows.length") == sum(value is not None for value in own["values"])
    assert own["label"] in str(page.run(f"{table}.caption.textContent"))
    address, name = caught(page, "document.querySelectorAll('.scatter .tools button')[2]")
    text = str(page.run(f"decodeURIComponent({json.dumps(address.split(',', 1)[1])})"))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert name == "models.csv"
    assert [float(row["score"]) for row in rows] == [value for value in own["values"] if value is not None]
    page.run("document.querySelector('.scatter input').click()")
    assert page.run("document.querySelectorAll('.scatter .arrow').length") == 0


def test_figures_and_their_data_can_be_saved(page: Page) -> None:
    button = "document.querySelectorAll('#fig-forest .tools button')[{}]"
    address, name = caught(page, button.format(0))
    assert name == "forest.svg"
    drawn = base64.b64decode(address.split(",", 1)[1]).decode("utf-8")
    assert ElementTree.fromstring(drawn).get("width") == "200"
    address, name = caught(page, button.format(1))
    picture = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert name == "forest.png"
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (400, 200)
    address, name = caught(page, button.format(2))
    text = str(page.run(f"decodeURIComponent({json.dumps(address.split(',', 1)[1])})"))
    assert name == "forest.csv"
    assert text == f"benchmark,mean\na,0.25\n{HOSTILE},\n"
    address, name = caught(page, "document.querySelectorAll('.scatter .tools button')[0]")
    saved = ElementTree.fromstring(str(page.run(f"decodeURIComponent({json.dumps(address.split(',', 1)[1])})")))
    fills = {node.get("fill") for node in saved.iter() if "point" in (node.get("class") or "")}
    assert len(fills) == 2
    assert all(str(fill).startswith("rgb") for fill in fills)


def test_dark_is_dark_and_a_phone_need_not_scroll_sideways(page: Page) -> None:
    def brightness() -> int:
        found = str(page.run("getComputedStyle(document.body).backgroundColor"))
        return sum(int(part) for part in re.findall(r"\d+", found)[:3])

    light = brightness()
    page.dark(True)
    assert brightness() < 100 < 700 < light
    page.size(PHONE, 844, phone=True)
    assert page.run("document.documentElement.scrollWidth") <= PHONE
    page.run("new Promise(r => requestAnimationFrame(() => setTimeout(r, 50)))")  # until it has drawn itself anew
    assert page.run("document.querySelector('.scatter svg').viewBox.baseVal.width") < PHONE


def test_a_phone_shows_figures_in_a_readable_size_and_captions_whole(page: Page) -> None:
    page.size(PHONE, 844, phone=True)
    figure, captions = "document.querySelector('#fig-forest')", "[...document.querySelectorAll('figcaption, caption')]"
    assert page.run(f"{figure}.querySelector('img, svg').getBoundingClientRect().width") > READABLE
    assert page.run(f"{figure}.scrollWidth > {figure}.clientWidth"), "the figure scrolls by itself"
    page.run(f"{figure}.scrollLeft = 200")
    assert page.run(f"{captions}.map(c => c.getBoundingClientRect()).every(b => b.left >= 0 && b.right <= innerWidth)")
    assert page.run("document.documentElement.scrollWidth") <= PHONE


def test_long_words_break_and_arrows_stay_beside_their_heads(page: Page, tmp_path: Path) -> None:
    address = "https://storage.example.org/" + "a-long/name_of/" * 12
    rows = [[f"row {k}", escape(address), "a name of some length here", "1"] for k in range(3)]
    made = table_markdown(["Name", "Address", "Phrase", "n"], rows, caption="Three rows.", numeric=(3,))
    path = tmp_path / "page.html"
    path.write_text(to_html(f"# One\n\n{made}\n", title="t", resources=tmp_path), encoding="utf-8")
    page.size(1300, 844)
    page.open(path)
    frame = "document.querySelector('.frame')"
    assert page.run(f"{frame}.scrollWidth <= {frame}.clientWidth"), "nothing to scroll"
    assert page.run("document.querySelector('tbody td:nth-child(2)').textContent") == address
    heights = page.run("[...document.querySelectorAll('th button')].map(b => b.offsetHeight)")
    assert len(heights) == 4
    assert len(set(heights)) == 1, "an arrow has a line of its own"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_grave(page: Page, dark: bool) -> None:
    spec = importlib.util.find_spec("axe_core_python")
    assert spec is not None, "axe-core-python is not installed"
    page.dark(dark)
    page.run((Path(str(spec.origin)).parent / "axe.min.js").read_text(encoding="utf-8") + ";1")
    passes, found = page.run(
        "axe.run().then(r => [r.passes.length, r.violations.map(v => [v.id, v.impact, v.nodes[0].html.slice(0, 200)])])"
    )
    assert passes > 20
    assert [each for each in found if each[1] in ("serious", "critical")] == []
