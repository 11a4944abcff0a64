"""The fits of a finished run, opened again from its folder: nothing is sampled, and no graph is compiled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetystats.errors import DataError, Fault
from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.problems import kinds_for
from safetystats.inference.store import open_fit
from safetystats.specs import SamplingPlan, StudySpec
from safetystats.summaries.parts import class_parts
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.record import damaged, read_record


def reopen(folder: Path) -> tuple[Plan, dict[str, SafetyFit]]:
    """Return the plan of a finished run and its fits by class.

    The table is read again from where the run took it, and the specs from where they are named; both must be what the
    run recorded, and so must every fit (its key and the digest of its content).

    Raises
    ------
    StudyError
        If the folder is not that of a run.
    DataError
        If the table, a spec or a fit is not what the run recorded.
    """
    record = read_record(folder)
    plan = plan_study(str(record["study"]), StudySpec.model_validate_json(json.dumps(record["spec"])))
    changed = [
        what
        for what, now, then in (
            ("table", plan.table.fingerprint, record["table"]["fingerprint"]),
            ("factor spec", plan.factor.fingerprint, record["specs"]["factor"]["fingerprint"]),
        )
        if now != then
    ]
    if changed:
        raise DataError([_changed(folder, what) for what in changed])
    parts = class_parts(plan.prepared)
    kinds = kinds_for(parts, plan.factor)
    keys: Mapping[str, str] = record["fits"]
    found: dict[str, SafetyFit] = {}
    for label, part in parts.items():
        opened = {}
        for kind in ("capability", "safety"):
            path = folder / "fits" / f"{kind}-{label}.nc"
            try:
                opened[kind] = open_fit(path, keys[f"{kind}-{label}"])
            except (OSError, ValueError, KeyError) as error:
                raise DataError([damaged(path, "the fit as the run wrote it", str(error))]) from None
        draws = opened["capability"]
        capability = CapabilityFit(
            table=part, spec=plan.factor, seed=plan.study.seed, draws=draws, kind=kinds[label],
            plans=tuple(SamplingPlan(**each) for each in json.loads(draws.attrs["plans"])),
            key=keys[f"capability-{label}"], reused=True,
        )  # fmt: skip
        safety = opened["safety"]
        found[label] = SafetyFit(
            capability=capability, draws=safety, left_out=json.loads(safety.attrs["left_out"]),
            key=keys[f"safety-{label}"], reused=True,
        )  # fmt: skip
    return plan, found


def _changed(folder: Path, what: str) -> Fault:
    return Fault(
        file=str(folder),
        expected=f"the {what} of the run",
        got=f"a {what} that has changed since",
        remedy="Run the study again; saved fits are used again where nothing changed.",
    )
