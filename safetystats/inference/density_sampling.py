"""NUTS for a log density that is written out by hand, with its gradient, instead of a graph.

`draw_density` takes a Python function; `draw_compiled` a density in machine code, which the sampler calls by its
address: without the interpreter, so that chains run at once and a call costs microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import xarray as xr
from nutpie.compile_pymc import CompiledPyMCModel
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
    return _free_draws(nuts(handle, plan, seed, "diag", report, cores))


def draw_compiled(
    density: Any,
    kept: Any,
    data: FloatArray,
    start: Callable[[np.random.Generator], FloatArray],
    n_dim: int,
    plan: SamplingPlan,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw from a density in machine code with NUTS and a low-rank mass matrix.

    Parameters
    ----------
    density, kept : callback
        As made by `safetystats.inference.native.callback`: the log density with its gradient, and what is kept of a
        point, which is the point itself.
    data : array
        One row of numbers that is handed to both.
    start, n_dim, plan, seed, report, cores
        As in `draw_density`.

    Returns
    -------
    DataTree
        Groups `posterior` (free: chain, draw, parameter) and `sample_stats`.

    Raises
    ------
    KeyboardInterrupt, FitError
        As in `safetystats.inference.nuts.nuts`.
    """
    handle = CompiledPyMCModel(
        dims={"free": ("parameter",)},
        compiled_logp_func=density,
        compiled_expand_func=kept,
        initial_point_func=lambda number: start(np.random.default_rng(number)),
        shared_data={},
        shared_var_keys={},
        user_data=np.ascontiguousarray(data),
        n_expanded=n_dim,
        shape_info=(["free"], [n_dim], [(n_dim,)]),
        logp_func=None,
        expand_func=None,
        _n_dim=n_dim,
        _shapes={"free": (n_dim,)},
        _coords={"parameter": np.arange(n_dim)},
    )
    return _free_draws(nuts(handle, plan, seed, "low_rank", report, cores))


def _free_draws(tree: xr.DataTree) -> xr.DataTree:
    return xr.DataTree.from_dict(
        {"posterior": tree["posterior"].to_dataset()[["free"]], "sample_stats": tree["sample_stats"].to_dataset()}
    )
