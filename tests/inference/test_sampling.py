"""What the sampler returns is a fit only if it is complete."""

from __future__ import annotations

import numpy as np
import nutpie
import pytest
import xarray as xr

from safetystats.errors import FitError
from safetystats.inference.arrays import FactorArrays, FactorSize
from safetystats.inference.sampling import CompiledFactor, draw_posterior
from safetystats.specs import SamplingPlan

SIZE = FactorSize(n_models=3, n_benchmarks=2, n_families=2)
PLAN = SamplingPlan(chains=2, draws=100, tune=100)
ARRAYS = FactorArrays(
    scores=np.zeros((3, 2)),
    seen=np.ones((3, 2)),
    members=np.ones((2, 3)),
    counts=np.ones((2, 2)),
    anchors=np.ones(2),
)


class Handle:
    def with_data(self, **data: object) -> Handle:
        assert set(data) == {"scores", "seen", "members", "counts", "anchors"}
        return self


COMPILED = CompiledFactor(size=SIZE, handle=Handle())


def tree(chains: int, draws: int) -> xr.DataTree:
    names = ("rho", "total_sd", "icc", "intercept", "theta")
    posterior = xr.Dataset({name: (("chain", "draw", "x"), np.zeros((chains, draws, 2))) for name in names})
    stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((chains, draws), dtype=bool))})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats})


@pytest.mark.parametrize(("chains", "draws"), [(2, 60), (1, 100)])
def test_an_interrupted_sampler_is_an_interrupt_not_a_fit(
    chains: int, draws: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(chains, draws))
    with pytest.raises(KeyboardInterrupt):
        draw_posterior(COMPILED, ARRAYS, PLAN, seed=1)


def test_a_complete_run_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nutpie, "sample", lambda *args, **kwargs: tree(2, 100))
    found = draw_posterior(COMPILED, ARRAYS, PLAN, seed=1)
    assert set(found["posterior"].data_vars) == {"rho", "total_sd", "icc", "intercept", "theta"}


def test_a_sampler_that_stops_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **kwargs: object) -> xr.DataTree:
        raise RuntimeError("All initialization points failed")

    monkeypatch.setattr(nutpie, "sample", stop)
    with pytest.raises(FitError, match="the sampler stopped: All initialization points failed"):
        draw_posterior(COMPILED, ARRAYS, PLAN, seed=1)
