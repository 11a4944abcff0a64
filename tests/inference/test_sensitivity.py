"""Power-scaling sensitivity where the scaled posteriors are known.

One benchmark, every model alone, s fixed at one: then y_m ~ N(alpha, 1) whatever rho and omega are. The posterior of
alpha is normal, also with its prior or the likelihood raised to a power, and those of rho and omega are their priors.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.inference.sensitivity import Sensitivity, power_scaling
from safetystats.specs import BetaPrior, FactorPriors, FactorSpec, NormalPrior, read_spec

N_DRAWS = 4000
POWERS = (0.99, 1.01)  # those of ArviZ
CLOSE = 0.05
"""Relative. The draws are quantiles; what is left is the grid of 4000 of them and the smoothing of both tails."""
ANCHORS = np.array([True])


def priors(*, mu: float = 0.0, sigma: float = 1.0, loading: tuple[float, float] = (6.0, 2.0)) -> FactorPriors:
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    return spec.priors.model_copy(
        update={
            "intercept": NormalPrior(family="normal", mu=mu, sigma=sigma),
            "capability_loading": BetaPrior(family="beta", alpha=loading[0], beta=loading[1]),
            "capability_icc": BetaPrior(family="beta", alpha=2.0, beta=4.0),
        }
    )


def posterior(y: np.ndarray, stated: FactorPriors, prior_power: float = 1.0, power: float = 1.0) -> stats.rv_continuous:
    """Posterior of alpha with its prior and the likelihood raised to powers."""
    tau = prior_power / stated.intercept.sigma**2
    precision = tau + power * len(y)
    return stats.norm((tau * stated.intercept.mu + power * y.sum()) / precision, precision**-0.5)


def rho_posterior(stated: FactorPriors, prior_power: float = 1.0) -> stats.rv_continuous:
    a, b = stated.capability_loading.alpha, stated.capability_loading.beta
    return stats.beta(prior_power * (a - 1) + 1, prior_power * (b - 1) + 1, loc=-1, scale=2)


def omega_posterior(stated: FactorPriors, prior_power: float = 1.0) -> stats.rv_continuous:
    a, b = stated.capability_icc.alpha, stated.capability_icc.beta
    return stats.beta(prior_power * (a - 1) + 1, prior_power * (b - 1) + 1)


def fit(y: np.ndarray, stated: FactorPriors) -> tuple[FactorDraws, FactorData]:
    quantiles = (np.arange(N_DRAWS) + 0.5) / N_DRAWS
    draws = FactorDraws(
        rho=np.random.default_rng(31).permutation(rho_posterior(stated).ppf(quantiles))[:, None],
        total_sd=np.ones((N_DRAWS, 1)),
        icc=np.zeros((N_DRAWS, 1)),
        capability_icc=np.random.default_rng(37).permutation(omega_posterior(stated).ppf(quantiles)),
        intercept=np.random.default_rng(32).permutation(posterior(y, stated).ppf(quantiles))[:, None],
        further=np.zeros((N_DRAWS, 1, 0)),
    )
    return draws, FactorData(values=y[:, None], families=np.arange(len(y)), noise=np.zeros((len(y), 1)))


def distance(p: np.ndarray, q: np.ndarray, step: float) -> float:
    """Cumulative Jensen-Shannon distance of two distribution functions on a grid (Nguyen and Vreeken 2015)."""
    mid = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(f > 0, f * np.log2(f / mid), 0.0).sum() for f in (p, q)]
    return float(np.sqrt(sum(terms) * step / ((p + q).sum() * step)))


def exact_sensitivity(scaled: Callable[[float], stats.rv_continuous]) -> float:
    """Mean rate of change of the distance per doubling of the power, the larger of both directions of the axis."""
    base, gradients = scaled(1.0), []
    grid = np.linspace(base.ppf(1 / N_DRAWS), base.ppf(1 - 1 / N_DRAWS), 20001)
    for power in POWERS:
        other = scaled(power)
        both = [
            distance(base.cdf(grid), other.cdf(grid), grid[1] - grid[0]),
            distance(base.sf(grid), other.sf(grid), grid[1] - grid[0]),
        ]
        gradients.append(max(both) / abs(np.log2(power)))
    return float(np.mean(gradients))


def by_name(rows: tuple[Sensitivity, ...]) -> dict[tuple[str, str], Sensitivity]:
    assert len({(row.component, row.quantity) for row in rows}) == len(rows)
    return {(row.component, row.quantity): row for row in rows}


@pytest.mark.parametrize("mu", [0.0, 2.0, -1.0])
def test_values_are_those_of_the_scaled_posteriors(mu: float) -> None:
    y = np.random.default_rng(33).normal(0.3, 1.0, size=8)
    stated = priors(mu=mu)
    draws, data = fit(y, stated)
    more = {"alpha": draws.intercept[:, 0], "omega": draws.capability_icc}
    rows = by_name(power_scaling(draws, data, stated, ANCHORS, ["b"], more))
    exact = {
        ("capability_icc", "omega"): exact_sensitivity(lambda power: omega_posterior(stated, power)),
        ("intercept", "alpha"): exact_sensitivity(lambda power: posterior(y, stated, prior_power=power)),
        ("likelihood", "alpha"): exact_sensitivity(lambda power: posterior(y, stated, power=power)),
        ("capability_loading", "b"): exact_sensitivity(lambda power: rho_posterior(stated, power)),
    }
    for key, value in exact.items():
        assert value > 0.01  # not a comparison of nothing with nothing
        assert rows[key].value == pytest.approx(value, rel=CLOSE), key


def test_each_quantity_follows_its_own_prior() -> None:
    """rho depends on its prior alone and alpha not on that of rho; of a constant prior: nothing."""
    y = np.random.default_rng(34).normal(size=10)
    stated = priors()
    draws, data = fit(y, stated)
    rows = by_name(power_scaling(draws, data, stated, ANCHORS, ["b"], {"alpha": draws.intercept[:, 0]}))
    components = {"likelihood", "capability_loading", "capability_icc", "total_sd", "intercept"}
    assert {component for component, _ in rows} == components
    own = rows["capability_loading", "b"]
    assert own.value > 0.1
    assert own.diagnosis == rows["likelihood", "b"].diagnosis == "strong prior or weak likelihood"
    noise = 0.03  # reweighting 4000 draws at random moves a distribution function a little
    assert rows["likelihood", "b"].value < noise
    assert rows["intercept", "b"].value < noise
    assert rows["capability_icc", "b"].value < noise
    assert rows["capability_icc", "alpha"].value < noise
    assert rows["capability_loading", "alpha"].value < noise
    assert rows["capability_loading", "alpha"].diagnosis == "none"
    assert rows["likelihood", "alpha"].diagnosis == "none"
    for quantity in ("alpha", "b"):
        assert np.isnan(rows["total_sd", quantity].value)
        assert rows["total_sd", quantity].diagnosis == "not applicable"


def test_a_prior_against_the_data_is_called_a_conflict() -> None:
    y = np.random.default_rng(35).normal(2.0, 1.0, size=10)
    verdicts = {}
    for name, stated in {"agrees": priors(mu=2.0, sigma=3.0), "conflicts": priors(mu=-2.0, sigma=0.5)}.items():
        draws, data = fit(y, stated)
        rows = by_name(power_scaling(draws, data, stated, ANCHORS, ["b"], {"alpha": draws.intercept[:, 0]}))
        verdicts[name] = rows["intercept", "alpha"].diagnosis
    assert verdicts == {"agrees": "none", "conflicts": "prior-data conflict"}


def test_only_capability_benchmarks_are_looked_at_unasked() -> None:
    rng = np.random.default_rng(36)
    shape = (400, 3)
    draws = FactorDraws(
        rho=rng.uniform(-0.9, 0.9, size=shape),
        total_sd=rng.lognormal(0, 0.3, size=shape),
        icc=rng.beta(1, 3, size=shape),
        capability_icc=rng.beta(2, 2, size=400),
        intercept=rng.normal(size=shape),
        further=rng.uniform(-0.2, 0.2, size=(*shape, 1)),
    )
    data = FactorData(values=rng.normal(size=(6, 3)), families=np.array([0, 0, 1, 1, 2, 3]), noise=np.zeros((6, 3)))
    rows = power_scaling(draws, data, priors(), np.array([True, False, True]), ["x", "safety", "z"])
    components = ["likelihood", "total_sd", "icc", "capability_icc", "intercept"]
    components += ["capability_loading", "loading", "further_loading"]
    assert {row.quantity for row in rows} == {"x", "z"}
    assert sorted(row.component for row in rows) == sorted(components * 2)
    assert {row.component for row in rows if np.isnan(row.value)} == {"loading"}  # Beta(1, 1)
    assert {row.component for row in rows if row.diagnosis == "not applicable"} == {"loading"}
