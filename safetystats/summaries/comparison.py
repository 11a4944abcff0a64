"""The comparison of classes: one capability scale, differences of correlations, mixed models, the crossed model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.errors import DataError
from safetystats.inference.arrays import FloatArray
from safetystats.inference.crossed import CrossedFit, fit_crossed
from safetystats.inference.fits import SafetyFit
from safetystats.inference.groups import GroupFit, fit_common, pooled_capability
from safetystats.inference.mixed_bootstrap import Bootstrap
from safetystats.inference.mixed_table import fit_mixed_table
from safetystats.inference.store import FitStore
from safetystats.scores.capability import capability_score
from safetystats.specs import FactorSpec
from safetystats.summaries.class_contrasts import closed_differences, difference_checks, posterior_differences
from safetystats.summaries.crossed_tables import crossed_effects, differential_progress, lineage_shifts
from safetystats.summaries.gates import Check, Outcome, convergence_checks
from safetystats.summaries.glossary import TABLES, conform
from safetystats.summaries.influence import class_influence, difference_influence
from safetystats.summaries.invariance import check_invariance, common_scores, pooled_table
from safetystats.summaries.plan import Plan
from safetystats.summaries.talk import Talk
from safetystats.tables.prepare import standardise, transform
from safetystats.tables.table import ScoreTable

MIXED: tuple[str, ...] = (
    "mixed_effects", "mixed_fits", "mixed_contrasts", "marginal_means", "capability_overlap", "class_influence",
)  # fmt: skip
"""Tables of the mixed models."""
NAMES: tuple[str, ...] = (
    "posterior_differences", "difference_influence", "common_capability", "invariance", "invariance_loadings", *MIXED,
    "crossed_effects", "differential_progress", "lineage_shifts",
)  # fmt: skip
"""Tables of the comparison."""
IN_COMMON_FIT = "fit of capability on one scale for all classes"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What the comparison of classes found; a study of one class has empty tables and a check that says so.

    Attributes
    ----------
    tables : mapping of str to DataFrame
        All of `NAMES`.
    checks : tuple of Check
    fits : mapping of str to Path
        Saved fits, by a readable name.
    facts : mapping of str to (str, int, float)
        What the text quotes and no table holds.
    """

    tables: Mapping[str, pd.DataFrame]
    checks: tuple[Check, ...]
    fits: Mapping[str, Path]
    facts: Mapping[str, str | int | float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scale:
    """Capability on one scale for all classes.

    Attributes
    ----------
    capability : Series
        Of each model; the posterior mean where it is latent.
    draws : DataFrame or None
        Draws of latent capability, shape (draws, models).
    kind : {"latent", "mean", "pca"}
        What it is; not what the mixed spec asks for where there is no latent one.
    """

    capability: pd.Series
    draws: pd.DataFrame | None
    kind: str


def compare_classes(plan: Plan, safety: Mapping[str, SafetyFit], store: FitStore, told: Talk) -> Comparison:
    """Compare the classes of a study in every way that it asks for.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class, in the order of the study.
    store : FitStore
    told : Talk
        Told of progress.

    Raises
    ------
    FitError
        If a sampler stops with an error.
    """
    tables = {name: _empty(name) for name in NAMES}
    classes = plan.table.classes
    if len(classes) < 2:
        why = f"one class only ({classes[0]}): there is nothing to compare"
        return Comparison(tables=tables, checks=(_note("classes", "not_applicable", why),), fits={}, facts={})
    study, seed, level = plan.study, plan.study.seed, plan.study.level
    checks: list[Check] = []
    fits: dict[str, Path] = {}
    facts: dict[str, str | int | float] = {}

    closed = closed_differences(plan.table, plan.score, level, seed)
    tables["posterior_differences"] = posterior_differences(safety, closed, plan.factor, level, study.rope)
    checks += difference_checks(tables["posterior_differences"], plan.factor.gates)
    tables["difference_influence"] = conform(
        "difference_influence",
        difference_influence(safety, tables["posterior_differences"], plan.table, plan.factor, plan.score, level),
    )

    scale, common, notes = common_scale(plan, store, told)
    checks += notes
    facts["common_scale"] = scale.kind
    if common is not None:
        fits["common"] = store.path(common.key)
        tables["common_capability"] = conform("common_capability", common_scores(common, level))
        if study.scrutiny.invariance:
            found = check_invariance(
                common.table, common.factor, plan.invariance, seed, store, level, study.scrutiny.exact_refits,
                told.progress,
            )  # fmt: skip
            tables["invariance"] = conform("invariance", found.invariance)
            tables["invariance_loadings"] = conform("invariance_loadings", found.loadings)
            checks += found.checks
        else:
            checks.append(_note("invariance", "not_run", "the study does not compare models of invariance"))
            checks += convergence_checks(
                "invariance/scalar", common.convergence(), plan.invariance.gates, len(common.plans)
            )

    mixed, mixed_checks = mixed_comparison(plan, scale, told)
    tables |= mixed
    checks += mixed_checks

    crossed = _crossed(plan, scale, store, told)
    fits["crossed"] = store.path(crossed.key)
    tables["crossed_effects"] = conform("crossed_effects", crossed_effects(crossed, level))
    tables["differential_progress"] = conform("differential_progress", differential_progress(crossed, level))
    tables["lineage_shifts"] = conform("lineage_shifts", lineage_shifts(crossed, level, _in_units_of(crossed, scale)))
    for place, one in enumerate(crossed.convergence()):
        label = "crossed" if crossed.n_imputations == 1 else f"crossed/{place + 1}"
        checks += convergence_checks(label, one, plan.crossed.gates, len(crossed.plans))
    checks += [_note(f"crossed/{name}", "not_applicable", f"left out: {why}") for name, why in crossed.left_out.items()]
    facts |= _facts(crossed)
    return Comparison(tables=tables, checks=tuple(checks), fits=fits, facts=facts)


def common_scale(plan: Plan, store: FitStore, told: Talk) -> tuple[Scale, GroupFit | None, list[Check]]:
    """Return capability on one scale, the fit that it comes from, and what is to be known of it."""
    notes: list[Check] = []
    try:
        factor = _plain(plan.factor)
        if factor is not plan.factor:
            why = f"the {IN_COMMON_FIT} has one factor and takes scores as exact, unlike the study's factor spec"
            notes.append(_note("common", "not_applicable", why))
        pooled = pooled_table(plan.aligned, factor)
        common = fit_common(pooled, factor, plan.invariance, plan.study.seed, store, told.progress)
    except DataError as error:
        reason = "; ".join(f"expected {fault.expected}, got {fault.got}" for fault in error.faults)
        notes.append(_note("common", "not_applicable", f"no {IN_COMMON_FIT}: {reason}"))
        kind = "mean" if plan.mixed.capability == "latent" else plan.mixed.capability
        return Scale(capability=closed_capability(plan, kind), draws=None, kind=kind), None, notes
    if plan.mixed.capability != "latent":
        kind = plan.mixed.capability
        return Scale(capability=closed_capability(plan, kind), draws=None, kind=kind), common, notes
    draws = pd.DataFrame(pooled_capability(common.theta), columns=common.models)
    return Scale(capability=draws.mean(), draws=draws, kind="latent"), common, notes


def _plain(spec: FactorSpec) -> FactorSpec:
    """Return the spec as the multi-group model can have it: one factor, exact scores."""
    if spec.further == "none" and spec.measurement == "exact":
        return spec
    return spec.model_copy(update={"further": "none", "n_further": 0, "measurement": "exact"})


def closed_capability(plan: Plan, kind: str) -> pd.Series:
    """Return the closed-form capability of every model over all classes together."""
    pooled = standardise(plan.aligned, by="pooled")
    values = pooled.matrix(pooled.columns("capability"))
    if kind == "mean":
        score = capability_score(values, method="mean_z", missing="available").score
    else:
        score = capability_score(values, method="pearson_pca", missing="drop").score
    return pd.Series(score, index=pooled.scores.index)


def mixed_comparison(plan: Plan, scale: Scale, told: Talk) -> tuple[dict[str, pd.DataFrame], list[Check]]:
    """Return the tables of the mixed models, one for each of `MIXED`, and the status of every fit."""
    spec = plan.mixed
    found = fit_mixed_table(
        plan.aligned,
        scale.capability,
        draws=scale.draws,
        reference_class=plan.table.classes[0],
        groups=spec.groups,
        bootstrap=Bootstrap(replicates=spec.replicates, replicates_small=spec.replicates_small, seed=plan.study.seed),
        imputations=spec.imputations,
        level=plan.study.level,
        report=told.progress,
    )
    checks = [
        Check(
            fit=str(row["fit"]), check=str(row["check"]), value=float(row["value"]), limit=float(row["limit"]),
            outcome=row["outcome"], why=str(row["why"]),
        )
        for row in found.diagnostics.to_dict("records")
    ]  # fmt: skip
    influence = class_influence(found.comparisons, plan.aligned, scale.capability)
    frames = (found.effects, found.fits, found.contrasts, found.marginal_means, found.overlap, influence)
    return {name: conform(name, frame) for name, frame in zip(MIXED, frames, strict=True)}, checks


def _crossed(plan: Plan, scale: Scale, store: FitStore, told: Talk) -> CrossedFit:
    table: ScoreTable = transform(plan.aligned, plan.crossed.transform, by="pooled")
    return fit_crossed(
        table, scale.capability, plan.crossed, plan.study.seed, store, reference_class=plan.table.classes[0],
        report=told.progress,
    )  # fmt: skip


def _in_units_of(crossed: CrossedFit, scale: Scale) -> FloatArray | None:
    """Return draws of capability of the models of a fit, in the units of its plug-in value; None if there are none."""
    if scale.draws is None or crossed.n_imputations > 1:
        return None
    models = [str(name) for name in crossed.table.scores.index]
    plugged = scale.capability.reindex(models).to_numpy(dtype=np.float64)
    draws = scale.draws[models].to_numpy(dtype=np.float64)
    return np.asarray((draws - plugged.mean()) / plugged.std())


def _facts(crossed: CrossedFit) -> dict[str, str | int | float]:
    """Variance parameters of the crossed model that the text quotes."""
    found: dict[str, str | int | float] = {
        "crossed_benchmarks": len(crossed.table.scores.columns),
        "crossed_models": len(crossed.table.scores.index),
        "crossed_areas": len(crossed.areas),
        "crossed_lineages": len(crossed.lineages),
        "crossed_cells": int(np.isfinite(crossed.table.matrix()).sum()),
        "crossed_imputations": crossed.n_imputations,
    }
    for name in ("model_sd", "model_area_sd", "lineage_share", "lineage_area_share"):
        found[f"crossed.{name}"] = float(crossed.values(name).mean())
    return found


def _note(fit: str, outcome: Outcome, why: str) -> Check:
    return Check(fit=fit, check="status", value=float("nan"), limit=float("nan"), outcome=outcome, why=why)


def _empty(name: str) -> pd.DataFrame:
    return pd.DataFrame(columns=list(TABLES[name]))
