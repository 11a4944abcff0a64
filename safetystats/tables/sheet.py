"""Comma-separated text read strictly, with the line number of every record.

`read_sheet` turns one CSV file into strings that know where they stood; nothing is converted and nothing is guessed.
What is wrong with a file as a file (encoding, separators, ragged rows, headers) is found here; what is wrong with its
content is found in `safetystats.tables.parse`.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from safetystats.errors import DataError, Fault, suggest


class FaultList:
    """Collects faults so that all of them can be raised at once.

    Attributes
    ----------
    faults : list of Fault
        What was found so far, in order.
    """

    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def add(
        self,
        file: str,
        *,
        expected: str,
        got: str,
        remedy: str,
        row: int | None = None,
        column: str | None = None,
    ) -> None:
        """Append one fault."""
        self.faults.append(Fault(file=file, expected=expected, got=got, remedy=remedy, row=row, column=column))

    def __len__(self) -> int:
        return len(self.faults)

    def raise_if_any(self) -> None:
        """Raise `DataError` with everything collected, if anything was."""
        if self.faults:
            raise DataError(self.faults)

    def stop(self) -> NoReturn:
        """Raise `DataError` where it is known that something was collected."""
        if not self.faults:
            raise RuntimeError("stopped without a fault")
        raise DataError(self.faults)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """One CSV file as text.

    Attributes
    ----------
    file : str
        Path as the user gave it.
    header : tuple of str
        Column names, unique and not empty.
    lines : tuple of int
        Line on which each record starts; the header is line 1.
    rows : tuple of tuple of str
        Cells, every row as long as the header.
    labels : mapping of str to str
        Where a column goes by another name here than in the file: our name to the name in the file.
    """

    file: str
    header: tuple[str, ...]
    lines: tuple[int, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """Return the cells of one column, stripped of surrounding blanks; empty strings if there is no such column."""
        return [cell.strip() for cell in self.raw(name)]

    def raw(self, name: str) -> list[str]:
        """Return the cells of one column as they stand; empty strings if there is no such column."""
        if name not in self.header:
            return [""] * len(self.rows)
        place = self.header.index(name)
        return [row[place] for row in self.rows]

    def label(self, name: str) -> str:
        """Return the name that the file itself uses for a column."""
        return self.labels.get(name, name)

    def renamed(self, names: Mapping[str, str]) -> Sheet:
        """Return the sheet with columns under our names; `names` maps the file's name to ours."""
        header = tuple(names.get(name, name) for name in self.header)
        return dataclasses.replace(self, header=header, labels={ours: theirs for theirs, ours in names.items()})

    def require(self, names: Sequence[str], faults: FaultList) -> bool:
        """Record every required column that is missing; return whether all are there."""
        missing = [name for name in names if name not in self.header]
        for name in missing:
            faults.add(
                self.file,
                row=1,
                column=self.label(name),
                expected="a column of this name",
                got=f"only {quoted(self.label(known) for known in self.header)}",
                remedy=f'{did_you_mean(name, self.header)}Add the column "{self.label(name)}".',
            )
        return not missing

    def check_spelling(self, known: Sequence[str], faults: FaultList) -> None:
        """Record columns that look like a misspelling of a known column which is absent; others are left alone."""
        absent = [name for name in known if name not in self.header]
        for name in self.header:
            near = [] if name in known else difflib.get_close_matches(name.lower(), absent, n=1, cutoff=0.75)
            if near:
                faults.add(
                    self.file,
                    row=1,
                    column=self.label(name),
                    expected="a known column name",
                    got=f'"{self.label(name)}"',
                    remedy=f'Did you mean "{near[0]}"? Correct the header, or rename it so that it cannot be mistaken.',
                )


def quoted(words: Iterable[str], limit: int = 8) -> str:
    """Return words in quotation marks, comma-separated, cut after `limit`."""
    listed = [f'"{word}"' for word in words]
    if len(listed) > limit:
        listed = [*listed[:limit], f"and {len(listed) - limit} more"]
    return ", ".join(listed) if listed else "nothing"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean "..."? ` for the nearest known word, or an empty string; to begin a remedy with."""
    found = suggest(word, known).removeprefix("; ")
    return f"{found[0].upper()}{found[1:]} " if found else ""


def folder_listing(folder: Path) -> list[str]:
    """Return the sorted names in a folder; nothing if it is not there or may not be read."""
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def read_bytes(path: Path, file: str, faults: FaultList) -> bytes | None:
    """Return a file's bytes, or None after recording why it cannot be read."""
    if os.path.isdir(path):
        faults.add(file, expected="a file", got="a folder", remedy="Name the file itself.")
        return None
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = folder_listing(path.parent)
        there = f"The folder holds {quoted(near)}" if near else "The folder is empty or does not exist"
        faults.add(
            file,
            expected="a file",
            got="nothing of this name",
            remedy=f"{did_you_mean(path.name, near)}{there}.",
        )
    except OSError as error:
        faults.add(
            file,
            expected="a file that may be read",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="Check the permissions of the file and of its folder.",
        )
    return None


def decode(content: bytes, file: str, faults: FaultList) -> str | None:
    """Return UTF-8 text (with or without a byte-order mark), or None after recording what it is instead."""
    save = "Save it as UTF-8 (in a spreadsheet: CSV UTF-8, comma-separated)."
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):
        faults.add(file, expected="a header and rows", got="an empty file", remedy="Write the table into it.")
        return None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        faults.add(file, expected="UTF-8 text", got="UTF-16 text", remedy=save)
        return None
    if b"\x00" in content:
        place = content.index(b"\x00")
        wide = content.count(b"\x00") > len(content) // 4
        faults.add(
            file,
            row=content.count(b"\n", 0, place) + 1,
            expected="UTF-8 text",
            got="UTF-16 text without a byte-order mark" if wide else "a NUL byte",
            remedy=save if wide else "The file is damaged or not text: export it anew.",
        )
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        around = content[max(0, error.start - 12) : error.start + 12].decode("latin-1")
        faults.add(
            file,
            row=line,
            expected="UTF-8 text",
            got=f"byte 0x{content[error.start]:02X}, which is not UTF-8 (as Latin-1 it reads {around!r})",
            remedy=save,
        )
        return None


def _check_separator(text: str, file: str, faults: FaultList) -> bool:
    """Record a header line that is separated by something else than commas; return whether it is commas."""
    lines = text.splitlines()
    first = next((line for line in lines if line.strip()), "")
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")):
        if mark in first and "," not in first:
            second = next((line for line in lines[1:] if line.strip()), "")
            commas = " and decimal commas" if "," in second else ""
            faults.add(
                file,
                row=1,
                expected="columns separated by commas, numbers with a decimal point",
                got=f"columns separated by {name}{commas}",
                remedy="Save it again as CSV with commas between columns and points in numbers (in a spreadsheet: set "
                "the locale to English before exporting; in R: write.csv, not write.csv2).",
            )
            return False
    return True


def read_sheet(path: Path, faults: FaultList, file: str | None = None) -> Sheet | None:
    """Read one CSV file as text.

    Parameters
    ----------
    path : Path
        The file: UTF-8 with or without a byte-order mark, commas, any line ends, a header in the first line.
    faults : FaultList
        Takes everything that is wrong with the file.
    file : str, optional
        How to call the file in faults; by default the path as given.

    Returns
    -------
    Sheet or None
        None if the file could not be read at all, or has faults that make its cells unreliable.
    """
    file = str(path) if file is None else file
    content = read_bytes(path, file, faults)
    text = None if content is None else decode(content, file, faults)
    if text is None or not _check_separator(text, file, faults):
        return None
    return parse_sheet(text, file, faults)


def parse_sheet(text: str, file: str, faults: FaultList) -> Sheet | None:
    """Split CSV text into a sheet; see `read_sheet`."""
    lines: list[int] = []
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    try:
        for record in reader:
            if record and any(cell.strip() for cell in record):
                lines.append(start)
                rows.append(record)
            start = reader.line_num + 1
    except csv.Error as error:
        faults.add(
            file,
            row=start,
            expected="well-formed CSV",
            got=f"a record that does not parse ({error})",
            remedy='Look for a quotation mark that is not closed; inside quotes, write "" for one mark.',
        )
        return None
    return check_rows(file, rows, lines, faults)


def check_rows(file: str, rows: Sequence[Sequence[str]], lines: Sequence[int], faults: FaultList) -> Sheet | None:
    """Return header and records as a sheet, or None after recording a bad header, ragged rows or no rows at all."""
    before = len(faults)
    header, header_line = rows[0], lines[0]
    _check_header(header, header_line, file, faults)
    if len(rows) == 1:
        faults.add(file, expected="rows below the header", got="a header only", remedy="Add the rows.")
    for line, row in zip(lines[1:], rows[1:], strict=True):
        if len(row) != len(header):
            faults.add(
                file,
                row=line,
                expected=f"{len(header)} cells, as in the header",
                got=f"{len(row)} cells",
                remedy="Put text that contains a comma into quotation marks, write numbers with a decimal point, give "
                "every row as many cells as the header.",
            )
    if len(faults) > before:
        return None
    return Sheet(
        file=file,
        header=tuple(name.strip() for name in header),
        lines=tuple(lines[1:]),
        rows=tuple(tuple(row) for row in rows[1:]),
    )


def _check_header(header: Sequence[str], line: int, file: str, faults: FaultList) -> None:
    names = [name.strip() for name in header]
    for place, name in enumerate(names, start=1):
        if not name and place > 1:
            faults.add(
                file,
                row=line,
                expected=f"a name for column {place}",
                got="an empty header cell",
                remedy="Name the column or delete it.",
            )
    for name in dict.fromkeys(names):
        places = [str(place) for place, other in enumerate(names, start=1) if other == name]
        if name and len(places) > 1:
            faults.add(
                file,
                row=line,
                column=name,
                expected="every column name once",
                got=f"columns {' and '.join(places)} of the same name",
                remedy="Rename or delete all but one.",
            )
