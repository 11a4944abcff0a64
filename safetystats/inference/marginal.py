r"""Density of the data under a factor model, with capability, further factors and family effects integrated out.

The vector y of all observed cells of one family is Gaussian given the parameters of the benchmarks (`FactorDraws`):

    y = alpha + A z + e,   z ~ N(0, I),   e ~ N(0, D),   d_mb = (1 - kappa_b) v_b + w_mb,

where z holds the factors of each of its n_f models, the family's share t_f of capability, and one effect
u_b / sqrt(kappa_b v_b) for each of the k benchmarks. Woodbury's identity needs the Cholesky factor of P = I + A' D^-1
A, of size n_f K + k + 1. P is an arrow: the factors of two models meet only in what the family shares. So the K x K
blocks of the models are eliminated first, and what is left of P is I + sum_m G_m of size k + 1, G_m from model m alone.
The residual y - alpha is carried along as one more column of A: the square of its last pivot is one plus the
Mahalanobis distance. A family without one of its models is the same sum over the others.

References
----------
Woodbury (1950); Golub and Van Loan (2013), Matrix Computations, section 4.2 (block Cholesky).
"""

from __future__ import annotations

import numpy as np
from scipy import special

from safetystats.inference.arrays import BoolArray, FloatArray
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import BetaPrior, FactorPriors

CHUNK_BYTES = 4_000_000
"""Largest array of one chunk of draws: small enough to stay in cache; about six such arrays live at once."""


def family_log_likelihood(draws: FactorDraws, data: FactorData) -> FloatArray:
    """Return log p(y_f | parameters) of every family.

    Parameters
    ----------
    draws : FactorDraws
        Parameters of the benchmarks.
    data : FactorData
        Scores of the same benchmarks; missing cells are left out of the density.

    Returns
    -------
    array, shape (n_draws, n_families)
        Zero for a code that no model has, or a family without a score.
    """
    return _log_density(draws, data, _members(data))


def model_log_conditional(draws: FactorDraws, data: FactorData) -> FloatArray:
    """Return log p(y_m | scores of the other models of its family, parameters) of every model.

    This is log p(y_f) - log p(y_f without m). It is not p(y_m | parameters) unless the model is alone in its family
    or the intraclass correlations are zero: relatives say something about the family effects.

    Parameters
    ----------
    draws : FactorDraws
        Parameters of the benchmarks.
    data : FactorData
        Scores of the same benchmarks; missing cells are left out of the density.

    Returns
    -------
    array, shape (n_draws, n_models)
        Zero for a model without a score.
    """
    return unit_log_conditional(draws, data, np.eye(len(data.families), dtype=bool))


def unit_log_conditional(draws: FactorDraws, data: FactorData, units: BoolArray) -> FloatArray:
    """Return log p(y_u | scores of the other models of its families, parameters) of units of one or more models.

    For each family that has models of the unit this is log p(y_f) - log p(y_f without them); families are independent
    given the parameters, so that their terms add up.

    Parameters
    ----------
    draws : FactorDraws
        Parameters of the benchmarks.
    data : FactorData
        Scores of the same benchmarks; missing cells are left out of the density.
    units : array of bool, shape (n_units, n_models)
        Models of each unit; a unit may have none.

    Returns
    -------
    array, shape (n_draws, n_units)
        Zero for a unit without a score.
    """
    members = _members(data)
    unit, family = np.nonzero((units[:, None, :] & members[None, :, :]).any(axis=2))
    others = members[family] & ~units[unit]
    density = _log_density(draws, data, np.concatenate([members, others]))
    found = np.zeros((draws.n_draws, len(units)))
    np.add.at(found.T, unit, (density[:, family] - density[:, len(members) :]).T)
    return found


def log_prior_terms(draws: FactorDraws, priors: FactorPriors, anchors: BoolArray) -> dict[str, FloatArray]:
    """Return the log density of each named prior, summed over the benchmarks that it applies to.

    The density is with respect to (rho, s, kappa, omega, alpha, r), the quantities that a spec states priors for; r are
    the partial correlations with the further factors, lambda_bj = r_bj sqrt(1 - rho_b^2 - sum_{i<j} lambda_bi^2). A
    further loading, a kappa or an omega that is zero in every draw is so by the structure of the model and has no
    prior.

    Parameters
    ----------
    draws : FactorDraws
        Parameters of the benchmarks.
    priors : FactorPriors
        Priors of the spec.
    anchors : array of bool, shape (n_benchmarks,)
        Which columns are capability benchmarks.

    Returns
    -------
    dict of str to array, shape (n_draws,)
        By the name of the prior in the spec; a prior that applies to no benchmark is left out.
    """
    log_sd = np.log(draws.total_sd)
    terms = {
        "total_sd": _log_normal(log_sd, priors.total_sd.mu, priors.total_sd.sigma) - log_sd,
        "intercept": _log_normal(draws.intercept, priors.intercept.mu, priors.intercept.sigma),
    }
    for name, prior, columns in (
        ("capability_loading", priors.capability_loading, anchors),
        ("loading", priors.loading, ~anchors),
    ):
        if columns.any():
            terms[name] = _log_correlation(draws.rho[:, columns], prior)
    shared = (draws.icc != 0).any(axis=0)
    if shared.any():
        terms["icc"] = _log_beta(draws.icc[:, shared], 1 - draws.icc[:, shared], priors.icc)
    omega = draws.capability_icc[:, None]
    if omega.any():
        terms["capability_icc"] = _log_beta(omega, 1 - omega, priors.capability_icc)
    free = (draws.further != 0).any(axis=0)  # (n_benchmarks, n_further)
    if free.any():
        taken = draws.rho[..., None] ** 2 + np.cumsum(draws.further**2, axis=-1) - draws.further**2
        partial = draws.further[:, free] / np.sqrt(1 - taken[:, free])
        terms["further_loading"] = _log_correlation(partial, priors.further_loading)
    return {name: np.asarray(values.sum(axis=1)) for name, values in terms.items()}


def log_density(draws: FactorDraws, data: FactorData, priors: FactorPriors, anchors: BoolArray) -> FloatArray:
    """Return log prior plus log marginal likelihood of every draw, shape (n_draws,); parameters as above."""
    prior = sum(log_prior_terms(draws, priors, anchors).values(), start=np.zeros(draws.n_draws))
    return np.asarray(prior + family_log_likelihood(draws, data).sum(axis=1))


def _members(data: FactorData) -> BoolArray:
    """Return which models belong to each family, shape (n_families, n_models)."""
    return np.asarray(data.families == np.arange(data.families.max(initial=-1) + 1)[:, None])


def _log_density(draws: FactorDraws, data: FactorData, groups: BoolArray) -> FloatArray:
    """Return the log density of the scores of each group, shape (n_draws, n_groups).

    Parameters
    ----------
    draws, data
        See `family_log_likelihood`.
    groups : array of bool, shape (n_groups, n_models)
        Models of each group, all of one family.
    """
    seen = np.isfinite(data.values)
    values, noise = np.where(seen, data.values, 0.0), np.where(seen, data.noise, 0.0)
    n_models, n_benchmarks = seen.shape
    weights = groups.astype(np.float64)
    cells = weights @ seen.sum(axis=1)
    icc, unique, omega = draws.icc, draws.unique, draws.capability_icc
    common = np.sqrt(omega)[:, None] * draws.loadings[..., 0]
    loadings = draws.loadings.copy()
    loadings[..., 0] *= np.sqrt(1 - omega)[:, None]
    found = np.empty((draws.n_draws, len(groups)))
    step = max(1, CHUNK_BYTES // (8 * (n_benchmarks + 2) ** 2 * max(n_models, len(groups), 1)))
    for start in range(0, draws.n_draws, step):
        rows = slice(start, start + step)
        variance = ((1 - icc[rows]) * unique[rows])[:, None, :] + noise
        gram, log_det = _eliminated(
            residual=values - draws.intercept[rows, None, :],
            precision=seen / variance,
            shared=np.sqrt(icc[rows] * unique[rows]),
            common=common[rows],
            loadings=loadings[rows],
        )
        log_det += np.einsum("tmb,mb->tm", np.log(variance), seen.astype(np.float64))
        system = (weights @ gram.reshape(len(gram), n_models, -1)).reshape(len(gram), len(groups), *gram.shape[2:])
        pivots = np.linalg.cholesky(system + np.eye(n_benchmarks + 2)).diagonal(axis1=-2, axis2=-1)
        distance = pivots[..., -1] ** 2 - 1
        log_det = log_det @ weights.T + 2 * np.log(pivots[..., :-1]).sum(axis=-1)
        found[rows] = -0.5 * (distance + log_det + cells * np.log(2 * np.pi))
    return found


def _eliminated(
    residual: FloatArray, precision: FloatArray, shared: FloatArray, common: FloatArray, loadings: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Integrate the factors of each model out.

    Parameters
    ----------
    residual, precision : array, shape (n_draws, n_models, n_benchmarks)
        y - alpha, and 1 / d, which is zero where there is no score.
    shared : array, shape (n_draws, n_benchmarks)
        Standard deviation of the family effects.
    common : array, shape (n_draws, n_benchmarks)
        Loadings on the family's share of capability, in units of y.
    loadings : array, shape (n_draws, n_benchmarks, n_factors)
        Loadings of the model's own factors in units of y.

    Returns
    -------
    gram : array, shape (n_draws, n_models, n_benchmarks + 2, n_benchmarks + 2)
        G_m = X' S^-1 X of every model, with X = [diag(shared), common, residual] and S the covariance of its scores
        given what the family shares.
    log_det : array, shape (n_draws, n_models)
        Log determinant of S relative to D.
    """
    n_draws, n_models, k = precision.shape
    n_factors = loadings.shape[-1]
    weighted, scaled = precision * residual, precision * shared[:, None, :]
    gram = np.zeros((n_draws, n_models, k + 2, k + 2))
    gram[..., np.arange(k), np.arange(k)] = scaled * shared[:, None, :]
    gram[..., k, :k] = gram[..., :k, k] = scaled * common[:, None, :]
    gram[..., k, k] = (precision @ (common**2)[..., None])[..., 0]
    gram[..., k + 1, :k] = gram[..., :k, k + 1] = weighted * shared[:, None, :]
    gram[..., k + 1, k] = gram[..., k, k + 1] = (weighted @ common[..., None])[..., 0]
    gram[..., k + 1, k + 1] = (weighted * residual).sum(axis=-1)

    squares = (loadings[..., :, None] * loadings[..., None, :]).reshape(n_draws, k, n_factors**2)
    inner = (precision @ squares).reshape(n_draws, n_models, n_factors, n_factors) + np.eye(n_factors)
    cross = np.empty((n_draws, n_models, n_factors, k + 2))
    cross[..., :k] = scaled[:, :, None, :] * loadings.transpose(0, 2, 1)[:, None]
    cross[..., k] = precision @ (common[..., None] * loadings)
    cross[..., k + 1] = weighted @ loadings
    lower = np.linalg.cholesky(inner)
    for i in range(n_factors):  # forward substitution, row by row
        for j in range(i):
            cross[..., i, :] -= lower[..., i, j, None] * cross[..., j, :]
        cross[..., i, :] /= lower[..., i, i, None]
        gram -= cross[..., i, :, None] * cross[..., i, None, :]
    return gram, 2 * np.log(lower.diagonal(axis1=-2, axis2=-1)).sum(axis=-1)


def _log_normal(values: FloatArray, mu: float, sigma: float) -> FloatArray:
    return np.asarray(-0.5 * ((values - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi))


def _log_beta(values: FloatArray, complement: FloatArray, prior: BetaPrior) -> FloatArray:
    a, b = prior.alpha, prior.beta
    return np.asarray(special.xlogy(a - 1, values) + special.xlogy(b - 1, complement) - special.betaln(a, b))


def _log_correlation(values: FloatArray, prior: BetaPrior) -> FloatArray:
    """Log density of a correlation whose (value + 1) / 2 has the prior."""
    return np.asarray(_log_beta((1 + values) / 2, (1 - values) / 2, prior) - np.log(2.0))
