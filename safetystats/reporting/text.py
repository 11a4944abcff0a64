"""From frames and names to Markdown: escaping and tables, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~^$@&'\"=:%])")
_LONGEST = 300


def escape(text: str) -> str:
    """Return any text as Markdown that shows exactly that text, on one line.

    Control and format characters (line breaks, bidirectional overrides) become blanks or vanish, so that a name can
    neither open a block nor turn the text around it.
    """
    clean = "".join(
        " " if ch in "\n\r\t\v\f\u2028\u2029" else ch
        for ch in text
        if unicodedata.category(ch) not in ("Cc", "Cf", "Cs") or ch in "\n\r\t\v\f"
    )
    if len(clean) > _LONGEST:
        clean = clean[: _LONGEST - 1] + "…"
    return _SPECIAL.sub(r"\\\1", " ".join(clean.split()))


def table_markdown(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str, numeric: Sequence[int] = ()
) -> str:
    """Return a pandoc pipe table with a caption.

    Parameters
    ----------
    header : sequence of str
        Column heads, already Markdown.
    rows : sequence of sequences of str
        Cells, already Markdown.
    caption : str
        Already Markdown, one paragraph.
    numeric : sequence of int
        Columns to align right.
    """
    rule = ["---:" if place in set(numeric) else ":---" for place in range(len(header))]
    lines = [_line(header), _line(rule), *(_line(row) for row in rows)]
    return "\n".join([*lines, "", f": {caption}"])


def labels_for(names: Mapping[str, str]) -> dict[str, str]:
    """Return a label per identifier: its human name, and the identifier itself where two share a name."""
    counted: dict[str, int] = {}
    for label in names.values():
        counted[label] = counted.get(label, 0) + 1
    return {key: label if counted[label] == 1 else f"{label} ({key})" for key, label in names.items()}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"
