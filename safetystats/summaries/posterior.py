"""Tables of the latent-factor model: capability, loadings, posterior correlations and verdicts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.inference.problems import known_noise
from safetystats.specs import Rope
from safetystats.summaries.decision_rule import VERDICTS as VERDICTS
from safetystats.summaries.decision_rule import Verdict as Verdict
from safetystats.summaries.decision_rule import verdict_of as verdict_of
from safetystats.summaries.decision_rule import verdict_shares as verdict_shares
from safetystats.summaries.estimands import BenchmarkDraws, estimand_rows, mean_error, summarise
from safetystats.summaries.glossary import TABLES, conform

FloatArray = npt.NDArray[np.float64]


def latent_scores(fit: CapabilityFit, level: float) -> pd.DataFrame:
    """Return the posterior of each model's capability as rows of `capability_scores` (method "latent").

    `score` is the posterior mean of theta, in sd of capability in the population that the class is a sample of; the
    interval is equal-tailed.
    """
    theta = fit.theta
    lower, upper = _interval(theta, level)
    return conform(
        "capability_scores",
        pd.DataFrame(
            {
                "model_class": fit.model_class,
                "model": fit.table.models.index,
                "family": fit.table.models["family"].to_numpy(),
                "method": "latent",
                "score": theta.mean(axis=0),
                "lower": lower,
                "upper": upper,
                "level": level,
            }
        ),
    )


def latent_loadings(fit: CapabilityFit, level: float) -> pd.DataFrame:
    """Return the posterior of each capability benchmark's loading as rows of `capability_loadings`."""
    rho = _stack(fit.posterior["rho"], "benchmark")
    lower, upper = _interval(rho, level)
    return conform(
        "capability_loadings",
        pd.DataFrame(
            {
                "model_class": fit.model_class,
                "benchmark": fit.posterior["benchmark"].to_numpy().astype(str),
                "method": "latent",
                "loading": rho.mean(axis=0),
                "lower": lower,
                "upper": upper,
                "level": level,
                "icc": _stack(fit.posterior["icc"], "benchmark").mean(axis=0),
            }
        ),
    )


def posterior_correlations(fit: SafetyFit, level: float, rope: Rope, withheld: set[str]) -> pd.DataFrame:
    """Return the posterior of rho for every safety benchmark, cut and joint.

    Parameters
    ----------
    fit : SafetyFit
    level : float
        Coverage of the equal-tailed intervals.
    rope : Rope
        Limit and probability of the verdict.
    withheld : set of str
        From `safetystats.summaries.gates.withheld`.

    Returns
    -------
    DataFrame
        Table `posterior_correlations`. The slope is given where scores were not transformed.
    """
    table, label = fit.capability.table, fit.capability.model_class
    cut, joint = fit.draws["cut"].to_dataset(), fit.draws["joint"].to_dataset()
    linear = table.preparation.transform == "identity"
    rows = []
    for place, name in enumerate(fit.benchmarks):
        seen = table.scores[name].notna()
        facts: dict[str, object] = {
            "model_class": label,
            "benchmark": name,
            "area": table.benchmarks.loc[name, "area"],
            "n_models": int(seen.sum()),
            "n_families": int(table.models.loc[seen.to_numpy(), "family"].nunique()),
            "level": level,
            "pareto_k": float(joint["pareto_k"][place]),
        }
        spread = float(table.spread.loc[label, name]) if linear else float("nan")
        drawn = {p: cut[p][place].to_numpy().ravel().astype(np.float64) for p in ("rho", "total_sd", "icc")}
        even = np.full(drawn["rho"].shape, 1 / drawn["rho"].size)
        verdict_held = {f"cut/{label}"} & withheld
        rows.append(facts | {"mode": "cut"} | _summary(drawn, even, spread, level, rope, bool(verdict_held)))
        log_weight = joint["log_weight"][place].to_numpy().ravel().astype(np.float64)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        if name in fit.refitted:
            refit = fit.draws["refit"].to_dataset().sel(benchmark=name)
            drawn = {p: refit[p].to_numpy().ravel() for p in ("rho", "total_sd", "icc")}
            weight = np.full(drawn["rho"].shape, 1 / drawn["rho"].size)
        verdict_held = {f"joint/{label}", f"joint/{label}/{name}"} & withheld
        rows.append(facts | {"mode": "joint"} | _summary(drawn, weight, spread, level, rope, bool(verdict_held)))
    return conform("posterior_correlations", pd.DataFrame(rows)) if rows else _empty()


def posterior_estimands(fit: SafetyFit, level: float) -> pd.DataFrame:
    """Return every estimand of every safety benchmark, cut and joint (DESIGN 3.5).

    Parameters
    ----------
    fit : SafetyFit
    level : float
        Coverage of the equal-tailed intervals.

    Returns
    -------
    DataFrame
        Table `posterior_estimands`.
    """
    rows = [_estimands_of(fit, name, level) for name in fit.benchmarks]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=list(TABLES["posterior_estimands"]))


def _estimands_of(fit: SafetyFit, name: str, level: float) -> pd.DataFrame:
    capability = fit.capability
    table, label = capability.table, capability.model_class
    seen = table.scores[name].notna().to_numpy()
    noise = known_noise(table, [name])[seen, 0]
    linear = table.preparation.transform == "identity"

    def drawn(group: xr.Dataset, omega: xr.DataArray) -> BenchmarkDraws:
        return BenchmarkDraws(
            rho=_flat(group["rho"]),
            total_sd=_flat(group["total_sd"]),
            icc=_flat(group["icc"]),
            capability_icc=_flat(omega),
            fixed_set=_flat(group["fixed_set"]),
            spread=float(table.spread.loc[label, name]) if linear else float("nan"),
            mean_noise=mean_error(noise),
            error_free=capability.spec.measurement == "binomial",
        )

    def rows_of(draws: BenchmarkDraws, weight: FloatArray | None, mode: str) -> pd.DataFrame:
        return estimand_rows(
            draws, weight, level, model_class=label, benchmark=name, area=str(table.benchmarks.loc[name, "area"]),
            n_models=int(seen.sum()), n_families=int(table.models.loc[seen, "family"].nunique()), mode=mode,
        )  # fmt: skip

    cut = drawn(fit.draws["cut"].to_dataset().sel(benchmark=name), capability.posterior["capability_icc"])
    if name in fit.refitted:
        refit = fit.draws["refit"].to_dataset().sel(benchmark=name)
        joint = rows_of(drawn(refit, refit["capability_icc"]), None, "joint")
    else:
        weight = np.exp(_flat(fit.draws["joint"].to_dataset()["log_weight"].sel(benchmark=name)))
        joint = rows_of(cut, weight, "joint")
    return pd.concat([rows_of(cut, None, "cut"), joint], ignore_index=True)


def _flat(values: xr.DataArray) -> FloatArray:
    return np.asarray(values.to_numpy().ravel(), dtype=np.float64)


def _summary(
    drawn: dict[str, FloatArray], weight: FloatArray, spread: float, level: float, rope: Rope, held: bool
) -> dict[str, object]:
    rho, slope = drawn["rho"], drawn["rho"] * drawn["total_sd"] * spread
    of_rho, of_slope = summarise(rho, weight, level), summarise(slope, weight, level)
    entangled, inverse = float(weight @ (rho > rope.limit)), float(weight @ (rho < -rope.limit))
    distinct = float(weight @ (np.abs(rho) < rope.limit))
    return {
        "mean": of_rho.mean,
        "sd": of_rho.sd,
        "lower": of_rho.lower,
        "upper": of_rho.upper,
        "icc": float(weight @ drawn["icc"]),
        "p_entangled": entangled,
        "p_inverse": inverse,
        "p_distinct": distinct,
        "verdict": "withheld" if held else verdict_of(entangled, inverse, distinct, rope.probability),
        "slope": of_slope.mean,
        "slope_lower": of_slope.lower,
        "slope_upper": of_slope.upper,
    }


def _interval(draws: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
    lower, upper = np.quantile(draws, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return lower, upper


def _stack(values: xr.DataArray, dim: str) -> FloatArray:
    array = values.transpose("chain", "draw", dim).to_numpy()
    return np.asarray(array.reshape(-1, array.shape[-1]), dtype=np.float64)


def _empty() -> pd.DataFrame:
    return pd.DataFrame(columns=list(TABLES["posterior_correlations"]))
