"""Leave-one-model-out and leave-one-lineage-out predictive densities of a multi-group factor model."""

from __future__ import annotations

from typing import Literal

import numpy as np

from safetystats.inference.arrays import BoolArray, FloatArray
from safetystats.inference.groups import GroupFit, fit_groups, group_data
from safetystats.inference.groups_data import GroupDraws
from safetystats.inference.loo import LeaveOut, smoothed_leave_out
from safetystats.inference.marginal import unit_log_conditional
from safetystats.inference.store import FitStore
from safetystats.inference.streams import Report


def leave_group_units_out(
    fit: GroupFit,
    unit: Literal["model", "lineage"],
    most: int,
    store: FitStore | None = None,
    report: Report | None = None,
) -> LeaveOut:
    """Return the predictive density of every model given all others, or of every lineage given all other lineages.

    The density of a lineage is that of all of its models together: a chat model says something about the base model
    that it was tuned from, which the multi-group model does not know, so that units that leave them apart are not
    independent.

    Parameters
    ----------
    fit : GroupFit
    unit : {"model", "lineage"}
    most : int
        Draws that are used.
    store : FitStore, optional
        Where it is given, a unit whose Pareto k exceeds the limit of the spec is left out in earnest, and the model
        fitted anew without it; else such units are named (`LeaveOut.doubtful`).
    report : callable or None
        Called with (draws done, draws in all) while a model is fitted anew.
    """
    names = fit.models if unit == "model" else [str(name) for name in fit.table.models["lineage"]]
    labels = list(dict.fromkeys(names))
    units = np.array(names)[None, :] == np.array(labels)[:, None]
    return _leave_out(fit, unit, units, labels, most, store, report)


def _leave_out(
    fit: GroupFit,
    unit: Literal["model", "lineage"],
    units: BoolArray,
    labels: list[str],
    most: int,
    store: FitStore | None,
    report: Report | None,
) -> LeaveOut:
    def exact(place: int) -> FloatArray:
        assert store is not None
        kept = [model for model, gone in zip(fit.models, units[place], strict=True) if not gone]
        rest = fit.table.select(models=kept)
        again = fit_groups(rest, fit.factor, fit.spec, fit.level, fit.seed, store, fit.size, report)
        return log_conditional(again.parameters.thinned(most), fit, units[[place]])[:, 0]

    log_density = log_conditional(fit.parameters.thinned(most), fit, units)
    family = fit.table.models["family"].astype(str).to_numpy()
    codes = np.unique(family, return_inverse=True)[1]
    families = [int(codes[row]) for row in units.argmax(axis=1)]  # that of its first model
    return smoothed_leave_out(
        log_density, unit, labels, families, None if store is None else exact, fit.spec.gates.pareto_k
    )


def log_conditional(draws: GroupDraws, fit: GroupFit, units: BoolArray) -> FloatArray:
    """Return log p(y_u | other models of its families, parameters): the sum over the classes of the unit's models.

    Parameters
    ----------
    draws : GroupDraws
    fit : GroupFit
        For the data.
    units : array of bool, shape (n_units, n_models)
        Models of each unit, in table order.

    Returns
    -------
    array, shape (n_draws, n_units)
    """
    label = fit.table.models["model_class"].to_numpy()
    return np.asarray(
        sum(
            unit_log_conditional(draws.of_class(place), data, units[:, label == name])
            for place, (name, data) in enumerate(zip(fit.classes, group_data(fit.table, fit.factor), strict=True))
        )
    )
