"""The compiled density of a factor model: its gradient, its packed form, and what it does far out."""

from __future__ import annotations

import ctypes
import itertools
from dataclasses import replace

import numpy as np
import pytest
from factor_data import FloatArray, default_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from safetystats.inference.arrays import IntArray, Structure
from safetystats.inference.factor_kernel import Problem, log_density, sampled_density, unpacked
from safetystats.inference.integrated import n_free, packed, parameters_at, problem_of, start_of
from safetystats.inference.marginal import log_density as reference_density
from safetystats.inference.native import kept_point
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import BetaPrior, FactorPriors, LogNormalPrior, NormalPrior

STEP = 1e-5
SLOPE = 1e-6
"""Central differences against the gradient, relative to its largest element: the step leaves about 1e-9."""
ROUNDING = 1e-9


def random_problem(
    seed: int, *, families: bool = True, n_further: int = 2, n_missing: int = 3, priors: FactorPriors | None = None
) -> Problem:
    """Nine models of up to five families on four benchmarks, three of them anchors."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(9, 4))
    values.flat[rng.choice(36, n_missing, replace=False)] = np.nan
    data = FactorData(values=values, families=rng.integers(0, 5, size=9), noise=np.zeros((9, 4)))
    structure = Structure(
        anchors=np.array([True, True, True, False]), pattern=rng.uniform(size=(4, n_further)) < 0.6, families=families
    )
    return problem_of(data, priors or default_spec().priors, structure)


def evaluated(point: FloatArray, problem: Problem) -> tuple[float, FloatArray]:
    slope = np.full(point.shape, np.nan)
    return log_density(point, problem, slope), slope


@given(seed=st.integers(0, 10_000), families=st.booleans(), n_further=st.integers(0, 3), n_missing=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_gradient_is_that_of_the_density(seed: int, families: bool, n_further: int, n_missing: int) -> None:
    problem = random_problem(seed, families=families, n_further=n_further, n_missing=n_missing)
    rng = np.random.default_rng([seed, 1])
    point = rng.normal(size=n_free(problem))
    if abs(np.tanh(point[:3] / 2).sum()) < 1e-3:
        point[0] += 1.0  # the prior of the loadings turns where the anchors' sum is zero
    _, slope = evaluated(point, problem)
    differences = []
    for i in range(len(point)):
        step = STEP * (np.arange(len(point)) == i)
        differences.append((evaluated(point + step, problem)[0] - evaluated(point - step, problem)[0]) / (2 * STEP))
    np.testing.assert_allclose(slope, differences, rtol=0, atol=SLOPE * max(1.0, np.abs(slope).max()))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_the_order_of_models_and_the_names_of_families_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, families = rng.normal(size=(9, 4)), rng.integers(0, 5, size=9)
    structure = Structure(anchors=np.ones(4, dtype=bool), pattern=np.zeros((4, 0), dtype=bool))
    order, names = rng.permutation(9), rng.permutation(5)
    data = FactorData(values=values, families=families, noise=np.zeros((9, 4)))
    other = FactorData(values=values[order], families=names[families[order]], noise=np.zeros((9, 4)))
    first, second = (problem_of(one, default_spec().priors, structure) for one in (data, other))
    point = rng.normal(size=n_free(first))
    found, slope = evaluated(point, first)
    again, other_slope = evaluated(point, second)
    assert again == pytest.approx(found, abs=ROUNDING)
    np.testing.assert_allclose(other_slope, slope, rtol=0, atol=ROUNDING * max(1.0, np.abs(slope).max()))


@pytest.mark.parametrize("n_further", [0, 2])
@pytest.mark.parametrize("families", [True, False])
def test_a_packed_problem_is_the_same_problem(families: bool, n_further: int) -> None:
    """Packed, unpacked, and called by its address as the sampler calls it."""
    problem = random_problem(4, families=families, n_further=n_further)
    flat = packed(problem)
    back = unpacked(flat)
    for name, one in zip(Problem._fields, problem, strict=True):
        np.testing.assert_array_equal(getattr(back, name), one, err_msg=name)
    point = np.random.default_rng(5).normal(size=n_free(problem))
    expected, slope = evaluated(point, problem)
    value, got, kept = np.empty(1), np.empty_like(point), np.empty_like(point)
    pointers = [ctypes.cast(a.ctypes.data, ctypes.POINTER(ctypes.c_double)) for a in (point, got, value, kept)]
    data = ctypes.c_void_p(flat.ctypes.data)
    assert sampled_density.ctypes(len(point), *pointers[:3], data) == 0
    assert value[0] == expected
    np.testing.assert_array_equal(got, slope)
    assert kept_point.ctypes(len(point), len(point), pointers[0], pointers[3], data) == 0
    np.testing.assert_array_equal(kept, point)
    assert sampled_density.ctypes(len(point) - 1, *pointers[:3], data) != 0
    point[len(problem.anchors)] = 800.0  # log of a standard deviation that no number holds
    assert sampled_density.ctypes(len(point), *pointers[:3], data) != 0


def test_density_and_gradient_are_finite_far_out() -> None:
    problem = random_problem(6)
    k, start = len(problem.anchors), 3 * np.random.default_rng(3).normal(size=n_free(problem))
    for loading, log_sd, icc, omega in itertools.product((-25.0, 25.0), (-8.0, 8.0), (-25.0, 25.0), (-25.0, 25.0)):
        point = start.copy()
        point[:k], point[k : 2 * k], point[2 * k : 3 * k] = loading, log_sd, 10.0
        point[3 * k : 4 * k], point[4 * k] = icc, omega
        value, slope = evaluated(point, problem)
        assert np.isfinite(value), (loading, log_sd, icc, omega)
        assert np.isfinite(slope).all(), (loading, log_sd, icc, omega)


def test_starting_points_lie_around_the_prior_means() -> None:
    """Priors with a mean of its own for each kind of parameter."""
    own = default_spec().priors.model_copy(
        update={
            "total_sd": LogNormalPrior(family="lognormal", mu=0.7, sigma=0.3),
            "intercept": NormalPrior(family="normal", mu=-1.5, sigma=1.0),
            "capability_icc": BetaPrior(family="beta", alpha=5.0, beta=2.0),
            "further_loading": BetaPrior(family="beta", alpha=3.0, beta=9.0),
        }
    )
    problem = random_problem(7, priors=own)
    points = np.array([start_of(problem, np.random.default_rng(i)) for i in range(400)])
    assert np.ptp(points, axis=0).max() < 2.0
    centre, k = (points.min(axis=0) + points.max(axis=0)) / 2, len(problem.anchors)
    expected = np.zeros(n_free(problem))
    expected[: k - 1], expected[k - 1] = np.log(6.0), 0.0
    expected[k : 2 * k], expected[2 * k : 3 * k] = 0.7, -1.5
    expected[3 * k : 4 * k], expected[4 * k] = np.log(1 / 3), np.log(5 / 2)
    expected[4 * k + 1 : problem.first_cell] = np.log(1 / 3)
    np.testing.assert_allclose(centre, expected, rtol=0, atol=0.05)
    assert not (points[0] == points[1]).any()


@pytest.mark.parametrize("families", [np.arange(9), np.zeros(9, dtype=np.int64), np.array([0, 0, 2, 2, 2, 5, 5, 5, 5])])
def test_families_of_one_one_family_and_codes_with_gaps(families: IntArray) -> None:
    """Against the density that eliminates each model in turn; a model without a score and one with a single one."""
    values = np.random.default_rng(8).normal(size=(9, 4))
    values[2], values[4, 1:] = np.nan, np.nan
    structure = Structure(anchors=np.ones(4, dtype=bool), pattern=np.zeros((4, 0), dtype=bool))
    noise, priors = np.zeros((9, 4)), default_spec().priors
    problem = problem_of(FactorData(values=values, families=families, noise=noise), priors, structure)
    point = np.random.default_rng(9).normal(size=n_free(problem))
    point[:4] = np.abs(point[:4])
    found = {name: each[None] for name, each in parameters_at(point, problem).items()}
    whole = values.copy()
    whole[~np.isfinite(values)] = found.pop("missing")[0]
    draws, data = FactorDraws(**found), FactorData(values=whole, families=families, noise=noise)
    # Densities of logits and logarithms: the Jacobian of each; a prior of a correlation is one of (rho + 1) / 2.
    odds = np.concatenate([point[:4], point[12:17]])
    jacobian = -np.logaddexp(0, odds).sum() - np.logaddexp(0, -odds).sum() + point[4:8].sum() + 4 * np.log(2)
    expected = float(reference_density(draws, data, priors, structure.anchors)[0]) + jacobian
    assert evaluated(point, problem)[0] == pytest.approx(expected, abs=1e-8)


def test_sampling_error_is_refused() -> None:
    structure = Structure(anchors=np.ones(2, dtype=bool), pattern=np.zeros((2, 0), dtype=bool))
    data = FactorData(values=np.zeros((3, 2)), families=np.arange(3), noise=np.zeros((3, 2)))
    problem_of(data, default_spec().priors, structure)
    with pytest.raises(ValueError, match="no known sampling error"):
        problem_of(replace(data, noise=np.ones((3, 2))), default_spec().priors, structure)
