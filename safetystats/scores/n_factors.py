"""How many factors the capability columns carry: parallel analysis and the minimum average partial.

Both look at the principal components of a correlation matrix. Parallel analysis (Horn 1965) keeps the components whose
eigenvalues exceed what data without any factor would give; the minimum average partial (Velicer 1976) keeps as many as
bring the remaining partial correlations nearest to nought. Neither is a test of the factor model; they say whether one
capability score leaves much unsaid.

Models of one family are not independent. Under no factor at all, columns that share nothing but the list of families
still correlate by chance as if there were fewer models than there are, and the leading eigenvalues rise. So the
reference is made a second time with family-clustered noise, sqrt(icc) u_family + sqrt(1 - icc) e, each column its own.

Two cautions. The reference of the second and later eigenvalues supposes that there is no first factor; behind a strong
one, which takes most of the trace, the rule is conservative (Turner 1998). With 43 models, eight columns that load 0.85
on one factor and half of them sharing 60 % of what is left, parallel analysis said "two" in none of 100 data sets and
the minimum average partial in 57: "one" from the former alone is weak evidence. And a tied or skewed column enters the
Pearson reference as if it were normal; take Spearman.

References
----------
Horn, J. L. (1965). A rationale and test for the number of factors in factor analysis. Psychometrika 30, 179-185.
Velicer, W. F. (1976). Determining the number of components from the matrix of partial correlations. Psychometrika 41.
Velicer, W. F., Eaton, C. A. and Fava, J. L. (2000). Construct explication through factor or component analysis. In
    Goffin and Helmes (eds), Problems and Solutions in Human Assessment. Kluwer.
Turner, N. E. (1998). The effect of common variance and structure pattern on random data eigenvalues. Educational and
    Psychological Measurement 58.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy import stats

from safetystats.scores.correlation import FEWEST_MODELS
from safetystats.scores.weighted import CONSTANT, BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]
MatrixMethod = Literal["spearman", "pearson"]
METHODS: tuple[str, ...] = get_args(MatrixMethod)

FEWEST_COLUMNS = 3
"""Fewest columns for which a number of factors is a question."""
NO_RESIDUAL = 1e-10
"""A column with a smaller share of its variance left is explained wholly; its partial correlations are rounding."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorCount:
    """The number of factors of k columns by each rule, and what it was read from.

    Attributes
    ----------
    method : {"spearman", "pearson"}
        Of the correlation matrix, pairwise complete.
    n_models, n_families : int
        `n_families` equals `n_models` where no families were given.
    n_sets : int
        Reference data sets.
    quantile, icc : float
        Of the reference; `icc` is the intraclass correlation of families in the clustered one.
    eigenvalues : array, shape (k,)
        Of the correlation matrix, descending. They sum to k; with missing cells some may be negative.
    reference_mean, reference_quantile : array, shape (k,)
        Over data sets of independent models.
    clustered_mean, clustered_quantile : array, shape (k,)
        Over data sets with family-clustered noise. Equal to the above where no families were given.
    map_squared, map_fourth : array, shape (k,)
        Entry m: mean squared, mean fourth-power partial correlation once m components are taken out, m = 0, ..., k - 1.
        NaN where some column has no variance left.
    n_parallel, n_parallel_clustered, n_map_squared, n_map_fourth : int
        Number of factors by each rule; 0 is a possible answer.
    """

    method: MatrixMethod
    n_models: int
    n_families: int
    n_sets: int
    quantile: float
    icc: float
    eigenvalues: FloatArray
    reference_mean: FloatArray
    reference_quantile: FloatArray
    clustered_mean: FloatArray
    clustered_quantile: FloatArray
    map_squared: FloatArray
    map_fourth: FloatArray
    n_parallel: int
    n_parallel_clustered: int
    n_map_squared: int
    n_map_fourth: int


def count_factors(
    values: FloatArray,
    rng: np.random.Generator,
    *,
    families: IntArray | None = None,
    icc: float = 0.25,
    method: MatrixMethod = "spearman",
    n_sets: int = 1000,
    quantile: float = 0.95,
) -> FactorCount:
    """Return the number of factors by parallel analysis, plain and family-aware, and by the minimum average partial.

    Parameters
    ----------
    values : array, shape (n, k)
        Capability columns, NaN where missing; scale and location do not matter.
    rng : Generator
        Source of the reference data sets.
    families : array of int, shape (n,), optional
        Family codes. Without them the clustered reference is the plain one.
    icc : float
        Intraclass correlation of families in the clustered reference, from 0 to 1.
    method : {"spearman", "pearson"}
        Correlation matrix of data and reference alike.
    n_sets : int
        Reference data sets. Both references are made of the same noise, so that they differ by clustering alone.
    quantile : float
        Of the reference eigenvalues; Horn used the mean, the 95th percentile is usual now.

    Returns
    -------
    FactorCount

    Raises
    ------
    ValueError
        Fewer than `FEWEST_COLUMNS` columns, a pair of columns that share too few models or where one is constant, or
        a setting outside its range.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] < FEWEST_COLUMNS:
        raise ValueError(
            f"values has shape {values.shape}: expected (models, columns), {FEWEST_COLUMNS} or more columns"
        )
    if not (0 <= icc <= 1 and 0 < quantile < 1 and n_sets >= 1):
        raise ValueError(f"icc {icc}, quantile {quantile}, n_sets {n_sets}: expected [0, 1], (0, 1), 1 or more")
    matrix = pairwise_correlations(values, method)
    if not np.isfinite(matrix).all():
        first, second = (int(i) for i in np.argwhere(~np.isfinite(matrix))[0])
        raise ValueError(
            f"columns {first} and {second} have no correlation: constant, or fewer than {FEWEST_MODELS} models in both"
        )
    eigenvalues = _descending(matrix[None])[0]
    plain, clustered = reference_eigenvalues(
        np.isfinite(values), rng, families=families, icc=icc, method=method, n_sets=n_sets
    )
    limit, clustered_limit = (np.quantile(sets, quantile, axis=0) for sets in (plain, clustered))
    squared, fourth = average_partials(matrix)
    return FactorCount(
        method=method,
        n_models=values.shape[0],
        n_families=values.shape[0] if families is None else len(np.unique(families)),
        n_sets=n_sets,
        quantile=quantile,
        icc=icc,
        eigenvalues=eigenvalues,
        reference_mean=plain.mean(axis=0),
        reference_quantile=limit,
        clustered_mean=clustered.mean(axis=0),
        clustered_quantile=clustered_limit,
        map_squared=squared,
        map_fourth=fourth,
        n_parallel=leading_above(eigenvalues, limit),
        n_parallel_clustered=leading_above(eigenvalues, clustered_limit),
        n_map_squared=int(np.nanargmin(squared)),
        n_map_fourth=int(np.nanargmin(fourth)),
    )


def pairwise_correlations(values: FloatArray, method: MatrixMethod) -> FloatArray:
    """Return correlation matrices in which each entry uses the models that have both columns.

    Parameters
    ----------
    values : array, shape (..., n, k)
        NaN where missing. Leading dimensions are data sets, which must share one missing pattern.
    method : {"spearman", "pearson"}
        Spearman takes mid-ranks among the models of each pair.

    Returns
    -------
    array, shape (..., k, k)
        Symmetric, ones on the diagonal; NaN where fewer than `FEWEST_MODELS` models are shared or a column is constant
        among them. With missing cells the matrix need not be positive semi-definite.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}; got {method!r}")
    sets = np.asarray(values, dtype=np.float64).reshape(-1, *np.shape(values)[-2:])
    present = np.isfinite(sets[0])
    if method == "spearman" and not present.all():
        result = _pairwise_ranks(sets, present)
    else:
        result = _pairwise_moments(stats.rankdata(sets, axis=1) if method == "spearman" else sets, present)
    diagonal = np.arange(present.shape[1])
    result[:, diagonal, diagonal] = np.where(np.isfinite(result[:, diagonal, diagonal]), 1.0, np.nan)
    return np.asarray(result.reshape(*np.shape(values)[:-2], *result.shape[1:]), dtype=np.float64)


def reference_eigenvalues(
    present: BoolArray,
    rng: np.random.Generator,
    *,
    families: IntArray | None = None,
    icc: float = 0.25,
    method: MatrixMethod = "spearman",
    n_sets: int = 1000,
) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvalues of data sets without a factor, of the same shape and missing pattern.

    Parameters
    ----------
    present : array of bool, shape (n, k)
    rng : Generator
    families, icc, method, n_sets
        As in `count_factors`.

    Returns
    -------
    plain, clustered : array, shape (n_sets, k)
        Descending in each row. The same array twice where no families are given.
    """
    noise = np.where(present, rng.standard_normal((n_sets, *present.shape)), np.nan)
    plain = _descending(pairwise_correlations(noise, method))
    if families is None:
        return plain, plain
    codes = np.unique(families, return_inverse=True)[1].ravel()
    shared = rng.standard_normal((n_sets, int(codes.max()) + 1, present.shape[1]))[:, codes, :]
    return plain, _descending(pairwise_correlations(np.sqrt(icc) * shared + np.sqrt(1.0 - icc) * noise, method))


def leading_above(eigenvalues: FloatArray, reference: FloatArray) -> int:
    """Return how many eigenvalues exceed their reference before the first that does not; both of shape (k,)."""
    below = np.flatnonzero(eigenvalues <= reference)
    return int(below[0]) if below.size else len(eigenvalues)


def average_partials(matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return Velicer's averages of the partial correlations that are left when components are taken out.

    Parameters
    ----------
    matrix : array, shape (k, k)
        Correlation matrix.

    Returns
    -------
    squared, fourth : array, shape (k,)
        Entry m, for m = 0, ..., k - 1 components out: the mean over pairs of columns of the squared partial correlation
        (1976) and of its fourth power (2000). NaN where a column has no variance left.
    """
    size = len(matrix)
    spectrum, vectors = np.linalg.eigh(matrix)
    loading = vectors[:, ::-1] * np.sqrt(np.maximum(spectrum[::-1], 0.0))
    pairs = np.triu_indices(size, k=1)
    averages = np.full((2, size), np.nan)
    for taken in range(size):
        left = matrix - loading[:, :taken] @ loading[:, :taken].T
        variance = np.diagonal(left)
        if variance.min() > NO_RESIDUAL:
            partial = (left / np.sqrt(np.outer(variance, variance)))[pairs]
            averages[:, taken] = (partial**2).mean(), (partial**4).mean()
    return averages[0], averages[1]


def _descending(matrices: FloatArray) -> FloatArray:
    """Return eigenvalues, largest first, of symmetric matrices (D, k, k); shape (D, k)."""
    return np.asarray(np.linalg.eigvalsh(matrices)[:, ::-1], dtype=np.float64)


def _pairwise_moments(sets: FloatArray, present: BoolArray) -> FloatArray:
    """Return product-moment correlations (D, k, k) of columns (D, n, k) with one missing pattern (n, k)."""
    counts = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, sets, 0.0)
    filled = np.where(present, filled - (filled.sum(axis=1) / counts)[:, None, :], 0.0)
    spread = np.abs(filled).max(axis=1, keepdims=True)
    filled = filled / np.where(spread > 0, spread, 1.0)
    seen = present.astype(np.float64)
    shared = seen.T @ seen
    enough = np.where(shared >= FEWEST_MODELS, shared, np.nan)
    across = np.swapaxes(filled, 1, 2)
    total = across @ seen  # (D, j, l): sum of column j over the models that have l as well
    square = np.swapaxes(filled**2, 1, 2) @ seen
    covariance = (across @ filled) / enough - total * np.swapaxes(total, 1, 2) / enough**2
    variance = square / enough - (total / enough) ** 2
    deviation = np.sqrt(np.where(variance > CONSTANT, variance, np.nan))
    return np.asarray(np.clip(covariance / (deviation * np.swapaxes(deviation, 1, 2)), -1.0, 1.0), dtype=np.float64)


def _pairwise_ranks(sets: FloatArray, present: BoolArray) -> FloatArray:
    """Return rank correlations (D, k, k) where the models of a pair, hence the ranks, differ from pair to pair."""
    size = present.shape[1]
    result = np.full((sets.shape[0], size, size), np.nan)
    known: dict[tuple[int, bytes], FloatArray] = {}

    def ranks(column: int, both: BoolArray) -> FloatArray:
        key = (column, both.tobytes())
        if key not in known:
            raw = stats.rankdata(sets[:, both, column], axis=1) - (both.sum() + 1) / 2
            length = np.sqrt((raw**2).sum(axis=1, keepdims=True))
            known[key] = raw / np.where(length > 0, length, np.nan)
        return known[key]

    for j in range(size):
        for other in range(j, size):
            both = present[:, j] & present[:, other]
            if both.sum() >= FEWEST_MODELS:
                result[:, j, other] = result[:, other, j] = (ranks(j, both) * ranks(other, both)).sum(axis=1)
    return np.asarray(np.clip(result, -1.0, 1.0), dtype=np.float64)
