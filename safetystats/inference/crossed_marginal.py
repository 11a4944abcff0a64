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

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

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
    """Everything of one set of variances that does not depend on the scores; r columns in the widest area.

    Per pattern the coefficients of a benchmark are written in the basis in which their prior is standard normal and
    the columns of the design are orthogonal over the seen models; then their posterior covariance is diagonal. In
    area a, H_a is the posterior covariance of V_a given V_0 with all coefficients fixed, `low` and `held` are rows U
    with Q_a = E_a - U'U and W_a = H_a + U'U: the information on V_0, and the posterior covariance of V_a given V_0.
    """

    weight: FloatArray  # (B,): 1 / s_b^2
    turn: FloatArray  # (N, p, p): eigenvectors of the products of scaled columns
    basis: FloatArray  # (N, p, p): the same, scaled; columns of the design times this are orthogonal over the pattern
    squares: FloatArray  # (N, p): their squared lengths
    left: FloatArray  # (B, p): posterior variances of coefficients in the basis, given V_a
    rows: FloatArray  # (A, r, n): the orthogonal columns of all patterns of an area, zero where not seen
    within: FloatArray  # (A, r, r): rows H rows'
    fixed: FloatArray  # (A, n): diagonal of H
    held: FloatArray  # (A, r + p, n)
    shared: FloatArray  # (n, n): X T_1 X' + K_1
    info: FloatArray  # (A, n, n): Q, information of an area on V_0
    total: FloatArray  # (n, n): sum of Q over areas
    top: FloatArray  # (n, n): a root of the posterior covariance of V_0, top top'
    log_det: float


def _levels(design: CrossedDesign, at: Variances, top_sd: FloatArray) -> _Levels:
    (n, p), n_areas, together = design.x.shape, len(design.area_benchmark), design.together
    weight, scale = at.residual_sd**-2.0, at.benchmark_sd[design.terms]
    squares, turn = np.linalg.eigh(scale[:, None] * design.pattern_cross * scale)
    squares, basis = np.maximum(squares, 0.0), scale[:, None] * turn
    ratio = weight[:, None] * squares[design.pattern_of]
    left = 1.0 / (1.0 + ratio)
    log_det = 2 * float(design.count @ np.log(at.residual_sd)) + float(np.log1p(ratio).sum())
    shape = (n_areas, int(design.pattern_place.max()) + 1, p)
    rows, taken, place = np.zeros((*shape, n)), np.zeros(shape), (design.pattern_area, design.pattern_place)
    rows[place] = (design.x @ basis).transpose(0, 2, 1) * design.pattern_seen[:, None, :]
    taken[place] = np.sqrt(design.pattern_benchmark @ (weight[:, None] ** 2 * left))
    rows, taken = rows.reshape(n_areas, -1, n), taken.reshape(n_areas, -1)

    # Coefficients fixed: precisions d of V_a, own variance c of a model, common variance c_l of a lineage.
    c, c_l = _split(at.model_area_sd, at.lineage_area_share)
    d = (design.area_benchmark * weight) @ design.seen
    u = 1.0 / (1.0 + c * d)
    e = d * u
    sums = 1.0 + c_l * (e @ design.lineage)
    pull = (c_l / sums) @ design.lineage.T
    log_det += float(np.log1p(c * d).sum() + np.log(sums).sum())
    fixed = c * u + pull * u**2

    # Coefficients of benchmarks
    scaled = u[:, None] * rows
    common = pull[:, None] * (scaled.reshape(-1, n) @ together).reshape(rows.shape)
    held, low = c * scaled + u[:, None] * common, scaled - e[:, None] * common
    within = rows @ held.transpose(0, 2, 1)
    root, more = _inverse_root(np.eye(rows.shape[1]) - taken[:, :, None] * within * taken[:, None])
    root *= taken[:, None]
    held, low, log_det = root @ held, root @ low, log_det + more

    # Coefficients of areas
    columns = (design.x * at.area_sd[design.terms]).T
    scaled = e[:, None] * columns
    known = scaled - (pull * e)[:, None] * (scaled.reshape(-1, n) @ together).reshape(scaled.shape)
    known -= (columns @ low.transpose(0, 2, 1)) @ low
    root, more = _inverse_root(np.eye(p) + known @ columns.T)
    free = columns - c * known - c_l * (known.reshape(-1, n) @ together).reshape(known.shape)
    held, low = np.concatenate([held, root @ free], axis=1), np.concatenate([low, root @ known], axis=1)
    log_det += more
    info = -(low.transpose(0, 2, 1) @ low)
    one, other = design.pairs
    info[:, one, other] += np.where(one == other, e[:, one], 0.0) - (pull * e)[:, one] * e[:, other]

    # What areas have in common
    total = info.sum(axis=0)
    above = np.linalg.cholesky(_shared(design, top_sd, at.model_sd, at.lineage_share))
    inner = np.linalg.cholesky(np.eye(n) + above.T @ total @ above)
    log_det += 2 * float(np.log(np.diagonal(inner)).sum())
    top = above @ lapack.dtrtri(inner, lower=1)[0].T
    shared = _shared(design, at.area_sd[design.terms], at.model_area_sd, at.lineage_area_share)
    return _Levels(
        weight, turn, basis, squares, left, rows, within, fixed, held, shared, info, total, top, log_det
    )


def _inverse_root(stack: FloatArray) -> tuple[FloatArray, float]:
    """Return R with R'R the inverse, for positive definite matrices, shape (k, m, m), and the sum of log determinants."""
    factors = np.linalg.cholesky(stack)
    return np.linalg.inv(factors), 2 * float(np.log(np.diagonal(factors, axis1=1, axis2=2)).sum())


def _split(sd: float, share: float) -> tuple[float, float]:
    """Return the variance of a model's own and that of its lineage."""
    return sd**2 * (1 - share), sd**2 * share


def _shared(design: CrossedDesign, coefficient_sd: FloatArray, sd: float, share: float) -> FloatArray:
    """Return X T X' + sd^2 ((1 - share) I + share ZZ'), shape (n, n)."""
    x, (own, common) = design.x * coefficient_sd, _split(sd, share)
    out = x @ x.T + common * design.together
    out[np.diag_indices(len(x))] += own
    return np.asarray(out)


def _turned(design: CrossedDesign, levels: _Levels, rows: FloatArray) -> FloatArray:
    """Return products of rows, one per benchmark, shape (B, n), with the orthogonal columns, shape (B, p)."""
    return np.asarray(np.einsum("bp,bpq->bq", rows @ design.x, levels.basis[design.pattern_of]))


def _means(
    design: CrossedDesign, levels: _Levels, y: FloatArray, turned: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return C^-1 y summed by area, Sigma^-1 y summed by area and the posterior means of V_a, each of shape (A, n)."""
    vectors = design.pattern_benchmark @ (levels.weight[:, None] ** 2 * levels.left * turned)
    taken = np.einsum("npq,nq->np", levels.basis, vectors) @ design.x.T * design.pattern_seen
    sums = (design.area_benchmark * levels.weight) @ y - design.area_pattern @ taken
    known = sums - (levels.info @ (sums @ levels.shared)[:, :, None])[:, :, 0]  # what h says of V_0
    top = levels.top @ (known.sum(axis=0) @ levels.top)
    scores = known - levels.info @ top
    return sums, scores, top + scores @ levels.shared


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
    turned = _turned(design, levels, y)
    sums, scores, areas = _means(design, levels, y, turned)
    w = levels.weight
    # y' Sigma^-1 y = sum_b y_b' C_b^-1 (y_b - V_a), with V_a at its posterior mean
    quadratic = float(w @ (y**2).sum(axis=1) - w**2 @ (levels.left * turned**2).sum(axis=1) - (sums * areas).sum())
    value = -0.5 * (levels.log_det + quadratic + float(design.count.sum()) * np.log(2 * np.pi))
    if not gradient:
        return value, np.empty(0)

    x, z, total, (n_areas, n) = design.x, design.lineage, levels.total, scores.shape
    # Rows of a root of the covariance of V_0 times Q_a, shape (n, A, n); area by area would be slower by half.
    spread = (levels.top.T @ levels.info.reshape(-1, n).T).reshape(-1, n)
    carried = levels.top.T[:, None] - (spread @ levels.shared).reshape(n, n_areas, n)
    out = np.zeros(design.n_dim)
    of_term = (design.terms == np.arange(4)[:, None]).astype(np.float64)
    by_benchmark, out[N_HYPER:] = _benchmark_gradient(design, levels, y, areas, carried)
    out[:4] = of_term @ by_benchmark
    # Areas and the top: g g' - Q + Q P Q, with g = Sigma^-1 y summed over benchmarks and P the covariance of V_0.
    own, lineages, by_column = float(np.trace(total)), float((total * design.together).sum()), (total @ x * x).sum(0)
    of_column = ((scores @ x) ** 2).sum(0) - by_column + ((spread @ x) ** 2).sum(0)
    out[4:8] = at.area_sd**2 * (of_term @ of_column)
    out[[9, 11]] = _model_gradient(
        float((scores**2).sum() - own + np.vdot(spread, spread)),
        float(((scores @ z) ** 2).sum() - lineages + ((spread @ z) ** 2).sum()),
        at.model_area_sd, at.lineage_area_share,
    )  # fmt: skip
    together, spread = scores.sum(axis=0), levels.top.T @ total
    out[[8, 10]] = _model_gradient(
        float((together**2).sum() - own + np.vdot(spread, spread)),
        float(((together @ z) ** 2).sum() - lineages + ((spread @ z) ** 2).sum()),
        at.model_sd, at.lineage_share,
    )  # fmt: skip
    sds = np.array([*at.benchmark_sd, *at.area_sd, at.model_sd, at.model_area_sd])
    out[:10] *= -np.expm1(-sds / SOFT) * SOFT / sds  # from derivatives by log sd to those by the free parameter
    return value, out


def _model_gradient(own: float, lineages: float, sd: float, share: float) -> tuple[float, float]:
    """Return derivatives by log sd and by the logit of the share of lineages, from those by I and ZZ' (times two)."""
    return sd**2 * (share * lineages + (1 - share) * own), 0.5 * sd**2 * share * (1 - share) * (lineages - own)


def _benchmark_gradient(
    design: CrossedDesign, levels: _Levels, y: FloatArray, areas: FloatArray, carried: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return derivatives by the log sds between benchmarks (p,) and by the log residual sds (B,).

    They are posterior second moments of deviations and residuals, from those of V_a by pattern of seen models.

    Parameters
    ----------
    areas : array, shape (A, n)
        Posterior means of V_a.
    carried : array, shape (n, A, n)
        What the uncertainty of V_0 adds to the posterior covariance of V_a is the sum of squares over the first axis.
    """
    of, pattern, w, p = design.pattern_area, design.pattern_of, levels.weight, design.x.shape[1]
    variance = levels.fixed + (levels.held**2).sum(axis=1) + (carried**2).sum(axis=0)
    held, moved = levels.rows @ levels.held.transpose(0, 2, 1), levels.rows @ carried.transpose(1, 2, 0)
    between = levels.within + held @ held.transpose(0, 2, 1) + moved @ moved.transpose(0, 2, 1)
    columns = p * design.pattern_place[:, None] + np.arange(p)
    between = between[of[:, None, None], columns[:, :, None], columns[:, None]]  # (N, p, p): rows cov(V_a) rows'
    rest = design.seen * (y - areas[design.area_of])
    turned = _turned(design, levels, rest)
    slack = w[:, None] * levels.left
    shift, squares, diagonal = slack * turned, levels.squares[pattern], np.diagonal(between, axis1=1, axis2=2)[pattern]
    moments = (design.pattern_benchmark @ (slack[:, :, None] * slack[:, None]).reshape(-1, p * p)).reshape(-1, p, p)
    moments = moments * between + (shift * design.pattern_benchmark[:, :, None]).transpose(0, 2, 1) @ shift
    moments[:, np.arange(p), np.arange(p)] += design.pattern_benchmark @ (levels.left - 1)
    residual = (rest**2).sum(1) + (design.pattern_seen * variance[of]).sum(1)[pattern]
    residual += (squares * levels.left + shift * (squares * shift - 2 * turned)).sum(1)
    residual += ((slack * squares - 2) * slack * diagonal).sum(1)
    by_column = ((levels.turn @ moments) * levels.turn).sum(axis=(0, 2))
    return by_column, w * residual - design.count


def draw_effects(design: CrossedDesign, at: Variances, priors: CrossedPriors, rng: np.random.Generator) -> Effects:
    """Draw all linear effects given the variances and the scores: a prior draw, moved (Matheron's rule)."""
    _mean, top_sd = overall_prior(priors, design.terms)
    levels = _levels(design, at, top_sd)
    prior = prior_effects(design, at, priors, rng)
    made = expected_scores(design, prior) + at.residual_sd[:, None] * rng.standard_normal(design.y.shape)
    error = design.seen * (design.y - made)
    _, by_area, areas = _means(design, levels, error, _turned(design, levels, error))
    rest = design.seen * (error - areas[design.area_of])
    w, basis = levels.weight[:, None], levels.basis[design.pattern_of]
    inside = np.einsum("bpq,bq->bp", basis, levels.left * _turned(design, levels, rest))
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
