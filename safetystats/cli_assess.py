"""Assess a new benchmark, from the command line, and the stored draws of capability that it is set against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from safetystats.cli_shelf import JsonOption, QuietOption, talk_console

if TYPE_CHECKING:
    from safetystats.summaries.assess import Matched

reference_app = typer.Typer(no_args_is_help=True, help="Make, check and list the stored draws of capability.")
NOTHING_SAID = 3
TablesArgument = Annotated[list[str] | None, typer.Argument(metavar="[TABLE]...", help="Tables by name; all if none.")]


def assess(
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="A CSV file with the columns model and score.")],
    against: Annotated[
        str, typer.Option("--against", metavar="REF", help="helm-classic, chat-2025, ren2024, or the folder of a run.")
    ],
    direction: Annotated[
        str,
        typer.Option(
            "--direction",
            metavar="WORD",
            help="higher_is_safer, lower_is_safer, zero_is_ideal or higher_is_better.",
        ),
    ],
    items: Annotated[
        int | None, typer.Option("--items", metavar="N", help="Items of the benchmark, if scores are shares of them.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", metavar="1|100", help="Score of a model with all items right.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the benchmark; else that of the file.")
    ] = None,
    unit: Annotated[str, typer.Option("--unit", metavar="UNIT", help="What a score is counted in.")] = "",
    limit: Annotated[
        float | None, typer.Option("--limit", metavar="RHO", help="Limit of the regions; else the reference's.")
    ] = None,
    probability: Annotated[
        float | None, typer.Option("--probability", metavar="P", help="What a verdict needs; else the reference's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which models the names mean.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the card (HTML, Markdown, JSON, badge) and CSV.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Assess a new benchmark: how far its scores follow capability, against stored draws. Nothing is sampled.

    Exit code 3 if too few of the models are known for anything to be said, 4 if a gate of the run that capability is
    taken from failed.
    """
    from safetystats.cli import GATE_FAILED
    from safetystats.summaries.assess import assess as assess_scores
    from safetystats.summaries.assess import match_scores, matching_table
    from safetystats.tables.own import OwnBenchmark

    benchmark = OwnBenchmark(name=name or scores.stem, direction=direction, n_items=items, upper=scale, unit=unit)
    matched = match_scores(scores, against)
    if dry_run:
        frame = matching_table(matched)
        if as_json:
            typer.echo(frame.to_json(orient="records", force_ascii=False, double_precision=15))
            matched.refuse_faults()
            return
        _show_matching(matched)
        matched.refuse_faults()
        return
    found = assess_scores(
        matched, direction=direction, name=benchmark.name, items=items, scale=scale, unit=unit, limit=limit,
        probability=probability,
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.content, ensure_ascii=False, allow_nan=False))
    _say_unmatched(matched)
    if not found.says_something:
        from safetystats.reporting.assess import summary_text

        for line in summary_text(found.content):
            talk_console().print(line, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(NOTHING_SAID)
    if out is not None:
        from safetystats.reporting.assess import write_assessment
        from safetystats.reporting.content import csv_text
        from safetystats.shelf import write_atomic

        paths = write_assessment(found.content, out)
        for table in ("matching", "correlations", "estimands", "influence"):
            paths.append(out / f"{table}.csv")
            write_atomic(paths[-1], csv_text(getattr(found, table)))
        if not as_json:
            for path in paths:
                typer.echo(str(path))
    elif not as_json:
        from safetystats.reporting.assess import paragraph_text, summary_text

        for line in summary_text(found.content):
            typer.echo(line)
        typer.echo("")
        typer.echo(paragraph_text(found.content))
    if found.gate_failed:
        talk_console().print("A gate of the capability fit failed: verdicts are withheld.", markup=False)
        raise typer.Exit(GATE_FAILED)


def _show_matching(matched: Matched) -> None:
    """Print one line per name."""
    width = max((len(match.given) for match in matched.matches), default=0)
    for match in matched.matches:
        alike = f"; alike: {', '.join(match.others)}" if match.others else ""
        typer.echo(f"{match.given:{width}}  {match.model or '-'}  ({match.why}{alike})")
    for label, own in matched.reference.classes.items():
        n = len({match.model for match in matched.matches} & set(own.models))
        talk_console().print(
            f"{label}: {n} of {len(own.models)} models of {matched.reference.name}.", markup=False, highlight=False
        )


def _say_unmatched(matched: Matched) -> None:
    """Say which names are left out, and what is alike."""
    console = talk_console()
    for match in matched.matches:
        if not match.model:
            alike = f"; alike: {', '.join(match.others)}" if match.others else ""
            console.print(
                f'Left out: "{match.given}" is no model of {matched.reference.name}{alike}.', markup=False,
                highlight=False, soft_wrap=True,
            )  # fmt: skip


@reference_app.command("list")
def reference_list(as_json: JsonOption = False) -> None:
    """List the tables with stored draws of capability: classes, models, draws, spec."""
    from safetystats.summaries.references import find_reference, reference_names

    rows = []
    for table in reference_names():
        found = find_reference(table)
        rows.append(
            {
                "table": table,
                "spec": found.spec_name,
                "seed": found.seed,
                "classes": {label: len(own.models) for label, own in found.classes.items()},
                "draws": min(len(own.theta) for own in found.classes.values()),
                "digest": found.digest,
            }
        )
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    for row in rows:
        classes = ", ".join(f"{n} {label}" for label, n in dict(row["classes"]).items())  # type: ignore[call-overload]
        typer.echo(f"{row['table']}: {classes} models, {row['draws']} draws, {row['spec']}, {str(row['digest'])[:16]}")


@reference_app.command("make")
def reference_make(tables: TablesArgument = None, quiet: QuietOption = False) -> None:
    """Fit capability anew, or take saved fits, and store draws of it with the tables (minutes per table)."""
    from safetystats.cli import limit_threads, told_of_interrupts
    from safetystats.reporting.progress import show_progress

    limit_threads()
    console = talk_console()
    names = _known(tables)
    with told_of_interrupts(console) as stopped, show_progress(console, quiet=quiet, stopped=stopped) as talk:
        talk.stage("reading and checking")
        from safetystats.shelf import cache_root
        from safetystats.summaries.reference_make import make_reference

        paths = [make_reference(name, cache_root() / "fits", talk)[1] for name in names]
    for path in paths:
        typer.echo(str(path))


@reference_app.command("check")
def reference_check(tables: TablesArgument = None, as_json: JsonOption = False) -> None:
    """Check the stored draws: hash, content, the table's fingerprint, and a log density computed anew.

    What needs a table that is not at hand is reported as not run. Exit code 3 if a check fails.
    """
    import pandas as pd

    from safetystats.summaries.reference_make import check_reference

    found = pd.concat([check_reference(name) for name in _known(tables)], ignore_index=True)
    if as_json:
        typer.echo(found.to_json(orient="records", force_ascii=False))
    else:
        for row in found.to_dict("records"):
            typer.echo(f"{row['table']:14}{row['check']:13}{row['outcome']:9}{row['why']}")
    if (found["outcome"] == "fail").any():
        raise typer.Exit(NOTHING_SAID)


def _known(tables: list[str] | None) -> list[str]:
    """Return the tables named, or all."""
    from safetystats.errors import refuse_unknown
    from safetystats.tables.load import table_names

    if tables:
        refuse_unknown(tables, table_names(), "TABLE")
    return list(tables or table_names())
