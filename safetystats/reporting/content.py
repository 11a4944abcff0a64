"""What goes into files that are no pages: CSV, JSON, and text for the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pandas as pd


def csv_text(frame: pd.DataFrame) -> str:
    """Return a frame as CSV in full precision, rows ended by a line feed."""
    return str(frame.to_csv(index=False, lineterminator="\n"))


def json_text(content: Mapping[str, object]) -> str:
    """Return sorted JSON; numbers that are not finite become null."""
    return json.dumps(_finite(content), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def plain(markdown: str) -> str:
    """Take the escapes out of one of our own lines."""
    out, skip = [], False
    for ch in markdown:
        if ch == "\\" and not skip:
            skip = True
            continue
        out.append(ch)
        skip = False
    return "".join(out)
