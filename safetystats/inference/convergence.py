"""Convergence of a fit over all of its parameters, measured by ArviZ."""

from __future__ import annotations

from dataclasses import dataclass

import arviz_stats as az
import numpy as np
import xarray as xr

from safetystats.inference.arrays import FloatArray
from safetystats.specs import Gates


@dataclass(frozen=True, slots=True, kw_only=True)
class Convergence:
    """Worst values over all parameters of a fit.

    Attributes
    ----------
    r_hat : float
        Largest rank-normalised split R-hat, and the parameter that has it.
    ess_bulk, ess_tail : float
        Smallest effective sample sizes, and the parameters that have them.
    divergences : int
        Divergent transitions after warm-up, all chains.
    e_bfmi : float
        Smallest energy Bayesian fraction of missing information over the chains.
    mode_gap : float
        Largest absolute difference between a chain's mean loading and the mean over chains, in sd within chains.
        (In sd over all chains it could not pass one with half of the chains in either mode, however far apart.)
    modes : str
        Where `mode_gap` exceeds `MODE_LIMIT`, which chains go together, which benchmark loads highest there, and the
        loading that differs most between them (in sd within chains); else "".

    References
    ----------
    Vehtari et al. (2021), Bayesian Analysis 16; Betancourt (2016).
    """

    r_hat: float
    r_hat_of: str
    ess_bulk: float
    ess_bulk_of: str
    ess_tail: float
    ess_tail_of: str
    divergences: int
    e_bfmi: float
    mode_gap: float
    modes: str = ""

    @property
    def ess(self) -> float:
        """Smaller of the bulk and tail effective sample sizes."""
        return float(np.minimum(self.ess_bulk, self.ess_tail))  # not min(): it can lose a NaN

    def passes(self, gates: Gates) -> bool:
        """Return whether every gate of a sampled fit is met."""
        return (
            self.r_hat <= gates.r_hat
            and self.ess >= gates.ess
            and self.divergences <= gates.divergences
            and self.e_bfmi >= gates.e_bfmi
            and self.mode_gap <= MODE_LIMIT
        )


_TINY = np.finfo(float).tiny
MODE_LIMIT = 1.0
"""Chains whose mean loading lies further than this many sd within chains from the overall mean sit in another mode."""


def convergence(tree: xr.DataTree) -> Convergence:
    """Return the convergence diagnostics of a tree with groups `posterior` and `sample_stats`."""
    posterior = tree["posterior"].to_dataset()
    # Loadings on further factors are known up to sign and order only; kappa and omega are fixed at zero in some specs.
    fixed = [name for name in ("icc", "capability_icc") if name in posterior and not posterior[name].any()]
    posterior = posterior.drop_vars([*fixed, *({"further"} & set(posterior.data_vars))])
    r_hat_of, r_hat = _worst(az.rhat(posterior), largest=True)
    bulk_of, bulk = _worst(az.ess(posterior, method="bulk"), largest=False)
    tail_of, tail = _worst(az.ess(posterior, method="tail"), largest=False)
    # The sign of loadings is what a chain can get wrong; a model without loadings has nothing to look at here.
    rho = posterior["rho"].to_numpy() if "rho" in posterior else np.zeros((*list(posterior.sizes.values())[:2], 1))
    means = rho.mean(axis=1)
    within = np.sqrt(rho.var(axis=1).mean(axis=0))
    gap = np.abs(means - means.mean(axis=0)) / np.maximum(within, _TINY)
    bfmi = az.bfmi(tree)
    energy = bfmi["energy"] if "energy" in bfmi else bfmi[next(iter(bfmi.data_vars))]
    return Convergence(
        r_hat=r_hat,
        r_hat_of=r_hat_of,
        ess_bulk=bulk,
        ess_bulk_of=bulk_of,
        ess_tail=tail,
        ess_tail_of=tail_of,
        divergences=int(tree["sample_stats"]["diverging"].sum()),
        e_bfmi=float(energy.min()),
        mode_gap=float(gap.max()),
        modes=_modes(means, within, posterior) if gap.max() > MODE_LIMIT else "",
    )


def _modes(means: FloatArray, within: FloatArray, posterior: xr.Dataset) -> str:
    """Name groups of chains whose mean loadings lie within `MODE_LIMIT` sd of the group's first chain.

    Parameters
    ----------
    means : array, shape (n_chains, n_benchmarks)
        Mean loading of each chain.
    within : array, shape (n_benchmarks,)
        Sd within chains.
    posterior : Dataset
        For the names of the benchmarks.
    """
    names = [str(name) for name in posterior["benchmark"].to_numpy()] if "benchmark" in posterior.coords else []
    groups: list[list[int]] = []
    for chain, mean in enumerate(means):
        near = (g for g in groups if (np.abs(mean - means[g[0]]) <= MODE_LIMIT * np.maximum(within, _TINY)).all())
        home = next(near, None)
        if home is None:
            groups.append([chain])
        else:
            home.append(chain)
    centres = np.array([means[group].mean(axis=0) for group in groups])
    apart = int((np.ptp(centres, axis=0) / np.maximum(within, _TINY)).argmax())
    told = []
    for group, loading in zip(groups, centres, strict=True):
        shown = dict.fromkeys([int(np.abs(loading).argmax()), apart])
        loads = ", ".join(f"{names[b] if names else f'benchmark {b + 1}'} loads {loading[b]:.2f}" for b in shown)
        told.append(f"chain {', '.join(str(chain + 1) for chain in group)}: {loads}")
    return "; ".join(told)


def _worst(found: xr.Dataset, *, largest: bool) -> tuple[str, float]:
    """Return the parameter with the worst value, and the value; a value that is not finite is the worst of all."""
    worst: tuple[str, float] | None = None
    for name in found.data_vars:
        values = np.atleast_1d(found[name].to_numpy())
        strange = ~np.isfinite(values)
        if strange.any():
            place, value = int(strange.argmax()), float("inf") if largest else 0.0
        else:
            place = int(values.argmax() if largest else values.argmin())
            value = float(values.flat[place])
        if worst is None or (value > worst[1] if largest else value < worst[1]):
            places = np.unravel_index(place, values.shape)
            label = ", ".join(
                str(found[dim].to_numpy()[i]) if dim in found[name].coords else str(i)
                for dim, i in zip(found[name].dims or ("",), places, strict=True)
            )
            worst = (f"{name}[{label}]", value)
    if worst is None:
        raise ValueError("a posterior without parameters")
    return worst
