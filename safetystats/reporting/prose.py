"""The door to the prose files: numbers by key become text in sentences, and in no other way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import jinja2

from safetystats.reporting.text import escape
from safetystats.shelf import shelf_path
from safetystats.summaries import numbers

Value = str | int | float
"""What a key of the results has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quoter:
    """Turns keys of the results into text; the only way a number gets into a sentence."""

    results: Mapping[str, Value]
    names: Mapping[str, str]
    models: Mapping[str, str]

    def number(self, key: str) -> int | float:
        """Return the number itself, for conditions."""
        value = self.results[key]
        if isinstance(value, str):
            raise TypeError(f"{key} is text")
        return value

    def text(self, key: str) -> str:
        """Return a result that is text."""
        return str(self.results[key])

    def num(self, key: str, digits: int = 2) -> str:
        """Return a number with decimals."""
        return numbers.number_text(float(self.number(key)), digits)

    def pct(self, key: str, digits: int = 0) -> str:
        """Return a share as a percentage."""
        return numbers.percent_text(float(self.number(key)), digits)

    def count(self, key: str, noun: str, plural: str | None = None) -> str:
        """Return a count with its noun."""
        return numbers.count_text(int(self.number(key)), noun, plural)

    def est(self, stem: str, column: str) -> str:
        """Return an estimate with its interval."""
        value, lower, upper = (float(self.number(f"{stem}/{part}")) for part in (column, "lower", "upper"))
        return numbers.estimate_text(value, lower, upper)

    def name(self, benchmark: str) -> str:
        """Return the escaped human name of a benchmark."""
        return escape(self.names[benchmark])

    def model(self, model: str) -> str:
        """Return the escaped human name of a model."""
        return escape(self.models[model])


def render_prose(template: str, context: Mapping[str, object]) -> str:
    """Fill a file of `reports/prose`; what it names and the context lacks is an error.

    Raises
    ------
    jinja2.UndefinedError
        If the file names something that does not exist.
    """
    return _environment().get_template(template).render(context)


def render_text(text: str, context: Mapping[str, object]) -> str:
    """Fill a piece of prose that stands in a table of prose; as strict as `render_prose`."""
    return _environment().from_string(text).render(context)


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(shelf_path("reports", "prose")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="<!--",
        comment_end_string="-->",
        autoescape=False,
        keep_trailing_newline=True,
    )
