"""Mixed models with uncertain capability: one fit for each posterior draw of it, pooled by Rubin's rules.

    total variance = mean of the variances within + (1 + 1 / m) variance of the estimates between draws

What this does and does not do. It carries on the uncertainty of capability. It does not remove the bias that error in a
covariate brings: the draws are made without the score, and a slope on such draws is lower by about the reliability of
capability (Carroll et al. 2006, chapter 2; for the imputer's model to be right the score would have to be in it, Meng
1994). The slope on the *posterior mean* is not attenuated in this way (regression calibration, chapter 4), but its
standard error takes capability as known. Both are given; where they are far apart, capability is too uncertain for
either alone.

References
----------
Rubin, D. B. (1987). Multiple Imputation for Nonresponse in Surveys. Wiley. (Chapter 3.)
Barnard, J. and Rubin, D. B. (1999). Small-sample degrees of freedom with multiple imputation. Biometrika 86(4).
Meng, X.-L. (1994). Multiple-imputation inferences with uncongenial sources of input. Statistical Science 9(4).
Carroll, R. J., Ruppert, D., Stefanski, L. A. and Crainiceanu, C. M. (2006). Measurement Error in Nonlinear Models,
    second edition. Chapman and Hall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from safetystats.inference.mixed_profile import (
    FloatArray,
    GlsFit,
    cluster_robust_covariance,
    fit_at,
    make_design,
    satterthwaite_freedom,
)
from safetystats.inference.mixed_spectrum import best_ratios, make_spectrum
from safetystats.inference.mixed_values import Grouping, Labels, MixedRows, code_rows, join_notes, refusal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImputedFit:
    """Pooled fits of one benchmark over draws of capability.

    Attributes
    ----------
    terms : tuple of str, length p
        As in `MixedFit`.
    estimate, std_error : array, shape (p,)
        Mean of the estimates, and the root of the total variance.
    within, between : array, shape (p,)
        Mean of the squared standard errors, and variance (ddof 1) of the estimates over draws.
    freedom : array, shape (p,)
        Of Barnard and Rubin (1999); the complete-data degrees of freedom are Satterthwaite's at the mean of the draws.
    lower, upper, p_value : array, shape (p,)
        Student's t. `p_value` is the Wald test of the coefficient in the full model, at capability 0: not the marginal
        test of `MixedFit`. NaN for the intercept.
    missing_information : array, shape (p,)
        Share of the total variance that is due to the uncertainty of capability, (1 + 1 / m) between / total.
    monte_carlo_error : array, shape (p,)
        Standard error of `estimate` that stems from having m draws only, sqrt(between / m).
    group_variance, residual_variance : float
        Means over draws; group variance NaN if it cannot be identified.
    n_draws, n_boundary : int
        Draws pooled, and those among them with a group variance of zero.
    level : float
    why : str
        Why there is nothing, or what was left out.
    """

    terms: tuple[str, ...]
    estimate: FloatArray
    std_error: FloatArray
    within: FloatArray
    between: FloatArray
    freedom: FloatArray
    lower: FloatArray
    upper: FloatArray
    p_value: FloatArray
    missing_information: FloatArray
    monte_carlo_error: FloatArray
    group_variance: float
    residual_variance: float
    n_draws: int
    n_boundary: int
    level: float
    why: str


def fit_mixed_imputed(
    score: npt.ArrayLike,
    capability_draws: npt.ArrayLike,
    model_class: Labels,
    group: Labels,
    *,
    reference_class: str,
    reml: bool = True,
    level: float = 0.95,
    grouping: Grouping = "lineage",
) -> ImputedFit:
    """Fit score ~ capability * class + (1 | group) for every draw of capability and pool by Rubin's rules.

    Parameters
    ----------
    score : array, shape (n,)
    capability_draws : array, shape (m, n)
        On one scale for all classes and draws. Models of which any draw is not finite are left out. m is 2 or more;
        successive draws of a chain should be thinned.
    model_class, group : labels, shape (n,)
    reference_class, reml, level, grouping
        As in `fit_mixed`.

    Raises
    ------
    ValueError
        If shapes do not fit, labels are missing, there are fewer than two draws, `level` is not inside (0, 1), or
        `reference_class` is no row's class.
    """
    draws = np.asarray(capability_draws, dtype=np.float64)
    if draws.ndim != 2 or len(draws) < 2:
        raise ValueError(f"capability_draws must have shape (m, n) with m of 2 or more, got {draws.shape}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie strictly between 0 and 1, got {level}")
    mean = draws.mean(axis=0)
    rows = code_rows(score, mean, model_class, group, reference_class, grouping)
    reason = refusal(rows)
    if reason:
        return empty_imputed(rows.terms, level, join_notes(reason, rows.note))
    kept = draws[:, np.isfinite(np.asarray(score, dtype=np.float64)) & np.isfinite(mean)]
    paired = bool(np.bincount(rows.codes).max() > 1)
    fits, covariances = _fits(rows, kept, reml=reml, paired=paired)
    if len(fits) < 2:
        return empty_imputed(rows.terms, level, join_notes("no maximum exists at the draws of capability", rows.note))
    lost = len(kept) - len(fits)
    note = f"{lost} of {len(kept)} draws left out: no maximum exists" if lost else ""
    return _pooled(
        rows, fits, covariances, _complete_freedom(rows, fits, reml=reml, paired=paired), level, paired,
        join_notes(note, rows.note),
    )  # fmt: skip


def empty_imputed(terms: tuple[str, ...], level: float, why: str) -> ImputedFit:
    """Return a result without numbers, and the reason."""
    nothing = np.full(len(terms), np.nan)
    return ImputedFit(
        terms=terms, estimate=nothing, std_error=nothing, within=nothing, between=nothing, freedom=nothing,
        lower=nothing, upper=nothing, p_value=nothing, missing_information=nothing, monte_carlo_error=nothing,
        group_variance=np.nan, residual_variance=np.nan, n_draws=0, n_boundary=0, level=level, why=why,
    )  # fmt: skip


def thinned(draws: FloatArray, count: int) -> FloatArray:
    """Return `count` draws evenly spaced over the given ones, shape (count, n); all if there are no more."""
    if len(draws) <= count:
        return draws
    return draws[np.linspace(0, len(draws) - 1, count).round().astype(np.int64)]


def _fits(rows: MixedRows, draws: FloatArray, *, reml: bool, paired: bool) -> tuple[list[GlsFit], list[FloatArray]]:
    """Return the fit and the covariance of the coefficients at every draw that has a maximum."""
    plain = rows.columns()
    shared = plain.shape[1] - len(rows.classes) + 1
    columns = np.repeat(plain[None], len(draws), axis=0)
    columns[:, :, 1] = draws
    columns[:, :, shared:] = plain[None, :, 2:shared] * draws[:, :, None]
    ratios = np.zeros(len(draws))
    if paired:
        spectrum = make_spectrum(columns, rows.codes)
        response = (rows.score - rows.score.mean()) / rows.score.std()
        ratios, _ = best_ratios(spectrum, spectrum.projector @ response, reml=reml)
    fits, covariances = [], []
    for ratio, one in zip(ratios, columns, strict=True):
        if ratio > LARGEST_RATIO:
            continue
        design = make_design(rows.score, one, rows.codes)
        fits.append(fit_at(design, float(ratio), reml=reml))
        covariances.append(fits[-1].covariance if paired else cluster_robust_covariance(design, fits[-1]))
    return fits, covariances


LARGEST_RATIO = 5e7
"""Ratios above this mean that the residual variance goes to zero: the likelihood has no maximum."""


def _complete_freedom(rows: MixedRows, fits: list[GlsFit], *, reml: bool, paired: bool) -> FloatArray:
    """Return the degrees of freedom if capability were known, at the mean of the draws, shape (p,)."""
    columns = rows.columns()
    n, p = columns.shape
    few = np.full(p, float(min(rows.n_groups - 1, n - p)))
    if not paired:
        return few
    design = make_design(rows.score, columns, rows.codes)
    spectrum = make_spectrum(columns, rows.codes)
    ratio, _ = best_ratios(spectrum, (spectrum.projector @ design.response)[None, :], reml=reml)
    found = satterthwaite_freedom(design, fit_at(design, float(ratio[0]), reml=reml), reml=reml)
    return np.where(np.isnan(found), few, found)


def _pooled(
    rows: MixedRows, fits: list[GlsFit], covariances: list[FloatArray], complete: FloatArray, level: float,
    paired: bool, why: str,
) -> ImputedFit:  # fmt: skip
    """Apply Rubin's rules."""
    m = len(fits)
    estimates = np.stack([fit.coefficients for fit in fits])
    estimate, between = estimates.mean(axis=0), estimates.var(axis=0, ddof=1)
    within = np.mean([np.diag(covariance) for covariance in covariances], axis=0)
    inflated = (1.0 + 1.0 / m) * between
    total = within + inflated
    share = inflated / total
    freedom = barnard_rubin_freedom(share, complete, m)
    std_error = np.sqrt(total)
    half = stats.t.ppf(0.5 + level / 2.0, freedom) * std_error
    p_value = 2.0 * stats.t.sf(np.abs(estimate) / std_error, freedom)
    p_value[0] = np.nan
    ratios = np.array([fit.ratio for fit in fits])
    residual = np.array([fit.residual_variance for fit in fits])
    return ImputedFit(
        terms=rows.terms, estimate=estimate, std_error=std_error, within=within, between=between, freedom=freedom,
        lower=estimate - half, upper=estimate + half, p_value=p_value, missing_information=share,
        monte_carlo_error=np.sqrt(between / m), group_variance=float(np.mean(ratios * residual)) if paired else np.nan,
        residual_variance=float(residual.mean()), n_draws=m, n_boundary=int((ratios == 0.0).sum()) if paired else 0,
        level=level, why=why,
    )  # fmt: skip


def barnard_rubin_freedom(share: FloatArray, complete: FloatArray, m: int) -> FloatArray:
    """Return the degrees of freedom of Barnard and Rubin (1999), equation 3, shape (p,).

    Parameters
    ----------
    share : array, shape (p,)
        (1 + 1 / m) between / total.
    complete : array, shape (p,)
        Degrees of freedom if nothing were missing.
    m : int
        Imputations.
    """
    observed = (complete + 1.0) / (complete + 3.0) * complete * (1.0 - share)
    # 1 / Rubin's degrees of freedom, which are infinite where the draws agree.
    inverse = share**2 / (m - 1) + 1.0 / observed
    found: FloatArray = 1.0 / inverse
    return found
