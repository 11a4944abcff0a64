"""What a fitted mixed model says: combinations of its coefficients, contrasts of classes, means, explained variance.

All are functions of the coded rows and the fit; the model is not maximised again, except behind the tests.

References
----------
Nakagawa, S. and Schielzeth, H. (2013). A general and simple method for obtaining R2 from generalized linear mixed-
    effects models. Methods in Ecology and Evolution 4(2).
Edwards, L. J., Muller, K. E., Wolfinger, R. D., Qaqish, B. F. and Schabenberger, O. (2008). An R2 statistic for fixed
    effects in the linear mixed model. Statistics in Medicine 27(29).
Searle, S. R., Speed, F. M. and Milliken, G. A. (1980). Population marginal means in the linear model. The American
    Statistician 34(4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import linalg, stats

from safetystats.inference.mixed_bootstrap import NO_TEST, Bootstrap, BootstrapTest, effect_test
from safetystats.inference.mixed_profile import FloatArray, fit_at, make_design, satterthwaite_freedom
from safetystats.inference.mixed_values import MixedFit, MixedRows

Kind = Literal["class", "slope"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Combinations:
    """Linear combinations of the fixed effects, each of shape (k,).

    Attributes
    ----------
    estimate, std_error, freedom, lower, upper : array, shape (k,)
        As in `MixedFit`.
    """

    estimate: FloatArray
    std_error: FloatArray
    freedom: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One pair of classes compared: what is estimated as class_a less class_b.

    Attributes
    ----------
    kind : {"class", "slope"}
        Difference of level at capability 0, or of slope.
    class_a, class_b : str
    weights : tuple of float, length p
        In the coefficients of the full model.
    """

    kind: Kind
    class_a: str
    class_b: str
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How far the capabilities of two classes lie in each other's range.

    Attributes
    ----------
    class_a, class_b : str
    n_a, n_b : int
        Models.
    share_a, share_b : float
        Share of the models of class a inside the range of class b, and the reverse.
    lower, upper : float
        Ends of the range that both classes cover; NaN if there is none.
    """

    class_a: str
    class_b: str
    n_a: int
    n_b: int
    share_a: float
    share_b: float
    lower: float
    upper: float


def combine(rows: MixedRows, fit: MixedFit, weights: FloatArray) -> Combinations:
    """Return estimates and intervals of linear combinations of the coefficients.

    Parameters
    ----------
    rows : MixedRows
        Those of the fit.
    fit : MixedFit
        NaN throughout if its status is "not_applicable".
    weights : array, shape (k, p)
    """
    if fit.status == "not_applicable":
        nothing = np.full(len(weights), np.nan)
        return Combinations(estimate=nothing, std_error=nothing, freedom=nothing, lower=nothing, upper=nothing)
    estimate = weights @ fit.estimate
    std_error = np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", weights, fit.covariance, weights), 0.0))
    freedom = np.full(len(weights), np.inf)
    if fit.interval == "satterthwaite":
        freedom = np.full(len(weights), float(min(fit.n_groups - 1, fit.n_models - len(fit.terms))))
        if fit.status != "ols_cluster_robust":
            design = make_design(rows.score, rows.columns(), rows.codes)
            point = fit_at(design, fit.group_variance / fit.residual_variance, reml=fit.reml)
            own = satterthwaite_freedom(design, point, reml=fit.reml, weights=weights)
            freedom = np.where(np.isnan(own), freedom, own)
    half = stats.t.ppf(0.5 + fit.level / 2.0, freedom) * std_error
    return Combinations(
        estimate=estimate, std_error=std_error, freedom=freedom, lower=estimate - half, upper=estimate + half
    )


def weights_at(classes: Sequence[str], reference_class: str, model_class: str, capability: float) -> FloatArray:
    """Return the weights of the coefficients in the expected score of a class at one capability, shape (p,)."""
    others = sorted(name for name in classes if name != reference_class)
    member = np.array([float(name == model_class) for name in others])
    return np.concatenate([[1.0, capability], member, member * capability])


def pairwise_contrasts(classes: Sequence[str], reference_class: str) -> tuple[Contrast, ...]:
    """Return all pairs of classes, for level and for slope; class_b is the one nearer to the front of `classes`."""
    found = []
    for kind in ("class", "slope"):
        for b, a in combinations(classes, 2):
            at = [weights_at(classes, reference_class, name, 0.0) for name in (a, b)]
            if kind == "slope":
                at = [
                    weights_at(classes, reference_class, name, 1.0) - zero
                    for name, zero in zip((a, b), at, strict=True)
                ]
            found.append(Contrast(kind=kind, class_a=a, class_b=b, weights=tuple(float(w) for w in at[0] - at[1])))
    return tuple(found)


def contrast_test(rows: MixedRows, fit: MixedFit, weights: FloatArray, plan: Bootstrap) -> BootstrapTest:
    """Test by likelihood ratio that one combination of coefficients is zero, under marginality.

    The larger model is the full one if the combination contains an interaction, the additive one otherwise; the smaller
    one is its restriction to the combination being zero.

    Parameters
    ----------
    rows : MixedRows
    fit : MixedFit
        NaN in the result where its status is "not_applicable" or "ols_cluster_robust".
    weights : array, shape (p,)
    plan : Bootstrap
    """
    if fit.status in ("not_applicable", "ols_cluster_robust"):
        return NO_TEST
    chosen = list(rows.larger_model(int(np.flatnonzero(weights).max())))
    larger = rows.columns()[:, chosen]
    return effect_test(rows.score, larger, larger @ linalg.null_space(weights[None, chosen]), rows.codes, plan)


def explained_variance(rows: MixedRows, fit: MixedFit) -> tuple[float, float]:
    """Return the marginal and the conditional R2 of Nakagawa and Schielzeth (2013).

    Marginal: share of the variance that the fixed effects explain; conditional: fixed effects and groups. The variance
    of the fixed part is that of the fitted values over the models (ddof 0). Where the variance of groups cannot be
    identified it counts as zero, and the conditional value is NaN.
    """
    if fit.status == "not_applicable":
        return np.nan, np.nan
    fixed = float(np.var(rows.columns() @ fit.estimate))
    group = 0.0 if np.isnan(fit.group_variance) else fit.group_variance
    total = fixed + group + fit.residual_variance
    return fixed / total, np.nan if np.isnan(fit.group_variance) else (fixed + group) / total


def partial_r2(fit: MixedFit) -> FloatArray:
    """Return the partial R2 of every term, t^2 / (t^2 + degrees of freedom), shape (p,); NaN for the intercept.

    The R2 of Edwards et al. (2008) for one coefficient, with the degrees of freedom of the interval (theirs are of
    Kenward and Roger); NaN where these are infinite.
    """
    squared = (fit.estimate / fit.std_error) ** 2
    found = np.where(np.isfinite(fit.freedom), squared / (squared + fit.freedom), np.nan)
    found[0] = np.nan
    return found


def capability_overlap(capability: FloatArray, labels: Sequence[str], classes: Sequence[str]) -> tuple[Overlap, ...]:
    """Return for every pair of classes how far their capabilities lie in each other's range.

    Parameters
    ----------
    capability : array, shape (n,)
        Finite.
    labels : sequence of str, length n
        Class of each model.
    classes : sequence of str
        Classes to compare; a pair of which one has no model has shares and ends NaN.
    """
    values = {name: capability[np.array([label == name for label in labels], dtype=bool)] for name in classes}
    found = []
    for b, a in combinations(classes, 2):
        first, second = values[a], values[b]
        shares, ends = (np.nan, np.nan), (np.nan, np.nan)
        if first.size and second.size:
            shares = (_share_inside(first, second), _share_inside(second, first))
            ends = (float(max(first.min(), second.min())), float(min(first.max(), second.max())))
        if ends[0] > ends[1]:
            ends = (np.nan, np.nan)
        found.append(
            Overlap(
                class_a=a, class_b=b, n_a=first.size, n_b=second.size, share_a=shares[0], share_b=shares[1],
                lower=ends[0], upper=ends[1],
            )
        )  # fmt: skip
    return tuple(found)


def common_range(rows: MixedRows) -> tuple[float, float]:
    """Return the range of capability that all classes of a fit cover; its lower end is above the upper if none."""
    members = [rows.capability[rows.labels == name] for name in rows.classes]
    return float(max(m.min() for m in members)), float(min(m.max() for m in members))


def _share_inside(values: FloatArray, other: FloatArray) -> float:
    return float(np.mean((values >= other.min()) & (values <= other.max())))
