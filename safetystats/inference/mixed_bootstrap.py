"""Parametric bootstrap tests of the random-intercept model: fixed effects, and whether there are random effects at all.

With few groups the chi-square reference of a likelihood ratio is only first order, and for a variance at the edge of
its range it is wrong. Both null distributions are simulated here: responses are drawn from the smaller model, both
models are fitted to each, and the p-value is (1 + number of ratios as large as the observed one) / (1 + number of
replicates), which is at least 1 / (1 + replicates) and valid as a Monte Carlo test.

References
----------
Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application. Cambridge University
    Press. (4.2, 4.4)
Halekoh, U. and Hoejsgaard, S. (2014). A Kenward-Roger approximation and parametric bootstrap methods for tests in
    linear mixed models: the R package pbkrtest. Journal of Statistical Software 59(9).
Crainiceanu, C. M. and Ruppert, D. (2004). Likelihood ratio tests in linear mixed models with one variance component.
    Journal of the Royal Statistical Society B 66(1).
Self, S. G. and Liang, K.-Y. (1987). Asymptotic properties of maximum likelihood estimators and likelihood ratio tests
    under nonstandard conditions. Journal of the American Statistical Association 82(398).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from safetystats.inference.mixed_profile import FloatArray, IntArray
from safetystats.inference.mixed_spectrum import Spectrum, best_ratios, make_spectrum

EXTEND_BELOW = 0.1
"""p-values at or below this after the first replicates get the further ones. Rejecting at a level below it then is the
same as rejecting by the full number, so that stopping early costs no validity."""

TIE = 1e-8
"""Likelihood ratios this near count as equal: rounding, mostly of the many that are exactly zero on the boundary."""

BATCH = 2000
"""Replicates at a time, which bounds memory at a few MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bootstrap:
    """How many responses are simulated.

    Attributes
    ----------
    replicates : int
        For every test; 0 for none.
    replicates_small : int
        In all, for tests whose p-value after `replicates` is at most 0.1.
    seed : int
    """

    replicates: int = 999
    replicates_small: int = 9999
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapTest:
    """A likelihood ratio test and its two p-values.

    Attributes
    ----------
    statistic : float
        Twice the gain in log-likelihood.
    p_value : float
        By parametric bootstrap.
    p_error : float
        Its Monte Carlo standard error, sqrt(p (1 - p) / (1 + replicates)).
    replicates : int
    p_asymptotic : float
        Chi-square with as many degrees of freedom as columns left out; for the variance the equal mixture of chi-square
        with none and with one (chi-bar-square).
    """

    statistic: float
    p_value: float
    p_error: float
    replicates: int
    p_asymptotic: float


NO_TEST = BootstrapTest(statistic=np.nan, p_value=np.nan, p_error=np.nan, replicates=0, p_asymptotic=np.nan)


def effect_test(
    response: FloatArray, larger: FloatArray, smaller: FloatArray, codes: IntArray, plan: Bootstrap
) -> BootstrapTest:
    """Test the smaller against the larger set of columns by maximum likelihood.

    Responses are simulated at the ratio of variances that is estimated under the smaller model; fixed effects and scale
    do not matter, since the likelihood ratio does not depend on them.

    Parameters
    ----------
    response : array, shape (n,)
    larger, smaller : array, shape (n, p), (n, q)
        Designs of full column rank; the span of the smaller one lies in that of the larger.
    codes : array of int, shape (n,)
        Group of each row, 0 to G - 1.
    plan : Bootstrap
    """
    rich, poor = make_spectrum(larger, codes), make_spectrum(smaller, codes)
    scaled = (response - response.mean())[None, :] / response.std()
    ratio, _ = best_ratios(poor, scaled @ poor.projector.T, reml=False)
    spread = float(np.sqrt(ratio[0]))
    groups = rich.sizes.size

    def simulate(rng: np.random.Generator, count: int) -> FloatArray:
        simulated = rng.standard_normal((count, codes.size))
        simulated += spread * rng.standard_normal((count, groups))[:, codes]
        return _gains(simulated, rich, poor)

    observed = float(_gains(scaled, rich, poor)[0])
    asymptotic = float(stats.chi2.sf(observed, larger.shape[1] - smaller.shape[1]))
    return _test(observed, asymptotic, simulate, plan)


def variance_test(response: FloatArray, columns: FloatArray, codes: IntArray, plan: Bootstrap) -> BootstrapTest:
    """Test whether the variance of the groups is zero, by restricted maximum likelihood.

    The null distribution depends on the design alone and is simulated without approximation (Crainiceanu and Ruppert
    2004). NaN where no group has two members: the variance cannot be told from the residual one.

    Parameters
    ----------
    response : array, shape (n,)
    columns : array, shape (n, p)
    codes : array of int, shape (n,)
    plan : Bootstrap
    """
    spectrum = make_spectrum(columns, codes)
    if spectrum.sizes.max() == 1:
        return NO_TEST
    scaled = (response - response.mean())[None, :] / response.std()

    def simulate(rng: np.random.Generator, count: int) -> FloatArray:
        return _variance_gains(rng.standard_normal((count, spectrum.values.size)), spectrum)

    observed = float(_variance_gains(scaled @ spectrum.projector.T, spectrum)[0])
    asymptotic = float(0.5 * stats.chi2.sf(observed, 1)) if observed > TIE else 1.0
    return _test(observed, asymptotic, simulate, plan)


def _gains(responses: FloatArray, rich: Spectrum, poor: Spectrum) -> FloatArray:
    """Return twice the gain in log-likelihood of each response, shape (b,)."""
    _, with_it = best_ratios(rich, responses @ rich.projector.T, reml=False)
    _, without = best_ratios(poor, responses @ poor.projector.T, reml=False)
    gains: FloatArray = np.maximum(without - with_it, 0.0)
    return gains


def _variance_gains(components: FloatArray, spectrum: Spectrum) -> FloatArray:
    _, best = best_ratios(spectrum, components, reml=True)
    at_zero = (spectrum.n - spectrum.p) * np.log(np.sum(components**2, axis=1))
    gains: FloatArray = np.maximum(at_zero - best, 0.0)
    return gains


def _test(
    observed: float, asymptotic: float, simulate: Callable[[np.random.Generator, int], FloatArray], plan: Bootstrap
) -> BootstrapTest:
    """Count simulated ratios that reach the observed one, with more of them where they are few."""
    rng = np.random.default_rng(plan.seed)
    p_value, done, reached = np.nan, 0, 0
    for goal in (plan.replicates, plan.replicates_small):
        if done and not p_value <= EXTEND_BELOW:
            break
        while done < goal:
            count = min(BATCH, goal - done)
            reached += int((simulate(rng, count) >= observed - TIE).sum())
            done += count
        p_value = (1 + reached) / (1 + done) if plan.replicates else np.nan
        if not plan.replicates:
            break
    error = float(np.sqrt(p_value * (1.0 - p_value) / (1 + done)))
    return BootstrapTest(
        statistic=observed, p_value=p_value, p_error=error, replicates=done, p_asymptotic=asymptotic
    )  # fmt: skip
