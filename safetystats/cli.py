"""The command line: run, compare, check, audit, a new benchmark (`cli_assess`), pages of a
finished run (`cli_pages`), and the shelf (`cli_shelf`).

Data go to stdout, talk to stderr; heavy libraries load when needed.

Exit codes: 0 done; 1 an error of ours, or a fit that could not be made; 2 usage, study file or spec; 3 data; 4 a gate
failed (the report is written and marked); 5 an optional part is not installed; 130 interrupted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from safetystats import __version__, cli_assess, cli_pages, cli_plan, cli_relations
from safetystats.cli_shelf import JsonOption, QuietOption, TableArgument, data_app, fits_app, models_app, talk_console
from safetystats.errors import FaultyInputError, SafetyStatsError

if TYPE_CHECKING:
    from rich.console import Console

    from safetystats.specs import StudySpec

DEFAULT_STUDY = "helm-classic"
GATE_FAILED = 4
INTERRUPTED = 130
MOST_FAULTS = 25

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How far an AI-safety benchmark is entangled with capability, with uncertainty.",
)
app.add_typer(data_app, name="data")
app.add_typer(models_app, name="models")
app.add_typer(fits_app, name="fits")
app.add_typer(cli_assess.reference_app, name="reference")
app.command()(cli_assess.assess)
app.command()(cli_pages.report)
app.command()(cli_pages.methods)
app.command()(cli_pages.card)
app.command()(cli_pages.errata)
app.command()(cli_pages.barg)
app.command()(cli_plan.plan)
app.command()(cli_relations.curve)

StudyArgument = Annotated[
    str, typer.Argument(metavar="[STUDY]", help="A study by name, or the path of a study file that ends in .toml.")
]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"safetystats {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    del version


@app.command()
def run(
    study: StudyArgument = DEFAULT_STUDY,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder to write; reports/out/<study> unless given.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Leave out other specs and priors, and refits of leave-one-out."),
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study and write its report. Saved fits are used again where data, spec and seed are the same."""
    from safetystats.specs import QUICK, QUICK_QUESTIONS, read_study

    name = _study_name(study)
    asked = read_study(study)
    if quick:
        # What a question leaves open (a smallest effect of interest) stays as the study has it.
        questions = asked.questions.model_copy(update=QUICK_QUESTIONS.model_dump(exclude_unset=True))
        asked = asked.model_copy(update={"scrutiny": QUICK, "questions": questions})
    _run(name, asked, out or Path("reports", "out", name), quiet=quiet, as_json=as_json)


@app.command()
def compare(
    table: TableArgument,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B", help="Classes to compare, the reference first; all unless given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder; reports/out/compare-<table> unless given.")
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare the classes of a score table: correlations with pairing kept, mixed models, shifts within lineages.

    The report has everything else as well, short of the long checks of the factor model (see `run`).
    """
    from safetystats.specs import QUICK, QUICK_QUESTIONS, StudySpec

    name = f"compare-{Path(table).stem}"
    wanted = tuple(part.strip() for part in classes.split(",") if part.strip()) if classes else ()
    if classes is None:
        from safetystats.tables.load import load_table

        wanted = load_table(table).classes
    if len(set(wanted)) < 2:
        from safetystats.errors import Fault, StudyError

        raise StudyError(
            [
                Fault(
                    file=table,
                    column="--classes" if classes is not None else "model_class",
                    expected="two classes or more" + (", separated by commas" if classes is not None else ""),
                    got=", ".join(wanted) or "none",
                    remedy="Name classes as in the column model_class, for instance --classes base,chat."
                    if classes is not None
                    else "All models of this table are of one class, so that there is nothing to compare: take a table "
                    "with models of another class, or analyse this one by itself with a study (safetystats run).",
                )
            ]
        )
    asked = StudySpec(
        title=f"Model classes of {Path(table).stem}",
        question=f"How do {' and '.join(wanted)} models differ in how safety benchmarks hang on capability, and in how "
        "safe a model of given capability is?",
        table=table,
        classes=wanted,
        scrutiny=QUICK.model_copy(update={"invariance": True}),
        questions=QUICK_QUESTIONS,
    )
    _run(name, asked, out or Path("reports", "out", name), quiet=quiet, as_json=as_json)


def _run(name: str, asked: StudySpec, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Run a study, write its report, and say what came out."""
    from safetystats.reporting.progress import show_progress

    limit_threads()
    console = talk_console()
    _refuse_file(folder)
    with told_of_interrupts(console) as stopped, show_progress(console, quiet=quiet, stopped=stopped) as talk:
        talk.stage("reading and checking")
        from safetystats.shelf import cache_root
        from safetystats.summaries.analysis import plan_study, run_study
        from safetystats.summaries.talk import STAGES

        analysis = run_study(plan_study(name, asked), cache_root() / "fits", talk)
        talk.stage(STAGES[-1])
        from safetystats.reporting.output import write_report

        written = write_report(analysis, folder)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "study": name,
                    "folder": str(written.folder),
                    "report": str(written.report),
                    "summary": list(written.summary),
                    "remarks": list(written.remarks),
                    "gates_passed": written.gates_passed,
                    "fits_reused": analysis.reused,
                },
                ensure_ascii=False,
            )
        )
    elif quiet:
        typer.echo(str(written.report))
    else:
        for line in written.summary:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for remark in written.remarks:
            console.print(remark, markup=False, highlight=False, soft_wrap=True)
        console.print("Report:", markup=False, end=" ")
        typer.echo(str(written.report))
    if not written.gates_passed:
        for check in analysis.checks:
            if check.outcome == "fail":
                line = (
                    f"Gate failed: {check.fit} {check.check}: {check.value:.4g}, limit {check.limit:.4g} ({check.why})"
                )
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(GATE_FAILED)


@app.command()
def check(study: StudyArgument = DEFAULT_STUDY, as_json: JsonOption = False) -> None:
    """Check a study file, its specs and its table, and say what would be fitted; nothing is fitted."""
    from safetystats.specs import read_study
    from safetystats.summaries.analysis import plan_study
    from safetystats.tables.audit import audit as audit_table

    name = _study_name(study)
    plan = plan_study(name, read_study(study))
    facts = {
        "study": name,
        "table": plan.study.table,
        "models": plan.prepared.n_models,
        "classes": {c: plan.prepared.select(model_class=c).n_models for c in plan.prepared.classes},
        "capability_benchmarks": len(plan.prepared.columns("capability")),
        "safety_benchmarks": len(plan.prepared.columns("safety")),
        "left_out": {str(r["name"]): r["reason"] for r in plan.flow.left_out.to_dict("records")},
        "audit": {
            s: sum(f.severity == s for f in audit_table(plan.table).findings) for s in ("error", "warning", "note")
        },
        "specs": {kind: getattr(plan.study, kind) for kind in ("score", "factor", "mixed", "crossed", "invariance")},
    }
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for key, value in facts.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        typer.echo(f"{key.replace('_', ' ')}: {shown}")
    talk_console().print("Everything is in order; nothing was fitted.", markup=False)


@app.command()
def audit(table: TableArgument, as_json: JsonOption = False) -> None:
    """List what is doubtful in a score table: duplicates, ceilings, directions, copied cells, failed runs, ..."""
    from safetystats.tables.audit import audit as audit_table
    from safetystats.tables.load import load_table

    found = audit_table(load_table(table))
    if as_json:
        frame = found.to_frame()
        typer.echo(frame.to_json(orient="records", force_ascii=False))
        return
    for finding in found.findings:
        where = f" [{finding.model_class}]" if finding.model_class else ""
        typer.echo(f"{finding.severity.upper():8}{finding.check}{where}: {finding.message} {finding.remedy}")
    counts = {s: sum(f.severity == s for f in found.findings) for s in ("error", "warning", "note")}
    talk_console().print(", ".join(f"{n} {s}{'' if n == 1 else 's'}" for s, n in counts.items()), markup=False)


def main() -> None:
    """Run the command line; errors of the input end in one message and a documented exit code."""
    try:
        app()
    except SafetyStatsError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except OSError as error:
        talk_console().print(f"{error.filename or 'file'}: {error.strerror or error}", markup=False, highlight=False)
        sys.exit(1)


def _complain(error: SafetyStatsError) -> None:
    console = talk_console()
    if isinstance(error, FaultyInputError):
        for fault in error.faults[:MOST_FAULTS]:
            console.print(str(fault), markup=False, highlight=False, soft_wrap=True)
        if len(error.faults) > MOST_FAULTS:
            console.print(f"... and {len(error.faults) - MOST_FAULTS} more of the same input.", markup=False)
        return
    console.print(str(error), markup=False, highlight=False, soft_wrap=True)


@contextmanager
def told_of_interrupts(console: Console) -> Iterator[Callable[[], bool]]:
    """Say what an interrupt leaves behind, and end with its exit code; yield whether there was one.

    Compiled code can swallow the exception, so that the signal itself is remembered and asked for between stages.
    """
    seen: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield lambda: bool(seen)
        if seen:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        console.print("Interrupted: finished fits are kept, and no file is half-written.", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGINT, before)


def limit_threads() -> None:
    """One thread per chain: linear algebra of this size only loses by more."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")


def _study_name(study: str) -> str:
    return Path(study).stem if study.endswith(".toml") else study


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        from safetystats.errors import Fault, StudyError

        raise StudyError(
            [Fault(file=str(folder), expected="a folder to write to", got="a file", remedy="Give another --out.")]
        )
