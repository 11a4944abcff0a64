"""The marginal likelihood of factor models against the multivariate normal written out cell by cell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safetystats.inference import marginal
from safetystats.inference.marginal import family_log_likelihood, log_prior_terms, model_log_conditional
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import BetaPrior, FactorPriors, FactorSpec, read_spec

EXACT = 1e-9
"""Relative and absolute: both sides are direct solves of well-conditioned systems with at most 40 cells."""
FAMILIES = np.array([0, 1, 1, 2, 2, 2, 2, 0, 3])


def random_draws(rng: np.random.Generator, n_draws: int, n_benchmarks: int, n_further: int) -> FactorDraws:
    shares = rng.dirichlet(np.full(n_further + 2, 2.0), size=(n_draws, n_benchmarks))[..., : n_further + 1]
    loadings = np.sqrt(shares) * rng.choice([-1.0, 1.0], size=shares.shape)
    return FactorDraws(
        rho=loadings[..., 0],
        total_sd=rng.lognormal(0.0, 0.4, size=(n_draws, n_benchmarks)),
        icc=rng.beta(1.0, 2.0, size=(n_draws, n_benchmarks)),
        capability_icc=rng.uniform(0.05, 0.95, size=n_draws),
        intercept=rng.normal(size=(n_draws, n_benchmarks)),
        further=loadings[..., 1:],
    )


def random_data(
    rng: np.random.Generator, n_benchmarks: int, *, missing: float = 0.0, noise: bool = False, lone: bool = False
) -> FactorData:
    families = np.arange(len(FAMILIES)) if lone else FAMILIES
    values = rng.normal(size=(len(families), n_benchmarks))
    values[rng.random(values.shape) < missing] = np.nan
    known = rng.uniform(0.0, 0.3, size=values.shape) if noise else np.zeros(values.shape)
    return FactorData(values=values, families=families, noise=known)


def written_out(draws: FactorDraws, t: int, data: FactorData, rows: np.ndarray) -> float:
    """Log density of the observed cells of some rows, from the model as its docstring states it."""
    cells = [(m, b) for m in rows for b in range(data.values.shape[1]) if np.isfinite(data.values[m, b])]
    if not cells:
        return 0.0
    s, rho, further, icc = draws.total_sd[t], draws.rho[t], draws.further[t], draws.icc[t]
    unique = s**2 * (1 - rho**2 - (further**2).sum(axis=1))
    n, omega = len(data.families), draws.capability_icc[t]
    kin, same = (data.families[:, None] == data.families).astype(float), np.eye(n)
    lam, psi = s * rho, s[:, None] * further
    full = np.kron(omega * kin + (1 - omega) * same, np.outer(lam, lam))
    full += np.kron(same, psi @ psi.T + np.diag((1 - icc) * unique)) + np.kron(kin, np.diag(icc * unique))
    full += np.diag(np.nan_to_num(data.noise).ravel())
    place = [m * len(s) + b for m, b in cells]
    cov = full[np.ix_(place, place)]
    y = np.array([data.values[cell] for cell in cells])
    mean = np.array([draws.intercept[t, b] for _, b in cells])
    return float(stats.multivariate_normal(mean, cov).logpdf(y))


CASES = {
    "complete": (0, {}),
    "missing": (0, {"missing": 0.3}),
    "noise": (0, {"noise": True}),
    "two factors": (1, {}),
    "two factors, missing, noise": (1, {"missing": 0.3, "noise": True}),
    "three factors, missing": (2, {"missing": 0.2}),
    "lone models": (0, {"lone": True, "missing": 0.1}),
}
OMEGAS = {"omega 0": 0.0, "omega": None, "omega 1": 1.0}


def with_omega(draws: FactorDraws, omega: float | None) -> FactorDraws:
    """Set the share of capability between families; None leaves that of each draw, between 0.05 and 0.95."""
    return draws if omega is None else replace(draws, capability_icc=np.full(draws.n_draws, omega))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("shared", [True, False], ids=["kappa", "kappa 0"])
@pytest.mark.parametrize("omega", OMEGAS.values(), ids=OMEGAS.keys())
def test_density_is_the_multivariate_normal_of_the_stacked_family(
    case: tuple[int, dict], shared: bool, omega: float | None
) -> None:
    rng = np.random.default_rng(7)
    draws, data = with_omega(random_draws(rng, 5, 4, case[0]), omega), random_data(rng, 4, **case[1])
    if not shared:
        draws = replace(draws, icc=np.zeros_like(draws.icc))
    codes = range(data.families.max() + 1)
    expected = [
        [written_out(draws, t, data, np.flatnonzero(data.families == code)) for code in codes] for t in range(5)
    ]
    np.testing.assert_allclose(family_log_likelihood(draws, data), expected, rtol=EXACT, atol=EXACT)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("omega", OMEGAS.values(), ids=OMEGAS.keys())
def test_conditional_is_the_difference_of_two_densities(case: tuple[int, dict], omega: float | None) -> None:
    rng = np.random.default_rng(8)
    draws, data = with_omega(random_draws(rng, 3, 4, case[0]), omega), random_data(rng, 4, **case[1])
    expected = np.empty((3, len(data.families)))
    for t in range(3):
        for m, code in enumerate(data.families):
            rows = np.flatnonzero(data.families == code)
            expected[t, m] = written_out(draws, t, data, rows) - written_out(draws, t, data, rows[rows != m])
    np.testing.assert_allclose(model_log_conditional(draws, data), expected, rtol=EXACT, atol=EXACT)


def test_relatives_matter_exactly_where_families_share_something() -> None:
    rng = np.random.default_rng(9)
    draws, data = random_draws(rng, 4, 3, 0), random_data(rng, 3)
    alone = replace(data, families=np.arange(len(FAMILIES)))
    kin = np.bincount(FAMILIES)[FAMILIES] > 1
    residuals_only = with_omega(draws, 0.0)
    capability_only = replace(draws, icc=np.zeros_like(draws.icc))
    for some in (draws, residuals_only, capability_only):
        gap = np.abs(model_log_conditional(some, data) - family_log_likelihood(some, alone))
        assert (gap[:, kin] > 1e-6).all()
        assert gap[:, ~kin].max() < EXACT
    # Omega cannot be told where every model is alone.
    np.testing.assert_allclose(
        family_log_likelihood(residuals_only, alone), family_log_likelihood(draws, alone), rtol=EXACT, atol=EXACT
    )
    unshared = with_omega(capability_only, 0.0)
    np.testing.assert_allclose(
        model_log_conditional(unshared, data), family_log_likelihood(unshared, alone), rtol=EXACT, atol=EXACT
    )


def test_density_of_one_cell_integrates_to_one() -> None:
    """No constant is missing: a model's conditional density of its only score, summed over a fine grid."""
    rng = np.random.default_rng(10)
    draws, data = random_draws(rng, 2, 3, 1), random_data(rng, 3, noise=True)
    data.values[4, 1:] = np.nan
    grid = np.linspace(-25, 25, 1001)
    density = np.empty((len(grid), 2))
    for i, value in enumerate(grid):
        values = data.values.copy()
        values[4, 0] = value
        density[i] = np.exp(model_log_conditional(draws, replace(data, values=values))[:, 4])
    np.testing.assert_allclose(density.sum(axis=0) * (grid[1] - grid[0]), 1.0, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_further=st.integers(0, 2), missing=st.floats(0.0, 0.9))
def test_order_of_models_and_benchmarks_does_not_matter(seed: int, n_further: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    draws, data = random_draws(rng, 3, 4, n_further), random_data(rng, 4, missing=missing, noise=True)
    rows, columns = rng.permutation(len(FAMILIES)), rng.permutation(4)
    moved_draws = FactorDraws(
        rho=draws.rho[:, columns],
        total_sd=draws.total_sd[:, columns],
        icc=draws.icc[:, columns],
        capability_icc=draws.capability_icc,
        intercept=draws.intercept[:, columns],
        further=draws.further[:, columns],
    )
    moved = FactorData(
        values=data.values[rows][:, columns], families=data.families[rows], noise=data.noise[rows][:, columns]
    )
    np.testing.assert_allclose(
        family_log_likelihood(moved_draws, moved), family_log_likelihood(draws, data), rtol=1e-8, atol=1e-8
    )
    np.testing.assert_allclose(
        model_log_conditional(moved_draws, moved), model_log_conditional(draws, data)[:, rows], rtol=1e-8, atol=1e-8
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), code=st.integers(0, 5))
def test_a_model_without_scores_changes_nothing(seed: int, code: int) -> None:
    """Whether it joins a family or makes one of its own (code 4, or 5 with no family 4); noise may be NaN there."""
    rng = np.random.default_rng(seed)
    draws, data = random_draws(rng, 3, 4, 1), random_data(rng, 4, missing=0.2, noise=True)
    blank = np.full((1, 4), np.nan)
    more = FactorData(
        values=np.concatenate([data.values, blank]),
        families=np.append(data.families, code),
        noise=np.concatenate([data.noise, blank]),
    )
    families, conditional = family_log_likelihood(draws, more), model_log_conditional(draws, more)
    np.testing.assert_allclose(families[:, :4], family_log_likelihood(draws, data), rtol=EXACT, atol=EXACT)
    np.testing.assert_allclose(conditional[:, :-1], model_log_conditional(draws, data), rtol=EXACT, atol=EXACT)
    assert (families[:, 4:] == 0).all()
    np.testing.assert_allclose(conditional[:, -1], 0.0, atol=EXACT)


def test_chunks_of_draws_are_only_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(11)
    draws, data = random_draws(rng, 17, 4, 1), random_data(rng, 4, missing=0.2)
    whole = model_log_conditional(draws, data)
    monkeypatch.setattr(marginal, "CHUNK_BYTES", 8 * 6**2 * 13 * 3)  # three draws of 13 groups
    np.testing.assert_allclose(model_log_conditional(draws, data), whole, rtol=EXACT, atol=EXACT)


def test_a_nearly_exhausted_benchmark_stays_accurate() -> None:
    """rho 0.9999 (a Heywood case): 1 - rho^2 is 2e-4, and the reference itself loses four digits."""
    rng = np.random.default_rng(12)
    draws, data = random_draws(rng, 3, 4, 0), random_data(rng, 4)
    draws.rho[:, 2] = 0.9999
    expected = [[written_out(draws, t, data, np.flatnonzero(data.families == f)) for f in range(4)] for t in range(3)]
    np.testing.assert_allclose(family_log_likelihood(draws, data), expected, rtol=1e-8)


def skewed_priors() -> FactorPriors:
    """Different numbers everywhere, so that no two priors can be taken for each other."""
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    return spec.priors.model_copy(
        update={
            "capability_loading": BetaPrior(family="beta", alpha=5.0, beta=2.0),
            "loading": BetaPrior(family="beta", alpha=2.5, beta=1.5),
            "further_loading": BetaPrior(family="beta", alpha=3.0, beta=4.0),
            "capability_icc": BetaPrior(family="beta", alpha=1.5, beta=3.5),
        }
    )


def test_prior_densities_are_those_of_scipy() -> None:
    rng = np.random.default_rng(13)
    priors, draws = skewed_priors(), random_draws(rng, 6, 4, 2)
    anchors = np.array([True, False, True, True])
    partial = rng.uniform(-0.9, 0.9, size=(6, 4, 2))
    partial[:, 1, 0] = 0.0  # by structure: benchmark 1 is not on the first further factor,
    partial[:, 3] = 0.0  # benchmark 3 on neither
    left = np.sqrt(1 - draws.rho**2)
    further = np.stack([partial[..., 0] * left, partial[..., 1] * left * np.sqrt(1 - partial[..., 0] ** 2)], axis=-1)
    found = log_prior_terms(replace(draws, further=further), priors, anchors)

    def correlation(values: np.ndarray, prior: BetaPrior) -> np.ndarray:
        return stats.beta(prior.alpha, prior.beta, loc=-1, scale=2).logpdf(values)

    sd, icc, omega, mean = priors.total_sd, priors.icc, priors.capability_icc, priors.intercept
    expected = {
        "capability_loading": correlation(draws.rho[:, anchors], priors.capability_loading).sum(axis=1),
        "loading": correlation(draws.rho[:, ~anchors], priors.loading).sum(axis=1),
        "total_sd": stats.lognorm(sd.sigma, scale=np.exp(sd.mu)).logpdf(draws.total_sd).sum(axis=1),
        "icc": stats.beta(icc.alpha, icc.beta).logpdf(draws.icc).sum(axis=1),
        "capability_icc": stats.beta(omega.alpha, omega.beta).logpdf(draws.capability_icc),
        "intercept": stats.norm(mean.mu, mean.sigma).logpdf(draws.intercept).sum(axis=1),
        "further_loading": correlation(
            np.stack([partial[:, 0, 0], partial[:, 2, 0], *partial[:, :3, 1].T], axis=1), priors.further_loading
        ).sum(axis=1),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=EXACT, err_msg=name)


def test_a_prior_without_parameters_has_no_term() -> None:
    draws = random_draws(np.random.default_rng(14), 6, 3, 0)
    unshared = replace(draws, icc=np.zeros_like(draws.icc))
    always = {"capability_loading", "total_sd", "intercept"}
    for some, more in (
        (draws, {"icc", "capability_icc"}),
        (unshared, {"capability_icc"}),
        (with_omega(draws, 0.0), {"icc"}),
        (with_omega(unshared, 0.0), set()),
    ):
        assert set(log_prior_terms(some, skewed_priors(), np.ones(3, dtype=bool))) == always | more


def test_a_loading_that_rounds_to_one_leaves_some_variance() -> None:
    one = np.ones((1, 1))
    draws = FactorDraws(
        rho=one, total_sd=2 * one, icc=0 * one, capability_icc=np.zeros(1), intercept=0 * one,
        further=np.zeros((1, 1, 0)),
    )  # fmt: skip
    assert 0 < draws.unique[0, 0] < 1e-14
