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
