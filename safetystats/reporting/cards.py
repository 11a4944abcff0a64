"""Benchmark cards as pages: HTML, Markdown, JSON and a badge, one set per benchmark, and an index."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetystats.reporting.badge import draw_badge, draw_intervals, interval_rows, intervals_alt
from safetystats.reporting.content import json_text
from safetystats.reporting.prose import Quoter, Value, render_prose
from safetystats.reporting.spec_text import prior_name
from safetystats.reporting.text import ANY_LENGTH, escape, interval_head, one_line, table_markdown
from safetystats.reporting.writers import to_github, to_html
from safetystats.shelf import write_atomic
from safetystats.summaries import numbers
from safetystats.summaries.cards import Card, benchmark_card
from safetystats.summaries.finished import FinishedRun

FORMATS = ("html", "md", "json", "svg")
_LONGEST_STEM = 80
_ROWS = (
    ("cut", "ρ, cut posterior"),
    ("joint", "ρ, joint posterior"),
)
_ESTIMANDS = (
    ("rank_correlation", "rank correlation"),
    ("fixed_set_correlation", "over exactly these models"),
    ("within_family_correlation", "within families"),
    ("disattenuated_correlation", "free of sampling error"),
    ("reliability", "reliability of the scores"),
    ("reliable_share_left", "reliable variance that capability leaves"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFiles:
    """Where the card of a benchmark was written: benchmark and its files."""

    benchmark: str
    files: tuple[Path, ...]


def card_stem(benchmark: str) -> str:
    """Return a file stem for any benchmark: its identifier, or, where that is no plain name, one with a digest."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", benchmark).strip("-.")[:_LONGEST_STEM]
    if plain and plain == benchmark and plain.lower() != "index":
        return plain
    return f"{plain or 'benchmark'}-{hashlib.sha256(benchmark.encode('utf-8')).hexdigest()[:8]}"


def write_cards(
    run: FinishedRun, benchmarks: Sequence[str], folder: Path, formats: Iterable[str] = FORMATS, *, index: bool = False
) -> list[CardFiles]:
    """Write cards of a finished run.

    Parameters
    ----------
    run : FinishedRun
    benchmarks : sequence of str
        Identifiers; all of the run from `card_names`.
    folder : Path
        Made if it does not exist.
    formats : iterable of str
        Of `FORMATS`. The HTML page holds its drawings; Markdown refers to `<stem>.svg` and `<stem>-intervals.svg`,
        which are then written as well.
    index : bool
        Also an index page in HTML and Markdown, as far as asked for.

    Returns
    -------
    list of CardFiles
        One per benchmark; the index, if any, comes last under the name "".

    Raises
    ------
    StudyError
        For a benchmark that the run does not have.
    """
    wanted = set(formats)
    written, cards = [], []
    for name in benchmarks:
        card = benchmark_card(run, name)
        stem = card_stem(name)
        contents: dict[str, str] = {}
        drawn = {f"{stem}.svg": draw_badge(card["benchmark"]["name"], card["classes"])}
        if interval_rows(card):
            drawn[f"{stem}-intervals.svg"] = draw_intervals(card)
        if "json" in wanted:
            contents[f"{stem}.json"] = json_text(card)
        if "svg" in wanted or "md" in wanted:
            contents |= drawn if "md" in wanted else {f"{stem}.svg": drawn[f"{stem}.svg"]}
        if wanted & {"html", "md"}:
            markdown, title = card_markdown(card, stem), one_line(str(card["benchmark"]["name"]))
            if "md" in wanted:
                contents[f"{stem}.md"] = to_github(markdown, title=escape(title))
            if "html" in wanted:
                contents[f"{stem}.html"] = card_page(markdown, f"{title}: benchmark card", drawn)
        for file, content in contents.items():
            write_atomic(folder / file, content)
        written.append(CardFiles(benchmark=name, files=tuple(folder / file for file in contents)))
        cards.append((stem, card))
    if index and wanted & {"html", "md"}:
        written.append(CardFiles(benchmark="", files=tuple(_write_index(run, cards, folder, wanted))))
    return written


def card_markdown(card: Card, stem: str) -> str:
    """Return a card as Markdown in pandoc's dialect; its drawings are `<stem>.svg` and `<stem>-intervals.svg`."""
    results = flat(card)
    results["run/n_failed"] = len(card["run"]["failed_checks"])
    quoter = Quoter(results=results, names={}, models={})
    classes: Mapping[str, Any] = card["classes"]
    present = [c for c, own in classes.items() if not own["absent"]]
    rows = interval_rows(card)
    alt = escape(badge_alt(card), ANY_LENGTH)
    context: dict[str, object] = {
        "num": quoter.num, "pct": quoter.pct, "count": quoter.count, "est": quoter.est, "number": quoter.number,
        "text": quoter.text, "escape": escape, "minus": numbers.MINUS,
        "escape_long": lambda text: escape(text, ANY_LENGTH),
        "probability": lambda key: numbers.probability_text(float(quoter.number(key))),
        "known": lambda key: quoter.number(key) == quoter.number(key),
        "has": lambda key: key in results,
        "failed": card["run"]["failed_checks"],
        "present": present,
        "missing": [c for c in classes if c not in present],
        "described": card["benchmark"]["described"],
        "audit": card["audit"],
        # The backslash keeps pandoc from making a figure with a caption of it.
        "badge": f"![{alt}]({stem}.svg)\\",
        "intervals": (
            f"![Correlation with capability: posterior mean and interval, cut and joint, and Spearman's coefficient; "
            f"shaded: the region called distinct.]({stem}-intervals.svg)"
            f'{{alt="{escape(intervals_alt(rows, card["decision"]["limit"]), ANY_LENGTH)}"}}'
            if rows
            else ""
        ),
        "estimates": _estimates(card, present),
        "priors": {
            c: [
                {
                    "name": prior_name(str(other["prior"])),
                    "alternative": escape(str(other["alternative"])),
                    "mean": numbers.number_text(number_of(other["mean"])),
                    "verdict": other["verdict"],
                }
                for other in classes[c]["change"]["priors"]
            ]
            for c in present
        },
        "entry": _entry(card),
        "provenance": _provenance(card),
        "snippet": f"[![{_inside(card['benchmark']['name'])}: {_inside(badge_alt(card))}]({stem}.svg)]({stem}.md)",
    }  # fmt: skip
    return render_prose("card.md", context)


def badge_alt(card: Card) -> str:
    """Return what the badge says."""
    told = []
    for label, own in card["classes"].items():
        shown = one_line(label)
        if own["absent"]:
            told.append(f"{shown}: no posterior")
        else:
            cut = own["cut"]
            why = f" ({own['verdict_why']})" if own.get("verdict_why") else ""
            shown += f": {numbers.estimate_text(cut['mean'], cut['lower'], cut['upper'])} {own['verdict']}{why}"
            told.append(shown)
    return "capability correlation, " + "; ".join(told)


def flat(content: Mapping[str, Any], stem: str = "") -> dict[str, Value]:
    """Return every plain value of a nested mapping by its path; None becomes NaN, lists are left out."""
    found: dict[str, Value] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{stem}{key}/")
        elif not isinstance(value, list):
            found[f"{stem}{key}"] = float("nan") if value is None else value
    return found


def _estimates(card: Card, present: Sequence[str]) -> str:
    """Return the table of estimates, quantities in rows and classes in columns."""
    own = [card["classes"][c] for c in present]
    rows = [
        ["models, families", *(f"{each['n_models']}, {each['n_families']}" for each in own)],
        *([words, *(interval_of(each[mode], "mean") for each in own)] for mode, words in _ROWS),
        ["Spearman, with the 2024 score", *(interval_of(each["spearman"], "correlation") for each in own)],
        *region_rows(own, _unit(card)),
    ]
    for key, words in _ESTIMANDS:
        values = [each["estimands"].get(key, {}) for each in own]
        if any(value.get("mean") is not None for value in values):
            rows.append([words, *(interval_of(value, "mean") for value in values)])
    rows.append(["verdict, cut", *(each["verdict"] for each in own)])
    rows.append(["verdict, joint", *(each["joint"]["verdict"] for each in own)])
    level = interval_head(card["level"])
    caption = (
        f"Estimates {level}, scores aligned so that higher is safer. Cut: safety scores do not move capability; joint: "
        "they do. Below Spearman's coefficient, the cut posterior."
    )
    return table_markdown(["Quantity", *(escape(c) for c in present)], rows, caption=caption)


def _entry(card: Card) -> str:
    entry = card["benchmark"]
    if not entry["described"]:
        return ""
    bounds = [_bound(entry[end]) for end in ("lower", "upper")]
    source = entry.get("source", {})
    shown = (
        ("Name", entry["name"]),
        ("Identifier", entry["id"]),
        ("Area", entry["area"]),
        ("Metric, as published", entry["metric"]),
        ("Direction used here", str(entry["direction"]).replace("_", " ")),
        ("Unit", entry["unit"]),
        ("Range", f"{bounds[0]} to {bounds[1]}" if all(bounds) else ""),
        ("Level of guessing", _known(entry["chance"])),
        ("Items", _known(entry["n_items"], 0)),
        ("Note", entry["note"]),
        ("Source", "; ".join(part for part in (source.get("title"), source.get("date"), source.get("url")) if part)),
    )
    rows = [[key, escape(str(value), ANY_LENGTH)] for key, value in shown if value not in ("", None)]
    return table_markdown(["Field", "Entry"], rows, caption="Entry of the benchmark in the table's dictionary.")


def _provenance(card: Card) -> str:
    run = card["run"]
    rows = [
        ["Study", escape(f"{run['title']} ({run['study']})")],
        ["Scores", escape(run["table_title"])],
        ["sha256 of the scores", f"`{run['data_sha256']}`"],
        ["Model of capability", f"{escape(run['factor_spec'])}, sha256 `{run['factor_spec_sha256'][:16]}`"],
        ["Seed", str(run["seed"])],
        ["Made with", f"safetystats {escape(run['safetystats'])}"],
    ]
    return table_markdown(["What", "Which"], rows, caption="The run that this card was made from.")


def _write_index(run: FinishedRun, cards: Sequence[tuple[str, Card]], folder: Path, wanted: set[str]) -> Iterable[Path]:
    title = one_line(run.study.title)
    for form in ("html", "md"):
        if form not in wanted:
            continue
        rows = []
        for stem, card in cards:
            row = [f"[{escape(card['benchmark']['name'])}]({stem}.{form})", escape(card["benchmark"]["area"])]
            for c in run.classes:
                own = card["classes"][c]
                row += ["–", "–"] if own["absent"] else [interval_of(own["cut"], "mean"), own["verdict"]]
            rows.append(row)
        level = interval_head(run.study.level)
        header = ["Benchmark", "Area"]
        for c in run.classes:
            header += [f"{escape(c)}: ρ {level}", f"{escape(c)}: verdict"]
        table = table_markdown(
            header,
            rows,
            caption="Cut posterior of the correlation with capability, and verdict.",
            numeric=range(2, len(header), 2),
        )
        quoter = Quoter(results={"cards": len(cards)}, names={}, models={})
        markdown = render_prose("card_index.md", {"count": quoter.count, "title": escape(title), "table": table})
        heading = f"Benchmark cards: {title}"
        content = card_page(markdown, heading, {}) if form == "html" else to_github(markdown, title=escape(heading))
        path = folder / f"index.{form}"
        write_atomic(path, content)
        yield path


def card_page(markdown: str, title: str, drawn: Mapping[str, str]) -> str:
    """Return a card as one HTML page with its drawings, given by file name, inside."""
    with tempfile.TemporaryDirectory() as scratch:
        for file, content in drawn.items():
            write_atomic(Path(scratch) / file, content)
        return to_html(markdown, title=title, resources=Path(scratch))


def region_rows(own: Sequence[Mapping[str, Any]], unit: str) -> list[list[str]]:
    """Return the rows of a card with the probabilities of the regions and the slope, a column for every class."""
    slopes = [
        [numbers.significant_text(number_of(each["cut"][key])) for key in ("slope", "slope_lower", "slope_upper")]
        for each in own
    ]
    return [
        *(
            [f"P({region})", *(numbers.probability_text(number_of(each["cut"][f"p_{region}"])) for each in own)]
            for region in ("entangled", "inverse", "distinct")
        ),
        [f"slope per sd of capability{unit}", *(f"{value} [{low}, {high}]" for value, low, high in slopes)],
    ]


def interval_of(values: Mapping[str, Any], column: str) -> str:
    """Return an estimate of a card with its interval, an en dash where there is none."""
    value, lower, upper = (number_of(values.get(key)) for key in (column, "lower", "upper"))
    return numbers.estimate_text(value, lower, upper) if value == value else numbers.ABSENT


def _unit(card: Card) -> str:
    unit = card["benchmark"].get("unit")
    return f" ({escape(str(unit))})" if unit else ""


def _inside(text: str) -> str:
    """Return text for the alternative text of an image in Markdown that is shown as code."""
    return re.sub(r"([\\\[\]`<>*_!])", r"\\\1", one_line(text, ANY_LENGTH))


def _bound(value: Any) -> str:
    return "" if value is None else f"{number_of(value):g}".replace("-", numbers.MINUS)


def _known(value: Any, digits: int = 2) -> str:
    return "" if value is None else numbers.number_text(number_of(value), digits)


def number_of(value: Any) -> float:
    """Return a number of a card, NaN for None."""
    return float("nan") if value is None else float(value)
