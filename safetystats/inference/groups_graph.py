"""The factor graph of several model classes: configural, metric and scalar invariance in one graph.

For model m of class c and family f on benchmark b

    y_mb = nu_cb + lambda_cb theta_m + u_fb + e_mb,
    theta_m = mu_c + tau_c (sqrt(omega_c) t_f + sqrt(1 - omega_c) t_m),
    u_fb ~ N(0, kappa_cb v_cb),   e_mb ~ N(0, (1 - kappa_cb) v_cb).

In the reference class (the first) mu = 0, tau = 1, lambda_b = s_b rho_b and v_b = s_b^2 (1 - rho_b^2), as in
`safetystats.inference.factor`; in another class

    lambda_cb = lambda_b + free_loadings d_cb,    nu_cb = nu_b + free_intercepts h_cb,    v_cb = v_b exp(g_cb),
    tau_c = exp(free_latent_sd log tau_c),        mu_c = free_latent_mean mu_c,

where the masks are zero or one. What a mask takes out follows its prior and touches nothing. Classes are independent
given the parameters: a family that has models in two classes has effects of its own in each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt

from safetystats.inference.factor import BLANK, correlations
from safetystats.inference.groups_data import GroupSize, group_arrays
from safetystats.inference.parameters import FactorData
from safetystats.specs import InvariancePriors, LogNormalPrior, NormalPrior

_NORMAL = NormalPrior(family="normal", mu=0.0, sigma=1.0)
_LOG_NORMAL = LogNormalPrior(family="lognormal", mu=0.0, sigma=0.5)
_BLANK = InvariancePriors(
    total_sd=_LOG_NORMAL,
    loading_difference=_NORMAL,
    intercept_difference=_NORMAL,
    log_unique_ratio=_NORMAL,
    latent_mean=_NORMAL,
    latent_sd=_LOG_NORMAL,
)


def groups_graph(size: GroupSize) -> pm.Model:
    """Build the PyMC model of two or more classes; its data are placeholders.

    Free variables: `loading_unit`, `total_sd`, `intercept_free` (n_benchmarks,) of the reference class;
    `icc_free` (n_classes, n_benchmarks), `capability_icc_free` (n_classes,); for the other classes
    `loading_difference`, `intercept_difference`, `log_unique_ratio` (n_classes - 1, n_benchmarks), `mean_free`,
    `log_sd_free` (n_classes - 1,); `missing` (n_missing,) where cells are missing. Deterministics: the fields of
    `GroupDraws`. The loadings of every class sum to a positive number; the density is symmetric under a change of all
    signs of the reference class, or of another class, before this rule (`safetystats.inference.factor.factor_graph`).

    References
    ----------
    Joreskog (1971), Psychometrika 36; Meredith (1993), Psychometrika 58.
    """
    if size.n_classes < 2:
        raise ValueError("needs two or more classes")
    blank = FactorData(
        values=np.zeros((1, size.n_benchmarks)),
        families=np.zeros(1, dtype=np.int64),
        noise=np.zeros((1, size.n_benchmarks)),
    )
    fill = group_arrays([blank] * size.n_classes, BLANK, _BLANK, "configural", size)
    with pm.Model() as graph:
        data = {name: pm.Data(name, value) for name, value in fill.items()}
        parts = _parameters(data, size)
        pm.Potential("log_likelihood", _log_likelihood(data, parts, size))
    return graph


def _parameters(data: dict[str, Any], size: GroupSize) -> dict[str, Any]:
    """Declare the parameters of all classes; return the fields of `GroupDraws` without the draws."""
    k, n_classes = size.n_benchmarks, size.n_classes

    def normal(name: str, prior: str, *shape: int) -> Any:
        return pm.Normal(name, data[f"prior_{prior}"][0], data[f"prior_{prior}"][1], shape=shape)

    def placed(values: Any) -> Any:
        """Put values of the other classes into their rows; zero in the row of the reference class."""
        if values.ndim == 1:
            return (data["contrast"] * values).sum(1)
        return (data["contrast"][:, :, None] * values).sum(1)

    rho, sign, left = correlations(data, k)
    total_sd = pm.LogNormal("total_sd", data["prior_total_sd"][0], data["prior_total_sd"][1], shape=k)
    nu = normal("intercept_free", "intercept", k)
    icc = pm.Beta("icc_free", data["prior_icc"][0], data["prior_icc"][1], shape=(n_classes, k))
    a, b = data["prior_capability_icc"][0], data["prior_capability_icc"][1]
    omega = pm.Beta("capability_icc_free", a, b, shape=n_classes)
    difference = normal("loading_difference", "loading_difference", n_classes - 1, k)
    shift = normal("intercept_difference", "intercept_difference", n_classes - 1, k)
    ratio = normal("log_unique_ratio", "log_unique_ratio", n_classes - 1, k)
    mean = normal("mean_free", "latent_mean", n_classes - 1)
    log_sd = normal("log_sd_free", "latent_sd", n_classes - 1)
    reference = sign * total_sd * rho
    loading = reference + data["free_loadings"] * placed(difference)
    turn = pt.switch(pt.ge(loading.sum(1, keepdims=True), 0), 1.0, -1.0)  # (n_classes, 1)
    _put_prior_on_turned(data, loading - reference, turn * loading - reference)
    found = {
        "loading": turn * loading,
        "intercept": nu + data["free_intercepts"] * placed(shift),
        "unique": total_sd**2 * left * pt.exp(placed(ratio)),
        "icc": icc * data["shared"],
        "capability_icc": omega * data["shared"],
        "latent_mean": data["free_latent_mean"] * placed(mean),
        "latent_sd": pt.exp(data["free_latent_sd"] * placed(log_sd)),
    }
    for name, value in found.items():
        pm.Deterministic(name, value)
    return found


def _put_prior_on_turned(data: dict[str, Any], free: Any, turned: Any) -> None:
    """Exchange the prior density of differences of loadings before the sign rule for that of the turned ones.

    Where loadings are free the scores of a class do not tell the direction of its capability. Without this a chain
    that starts in the wrong one stays there; with it, both are the same posterior.
    """
    mean, sd = data["prior_loading_difference"][0], data["prior_loading_difference"][1]
    pm.Potential("turned_difference_prior", 0.5 * (((free - mean) ** 2 - (turned - mean) ** 2) / sd**2).sum())


def _log_likelihood(data: dict[str, Any], parts: dict[str, Any], size: GroupSize) -> Any:
    """Return the log likelihood of all classes, capability and family effects integrated out.

    What `safetystats.inference.factor_kernel` does for one class, with classes along the first axis: Helmert contrasts
    inside each family, and sqrt(n_f) times its mean, have independent rows with covariance D + t l l'. One graph with
    an axis for classes is smaller than a copy of the graph of one class for each.
    """
    omega, unique = parts["capability_icc"][:, None], parts["unique"]
    slope = parts["loading"] * parts["latent_sd"][:, None]  # (n_classes, n_benchmarks)
    intercept = parts["intercept"] + parts["loading"] * parts["latent_mean"][:, None]
    within = (1 - parts["icc"]) * unique
    row, log_pivot = _eliminate(pt.sqrt(1 - omega) * slope, 1 / within)
    log_det = (data["n_contrasts"] * (pt.log(within).sum(1) + log_pivot)).sum()
    if size.n_missing:
        values, means = _completed(data, size)  # (n_classes, n_models or n_families, n_benchmarks)
        # Sums of squares inside families: those over models less those of the families' means.
        quadratic = (((values**2).sum(1) - (means**2).sum(1)) / within).sum()
        quadratic -= ((values * row[:, None]).sum(-1) ** 2).sum() - ((means * row[:, None]).sum(-1) ** 2).sum()
    else:
        means, cross = data["means"], data["cross"]
        quadratic = (cross.diagonal(axis1=1, axis2=2) / within).sum()
        quadratic -= (cross * row[:, :, None] * row[:, None, :]).sum()

    roots = data["roots"][:, :, None]
    present = pt.gt(roots, 0)
    variance = within[:, None] + roots**2 * (parts["icc"] * unique)[:, None]
    residual = (means - roots * intercept[:, None]) * present
    spread = 1 - omega[:, None] + roots**2 * omega[:, None]
    row, log_pivot = _eliminate(pt.sqrt(spread) * slope[:, None], 1 / variance)
    log_det += (present * pt.log(variance)).sum() + (present[..., 0] * log_pivot).sum()
    quadratic += (residual**2 / variance).sum() - ((row * residual).sum(-1) ** 2).sum()
    n_models = data["n_contrasts"].sum() + present.sum()
    return -0.5 * (log_det + quadratic + np.log(2 * np.pi) * n_models * size.n_benchmarks)


def _eliminate(loading: Any, precision: Any) -> tuple[Any, Any]:
    """Return q with (D + l l')^-1 = D^-1 - q q', and the log determinant relative to D (Sherman and Morrison 1950)."""
    weight = precision * loading
    pivot = 1 + (loading * weight).sum(-1, keepdims=True)
    return weight / pt.sqrt(pivot), pt.log(pivot)[..., 0]


def _completed(data: dict[str, Any], size: GroupSize) -> tuple[Any, Any]:
    """Declare the missing cells; return all scores, and sqrt(n_f) times the means of families, by class."""
    missing = pm.Normal("missing", 0.0, 1.0, shape=size.n_missing)
    pm.Potential("missing_cells_have_no_prior", 0.5 * (missing**2 * data["filled"]).sum())

    def added(known: Any, places: Any, n_rows: int) -> Any:
        flat = pt.concatenate([known.ravel(), pt.zeros(1)])
        filled = pt.inc_subtensor(flat[places], missing * data["filled"])
        return filled[:-1].reshape((size.n_classes, n_rows, size.n_benchmarks))

    sums = added(data["sums"], data["sum_places"], size.n_families)
    values = added(data["scores"], data["places"], size.n_models)
    return values, sums / pt.maximum(data["roots"], 1.0)[..., None]
