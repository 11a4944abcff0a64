"""Leaving models and families out, in a case where every predictive density is known.

With rho, s, kappa and omega fixed the model is linear and Gaussian in the intercepts: their posterior can be drawn from
exactly, and so can that without any model, and log p(y_unit | the rest) is the difference of two normal densities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import arviz_stats as az
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from safetystats.inference.loo import LeaveOut, compare_leave_out, leave_out
from safetystats.inference.marginal import model_log_conditional
from safetystats.inference.parameters import FactorData, FactorDraws

N_DRAWS = 4000
PRIOR_SD = 2.0
MONTE_CARLO = 0.06
"""Largest error of a unit in the ample case, from refits or from weights with Pareto k below 0.7; over seeds the worst
unit errs by 0.02 to 0.06."""
REFIT_MONTE_CARLO = 0.3
"""The same for refits in the scarce case, which predict from a wide posterior of ten intercepts: 0.05 to 0.2."""
RHO, SD, ICC = np.array([0.8, -0.5, 0.6]), np.array([1.0, 1.3, 0.8]), np.array([0.4, 0.1, 0.6])
OMEGA = 0.5
FAMILIES = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 4, 4, 4, 5, 6, 6])
NAMES = tuple(f"m{i}" for i in range(len(FAMILIES)))


class Linear:
    """One data set and the exact answers."""

    def __init__(
        self, families: np.ndarray, rho: np.ndarray, sd: np.ndarray, icc: np.ndarray, omega: float, seed: int
    ) -> None:
        rng = np.random.default_rng(seed)
        self.rho, self.sd, self.icc, self.omega, self.seed = rho, sd, icc, omega, seed
        n, k = len(families), len(rho)
        unique = sd**2 * (1 - rho**2)
        kin, same = families[:, None] == families, np.eye(n)
        # Cells in the order model by model.
        self.cov = np.kron(omega * kin + (1 - omega) * same, np.outer(sd * rho, sd * rho))
        self.cov += np.kron(same, np.diag((1 - icc) * unique)) + np.kron(kin, np.diag(icc * unique))
        self.design = np.tile(np.eye(k), (n, 1))
        alpha = rng.normal(0, 0.5, size=k)
        values = rng.multivariate_normal(self.design @ alpha, self.cov).reshape(n, k)
        values[:, 1:][rng.random((n, k - 1)) < 0.2] = np.nan  # every model keeps a score
        self.data = FactorData(values=values, families=families, noise=np.zeros((n, k)))
        self.refits: list[list[int]] = []

    def cells(self, without: list[int]) -> np.ndarray:
        seen = np.isfinite(self.data.values)
        seen[without] = False
        return np.flatnonzero(seen.ravel())

    def log_evidence(self, without: list[int]) -> float:
        cells = self.cells(without)
        cov = self.cov + PRIOR_SD**2 * self.design @ self.design.T
        return float(
            stats.multivariate_normal(np.zeros(len(cells)), cov[np.ix_(cells, cells)]).logpdf(
                self.data.values.ravel()[cells]
            )
        )

    def exact(self, rows: list[int]) -> float:
        return self.log_evidence([]) - self.log_evidence(rows)

    def draws(self, without: list[int]) -> FactorDraws:
        """Draw from the exact posterior of the intercepts."""
        self.refits.append(without)
        cells = self.cells(without)
        x, y = self.design[cells], self.data.values.ravel()[cells]
        weights = np.linalg.solve(self.cov[np.ix_(cells, cells)], x)
        cov = np.linalg.inv(x.T @ weights + np.eye(x.shape[1]) / PRIOR_SD**2)
        rng = np.random.default_rng([self.seed, 1, *without])
        alpha = rng.multivariate_normal(cov @ weights.T @ y, cov, size=N_DRAWS)

        def fixed(values: np.ndarray) -> np.ndarray:
            return np.tile(values, (N_DRAWS, 1))

        return FactorDraws(
            rho=fixed(self.rho),
            total_sd=fixed(self.sd),
            icc=fixed(self.icc),
            capability_icc=np.full(N_DRAWS, self.omega),
            intercept=alpha,
            further=np.zeros((N_DRAWS, len(self.rho), 0)),
        )


@pytest.fixture(scope="module", params=[OMEGA, 0.0], ids=["omega", "omega 0"])
def ample(request: pytest.FixtureRequest) -> Linear:
    return Linear(FAMILIES, RHO, SD, ICC, request.param, seed=21)


@pytest.fixture(scope="module")
def scarce() -> Linear:
    """Four models on ten benchmarks: ten intercepts follow every single model, and importance sampling must fail."""
    k = 10
    return Linear(np.array([0, 0, 1, 2]), np.full(k, 0.5), np.ones(k), np.full(k, 0.3), OMEGA, seed=23)


def unit_rows(families: np.ndarray, unit: str) -> list[list[int]]:
    if unit == "model":
        return [[i] for i in range(len(families))]
    return [list(np.flatnonzero(families == code)) for code in range(families.max() + 1)]


@pytest.mark.parametrize("unit", ["model", "family"])
def test_importance_sampling_finds_the_exact_density(ample: Linear, unit: str) -> None:
    rows = unit_rows(FAMILIES, unit)
    found = leave_out(ample.draws([]), ample.data, unit, [str(i) for i in range(len(rows))])
    exact = np.array([ample.exact(group) for group in rows])
    assert (found.pareto_k <= found.limit).all()
    np.testing.assert_allclose(found.elpd, exact, atol=MONTE_CARLO, rtol=0)
    assert np.ptp(exact) > 10 * MONTE_CARLO  # the units differ by far more than the tolerance
    assert not found.refitted.any()
    assert found.total == pytest.approx(found.elpd.sum())


@pytest.mark.parametrize("unit", ["model", "family"])
def test_refits_give_the_same_as_importance_sampling_where_it_works(ample: Linear, unit: str) -> None:
    """A limit that no unit meets: every unit is refitted."""
    rows = unit_rows(FAMILIES, unit)
    ample.refits.clear()
    draws = ample.draws([])
    found = leave_out(draws, ample.data, unit, [str(i) for i in range(len(rows))], ample.draws, limit=-np.inf)
    assert found.refitted.all()
    assert ample.refits[1:] == rows
    np.testing.assert_allclose(found.elpd, [ample.exact(group) for group in rows], atol=MONTE_CARLO, rtol=0)
    smoothed = leave_out(draws, ample.data, unit, found.labels)
    assert (found.elpd != smoothed.elpd).all()
    np.testing.assert_allclose(found.elpd, smoothed.elpd, atol=MONTE_CARLO, rtol=0)


@pytest.mark.parametrize("unit", ["model", "family"])
def test_units_beyond_the_limit_are_refitted_and_no_others(scarce: Linear, unit: str) -> None:
    rows = unit_rows(scarce.data.families, unit)
    labels = [f"u{i}" for i in range(len(rows))]
    draws = scarce.draws([])
    scarce.refits.clear()
    before = leave_out(draws, scarce.data, unit, labels)
    after = leave_out(draws, scarce.data, unit, labels, scarce.draws)
    bad = before.pareto_k > 0.7
    assert bad.any()
    assert before.doubtful == tuple(label for label, flag in zip(labels, bad, strict=True) if flag)
    assert after.doubtful == ()
    np.testing.assert_array_equal(after.refitted, bad)
    np.testing.assert_array_equal(after.pareto_k, before.pareto_k)
    np.testing.assert_array_equal(after.elpd[~bad], before.elpd[~bad])
    assert scarce.refits == [group for group, flag in zip(rows, bad, strict=True) if flag]
    exact = np.array([scarce.exact(group) for group in rows])
    assert np.abs(after.elpd - exact)[bad].max() < REFIT_MONTE_CARLO
    assert np.abs(after.elpd - exact)[bad].sum() < np.abs(before.elpd - exact)[bad].sum()


def one_benchmark(n: int) -> tuple[FactorDraws, FactorData]:
    """Draw the mean of n independent N(alpha, 1) scores under a flat prior; quantiles in place of random draws."""
    y = np.random.default_rng(23).normal(size=(n, 1))
    alpha = y.mean() + stats.norm.ppf((np.arange(N_DRAWS) + 0.5) / N_DRAWS) / np.sqrt(n)
    alpha = np.random.default_rng(24).permutation(alpha)[:, None]
    draws = FactorDraws(
        rho=np.full_like(alpha, 0.6),
        total_sd=np.ones_like(alpha),
        icc=np.zeros_like(alpha),
        capability_icc=np.zeros(N_DRAWS),
        intercept=alpha,
        further=np.zeros((N_DRAWS, 1, 0)),
    )
    return draws, FactorData(values=y, families=np.arange(n), noise=np.zeros((n, 1)))


def test_effective_parameters_and_standard_error_of_a_normal_mean() -> None:
    n = 30
    draws, data = one_benchmark(n)
    y = data.values[:, 0]
    found = leave_out(draws, data, "model", [str(i) for i in range(n)])
    without = (y.sum() - y) / (n - 1)
    elpd = stats.norm(without, np.sqrt(1 + 1 / (n - 1))).logpdf(y)
    lppd = stats.norm(y.mean(), np.sqrt(1 + 1 / n)).logpdf(y)
    np.testing.assert_allclose(found.elpd, elpd, atol=0.005, rtol=0)
    assert found.p_loo == pytest.approx((lppd - elpd).sum(), abs=0.02)
    assert 0.5 < found.p_loo < 1.5
    assert found.standard_error == pytest.approx(np.sqrt(n) * np.std(found.elpd, ddof=1), rel=1e-12)


def test_the_numbers_are_those_of_arviz() -> None:
    draws, data = one_benchmark(6)
    found = leave_out(draws, data, "model", list("abcdef"))
    log_lik = model_log_conditional(draws, data)
    for i in range(6):
        tree = xr.DataTree.from_dict(
            {
                "posterior": xr.Dataset({"alpha": (("chain", "draw"), draws.intercept.T)}),
                "log_likelihood": xr.Dataset({"y": (("chain", "draw", "unit"), log_lik[None, :, i : i + 1])}),
            }
        )
        efficiency = float(az.ess(np.exp(log_lik[:, i])[None], method="mean", relative=True))
        assert found.elpd[i] == pytest.approx(az.loo(tree, reff=efficiency, pointwise=False).elpd, rel=1e-9)


def test_units_without_scores_are_not_units(ample: Linear) -> None:
    values = ample.data.values.copy()
    values[[0, 5]] = np.nan  # model 5 is all of family 2
    data = replace(ample.data, values=values)
    draws = ample.draws([])
    models = leave_out(draws, data, "model", NAMES)
    families = leave_out(draws, data, "family", list("ABCDEFG"))
    assert models.labels == tuple(name for name in NAMES if name not in ("m0", "m5"))
    assert families.labels == ("A", "B", "D", "E", "F", "G")
    assert len(models.elpd) == len(models.pareto_k) == 13
    with pytest.raises(ValueError, match="3 labels for 15 units"):
        leave_out(draws, data, "model", list("abc"))


def test_few_draws_lower_the_limit(ample: Linear) -> None:
    draws = ample.draws([])
    assert leave_out(draws, ample.data, "model", NAMES).limit == 0.7
    assert leave_out(draws.thinned(1000), ample.data, "model", NAMES).limit == pytest.approx(2 / 3)
    assert leave_out(draws, ample.data, "model", NAMES, limit=0.5).limit == 0.5


def result(elpd: list[float], labels: str = "abcd", **changes: object) -> LeaveOut:
    n = len(elpd)
    plain = LeaveOut(
        unit="family",
        labels=tuple(labels),
        families=np.arange(n),
        elpd=np.array(elpd),
        pareto_k=np.full(n, 0.2),
        refitted=np.zeros(n, dtype=bool),
        limit=0.7,
        p_loo=1.5,
    )
    return replace(plain, **changes)


def test_comparison_uses_differences_unit_by_unit() -> None:
    """Differences -1, -3, -2, -6 have mean -3 and sample variance 14 / 3: sqrt(4 * 14 / 3) = 4.320."""
    best = result([-10.0, -20.0, -30.0, -40.0])
    k = np.array([0.2, 0.9, np.nan, 0.1])
    other = result([-11.0, -23.0, -32.0, -46.0], pareto_k=k, refitted=np.array([False, True, False, False]))
    rows = compare_leave_out({"other": other, "best": best})
    assert [row.name for row in rows] == ["best", "other"]
    assert rows[0].difference == rows[0].difference_error == 0.0
    assert rows[1].difference == pytest.approx(-12.0)
    assert rows[1].difference_error == pytest.approx(np.sqrt(4 * 14 / 3))
    assert rows[1].difference_error < rows[1].elpd_error  # the pairing is used
    assert (rows[1].n_units, rows[1].n_refitted, rows[1].n_doubtful) == (4, 1, 1)


def test_comparison_agrees_with_arviz_up_to_the_divisor(ample: Linear) -> None:
    """ArviZ divides by n where Vehtari, Gelman and Gabry (2017) divide by n - 1."""

    def elpd_data(draws: FactorDraws) -> az.ELPDData:
        log_lik = model_log_conditional(draws, ample.data)[None]
        posterior = xr.Dataset({"alpha": (("chain", "draw", "b"), draws.intercept[None])})
        likelihood = xr.Dataset({"y": (("chain", "draw", "unit"), log_lik)})
        tree = xr.DataTree.from_dict({"posterior": posterior, "log_likelihood": likelihood})
        return az.loo(tree, pointwise=True, reff=1.0)

    draws = ample.draws([])
    worse = replace(draws, icc=np.zeros_like(draws.icc), capability_icc=np.zeros(N_DRAWS))
    theirs = {"shared": elpd_data(draws), "unshared": elpd_data(worse)}
    table = az.compare(theirs, round_to="none")
    ours = compare_leave_out(
        {
            name: result(list(value.elpd_i.to_numpy()), labels="abcdefghijklmno", pareto_k=value.pareto_k.to_numpy())
            for name, value in theirs.items()
        }
    )
    assert [row.name for row in ours] == list(table.index)
    assert ours[1].difference == pytest.approx(table["elpd_diff"].iloc[1])
    assert ours[1].difference_error == pytest.approx(table["dse"].iloc[1] * np.sqrt(15 / 14))


def test_comparison_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="no results"):
        compare_leave_out({})
    plain = result([-1.0, -2.0, -3.0, -4.0])
    changes: list[Callable[[], LeaveOut]] = [
        lambda: replace(plain, labels=("a", "b", "c", "x")),
        lambda: replace(plain, unit="model"),
    ]
    for change in changes:
        with pytest.raises(ValueError, match="different units"):
            compare_leave_out({"one": plain, "two": change()})


def test_one_unit_has_no_standard_error() -> None:
    assert np.isnan(result([-1.0], labels="a").standard_error)
    assert np.isnan(result([-1.0, -2.0], labels="ab", families=np.zeros(2, dtype=int)).standard_error)


def test_relatives_count_together_in_standard_errors() -> None:
    """The error of a total over clusters, as statsmodels gives it for the mean (CR1 with one regressor)."""
    rng = np.random.default_rng(8)
    families = np.repeat(np.arange(6), [1, 2, 3, 4, 5, 6])
    elpd = -10 + rng.normal(size=6)[families] + rng.normal(size=21)
    found = result(elpd.tolist(), labels="abcdefghijklmnopqrstu", families=families).standard_error
    assert found > 1.5 * np.sqrt(21 * elpd.var(ddof=1))  # the shared part has the same sign within a family
    sums = np.array([(elpd - elpd.mean())[families == f].sum() for f in range(6)])
    assert found == pytest.approx(np.sqrt(6 * (sums**2).mean() * 6 / 5))
