"""Simulation-based calibration at the shape of ren2024's base class: 27 models, 9 families, 12 benchmarks and one more.

The short version of `benchmarks/calibration.py`, which has all specs, both tables and ten times the simulations.
The cut posterior of a safety benchmark is not a posterior of the joint model: capability is drawn without looking at
its scores, which pulls rho towards zero as errors in a regressor do. How far is bounded here; its ranks are not tested.
"""

from __future__ import annotations

import numpy as np
import pytest
from factor_data import FloatArray, default_spec

from safetystats.inference.arrays import Structure
from safetystats.inference.calibration import ecdf_envelope, rank_statistic, simulate_data
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import joint_weights
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.sampling import draw_posterior
from safetystats.specs import SamplingPlan

SIMULATIONS, SEED, CAPABILITY = 50, 2018, 12
FAMILY_SIZES = (8, 3, 3, 3, 3, 2, 2, 2, 1)
FAMILIES = np.repeat(np.arange(len(FAMILY_SIZES)), FAMILY_SIZES)
ENVELOPE = 0.999
"""Of every envelope; a right program fails in about one of a hundred seeds."""
FEW = 50
"""Effective weighted draws below which the joint posterior is not looked at."""
PLAN = SamplingPlan(chains=2, draws=100, tune=150, target_accept=0.8)


@pytest.fixture(scope="module")
def ranks() -> tuple[dict[str, FloatArray], FloatArray]:
    """Return normalised ranks, one per simulation, and how much nearer to zero the cut's mean is than the joint's."""
    spec, k = default_spec(), CAPABILITY
    anchors = np.arange(k + 1) < k
    both = Structure(anchors=anchors, pattern=np.zeros((k + 1, 0), dtype=bool))
    inner = Structure(anchors=anchors[:k], pattern=np.zeros((k, 0), dtype=bool))
    blank = np.zeros((len(FAMILIES), k + 1))
    found: dict[str, list[float]] = {}
    pull = []
    for i in range(SIMULATIONS):
        rng = np.random.default_rng([SEED, i])
        made = simulate_data(spec.priors, both, FactorData(values=blank, families=FAMILIES, noise=blank), rng)
        truth, y, b = made.truth, made.data.values, i % k
        data = FactorData(values=y[:, :k], families=FAMILIES, noise=blank[:, :k])
        tree = draw_posterior(None, data, spec.priors, inner, PLAN, seed=int(rng.integers(2**62)), cores=1)
        posterior = tree["posterior"].to_dataset()
        draws = draws_of(posterior)
        theta = posterior["theta"].to_numpy().reshape(draws.n_draws, -1)
        known = np.repeat(made.theta[None], 99, axis=0)
        exact = cut_posterior(y[:, k:], known, FAMILIES, spec.priors, spec.cut, [rng])[0]
        cut = cut_posterior(y[:, k:], theta, FAMILIES, spec.priors, spec.cut, [rng])[0]
        assert exact is not None
        assert cut is not None
        weight = np.exp(joint_weights(cut.log_marginal, (PLAN.chains, PLAN.draws))[0])
        weight /= weight.sum()
        row = {
            "rho": rank_statistic(truth.rho[0, b], draws.rho[:, b], rng),
            "kappa": rank_statistic(truth.icc[0, b], draws.icc[:, b], rng),
            "total sd": rank_statistic(truth.total_sd[0, b], draws.total_sd[:, b], rng),
            "omega": rank_statistic(truth.capability_icc[0], draws.capability_icc, rng),
            "theta": rank_statistic(made.theta[i % len(FAMILIES)], theta[:, i % len(FAMILIES)], rng),
            "safety rho, capability known": rank_statistic(truth.rho[0, k], exact.rho, rng),
            "safety kappa, capability known": rank_statistic(truth.icc[0, k], exact.icc, rng),
        }
        if 1 / (weight**2).sum() >= FEW:
            row["safety rho, joint"] = rank_statistic(truth.rho[0, k], cut.rho, rng, weights=weight)
            pull.append(np.sign(truth.rho[0, k]) * (weight @ cut.rho - cut.rho.mean()))
        for name, value in row.items():
            found.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}, np.array(pull)


def test_ranks_are_uniform(ranks: tuple[dict[str, FloatArray], FloatArray]) -> None:
    outside = {
        name: np.sort(values).round(2).tolist()
        for name, values in ranks[0].items()
        if name != "safety rho, joint" and not ecdf_envelope(len(values), ENVELOPE).holds(values)
    }
    assert not outside


def test_cut_is_pulled_towards_zero_but_not_far(ranks: tuple[dict[str, FloatArray], FloatArray]) -> None:
    pull = ranks[1]
    assert len(pull) > SIMULATIONS // 2
    assert -0.01 < pull.mean() < 0.05, pull.mean()


def test_rank_statistic_of_draws_and_of_weighted_draws() -> None:
    rng = np.random.default_rng(1)
    draws = np.arange(200.0)
    assert rank_statistic(np.array(-1.0), draws, rng) < 0.01
    assert rank_statistic(np.array(500.0), draws, rng) > 0.99
    weights = np.where(draws < 100, 0.0, 0.01)
    assert abs(rank_statistic(np.array(150.0), draws, rng, weights=weights) - 0.5) < 0.03
    several = rank_statistic(np.array([-1.0, 100.0, 500.0]), np.repeat(draws[:, None], 3, axis=1), rng)
    assert several.shape == (3,)
    assert (np.diff(several) > 0.4).all()


def test_ties_are_broken_at_random() -> None:
    rng = np.random.default_rng(2)
    found = [float(rank_statistic(np.array(0.0), np.zeros(99), rng)) for _ in range(50)]
    assert ecdf_envelope(50, 0.999).holds(np.array(found))


@pytest.mark.parametrize("n", [20, 50])
def test_envelope_holds_as_often_as_it_says(n: int) -> None:
    envelope = ecdf_envelope(n, 0.9)
    inside = np.mean([envelope.holds(u) for u in np.random.default_rng(3).random((4000, n))])
    assert abs(inside - 0.9) < 0.03  # counts are discrete, so that 0.9 is not reached exactly
    assert not envelope.holds(np.random.default_rng(4).beta(3, 3, size=n) ** 2)
