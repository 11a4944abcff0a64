"""What goes into a mixed-effects fit of one benchmark and what comes out: coded rows, and the frozen result.

References
----------
Nelder, J. A. (1977). A reformulation of linear models. Journal of the Royal Statistical Society A 140(1).
    (Marginality.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.mixed_profile import FloatArray, IntArray

MixedStatus = Literal["ok", "boundary", "not_converged", "ols_cluster_robust", "not_applicable"]
IntervalKind = Literal["satterthwaite", "normal"]
Grouping = Literal["lineage", "family"]
Labels = Sequence[str] | npt.NDArray[np.str_] | npt.NDArray[np.object_]

PLURALS: dict[Grouping, str] = {"lineage": "lineages", "family": "families"}

NEGLIGIBLE = 1e-12
"""Relative range below which a column counts as constant, and share of the variance of the score left over below which
a design counts as reproducing the scores exactly: rounding of doubles, with room."""

RANK_TOLERANCE = 1e-10
"""Smallest singular value, relative to the largest, of a design whose columns have length one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedFit:
    """A mixed-effects fit of one benchmark, with what may be said of it.

    Attributes
    ----------
    terms : tuple of str, length p
        "(Intercept)", "capability", "class[c]" and "capability:class[c]" for every class c but the reference, classes
        in sorted order. class[c] is the difference between class c and the reference at capability 0; capability is
        the slope in the reference class.
    estimate, std_error : array, shape (p,)
        Generalised least squares at the estimated variances; standard errors from (X' V^-1 X)^-1, as lme4 reports them.
        NaN where status is "not_applicable"; least squares and `std_error_robust` where it is "ols_cluster_robust".
    covariance : array, shape (p, p)
        The matrix whose diagonal gives `std_error`.
    std_error_robust : array, shape (p,)
        Cluster-robust (CR1) standard errors by group at the same estimates: to be read beside `std_error` on the
        boundary, where the model cannot express scores that are *less* alike within a lineage than between.
    p_robust : array, shape (p,)
        t tests with cluster-robust errors and one degree of freedom less than groups, in the larger of the two models
        that `tested` names; NaN for the intercept.
    freedom : array, shape (p,)
        Degrees of freedom of the t distribution behind the interval; infinity for interval "normal".
    lower, upper : array, shape (p,)
        estimate -/+ quantile * std_error.
    p_value : array, shape (p,)
        Likelihood-ratio test (ML, 1 df) under marginality, `tested` says of what; NaN for the intercept, since the
        zero of the scale is arbitrary. Under "ols_cluster_robust", t tests with clustered errors in the larger of the
        two models.
    tested : tuple of str, length p
        The pair of models compared; empty where none was.
    group_variance, residual_variance : float
        var(group) and var(residual), squared units of score; group variance NaN if it cannot be identified.
    log_likelihood, log_likelihood_ml : float
        Of this fit (REML or ML, all constants kept, comparable with lme4), and of the ML fit of the same model.
    n_models, n_groups, n_dropped : int
        Rows and groups used; rows left out because score or capability was missing.
    status : {"ok", "boundary", "not_converged", "ols_cluster_robust", "not_applicable"}
        "boundary": the variance of groups is estimated as zero. "not_converged": no statsmodels optimiser confirmed
        the maximum of the profile likelihood, whose values are given. "ols_cluster_robust": least squares, since no
        group has two members. "not_applicable": the question cannot be asked of these data.
    why : str
        Reason for every status but "ok", and notes; empty if there is nothing to say.
    optimiser : str
        The statsmodels optimiser that confirmed the maximum; empty if none did.
    reml : bool
        Which likelihood `estimate` and the variances maximise.
    level : float
        Coverage of `lower`, `upper`.
    interval : {"satterthwaite", "normal"}
    grouping : {"lineage", "family"}
        What a group is; only words depend on it.
    reference_class : str
    classes : tuple of str
        Classes among the rows used: the reference first, others sorted.
    """

    terms: tuple[str, ...]
    estimate: FloatArray
    std_error: FloatArray
    covariance: FloatArray
    std_error_robust: FloatArray
    p_robust: FloatArray
    freedom: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_value: FloatArray
    tested: tuple[str, ...]
    group_variance: float
    residual_variance: float
    log_likelihood: float
    log_likelihood_ml: float
    n_models: int
    n_groups: int
    n_dropped: int
    status: MixedStatus
    why: str
    optimiser: str
    reml: bool
    level: float
    interval: IntervalKind
    grouping: Grouping
    reference_class: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedRows:
    """The rows that enter a fit, coded.

    Attributes
    ----------
    score, capability : array, shape (n,)
    labels : array of str, shape (n,)
        Class of each row.
    codes : array of int, shape (n,)
        Group of each row, 0 to G - 1.
    classes : tuple of str
        Classes that have a row: the reference first (if it has one), others sorted.
    reference_class : str
    n_dropped : int
    note : str
        Which classes lost all their rows.
    grouping : {"lineage", "family"}
    """

    score: FloatArray
    capability: FloatArray
    labels: npt.NDArray[np.str_]
    codes: IntArray
    classes: tuple[str, ...]
    reference_class: str
    n_dropped: int
    note: str
    grouping: Grouping

    @property
    def n_groups(self) -> int:
        """Number of groups that have a row."""
        return int(self.codes.max()) + 1 if self.codes.size else 0

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of the columns of `columns()`."""
        return term_names(self.classes, self.reference_class)

    def columns(self) -> FloatArray:
        """Return the full design: intercept, capability, class indicators, products; shape (n, p)."""
        others = [name for name in self.classes if name != self.reference_class]
        indicators = (self.labels[:, None] == np.array(others, dtype=str)).astype(np.float64).reshape(-1, len(others))
        ones = np.ones(self.score.size)
        return np.column_stack([ones, self.capability, indicators, indicators * self.capability[:, None]])

    def larger_model(self, term: int) -> tuple[int, ...]:
        """Return the columns of the model from which a term is left out to test it, under marginality (Nelder 1977)."""
        return tuple(range(len(self.terms) if term > len(self.classes) else len(self.classes) + 1))


def term_names(classes: Sequence[str], reference_class: str) -> tuple[str, ...]:
    """Return the names of the terms: intercept, capability, classes and interactions, sorted, without the reference."""
    others = sorted(name for name in classes if name != reference_class)
    return (
        "(Intercept)",
        "capability",
        *(f"class[{name}]" for name in others),
        *(f"capability:class[{name}]" for name in others),
    )


def code_rows(
    score: npt.ArrayLike,
    capability: npt.ArrayLike,
    model_class: Labels,
    group: Labels,
    reference_class: str,
    grouping: Grouping = "lineage",
) -> MixedRows:
    """Drop rows without score or capability, and code labels.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing, or `reference_class` is no row's class.
    """
    y = np.asarray(score, dtype=np.float64)
    x = np.asarray(capability, dtype=np.float64)
    given: list[npt.NDArray[np.object_]] = [np.asarray(labels, dtype=object) for labels in (model_class, group)]
    shapes = {array.shape for array in (y, x, *given)}
    if len(shapes) != 1 or y.ndim != 1:
        raise ValueError(f"score, capability, model_class and group must have one shape (n,), got {sorted(shapes)}")
    if any(bool(pd.isna(labels).any()) for labels in given):
        raise ValueError("model_class and group must have a label in every row; give a model without lineage its own")
    classes, groups = (np.array([str(label) for label in labels], dtype=str) for labels in given)
    if reference_class not in classes:
        known = ", ".join(sorted(set(classes)))
        raise ValueError(f'reference_class must be the class of some model ({known}), got "{reference_class}"')
    keep = np.isfinite(y) & np.isfinite(x)
    codes = np.unique(groups[keep], return_inverse=True)[1].astype(np.int64)
    present = sorted(set(classes[keep].tolist()), key=lambda name: (name != reference_class, name))
    lost = sorted(set(classes.tolist()) - set(present))
    return MixedRows(
        score=y[keep],
        capability=x[keep],
        labels=classes[keep],
        codes=codes,
        classes=tuple(present),
        reference_class=reference_class,
        n_dropped=int((~keep).sum()),
        note=f"no score in class {', '.join(lost)}" if lost else "",
        grouping=grouping,
    )


def refusal(rows: MixedRows) -> str:
    """Return why the model cannot be fitted to these rows; an empty string if it can."""
    if not rows.score.size:
        return "no model has both a score and a capability"
    if len(rows.classes) < 2:
        return f"only class {rows.classes[0]} has scores: there is nothing to compare"
    if rows.reference_class not in rows.classes:
        return f"the reference class {rows.reference_class} has no scores"
    if _constant(rows.score):
        return "every model has the same score"
    for name in rows.classes:
        members = rows.capability[rows.labels == name]
        if _constant(members):
            return f"capability does not vary among the {members.size} model(s) of class {name}: no slope"
    columns = rows.columns()
    n, p = columns.shape
    if n <= p + 1:
        return f"{n} models are too few for {p} coefficients and two variances"
    if rows.n_groups < 2:
        return f"all models belong to one {rows.grouping}"
    singular = np.linalg.svd(columns / np.linalg.norm(columns, axis=0), compute_uv=False)
    if singular[-1] < RANK_TOLERANCE * singular[0]:
        return "capability and class are collinear"
    centred = rows.score - rows.score.mean()
    basis = np.linalg.qr(columns)[0]
    left = centred - basis @ (basis.T @ centred)
    if left @ left < NEGLIGIBLE * (centred @ centred):
        return "capability and class reproduce the scores exactly: no variance is left"
    return ""


def _constant(values: FloatArray) -> bool:
    return bool(np.ptp(values) <= NEGLIGIBLE * np.abs(values).max())


def join_notes(*notes: str) -> str:
    """Join what is not empty by semicolons."""
    return "; ".join(note for note in notes if note)
