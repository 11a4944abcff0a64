"""Compile arithmetic to machine code that is kept on disk: the one door to numba.

Kept code is made anew when the file of the function changes, and only then: a compiled function may call compiled
functions of its own file alone, or a change of the others would go unseen (a test holds this).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_POINTER = numba.types.CPointer(numba.types.double)
DENSITY = numba.types.int64(numba.types.uint64, _POINTER, _POINTER, _POINTER, numba.types.voidptr)
"""What the sampler calls: dimension, point, gradient, log density, data; returns 0, or a number for an error."""
EXPANSION = numba.types.int64(numba.types.uint64, numba.types.uint64, _POINTER, _POINTER, numba.types.voidptr)
"""What it calls for every draw that it keeps: dimension, length of what is kept, point, what is kept, data."""

array_at = numba.carray
"""Return the array at an address, of a shape and a type."""


def compiled[F: Callable[..., Any]](function: F) -> F:
    """Compile at the first call, and keep the machine code on disk for later sessions."""
    try:
        found: F = numba.njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # nowhere to write
        found = numba.njit(**OPTIONS)(function)
    return found


def callback(signature: Any) -> Callable[[Callable[..., int]], Any]:
    """Return what makes of a function one that the sampler calls by its address; it is compiled at once."""

    def make(function: Callable[..., int]) -> Any:
        try:
            return numba.cfunc(signature, cache=True)(function)
        except (RuntimeError, OSError):  # nowhere to write
            return numba.cfunc(signature)(function)

    return make


@callback(EXPANSION)
def kept_point(n_dim, n_kept, point, kept, data):  # type: ignore[no-untyped-def]
    """Keep a point as it is."""
    for i in range(n_dim):
        kept[i] = point[i]
    return 0
