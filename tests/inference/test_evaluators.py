"""Both evaluators draw from one posterior; loadings agree with maximum likelihood; what is simulated is recovered."""

from __future__ import annotations

from pathlib import Path

import arviz_stats as az
import numpy as np
import pytest
from factor_data import (
    INTEGRATED,
    SAMPLED,
    FloatArray,
    default_spec,
    fit_small,
    quick,
    quick_spec,
    read_factor,
    small_table,
)
from scipy import stats
from statsmodels.multivariate.factor import Factor

from safetystats.inference.arrays import Structure
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.sampling import draw_posterior
from safetystats.scores.factor import ml_one_factor
from safetystats.specs import BetaPrior, FactorSpec, LogNormalPrior, SamplingPlan

ERRORS = 4.5
"""Monte Carlo errors that a mean may be off: with 50 means, a right program fails with three seeds in ten thousand."""
LIKELIHOOD = 0.01
"""Posterior means against maximum likelihood with 2000 models: half of the smallest posterior sd, which is about 0.02
for a loading of 0.3; the two differ by a share of 1 / n of it, and by 0.0005 of Monte Carlo error."""


def assert_one_posterior(spec: FactorSpec, folder: Path) -> None:
    """Means of all parameters and of capability, their sds, and covariances of capability on a complete small table."""
    table = small_table(missing=0.0)[0]
    table = table.select(benchmarks=table.columns("capability"))
    fits = [fit_small(table, spec, folder / str(i), kind=kind)[0] for i, kind in enumerate((INTEGRATED, SAMPLED))]
    assert [fit.evaluator for fit in fits] == ["integrated", "sampled"]
    names = ("rho", "total_sd", "icc", "capability_icc", "intercept", "theta")
    for name in names:
        mean, sd, ess = (
            [getattr(fit.posterior[name], what)(("chain", "draw")).to_numpy() for fit in fits]
            if what != "ess"
            else [az.ess(fit.posterior[[name]])[name].to_numpy() for fit in fits]
            for what in ("mean", "std", "ess")
        )
        error = np.hypot(sd[0] / np.sqrt(ess[0]), sd[1] / np.sqrt(ess[1]))
        assert (error < 0.1 * sd[0]).all(), f"{name}: too few effective draws for the test to mean anything"
        assert (np.abs(mean[0] - mean[1]) < ERRORS * error).all(), name
        # The error of a log sd is about that of a mean over sqrt(2) sd; tails heavier than normal make it larger.
        assert (np.abs(np.log(sd[0] / sd[1])) < ERRORS * error / sd[0]).all(), name
    joint = [np.corrcoef(fit.theta.T) for fit in fits]
    # Four and a half errors of a correlation on either side, at 1000 effective draws.
    assert np.abs(joint[0] - joint[1]).max() < ERRORS * np.sqrt(2 / 1000)
    assert np.abs(joint[0] - np.eye(len(joint[0]))).max() > 0.3


def test_both_evaluators_draw_from_one_posterior(tmp_path: Path) -> None:
    assert_one_posterior(quick_spec(1000), tmp_path)


@pytest.mark.slow
def test_both_evaluators_draw_from_one_posterior_of_two_factors(tmp_path: Path) -> None:
    """Slow to sample: the position of the second factor is known poorly."""
    assert_one_posterior(quick(read_factor("k-factor"), 2000, 1000), tmp_path)


def test_loadings_agree_with_maximum_likelihood() -> None:
    """2000 independent models, weak priors: posterior means are the maximum likelihood loadings of two programs."""
    rng = np.random.default_rng(31)
    loadings = np.array([0.9, 0.8, 0.7, 0.5, 0.3, -0.6])
    values = loadings * rng.normal(size=(2000, 1)) + np.sqrt(1 - loadings**2) * rng.normal(size=(2000, 6))
    values = stats.zscore(values)
    flat = BetaPrior(family="beta", alpha=1.0, beta=1.0)
    wide = LogNormalPrior(family="lognormal", mu=0.0, sigma=3.0)
    priors = default_spec().priors.model_copy(update={"capability_loading": flat, "total_sd": wide})
    data = FactorData(values=values, families=np.arange(2000) % 30, noise=np.zeros_like(values))
    alone = Structure(anchors=np.ones(6, dtype=bool), pattern=np.zeros((6, 0), dtype=bool), families=False)
    plan = SamplingPlan(chains=4, draws=500, tune=500, target_accept=0.8)
    found = draw_posterior(None, data, priors, alone, plan, seed=1)["posterior"].to_dataset()
    rho = found["rho"].mean(("chain", "draw")).to_numpy()
    assert not found["icc"].any()
    correlation = np.corrcoef(values.T)
    own = ml_one_factor(correlation[None])[0][0]
    other = Factor(endog=values, n_factor=1, method="ml").fit().loadings[:, 0]
    for name, expected in (("safetystats", own), ("statsmodels", other)):
        expected = expected * np.sign(expected.sum())
        np.testing.assert_allclose(rho, expected, rtol=0, atol=LIKELIHOOD, err_msg=name)
    # Capability of each model: the regression scores of those loadings.
    weight = np.linalg.solve(correlation, rho)
    theta = found["theta"].mean(("chain", "draw")).to_numpy()
    # Monte Carlo error of a mean of 2000 draws with sd 0.4: 0.01; the largest of 2000 models is four of these.
    np.testing.assert_allclose(theta, values @ weight, rtol=0, atol=0.05)


LOADINGS = np.array([0.9, 0.8, 0.7, -0.5, 0.6, 0.7, 0.0, -0.4])
KAPPA = np.array([0.3, 0.1, 0.5, 0.2, 0.4, 0.3, 0.3, 0.6])
OMEGA, N_FAMILIES, SEEDS, CAPABILITY = 0.4, 30, 8, 5


def simulated(rng: np.random.Generator) -> tuple[FloatArray, np.ndarray]:
    """300 models of 30 families of 1 to 25 or so; the first five columns are capability benchmarks."""
    share = np.arange(1, N_FAMILIES + 1)
    families = np.concatenate([np.arange(N_FAMILIES), rng.choice(N_FAMILIES, 270, p=share / share.sum())])
    omega = np.sqrt([OMEGA, 1 - OMEGA])
    theta = omega[0] * rng.normal(size=N_FAMILIES)[families] + omega[1] * rng.normal(size=300)
    shared = rng.normal(size=(N_FAMILIES, 8))[families] * np.sqrt(KAPPA)
    unique = shared + rng.normal(size=(300, 8)) * np.sqrt(1 - KAPPA)
    return LOADINGS * theta[:, None] + unique * np.sqrt(1 - LOADINGS**2), families


def test_recovers_what_was_simulated_without_bias() -> None:
    """Eight tables of 300 models, all columns at once: errors of loadings, kappa, omega and correlations average out.

    The scales are those of the population, so the columns are not z-scored. The joint posterior is what has no bias;
    the cut posterior is pulled towards zero by the error of capability (`test_calibration`).
    """
    priors, plan = default_spec().priors, SamplingPlan(chains=2, draws=250, tune=300, target_accept=0.8)
    structure = Structure(anchors=np.arange(8) < CAPABILITY, pattern=np.zeros((8, 0), dtype=bool))
    truth = np.concatenate([LOADINGS, KAPPA, [OMEGA]])
    errors, sds, inside = [], [], []
    for seed in range(SEEDS):
        values, families = simulated(np.random.default_rng([77, seed]))
        data = FactorData(values=values, families=families, noise=np.zeros_like(values))
        draws = draws_of(draw_posterior(None, data, priors, structure, plan, seed=seed)["posterior"].to_dataset())
        every = np.column_stack([draws.rho, draws.icc, draws.capability_icc])
        errors.append(every.mean(0) - truth)
        sds.append(every.std(0))
        lower, upper = np.quantile(every, [0.05, 0.95], axis=0)
        inside.append((lower < truth) & (truth < upper))
    found, typical = np.array(errors), np.sqrt((np.array(sds) ** 2).mean(0))
    message = f"bias {found.mean(0).round(3)}, posterior sd {typical.round(3)}"
    # Posterior means of a table scatter about the truth with about the posterior sd; four errors of the mean of eight.
    assert (np.abs(found.mean(0)) < 4 * typical / np.sqrt(SEEDS)).all(), message
    assert (np.abs(found[:, :8].mean(0)) < 0.05).all(), message
    assert (np.abs(found[:, 8:16].mean(0)) < 0.10).all(), message
    # 136 intervals of 90 %, those of one table not independent: 13.6 miss on average, sd 3.5 if they were.
    assert 2 <= (~np.array(inside)).sum() < 29, message
