"""What is on the shelf, from the command line: score tables, specs and saved fits."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from safetystats.specs import Spec
    from safetystats.tables.table import ScoreTable

data_app = typer.Typer(no_args_is_help=True, help="List, fetch and describe score tables.")
models_app = typer.Typer(no_args_is_help=True, help="List and show the statistical specs.")
fits_app = typer.Typer(no_args_is_help=True, help="List and clean saved fits.")

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
TableArgument = Annotated[
    str, typer.Argument(metavar="TABLE", help="A table by name, a folder, or a wide CSV or parquet file.")
]
SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help="A spec by name, or a file that ends in .toml.")]
DAY = 86_400
MEGABYTE = 1_000_000


def talk_console() -> Console:
    """Return the console for talk: stderr."""
    from rich.console import Console

    return Console(stderr=True)


@models_app.command("list")
def models_list(as_json: JsonOption = False) -> None:
    """List the specs that ship with the toolkit: name, kind, title."""
    from safetystats.shelf import shelf_names

    rows = []
    for name in shelf_names("models", ".toml"):
        spec = _any_spec(name)
        rows.append({"spec": name, "kind": str(getattr(spec, "kind", "")), "title": str(getattr(spec, "title", ""))})
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    width = max(len(row["spec"]) for row in rows)
    for row in rows:
        typer.echo(f"{row['spec']:{width}}  {row['kind']:6}  {row['title']}")


@models_app.command("show")
def models_show(spec: SpecArgument, as_json: JsonOption = False) -> None:
    """Print a spec: its file as it is (copy it, change a number, and name the copy in a study), or checked, as JSON."""
    from safetystats.specs import spec_path

    found = _any_spec(spec)
    typer.echo(found.model_dump_json(indent=2) if as_json else spec_path(spec).read_text(encoding="utf-8").rstrip())


def _any_spec(name: str) -> Spec:
    from safetystats.specs import read_spec, read_toml, spec_path

    return read_spec(name, str(read_toml(spec_path(name)).get("kind")))


@fits_app.command("list")
def fits_list(as_json: JsonOption = False) -> None:
    """List saved fits: kind, table, class, spec, size, age, and whether they can still be used."""
    from safetystats.inference.store import FitStore
    from safetystats.shelf import cache_root

    root = cache_root() / "fits"
    found = FitStore(root=root).saved()
    if as_json:
        rows = [
            {
                "file": str(fit.path), "kind": fit.kind, "table": fit.table, "model_class": fit.model_class,
                "benchmark": fit.benchmark, "spec": fit.spec, "seed": fit.seed, "bytes": fit.size, "state": fit.state,
            }
            for fit in found
        ]  # fmt: skip
        typer.echo(json.dumps({"folder": str(root), "fits": rows}, ensure_ascii=False))
        return
    for fit in found:
        what = " ".join(part for part in (fit.table, fit.model_class, fit.benchmark) if part)
        age = (time.time() - fit.modified) / DAY
        typer.echo(
            f"{fit.path.stem[:12]}  {fit.kind:10}  {fit.state:7}  {fit.size / MEGABYTE:6.1f} MB  {age:5.1f} days  "
            f"{what}: {fit.spec}"
        )
    total = sum(fit.size for fit in found) / MEGABYTE
    stale = sum(fit.state != "current" for fit in found)
    talk_console().print(
        f"{len(found)} fits, {total:.1f} MB in {root}; {stale} of no further use.", markup=False, soft_wrap=True
    )


@fits_app.command("clean")
def fits_clean(
    everything: Annotated[bool, typer.Option("--all", help="Remove usable fits as well.")] = False,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", min=0, help="Also usable fits older than this.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove saved fits that cannot be used again: damaged ones, and those of other versions."""
    from safetystats.inference.store import FitStore
    from safetystats.shelf import cache_root

    store = FitStore(root=cache_root() / "fits")
    now = time.time()
    going = [
        (fit.path, fit.size)
        for fit in store.saved()
        if everything or fit.state != "current" or (older_than is not None and now - fit.modified > older_than * DAY)
    ]
    going += [(path, path.stat().st_size) for path in store.leftovers()]
    for path, _ in going:
        typer.echo(str(path))
        if not dry_run:
            path.unlink(missing_ok=True)
    word = "would be removed" if dry_run else "removed"
    size = sum(size for _, size in going) / MEGABYTE
    talk_console().print(f"{len(going)} files, {size:.1f} MB {word}.", markup=False)


@data_app.command("list")
def data_list(as_json: JsonOption = False) -> None:
    """List the tables that have a name, and the studies."""
    from safetystats.errors import DataError
    from safetystats.shelf import shelf_names
    from safetystats.tables.load import load_table, table_names

    rows: list[dict[str, Any]] = []
    for name in table_names():
        try:
            table = load_table(name)
        except DataError:
            rows.append({"table": name, "available": False, "how": f"safetystats data fetch {name}"})
        else:
            rows.append({"table": name, "available": True, "title": table.title} | _shape(table))
    if as_json:
        typer.echo(json.dumps({"tables": rows, "studies": shelf_names("reports/recipes", ".toml")}, ensure_ascii=False))
        return
    for row in rows:
        if row["available"]:
            typer.echo(f"{row['table']}: {row['title']} ({row['models']} models, {row['benchmarks']} benchmarks)")
        else:
            typer.echo(f"{row['table']}: not here yet; {row['how']}")
    typer.echo(f"studies: {', '.join(shelf_names('reports/recipes', '.toml'))}")


@data_app.command("fetch")
def data_fetch(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="Only ren2024 has to be fetched.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Take the files from this folder, not the network."),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Fetch a table that does not ship with the toolkit, and check it against its sha256."""
    from safetystats.errors import Fault, StudyError, suggest
    from safetystats.tables.fetch import fetch_ren2024

    if table != "ren2024":
        raise StudyError(
            [
                Fault(
                    file="data fetch",
                    expected="ren2024, the only table that has to be fetched",
                    got=f'"{table}"{suggest(table, ["ren2024"])}',
                    remedy="The other tables ship with the toolkit.",
                )
            ]
        )
    console = talk_console()

    def say(line: str) -> None:
        if not quiet:
            console.print(line, markup=False, highlight=False)

    for path in fetch_ren2024(source, say):
        typer.echo(str(path))


@data_app.command("describe")
def data_describe(table: TableArgument, as_json: JsonOption = False) -> None:
    """Describe a table: classes, families, benchmarks by role and area, missing cells, sources."""
    from safetystats.tables.load import load_table

    loaded = load_table(table)
    benchmarks = loaded.benchmarks
    facts: dict[str, Any] = {"table": loaded.name, "title": loaded.title} | _shape(loaded)
    facts["classes"] = loaded.models["model_class"].value_counts(sort=False).to_dict()
    facts["families"] = loaded.models["family"].value_counts().to_dict()
    facts["roles"] = benchmarks["role"].value_counts().to_dict()
    facts["directions"] = benchmarks["direction"].value_counts().to_dict()
    facts["safety areas"] = benchmarks.loc[benchmarks["role"] == "safety", "area"].value_counts().to_dict()
    facts["sources"] = {str(k): str(v) for k, v in loaded.sources["title"].items()}
    facts["fingerprint"] = loaded.fingerprint
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for key, value in facts.items():
        shown = "; ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        typer.echo(f"{key}: {shown}")


def _shape(table: ScoreTable) -> dict[str, int]:
    known = table.scores.notna().to_numpy()
    return {
        "models": known.shape[0],
        "benchmarks": known.shape[1],
        "scores": int(known.sum()),
        "missing": int((~known).sum()),
    }
