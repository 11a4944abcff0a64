"""Fit the crossed model of all safety benchmarks: classes, capability, benchmarks in areas, models in lineages.

`sample_crossed` takes arrays; `fit_crossed` takes a table, and looks into the store first. What is sampled are the
variance parameters (`safetystats.inference.crossed_marginal`); all linear effects are then drawn exactly.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from safetystats.inference.arrays import FloatArray
from safetystats.inference.convergence import Convergence, convergence
from safetystats.inference.crossed_marginal import draw_effects, log_likelihood
from safetystats.inference.crossed_values import (
    CrossedData,
    CrossedDesign,
    Variances,
    design_of,
    log_prior,
    variances_of,
)
from safetystats.inference.store import FitStore, fit_key, with_attrs
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import CrossedPriors, CrossedSpec, SamplingPlan
from safetystats.tables.table import ScoreTable

TERMS = ("level", "slope", "class", "interaction")
IDENTITY = {"transform", "capability", "priors", "sampling", "gates"}
"""Fields of a spec that decide the numbers of a fit."""
LATER_ACCEPT = (0.9, 0.98)
"""Target acceptance of a second and a third attempt, which have twice the draws."""
START_SD = 0.3
NEGLIGIBLE = 1e-12
"""A column whose sd is below this share of its largest value is constant."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossedFit:
    """Posterior of the crossed model.

    Attributes
    ----------
    table : ScoreTable
        Aligned; the models and benchmarks that were fitted.
    classes, areas, lineages : tuple of str
        Labels in the order of their codes; the first class is the reference.
    spec : CrossedSpec
    seed : int
    draws : DataTree
        Group `posterior`, dims chain and draw first. Coefficients are `level` and `slope`, means of the classes' own at
        average capability, and for every other class `class[c]` and `capability:class[c]`, differences from the
        reference: `overall` over coefficient, `area_coefficient` and `benchmark_coefficient` over area or benchmark and
        coefficient, each the whole value and not the deviation. `model_effect` over model and `lineage_effect` over
        lineage are those common to all areas, `model_area_effect` and `lineage_area_effect` the whole effect in an
        area. Variance parameters as in `Variances`; `capability` over chain and model. Group `sample_stats`.
    plans : tuple of SamplingPlan
        The plan that was run; further ones if it did not pass the gates (of the first imputation).
    n_imputations : int
        Draws of capability that were fitted in turn; their chains stand one after the other.
    left_out : dict
        Benchmarks and models that were not fitted, each with the reason.
    key : str
    reused : bool
    """

    table: ScoreTable
    classes: tuple[str, ...]
    areas: tuple[str, ...]
    lineages: tuple[str, ...]
    spec: CrossedSpec
    seed: int
    draws: xr.DataTree
    plans: tuple[SamplingPlan, ...]
    n_imputations: int
    left_out: dict[str, str]
    key: str
    reused: bool

    @property
    def posterior(self) -> xr.Dataset:
        """Draws."""
        return self.draws["posterior"].to_dataset()

    def values(self, name: str) -> FloatArray:
        """Return draws of one variable, chain by chain, shape (n_draws, ...)."""
        found = self.posterior[name].transpose("chain", "draw", ...).to_numpy()
        return np.asarray(found.reshape(-1, *found.shape[2:]), dtype=np.float64)

    @property
    def capability(self) -> FloatArray:
        """Capability of the models that goes with every draw, shape (n_draws, n_models)."""
        found = self.posterior["capability"].to_numpy()
        return np.asarray(np.repeat(found, self.posterior.sizes["draw"], axis=0), dtype=np.float64)

    def convergence(self) -> tuple[Convergence, ...]:
        """Return the diagnostics over all parameters, one for every imputation: their posteriors differ."""
        return tuple(convergence(part) for part in _imputations(self.draws, self.n_imputations))


def sample_crossed(
    data: CrossedData,
    spec: CrossedSpec,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    """Draw from the posterior; while a gate fails, anew with twice the draws and smaller steps, twice at most.

    Parameters
    ----------
    data : CrossedData
    spec : CrossedSpec
    seed : int
    report : callable or None
    cores : int or None

    Returns
    -------
    DataTree
        As in `CrossedFit`, without labels.
    tuple of SamplingPlan
    """
    design = design_of(data)
    plans = [spec.sampling]
    draws = draw_crossed(design, data.capability, spec.priors, spec.sampling, seed, report, cores)
    for accept in LATER_ACCEPT:
        if convergence(_imputations(draws, 1)[0]).passes(spec.gates):
            break
        more = {"draws": 2 * spec.sampling.draws, "tune": 2 * spec.sampling.tune}
        accept_now = max(spec.sampling.target_accept, accept)
        plans.append(spec.sampling.model_copy(update={**more, "target_accept": accept_now}))
        anew = seed_for(seed, "attempt", str(len(plans)))
        draws = draw_crossed(design, data.capability, spec.priors, plans[-1], anew, report, cores)
    return draws, tuple(plans)


def draw_crossed(
    design: CrossedDesign,
    capability: FloatArray,
    priors: CrossedPriors,
    plan: SamplingPlan,
    seed: int,
    report: Report | None = None,
    cores: int | None = None,
) -> xr.DataTree:
    """Draw the variance parameters with NUTS and then, given each draw, all linear effects."""
    from safetystats.inference.density_sampling import draw_density

    def log_density(free: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = log_likelihood(design, variances_of(free), priors)
        prior, prior_gradient = log_prior(free, priors)
        return value + prior, gradient + prior_gradient

    centre = np.concatenate([np.zeros(12), [-0.5, -1.0], np.full(len(design.count), -0.5)])

    def start(rng: np.random.Generator) -> FloatArray:
        return np.asarray(centre + START_SD * rng.standard_normal(design.n_dim))

    tree = draw_density(log_density, start, design.n_dim, plan, seed, report, cores)
    free = tree["posterior"]["free"].transpose("chain", "draw", "parameter").to_numpy()
    shape = free.shape[:2]
    rng = np.random.default_rng([seed, 1])
    rows = [_row(design, point, priors, rng) for point in free.reshape(-1, design.n_dim)]
    found = {
        name: (("chain", "draw", *dims), np.array([row[name] for row in rows]).reshape(*shape, *rows[0][name].shape))
        for name, dims in _DIMS.items()
    }
    posterior = xr.Dataset(found, coords={"chain": np.arange(shape[0]), "draw": np.arange(shape[1])})
    posterior["capability"] = (("chain", "model"), np.tile(capability, (shape[0], 1)))
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})


_DIMS: dict[str, tuple[str, ...]] = {
    "benchmark_sd": ("term",),
    "area_sd": ("term",),
    "model_sd": (),
    "model_area_sd": (),
    "lineage_share": (),
    "lineage_area_share": (),
    "residual_median": (),
    "residual_spread": (),
    "residual_sd": ("benchmark",),
    "overall": ("coefficient",),
    "area_coefficient": ("area", "coefficient"),
    "benchmark_coefficient": ("benchmark", "coefficient"),
    "model_effect": ("model",),
    "model_area_effect": ("area", "model"),
    "lineage_effect": ("lineage",),
    "lineage_area_effect": ("area", "lineage"),
}


def _row(
    design: CrossedDesign, free: FloatArray, priors: CrossedPriors, rng: np.random.Generator
) -> dict[str, FloatArray]:
    at = variances_of(free)
    e = draw_effects(design, at, priors, rng)
    area = e.overall + e.area
    return {
        "benchmark_sd": at.benchmark_sd,
        "area_sd": at.area_sd,
        "model_sd": np.asarray(at.model_sd),
        "model_area_sd": np.asarray(at.model_area_sd),
        "lineage_share": np.asarray(at.lineage_share),
        "lineage_area_share": np.asarray(at.lineage_area_share),
        "residual_median": np.asarray(at.residual_median),
        "residual_spread": np.asarray(at.residual_spread),
        "residual_sd": at.residual_sd,
        "overall": e.overall,
        "area_coefficient": area,
        "benchmark_coefficient": area[design.area_of] + e.benchmark,
        "model_effect": e.model,
        "model_area_effect": e.model + e.model_area,
        "lineage_effect": e.lineage,
        "lineage_area_effect": e.lineage + e.lineage_area,
    }


def fit_crossed(
    table: ScoreTable,
    capability: pd.Series,
    spec: CrossedSpec,
    seed: int,
    store: FitStore,
    *,
    reference_class: str | None = None,
    capability_draws: FloatArray | None = None,
    n_imputations: int = 5,
    report: Report | None = None,
    cores: int | None = None,
) -> CrossedFit:
    """Fit all safety benchmarks of a table at once.

    Scores and capability are standardised over all models that enter the fit, both classes together.

    Parameters
    ----------
    table : ScoreTable
        Aligned, transformed as the spec says, not standardised within classes; two classes or more.
    capability : Series
        Of each model, on one scale for all classes, index: model identifiers. Models without are left out.
    spec : CrossedSpec
    seed : int
    store : FitStore
    reference_class : str, optional
        Default: the first class of the table.
    capability_draws : array, shape (n_draws, n_models), optional
        Draws of capability, models in table order, on the scale of `capability`. `n_imputations` of them, evenly
        spaced, are fitted in turn and the posteriors are mixed (a cut: scores do not move capability).
    n_imputations : int
    report : callable or None
    cores : int or None

    Raises
    ------
    ValueError
        If the table is not aligned or is standardised within classes, has one class only, or there is nothing to fit.
    FitError
        If the sampler stops with an error.
    """
    if not table.preparation.aligned or table.preparation.standardised == "class":
        raise ValueError("fit_crossed needs a table that is aligned and not standardised within classes")
    ability = capability.reindex(table.scores.index).to_numpy(dtype=np.float64)
    part, left_out = _kept(table, ability)
    reference = table.classes[0] if reference_class is None else reference_class
    if len(part.classes) < 2 or reference not in part.classes:
        raise ValueError(f"two classes with {reference} among them are needed, found: {', '.join(part.classes)}")
    classes = (reference, *(c for c in part.classes if c != reference))
    kept = table.scores.index.get_indexer(part.scores.index)
    centre, spread = ability[kept].mean(), ability[kept].std()
    if not spread > 0:
        raise ValueError("capability does not vary")
    if capability_draws is None:
        versions = ((ability[kept] - centre) / spread)[None]
    else:
        chosen = np.linspace(0, len(capability_draws) - 1, n_imputations).round().astype(int)
        versions = (capability_draws[chosen][:, kept] - centre) / spread
    names = [str(name) for name in part.scores.columns]
    scores = part.matrix(names)
    scores = (scores - np.nanmean(scores, axis=0)) / np.nanstd(scores, axis=0)
    area_codes, areas = pd.factorize(part.benchmarks["area"].astype(str))
    lineage_codes, lineages = pd.factorize(part.models["lineage"].astype(str))
    data = [
        CrossedData(
            scores=scores,
            capability=version,
            classes=np.array([classes.index(c) for c in part.models["model_class"]]),
            lineages=np.asarray(lineage_codes, dtype=np.int64),
            areas=np.asarray(area_codes, dtype=np.int64),
        )
        for version in versions
    ]
    models = [str(name) for name in part.scores.index]
    key = fit_key(
        "crossed", scores.tobytes(), versions.tobytes(), data[0].classes.tobytes(), data[0].lineages.tobytes(),
        data[0].areas.tobytes(), names, models, classes, list(areas), list(lineages),
        spec.model_dump_json(include=IDENTITY), seed,
    )  # fmt: skip
    saved = store.load(key, lambda tree: bool(np.isclose(
        _log_density(tree, data[0], spec), float(tree.attrs.get("log_density", np.nan)), rtol=1e-9, atol=1e-6
    )))  # fmt: skip
    reused = saved is not None
    if saved is None:
        trees, plans = zip(
            *(sample_crossed(d, spec, seed_for(seed, "crossed", str(i)), report, cores) for i, d in enumerate(data)),
            strict=True,
        )
        coords = {
            "benchmark": names, "model": models, "area": list(areas), "lineage": list(lineages), "term": list(TERMS),
            "coefficient": ["level", "slope", *(f"class[{c}]" for c in classes[1:]),
                            *(f"capability:class[{c}]" for c in classes[1:])],
        }  # fmt: skip
        saved = with_attrs(
            _mixed(trees, coords), kind="crossed", table_name=table.name, model_class=" ".join(classes),
            spec=spec.model_dump_json(), seed=seed, table=table.fingerprint,
            plans=json.dumps([plan.model_dump() for plan in plans[0]]),
        )  # fmt: skip
        saved = with_attrs(saved, log_density=_log_density(saved, data[0], spec))
        store.save(key, saved)
        # As it is in the file: sums over another layout in memory differ in the last digit.
        saved = store.load(key, lambda _: True) or saved
    return CrossedFit(
        table=part, classes=classes, areas=tuple(areas), lineages=tuple(lineages), spec=spec, seed=seed, draws=saved,
        plans=tuple(SamplingPlan(**plan) for plan in json.loads(saved.attrs["plans"])), n_imputations=len(data),
        left_out=left_out, key=key, reused=reused,
    )  # fmt: skip


def _kept(table: ScoreTable, ability: FloatArray) -> tuple[ScoreTable, dict[str, str]]:
    """Return the models and safety benchmarks that can be fitted, and why the others cannot."""
    left_out = {str(m): "no capability" for m in table.scores.index[~np.isfinite(ability)]}
    part = table.select(models=table.scores.index[np.isfinite(ability)], roles=("safety",))
    values = part.matrix()
    counts = np.isfinite(values).sum(axis=0)
    good = []
    for name, column, count in zip(part.scores.columns, values.T, counts, strict=True):
        seen = column[np.isfinite(column)]
        if count < 2 or seen.std() <= NEGLIGIBLE * np.abs(seen).max():
            left_out[str(name)] = "fewer than two scores" if count < 2 else "all scores are equal"
        else:
            good.append(str(name))
    some = np.isfinite(part.matrix(good)).any(axis=1)
    left_out |= {str(m): "no safety score" for m in part.scores.index[~some]}
    if not good or not some.any():
        raise ValueError("there is no safety benchmark to fit")
    return part.select(models=part.scores.index[some], benchmarks=good), left_out


def _mixed(trees: Sequence[xr.DataTree], coords: dict[str, list[str]]) -> xr.DataTree:
    """Put the chains of imputations one after the other, draws thinned to one number; label them."""
    fewest = min(tree["posterior"].sizes["draw"] for tree in trees)
    groups = {}
    for group in ("posterior", "sample_stats"):
        thinned = []
        for tree in trees:
            own = tree[group].to_dataset()
            own = own.isel(draw=slice(None, None, own.sizes["draw"] // fewest))
            thinned.append(own.assign_coords(draw=np.arange(fewest)))
        joined = xr.concat(thinned, dim="chain")
        groups[group] = joined.assign_coords(chain=np.arange(joined.sizes["chain"]))
    # Single precision halves the file; an effect has no more than three figures of Monte Carlo precision.
    small = {n: v.astype(np.float32) for n, v in groups["posterior"].items() if "effect" in str(n) or "coef" in str(n)}
    groups["posterior"] = groups["posterior"].assign(small).assign_coords(coords)
    return xr.DataTree.from_dict(groups)


def _imputations(tree: xr.DataTree, n: int) -> list[xr.DataTree]:
    """Return the chains of every imputation by themselves, parameters only."""
    chains = tree["posterior"].sizes["chain"] // n
    parameters, stats = tree["posterior"].to_dataset().drop_vars("capability"), tree["sample_stats"].to_dataset()
    own = [slice(i * chains, (i + 1) * chains) for i in range(n)]
    return [
        xr.DataTree.from_dict({"posterior": parameters.isel(chain=part), "sample_stats": stats.isel(chain=part)})
        for part in own
    ]


def _log_density(tree: xr.DataTree, data: CrossedData, spec: CrossedSpec) -> float:
    """Return the log marginal likelihood at the draw in the middle of the first chain, anew from the data."""
    posterior = tree["posterior"].to_dataset()
    one = posterior.isel(chain=0, draw=posterior.sizes["draw"] // 2)
    number = {
        name: float(one[name])
        for name in (
            "model_sd", "model_area_sd", "lineage_share", "lineage_area_share", "residual_median", "residual_spread"
        )
    }  # fmt: skip
    at = Variances(
        benchmark_sd=one["benchmark_sd"].to_numpy(), area_sd=one["area_sd"].to_numpy(),
        residual_sd=one["residual_sd"].to_numpy(), **number,
    )  # fmt: skip
    return log_likelihood(design_of(data), at, spec.priors, gradient=False)[0]
