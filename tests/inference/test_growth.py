"""Futures with further models: conditional draws by brute force, no drift, known widths, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safetystats.inference.cut import cut_posterior
from safetystats.inference.growth import Futures, Known, _errors, _new_capability, _shared, futures, new_families
from safetystats.specs import CutPlan, FactorSpec, read_spec

FOUND = read_spec("two-level", "factor")
assert isinstance(FOUND, FactorSpec)
SPEC: FactorSpec = FOUND
N, DRAWS = 24, 600


def known(rho: tuple[float, ...] = (0.5,), error: float = 0.0, seed: int = 5, n: int = N) -> Known:
    """Return a class whose capability is known with this error variance, with the cut posterior of its scores."""
    rng = np.random.default_rng(seed)
    families = np.arange(n) % (n // 3)
    theta = np.sqrt(0.5) * rng.standard_normal(n // 3)[families] + np.sqrt(0.5) * rng.standard_normal(n)
    theta = (theta - theta.mean()) / theta.std()
    seen = (1 - error) * theta + np.sqrt(error * (1 - error)) * rng.standard_normal(n)
    draws = seen + np.sqrt(error) * rng.standard_normal((DRAWS, n))
    scores = np.array(rho) * theta[:, None] + np.sqrt(1 - np.array(rho) ** 2) * rng.standard_normal((n, len(rho)))
    scores = (scores - scores.mean(0)) / scores.std(0)
    found = cut_posterior(scores, draws, families, SPEC.priors, CutPlan(), rng.spawn(len(rho)))
    parts = {
        name: np.column_stack([getattr(each, name) for each in found])
        for name in ("rho", "total_sd", "icc", "intercept")
    }
    return Known(
        theta=draws, capability_icc=np.full(DRAWS, 0.5), scores=scores, noise=np.zeros_like(scores), families=families,
        **parts,
    )  # fmt: skip


def simulate(
    about: Known,
    further: tuple[int, ...],
    n_simulations: int,
    *,
    n_families: int | None = None,
    families_matter: bool = True,
    seeds: tuple[int, ...] = (1, 2),
) -> Futures:
    return futures(
        about, further, priors=SPEC.priors, icc_cells=24, limit=0.4, level=0.95, n_simulations=n_simulations,
        seeds=seeds, n_families=n_families, families_matter=families_matter,
    )  # fmt: skip


def test_what_families_share_is_drawn_given_their_members() -> None:
    """Against conditioning the multivariate normal of (a, members) by hand."""
    between, within = 0.4, 0.7
    values, families = np.array([0.3, 1.1, -0.4, 2.0]), np.array([0, 0, 0, 1])
    codes = np.array([0, 1, 2])
    rng = np.random.default_rng(1)
    drawn = np.array([_shared(values, families, codes, between, within, rng) for _ in range(40_000)])
    for code, members in ((0, values[:3]), (1, values[3:]), (2, values[:0])):
        k = len(members)
        covariance = between * np.ones((k, k)) + within * np.eye(k)
        weight = between * np.ones(k) @ np.linalg.inv(covariance) if k else np.zeros(0)
        mean, variance = weight @ members, between - between * weight.sum()
        # Four Monte Carlo errors of a mean and of a variance.
        assert drawn[:, code].mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / 40_000))
        assert drawn[:, code].var() == pytest.approx(variance, rel=4 * np.sqrt(2 / 40_000))


def test_families_of_further_models() -> None:
    rng, families = np.random.default_rng(2), np.array([0, 0, 0, 1, 1, 2])
    codes = new_families(10, None, families, rng)  # two models to a family at hand
    assert codes.tolist() == [3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert new_families(4, 3, families, rng).tolist() == [3, 4, 5, 3]
    assert set(new_families(50, 0, families, rng)) == {0, 1, 2}


def test_capability_of_a_new_model_is_known_as_well_as_that_of_an_old_one() -> None:
    about = known(error=0.2)
    errors, chosen, rng = _errors(about.theta), np.arange(0, DRAWS, 6), np.random.default_rng(3)
    codes = np.arange(8, 4008)
    true, drawn = _new_capability(about, 7, codes, errors, chosen, rng)
    assert true.std() == pytest.approx(1.0, abs=0.05)  # four errors of an sd over 4000 models
    assert drawn.std(axis=1).mean() == pytest.approx(1.0, abs=0.08)
    old = about.theta[chosen].var(axis=0).mean()
    assert drawn.var(axis=0).mean() == pytest.approx(old, rel=0.15)
    correlation = np.mean([np.corrcoef(true, each)[0, 1] for each in drawn])
    assert correlation == pytest.approx(1 - errors.own, abs=0.03)


@pytest.mark.parametrize("error", [0.0, 0.15])
def test_the_mean_of_the_posterior_stays_where_it_is(error: float) -> None:
    """Whatever more models show, one expects of them about what one knows; also where capability is uncertain."""
    about = known(error=error)
    found = simulate(about, (40,), 160)
    after = found.mean[:, 0, 0]
    monte_carlo = 4 * after.std() / np.sqrt(len(after))
    # 0.015: few draws behind a future, and the linear approximation of what the error of capability does.
    assert after.mean() == pytest.approx(about.rho.mean(), abs=monte_carlo + 0.015)
    distinct = found.distinct[:, 0, 0]
    expected = (np.abs(about.rho) < 0.4).mean()
    assert distinct.mean() == pytest.approx(expected, abs=4 * distinct.std() / np.sqrt(len(distinct)) + 0.03)


def test_without_dividing_by_the_reliability_the_mean_would_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    from safetystats.inference import growth

    about = known(rho=(0.8,), error=0.3)
    kept = simulate(about, (150,), 60).mean.mean()
    plain = growth._new_scores
    monkeypatch.setattr(growth, "_new_scores", lambda a, d, c, t, reliable, r: plain(a, d, c, t, 1.0, r))
    lowered = simulate(about, (150,), 60).mean.mean()
    assert lowered < kept - 0.05


def test_the_width_of_many_models_is_that_of_large_samples() -> None:
    """With capability known and no families the sd of rho is near (1 - rho^2) sqrt((1 - rho^2 / 2) / n).

    From the normal model given capability: beta has variance v / n and v has 2 v^2 / n, by the delta method.
    """
    ones, zeros = np.ones((DRAWS, 1)), np.zeros((DRAWS, 1))
    about = replace(
        known(n=30), rho=0.5 * ones, total_sd=ones, icc=zeros, intercept=zeros, capability_icc=np.zeros(DRAWS)
    )
    found = simulate(about, (1500,), 12, families_matter=False)
    sd = (1 - 0.25) * np.sqrt((1 - 0.125) / 1530)
    # 5 %: quantiles of 480 draws, over twelve futures.
    assert found.width.mean() == pytest.approx(2 * 1.96 * sd, rel=0.05)
    assert found.mean.mean() == pytest.approx(0.5, abs=0.03)
    assert (found.entangled > 0.95).all()


def test_more_models_narrow_the_interval_and_relatives_less_so() -> None:
    about = known()
    about = replace(about, icc=np.full((DRAWS, 1), 0.6))
    found = simulate(about, (5, 20, 80), 25)
    width = found.width.mean(axis=0)[:, 0]
    assert (np.diff(width) < 0).all()
    assert found.n_families.tolist() == [2, 7, 27]
    relatives = simulate(about, (80,), 25, n_families=2)
    assert relatives.n_families.tolist() == [2]
    assert relatives.width.mean() > width[-1]
    assert simulate(about, (80,), 2, n_families=0).n_families.tolist() == [0]


def test_a_benchmark_does_not_depend_on_its_neighbours() -> None:
    both = known((0.5, -0.3))
    one = replace(
        both, **{name: getattr(both, name)[:, :1] for name in ("rho", "total_sd", "icc", "intercept")},
        scores=both.scores[:, :1], noise=both.noise[:, :1],
    )  # fmt: skip
    together = simulate(both, (10, 20), 3, seeds=(1, 2, 3))
    alone = simulate(one, (10, 20), 3, seeds=(1, 2))
    np.testing.assert_array_equal(together.mean[..., 0], alone.mean[..., 0])
    assert not np.array_equal(together.mean[..., 0], together.mean[..., 1])


def test_missing_scores_and_sampling_error_are_carried_on() -> None:
    about = known((0.5, 0.2))
    scores, noise = about.scores.copy(), np.full_like(about.scores, 0.1)
    scores[3, 0] = np.nan
    found = simulate(replace(about, scores=scores, noise=noise), (10,), 2, seeds=(1, 2, 3))
    assert np.isfinite(found.mean).all()
    np.testing.assert_allclose(found.entangled + found.inverse + found.distinct, 1.0)
