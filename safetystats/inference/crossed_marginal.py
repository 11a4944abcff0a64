r"""The crossed model of all benchmarks with every linear effect integrated out: log density, gradient, exact draws.

For model m of class k, lineage l, on benchmark b of area a, with capability x_m and x_m' = (1, x_m, classes,
classes times x_m) the row of the design,

    y_mb = x_m' (B + B_a + B_b) + (r_m + l_l) + (r_ma + l_la) + e_mb,      e_mb ~ N(0, s_b^2).

Write V_a for what the benchmarks of area a have in common. V_a is a vector over the models, and the model is a
hierarchy of two levels of such vectors:

    V_0 ~ N(X mean, X T_0 X' + K_0),    V_a | V_0 ~ N(V_0, X T_1 X' + K_1),    K = s^2 ((1 - share) I + share ZZ'),
    y_b | V_a ~ N(V_a, X T_2 X' + s_b^2 I)     over the models with a score.

Each level is integrated out in turn; nothing larger than models x models is ever factorised. What is left to sample
are the variance parameters: fourteen numbers and one residual sd per benchmark, without funnels. The gradient is the
posterior expectation of the gradient of the complete density (Fisher's identity). The linear effects are drawn
afterwards, exactly, by correcting a draw from their prior (Matheron's rule).

References
----------
Laird and Ware (1982), Biometrics 38; Louis (1982), J. R. Stat. Soc. B 44 (Fisher's identity); Doucet (2010),
a note on efficient conditional simulation of Gaussian distributions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import linalg

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


class _Levels(NamedTuple):
    """Everything of one set of variances that does not depend on the scores.

    V_a is written as L v_a, where L L' is the prior covariance of V_a given V_0; v_a - v_0 is then standard normal, and
    (I + L' J_a L)^-1 is its posterior covariance given v_0, with J_a the information of the area's scores on V_a.
    """

    weight: FloatArray  # (B,): 1 / s_b^2
    scale: FloatArray  # (p,): sd between benchmarks, by column
    inner: FloatArray  # (B, p, p): inverse of I + w T X'DX T, the posterior covariance of scaled deviations given V_a
    given: FloatArray  # (B, p, p): the same, unscaled
    root: FloatArray  # (n, n): L
    inverse: FloatArray  # (n, n): inverse of L
    spread: FloatArray  # (A, n, n): (I + L' J_a L)^-1
    top: FloatArray  # (n, n): posterior covariance of v_0
    log_det: float


def _levels(design: CrossedDesign, at: Variances, top_sd: FloatArray) -> _Levels:
    n, p = design.x.shape
    weight, scale = at.residual_sd**-2.0, at.benchmark_sd[design.terms]
    scaled = np.eye(p) + weight[:, None, None] * scale[:, None] * design.cross * scale
    log_det = 2 * float(design.count @ np.log(at.residual_sd)) + float(np.linalg.slogdet(scaled)[1].sum())
    inner = np.linalg.inv(scaled)
    given = scale[:, None] * inner * scale
    n_patterns, n_areas = design.area_pattern.shape[::-1]
    taken = design.pattern_benchmark @ (weight[:, None] ** 2 * given.reshape(-1, p * p))
    rows = design.pattern_seen[:, :, None] * design.x
    lost = rows @ taken.reshape(n_patterns, p, p) @ rows.transpose(0, 2, 1)
    info = -(design.area_pattern @ lost.reshape(n_patterns, n * n)).reshape(-1, n, n)
    info[:, np.arange(n), np.arange(n)] += (design.area_benchmark * weight) @ design.seen
    root = np.linalg.cholesky(_shared(design, at.area_sd[design.terms], at.model_area_sd, at.lineage_area_share))
    inverse = linalg.solve_triangular(root, np.eye(n), lower=True)
    right = (info.reshape(-1, n) @ root).reshape(-1, n, n)
    inside = np.eye(n) + (right.transpose(0, 2, 1).reshape(-1, n) @ root).reshape(-1, n, n)
    log_det += 2 * float(np.log(np.diagonal(np.linalg.cholesky(inside), axis1=1, axis2=2)).sum())
    spread = np.linalg.inv(inside)
    top_root = inverse @ np.linalg.cholesky(_shared(design, top_sd, at.model_sd, at.lineage_share))
    inside = np.eye(n) + top_root.T @ (n_areas * np.eye(n) - spread.sum(axis=0)) @ top_root
    log_det += 2 * float(np.log(np.diagonal(np.linalg.cholesky(inside))).sum())
    top = top_root @ np.linalg.inv(inside) @ top_root.T
    return _Levels(weight, scale, inner, given, root, inverse, spread, top, log_det)


def _shared(design: CrossedDesign, coefficient_sd: FloatArray, sd: float, share: float) -> FloatArray:
    """Return X T X' + sd^2 ((1 - share) I + share ZZ'), shape (n, n)."""
    x = design.x * coefficient_sd
    lineages = design.lineage @ design.lineage.T
    return np.asarray(x @ x.T + sd**2 * (share * lineages + (1 - share) * np.eye(len(x))))


def _means(design: CrossedDesign, levels: _Levels, y: FloatArray, xy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return C^-1 y summed by area, shape (A, n), and the posterior means of v_0 and of every v_a, shape (1 + A, n)."""
    vectors = levels.weight[:, None] ** 2 * (levels.given @ xy[:, :, None])[:, :, 0]
    taken = design.pattern_seen * (design.pattern_benchmark @ vectors @ design.x.T)
    sums = (design.area_benchmark * levels.weight) @ y - design.area_pattern @ taken
    white = sums @ levels.root
    local = (levels.spread @ white[:, :, None])[:, :, 0]
    top = levels.top @ local.sum(axis=0)  # (I + L' J L)^-1 L' h is also what h says of v_0
    return sums, np.vstack([top, local + levels.spread @ top])


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
    mean, top_sd = overall_prior(priors, design.terms)
    levels = _levels(design, at, top_sd)
    y = design.y - design.seen * (design.x @ mean)
    xy, yy = y @ design.x, (y**2).sum(axis=1)
    sums, white = _means(design, levels, y, xy)
    areas = white[1:] @ levels.root.T
    w, g = levels.weight, levels.given
    # y' Sigma^-1 y = sum_b y_b' C_b^-1 (y_b - V_a), with V_a at its posterior mean
    quadratic = float(w @ yy - (w**2) @ np.einsum("bp,bpq,bq->b", xy, g, xy)) - float((sums * areas).sum())
    value = -0.5 * (levels.log_det + quadratic + float(design.count.sum()) * np.log(2 * np.pi))
    if not gradient:
        return value, np.empty(0)

    n = len(design.x)
    carried = (levels.spread.reshape(-1, n) @ levels.top).reshape(-1, n, n)
    carried_twice = carried @ levels.spread
    covariance = levels.spread + carried_twice  # of v_a given the scores
    out = np.zeros(design.n_dim)
    of_term = (design.terms == np.arange(4)[:, None]).astype(np.float64)
    by_benchmark, out[N_HYPER:] = _benchmark_gradient(design, levels, y, areas, covariance)
    out[:4] = of_term @ by_benchmark
    # Areas and the top: g g' - Q, with g = Sigma^-1 y summed over benchmarks and Q = Sigma^-1 likewise.
    eye, total = np.eye(n), levels.spread.sum(axis=0)
    crossed = carried.sum(axis=0)
    scores, top = white[1:] - white[0], len(areas) * eye - total
    lost = len(areas) * levels.top - crossed - crossed.T + carried_twice.sum(axis=0)
    moment = levels.inverse.T @ (scores.T @ scores - top + lost) @ levels.inverse
    out[4:8] = at.area_sd**2 * (of_term @ ((moment @ design.x) * design.x).sum(axis=0))
    out[[9, 11]] = _model_gradient(design, moment, at.model_area_sd, at.lineage_area_share)
    all_scores = scores.sum(axis=0)
    moment = levels.inverse.T @ (np.outer(all_scores, all_scores) - top + top @ levels.top @ top) @ levels.inverse
    out[[8, 10]] = _model_gradient(design, moment, at.model_sd, at.lineage_share)
    sds = np.array([*at.benchmark_sd, *at.area_sd, at.model_sd, at.model_area_sd])
    out[:10] *= -np.expm1(-sds / SOFT) * SOFT / sds  # from derivatives by log sd to those by the free parameter
    return value, out


def _model_gradient(design: CrossedDesign, moment: FloatArray, sd: float, share: float) -> tuple[float, float]:
    """Return derivatives by log sd and by the logit of the share of lineages; `moment` has shape (n, n)."""
    own, lineages = float(np.trace(moment)), float(((moment @ design.lineage) * design.lineage).sum())
    return sd**2 * (share * lineages + (1 - share) * own), 0.5 * sd**2 * share * (1 - share) * (lineages - own)


def _benchmark_gradient(
    design: CrossedDesign, levels: _Levels, y: FloatArray, areas: FloatArray, covariance: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return derivatives by the log sds between benchmarks (p,) and by the log residual sds (B,).

    They are posterior second moments of deviations and residuals, from those of V_a by pattern of seen models.

    Parameters
    ----------
    areas : array, shape (A, n)
        Posterior means of V_a.
    covariance : array, shape (A, n, n)
        Posterior covariance of v_a.
    """
    n, of, w, g = len(design.x), design.pattern_area, levels.weight, levels.given
    left = (covariance.reshape(-1, n) @ levels.root.T).reshape(-1, n, n)
    variance = np.einsum("aij,ji->aj", left, levels.root)  # L (cov L')
    rows = (levels.root.T @ (design.pattern_seen[:, :, None] * design.x)).transpose(0, 2, 1)
    between = (rows @ covariance[of] @ rows.transpose(0, 2, 1))[design.pattern_of]
    rest = design.seen * (y - areas[design.area_of])
    x_rest = rest @ design.x
    shift = w[:, None] * (g @ x_rest[:, :, None])[:, :, 0]
    scaled = levels.inner * levels.scale
    z = w[:, None] * (scaled @ x_rest[:, :, None])[:, :, 0]
    z_variance = np.diagonal(levels.inner, axis1=1, axis2=2) + w[:, None] ** 2 * ((scaled @ between) * scaled).sum(2)
    cross_g, g_between = design.cross @ g, g @ between
    squares = (rest**2).sum(1) - 2 * (shift * x_rest).sum(1) + np.einsum("bp,bpq,bq->b", shift, design.cross, shift)
    squares += np.trace(cross_g, axis1=1, axis2=2) + (design.pattern_seen * variance[of]).sum(1)[design.pattern_of]
    squares += -2 * w * np.trace(g_between, axis1=1, axis2=2) + w**2 * (g_between * cross_g).sum(axis=(1, 2))
    return (z**2 + z_variance - 1).sum(axis=0), w * squares - design.count


def draw_effects(design: CrossedDesign, at: Variances, priors: CrossedPriors, rng: np.random.Generator) -> Effects:
    """Draw all linear effects given the variances and the scores: a prior draw, moved (Matheron's rule)."""
    _mean, top_sd = overall_prior(priors, design.terms)
    levels = _levels(design, at, top_sd)
    prior = prior_effects(design, at, priors, rng)
    made = expected_scores(design, prior) + at.residual_sd[:, None] * rng.standard_normal(design.y.shape)
    error = design.seen * (design.y - made)
    xy = error @ design.x
    _, white = _means(design, levels, error, xy)
    rest = design.seen * (error - (white[1:] @ levels.root.T)[design.area_of])
    w = levels.weight[:, None]
    inside = (levels.given @ (rest @ design.x)[:, :, None])[:, :, 0]
    scores = w * (rest - w * design.seen * (inside @ design.x.T))  # Sigma^-1 error, (B, n)
    by_area = design.area_benchmark @ scores
    total = by_area.sum(axis=0)
    return Effects(
        overall=prior.overall + top_sd**2 * (total @ design.x),
        area=prior.area + at.area_sd[design.terms] ** 2 * (by_area @ design.x),
        benchmark=prior.benchmark + levels.scale**2 * (scores @ design.x),
        model=prior.model + at.model_sd**2 * (1 - at.lineage_share) * total,
        model_area=prior.model_area + at.model_area_sd**2 * (1 - at.lineage_area_share) * by_area,
        lineage=prior.lineage + at.model_sd**2 * at.lineage_share * (total @ design.lineage),
        lineage_area=prior.lineage_area + at.model_area_sd**2 * at.lineage_area_share * (by_area @ design.lineage),
    )
