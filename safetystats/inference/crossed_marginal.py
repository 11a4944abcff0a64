r"""The crossed model of all benchmarks with every linear effect integrated out: log density, gradient, exact draws.

For model m of class k, lineage l, on benchmark b of area a, with capability x_m and x_m' = (1, x_m, classes,
classes times x_m) the row of the design,

    y_mb = x_m' (B + B_a + B_b) + (r_m + l_l) + (r_ma + l_la) + e_mb,      e_mb ~ N(0, s_b^2).

Write V_a for what the benchmarks of area a have in common. V_a is a vector over the models, and the model is a
hierarchy of two levels of such vectors:

    V_0 ~ N(X mean, X T_0 X' + K_0),    V_a | V_0 ~ N(V_0, X T_1 X' + K_1),    K = s^2 ((1 - share) I + share ZZ'),
    y_b | V_a ~ N(V_a, X T_2 X' + s_b^2 I)     over the models with a score.

Each level is integrated out in turn. What the scores of an area say of V_a, and what they say of V_0, is a diagonal
matrix, a constant on each pair of one lineage and a matrix of low rank (p columns for every pattern of seen models),
so that inverses are those of small matrices (Woodbury); only the top is factorised at models x models. What is left to
sample are the variance parameters: fourteen numbers and one residual sd per benchmark, without funnels. The gradient
is the posterior expectation of the gradient of the complete density (Fisher's identity). The linear effects are drawn
afterwards, exactly, by correcting a draw from their prior (Matheron's rule).

References
----------
Laird and Ware (1982), Biometrics 38; Louis (1982), J. R. Stat. Soc. B 44 (Fisher's identity); Woodbury (1950),
Inverting modified matrices; Doucet (2010), a note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.inference.crossed_values import (
    N_HYPER,
    SOFT,
    CrossedDesign,
    Effects,
    Variances,
    expected_scores,
    overall_prior,
    prior_effects,
)
from safetystats.specs import CrossedPriors

if TYPE_CHECKING:
    from safetystats.inference.crossed_kernel import Scales


def _scales(design: CrossedDesign, at: Variances, top_sd: FloatArray) -> Scales:
    from safetystats.inference.crossed_kernel import Scales

    in_area, common = at.model_area_sd**2, at.model_sd**2
    return Scales(
        residual_sd=at.residual_sd,
        benchmark_sd=at.benchmark_sd[design.terms],
        area_sd=at.area_sd[design.terms],
        top_sd=top_sd,
        own_area=in_area * (1 - at.lineage_area_share),
        lineage_area=in_area * at.lineage_area_share,
        own=common * (1 - at.lineage_share),
        lineage=common * at.lineage_share,
    )


def log_likelihood(
    design: CrossedDesign, at: Variances, priors: CrossedPriors, gradient: bool = True
) -> tuple[float, FloatArray]:
    """Return the log marginal likelihood of the scores and its gradient.

    Parameters
    ----------
    design : CrossedDesign
    at : Variances
    priors : CrossedPriors
        Of the overall coefficients, which are integrated out as well.
    gradient : bool

    Returns
    -------
    float
    array, shape (n_dim,)
        Derivatives by the free parameters (see `variances_of`); empty without gradient.
    """
    from safetystats.inference.crossed_kernel import levels_of, means_of, slopes_of

    mean, top_sd = overall_prior(priors, design.terms)
    levels = levels_of(design.layout, _scales(design, at, top_sd))
    y = design.y - design.seen * (design.x @ mean)
    scores, areas, _, quadratic = means_of(design.layout, levels, y)
    value = -0.5 * (levels.log_det + quadratic + float(design.count.sum()) * np.log(2 * np.pi))
    if not gradient:
        return value, np.empty(0)
    by_residual, by_benchmark, by_area, inside, outside = slopes_of(design.layout, levels, y, scores, areas)
    out = np.empty(design.n_dim)
    of_term = (design.terms == np.arange(4)[:, None]).astype(np.float64)
    out[:4], out[4:8] = of_term @ by_benchmark, at.area_sd**2 * (of_term @ by_area)
    out[[8, 10]] = _model_gradient(outside, at.model_sd, at.lineage_share)
    out[[9, 11]] = _model_gradient(inside, at.model_area_sd, at.lineage_area_share)
    out[12:N_HYPER], out[N_HYPER:] = 0.0, by_residual
    sds = np.array([*at.benchmark_sd, *at.area_sd, at.model_sd, at.model_area_sd])
    out[:10] *= -np.expm1(-sds / SOFT) * SOFT / sds  # from derivatives by log sd to those by the free parameter
    return value, out


def _model_gradient(slopes: FloatArray, sd: float, share: float) -> tuple[float, float]:
    """Return derivatives by log sd and by the logit of the share of lineages, from twice those by I and ZZ'."""
    own, lineages = slopes
    return sd**2 * (share * lineages + (1 - share) * own), 0.5 * sd**2 * share * (1 - share) * (lineages - own)


def draw_effects(design: CrossedDesign, at: Variances, priors: CrossedPriors, rng: np.random.Generator) -> Effects:
    """Draw all linear effects given the variances and the scores: a prior draw, moved (Matheron's rule)."""
    from safetystats.inference.crossed_kernel import levels_of, means_of

    _mean, top_sd = overall_prior(priors, design.terms)
    levels = levels_of(design.layout, _scales(design, at, top_sd))
    prior = prior_effects(design, at, priors, rng)
    made = expected_scores(design, prior) + at.residual_sd[:, None] * rng.standard_normal(design.y.shape)
    error = design.seen * (design.y - made)
    by_area, areas, _, _ = means_of(design.layout, levels, error)
    rest = design.seen * (error - areas[design.area_of])
    w, basis = levels.weight[:, None], levels.basis[design.layout.pattern_of]
    turned = np.einsum("bp,bpq->bq", rest @ design.x, basis)
    inside = np.einsum("bpq,bq->bp", basis, levels.left * turned)
    scores = w * (rest - w * design.seen * (inside @ design.x.T))  # Sigma^-1 error, (B, n)
    total = by_area.sum(axis=0)
    return Effects(
        overall=prior.overall + top_sd**2 * (total @ design.x),
        area=prior.area + at.area_sd[design.terms] ** 2 * (by_area @ design.x),
        benchmark=prior.benchmark + at.benchmark_sd[design.terms] ** 2 * (scores @ design.x),
        model=prior.model + at.model_sd**2 * (1 - at.lineage_share) * total,
        model_area=prior.model_area + at.model_area_sd**2 * (1 - at.lineage_area_share) * by_area,
        lineage=prior.lineage + at.model_sd**2 * at.lineage_share * (total @ design.lineage),
        lineage_area=prior.lineage_area + at.model_area_sd**2 * at.lineage_area_share * (by_area @ design.lineage),
    )
