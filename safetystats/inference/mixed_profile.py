"""The likelihood of the random-intercept model in closed form, as a function of one ratio of variances.

    y = X beta + u[group] + e,   u ~ N(0, r s2),   e ~ N(0, s2)

Given the ratio r = var(u) / var(e), fixed effects and s2 have closed-form maxima, so that the whole model has a one-
dimensional profile (Pinheiro and Bates 2000, section 2.2; Bates, Maechler, Bolker and Walker 2015, section 3.4). With
one random intercept V = I + r Z Z' is block diagonal and its inverse needs group sums only. This module holds no
fitting policy: `safetystats.inference.mixed` decides what is fitted and what is said about it.

References
----------
Pinheiro, J. C. and Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS. Springer.
Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects models using lme4. Journal of
    Statistical Software 67(1).
Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance components. Biometrics Bulletin 2(6).
Kuznetsova, A., Brockhoff, P. B. and Christensen, R. H. B. (2017). lmerTest package: tests in linear mixed effects
    models. Journal of Statistical Software 82(13).
Liang, K.-Y. and Zeger, S. L. (1986). Longitudinal data analysis using generalized linear models. Biometrika 73(1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RATIO_GRID: FloatArray = np.concatenate([[0.0], np.logspace(-8.0, 8.0, 161)])
"""Ratios scanned for the start: ten per decade, so that no maximum wider than a tenth of a decade is missed."""

BOUNDARY_RATIO = 1e-6
"""A smaller ratio counts as zero: the sd of lineages is then below a thousandth of the residual sd."""

POLISH_TOLERANCE = 1e-10
"""Absolute tolerance on log(ratio); the flatness of the likelihood at its top limits what is reached to about 1e-7."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Design:
    """Data of one random-intercept model, reduced to what its likelihood needs.

    Attributes
    ----------
    response : array, shape (n,)
        Standardised: (y - `centre`) / `scale`, so that neither the unit nor the level of y costs precision.
    centre, scale : float
        Mean and sd (ddof 0) of y.
    basis : array, shape (n, p)
        Orthonormal basis Q of the columns of X = Q `triangle`; the ratio of variances does not depend on the basis.
    triangle : array, shape (p, p)
        Upper triangle of the QR decomposition of X.
    codes : array of int, shape (n,)
        Group of each row, 0 to G - 1.
    sizes : array, shape (G,)
        Rows in each group.
    sums : array, shape (G, p + 1)
        Group sums of (Q, y).
    within : array, shape (p + 1, p + 1)
        Cross products of (Q, y) about group means.
    """

    response: FloatArray
    centre: float
    scale: float
    basis: FloatArray
    triangle: FloatArray
    codes: IntArray
    sizes: FloatArray
    sums: FloatArray
    within: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GlsFit:
    """The fit at one ratio of variances.

    Attributes
    ----------
    ratio : float
        var(u) / var(e).
    log_likelihood : float
        REML or ML, profiled over fixed effects and residual variance, all constants kept (as lme4's logLik).
    residual_variance : float
        var(e): residual sum of squares in the metric of V over n - p (REML) or n (ML).
    coefficients : array, shape (p,)
        Generalised least squares estimate, in the columns of X.
    covariance : array, shape (p, p)
        (X' V^-1 X)^-1 times the residual variance, V = I + ratio Z Z': what lme4 reports.
    """

    ratio: float
    log_likelihood: float
    residual_variance: float
    coefficients: FloatArray
    covariance: FloatArray


def make_design(response: FloatArray, columns: FloatArray, codes: IntArray) -> Design:
    """Reduce response, design and groups to cross products.

    Parameters
    ----------
    response : array, shape (n,)
        Not constant.
    columns : array, shape (n, p)
        Of full column rank, p < n; the first column is the intercept, all ones.
    codes : array of int, shape (n,)
        Group of each row, 0 to G - 1, every group used.
    """
    basis, triangle = np.linalg.qr(columns)
    centre, scale = float(response.mean()), float(response.std())
    standardised = (response - centre) / scale
    joined = np.column_stack([basis, standardised])
    sizes = np.bincount(codes).astype(np.float64)
    sums = np.zeros((sizes.size, joined.shape[1]))
    np.add.at(sums, codes, joined)
    centred = joined - (sums / sizes[:, None])[codes]
    return Design(
        response=standardised,
        centre=centre,
        scale=scale,
        basis=basis,
        triangle=triangle,
        codes=codes,
        sizes=sizes,
        sums=sums,
        within=centred.T @ centred,
    )


def _cross_products(design: Design, ratios: FloatArray) -> FloatArray:
    """Return (Q, y)' V^-1 (Q, y) for every ratio, shape (R, p + 1, p + 1)."""
    weights = 1.0 / (design.sizes * (1.0 + ratios[:, None] * design.sizes))
    products: FloatArray = design.within + np.einsum("rg,gi,gj->rij", weights, design.sums, design.sums, optimize=True)
    return products


def log_likelihoods(design: Design, ratios: FloatArray, *, reml: bool) -> FloatArray:
    """Return the profile log-likelihood at every ratio, shape (R,)."""
    n, p = design.basis.shape
    products = _cross_products(design, ratios)
    gram, cross = products[:, :p, :p], products[:, :p, p]
    explained = np.einsum("ri,ri->r", cross, np.linalg.solve(gram, cross[:, :, None])[:, :, 0])
    rss = np.maximum(products[:, p, p] - explained, np.finfo(np.float64).tiny)
    freedom = n - p if reml else n
    total = freedom * (1.0 + np.log(2.0 * np.pi * rss / freedom) + 2.0 * np.log(design.scale))
    total += np.log1p(ratios[:, None] * design.sizes).sum(axis=1)
    if reml:
        total += np.linalg.slogdet(gram)[1] + 2.0 * np.log(np.abs(np.diag(design.triangle))).sum()
    result: FloatArray = -0.5 * total
    return result


def fit_at(design: Design, ratio: float, *, reml: bool) -> GlsFit:
    """Return the generalised least squares fit at one ratio of variances."""
    n, p = design.basis.shape
    products = _cross_products(design, np.array([ratio]))[0]
    gram, cross = products[:p, :p], products[:p, p]
    inside = np.linalg.solve(gram, cross)
    variance = design.scale**2 * max(float(products[p, p] - cross @ inside), 0.0) / (n - p if reml else n)
    back = np.linalg.inv(design.triangle)
    coefficients = design.scale * back @ inside
    coefficients[0] += design.centre
    return GlsFit(
        ratio=ratio,
        log_likelihood=float(log_likelihoods(design, np.array([ratio]), reml=reml)[0]),
        residual_variance=variance,
        coefficients=coefficients,
        covariance=variance * back @ np.linalg.inv(gram) @ back.T,
    )


def best_ratio(design: Design, *, reml: bool) -> float:
    """Return the ratio of variances with the highest profile likelihood.

    The whole grid is scanned first, since the profile can have one maximum at zero and another inside; the best cell is
    then polished by Brent's bounded method on the log scale. Returns 0.0 on the boundary, and infinity if the
    likelihood still rises at the top of the grid (residual variance going to zero).
    """
    values = log_likelihoods(design, RATIO_GRID, reml=reml)
    peak = int(np.argmax(values))
    if peak == RATIO_GRID.size - 1:
        return float("inf")
    if RATIO_GRID[peak] <= BOUNDARY_RATIO:
        return 0.0
    found = minimize_scalar(
        lambda log_ratio: -float(log_likelihoods(design, np.exp(np.array([log_ratio])), reml=reml)[0]),
        bounds=(np.log(RATIO_GRID[peak - 1]), np.log(RATIO_GRID[peak + 1])),
        method="bounded",
        options={"xatol": POLISH_TOLERANCE},
    )
    return float(np.exp(found.x))


def satterthwaite_freedom(design: Design, fit: GlsFit, *, reml: bool, weights: FloatArray | None = None) -> FloatArray:
    """Return Satterthwaite's degrees of freedom of linear combinations, shape (k,); NaN where they do not exist.

    `weights`, shape (k, p), are those of the coefficients in each combination; by default every coefficient alone.

    The sampling covariance of the variances is the inverse of the *observed* information of (var(u), var(e)), which is
    what lmerTest takes; on the boundary var(u) is held at zero, which gives n - p under REML.
    """
    n = design.basis.shape[0]
    same_group = (design.codes[:, None] == design.codes[None, :]).astype(np.float64)
    identity = np.eye(n)
    weight = np.linalg.inv(identity + fit.ratio * same_group) / fit.residual_variance
    columns = design.basis @ design.triangle
    combined = fit.covariance if weights is None else weights @ fit.covariance
    variance = np.diag(combined if weights is None else combined @ weights.T)
    weighted = weight @ columns
    projector = weight - weighted @ fit.covariance @ weighted.T
    residual = design.scale * projector @ design.response
    pieces = [identity] if fit.ratio == 0.0 else [same_group, identity]
    spread = projector if reml else weight
    information = np.empty((len(pieces), len(pieces)))
    gradient = np.empty((len(pieces), len(variance)))
    for i, first in enumerate(pieces):
        gradient[i] = np.diag(combined @ (weighted.T @ first @ weighted) @ combined.T)
        for j, second in enumerate(pieces):
            trace = float(np.sum((spread @ first) * (spread @ second).T))
            information[i, j] = residual @ first @ projector @ second @ residual - 0.5 * trace
    if np.linalg.eigvalsh(information)[0] <= 0.0:
        return np.full(len(variance), np.nan)
    noise = np.einsum("ij,ij->j", gradient, np.linalg.solve(information, gradient))
    freedom: FloatArray = 2.0 * variance**2 / noise
    return freedom


def cluster_robust_covariance(design: Design, fit: GlsFit) -> FloatArray:
    """Return the sandwich covariance of the coefficients, clustered by group, shape (p, p).

    Liang and Zeger's estimator with V = I + ratio Z Z' as working covariance and the correction
    G / (G - 1) * (n - 1) / (n - p) (CR1); with `ratio` zero it is ordinary least squares with clustered errors, and
    with groups of one it is HC1. Needs two groups or more.
    """
    n, p = design.basis.shape
    groups = design.sizes.size
    columns = design.basis @ design.triangle
    residual = design.centre + design.scale * design.response - columns @ fit.coefficients
    group_sums = np.bincount(design.codes, weights=residual)
    shrink = fit.ratio / (1.0 + fit.ratio * design.sizes)
    weighted = residual - (shrink * group_sums)[design.codes]
    scores = np.zeros((groups, p))
    np.add.at(scores, design.codes, columns * weighted[:, None])
    bread = fit.covariance / fit.residual_variance
    correction = groups / (groups - 1) * (n - 1) / (n - p)
    covariance: FloatArray = correction * bread @ (scores.T @ scores) @ bread
    return covariance
