"""From a score table to the arrays that are correlated: the 2024 recipe on native columns, all else on aligned ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from safetystats.errors import DataError, Fault, suggest
from safetystats.scores.capability import Missing, ScoreMethod
from safetystats.scores.correlation import FEWEST_MODELS
from safetystats.scores.resampling import Target, models_with_both
from safetystats.scores.weighted import Correlation, FloatArray
from safetystats.tables.prepare import align
from safetystats.tables.table import ScoreTable

RecipeMethod = Literal["spearman_2024", "spearman", "kendall", "pearson"]
RECIPE_METHODS: tuple[RecipeMethod, ...] = get_args(RecipeMethod)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """Which correlations are asked of a table, class by class.

    Attributes
    ----------
    label : str
        What stands in the column `method` of the answer.
    benchmarks, areas : list of str, length B
    targets : mapping from class to Target
    families, lineages : mapping from class to list of str, length n_class
    """

    label: str
    benchmarks: list[str]
    areas: list[str]
    targets: Mapping[str, Target]
    families: Mapping[str, list[str]]
    lineages: Mapping[str, list[str]]

    def scored_lineages(self, model_class: str, benchmark: int) -> set[str]:
        """Return lineages with both score and benchmark number `benchmark` in a class."""
        both = models_with_both(self.targets[model_class])[:, benchmark]
        return {lineage for lineage, known in zip(self.lineages[model_class], both, strict=True) if known}


def ask(
    table: ScoreTable,
    method: RecipeMethod,
    *,
    score_method: ScoreMethod,
    roles: Sequence[str],
    capability: Sequence[str] | None,
    missing: Missing,
) -> Question:
    """Return the arrays for one method.

    Parameters
    ----------
    table : ScoreTable
        In native scores; an aligned table will do for all methods but "spearman_2024".
    method, score_method, roles, capability, missing
        As in `safetystats.scores.recipe.capability_correlations`.

    Raises
    ------
    DataError
        "spearman_2024" of an aligned table, an unknown or constant capability benchmark.
    """
    if method not in RECIPE_METHODS:
        raise ValueError(f"method must be one of {', '.join(RECIPE_METHODS)}; got {method!r}")
    if method == "spearman_2024" and table.preparation.aligned:
        fault = Fault(
            file=table.name,
            expected="native scores for spearman_2024",
            got="an aligned table",
            remedy="Pass the table as it was read.",
        )
        raise DataError([fault])
    made: ScoreMethod = "spearman_pca_2024" if method == "spearman_2024" else score_method
    correlation: Correlation = "spearman" if method == "spearman_2024" else method
    prepared = table if method == "spearman_2024" or table.preparation.aligned else align(table)
    names = prepared.select(roles=roles).columns()
    inside = {name: j for j, name in enumerate(capability_names(prepared, capability))}
    parts = {model_class: prepared.select(model_class=model_class) for model_class in prepared.classes}
    targets = {
        model_class: Target(
            capability=capability_matrix(part, capability),
            values=part.matrix(names),
            member=np.array([inside.get(name, -1) for name in names], dtype=np.int64),
            score_method=made,
            correlation=correlation,
            missing=missing,
        )
        for model_class, part in parts.items()
    }
    return Question(
        label=method if made == "spearman_pca_2024" else f"{method}/{made}",
        benchmarks=names,
        areas=[str(area) for area in prepared.benchmarks.loc[names, "area"]],
        targets=targets,
        families={model_class: list(part.models["family"]) for model_class, part in parts.items()},
        lineages={model_class: list(part.models["lineage"]) for model_class, part in parts.items()},
    )


def capability_names(table: ScoreTable, capability: Sequence[str] | None) -> list[str]:
    """Return the benchmarks of the capability score: those given, else all of role "capability"."""
    if capability is None:
        return table.columns("capability")
    known = table.columns()
    faults = [
        Fault(
            file=table.name,
            column=name,
            expected="a capability benchmark of this table",
            got=f"an unknown name{suggest(name, known)}",
            remedy="Correct the name.",
        )
        for name in capability
        if name not in known
    ]
    if faults:
        raise DataError(faults)
    return list(capability)


def capability_matrix(table: ScoreTable, capability: Sequence[str] | None) -> FloatArray:
    """Return capability scores of one class, shape (n, k).

    Raises
    ------
    DataError
        Fewer than 3 models, or a column that does not vary; the message names it.
    """
    frame = table.scores[capability_names(table, capability)]
    if table.n_models < FEWEST_MODELS:
        fault = Fault(
            file=table.name,
            expected=f"at least {FEWEST_MODELS} models in every class",
            got=f"{table.n_models} of class {', '.join(table.classes)}",
            remedy="Leave the class out, or add models.",
        )
        raise DataError([fault])
    faults = [
        Fault(
            file=table.name,
            column=str(name),
            expected=f"a capability benchmark that varies between {', '.join(table.classes)} models",
            got=f"{frame[name].nunique()} distinct value(s)",
            remedy="Leave it out of the capability benchmarks.",
        )
        for name in frame.columns
        if frame[name].nunique() < 2
    ]
    if faults:
        raise DataError(faults)
    values: FloatArray = frame.to_numpy(dtype=np.float64, copy=True)
    return values
