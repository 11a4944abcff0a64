"""Sampling error of scores that are shares of a known number of items."""

from __future__ import annotations

import numpy as np
import pandas as pd

from safetystats.tables.audit_counts import CHANCE_CORRECTED
from safetystats.tables.audit_finding import text_of
from safetystats.tables.prepare import unstandardise
from safetystats.tables.table import FloatArray, ScoreTable

_RANGES = (1.0, 100.0)
_LEAST_SCORES = 3  # of a class, to tell how much its models differ


def sampling_variance(table: ScoreTable) -> pd.DataFrame:
    r"""Return the variance of the sampling error of every score, from item counts.

    A share of n items has the variance q (1 - q) / n, where q is what the model would reach on many items. That is not
    the observed share p, whose error would go into its own variance: of two equal models near the ceiling the luckier
    would be called the more exact, and a model at 100 % free of error. So p is shrunk towards the mean of its class
    (empirical Bayes):

        q = pbar + r (p - pbar),    r = clip(1 - mean w / var p, 0, 1),

    with w the variance at each model's own share, (n p + 1/2) / (n + 1) (Jeffreys' prior), and var p that of the
    observed shares of the class (ddof 1). r estimates how much of their variance is not error; it is 0 with fewer than
    three scores or where all are equal, and at most n / (n + 1), so that pbar weighs as much as one item or more. Half
    an item each way is added to all N items of the class, pbar = (N mean p + 1/2) / (N + 1), so that the variance is
    positive at 0 % and at 100 %; adding it to every score would inflate the variances of a saturated column.

    Items are taken as independent and as counting in full or not at all; where they count in part (F1, mean of two
    judges), this is an upper bound.

    Parameters
    ----------
    table : ScoreTable
        As read, aligned or standardised, not transformed.

    Returns
    -------
    DataFrame, shape (n_models, n_benchmarks)
        In squared units of the scores of this table. NaN where there is no score, where the column is not declared as a
        share (bounds 0-1 or 0-100 with `n_items`; two-sided columns are not) or the score lies outside its bounds, and
        everywhere if the scores were transformed. `n_items` of a single score, a column of `table.cells`, comes before
        that of the benchmark.

    Notes
    -----
    A column whose note says `min((1 - accuracy) / c, 1)` has the variance of the accuracy divided by c^2. The accuracy
    behind a score that was clipped at 1 is not known; it is taken as that at the clip, 1 - c.

    Shrinking multiplies the covariance of a score's variance with its error by r; their correlation, which no scale
    changes, it leaves mostly as it was. What does not depend on the score's own error at all is r = 0, one variance for
    the class, and then models that differ are given the same.
    """
    if table.preparation.transform != "identity":
        return _frame(np.full(table.scores.shape, np.nan), table)
    standardised = table.preparation.standardised
    native = unstandardise(table) if standardised != "none" else table
    lower, upper = (native.benchmarks[name].to_numpy(dtype=np.float64) for name in ("lower", "upper"))
    turned = native.preparation.aligned & (upper == 0)  # lower_is_safer: -100 to 0
    width = np.where(turned, -lower, upper)
    two_sided = (native.benchmarks["direction"] == "zero_is_ideal").to_numpy()
    declared = np.isin(width, _RANGES) & (turned | (lower == 0)) & ~two_sided
    share = native.matrix() * np.where(turned, -1.0, 1.0) / np.where(declared, width, np.nan)
    # Standardising and back moves a score of exactly 0 or 1 by a rounding error.
    share = np.where((share >= -1e-9) & (share <= 1 + 1e-9), np.clip(share, 0.0, 1.0), np.nan)

    scale = np.array([_correction(native, name) for name in native.columns()])
    share = np.where(np.isfinite(scale), 1 - np.nan_to_num(scale, nan=1.0) * share, share)  # accuracy
    items = _items(native)
    q = np.full(share.shape, np.nan)
    for name in native.classes:
        rows = (native.models["model_class"] == name).to_numpy()
        q[rows] = _shrunk(share[rows], items[rows])
    variance = q * (1 - q) / items * (width / np.where(np.isfinite(scale), scale, 1.0)) ** 2
    return _frame(variance / _spread(table) ** 2, table)


def _shrunk(share: FloatArray, items: FloatArray) -> FloatArray:
    """Return the shares of the models of one class, (n, k), shrunk towards the mean of each column."""
    seen = np.isfinite(share * items)
    p, n = np.where(seen, share, 0.0), np.where(seen, items, 1.0)
    count = np.maximum(seen.sum(axis=0), 1)
    total = (n * seen).sum(axis=0)
    mean = p.sum(axis=0) / count
    jeffreys = (n * p + 0.5) / (n + 1)
    noise = (jeffreys * (1 - jeffreys) / n * seen).sum(axis=0) / count
    spread = ((p - mean) ** 2 * seen).sum(axis=0) / np.maximum(count - 1, 1)
    enough = (count >= _LEAST_SCORES) & (spread > 0)
    kept = np.where(enough, np.clip(1 - noise / np.where(enough, spread, 1.0), 0.0, 1.0), 0.0)
    mean = (total * mean + 0.5) / (total + 1)
    return np.where(seen, mean + np.minimum(kept, n / (n + 1)) * (p - mean), np.nan)


def _correction(table: ScoreTable, benchmark: str) -> float:
    """Return c of a score that is min((1 - accuracy) / c, 1), NaN for others."""
    found = CHANCE_CORRECTED.search(text_of(table, "note", benchmark))
    return float(found.group(1)) if found else float("nan")


def _items(table: ScoreTable) -> FloatArray:
    """Return the number of items behind each score, shape (n_models, n_benchmarks), NaN where unknown."""
    by_benchmark = table.benchmarks["n_items"].to_numpy(dtype=np.float64)
    items = np.tile(by_benchmark, (table.n_models, 1))
    if len(table.cells) and "n_items" in table.cells.columns:
        single = pd.to_numeric(table.cells["n_items"], errors="coerce").dropna()
        rows = table.scores.index.get_indexer(single.index.get_level_values(0))
        columns = table.scores.columns.get_indexer(single.index.get_level_values(1))
        inside = (rows >= 0) & (columns >= 0)
        items[rows[inside], columns[inside]] = single.to_numpy(dtype=np.float64)[inside]
    return np.asarray(np.where(items > 0, items, np.nan))


def _spread(table: ScoreTable) -> FloatArray:
    """Return what each score was divided by, shape (n_models, n_benchmarks) or (1, n_benchmarks)."""
    by = table.preparation.standardised
    if by == "none":
        return np.ones((1, table.scores.shape[1]))
    spread = table.spread[table.columns()]
    rows = table.models["model_class"] if by == "class" else spread.index
    return np.asarray(spread.loc[rows].to_numpy(dtype=np.float64))


def _frame(values: FloatArray, like: ScoreTable) -> pd.DataFrame:
    return pd.DataFrame(values, index=like.scores.index, columns=like.scores.columns)
