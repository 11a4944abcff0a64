"""Numbers as text: true minus signs, nothing rounded to certainty, a dash where there is nothing."""

from __future__ import annotations

import math

import pytest

from safetystats.summaries.numbers import (
    count_text,
    estimate_text,
    interval_text,
    join_words,
    number_text,
    p_text,
    percent_text,
    probability_text,
    significant_text,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (number_text(-0.456), "−0.46"),
        (number_text(-0.001), "0.00"),
        (number_text(NAN), "–"),
        (number_text(math.inf), "∞"),
        (interval_text(-0.1, 0.25), "[−0.10, 0.25]"),
        (interval_text(NAN, 1.0), "–"),
        (estimate_text(0.5, 0.25, 0.75), "0.50 [0.25, 0.75]"),
        (probability_text(0.9996), "> 0.999"),
        (probability_text(0.0004), "< 0.001"),
        (probability_text(0.948), "0.948"),
        (p_text(0.0004), "< 0.001"),
        (p_text(NAN), "–"),
        (percent_text(0.783, 1), "78.3 %"),
        (significant_text(0.000123), "0.000123"),
        (significant_text(-1234.5), "−1234"),
        (significant_text(1.0028, 4), "1.003"),
        (significant_text(1e-9), "1.00e−09"),
        (significant_text(0.0), "0"),
        (count_text(1, "family", "families"), "1 family"),
        (count_text(1331, "score"), "1 331 scores"),
        (join_words(["a", "b", "c"]), "a, b and c"),
        (join_words([]), ""),
    ],
)
def test_a_number_becomes_this_text(made: str, wanted: str) -> None:
    assert made == wanted
