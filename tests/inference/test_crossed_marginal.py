"""The crossed model's density against one multivariate normal; its gradient, prior and exact draws."""

from __future__ import annotations

import numpy as np
import pytest
from crossed_data import Dense, crossed_spec, made_design
from scipy import special, stats

from safetystats.inference.crossed_marginal import draw_effects, log_likelihood
from safetystats.inference.crossed_values import (
    N_HYPER,
    SOFT,
    Effects,
    design_of,
    expected_scores,
    log_prior,
    prior_free,
    variances_of,
)

PRIORS = crossed_spec().priors
CASES = {
    "two classes, gaps": made_design(5, (2, 3, 1), missing=5),
    "three classes": made_design(4, (2, 2), n_classes=3, missing=2),
    "one area": made_design(5, (4,)),
}


@pytest.mark.parametrize("case", CASES)
def test_density_is_that_of_the_normal_written_out(case: str) -> None:
    data = CASES[case]
    design = design_of(data)
    at = variances_of(np.random.default_rng(2).normal(-0.7, 0.4, design.n_dim))
    whole = Dense(data, design, at, PRIORS)
    wanted = stats.multivariate_normal(whole.mean[whole.seen], whole.covariance[np.ix_(whole.seen, whole.seen)]).logpdf(
        whole.scores[whole.seen]
    )
    assert log_likelihood(design, at, PRIORS, gradient=False)[0] == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_the_slope_of_the_density(case: str) -> None:
    design = design_of(CASES[case])
    free = np.random.default_rng(3).normal(-0.7, 0.4, design.n_dim)

    def density(point: np.ndarray) -> float:
        return log_likelihood(design, variances_of(point), PRIORS, gradient=False)[0] + log_prior(point, PRIORS)[0]

    step = 1e-5
    slopes = [(density(free + step * e) - density(free - step * e)) / (2 * step) for e in np.eye(design.n_dim)]
    found = log_likelihood(design, variances_of(free), PRIORS)[1] + log_prior(free, PRIORS)[1]
    np.testing.assert_allclose(found, slopes, atol=1e-7)  # rounding of central differences


def test_prior_density_is_that_of_scipy_on_the_free_scale() -> None:
    free = np.random.default_rng(4).normal(-0.7, 0.4, N_HYPER + 3)
    at = variances_of(free)
    scales = np.repeat([PRIORS.benchmark_sd.sigma, PRIORS.area_sd.sigma], 4)
    wanted = stats.halfnorm(scale=scales).logpdf([*at.benchmark_sd, *at.area_sd]).sum()
    wanted += (np.log(SOFT) + np.log(special.expit(free[:10]))).sum()
    wanted += stats.halfnorm(scale=PRIORS.model_sd.sigma).logpdf(at.model_sd)
    wanted += stats.halfnorm(scale=PRIORS.model_area_sd.sigma).logpdf(at.model_area_sd)
    for place, share in ((10, PRIORS.lineage_share), (11, PRIORS.lineage_area_share)):
        p = special.expit(free[place])
        wanted += stats.beta(share.alpha, share.beta).logpdf(p) + np.log(p * (1 - p))
    wanted += stats.norm(PRIORS.residual_sd.mu, PRIORS.residual_sd.sigma).logpdf(np.log(at.residual_median))
    wanted += stats.norm(PRIORS.residual_spread.mu, PRIORS.residual_spread.sigma).logpdf(np.log(at.residual_spread))
    wanted += stats.norm(free[12], at.residual_spread).logpdf(free[N_HYPER:]).sum()
    assert log_prior(free, PRIORS)[0] == pytest.approx(wanted, abs=1e-10)


def test_prior_draws_have_the_moments_of_the_prior() -> None:
    rng = np.random.default_rng(5)
    drawn = np.array([prior_free(2, PRIORS, rng) for _ in range(4000)])
    sds = [variances_of(row).model_sd for row in drawn]
    assert np.mean(sds) == pytest.approx(0.5 * np.sqrt(2 / np.pi), rel=0.05)
    assert special.expit(drawn[:, 10:12]).mean(axis=0) == pytest.approx(0.5, abs=0.02)  # 4 errors of the mean
    assert drawn[:, 12].std() == pytest.approx(PRIORS.residual_sd.sigma, rel=0.05)


def test_effects_are_drawn_from_their_conditional_distribution() -> None:
    """Means and covariances of the signal in every cell, seen or not, are those of normal theory."""
    data = made_design(4, (2, 2), missing=4)
    design, rng = design_of(data), np.random.default_rng(6)
    at = variances_of(rng.normal(-0.7, 0.3, design.n_dim))
    whole, n_draws = Dense(data, design, at, PRIORS), 4000
    gain = np.linalg.solve(whole.covariance[np.ix_(whole.seen, whole.seen)], whole.signal[whole.seen]).T
    mean = whole.mean + gain @ (whole.scores - whole.mean)[whole.seen]
    covariance = whole.signal - gain @ whole.signal[whole.seen]
    drawn = np.array([expected_scores(design, draw_effects(design, at, PRIORS, rng)).ravel() for _ in range(n_draws)])
    sd = np.sqrt(np.diagonal(covariance))
    assert (np.abs(drawn.mean(axis=0) - mean) < 4.5 * sd / np.sqrt(n_draws)).all()
    error = np.sqrt(2 / n_draws)  # largest standard error of a covariance, in units of the two sds
    assert (np.abs(np.cov(drawn.T) - covariance) / np.outer(sd, sd) < 5 * error).all()


def test_single_effects_are_drawn_from_their_conditional_distribution() -> None:
    """The split into levels: the mean of an overall coefficient, an area's lineage and a model's own effect."""
    data = made_design(4, (2, 2), missing=4)
    design, rng = design_of(data), np.random.default_rng(7)
    at = variances_of(rng.normal(-0.7, 0.3, design.n_dim))
    whole, n_draws = Dense(data, design, at, PRIORS), 3000
    n = len(design.x)
    model, area = np.tile(np.arange(n), 4), np.repeat(data.areas, n)
    weights = np.linalg.solve(whole.covariance[np.ix_(whole.seen, whole.seen)], (whole.scores - whole.mean)[whole.seen])
    total = np.zeros(len(whole.seen))
    total[whole.seen] = weights
    lineage = at.model_area_sd**2 * at.lineage_area_share
    wanted = {
        "class": PRIORS.class_effect.mu + PRIORS.class_effect.sigma**2 * (total @ design.x[model][:, 2]),
        "model": at.model_sd**2 * (1 - at.lineage_share) * total[model == 3].sum(),
        "lineage": lineage * total[(area == 1) & (data.lineages[model] == 2)].sum(),
        "slope": at.benchmark_sd[1] ** 2 * (total[:n] @ design.x[:, 1]),
    }
    drawn: list[Effects] = [draw_effects(design, at, PRIORS, rng) for _ in range(n_draws)]
    found = {
        "class": np.array([e.overall[2] for e in drawn]),
        "model": np.array([e.model[3] for e in drawn]),
        "lineage": np.array([e.lineage_area[1, 2] for e in drawn]),
        "slope": np.array([e.benchmark[0, 1] for e in drawn]),
    }
    for name, values in found.items():
        assert abs(values.mean() - wanted[name]) < 4.5 * values.std() / np.sqrt(n_draws), name
