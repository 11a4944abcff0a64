"""The capability score: one number per model from its capability benchmarks, by several closed-form methods.

All are linear in z-scores (ddof 0), score = Z w, and differ in w:

`spearman_pca_2024`   leading eigenvector of the Spearman correlation matrix (Ren et al. 2024, section 3, appendix A.3)
`pearson_pca`         leading eigenvector of the Pearson correlation matrix (Hotelling 1933)
`mean_z`              1/k each
`ml_factor`           one-factor maximum likelihood, regression scores (Lawley 1940; Thomson 1939)
`ml_factor_bartlett`  the same loadings, Bartlett's unbiased scores (Bartlett 1937)

A score from elsewhere, such as the posterior mean of a latent factor, takes the same form through `given_score`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from safetystats.errors import DataError, Fault, FitError
from safetystats.scores.factor import ml_one_factor
from safetystats.scores.weighted import BoolArray, FloatArray, correlation_matrix, weighted_grades, weighted_z

ScoreMethod = Literal["spearman_pca_2024", "pearson_pca", "mean_z", "ml_factor", "ml_factor_bartlett"]
SCORE_METHODS: tuple[str, ...] = get_args(ScoreMethod)
Missing = Literal["raise", "drop", "available"]

# Entries of an eigenvector nearer than this count as equally large, so that the sign does not hang on rounding.
TIE = 1e-9
# Scores, which are of order one, are rounded to this many decimals, so that models tied in exact arithmetic stay tied.
DECIMALS = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CapabilityScore:
    """A capability score per model, and what it was made of.

    Attributes
    ----------
    method : str
        One of `SCORE_METHODS`, or the name passed to `given_score`.
    score : array, shape (n_models,)
        Higher is more capable, in units of the method (of z-scores times sqrt(k) for PCA, of one standard deviation of
        the factor for ML); NaN for a model left out because of missing cells.
    loading : array, shape (n_benchmarks,)
        PCA: unit eigenvector; ML: correlation of the benchmark with the factor; mean_z: 1/k. Empty for a given score.
    weight : array, shape (n_benchmarks,)
        w of score = Z w; for PCA and mean_z the same as `loading`.
    share : float
        Share of the standardised variance that the one dimension carries. PCA: largest eigenvalue / k; ML: mean squared
        loading; mean_z: mean squared correlation of the columns with the score.
    eigenvalues : array, shape (n_benchmarks,)
        Of the correlation matrix used (Spearman for the 2024 method, else Pearson), descending.
    used : array of bool, shape (n_models,)
        Models that have a score.
    """

    method: str
    score: FloatArray
    loading: FloatArray
    weight: FloatArray
    share: float
    eigenvalues: FloatArray
    used: BoolArray


def capability_score(values: FloatArray, *, method: ScoreMethod, missing: Missing = "raise") -> CapabilityScore:
    """Return the capability score of every model.

    Parameters
    ----------
    values : array, shape (n_models, n_benchmarks)
        Capability benchmarks in native units, higher = more capable; NaN where missing.
    method : {"spearman_pca_2024", "pearson_pca", "mean_z", "ml_factor", "ml_factor_bartlett"}
        See the module. The sign of an eigenvector or loading makes its largest entry in absolute value positive.
    missing : {"raise", "drop", "available"}
        "raise": a missing cell is an error. "drop": a model with a missing cell gets no score (NaN) and takes no
        part; `used` says which. "available": only for mean_z, z-scores over the models that have the benchmark,
        averaged over the benchmarks that the model has; scores then compare only if cells are missing at random.

    Returns
    -------
    CapabilityScore

    Raises
    ------
    DataError
        Missing cells under "raise"; fewer than 3 models with complete cells; a constant column; too few benchmarks.
    FitError
        The maximum-likelihood iterations did not converge.
    """
    values = np.asarray(values, dtype=np.float64)
    used = usable_models(values, method=method, missing=missing)
    weights = used.astype(np.float64)[None, :]
    scores, loadings, score_weights, eigenvalues = weighted_scores(values, weights, method=method)
    if not np.isfinite(loadings).all():
        raise FitError(f"The {method} iterations did not converge; use pearson_pca or the latent-factor model instead.")
    loading, weight = loadings[0], score_weights[0]
    score = np.where(used, scores[0], np.nan)
    return CapabilityScore(
        method=method,
        score=score,
        loading=loading,
        weight=weight,
        share=_share(method, loading, eigenvalues[0], values, score),
        eigenvalues=eigenvalues[0],
        used=used,
    )


def given_score(score: FloatArray, *, method: str) -> CapabilityScore:
    """Wrap a score made elsewhere, e.g. the posterior mean of a latent factor, shape (n_models,), NaN where none."""
    score = np.asarray(score, dtype=np.float64)
    none = np.empty(0)
    return CapabilityScore(
        method=method,
        score=score,
        loading=none,
        weight=none,
        share=float("nan"),
        eigenvalues=none,
        used=np.isfinite(score),
    )


def leave_one_out_scores(values: FloatArray, *, method: ScoreMethod, missing: Missing = "raise") -> FloatArray:
    """Return scores without each benchmark in turn, so that a benchmark is not correlated with itself.

    Parameters
    ----------
    values : array, shape (n_models, n_benchmarks)
    method, missing
        As in `capability_score`.

    Returns
    -------
    array, shape (n_models, n_benchmarks)
        Column j is the score from all benchmarks but j.
    """
    columns = range(values.shape[1])
    scores = [capability_score(np.delete(values, j, axis=1), method=method, missing=missing).score for j in columns]
    return np.stack(scores, axis=1)


def usable_models(values: FloatArray, *, method: str, missing: str = "raise") -> BoolArray:
    """Return which models get a score, after checking that the matrix can be scored at all; shape (n_models,)."""
    if method not in SCORE_METHODS:
        raise ValueError(f"method must be one of {', '.join(SCORE_METHODS)}; got {method!r}")
    if missing not in get_args(Missing) or (missing == "available" and method != "mean_z"):
        raise ValueError(
            f'missing must be "raise", "drop" or, for mean_z only, "available"; got {missing!r} for {method}'
        )
    seen = np.isfinite(values)
    complete = seen.all(axis=1)
    n_models, n_benchmarks = values.shape
    if missing == "raise" and not complete.all():
        _refuse(
            "a score in every cell",
            f"{int((~complete).sum())} of {n_models} models with a missing capability score",
            'Fill the cells, leave a benchmark out, or pass missing="drop" to leave those models out.',
        )
    used: BoolArray = seen.any(axis=1) if missing == "available" else complete
    if used.sum() < 3:
        _refuse("at least 3 models with capability scores", f"{int(used.sum())}", "Leave out sparse benchmarks.")
    needed = 3 if method.startswith("ml_factor") else 1
    if n_benchmarks < needed:
        _refuse(
            f"at least {needed} capability benchmarks for {method}", f"{n_benchmarks}", "Use mean_z or pearson_pca."
        )
    flat = [j for j in range(n_benchmarks) if len(np.unique(values[used & seen[:, j], j])) < 2]
    if flat:
        _refuse("capability benchmarks that vary", f"no variation in column(s) {flat}", "Leave them out.")
    return used


def weighted_scores(
    values: FloatArray, weights: FloatArray, *, method: str, reference: FloatArray | None = None
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return scores, loadings, score weights and eigenvalues under weights on models, for many draws at once.

    Parameters
    ----------
    values : array, shape (n, k)
        NaN only in rows whose weight is zero in every draw, except for mean_z, which takes the cells there are.
    weights : array, shape (D, n)
        Weights on models; a row of ones is the plain estimate.
    method : str
        One of `SCORE_METHODS`.
    reference : array, shape (k,), optional
        Loading of the full sample. If given, the sign of a draw is the one that points the same way; otherwise the
        largest entry in absolute value is positive.

    Returns
    -------
    tuple of arrays, shapes (D, n), (D, k), (D, k), (D, k)
        NaN in a draw in which a capability benchmark is constant or ML did not converge.
    """
    n_benchmarks = values.shape[1]
    z = weighted_z(values, weights)
    if method == "mean_z":
        constant = np.isnan(z).all(axis=1).any(axis=1)
        seen = np.isfinite(z)
        count = seen.sum(axis=2)
        mean = np.where(seen, z, 0.0).sum(axis=2) / np.where(count > 0, count, np.nan)
        even = np.full((len(weights), n_benchmarks), 1.0 / n_benchmarks)
        eigenvalues = np.full_like(even, np.nan)
        if seen.all():
            eigenvalues = np.linalg.eigvalsh(correlation_matrix(z, weights))[:, ::-1]
        return np.where(constant[:, None], np.nan, mean).round(DECIMALS), even, even, eigenvalues
    if method == "spearman_pca_2024":
        filled = np.where(np.isfinite(values), values, 0.0)
        matrices = correlation_matrix(weighted_grades(filled, weights), weights)
    else:
        matrices = correlation_matrix(z, weights)
    usable = np.isfinite(matrices).all(axis=(1, 2))
    loadings, score_weights, eigenvalues = (np.full((len(weights), n_benchmarks), np.nan) for _ in range(3))
    spectrum, vectors = np.linalg.eigh(matrices[usable])
    eigenvalues[usable] = spectrum[:, ::-1]
    if method in ("spearman_pca_2024", "pearson_pca"):
        loadings[usable] = _orient(vectors[:, :, -1], reference)
        score_weights = loadings
    else:
        loading, uniqueness = ml_one_factor(matrices[usable])
        loading = _orient(loading, reference)
        information = (loading**2 / uniqueness).sum(axis=1, keepdims=True)
        prior = 0.0 if method == "ml_factor_bartlett" else 1.0
        loadings[usable] = loading
        score_weights[usable] = loading / uniqueness / (prior + information)
    return (z @ score_weights[:, :, None])[:, :, 0].round(DECIMALS), loadings, score_weights, eigenvalues


def _orient(vectors: FloatArray, reference: FloatArray | None) -> FloatArray:
    """Return vectors (D, k) with the sign that `weighted_scores` documents."""
    if reference is None:
        size = np.abs(vectors)
        largest = np.argmax(size >= size.max(axis=1, keepdims=True) - TIE, axis=1)
        sign = np.sign(np.take_along_axis(vectors, largest[:, None], axis=1))
    else:
        sign = np.sign(vectors @ reference)[:, None]
    return np.asarray(vectors * np.where(sign == 0, 1.0, sign), dtype=np.float64)


def _share(method: str, loading: FloatArray, eigenvalues: FloatArray, values: FloatArray, score: FloatArray) -> float:
    if method in ("spearman_pca_2024", "pearson_pca"):
        return float(eigenvalues[0] / len(loading))
    if method != "mean_z":
        return float(np.mean(loading**2))
    squared = []
    for column in values.T:
        both = np.isfinite(column) & np.isfinite(score)
        squared.append(np.corrcoef(column[both], score[both])[0, 1] ** 2)
    return float(np.mean(squared))


def _refuse(expected: str, got: str, remedy: str) -> None:
    raise DataError([Fault(file="capability scores", expected=expected, got=got, remedy=remedy)])
