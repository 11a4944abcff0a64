"""One class as the questions about its models see it: posteriors, the 2024 statistic, and the models by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from safetystats.inference.arrays import FloatArray
from safetystats.inference.fits import SafetyFit
from safetystats.inference.set_posterior import CAPABILITY_DRAWS, Benchmark, SetDraws, benchmarks_of, thinned
from safetystats.scores.model_sets import Side, side_of
from safetystats.scores.question import ask
from safetystats.scores.resampling import Target, point_correlations
from safetystats.specs import Rope
from safetystats.summaries.decision_rule import NOISE as NOISE
from safetystats.summaries.decision_rule import verdict_changes
from safetystats.summaries.gates import capability_checks, safety_checks, withheld
from safetystats.summaries.noise_or_distinct import doubtful
from safetystats.summaries.plan import Plan
from safetystats.summaries.posterior import verdict_of, verdict_shares

REGIONS = ("entangled", "inverse", "distinct")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassSets:
    """One class of models, ready for questions about its sets of models.

    Attributes
    ----------
    label : str
        The class.
    fit : SafetyFit
    benchmarks : mapping of str to Benchmark
        Those with a posterior, in table order.
    held : bool
        True if a gate failed, so that verdicts are withheld.
    theta : array, shape (n_draws, n_fitted)
        Thinned draws of capability of the models of the fit.
    target : Target
        The 2024 recipe on aligned columns, Spearman's coefficient.
    columns : mapping of str to int
        Column of each benchmark in `target.values`.
    spearman : array, shape (n_columns,)
        With all models.
    models : tuple of str
        Rows of the target; `fitted` says which of them are rows of the fit.
    families : tuple of str
        Of these models.
    fitted : array of int, shape (n_fitted,)
        Place among `models` of each row of the fit.
    rope : Rope
    level : float
    noisy : frozenset of str
        Benchmarks of which "distinct" is withheld for noise, also with some models left out: the decision is that of
        all models (`noise_or_distinct.doubtful`).
    distinct_held : bool
        True if `verdict` withholds "distinct"; see `of`.
    """

    label: str
    fit: SafetyFit
    benchmarks: Mapping[str, Benchmark]
    held: bool
    theta: FloatArray
    target: Target
    columns: Mapping[str, int]
    spearman: FloatArray
    models: tuple[str, ...]
    families: tuple[str, ...]
    fitted: np.ndarray[tuple[int], np.dtype[np.int64]]
    rope: Rope
    level: float
    noisy: frozenset[str] = frozenset()
    distinct_held: bool = False

    def of(self, name: str) -> Self:
        """Return the class as a benchmark sees it: "distinct" withheld where noise may be behind it."""
        return replace(self, distinct_held=True) if name in self.noisy else self

    @property
    def regions(self) -> slice:
        """Those of `REGIONS` that can be a verdict; distinct, the last one, is not where it is withheld."""
        return slice(len(REGIONS) - self.distinct_held)

    def area(self, name: str) -> str:
        """Return the area of a benchmark."""
        return str(self.fit.capability.table.benchmarks.loc[name, "area"])

    def facts(self, name: str) -> dict[str, object]:
        """Return the columns that say which benchmark a row is of."""
        return {"model_class": self.label, "benchmark": name, "area": self.area(name)}

    def chances(self, name: str) -> tuple[float, float, float]:
        """Return P(entangled), P(inverse) and P(distinct) with all models."""
        return verdict_shares(self.benchmarks[name].rho, self.rope)

    def verdict(self, chances: tuple[float, float, float]) -> str:
        """Return the verdict of these probabilities; withheld if a gate failed, or for noise."""
        verdict = "withheld" if self.held else verdict_of(*chances, self.rope.probability)
        return "withheld" if self.distinct_held and verdict == "distinct" else verdict

    def changed(self, whole: tuple[float, float, float], chances: tuple[float, float, float]) -> bool:
        """Return whether the verdict of `chances` is another than that of `whole`, by more than Monte Carlo error.

        See `safetystats.summaries.decision_rule.verdict_changes`.
        """
        return verdict_changes(self.verdict(whole), self.verdict(chances), whole, chances)

    def side(self, correlation: float) -> Side:
        """Return the label of 2024 of a coefficient."""
        return side_of(correlation, self.rope.limit)

    def coefficient(self, name: str) -> float:
        """Return Spearman's coefficient of a benchmark with all models; NaN where there is none."""
        return float(self.spearman[self.columns[name]]) if name in self.columns else float("nan")

    def without(self, units: Iterable[Iterable[int]]) -> FloatArray:
        """Return weights over `models` that leave each unit out, shape (n_units, n_models)."""
        rows = []
        for unit in units:
            row = np.ones(len(self.models))
            row[list(unit)] = 0.0
            rows.append(row)
        return np.array(rows).reshape(-1, len(self.models))

    def names_of(self, removed: Iterable[int]) -> str:
        """Return models, by place among `models`, as text."""
        return "; ".join(self.models[place] for place in removed)


def chances_of(draws: SetDraws, row: int) -> tuple[float, float, float]:
    """Return P(entangled), P(inverse) and P(distinct) of one set."""
    return float(draws.p_entangled[row]), float(draws.p_inverse[row]), float(draws.p_distinct[row])


def class_sets(plan: Plan, fit: SafetyFit) -> ClassSets:
    """Return one class of a study, ready for questions about its sets of models."""
    label = fit.capability.model_class
    question = ask(
        plan.table, "spearman", score_method=plan.score.method, roles=("safety",), capability=None, missing="drop"
    )
    part = plan.table.select(model_class=label)
    models = tuple(str(model) for model in part.scores.index)
    place = {model: row for row, model in enumerate(models)}
    target = question.targets[label]
    return ClassSets(
        label=label,
        fit=fit,
        benchmarks={benchmark.name: benchmark for benchmark in benchmarks_of(fit)},
        held=f"cut/{label}" in withheld([*capability_checks(fit.capability), *safety_checks(fit)]),
        theta=thinned(fit.capability.theta, CAPABILITY_DRAWS),
        target=target,
        columns={name: column for column, name in enumerate(question.benchmarks)},
        spearman=point_correlations(target),
        models=models,
        families=tuple(str(family) for family in part.models["family"]),
        fitted=np.array([place[str(model)] for model in fit.capability.table.scores.index], dtype=np.int64),
        rope=plan.study.rope,
        level=plan.study.level,
        noisy=frozenset(
            name for _, name in doubtful({label: fit}, plan.study.rope, plan.study.questions, plan.study.level)
        ),
    )
