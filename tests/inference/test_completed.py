"""Missing cells as variables of a graph without capability: density, indices, and the same posterior as the others."""

from __future__ import annotations

import arviz_stats as az
import numpy as np
import pymc as pm
import pytest
from factor_data import SAMPLED, FloatArray, default_spec, quick_spec, small_table
from scipy import special

from safetystats.inference.arrays import FactorSize, GraphKind, Structure, completed_data, prior_data
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.factor import factor_graph
from safetystats.inference.marginal import family_log_likelihood
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.inference.predictive import prior_draws
from safetystats.inference.problems import data_of, kind_for, structure_of
from safetystats.inference.sampling import compile_factor, draw_posterior

ROUNDING = 1e-8
"""Log densities of the order of 1e2, both routes in double precision."""
Z_LIMIT = 4.5
"""Monte Carlo errors between two sets of draws: about fifty comparisons exceed this by chance once in 3000 runs."""
KIND = GraphKind(evaluator="completed", size=FactorSize(n_models=11, n_benchmarks=6, n_families=5, n_missing=5))
FAMILIES = np.array([0, 0, 0, 0, 1, 1, 2, 2, 3])
PLAIN = Structure(anchors=np.array([True, True, True, False]), pattern=np.zeros((4, 0), dtype=bool))


def gappy(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return nine models on four benchmarks, whole and with three cells missing."""
    whole = rng.normal(size=(9, 4))
    gaps = whole.copy()
    gaps[1, 0] = gaps[5, 2] = gaps[8, 3] = np.nan
    return whole, gaps


def point_of(draws: FactorDraws, row: int, missing: FloatArray) -> dict[str, FloatArray]:
    def padded(values: FloatArray, fill: float) -> FloatArray:
        return np.concatenate([values[row], np.full(2, fill)])

    return {
        "loading_unit_logodds__": special.logit((padded(draws.rho, 0.3) + 1) / 2),
        "total_sd_log__": np.log(padded(draws.total_sd, 1.2)),
        "icc_logodds__": special.logit(padded(draws.icc, 0.4)),
        "capability_icc_logodds__": special.logit(draws.capability_icc[row]),
        "intercept": padded(draws.intercept, 0.1),
        "missing": missing,
    }


def test_density_is_that_of_the_completed_data_and_flat_in_no_cell() -> None:
    rng = np.random.default_rng(31)
    priors = default_spec().priors
    whole, gaps = gappy(rng)
    draws = prior_draws(priors, 4, PLAIN.anchors, 4, rng)
    graph = factor_graph(KIND)
    with graph:
        pm.set_data(prior_data(priors, PLAIN.anchors, KIND.size) | completed_data(gaps, FAMILIES, PLAIN, KIND))
    likelihood = graph.compile_fn(graph.logp(vars=[graph["log_likelihood"]], jacobian=False))
    everything = graph.compile_fn(graph.logp(jacobian=False))
    noise = np.zeros_like(whole)
    for row in range(4):
        for cells in (np.array([whole[1, 0], whole[5, 2], whole[8, 3]]), np.array([2.0, -1.0, 0.5])):
            filled = gaps.copy()
            filled[~np.isfinite(gaps)] = cells
            expected = family_log_likelihood(draws, FactorData(values=filled, families=FAMILIES, noise=noise))[
                row
            ].sum()
            point = point_of(draws, row, np.append(cells, [0.4, -0.3]))
            assert float(likelihood(point)) == pytest.approx(expected, abs=ROUNDING)
        moved = point_of(draws, row, np.array([0.1, 0.2, 0.3, 0.4, -0.3]))
        rest = float(everything(point)) - float(likelihood(point))
        assert float(everything(moved)) - float(likelihood(moved)) == pytest.approx(rest, abs=ROUNDING)
        padded = point_of(draws, row, np.append(cells, [1.4, -0.3]))  # only the normal of the padded cell changes
        change = float(everything(padded)) - float(everything(point))
        assert change == pytest.approx(-0.5 * (1.4**2 - 0.4**2), abs=ROUNDING)


def test_too_many_gaps_are_refused() -> None:
    values = np.full((9, 4), np.nan)
    with pytest.raises(ValueError, match="36 missing cells do not fit"):
        completed_data(values, FAMILIES, PLAIN, KIND)


def test_capability_given_filled_cells_is_that_of_complete_data() -> None:
    """The same generator and the same cells: filling before or while drawing makes no difference."""
    rng = np.random.default_rng(32)
    whole, gaps = gappy(rng)
    draws = prior_draws(default_spec().priors, 4, PLAIN.anchors, 50, rng)
    noise = np.zeros_like(whole)
    cells = np.repeat([[whole[1, 0], whole[5, 2], whole[8, 3]]], 50, axis=0)
    complete = FactorData(values=whole, families=FAMILIES, noise=noise)
    partial = FactorData(values=gaps, families=FAMILIES, noise=noise)
    expected = draw_capability(draws, complete, np.random.default_rng(1))
    got = draw_capability(draws, partial, np.random.default_rng(1), cells)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="draws of what is missing"):
        draw_capability(draws, partial, np.random.default_rng(1))


def test_posterior_is_that_of_the_graph_in_which_capability_is_sampled() -> None:
    table, _ = small_table(missing=0.1)
    spec, names = quick_spec(draws=700), table.columns("capability")
    data, structure = data_of(table, names, spec), structure_of(table, names, spec)
    kind = kind_for([table], spec)
    assert kind.evaluator == "completed"
    found = []
    for seed, one in ((3, kind), (4, SAMPLED)):
        tree = draw_posterior(compile_factor(one), data, spec.priors, structure, spec.sampling, seed)
        found.append(tree["posterior"].to_dataset())
    for name in ("rho", "total_sd", "icc", "intercept", "theta"):
        means = [posterior[name].mean(("chain", "draw")).to_numpy() for posterior in found]
        errors = [az.mcse(posterior[[name]], method="mean")[name].to_numpy() for posterior in found]
        z = (means[0] - means[1]) / np.hypot(*errors)
        assert np.abs(z).max() < Z_LIMIT, (name, z)
