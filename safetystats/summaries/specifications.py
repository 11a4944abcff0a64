"""Tables of the specification curve: what each of the listed ways to compute a correlation with capability gives.

Specification curve: Simonsohn, Simmons and Nelson (2020), Nature Human Behaviour 4; multiverse: Steegen et al. (2016).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.problems import noise_of
from safetystats.inference.specification import (
    ALL,
    CUT,
    EVEN,
    IN_RESIDUAL,
    ODD,
    QUANTITIES,
    SCALES,
    Material,
    Question,
    Specification,
    prior_name,
    specification_values,
)
from safetystats.inference.streams import Report
from safetystats.scores.specification import Handling, variance_shares
from safetystats.specs import FactorSpec, Rope
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.plan import Plan
from safetystats.summaries.posterior import VERDICTS, verdict_of
from safetystats.tables.prepare import transform
from safetystats.tables.table import ScoreTable
from safetystats.tables.transforms import TransformName

FloatArray = npt.NDArray[np.float64]

POOLED = "pooled"
"""The models of all classes together; a row of the tables beside the classes."""
CAPABILITY_DRAWS = 200
"""Draws of capability for the cut posterior of a specification."""
MOST_LISTED = 40
"""Most safety benchmarks of which every specification is listed; with more, only the headline ones are."""
RECIPE, OWN = "2024", "study"
WITHIN: Handling = "within"
"""Handling of families that estimates another correlation, that among models of one family."""
CHOICES: Mapping[str, str] = {
    "score_method": "method", "coefficient": "coefficient", "scale": "scale", "subset": "subset",
    "families": "families",
}  # fmt: skip
"""Columns of the choices and the fields of a specification that they show."""
_NAMES: tuple[TransformName, ...] = ("identity", "logit", "rank_normal")


def specification_tables(
    plan: Plan, safety: Mapping[str, SafetyFit], folder: Path | None, report: Report | None = None
) -> dict[str, pd.DataFrame]:
    """Return the tables `specifications` and `specification_shares`.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class.
    folder : Path or None
        Where finished benchmarks are kept, so that a run that was stopped goes on.
    report : callable or None
        Called with (benchmarks done, benchmarks in all).
    """
    rope, spec = plan.study.rope, plan.factor
    asked = Question(
        limit=rope.limit, level=plan.study.level, seed=plan.study.seed, priors=spec.priors, plan=spec.cut
    )  # fmt: skip
    parts = {label: (class_material(plan, fit), fit.benchmarks) for label, fit in safety.items()}
    if len(safety) > 1:
        parts[POOLED] = pooled_material(plan, safety)
    total, done = sum(len(names) for _, names in parts.values()), 0
    listed, shares = [], []
    for label, (material, names) in parts.items():
        if not names:
            continue

        def told(now: int, _: int, before: int = done) -> None:
            if report is not None:
                report(before + now, total)

        every, values = specification_values(material, asked, folder, told)
        done += len(names)
        verdicts = _verdicts(values, rope)
        areas = plan.table.benchmarks.loc[list(names), "area"].astype(str).tolist()
        logit = [has_logit(material, column) for column in range(len(names))]
        shares.append(_shares(label, names, areas, logit, every, values, verdicts))
        headline = plan.table.benchmarks.loc[list(names), "headline"].to_numpy(dtype=bool)
        shown = np.flatnonzero(headline | (len(plan.prepared.columns("safety")) <= MOST_LISTED))
        listed += [
            _listed(label, names[i], every, values[i], verdicts[i], spec, plan.study.level) for i in map(int, shown)
        ]
    return {
        name: pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(RELATIONS_TABLES[name]))
        for name, frames in (("specifications", listed), ("specification_shares", shares))
    }


def class_material(plan: Plan, fit: SafetyFit) -> Material:
    """Return what the specifications of one class are computed from."""
    table, names = fit.capability.table, fit.benchmarks
    theta = fit.capability.theta
    chosen = np.linspace(0, len(theta) - 1, min(CAPABILITY_DRAWS, len(theta))).round().astype(np.int64)
    native = plan.aligned.select(models=table.scores.index)
    scaled = _scaled(native)
    return Material(
        label=fit.capability.model_class,
        capability={scale: part.matrix(fit.capability.benchmarks) for scale, part in scaled.items()},
        safety={scale: part.matrix(names) for scale, part in scaled.items()},
        names=tuple(fit.capability.benchmarks),
        families=_codes(table),
        own_scale=plan.factor.transform,
        theta=theta[chosen],
        latent=theta.mean(axis=0),
        prepared=table.matrix(names),
        noise=noise_of(table, names, fit.capability.spec),
    )


def pooled_material(plan: Plan, safety: Mapping[str, SafetyFit]) -> tuple[Material, list[str]]:
    """Return the same for the models of all classes together, without latent capability, and the benchmarks."""
    tables = [fit.capability.table for fit in safety.values()]
    models = [model for table in tables for model in table.scores.index]
    capability = [name for name in plan.aligned.columns("capability") if all(name in t.scores for t in tables)]
    names = [
        name for name in plan.aligned.columns("safety") if any(name in fit.benchmarks for fit in safety.values())
    ]  # fmt: skip
    native = plan.aligned.select(models=models)
    scaled = _scaled(native)
    n = native.n_models
    material = Material(
        label=POOLED,
        capability={scale: part.matrix(capability) for scale, part in scaled.items()},
        safety={scale: part.matrix(names) for scale, part in scaled.items()},
        names=tuple(capability),
        families=_codes(native),
        own_scale=plan.factor.transform,
        theta=np.empty((0, n)),
        latent=np.empty(0),
        prepared=native.matrix(names),
        noise=np.zeros((n, len(names))),
    )
    return material, names


def _scaled(native: ScoreTable) -> dict[str, ScoreTable]:
    """Return the table on every scale.

    A column without bounds, or with a score of any of these models outside its declared bounds, has no logit: it stays
    as it is among the specifications on that scale (`has_logit`).
    """
    values, rows = native.matrix(), native.benchmarks
    with np.errstate(invalid="ignore"):
        outside = ((values < rows["lower"].to_numpy()) | (values > rows["upper"].to_numpy())).any(axis=0)
    bounded = native.replace(
        benchmarks=rows.assign(upper=rows["upper"].mask(outside), lower=rows["lower"].mask(outside))
    )
    assert set(_NAMES) == set(SCALES)
    return {name: transform(bounded, name, by="pooled", unbounded="keep") for name in _NAMES}


def has_logit(material: Material, column: int) -> bool:
    """Return whether the scores of a safety benchmark are transformed in the specifications on the logit scale."""
    native, scaled = (material.safety[scale][:, column] for scale in ("identity", "logit"))
    return not np.array_equal(native, scaled, equal_nan=True)


def weights_of(every: Sequence[Specification]) -> FloatArray:
    """Return the weight of each specification in the shares, shape (S,).

    One, but for those without one of the capability benchmarks: for each combination of the other choices these have
    the weight of one together, however many benchmarks there are.
    """
    single = [each.subset not in (ALL, ODD, EVEN) for each in every]
    others = [replace(each, subset="") for each in every]
    count = Counter(other for other, alone in zip(others, single, strict=True) if alone)
    return np.array([1 / count[other] if alone else 1.0 for other, alone in zip(others, single, strict=True)])


def _codes(table: ScoreTable) -> npt.NDArray[np.int64]:
    return np.asarray(pd.factorize(table.models["family"])[0], dtype=np.int64)


def _verdicts(values: FloatArray, rope: Rope) -> npt.NDArray[np.object_]:
    """Return the verdict of every benchmark and specification, shape (B, S); empty where there is no probability."""
    entangled, inverse, distinct = (values[..., QUANTITIES.index(f"p_{each}")] for each in VERDICTS[:3])
    verdicts = np.full(values.shape[:2], "", dtype=object)
    for at in np.argwhere(np.isfinite(entangled)):
        place = tuple(at)
        verdicts[place] = verdict_of(
            float(entangled[place]), float(inverse[place]), float(distinct[place]), rope.probability
        )  # fmt: skip
    return verdicts


def _shares(
    label: str,
    names: list[str],
    areas: list[str],
    logit: list[bool],
    every: tuple[Specification, ...],
    values: FloatArray,
    verdicts: npt.NDArray[np.object_],
) -> pd.DataFrame:
    estimate = values[..., QUANTITIES.index("estimate")]
    settled = verdicts != ""
    count = settled.sum(axis=1)
    weight = weights_of(every)
    apart = np.array([each.families != WITHIN for each in every])
    closed = np.array([each.method != CUT for each in every])
    by = {
        f"by_{column}": variance_shares(
            estimate[:, closed],
            pd.factorize(np.array([getattr(each, field) for each in every])[closed])[0],
            weight[closed],
        )
        for column, field in CHOICES.items()
    }
    kept = np.where(settled, estimate, np.nan)
    frame = pd.DataFrame(
        {
            "model_class": label, "benchmark": names, "area": areas, "n_specifications": count,
            "n_undefined": len(every) - count, "has_logit": logit,
        }
        | {f"share_{verdict}": _weighed(verdicts, verdict, weight) for verdict in VERDICTS[:4]}
        | {"n_whole": (settled & apart).sum(axis=1)}
        | {f"whole_{verdict}": _weighed(verdicts, verdict, weight * apart) for verdict in VERDICTS[:4]}
        | {
            name: [_quantile(row, weight, at) if np.isfinite(row).any() else np.nan for row in kept]
            for name, at in (("lowest", 0.0), ("median", 0.5), ("highest", 1.0))
        }
        | by
    )  # fmt: skip
    matrix = frame[list(by)].fillna(-1.0)
    frame["decisive"] = matrix.idxmax(axis=1).str.removeprefix("by_").where(matrix.max(axis=1) >= 0, "")
    return frame[list(RELATIONS_TABLES["specification_shares"])]


def _weighed(verdicts: npt.NDArray[np.object_], verdict: str, weight: FloatArray) -> FloatArray:
    """Return the weighted share of a verdict among the specifications that have one, shape (B,); NaN without any."""
    whole = (verdicts != "") @ weight
    own = (verdicts == verdict) @ weight
    return np.asarray(np.divide(own, whole, out=np.full(len(verdicts), np.nan), where=whole > 0))


def _quantile(row: FloatArray, weight: FloatArray, at: float) -> float:
    known = np.isfinite(row)
    return float(np.quantile(row[known], at, weights=weight[known], method="inverted_cdf"))


def _listed(
    label: str,
    name: str,
    every: tuple[Specification, ...],
    values: FloatArray,
    verdicts: npt.NDArray[np.object_],
    spec: FactorSpec,
    level: float,
) -> pd.DataFrame:
    frame = pd.DataFrame(
        {"model_class": label, "benchmark": name, "specification": np.arange(1, len(every) + 1)}
        | {"named": [_named(each, spec) for each in every]}
        | {column: [getattr(each, field) for each in every] for column, field in CHOICES.items()}
        | {"prior": [each.prior for each in every], "level": level, "verdict": verdicts, "weight": weights_of(every)}
        | {column: values[:, QUANTITIES.index(column)] for column in ("n", "estimate", "lower", "upper")}
    )
    return frame[list(RELATIONS_TABLES["specifications"])]


def _named(each: Specification, spec: FactorSpec) -> str:
    """Return which known analysis a specification is."""
    if each == Specification(
        method="spearman_pca_2024", coefficient="spearman", scale="identity", subset=ALL, families="none"
    ):
        return RECIPE
    own = IN_RESIDUAL if spec.families else "none"
    if each.method == CUT and each.families == own and each.prior == prior_name(spec.priors.loading):
        return OWN
    return ""
