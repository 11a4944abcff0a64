"""The data of a factor fit as padded arrays; light, so that saved fits open without a sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FactorSize:
    """Shape that a graph is compiled for."""

    n_models: int
    n_benchmarks: int
    n_families: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorArrays:
    """Data of one fit, padded to a size.

    Attributes
    ----------
    scores : array, shape (n_models, n_benchmarks)
        z-scores, zero where there is none.
    seen : array, shape (n_models, n_benchmarks)
        One where a score was observed, else zero.
    members : array, shape (n_families, n_models)
        One where the model belongs to the family.
    counts : array, shape (n_families, n_benchmarks)
        Observed cells of the family on the benchmark.
    anchors : array, shape (n_benchmarks,)
        One for the capability benchmarks, whose loadings sum to a positive number.
    """

    scores: FloatArray
    seen: FloatArray
    members: FloatArray
    counts: FloatArray
    anchors: FloatArray

    def as_data(self) -> dict[str, FloatArray]:
        """Return the arrays under the names the graph uses."""
        return {
            "scores": self.scores,
            "seen": self.seen,
            "members": self.members,
            "counts": self.counts,
            "anchors": self.anchors,
        }


def factor_arrays(
    values: FloatArray, families: IntArray, anchors: npt.NDArray[np.bool_], size: FactorSize
) -> FactorArrays:
    """Pad standardised scores to a size.

    Parameters
    ----------
    values : array, shape (n_models, n_benchmarks)
        z-scores, NaN where missing.
    families : array of int, shape (n_models,)
        Family of each model, coded 0, 1, ...
    anchors : array of bool, shape (n_benchmarks,)
        Which columns are capability benchmarks.
    size : FactorSize
        At least as large as the data in every direction.

    Raises
    ------
    ValueError
        If the data do not fit into the size.
    """
    n, k = values.shape
    if n > size.n_models or k > size.n_benchmarks or int(families.max()) >= size.n_families:
        raise ValueError(f"data of shape {values.shape} do not fit into {size}")
    seen = np.zeros((size.n_models, size.n_benchmarks))
    seen[:n, :k] = np.isfinite(values)
    scores = np.zeros_like(seen)
    scores[:n, :k] = np.nan_to_num(values, nan=0.0)
    members = np.zeros((size.n_families, size.n_models))
    members[families, np.arange(n)] = 1.0
    padded_anchors = np.zeros(size.n_benchmarks)
    padded_anchors[:k] = anchors
    return FactorArrays(scores=scores, seen=seen, members=members, counts=members @ seen, anchors=padded_anchors)
