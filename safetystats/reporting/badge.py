"""Two small drawings for a benchmark card: a badge for a README, and the intervals. Plain SVG, readable as text.

The badge has the shape that badges of repositories have (a grey label, coloured fields), drawn here. Every field says
its verdict in words, so that nothing hangs on colour; colours are dark enough for white text (contrast above 4.5) and
those of Wong (2011, Nature Methods 8) darkened.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from safetystats.reporting.text import one_line
from safetystats.summaries.numbers import estimate_text, number_text

COLOURS: Mapping[str, str] = {
    "entangled": "#9e4a00",
    "inverse": "#8a3d6b",
    "distinct": "#005a8c",
    "undetermined": "#57606a",
    "withheld": "#1b1f24",
    "absent": "#57606a",
}
_LABEL = "#3a3f45"
_HEIGHT, _PADDING, _SIZE = 20, 6, 11
_FONT = "Verdana,'DejaVu Sans',Geneva,sans-serif"
_LONGEST_CLASS = 40
_NARROW, _WIDE = "fijlrtI.,:;'|!()[] ", "mwMW@%"


def text_width(text: str, size: float = _SIZE) -> float:
    """Return about how wide a line of Verdana is, in pixels; `textLength` then makes the drawing fit whatever font."""
    total = 0.0
    for ch in text:
        if unicodedata.east_asian_width(ch) in "WF":
            total += 1.05
        elif ch in _NARROW:
            total += 0.4
        elif ch in _WIDE:
            total += 0.98
        else:
            total += 0.72 if ch.isupper() else 0.63
    return total * size


def draw_badge(name: str, classes: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the badge of a card as SVG.

    Parameters
    ----------
    name : str
        Human name of the benchmark; only in the title.
    classes : mapping
        The part `classes` of a card; `verdict_why`, where it is given, goes into the title.
    """
    fields = [("capability correlation", _LABEL)]
    for label, own in classes.items():
        shown = one_line(label, _LONGEST_CLASS)
        if own["absent"]:
            fields.append((f"{shown}: no posterior", COLOURS["absent"]))
            continue
        cut = own["cut"]
        estimate = estimate_text(cut["mean"], cut["lower"], cut["upper"])
        fields.append((f"{shown}: {estimate} {own['verdict']}", COLOURS[own["verdict"]]))
    parts, left = [], 0.0
    for text, colour in fields:
        inner = round(text_width(text), 1)
        width = inner + 2 * _PADDING
        parts.append(
            f'<rect x="{left:.1f}" width="{width:.1f}" height="{_HEIGHT}" fill="{colour}"/>'
            f'<text x="{left + _PADDING:.1f}" y="14" textLength="{inner:.1f}" lengthAdjust="spacingAndGlyphs">'
            f"{html.escape(text)}</text>"
        )
        left += width
    whys = [f"{one_line(label)}: {own['verdict_why']}" for label, own in classes.items() if own.get("verdict_why")]
    title = html.escape(f"{one_line(name)}. " + "; ".join(text for text, _ in fields) + "".join(f". {w}" for w in whys))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left:.1f} {_HEIGHT}" width="{left:.1f}" '
        f'height="{_HEIGHT}" role="img" '
        f'aria-label="{title}"><title>{title}</title>'
        f'<clipPath id="round"><rect width="{left:.1f}" height="{_HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#round)" fill="#ffffff" font-family="{_FONT}" font-size="{_SIZE}">'
        + "".join(parts)
        + "</g></svg>\n"
    )


def interval_rows(card: Mapping[str, Any]) -> list[tuple[str, str, float, float, float]]:
    """Return the intervals of a card: class, kind (cut, joint where there is one, Spearman), estimate, lower, upper."""
    found = []
    for label, own in card["classes"].items():
        if own["absent"]:
            continue
        for mode in ("cut", "joint"):
            if mode in own:
                found.append((label, mode, own[mode]["mean"], own[mode]["lower"], own[mode]["upper"]))
        r = own["spearman"]
        if r["correlation"] is not None and r["lower"] is not None:
            found.append((label, "Spearman", r["correlation"], r["lower"], r["upper"]))
    return found


def draw_intervals(card: Mapping[str, Any]) -> str:
    """Return the intervals of a card as SVG: correlation from -1 to 1, the limits of the decision rule shaded."""
    rows, limit = interval_rows(card), float(card["decision"]["limit"])
    left, right, top, step, width = 190, 20, 14, 24, 640
    bottom = top + step * len(rows)
    scale = (width - left - right) / 2

    def x(value: float) -> str:
        return f"{left + (value + 1) * scale:.1f}"

    parts = [
        f'<rect width="{width}" height="{bottom + 52}" fill="#ffffff"/>',
        f'<rect x="{x(-limit)}" y="{top}" width="{2 * limit * scale:.1f}" height="{bottom - top}" fill="#e8ecf1"/>',
        f'<line x1="{x(0)}" x2="{x(0)}" y1="{top}" y2="{bottom}" stroke="#8c959f" stroke-dasharray="2 3"/>',
    ]
    for place, (label, kind, value, lower, upper) in enumerate(rows):
        y = top + step * (place + 0.5)
        ink = {"cut": "#005a8c", "joint": "#9e4a00", "Spearman": "#57606a"}[kind]
        mark = {
            "cut": f'<circle cx="{x(value)}" cy="{y}" r="5" fill="{ink}"/>',
            "joint": f'<circle cx="{x(value)}" cy="{y}" r="4.5" fill="#ffffff" stroke="{ink}" stroke-width="2"/>',
            "Spearman": f'<rect x="{float(x(value)) - 4:.1f}" y="{y - 4}" width="8" height="8" fill="{ink}" '
            f'transform="rotate(45 {x(value)} {y})"/>',
        }[kind]
        shown = html.escape(f"{one_line(label, 14)}, {kind}")
        parts.append(
            f'<text x="{left - 10}" y="{y + 4}" text-anchor="end">{shown}</text>'
            f'<line x1="{x(lower)}" x2="{x(upper)}" y1="{y}" y2="{y}" stroke="{ink}" '
            f'stroke-width="{3 if kind == "cut" else 1.5}"/>{mark}'
        )
    parts.append(f'<line x1="{x(-1)}" x2="{x(1)}" y1="{bottom}" y2="{bottom}" stroke="#1b1f24"/>')
    for tick in sorted({-1.0, -limit, 0.0, limit, 1.0}):
        parts.append(
            f'<line x1="{x(tick)}" x2="{x(tick)}" y1="{bottom}" y2="{bottom + 5}" stroke="#1b1f24"/>'
            f'<text x="{x(tick)}" y="{bottom + 19}" text-anchor="middle">{number_text(tick, 1 if tick else 0)}</text>'
        )
    parts.append(f'<text x="{x(0)}" y="{bottom + 40}" text-anchor="middle">correlation with capability</text>')
    title = html.escape(intervals_alt(rows, limit))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom + 52}" width="{width}" '
        f'height="{bottom + 52}" role="img" aria-label="{title}"><title>{title}</title>'
        f'<g font-family="{_FONT}" font-size="12" fill="#1b1f24">' + "".join(parts) + "</g></svg>\n"
    )


def intervals_alt(rows: Sequence[tuple[str, str, float, float, float]], limit: float) -> str:
    """Return the text that stands for the drawing of the intervals."""
    told = "; ".join(
        f"{one_line(label)}, {kind}: {estimate_text(value, lower, upper)}" for label, kind, value, lower, upper in rows
    )
    return f"Correlation with capability. {told}. Shaded: between minus and plus {number_text(limit)}."
