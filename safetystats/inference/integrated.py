"""The problem that the compiled density of a factor model is given, where it starts, and what its draws mean."""

from __future__ import annotations

import numpy as np
from scipy import special

from safetystats.inference.arrays import FloatArray, Structure
from safetystats.inference.factor_kernel import Problem, within_families
from safetystats.inference.parameters import FactorData
from safetystats.specs import BetaPrior, FactorPriors

NO_PRIOR = BetaPrior(family="beta", alpha=1.0, beta=1.0)
"""Stands where a model without further factors has no prior for them; it is not used."""


def problem_of(data: FactorData, priors: FactorPriors, structure: Structure) -> Problem:
    """Return data, priors and structure as the density takes them.

    Raises
    ------
    ValueError
        If the scores have a known sampling error, with which the rows of a family are not exchangeable.
    """
    if data.noise.any():
        raise ValueError("factors are integrated out only where scores have no known sampling error")
    seen = np.isfinite(data.values)
    values = np.where(seen, data.values, 0.0)
    _, family_of, counts = np.unique(data.families, return_inverse=True, return_counts=True)
    sizes = counts.astype(np.float64)
    inside, means = within_families(values, family_of, sizes)
    (n, k), pattern = values.shape, structure.pattern.astype(bool)
    first_further = 3 * k + (k + 1) * structure.families
    places = np.full(pattern.shape, -1, dtype=np.int64)
    places[pattern] = first_further + np.arange(pattern.sum())
    further = priors.further_loading if pattern.any() else NO_PRIOR
    own = [priors.capability_loading if anchor else priors.loading for anchor in structure.anchors]
    of_families = [*[priors.icc] * k, priors.capability_icc] if structure.families else []
    betas = [*own, *of_families, *[further] * int(pattern.sum())]
    sds = (priors.total_sd.sigma, priors.intercept.sigma)
    return Problem(
        families=structure.families,
        loading=np.array([_shapes(prior) for prior in own]),
        total_sd=np.array([priors.total_sd.mu, priors.total_sd.sigma]),
        intercept=np.array([priors.intercept.mu, priors.intercept.sigma]),
        icc=_shapes(priors.icc),
        capability_icc=_shapes(priors.capability_icc),
        further=_shapes(further),
        anchors=structure.anchors.astype(np.float64),
        places=places,
        values=values,
        family_of=family_of,
        sizes=sizes,
        cells=np.argwhere(~seen).astype(np.int64),
        cross=inside.T @ inside,
        means=means,
        first_cell=int(first_further + pattern.sum()),
        constant=float(
            -sum(special.betaln(prior.alpha, prior.beta) for prior in betas)
            - k * np.log(2 * np.pi * np.prod(sds))
            - 0.5 * n * k * np.log(2 * np.pi)
        ),
    )


def packed(problem: Problem) -> FloatArray:
    """Return a problem as one row of numbers, their count first, which the sampler hands back to `sampled_density`."""
    (k, n_further), n, n_families = problem.places.shape, len(problem.values), len(problem.sizes)
    head = [k, n_further, n, n_families, len(problem.cells), problem.families, problem.first_cell, problem.constant]
    arrays = [np.ravel(part) for part in problem if isinstance(part, np.ndarray)]
    return np.concatenate([[1 + len(head) + sum(map(len, arrays))], head, *arrays], dtype=np.float64)


def n_free(problem: Problem) -> int:
    """Return the number of free parameters."""
    return problem.first_cell + len(problem.cells)


def start_of(problem: Problem, rng: np.random.Generator) -> FloatArray:
    """Return a starting point, shape (n_free,): prior means, missing cells at zero, each moved by up to one."""
    k = len(problem.anchors)
    point = np.zeros(n_free(problem))
    point[:k] = np.log(problem.loading[:, 0] / problem.loading[:, 1])
    point[k : 2 * k], point[2 * k : 3 * k] = problem.total_sd[0], problem.intercept[0]
    if problem.families:
        point[3 * k : 4 * k] = np.log(problem.icc[0] / problem.icc[1])
        point[4 * k] = np.log(problem.capability_icc[0] / problem.capability_icc[1])
    point[problem.places[problem.places >= 0]] = np.log(problem.further[0] / problem.further[1])
    return np.asarray(point + rng.uniform(-1.0, 1.0, size=point.shape))


def parameters_at(points: FloatArray, problem: Problem) -> dict[str, FloatArray]:
    """Return the parameters at free points, loadings turned so that those of the anchors sum to a positive number.

    Parameters
    ----------
    points : array, shape (..., n_free)
    problem : Problem

    Returns
    -------
    dict
        `rho`, `total_sd`, `icc`, `intercept`, shape (..., n_benchmarks); `capability_icc`, shape (...); `further`,
        shape (..., n_benchmarks, n_further); `missing`, shape (..., n_missing), row by row.
    """
    k, n_further = problem.places.shape
    odds = points[..., :k]
    rho = np.tanh(odds / 2)
    sign = np.where((rho * problem.anchors).sum(axis=-1, keepdims=True) >= 0, 1.0, -1.0)
    left, further = 4 * special.expit(odds) * special.expit(-odds), np.zeros((*odds.shape, n_further))
    for j in range(n_further):
        on = problem.places[:, j] >= 0
        partial = np.where(on, np.tanh(points[..., problem.places[:, j]] / 2), 0.0)
        further[..., j] = partial * np.sqrt(left)
        left = left * (1 - partial) * (1 + partial)
    shared = points[..., 3 * k : 4 * k + 1] if problem.families else np.full((*odds.shape[:-1], k + 1), -np.inf)
    return {
        "rho": sign * rho,
        "total_sd": np.exp(points[..., k : 2 * k]),
        "icc": special.expit(shared[..., :k]),
        "intercept": points[..., 2 * k : 3 * k],
        "capability_icc": special.expit(shared[..., k]),
        "further": further,
        "missing": points[..., problem.first_cell :],
    }


def _shapes(prior: BetaPrior) -> FloatArray:
    return np.array([prior.alpha, prior.beta])
