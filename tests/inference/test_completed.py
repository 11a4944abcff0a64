"""Missing cells as variables of the density without capability: the same posterior as that of the graph."""

from __future__ import annotations

import arviz_stats as az
import numpy as np
import pytest
from factor_data import SAMPLED, FloatArray, default_spec, quick_spec, small_table

from safetystats.inference.arrays import Structure
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.parameters import FactorData
from safetystats.inference.predictive import prior_draws
from safetystats.inference.problems import data_of, kind_for, structure_of
from safetystats.inference.sampling import draw_posterior

ROUNDING = 1e-8
"""Log densities of the order of 1e2, both routes in double precision."""
Z_LIMIT = 4.5
"""Monte Carlo errors between two sets of draws: about fifty comparisons exceed this by chance once in 3000 runs."""
FAMILIES = np.array([0, 0, 0, 0, 1, 1, 2, 2, 3])
PLAIN = Structure(anchors=np.array([True, True, True, False]), pattern=np.zeros((4, 0), dtype=bool))


def gappy(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return nine models on four benchmarks, whole and with three cells missing."""
    whole = rng.normal(size=(9, 4))
    gaps = whole.copy()
    gaps[1, 0] = gaps[5, 2] = gaps[8, 3] = np.nan
    return whole, gaps


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
    assert kind_for([table], spec) is None
    found = []
    for seed, one in ((3, None), (4, SAMPLED)):
        tree = draw_posterior(one, data, spec.priors, structure, spec.sampling, seed)
        found.append(tree["posterior"].to_dataset())
    for name in ("rho", "total_sd", "icc", "intercept", "theta"):
        means = [posterior[name].mean(("chain", "draw")).to_numpy() for posterior in found]
        errors = [az.mcse(posterior[[name]], method="mean")[name].to_numpy() for posterior in found]
        z = (means[0] - means[1]) / np.hypot(*errors)
        assert np.abs(z).max() < Z_LIMIT, (name, z)
