"""The card of a new benchmark that was assessed: HTML, Markdown, JSON and a badge, and the paragraph for a paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetystats.reporting.badge import draw_badge, draw_intervals, interval_rows, intervals_alt
from safetystats.reporting.cards import badge_alt, card_page, card_stem, flat, interval_of, number_of, region_rows
from safetystats.reporting.content import json_text, plain
from safetystats.reporting.prose import Quoter, render_prose
from safetystats.reporting.text import ANY_LENGTH, escape, interval_head, one_line, table_markdown
from safetystats.reporting.writers import to_github
from safetystats.shelf import write_atomic
from safetystats.summaries import numbers
from safetystats.summaries.assess_content import GATE
from safetystats.tables.matching import match_words

FORMATS = ("html", "md", "json", "svg")
_ESTIMANDS = (
    ("rank_correlation", "rank correlation"),
    ("fixed_set_correlation", "over exactly these models"),
    ("within_family_correlation", "within families"),
    ("disattenuated_correlation", "free of sampling error"),
    ("reliability", "reliability of the scores"),
    ("reliable_share_left", "reliable variance that capability leaves"),
)


def write_assessment(content: Mapping[str, Any], folder: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write the card of a new benchmark.

    Parameters
    ----------
    content : mapping
        `Assessment.content`.
    folder : Path
        Made if it does not exist.
    formats : iterable of str
        Of `FORMATS`. The HTML page holds its drawings; Markdown refers to `<stem>.svg` and `<stem>-intervals.svg`,
        which are then written as well.

    Returns
    -------
    list of Path
    """
    wanted, name = set(formats), str(content["benchmark"]["name"])
    stem = card_stem(name)
    drawn = {f"{stem}.svg": draw_badge(name, content["classes"])}
    if interval_rows(content):
        drawn[f"{stem}-intervals.svg"] = draw_intervals(content)
    files: dict[str, str] = {}
    if "json" in wanted:
        files[f"{stem}.json"] = json_text(content)
    if wanted & {"svg", "md"}:
        files |= drawn if "md" in wanted else {f"{stem}.svg": drawn[f"{stem}.svg"]}
    if wanted & {"html", "md"}:
        markdown, title = assessment_markdown(content), one_line(name)
        if "md" in wanted:
            files[f"{stem}.md"] = to_github(markdown, title=escape(title))
        if "html" in wanted:
            files[f"{stem}.html"] = card_page(markdown, f"{title}: assessment", drawn)
    for file, text in files.items():
        write_atomic(folder / file, text)
    return [folder / file for file in files]


def paragraph_text(content: Mapping[str, Any]) -> str:
    """Return the paragraph for a paper as plain text."""
    return plain(_paragraph(content))


def assessment_markdown(content: Mapping[str, Any]) -> str:
    """Return the card as Markdown in pandoc's dialect; its drawings are `<stem>.svg` and `<stem>-intervals.svg`."""
    stem = card_stem(str(content["benchmark"]["name"]))
    rows = interval_rows(content)
    classes: Mapping[str, Any] = content["classes"]
    context = _context(content)
    context |= {
        # The backslash keeps pandoc from making a figure with a caption of it.
        "badge": f"![{escape(badge_alt(content), ANY_LENGTH)}]({stem}.svg)\\",
        "intervals": (
            f"![Correlation with capability: posterior mean and interval of the cut posterior, and Spearman's "
            f"coefficient; shaded: the region called distinct.]({stem}-intervals.svg)"
            f'{{alt="{escape(intervals_alt(rows, content["decision"]["limit"]), ANY_LENGTH)}"}}'
            if rows
            else ""
        ),
        "estimates": _estimates(content),
        "changing": {
            c: _listed(own["influence"]["changing"], own["influence"]["n_changing"])
            for c, own in classes.items()
            if not own["absent"]
        },
        "paragraph": _paragraph(content),
        "matching": _matching(content),
        "provenance": _provenance(content),
    }
    return render_prose("assess.md", context)


def _paragraph(content: Mapping[str, Any]) -> str:
    return re.sub(r"\s+", " ", render_prose("assess_paragraph.md", _context(content))).strip()


def _context(content: Mapping[str, Any]) -> dict[str, object]:
    quoter = Quoter(results=flat(content), names={}, models={})
    classes: Mapping[str, Any] = content["classes"]
    reference, unit = content["reference"], content["benchmark"]["unit"]

    def is_probability(key: str) -> str:
        shown = numbers.probability_text(float(quoter.number(key)))
        return shown if shown[:1] in "<>" else f"= {shown}"

    def slope(stem: str) -> str:
        cut = [float(quoter.number(f"{stem}/cut/{part}")) for part in ("slope", "slope_lower", "slope_upper")]
        value, lower, upper = (numbers.significant_text(each) for each in cut)
        return f"{value} [{lower}, {upper}]"

    return {
        "num": quoter.num, "pct": quoter.pct, "count": quoter.count, "est": quoter.est, "number": quoter.number,
        "text": quoter.text, "escape": escape, "gate": GATE,
        "escape_long": lambda text: escape(text, ANY_LENGTH), "minus": numbers.MINUS, "slope": slope,
        "is_probability": is_probability,
        "probability": lambda key: numbers.probability_text(float(quoter.number(key))),
        "known": lambda key: quoter.number(key) == quoter.number(key),
        "present": [c for c, own in classes.items() if not own["absent"]],
        "missing": [c for c, own in classes.items() if own["absent"]],
        "name": escape(content["benchmark"]["name"]),
        "table": escape(reference["title"]),
        "spec": escape(reference["factor_spec"]),
        "version": f"safetystats {escape(reference['safetystats'])}",
        "unit": f" ({escape(unit)})" if unit else "",
    }  # fmt: skip


def _estimates(content: Mapping[str, Any]) -> str:
    """Return the table of estimates, quantities in rows and classes in columns; empty if there is no posterior."""
    present = [c for c, own in content["classes"].items() if not own["absent"]]
    own = [content["classes"][c] for c in present]
    if not own:
        return ""
    unit = content["benchmark"]["unit"]
    rows = [
        ["models, of the class", *(f"{each['n_models']} of {each['n_reference']}" for each in own)],
        ["families", *(str(each["n_families"]) for each in own)],
        ["ρ, cut posterior", *(interval_of(each["cut"], "mean") for each in own)],
        ["Spearman, with the 2024 score", *(interval_of(each["spearman"], "correlation") for each in own)],
        *region_rows(own, f" ({escape(unit)})" if unit else ""),
    ]
    for key, words in _ESTIMANDS:
        values = [each["estimands"].get(key, {}) for each in own]
        if any(value.get("mean") is not None for value in values):
            rows.append([words, *(interval_of(value, "mean") for value in values)])
    rows.append(["verdict", *(each["verdict"] for each in own)])
    caption = (
        f"Estimates {interval_head(content['level'])}, scores aligned so that higher is safer. Below Spearman's "
        "coefficient, the cut posterior: the new scores do not move capability."
    )
    return table_markdown(["Quantity", *(escape(c) for c in present)], rows, caption=caption)


def _matching(content: Mapping[str, Any]) -> str:
    rows = [
        [
            escape(str(row["given"])),
            escape(str(row["model"])) if row["model"] else numbers.ABSENT,
            escape(str(row["model_class"])),
            escape(match_words(row["how"], row["model"], row["through"]))
            + (f"; alike: {escape(row['others'])}" if row["others"] else ""),
            numbers.significant_text(number_of(row["score"])),
        ]
        for row in content["matching"]
    ]
    counted = content["scores"]
    caption = (
        f"Names in the file and the models of the reference. {counted['matched']} of {counted['given']} scores are of "
        "models that the reference knows; the others are left out."
    )
    return table_markdown(["Name given", "Model", "Class", "How matched", "Score"], rows, caption=caption, numeric=(4,))


def _provenance(content: Mapping[str, Any]) -> str:
    reference = content["reference"]
    rows = [
        ["Capability from", escape(reference["title"])],
        ["sha256 of the scores it was fitted to", f"`{reference['table_fingerprint']}`"],
        ["sha256 of the draws", f"`{reference['draws_sha256']}`"],
        ["Model of capability", f"{escape(reference['factor_spec'])}, sha256 `{reference['factor_spec_sha256'][:16]}`"],
        ["Seed", str(reference["seed"])],
        ["Made with", f"safetystats {escape(reference['safetystats'])}"],
    ]
    return table_markdown(["What", "Which"], rows, caption="What the assessment rests on.")


def _listed(models: Sequence[str], n: int) -> str:
    words = [escape(model) for model in models]
    return ", ".join(words) + (f" and {n - len(words)} more" if n > len(words) else "")


def summary_text(content: Mapping[str, Any]) -> list[str]:
    """Return one plain line per class: verdict, estimate, probabilities, and what would settle it."""
    lines = []
    limit = numbers.number_text(content["decision"]["limit"])
    for label, own in content["classes"].items():
        shown = one_line(label)
        if own["absent"]:
            lines.append(f"{shown}: nothing can be said: {own['absent']}.")
            continue
        cut, change = own["cut"], own["change"]
        line = (
            f"{shown}: {own['verdict']}. ρ {numbers.estimate_text(cut['mean'], cut['lower'], cut['upper'])}, "
            f"P(ρ > {limit}) {numbers.probability_text(cut['p_entangled'])}, "
            f"P(|ρ| < {limit}) {numbers.probability_text(cut['p_distinct'])}, "
            f"P(ρ < {numbers.MINUS}{limit}) {numbers.probability_text(cut['p_inverse'])}, "
            f"{numbers.count_text(own['n_models'], 'model')} of "
            f"{numbers.count_text(own['n_families'], 'family', 'families')}."
        )
        if own["verdict_why"]:
            line += f" {own['verdict_why'][:1].upper()}{own['verdict_why'][1:]}."
        if own["verdict"] == "undetermined":
            needed = change["models_needed"]
            line += (
                f" About {numbers.count_text(needed, 'model')} would settle it, if the estimate stayed."
                if needed
                else " More models alone would hardly settle it."
            )
        lines.append(line)
    return lines
