"""The prose files of `reports/prose`, filled in. A name that a file uses and nobody gives is an error."""

from __future__ import annotations

from collections.abc import Mapping

import jinja2

from safetystats.shelf import shelf_path


def render(name: str, context: Mapping[str, object]) -> str:
    """Return a prose file, filled in.

    Parameters
    ----------
    name : str
        Of the file without its ending, e.g. `report`.
    context : mapping
        What the file may name.

    Raises
    ------
    jinja2.UndefinedError
        If the file names something that does not exist.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(shelf_path("reports", "prose")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        comment_start_string="<!--",
        comment_end_string="-->",
        autoescape=False,
        keep_trailing_newline=True,
    )
    return environment.get_template(f"{name}.md").render(context)
