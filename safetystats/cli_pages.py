"""Pages and texts of a finished run, from the command line, and the errata of published data. Nothing here samples."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from safetystats.cli_shelf import JsonOption, QuietOption, talk_console

RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Folder of a finished run; or a table, for its newest run in reports/out."),
]


def report(
    run: RunArgument,
    formats: Annotated[
        str, typer.Option("--format", metavar="F,F", help="Of html, md, pdf, docx and tex, with commas.")
    ] = "html,pdf,docx,tex,md",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a finished run anew, in one format or several, beside its tables.

    Prints the path of each file. Nothing is fitted: pages are made from the folder's own text and figures. Exit code 4
    if a gate of the run has failed (the pages are written and say so).
    """
    from safetystats.cli import GATE_FAILED, told_of_interrupts
    from safetystats.reporting.folder import FORMATS, open_run, write_formats
    from safetystats.summaries.record import find_run

    console = talk_console()
    wanted = _chosen(formats, FORMATS)
    with told_of_interrupts(console):
        found = open_run(find_run(run))

        def say(name: str) -> None:
            if not quiet:
                console.print(f"writing {name}", markup=False, highlight=False)

        written = write_formats(found, wanted, say)
    for remark in written.remarks:
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "folder": str(found.folder),
                    "written": [str(path) for path in written.paths],
                    "remarks": list(written.remarks),
                    "gates_passed": found.gates_passed,
                },
                ensure_ascii=False,
            )
        )
    else:
        for path in written.paths:
            typer.echo(str(path))
    if not found.gates_passed:
        console.print("A gate of this run has failed; every page says so first.", markup=False, highlight=False)
        raise typer.Exit(GATE_FAILED)


def methods(
    run: RunArgument,
    form: Annotated[
        str, typer.Option("--form", metavar="FORM", help="short (one paragraph), long (the section), or checklist.")
    ] = "long",
    kind: Annotated[str, typer.Option("--format", metavar="FORMAT", help="md or tex.")] = "md",
) -> None:
    """Print the methods section of a finished run, to be pasted into a paper.

    Exit code 4 if a gate of the run has failed (the text says so).
    """
    from safetystats.cli import GATE_FAILED
    from safetystats.reporting.folder import methods as methods_of
    from safetystats.reporting.folder import open_run
    from safetystats.summaries.record import find_run

    found = open_run(find_run(run))
    typer.echo(methods_of(found, form, kind).rstrip())
    if not found.gates_passed:
        talk_console().print("A gate of this run has failed; the text says so first.", markup=False, highlight=False)
        raise typer.Exit(GATE_FAILED)


def card(
    run: RunArgument,
    benchmark: Annotated[
        str | None, typer.Argument(metavar="[BENCHMARK]", help="A safety benchmark of the run.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Cards of all safety benchmarks, and an index page.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; RUN/cards unless given.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="F,F", help="Of html, md, json and svg (a badge), with commas.")
    ] = "html,md,json,svg",
    as_json: JsonOption = False,
) -> None:
    """Write the card of a safety benchmark: its correlation with capability, verdict, and what would change it."""
    from safetystats.reporting.cards import FORMATS, write_cards
    from safetystats.summaries.cards import benchmark_card, card_names
    from safetystats.summaries.finished import read_run
    from safetystats.summaries.record import find_run

    wanted = _chosen(formats, FORMATS)
    if (benchmark is None) != every:
        _refuse("card", "a benchmark or --all, and not both", benchmark or "neither", "Name one, or give --all.")
    folder = find_run(run)
    found = read_run(folder)
    names = card_names(found) if every else (str(benchmark),)
    if as_json:
        cards = [benchmark_card(found, name) for name in names]
        typer.echo(json.dumps(cards if every else cards[0], ensure_ascii=False, allow_nan=False))
        return
    if found.scores is None:
        talk_console().print(f"Without dictionary entries: {found.scores_why}.", markup=False, highlight=False)
    for written in write_cards(found, names, out or folder / "cards", wanted, index=every):
        for path in written.files:
            typer.echo(str(path))


def barg(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print where a report answers the Bayesian Analysis Reporting Guidelines (Kruschke 2021), and what is left."""
    from safetystats.reporting.barg import WORDS, barg_audit
    from safetystats.reporting.content import plain
    from safetystats.summaries.finished import read_run
    from safetystats.summaries.record import find_run

    found = read_run(find_run(run))
    audit = barg_audit(found.results, found.study, found.classes)
    if as_json:
        typer.echo(audit.to_json(orient="records", force_ascii=False))
        return
    step = ""
    for row in audit.to_dict("records"):
        if row["step"] != step:
            step = str(row["step"])
            typer.echo(step)
        typer.echo(
            f"  {row['letter'] or '-'}  {WORDS[str(row['status'])]:16}  {row['asks']} {plain(str(row['answer']))}"
        )
    left = [f"{n} {WORDS[str(status)]}" for status, n in audit["status"].value_counts(sort=False).items()]
    console = talk_console()
    console.print("; ".join(left), markup=False, highlight=False, soft_wrap=True)
    console.print(
        "Items are paraphrased; only those with a letter were compared with the article's table.", markup=False
    )


def errata(
    table: Annotated[str, typer.Argument(metavar="[TABLE]", help="Only ren2024 has a page of errata.")] = "ren2024",
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; reports/out/errata unless given.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="F,F", help="Of html, md and csv, with commas.")
    ] = "html,md,csv",
    as_json: JsonOption = False,
) -> None:
    """Write what appears to be wrong in the printed numbers of Ren et al. (2024), with the recomputed ones."""
    if table != "ren2024":
        _refuse("errata", "ren2024, the only table with a page of errata", table, "Leave the name out.")
    from safetystats.reporting.errata import FORMATS, write_errata
    from safetystats.summaries.errata import find_errata, published_numbers
    from safetystats.tables.ren2024 import load_ren2024

    wanted = _chosen(formats, FORMATS)
    scores = load_ren2024()
    found = find_errata(scores, published_numbers())
    if as_json:
        rows = json.loads(found.rows.to_json(orient="records", force_ascii=False, double_precision=15))
        typer.echo(json.dumps({"facts": dict(found.facts), "rows": rows}, ensure_ascii=False, allow_nan=False))
        return
    for path in write_errata(found, scores, out or Path("reports", "out", "errata"), wanted):
        typer.echo(str(path))


def _chosen(given: str, known: Sequence[str]) -> tuple[str, ...]:
    """Return the formats named, in the order of `known`."""
    from safetystats.errors import refuse_unknown

    asked = [part.strip().lower() for part in given.split(",") if part.strip()]
    refuse_unknown(asked, known, "--format")
    return tuple(name for name in known if name in asked)


def _refuse(where: str, expected: str, got: str, remedy: str) -> None:
    from safetystats.errors import Fault, StudyError

    raise StudyError([Fault(file=where, expected=expected, got=got, remedy=remedy)])
