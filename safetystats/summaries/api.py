"""Fits and their tables without a study file: what `import safetystats` offers beside the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from safetystats.errors import Fault, StudyError, suggest
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.problems import kinds_for
from safetystats.inference.store import FitStore
from safetystats.shelf import cache_root
from safetystats.spec_questions import RelationRules
from safetystats.specs import FactorSpec, Rope, ScoreSpec, StudySpec, parse_spec, read_spec
from safetystats.summaries import class_contrasts
from safetystats.summaries import posterior as tables
from safetystats.summaries.gates import Check, capability_checks, safety_checks, withheld
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.noise_or_distinct import noise_or_distinct, withhold_distinct
from safetystats.summaries.parts import class_parts
from safetystats.summaries.plan import check_size, in_class_order
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise, transform
from safetystats.tables.table import ScoreTable

SEED = int(StudySpec.model_fields["seed"].default)
VERDICT_COLUMNS: tuple[str, ...] = (
    "model_class", "benchmark", "area", "mode", "limit", "probability", "p_entangled", "p_distinct", "p_inverse",
    "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """The latent-factor model of one table, class by class.

    Attributes
    ----------
    table : ScoreTable
        As read, restricted to the classes that were fitted.
    spec : FactorSpec
    seed : int
    capability : mapping of str to CapabilityFit
    safety : mapping of str to SafetyFit
        By class, in the order asked for.
    """

    table: ScoreTable
    spec: FactorSpec
    seed: int
    capability: Mapping[str, CapabilityFit]
    safety: Mapping[str, SafetyFit]

    @property
    def checks(self) -> list[Check]:
        """The gates of all fits (DESIGN 3.7)."""
        return [
            check
            for label in self.capability
            for check in (*capability_checks(self.capability[label]), *safety_checks(self.safety[label]))
        ]


def fit(
    table: str | Path | ScoreTable,
    spec: str | Path | FactorSpec = "two-level",
    model_class: str | Sequence[str] | None = None,
    *,
    seed: int = SEED,
    store: Path | None = None,
) -> Fit:
    """Fit latent capability and give every safety benchmark its posterior correlation, class by class.

    Parameters
    ----------
    table : str, Path or ScoreTable
        As for `load_table`, or a table in native scores.
    spec : str, Path or FactorSpec
        A factor spec on the models shelf, a file of one's own, or the spec itself.
    model_class : str or sequence of str, optional
        All classes of the table unless given; the first is the reference of comparisons.
    seed : int
        That of studies unless given, so that fits are shared with them.
    store : Path, optional
        Folder of saved fits; the user's cache unless given. A fit of the same data, spec and seed is used again.

    Raises
    ------
    StudyError
        For a spec or class that does not exist.
    DataError
        For a table that cannot be read or fitted.
    FitError
        If the sampler stops with an error.
    """
    loaded = table if isinstance(table, ScoreTable) else load_table(table)
    chosen = _factor_spec(spec)
    labels = loaded.classes if model_class is None else (model_class,) if isinstance(model_class, str) else model_class
    unknown = [label for label in labels if label not in loaded.classes]
    if unknown or not labels:
        known = ", ".join(loaded.classes)
        raise StudyError(
            [
                Fault(
                    file=loaded.name,
                    column="model_class",
                    expected=f"classes of the table ({known})",
                    got=f'"{label}"',
                    remedy=f"Correct the name{suggest(label, loaded.classes) or '.'}",
                )
                for label in unknown or [""]
            ]
        )
    native = in_class_order(loaded.select(model_class=tuple(labels)), tuple(labels))
    prepared = standardise(transform(align(native), chosen.transform), by="class")
    check_size(prepared)
    parts = class_parts(prepared)
    kinds = kinds_for(parts, chosen)
    saved = FitStore(root=store or cache_root() / "fits")
    capability = {c: fit_capability(parts[c], chosen, seed, kinds[c], saved) for c in labels}
    safety = {c: fit_safety(capability[c], saved) for c in labels}
    return Fit(table=native, spec=chosen, seed=seed, capability=capability, safety=safety)


def posterior_correlations(
    fit: Fit, *, limit: float = 0.40, probability: float = 0.95, level: float = 0.95
) -> pd.DataFrame:
    """Return the posterior correlation of every safety benchmark with capability, cut and joint.

    Parameters
    ----------
    fit : Fit
    limit, probability : float
        Of the decision rule.
    level : float
        Coverage of the equal-tailed intervals.

    Returns
    -------
    DataFrame
        The table `posterior_correlations` of a study. Verdicts of fits that failed a gate are withheld, and "distinct"
        where noise may be behind it, by the rules of a study that states none.
    """
    rope, held = _rope(limit, probability), withheld(fit.checks)
    frames = [tables.posterior_correlations(own, level, rope, held) for own in fit.safety.values()]
    filled = [frame for frame in frames if len(frame)]
    found = pd.concat(filled, ignore_index=True) if filled else frames[0]
    return withhold_distinct(found, noise_or_distinct(fit.safety, rope, RelationRules(), level)[0])


def verdicts(fit: Fit, limit: float | Sequence[float] = 0.40, probability: float = 0.95) -> pd.DataFrame:
    """Return the verdict on every safety benchmark at one limit or several.

    Parameters
    ----------
    fit : Fit
    limit : float or sequence of float
        Limits of the region of practical equivalence.
    probability : float
        Posterior probability that a verdict needs.

    Returns
    -------
    DataFrame
        Columns `VERDICT_COLUMNS`, cut and joint posterior, one row per class, benchmark, mode and limit.
    """
    limits = [limit] if isinstance(limit, int | float) else list(limit)
    frames = []
    for each in limits:
        frame = posterior_correlations(fit, limit=float(each), probability=probability)
        frames.append(frame.assign(limit=float(each), probability=probability)[list(VERDICT_COLUMNS)])
    return pd.concat(frames, ignore_index=True)


def compare_classes(fit: Fit, *, level: float = 0.95, score: str = "score-2024") -> pd.DataFrame:
    """Return how the correlation with capability differs between classes, with the pairing by lineage kept.

    Parameters
    ----------
    fit : Fit
        Of two classes or more; the earlier is the reference.
    level : float
        Coverage of the equal-tailed intervals.
    score : str
        Score spec of the bootstrap and of Steiger's test, which stand beside the posterior.

    Returns
    -------
    DataFrame
        The table `posterior_differences` of a study.

    Raises
    ------
    StudyError
        If the fit is of one class.
    """
    if len(fit.safety) < 2:
        raise StudyError(
            [
                Fault(
                    file=fit.table.name, column="model_class", expected="a fit of two classes or more",
                    got=", ".join(fit.safety), remedy="Fit all classes that are to be compared.",
                )
            ]
        )  # fmt: skip
    spec = read_spec(score, "score")
    assert isinstance(spec, ScoreSpec)
    closed = class_contrasts.closed_differences(fit.table, spec, level, fit.seed)
    frame = class_contrasts.posterior_differences(fit.safety, closed, fit.spec, level, Rope())
    return frame[list(TABLES["posterior_differences"])]


def _factor_spec(spec: str | Path | FactorSpec) -> FactorSpec:
    if isinstance(spec, FactorSpec):
        return spec
    found = read_spec(spec, "factor")
    assert isinstance(found, FactorSpec)
    return found


def _rope(limit: float, probability: float) -> Rope:
    return parse_spec(Rope, {"limit": float(limit), "probability": float(probability)}, "the decision rule")
