"""The two-level factor graph: one latent capability, benchmarks as indicators, residuals that families share.

For model m of family f and benchmark b (DESIGN 3.3)

    y_mb = alpha_b + s_b rho_b theta_m + u_fb + e_mb,   theta_m ~ N(0, 1),
    u_fb ~ N(0, kappa_b s_b^2 (1 - rho_b^2)),   e_mb ~ N(0, (1 - kappa_b) s_b^2 (1 - rho_b^2)),

so that corr(y_b, theta) = rho_b. The family effects u are integrated out: within a family the residuals of a
benchmark have compound symmetry, whose density needs only counts, sums and sums of squares over the observed cells.

This module builds; it never draws. The graph is made for a size, and smaller data are padded with unobserved cells,
so that one compiled graph serves every class and every extra column; padded parameters follow their prior and are cut
off afterwards.
"""

from __future__ import annotations

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from safetystats.inference.arrays import FactorArrays, FactorSize
from safetystats.specs import FactorPriors


def factor_graph(priors: FactorPriors, size: FactorSize) -> pm.Model:
    """Build the PyMC model of the two-level one-factor model for data of at most `size`.

    Free variables: `loading_unit` ((rho + 1) / 2 before the sign rule), `total_sd`, `icc`, `intercept`, each of shape
    (n_benchmarks,), and `theta_free`, shape (n_models,). Deterministics `rho` and `theta` obey the sign rule: the
    loadings of the anchors sum to a positive number. The posterior is symmetric under a joint change of sign, so
    turning each draw to the positive side gives exactly the posterior under that constraint; if the prior of the
    loading is not symmetric, a potential puts it on the turned loading.

    References
    ----------
    Spearman (1904); Bartholomew, Knott and Moustaki (2011), ch. 3; compound symmetry: Searle, Casella and McCulloch
    (1992), appendix M.
    """
    n, k, f = size.n_models, size.n_benchmarks, size.n_families
    blank = FactorArrays(
        scores=np.zeros((n, k)),
        seen=np.zeros((n, k)),
        members=np.zeros((f, n)),
        counts=np.zeros((f, k)),
        anchors=np.ones(k),
    )
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in blank.as_data().items()}
        unit = pm.Beta("loading_unit", priors.loading.alpha, priors.loading.beta, shape=k)
        total_sd = pm.LogNormal("total_sd", priors.total_sd.mu, priors.total_sd.sigma, shape=k)
        icc = pm.Beta("icc", priors.icc.alpha, priors.icc.beta, shape=k)
        intercept = pm.Normal("intercept", priors.intercept.mu, priors.intercept.sigma, shape=k)
        theta = pm.Normal("theta_free", 0.0, 1.0, shape=n)

        rho = 2 * unit - 1
        sign = pt.switch(pt.ge((rho * data["anchors"]).sum(), 0), 1.0, -1.0)
        pm.Deterministic("rho", sign * rho)
        pm.Deterministic("theta", sign * theta)
        if priors.loading.alpha != priors.loading.beta:
            tilt = (priors.loading.alpha - priors.loading.beta) * 0.5 * (pt.log(unit) - pt.log1p(-unit))
            pm.Potential("turned_loading_prior", ((sign - 1) * tilt).sum())

        residual = (data["scores"] - intercept - (total_sd * rho) * theta[:, None]) * data["seen"]
        unique = total_sd**2 * 4 * unit * (1 - unit)  # 1 - rho^2, without cancellation
        within = (1 - icc) * unique
        # Broadcast sums instead of matrix products: the compiled graph is the same speed at these sizes and its first
        # compilation takes a quarter of the time.
        sums = (data["members"][:, :, None] * residual[None, :, :]).sum(1)
        squares = (residual**2).sum(0)
        counts = data["counts"]
        log_det = (counts - 1) * pt.log(within) + pt.log(within + counts * icc * unique)
        shrink = icc / (1 - icc + counts * icc)
        pm.Potential(
            "log_likelihood",
            -0.5
            * (
                (pt.gt(counts, 0) * log_det).sum()
                + (squares / within).sum()
                - (shrink * sums**2 / within).sum()
                + np.log(2 * np.pi) * data["seen"].sum()
            ),
        )
    return graph
