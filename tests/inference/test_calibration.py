"""Simulation-based calibration at the shape of helm-classic's chat class (24 models, 12 families, gaps).

Parameters are drawn from the priors, data from the parameters, and the rank of each truth among its posterior draws
must be uniform (Talts et al. 2018). The capability posterior and the joint posterior of the safety benchmark
(weighted, or sampled anew where the weights fail) are Bayesian posteriors: their ranks must pass. The cut posterior
is not one: capability is drawn without looking at the safety scores, which pulls rho towards zero as errors in a
regressor do. How much is measured here and bounded (loadings drawn from the prior are weak, so that it is more than
on real tables).
"""

from __future__ import annotations

import numpy as np
import pytest
from factor_data import FloatArray, default_spec
from scipy import stats

from safetystats.inference.arrays import FactorSize, factor_arrays
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import _safety_groups
from safetystats.inference.sampling import compile_factor, draw_posterior
from safetystats.specs import SamplingPlan

SIMULATIONS, BINS = 50, 5
N, CAPABILITY, SEED = 24, 8, 2018
SHAPE = FactorSize(n_models=N, n_benchmarks=CAPABILITY + 1, n_families=12)
SIZES = [6, 4, 3, 2, 2, 1, 1, 1, 1, 1, 1, 1]
FEW = 200
"""Effective weighted draws, of 2000, below which the joint posterior is sampled anew, as in a study."""
UNLIKELY = 0.005
"""Smallest p-value accepted of four chi-square tests; a right program fails in one of fifty seeds."""


def simulate(rng: np.random.Generator, families: np.ndarray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return scores with gaps, shape (24, 9), and the true rho and kappa; the last column is the safety benchmark."""
    k = CAPABILITY + 1
    rho, s = 2 * rng.beta(2, 2, size=k) - 1, rng.lognormal(0, 0.5, size=k)
    kappa, alpha = rng.beta(1, 3, size=k), rng.normal(size=k)
    theta = rng.normal(size=N)
    if rho[:CAPABILITY].sum() < 0:
        rho, theta = -rho, -theta
    unique = s * np.sqrt(1 - rho**2)
    u = unique * np.sqrt(kappa) * rng.normal(size=(len(SIZES), k))[families]
    y = alpha + s * rho * theta[:, None] + u + unique * np.sqrt(1 - kappa) * rng.normal(size=(N, k))
    gaps = rng.random(y.shape) < 0.05
    gaps[:, 0] = False
    return np.where(gaps, np.nan, y), rho, kappa


@pytest.mark.slow
def test_ranks_are_uniform() -> None:
    families = np.repeat(np.arange(len(SIZES)), SIZES)
    spec = default_spec()
    compiled = compile_factor(spec.priors, SHAPE)
    plan = SamplingPlan(chains=2, draws=1000, tune=600, target_accept=0.9)
    anchors = np.ones(CAPABILITY, dtype=bool)
    names = ("rho", "kappa", "safety rho, joint", "safety kappa, cut", "safety rho, cut")
    ranks: dict[str, list[float]] = {name: [] for name in names}
    pull, refits = [], 0
    for i in range(SIMULATIONS):
        rng = np.random.default_rng([SEED, i])
        y, rho, kappa = simulate(rng, families)
        arrays = factor_arrays(y[:, :CAPABILITY], families, anchors, SHAPE)
        draws = draw_posterior(compiled, arrays, plan, seed=int(rng.integers(2**62)))["posterior"].to_dataset()
        theta = draws["theta"].to_numpy().reshape(-1, N)
        cut = cut_posterior(y[:, CAPABILITY:], theta, families, spec.priors, spec.cut, [rng])[0]
        assert cut is not None
        joint = _safety_groups([("s", cut)], (2, 1000))["joint"]
        weight = np.exp(joint["log_weight"].to_numpy().ravel().astype(float))
        joint_rho = cut.rho
        if not (joint["pareto_k"][0] <= spec.gates.pareto_k and joint["effective"][0] >= FEW):
            both = factor_arrays(y, families, np.append(anchors, False), SHAPE)
            again = draw_posterior(compiled, both, plan, seed=int(rng.integers(2**62)))["posterior"]["rho"]
            joint_rho, weight = again.to_numpy()[..., -1].ravel(), np.ones(joint_rho.shape)
            refits += 1
        weight /= weight.sum()
        b = i % CAPABILITY
        ranks["rho"].append(float((draws["rho"].to_numpy()[..., b] < rho[b]).mean()))
        ranks["kappa"].append(float((draws["icc"].to_numpy()[..., b] < kappa[b]).mean()))
        ranks["safety rho, joint"].append(float(weight @ (joint_rho < rho[-1])))
        jitter = rng.uniform(-0.5, 0.5, size=cut.icc.size) / spec.cut.icc_cells
        ranks["safety kappa, cut"].append(float((cut.icc + jitter < kappa[-1]).mean()))
        ranks["safety rho, cut"].append(float((cut.rho < rho[-1]).mean()))
        pull.append(float(np.sign(rho[-1]) * (weight @ joint_rho - cut.rho.mean())))
    found = {}
    for name, values in ranks.items():
        counts = np.bincount(np.minimum((np.array(values) * BINS).astype(int), BINS - 1), minlength=BINS)
        found[name] = (counts.tolist(), float(stats.chisquare(counts).pvalue))
    message = f"{found}; cut is nearer to zero than joint by {np.mean(pull):.3f} on average; {refits} refits"
    assert all(p > UNLIKELY for name, (_, p) in found.items() if name != "safety rho, cut"), message
    assert -0.01 < np.mean(pull) < 0.1, message
    assert all(0 < np.mean(values) < 1 for values in ranks.values()), message
