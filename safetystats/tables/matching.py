"""Which models of a table are meant by the names in somebody else's file.

Names are compared as they stand, then without regard to case and separators, then without the organisation of a hub
identifier (`org/Model-Name`), then without what only the table adds: a date, `-hf`, a bracket. The first of these that
finds a model decides. A name that could mean two models is refused, and none is ever matched by mere likeness: what is
alike is suggested.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from safetystats.tables.sheet import FaultList, quoted

How = Literal["exact", "spelling", "organisation", "version", "ambiguous", "none"]
HOWS: Mapping[How, str] = {
    "exact": "the same name",
    "spelling": "but for case and separators",
    "organisation": "but for the organisation before the slash",
    "version": "but for the organisation, and a date, -hf or a bracket in the table's name",
    "ambiguous": "could be several models",
    "none": "no model of the table",
}
"""How a name was matched, in words."""
MOST_SUGGESTED = 3
_LEAST_ALIKE = 0.6
_DATE = re.compile(r"(?<!\d)(20\d\d)[-_. ](\d\d)[-_. ](\d\d)(?!\d)")
_ADDED = re.compile(r"(\s*\([^()]*\)|[-_ ]20\d{6}|[-_ ]hf)$", flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMatch:
    """What became of one name.

    Attributes
    ----------
    given : str
        The name as it stands in the file.
    model : str
        Identifier of the model that is meant; empty if there is none or more than one.
    how : str
        One of `HOWS`.
    through : str
        Which name of the model it was compared with: the identifier, or another one that the table gives it.
    others : tuple of str
        Of an ambiguous name the models it could mean; of a name without a match those that are alike.
    """

    given: str
    model: str
    how: How
    through: str = ""
    others: tuple[str, ...] = ()

    @property
    def why(self) -> str:
        """How the name was matched, in words."""
        return match_words(self.how, self.model, self.through)


def match_words(how: How, model: str, through: str) -> str:
    """Return how a name was matched, in words, with the name of the model that it was compared with."""
    return HOWS[how] if through in ("", model) else f'{HOWS[how]}: "{through}" is another name of it'


def normal_name(name: str) -> str:
    """Return a name without case and separators; a separator between two numbers stays, for `1.1` is not `11`."""
    plain = _DATE.sub(r"\1\2\3", unicodedata.normalize("NFKC", name).casefold()).replace("+", "plus")
    parts = re.findall(r"\d+|[^\W\d_]+", plain)
    joined = ""
    for part in parts:
        joined += f"-{part}" if joined[-1:].isdigit() and part.isdigit() else part
    return joined


def match_models(given: Iterable[str], known: Mapping[str, Sequence[str]]) -> list[ModelMatch]:
    """Return which model every name means.

    Parameters
    ----------
    given : iterable of str
    known : mapping of str to sequence of str
        Identifiers of the models, each with other names it goes by.

    Returns
    -------
    list of ModelMatch
        One per name, in order.
    """
    levels: dict[How, dict[str, dict[str, str]]] = {"exact": {}, "spelling": {}, "organisation": {}, "version": {}}
    for model, others in known.items():
        for name in (model, *others):
            for level, key in _keys(name, of_table=True).items():
                levels[level].setdefault(key, {}).setdefault(model, name)
    spelled = {normal_name(_bare(name)): model for model, others in known.items() for name in (model, *others)}
    return [_match(name, levels, spelled, list(known)) for name in given]


def _match(
    name: str, levels: Mapping[How, Mapping[str, Mapping[str, str]]], spelled: Mapping[str, str], order: Sequence[str]
) -> ModelMatch:
    for level, key in _keys(name, of_table=False).items():
        found = levels[level].get(key, {})
        if len(found) == 1:
            ((model, through),) = found.items()
            return ModelMatch(given=name, model=model, how=level, through=through)
        if found:
            return ModelMatch(given=name, model="", how="ambiguous", others=tuple(m for m in order if m in found))
    near = difflib.get_close_matches(normal_name(_bare(name)), list(spelled), n=2 * MOST_SUGGESTED, cutoff=_LEAST_ALIKE)
    alike = tuple(dict.fromkeys(spelled[key] for key in near))[:MOST_SUGGESTED]
    return ModelMatch(given=name, model="", how="none", others=alike)


def _keys(name: str, *, of_table: bool) -> dict[How, str]:
    """Return what a name is compared by, level by level; only the table's names lose a date, for it tells versions."""
    bare = _bare(name)
    less = bare
    while (shorter := _ADDED.sub("", _DATE.sub(r"\1\2\3", less))) and shorter != less and of_table:
        less = shorter
    return {
        "exact": name,
        "spelling": normal_name(name),
        "organisation": normal_name(bare),
        "version": normal_name(less),
    }


def _bare(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def check_matches(matches: Sequence[ModelMatch], file: str, lines: Sequence[int | None], faults: FaultList) -> None:
    """Record names that could mean several models, and models that two names mean.

    Parameters
    ----------
    matches : sequence of ModelMatch
    file : str
        The file to name in faults.
    lines : sequence of int or None
        Where each name stands in it.
    faults : FaultList
        Takes what is wrong.
    """
    first: dict[str, tuple[str, int | None]] = {}
    for match, line in zip(matches, lines, strict=True):
        if match.how == "ambiguous":
            faults.add(
                file,
                row=line,
                column="model",
                expected="a name that means one model of the table",
                got=f'"{match.given}", which could be {quoted(match.others)}',
                remedy="Write the identifier of the one that is meant.",
            )
        if not match.model:
            continue
        earlier, row = first.setdefault(match.model, (match.given, line))
        if (earlier, row) != (match.given, line):
            where = "" if row is None else f" (row {row})"
            faults.add(
                file,
                row=line,
                column="model",
                expected="every model once",
                got=f'"{match.given}", which is {match.model} as "{earlier}"{where} is',
                remedy="Keep one score per model.",
            )
