"""Do classes of models differ on a benchmark, given their capability? One mixed-effects model for one benchmark.

    score ~ capability * class + (1 | group)

A group is a lineage (models tuned from one base model) or a family (series of one developer). `fit_mixed` takes arrays
and labels, so that it can be set beside lme4. This is the only module that imports statsmodels. The model has a one-
dimensional profile likelihood in closed form (`safetystats.inference.mixed_profile`); its maximum is where statsmodels'
`MixedLM` is started and against which it is judged. From its own starting values statsmodels 0.15 fails or stops at a
wrong optimum on many benchmarks: L-BFGS raises LinAlgError when the ratio of variances reaches zero, and below a ratio
of 1e-10 `get_fe_params` replaces the precision of the groups by zero instead of infinity, so that fixed effects become
those *within* groups, with zeros for what does not vary there, while `converged` stays True.

References
----------
Pinheiro, J. C. and Bates, D. M. (2000). Mixed-Effects Models in S and S-PLUS. Springer.
Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects models using lme4. Journal of
    Statistical Software 67(1).
Kuznetsova, A., Brockhoff, P. B. and Christensen, R. H. B. (2017). lmerTest package: tests in linear mixed effects
    models. Journal of Statistical Software 82(13).
Nelder, J. A. (1977). A reformulation of linear models. Journal of the Royal Statistical Society A 140(1).
    (Marginality.)
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.tools.sm_exceptions import ConvergenceWarning, SingularMatrixWarning

from safetystats.inference.mixed_profile import (
    Design,
    FloatArray,
    GlsFit,
    best_ratio,
    cluster_robust_covariance,
    fit_at,
    make_design,
    satterthwaite_freedom,
)
from safetystats.inference.mixed_values import (
    PLURALS,
    Grouping,
    IntervalKind,
    Labels,
    MixedFit,
    MixedRows,
    MixedStatus,
    code_rows,
    join_notes,
    refusal,
)

__all__ = ["MixedFit", "MixedStatus", "benjamini_hochberg", "fit_mixed", "holm"]

OPTIMISERS: tuple[str, ...] = ("lbfgs", "powell", "nm", "bfgs", "cg")
"""statsmodels' optimisers in the order tried; the first that confirms the maximum ends the search."""

LIKELIHOOD_TOLERANCE = 1e-6
"""A fit confirms the maximum if its log-likelihood is this near: far below anything that moves a reported digit."""

COEFFICIENT_TOLERANCE = 1e-6
"""Largest difference, in sd of the score, between statsmodels' fitted effects and least squares at the same ratio."""

SMALLEST_START = 1e-8
"""Ratio at which statsmodels is started on the boundary; below 1e-10 it computes wrong fixed effects."""

FEW_GROUPS = 12
"""With fewer groups cluster-robust standard errors are too small; the reader is told."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Maximum:
    """The maximum of one likelihood, and the statsmodels optimiser that confirmed it (empty: none)."""

    fit: GlsFit
    optimiser: str
    note: str


def fit_mixed(
    score: npt.ArrayLike,
    capability: npt.ArrayLike,
    model_class: Labels,
    group: Labels,
    *,
    reference_class: str,
    reml: bool = True,
    level: float = 0.95,
    interval: IntervalKind = "satterthwaite",
    grouping: Grouping = "lineage",
) -> MixedFit:
    """Fit score ~ capability * class + (1 | group), and test every term.

    The estimand of "class[c]" is the difference in expected score between class c and the reference class for a
    group whose models have capability 0; that of "capability:class[c]" the difference between their slopes. Both are
    in the units of `score` and `capability` as given: standardise before if they are wanted in sd.

    Tests respect marginality. An interaction is tested by leaving it out of the full model. A class, and capability,
    are tested by leaving them out of the additive model score ~ capability + class, so that their p-values do not
    depend on where capability has its zero, while their estimates, which are those of the full model, do. The
    chi-square reference is first order: with few groups the tests reject somewhat more often than their level, for
    which `safetystats.inference.mixed_bootstrap` has the remedy.

    Parameters
    ----------
    score, capability : array, shape (n,)
        Rows where either is not finite are left out and counted.
    model_class, group : labels, shape (n,)
        Class and group of each row; none missing.
    reference_class : str
        The class with which the others are compared.
    reml : bool
        Whether variances and estimates come from the restricted likelihood; tests always use ML.
    level : float
        Coverage of `lower`, `upper`.
    interval : {"satterthwaite", "normal"}
        Student t with Satterthwaite's degrees of freedom (as lmerTest), or the normal distribution.
    grouping : {"lineage", "family"}
        What a group is called in `why`.

    Returns
    -------
    MixedFit
        For data that cannot answer, status "not_applicable" and the reason in `why`.

    Raises
    ------
    ValueError
        If lengths differ, labels are missing, `level` is not inside (0, 1), or `reference_class` is no row's class.

    References
    ----------
    Pinheiro and Bates (2000), chapter 2; Bates et al. (2015); Kuznetsova, Brockhoff and Christensen (2017).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    rows = code_rows(score, capability, model_class, group, reference_class, grouping)
    blank = _blank(rows, reml=reml, level=level, interval=interval)
    reason = refusal(rows)
    if reason:
        return replace(blank, why=join_notes(reason, rows.note))
    columns = rows.columns()
    design = make_design(rows.score, columns, rows.codes)
    if design.sizes.max() == 1:
        return _least_squares(blank, rows, design, columns)
    tests = {pair: _maximum(rows, columns[:, list(pair)], reml=False) for pair in _models_compared(rows)}
    full = tests[tuple(range(columns.shape[1]))]
    best = _maximum(rows, columns, reml=True) if reml else full
    if best is None or full is None:
        within = PLURALS[grouping]
        reason = f"scores do not differ within {within} once class and capability are allowed for: no maximum exists"
        return replace(blank, why=join_notes(reason, rows.note))
    return _fitted(blank, rows, design, best, tests)


def benjamini_hochberg(p_values: FloatArray) -> FloatArray:
    """Return p-values adjusted for the false discovery rate, shape (m,); NaN stays NaN and is not counted.

    References
    ----------
    Benjamini, Y. and Hochberg, Y. (1995). Controlling the false discovery rate. Journal of the Royal Statistical
        Society B 57(1).
    """
    adjusted = np.full(p_values.shape, np.nan)
    known = np.isfinite(p_values)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p_values[known])
    return adjusted


def holm(p_values: FloatArray) -> FloatArray:
    """Return p-values adjusted for the probability of any false rejection, shape (m,); NaN stays NaN, uncounted.

    References
    ----------
    Holm, S. (1979). A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6(2).
    """
    # Not statsmodels' multipletests: it collects garbage in each call, a minute in all with three classes.
    adjusted = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values, kind="stable")[: int(np.isfinite(p_values).sum())]  # NaN are sorted last
    steps = p_values[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _blank(rows: MixedRows, *, reml: bool, level: float, interval: IntervalKind) -> MixedFit:
    nothing = np.full(len(rows.terms), np.nan)
    return MixedFit(
        terms=rows.terms, estimate=nothing, std_error=nothing, covariance=np.full((nothing.size,) * 2, np.nan),
        std_error_robust=nothing, p_robust=nothing, freedom=nothing, lower=nothing, upper=nothing, p_value=nothing,
        tested=("",) * len(rows.terms),
        group_variance=np.nan, residual_variance=np.nan, log_likelihood=np.nan, log_likelihood_ml=np.nan,
        n_models=rows.score.size, n_groups=rows.n_groups, n_dropped=rows.n_dropped, status="not_applicable", why="",
        optimiser="", reml=reml, level=level, interval=interval, grouping=rows.grouping,
        reference_class=rows.reference_class, classes=rows.classes,
    )  # fmt: skip


def _comparison(rows: MixedRows, term: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the columns of the larger and the smaller model that test one term."""
    larger = rows.larger_model(term)
    return larger, tuple(column for column in larger if column != term)


def _models_compared(rows: MixedRows) -> list[tuple[int, ...]]:
    """Return the distinct models behind the tests of all terms but the intercept; the full model is among them."""
    models = [model for term in range(1, len(rows.terms)) for model in _comparison(rows, term)]
    return list(dict.fromkeys(models))


def _described(rows: MixedRows, term: int) -> str:
    if term == 0:
        return ""
    symbol = "*" if term > len(rows.classes) else "+"
    return f"score ~ capability {symbol} class, with and without {rows.terms[term]}"


def _maximum(rows: MixedRows, columns: FloatArray, *, reml: bool) -> _Maximum | None:
    """Return the maximum of the likelihood; None if it has none (residual variance going to zero)."""
    design = make_design(rows.score, columns, rows.codes)
    ratio = best_ratio(design, reml=reml)
    if np.isinf(ratio):
        return None
    best = fit_at(design, ratio, reml=reml)
    notes = []
    for optimiser in OPTIMISERS:
        found, note = _statsmodels_ratio(design, max(ratio, SMALLEST_START), reml=reml, optimiser=optimiser)
        if found is not None:
            reached = fit_at(design, found, reml=reml)
            if reached.log_likelihood > best.log_likelihood + LIKELIHOOD_TOLERANCE:
                best = reached
            if reached.log_likelihood > best.log_likelihood - LIKELIHOOD_TOLERANCE:
                return _Maximum(fit=best, optimiser=optimiser, note="")
            note = f"log-likelihood lower by {best.log_likelihood - reached.log_likelihood:.3g}"
        notes.append(f"{optimiser}: {note}")
    return _Maximum(fit=best, optimiser="", note=", ".join(notes))


def _statsmodels_ratio(design: Design, start: float, *, reml: bool, optimiser: str) -> tuple[float | None, str]:
    """Fit with statsmodels and return its ratio of variances, or None and what is wrong with its answer."""
    n = design.basis.shape[0]
    exog = np.sqrt(n) * design.basis
    with warnings.catch_warnings(record=True) as caught:
        for category in (ConvergenceWarning, SingularMatrixWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        try:
            result = MixedLM(design.response, exog, groups=design.codes).fit(
                start_params=np.array([np.sqrt(start)]), reml=reml, method=optimiser
            )
        except (np.linalg.LinAlgError, ValueError) as error:
            return None, f"{type(error).__name__}: {error}"
        ratio = float(np.asarray(result.cov_re_unscaled)[0, 0])
        effects = np.asarray(result.fe_params, dtype=np.float64)
    said = "; ".join(sorted({str(item.message) for item in caught}))
    if not (np.isfinite(ratio) and ratio >= 0.0 and np.isfinite(effects).all()):
        return None, join_notes("no finite answer", said)
    expected = (fit_at(design, ratio, reml=reml).coefficients - _centre(design)) @ design.triangle.T
    gap = float(np.abs(effects - expected / (design.scale * np.sqrt(n))).max())
    if gap > COEFFICIENT_TOLERANCE:
        return None, join_notes(f"fixed effects are {gap:.3g} sd off least squares at its own ratio {ratio:.3g}", said)
    return ratio, said


def _centre(design: Design) -> FloatArray:
    """Return what centring the response took from the coefficients, shape (p,)."""
    centre = np.zeros(design.basis.shape[1])
    centre[0] = design.centre
    return centre


def _fitted(
    blank: MixedFit, rows: MixedRows, design: Design, best: _Maximum, tests: dict[tuple[int, ...], _Maximum | None]
) -> MixedFit:
    """Fill in estimates, intervals and tests at the maximum."""
    fit = best.fit
    n, p = design.basis.shape
    many = PLURALS[rows.grouping]
    std_error = np.sqrt(np.diag(fit.covariance))
    freedom, freedom_note = np.full(p, np.inf), ""
    if blank.interval == "satterthwaite":
        freedom = satterthwaite_freedom(design, fit, reml=blank.reml)
        if np.isnan(freedom).any():
            freedom = np.full(p, float(min(design.sizes.size - 1, n - p)))
            freedom_note = f"the information on the variances is singular: degrees of freedom are {many} less one"
    p_value, p_robust = np.full(p, np.nan), np.full(p, np.nan)
    for term in range(1, p):
        larger, smaller = (tests[model] for model in _comparison(rows, term))
        if larger is not None and smaller is not None:
            gain = 2.0 * (larger.fit.log_likelihood - smaller.fit.log_likelihood)
            p_value[term] = stats.chi2.sf(max(gain, 0.0), 1)
            p_robust[term] = _robust_p(rows, term, larger.fit.ratio, reml=blank.reml)
    status: MixedStatus = "ok"
    why = ""
    if fit.ratio == 0.0:
        status = "boundary"
        unsure = "" if best.optimiser else f" (in closed form; statsmodels did not confirm it: {best.note})"
        why = f"variance of {many} is estimated as zero{unsure}: least squares, compare std_error_robust"
    elif not best.optimiser:
        status = "not_converged"
        why = f"values are those of the profile likelihood, which statsmodels did not confirm ({best.note})"
    unconfirmed = [m.note for m in tests.values() if m is not None and not m.optimiser and m.fit.ratio > 0.0]
    tests_note = (
        f"likelihood of {len(unconfirmed)} model(s) behind the tests not confirmed by statsmodels"
        if unconfirmed
        else ""
    )
    endless = "a model behind a test has no maximum" if any(m is None for m in tests.values()) else ""
    quantile = stats.t.ppf(0.5 + blank.level / 2.0, freedom)
    full = tests[tuple(range(p))]
    return replace(
        blank,
        estimate=fit.coefficients,
        std_error=std_error,
        covariance=fit.covariance,
        std_error_robust=np.sqrt(np.diag(cluster_robust_covariance(design, fit))),
        p_robust=p_robust,
        freedom=freedom,
        lower=fit.coefficients - quantile * std_error,
        upper=fit.coefficients + quantile * std_error,
        p_value=p_value,
        tested=tuple(_described(rows, term) for term in range(p)),
        group_variance=fit.ratio * fit.residual_variance,
        residual_variance=fit.residual_variance,
        log_likelihood=fit.log_likelihood,
        log_likelihood_ml=full.fit.log_likelihood if full is not None else np.nan,
        status=status,
        why=join_notes(why, freedom_note, tests_note, endless, rows.note),
        optimiser=best.optimiser,
    )


def _robust_p(rows: MixedRows, term: int, ratio: float, *, reml: bool) -> float:
    """Return the p-value of a t test with cluster-robust errors in the model from which the term would be left out."""
    design = make_design(rows.score, rows.columns()[:, list(rows.larger_model(term))], rows.codes)
    fit = fit_at(design, ratio, reml=reml)
    error = np.sqrt(cluster_robust_covariance(design, fit)[term, term])
    n, p = design.basis.shape
    return float(2.0 * stats.t.sf(np.abs(fit.coefficients[term]) / error, min(design.sizes.size - 1, n - p)))


def _least_squares(blank: MixedFit, rows: MixedRows, design: Design, columns: FloatArray) -> MixedFit:
    """Return ordinary least squares with cluster-robust errors, for data in which no lineage has two members."""
    n, p = columns.shape
    groups = design.sizes.size
    freedom = float(min(groups - 1, n - p))
    fit = fit_at(design, 0.0, reml=blank.reml)
    covariance = cluster_robust_covariance(design, fit)
    robust = np.sqrt(np.diag(covariance))
    p_value = np.array([np.nan, *(_robust_p(rows, term, 0.0, reml=blank.reml) for term in range(1, p))])
    degrees = np.full(p, freedom if blank.interval == "satterthwaite" else np.inf)
    quantile = stats.t.ppf(0.5 + blank.level / 2.0, degrees)
    many = PLURALS[rows.grouping]
    few = f"only {groups} {many}: robust standard errors are too small" if groups < FEW_GROUPS else ""
    return replace(
        blank,
        estimate=fit.coefficients,
        std_error=robust,
        covariance=covariance,
        std_error_robust=robust,
        p_robust=p_value,
        freedom=degrees,
        lower=fit.coefficients - quantile * robust,
        upper=fit.coefficients + quantile * robust,
        p_value=p_value,
        tested=tuple(_described(rows, term) for term in range(p)),
        residual_variance=fit.residual_variance,
        log_likelihood=fit.log_likelihood,
        log_likelihood_ml=fit_at(design, 0.0, reml=False).log_likelihood,
        status="ols_cluster_robust",
        why=join_notes(
            f"no {rows.grouping} has two members, so that its variance cannot be told from the residual: least squares",
            few,
            rows.note,
        ),
    )
