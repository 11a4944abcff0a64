"""What data say of a correlation on the scale of z, once its prior is divided out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safetystats.inference.fisher_z import data_moments
from safetystats.specs import BetaPrior

DRAWS = 50_000


def posterior(mean: float, sd: float, prior: BetaPrior, rng: np.random.Generator) -> np.ndarray:
    """Draw rho from the prior times a normal likelihood in z, by rejection."""
    rho = 2 * rng.beta(prior.alpha, prior.beta, 40 * DRAWS) - 1
    keep = rng.random(len(rho)) < np.exp(-0.5 * ((np.arctanh(rho) - mean) / sd) ** 2)
    return np.asarray(rho[keep][:DRAWS])


@pytest.mark.parametrize("mean", [0.0, 0.6, -1.1])
@pytest.mark.parametrize("shape", [(1.0, 1.0), (2.0, 2.0), (4.0, 2.0)])
def test_a_normal_likelihood_is_got_back(mean: float, shape: tuple[float, float]) -> None:
    """As from some 30 models, sd 0.19: to a fortieth of it, so much is left since no posterior of z is quite normal."""
    prior = BetaPrior(family="beta", alpha=shape[0], beta=shape[1])
    rho = posterior(mean, 0.19, prior, np.random.default_rng(5))
    z = np.arctanh(rho)
    found_mean, found_sd = data_moments(rho[None], prior)
    assert found_mean[0] == pytest.approx(mean, abs=0.005)
    assert found_sd[0] == pytest.approx(0.19, rel=0.03)
    if mean:
        assert abs(found_mean[0] - mean) < abs(z.mean() - mean) / 2  # nearer than the posterior mean


def test_the_prior_alone_says_nothing() -> None:
    rng = np.random.default_rng(6)
    prior = BetaPrior(family="beta", alpha=1.0, beta=1.0)
    mean, sd = data_moments(2 * rng.beta(1.0, 1.0, (1, DRAWS)) - 1, prior)
    assert sd[0] > 5 * stats.logistic.std() / 2  # z is half a logistic variable
    assert np.isfinite(mean).all()
