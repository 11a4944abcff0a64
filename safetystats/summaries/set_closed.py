"""Two questions beside the set of models: correlation given compute, size or date, and without the parent benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from safetystats.inference.arrays import FloatArray
from safetystats.inference.set_posterior import thinned
from safetystats.inference.streams import seed_for
from safetystats.scores.model_sets import side_of
from safetystats.scores.partial import partial_correlation, variance_inflation, weighted_pearson
from safetystats.scores.question import Question, ask
from safetystats.scores.resampling import correlations_under, lineage_weights, models_with_both, point_correlations
from safetystats.specs import ScoreSpec
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.set_context import ClassSets
from safetystats.tables.audit_capability import reused_pairs
from safetystats.tables.table import ScoreTable

DRAWS = 1000
"""Draws of capability, each with weights of its own."""
FEWEST = 10
"""Fewest models with score, capability and covariate."""
MARKED = 0.5
"""Share of the limit of the variance inflation from which a partial correlation that is given is marked."""
COVARIATES = ("log_compute", "log_size", "release_date")


def covariates_of(models: pd.DataFrame) -> dict[str, FloatArray]:
    """Return what is known of models as numbers by covariate, NaN where unknown: logs, and dates in years."""
    found = {}
    for name, column in (("log_compute", "flop"), ("log_size", "n_params")):
        values = models[column].to_numpy(dtype=np.float64)
        known = np.isfinite(values) & (values > 0)
        found[name] = np.where(known, np.log(np.where(known, values, 1.0)), np.nan)
    dates = pd.to_datetime(models["release_date"], format="ISO8601", errors="coerce")
    days = (dates - pd.Timestamp("2020-01-01")).dt.days.to_numpy(dtype=np.float64)
    found["release_date"] = days / 365.25
    return found


def partial_correlations(
    sets: ClassSets, models: pd.DataFrame, vif_limit: float, seed: int
) -> tuple[pd.DataFrame, list[Check]]:
    """Return the correlation of every benchmark with capability given compute, size or release date.

    Each draw of capability has Bayesian-bootstrap weights of its own, one Dirichlet weight for each family, so that the
    interval carries the uncertainty of capability and that of the models, whose families stay together. Correlations
    are product moments over these models. Draws of capability scatter, which makes a partial correlation smaller by
    more than a plain one; that with posterior mean capability stands beside it.

    Parameters
    ----------
    sets : ClassSets
    models : DataFrame
        What is known of the models of the class.
    vif_limit : float
        With a larger variance inflation no estimate is given: of posterior mean capability beside the covariate, over
        the models of the benchmark. Draws of capability, which scatter, would make it look smaller.
    seed : int

    Returns
    -------
    frame : DataFrame
        Table `partial_correlations`.
    checks : list of Check
        Covariates that too few models have.
    """
    table = sets.fit.capability.table
    order = [str(model) for model in table.scores.index]
    theta = thinned(sets.fit.capability.theta, DRAWS)
    centre = theta.mean(axis=0)
    families = {sets.label: [str(family) for family in table.models["family"]]}
    weights = lineage_weights(families, len(theta), seed_for(seed, "partial", sets.label))[sets.label]
    rows: list[dict[str, object]] = []
    checks: list[Check] = []
    for covariate, every in covariates_of(models.loc[order]).items():
        n_known = int(np.isfinite(every).sum())
        if n_known < FEWEST:
            checks.append(
                Check(
                    fit=f"model_sets/{sets.label}", check=f"partial/{covariate}", value=float(n_known),
                    limit=float(FEWEST), outcome="not_applicable", why="models of the class that have the covariate",
                )
            )  # fmt: skip
            continue
        for name, benchmark in sets.benchmarks.items():
            both = np.isfinite(every) & np.isfinite(benchmark.scores)
            row = _partial_row(
                benchmark.scores[both], theta[:, both], every[both], weights[:, both], centre[both], vif_limit,
                sets.level,
            )  # fmt: skip
            counted = {"n_models": int(both.sum()), "n_families": int(table.models.loc[both, "family"].nunique())}
            rows.append(sets.facts(name) | {"covariate": covariate} | counted | {"level": sets.level} | row)
    return pd.DataFrame(rows, columns=list(MODEL_SETS_TABLES["partial_correlations"])), checks


def _partial_row(
    scores: FloatArray, theta: FloatArray, covariate: FloatArray, weights: FloatArray, centre: FloatArray,
    vif_limit: float, level: float,
) -> dict[str, object]:  # fmt: skip
    """Return the numbers of one benchmark and covariate; the partial correlation only where it is given."""
    none = {"plain": np.nan, "plain_lower": np.nan, "plain_upper": np.nan, "partial": np.nan, "lower": np.nan,
            "upper": np.nan, "partial_score": np.nan,
            "covariate_correlation": np.nan, "vif": np.nan, "vif_limit": vif_limit}  # fmt: skip
    if len(scores) < FEWEST:
        return none | {"given": "no", "why": f"{len(scores)} models have score and covariate, {FEWEST} are needed"}
    if np.ptp(covariate) == 0 or np.ptp(scores) == 0:
        return none | {"given": "no", "why": "score or covariate is the same for all these models"}
    plain, plain_lower, plain_upper = _summary(weighted_pearson(scores, theta, weights), level)
    even = np.ones((1, len(scores)))
    vif = variance_inflation(centre, covariate)
    found = none | {
        "plain": plain, "plain_lower": plain_lower, "plain_upper": plain_upper, "vif": vif,
        "covariate_correlation": float(weighted_pearson(centre, covariate, even)[0]),
    }  # fmt: skip
    if vif > vif_limit:
        why = "the covariate nearly is capability in these models; to hold it fixed takes capability out"
        return found | {"given": "refused", "why": why}
    partial, lower, upper = _summary(partial_correlation(scores, theta, covariate, weights), level)
    marked = vif > MARKED * vif_limit
    return found | {
        "partial": partial, "lower": lower, "upper": upper,
        "partial_score": float(partial_correlation(scores, centre, covariate, even)[0]),
        "given": "marked" if marked else "yes",
        "why": "little of capability is left with the covariate held fixed" if marked else "",
    }  # fmt: skip


def _summary(values: FloatArray, level: float) -> tuple[float, float, float]:
    """Return median and equal-tailed interval over the draws that give a number."""
    middle, lower, upper = np.nanquantile(values, (0.5, (1 - level) / 2, (1 + level) / 2))
    return float(middle), float(lower), float(upper)


def parent_left_out(
    table: ScoreTable, score: ScoreSpec, limit: float, level: float, n_draws: int, seed: int
) -> pd.DataFrame:
    """Return the 2024 correlation of benchmarks that reuse runs of capability benchmarks, with and without these.

    Parameters
    ----------
    table : ScoreTable
        As read.
    score : ScoreSpec
    limit : float
        Of the labels high and low.
    level : float
        Coverage of the interval of the difference, by the Bayesian bootstrap over lineages.
    n_draws : int
    seed : int

    Returns
    -------
    DataFrame
        Table `parent_left_out`: one row per class and benchmark; none for a benchmark whose parents are so many that
        fewer than three capability benchmarks would be left.
    """
    parents = _parents(table)
    rows: list[dict[str, object]] = []
    capability = table.columns("capability")
    questions = {}
    for left_out in dict.fromkeys(parents.values()):
        rest = [name for name in capability if name not in left_out]
        if len(rest) >= 3:
            questions[left_out] = _asked(table, score, rest)
    whole = _asked(table, score, None)
    weights = lineage_weights(whole.lineages, n_draws, seed_for(seed, "parent left out"))
    for label, target in whole.targets.items():
        plain = point_correlations(target)
        for name, left_out in parents.items():
            if left_out not in questions or name not in whole.benchmarks:
                continue
            column = whole.benchmarks.index(name)
            without = questions[left_out].targets[label]
            ends = [replace(t, values=t.values[:, [column]], member=t.member[[column]]) for t in (target, without)]
            reduced = float(point_correlations(ends[1])[0])
            drawn = correlations_under(ends[1], weights[label]) - correlations_under(ends[0], weights[label])
            usable = drawn[np.isfinite(drawn)]
            tails = np.quantile(usable, ((1 - level) / 2, (1 + level) / 2)) if usable.size else (np.nan, np.nan)
            value = float(plain[column])
            rows.append(
                {
                    "model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"]),
                    "parents": "; ".join(left_out), "n_models": int(models_with_both(ends[1]).sum()),
                    "spearman": value, "spearman_without": reduced, "difference": reduced - value,
                    "lower": float(tails[0]), "upper": float(tails[1]), "level": level,
                    "label_2024": side_of(value, limit), "label_without": side_of(reduced, limit),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(MODEL_SETS_TABLES["parent_left_out"]))


def _asked(table: ScoreTable, score: ScoreSpec, capability: Sequence[str] | None) -> Question:
    return ask(table, "spearman", score_method=score.method, roles=("safety",), capability=capability, missing="drop")


def _parents(table: ScoreTable) -> Mapping[str, tuple[str, ...]]:
    """Return the capability benchmarks whose runs each safety benchmark reuses, by benchmark."""
    found: dict[str, tuple[str, ...]] = {}
    for name, ability in reused_pairs(table):
        found[name] = (*found.get(name, ()), ability)
    return found
