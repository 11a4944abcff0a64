"""From native scores to the scale on which the statistics are done: align, transform, standardise, in this order.

Each verb returns a new table and writes what it did into `ScoreTable.preparation`. `benchmarks.direction` keeps saying
what was declared for the native scores; `lower`, `upper` and `chance` follow the alignment (so that they bound the
aligned scores) and are not touched by transforms and standardisation.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np
import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.tables.sheet import quoted
from safetystats.tables.table import FloatArray, ScoreTable
from safetystats.tables.transforms import (
    IdentityTransform,
    LogitTransform,
    RankNormalTransform,
    Transform,
    TransformName,
)

Grouping = Literal["class", "pooled"]
POOLED = "all"
_NO_DIRECTION = {
    "undeclared": "its direction is undeclared: it may not enter a safety analysis until it is",
    "none": "it has no direction: a count or an effort, not an achievement",
}
_RELATIVE_ZERO = 1e-12


def align(table: ScoreTable) -> ScoreTable:
    """Make every column point upward: higher is better, higher is safer.

    Parameters
    ----------
    table : ScoreTable
        In native scores. An aligned table is returned as it is.

    Returns
    -------
    ScoreTable
        higher_is_better and higher_is_safer columns unchanged; lower_is_safer columns negated, their bounds swapped and
        negated, their chance level negated; zero_is_ideal columns as -abs(x), bounded above by 0 and below by minus the
        farther bound, without a chance level. Columns of direction undeclared or none are left out and named in
        `preparation.dropped`. Units stay what they were: a step of one unit is a step of one unit.

    Raises
    ------
    ValueError
        If the table was transformed or standardised before.
    """
    done = table.preparation
    if done.aligned:
        return table
    if done.transform != "identity" or done.standardised != "none":
        raise ValueError("align comes before transform and standardise")
    direction = table.benchmarks["direction"]
    dropped = tuple((str(name), _NO_DIRECTION[word]) for name, word in direction.items() if word in _NO_DIRECTION)
    kept = table.select(benchmarks=direction.index[~direction.isin(list(_NO_DIRECTION))])
    direction = kept.benchmarks["direction"]
    negated = (direction == "lower_is_safer").to_numpy()
    two_sided = (direction == "zero_is_ideal").to_numpy()
    values = kept.matrix()
    values[:, negated] = -values[:, negated]
    values[:, two_sided] = -np.abs(values[:, two_sided])
    values += 0.0  # no negative zeros
    lower, upper, chance = (
        kept.benchmarks[c].to_numpy(dtype=np.float64, copy=True) for c in ("lower", "upper", "chance")
    )
    farther = np.maximum(np.abs(lower), np.abs(upper))
    benchmarks = kept.benchmarks.assign(
        lower=np.select([negated, two_sided], [-upper, -farther], lower) + 0.0,
        upper=np.select([negated, two_sided], [-lower, np.zeros_like(upper)], upper) + 0.0,
        chance=np.select([negated, two_sided], [-chance, np.full_like(chance, np.nan)], chance) + 0.0,
    )
    return kept.replace(
        scores=_frame(values, kept),
        benchmarks=benchmarks,
        preparation=dataclasses.replace(done, aligned=True, dropped=(*done.dropped, *dropped)),
    )


def fit_transforms(
    table: ScoreTable,
    name: TransformName,
    *,
    by: Grouping = "class",
    unbounded: Literal["refuse", "keep"] = "refuse",
) -> dict[tuple[str, str], Transform]:
    """Return the transform of every column within every group of models; parameters as in `transform`.

    Returns
    -------
    dict
        Keys are (group, benchmark), where the group is a model class, or "all" if pooled.
    """
    if name not in get_args(TransformName):
        raise ValueError(f"no transform {name!r}; there are {quoted(get_args(TransformName))}")
    if name == "identity":
        return {(group, b): IdentityTransform() for group in _groups(table, by) for b in table.columns()}
    if name == "logit":
        shared = _logits(table, unbounded)
        return {(group, b): shared[b] for group in _groups(table, by) for b in table.columns()}
    return {
        (group, b): RankNormalTransform.from_scores(table.scores.loc[rows, b].to_numpy(dtype=np.float64))
        for group, rows in _groups(table, by).items()
        for b in table.columns()
    }


def _logits(table: ScoreTable, unbounded: Literal["refuse", "keep"]) -> dict[str, Transform]:
    """Return the logit of every column; raise DataError for columns without bounds and for scores outside them."""
    faults = []
    transforms: dict[str, Transform] = {}
    endless = table.benchmarks.index[~np.isfinite(table.benchmarks["upper"] - table.benchmarks["lower"])]
    if len(endless) and unbounded == "refuse":
        faults.append(
            Fault(
                file=table.name,
                expected="declared bounds (lower and upper) for every column, which the logit needs",
                got=f"none for {quoted(endless, limit=len(endless))}",
                remedy="Declare them in the benchmark dictionary, leave these benchmarks out, choose rank_normal or "
                'identity, or keep these columns as they are (unbounded = "keep").',
            )
        )
    for name in table.columns():
        row = table.benchmarks.loc[name]
        lower, upper = float(row["lower"]), float(row["upper"])
        if name in endless:
            transforms[name] = IdentityTransform()
            continue
        scores = table.scores[name]
        outside = scores.index[(scores < lower) | (scores > upper)]
        if len(outside):
            faults.append(
                Fault(
                    file=table.name,
                    column=name,
                    expected=f"scores between {lower:g} and {upper:g}, as declared",
                    got=f"{scores[outside[0]]:g} for {quoted(outside, limit=3)}",
                    remedy="Correct the scores or the bounds: the logit of a score outside is not defined.",
                )
            )
        transforms[name] = LogitTransform.from_items(
            lower=lower, upper=upper, chance=float(row["chance"]), n_items=float(row["n_items"])
        )
    if faults:
        raise DataError(faults)
    return transforms


def transform(
    table: ScoreTable,
    name: TransformName,
    *,
    by: Grouping = "class",
    unbounded: Literal["refuse", "keep"] = "refuse",
) -> ScoreTable:
    """Apply one monotone transform to every column.

    Parameters
    ----------
    table : ScoreTable
        Not yet transformed or standardised; aligned first, if it is to be aligned at all.
    name : {"identity", "logit", "rank_normal"}
        See `safetystats.tables.transforms`: log odds above the chance level, or normal scores of the ranks.
    by : {"class", "pooled"}
        Among which models rank_normal ranks.
    unbounded : {"refuse", "keep"}
        What logit does with columns whose bounds are not declared: an error that names them, or leave them as they are.

    Returns
    -------
    ScoreTable
        Missing scores stay missing.

    Raises
    ------
    DataError
        For logit: columns without bounds, scores outside the bounds.
    ValueError
        If the table was transformed or standardised before.
    """
    done = table.preparation
    if done.transform != "identity" or done.standardised != "none":
        raise ValueError("transform comes once, and before standardise")
    fitted = fit_transforms(table, name, by=by, unbounded=unbounded)
    values = table.matrix()
    for group, rows in _groups(table, by).items():
        for place, benchmark in enumerate(table.columns()):
            values[rows, place] = fitted[group, benchmark].forward(values[rows, place])
    return table.replace(scores=_frame(values, table), preparation=dataclasses.replace(done, transform=name))


def standardise(table: ScoreTable, by: Grouping = "class") -> ScoreTable:
    """Turn every column into z-scores (sd with ddof 0) over the models that have a score.

    Parameters
    ----------
    table : ScoreTable
        Not yet standardised.
    by : {"class", "pooled"}
        Whether mean and sd are taken within each model class or over all models.

    Returns
    -------
    ScoreTable
        `location` and `spread` hold what was removed, NaN where there was nothing to standardise. A column that is
        constant within a class (or has one score there) is missing for this class, one that is so everywhere is left
        out; `preparation.dropped` names both with the reason.

    Raises
    ------
    ValueError
        If the table is standardised already.
    """
    done = table.preparation
    if done.standardised != "none":
        raise ValueError("the table is standardised already; unstandardise it first")
    values = table.matrix()
    names = table.columns()
    groups = _groups(table, by)
    location = np.full((len(groups), len(names)), np.nan)
    spread = np.full((len(groups), len(names)), np.nan)
    flat: dict[str, list[str]] = {}
    for g, (group, rows) in enumerate(groups.items()):
        for b, name in enumerate(names):
            observed = values[rows, b][~np.isnan(values[rows, b])]
            if not len(observed):
                continue
            if np.ptp(observed) <= _RELATIVE_ZERO * np.max(np.abs(observed)):
                what = "only one score" if len(observed) == 1 else "all scores are equal"
                flat.setdefault(name, []).append(f"{what} in {group}" if by == "class" else what)
                values[rows, b] = np.nan
                continue
            location[g, b], spread[g, b] = observed.mean(), observed.std()
            values[rows, b] = (values[rows, b] - location[g, b]) / spread[g, b]
    left = [name for b, name in enumerate(names) if np.isfinite(spread[:, b]).any()]
    index = pd.Index(list(groups), name="model_class", dtype="str")
    result = table.replace(
        scores=_frame(values, table),
        location=pd.DataFrame(location, index=index, columns=table.scores.columns),
        spread=pd.DataFrame(spread, index=index, columns=table.scores.columns),
        preparation=dataclasses.replace(
            done,
            standardised=by,
            dropped=(*done.dropped, *((name, "; ".join(reasons)) for name, reasons in flat.items())),
        ),
    )
    return result if len(left) == len(names) else result.select(benchmarks=left)


def unstandardise(table: ScoreTable) -> ScoreTable:
    """Return the table before `standardise`, except for the columns that it left out.

    Raises
    ------
    ValueError
        If the table is not standardised.
    """
    by = table.preparation.standardised
    if by == "none":
        raise ValueError("the table is not standardised")
    values = table.matrix()
    for group, rows in _groups(table, by).items():
        location, spread = (m.loc[group].to_numpy(dtype=np.float64) for m in (table.location, table.spread))
        values[rows] = values[rows] * spread + location
    return table.replace(
        scores=_frame(values, table),
        location=pd.DataFrame(),
        spread=pd.DataFrame(),
        preparation=dataclasses.replace(table.preparation, standardised="none"),
    )


def _groups(table: ScoreTable, by: Grouping) -> dict[str, np.ndarray]:
    """Return boolean row masks, shape (n_models,), by model class or for all models together."""
    if by == "pooled":
        return {POOLED: np.ones(table.n_models, dtype=bool)}
    if by != "class":
        raise ValueError(f'by must be "class" or "pooled", got {by!r}')
    classes = table.models["model_class"].to_numpy()
    return {name: classes == name for name in table.classes}


def _frame(values: FloatArray, like: ScoreTable) -> pd.DataFrame:
    return pd.DataFrame(values, index=like.scores.index, columns=like.scores.columns)
