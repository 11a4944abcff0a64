"""Assess a new benchmark against stored draws of capability: no sampler, no compilation.

The estimand is that of a study: the correlation of the aligned score with latent capability in the population that the
models of a class are a sample of, by the cut posterior (see `safetystats.inference.cut`). Capability is that of the
reference, fitted to its capability benchmarks alone; the new scores cannot move it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from safetystats.errors import DataError, Fault
from safetystats.inference.assessment import assess_column
from safetystats.inference.cut import MIN_MODELS, fixed_set_correlation
from safetystats.inference.reference import Reference, ReferenceClass
from safetystats.specs import Rope
from safetystats.summaries.assess_content import GATE, assessment_content
from safetystats.summaries.assess_influence import INFLUENCE_COLUMNS as INFLUENCE_COLUMNS
from safetystats.summaries.assess_influence import influence_rows
from safetystats.summaries.decision_rule import Verdict, verdict_of, verdict_shares
from safetystats.summaries.estimands import COLUMNS as ESTIMAND_COLUMNS
from safetystats.summaries.estimands import MOST_UNDEFINED, BenchmarkDraws, estimand_rows, summarise
from safetystats.summaries.references import find_reference
from safetystats.tables.matching import ModelMatch, check_matches, match_models
from safetystats.tables.noise import sampling_variance
from safetystats.tables.own import OwnBenchmark, OwnScores, given_scores, own_table, read_own_scores, upper_of
from safetystats.tables.prepare import align, standardise, transform
from safetystats.tables.sheet import FaultList
from safetystats.tables.table import FloatArray, ScoreTable

MATCHING_COLUMNS: tuple[str, ...] = ("given", "model", "model_class", "how", "through", "others", "score")
CORRELATION_COLUMNS: tuple[str, ...] = (
    "model_class", "benchmark", "n_models", "n_families", "n_reference", "capability_spread", "mean", "sd", "lower",
    "upper", "level", "icc", "p_entangled", "p_distinct", "p_inverse", "verdict", "verdict_why", "slope", "slope_lower",
    "slope_upper", "spearman", "spearman_lower", "spearman_upper", "n_spearman", "why",
)  # fmt: skip
NOISE_UNKNOWN = "the sampling error of the scores is unknown, so that noise cannot be told from distinctness"
type Scores = str | Path | Mapping[str, float] | pd.Series | pd.DataFrame | OwnScores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Matched:
    """Scores of a new benchmark with the models that they are of.

    Attributes
    ----------
    reference : Reference
    scores : OwnScores
    matches : tuple of ModelMatch
        One per score.
    faults : tuple of Fault
        Names that could mean several models, and models that two names mean; with any, nothing can be assessed.
    """

    reference: Reference
    scores: OwnScores
    matches: tuple[ModelMatch, ...]
    faults: tuple[Fault, ...] = ()

    def refuse_faults(self) -> None:
        """Raise `DataError` with all faults, if there are any."""
        if self.faults:
            raise DataError(list(self.faults))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assessment:
    """What can be said of a new benchmark.

    Attributes
    ----------
    matching : DataFrame
        Columns `MATCHING_COLUMNS`, one row per score.
    correlations : DataFrame
        Columns `CORRELATION_COLUMNS`, one row per class of the reference; `why` says why a class has no posterior,
        `verdict_why` why a verdict is withheld, or that noise cannot be told from distinctness.
    estimands : DataFrame
        Columns of `safetystats.summaries.estimands.estimand_rows`.
    influence : DataFrame
        Columns `INFLUENCE_COLUMNS`, one row per model with a score.
    content : mapping
        All of it as one nested mapping of plain values: the JSON form of the card.
    """

    matching: pd.DataFrame
    correlations: pd.DataFrame
    estimands: pd.DataFrame
    influence: pd.DataFrame
    content: Mapping[str, Any]

    @property
    def says_something(self) -> bool:
        """True if at least one class has a posterior."""
        return bool((self.correlations["why"] == "").any())

    @property
    def gate_failed(self) -> bool:
        """True if a verdict is withheld because a check of the capability fit failed."""
        return bool((self.correlations["verdict_why"] == GATE).any())


def match_scores(scores: Scores, against: str | Path | Reference) -> Matched:
    """Return which models of the reference the scores are of; nothing is computed.

    Parameters
    ----------
    scores : path, mapping, Series, DataFrame or OwnScores
        A CSV file or frame with the columns `model` and `score`, or scores by model.
    against : str, Path or Reference
        A table with stored draws (helm-classic, chat-2025, ren2024), the folder of a finished run, or a `Reference`.

    Raises
    ------
    DataError
        If the file has faults.
    StudyError
        If there is no such reference.
    """
    reference = against if isinstance(against, Reference) else find_reference(against)
    if isinstance(scores, OwnScores):
        own = scores
    else:
        own = read_own_scores(Path(scores)) if isinstance(scores, str | Path) else given_scores(scores)
    matches = match_models(own.models, reference.known)
    faults = FaultList()
    check_matches(matches, own.file, own.lines, faults)
    return Matched(reference=reference, scores=own, matches=tuple(matches), faults=tuple(faults.faults))


def matching_table(matched: Matched) -> pd.DataFrame:
    """Return the matching as a table, columns `MATCHING_COLUMNS`; `model` is empty where there is none."""
    classes = {m: label for label, own in matched.reference.classes.items() for m in own.models}
    rows = [
        {
            "given": match.given,
            "model": match.model,
            "model_class": classes.get(match.model, ""),
            "how": match.how,
            "through": match.through,
            "others": "; ".join(match.others),
            "score": score,
        }
        for match, score in zip(matched.matches, matched.scores.scores, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(MATCHING_COLUMNS))


def assess(
    scores: Scores | Matched,
    against: str | Path | Reference = "helm-classic",
    direction: str = "",
    *,
    name: str = "my benchmark",
    items: int | None = None,
    scale: float | None = None,
    unit: str = "",
    limit: float | None = None,
    probability: float | None = None,
    level: float | None = None,
) -> Assessment:
    """Assess how far a new benchmark is entangled with capability.

    Parameters
    ----------
    scores : path, mapping, Series, DataFrame, OwnScores or Matched
        See `match_scores`. Models that the reference does not know are left out and listed.
    against : str, Path or Reference
        What capability is taken from; not looked at if `scores` are `Matched`.
    direction : {"higher_is_safer", "lower_is_safer", "zero_is_ideal", "higher_is_better"}
    name : str
    items : int, optional
        Number of items, of which a score is the share that went well; gives the sampling error of the scores.
    scale : {1, 100}, optional
        The score of a model with all items right; unless given, the lesser that no score exceeds.
    unit : str
    limit, probability : float, optional
        Of the decision rule; those of the reference unless given.
    level : float, optional
        Coverage of intervals; that of the reference unless given.

    Returns
    -------
    Assessment
        A class with fewer than `MIN_MODELS` scores has no posterior, and `why` says so.

    Raises
    ------
    DataError, StudyError
        As `match_scores`; or if direction, items or scale do not make sense.
    """
    benchmark = OwnBenchmark(name=name, direction=direction, n_items=items, upper=scale, unit=unit)
    matched = scores if isinstance(scores, Matched) else match_scores(scores, against)
    matched.refuse_faults()
    reference = matched.reference
    rope = _rope(reference.rope, limit, probability)
    level = reference.level if level is None else level
    if not 0 < level < 1:
        raise DataError([Fault(file="level", expected="a number between 0 and 1", got=f"{level:g}", remedy="Mend it.")])
    upper = upper_of(benchmark, matched.scores)
    native = own_table(benchmark, _by_model(matched), _models(reference), upper)
    prepared = standardise(transform(align(native), reference.spec.transform), by="class")
    rows, estimands, influence = [], [], []
    for label, own in reference.classes.items():
        found = _of_class(prepared, native, label, own, reference, rope, level, benchmark.name)
        rows.append(found[0])
        estimands += [found[1]] if len(found[1]) else []
        influence += [found[2]] if len(found[2]) else []
    correlations = pd.DataFrame(rows, columns=list(CORRELATION_COLUMNS))
    matching = matching_table(matched)
    estimand_frame = (
        pd.concat(estimands, ignore_index=True) if estimands else pd.DataFrame(columns=list(ESTIMAND_COLUMNS))
    )
    influence_frame = (
        pd.concat(influence, ignore_index=True) if influence else pd.DataFrame(columns=list(INFLUENCE_COLUMNS))
    )
    content = assessment_content(
        benchmark, upper, matched.scores, reference, matching, correlations, estimand_frame, influence_frame, rope,
        level,
    )  # fmt: skip
    return Assessment(
        matching=matching, correlations=correlations, estimands=estimand_frame, influence=influence_frame,
        content=content,
    )  # fmt: skip


def _rope(rope: Rope, limit: float | None, probability: float | None) -> Rope:
    """Return the decision rule with what was given in place; it is checked as in a study."""
    from safetystats.specs import parse_spec

    given = {"limit": limit, "probability": probability}
    changed = {key: float(value) for key, value in given.items() if value is not None}
    if not changed:
        return rope
    reason = {"reason": "chosen for this assessment"} if limit is not None and limit != rope.limit else {}
    return parse_spec(Rope, rope.model_dump() | changed | reason, "the decision rule")


def _models(reference: Reference) -> pd.DataFrame:
    parts = [
        pd.DataFrame(
            {"model_class": label, "family": own.families, "lineage": own.lineages},
            index=pd.Index(own.models, name="model", dtype="str"),
        )
        for label, own in reference.classes.items()
    ]
    return pd.concat(parts)


def _by_model(matched: Matched) -> pd.Series:
    """Return the scores by model, in the order of the reference."""
    found = {m.model: s for m, s in zip(matched.matches, matched.scores.scores, strict=True) if m.model}
    order = [model for model in matched.reference.known if model in found]
    return pd.Series([found[m] for m in order], index=pd.Index(order, name="model", dtype="str"), dtype="float64")


def _of_class(
    prepared: ScoreTable,
    native: ScoreTable,
    label: str,
    own: ReferenceClass,
    reference: Reference,
    rope: Rope,
    level: float,
    name: str,
) -> tuple[dict[str, object], pd.DataFrame, pd.DataFrame]:
    """Return the row of `correlations`, the estimands and the influence of one class."""
    index = pd.Index(own.models)
    standard = prepared.scores[name].reindex(index) if name in prepared.scores else pd.Series(np.nan, index=index)
    column = standard.to_numpy(dtype=np.float64)
    seen = np.isfinite(column)
    families = np.asarray(pd.factorize(np.array(own.families))[0], dtype=np.int64)
    facts: dict[str, object] = {
        "model_class": label,
        "benchmark": name,
        "n_models": int(seen.sum()),
        "n_families": len(np.unique(families[seen])),
        "n_reference": len(own.models),
        "level": level,
        "verdict_why": "",
        "why": "",
    }
    if seen.sum() < MIN_MODELS:
        given = int(native.scores[name].reindex(index).notna().sum())
        few = f"{given} of its models have a score, fewer than {MIN_MODELS}"
        why = f"all {given} scores are equal" if given >= MIN_MODELS else few
        return facts | {"n_models": given, "why": why}, pd.DataFrame(), pd.DataFrame()
    spec, seed = reference.spec, reference.seed
    noise = sampling_variance(prepared)[name].reindex(index).to_numpy(dtype=np.float64)
    known = np.isfinite(noise[seen]).all()
    modelled = spec.measurement == "binomial" and bool(known)
    found = assess_column(column, own.theta, families, spec, seed, "assess", label, noise=noise if modelled else None)
    assert found is not None
    drawn = found.draws
    spread = float(prepared.spread.loc[label, name]) if spec.transform == "identity" else math.nan
    fixed = fixed_set_correlation(own.theta, column)
    estimands = estimand_rows(
        BenchmarkDraws(
            rho=drawn.rho, total_sd=drawn.total_sd, icc=drawn.icc,
            capability_icc=np.repeat(own.capability_icc, found.each), fixed_set=np.repeat(fixed, found.each),
            spread=spread, mean_noise=float(noise[seen].mean()) if known else math.nan, error_free=modelled,
        ),
        None, level, model_class=label, benchmark=name, area="new benchmark", n_models=int(seen.sum()),
        n_families=len(np.unique(families[seen])), mode="cut",
    )  # fmt: skip
    of_rho = summarise(drawn.rho, None, level)
    of_slope = summarise(drawn.rho * drawn.total_sd * spread, None, level)
    shares = verdict_shares(drawn.rho, rope)

    @cache
    def noise_row() -> dict[str, object]:
        # Imported only where it decides something: it loads what fits are stored with, and takes its time.
        from safetystats.summaries.noise_or_distinct import judged

        return judged(
            drawn.rho, drawn.total_sd, float(noise[seen].mean()), rope, reference.rules, level, error_free=modelled
        )

    def doubtful() -> bool:
        return bool(known) and not _trusted(noise_row(), reference)

    verdict: Verdict = verdict_of(*shares, rope.probability)
    why = ""
    if own.failed:
        verdict, why = "withheld", GATE
    elif verdict == "distinct":
        why = str(noise_row()["why"]) if known else NOISE_UNKNOWN
        verdict = "withheld" if known and why else verdict
    means = own.theta.mean(axis=0)
    facts |= {
        **of_rho._asdict(),
        "capability_spread": float(means[seen].std() / means.std()),
        "icc": float(drawn.icc.mean()),
        **dict(zip(("p_entangled", "p_inverse", "p_distinct"), shares, strict=True)),
        "verdict": verdict,
        "verdict_why": why,
        "slope": of_slope.mean,
        "slope_lower": of_slope.lower,
        "slope_upper": of_slope.upper,
        **_spearman(own.score_2024, prepared.scores[name].reindex(index).to_numpy(dtype=np.float64), level),
    }
    influence = influence_rows(
        column, native.scores[name].reindex(index).to_numpy(dtype=np.float64), own, reference, drawn.rho, verdict, rope,
        level, doubtful, model_class=label,
    )  # fmt: skip
    return facts, estimands, influence


def _trusted(noise: Mapping[str, object], reference: Reference) -> bool:
    """Return whether a verdict "distinct" of these scores may stand: see `noise_or_distinct`."""
    reliable, undefined = noise["reliability"], noise["p_all_error"]
    assert isinstance(reliable, float)
    assert isinstance(undefined, float)
    enough = reliable >= reference.rules.least_reliability and undefined <= MOST_UNDEFINED
    return enough and noise["verdict_after"] != "withheld"


def _spearman(score: FloatArray, column: FloatArray, level: float) -> dict[str, object]:
    """Return Spearman's coefficient of the aligned scores with the 2024 score, and its Fisher-z interval."""
    from safetystats.scores.correlation import capabilities_correlations
    from safetystats.scores.intervals import fisher

    found = capabilities_correlations(score, column[:, None], method="spearman")
    between = fisher(found.correlation, found.n_models, correlation="spearman", level=level)
    return {
        "spearman": float(found.correlation[0]),
        "spearman_lower": float(between.lower[0]),
        "spearman_upper": float(between.upper[0]),
        "n_spearman": int(found.n_models[0]),
    }
