r"""The likelihood of two classes' residuals, whose covariance depends on psi; the model stands in `paired`.

Whitening each class and taking singular values s of the whitened cross-covariance turns the residuals into independent
pairs (a_i, b_i) with correlations psi s_i:

    log L(psi) / L(0) = sum_i c a_i b_i / (1 - c^2) - c^2 (a_i^2 + b_i^2) / (2 (1 - c^2)) - log(1 - c^2) / 2

with c = psi s_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
ObjectArray = npt.NDArray[np.object_]
Noise = FloatArray | None
Rows = tuple[IntArray, IntArray]

CELLS_AT_ONCE = 500
"""Pairs of kappa whose terms in psi are held in memory at once, some thousand numbers each."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One class's draws for one benchmark: J draws of the parameters for each of T draws of capability.

    Attributes
    ----------
    rho, icc : array, shape (T, J)
    residual : array, shape (T, J, n)
        Score less intercept and slope times capability, over sqrt(v), of the n models that have a score.
    noise : array, shape (T, J, n), or None
        Known variance of the sampling error over v; None where scores are exact.
    families, lineages : array of str, shape (n,)
    """

    rho: FloatArray
    icc: FloatArray
    residual: FloatArray
    noise: FloatArray | None
    families: ObjectArray
    lineages: ObjectArray


class Links(NamedTuple):
    """Which models of class a (rows) and class b (columns) share a family effect and which a lineage."""

    family: FloatArray
    lineage: FloatArray
    n_pairs: int


class Spectra(NamedTuple):
    """The cross-covariance of whitened residuals, less psi, for U pairs of kappa; r is the smaller number of models."""

    icc: npt.NDArray[np.complex128]  # (U,): kappa_a + i kappa_b
    singular: FloatArray  # (U, r)
    to_a: FloatArray  # (U, n_a, r): residuals of class a times this are a_i
    to_b: FloatArray  # (U, n_b, r)


def links(families_a: ObjectArray, lineages_a: ObjectArray, families_b: ObjectArray, lineages_b: ObjectArray) -> Links:
    """Return J_ab and P_ab, both of shape (n_a, n_b), and the number of lineages in both classes.

    The family effect of a family is shared only where one of its lineages stands in both classes: without a lineage in
    common there is no pairing, and psi has no meaning.
    """
    same = lineages_a[:, None] == lineages_b[None, :]
    count = same.sum(axis=1)[:, None] * same.sum(axis=0)[None, :]
    size_a = (lineages_a[:, None] == lineages_a[None, :]).sum(axis=1)
    size_b = (lineages_b[:, None] == lineages_b[None, :]).sum(axis=1)
    relative = families_a[:, None] == families_b[None, :]
    linked = set(families_a[np.nonzero(same & relative)[0]])
    shared = np.isin(families_a.astype(str), np.array(sorted(linked), dtype=str))
    return Links(
        family=(relative & shared[:, None]).astype(np.float64),
        lineage=np.where(count > 0, same / np.sqrt(np.outer(size_a, size_b)), 0.0),
        n_pairs=len(set(lineages_a) & set(lineages_b)),
    )


def spectra(
    a: Side, b: Side, icc_a: FloatArray, icc_b: FloatArray, noise: tuple[Noise, Noise] = (None, None)
) -> Spectra:
    """Return the singular values and axes of the whitened cross-covariance for U pairs of kappa.

    Parameters
    ----------
    a, b : Side
        Whose families and lineages count.
    icc_a, icc_b : array, shape (U,)
        Sorted by the first, then the second, if draws are to be found in them by value.
    noise : pair of (array, shape (U, n), or None)
        Variance of the sampling error over v.
    """
    link = links(a.families, a.lineages, b.families, b.lineages)
    white_a, white_b = _whiteners(a.families, icc_a, noise[0]), _whiteners(b.families, icc_b, noise[1])
    cross = np.sqrt(icc_a * icc_b)[:, None, None] * link.family
    cross = cross + np.sqrt((1 - icc_a) * (1 - icc_b))[:, None, None] * link.lineage
    left, singular, right = np.linalg.svd(white_a @ cross @ np.swapaxes(white_b, 1, 2), full_matrices=False)
    return Spectra(
        icc=icc_a + 1j * icc_b,
        # Rounding can take a singular value beyond one, which it is where kappa is 0.
        singular=np.minimum(singular, 1.0),
        to_a=np.swapaxes(white_a, 1, 2) @ left,
        to_b=np.swapaxes(right @ white_b, 1, 2),
    )


def grid_spectra(a: Side, b: Side, icc: FloatArray) -> Spectra:
    """Return the spectra for all pairs of values (G,), in increasing order, that kappa can have."""
    return spectra(a, b, np.repeat(icc, len(icc)), np.tile(icc, len(icc)))


def log_ratios(a: Side, b: Side, rows_a: Rows, rows_b: Rows, psi: FloatArray, known: Spectra | None) -> FloatArray:
    """Return log L(psi) / L(0) of the residuals of D pairs of draws, shape (D, G).

    Parameters
    ----------
    a, b : Side
    rows_a, rows_b : pair of arrays of int, shape (D,)
        Which draw (of T, of J) of each class stands in a pair.
    psi : array, shape (G,)
        In (-1, 1).
    known : Spectra or None
        For all values of kappa that occur; not used where sampling error is known.
    """
    icc = a.icc[rows_a] + 1j * b.icc[rows_b]
    if a.noise is not None or b.noise is not None:
        noise = (None if a.noise is None else a.noise[rows_a], None if b.noise is None else b.noise[rows_b])
        known, where = spectra(a, b, icc.real, icc.imag, noise), np.arange(len(icc))
    else:
        if known is None:
            values = np.unique(icc)
            known = spectra(a, b, values.real, values.imag)
        where = np.searchsorted(known.icc, icc)
    order = np.argsort(where, kind="stable")
    used, counts = np.unique(where, return_counts=True)
    r_a, r_b = a.residual[rows_a], b.residual[rows_b]
    members = np.split(order, np.cumsum(counts)[:-1])
    found = np.empty((len(icc), len(psi)))
    for start in range(0, len(used), CELLS_AT_ONCE):
        cells = used[start : start + CELLS_AT_ONCE]
        correlation = known.singular[cells][:, :, None] * psi
        left_over = 1 - correlation**2
        product, square = correlation / left_over, correlation**2 / (2 * left_over)
        determinant = 0.5 * np.log(left_over).sum(axis=1)
        for place, cell in enumerate(cells):
            own = members[start + place]
            u, w = r_a[own] @ known.to_a[cell], r_b[own] @ known.to_b[cell]
            found[own] = (u * w) @ product[place] - (u**2 + w**2) @ square[place] - determinant[place]
    return found


def _whiteners(families: ObjectArray, icc: FloatArray, noise: Noise) -> FloatArray:
    """Return inverse Cholesky factors of kappa J + (1 - kappa) I + noise, shape (U, n, n)."""
    same = (families[:, None] == families[None, :]).astype(np.float64)
    unit = np.eye(len(same))
    if noise is None:
        values, where = np.unique(icc, return_inverse=True)
        covariance = values[:, None, None] * same + (1 - values)[:, None, None] * unit
    else:
        where = np.arange(len(icc))
        covariance = icc[:, None, None] * same + ((1 - icc)[:, None] + noise)[:, :, None] * unit
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance))[where])
