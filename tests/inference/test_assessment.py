"""One column against stored draws: the cut posterior of a study, and what a single score does to it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from safetystats.inference.assessment import assess_column, numbers_without_each, without_each
from safetystats.inference.control_variate import NUMBERS, moved_numbers, numbers_of
from safetystats.inference.cut import MIN_MODELS, cut_posterior
from safetystats.inference.streams import seed_for
from safetystats.specs import FactorSpec, read_spec

FAMILIES = np.repeat(np.arange(10), 3)
N = len(FAMILIES)


def spec() -> FactorSpec:
    found = read_spec("two-level", "factor")
    assert isinstance(found, FactorSpec)
    return found


def data(rho: float = 0.6, n_draws: int = 1000, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a z-scored column and draws of a capability that is nearly known."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=N)
    column = rho * theta + np.sqrt(1 - rho**2) * rng.normal(size=N)
    column = (column - column.mean()) / column.std()
    return column, theta + 0.05 * rng.normal(size=(n_draws, N))


def test_as_many_draws_as_a_study_has_give_the_study_s_own() -> None:
    column, theta = data(n_draws=4000)
    found = assess_column(column, theta, FAMILIES, spec(), 7, "safety", "base", "mine")
    rng = np.random.default_rng(seed_for(7, "safety", "base", "mine"))
    (expected,) = cut_posterior(column[:, None], theta, FAMILIES, spec().priors, spec().cut, [rng])
    assert found is not None
    assert expected is not None
    assert found.each == 1
    np.testing.assert_array_equal(found.draws.rho, expected.rho)


def test_fewer_draws_of_capability_give_the_same_posterior() -> None:
    column, theta = data(n_draws=4000)
    whole = assess_column(column, theta, FAMILIES, spec(), 7, "a")
    fewer = assess_column(column, theta[::4], FAMILIES, spec(), 7, "b")
    assert whole is not None
    assert fewer is not None
    assert (fewer.each, len(fewer.draws.rho)) == (4, 4000)
    # Standard error of a mean of 4000 draws, the kept ones of one theta being correlated a little: five of them.
    error = 5 * whole.draws.rho.std() / np.sqrt(len(whole.draws.rho) / 2)
    assert abs(fewer.draws.rho.mean() - whole.draws.rho.mean()) < error
    assert fewer.draws.rho.std() == pytest.approx(whole.draws.rho.std(), rel=0.1)


def test_with_many_models_and_known_capability_it_is_the_textbook_s() -> None:
    # Families of one, so that kappa is not identified but theta is: r and its Fisher-z error.
    rng = np.random.default_rng(1)
    theta, n = rng.normal(size=400), 400
    column = 0.5 * theta + np.sqrt(0.75) * rng.normal(size=n)
    column = (column - column.mean()) / column.std()
    found = assess_column(column, np.tile(theta, (1000, 1)), np.arange(n), spec(), 1, "x")
    assert found is not None
    r = stats.pearsonr(column, theta).statistic
    assert np.arctanh(found.draws.rho).std() == pytest.approx(1 / np.sqrt(n - 3), rel=0.15)
    # The population correlation regresses on a theta that is N(0, 1) there, not on the sample's sd.
    slope = r / theta.std()
    assert found.draws.rho.mean() == pytest.approx(slope / np.sqrt(slope**2 + 1 - r**2), abs=0.02)


def test_too_few_scores_have_no_posterior() -> None:
    column, theta = data()
    column[MIN_MODELS - 1 :] = np.nan
    assert assess_column(column, theta, FAMILIES, spec(), 7, "x") is None
    with pytest.raises(ValueError, match="at least"):
        without_each(column, theta, FAMILIES, spec(), 7, "x")


def test_without_a_score_is_without_the_model() -> None:
    column, theta = data(n_draws=250)
    column[4] = np.nan
    found = without_each(column, theta, FAMILIES, spec(), 7, "x")
    assert len(found.without) == N
    assert found.without[4] is None
    kept = np.delete(np.arange(N), 9)
    again = without_each(column[kept], theta[:, kept], FAMILIES[kept], spec(), 7, "x").whole
    assert found.without[9] is not None
    np.testing.assert_array_equal(again.rho, found.without[9].rho)


def test_an_outlier_weighs_most() -> None:
    column, theta = data(rho=0.8)
    column[5] = -np.sign(theta[0, 5]) * 4
    found = without_each(column, theta, FAMILIES, spec(), 7, "x")
    numbers = numbers_without_each(found, found.whole.rho, 0.4, 0.95)
    change = numbers[:, 0] - found.whole.rho.mean()
    assert int(np.argmax(np.abs(change))) == 5
    assert change[5] > 0


def test_what_is_compared_is_what_is_stated() -> None:
    column, theta = data(n_draws=4000)
    column[4] = np.nan
    stated = assess_column(column, theta, FAMILIES, spec(), 7, "stated")
    assert stated is not None
    found = without_each(column, theta, FAMILIES, spec(), 7, "x")
    numbers = numbers_without_each(found, stated.draws.rho, 0.4, 0.95)
    assert numbers.shape == (N, len(NUMBERS))
    assert np.isnan(numbers[4]).all()
    whole, own = numbers_of(found.whole.rho, 0.4, 0.95), numbers_of(stated.draws.rho, 0.4, 0.95)
    assert whole[3] != own[3]  # or nothing would be tested
    less = found.without[9]
    assert less is not None
    moved = stats.norm.cdf(
        stats.norm.ppf(own[3]) + stats.norm.ppf(numbers_of(less.rho, 0.4, 0.95)[3]) - stats.norm.ppf(whole[3])
    )
    assert numbers[9, 3] == pytest.approx(moved)


def test_nothing_moved_is_what_is_stated() -> None:
    rng = np.random.default_rng(2)
    stated, whole = (numbers_of(rng.uniform(0.2, 0.9, size=size), 0.4, 0.95) for size in (4000, 100))
    np.testing.assert_allclose(moved_numbers(stated, whole, whole[None], 100)[0][:4], stated[:4], atol=1e-12)
    # All draws on one side: half a draw from the end, not at it.
    ends = numbers_of(np.full(100, 0.9), 0.4, 0.95)
    assert moved_numbers(ends, ends, ends[None], 100)[0, 3] == pytest.approx(1 - 0.5 / 100)
