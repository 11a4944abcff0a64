"""Pages and methods text from the folder of a finished run: `report` and `methods`. Nothing is fitted or sampled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from safetystats.cli_shelf import JsonOption, QuietOption, talk_console

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a finished run.")]


def report(
    folder: FolderArgument,
    formats: Annotated[
        str, typer.Option("--format", metavar="A,B", help="Of html, md, pdf, docx and tex, separated by commas.")
    ] = "html,pdf,docx,tex,md",
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write the report of a finished run anew, in one format or several, beside its tables.

    Prints the path of each file. Nothing is fitted: pages are made from the folder's own text and figures. Exit code 4
    if a gate of the run has failed (the pages are written and say so).
    """
    from safetystats.cli import GATE_FAILED, told_of_interrupts
    from safetystats.reporting.folder import open_run, write_formats

    console = talk_console()
    asked = list(dict.fromkeys(part.strip().lower() for part in formats.split(",") if part.strip()))
    with told_of_interrupts(console):
        run = open_run(folder)

        def say(name: str) -> None:
            if not quiet:
                console.print(f"writing {name}", markup=False, highlight=False)

        written = write_formats(run, asked, say)
    for remark in written.remarks:
        console.print(remark, markup=False, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "folder": str(folder),
                    "written": [str(path) for path in written.paths],
                    "remarks": list(written.remarks),
                    "gates_passed": run.gates_passed,
                },
                ensure_ascii=False,
            )
        )
    else:
        for path in written.paths:
            typer.echo(str(path))
    if not run.gates_passed:
        console.print("A gate of this run has failed; every page says so first.", markup=False, highlight=False)
        raise typer.Exit(GATE_FAILED)


def methods(
    folder: FolderArgument,
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

    run = open_run(folder)
    typer.echo(methods_of(run, form, kind).rstrip())
    if not run.gates_passed:
        talk_console().print("A gate of this run has failed; the text says so first.", markup=False, highlight=False)
        raise typer.Exit(GATE_FAILED)
