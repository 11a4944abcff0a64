"""Line against curve: closed forms against explicit matrices, what must not change them, and planted bends."""

from __future__ import annotations

import numpy as np
import pytest
from factor_data import FloatArray, default_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from safetystats.inference.bending import (
    ICC_CELLS,
    MIN_MODELS,
    Bending,
    bending,
    explained,
    heights,
    shape_grid,
    slope_nodes,
    slopes,
)
from safetystats.inference.cut import icc_grid

PRIORS = default_spec().priors


def one(y: FloatArray, theta: FloatArray, families: np.ndarray, *, seed: int = 3, shared: bool = True) -> Bending:
    rng = [np.random.default_rng(seed)]
    found = bending(y[:, None], np.atleast_2d(theta), families, PRIORS, rng, families_matter=shared)[0]
    assert found is not None
    return found


def made(n: int, seed: int, draws: int = 3) -> tuple[FloatArray, FloatArray, np.ndarray]:
    rng = np.random.default_rng(seed)
    families = np.sort(rng.integers(0, max(2, n // 3), size=n))
    theta = rng.normal(size=n) + 0.2 * rng.normal(size=(draws, n))
    y = 0.6 * theta[0] + 0.4 * rng.normal(size=n) + 0.3 * rng.normal(size=n)[families]
    return y, theta, families


def log_density(y: FloatArray, theta: FloatArray, families: np.ndarray, curve: bool) -> float:
    """Return log p(y | theta) from dense matrices; the basis is standardised over the models that theta is given for.

    Without the intercept: y is rotated to n - 1 contrasts, whose density is a multivariate t.
    """
    icc, log_mass = icc_grid(PRIORS, ICC_CELLS)
    x = theta[0]
    keep = np.isfinite(y)
    terms = []
    grid = shape_grid() if curve else np.array([[0.0, 0.0]])
    for k, c in grid:
        h = special.expit(k * (x - c)) if k else x
        g = (h - h.mean()) / h.std()
        for kappa, mass in zip(icc, log_mass, strict=True):
            same = families[:, None] == families[None, :]
            within = np.where(same, kappa, 0.0) + (1 - kappa) * np.eye(len(y))
            for b in slope_nodes():
                v = (within + b**2 * np.outer(g, g))[np.ix_(keep, keep)]
                n = int(keep.sum())
                contrasts = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0][:, 1:].T
                w, z = contrasts @ v @ contrasts.T, contrasts @ y[keep]
                half = (n - 1) / 2
                value = special.gammaln(half) - half * np.log(np.pi) - 0.5 * np.linalg.slogdet(w)[1]
                value -= half * np.log(z @ np.linalg.solve(w, z)) + 0.5 * np.log(n)
                terms.append(value + mass - np.log(len(grid) * len(slope_nodes())))
    return float(special.logsumexp(terms))


@pytest.mark.parametrize("curve", [False, True])
def test_leave_one_out_densities_are_those_of_explicit_matrices(curve: bool) -> None:
    y, theta, families = made(10, 5, draws=1)
    found = one(y, theta, families)
    x = (theta - theta.mean()) / theta.std()
    whole = log_density(y, x, families, curve)
    for row, value in enumerate(found.elpd_curve if curve else found.elpd_line):
        without = y.copy()
        without[row] = np.nan
        assert value == pytest.approx(whole - log_density(without, x, families, curve), abs=1e-8)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50.0), st.floats(-20.0, 20.0), st.sampled_from([-1.0, 1.0]))
def test_units_of_the_scores_only_shift_the_densities(seed: int, unit: float, origin: float, sign: float) -> None:
    y, theta, families = made(12, seed)
    plain, moved = one(y, theta, families), one(origin + sign * unit * y, theta, families)
    for kind in ("elpd_line", "elpd_curve"):
        # Least squares of scores of size 20 whose residuals are of size 0.1: eight digits are left.
        assert getattr(moved, kind) + np.log(unit) == pytest.approx(getattr(plain, kind), abs=1e-5)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_the_order_of_models_and_the_names_of_families_do_not_matter(seed: int) -> None:
    y, theta, families = made(12, seed)
    order = np.random.default_rng(seed).permutation(12)
    plain, other = one(y, theta, families), one(y[order], theta[:, order], 7 - families[order])
    assert other.elpd_curve == pytest.approx(plain.elpd_curve[order], abs=1e-9)
    assert other.elpd_line == pytest.approx(plain.elpd_line[order], abs=1e-9)


def test_the_line_is_bayesian_least_squares_where_models_are_independent() -> None:
    """With capability known and no families, slope and explained variance are near those of scipy."""
    rng = np.random.default_rng(1)
    theta = rng.normal(size=400)
    y = 2.0 + 3.0 * theta + rng.normal(size=400)
    found = bending(
        y[:, None], theta[None], np.arange(400), PRIORS, [np.random.default_rng(2)], families_matter=False, each=4000
    )[0]
    assert found is not None
    least = stats.linregress(theta, y)
    drawn = slopes(found.line, np.zeros(1))[:, 0]
    # Four Monte Carlo errors of 4000 draws, and the prior, which weighs as much as one model of 400.
    assert drawn.mean() == pytest.approx(least.slope, abs=4 * least.stderr / np.sqrt(4000) + least.slope / 400)
    assert drawn.std() == pytest.approx(least.stderr, rel=0.08)
    assert explained(found.line).mean() == pytest.approx(least.rvalue**2, abs=0.005)
    at = np.array([-1.0, 1.0])
    assert heights(found.line, at).mean(axis=0) == pytest.approx(least.intercept + least.slope * at, abs=0.05)


def test_slopes_are_the_derivatives_of_the_heights() -> None:
    y, theta, families = made(15, 3)
    curve = one(y, theta, families).curve
    at, step = np.linspace(-2, 2, 9), 1e-5
    numeric = (heights(curve, at + step) - heights(curve, at - step)) / (2 * step)
    assert slopes(curve, at) == pytest.approx(numeric, abs=1e-6 * np.abs(numeric).max() + 1e-8)


def test_correlations_are_about_uniform_before_the_data() -> None:
    b = slope_nodes(2000)
    z = stats.norm.ppf((np.arange(500) + 0.5) / 500)
    t = (b[:, None] * z).ravel()
    rho = t / np.sqrt(1 + t**2)
    assert np.quantile(rho, [0.1, 0.25, 0.5, 0.75, 0.9]) == pytest.approx([-0.8, -0.5, 0.0, 0.5, 0.8], abs=0.01)


def test_too_few_or_equal_scores_have_no_curve() -> None:
    theta, families = np.random.default_rng(1).normal(size=(2, 10)), np.arange(10)
    few, flat = np.full(10, np.nan), np.ones(10)
    few[: MIN_MODELS - 1] = np.arange(MIN_MODELS - 1)
    rngs = [np.random.default_rng(i) for i in range(2)]
    assert bending(np.column_stack([few, flat]), theta, families, PRIORS, rngs) == [None, None]


def test_missing_scores_are_as_models_that_are_not_there() -> None:
    y, theta, families = made(14, 8)
    gap = y.copy()
    gap[[2, 9]] = np.nan
    keep = np.isfinite(gap)
    with_gap, without = one(gap, theta, families), one(y[keep], theta[:, keep], families[keep])
    assert with_gap.elpd_curve == pytest.approx(without.elpd_curve, abs=1e-10)
    assert with_gap.seen.tolist() == keep.tolist()


def test_a_planted_ceiling_is_found_and_a_line_is_not_called_bent() -> None:
    """Forty models: a ceiling over the upper half predicts better by far; straight relations do not, 8 of 8 times."""
    found = {"bent": [], "straight": []}  # type: dict[str, list[float]]
    for seed in range(8):
        rng = np.random.default_rng([17, seed])
        theta = rng.normal(size=40)
        draws = theta + 0.1 * rng.normal(size=(8, 40))
        families = np.arange(40) // 3
        noise = 0.2 * rng.normal(size=40)
        for kind, y in (("bent", np.minimum(theta, 0.0) + noise), ("straight", 0.5 * theta + noise)):
            result = one(y, draws, families)
            found[kind].append(float((result.elpd_curve - result.elpd_line).sum()))
    assert min(found["bent"]) > 4
    assert max(found["straight"]) < 4
