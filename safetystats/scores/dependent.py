r"""Test and interval for the difference of two classes' correlations, with models paired by lineage.

Of class a there are n_a models with capability score x_a and benchmark y_a, of class b likewise. Fisher's z of both
correlations are correlated, because a lineage with a model in both classes contributes to both. With every model
paired, the correlation of two sample correlations without a variable in common is that of Pearson and Filon (1898),

    c = [r_a r_b (r_xx^2 + r_xy^2 + r_yx^2 + r_yy^2) / 2 + r_xx r_yy + r_xy r_yx
         - r_a (r_xx r_xy + r_yx r_yy) - r_b (r_xx r_yx + r_xy r_yy)] / [(1 - r_a^2)(1 - r_b^2)],

r_xy that of x_a with y_b over the pairs, and so on. Models without a partner add to the variance of their class alone:
with m pairs of models of one lineage the correlation is

    c m / sqrt(n_a n_b),

c itself where all are paired. The test (Steiger 1980) puts the mean of both correlations into c, as they are equal
under the hypothesis; the interval (Zou 2007) leaves them apart and is built of the two Fisher intervals.

The capability score is taken as known, and models as independent but for their partners: relatives in a family are not,
so with strong families the test rejects too often.

References
----------
Bonett, D. G. and Wright, T. A. (2000). Sample size for Pearson, Kendall and Spearman correlations. Psychometrika 65.
Dunn, O. J. and Clark, V. (1969). Correlation coefficients measured on the same individuals. JASA 64.
Myers, L. and Sirois, M. J. (2006). Spearman correlation coefficients, differences between. Encycl. Stat. Sci.
Pearson, K. and Filon, L. N. G. (1898). On the probable errors of frequency constants. Phil. Trans. A 191.
Steiger, J. H. (1980). Tests for comparing elements of a correlation matrix. Psychological Bulletin 87.
Zou, G. Y. (2007). Toward using confidence intervals to compare correlations. Psychological Methods 12.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from safetystats.scores.capability import Missing, ScoreMethod
from safetystats.scores.question import ask
from safetystats.scores.resampling import models_with_both, target_scores
from safetystats.scores.weighted import FloatArray
from safetystats.tables.table import ScoreTable

Coefficient = Literal["pearson", "spearman"]
TEST_COLUMNS = (
    "benchmark", "area", "class_a", "class_b", "n_a", "n_b", "n_pairs", "method", "r_a", "r_b", "delta", "lower",
    "upper", "level", "error_correlation", "statistic", "p_value", "p_adjusted", "note",
)  # fmt: skip

FEWEST_MODELS = 5
"""Fewest models of a class; Fisher's z has the variance 1 / (n - 3)."""
FEWEST_PAIRS = 5
"""Fewest pairs from which the correlations between the classes are estimated; with fewer they are taken as nought."""
_NEARLY_ONE = 1 - 1e-9


class CrossCorrelations(NamedTuple):
    """Correlations between the classes over pairs of models: first the variable of class a, then that of class b."""

    xx: float
    xy: float
    yx: float
    yy: float


class DependentDifference(NamedTuple):
    """Difference r_a - r_b of two correlations with its Zou interval, and Steiger's test that it is nought.

    `error_correlation` is that of the two Fisher z that the test used; `n_pairs` counts pairs of models.
    """

    r_a: float
    r_b: float
    lower: float
    upper: float
    error_correlation: float
    statistic: float
    p_value: float
    n_pairs: int


def error_correlation(r_a: float, r_b: float, cross: CrossCorrelations) -> float:
    """Return the asymptotic correlation c of two sample correlations of the same individuals (Pearson and Filon)."""
    squares = cross.xx**2 + cross.xy**2 + cross.yx**2 + cross.yy**2
    covariance = (
        r_a * r_b * squares / 2
        + cross.xx * cross.yy
        + cross.xy * cross.yx
        - r_a * (cross.xx * cross.xy + cross.yx * cross.yy)
        - r_b * (cross.xx * cross.yx + cross.xy * cross.yy)
    )
    return covariance / ((1 - r_a**2) * (1 - r_b**2))


def dependent_difference(
    x_a: FloatArray,
    y_a: FloatArray,
    lineages_a: Sequence[Hashable],
    x_b: FloatArray,
    y_b: FloatArray,
    lineages_b: Sequence[Hashable],
    *,
    coefficient: Coefficient = "pearson",
    level: float = 0.95,
) -> DependentDifference:
    """Compare corr(x_a, y_a) with corr(x_b, y_b) in partly paired samples.

    Parameters
    ----------
    x_a, y_a : array, shape (n_a,)
        Capability score and benchmark of class a, finite.
    lineages_a : sequence, length n_a
        Models of the two classes with one lineage are a pair (several, if a class has several).
    x_b, y_b, lineages_b
        The same of class b.
    coefficient : {"pearson", "spearman"}
        For Spearman's the variance of z is (1 + r^2 / 2) / (n - 3) (Bonett and Wright 2000), and c is that of the ranks
        (Myers and Sirois 2006).
    level : float
        Of the interval.

    Raises
    ------
    ValueError
        If a class has fewer than `FEWEST_MODELS` models.
    """
    n_a, n_b = len(x_a), len(x_b)
    if min(n_a, n_b) < FEWEST_MODELS:
        raise ValueError(f"{n_a} and {n_b} models: at least {FEWEST_MODELS} of each class are needed")
    r_a, r_b = _correlation(x_a, y_a, coefficient), _correlation(x_b, y_b, coefficient)
    own, other = np.nonzero(np.array([[i == j for j in lineages_b] for i in lineages_a]))
    n_pairs = len(own)
    cross = CrossCorrelations(0.0, 0.0, 0.0, 0.0)
    if n_pairs >= FEWEST_PAIRS:
        cross = CrossCorrelations(
            *(
                _correlation(left[own], right[other], coefficient)
                for left, right in ((x_a, x_b), (x_a, y_b), (y_a, x_b), (y_a, y_b))
            )
        )
    share = n_pairs / np.sqrt(n_a * n_b)

    def shared(first: float, second: float) -> float:
        return float(np.clip(share * error_correlation(first, second, cross), -_NEARLY_ONE, _NEARLY_ONE))

    def deviation(r: float, n: int) -> float:
        return float(np.sqrt((1 + (r**2 / 2 if coefficient == "spearman" else 0)) / (n - 3)))

    pooled = (r_a + r_b) / 2
    c, sd_a, sd_b = shared(pooled, pooled), deviation(pooled, n_a), deviation(pooled, n_b)
    statistic = float((np.arctanh(r_a) - np.arctanh(r_b)) / np.sqrt(sd_a**2 + sd_b**2 - 2 * c * sd_a * sd_b))
    reach = float(stats.norm.ppf(0.5 + level / 2))
    low_a, high_a = np.tanh(np.arctanh(r_a) + np.array([-1, 1]) * reach * deviation(r_a, n_a))
    low_b, high_b = np.tanh(np.arctanh(r_b) + np.array([-1, 1]) * reach * deviation(r_b, n_b))
    kept = shared(r_a, r_b)
    below = (r_a - low_a) ** 2 + (high_b - r_b) ** 2 - 2 * kept * (r_a - low_a) * (high_b - r_b)
    above = (high_a - r_a) ** 2 + (r_b - low_b) ** 2 - 2 * kept * (high_a - r_a) * (r_b - low_b)
    return DependentDifference(
        r_a=r_a,
        r_b=r_b,
        lower=float(r_a - r_b - np.sqrt(below)),
        upper=float(r_a - r_b + np.sqrt(above)),
        error_correlation=c,
        statistic=statistic,
        p_value=float(2 * stats.norm.sf(abs(statistic))),
        n_pairs=n_pairs,
    )


def dependent_differences(
    table: ScoreTable,
    *,
    class_a: str,
    class_b: str,
    method: Coefficient = "spearman",
    score_method: ScoreMethod = "spearman_pca_2024",
    roles: Sequence[str] = ("safety",),
    capability: Sequence[str] | None = None,
    missing: Missing = "drop",
    level: float = 0.95,
) -> pd.DataFrame:
    """Return Steiger's test and Zou's interval of the difference of capabilities correlations for every benchmark.

    Parameters
    ----------
    class_a, class_b : str
        E.g. "chat" and "base"; the difference is a less b.
    method, score_method, roles, capability, missing
        As in `safetystats.scores.recipe.capability_correlations`.
    level : float

    Returns
    -------
    DataFrame
        Columns `TEST_COLUMNS`. `n_pairs` counts pairs of models; `p_adjusted` is Benjamini and Hochberg's over the
        benchmarks with a test; `note` says why there is none, or that pairs are too few to be made use of.
    """
    question = ask(table, method, score_method=score_method, roles=roles, capability=capability, missing=missing)
    for name in (class_a, class_b):
        if name not in question.targets:
            raise ValueError(f"no class {name!r} in {table.name}: there are {', '.join(question.targets)}")
    pair = (class_a, class_b)
    both = {c: models_with_both(question.targets[c]) for c in pair}
    scores = {c: target_scores(question.targets[c]) for c in pair}
    rows = []
    for j, (name, area) in enumerate(zip(question.benchmarks, question.areas, strict=True)):
        x, y, lineages = {}, {}, {}
        for c in pair:
            seen = both[c][:, j]
            x[c], y[c] = scores[c][seen, j], question.targets[c].values[seen, j]
            lineages[c] = [lineage for lineage, known in zip(question.lineages[c], seen, strict=True) if known]
        row: dict[str, object] = dict.fromkeys(TEST_COLUMNS, np.nan) | {
            "benchmark": name, "area": area, "class_a": class_a, "class_b": class_b, "n_a": len(x[class_a]),
            "n_b": len(x[class_b]), "n_pairs": 0, "method": question.label, "level": level, "note": "",
        }  # fmt: skip
        few = [c for c in pair if len(x[c]) < FEWEST_MODELS]
        constant = [c for c in pair if len(x[c]) and (np.ptp(x[c]) == 0 or np.ptp(y[c]) == 0)]
        if few or constant:
            row["note"] = "; ".join([f"{len(x[c])} {c} models" for c in few] + [f"no variation, {c}" for c in constant])
        else:
            found = dependent_difference(
                x[class_a], y[class_a], lineages[class_a], x[class_b], y[class_b], lineages[class_b],
                coefficient=method, level=level,
            )  # fmt: skip
            row |= found._asdict() | {"delta": found.r_a - found.r_b}
            if 0 < found.n_pairs < FEWEST_PAIRS:
                row["note"] = f"{found.n_pairs} pairs: taken as independent"
        rows.append(row)
    frame = pd.DataFrame(rows, columns=list(TEST_COLUMNS))
    known = frame["p_value"].notna()
    if known.any():
        frame.loc[known, "p_adjusted"] = stats.false_discovery_control(
            frame.loc[known, "p_value"].to_numpy(dtype=float)
        )
    return frame


def _correlation(x: FloatArray, y: FloatArray, coefficient: Coefficient) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    u, w = (stats.rankdata(x), stats.rankdata(y)) if coefficient == "spearman" else (x, y)
    return float(np.clip(np.corrcoef(u, w)[0, 1], -_NEARLY_ONE, _NEARLY_ONE))
