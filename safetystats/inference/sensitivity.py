"""How far a posterior follows each prior: power-scaling sensitivity, computed by ArviZ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import arviz_stats as az
import numpy as np
import numpy.typing as npt
import xarray as xr

from safetystats.inference.arrays import FloatArray
from safetystats.inference.marginal import family_log_likelihood, log_prior_terms
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import FactorPriors

Diagnosis = Literal["none", "not applicable", "prior-data conflict", "strong prior or weak likelihood"]

LIKELIHOOD = "likelihood"
THRESHOLD = 0.05
"""Sensitivity above which a component counts as informative (Kallioinen et al. 2023)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Power-scaling sensitivity of one quantity to one component of the posterior.

    Attributes
    ----------
    component : str
        Name of the prior in the spec, or "likelihood".
    quantity : str
        What was looked at.
    value : float
        Change of the quantity's posterior (cumulative Jensen-Shannon distance) per doubling of the component's power.
        Not a number for a uniform prior, which is the same when raised to a power.
    diagnosis : str
        By the rule of Kallioinen et al.: "none" where a prior's value is below 0.05, else "prior-data conflict" where
        the likelihood's value is at least 0.05 as well, else "strong prior or weak likelihood". For the likelihood
        itself "none", or "strong prior or weak likelihood" where its value is below 0.05. "not applicable" for a
        uniform prior.
    """

    component: str
    quantity: str
    value: float
    diagnosis: Diagnosis


def power_scaling(
    draws: FactorDraws,
    data: FactorData,
    priors: FactorPriors,
    anchors: npt.NDArray[np.bool_],
    benchmarks: Sequence[str],
    quantities: Mapping[str, FloatArray] | None = None,
) -> tuple[Sensitivity, ...]:
    """Return the sensitivity of rho of each capability benchmark to every prior and to the likelihood.

    The likelihood is that with capability, further factors and family effects integrated out: their distributions are
    part of the model and are not scaled. Each prior is raised to its power over all benchmarks at once, in the
    parameters that the spec states it for.

    Parameters
    ----------
    draws : FactorDraws
        Draws from the posterior, at least 25.
    data : FactorData
        What they were drawn given.
    priors : FactorPriors
        Priors of the spec.
    anchors : array of bool, shape (n_benchmarks,)
        Which columns are capability benchmarks.
    benchmarks : sequence of str, length n_benchmarks
        Names of the columns.
    quantities : mapping of str to array, shape (n_draws,), optional
        More to look at, draw by draw beside `draws`. For rho of a safety benchmark from the cut posterior the answer
        is how far it follows the priors of the capability benchmarks through capability; its own priors are not scaled.

    Returns
    -------
    tuple of Sensitivity
        Quantity by quantity: the likelihood, then the priors.

    References
    ----------
    Kallioinen, Paananen, Buerkner and Vehtari (2023), Detecting and diagnosing prior and likelihood sensitivity with
    power-scaling, Stat. Comput. 34.
    """
    looked_at = {name: draws.rho[:, i] for i, name in enumerate(benchmarks) if anchors[i]} | dict(quantities or {})
    components = {LIKELIHOOD: family_log_likelihood(draws, data).sum(axis=1), **log_prior_terms(draws, priors, anchors)}
    names = list(looked_at)
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(
                {"value": (("chain", "draw", "quantity"), np.column_stack([looked_at[name] for name in names])[None])}
            ),
            # ArviZ scales what it finds in this group; the likelihood is one more component.
            "log_prior": xr.Dataset({name: (("chain", "draw"), term[None]) for name, term in components.items()}),
        }
    )
    found: dict[str, FloatArray] = {}
    for name, term in components.items():
        if np.ptp(term) == 0:  # a uniform prior
            found[name] = np.full(len(names), np.nan)
        else:
            found[name] = az.psense(tree, group="prior", group_var_names=name)["value"].to_numpy()
    return tuple(
        Sensitivity(
            component=component,
            quantity=quantity,
            value=float(values[place]),
            diagnosis=_diagnosis(component, float(values[place]), float(found[LIKELIHOOD][place])),
        )
        for place, quantity in enumerate(names)
        for component, values in found.items()
    )


def _diagnosis(component: str, value: float, likelihood: float) -> Diagnosis:
    if component == LIKELIHOOD:
        return "none" if likelihood >= THRESHOLD else "strong prior or weak likelihood"
    if np.isnan(value):
        return "not applicable"
    if value < THRESHOLD:
        return "none"
    return "prior-data conflict" if likelihood >= THRESHOLD else "strong prior or weak likelihood"
