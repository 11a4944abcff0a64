"""The one container every later floor takes: scores of models on benchmarks, with what is known of both.

A `ScoreTable` is frozen. Every verb returns a new table; the frames inside are copies and must not be edited.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.shelf import sha256_bytes

Role = Literal["capability", "safety", "reference", "bookkeeping"]
Direction = Literal["higher_is_better", "higher_is_safer", "lower_is_safer", "zero_is_ideal", "undeclared", "none"]
ROLES: tuple[str, ...] = get_args(Role)
DIRECTIONS: tuple[str, ...] = get_args(Direction)

MODEL_COLUMNS: tuple[str, ...] = (
    "name", "model_class", "family", "lineage", "n_params", "flop", "release_date", "access", "note",
)  # fmt: skip
BENCHMARK_COLUMNS: tuple[str, ...] = (
    "name", "role", "area", "headline", "metric", "direction", "unit",
    "lower", "upper", "chance", "n_items", "source", "note",
)  # fmt: skip
SOURCE_COLUMNS: tuple[str, ...] = ("title", "url", "date", "table", "licence")
CELL_COLUMNS: tuple[str, ...] = ("source", "source_label", "setting", "note")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What has been done to the scores since they were read.

    Attributes
    ----------
    aligned : bool
        True once every column points upward (higher = better, higher = safer; two-sided columns are -abs(x)).
    transform : {"identity", "logit", "rank_normal"}
        Monotone transform applied after alignment.
    standardised : {"none", "class", "pooled"}
        Whether columns are z-scores (ddof 0), and within which models their mean and sd were taken.
    dropped : tuple of (str, str)
        Benchmarks left out by a step, each with the reason.
    """

    aligned: bool = False
    transform: Literal["identity", "logit", "rank_normal"] = "identity"
    standardised: Literal["none", "class", "pooled"] = "none"
    dropped: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoreTable:
    """Scores of models on benchmarks.

    Attributes
    ----------
    name, title : str
        Short identifier and human title.
    scores : DataFrame, shape (n_models, n_benchmarks), float64
        Index: model identifiers; columns: benchmark identifiers; NaN where there is no score.
    models : DataFrame, one row per model, same index as `scores`
        Columns `MODEL_COLUMNS`; `model_class`, `family`, `lineage` are never empty (a model without a declared lineage
        is its own lineage). `n_params` and `flop` are floats, NaN if unknown.
    benchmarks : DataFrame, one row per benchmark, index equal to the columns of `scores`
        Columns `BENCHMARK_COLUMNS`; `role` in `ROLES`, `direction` in `DIRECTIONS`; `lower`, `upper`, `chance`,
        `n_items` are floats in native units, NaN if unknown; `headline` is bool.
    sources : DataFrame
        Index: source identifier; columns `SOURCE_COLUMNS`.
    cells : DataFrame
        Optional facts about single scores, MultiIndex (model, benchmark), columns `CELL_COLUMNS`; may be empty.
    preparation : Preparation
        What has been done to `scores` since reading.
    location, spread : DataFrame, index: model_class (or "all" if pooled), columns: benchmarks
        Mean and sd (ddof 0) that standardisation removed, in units of the transformed scale; empty before.
    """

    name: str
    title: str
    scores: pd.DataFrame
    models: pd.DataFrame
    benchmarks: pd.DataFrame
    sources: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(SOURCE_COLUMNS)))
    cells: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(CELL_COLUMNS)))
    preparation: Preparation = field(default_factory=Preparation)
    location: pd.DataFrame = field(default_factory=pd.DataFrame)
    spread: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def n_models(self) -> int:
        """Number of models (rows)."""
        return len(self.scores.index)

    @property
    def classes(self) -> tuple[str, ...]:
        """Model classes in order of appearance."""
        return tuple(dict.fromkeys(self.models["model_class"]))

    @property
    def fingerprint(self) -> str:
        """Hex sha256 of the content: scores, what is known of models and benchmarks, and the preparation."""
        scores = self.scores.to_numpy(dtype=np.float64)
        labels = [
            frame.to_csv(float_format="%.17g", lineterminator="\n").encode("utf-8")
            for frame in (self.models, self.benchmarks, self.location, self.spread)
        ]
        return sha256_bytes(np.ascontiguousarray(scores).tobytes(), *labels, repr(self.preparation).encode())

    def columns(self, role: str | None = None, area: str | None = None) -> list[str]:
        """Return benchmark identifiers, in table order, of one role or area."""
        keep = pd.Series(True, index=self.benchmarks.index)
        if role is not None:
            keep &= self.benchmarks["role"] == role
        if area is not None:
            keep &= self.benchmarks["area"] == area
        return [str(name) for name in self.benchmarks.index[keep]]

    def matrix(self, benchmarks: Sequence[str] | None = None) -> FloatArray:
        """Return a copy of the scores as an array of shape (n_models, n_benchmarks), NaN where missing."""
        frame = self.scores if benchmarks is None else self.scores[list(benchmarks)]
        return np.array(frame, dtype=np.float64)

    def select(
        self,
        *,
        models: Iterable[str] | None = None,
        model_class: str | Sequence[str] | None = None,
        benchmarks: Iterable[str] | None = None,
        roles: Sequence[str] | None = None,
    ) -> ScoreTable:
        """Return the table restricted to some models and benchmarks, in table order."""
        rows = pd.Series(True, index=self.models.index)
        if models is not None:
            rows &= self.models.index.isin(list(models))
        if model_class is not None:
            wanted = [model_class] if isinstance(model_class, str) else list(model_class)
            rows &= self.models["model_class"].isin(wanted)
        columns = pd.Series(True, index=self.benchmarks.index)
        if benchmarks is not None:
            columns &= self.benchmarks.index.isin(list(benchmarks))
        if roles is not None:
            columns &= self.benchmarks["role"].isin(list(roles))
        row_ids, column_ids = self.models.index[rows], self.benchmarks.index[columns]
        cells = self.cells
        if len(cells):
            inside = cells.index.get_level_values(0).isin(row_ids) & cells.index.get_level_values(1).isin(column_ids)
            cells = cells[inside]
        moments = [m[[c for c in column_ids if c in m.columns]] if len(m) else m for m in (self.location, self.spread)]
        return self.replace(
            scores=self.scores.loc[row_ids, column_ids],
            models=self.models.loc[row_ids],
            benchmarks=self.benchmarks.loc[column_ids],
            cells=cells,
            location=moments[0],
            spread=moments[1],
        )

    def replace(self, **changes: object) -> ScoreTable:
        """Return a copy with some fields exchanged; an unknown field raises TypeError."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]
