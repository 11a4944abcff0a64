"""What can go wrong, said so that the reader can mend it.

Every error that a user can cause derives from `SafetyStatsError` and carries the exit code that the command line
returns. A `Fault` is one thing that is wrong with an input: where it stands, what was expected, what was found, what
to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong with an input file.

    Attributes
    ----------
    file : str
        Path as the user gave it.
    row : int or None
        Line number in the file, the header being line 1; None where no single line is at fault.
    column : str or None
        Column or key; None where no single column is at fault.
    expected, got, remedy : str
        What should stand there, what stands there, and what to do about it.
    """

    file: str
    expected: str
    got: str
    remedy: str
    row: int | None = None
    column: str | None = None

    def __str__(self) -> str:
        place = [self.file]
        if self.row is not None:
            place.append(f"row {self.row}")
        if self.column is not None:
            place.append(f'column "{self.column}"')
        return f"{', '.join(place)}: expected {self.expected}, got {self.got}. {self.remedy}"


class SafetyStatsError(Exception):
    """Parent of every error that is the input's, the machine's or the data's, and not a bug of ours."""

    exit_code: int = 1


class FaultyInputError(SafetyStatsError):
    """An input with one or more faults, all of them listed.

    Parameters
    ----------
    faults : sequence of Fault
        At least one; the message shows all.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class StudyError(FaultyInputError):
    """A study file, a spec or a command-line choice is wrong (exit code 2)."""

    exit_code = 2


class DataError(FaultyInputError):
    """A score table cannot be used as it is (exit code 3)."""

    exit_code = 3


class FitError(SafetyStatsError):
    """A fit could not be made or a saved fit did not prove itself (exit code 1)."""

    exit_code = 1


class MissingPartError(SafetyStatsError):
    """An optional part of the installation is missing (exit code 5)."""

    exit_code = 5

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional part: install it with `pip install 'safetystats[{extra}]'`.")


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "..."?` for the nearest known word, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def refuse_unknown(asked: Sequence[str], known: Sequence[str], option: str) -> None:
    """Refuse words of an option that are not known, or none at all.

    Raises
    ------
    StudyError
        One fault per word.
    """
    faults = [
        Fault(
            file="the command line",
            column=option,
            expected=f"one of {', '.join(known)}",
            got=each or "nothing",
            remedy=f"Choose from these{suggest(each, known) or '.'}",
        )
        for each in asked or [""]
        if each not in known
    ]
    if faults:
        raise StudyError(faults)
