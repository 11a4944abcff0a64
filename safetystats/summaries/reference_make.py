"""Make and check the draws of capability that ship with a table. Making samples; checking does not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from safetystats.errors import DataError, FitError
from safetystats.inference.fits import CapabilityFit, fit_capability
from safetystats.inference.marginal import log_density
from safetystats.inference.parameters import FactorDraws
from safetystats.inference.problems import data_of, kinds_for, structure_of
from safetystats.inference.reference import Reference, ReferenceClass, read_reference, reference_bytes, thinned
from safetystats.inference.store import FitStore
from safetystats.scores.capability import capability_score
from safetystats.shelf import sha256_file, shelf_path, write_atomic
from safetystats.specs import FactorSpec, read_study
from safetystats.summaries.gates import capability_checks
from safetystats.summaries.parts import class_parts
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.references import FILE, other_names, stated_hashes, versions_now, write_hashes
from safetystats.summaries.talk import Silence, Talk
from safetystats.tables.table import ScoreTable

DRAWS = 1000
"""Draws of capability of a file, evenly spaced over all chains."""
CHECK_COLUMNS: tuple[str, ...] = ("table", "check", "outcome", "why")
_TOLERANCE = 1e-9
"""Relative: the log density is computed from the same float64 numbers, in another order of sums at most."""
_PARAMETERS = ("rho", "total_sd", "icc", "intercept")


def make_reference(name: str, store_root: Path, talk: Talk | None = None) -> tuple[Reference, Path]:
    """Fit the capability benchmarks of a table's study and write thinned draws to the shelf.

    Parameters
    ----------
    name : str
        A study of the same name as its table: helm-classic, chat-2025, ren2024.
    store_root : Path
        Folder of saved fits; what is there is used again.
    talk : Talk, optional

    Raises
    ------
    FitError
        If a fit does not pass its gates: such draws are not stored.
    """
    told = talk or Silence()
    plan = plan_study(name, read_study(name))
    parts = class_parts(plan.prepared)
    kinds = kinds_for(parts, plan.factor)
    store = FitStore(root=store_root)
    classes: dict[str, ReferenceClass] = {}
    for label, part in parts.items():
        told.stage(f"capability of {label} models in {name}")
        fit = fit_capability(part, plan.factor, plan.study.seed, kinds[label], store, told.progress)
        failed = [check for check in capability_checks(fit) if check.outcome == "fail"]
        if failed:
            raise FitError(f"{name}, {label}: {', '.join(c.check for c in failed)} failed; no reference is written.")
        classes[label] = _of_class(plan, fit, name)
    reference = Reference(
        name=plan.table.name, title=plan.table.title, classes=classes, spec=plan.factor, spec_name=plan.study.factor,
        seed=plan.study.seed,
        rope=plan.study.rope, level=plan.study.level, table_fingerprint=plan.table.fingerprint, versions=versions_now(),
        source="",
    )  # fmt: skip
    path = shelf_path("data", name, FILE)
    content = reference_bytes(reference)
    write_atomic(path, content)
    write_hashes(stated_hashes() | {name: sha256_file(path)})
    return reference, path


def _of_class(plan: Plan, fit: CapabilityFit, name: str) -> ReferenceClass:
    label, table = fit.model_class, fit.table
    found = fit.convergence()
    chosen = thinned(len(fit.theta), DRAWS)
    posterior = fit.posterior
    n_draws = posterior.sizes["draw"]
    middle = n_draws // 2  # of the first chain, whose draws come first
    one = {field: getattr(fit.parameters, field)[middle].tolist() for field in _PARAMETERS}
    native = plan.table.select(model_class=label)
    score = capability_score(native.matrix(native.columns("capability")), method=plan.score.method, missing="drop")
    by_model = pd.Series(score.score, index=native.scores.index)
    return ReferenceClass(
        models=tuple(str(model) for model in table.scores.index),
        families=tuple(table.models["family"].astype(str)),
        lineages=tuple(table.models["lineage"].astype(str)),
        others=other_names(name, table.models),
        theta=fit.theta[chosen],
        capability_icc=fit.parameters.capability_icc[chosen],
        score_2024=by_model.reindex(table.scores.index).to_numpy(dtype=np.float64),
        benchmarks=tuple(fit.benchmarks),
        convergence={k: float(v) for k, v in asdict(found).items() if not isinstance(v, str)},
        failed=(),
        proof={
            "log_density": float(fit.draws.attrs["log_density"]),
            "capability_icc": float(fit.parameters.capability_icc[middle]),
            **one,
        },
    )


def check_reference(name: str) -> pd.DataFrame:
    """Check the stored draws of a table: hash and digest of the file, and against the table where that is at hand.

    Returns
    -------
    DataFrame
        Columns `CHECK_COLUMNS`; outcome pass, fail or not_run. `log_density` computes the log density of one stored
        draw of the parameters anew from the table; it does not depend on the draws of capability, which the hash holds.
    """
    rows: list[tuple[str, str, str, str]] = []

    def row(check: str, ok: bool, why: str) -> None:
        rows.append((name, check, "pass" if ok else "fail", why))

    path = shelf_path("data", name, FILE)
    stated = stated_hashes().get(name, "")
    found = sha256_file(path) if path.is_file() else "no file"
    row("sha256", found == stated, f"stated {stated[:16] or 'nowhere'}, found {found[:16]}")
    try:
        reference = read_reference(path)
    except DataError as error:
        row("content", False, str(error))
        return pd.DataFrame(rows, columns=list(CHECK_COLUMNS))
    row("content", True, f"digest {reference.digest[:16]}")
    for label, own in reference.classes.items():
        finite = bool(np.isfinite(own.theta).all()) and own.theta.shape[1] == len(own.models)
        row("draws", finite, f"{label}: {own.theta.shape[0]} draws of {own.theta.shape[1]} models")
    try:
        plan = plan_study(name, read_study(name))
    except DataError:
        rows.append((name, "table", "not_run", "the table is not at hand"))
        return pd.DataFrame(rows, columns=list(CHECK_COLUMNS))
    row("table", plan.table.fingerprint == reference.table_fingerprint, f"fingerprint {plan.table.fingerprint[:16]}")
    row("spec", plan.factor.fingerprint == reference.spec.fingerprint, f"{reference.spec_name}")
    for label, part in class_parts(plan.prepared).items():
        if label not in reference.classes:
            row("log_density", False, f"{label}: no such class in the file")
            continue
        stored = reference.classes[label].proof
        value = _log_density(stored, part, reference.spec)
        close = bool(np.isclose(value, float(stored["log_density"]), rtol=_TOLERANCE, atol=1e-6))
        row("log_density", close, f"{label}: stored {float(stored['log_density']):.6f}, computed {value:.6f}")
    return pd.DataFrame(rows, columns=list(CHECK_COLUMNS))


def _log_density(stored: Mapping[str, Any], part: ScoreTable, spec: FactorSpec) -> float:
    names = part.columns("capability")
    drawn = {field: np.asarray([stored[field]], dtype=np.float64) for field in _PARAMETERS}
    one = FactorDraws(
        **drawn, capability_icc=np.asarray([stored["capability_icc"]]), further=np.zeros((1, len(names), 0))
    )
    anchors = structure_of(part, names, spec).anchors
    return float(log_density(one, data_of(part, names, spec), spec.priors, anchors)[0])
