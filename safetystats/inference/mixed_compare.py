"""All that is asked of the classes on one benchmark: the fit, its tests, and the fits over draws of capability."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from safetystats.inference.mixed import fit_mixed
from safetystats.inference.mixed_bootstrap import NO_TEST, Bootstrap, BootstrapTest, variance_test
from safetystats.inference.mixed_contrasts import contrast_test, pairwise_contrasts
from safetystats.inference.mixed_imputed import ImputedFit, empty_imputed, fit_mixed_imputed
from safetystats.inference.mixed_values import Grouping, IntervalKind, Labels, MixedFit, MixedRows, code_rows
from safetystats.inference.streams import seed_for

Weights = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """What was found on one benchmark.

    Attributes
    ----------
    rows : MixedRows
    fit : MixedFit
        At the capability given (with draws: their mean).
    tests : mapping of weights to BootstrapTest
        For every term but the intercept and for every pairwise contrast, keyed by its weights in the coefficients.
    variance : BootstrapTest
        Of the group variance being zero.
    imputed : ImputedFit or None
        Over draws of capability; None without draws.
    """

    rows: MixedRows
    fit: MixedFit
    tests: Mapping[Weights, BootstrapTest]
    variance: BootstrapTest
    imputed: ImputedFit | None

    def term_test(self, term: int) -> BootstrapTest:
        """Return the test of one term; no test for the intercept."""
        return self.tests.get(unit_weights(len(self.fit.terms), term), NO_TEST)


def unit_weights(p: int, term: int) -> Weights:
    """Return the weights that pick one of p coefficients."""
    return tuple(float(place == term) for place in range(p))


def compare_classes(
    score: npt.ArrayLike,
    capability: npt.ArrayLike,
    model_class: Labels,
    group: Labels,
    *,
    reference_class: str,
    capability_draws: npt.ArrayLike | None = None,
    bootstrap: Bootstrap | None = None,
    reml: bool = True,
    level: float = 0.95,
    interval: IntervalKind = "satterthwaite",
    grouping: Grouping = "lineage",
) -> Comparison:
    """Fit score ~ capability * class + (1 | group), test it by parametric bootstrap, and pool it over draws.

    Parameters
    ----------
    score, capability, model_class, group, reference_class, reml, level, interval, grouping
        As in `fit_mixed`.
    capability_draws : array, shape (m, n), optional
        As in `fit_mixed_imputed`.
    bootstrap : Bootstrap, optional
        Default: none, so that tests have their asymptotic p-values only. Every test has its own stream, derived from
        the seed and from what is tested.

    Raises
    ------
    ValueError
        As `fit_mixed` and `fit_mixed_imputed`.
    """
    plan = bootstrap or Bootstrap(replicates=0)
    fit = fit_mixed(
        score, capability, model_class, group,
        reference_class=reference_class, reml=reml, level=level, interval=interval, grouping=grouping,
    )  # fmt: skip
    rows = code_rows(score, capability, model_class, group, reference_class, grouping)
    applies = fit.status not in ("not_applicable", "ols_cluster_robust")
    tests: dict[Weights, BootstrapTest] = {}
    variance = NO_TEST
    if applies:
        p = len(fit.terms)
        asked = [unit_weights(p, term) for term in range(1, p)]
        asked += [contrast.weights for contrast in pairwise_contrasts(fit.classes, reference_class)]
        for weights in dict.fromkeys(asked):
            own = replace(plan, seed=seed_for(plan.seed, "contrast", repr(weights)))
            tests[weights] = contrast_test(rows, fit, np.array(weights), own)
        own = replace(plan, seed=seed_for(plan.seed, "variance"))
        variance = variance_test(rows.score, rows.columns(), rows.codes, own)
    imputed = None
    if capability_draws is not None:
        imputed = empty_imputed(fit.terms, level, fit.why)
        if fit.status != "not_applicable":
            imputed = fit_mixed_imputed(
                score, capability_draws, model_class, group,
                reference_class=reference_class, reml=reml, level=level, grouping=grouping,
            )  # fmt: skip
    return Comparison(rows=rows, fit=fit, tests=tests, variance=variance, imputed=imputed)
