r"""The difference of capabilities correlations between two classes, with the pairing of their models by lineage kept.

A chat model is tuned from a base model, so that what capability leaves unexplained of the two is correlated. Given
capability, each class c by itself is the regression of `safetystats.inference.cut` with residuals

    r_c ~ N(0, v_c R_c),   R_c = kappa_c J_c + (1 - kappa_c) I,   J_c[i, j] = 1 for models of one family.

Together the residuals of two classes have, besides, the cross-covariance

    psi sqrt(v_a v_b) C,   C = sqrt(kappa_a kappa_b) J_ab + sqrt((1 - kappa_a)(1 - kappa_b)) P_ab,

where J_ab connects models of one family (where the family has a lineage in both classes) and P_ab models of one
lineage, P[i, j] = 1 / sqrt(n_a n_b) for a lineage with n_a models in one class and n_b in the other: 1 for a pair. So
the family effects of a family in both classes correlate by psi, and so do the own parts of two paired models. P is a
partial isometry, hence the covariance is positive definite for every |psi| < 1 (`paired_likelihood.links`).

With psi = 0 the posterior is the product of those of the classes, of which draws are at hand. Others psi are reached by
importance weights,

    w = int L(psi) / L(0) p(psi) dpsi,

with L the likelihood of the residuals. Whitening each class and taking singular values s of the whitened C turns the
residuals into independent pairs (a_i, b_i) with correlations psi s_i, which makes all psi cheap (`log_ratios`); kappa
lies on a grid, so that few factorisations serve all draws.

The cut is kept: weights are normalised within each pair of capability draws, of which there are several draws of the
parameters. Normalised over all draws they would favour capabilities under which residuals are more alike, and so let
safety scores define capability.

References
----------
Plummer (2015), cuts in Bayesian graphical models, Stat. Comput. 25; Zellner (1962), seemingly unrelated regressions,
JASA 57; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, JMLR 25.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from arviz_stats.base import array_stats
from scipy import special, stats

from safetystats.inference.cut import CutDraws, cut_posterior, icc_grid
from safetystats.inference.fits import SafetyFit
from safetystats.inference.paired_likelihood import ObjectArray, Side, Spectra, grid_spectra, log_ratios
from safetystats.inference.problems import family_codes, noise_of
from safetystats.inference.streams import seed_for
from safetystats.specs import CutPlan, FactorSpec, Gates, PairedPlan

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CANDIDATES = 16
"""Candidates of the cut posterior for every draw that is kept: fewer make too many draws alike."""
REACHES = (1, 4)
"""Largest shifts of one class's draws against the other's, tried in turn: 3 and 9 matchings."""
PSI_CELLS = 40
"""Nodes of psi: with 60 models its posterior is some ten nodes wide, at -1 and 1 too, where they lie closer."""
EVEN = 1e-9
"""Log weights that differ by less are all one: there is nothing to smooth."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairedDraws:
    """Weighted draws from the posterior of both classes' correlations.

    Attributes
    ----------
    rho_a, rho_b, weight : array, shape (D,)
        Weights sum to one; even weights give the answer that ignores the pairing.
    psi_edges : array, shape (G + 1,)
        Ends of the cells of psi.
    psi_mass : array, shape (G,)
        Posterior mass of each cell.
    n_pairs : int
        Lineages with a scored model in both classes.
    pareto_k : float
        Of the weights; NaN without a pair, 0 where all weights are equal.
    effective : float
        Effective number of distinct draws, 1 / sum of squared weights, of the class that has fewer.
    """

    rho_a: FloatArray
    rho_b: FloatArray
    weight: FloatArray
    psi_edges: FloatArray
    psi_mass: FloatArray
    n_pairs: int
    pareto_k: float
    effective: float

    @property
    def delta(self) -> FloatArray:
        """Draws of rho_a - rho_b."""
        return self.rho_a - self.rho_b

    @property
    def psi_mean(self) -> float:
        """Posterior mean of psi."""
        return float(self.psi_mass @ (self.psi_edges[1:] + self.psi_edges[:-1]) / 2)

    def psi_quantiles(self, probabilities: Sequence[float]) -> FloatArray:
        """Return posterior quantiles of psi, taken as even within a cell."""
        return np.interp(probabilities, np.concatenate([[0.0], np.cumsum(self.psi_mass)]), self.psi_edges)


class Nodes(NamedTuple):
    """Nodes of psi, log of their prior weights, and ends of the cells that they stand for."""

    psi: FloatArray  # (G,)
    log_mass: FloatArray  # (G,)
    edges: FloatArray  # (G + 1,)


def psi_nodes(plan: PairedPlan) -> Nodes:
    """Return Gauss-Legendre nodes on the scale of the prior's distribution function, closest towards -1 and 1."""
    points, mass = special.roots_legendre(PSI_CELLS)
    alpha, beta = plan.pairing.alpha, plan.pairing.beta
    ends = np.clip(np.concatenate([[0.0], np.cumsum(mass / 2)]), 0.0, 1.0)
    ends[-1] = 1.0
    return Nodes(
        psi=2 * stats.beta.ppf((points + 1) / 2, alpha, beta) - 1,
        log_mass=np.log(mass / 2),
        edges=2 * stats.beta.ppf(ends, alpha, beta) - 1,
    )


def side_of(
    scores: FloatArray,
    theta: FloatArray,
    draws: CutDraws,
    families: ObjectArray,
    lineages: ObjectArray,
    noise: FloatArray | None = None,
) -> Side:
    """Return one class's side from draws of its cut posterior.

    Parameters
    ----------
    scores : array, shape (n_models,)
        z-scores of one benchmark, NaN where missing.
    theta : array, shape (T, n_models)
    draws : CutDraws
        T * J draws, J in a row for each draw of theta.
    families, lineages : array of str, shape (n_models,)
    noise : array, shape (n_models,), or None
        Known variance of the sampling error of every score.
    """
    seen = np.isfinite(scores)
    shape = (len(theta), -1)
    rho, total_sd, icc, alpha = (
        values.reshape(shape) for values in (draws.rho, draws.total_sd, draws.icc, draws.intercept)
    )
    variance = total_sd**2 * (1 - rho**2)
    mean = alpha[..., None] + (total_sd * rho)[..., None] * theta[:, None, seen]
    exact = noise is None or not noise[seen].any()
    return Side(
        rho=rho,
        icc=icc,
        residual=(scores[seen] - mean) / np.sqrt(variance)[..., None],
        noise=None if exact or noise is None else noise[seen] / variance[..., None],
        families=families[seen],
        lineages=lineages[seen],
    )


def paired_posterior(a: Side, b: Side, plan: PairedPlan, gates: Gates, known: Spectra | None = None) -> PairedDraws:
    """Return weighted draws of both correlations with the pairing kept.

    The J draws of each class that belong to one pair of capability draws are matched in three ways, and in nine if
    Pareto k or the effective number of draws fail their limits: classes are independent a priori and given psi = 0, so
    any match is as good. Weights are smoothed over all draws and sum to the same in every pair of capability draws.
    Normalising over few draws leans towards the answer that ignores the pairing: with 32 draws and three matchings, at
    psi = 0.73, by about 0.02 posterior sd of the difference and by 0.01 in psi.

    Parameters
    ----------
    a, b : Side
        With the same T and J.
    plan : PairedPlan
    gates : Gates
        Limits of Pareto k and of the effective number of draws.
    known : Spectra, optional
        For all values that kappa can have (`paired_likelihood.grid_spectra`); benchmarks with the same models share it.

    Raises
    ------
    ValueError
        If the classes have different numbers of draws.
    """
    if a.rho.shape != b.rho.shape:
        raise ValueError(f"draws of shape {a.rho.shape} cannot be matched with draws of shape {b.rho.shape}")
    nodes = psi_nodes(plan)
    n_theta, n_each = a.rho.shape
    n_pairs = len(set(a.lineages) & set(b.lineages))
    if n_pairs == 0:
        return PairedDraws(
            rho_a=a.rho.ravel(), rho_b=b.rho.ravel(), weight=np.full(a.rho.size, 1 / a.rho.size),
            psi_edges=nodes.edges, psi_mass=np.exp(nodes.log_mass), n_pairs=0, pareto_k=float("nan"),
            effective=float(a.rho.size),
        )  # fmt: skip
    theta, own = (places.ravel() for places in np.indices((n_theta, n_each)))
    for reach in REACHES:
        # Shifts to both sides: exchanging the classes gives the same pairs.
        partners = [(own + shift) % n_each for shift in range(-reach, reach + 1)]
        ratios = [log_ratios(a, b, (theta, own), (theta, other), nodes.psi, known) for other in partners]
        weighted = _weighted(np.concatenate(ratios) + nodes.log_mass, np.tile(theta, len(partners)), n_theta)
        rows = np.tile(theta * n_each + own, len(partners)), np.concatenate([theta * n_each + k for k in partners])
        effective = min(_effective(weighted.weight, row, a.rho.size) for row in rows)
        if weighted.pareto_k <= gates.pareto_k and effective >= gates.ess:
            break
    return PairedDraws(
        rho_a=a.rho.ravel()[rows[0]], rho_b=b.rho.ravel()[rows[1]], weight=weighted.weight, psi_edges=nodes.edges,
        psi_mass=weighted.psi_mass, n_pairs=n_pairs, pareto_k=weighted.pareto_k, effective=effective,
    )  # fmt: skip


def sides_of(fit: SafetyFit, benchmarks: Sequence[str], without: Mapping[str, str] | None = None) -> dict[str, Side]:
    """Draw from the cut posterior of benchmarks anew, several draws of the parameters for each of some of capability.

    Parameters
    ----------
    fit : SafetyFit
    benchmarks : sequence of str
        Among `fit.benchmarks`.
    without : mapping of str to str, optional
        By benchmark, a model whose score on it is left out. Capability stays that of the fit; the sources of
        randomness are those of the draws with it.
    """
    table, spec = fit.capability.table, fit.capability.spec
    plan, every = spec.paired, fit.capability.theta
    if not benchmarks:
        return {}
    chosen = np.linspace(0, len(every) - 1, min(plan.capability_draws, len(every))).round().astype(np.int64)
    theta, values, noise = every[chosen], table.matrix(benchmarks), noise_of(table, list(benchmarks), spec)
    for name, model in (without or {}).items():
        values[table.scores.index.get_loc(model), list(benchmarks).index(name)] = np.nan
    label = fit.capability.model_class
    rngs = [np.random.default_rng(seed_for(fit.capability.seed, "paired", label, name)) for name in benchmarks]
    found = cut_posterior(
        values, theta, family_codes(table), spec.priors,
        CutPlan(candidates=CANDIDATES * plan.draws_each, icc_cells=spec.cut.icc_cells), rngs,
        noise=noise if noise.any() else None, families_matter=spec.families, each=plan.draws_each,
    )  # fmt: skip
    families, lineages = (table.models[name].to_numpy(dtype=object) for name in ("family", "lineage"))
    return {
        name: side_of(values[:, i], theta, draws, families, lineages, noise[:, i])
        for i, (name, draws) in enumerate(zip(benchmarks, found, strict=True))
        if draws is not None
    }


def paired_posteriors(
    sides_a: Mapping[str, Side], sides_b: Mapping[str, Side], spec: FactorSpec
) -> dict[str, PairedDraws]:
    """Return the paired posterior of every benchmark that both classes have.

    Parameters
    ----------
    sides_a, sides_b : mapping of str to Side
        From `sides_of`, by benchmark.
    spec : FactorSpec
        Of both fits.
    """
    grid = icc_grid(spec.priors, spec.cut.icc_cells)[0] if spec.families else np.zeros(1)
    names = [name for name in sides_a if name in sides_b]
    alike: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        a, b = sides_a[name], sides_b[name]
        alike.setdefault((*a.families, "", *a.lineages, "", *b.families, "", *b.lineages), []).append(name)
    found = {}
    for members in alike.values():
        # One at a time: with 27 and 26 models a grid of spectra takes 20 MB.
        known: Spectra | None = None
        for name in members:
            a, b = sides_a[name], sides_b[name]
            if known is None and a.noise is None and b.noise is None:
                known = grid_spectra(a, b, grid)
            found[name] = paired_posterior(a, b, spec.paired, spec.gates, known)
    return {name: found[name] for name in names}


class _Weighted(NamedTuple):
    weight: FloatArray  # (D,)
    psi_mass: FloatArray  # (G,)
    pareto_k: float


def _weighted(log_joint: FloatArray, theta: IntArray, n_theta: int) -> _Weighted:
    """Return smoothed weights, even over capability draws, from log L(psi) p(psi) / L(0), shape (D, G)."""
    log_weight = special.logsumexp(log_joint, axis=1)
    given = np.exp(log_joint - log_weight[:, None])
    if np.ptp(log_weight) < EVEN:
        weight = np.full(len(log_weight), 1 / len(log_weight))
        return _Weighted(weight, weight @ given, 0.0)
    log_weight = _even_over_theta(log_weight, theta, n_theta)
    # psislw takes pointwise log likelihoods, for leave-one-out: it negates its argument to get log weights.
    smoothed, pareto_k = array_stats.psislw(-log_weight)
    weight = np.exp(_even_over_theta(np.asarray(smoothed, dtype=np.float64), theta, n_theta))
    weight /= weight.sum()
    return _Weighted(weight, weight @ given, float(pareto_k))


def _even_over_theta(log_weight: FloatArray, theta: IntArray, n_theta: int) -> FloatArray:
    """Return log weights that sum to the same number for every capability draw."""
    largest = np.full(n_theta, -np.inf)
    np.maximum.at(largest, theta, log_weight)
    total = np.bincount(theta, weights=np.exp(log_weight - largest[theta]), minlength=n_theta)
    return np.asarray(log_weight - largest[theta] - np.log(total)[theta])


def _effective(weight: FloatArray, row: IntArray, n_rows: int) -> float:
    """Return the effective number of distinct draws: a draw that stands in several pairs counts once."""
    return float(1 / (np.bincount(row, weights=weight, minlength=n_rows) ** 2).sum())
