"""What becomes of a mixed-effects fit when models are left out: exactly, and for all choices at once.

Leaving rows out keeps the form of the random-intercept likelihood: with a zero weight for every row that is left out,
the residual sum of squares in the metric of V = I + r Z Z' is a sum over the eigenvalues of the G x G matrix
Z' W (I - P) W Z (P projects on the weighted design) and one rest without group variance, so that the profiles of all
choices are maximised together (`safetystats.inference.mixed_spectrum`). No step is an approximation about the full fit:
variances, coefficients and likelihood ratio are those of a fit to the rows that are left.

References
----------
Belsley, D. A., Kuh, E. and Welsch, R. E. (1980). Regression Diagnostics. Wiley. (DFBETAS.)
Nieuwenhuis, R., te Grotenhuis, M. and Pelzer, B. (2012). influence.ME: tools for detecting influential data in mixed
    effects models. The R Journal 4(2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from safetystats.inference.mixed_profile import FloatArray
from safetystats.inference.mixed_spectrum import NEGLIGIBLE_VALUE, best_of_profile
from safetystats.inference.mixed_values import PLURALS, MixedRows, refusal

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deletions:
    """Fits of one benchmark to what is left when rows are left out, for m choices of rows and p terms.

    Attributes
    ----------
    estimate, std_error : array, shape (m, p)
        As in `MixedFit`; NaN where the model cannot be fitted to what is left.
    p_value : array, shape (m, p)
        Chi-square p-value of the likelihood ratio under marginality, as in `MixedFit`; NaN for the intercept.
    why : tuple of str, length m
        Why the model cannot be fitted without these rows; empty where it can.
    """

    estimate: FloatArray
    std_error: FloatArray
    p_value: FloatArray
    why: tuple[str, ...]


def leave_out(rows: MixedRows, left_out: BoolArray, *, reml: bool = True) -> Deletions:
    """Fit score ~ capability * class + (1 | group) without each of m sets of rows.

    Parameters
    ----------
    rows : MixedRows
        Those of the fit to all of them. Scores and capability stay in its units.
    left_out : array of bool, shape (m, n)
        Which rows each fit does without.
    reml : bool
        Whether estimates are those of the restricted likelihood; tests are by ML.

    Raises
    ------
    ValueError
        If `left_out` does not have a column for every row.
    """
    if left_out.ndim != 2 or left_out.shape[1] != rows.score.size:
        raise ValueError(f"left_out must have shape (m, {rows.score.size}), got {left_out.shape}")
    columns = rows.columns()
    m, p = len(left_out), columns.shape[1]
    why = tuple(_refusal(rows, ~without) for without in left_out)
    fits = np.flatnonzero([not reason for reason in why])
    estimate, std_error, p_value = (np.full((m, p), np.nan) for _ in range(3))
    if fits.size:
        kept = (~left_out[fits]).astype(np.float64)
        estimate[fits], std_error[fits] = _coefficients(rows, columns, kept, reml=reml)
        models = {rows.larger_model(term) for term in range(1, p)}
        models |= {_without(rows, term) for term in range(1, p)}
        deviance = {model: _profile(rows, columns[:, list(model)], kept, reml=False)[1] for model in models}
        for term in range(1, p):
            gain = deviance[_without(rows, term)] - deviance[rows.larger_model(term)]
            p_value[fits, term] = stats.chi2.sf(np.maximum(gain, 0.0), 1)
    return Deletions(estimate=estimate, std_error=std_error, p_value=p_value, why=why)


def each_label(labels: Sequence[str]) -> tuple[tuple[str, ...], BoolArray]:
    """Return the distinct labels in order of appearance, and which rows have each, shape (m, n)."""
    distinct = tuple(dict.fromkeys(labels))
    return distinct, np.array(distinct, dtype=object)[:, None] == np.array(labels, dtype=object)[None, :]


def _without(rows: MixedRows, term: int) -> tuple[int, ...]:
    """Return the columns of the model that a term is tested against."""
    return tuple(column for column in rows.larger_model(term) if column != term)


def _refusal(rows: MixedRows, kept: BoolArray) -> str:
    """Return why the model of all rows cannot be fitted to some of them; empty if it can."""
    codes = np.unique(rows.codes[kept], return_inverse=True)[1].astype(np.int64)
    present = set(rows.labels[kept].tolist())
    lost = [name for name in rows.classes if name not in present]
    if lost:
        return f"class {', '.join(lost)} has no other model"
    reason = refusal(
        replace(rows, score=rows.score[kept], capability=rows.capability[kept], labels=rows.labels[kept], codes=codes)
    )
    if reason:
        return reason
    return "" if np.bincount(codes).max() > 1 else f"no two models are left in one of the {PLURALS[rows.grouping]}"


def _profile(rows: MixedRows, columns: FloatArray, kept: FloatArray, *, reml: bool) -> tuple[FloatArray, FloatArray]:
    """Return the best ratio of variances and -2 log-likelihood there, each of shape (m,).

    Parameters
    ----------
    rows : MixedRows
    columns : array, shape (n, q)
        Of full column rank on the rows kept.
    kept : array, shape (m, n)
        One for a row that is kept, else zero.
    reml : bool
    """
    membership = (rows.codes[:, None] == np.arange(rows.n_groups)).astype(np.float64)
    response = kept * ((rows.score - rows.score.mean()) / rows.score.std())
    basis = np.linalg.qr(columns[None] * kept[:, :, None])[0]
    sizes = kept @ membership
    shared = np.swapaxes(basis, 1, 2) @ membership  # (m, q, G)
    explained = np.einsum("mnq,mn->mq", basis, response)
    matrix = -np.swapaxes(shared, 1, 2) @ shared
    matrix[:, np.arange(rows.n_groups), np.arange(rows.n_groups)] += sizes
    values, vectors = np.linalg.eigh(matrix)
    alive = values > NEGLIGIBLE_VALUE
    values = np.where(alive, values, 0.0)
    sums = response @ membership - np.einsum("mqg,mq->mg", shared, explained)
    squares = np.einsum("mgk,mg->mk", vectors, sums) ** 2 / np.where(alive, values, np.inf)
    rest = (response**2).sum(axis=1) - (explained**2).sum(axis=1) - squares.sum(axis=1)
    squares = np.column_stack([squares, np.maximum(rest, 0.0)])
    values = np.column_stack([values, np.zeros(len(values))])
    n = kept.sum(axis=1)
    determinant = values if reml else sizes
    weight = n - columns.shape[1] if reml else n
    return best_of_profile(squares, values, determinant, np.ones(determinant.shape[1]), weight)


def _coefficients(
    rows: MixedRows, columns: FloatArray, kept: FloatArray, *, reml: bool
) -> tuple[FloatArray, FloatArray]:
    """Return generalised least squares at the best ratio and its standard errors, each of shape (m, p)."""
    ratio, _ = _profile(rows, columns, kept, reml=reml)
    p = columns.shape[1]
    membership = (rows.codes[:, None] == np.arange(rows.n_groups)).astype(np.float64)
    joined = np.column_stack([columns, rows.score - rows.score.mean()])
    sums = np.einsum("mn,ng,ni->mgi", kept, membership, joined, optimize=True)
    shrink = ratio[:, None] / (1.0 + ratio[:, None] * (kept @ membership))
    products = np.einsum("mn,ni,nj->mij", kept, joined, joined, optimize=True)
    products -= np.einsum("mg,mgi,mgj->mij", shrink, sums, sums, optimize=True)
    inverse = np.linalg.inv(products[:, :p, :p])
    estimate = np.einsum("mij,mj->mi", inverse, products[:, :p, p])
    rss = products[:, p, p] - np.einsum("mi,mi->m", estimate, products[:, :p, p])
    variance = np.maximum(rss, 0.0) / (kept.sum(axis=1) - (p if reml else 0))
    estimate[:, 0] += rows.score.mean()
    return estimate, np.sqrt(variance[:, None] * np.diagonal(inverse, axis1=1, axis2=2))
