"""The factor graphs: one latent capability, benchmarks as indicators, residuals that families share.

For model m of family f and benchmark b (DESIGN 3.3)

    y_mb = alpha_b + s_b (rho_b theta_m + sum_j lambda_bj eta_mj) + u_fb + e_mb + epsilon_mb,
    theta_m = sqrt(omega) t_f + sqrt(1 - omega) t_m,   t_f, t_m, eta ~ N(0, 1),
    u_fb ~ N(0, kappa_b v_b),   e_mb ~ N(0, (1 - kappa_b) v_b),   v_b = s_b^2 (1 - rho_b^2 - sum_j lambda_bj^2),

so that rho_b is the correlation with capability; the default has no further factors eta, and epsilon, the sampling
error of a score, is there only where its variance is known. The family effects u are integrated out. There are three
graphs of one posterior:

sampled
    theta (and eta) are variables. Within a family the residuals of a benchmark have compound symmetry, whose density
    needs only counts, sums and sums of squares over the observed cells, so that missing cells cost nothing.
integrated
    theta (and eta) are integrated out too. Helmert contrasts inside each family make the rows of complete data
    independent with covariance low rank plus diagonal; theta is drawn afterwards from its conditional distribution
    (`safetystats.inference.capability_draws`).
completed
    the same, with the few missing cells as variables: the marginal posterior is that given the observed cells.

This module builds; it never draws. Data and the numbers of the priors are `pm.Data`, and smaller data are padded, so
that one compiled graph serves every class, prior, refit and extra column; padded parameters follow their prior and are
cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from safetystats.inference.arrays import (
    FactorSize,
    FloatArray,
    GraphKind,
    IntArray,
    Structure,
    completed_data,
    integrated_data,
    prior_data,
    sampled_data,
)
from safetystats.specs import BetaPrior, FactorPriors, LogNormalPrior, NormalPrior

BLANK = FactorPriors(
    capability_loading=BetaPrior(family="beta", alpha=2.0, beta=2.0),
    loading=BetaPrior(family="beta", alpha=2.0, beta=2.0),
    total_sd=LogNormalPrior(family="lognormal", mu=0.0, sigma=0.5),
    icc=BetaPrior(family="beta", alpha=1.0, beta=3.0),
    capability_icc=BetaPrior(family="beta", alpha=1.0, beta=1.0),
    intercept=NormalPrior(family="normal", mu=0.0, sigma=1.0),
)


def factor_graph(kind: GraphKind) -> pm.Model:
    """Build the PyMC model of one kind of graph; its data are placeholders.

    Free variables: `loading_unit` ((rho + 1) / 2 before the sign rule), `total_sd`, `icc`, `intercept`, each of shape
    (n_benchmarks,); with further factors `further_unit` ((r + 1) / 2 of the partial correlation r with factor j given
    those before it), shape (n_benchmarks, n_further), or (n_benchmarks,) where each loads on one of them at most; if
    capability is sampled `theta_free` (n_models,), `family_free` (n_families,) and `further_free` (n_models,
    n_further). Deterministics `rho` and `theta` obey the sign rule: the loadings of the anchors sum to a positive
    number. omega is `capability_icc`, a scalar. The density is made symmetric under a joint change of sign by putting
    the prior on the turned loadings, so that turning each draw to the positive side gives exactly the posterior under
    that constraint.

    References
    ----------
    Spearman (1904); Bartholomew, Knott and Moustaki (2011), ch. 3; compound symmetry: Searle, Casella and McCulloch
    (1992), appendix M.
    """
    size = kind.size
    structure = Structure(
        anchors=np.ones(size.n_benchmarks, dtype=bool),
        pattern=np.zeros((size.n_benchmarks, size.n_further), dtype=bool),
    )
    fill: dict[str, FloatArray | IntArray] = dict(prior_data(BLANK, structure.anchors, size))
    if kind.evaluator != "sampled":
        blank = np.zeros((size.n_families, size.n_benchmarks))
        arrays = integrated_data if kind.evaluator == "integrated" else completed_data
        fill |= arrays(blank, np.arange(size.n_families), structure, kind)
    else:
        blank = np.full((size.n_models, size.n_benchmarks), np.nan)
        families = np.zeros(size.n_models, dtype=np.int64)
        fill |= sampled_data(blank, families, np.zeros_like(blank), structure, kind)
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in fill.items()}
        parts = _parameters(data, kind)
        log_likelihood = _sampled(data, parts, kind) if kind.evaluator == "sampled" else _integrated(data, parts, kind)
        pm.Potential("log_likelihood", log_likelihood)
    return graph


def _parameters(data: dict[str, Any], kind: GraphKind) -> dict[str, Any]:
    """Declare the parameters of the benchmarks; return them with what follows from them.

    `further` are loadings of all benchmarks, one vector per factor; `groups` are loadings on factors without a
    benchmark in common, shape (n_further, n_benchmarks), or None.
    """
    size, k = kind.size, kind.size.n_benchmarks
    rho, sign, left = correlations(data, k)
    total_sd = pm.LogNormal("total_sd", data["prior_total_sd"][0], data["prior_total_sd"][1], shape=k)
    icc = pm.Beta("icc", data["prior_icc"][0], data["prior_icc"][1], shape=k) * data["shared"]
    omega = pm.Beta("capability_icc", data["prior_capability_icc"][0], data["prior_capability_icc"][1])
    intercept = pm.Normal("intercept", data["prior_intercept"][0], data["prior_intercept"][1], shape=k)
    pm.Deterministic("rho", sign * rho)
    further, groups = [], None
    if size.n_further and kind.disjoint:
        own = pm.Beta("further_unit", data["prior_further"][0], data["prior_further"][1], shape=k)
        on = data["pattern"].sum(1)
        groups = data["pattern"].T * ((2 * own - 1) * pt.sqrt(left))
        left = left * (1 - on + on * 4 * own * (1 - own))
        pm.Deterministic("further", groups.T)
        groups = groups * total_sd
    elif size.n_further:
        share = pm.Beta("further_unit", data["prior_further"][0], data["prior_further"][1], shape=(k, size.n_further))
        for j in range(size.n_further):
            on, own = data["pattern"][:, j], share[:, j]
            further.append((2 * own - 1) * on * pt.sqrt(left))
            left = left * (1 - on + on * 4 * own * (1 - own))
        pm.Deterministic("further", pt.stack(further, axis=1))
    return {
        "slope": total_sd * rho, "intercept": intercept, "icc": icc, "unique": total_sd**2 * left, "sign": sign,
        "capability_icc": omega * data["shared"], "capability_root": pt.sqrt(omega) * data["shared"],
        "further": [total_sd * loading for loading in further], "groups": groups,
    }  # fmt: skip


def correlations(data: dict[str, Any], n_benchmarks: int) -> tuple[Any, Any, Any]:
    """Declare the correlations with capability; return rho before the sign rule, the sign, and 1 - rho^2."""
    a, b = data["prior_loading"][0], data["prior_loading"][1]
    unit = pm.Beta("loading_unit", a, b, shape=n_benchmarks)
    rho = 2 * unit - 1
    sign = pt.switch(pt.ge((rho * data["anchors"]).sum(), 0), 1.0, -1.0)
    pm.Potential("turned_loading_prior", ((sign - 1) * 0.5 * (a - b) * (pt.log(unit) - pt.log1p(-unit))).sum())
    return rho, sign, 4 * unit * (1 - unit)  # without cancellation


def _sampled(data: dict[str, Any], parts: dict[str, Any], kind: GraphKind) -> Any:
    """Return the log likelihood given capability, family effects integrated out over the observed cells."""
    size = kind.size
    omega, members = parts["capability_icc"], data["members"][:, :, None]
    alone = pm.Normal("theta_free", 0.0, 1.0, shape=size.n_models)
    together = pm.Normal("family_free", 0.0, 1.0, shape=size.n_families)
    # The root of the free variable, not of omega: at omega = 0 its gradient would not be finite.
    theta = parts["capability_root"] * (data["members"] * together[:, None]).sum(0) + pt.sqrt(1 - omega) * alone
    pm.Deterministic("theta", parts["sign"] * theta)
    signal = parts["slope"] * theta[:, None]
    if size.n_further:
        eta = pm.Normal("further_free", 0.0, 1.0, shape=(size.n_models, size.n_further))
        for j, loading in enumerate(parts["further"]):
            signal = signal + loading * eta[:, j, None]
        if parts["groups"] is not None:
            signal = signal + (eta[:, :, None] * parts["groups"]).sum(1)
    residual = (data["scores"] - parts["intercept"] - signal) * data["seen"]
    icc, unique = parts["icc"], parts["unique"]
    within = (1 - icc) * unique
    # Broadcast sums instead of matrix products: the compiled graph is the same speed at these sizes and its first
    # compilation takes a quarter of the time.
    if kind.noisy:
        own = within + data["noise"]
        weight = data["seen"] / own
        sums = (members * (residual * weight)[None, :, :]).sum(1)
        weights = (members * weight[None, :, :]).sum(1)
        log_det = (data["seen"] * pt.log(own)).sum() + pt.log1p(icc * unique * weights).sum()
        quadratic = (residual**2 * weight).sum() - (icc * unique * sums**2 / (1 + icc * unique * weights)).sum()
    else:
        sums = (members * residual[None, :, :]).sum(1)
        counts = data["counts"]
        shrink = icc / (1 - icc + counts * icc)
        every = (counts - 1) * pt.log(within) + pt.log(within + counts * icc * unique)
        log_det = (pt.gt(counts, 0) * every).sum()
        quadratic = ((residual**2).sum(0) / within).sum() - (shrink * sums**2 / within).sum()
    return -0.5 * (log_det + quadratic + np.log(2 * np.pi) * data["seen"].sum())


def _integrated(data: dict[str, Any], parts: dict[str, Any], kind: GraphKind) -> Any:
    """Return the log likelihood with all factors and family effects integrated out.

    Rows have covariance D + sum_j t_j l_j l_j', where t_j is the variance of factor j in the row: in contrasts one,
    less omega for capability; in sqrt(n_f) times a family's mean one, plus (n_f - 1) omega for capability.
    """
    used, omega = data["used"], parts["capability_icc"]
    groups = None if parts["groups"] is None else parts["groups"] * used
    loadings = [parts["slope"] * used, *(loading * used for loading in parts["further"])]
    inside = [1 - omega] + [1.0] * len(parts["further"])
    within = (1 - parts["icc"]) * parts["unique"]
    scaled = [pt.sqrt(t) * loading for t, loading in zip(inside, loadings, strict=True)]
    whitened, blocks, log_pivots = eliminate(scaled, 1 / within, groups)
    log_det = data["n_contrasts"] * ((used * pt.log(within)).sum() + log_pivots)
    if kind.evaluator == "completed":
        inside_families, means = _completed(data, kind.size)
        quadratic = ((inside_families**2).sum(0) / within).sum()
        for row in whitened:
            quadratic -= ((inside_families * row).sum(1) ** 2).sum()
        if blocks is not None:
            quadratic -= ((inside_families[:, None, :] * blocks).sum(-1) ** 2).sum()
    else:
        means = data["means"]
        quadratic = (pt.diagonal(data["cross"]) / within).sum()
        for row in whitened:
            quadratic -= (data["cross"] * row[:, None] * row).sum()
        if blocks is not None:
            quadratic -= (data["cross"] * blocks[:, :, None] * blocks[:, None, :]).sum()

    roots = data["roots"][:, None]
    present = pt.gt(roots, 0)
    variance = within + roots**2 * parts["icc"] * parts["unique"]  # (n_families, n_benchmarks)
    residual = (means - roots * parts["intercept"]) * used * present
    spreads = [1 - omega + roots**2 * omega] + [pt.ones_like(roots)] * len(parts["further"])
    scaled = [pt.sqrt(t) * loading for t, loading in zip(spreads, loadings, strict=True)]
    whitened, blocks, log_pivots = eliminate(scaled, 1 / variance, groups)
    log_det += (present * used * pt.log(variance)).sum() + (present[:, 0] * log_pivots).sum()
    quadratic += (residual**2 / variance).sum()
    for row in whitened:
        quadratic -= ((row * residual).sum(-1) ** 2).sum()
    if blocks is not None:
        quadratic -= ((blocks * residual[:, None, :]).sum(-1) ** 2).sum()
    n_models = data["n_contrasts"] + present.sum()
    return -0.5 * (log_det + quadratic + np.log(2 * np.pi) * n_models * used.sum())


def _completed(data: dict[str, Any], size: FactorSize) -> tuple[Any, Any]:
    """Declare the missing cells; return scores less their family's mean, and sqrt(n_f) times the means.

    The density of a missing cell is that of the model alone: the normal that it is declared with, which keeps padded
    ones in place, is taken off again.
    """
    missing = pm.Normal("missing", 0.0, 1.0, shape=size.n_missing)
    pm.Potential("missing_cells_have_no_prior", 0.5 * (missing**2 * data["filled"]).sum())
    flat = pt.concatenate([data["scores"].ravel(), pt.zeros(1)])
    filled = pt.inc_subtensor(flat[data["places"]], missing * data["filled"])
    values = filled[:-1].reshape((size.n_models, size.n_benchmarks))
    members = data["members"][:, :, None]
    sums, roots = (members * values).sum(1), pt.maximum(data["roots"], 1.0)[:, None]
    inside = values - (members * (sums / roots**2)[:, None, :]).sum(0)
    return inside, sums / roots


def eliminate(loadings: list[Any], precision: Any, groups: Any = None) -> tuple[list[Any], Any, Any]:
    """Return vectors q_j with (D + sum_j l_j l_j')^-1 = D^-1 - sum_j q_j q_j', and the log determinant relative to D.

    One factor after the other (Sherman and Morrison): with the factors before it taken in, l_j becomes
    w_j = D^-1 l_j - sum_i q_i (q_i' l_j), its pivot is 1 + l_j' w_j, and q_j = w_j / sqrt(pivot). Broadcasts over
    leading dimensions of the loadings and of the precision.

    `groups` are loadings on factors that have no benchmark in common, shape (n_groups, n_benchmarks): l_i' D^-1 l_j is
    zero between them, so that they are taken in first and at once. Their q are returned apart, shape (...,
    n_groups, n_benchmarks).
    """
    taken: list[Any] = []
    blocks, log_pivots = None, 0.0
    if groups is not None:
        weights = precision[..., None, :] * groups
        pivots = 1 + (groups * weights).sum(-1)
        blocks = weights / pt.sqrt(pivots)[..., None]
        log_pivots = pt.log(pivots).sum(-1)
    for loading in loadings:
        weight = precision * loading
        if blocks is not None:
            weight = weight - (blocks * (blocks * loading[..., None, :]).sum(-1, keepdims=True)).sum(-2)
        for before in taken:
            weight = weight - before * (before * loading).sum(-1, keepdims=True)
        pivot = 1 + (loading * weight).sum(-1, keepdims=True)
        taken.append(weight / pt.sqrt(pivot))
        log_pivots = log_pivots + pt.log(pivot)[..., 0]
    return taken, blocks, log_pivots
