"""The last check before a `ScoreTable` exists: is there enough in it to ask the question."""

from __future__ import annotations

import pandas as pd

from safetystats.tables.sheet import FaultList
from safetystats.tables.table import CELL_COLUMNS, ScoreTable

MIN_MODELS = 3
MIN_CAPABILITY = 3


def assemble(
    *,
    name: str,
    title: str,
    scores: pd.DataFrame,
    models: pd.DataFrame,
    benchmarks: pd.DataFrame,
    sources: pd.DataFrame,
    cells: pd.DataFrame | None = None,
    file: str,
    dictionary: str,
) -> ScoreTable:
    """Return the table, or raise `DataError` if it is too small or has empty rows or columns.

    Parameters
    ----------
    name, title : str
        See `ScoreTable`.
    scores : DataFrame, shape (n_models, n_benchmarks)
        Index and columns equal to the index of `models` and of `benchmarks`.
    models, benchmarks, sources, cells : DataFrame
        See `ScoreTable`.
    file, dictionary : str
        The files to name in faults: that with the scores and that with the benchmarks.
    """
    faults = FaultList()
    for benchmark in scores.columns[scores.isna().all(axis=0)]:
        faults.add(
            file,
            column=str(benchmark),
            expected="at least one score",
            got="no score at all",
            remedy="Add scores, or take the benchmark out of the table and its dictionary.",
        )
    for model in scores.index[scores.isna().all(axis=1)]:
        faults.add(
            file,
            expected="at least one score for every model",
            got=f'no score for "{model}"',
            remedy="Add scores, or take the model out.",
        )
    if len(scores.index) < MIN_MODELS:
        faults.add(
            file,
            expected=f"at least {MIN_MODELS} models",
            got=f"{len(scores.index)}",
            remedy="A correlation over fewer says nothing: add models.",
        )
    n_capability = int((benchmarks["role"] == "capability").sum())
    if n_capability < MIN_CAPABILITY:
        faults.add(
            dictionary,
            column="role",
            expected=f"at least {MIN_CAPABILITY} benchmarks with the role capability",
            got=f"{n_capability}" if n_capability else "no capability benchmark at all",
            remedy="The capability score is estimated from them: add some, or give the role to those that measure it.",
        )
    faults.raise_if_any()
    return ScoreTable(
        name=name,
        title=title,
        scores=scores.astype("float64"),
        models=models,
        benchmarks=benchmarks,
        sources=sources,
        cells=cells if cells is not None else pd.DataFrame(columns=list(CELL_COLUMNS)),
    )
