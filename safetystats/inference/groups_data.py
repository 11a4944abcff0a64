"""What a factor model of several classes takes and gives, as plain arrays; light, so that saved fits open quickly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import xarray as xr

from safetystats.inference.arrays import FloatArray, IntArray, prior_data
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import FactorPriors, InvariancePriors

Level = Literal["configural", "metric", "scalar"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""From the freest model to the most restricted one."""
MASKS: dict[Level, dict[str, float]] = {
    "configural": {"free_loadings": 1.0, "free_intercepts": 1.0, "free_latent_sd": 0.0, "free_latent_mean": 0.0},
    "metric": {"free_loadings": 0.0, "free_intercepts": 1.0, "free_latent_sd": 1.0, "free_latent_mean": 0.0},
    "scalar": {"free_loadings": 0.0, "free_intercepts": 0.0, "free_latent_sd": 1.0, "free_latent_mean": 1.0},
}
"""Which differences from the reference class each model allows; unique variances, kappa and omega are always free."""
BENCHMARK_FIELDS = ("loading", "intercept", "unique", "icc")
CLASS_FIELDS = ("capability_icc", "latent_mean", "latent_sd")


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSize:
    """Shape that a multi-group graph is compiled for: the largest class, and the missing cells of all classes.

    Capability and family effects are integrated out; where cells are missing (`n_missing` > 0) they are variables.
    """

    n_classes: int
    n_models: int
    n_benchmarks: int
    n_families: int
    n_missing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupDraws:
    """Draws of the parameters of a multi-group factor model; the first class is the reference.

    For model m of class c and family f on benchmark b

        y_mb = nu_cb + lambda_cb theta_m + u_fb + e_mb,   theta_m = mu_c + tau_c (sqrt(omega_c) t_f + sqrt(1 - omega_c)
        t_m),   u_fb ~ N(0, kappa_cb v_cb),   e_mb ~ N(0, (1 - kappa_cb) v_cb),   t_f, t_m ~ N(0, 1).

    Attributes
    ----------
    loading, intercept, unique, icc : array, shape (n_draws, n_classes, n_benchmarks)
        lambda, nu, v and kappa.
    capability_icc, latent_mean, latent_sd : array, shape (n_draws, n_classes)
        omega, mu and tau; mu = 0 and tau = 1 in the reference class.
    """

    loading: FloatArray
    intercept: FloatArray
    unique: FloatArray
    icc: FloatArray
    capability_icc: FloatArray
    latent_mean: FloatArray
    latent_sd: FloatArray

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return int(self.loading.shape[0])

    def of_class(self, place: int) -> FactorDraws:
        """Return the parameters of one class in its own units: capability with mean zero and sd one in the class.

        rho = lambda tau / s and alpha = nu + lambda mu, where s^2 = lambda^2 tau^2 + v.
        """
        slope = self.loading[:, place] * self.latent_sd[:, place, None]
        total_sd = np.sqrt(slope**2 + self.unique[:, place])
        return FactorDraws(
            rho=slope / total_sd,
            total_sd=total_sd,
            icc=self.icc[:, place],
            capability_icc=self.capability_icc[:, place],
            intercept=self.intercept[:, place] + self.loading[:, place] * self.latent_mean[:, place, None],
            further=np.zeros((*slope.shape, 0)),
        )

    def thinned(self, most: int) -> GroupDraws:
        """Return at most `most` draws, evenly spaced."""
        rows = np.unique(np.linspace(0, self.n_draws - 1, min(most, self.n_draws)).round().astype(int))
        return GroupDraws(**{name: getattr(self, name)[rows] for name in (*BENCHMARK_FIELDS, *CLASS_FIELDS)})


def group_draws(posterior: xr.Dataset) -> GroupDraws:
    """Return the parameters of a posterior with dims chain and draw, chains one after the other."""

    def flat(name: str) -> FloatArray:
        dims = ("benchmark",) if name in BENCHMARK_FIELDS else ()
        values = posterior[name].transpose("chain", "draw", "model_class", *dims).to_numpy()
        return np.asarray(values.reshape(-1, *values.shape[2:]), dtype=np.float64)

    return GroupDraws(**{name: flat(name) for name in (*BENCHMARK_FIELDS, *CLASS_FIELDS)})


def aligned_draws(draws: GroupDraws) -> GroupDraws:
    """Return the same model with capability of the other classes put on the scale of the reference class.

    In the configural model each class has a scale of its own, mean zero and sd one, so that its loadings differ by the
    sd of its capability and its intercepts by the mean. In every draw tau_c minimises sum_b |lambda_cb - tau lambda_b|
    and then mu_c minimises sum_b |nu_cb - nu_b - lambda_cb mu / tau|: most benchmarks are taken to be invariant, and
    those that are not are left with a difference. Loadings become lambda_cb / tau_c and intercepts nu_cb - lambda_cb
    mu_c / tau_c; the density of the scores is the same.

    Parameters
    ----------
    draws : GroupDraws
        With latent mean zero and sd one in every class.

    References
    ----------
    Asparouhov and Muthen (2014), Struct. Equ. Modeling 21 (alignment; there with another loss function).
    """
    reference = draws.loading[:, 0]
    loading, intercept = draws.loading.copy(), draws.intercept.copy()
    mean, sd = np.zeros_like(draws.latent_mean), np.ones_like(draws.latent_sd)
    for place in range(1, loading.shape[1]):
        sd[:, place] = _weighted_median(loading[:, place] / reference, np.abs(reference))
        loading[:, place] /= sd[:, [place]]
        slope = loading[:, place]
        mean[:, place] = _weighted_median((intercept[:, place] - intercept[:, 0]) / slope, np.abs(slope))
        intercept[:, place] -= slope * mean[:, [place]]
    return replace(draws, loading=loading, intercept=intercept, latent_mean=mean, latent_sd=sd)


def _weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Return the weighted median of every row, one of its values, shape (n_rows,)."""
    order = np.argsort(values, axis=1)
    below = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    place = (below >= below[:, [-1]] / 2).argmax(axis=1)
    return np.asarray(np.take_along_axis(values, np.take_along_axis(order, place[:, None], 1), 1)[:, 0])


def group_arrays(
    data: Sequence[FactorData],
    factor: FactorPriors,
    priors: InvariancePriors,
    level: Level,
    size: GroupSize,
    families: bool = True,
) -> dict[str, FloatArray | IntArray]:
    """Return everything that a compiled multi-group graph takes.

    Parameters
    ----------
    data : sequence of FactorData, length n_classes
        Scores of the same benchmarks, z-scored over all classes together; the reference class first.
    factor : FactorPriors
    priors : InvariancePriors
    level : {"configural", "metric", "scalar"}
    size : GroupSize
        At least that of the data in every direction; equal in classes and benchmarks.
    families : bool
        Whether models of one family share capability and residuals.

    Returns
    -------
    dict
        Numbers of the priors (`group_priors`), the masks of the level (`MASKS`), and `group_scores`.

    Raises
    ------
    ValueError
        If the data do not fit the size.
    """
    masks = {name: np.asarray(value) for name, value in MASKS[level].items()}
    return {**group_priors(factor, priors, size), **masks, **group_scores(data, size, families)}


def group_scores(data: Sequence[FactorData], size: GroupSize, families: bool) -> dict[str, FloatArray | IntArray]:
    """Return the scores of all classes, padded, in the form that the density needs.

    Returns
    -------
    dict
        `contrast` (n_classes, n_classes - 1): puts the differences of the other classes into their rows; `anchors`
        (n_benchmarks,), `shared` (); `n_contrasts` (n_classes,), `roots` (n_classes, n_families): sqrt(n_f); with
        complete scores `cross` (n_classes, n_benchmarks, n_benchmarks), cross-products within families, and `means`
        (n_classes, n_families, n_benchmarks), sqrt(n_f) times the mean of each family; with missing cells `scores`
        (n_classes, n_models, n_benchmarks), zero where missing, and `sums` of them (n_classes, n_families,
        n_benchmarks); for every missing cell `places`, where it is in the scores of all classes laid out flat,
        `sum_places`, where it is in the sums, and `filled`, one for a real cell (n_missing,).

    Raises
    ------
    ValueError
        If the data do not fit the size.
    """
    k = size.n_benchmarks
    if len(data) != size.n_classes or any(own.values.shape[1] != k or own.noise.any() for own in data):
        raise ValueError(f"needs {size.n_classes} classes with {k} benchmarks and no sampling error")
    each = [_of_class(own, size) for own in data]
    found: dict[str, FloatArray | IntArray] = {
        "contrast": np.eye(size.n_classes)[:, 1:],
        "anchors": np.ones(k),
        "shared": np.asarray(float(families)),
        **{name: np.stack([own[name] for own in each]) for name in each[0]},
    }
    if size.n_missing:
        cells = [(c, *cell) for c, own in enumerate(data) for cell in np.argwhere(~np.isfinite(own.values))]
        if len(cells) > size.n_missing:
            raise ValueError(f"{len(cells)} missing cells do not fit into {size}")
        where = np.array(cells, dtype=np.int64).reshape(-1, 3)
        family = np.array([data[c].families[row] for c, row, _ in where], dtype=np.int64)
        found["filled"] = (np.arange(size.n_missing) < len(cells)).astype(np.float64)
        for name, n_rows, rows in (
            ("places", size.n_models, where[:, 1]),
            ("sum_places", size.n_families, family),
        ):
            places = np.full(size.n_missing, size.n_classes * n_rows * k, dtype=np.int64)  # the spare place
            places[: len(cells)] = (where[:, 0] * n_rows + rows) * k + where[:, 2]
            found[name] = places
    return found


def _of_class(data: FactorData, size: GroupSize) -> dict[str, FloatArray]:
    """Reduce the scores of one class to what the density needs; families have rank n_f - 1 within and one between."""
    n, k = data.values.shape
    if n > size.n_models or int(data.families.max()) >= size.n_families:
        raise ValueError(f"data of shape {data.values.shape} do not fit into {size}")
    if not size.n_missing and not data.complete:
        raise ValueError(f"missing cells do not fit into {size}")
    members = (data.families == np.arange(size.n_families)[:, None]).astype(np.float64)
    counts, values = members.sum(axis=1), np.nan_to_num(data.values, nan=0.0)
    roots, sums = np.sqrt(counts), members @ values
    found = {"n_contrasts": np.asarray(n - (counts > 0).sum(), dtype=np.float64), "roots": roots}
    if size.n_missing:
        scores = np.zeros((size.n_models, k))
        scores[:n] = values
        return {**found, "scores": scores, "sums": sums}
    inside = values - (sums / np.maximum(counts, 1.0)[:, None])[data.families]
    return {**found, "cross": inside.T @ inside, "means": sums / np.maximum(roots, 1.0)[:, None]}


def group_priors(factor: FactorPriors, priors: InvariancePriors, size: GroupSize) -> dict[str, FloatArray | IntArray]:
    """Return the numbers of the priors under the names that the multi-group graph uses."""
    both = factor.model_copy(update={"total_sd": priors.total_sd})
    stated = {name: getattr(priors, name) for name in type(priors).model_fields if name != "total_sd"}
    return {
        **prior_data(both, np.ones(size.n_benchmarks, dtype=bool), size.n_benchmarks),
        **{f"prior_{name}": np.array([prior.mu, prior.sigma]) for name, prior in stated.items()},
    }
