"""Leave-one-model-out and leave-one-family-out predictive densities of a factor model.

Everything that belongs to single models or families is integrated out (`marginal`), so that leaving a unit out changes
the posterior of the benchmarks' parameters only: that is what makes importance sampling possible at all. Where its
Pareto k says that it fails, the unit is left out in earnest and the model fitted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from arviz_stats.base import array_stats
from scipy import special

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.marginal import family_log_likelihood, model_log_conditional
from safetystats.inference.parameters import FactorData, FactorDraws

Unit = Literal["model", "family"]
Refit = Callable[[list[int]], FactorDraws]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LeaveOut:
    """Predictive density of each unit, given all the others; units without a score are not among them.

    Attributes
    ----------
    unit : {"model", "family", "lineage"}
        What was left out at a time.
    labels : tuple of str, length n_units
        Names of the units.
    families : array of int, shape (n_units,)
        Family of each unit: densities of relatives are dependent.
    elpd : array, shape (n_units,)
        For a family log p(y_f | all other families); for a model log p(y_m | all other models), relatives included;
        for a lineage the same of all of its models together.
    pareto_k : array, shape (n_units,)
        Pareto k of the importance weights, also of the units that were refitted.
    refitted : array of bool, shape (n_units,)
        Where `elpd` comes from a fit without the unit.
    limit : float
        Pareto k above which importance sampling was not trusted.
    p_loo : float
        Effective number of parameters: log density of the units under the fit to all of them, minus `total`.
    """

    unit: Unit | Literal["lineage"]
    labels: tuple[str, ...]
    families: IntArray
    elpd: FloatArray
    pareto_k: FloatArray
    refitted: npt.NDArray[np.bool_]
    limit: float
    p_loo: float

    @property
    def total(self) -> float:
        """Sum of the elpd of all units."""
        return float(self.elpd.sum())

    @property
    def standard_error(self) -> float:
        """Standard error of `total`, the units of a family taken together; not a number for one family."""
        return standard_error(self.elpd, self.families)

    @property
    def doubtful(self) -> tuple[str, ...]:
        """Units whose Pareto k exceeds the limit, or is not a number, and that were not refitted."""
        bad = ~(self.pareto_k <= self.limit) & ~self.refitted
        return tuple(label for label, flag in zip(self.labels, bad, strict=True) if flag)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutRow:
    """One model in a comparison.

    Attributes
    ----------
    name : str
        Name of the model.
    elpd, elpd_error : float
        Total and its standard error.
    difference, difference_error : float
        Total minus the best total, and the standard error of it from the differences, those of a family taken
        together; zero for the best.
    p_loo : float
        Effective number of parameters.
    n_units, n_refitted, n_doubtful : int
        Units; those refitted without; those with a Pareto k above its limit that were not.
    """

    name: str
    elpd: float
    elpd_error: float
    difference: float
    difference_error: float
    p_loo: float
    n_units: int
    n_refitted: int
    n_doubtful: int


def leave_out(
    draws: FactorDraws,
    data: FactorData,
    unit: Unit,
    labels: Sequence[str],
    refit: Refit | None = None,
    limit: float = 0.7,
) -> LeaveOut:
    """Return the leave-one-out predictive density of every model, or of every family.

    Pareto-smoothed importance sampling (ArviZ), tail lengths from the relative efficiency of each unit's likelihood
    with the draws taken as one chain. For a model left out, the weights are 1 / p(y_m | its relatives, parameters).

    Parameters
    ----------
    draws : FactorDraws
        Draws from the posterior given all of the data.
    data : FactorData
        What they were drawn given.
    unit : {"model", "family"}
        What to leave out at a time.
    labels : sequence of str
        Names of the models, or of the families in the order of their codes.
    refit : callable, optional
        Takes rows of the data and returns draws from the posterior without those models. It is called for each unit
        whose Pareto k exceeds the limit, and elpd becomes log mean_t p(y_unit | parameters_t), without smoothing. None
        leaves such units as they are (`LeaveOut.doubtful`).
    limit : float
        Largest Pareto k that is trusted; with S < 2154 draws 1 - 1 / log10(S), which is then smaller than 0.7.

    Raises
    ------
    ValueError
        If there is not one label for each unit.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Stat. Comput. 27; Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed
    importance sampling, JMLR 25; leaving groups out: Merkle, Furr and Rabe-Hesketh (2019), Psychometrika 84.
    """
    seen = np.isfinite(data.values).any(axis=1)
    members = _rows_of_units(data, unit)
    if len(labels) != len(members):
        raise ValueError(f"{len(labels)} labels for {len(members)} units ({unit})")
    log_density = family_log_likelihood(draws, data) if unit == "family" else model_log_conditional(draws, data)
    kept = [i for i, rows in enumerate(members) if seen[rows].any()]

    def exact(place: int) -> FloatArray:
        rows = members[kept[place]]
        assert refit is not None
        return _exact(refit([int(row) for row in rows]), data, unit, rows)

    return smoothed_leave_out(
        log_density[:, kept], unit, [labels[i] for i in kept], [int(data.families[members[i][0]]) for i in kept],
        exact if refit is not None else None, limit,
    )  # fmt: skip


def smoothed_leave_out(
    log_density: FloatArray,
    unit: Unit | Literal["lineage"],
    labels: Sequence[str],
    families: Sequence[int],
    exact: Callable[[int], FloatArray] | None = None,
    limit: float = 0.7,
) -> LeaveOut:
    """Return leave-one-out densities of units from their log densities given all of the data.

    Parameters
    ----------
    log_density : array, shape (n_draws, n_units)
        log p(y_u | rest of the data that bears on it, parameters) under draws given all of the data.
    unit : {"model", "family", "lineage"}
        What they are.
    labels : sequence of str, length n_units
    families : sequence of int, length n_units
        Family of each unit.
    exact : callable, optional
        Takes the place of a unit whose Pareto k exceeds the limit and returns its log density under draws of a fit
        without it, shape (n_draws,).
    limit : float
        Largest Pareto k that is trusted; see `leave_out`.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Stat. Comput. 27; Vehtari, Simpson, Gelman, Yao and Gabry (2024), JMLR 25.
    """
    n_draws = len(log_density)
    limit = min(limit, 1 - 1 / np.log10(n_draws))
    elpd, pareto_k = np.array([_smoothed(column) for column in log_density.T]).reshape(-1, 2).T
    whole = special.logsumexp(log_density, axis=0) - np.log(n_draws)
    refitted = np.zeros(len(labels), dtype=bool)
    if exact is not None:
        for place in np.flatnonzero(~(pareto_k <= limit)):
            again = exact(int(place))
            elpd[place] = special.logsumexp(again) - np.log(len(again))
            refitted[place] = True
    return LeaveOut(
        unit=unit,
        labels=tuple(labels),
        families=np.asarray(families, dtype=np.int64),
        elpd=elpd,
        pareto_k=pareto_k,
        refitted=refitted,
        limit=float(limit),
        p_loo=float(whole.sum() - elpd.sum()),
    )


def compare_leave_out(found: Mapping[str, LeaveOut]) -> tuple[LeaveOutRow, ...]:
    """Compare models of the same data by their predictive density, best first.

    The standard error of a difference comes from the differences d_i of single units, since what is hard to predict is
    so for both models. Units of one family are dependent, so that their sums count:
    sqrt(F / (F - 1) sum_f (sum_{i in f} (d_i - mean d))^2) over F families, which is sqrt(n var(d_i)) with the sample
    variance where every unit is a family of its own.

    With few units it is not to be relied on: for small n, for models that predict alike (a difference of less than
    about four), and where models are misspecified, the error of the difference is skewed and this standard error
    tends to be too small (Sivula, Magnusson, Matamoros and Vehtari 2020). Some 20 families or 40 models are few: a
    difference of one or two standard errors settles nothing.

    Parameters
    ----------
    found : mapping of str to LeaveOut
        One result per model, of the same units of the same data.

    Returns
    -------
    tuple of LeaveOutRow
        In decreasing order of the total.

    Raises
    ------
    ValueError
        If there is nothing to compare, or the results are not of the same units.

    References
    ----------
    Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC,
    Stat. Comput. 27, section 5.2; sums by cluster: Liang and Zeger (1986), Biometrika 73; Sivula et al. (2020),
    Uncertainty in Bayesian leave-one-out cross-validation based model comparison, arXiv 2008.10296.
    """
    if not found:
        raise ValueError("no results to compare")
    if len({(result.unit, result.labels) for result in found.values()}) > 1:
        raise ValueError("results of different units cannot be compared")
    ordered = sorted(found.items(), key=lambda item: -item[1].total)
    best = ordered[0][1]
    return tuple(
        LeaveOutRow(
            name=name,
            elpd=result.total,
            elpd_error=result.standard_error,
            difference=float((result.elpd - best.elpd).sum()),
            difference_error=0.0 if result is best else standard_error(result.elpd - best.elpd, best.families),
            p_loo=result.p_loo,
            n_units=len(result.labels),
            n_refitted=int(result.refitted.sum()),
            n_doubtful=len(result.doubtful),
        )
        for name, result in ordered
    )


def _rows_of_units(data: FactorData, unit: Unit) -> list[IntArray]:
    """Return the rows of the models of each unit."""
    if unit == "model":
        return [np.array([row]) for row in range(len(data.families))]
    return [np.flatnonzero(data.families == code) for code in range(int(data.families.max()) + 1)]


def _smoothed(log_density: FloatArray) -> tuple[float, float]:
    """Return elpd and Pareto k of one unit from its log density, shape (n_draws,)."""
    chain = log_density[None]  # chain_axis=None is wrong in ArviZ 1.3 when draws come first
    efficiency = float(array_stats.ess(np.exp(chain - chain.max()), method="mean", relative=True))
    elpd, pareto_k, _ = array_stats.loo(chain, r_eff=efficiency if np.isfinite(efficiency) else 1.0)
    return float(elpd), float(pareto_k)


def _exact(draws: FactorDraws, data: FactorData, unit: Unit, rows: IntArray) -> FloatArray:
    """Return the log density of a unit under every draw of a fit without it, shape (n_draws,)."""
    relatives = np.flatnonzero(data.families == data.families[rows[0]])
    family = FactorData(
        values=data.values[relatives],
        families=np.zeros(len(relatives), dtype=np.int64),
        noise=data.noise[relatives],
    )
    if unit == "family":
        return family_log_likelihood(draws, family)[:, 0]
    return model_log_conditional(draws, family)[:, int(np.searchsorted(relatives, rows[0]))]


def standard_error(pointwise: FloatArray, families: IntArray) -> float:
    """Return the standard error of a sum over units, those of a family taken together; not a number for one family."""
    codes = np.unique(families, return_inverse=True)[1]
    sums = np.bincount(codes, weights=pointwise - pointwise.mean())
    return float(np.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum())) if len(sums) > 1 else float("nan")
