"""What the crossed model is made of: data, design, variance parameters with their prior, linear effects.

The model itself stands in `safetystats.inference.crossed_marginal`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy import special

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.specs import CrossedPriors

SOFT = 0.1
"""Standard deviations are sampled on a scale that turns from logarithmic to linear at about this value."""
N_HYPER = 14
"""Variance parameters beside the residual sd of each benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossedData:
    """What the crossed model is fitted to.

    Attributes
    ----------
    scores : array, shape (n_models, n_benchmarks)
        Aligned, z-scored over all models; NaN where missing.
    capability : array, shape (n_models,)
        On one scale for all classes, standardised over all models.
    classes, lineages : array of int, shape (n_models,)
        Codes 0, 1, ...; class 0 is the reference.
    areas : array of int, shape (n_benchmarks,)
    """

    scores: FloatArray
    capability: FloatArray
    classes: IntArray
    lineages: IntArray
    areas: IntArray


class Layout(NamedTuple):
    """Design and gaps; n models, B benchmarks, A areas, p columns, N patterns for compiled code."""

    x: FloatArray  # (n, p)
    lineage_of: IntArray  # (n,)
    seen: FloatArray  # (B, n)
    n_seen: FloatArray  # (B,)
    area_of: IntArray  # (B,)
    pattern_of: IntArray  # (B,)
    pattern_seen: FloatArray  # (N, n)
    pattern_cross: FloatArray  # (N, p, p)
    pattern_area: IntArray  # (N,)
    pattern_place: IntArray  # (N,)
    widths: IntArray  # (A,): patterns of an area


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossedDesign:
    """The data reduced to what a density needs; n models, B benchmarks, A areas, L lineages, p columns, N patterns.

    A pattern is a set of models with scores in one area; benchmarks with the same pattern share all work on models, so
    that a complete area costs as much as one benchmark.

    Attributes
    ----------
    x : array, shape (n, p)
        Ones, capability, class contrasts, their products with capability. Contrasts are centred: [k(m) = k] - 1/K.
    terms : array of int, shape (p,)
        Which of the four terms a column belongs to: intercept, capability, class, capability by class.
    lineage : array, shape (n, L)
        Membership.
    y, seen : array, shape (B, n)
        Scores, zero where missing, and one where there is a score.
    count : array, shape (B,)
    area_of : array of int, shape (B,)
    n_areas : int
    layout : Layout
        The same with patterns, as compiled code takes it: pattern_of (B,), pattern_seen (N, n), sums of products of
        columns over these models, pattern_cross (N, p, p), area of a pattern and its place among those of the area.
    """

    x: FloatArray
    terms: IntArray
    lineage: FloatArray
    y: FloatArray
    seen: FloatArray
    count: FloatArray
    area_of: IntArray
    n_areas: int
    layout: Layout

    @property
    def n_dim(self) -> int:
        """Number of parameters that are sampled."""
        return N_HYPER + len(self.count)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variances:
    """The variance parameters of one draw, on their own scale.

    Attributes
    ----------
    benchmark_sd, area_sd : array, shape (4,)
        Between benchmarks of an area, and between areas: of intercept, slope, class effect, interaction.
    model_sd, model_area_sd : float
        Of what a model has beyond its class and capability: in all areas, and further in one area.
    lineage_share, lineage_area_share : float
        Share of these two variances that models of one lineage have in common (intraclass correlations).
    residual_median, residual_spread : float
        exp of the mean, and the sd, of the log residual sd over benchmarks.
    residual_sd : array, shape (n_benchmarks,)
    """

    benchmark_sd: FloatArray
    area_sd: FloatArray
    model_sd: float
    model_area_sd: float
    lineage_share: float
    lineage_area_share: float
    residual_median: float
    residual_spread: float
    residual_sd: FloatArray


class Effects(NamedTuple):
    """Linear effects of one draw; coefficients are in the order of the columns of the design, each level by itself."""

    overall: FloatArray  # (p,)
    area: FloatArray  # (A, p): deviation from overall
    benchmark: FloatArray  # (B, p): deviation from the area
    model: FloatArray  # (n,)
    model_area: FloatArray  # (A, n): deviation from model
    lineage: FloatArray  # (L,)
    lineage_area: FloatArray  # (A, L): deviation from lineage


def overall_prior(priors: CrossedPriors, terms: IntArray) -> tuple[FloatArray, FloatArray]:
    """Return means and sds of the overall coefficients, each of shape (p,)."""
    of = (priors.intercept, priors.slope, priors.class_effect, priors.interaction)
    return np.array([of[t].mu for t in terms]), np.array([of[t].sigma for t in terms])


def design_of(data: CrossedData) -> CrossedDesign:
    """Reduce data; a benchmark or a model without a score stays in and follows its prior."""
    n, _n_benchmarks = data.scores.shape
    n_classes, n_areas = int(data.classes.max()) + 1, int(data.areas.max()) + 1
    contrasts = (data.classes[:, None] == np.arange(1, n_classes)) - 1.0 / n_classes
    ability = data.capability[:, None]
    x = np.hstack([np.ones((n, 1)), ability, contrasts, contrasts * ability])
    terms = np.repeat([0, 1, 2, 3], [1, 1, n_classes - 1, n_classes - 1])
    seen, y = np.isfinite(data.scores).T.astype(np.float64), np.nan_to_num(data.scores.T)
    patterns, pattern_of = np.unique(np.column_stack([data.areas, seen]), axis=0, return_inverse=True)
    pattern_area, pattern_seen = patterns[:, 0].astype(np.int64), patterns[:, 1:]
    x, area_of, count = np.ascontiguousarray(x), np.asarray(data.areas, dtype=np.int64), seen.sum(axis=1)
    layout = Layout(
        x=x,
        lineage_of=np.asarray(data.lineages, dtype=np.int64),
        seen=np.ascontiguousarray(seen),
        n_seen=count,
        area_of=area_of,
        pattern_of=np.asarray(pattern_of.ravel(), dtype=np.int64),
        pattern_seen=np.ascontiguousarray(pattern_seen),
        pattern_cross=np.einsum("bn,np,nq->bpq", pattern_seen, x, x),
        pattern_area=pattern_area,
        # np.unique sorts by area, so that the patterns of one stand together
        pattern_place=np.arange(len(patterns)) - np.searchsorted(pattern_area, pattern_area),
        widths=np.bincount(pattern_area, minlength=n_areas),
    )
    return CrossedDesign(
        x=x,
        terms=terms,
        lineage=(data.lineages[:, None] == np.arange(int(data.lineages.max()) + 1)).astype(np.float64),
        y=np.ascontiguousarray(y),
        seen=layout.seen,
        count=count,
        area_of=area_of,
        n_areas=n_areas,
        layout=layout,
    )


def log_prior(free: FloatArray, priors: CrossedPriors) -> tuple[float, FloatArray]:
    """Return the log prior density of the free parameters, shape (n_dim,) as in `variances_of`, and its gradient."""
    scale = np.repeat(
        [priors.benchmark_sd.sigma, priors.area_sd.sigma, priors.model_sd.sigma, priors.model_area_sd.sigma],
        [4, 4, 1, 1],
    )
    sd, rise = _softplus(free[:10]), special.expit(free[:10])
    value = float((-0.5 * (sd / scale) ** 2 - np.log(scale) + 0.5 * np.log(2 / np.pi)).sum())
    value += float((np.log(SOFT) + special.log_expit(free[:10])).sum())
    out = np.zeros(len(free))
    out[:10] = 1 - rise - sd / scale**2 * SOFT * rise
    for place, share in ((10, priors.lineage_share), (11, priors.lineage_area_share)):
        a, b = share.alpha, share.beta
        value += float(-a * np.logaddexp(0, -free[place]) - b * np.logaddexp(0, free[place]) - special.betaln(a, b))
        out[place] = a - (a + b) * special.expit(free[place])
    for place, prior in ((12, priors.residual_sd), (13, priors.residual_spread)):
        z = (free[place] - prior.mu) / prior.sigma
        value += -0.5 * z**2 - np.log(prior.sigma) - 0.5 * np.log(2 * np.pi)
        out[place] = -z / prior.sigma
    spread = np.exp(free[13])
    z = (free[N_HYPER:] - free[12]) / spread
    value += float(-0.5 * (z**2).sum() - len(z) * (free[13] + 0.5 * np.log(2 * np.pi)))
    out[N_HYPER:] = -z / spread
    out[12] += z.sum() / spread
    out[13] += (z**2).sum() - len(z)
    return value, out


def free_of_sd(sd: FloatArray) -> FloatArray:
    """Return the free parameters of standard deviations."""
    return np.asarray(sd / SOFT + np.log(-np.expm1(-sd / SOFT)))


def _softplus(free: FloatArray) -> FloatArray:
    return np.asarray(SOFT * np.logaddexp(0, free))


def variances_of(free: FloatArray) -> Variances:
    """Return free parameters on their own scale.

    Parameters
    ----------
    free : array, shape (n_dim,)
        For benchmark_sd (4), area_sd (4), model_sd and model_area_sd, u with sd = `SOFT` log(1 + exp u): logarithmic
        near zero, linear above, so that a normal tail does not become a wall that NUTS runs into; logits of
        lineage_share and lineage_area_share; mean of the log residual sds and the logarithm of their sd; the log
        residual sds.
    """
    sd, share = np.exp(free), special.expit(free[10:12])
    sd[:10] = _softplus(free[:10])
    return Variances(
        benchmark_sd=sd[:4], area_sd=sd[4:8], model_sd=float(sd[8]), model_area_sd=float(sd[9]),
        lineage_share=float(share[0]), lineage_area_share=float(share[1]), residual_median=float(sd[12]),
        residual_spread=float(sd[13]), residual_sd=sd[N_HYPER:],
    )  # fmt: skip


def prior_effects(design: CrossedDesign, at: Variances, priors: CrossedPriors, rng: np.random.Generator) -> Effects:
    """Draw all linear effects from their prior given the variances."""
    mean, top_sd = overall_prior(priors, design.terms)
    (n, p), n_areas, n_lineages = design.x.shape, design.n_areas, design.lineage.shape[1]
    return Effects(
        overall=mean + top_sd * rng.standard_normal(p),
        area=at.area_sd[design.terms] * rng.standard_normal((n_areas, p)),
        benchmark=at.benchmark_sd[design.terms] * rng.standard_normal((len(design.y), p)),
        model=at.model_sd * np.sqrt(1 - at.lineage_share) * rng.standard_normal(n),
        model_area=at.model_area_sd * np.sqrt(1 - at.lineage_area_share) * rng.standard_normal((n_areas, n)),
        lineage=at.model_sd * np.sqrt(at.lineage_share) * rng.standard_normal(n_lineages),
        lineage_area=at.model_area_sd * np.sqrt(at.lineage_area_share) * rng.standard_normal((n_areas, n_lineages)),
    )


def expected_scores(design: CrossedDesign, effects: Effects) -> FloatArray:
    """Return the expected scores given the effects, shape (n_benchmarks, n_models)."""
    coefficients = effects.overall + effects.area[design.area_of] + effects.benchmark
    shared = effects.model + effects.model_area + (effects.lineage + effects.lineage_area) @ design.lineage.T
    return np.asarray(coefficients @ design.x.T + shared[design.area_of])


def prior_free(n_benchmarks: int, priors: CrossedPriors, rng: np.random.Generator) -> FloatArray:
    """Draw free parameters (see `variances_of`) from their prior, shape (n_dim,)."""
    scale = np.repeat(
        [priors.benchmark_sd.sigma, priors.area_sd.sigma, priors.model_sd.sigma, priors.model_area_sd.sigma],
        [4, 4, 1, 1],
    )
    shares = [rng.beta(share.alpha, share.beta) for share in (priors.lineage_share, priors.lineage_area_share)]
    median = rng.normal(priors.residual_sd.mu, priors.residual_sd.sigma)
    spread = rng.normal(priors.residual_spread.mu, priors.residual_spread.sigma)
    own = median + np.exp(spread) * rng.standard_normal(n_benchmarks)
    return np.concatenate(
        [free_of_sd(np.abs(scale * rng.standard_normal(10))), special.logit(shares), [median, spread], own]
    )


def simulate_crossed(
    free: FloatArray, like: CrossedData, priors: CrossedPriors, rng: np.random.Generator
) -> tuple[Effects, CrossedData]:
    """Draw linear effects given free parameters, and scores given both, with the design and the gaps of `like`."""
    design, at = design_of(like), variances_of(free)
    effects = prior_effects(design, at, priors, rng)
    scores = expected_scores(design, effects) + at.residual_sd[:, None] * rng.standard_normal(design.y.shape)
    return effects, replace(like, scores=np.where(np.isfinite(like.scores), scores.T, np.nan))
