"""Compile arithmetic to machine code that is kept on disk: the one door to numba."""

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
    """Return what makes of a function one that the sampler calls by its address, without the interpreter."""

    def make(function: Callable[..., int]) -> Any:
        try:
            return numba.cfunc(signature, cache=True)(function)
        except RuntimeError:  # nowhere to write
            return numba.cfunc(signature)(function)

    return make
