"""What the sampler is given, and what it returns: a fit only if it is complete, cut to the data."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import requires

import numpy as np
import nutpie
import pytest
import xarray as xr
from factor_data import default_spec
from scipy import special

from safetystats.errors import FitError
from safetystats.inference import sampling
from safetystats.inference.arrays import GraphKind, Structure
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.sampling import draw_posterior
from safetystats.specs import SamplingPlan

RICH = GraphKind(n_models=5, n_benchmarks=4, n_families=3, n_further=2, noisy=True)
COMPILE = sampling.compile_factor
PLAN = SamplingPlan(chains=2, draws=100, tune=100)
DATA = FactorData(
    values=np.random.default_rng(1).normal(size=(3, 2)), families=np.array([0, 1, 1]), noise=np.zeros((3, 2))
)
STRUCTURE = Structure(anchors=np.ones(2, dtype=bool), pattern=np.zeros((2, 0), dtype=bool))
ONE_MORE = replace(STRUCTURE, pattern=np.ones((2, 1), dtype=bool))
PRIORS = {"prior_loading", "prior_total_sd", "prior_icc", "prior_capability_icc", "prior_intercept", "prior_further"}
NAMES = PRIORS | {"scores", "seen", "members", "anchors", "shared", "pattern", "noise"}
STATS = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, 100), dtype=bool))})


class Handle:
    def with_data(self, **data: object) -> Handle:
        assert set(data) == NAMES
        return self


def tree(chains: int = 2, draws: int = 100, n_free: int = 9) -> xr.DataTree:
    """Draws of the free parameters, and of everything that the graph has."""
    rng, shape = np.random.default_rng(2), (chains, draws)
    dims = ("chain", "draw", "x")
    found = {
        name: (dims, rng.uniform(0.1, 0.5, size=(*shape, RICH.n_benchmarks)))
        for name in ("rho", "total_sd", "icc", "intercept")
    }
    posterior = xr.Dataset(found, coords={"chain": range(chains), "draw": range(draws)})
    posterior["capability_icc"] = (("chain", "draw"), rng.uniform(size=shape))
    posterior["theta"] = (("chain", "draw", "m"), rng.normal(size=(*shape, RICH.n_models)))
    further = rng.normal(size=(*shape, RICH.n_benchmarks, RICH.n_further))
    posterior["further"] = (("chain", "draw", "x", "j"), further)
    posterior["free"] = (("chain", "draw", "parameter"), rng.normal(size=(*shape, n_free)))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": STATS})


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "compile_factor", lambda kind: Handle())


def draw(
    kind: GraphKind | None, structure: Structure = STRUCTURE, seed: int = 1, data: FactorData = DATA
) -> xr.Dataset:
    found = draw_posterior(kind, data, default_spec().priors, structure, PLAN, seed=seed)
    return found["posterior"].to_dataset()


@pytest.mark.parametrize(("chains", "draws"), [(2, 60), (1, 100)])
@pytest.mark.parametrize("kind", [None, RICH], ids=["integrated", "sampled"])
def test_an_interrupted_sampler_is_an_interrupt_not_a_fit(
    kind: GraphKind | None, chains: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(chains, draws))
    with pytest.raises(KeyboardInterrupt):
        draw(kind)


@pytest.mark.parametrize("kind", [None, RICH], ids=["integrated", "sampled"])
def test_a_sampler_that_stops_says_why(kind: GraphKind | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> xr.DataTree:
        raise RuntimeError("All initialization points failed")

    monkeypatch.setattr(nutpie, "sample", stop)
    with pytest.raises(FitError, match="the sampler stopped: All initialization points failed"):
        draw(kind)


def test_draws_of_a_graph_are_cut_to_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree())
    found, whole = draw(RICH), tree()["posterior"].to_dataset()
    assert set(found.data_vars) == {"rho", "total_sd", "icc", "intercept", "capability_icc", "theta"}
    np.testing.assert_array_equal(found["theta"].to_numpy(), whole["theta"].to_numpy()[..., :3])
    for name in ("rho", "total_sd", "icc", "intercept"):
        np.testing.assert_array_equal(found[name].to_numpy(), whole[name].to_numpy()[..., :2])
    np.testing.assert_array_equal(found["capability_icc"], whole["capability_icc"])
    alone = draw(RICH, replace(STRUCTURE, families=False))
    assert not alone["icc"].any()
    assert not alone["capability_icc"].any()
    np.testing.assert_array_equal(alone["rho"], found["rho"])


def test_further_loadings_are_those_that_the_structure_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree())
    found = draw(RICH, ONE_MORE)
    whole = tree()["posterior"].to_dataset()
    np.testing.assert_array_equal(found["further"].to_numpy(), whole["further"].to_numpy()[..., :2, :1])
    with pytest.raises(ValueError, match="do not fit into"):
        draw(replace(RICH, n_further=0), ONE_MORE)


def test_free_parameters_become_those_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits and logarithms undone, loadings turned so that their sum is positive; without families no kappa."""
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree())
    found, free = draw(None), tree()["posterior"]["free"].to_numpy()
    assert set(found.data_vars) == {"rho", "total_sd", "icc", "intercept", "capability_icc", "theta"}
    rho = 2 * special.expit(free[..., :2]) - 1
    assert (rho.sum(-1) < 0).any()
    np.testing.assert_allclose(found["rho"], rho * np.sign(rho.sum(-1, keepdims=True)), rtol=1e-12)
    np.testing.assert_allclose(found["total_sd"], np.exp(free[..., 2:4]))
    np.testing.assert_array_equal(found["intercept"], free[..., 4:6])
    np.testing.assert_allclose(found["icc"], special.expit(free[..., 6:8]))
    np.testing.assert_allclose(found["capability_icc"], special.expit(free[..., 8]))
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(n_free=6))
    alone = draw(None, replace(STRUCTURE, families=False))
    assert not alone["icc"].any()
    assert not alone["capability_icc"].any()


def test_partial_loadings_become_loadings_and_missing_cells_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(n_free=12))
    gappy = replace(DATA, values=np.where(np.eye(3, 2, dtype=bool), np.nan, DATA.values))
    second = replace(STRUCTURE, pattern=np.array([[False], [True]]))
    found, free = draw(None, second, data=gappy), tree(n_free=12)["posterior"]["free"].to_numpy()
    rho = found["rho"].to_numpy()
    expected = (2 * special.expit(free[..., 9]) - 1) * np.sqrt(1 - rho[..., 1] ** 2)
    np.testing.assert_allclose(found["further"][..., 1, 0], expected, rtol=1e-10)
    assert not found["further"][..., 0, 0].any()
    np.testing.assert_array_equal(found["missing"], free[..., 10:])


def test_capability_is_drawn_for_the_parameters_of_each_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the seed of the fit, on a stream of its own."""
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree())
    found = draw(None, seed=7)
    expected = draw_capability(draws_of(found), DATA, np.random.default_rng([7, 1]))
    np.testing.assert_array_equal(found["theta"].to_numpy().reshape(200, 3), expected)
    assert (draw(None, seed=8)["theta"] != found["theta"]).all()


def test_the_sampler_is_held_to_versions_whose_inside_is_known() -> None:
    """Its class for compiled models is built here by hand; another minor version may want other fields."""
    bound = next(line for line in requires("safetystats") or [] if line.startswith("nutpie"))
    assert "<0.17" in bound


def test_a_kind_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("safetystats.inference.factor.factor_graph", lambda kind: kind)
    monkeypatch.setattr(nutpie, "compile_pymc_model", lambda graph, backend: calls.append(graph) or len(calls))
    again = sampling.functools.lru_cache(maxsize=COMPILE.cache_info().maxsize)(COMPILE.__wrapped__)
    plain = replace(RICH, noisy=False)
    assert [again(kind) for kind in (plain, RICH, plain, replace(plain), RICH)] == [1, 2, 1, 1, 2]
    assert calls == [plain, RICH]
