"""The HTML page: what is put into pandoc's output so that it can be used and still loads nothing.

The policy in the head allows exactly one style and one script, by their sha256, and images that are in the page. The
data for the script stand in a block that no browser executes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping

from safetystats.shelf import shelf_path

PageData = Mapping[str, object]
"""What the script of a page draws and offers."""


def finish_page(page: str, data: PageData | None = None) -> str:
    """Return the page with its script, its data and a policy that allows nothing else.

    Parameters
    ----------
    page : str
        HTML made with `reports/style/page.html`.
    data : mapping, optional
        From `safetystats.reporting.page_data.page_data`.
    """
    script = shelf_path("reports", "style", "page.js").read_text(encoding="utf-8")
    text = "" if data is None else data_text(data)
    # The places lie behind the text of the report, which may itself hold words like these.
    page = _replace_last(page, "/*script*/", script)
    page = _replace_last(page, "/*data*/", text.replace("<", "\\u003c"))
    style = re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL)
    if style is None:
        raise ValueError("the page has no style")
    # Cells are aligned by style attributes, which a hash cannot allow one by one.
    policy = (
        f"default-src 'none'; img-src data:; style-src-elem 'sha256-{_digest(style.group(1))}'; "
        f"style-src-attr 'unsafe-inline'; script-src 'sha256-{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    return page.replace("/*policy*/", policy, 1)


def data_text(data: PageData) -> str:
    """Return the data of a page as JSON; read and written again they are the same text."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _replace_last(text: str, place: str, content: str) -> str:
    before, found, after = text.rpartition(place)
    if not found:
        raise ValueError(f"the page has no place for {place}")
    return before + content + after


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
