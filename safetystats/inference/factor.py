"""The factor graph: one latent capability, benchmarks as indicators, residuals that families share.

For model m of family f and benchmark b (DESIGN 3.3)

    y_mb = alpha_b + s_b (rho_b theta_m + sum_j lambda_bj eta_mj) + u_fb + e_mb + epsilon_mb,
    theta_m = sqrt(omega) t_f + sqrt(1 - omega) t_m,   t_f, t_m, eta ~ N(0, 1),
    u_fb ~ N(0, kappa_b v_b),   e_mb ~ N(0, (1 - kappa_b) v_b),   v_b = s_b^2 (1 - rho_b^2 - sum_j lambda_bj^2),

so that rho_b is the correlation with capability; the default has no further factors eta, and epsilon, the sampling
error of a score, is there only where its variance is known. The family effects u are integrated out. In the graph of
this module theta (and eta) are variables: within a family the residuals of a benchmark have compound symmetry, whose
density needs only counts, sums and sums of squares over the observed cells, so that missing cells cost nothing. Where
scores have no known sampling error and few are missing, theta and eta are integrated out instead
(`safetystats.inference.factor_kernel`), which is several times faster and needs no graph.

This module builds; it never draws. Data and the numbers of the priors are `pm.Data`, and smaller data are padded, so
that one compiled graph serves every class, prior, refit and extra column; padded parameters follow their prior and are
cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from safetystats.inference.arrays import FloatArray, GraphKind, Structure, prior_data, sampled_data
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
    those before it), shape (n_benchmarks, n_further), and `further_free` (n_models, n_further); `theta_free`
    (n_models,) and `family_free` (n_families,). Deterministics `rho` and `theta` obey the sign rule: the loadings of
    the anchors sum to a positive number. omega is `capability_icc`, a scalar. The density is made symmetric under a
    joint change of sign by putting the prior on the turned loadings, so that turning each draw to the positive side
    gives exactly the posterior under that constraint.

    References
    ----------
    Spearman (1904); Bartholomew, Knott and Moustaki (2011), ch. 3; compound symmetry: Searle, Casella and McCulloch
    (1992), appendix M.
    """
    n, k, n_further = kind.n_models, kind.n_benchmarks, kind.n_further
    structure = Structure(anchors=np.ones(k, dtype=bool), pattern=np.zeros((k, n_further), dtype=bool))
    blank, families = np.full((n, k), np.nan), np.zeros(n, dtype=np.int64)
    fill: dict[str, FloatArray] = prior_data(BLANK, structure.anchors, k, n_further)
    fill |= sampled_data(blank, families, np.zeros((n, k)), structure, kind)
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in fill.items()}
        pm.Potential("log_likelihood", _log_likelihood(data, _parameters(data, kind), kind))
    return graph


def _parameters(data: dict[str, Any], kind: GraphKind) -> dict[str, Any]:
    """Declare the parameters of the benchmarks; return them with what follows from them.

    `further` are the loadings of all benchmarks on further factors, one vector per factor.
    """
    k, n_further = kind.n_benchmarks, kind.n_further
    rho, sign, left = correlations(data, k)
    total_sd = pm.LogNormal("total_sd", data["prior_total_sd"][0], data["prior_total_sd"][1], shape=k)
    icc = pm.Beta("icc", data["prior_icc"][0], data["prior_icc"][1], shape=k) * data["shared"]
    omega = pm.Beta("capability_icc", data["prior_capability_icc"][0], data["prior_capability_icc"][1])
    intercept = pm.Normal("intercept", data["prior_intercept"][0], data["prior_intercept"][1], shape=k)
    pm.Deterministic("rho", sign * rho)
    further = []
    if n_further:
        share = pm.Beta("further_unit", data["prior_further"][0], data["prior_further"][1], shape=(k, n_further))
        for j in range(n_further):
            on, own = data["pattern"][:, j], share[:, j]
            further.append((2 * own - 1) * on * pt.sqrt(left))
            left = left * (1 - on + on * 4 * own * (1 - own))
        pm.Deterministic("further", pt.stack(further, axis=1))
    return {
        "slope": total_sd * rho, "intercept": intercept, "icc": icc, "unique": total_sd**2 * left, "sign": sign,
        "capability_icc": omega * data["shared"], "capability_root": pt.sqrt(omega) * data["shared"],
        "further": [total_sd * loading for loading in further],
    }  # fmt: skip


def correlations(data: dict[str, Any], n_benchmarks: int) -> tuple[Any, Any, Any]:
    """Declare the correlations with capability; return rho before the sign rule, the sign, and 1 - rho^2."""
    a, b = data["prior_loading"][0], data["prior_loading"][1]
    unit = pm.Beta("loading_unit", a, b, shape=n_benchmarks)
    rho = 2 * unit - 1
    sign = pt.switch(pt.ge((rho * data["anchors"]).sum(), 0), 1.0, -1.0)
    pm.Potential("turned_loading_prior", ((sign - 1) * 0.5 * (a - b) * (pt.log(unit) - pt.log1p(-unit))).sum())
    return rho, sign, 4 * unit * (1 - unit)  # without cancellation


def _log_likelihood(data: dict[str, Any], parts: dict[str, Any], kind: GraphKind) -> Any:
    """Return the log likelihood given capability, family effects integrated out over the observed cells."""
    omega, members = parts["capability_icc"], data["members"][:, :, None]
    alone = pm.Normal("theta_free", 0.0, 1.0, shape=kind.n_models)
    together = pm.Normal("family_free", 0.0, 1.0, shape=kind.n_families)
    # The root of the free variable, not of omega: at omega = 0 its gradient would not be finite.
    theta = parts["capability_root"] * (data["members"] * together[:, None]).sum(0) + pt.sqrt(1 - omega) * alone
    pm.Deterministic("theta", parts["sign"] * theta)
    signal = parts["slope"] * theta[:, None]
    if kind.n_further:
        eta = pm.Normal("further_free", 0.0, 1.0, shape=(kind.n_models, kind.n_further))
        for j, loading in enumerate(parts["further"]):
            signal = signal + loading * eta[:, j, None]
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
