"""The specification curve of a finished run, from the command line. Nothing here samples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from safetystats.cli_pages import RunArgument
from safetystats.cli_shelf import JsonOption


def curve(
    run: RunArgument,
    benchmark: Annotated[
        str | None, typer.Argument(metavar="[BENCHMARK]", help="A safety benchmark of the run; all unless given.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the figures; RUN/figures unless given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print how the verdicts depend on the way a correlation is computed; with a benchmark, write its curve as figures.

    A run with `--quick` has no specifications.
    """
    from safetystats.errors import Fault, StudyError, suggest
    from safetystats.shelf import write_atomic
    from safetystats.summaries.finished import read_run
    from safetystats.summaries.numbers import number_text, percent_text
    from safetystats.summaries.record import find_run

    folder = find_run(run)
    found = read_run(folder)
    shares = found.tables.get("specification_shares")
    if shares is None or shares.empty:
        raise StudyError(
            [
                Fault(
                    file=str(folder), expected="a run with specifications", got="none",
                    remedy="Run the study without --quick, and with relations = true in its [questions].",
                )
            ]
        )  # fmt: skip
    names = list(dict.fromkeys(shares["benchmark"]))
    if benchmark is not None and benchmark not in names:
        raise StudyError(
            [
                Fault(
                    file=str(folder), column="benchmark", expected="a safety benchmark of the run",
                    got=f'"{benchmark}"',
                    remedy=f"Correct the name{suggest(benchmark, names) or '.'}",
                )
            ]
        )  # fmt: skip
    shown = shares if benchmark is None else shares[shares["benchmark"] == benchmark]
    if as_json:
        typer.echo(shown.to_json(orient="records", force_ascii=False, double_precision=15))
    else:
        for row in shown.to_dict("records"):
            parts = ", ".join(
                f"{percent_text(row[f'share_{verdict}'])} {verdict}"
                for verdict in ("entangled", "distinct", "inverse", "undetermined")
                if row[f"share_{verdict}"] > 0
            )
            whole = ", ".join(
                f"{percent_text(row[f'whole_{verdict}'])} {verdict}"
                for verdict in ("entangled", "distinct", "inverse", "undetermined")
                if row.get(f"whole_{verdict}", 0) > 0
            )
            parts += f" (without those within families: {whole})" if whole else ""
            typer.echo(
                f"{row['benchmark']} ({row['model_class']}): {row['n_specifications']} specifications, "
                f"{number_text(row['lowest'])} to {number_text(row['highest'])} (median {number_text(row['median'])}); "
                f"{parts}; decided most by {str(row['decisive']).replace('_', ' ')}"
            )
    if benchmark is None:
        return
    from safetystats.reporting.figures_relations import draw_specification_curve

    listed = found.tables["specifications"]
    label = benchmark
    if found.scores is not None:
        label = str(found.scores.benchmarks.loc[benchmark, "name"])
    written = []
    for model_class in dict.fromkeys(listed.loc[listed["benchmark"] == benchmark, "model_class"]):
        drawing = draw_specification_curve(
            listed, benchmark=benchmark, model_class=str(model_class), label=label, rope=found.study.rope.limit
        )
        stem = re.sub(r"[^\w-]+", "-", f"specification_curve-{benchmark}-{model_class}")
        for ending, content in (("svg", drawing.svg), ("png", drawing.png)):
            path = (out or folder / "figures") / f"{stem}.{ending}"
            write_atomic(path, content)
            written.append(str(path))
    if as_json:
        typer.echo(json.dumps(written, ensure_ascii=False), err=True)
        return
    for name in written:
        typer.echo(name)
    if not written:
        typer.echo("Not listed one by one: only headline benchmarks are in a table of this size.", err=True)
