"""The one place where a number becomes text."""

from __future__ import annotations

import math

MINUS = "−"
ABSENT = "–"


def number_text(value: float, digits: int = 2) -> str:
    """Return a number with a fixed number of decimals and a true minus sign; an en dash where there is none."""
    if not math.isfinite(value):
        return ABSENT if math.isnan(value) else ("∞" if value > 0 else f"{MINUS}∞")
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.removeprefix("-")
    return text.replace("-", MINUS)


def interval_text(lower: float, upper: float, digits: int = 2) -> str:
    """Return `[lower, upper]`; an en dash where there is no interval."""
    if math.isnan(lower) or math.isnan(upper):
        return ABSENT
    return f"[{number_text(lower, digits)}, {number_text(upper, digits)}]"


def estimate_text(value: float, lower: float, upper: float, digits: int = 2) -> str:
    """Return `value [lower, upper]`."""
    return f"{number_text(value, digits)} {interval_text(lower, upper, digits)}"


def significant_text(value: float, figures: int = 3) -> str:
    """Return a number to some significant figures, without an exponent for everyday sizes."""
    if not math.isfinite(value) or value == 0:
        return number_text(value, 0)
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude > 7:
        return f"{value:.{figures - 1}e}".replace("-", MINUS)
    return number_text(value, max(0, figures - 1 - magnitude))


def probability_text(value: float) -> str:
    """Return a probability to three decimals, never rounded to certainty."""
    if math.isnan(value):
        return ABSENT
    if value < 0.001:
        return "< 0.001"
    if value > 0.999:
        return "> 0.999"
    return f"{value:.3f}"


def p_text(value: float) -> str:
    """Return a p-value to three decimals, `< 0.001` below that."""
    if math.isnan(value):
        return ABSENT
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def percent_text(share: float, digits: int = 0) -> str:
    """Return a share as a percentage."""
    return ABSENT if math.isnan(share) else f"{number_text(100 * share, digits)} %"


def count_text(count: int, noun: str, plural: str | None = None) -> str:
    """Return `1 model`, `3 models`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}".replace(",", " ")


def join_words(words: list[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
