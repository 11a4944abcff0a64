"""Fit several model classes together, under more or less invariance; the scalar model has one capability scale.

`fit_groups` samples one of three nested models (`safetystats.inference.groups_graph`), `fit_common` the scalar one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from safetystats.errors import DataError, Fault
from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.attempts import until_gates
from safetystats.inference.convergence import Convergence, convergence
from safetystats.inference.groups_data import GroupDraws, GroupSize, Level, group_arrays, group_draws
from safetystats.inference.marginal import family_log_likelihood
from safetystats.inference.parameters import FactorData
from safetystats.inference.problems import data_of
from safetystats.inference.store import FitStore, fit_key, with_attrs
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import FactorSpec, InvarianceSpec, SamplingPlan
from safetystats.tables.table import ScoreTable

MIN_SCORES = 3
"""Fewest scores of a capability benchmark in every class; others are not common to the classes."""
MIN_BENCHMARKS = 3
"""Fewest common capability benchmarks: with two, loadings of one factor are not identified."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupFit:
    """Posterior of one multi-group factor model of the capability benchmarks.

    Attributes
    ----------
    table : ScoreTable
        All classes, aligned, transformed, z-scored over all models together; common capability benchmarks only, models
        without a score left out (`common_table`).
    factor : FactorSpec
        Priors of the measurement model.
    spec : InvarianceSpec
    level : {"configural", "metric", "scalar"}
    seed : int
    draws : DataTree
        Groups `posterior` (the fields of `GroupDraws` over model_class and benchmark; theta over model, in sd of the
        reference class around its mean; dims chain and draw first) and `sample_stats`.
    size : GroupSize
    plans : tuple of SamplingPlan
        The plan that was run; further ones if it did not pass the gates.
    key : str
    reused : bool
    """

    table: ScoreTable
    factor: FactorSpec
    spec: InvarianceSpec
    level: Level
    seed: int
    draws: xr.DataTree
    size: GroupSize
    plans: tuple[SamplingPlan, ...]
    key: str
    reused: bool

    @property
    def classes(self) -> tuple[str, ...]:
        """Model classes, the reference first."""
        return self.table.classes

    @property
    def posterior(self) -> xr.Dataset:
        """Draws with dims chain, draw and model_class, benchmark or model."""
        return self.draws["posterior"].to_dataset()

    @property
    def parameters(self) -> GroupDraws:
        """Draws of the parameters, chain by chain."""
        return group_draws(self.posterior)

    @property
    def theta(self) -> FloatArray:
        """Draws of capability, shape (n_draws, n_models), models in table order, reference class mean 0 and sd 1."""
        values = self.posterior["theta"].transpose("chain", "draw", "model").to_numpy()
        return np.asarray(values.reshape(-1, values.shape[-1]), dtype=np.float64)

    @property
    def models(self) -> list[str]:
        """Models in table order."""
        return [str(model) for model in self.table.scores.index]

    def convergence(self) -> Convergence:
        """Return the diagnostics over all parameters that the level leaves free."""
        return group_convergence(self.draws)


def common_table(table: ScoreTable) -> ScoreTable:
    """Return the capability benchmarks that every class has, and the models with a score on one of them.

    Parameters
    ----------
    table : ScoreTable
        Aligned, transformed, `standardise(..., by="pooled")`; two or more classes.

    Raises
    ------
    ValueError
        If the table is not z-scored over all models together.
    DataError
        If there is one class only, or fewer than `MIN_BENCHMARKS` benchmarks have `MIN_SCORES` scores in every class.
    """
    if not table.preparation.aligned or table.preparation.standardised != "pooled":
        raise ValueError('needs an aligned table, standardised by="pooled": not within classes')
    label = table.models["model_class"]
    counts = table.scores[table.columns("capability")].notna().groupby(label.to_numpy()).sum()
    names = [str(name) for name in counts.columns[(counts >= MIN_SCORES).all(axis=0)]]
    if len(table.classes) < 2 or len(names) < MIN_BENCHMARKS:
        raise DataError(
            [
                Fault(
                    file=table.name,
                    column="model_class" if len(table.classes) < 2 else "role",
                    expected=f"two classes or more with {MIN_BENCHMARKS} capability benchmarks in common "
                    f"({MIN_SCORES} scores in every class)",
                    got=f"{len(table.classes)} classes with {len(names)}",
                    remedy="Add scores, or compare other classes.",
                )
            ]
        )
    return table.select(models=table.scores.index[table.scores[names].notna().any(axis=1)], benchmarks=names)


def group_size(table: ScoreTable, factor: FactorSpec) -> GroupSize:
    """Return the size of the graph of a `common_table`; missing cells are variables, as in `completed` graphs.

    Raises
    ------
    ValueError
        If the factor spec has further factors or models sampling error: the multi-group model has neither.
    """
    if factor.further != "none" or factor.measurement != "exact":
        raise ValueError("the multi-group model has one factor and takes scores as exact")
    data = group_data(table, factor)
    return GroupSize(
        n_classes=len(data),
        n_models=max(len(own.values) for own in data),
        n_benchmarks=data[0].values.shape[1],
        n_families=max(int(own.families.max()) + 1 for own in data),
        n_missing=sum(int((~np.isfinite(own.values)).sum()) for own in data),
    )


def group_data(table: ScoreTable, factor: FactorSpec) -> list[FactorData]:
    """Return the scores of every class, the reference (first) class first; families are coded within a class."""
    names = table.columns("capability")
    return [data_of(table.select(model_class=label), names, factor) for label in table.classes]


def fit_groups(
    table: ScoreTable,
    factor: FactorSpec,
    spec: InvarianceSpec,
    level: Level,
    seed: int,
    store: FitStore,
    size: GroupSize | None = None,
    report: Report | None = None,
) -> GroupFit:
    """Sample one multi-group factor model of the capability benchmarks of all classes.

    Parameters
    ----------
    table : ScoreTable
        Aligned, transformed as the factor spec says, z-scored over all models together. Its first class is the
        reference. Benchmarks that are not common and models without a score are left out (`common_table`).
    factor : FactorSpec
        Priors of loadings, kappa, omega and intercepts; whether families matter.
    spec : InvarianceSpec
    level : {"configural", "metric", "scalar"}
    seed : int
    store : FitStore
    size : GroupSize, optional
        A larger graph that was compiled before; it does not change the posterior.
    report : callable or None
        Called with (draws done, draws in all).

    Raises
    ------
    FitError
        If the sampler stops with an error.
    DataError, ValueError
        See `common_table` and `group_size`.
    """
    table = common_table(table)
    size = size or group_size(table, factor)
    data, names = group_data(table, factor), table.columns("capability")
    rows = [np.flatnonzero((table.models["model_class"] == label).to_numpy()) for label in table.classes]
    arrays = group_arrays(data, factor.priors, spec.priors, level, size, factor.families)
    stated = factor.model_dump_json(include={"transform", "families", "priors"})
    asked = spec.model_dump_json(include={"priors", "sampling", "gates"})
    key = fit_key(
        "groups", level, [part.values.tobytes() for part in data], [part.families.tobytes() for part in data],
        list(table.scores.index), list(table.models["model_class"]), names, stated, asked, seed, size,
    )  # fmt: skip
    saved = store.load(key, lambda tree: _holds(tree, data))
    if saved is None:
        saved, plans = _sampled(data, arrays, size, spec, seed_for(seed, "groups", level, *table.classes), report)
        back = np.argsort(np.concatenate(rows))
        posterior = saved["posterior"].to_dataset().isel(model=back)
        posterior = posterior.assign_coords(
            benchmark=names, model_class=list(table.classes), model=[str(model) for model in table.scores.index]
        )
        saved = with_attrs(
            xr.DataTree.from_dict({"posterior": posterior, "sample_stats": saved["sample_stats"].to_dataset()}),
            kind="groups",
            table_name=table.name,
            model_class="+".join(table.classes),
            benchmark=level,
            spec=spec.model_dump_json(),
            factor=factor.model_dump_json(),
            seed=seed,
            table=table.fingerprint,
            plans=json.dumps([plan.model_dump() for plan in plans]),
        )
        saved = with_attrs(saved, log_likelihood=_log_likelihood(saved, data))
        store.save(key, saved)
        # As it is in the file: sums over another layout in memory differ in the last digit.
        saved = store.load(key, lambda _: True) or saved
        reused = False
    else:
        plans = tuple(SamplingPlan(**plan) for plan in json.loads(saved.attrs["plans"]))
        reused = True
    return GroupFit(
        table=table, factor=factor, spec=spec, level=level, seed=seed, draws=saved, size=size, plans=plans, key=key,
        reused=reused,
    )  # fmt: skip


def fit_common(
    table: ScoreTable,
    factor: FactorSpec,
    spec: InvarianceSpec,
    seed: int,
    store: FitStore,
    report: Report | None = None,
) -> GroupFit:
    """Sample the scalar model, in which capability of all classes is on one scale; parameters as in `fit_groups`.

    `GroupFit.theta` are the draws, `pooled_capability` turns them into z-scores over all models.
    """
    return fit_groups(table, factor, spec, "scalar", seed, store, report=report)


def pooled_capability(theta: FloatArray) -> FloatArray:
    """Return draws of capability with mean zero and sd one (ddof 0) over the models, draw by draw.

    The origin and unit of the latent scale (mean and sd of the reference class) are conventions; their uncertainty
    moves all models together and says nothing about differences between them, so it is taken out of every draw. A slope
    on the result is per sd of capability over these models.

    Parameters
    ----------
    theta : array, shape (n_draws, n_models)

    Returns
    -------
    array, shape (n_draws, n_models)
    """
    centred = theta - theta.mean(axis=1, keepdims=True)
    return np.asarray(centred / centred.std(axis=1, keepdims=True))


def group_convergence(tree: xr.DataTree) -> Convergence:
    """Return the diagnostics of the parameters of every class in its own units, of latent means and sds, and of theta.

    Parameters that a level holds equal over classes would be counted twice, and what it holds constant has no R-hat.
    """
    posterior = tree["posterior"].to_dataset()
    draws, labels = group_draws(posterior), [str(name) for name in posterior["model_class"].to_numpy()]
    shape = (posterior.sizes["chain"], posterior.sizes["draw"])
    names = (
        [str(name) for name in posterior["benchmark"].to_numpy()]
        if "benchmark" in posterior.coords
        else [str(place) for place in range(posterior.sizes["benchmark"])]
    )
    own, dims = [draws.of_class(place) for place in range(len(labels))], ("chain", "draw", "benchmark")
    flat = xr.Dataset(
        {
            name: (dims, np.concatenate([getattr(part, name) for part in own], axis=1).reshape(*shape, -1))
            for name in ("rho", "total_sd", "icc", "intercept")
        },
        coords={"benchmark": [f"{label}/{name}" for label in labels for name in names]},
    )
    flat = flat.assign({name: posterior[name] for name in ("capability_icc", "theta")})
    for name in ("latent_mean", "latent_sd"):
        others = posterior[name].isel(model_class=slice(1, None))
        if float(others.std()) > 0:
            flat[name] = others.rename(model_class="other_class")
    return convergence(xr.DataTree.from_dict({"posterior": flat, "sample_stats": tree["sample_stats"].to_dataset()}))


def _sampled(
    data: Sequence[FactorData],
    arrays: Mapping[str, FloatArray | IntArray],
    size: GroupSize,
    spec: InvarianceSpec,
    seed: int,
    report: Report | None,
) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
    from safetystats.inference.sampling import compile_groups, draw_groups

    compiled = compile_groups(size)

    def draw(plan: SamplingPlan, seed: int) -> xr.DataTree:
        return draw_groups(compiled, data, arrays, plan, seed, report)

    return until_gates(draw, spec.sampling, seed, lambda tree: group_convergence(tree).passes(spec.gates))


def _log_likelihood(tree: xr.DataTree, data: Sequence[FactorData]) -> float:
    """Return the log marginal likelihood of the draw in the middle of the first chain."""
    posterior = tree["posterior"].to_dataset()
    one = group_draws(posterior.isel(chain=[0], draw=[posterior.sizes["draw"] // 2]))
    return sum(float(family_log_likelihood(one.of_class(c), own).sum()) for c, own in enumerate(data))


def _holds(tree: xr.DataTree, data: Sequence[FactorData]) -> bool:
    stored = float(tree.attrs.get("log_likelihood", np.nan))
    return bool(np.isclose(_log_likelihood(tree, data), stored, rtol=1e-9, atol=1e-6))
