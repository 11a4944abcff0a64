"""References: which entries of the bibliography a text cites."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),.*?(?=^@|\Z)", flags=re.MULTILINE | re.DOTALL)
_CITED = re.compile(r"(?<![\\\w])@\{?([A-Za-z][\w:.-]*\w)")


def cited_keys(markdown: str) -> set[str]:
    """Return the keys that a document in pandoc's dialect cites; an escaped at sign is text."""
    return set(_CITED.findall(markdown))


def cited_entries(bibliography: str, texts: Sequence[str]) -> str:
    """Return the entries of a BibTeX file that any of the texts cites, in the order of the file."""
    wanted = set().union(*(cited_keys(text) for text in texts))
    found = [match.group(0).strip() for match in _ENTRY.finditer(bibliography) if match.group(1) in wanted]
    return "\n\n".join(found) + "\n"
