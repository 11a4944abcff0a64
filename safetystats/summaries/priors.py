"""What follows the priors: power scaling, and fits with other priors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from safetystats.inference.arrays import FloatArray
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability
from safetystats.inference.problems import family_codes, noise_of
from safetystats.inference.sensitivity import power_scaling
from safetystats.inference.store import FitStore
from safetystats.inference.streams import Report, seed_for
from safetystats.specs import FactorSpec, Rope
from safetystats.summaries.glossary import conform
from safetystats.summaries.posterior import verdict_of, verdict_shares

GRID_DRAWS = 500
"""Draws of capability that the cut posterior under another prior is computed from."""


def prior_sensitivity(
    fits: Mapping[str, CapabilityFit],
    safety: Mapping[str, SafetyFit],
    store: FitStore,
    rope: Rope,
    *,
    grid: bool,
    report: Report | None,
) -> pd.DataFrame:
    """Return how far every correlation follows the priors: by power scaling, and by fits with other priors.

    Parameters
    ----------
    fits, safety : mapping of str to CapabilityFit, SafetyFit
        By class.
    store : FitStore
    rope : Rope
        For the verdicts under other priors.
    grid : bool
        Whether to repeat the fit with the spec's alternatives.
    report : callable or None

    Returns
    -------
    DataFrame
        Table `prior_sensitivity`: for `how` "power scaling" the sensitivity in `value` with its `diagnosis`; for
        "other prior" the posterior mean, its change and the largest change of a probability of the verdict from the
        stated prior, and the verdict of the cut posterior.
    """
    rows = _power_scaling(fits, safety)
    if grid:
        for label, fit in fits.items():
            rows += _other_priors(fit, safety[label], store, rope, report)
    return conform("prior_sensitivity", pd.DataFrame(rows))


def _power_scaling(fits: Mapping[str, CapabilityFit], safety: Mapping[str, SafetyFit]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for label, fit in fits.items():
        rho = safety[label].draws["cut"].to_dataset()["rho"]
        extra = {
            name: rho.sel(benchmark=name).to_numpy().ravel().astype(np.float64) for name in safety[label].benchmarks
        }
        anchors = np.ones(len(fit.benchmarks), dtype=bool)
        found = power_scaling(fit.parameters, fit.data, fit.spec.priors, anchors, fit.benchmarks, extra)
        rows += [
            {"model_class": label, "how": "power scaling", "prior": row.component, "alternative": "",
             "benchmark": row.quantity, "value": row.value, "mean": np.nan, "change": np.nan, "p_change": np.nan,
             "verdict": "",
             "diagnosis": row.diagnosis}
            for row in found
        ]  # fmt: skip
    return rows


def _other_priors(
    fit: CapabilityFit, safety: SafetyFit, store: FitStore, rope: Rope, report: Report | None
) -> list[dict[str, object]]:
    """Return means, changes and verdicts of one class under every alternative prior.

    Changes are from the stated prior with the same number of draws. A verdict is that of the probabilities from all
    draws under the stated prior, plus their changes where these exceed two Monte Carlo errors: a benchmark at the
    limit would else change its verdict with the draws alone.
    """
    stated, before = _correlations_under(fit, fit.spec, safety.benchmarks, rope)
    cut = safety.draws["cut"]["rho"]
    whole = {
        name: np.array(verdict_shares(draws.ravel(), rope))
        for name, draws in zip(safety.benchmarks, cut.to_numpy(), strict=True)
    }
    rows: list[dict[str, object]] = []
    for other in fit.spec.alternatives:
        spec = fit.spec.with_prior(other)
        again = fit
        if other.prior != "loading":  # the prior of safety benchmarks does not touch capability
            again = fit_capability(fit.table, spec, fit.seed, fit.kind, store, report)
        means, after = _correlations_under(again, spec, safety.benchmarks, rope)
        verdicts: dict[str, str] = {}
        moved: dict[str, float] = {}
        for name, shares in after.items():
            change = shares - before[name]
            error = np.sqrt((shares * (1 - shares) + before[name] * (1 - before[name])) / GRID_DRAWS)
            high, low, near = whole[name] + np.where(np.abs(change) > 2 * error, change, 0.0)
            verdicts[name] = verdict_of(high, low, near, rope.probability)
            moved[name] = float(change[np.abs(change).argmax()])
        rows += [
            {"model_class": fit.model_class, "how": "other prior", "prior": other.prior, "alternative": other.label,
             "benchmark": name, "value": np.nan, "mean": mean, "change": mean - stated[name],
             "p_change": moved.get(name, np.nan), "verdict": verdicts.get(name, ""), "diagnosis": ""}
            for name, mean in means.items()
        ]  # fmt: skip
    return rows


def _correlations_under(
    fit: CapabilityFit, spec: FactorSpec, benchmarks: list[str], rope: Rope
) -> tuple[dict[str, float], dict[str, FloatArray]]:
    """Return posterior means of all loadings and of rho of the safety benchmarks (cut), and the shares of these."""
    table = fit.table
    means = dict(zip(fit.benchmarks, fit.parameters.rho.mean(axis=0).tolist(), strict=True))
    theta = fit.theta[:: max(1, len(fit.theta) // GRID_DRAWS)]
    noise = noise_of(table, benchmarks, spec)
    rngs = [np.random.default_rng(seed_for(fit.seed, "other priors", fit.model_class, name)) for name in benchmarks]
    found = cut_posterior(
        table.matrix(benchmarks), theta, family_codes(table), spec.priors, spec.cut, rngs,
        noise=noise if noise.any() else None, families_matter=spec.families,
    )  # fmt: skip
    shares: dict[str, FloatArray] = {}
    for name, draws in zip(benchmarks, found, strict=True):
        if draws is None:
            continue
        means[name] = float(draws.rho.mean())
        shares[name] = np.array(verdict_shares(draws.rho, rope))
    return means, shares
