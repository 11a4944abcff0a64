"""What came in, what was left out, and why: models, benchmarks and cells from the file to the analysis."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from safetystats.tables.table import ScoreTable

SHOWN_ROLES = ("capability", "safety")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flow:
    """The way of the data from the file to the analysis.

    Attributes
    ----------
    steps : DataFrame
        Columns step, models, benchmarks, cells, missing: counts after each step.
    classes : DataFrame
        One row per class: model_class, models, families, lineages, cells, missing (capability and safety columns).
    left_out : DataFrame
        Columns what, name, reason.
    """

    steps: pd.DataFrame
    classes: pd.DataFrame
    left_out: pd.DataFrame


def trace_flow(whole: ScoreTable, table: ScoreTable, aligned: ScoreTable, prepared: ScoreTable) -> Flow:
    """Return the flow from the table as read to the prepared one.

    Parameters
    ----------
    whole, table, aligned, prepared : ScoreTable
        As read; restricted to the classes of the study; aligned; z-scored.
    """
    analysed = prepared.select(roles=SHOWN_ROLES)
    steps = [
        _step("as read", whole),
        _step("classes and models of the study", table),
        _step("with a declared direction, aligned", aligned),
        _step("capability and safety benchmarks", aligned.select(roles=SHOWN_ROLES)),
        _step("that vary, standardised", analysed),
    ]
    classes = [
        {
            "model_class": label,
            "models": part.n_models,
            "families": part.models["family"].nunique(),
            "lineages": part.models["lineage"].nunique(),
            "cells": int(part.scores.notna().to_numpy().sum()),
            "missing": int(part.scores.isna().to_numpy().sum()),
        }
        for label in analysed.classes
        for part in [analysed.select(model_class=label)]
    ]
    left_out = [
        {
            "what": "model",
            "name": str(name),
            "reason": "excluded by the study"
            if label in table.classes
            else f'class "{label}" is not part of the study',
        }
        for name, label in whole.models["model_class"].items()
        if name not in table.models.index
    ]
    left_out += [
        {"what": "benchmark", "name": name, "reason": reason}
        for name, reason in prepared.preparation.dropped
        if name not in whole.benchmarks.index or whole.benchmarks.loc[name, "role"] in SHOWN_ROLES
    ]
    others = whole.benchmarks.index[~whole.benchmarks["role"].isin(SHOWN_ROLES)]
    left_out += [
        {
            "what": "benchmark",
            "name": str(name),
            "reason": f"role {whole.benchmarks.loc[name, 'role']}: kept for reference",
        }
        for name in others
    ]
    empty = analysed.scores[analysed.columns("capability")].isna().all(axis=1)
    left_out += [
        {"what": "model", "name": str(name), "reason": "no capability score"} for name in analysed.scores.index[empty]
    ]
    return Flow(
        steps=pd.DataFrame(steps),
        classes=pd.DataFrame(classes),
        left_out=pd.DataFrame(left_out, columns=["what", "name", "reason"]),
    )


def _step(step: str, table: ScoreTable) -> dict[str, object]:
    known = table.scores.notna().to_numpy()
    return {
        "step": step,
        "models": table.n_models,
        "benchmarks": known.shape[1],
        "cells": int(known.sum()),
        "missing": int((~known).sum()),
    }
