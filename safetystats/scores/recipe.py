"""The closed-form analysis of a score table as tidy frames: scores, loadings, correlations with intervals, differences.

Takes the table as it was read. "spearman_2024" works on the native columns, as Ren et al. (2024) did; "spearman",
"kendall" and "pearson" on the columns aligned so that higher is better and safer, which leaves out benchmarks of
undeclared direction. A benchmark inside the capability set is correlated with the leave-one-out score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pandas as pd

from safetystats.scores.capability import Missing, ScoreMethod, capability_score, weighted_scores
from safetystats.scores.correlation import capabilities_correlations
from safetystats.scores.intervals import (
    INTERVAL_KINDS,
    CorrelationIntervals,
    IntervalKind,
    bayesian_bootstrap,
    bca,
    class_difference,
    family_bootstrap,
    fisher,
    interval_from_draws,
)
from safetystats.scores.question import RECIPE_METHODS, Question, RecipeMethod, ask, capability_matrix, capability_names
from safetystats.scores.resampling import lineage_weights, models_with_both, point_correlations, target_scores
from safetystats.scores.weighted import FloatArray
from safetystats.tables.table import ScoreTable

SCORE_COLUMNS = ("model_class", "model", "family", "method", "score", "lower", "upper", "level")
LOADING_COLUMNS = ("model_class", "benchmark", "method", "loading", "lower", "upper", "level", "icc")
CORRELATION_COLUMNS = (
    "model_class", "benchmark", "area", "n_models", "n_families", "method", "correlation",
    "interval", "lower", "upper", "level", "note",
)  # fmt: skip
DIFFERENCE_COLUMNS = (
    "benchmark", "area", "n_pairs", "class_a", "class_b", "delta", "lower", "upper", "p_positive",
)  # fmt: skip

# Streams of random numbers, so that adding a class or an interval kind leaves the others as they were.
_STREAMS = {"bca": 1, "family_bootstrap": 2, "bayesian_bootstrap": 3, "loadings": 4}


def capability_scores(
    table: ScoreTable,
    *,
    methods: Sequence[ScoreMethod] = ("spearman_pca_2024",),
    capability: Sequence[str] | None = None,
    missing: Missing = "drop",
) -> pd.DataFrame:
    """Return a capability score per model, class by class.

    Parameters
    ----------
    table : ScoreTable
    methods : sequence of str
        See `safetystats.scores.capability`.
    capability : sequence of str, optional
        Benchmarks to make the score of; all of role "capability" unless given (knowledge or common-sense sub-scores).
    missing : {"raise", "drop", "available"}
        What to do with missing capability cells; under "drop" such a model stands there with a score of NaN.

    Returns
    -------
    DataFrame
        Columns `SCORE_COLUMNS`. `lower`, `upper` and `level` are NaN: resampling models moves the yardstick (location,
        spread, loadings) and says nothing of how well one model was measured; the latent-factor model does.
    """
    rows = []
    for model_class in table.classes:
        part = table.select(model_class=model_class)
        for method in methods:
            result = capability_score(capability_matrix(part, capability), method=method, missing=missing)
            for model, family, score in zip(part.models.index, part.models["family"], result.score, strict=True):
                rows.append((model_class, model, family, method, score, np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def capability_loadings(
    table: ScoreTable,
    *,
    methods: Sequence[ScoreMethod] = ("spearman_pca_2024",),
    capability: Sequence[str] | None = None,
    missing: Missing = "drop",
    level: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the loadings of the capability score with Bayesian-bootstrap intervals over lineages.

    Returns
    -------
    DataFrame
        Columns `LOADING_COLUMNS`; `icc` is NaN, this score has none. Other parameters as in `capability_correlations`.
    """
    rows = []
    lineages = {name: list(table.select(model_class=name).models["lineage"]) for name in table.classes}
    weights = lineage_weights(lineages, n_draws, np.random.SeedSequence(seed, spawn_key=(_STREAMS["loadings"],)))
    for model_class in table.classes:
        part = table.select(model_class=model_class)
        values = capability_matrix(part, capability)
        for method in methods:
            point = capability_score(values, method=method, missing=missing)
            kept = weights[model_class][:, point.used]
            _, draws, _, _ = weighted_scores(values[point.used], kept, method=method, reference=point.loading)
            lower, upper = np.nanquantile(draws, [0.5 - level / 2.0, 0.5 + level / 2.0], axis=0)
            for name, *numbers in zip(capability_names(part, capability), point.loading, lower, upper, strict=True):
                rows.append((model_class, name, method, *numbers, level, np.nan))
    return pd.DataFrame(rows, columns=list(LOADING_COLUMNS))


def capability_correlations(
    table: ScoreTable,
    *,
    methods: Sequence[RecipeMethod] = RECIPE_METHODS,
    intervals: Sequence[IntervalKind] = get_args(IntervalKind),
    score_method: ScoreMethod = "spearman_pca_2024",
    roles: Sequence[str] = ("capability", "safety"),
    capability: Sequence[str] | None = None,
    missing: Missing = "drop",
    level: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the capabilities correlation of every benchmark with its intervals, class by class.

    Parameters
    ----------
    table : ScoreTable
        In native scores; an aligned table serves all methods but "spearman_2024".
    methods : sequence of {"spearman_2024", "spearman", "kendall", "pearson"}
    intervals : sequence of {"bca", "family_bootstrap", "bayesian_bootstrap", "fisher"}
    score_method : str
        "spearman_2024" always uses "spearman_pca_2024"; with another score the label of the other methods says so,
        e.g. "spearman/mean_z".
    roles : sequence of str
        Benchmarks to correlate.
    capability, missing
        As in `capability_scores`.
    level : float
    n_draws : int
        Bootstrap resamples and Bayesian-bootstrap draws.
    seed : int
        All methods see the same resamples.

    Returns
    -------
    DataFrame
        Columns `CORRELATION_COLUMNS`, one row per class, benchmark, method and interval. `note` says why there is no
        number, or what to know of the interval.

    Raises
    ------
    DataError
        "spearman_2024" of an aligned table; capability benchmarks that cannot be scored.
    """
    frames = []
    for method in methods:
        question = ask(table, method, score_method=score_method, roles=roles, capability=capability, missing=missing)
        draws = _paired_draws(question, n_draws, seed) if "bayesian_bootstrap" in intervals else {}
        for order, model_class in enumerate(question.targets):
            for kind in intervals:
                found = _interval(kind, question, model_class, draws, level, n_draws, seed, order)
                frames.append(_correlation_rows(question, model_class, found))
    return pd.concat(frames, ignore_index=True)


def class_differences(
    table: ScoreTable,
    *,
    class_a: str,
    class_b: str,
    method: RecipeMethod = "spearman",
    score_method: ScoreMethod = "spearman_pca_2024",
    roles: Sequence[str] = ("safety",),
    capability: Sequence[str] | None = None,
    missing: Missing = "drop",
    level: float = 0.95,
    n_draws: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return capabilities correlation in class a less that in class b, by the Bayesian bootstrap over lineages.

    Parameters
    ----------
    class_a, class_b : str
        E.g. "chat" and "base".
    method, score_method, roles, capability, missing, level, n_draws, seed
        As in `capability_correlations`, whose Bayesian-bootstrap draws these are if seed and `n_draws` agree.

    Returns
    -------
    DataFrame
        Columns `DIFFERENCE_COLUMNS`; `n_pairs` counts lineages with a score in both classes.
    """
    question = ask(table, method, score_method=score_method, roles=roles, capability=capability, missing=missing)
    for name in (class_a, class_b):
        if name not in question.targets:
            raise ValueError(f"no class {name!r} in {table.name}: there are {', '.join(question.targets)}")
    draws = _paired_draws(question, n_draws, seed)
    a, b = question.targets[class_a], question.targets[class_b]
    result = class_difference(point_correlations(a), draws[class_a], point_correlations(b), draws[class_b], level=level)
    rows = []
    for j, (name, area) in enumerate(zip(question.benchmarks, question.areas, strict=True)):
        in_a, in_b = (question.scored_lineages(model_class, j) for model_class in (class_a, class_b))
        numbers = (result.delta[j], result.lower[j], result.upper[j], result.p_positive[j])
        rows.append((name, area, len(in_a & in_b), class_a, class_b, *numbers))
    return pd.DataFrame(rows, columns=list(DIFFERENCE_COLUMNS))


def _paired_draws(question: Question, n_draws: int, seed: int) -> dict[str, FloatArray]:
    stream = np.random.SeedSequence(seed, spawn_key=(_STREAMS["bayesian_bootstrap"],))
    return bayesian_bootstrap(question.targets, question.lineages, n_draws=n_draws, seed=stream)


def _interval(
    kind: IntervalKind,
    question: Question,
    model_class: str,
    draws: dict[str, FloatArray],
    level: float,
    n_draws: int,
    seed: int,
    order: int,
) -> CorrelationIntervals:
    target = question.targets[model_class]
    if kind == "bayesian_bootstrap":
        return interval_from_draws(target, draws[model_class], level=level)
    if kind == "fisher":
        n_models = models_with_both(target).sum(axis=0)
        return fisher(point_correlations(target), n_models, correlation=target.correlation, level=level)
    if kind not in _STREAMS:
        raise ValueError(f"interval must be one of {', '.join(INTERVAL_KINDS)}; got {kind!r}")
    stream = np.random.SeedSequence(seed, spawn_key=(_STREAMS[kind], order))
    if kind == "bca":
        return bca(target, level=level, n_resamples=n_draws, seed=stream)
    return family_bootstrap(target, question.families[model_class], level=level, n_resamples=n_draws, seed=stream)


def _correlation_rows(question: Question, model_class: str, found: CorrelationIntervals) -> pd.DataFrame:
    target = question.targets[model_class]
    both = models_with_both(target)
    families = np.array(question.families[model_class], dtype=object)
    point = capabilities_correlations(target_scores(target), target.values, method=target.correlation)
    return pd.DataFrame(
        {
            "model_class": model_class,
            "benchmark": question.benchmarks,
            "area": question.areas,
            "n_models": point.n_models,
            "n_families": [len(set(families[both[:, j]])) for j in range(both.shape[1])],
            "method": question.label,
            "correlation": point.correlation,
            "interval": found.kind,
            "lower": found.lower,
            "upper": found.upper,
            "level": found.level,
            "note": ["; ".join(x for x in pair if x) for pair in zip(point.why, found.note, strict=True)],
        },
        columns=list(CORRELATION_COLUMNS),
    )
