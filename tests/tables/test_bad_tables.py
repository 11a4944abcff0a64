"""Malformed tables: each gives one DataError that names file, row, column and remedy, and lists all faults at once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from safetystats.errors import DataError, MissingPartError
from safetystats.tables.load import load_table
from safetystats.tables.wide import load_wide

MODELS = """model,name,model_class,family,lineage,n_params,flop
a-1,A 1,base,A,,1e9,
a-2,A 2,base,A,,2e9,1e22
b-1,B 1,chat,B,a-1,3e9,
"""
BENCHMARKS = """benchmark,role,direction,area,lower,upper,chance,n_items
math,capability,higher_is_better,skill,0,1,0.25,100
code,capability,higher_is_better,skill,0,1,,
text,capability,higher_is_better,skill,0,100,,
risk,safety,lower_is_safer,harm,0,1,,50
"""
SCORES = """model,benchmark,score
a-1,math,0.5
a-1,code,0.4
a-1,text,40
a-1,risk,0.1
a-2,math,0.6
a-2,code,0.5
a-2,text,50
a-2,risk,0.2
b-1,math,0.7
b-1,code,0.6
b-1,text,60
b-1,risk,0.3
"""
WIDE = """model,type,family,model_size,math,code,text,risk
a-1,base,A,1e9,0.5,0.4,40,0.1
a-2,base,A,2e9,0.6,0.5,50,0.2
b-1,chat,B,3e9,0.7,0.6,60,0.3
"""
GOOD: Mapping[str, str] = {"models.csv": MODELS, "benchmarks.csv": BENCHMARKS, "scores.csv": SCORES}
GOOD_WIDE: Mapping[str, str] = {"wide.csv": WIDE, "wide.benchmarks.csv": BENCHMARKS}


@dataclass(frozen=True, kw_only=True)
class Bad:
    """One change to one file, and what the one fault must say; `reported` if it shows in another file."""

    file: str
    reported: str = ""
    change: Callable[[bytes], bytes]
    row: int | None = None
    column: str | None = None
    got: str = ""
    remedy: str = ""


def swap(old: str, new: str) -> Callable[[bytes], bytes]:
    """Return a change that replaces a text which must be there."""

    def change(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode(), 1)

    return change


def all_of(*changes: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return the changes one after another."""

    def change(content: bytes) -> bytes:
        for step in changes:
            content = step(content)
        return content

    return change


def becomes(text: bytes) -> Callable[[bytes], bytes]:
    """Return a change that replaces everything."""
    return lambda content: text


def add(text: str) -> Callable[[bytes], bytes]:
    """Return a change that appends."""
    return lambda content: content + text.encode()


def utf16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


def utf16_bare(content: bytes) -> bytes:
    return content.decode().encode("utf-16-le")


def semicolons(content: bytes) -> bytes:
    return content.replace(b",", b";")


def semicolons_and_commas(content: bytes) -> bytes:
    return content.replace(b",", b";").replace(b".", b",")


def tabs(content: bytes) -> bytes:
    return content.replace(b",", b"\t")


S, M, B = "scores.csv", "models.csv", "benchmarks.csv"
FOLDER_CASES: dict[str, Bad] = {
    # numbers
    "text-in-number": Bad(
        file=S, change=swap("a-1,code,0.4", "a-1,code,n/a"), row=3, column="score", got='"n/a"', remedy="Leave the cell"
    ),
    "NaN-in-number": Bad(
        file=S, change=swap("0.4", "NaN"), row=3, column="score", got='"NaN"', remedy="Leave the cell empty"
    ),
    "decimal-comma": Bad(
        file=S,
        change=swap("a-1,text,40", 'a-1,text,"12,5"'),
        row=4,
        column="score",
        got='"12,5"',
        remedy="decimal point",
    ),
    "percent": Bad(
        file=S, change=swap("a-1,text,40", "a-1,text,40%"), row=4, column="score", got='"40%"', remedy="percent sign"
    ),
    "infinite": Bad(file=S, change=swap("0.4", "inf"), row=3, column="score", got='"inf"', remedy="finite"),
    "too-large": Bad(file=S, change=swap("0.4", "1e999"), row=3, column="score", got='"1e999"', remedy="finite"),
    "underscore": Bad(file=S, change=swap("40", "4_0"), row=4, column="score", got='"4_0"', remedy="number alone"),
    "unit": Bad(file=M, change=swap("2e9", "2B"), row=3, column="n_params", got='"2B"', remedy="without units"),
    "negative-size": Bad(file=M, change=swap("2e9", "-2"), row=3, column="n_params", got="-2", remedy="not known"),
    # names
    "duplicate-model": Bad(
        file=M,
        change=add("a-2,A 2,base,A,,,\n"),
        row=5,
        column="model",
        got="first in row 3",
        remedy="Delete or rename",
    ),
    "model-in-two-classes": Bad(
        file=M, change=add("a-2,A 2,chat,A,,,\n"), row=5, column="model", got='as "base"', remedy='"a-2-chat"'
    ),
    "duplicate-benchmark": Bad(
        file=B,
        change=add("risk,safety,lower_is_safer,harm,,,,\n"),
        row=6,
        column="benchmark",
        got="first in row 5",
        remedy="Delete or rename",
    ),
    "duplicate-cell": Bad(
        file=S,
        change=add("a-1,math,0.9\n"),
        row=14,
        column="benchmark",
        got="first in row 2",
        remedy="one score per pair",
    ),
    "unknown-model": Bad(
        file=S, change=swap("a-1,code", "a-7,code"), row=3, column="model", got='"a-7"', remedy='Did you mean "a-'
    ),
    "unknown-benchmark": Bad(
        file=S,
        change=swap("a-1,code", "a-1,coed"),
        row=3,
        column="benchmark",
        got='"coed"',
        remedy='Did you mean "code"?',
    ),
    "empty-model": Bad(
        file=M, change=add(",C,base,C,,,\n"), row=5, column="model", got="empty", remedy="delete the row"
    ),
    "blanks-at-the-end": Bad(
        file=B, change=swap("code,cap", "code ,cap"), row=3, column="benchmark", got="'code '", remedy='Write "code"'
    ),
    # vocabulary
    "unknown-role": Bad(
        file=B,
        change=swap("safety,lower", "saftey,lower"),
        row=5,
        column="role",
        got='"saftey"',
        remedy='Did you mean "safety"?',
    ),
    "unknown-direction": Bad(
        file=B,
        change=swap("lower_is_safer", "Lower is safer"),
        row=5,
        column="direction",
        got='"Lower is safer"',
        remedy='Did you mean "lower_is_safer"?',
    ),
    "empty-direction": Bad(
        file=B,
        change=swap("safety,lower_is_safer", "safety,"),
        row=5,
        column="direction",
        got="an empty cell",
        remedy="one of these",
    ),
    "capability-undeclared": Bad(
        file=B,
        change=swap("code,capability,higher_is_better", "code,capability,undeclared"),
        row=3,
        column="direction",
        got='"undeclared"',
        remedy="which way is up",
    ),
    "headline-no-flag": Bad(
        file=B,
        change=all_of(
            swap("n_items", "n_items,headline"),
            swap("0.25,100", "0.25,100,maybe"),
            swap("0,1,,\n", "0,1,,,\n"),
            swap("0,100,,\n", "0,100,,,1\n"),
            swap("0,1,,50", "0,1,,50,0"),
        ),
        row=2,
        column="headline",
        got='"maybe"',
        remedy="Write 1",
    ),
    "no-family": Bad(
        file=M, change=swap("A 2,base,A", "A 2,base,"), row=3, column="family", got="empty", remedy="series"
    ),
    "no-class": Bad(
        file=M, change=swap("A 2,base,A", "A 2,,A"), row=3, column="model_class", got="empty", remedy='"base" or "chat"'
    ),
    # scales
    "bounds-reversed": Bad(
        file=B, change=swap("0,100,,", "100,0,,"), row=4, column="upper", got="0", remedy="Correct the bounds"
    ),
    "bounds-equal": Bad(file=B, change=swap("0,100,,", "0,0,,"), row=4, column="upper", got="0", remedy="the bounds"),
    "chance-outside": Bad(
        file=B, change=swap("0.25,100", "25,100"), row=2, column="chance", got="25", remedy="units of the scores"
    ),
    "items-fraction": Bad(
        file=B, change=swap("0.25,100", "0.25,99.5"), row=2, column="n_items", got="99.5", remedy="number of test items"
    ),
    "items-zero": Bad(file=B, change=swap("0.25,100", "0.25,0"), row=2, column="n_items", got="0", remedy="number of"),
    # headers
    "missing-column": Bad(
        file=M, change=swap("family", "note"), row=1, column="family", got='"model"', remedy='Add the column "family"'
    ),
    "missing-score-column": Bad(
        file=S, change=swap("score", "value"), row=1, column="score", got='"value"', remedy='Add the column "score"'
    ),
    "misspelt-optional-column": Bad(
        file=B, change=swap("chance", "chanse"), row=1, column="chanse", got="chanse", remedy='Did you mean "chance"?'
    ),
    "duplicate-header": Bad(
        file=M, change=swap("name", "model"), row=1, column="model", got="columns 1 and 2", remedy="all but one"
    ),
    "empty-header": Bad(file=M, change=swap(",name,", ",,"), row=1, got="empty header", remedy="Name the column"),
    # the file as a file
    "latin-1": Bad(
        file=M, change=lambda c: c.replace(b"A 2", "Ä 2".encode("latin-1")), row=3, got="byte 0xC4", remedy="UTF-8"
    ),
    "utf-16": Bad(file=S, change=utf16, got="UTF-16", remedy="Save it as UTF-8"),
    "utf-16-without-mark": Bad(file=S, change=utf16_bare, row=1, got="UTF-16", remedy="Save it as UTF-8"),
    "nul-byte": Bad(file=S, change=swap("0.4", "0.4\0"), row=3, got="a NUL byte", remedy="export it anew"),
    "semicolons": Bad(file=M, change=semicolons, row=1, got="semicolons", remedy="write.csv, not write.csv2"),
    "semicolons-decimal-commas": Bad(
        file=S, change=semicolons_and_commas, row=1, got="semicolons and decimal commas", remedy="points in numbers"
    ),
    "tabs": Bad(file=S, change=tabs, row=1, got="tabs", remedy="commas between columns"),
    "empty-file": Bad(file=M, change=becomes(b""), got="an empty file", remedy="Write the table"),
    "blank-file": Bad(file=M, change=becomes(b"\xef\xbb\xbf \r\n\n"), got="an empty file", remedy="Write the table"),
    "header-only": Bad(file=S, change=becomes(b"model,benchmark,score\n"), got="a header only", remedy="Add the rows"),
    "ragged-short": Bad(file=S, change=swap("a-1,code,0.4", "a-1,0.4"), row=3, got="2 cells", remedy="quotation marks"),
    "ragged-long": Bad(
        file=S, change=swap("a-1,code,0.4", "a-1,code,0,4"), row=3, got="4 cells", remedy="decimal point"
    ),
    "open-quote": Bad(file=M, change=swap("B 1", '"B 1'), row=4, got="does not parse", remedy="not closed"),
    # enough to ask the question
    "column-without-scores": Bad(
        file=S,
        change=all_of(swap("a-1,risk,0.1", "a-1,risk,"), swap("a-2,risk,0.2\n", ""), swap("risk,0.3", "risk,")),
        column="risk",
        got="no score at all",
        remedy="take the benchmark out",
    ),
    "model-without-scores": Bad(
        file=M, change=add("c-1,C,chat,C,,,\n"), reported=S, got='"c-1"', remedy="take the model out"
    ),
    "two-capability-columns": Bad(
        file=B, change=swap("code,capability", "code,reference"), column="role", got="2", remedy="add some"
    ),
    "no-capability-column": Bad(
        file=B,
        change=lambda c: c.replace(b"capability", b"reference"),
        column="role",
        got="no capability benchmark at",
        remedy="capability score",
    ),
}


def write(folder: Path, files: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return folder


def check(caught: pytest.ExceptionInfo[DataError], bad: Bad, folder: Path) -> None:
    """Check that there is one fault and that it says what the case demands."""
    error = caught.value
    assert error.exit_code == 3
    assert len(error.faults) == 1, str(error)
    fault = error.faults[0]
    assert fault.file == str(folder / (bad.reported or bad.file))
    assert (fault.row, fault.column) == (bad.row, bad.column), str(error)
    assert bad.got in fault.got
    assert bad.remedy in fault.remedy
    assert fault.expected
    assert fault.remedy.endswith(".")


@pytest.mark.parametrize("bad", FOLDER_CASES.values(), ids=FOLDER_CASES.keys())
def test_folder(tmp_path: Path, bad: Bad) -> None:
    folder = write(tmp_path / "table", GOOD)
    path = folder / bad.file
    path.write_bytes(bad.change(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        load_table(folder)
    check(caught, bad, folder)


W, D = "wide.csv", "wide.benchmarks.csv"
WIDE_CASES: dict[str, Bad] = {
    "column-without-entry": Bad(
        file=D,
        change=swap("risk,safety,lower_is_safer,harm,0,1,,50\n", ""),
        row=1,
        column="risk",
        got='"risk"',
        remedy="Add it to",
        reported=W,
    ),
    "entry-without-column": Bad(
        file=D,
        change=add("ethics,safety,higher_is_safer,,,,,\n"),
        row=6,
        column="benchmark",
        got='"ethics"',
        remedy="delete the row",
    ),
    "no-family-column": Bad(
        file=W,
        change=lambda c: without_column(c, "family"),
        row=1,
        column="family",
        got='"model"',
        remedy="Add the column",
    ),
    "no-class-column": Bad(
        file=W,
        change=lambda c: without_column(c, "type"),
        row=1,
        column="model_class",
        got='"model"',
        remedy="Add the column",
    ),
    "percent": Bad(file=W, change=swap("0.6,0.5", "60%,0.5"), row=3, column="math", got='"60%"', remedy="percent sign"),
    "own-column-name-in-faults": Bad(
        file=W, change=swap("2e9", "7B"), row=3, column="model_size", got='"7B"', remedy="number alone"
    ),
    "one-model": Bad(file=W, change=lambda c: b"\n".join(c.split(b"\n")[:2]), got="1", remedy="add models"),
    "same-model-twice": Bad(
        file=W, change=swap("a-2", "a-1"), row=3, column="model", got="first in row 2", remedy="rename"
    ),
    "same-model-two-classes": Bad(
        file=W, change=swap("b-1", "a-1"), row=4, column="model", got='as "base", here as "chat"', remedy="one lineage"
    ),
    "semicolons": Bad(file=W, change=semicolons_and_commas, row=1, got="semicolons", remedy="Save it again"),
    "empty-column": Bad(
        file=W,
        change=all_of(swap(",0.1", ","), swap(",0.2", ","), swap(",0.3", ",")),
        column="risk",
        got="no score at all",
        remedy="Add scores",
    ),
    "wrong-encoding": Bad(file=D, change=utf16, got="UTF-16", remedy="UTF-8"),
}


def without_column(content: bytes, column: str) -> bytes:
    """Return CSV without one column."""
    rows = [line.split(",") for line in content.decode().splitlines()]
    place = rows[0].index(column)
    return "\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows).encode()


@pytest.mark.parametrize("bad", WIDE_CASES.values(), ids=WIDE_CASES.keys())
def test_wide(tmp_path: Path, bad: Bad) -> None:
    folder = write(tmp_path / "table", GOOD_WIDE)
    path = folder / bad.file
    path.write_bytes(bad.change(path.read_bytes()))
    with pytest.raises(DataError) as caught:
        load_table(folder / W)
    check(caught, bad, folder)


TOML_CASES: dict[str, tuple[str, str, str | None, str, str]] = {
    "syntax": ("name = x", "table.toml", None, "syntax error", "Correct the file"),
    "unknown-key": ('titel = "x"', "table.toml", "titel", '"titel"', 'Did you mean "title"?'),
    "wrong-type": ("name = 3", "table.toml", "name", "3", "Correct the value"),
    "hash": ('[sha256]\n"scores.csv" = "00"', "scores.csv", None, "sha256", "new hash"),
    "hash-of-nothing": (
        '[sha256]\n"score.csv" = "00"',
        "table.toml",
        "sha256.score.csv",
        "score",
        'mean "scores.csv"?',
    ),
    "hashes-no-table": ('sha256 = "00"', "table.toml", "sha256", "'00'", "Correct the value"),
}


@pytest.mark.parametrize(("text", "file", "column", "got", "remedy"), TOML_CASES.values(), ids=TOML_CASES.keys())
def test_heading(tmp_path: Path, text: str, file: str, column: str | None, got: str, remedy: str) -> None:
    folder = write(tmp_path / "table", {**GOOD, "table.toml": text})
    with pytest.raises(DataError) as caught:
        load_table(folder)
    check(caught, Bad(file=file, change=add(""), column=column, got=got, remedy=remedy), folder)


def test_all_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", GOOD)
    (folder / S).write_bytes(all_of(swap("0.4", "n/a"), swap("0.6", "60%"), swap("0.7", "oo"))(SCORES.encode()))
    (folder / M).write_bytes(swap("A 2,base,A", "A 2,base,")(MODELS.encode()))
    (folder / B).write_bytes(all_of(swap("safety", "sefaty"), swap("0.25,100", "7,1.5"))(BENCHMARKS.encode()))
    with pytest.raises(DataError) as caught:
        load_table(folder)
    places = {(Path(f.file).name, f.row, f.column) for f in caught.value.faults}
    assert places == {
        (S, 3, "score"),
        (S, 6, "score"),
        (S, 10, "score"),
        (M, 3, "family"),
        (B, 5, "role"),
        (B, 2, "chance"),
        (B, 2, "n_items"),
    }
    assert str(caught.value).count("\n") == len(caught.value.faults) - 1


def test_rows_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", GOOD)
    (folder / M).write_bytes(MODELS.replace("A 1", '"A\n1"').replace("A 2,base,A", "A 2,base,").encode())
    (folder / S).write_bytes(SCORES.replace("0.4", "\n\n0.4x").replace("\n\n0.4x", "0.4x\n\n").encode())
    with pytest.raises(DataError) as caught:
        load_table(folder)
    rows = {Path(f.file).name: f.row for f in caught.value.faults}
    assert rows == {M: 4, S: 3}
    text = SCORES.replace("a-1,math", "\r\n\r\na-1,math").replace("0.7", "0.7x")
    (folder / M).write_bytes(MODELS.encode())
    (folder / S).write_bytes(text.encode())
    with pytest.raises(DataError) as caught:
        load_table(folder)
    assert [f.row for f in caught.value.faults] == [12]


def test_wide_misspelt_column_points_both_ways(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", GOOD_WIDE)
    (folder / W).write_bytes(swap("code", "coed")(WIDE.encode()))
    with pytest.raises(DataError) as caught:
        load_table(folder / W)
    first, second = caught.value.faults
    assert (first.column, second.row) == ("coed", 3)
    assert 'Did you mean "code"?' in first.remedy
    assert 'Did you mean "coed"?' in second.remedy


def test_wide_without_dictionary(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", {W: WIDE})
    with pytest.raises(DataError) as caught:
        load_table(folder / W)
    assert "wide.benchmarks.csv or benchmarks.csv" in caught.value.faults[0].expected
    with pytest.raises(DataError) as caught:
        load_wide(folder / W, folder / "dictionry.csv")
    assert caught.value.faults[0].file.endswith("dictionry.csv")


def test_two_benchmarks_only(tmp_path: Path) -> None:
    two = "".join(line for line in BENCHMARKS.splitlines(keepends=True) if not line.startswith(("code", "text")))
    wide = without_column(without_column(WIDE.encode(), "code"), "text").decode()
    folder = write(tmp_path / "table", {W: wide, D: two})
    with pytest.raises(DataError) as caught:
        load_table(folder / W)
    check(caught, Bad(file=D, change=add(""), column="role", got="1", remedy="capability score"), folder)


@pytest.mark.parametrize(("given", "hint"), [("helm-clasic", '"helm-classic"'), ("ren2042", '"ren2024"')])
def test_unknown_name(given: str, hint: str) -> None:
    with pytest.raises(DataError) as caught:
        load_table(given)
    assert caught.value.exit_code == 3
    assert f"Did you mean {hint}?" in str(caught.value)
    assert '"chat-2025", "helm-classic", "ren2024"' in str(caught.value)


def test_missing_file_lists_what_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", GOOD_WIDE)
    with pytest.raises(DataError) as caught:
        load_table(folder / "wyde.csv")
    assert 'Did you mean "wide.csv"?' in str(caught.value)
    with pytest.raises(DataError) as caught:
        load_table(folder)
    assert {Path(f.file).name for f in caught.value.faults} == {S, M, B}
    assert '"wide.csv"' in caught.value.faults[0].remedy


def test_folder_where_a_file_belongs_and_the_reverse(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", {M: MODELS, B: BENCHMARKS})
    (folder / S).mkdir()
    with pytest.raises(DataError) as caught:
        load_table(folder)
    check(caught, Bad(file=S, change=add(""), got="a folder", remedy="Name the file"), folder)
    text = tmp_path / "table.txt"
    text.write_text("x", encoding="utf-8")
    with pytest.raises(DataError, match=r'ends in "\.txt"'):
        load_table(text)


def test_one_file_out_of_a_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", GOOD)
    with pytest.raises(DataError, match="Name the folder"):
        load_table(folder / S)


def test_a_benchmark_that_looks_like_a_metadata_column_is_none(tmp_path: Path) -> None:
    wide = {name: text.replace("code", "note_s") for name, text in GOOD_WIDE.items()}
    assert "note_s" in load_table(write(tmp_path / "table", wide) / W).columns("capability")


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "table", GOOD)
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == M:
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError) as caught:
        load_table(folder)
    check(caught, Bad(file=M, change=add(""), got="Permission denied", remedy="permissions"), folder)


def test_source_that_is_not_listed(tmp_path: Path) -> None:
    scores = "".join(f"{line}{',source' if i == 0 else ',lab'}\n" for i, line in enumerate(SCORES.splitlines()))
    folder = write(tmp_path / "table", {**GOOD, S: scores, "sources.csv": "source,title\nlabs,The labs\n"})
    with pytest.raises(DataError) as caught:
        load_table(folder)
    check(caught, Bad(file=S, change=add(""), row=2, column="source", got='"lab"', remedy='mean "labs"?'), folder)


def test_parquet_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    folder = write(tmp_path / "table", {"wide.parquet": "PAR?", D: BENCHMARKS})
    with pytest.raises(DataError) as caught:
        load_table(folder / "wide.parquet")
    check(caught, Bad(file="wide.parquet", change=add(""), got="something else", remedy="save it as CSV"), folder)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "table", {"wide.parquet": "PAR1", D: BENCHMARKS})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPartError, match=r"safetystats\[parquet\]") as caught:
        load_table(folder / "wide.parquet")
    assert caught.value.exit_code == 5


def test_harmless_oddities_are_accepted(tmp_path: Path) -> None:
    plain = load_table(write(tmp_path / "plain", GOOD))
    odd = write(tmp_path / "odd", GOOD)
    for name, text in GOOD.items():
        (odd / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n ,,\r\n"[:2])
    table = load_table(odd)
    pd.testing.assert_frame_equal(table.scores, plain.scores)
    assert table.fingerprint == plain.fingerprint


def test_scores_outside_their_bounds_are_left_to_the_audit(tmp_path: Path) -> None:
    folder = write(tmp_path / "table", {**GOOD, S: SCORES.replace("a-1,math,0.5", "a-1,math,50")})
    assert load_table(folder).scores.loc["a-1", "math"] == 50.0
