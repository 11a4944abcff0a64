"""A whole study: everything is checked before the first draw, then computed stage by stage, returned as one value."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.problems import kinds_for
from safetystats.inference.store import FitStore
from safetystats.summaries import priors, scrutiny
from safetystats.summaries.comparison import compare_classes
from safetystats.summaries.decisions import decide
from safetystats.summaries.gates import Check, capability_checks, diagnostics_table, safety_checks, withheld
from safetystats.summaries.glossary import TABLES, conform
from safetystats.summaries.noise_or_distinct import withheld_for_noise
from safetystats.summaries.parts import class_parts
from safetystats.summaries.plan import Plan as Plan
from safetystats.summaries.plan import plan_study as plan_study
from safetystats.summaries.posterior import latent_loadings, latent_scores, posterior_correlations, posterior_estimands
from safetystats.summaries.talk import STAGES, Silence, Talk
from safetystats.tables.audit import Audit, audit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What a study found.

    Attributes
    ----------
    plan : Plan
    audit : Audit
    tables : mapping of str to DataFrame
        The tables of the output contract, by name.
    checks : tuple of Check
    fits : mapping of str to Path
        Saved fits, by a readable name.
    facts : mapping of str to (str, int, float)
        Single numbers that the text quotes, by key.
    timings : mapping of str to float
        Seconds per stage.
    reused : bool
        True if no fit had to be made anew.
    """

    plan: Plan
    audit: Audit
    tables: Mapping[str, pd.DataFrame]
    checks: tuple[Check, ...]
    fits: Mapping[str, Path]
    facts: Mapping[str, str | int | float]
    timings: Mapping[str, float]
    reused: bool

    @property
    def gates_passed(self) -> bool:
        """True if no check failed."""
        return all(check.outcome != "fail" for check in self.checks)


def run_study(plan: Plan, store_root: Path, talk: Talk | None = None) -> Analysis:
    """Compute everything that a plan asks for.

    Parameters
    ----------
    plan : Plan
    store_root : Path
        Folder of saved fits.
    talk : Talk, optional
        Told of stages and progress.

    Raises
    ------
    FitError
        If the sampler stops with an error.
    """
    told = talk or Silence()
    timings: dict[str, float] = {}
    tables: dict[str, pd.DataFrame] = {}
    checks: list[Check] = []
    fits: dict[str, Path] = {}
    study, seed, level = plan.study, plan.study.seed, plan.study.level

    with _timed(STAGES[0], told, timings):
        audited = audit(plan.table)
    with _timed(STAGES[1], told, timings):
        closed, interval_notes = _closed_form(plan, told)
        tables |= closed

    store = FitStore(root=store_root)
    parts = class_parts(plan.prepared)
    kinds = kinds_for(parts, plan.factor)
    capability: dict[str, CapabilityFit] = {}
    safety: dict[str, SafetyFit] = {}
    with _timed(STAGES[2], told, timings):
        for label, part in parts.items():
            capability[label] = fit_capability(part, plan.factor, seed, kinds[label], store, told.progress)
    with _timed(STAGES[3], told, timings):
        for label, fit in capability.items():
            safety[label] = fit_safety(fit, store, told.progress)
    with _timed(STAGES[4], told, timings):
        scrutinised, scrutiny_checks = _scrutiny(plan, capability, safety, store, told)
        tables |= scrutinised
    with _timed(STAGES[5], told, timings):
        compared = compare_classes(plan, safety, store, told)
        tables |= compared.tables
        fits |= compared.fits
    with _timed(STAGES[6], told, timings):
        decided = decide(plan, safety, told, store_root)
        tables |= decided.tables
    with _timed(STAGES[7], told, timings):
        for label in parts:
            checks += [*capability_checks(capability[label]), *safety_checks(safety[label])]
            fits[f"capability-{label}"] = store.path(capability[label].key)
            fits[f"safety-{label}"] = store.path(safety[label].key)
        held = withheld(checks)
        tables["capability_scores"] = _joined(
            "capability_scores",
            [tables["capability_scores"], *(latent_scores(fit, level) for fit in capability.values())],
        )
        tables["capability_loadings"] = _joined(
            "capability_loadings",
            [tables["capability_loadings"], *(latent_loadings(fit, level) for fit in capability.values())],
        )
        tables["posterior_correlations"] = _joined(
            "posterior_correlations",
            [posterior_correlations(fit, level, study.rope, held) for fit in safety.values()],
        )
        tables |= withheld_for_noise(tables)
        tables["posterior_estimands"] = _joined(
            "posterior_estimands", [posterior_estimands(fit, level) for fit in safety.values()]
        )
        checks += [*scrutiny_checks, *compared.checks, *decided.checks, *interval_notes]
        tables["diagnostics"] = diagnostics_table(checks)
        tables["audit"] = _audit_table(audited)
    facts = {**_facts(plan, capability), **compared.facts, **decided.facts}
    reused = all(f.reused for f in capability.values()) and all(f.reused for f in safety.values())
    return Analysis(
        plan=plan, audit=audited, tables={name: tables[name] for name in TABLES}, checks=tuple(checks), fits=fits,
        facts=facts, timings=timings, reused=reused,
    )  # fmt: skip


def _closed_form(plan: Plan, told: Talk) -> tuple[dict[str, pd.DataFrame], list[Check]]:
    """Scores, loadings, correlations with intervals, class differences of the 2024 recipe, and notes on intervals."""
    from safetystats.scores import recipe

    spec, study = plan.score, plan.study
    scores = recipe.capability_scores(plan.table, methods=(spec.method,))
    loadings = recipe.capability_loadings(
        plan.table, methods=(spec.method,), level=study.level, n_draws=spec.resamples, seed=study.seed
    )
    correlations = []
    for place, method in enumerate(spec.correlations):
        correlations.append(
            recipe.capability_correlations(
                plan.table, methods=(method,), intervals=spec.intervals, score_method=spec.method,
                level=study.level, n_draws=spec.resamples, seed=study.seed,
            )
        )  # fmt: skip
        told.progress(place + 1, len(spec.correlations))
    together = pd.concat(correlations, ignore_index=True)
    instead = together["note"].str.contains("percentile interval instead")
    together.loc[instead, "interval"] = "percentile"
    first, *others = plan.table.classes
    differences = [
        recipe.class_differences(
            plan.table, class_a=other, class_b=first, score_method=spec.method,
            level=study.level, n_draws=spec.resamples, seed=study.seed,
        )
        for other in others
    ]  # fmt: skip
    return {
        "capability_scores": conform("capability_scores", scores),
        "capability_loadings": conform("capability_loadings", loadings),
        "capability_correlations": conform("capability_correlations", together),
        "class_differences": _joined("class_differences", differences),
    }, _interval_notes(together)


def _interval_notes(correlations: pd.DataFrame) -> list[Check]:
    """Return what is to be known of the intervals, one check per class, method, interval and note."""
    noted = correlations[correlations["note"] != ""]
    return [
        Check(
            fit=f"intervals/{label}/{method}", check=str(interval), value=float(len(group)), limit=float("nan"),
            outcome="not_applicable", why=f"{note} ({len(group)} benchmarks)",
        )
        for (label, method, interval, note), group in noted.groupby(
            ["model_class", "method", "interval", "note"], sort=False
        )
    ]  # fmt: skip


def _scrutiny(
    plan: Plan, capability: Mapping[str, CapabilityFit], safety: Mapping[str, SafetyFit], store: FitStore, told: Talk
) -> tuple[dict[str, pd.DataFrame], list[Check]]:
    """Tables of the checks that a referee asks for, and which of them were not run."""
    wanted, study = plan.study.scrutiny, plan.study
    others = scrutiny.fit_others(capability, plan.compared, store, told.progress)
    pointwise, comparison = scrutiny.leave_out_tables(
        study.factor, capability, others, store, wanted.exact_refits, told.progress
    )
    tables = {
        "number_of_factors": scrutiny.number_of_factors(capability),
        "predictive_checks": scrutiny.predictive_checks(capability),
        "boundary_cases": scrutiny.boundary_cases(capability),
        "leave_one_out": pointwise,
        "spec_comparison": comparison,
        "prior_sensitivity": priors.prior_sensitivity(
            capability, safety, store, study.rope, grid=wanted.prior_grid, report=told.progress
        ),
        "shrunken_correlations": scrutiny.shrunken_correlations(safety, study.level, study.rope),
    }
    return tables, scrutiny.scrutiny_checks(wanted, plan.factor, others, comparison)


def _facts(plan: Plan, capability: Mapping[str, CapabilityFit]) -> dict[str, str | int | float]:
    """Numbers about the capability score that no table holds."""
    from safetystats.scores.capability import capability_score

    facts: dict[str, str | int | float] = {}
    for label, fit in capability.items():
        centred = fit.theta - fit.theta.mean(axis=1, keepdims=True)
        means, variances = centred.mean(axis=0), centred.var(axis=0)
        facts[f"theta_sd.{label}"] = float(fit.theta.std(axis=1).mean())
        facts[f"evaluator.{label}"] = fit.evaluator
        omega = fit.parameters.capability_icc
        lower, upper = np.quantile(omega, ((1 - plan.study.level) / 2, (1 + plan.study.level) / 2))
        facts |= {
            f"capability_icc.{label}/mean": float(omega.mean()),
            f"capability_icc.{label}/lower": float(lower),
            f"capability_icc.{label}/upper": float(upper),
        }
        facts[f"capability_reliability.{label}"] = float(means.var() / (means.var() + variances.mean()))
        part = plan.table.select(model_class=label)
        found = capability_score(part.matrix(part.columns("capability")), method=plan.score.method, missing="drop")
        facts[f"first_component_share.{label}"] = float(found.share)
        facts[f"scored_models.{label}"] = int(np.isfinite(found.score).sum())
    return facts


def _audit_table(found: Audit) -> pd.DataFrame:
    rows = [
        {
            "check": f.check,
            "severity": f.severity,
            "model_class": f.model_class or "",
            "benchmarks": " ".join(f.benchmarks),
            "models": " ".join(f.models),
            "value": f.value,
            "message": f.message,
            "remedy": f.remedy,
        }
        for f in found.findings
    ]
    return conform("audit", pd.DataFrame(rows, columns=list(TABLES["audit"])))


def _joined(name: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(TABLES[name]))
    return conform(name, pd.concat(filled, ignore_index=True))


@contextmanager
def _timed(name: str, told: Talk, timings: dict[str, float]) -> Iterator[None]:
    told.stage(name)
    begin = time.perf_counter()
    yield
    timings[name] = time.perf_counter() - begin
