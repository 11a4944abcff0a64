"""Pages from the folder of a run: hostile names are text in every format, and nothing is fitted."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2
import pytest
from made_run import make_run, study
from made_text import ALT, HOSTILE, N_LONG
from seen import from_docx, from_html, from_latex, from_pdf, squeezed

from safetystats.errors import DataError, StudyError
from safetystats.reporting.bibliography import cited_entries, cited_keys
from safetystats.reporting.folder import (
    FORMATS,
    PAGE_DATA,
    RunFolder,
    methods,
    open_run,
    results_source,
    sections,
    write_formats,
)
from safetystats.reporting.pdf import to_pdf
from safetystats.reporting.writers import to_typst
from safetystats.summaries.finished import read_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with hostile names, with all of its pages."""
    made = open_run(make_run(tmp_path_factory.mktemp("run"), study(title=HOSTILE[1]), names=HOSTILE))
    written = write_formats(made, FORMATS)
    assert written.remarks == ()
    assert all(path.is_file() for path in written.paths)
    return made


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_in_every_format(name: str, run: RunFolder) -> None:
    folder, wanted = run.folder, squeezed(name)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert squeezed(from_html(page)).count(wanted) >= 3
    assert squeezed(from_docx(folder / "report.docx")).count(wanted) >= 3
    markdown = re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", (folder / "report.md").read_text(encoding="utf-8"))
    assert squeezed(html.unescape(markdown)).count(wanted) >= 3
    results = squeezed(from_latex((folder / "results.tex").read_text(encoding="utf-8")))
    assert results.count(wanted) >= 2  # the wide table is cut
    pages = squeezed(from_pdf((folder / "report.pdf").read_bytes()))
    # pdfium loses pictographs beside text that runs from right to left in some places; they are on the page.
    assert pages.count(wanted) >= (1 if "\U0001f600" in name else 3)


def test_hostile_names_are_nothing_but_text(run: RunFolder) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    body = page[page.index("<main ") : page.index("</main>")]
    assert "<script" not in body
    assert "alert(1)" in body
    for name in ("methods.tex", "results.tex"):
        text = (run.folder / name).read_text(encoding="utf-8")
        assert "\\input" not in text
        assert "\\end{document}" not in text.split("\\providecommand")[-1]
    with zipfile.ZipFile(run.folder / "report.docx") as archive:
        assert b"http://y" not in archive.read("word/_rels/document.xml.rels")


def test_a_hostile_title_is_text(run: RunFolder) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert f"<title>{html.escape(HOSTILE[1], quote=False)}</title>" in page
    document = pypdfium2.PdfDocument(BytesIO((run.folder / "report.pdf").read_bytes()))
    assert document.get_metadata_value("Title") == HOSTILE[1]
    with zipfile.ZipFile(run.folder / "report.docx") as archive:
        core = ElementTree.fromstring(archive.read("docProps/core.xml"))
    assert HOSTILE[1] in [node.text for node in core]


@pytest.mark.parametrize("title", ["one\n\\input{two}", "\u05e9\u05dc\u05d5\u05dd \U0001f600", "y" * 300])
def test_titles_of_any_kind_can_be_set(title: str, tmp_path: Path) -> None:
    made = open_run(make_run(tmp_path, study(title=title)))
    write_formats(made, FORMATS)
    first = (tmp_path / "results.tex").read_text(encoding="utf-8").split("\\providecommand")[0]
    assert all(line.startswith("%") for line in first.splitlines() if line)


def test_word_has_native_formulas_and_tables_and_described_figures(run: RunFolder) -> None:
    with zipfile.ZipFile(run.folder / "report.docx") as archive:
        document = archive.read("word/document.xml").decode("utf-8")
        pictures = [name for name in archive.namelist() if name.startswith("word/media/")]
        dates = {member.date_time for member in archive.infolist()}
    assert document.count("<m:oMathPara>") == 1
    assert document.count("<m:oMath>") >= 3
    assert document.count("<w:tbl>") == document.count("<w:tblHeader") == 4
    assert [Path(name).suffix for name in pictures] == [".png"]
    assert f'descr="{ALT}"' in document
    assert document.count('w:orient="landscape"') == 1, "the wide table stands on a turned page"
    assert dates == {(1980, 1, 1, 0, 0, 0)}


def test_the_pdf_is_tagged_titled_and_turned_where_it_must_be(run: RunFolder) -> None:
    content = (run.folder / "report.pdf").read_bytes()
    document = pypdfium2.PdfDocument(BytesIO(content))
    assert document.is_tagged()
    assert b"pdfuaid:part" in content
    sizes = {tuple(round(side) for side in page.get_size()) for page in document}
    assert sizes == {(595, 842), (842, 595)}
    for page in document:  # nothing is set outside the page
        width, height = page.get_size()
        for item in page.get_objects():
            left, bottom, right, top = item.get_bounds()
            assert left > -1, (left, right)
            assert right < width + 1, (left, right)
            assert bottom > -1
            assert top < height + 1


def test_characters_without_a_font_do_not_stop_the_pdf(tmp_path: Path) -> None:
    made = open_run(make_run(tmp_path, names=("\U0002a6b2 rare", "b")))
    found = to_pdf(to_typst(made.texts["report"], title="t"), tmp_path)
    assert found.content.startswith(b"%PDF")
    assert found.accessible or "font" in found.why_not


def test_latex_has_labels_and_citations_that_lead_somewhere(run: RunFolder) -> None:
    both = "".join((run.folder / name).read_text(encoding="utf-8") for name in ("methods.tex", "results.tex"))
    labels = re.findall(r"\\label\{([^}]*)\}", both)
    assert len(labels) == len(set(labels))
    assert {"sec:methods", "sec:results", "tab:posterior_correlations", "fig:fig"} & set(labels) >= {
        "sec:methods", "sec:results", "fig:fig"
    }  # fmt: skip
    assert set(re.findall(r"\\ref\{([^}]*)\}", both)) <= set(labels)
    bibliography = (run.folder / "references.bib").read_text(encoding="utf-8")
    cited = {key for group in re.findall(r"\\cite[pt]?(?:\[[^]]*\])*\{([^}]*)\}", both) for key in group.split(",")}
    assert cited == {"plummer2015", "searle1992"}
    assert set(re.findall(r"@\w+\{(\w+),", bibliography)) == cited | {"spearman1904"}
    assert "longtable" not in both
    for name in set(re.findall(r"\\includegraphics\[[^]]*\]\{([^}]*)\}", both)):
        assert (run.folder / f"{name}.pdf").is_file()


def test_long_tables_are_cut_in_latex_and_say_where_the_whole_is(run: RunFolder) -> None:
    text = (run.folder / "results.tex").read_text(encoding="utf-8")
    shown = len(re.findall(r"^row \d+ &", text, flags=re.MULTILINE))
    assert 20 < shown < N_LONG
    plain = from_latex(text)
    assert f"The first {shown} of {N_LONG} rows; all are in \\texttt{{tables/diagnostics.csv}}." in plain
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert page.count("<td") > N_LONG
    assert f"row {N_LONG - 1}" in page


@pytest.mark.latex
@pytest.mark.parametrize("columns", ["onecolumn", "twocolumn"])
def test_the_latex_compiles_in_an_article(columns: str, run: RunFolder, tmp_path: Path) -> None:
    assert shutil.which("pdflatex"), "no pdflatex (Debian: texlive-latex-recommended, lmodern)"
    for name in ("methods.tex", "results.tex", "references.bib"):
        shutil.copy(run.folder / name, tmp_path)
    shutil.copytree(run.folder / "figures", tmp_path / "figures")
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass[10pt,a4paper,{columns}]{{article}}\n"
        "\\usepackage[T1]{fontenc}\\usepackage{lmodern}\\usepackage[margin=2cm]{geometry}\n"
        "\\usepackage{amsmath,array,booktabs,graphicx,natbib}\n"
        "\\begin{document}\n\\input{methods}\n\\input{results}\n"
        "\\bibliographystyle{plainnat}\\bibliography{references}\n\\end{document}\n",
        encoding="utf-8",
    )
    typeset = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper"]
    for command in (typeset, ["bibtex", "paper"], typeset, typeset):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
        assert done.returncode == 0, done.stdout[-3000:]
    log = (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")
    assert "undefined" not in log.split("(./paper.aux)")[-1]
    assert "multiply defined" not in log
    assert "Overfull \\hbox" not in log
    assert "Float too large" not in log
    pages = squeezed(from_pdf((tmp_path / "paper.pdf").read_bytes()))
    for name in (HOSTILE[0], HOSTILE[4], HOSTILE[7]):
        assert squeezed(name) in pages


def test_pages_are_the_same_bytes_again(run: RunFolder, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "again")
    for path in (tmp_path / "again").glob("report.*"):
        path.unlink()
    again = write_formats(open_run(tmp_path / "again"), FORMATS)
    for path in again.paths:
        other = run.folder / path.relative_to(tmp_path / "again")
        assert path.read_bytes() == other.read_bytes(), path.name


def test_a_failed_gate_stands_first_in_every_text(tmp_path: Path) -> None:
    made = open_run(make_run(tmp_path, failed=True))
    assert not made.gates_passed
    write_formats(made, ("tex",))
    for name in ("methods.tex", "results.tex"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert text.index("A gate has failed") < text.index(
            "\\section{Methods}\\label" if "meth" in name else "Results}"
        )
    for form in ("short", "long", "checklist"):
        assert methods(made, form).lstrip("# ").startswith("A gate has failed")


def test_forms_of_the_methods_section(run: RunFolder) -> None:
    long = methods(run, "long")
    assert "under Capability, and elsewhere" in long, "a link to a section that is not there is words"
    assert "Plummer" in long.split("# References")[1]
    assert methods(run, "short", "tex").count("\\citep{spearman1904}") == 1
    answers = methods(run, "checklist")
    assert "took 3 minutes of wall time, 2 minutes of it for the longest stage (sampling the model)" in answers
    assert "Linux-made with 2 processor cores" in answers
    with pytest.raises(StudyError, match="short, long, checklist"):
        methods(run, "medium")


def test_sections_are_the_document(run: RunFolder) -> None:
    parts = sections(run.texts["report"])
    assert list(parts) == ["summary", "capability", "posterior", "methods", "barg", "references"]
    assert "".join(parts.values()) == run.texts["report"]
    source = results_source(run)
    assert re.findall(r"^#+ \w+", source, flags=re.MULTILINE) == ["# Results", "## Capability", "## Posterior"]


def test_only_what_is_cited_is_in_the_references() -> None:
    text = "See [@horn1965; cf. @velicer1976], @{plummer2015} and \\@ren2024, a@b1999.\n"
    assert cited_keys(text) == {"horn1965", "velicer1976", "plummer2015"}
    entries = "@article{horn1965,\n  title = {A}\n}\n@misc{ren2024,\n  title = {B}\n}\n"
    assert cited_entries(entries, [text]) == "@article{horn1965,\n  title = {A}\n}\n"


@pytest.mark.parametrize("read", [open_run, read_run], ids=["text", "tables"])
def test_a_folder_that_is_no_run_is_refused_alike(read: Callable[[Path], object], tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"expected the folder of a finished run, got nothing of that name"):
        read(tmp_path / "absent")
    with pytest.raises(StudyError, match=r"a folder without run\.json"):
        read(tmp_path)
    make_run(tmp_path)
    (tmp_path / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(DataError, match="expected a JSON object, got list"):
        read(tmp_path)
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="the record of a run"):
        read(tmp_path)


def test_what_a_run_lacks_is_listed(tmp_path: Path) -> None:
    make_run(tmp_path)
    lost = {"figures/fig.png", "text/methods-short.md", "text/page.json"}
    for name in lost:
        (tmp_path / name).unlink()
    with pytest.raises(DataError) as found:
        open_run(tmp_path)
    assert {Path(fault.file).relative_to(tmp_path).as_posix() for fault in found.value.faults} == lost


def test_the_page_has_the_data_that_the_run_kept(run: RunFolder) -> None:
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    block = page[page.index('id="page-data">') :].split(">", 1)[1].split("</script>", 1)[0]
    assert json.loads(block) == json.loads((run.folder / PAGE_DATA).read_text(encoding="utf-8"))
    assert json.loads(block)["words"] == list(HOSTILE)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "DIR", "--format", "md,tex"], 0, "results.tex"),
        (["report", "DIR", "--format", "md", "--json", "--quiet"], 0, '"gates_passed": true'),
        (["report", "DIR", "--format", "odt"], 2, "one of html, md, pdf, docx, tex"),
        (["report", "DIR/figures"], 2, "the folder of a finished run"),
        (["report", "DIR/figures/fig.svg"], 2, "got a file"),
        (["methods", "DIR", "--form", "short"], 0, "Methods in short"),
        (["methods", "DIR", "--form", "brief"], 2, "short, long, checklist"),
    ],
)
def test_the_commands(arguments: list[str], code: int, said: str, tmp_path: Path) -> None:
    make_run(tmp_path)
    given = [argument.replace("DIR", str(tmp_path)) for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "safetystats", *given], capture_output=True, text=True, check=False,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_gate_sets_the_exit_code_of_the_commands(tmp_path: Path) -> None:
    make_run(tmp_path, failed=True)
    for command in (["report", str(tmp_path), "--format", "md"], ["methods", str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, "-m", "safetystats", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 4, done.stderr
    assert (tmp_path / "report.md").is_file()


def test_pages_need_no_sampler(tmp_path: Path) -> None:
    make_run(tmp_path)
    code = (
        "import sys, pathlib\n"
        "from safetystats.reporting.folder import FORMATS, methods, open_run, write_formats\n"
        f"run = open_run(pathlib.Path({str(tmp_path)!r}))\n"
        "write_formats(run, FORMATS); methods(run, 'checklist')\n"
        "heavy = ('pymc', 'nutpie', 'arviz_stats', 'statsmodels', 'pandas', 'numpy', 'scipy', 'matplotlib')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
