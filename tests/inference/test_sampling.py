"""What the sampler is given, and what it returns: a fit only if it is complete, cut to the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import nutpie
import pytest
import xarray as xr
from factor_data import default_spec

from safetystats.errors import FitError
from safetystats.inference import sampling
from safetystats.inference.arrays import FactorSize, GraphKind, Structure
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.sampling import CompiledFactor, draw_posterior
from safetystats.specs import SamplingPlan

SIZE = FactorSize(n_models=5, n_benchmarks=4, n_families=3)
CLOSED = GraphKind(evaluator="integrated", size=SIZE)
RICH = GraphKind(evaluator="sampled", size=replace(SIZE, n_further=2), noisy=True)
PLAN = SamplingPlan(chains=2, draws=100, tune=100)
DATA = FactorData(
    values=np.random.default_rng(1).normal(size=(3, 2)), families=np.array([0, 1, 1]), noise=np.zeros((3, 2))
)
STRUCTURE = Structure(anchors=np.ones(2, dtype=bool), pattern=np.zeros((2, 0), dtype=bool))
ONE_MORE = replace(STRUCTURE, pattern=np.ones((2, 1), dtype=bool))
PRIORS = {"prior_loading", "prior_total_sd", "prior_icc", "prior_capability_icc", "prior_intercept"}
NAMES = {
    "integrated": PRIORS | {"cross", "n_contrasts", "means", "roots", "anchors", "used", "shared"},
    "sampled": PRIORS | {"prior_further", "scores", "seen", "members", "anchors", "shared", "pattern", "noise"},
}


class Handle:
    def __init__(self, evaluator: str) -> None:
        self.evaluator = evaluator

    def with_data(self, **data: object) -> Handle:
        assert set(data) == NAMES[self.evaluator]
        return self


def compiled(kind: GraphKind) -> CompiledFactor:
    return CompiledFactor(kind=kind, handle=Handle(kind.evaluator))


def tree(kind: GraphKind, chains: int = 2, draws: int = 100) -> xr.DataTree:
    """Draws of everything a graph of this size has."""
    rng, size = np.random.default_rng(2), kind.size
    dims = ("chain", "draw", "x")
    found = {
        name: (dims, rng.uniform(0.1, 0.5, size=(chains, draws, size.n_benchmarks)))
        for name in ("rho", "total_sd", "icc", "intercept")
    }
    posterior = xr.Dataset(found, coords={"chain": range(chains), "draw": range(draws)})
    posterior["capability_icc"] = (("chain", "draw"), rng.uniform(size=(chains, draws)))
    if kind.evaluator == "sampled":
        posterior["theta"] = (("chain", "draw", "m"), rng.normal(size=(chains, draws, size.n_models)))
    if size.n_further:
        shape = (chains, draws, size.n_benchmarks, size.n_further)
        posterior["further"] = (("chain", "draw", "x", "j"), rng.normal(size=shape))
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((chains, draws), dtype=bool))})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


def draw(kind: GraphKind, structure: Structure = STRUCTURE, seed: int = 1) -> xr.Dataset:
    found = draw_posterior(compiled(kind), DATA, default_spec().priors, structure, PLAN, seed=seed)
    return found["posterior"].to_dataset()


@pytest.mark.parametrize(("chains", "draws"), [(2, 60), (1, 100)])
def test_an_interrupted_sampler_is_an_interrupt_not_a_fit(
    chains: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(CLOSED, chains, draws))
    with pytest.raises(KeyboardInterrupt):
        draw(CLOSED)


def test_a_sampler_that_stops_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> xr.DataTree:
        raise RuntimeError("All initialization points failed")

    monkeypatch.setattr(nutpie, "sample", stop)
    with pytest.raises(FitError, match="the sampler stopped: All initialization points failed"):
        draw(CLOSED)


@pytest.mark.parametrize("kind", [CLOSED, RICH], ids=["integrated", "sampled"])
def test_draws_are_cut_to_the_data(kind: GraphKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(kind))
    found, whole = draw(kind), tree(kind)["posterior"].to_dataset()
    assert set(found.data_vars) == {"rho", "total_sd", "icc", "intercept", "capability_icc", "theta"}
    assert found["theta"].shape == (2, 100, 3)
    for name in ("rho", "total_sd", "icc", "intercept"):
        np.testing.assert_array_equal(found[name].to_numpy(), whole[name].to_numpy()[..., :2])
    np.testing.assert_array_equal(found["capability_icc"], whole["capability_icc"])
    alone = draw(kind, replace(STRUCTURE, families=False))
    assert not alone["icc"].any()
    assert not alone["capability_icc"].any()
    np.testing.assert_array_equal(alone["rho"], found["rho"])


def test_further_loadings_are_those_that_the_structure_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(RICH))
    whole = tree(RICH)["posterior"].to_dataset()
    found = draw(RICH, ONE_MORE)
    np.testing.assert_array_equal(found["further"].to_numpy(), whole["further"].to_numpy()[..., :2, :1])
    np.testing.assert_array_equal(found["theta"].to_numpy(), whole["theta"].to_numpy()[..., :3])
    with pytest.raises(ValueError, match="do not fit into"):
        draw(CLOSED, ONE_MORE)


def test_capability_is_drawn_for_the_parameters_of_each_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the seed of the fit, on a stream of its own."""
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(CLOSED))
    found = draw(CLOSED, seed=7)
    expected = draw_capability(draws_of(found), DATA, np.random.default_rng([7, 1]))
    np.testing.assert_array_equal(found["theta"].to_numpy().reshape(200, 3), expected)
    assert (draw(CLOSED, seed=8)["theta"] != found["theta"]).all()


def test_a_kind_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(sampling, "factor_graph", lambda kind: kind)
    monkeypatch.setattr(nutpie, "compile_pymc_model", lambda graph, backend: calls.append(graph) or len(calls))
    kept = sampling.compile_factor.__wrapped__, sampling.compile_factor.cache_info().maxsize
    again = sampling.functools.lru_cache(maxsize=kept[1])(kept[0])  # a memory of its own: the session's stays whole
    handles = [again(kind).handle for kind in (CLOSED, RICH, CLOSED, replace(CLOSED), RICH)]
    assert handles == [1, 2, 1, 1, 2]
    assert calls == [CLOSED, RICH]
