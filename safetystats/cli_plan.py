"""How many further models would settle a verdict, from the command line: simulated from the fits of a finished run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from safetystats.cli_pages import RunArgument
from safetystats.cli_shelf import JsonOption, QuietOption, talk_console

FEWEST_SIMULATIONS = 20


def plan(
    run: RunArgument,
    benchmark: Annotated[
        str | None, typer.Argument(metavar="[BENCHMARK]", help="A safety benchmark; the headline ones if none.")
    ] = None,
    models: Annotated[
        str, typer.Option("--models", metavar="N,N", help="Numbers of further models, with commas.")
    ] = "5,10,20,50,100",
    families: Annotated[
        int | None,
        typer.Option(
            "--families", metavar="K", min=0,
            help="New families that the further models are spread over; as many models to a family as now unless "
            "given; 0: families at hand.",
        ),
    ] = None,
    model_class: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="One class of models; every class unless given.")
    ] = None,
    simulations: Annotated[
        int, typer.Option("--simulations", metavar="N", min=FEWEST_SIMULATIONS, help="Simulated futures.")
    ] = 200,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Say how many further models would settle a verdict: expected interval width and probability of each verdict.

    Futures are drawn from the posterior of a finished run; nothing is sampled by Markov chains. Exit code 4 if a gate
    of the run has failed (the numbers are printed all the same).
    """
    from safetystats.cli import GATE_FAILED, told_of_interrupts
    from safetystats.reporting.planning import planning_lines
    from safetystats.reporting.progress import show_count
    from safetystats.summaries.record import find_run, read_record
    from safetystats.summaries.reopened import reopen
    from safetystats.summaries.settling import settle_run

    sizes = _sizes(models)
    console = talk_console()
    with told_of_interrupts(console), show_count(console, "simulating further models", quiet=quiet) as report:
        folder = find_run(run)
        passed = bool(read_record(folder)["gates"]["passed"])
        found, fits = reopen(folder)
        rows = settle_run(
            found, fits, benchmark=benchmark, model_class=model_class, further=sizes, n_simulations=simulations,
            n_families=families, report=report,
        )  # fmt: skip
    if as_json:
        content = json.loads(rows.to_json(orient="records", force_ascii=False, double_precision=15))
        typer.echo(json.dumps(content, ensure_ascii=False, allow_nan=False))
    else:
        for line in planning_lines(rows, found.table.benchmarks["name"].to_dict(), found.study.rope):
            typer.echo(line)
    if not passed:
        console.print("A gate of this run has failed: its verdicts are withheld.", markup=False, highlight=False)
        raise typer.Exit(GATE_FAILED)


def _sizes(given: str) -> tuple[int, ...]:
    """Return the numbers of further models, increasing."""
    from safetystats.errors import Fault, StudyError

    parts = [part.strip() for part in given.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() and 0 < int(part) <= 10_000 for part in parts):
        raise StudyError(
            [
                Fault(
                    file="plan",
                    column="--models",
                    expected="whole numbers from 1 to 10000, with commas",
                    got=f'"{given}"',
                    remedy="For instance --models 5,10,20.",
                )
            ]
        )
    return tuple(sorted({int(part) for part in parts}))
