"""Scores of one new benchmark, as somebody brings them: a file with a model and a score in every row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.errors import Fault, StudyError, suggest
from safetystats.tables.parse import parse_identifiers, parse_numbers
from safetystats.tables.sheet import FaultList, read_sheet
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, ScoreTable

OWN_DIRECTIONS = ("higher_is_safer", "lower_is_safer", "zero_is_ideal", "higher_is_better")
_RANGES = (1.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnScores:
    """Scores of one benchmark by the names that their file gives the models.

    Attributes
    ----------
    file : str
        What faults name.
    models : tuple of str
    scores : tuple of float
        Finite; models without a score are left out.
    lines : tuple of (int or None)
        Lines of the file.
    n_empty : int
        Models without a score.
    """

    file: str
    models: tuple[str, ...]
    scores: tuple[float, ...]
    lines: tuple[int | None, ...]
    n_empty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBenchmark:
    """What is known of the new benchmark.

    Attributes
    ----------
    name : str
    direction : str
        One of `OWN_DIRECTIONS`.
    n_items : int or None
        Items behind a score that is a share of them.
    upper : float or None
        1 or 100, the score of a model with all items right; None: looked up from the scores where `n_items` is given.
    unit : str
        What a score is counted in.
    """

    name: str
    direction: str
    n_items: int | None = None
    upper: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        faults = []
        if self.direction not in OWN_DIRECTIONS:
            faults.append(
                Fault(
                    file="the new benchmark",
                    column="direction",
                    expected=f"one of {', '.join(OWN_DIRECTIONS)}",
                    got=self.direction or "nothing",
                    remedy=f"Say which way safety lies{suggest(self.direction, OWN_DIRECTIONS) or '.'}",
                )
            )
        if self.n_items is not None and self.n_items < 1:
            faults.append(
                Fault(
                    file="the new benchmark", column="items", expected="a positive whole number",
                    got=str(self.n_items), remedy="Give the number of items, or leave it out.",
                )
            )  # fmt: skip
        if self.upper is not None and self.upper not in _RANGES:
            faults.append(
                Fault(
                    file="the new benchmark", column="scale", expected="1 or 100", got=f"{self.upper:g}",
                    remedy="Give the score of a model with all items right, or leave it out.",
                )
            )  # fmt: skip
        if faults:
            raise StudyError(faults)


def read_own_scores(path: Path) -> OwnScores:
    """Read a CSV file with the columns `model` and `score`; others are ignored.

    Raises
    ------
    DataError
        With every fault of the file: encoding, separators, columns, names that stand twice, scores that are no numbers.
    """
    faults = FaultList()
    sheet = read_sheet(path, faults)
    if sheet is None or not sheet.require(("model", "score"), faults):
        faults.stop()
    models = parse_identifiers(sheet, "model", "model", faults, unique=True)
    scores = parse_numbers(sheet, "score", faults)
    faults.raise_if_any()
    return _kept(sheet.file, models, scores, sheet.lines)


def given_scores(scores: Mapping[str, float] | pd.Series | pd.DataFrame) -> OwnScores:
    """Return scores from memory: a mapping or Series by model, or a frame with the columns `model` and `score`.

    Raises
    ------
    DataError
        If columns are missing, a model stands twice, or a score is infinite.
    """
    file, faults = "the scores given", FaultList()
    if isinstance(scores, pd.DataFrame):
        missing = [name for name in ("model", "score") if name not in scores]
        for name in missing:
            faults.add(file, column=name, expected="a column of this name", got="none", remedy="Name the columns so.")
        faults.raise_if_any()
        models, values = scores["model"].tolist(), scores["score"].to_numpy(dtype=np.float64)
    else:
        series = pd.Series(scores, dtype="float64")
        models, values = series.index.tolist(), series.to_numpy()
    names = [str(model) for model in models]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.add(file, column="model", expected="every model once", got=f'"{name}" again', remedy="Keep one.")
    for name, value in zip(names, values, strict=True):
        if math.isinf(value):
            faults.add(
                file, column="score", expected="a finite number", got=f"{value} of {name}", remedy="Leave it out."
            )
    faults.raise_if_any()
    return _kept(file, names, values.tolist(), [None] * len(names))


def _kept(
    file: str, models: Sequence[str], scores: Sequence[float], lines: Sequence[int] | Sequence[int | None]
) -> OwnScores:
    kept = [place for place, score in enumerate(scores) if not math.isnan(score)]
    return OwnScores(
        file=file,
        models=tuple(models[i] for i in kept),
        scores=tuple(float(scores[i]) for i in kept),
        lines=tuple(lines[i] for i in kept),
        n_empty=len(scores) - len(kept),
    )


def upper_of(benchmark: OwnBenchmark, scores: OwnScores) -> float:
    """Return the top of the scale of shares: what was given, or the lesser of 1 and 100 that no score exceeds.

    NaN where items are unknown and no scale was given.

    Raises
    ------
    DataError
        If items are given, and scores lie outside the scale or outside both.
    """
    if benchmark.n_items is None and benchmark.upper is None:
        return math.nan
    least, most = min(scores.scores, default=0.0), max(scores.scores, default=0.0)
    upper = benchmark.upper or next((u for u in _RANGES if most <= u), _RANGES[-1])
    if benchmark.direction != "zero_is_ideal" and not 0 <= least <= most <= upper:
        faults = FaultList()
        for score, line in zip(scores.scores, scores.lines, strict=True):
            if not 0 <= score <= upper:
                faults.add(
                    scores.file,
                    row=line,
                    column="score",
                    expected=f"a share of the items between 0 and {upper:g}",
                    got=f"{score:g}",
                    remedy="Correct the score or the scale; leave the number of items out if scores are no shares.",
                )
        faults.raise_if_any()
    return upper


def own_table(benchmark: OwnBenchmark, scores: pd.Series, models: pd.DataFrame, upper: float) -> ScoreTable:
    """Return the scores as a table of one safety benchmark, in native units.

    Parameters
    ----------
    benchmark : OwnBenchmark
    scores : Series
        By model identifier, a subset of the index of `models`.
    models : DataFrame
        Columns `model_class`, `family`, `lineage`; index: model identifiers.
    upper : float
        From `upper_of`.
    """
    frame = models.loc[scores.index]
    known = {name: frame[name].to_numpy() for name in ("model_class", "family", "lineage")}
    empty = dict.fromkeys(MODEL_COLUMNS, "")
    numeric = dict.fromkeys(("n_params", "flop"), np.nan)
    about = pd.DataFrame({**empty, "name": frame.index, **known, **numeric}, index=frame.index)[list(MODEL_COLUMNS)]
    entry: dict[str, object] = dict.fromkeys(BENCHMARK_COLUMNS, "")
    entry |= {
        "name": benchmark.name, "role": "safety", "area": "new benchmark", "headline": True, "unit": benchmark.unit,
        "direction": benchmark.direction, "lower": 0.0 if upper == upper else np.nan, "upper": upper, "chance": np.nan,
        "n_items": np.nan if benchmark.n_items is None else float(benchmark.n_items),
    }  # fmt: skip
    index = pd.Index([benchmark.name], name="benchmark", dtype="str")
    return ScoreTable(
        name="new benchmark",
        title=benchmark.name,
        scores=scores.to_frame(benchmark.name).astype("float64").set_axis(index, axis=1),
        models=about,
        benchmarks=pd.DataFrame([entry], index=index)[list(BENCHMARK_COLUMNS)],
    )
