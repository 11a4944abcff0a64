"""What leaving models out can make of a capabilities correlation: every small set exactly, larger ones greedily.

A set of models is a row of zeros and ones; a zero takes the model out of everything, the capability score included
(`safetystats.scores.resampling.correlations_under`), so that each number is that of a table without these models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Literal

import numpy as np

from safetystats.scores.correlation import IntArray
from safetystats.scores.resampling import Target, correlations_under
from safetystats.scores.weighted import FloatArray

EXACT_SIZE = 3
"""Sets of up to this many models are all looked at."""
FEWEST_LEFT = 8
"""A set is not looked at if fewer models than this are left: coefficients of fewer can be anything."""
TIE = 1e-9
"""Coefficients nearer than this are the same but for rounding; the set that comes first is kept."""

Removed = tuple[int, ...]
Side = Literal["high", "low", "none"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Extremes:
    """The range of a statistic over all sets of k models that could have been left out.

    Attributes
    ----------
    k : int
        Models left out.
    lowest, highest, smallest : array, shape (B,)
        The last is the one of smallest absolute value. NaN where no set gives a number.
    removed_lowest, removed_highest, removed_smallest : tuple of tuple of int, length B
        The models, by place, whose removal gives these.
    n_sets : int
        Sets looked at.
    """

    k: int
    lowest: FloatArray
    highest: FloatArray
    smallest: FloatArray
    removed_lowest: tuple[Removed, ...]
    removed_highest: tuple[Removed, ...]
    removed_smallest: tuple[Removed, ...]
    n_sets: int


def side_of(correlation: float, limit: float) -> Side:
    """Return the label of 2024 of a coefficient: a coefficient at the limit, but for rounding, reaches it."""
    if not math.isfinite(correlation):
        return "none"
    return "high" if abs(correlation) >= limit - TIE else "low"


def every_set(n_models: int, k: int) -> IntArray:
    """Return all sets of k of n models, shape (n choose k, k), in lexical order."""
    flat = np.fromiter(
        chain.from_iterable(combinations(range(n_models), k)), dtype=np.int64, count=k * math.comb(n_models, k)
    )
    return np.asarray(flat.reshape(-1, k))


def kept_after(sets: IntArray, n_models: int) -> FloatArray:
    """Return the weights that leave each of the sets out, shape (n_sets, n_models): zero for its models, else one."""
    weights = np.ones((len(sets), n_models))
    weights[np.arange(len(sets))[:, None], sets] = 0.0
    return weights


def largest_exact(n_models: int) -> int:
    """Return up to how many models all sets are looked at: `EXACT_SIZE`, fewer if too few models would be left."""
    return max(0, min(EXACT_SIZE, n_models - FEWEST_LEFT))


def largest_greedy(n_models: int) -> int:
    """Return how many models a greedy path leaves out at most: a quarter, and as many as leaves `FEWEST_LEFT`."""
    return max(largest_exact(n_models), min(n_models // 4, n_models - FEWEST_LEFT))


def reachable_exactly(target: Target, k: int) -> Extremes:
    """Return the range of every benchmark's correlation over all sets of k models left out.

    Parameters
    ----------
    target : Target
    k : int
        At least 1.
    """
    n = len(target.values)
    sets = every_set(n, k)
    return extremes_of(correlations_under(target, kept_after(sets, n)), sets)


def extremes_of(values: FloatArray, sets: IntArray) -> Extremes:
    """Return the range of each column over sets.

    Parameters
    ----------
    values : array, shape (n_sets, B)
    sets : array of int, shape (n_sets, k)
    """
    lowest, removed_lowest = _least(values, values, sets)
    highest, removed_highest = _least(-values, values, sets)
    smallest, removed_smallest = _least(np.abs(values), values, sets)
    return Extremes(
        k=sets.shape[1], lowest=lowest, highest=highest, smallest=smallest, removed_lowest=removed_lowest,
        removed_highest=removed_highest, removed_smallest=removed_smallest, n_sets=len(sets),
    )  # fmt: skip


def _least(ordered: FloatArray, values: FloatArray, sets: IntArray) -> tuple[FloatArray, tuple[Removed, ...]]:
    """Return, for each column, the value where `ordered` is least, and its set."""
    filled = np.where(np.isfinite(ordered), ordered, np.inf)
    # The first of all that are least but for rounding, so that another machine names the same models.
    place = (filled <= filled.min(axis=0) + TIE).argmax(axis=0)
    some = np.isfinite(values).any(axis=0)
    best = np.where(some, values[place, np.arange(values.shape[1])], np.nan)
    return best, tuple(tuple(int(i) for i in sets[p]) if ok else () for p, ok in zip(place, some, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreedyPath:
    """Sets that grow by one model at a time, and what the correlation becomes.

    Attributes
    ----------
    removed : tuple of tuple of int
        One set for each step, the last the largest; what it reaches is a bound on what can be reached, not the best.
    values : tuple of float
    """

    removed: tuple[Removed, ...]
    values: tuple[float, ...]


def greedy_path(target: Target, column: int, start: Removed, sign: float, most: int) -> GreedyPath:
    """Leave out, one after the other, the model whose removal moves one correlation furthest.

    Parameters
    ----------
    target : Target
    column : int
        Benchmark.
    start : tuple of int
        Models that are out already.
    sign : {1.0, -1.0}
        1: upwards; -1: downwards.
    most : int
        Models left out at the end; the path stops before where no removal gives a number.
    """
    alone = replace(target, values=target.values[:, [column]], member=target.member[[column]])
    n, removed = len(target.values), start
    sets_found: list[Removed] = []
    values_found: list[float] = []
    while len(removed) < most:
        rest = [i for i in range(n) if i not in removed]
        sets = np.array([(*removed, i) for i in rest], dtype=np.int64)
        values = sign * correlations_under(alone, kept_after(sets, n))[:, 0]
        if not np.isfinite(values).any():
            break
        best = int((np.nan_to_num(values, nan=-np.inf) >= np.nanmax(values) - TIE).argmax())
        removed = (*removed, rest[best])
        sets_found.append(removed)
        values_found.append(sign * float(values[best]))
    return GreedyPath(removed=tuple(sets_found), values=tuple(values_found))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flip:
    """The smallest set found whose removal takes |correlation| to the other side of a limit.

    Attributes
    ----------
    removed : tuple of int
        Empty where none was found.
    value : float
        Correlation without them; NaN where none was found.
    lower_bound : int
        No set of fewer models does it: all of them were looked at.
    """

    removed: Removed
    value: float
    lower_bound: int


def smallest_flip(
    value: float, column: int, ranges: Sequence[Extremes], paths: Sequence[GreedyPath], limit: float
) -> Flip:
    """Return the smallest set whose removal changes whether |correlation| reaches the limit.

    Parameters
    ----------
    value : float
        Correlation with all models.
    column : int
        Benchmark.
    ranges : sequence of Extremes
        From `reachable_exactly` for k = 1, 2, ... in turn.
    paths : sequence of GreedyPath
        Looked at where no set of these sizes does it.
    limit : float

    Returns
    -------
    Flip
    """
    stated = side_of(value, limit)
    within = stated == "low"

    def crossed(reached: float) -> bool:
        return side_of(reached, limit) not in (stated, "none")

    for each in ranges:
        options = (
            [(each.removed_lowest, each.lowest), (each.removed_highest, each.highest)]
            if within
            else [(each.removed_smallest, each.smallest)]
        )
        known = [(removed[column], float(reached[column])) for removed, reached in options]
        hits = [(removed, reached) for removed, reached in known if removed and crossed(reached)]
        if hits:
            removed, reached = max(hits, key=lambda hit: abs(abs(hit[1]) - limit))
            return Flip(removed=removed, value=reached, lower_bound=each.k)
    bound = len(ranges) + 1
    further = [
        (removed, reached)
        for path in paths
        for removed, reached in zip(path.removed, path.values, strict=True)
        if crossed(reached)
    ]
    if not further:
        return Flip(removed=(), value=float("nan"), lower_bound=bound)
    removed, reached = min(further, key=lambda hit: len(hit[0]))
    return Flip(removed=removed, value=reached, lower_bound=bound)
