"""A study whose every part has been found and checked before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from safetystats.errors import DataError, Fault, StudyError, suggest
from safetystats.specs import CrossedSpec, FactorSpec, InvarianceSpec, MixedSpec, ScoreSpec, StudySpec, read_spec
from safetystats.summaries.flow import Flow, trace_flow
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise, transform
from safetystats.tables.table import ScoreTable

MIN_CAPABILITY = 3
MIN_MODELS = 5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """A study whose every part has been found and checked; nothing is fitted yet.

    Attributes
    ----------
    name : str
        Short name: the recipe's, or the stem of the study file.
    study : StudySpec
    score, factor, mixed, crossed, invariance
        The specs that the study names.
    compared : mapping of str to FactorSpec
        Factor specs to set beside `factor`.
    table : ScoreTable
        As read, restricted to the classes of the study.
    aligned : ScoreTable
        Every column pointing upward; columns without a direction left out.
    prepared : ScoreTable
        Aligned, transformed as the factor spec says, z-scored within each class.
    flow : Flow
        What came in, what was dropped, and why.
    """

    name: str
    study: StudySpec
    score: ScoreSpec
    factor: FactorSpec
    mixed: MixedSpec
    crossed: CrossedSpec
    invariance: InvarianceSpec
    compared: Mapping[str, FactorSpec]
    table: ScoreTable
    aligned: ScoreTable
    prepared: ScoreTable
    flow: Flow


def plan_study(name: str, study: StudySpec) -> Plan:
    """Find and check every part of a study.

    Raises
    ------
    StudyError
        For a spec or a class that does not exist.
    DataError
        For a table that cannot be read, or with too few models or capability benchmarks for the analysis.
    """
    score, factor, mixed = (
        read_spec(study.score, "score"),
        read_spec(study.factor, "factor"),
        read_spec(study.mixed, "mixed"),
    )
    assert isinstance(score, ScoreSpec)
    assert isinstance(factor, FactorSpec)
    assert isinstance(mixed, MixedSpec)
    crossed, invariance = read_spec(study.crossed, "crossed"), read_spec(study.invariance, "invariance")
    assert isinstance(crossed, CrossedSpec)
    assert isinstance(invariance, InvarianceSpec)
    compared = _compared(name, study, factor)
    whole = load_table(study.table)
    classes = study.classes or whole.classes
    unknown = [c for c in classes if c not in whole.classes]
    if unknown:
        known = ", ".join(whole.classes)
        raise StudyError(
            [
                Fault(
                    file=name,
                    column="classes",
                    expected=f"classes of the table {whole.name} ({known})",
                    got=f'"{c}"',
                    remedy=f"Correct the name{suggest(c, whole.classes) or '.'}",
                )
                for c in unknown
            ]
        )
    absent = [m for m in study.exclude if m not in whole.models.index]
    if absent:
        raise StudyError(
            [
                Fault(
                    file=name,
                    column="exclude",
                    expected=f"models of the table {whole.name}",
                    got=f'"{m}"',
                    remedy=f"Correct the name{suggest(m, whole.models.index) or '.'}",
                )
                for m in absent
            ]
        )
    table = in_class_order(whole.select(model_class=classes), classes)
    table = table.select(models=[m for m in table.models.index if m not in study.exclude])
    aligned = align(table)
    _check_effects(name, study, aligned)
    prepared = standardise(transform(aligned, factor.transform), by="class")
    check_size(prepared)
    flow = trace_flow(whole, table, aligned, prepared)
    return Plan(
        name=name, study=study, score=score, factor=factor, mixed=mixed, crossed=crossed,
        invariance=invariance, compared=compared, table=table, aligned=aligned, prepared=prepared, flow=flow,
    )  # fmt: skip


def _check_effects(name: str, study: StudySpec, aligned: ScoreTable) -> None:
    """Refuse a smallest effect of interest for something that is no safety benchmark of the table."""
    known = aligned.columns("safety")
    unknown = [benchmark for benchmark in study.questions.smallest_effect if benchmark not in known]
    if unknown:
        raise StudyError(
            [
                Fault(
                    file=name,
                    column="questions.smallest_effect",
                    expected=f"safety benchmarks of the table {aligned.name}",
                    got=f'"{benchmark}"',
                    remedy=f"Correct the name{suggest(benchmark, known) or '.'}",
                )
                for benchmark in unknown
            ]
        )


def _compared(name: str, study: StudySpec, own: FactorSpec) -> dict[str, FactorSpec]:
    """Return the factor specs that the study compares its own with; they must be of the same scores."""
    found: dict[str, FactorSpec] = {}
    faults = []
    for other in study.scrutiny.compare:
        spec = read_spec(other, "factor")
        assert isinstance(spec, FactorSpec)
        if spec.transform != own.transform:
            faults.append(
                Fault(
                    file=name,
                    column="scrutiny.compare",
                    expected=f'specs with transform = "{own.transform}", as in {study.factor}',
                    got=f'"{other}" with transform = "{spec.transform}"',
                    remedy="Densities of differently transformed scores cannot be compared; leave it out.",
                )
            )
        if other != study.factor:
            found[other] = spec
    if faults:
        raise StudyError(faults)
    return found


def in_class_order(table: ScoreTable, classes: tuple[str, ...]) -> ScoreTable:
    """Put the models in the order of the classes that the study names: the first is the reference."""
    order = np.concatenate([np.flatnonzero((table.models["model_class"] == c).to_numpy()) for c in classes])
    return table.replace(scores=table.scores.iloc[order], models=table.models.iloc[order])


def check_size(prepared: ScoreTable) -> None:
    """Refuse a table from which nothing can be fitted.

    Raises
    ------
    DataError
        Too few models or capability benchmarks of a class, or no safety benchmark with a direction.
    """
    faults = []
    for label in prepared.classes:
        part = prepared.select(model_class=label)
        names = [n for n in part.columns("capability") if part.scores[n].notna().sum() >= MIN_MODELS]
        if len(names) < MIN_CAPABILITY:
            faults.append(
                Fault(
                    file=prepared.name,
                    column="role",
                    expected=f"at least {MIN_CAPABILITY} capability benchmarks scored by {MIN_MODELS} {label} models",
                    got=str(len(names)),
                    remedy=f'Add capability benchmarks (role "capability") or leave the class "{label}" out.',
                )
            )
        n = int(part.scores[part.columns("capability")].notna().any(axis=1).sum())
        if n < MIN_MODELS:
            faults.append(
                Fault(
                    file=prepared.name,
                    column="model_class",
                    expected=f"at least {MIN_MODELS} {label} models with a capability score",
                    got=str(n),
                    remedy=f'Add models, or leave the class "{label}" out: from so few nothing can be said.',
                )
            )
    if not prepared.columns("safety"):
        faults.append(
            Fault(
                file=prepared.name,
                column="role",
                expected="at least one safety benchmark with a declared direction",
                got="none",
                remedy='Declare a benchmark with role "safety" and a direction.',
            )
        )
    if faults:
        raise DataError(faults)
