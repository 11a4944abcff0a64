"""What a fit is given: the arrays of a table, the structure that a spec asks for, and the graph that serves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.inference.arrays import FloatArray, GraphKind, IntArray, Structure
from safetystats.inference.parameters import FactorData
from safetystats.specs import FactorSpec
from safetystats.tables.noise import sampling_variance
from safetystats.tables.table import ScoreTable

MIN_GROUP = 2
"""Fewest capability benchmarks of an area that get a factor of their own."""


def family_codes(table: ScoreTable) -> IntArray:
    """Return families as 0, 1, ... in order of appearance, shape (n_models,)."""
    return np.asarray(pd.factorize(table.models["family"])[0], dtype=np.int64)


def noise_of(table: ScoreTable, names: list[str], spec: FactorSpec) -> FloatArray:
    """Return the error variances that the spec asks for, in squared units of the prepared scores; zero elsewhere."""
    if spec.measurement == "exact":
        return np.zeros((table.n_models, len(names)))
    return known_noise(table, names)


def known_noise(table: ScoreTable, names: list[str]) -> FloatArray:
    """Return the error variances that item counts imply, shape (n_models, n_names); zero where items are unknown."""
    known = sampling_variance(table)[names].to_numpy(dtype=np.float64)
    return np.asarray(np.nan_to_num(known, nan=0.0))


def data_of(table: ScoreTable, names: list[str], spec: FactorSpec) -> FactorData:
    """Return the columns of a class's prepared table as the data of a fit."""
    return FactorData(values=table.matrix(names), families=family_codes(table), noise=noise_of(table, names, spec))


def areas_with_factors(table: ScoreTable) -> list[str]:
    """Return the areas with at least `MIN_GROUP` capability benchmarks, in table order."""
    counts = table.benchmarks.loc[table.columns("capability"), "area"].value_counts(sort=False)
    return [str(area) for area in counts.index[counts >= MIN_GROUP]]


def structure_of(table: ScoreTable, names: list[str], spec: FactorSpec) -> Structure:
    """Return which columns define capability and which further factors they load on.

    Raises
    ------
    DataError
        If the spec has a factor for every area and no area has two capability benchmarks, or all are in one area.
    """
    anchors = np.isin(names, table.columns("capability"))
    if spec.further == "none":
        pattern = np.zeros((len(names), 0), dtype=bool)
    elif spec.further == "unrestricted":
        pattern = np.repeat(anchors[:, None], spec.n_further, axis=1)
    else:
        areas = areas_with_factors(table)
        own = table.benchmarks.loc[names, "area"].to_numpy()
        pattern = anchors[:, None] & (own[:, None] == np.array(areas, dtype=object)[None, :])
        if not areas or ((anchors == pattern.any(axis=1)).all() and len(areas) == 1):
            raise DataError(
                [
                    Fault(
                        file=table.name,
                        column="area",
                        expected=f"an area with {MIN_GROUP} or more, but not all, of the capability benchmarks",
                        got=", ".join(sorted({str(area) for area in own[anchors]})),
                        remedy="Divide the capability benchmarks into areas, or choose a spec without further factors.",
                    )
                ]
            )
    return Structure(anchors=anchors, pattern=pattern.astype(bool), families=spec.families)


def kind_for(tables: Sequence[ScoreTable], spec: FactorSpec) -> GraphKind | None:
    """Return one graph that serves the capability benchmarks of these tables and one further column.

    None where factors can be integrated out, which needs no graph: not where the spec has sampling error, or a table
    more missing cells than models.
    """
    if not any(_needs_graph(table, spec) for table in tables):
        return None
    names = [table.columns("capability") for table in tables]
    return GraphKind(
        n_models=max(table.n_models for table in tables),
        n_benchmarks=max(len(n) for n in names) + 1,
        n_families=max(table.models["family"].nunique() for table in tables),
        n_further=max(structure_of(t, n, spec).pattern.shape[1] for t, n in zip(tables, names, strict=True)),
        noisy=spec.measurement == "binomial",
    )


def kinds_for(tables: Mapping[str, ScoreTable], spec: FactorSpec) -> dict[str, GraphKind | None]:
    """Return the graph of every class; classes that need one share it.

    Raises
    ------
    DataError
        If the spec asks for further factors that a table's areas do not give.
    """
    for table in tables.values():
        structure_of(table, table.columns("capability"), spec)
    needing = {label for label, table in tables.items() if _needs_graph(table, spec)}
    shared = kind_for([tables[label] for label in needing], spec)
    return {label: shared if label in needing else None for label in tables}


def _needs_graph(table: ScoreTable, spec: FactorSpec) -> bool:
    gaps = int((~np.isfinite(table.matrix(table.columns("capability")))).sum())
    return spec.measurement == "binomial" or gaps > table.n_models
