"""Text in figures: characters the font can draw, labels cut or wrapped to a width, and the words of captions.

Names come from tables and are text: nothing in them is read as mathematics or markup. Blanks and line ends become
single blanks, invisible controls (also those that turn the direction of writing) vanish, and a character that DejaVu
Sans lacks becomes U+FFFD, the replacement character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache

import pandas as pd
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont, get_font

from safetystats.summaries.numbers import join_words, number_text

LONGEST = 45
TEXT, SMALL, TINY = 8.0, 7.5, 6.5
ELLIPSIS = "…"
_TAIL = 18


def safe_text(text: str) -> str:
    """Return the text on one line, in characters that the font has."""
    flat = " ".join(unicodedata.normalize("NFC", str(text)).split())
    seen = [c for c in flat if unicodedata.category(c) not in ("Cc", "Cf")]
    drawn = "".join(c if _has_glyph(c) else "\N{REPLACEMENT CHARACTER}" for c in seen)
    return " ".join(drawn.split())


def text_width(text: str, size: float = TEXT, bold: bool = False) -> float:
    """Return the width of the widest line of a text, in inches."""
    font = FontProperties(family="DejaVu Sans", size=size, weight="bold" if bold else "normal")
    widths = (_ruler().get_text_width_height_descent(line, font, ismath=False)[0] for line in text.split("\n") if line)
    return float(max(widths, default=0.0)) / float(_ruler().dpi)


def fit_text(text: str, width: float, size: float = TEXT, *, bold: bool = False, longest: int = LONGEST) -> str:
    """Return safe text no wider than `width` inches and no longer than `longest` characters, cut with an ellipsis."""
    whole = safe_text(text)
    if len(whole) <= longest and text_width(whole, size, bold) <= width:
        return whole
    low, high = 0, min(len(whole), longest - 1)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(whole[:middle].rstrip() + ELLIPSIS, size, bold) <= width:
            low = middle
        else:
            high = middle - 1
    return whole[:low].rstrip(" ,;:(-") + ELLIPSIS


def fit_names(
    names: Mapping[str, str], width: float, size: float = TEXT, lines: int = 1, longest: int = LONGEST
) -> dict[str, str]:
    """Return a label for every key, none wider than `width` inches and no two alike.

    Parameters
    ----------
    names : mapping of str to str
    width : float
        Inches.
    size : float
        Points.
    lines : {1, 2}
        With two, a long name is broken between words; what still does not fit is cut with an ellipsis.
    longest : int
        Most characters of a line, however narrow they are.

    Returns
    -------
    dict of str to str
        Where cutting the end would make names alike, the cut is moved to before the place where they differ; names
        that are alike in full are numbered.
    """
    whole = {key: safe_text(name) for key, name in names.items()}
    fitted = {key: _fit_lines(name, width, size, lines, longest) for key, name in whole.items()}
    for keys in _alike(fitted):
        start = _first_difference([whole[key] for key in keys])
        for key in keys:
            begin = max(whole[key].rfind(" ", 0, start) + 1, start - _TAIL // 2)
            tail = fit_text(whole[key][begin:], 0.6 * width, size, longest=_TAIL)
            head = whole[key][: min(begin, LONGEST - _TAIL)]
            while head and text_width(head.rstrip() + ELLIPSIS + tail, size) > width:
                head = head[:-1]
            fitted[key] = head.rstrip() + ELLIPSIS + tail
    for keys in _alike(fitted):
        for place, key in enumerate(keys, start=1):
            mark = f" ({place})"
            fitted[key] = fit_text(fitted[key], width - text_width(mark, size), size) + mark
    return fitted


def without_shared_ending(names: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return names without the bracket that all of them end in, and that bracket (empty where there is none).

    A name of which nothing can be drawn is replaced by its key.
    """
    given = {key: safe_text(name) or safe_text(key) for key, name in names.items()}
    endings = {name[name.rfind(" (") :] if name.endswith(")") and " (" in name else "" for name in given.values()}
    if len(given) < 2 or len(endings) != 1 or "" in endings:
        return given, ""
    (ending,) = endings
    return {key: name.removesuffix(ending) for key, name in given.items()}, ending.strip()


# --- words of captions and alternative text ---


def class_sizes(frame: pd.DataFrame) -> str:
    """Return `n = 42 to 43 base and 24 chat models`."""
    words = [
        f"{range_text(part['n_models'])} {safe_text(str(name))}"
        for name, part in frame.groupby("model_class", sort=False)
    ]
    return f"n = {join_words(words)} models"


def range_text(counts: pd.Series) -> str:
    """Return `24`, or `23 to 24`."""
    few, many = int(counts.min()), int(counts.max())
    return str(few) if few == many else f"{few} to {many}"


def extremes_text(part: pd.DataFrame, value: str, key: str, labels: Mapping[str, str]) -> str:
    """Return `from −0.11 (lowest) to 0.62 (highest)`."""
    known = part.dropna(subset=[value])
    if known.empty:
        return "no values"
    ends = (known.loc[known[value].idxmin()], known.loc[known[value].idxmax()])
    low, high = (f"{number_text(row[value])} ({safe_text(labels.get(row[key], row[key]))[:90]})" for row in ends)
    return f"from {low} to {high}"


def counts_text(values: pd.Series, order: Sequence[str]) -> str:
    """Return `2 entangled and 7 undetermined`."""
    counts = values.value_counts()
    return join_words([f"{counts[value]} {value}" for value in order if value in counts])


# --- parts ---


def _fit_lines(text: str, width: float, size: float, lines: int, longest: int) -> str:
    if lines == 1 or text_width(text, size) <= width:
        return fit_text(text, width, size, longest=longest)
    breaks = [i for i, c in enumerate(text) if c == " "]
    halves = [(text[:i], text[i + 1 :]) for i in breaks]
    fitting = [(a, b) for a, b in halves if text_width(a, size) <= width and text_width(b, size) <= width]
    if fitting:
        first, rest = min(fitting, key=lambda pair: (not _good_break(*pair), abs(len(pair[0]) - len(pair[1]))))
        return f"{first}\n{rest}"
    filling = [(a, b) for a, b in halves if text_width(a, size) <= width]
    if not filling:
        return fit_text(text, width, size, longest=longest)
    first, rest = filling[-1]
    return f"{first}\n{fit_text(rest, width, size, longest=longest)}"


def _good_break(first: str, rest: str) -> bool:
    return rest.startswith("(") or first.endswith((",", ":", ";"))


def _first_difference(texts: Sequence[str]) -> int:
    """Return where texts begin to differ; the length of the shortest if they do not before."""
    columns = zip(*texts, strict=False)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), min(map(len, texts)))


def _alike(labels: Mapping[str, str]) -> list[list[str]]:
    groups: dict[str, list[str]] = {}
    for key, label in labels.items():
        groups.setdefault(label, []).append(key)
    return [keys for keys in groups.values() if len(keys) > 1]


@cache
def _ruler() -> RendererAgg:
    return RendererAgg(8, 8, 600)


@cache
def _has_glyph(character: str) -> bool:
    font = FontProperties(family="DejaVu Sans")
    return bool(get_font(findfont(font)).get_char_index(ord(character)))
