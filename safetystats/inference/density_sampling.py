"""NUTS for a log density that is written out by hand, with its gradient, instead of a graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from nutpie.compiled_pyfunc import from_pyfunc

from safetystats.inference.arrays import FloatArray
from safetystats.inference.nuts import nuts
from safetystats.inference.streams import Report
from safetystats.specs import SamplingPlan

LogDensity = Callable[[FloatArray], tuple[float, FloatArray]]


def draw_density(
    log_density: LogDensity,
    start: Callable[[np.random.Generator], FloatArray],
    n_dim: int,
    plan: SamplingPlan,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw from a density with NUTS and a diagonal mass matrix.

    Parameters
    ----------
    log_density : callable
        Takes a point, shape (n_dim,), and returns the log density and its gradient. May raise LinAlgError.
    start : callable
        Returns a random starting point, shape (n_dim,).
    n_dim : int
    plan : SamplingPlan
    seed : int
    report : callable or None
        Called with (draws done, draws in all).
    cores : int or None
        Chains that run at once; all cores unless given.

    Returns
    -------
    DataTree
        Groups `posterior` (free: chain, draw, parameter) and `sample_stats`.

    Raises
    ------
    KeyboardInterrupt, FitError
        As in `safetystats.inference.nuts.nuts`.
    """

    def value_and_gradient(point: FloatArray) -> tuple[float, FloatArray]:
        try:
            with np.errstate(all="ignore"):
                value, gradient = log_density(point)
        except np.linalg.LinAlgError:
            return -np.inf, np.zeros(n_dim)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            return -np.inf, np.zeros(n_dim)  # the sampler turns back, and counts a divergence
        return value, gradient

    def expand(point: FloatArray) -> dict[str, FloatArray]:
        return {"free": np.array(point, dtype=np.float64)}

    handle = from_pyfunc(
        n_dim,
        lambda: value_and_gradient,
        lambda *_: expand,
        [np.dtype("float64")],
        [(n_dim,)],
        ["free"],
        coords={"parameter": np.arange(n_dim)},
        dims={"free": ("parameter",)},
        make_initial_point_fn=lambda number: start(np.random.default_rng(number)),
    )
    tree = nuts(handle, plan, seed, "diag", report, cores)
    return xr.DataTree.from_dict(
        {"posterior": tree["posterior"].to_dataset()[["free"]], "sample_stats": tree["sample_stats"].to_dataset()}
    )
