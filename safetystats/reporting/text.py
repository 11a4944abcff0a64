"""From frames and names to Markdown: escaping and tables, nothing else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from safetystats.summaries.numbers import percent_text

_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~^$@&'\"=:%])")
LONGEST_NAME = 300
ANY_LENGTH = 1_000_000


def escape(text: str, longest: int = LONGEST_NAME) -> str:
    """Return any text as Markdown that shows exactly that text, on one line, shortened if it is longer than `longest`.

    Control and format characters (line breaks, bidirectional overrides) become blanks or vanish, so that a name can
    neither open a block nor turn the text around it.
    """
    return _SPECIAL.sub(r"\\\1", one_line(text, longest))


def one_line(text: str, longest: int = LONGEST_NAME) -> str:
    """Return any text on one line without control and format characters, shortened if longer than `longest`."""
    clean = "".join(
        " " if ch in "\n\r\t\v\f\u2028\u2029" else ch
        for ch in text
        if unicodedata.category(ch) not in ("Cc", "Cf", "Cs") or ch in "\n\r\t\v\f"
    )
    if len(clean) > longest:
        clean = clean[: longest - 1] + "…"
    return " ".join(clean.split())


def table_markdown(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    numeric: Sequence[int] = (),
    source: str = "",
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
    source : str
        Name of the table in `tables/` that has all rows and columns in full precision; writers that cannot show every
        row name it.
    """
    rule = ["---:" if place in set(numeric) else ":---" for place in range(len(header))]
    lines = [_line(header), _line(rule), *(_line(row) for row in rows)]
    attributes = f' {{source="tables/{source}.csv"}}' if source else ""
    return "\n".join([*lines, "", f": {caption}{attributes}"])


def shared_ending(names: Sequence[str]) -> str:
    """Return the bracket that ends every name, such as ` (HELM Classic)`; empty if there is none or few names."""
    endings = {found.group(0) if (found := re.search(r" \([^()]*\)$", name)) else "" for name in names}
    return endings.pop() if len(endings) == 1 and len(names) > 2 else ""


def labels_for(names: Mapping[str, str]) -> dict[str, str]:
    """Return a label per identifier: its name without the ending all share, with the identifier where two are equal."""
    ending = shared_ending(list(names.values()))
    names = {key: name.removesuffix(ending) for key, name in names.items()}
    counted: dict[str, int] = {}
    for label in names.values():
        counted[label] = counted.get(label, 0) + 1
    return {key: label if counted[label] == 1 else f"{label} ({key})" for key, label in names.items()}


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("\n", " ") for cell in cells) + " |"


def interval_head(level: float) -> str:
    """Return the coverage of an interval in brackets, as Markdown for the head of a column."""
    return f"\\[{percent_text(level)}\\]"
