"""The hierarchical layer: against NUTS, against formulae at the limits, and in coverage of what made the data."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from factor_data import REFERENCE
from scipy import integrate, stats

from safetystats.inference.error_covariance import error_correlations, estimate_covariance
from safetystats.inference.hierarchy import LIKENESS, HierarchyDraws, conditional, shrink, summarise

# Sums of order one, in another order.
ROUNDING = 1e-9
# In posterior sds: four errors of a mean over the 20 000 draws here and as many effective ones by NUTS; the ends of an
# interval vary nearly thrice as much.
MEAN_ERROR, END_ERROR = 0.045, 0.12
# Three errors of a correlation over 5000 simulated data sets, and the asymptotic formula's own error at 100 models.
SIMULATED = 0.05


def reference_problem(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sys.path.insert(0, str(REFERENCE))
    try:
        from hierarchy_by_nuts import problem
    finally:
        sys.path.remove(str(REFERENCE))
    return problem(name)


def small(seed: int = 1, size: int = 6, n_areas: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((size, size)) * 0.1
    return rng.normal(0.4, 0.4, size), root @ root.T + 0.02 * np.eye(size), np.arange(size) % n_areas


@pytest.mark.parametrize("name", ["four", "one"])
def test_agrees_with_nuts(name: str) -> None:
    draws = shrink(*reference_problem(name), np.random.default_rng(2), likeness=[0.0], n_draws=20_000)
    rows = pd.read_csv(REFERENCE / "hierarchy_by_nuts.csv", comment="#").query("set == @name")
    assert set(rows["parameter"]) >= {"mu", "mu_area", "zeta", "tau_within"}
    for row in rows.to_dict("records"):
        values = getattr(draws, row["parameter"]).reshape(20_000, -1)[:, row["index"]]
        label = f"{row['parameter']} {row['index']}"
        assert values.mean() == pytest.approx(row["mean"], abs=MEAN_ERROR * row["sd"]), label
        assert values.std() == pytest.approx(row["sd"], rel=0.05), label
        ends, expected = np.quantile(values, [0.025, 0.5, 0.975]), [row["q025"], row["q50"], row["q975"]]
        np.testing.assert_allclose(ends, expected, rtol=0, atol=END_ERROR * row["sd"], err_msg=label)


@pytest.mark.parametrize("likeness", LIKENESS)
@pytest.mark.parametrize("taus", [(0.0, 0.0), (0.3, 0.0), (0.2, 0.6)])
def test_given_the_taus_it_is_the_textbook_normal(taus: tuple[float, float], likeness: float) -> None:
    z, covariance, areas = small()
    found = conditional(z, covariance, areas, *taus, mu_scale=0.8, likeness=likeness)
    sd = np.sqrt(np.diagonal(covariance))
    alike = (1 - likeness) * np.eye(6) + likeness * covariance / np.outer(sd, sd)
    members = (areas[:, None] == np.arange(2)).astype(float)
    between = taus[1] ** 2 * np.eye(2) + 0.64
    benchmarks = members @ between @ members.T + taus[0] ** 2 * alike
    prior = np.block([
        [np.full((1, 1), 0.64), np.full((1, 2), 0.64), np.full((1, 6), 0.64)],
        [np.full((2, 1), 0.64), between, between @ members.T],
        [np.full((6, 1), 0.64), members @ between, benchmarks],
    ])  # fmt: skip
    total = benchmarks + covariance
    gain = prior[:, 3:] @ np.linalg.inv(total)
    np.testing.assert_allclose(found.mean, gain @ z, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(found.covariance, prior - gain @ prior[3:], rtol=0, atol=ROUNDING)
    assert found.log_marginal == pytest.approx(stats.multivariate_normal(np.zeros(6), total).logpdf(z), abs=ROUNDING)


def test_no_spread_is_complete_pooling() -> None:
    z, covariance, areas = small()
    precision = np.linalg.inv(covariance)
    found = conditional(z, covariance, areas, 0.0, 0.0, mu_scale=1e3)
    # The prior of mu moves a mean by its variance over 1e6.
    np.testing.assert_allclose(found.mean, precision.sum(axis=0) @ z / precision.sum(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.covariance, 1 / precision.sum(), rtol=0, atol=1e-6)


def test_a_huge_spread_is_no_pooling() -> None:
    z, covariance, areas = small()
    found = conditional(z, covariance, areas, 1e4, 1.0)
    np.testing.assert_allclose(found.mean[3:], z, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.covariance[3:, 3:], covariance, rtol=0, atol=1e-6)
    draws = shrink(z, covariance, areas, np.random.default_rng(3), within_scale=1e3, between_scale=1e-3)
    assert (draws.zeta.std(axis=0) < 1.3 * np.sqrt(np.diagonal(covariance))).all()


def test_the_grid_is_the_integral_over_the_taus() -> None:
    """One area and two benchmarks: shares of phi and the mean of mu by adaptive quadrature of the closed form."""
    z, covariance, areas = np.array([0.9, 0.3]), np.array([[0.04, 0.01], [0.01, 0.06]]), np.zeros(2, dtype=np.int64)

    def weighted(tau: float, phi: float, power: int) -> float:
        given = conditional(z, covariance, areas, tau, 0.0, likeness=phi)
        return float(given.mean[0] ** power * np.exp(given.log_marginal - 0.5 * (tau / 0.5) ** 2))

    mass, moment = (
        np.array([integrate.quad(weighted, 0, 6, args=(phi, power))[0] for phi in LIKENESS]) for power in (0, 1)
    )
    n_draws = 100_000
    draws = shrink(z, covariance, areas, np.random.default_rng(4), n_draws=n_draws)
    assert draws.mu.mean() == pytest.approx(moment.sum() / mass.sum(), abs=4 * draws.mu.std() / np.sqrt(n_draws))
    found = [(draws.likeness == phi).mean() for phi in LIKENESS]
    # Four binomial errors, and the error of the grid.
    np.testing.assert_allclose(found, mass / mass.sum(), rtol=0, atol=4 * np.sqrt(0.25 / n_draws) + 0.001)


def test_variants_of_one_benchmark_keep_what_they_have_in_common() -> None:
    """Deviations that are alike as errors are keep one share of themselves; independent ones pass for error."""
    correlation = np.where(np.arange(8)[:, None] // 4 == np.arange(8) // 4, 0.95, 0.0) + 0.05 * np.eye(8)
    z, covariance = np.repeat([0.9, 0.1], 4), 0.04 * correlation
    one = np.zeros(8, dtype=np.int64)
    for tau in (0.1, 0.3):
        kept = conditional(z, covariance, one, tau, 0.0, likeness=1.0)
        share = tau**2 / (tau**2 + 0.04)
        away = kept.mean[2:] - kept.mean[0]
        np.testing.assert_allclose(away, share * (z - kept.mean[0]), rtol=0, atol=ROUNDING)
        lost = conditional(z, covariance, one, tau, 0.0, likeness=0.0)
        assert np.ptp(lost.mean[2:]) < np.ptp(kept.mean[2:])
    assert (shrink(z, covariance, one, np.random.default_rng(20)).likeness == 1.0).mean() > 1 / 3


def test_one_area_has_nothing_between() -> None:
    z, covariance, _ = small()
    one = np.zeros(6, dtype=np.int64)
    draws = shrink(z, covariance, one, np.random.default_rng(5), between_scale=0.5)
    other = shrink(z, covariance, one, np.random.default_rng(5), between_scale=50.0)
    np.testing.assert_array_equal(draws.zeta, other.zeta)
    np.testing.assert_array_equal(draws.mu_area[:, 0], draws.mu)
    np.testing.assert_array_equal(draws.tau_between, 0.0)
    assert np.isnan(summarise(draws).tau_between).all()


def test_order_does_not_matter() -> None:
    z, covariance, areas = small(size=9, n_areas=3)
    order = np.random.default_rng(6).permutation(9)
    swapped = np.array([2, 0, 1])[areas]
    first = summarise(shrink(z, covariance, areas, np.random.default_rng(7), n_draws=40_000))
    again = summarise(
        shrink(z[order], covariance[np.ix_(order, order)], swapped[order], np.random.default_rng(8), n_draws=40_000)
    )
    # Four errors of the ends of an interval from 40 000 draws with sd 0.3 or less.
    np.testing.assert_allclose(again.benchmark, first.benchmark[order], rtol=0, atol=0.02)
    np.testing.assert_allclose(again.area[[2, 0, 1]], first.area, rtol=0, atol=0.03)
    exact = conditional(z, covariance, areas, 0.2, 0.3)
    moved = conditional(z[order], covariance[np.ix_(order, order)], swapped[order], 0.2, 0.3)
    np.testing.assert_allclose(moved.mean[4:], exact.mean[4:][order], rtol=0, atol=ROUNDING)
    assert moved.log_marginal == pytest.approx(exact.log_marginal, abs=ROUNDING)


def test_draws_are_seeded_and_finite_with_many_benchmarks() -> None:
    rng = np.random.default_rng(9)
    areas = rng.permutation(np.concatenate([np.arange(14), rng.integers(0, 14, 116)]))
    z, theta = rng.normal(0.4, 0.4, 130), rng.standard_normal(26)
    scores = theta[:, None] * np.tanh(z) + rng.standard_normal((26, 130))
    covariance = estimate_covariance(z, np.full(130, 0.2), scores, theta)
    draws = shrink(z, covariance, areas, np.random.default_rng(10))
    again = shrink(z, covariance, areas, np.random.default_rng(10))
    for name in HierarchyDraws.__slots__:
        assert np.isfinite(getattr(draws, name)).all()
        np.testing.assert_array_equal(getattr(draws, name), getattr(again, name))
    assert draws.zeta.shape == (4000, 130)
    assert draws.mu_area.shape == (4000, 14)


def test_intervals_cover_what_made_the_data() -> None:
    """Truth from the prior: 90 % intervals cover 90 %, for taus, means and benchmarks."""
    rng, repeats = np.random.default_rng(11), 200
    _, covariance, areas = small(size=9, n_areas=3)
    root, sd, hits = np.linalg.cholesky(covariance), np.sqrt(np.diagonal(covariance)), []
    for _ in range(repeats):
        within, between = np.abs(0.5 * rng.standard_normal(2))
        mu, phi = rng.standard_normal(), rng.choice(LIKENESS)
        mu_area = mu + between * rng.standard_normal(3)
        alike = np.linalg.cholesky((1 - phi) * np.eye(9) + phi * covariance / np.outer(sd, sd))
        zeta = mu_area[areas] + within * alike @ rng.standard_normal(9)
        draws = shrink(zeta + root @ rng.standard_normal(9), covariance, areas, rng, n_draws=400, grid=12)
        truth = np.concatenate([[within, between, mu], mu_area, zeta])
        values = np.column_stack([draws.tau_within, draws.tau_between, draws.mu, draws.mu_area, draws.zeta])
        low, high = np.quantile(values, [0.05, 0.95], axis=0)
        hits.append((low <= truth) & (truth <= high))
    share = np.mean(hits, axis=0)
    # Four binomial errors.
    np.testing.assert_allclose(share, 0.9, rtol=0, atol=4 * np.sqrt(0.09 / repeats))


def test_error_correlations_are_steigers() -> None:
    rng = np.random.default_rng(12)
    matrix = np.corrcoef(rng.standard_normal((12, 9)), rowvar=False)
    rho, between = matrix[0, 1:], matrix[1:, 1:]
    first, second = rho[:, None], rho[None, :]
    covariance = between * (1 - first**2 - second**2) - first * second * (1 - first**2 - second**2 - between**2) / 2
    unique = np.sqrt(1 - rho**2)
    partial = (between - np.outer(rho, rho)) / np.outer(unique, unique)
    found = error_correlations(rho, partial)
    np.testing.assert_allclose(found, covariance / np.outer(unique**2, unique**2), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(np.diagonal(found), 1.0, rtol=0, atol=ROUNDING)
    assert np.linalg.eigvalsh(found)[0] > -ROUNDING


def test_error_correlations_are_those_of_simulated_data() -> None:
    """Correlated normals, 100 models, all scored on all benchmarks and then each benchmark on another 65 of them."""
    rng, n, repeats = np.random.default_rng(13), 100, 5000
    rho = np.array([0.6, 0.6, 0.6, 0.6])
    partial = np.array([[1.0, 0.8, 0.0, -0.4], [0.8, 1.0, 0.2, 0.0], [0.0, 0.2, 1.0, 0.0], [-0.4, 0.0, 0.0, 1.0]])
    root, unique = np.linalg.cholesky(partial), np.sqrt(1 - rho**2)
    seen = (np.arange(n)[:, None] + 25 * np.arange(4)) % n < 65
    theta = rng.standard_normal((repeats, n, 1))
    scores = theta * rho + rng.standard_normal((repeats, n, 4)) @ root.T * unique
    errors = []
    for present in (np.ones((n, 4), dtype=bool), seen):
        x, y, count = theta * present, scores * present, present.sum(axis=0)
        cross = (x * y).sum(1) - x.sum(1) * y.sum(1) / count
        spread = ((x**2).sum(1) - x.sum(1) ** 2 / count) * ((y**2).sum(1) - y.sum(1) ** 2 / count)
        errors.append(np.arctanh(cross / np.sqrt(spread)))
    expected = error_correlations(rho, partial)
    shared = seen.T.astype(float) @ seen
    overlap = shared / np.sqrt(np.outer(np.diagonal(shared), np.diagonal(shared)))
    np.testing.assert_allclose(np.corrcoef(errors[0].T), expected, rtol=0, atol=SIMULATED)
    np.testing.assert_allclose(np.corrcoef(errors[1].T), expected * overlap, rtol=0, atol=SIMULATED)
    # The estimate from one large data set, all alike in rho, with the same holes.
    theta = rng.standard_normal(20_000)
    scores = theta[:, None] * rho + rng.standard_normal((20_000, 4)) @ root.T * unique
    scores = np.where(np.tile(seen, (20_000 // n, 1)), scores, np.nan)
    sd = np.array([0.1, 0.2, 0.3, 0.1])
    found = estimate_covariance(np.arctanh(rho), sd, scores, theta, damping=0.0) / np.outer(sd, sd)
    np.testing.assert_allclose(found, expected * overlap, rtol=0, atol=SIMULATED)


def test_estimated_covariance_is_positive_definite_whatever_the_holes() -> None:
    rng = np.random.default_rng(14)
    theta = rng.standard_normal(15)
    scores = theta[:, None] + 0.3 * rng.standard_normal((15, 1)) + rng.standard_normal((15, 30))
    scores[rng.random(scores.shape) < 0.3] = np.nan
    scores[:, 1] = scores[:, 0]
    scores[:, 2] = 2.0 * theta + 1.0
    scores[:12, 3] = np.nan
    sd = rng.uniform(0.1, 0.4, 30)
    for damping in (None, 0.0, 1.0):
        found = estimate_covariance(rng.normal(0.5, 0.5, 30), sd, scores, theta, damping=damping)
        np.testing.assert_allclose(np.diagonal(found), sd**2, rtol=1e-12)
        np.testing.assert_allclose(found, found.T, rtol=0, atol=1e-15)
        assert np.linalg.eigvalsh(found / np.outer(sd, sd))[0] > 0.03


def test_shared_models_make_the_mean_of_an_area_less_certain() -> None:
    rng = np.random.default_rng(15)
    theta, common = rng.standard_normal((2, 30))
    scores = 0.6 * theta[:, None] + 0.6 * common[:, None] + 0.5 * rng.standard_normal((30, 20))
    z, sd, one = np.full(20, 0.7), np.full(20, 0.19), np.zeros(20, dtype=np.int64)
    alone = shrink(z, np.diag(sd**2), one, np.random.default_rng(16)).mu.std()
    together = shrink(z, estimate_covariance(z, sd, scores, theta), one, np.random.default_rng(16)).mu.std()
    assert together > 2 * alone


def test_what_does_not_fit_is_refused() -> None:
    z, covariance, areas = small()
    rng = np.random.default_rng(17)
    with pytest.raises(ValueError, match="do not fit"):
        shrink(z[:5], covariance, areas, rng)
    with pytest.raises(ValueError, match="each in use"):
        shrink(z, covariance, areas + 1, rng)
    with pytest.raises(ValueError, match="not positive definite"):
        shrink(z, covariance - np.eye(6), areas, rng)
    with pytest.raises(ValueError, match="must be finite"):
        shrink(np.where(z == z[0], np.nan, z), covariance, areas, rng)
    with pytest.raises(ValueError, match="grid 1"):
        shrink(z, covariance, areas, rng, grid=1)
    with pytest.raises(ValueError, match="sd positive"):
        estimate_covariance(z, np.zeros(6), np.ones((9, 6)), np.arange(9.0))
    with pytest.raises(ValueError, match=r"scores \(9, 5\)"):
        estimate_covariance(z, np.ones(6), np.ones((9, 5)), np.arange(9.0))
