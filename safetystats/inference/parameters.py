"""Draws of the parameters of a factor model, and the data they are set against, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from safetystats.inference.arrays import FloatArray, IntArray

SMALLEST_UNIQUE = 1e-15
"""Least share of unique variance: rounding of a loading next to one must not leave none."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorDraws:
    """Draws of the benchmarks' parameters, without capability.

    For model m of family f and benchmark b

        y_mb = alpha_b + s_b (rho_b theta_m + sum_j lambda_bj eta_mj) + u_fb + e_mb + epsilon_mb,

    with theta_m = sqrt(omega) t_f + sqrt(1 - omega) t_m, t_f, t_m, eta ~ N(0, 1), u_fb ~ N(0, kappa_b v_b), e_mb ~ N(0,
    (1 - kappa_b) v_b), v_b = s_b^2 (1 - rho_b^2 - sum_j lambda_bj^2), and epsilon_mb ~ N(0, w_mb) with known w
    (sampling error of a score; zero unless the spec asks for it). rho_b is the correlation with capability of the score
    free of sampling error.

    Attributes
    ----------
    rho, total_sd, icc, intercept : array, shape (n_draws, n_benchmarks)
        rho, s, kappa and alpha.
    capability_icc : array, shape (n_draws,)
        omega, the share of the variance of capability that lies between families.
    further : array, shape (n_draws, n_benchmarks, n_further)
        lambda, loadings on further factors; n_further is 0 in a one-factor model. Known up to sign and, in the k-factor
        model, up to order.
    """

    rho: FloatArray
    total_sd: FloatArray
    icc: FloatArray
    capability_icc: FloatArray
    intercept: FloatArray
    further: FloatArray

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return int(self.rho.shape[0])

    @property
    def loadings(self) -> FloatArray:
        """Loadings in units of y on all factors, capability first, shape (n_draws, n_benchmarks, 1 + n_further)."""
        return np.asarray(self.total_sd[..., None] * np.concatenate([self.rho[..., None], self.further], axis=-1))

    @property
    def unique(self) -> FloatArray:
        """Unique variance v, shape (n_draws, n_benchmarks)."""
        left = 1 - self.rho**2 - (self.further**2).sum(-1)
        return np.asarray(self.total_sd**2 * np.maximum(left, SMALLEST_UNIQUE))

    def thinned(self, most: int) -> FactorDraws:
        """Return at most `most` draws, evenly spaced."""
        rows = np.unique(np.linspace(0, self.n_draws - 1, min(most, self.n_draws)).round().astype(int))
        return FactorDraws(
            rho=self.rho[rows],
            total_sd=self.total_sd[rows],
            icc=self.icc[rows],
            capability_icc=self.capability_icc[rows],
            intercept=self.intercept[rows],
            further=self.further[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorData:
    """What a factor model is fitted to.

    Attributes
    ----------
    values : array, shape (n_models, n_benchmarks)
        Prepared scores, NaN where missing.
    families : array of int, shape (n_models,)
        Family of each model, coded 0, 1, ...
    noise : array, shape (n_models, n_benchmarks)
        Known variance of the sampling error of each score, zero where it is not modelled.
    """

    values: FloatArray
    families: IntArray
    noise: FloatArray

    @property
    def complete(self) -> bool:
        """True if no cell is missing."""
        return bool(np.isfinite(self.values).all())


def draws_of(posterior: xr.Dataset) -> FactorDraws:
    """Return the parameters of a posterior with dims chain and draw, chains one after the other."""

    def flat(name: str, *dims: str) -> FloatArray:
        values = posterior[name].transpose("chain", "draw", *dims).to_numpy()
        return np.asarray(values.reshape(-1, *values.shape[2:]), dtype=np.float64)

    rho = flat("rho", "benchmark")
    further = flat("further", "benchmark", "factor") if "further" in posterior else np.zeros((*rho.shape, 0))
    return FactorDraws(
        rho=rho,
        total_sd=flat("total_sd", "benchmark"),
        icc=flat("icc", "benchmark"),
        capability_icc=flat("capability_icc"),
        intercept=flat("intercept", "benchmark"),
        further=further,
    )
