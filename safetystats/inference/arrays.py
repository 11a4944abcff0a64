"""The data of a factor fit as arrays; light, so that saved fits open without a sampler."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from safetystats.specs import FactorPriors

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphKind:
    """What a graph in which capability is sampled is compiled for.

    It allows known sampling error and any number of missing cells, and is many times slower than the density with
    capability integrated out.

    Attributes
    ----------
    n_models, n_benchmarks, n_families, n_further : int
        Smaller data are padded.
    noisy : bool
        Whether scores have a known sampling error.
    """

    n_models: int
    n_benchmarks: int
    n_families: int
    n_further: int = 0
    noisy: bool = False


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


def prior_data(
    priors: FactorPriors, anchors: BoolArray, n_benchmarks: int, n_further: int = 0
) -> dict[str, FloatArray]:
    """Return the numbers of the priors under the names the graphs use; padded columns follow the safety prior."""
    loading = np.full((2, n_benchmarks), [[priors.loading.alpha], [priors.loading.beta]])
    known = np.zeros(n_benchmarks, dtype=bool)
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
    if n_further:
        data["prior_further"] = np.array([further.alpha, further.beta])
    return data


def sampled_data(
    values: FloatArray, families: IntArray, noise: FloatArray, structure: Structure, kind: GraphKind
) -> dict[str, FloatArray]:
    """Pad standardised scores to the size of a graph.

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
        At least as large as the data in every direction.

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
    (n, k), n_further = values.shape, structure.pattern.shape[1]
    if n > kind.n_models or k > kind.n_benchmarks or int(families.max()) >= kind.n_families:
        raise ValueError(f"data of shape {values.shape} do not fit into {kind}")
    if (noise.any() and not kind.noisy) or n_further > kind.n_further:
        raise ValueError(f"sampling error or further factors do not fit into {kind}")
    seen, scores, error = (np.zeros((kind.n_models, kind.n_benchmarks)) for _ in range(3))
    seen[:n, :k] = np.isfinite(values)
    scores[:n, :k] = np.nan_to_num(values, nan=0.0)
    error[:n, :k] = np.where(np.isfinite(values), noise, 0.0)
    members, anchors = np.zeros((kind.n_families, kind.n_models)), np.zeros(kind.n_benchmarks)
    members[families, np.arange(n)] = 1.0
    anchors[:k] = structure.anchors
    shared = np.asarray(float(structure.families))
    data = {"scores": scores, "seen": seen, "members": members, "anchors": anchors, "shared": shared}
    if kind.n_further:
        data["pattern"] = np.zeros((kind.n_benchmarks, kind.n_further))
        data["pattern"][:k, :n_further] = structure.pattern
    if kind.noisy:
        data["noise"] = error
    else:
        data["counts"] = members @ seen
    return data
