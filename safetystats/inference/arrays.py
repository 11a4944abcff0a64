"""The data of a factor fit as padded arrays; light, so that saved fits open without a sampler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from safetystats.specs import FactorPriors

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Evaluator = Literal["integrated", "completed", "sampled"]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FactorSize:
    """Shape that a graph is compiled for."""

    n_models: int
    n_benchmarks: int
    n_families: int
    n_further: int = 0
    n_missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphKind:
    """What a graph is compiled as.

    Attributes
    ----------
    evaluator : {"integrated", "completed", "sampled"}
        Integrated: factors are integrated out in closed form, which needs complete data. Completed: the same, with the
        missing cells as variables that are sampled, at most `size.n_missing` of them. Sampled: factors are variables,
        which allows known sampling error and any number of missing cells, and is several times slower.
    size : FactorSize
    noisy : bool
        Whether scores have a known sampling error.
    disjoint : bool
        Whether every benchmark loads on one further factor at most. The factors are then independent given capability
        and are taken in all at once, so that a graph with many of them is as small as one with one.
    """

    evaluator: Evaluator
    size: FactorSize
    noisy: bool = False
    disjoint: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """What a fit takes its columns for.

    Attributes
    ----------
    anchors : array of bool, shape (n_benchmarks,)
        The capability benchmarks, whose loadings sum to a positive number.
    pattern : array of bool, shape (n_benchmarks, n_further)
        Which benchmark loads on which further factor.
    families : bool
        Whether models of one family share capability and residuals.
    """

    anchors: BoolArray
    pattern: BoolArray
    families: bool = True


def prior_data(priors: FactorPriors, anchors: BoolArray, size: FactorSize) -> dict[str, FloatArray]:
    """Return the numbers of the priors under the names the graphs use; padded columns follow the safety prior."""
    loading = np.full((2, size.n_benchmarks), [[priors.loading.alpha], [priors.loading.beta]])
    known = np.zeros(size.n_benchmarks, dtype=bool)
    known[: len(anchors)] = anchors
    loading[:, known] = [[priors.capability_loading.alpha], [priors.capability_loading.beta]]
    further, icc, sd, mean = priors.further_loading, priors.icc, priors.total_sd, priors.intercept
    data = {
        "prior_loading": loading,
        "prior_total_sd": np.array([sd.mu, sd.sigma]),
        "prior_icc": np.array([icc.alpha, icc.beta]),
        "prior_capability_icc": np.array([priors.capability_icc.alpha, priors.capability_icc.beta]),
        "prior_intercept": np.array([mean.mu, mean.sigma]),
    }
    if size.n_further:
        data["prior_further"] = np.array([further.alpha, further.beta])
    return data


def sampled_data(
    values: FloatArray, families: IntArray, noise: FloatArray, structure: Structure, kind: GraphKind
) -> dict[str, FloatArray]:
    """Pad standardised scores to the size of a graph in which capability is sampled.

    Parameters
    ----------
    values : array, shape (n_models, n_benchmarks)
        z-scores, NaN where missing.
    families : array of int, shape (n_models,)
        Family of each model, coded 0, 1, ...
    noise : array, shape (n_models, n_benchmarks)
        Known error variance of each score.
    structure : Structure
    kind : GraphKind
        Its size is at least that of the data in every direction.

    Returns
    -------
    dict
        `scores` and `seen` (n_models, n_benchmarks), `members` (n_families, n_models), `anchors` (n_benchmarks,),
        `shared` (): 0 or 1; `pattern` (n_benchmarks, n_further) where the graph has further factors; `noise`
        (n_models, n_benchmarks) where it has sampling error, else `counts` (n_families, n_benchmarks): observed cells
        of a family.

    Raises
    ------
    ValueError
        If the data do not fit into the size.
    """
    size = kind.size
    n, k = values.shape
    if n > size.n_models or k > size.n_benchmarks or int(families.max()) >= size.n_families:
        raise ValueError(f"data of shape {values.shape} do not fit into {size}")
    if noise.any() and not kind.noisy:
        raise ValueError(f"sampling error does not fit into {kind}")
    seen, scores, error = (np.zeros((size.n_models, size.n_benchmarks)) for _ in range(3))
    seen[:n, :k] = np.isfinite(values)
    scores[:n, :k] = np.nan_to_num(values, nan=0.0)
    error[:n, :k] = np.where(np.isfinite(values), noise, 0.0)
    members = np.zeros((size.n_families, size.n_models))
    members[families, np.arange(n)] = 1.0
    data = {"scores": scores, "seen": seen, "members": members, **_structure_data(structure, kind)}
    if kind.noisy:
        data["noise"] = error
    else:
        data["counts"] = members @ seen
    return data


def completed_data(
    values: FloatArray, families: IntArray, structure: Structure, kind: GraphKind
) -> dict[str, FloatArray | IntArray]:
    """Pad standardised scores for a graph without capability that samples the missing cells.

    Returns
    -------
    dict
        `scores` (n_models, n_benchmarks), zero where missing; `places` (n_missing,): where the missing cells are, row
        by row, in the scores laid out flat with one spare place at the end; `filled` (n_missing,): one for a real cell;
        `members` (n_families, n_models); and `n_contrasts`, `roots`, `anchors`, `used`, `shared`, `pattern` as in
        `integrated_data`.

    Raises
    ------
    ValueError
        If the data do not fit into the size.
    """
    size = kind.size
    n, k = values.shape
    rows, columns = np.nonzero(~np.isfinite(values))
    if n > size.n_models or k > size.n_benchmarks or len(rows) > size.n_missing:
        raise ValueError(f"data of shape {values.shape} with {len(rows)} missing cells do not fit into {kind}")
    whole = integrated_data(np.zeros(values.shape), families, structure, kind)
    scores, members = np.zeros((size.n_models, size.n_benchmarks)), np.zeros((size.n_families, size.n_models))
    scores[:n, :k] = np.nan_to_num(values, nan=0.0)
    members[families, np.arange(n)] = 1.0
    places = np.full(size.n_missing, size.n_models * size.n_benchmarks, dtype=np.int64)
    places[: len(rows)] = rows * size.n_benchmarks + columns
    filled = (np.arange(size.n_missing) < len(rows)).astype(np.float64)
    kept = {name: value for name, value in whole.items() if name not in ("cross", "means")}
    return {**kept, "scores": scores, "places": places, "filled": filled, "members": members}


def integrated_data(
    values: FloatArray, families: IntArray, structure: Structure, kind: GraphKind
) -> dict[str, FloatArray]:
    """Reduce complete standardised scores to what the density of a graph without capability needs.

    Helmert contrasts inside each family make rows independent: n - F rows in which family effects and intercepts
    cancel, of which only the cross-products matter, and one row per family, sqrt(n_f) times its mean.

    Returns
    -------
    dict
        `cross` (n_benchmarks, n_benchmarks), `n_contrasts` (), `means` (n_families, n_benchmarks), `roots`
        (n_families,): sqrt(n_f), zero where padded, `anchors`, `used` (n_benchmarks,), `shared` (), and
        `pattern` (n_benchmarks, n_further) where there are further factors.

    Raises
    ------
    ValueError
        If a cell is missing or the data do not fit into the size.
    """
    size = kind.size
    n, k = values.shape
    if not np.isfinite(values).all():
        raise ValueError("capability can be integrated out only where no cell is missing")
    if k > size.n_benchmarks or int(families.max()) >= size.n_families:
        raise ValueError(f"data of shape {values.shape} do not fit into {kind}")
    counts = np.bincount(families, minlength=size.n_families).astype(np.float64)
    roots = np.sqrt(counts)
    members = (families == np.arange(size.n_families)[:, None]).astype(np.float64)
    means = np.zeros((size.n_families, size.n_benchmarks))
    means[:, :k] = (members @ values) / np.maximum(roots, 1.0)[:, None]
    inside = values - (means[:, :k] / np.maximum(roots, 1.0)[:, None])[families]
    cross = np.zeros((size.n_benchmarks, size.n_benchmarks))
    cross[:k, :k] = inside.T @ inside
    return {
        "cross": cross,
        "n_contrasts": np.asarray(n - (counts > 0).sum(), dtype=np.float64),
        "means": means,
        "roots": roots,
        "used": (np.arange(size.n_benchmarks) < k).astype(np.float64),
        **_structure_data(structure, kind),
    }


def _structure_data(structure: Structure, kind: GraphKind) -> dict[str, FloatArray]:
    """Pad what a fit takes its columns for: `anchors`, `shared`, and `pattern` where there are further factors."""
    size, (k, n_further) = kind.size, structure.pattern.shape
    if n_further > size.n_further or (kind.disjoint and (structure.pattern.sum(axis=1) > 1).any()):
        raise ValueError(f"further factors do not fit into {kind}")
    data = {"anchors": np.zeros(size.n_benchmarks), "shared": np.asarray(float(structure.families))}
    data["anchors"][:k] = structure.anchors
    if size.n_further:
        data["pattern"] = np.zeros((size.n_benchmarks, size.n_further))
        data["pattern"][:k, :n_further] = structure.pattern
    return data
