"""The crossed model as a PyMC graph in which every effect is sampled, by NUTS; writes crossed_by_nuts.csv.

The graph is written from the statement of the model in docs/classes.md and shares no code with the density that
`safetystats.inference.crossed_marginal` integrates by hand: coefficients, model effects and lineage effects are
parameters of their own (non-centred), the variances have the stated priors on their own scales. Data:
`reference_data` of tests/crossed_data.py.

    python tests/reference/crossed_by_nuts.py
"""

from __future__ import annotations

import importlib.metadata
import sys
from datetime import UTC, datetime
from pathlib import Path

import arviz_stats as az
import numpy as np
import nutpie
import pymc as pm
import xarray as xr
from arviz_stats.base import array_stats

from safetystats.inference.crossed_values import CrossedData
from safetystats.specs import CrossedPriors

HERE = Path(__file__).parent
CHAINS, DRAWS, TUNE, ACCEPT, SEED = 4, 2000, 1000, 0.95, 770041
NAMES = (
    "overall", "benchmark_sd", "area_sd", "model_sd", "model_area_sd", "lineage_share", "lineage_area_share",
    "residual_median", "residual_spread", "residual_sd",
)  # fmt: skip


def crossed_graph(data: CrossedData, priors: CrossedPriors) -> pm.Model:
    """Return the model of two classes with all effects as parameters."""
    areas, lineages = data.areas, data.lineages
    n, n_benchmarks = data.scores.shape
    n_areas, n_lineages = int(areas.max()) + 1, int(lineages.max()) + 1
    contrast = data.classes - 0.5
    x = np.column_stack([np.ones(n), data.capability, contrast, contrast * data.capability])
    model, benchmark = np.nonzero(np.isfinite(data.scores))
    coefficients = (priors.intercept, priors.slope, priors.class_effect, priors.interaction)
    with pm.Model() as graph:
        overall = pm.Normal("overall", [c.mu for c in coefficients], [c.sigma for c in coefficients])
        area_sd = pm.HalfNormal("area_sd", priors.area_sd.sigma, shape=4)
        benchmark_sd = pm.HalfNormal("benchmark_sd", priors.benchmark_sd.sigma, shape=4)
        in_area = overall + area_sd * pm.Normal("area_z", shape=(n_areas, 4))
        of_benchmark = in_area[areas] + benchmark_sd * pm.Normal("benchmark_z", shape=(n_benchmarks, 4))
        model_sd = pm.HalfNormal("model_sd", priors.model_sd.sigma)
        model_area_sd = pm.HalfNormal("model_area_sd", priors.model_area_sd.sigma)
        share = pm.Beta("lineage_share", priors.lineage_share.alpha, priors.lineage_share.beta)
        area_share = pm.Beta("lineage_area_share", priors.lineage_area_share.alpha, priors.lineage_area_share.beta)
        effect = model_sd * (
            (1 - share) ** 0.5 * pm.Normal("model_z", shape=n)
            + share**0.5 * pm.Normal("lineage_z", shape=n_lineages)[lineages]
        )
        effect_area = model_area_sd * (
            (1 - area_share) ** 0.5 * pm.Normal("model_area_z", shape=(n_areas, n))
            + area_share**0.5 * pm.Normal("lineage_area_z", shape=(n_areas, n_lineages))[:, lineages]
        )
        centre = pm.Normal("residual_centre", priors.residual_sd.mu, priors.residual_sd.sigma)
        spread = pm.LogNormal("residual_spread", priors.residual_spread.mu, priors.residual_spread.sigma)
        pm.Deterministic("residual_median", pm.math.exp(centre))
        residual = pm.Deterministic(
            "residual_sd", pm.math.exp(centre + spread * pm.Normal("residual_z", shape=n_benchmarks))
        )
        mean = (of_benchmark[benchmark] * x[model]).sum(axis=1) + effect[model] + effect_area[areas[benchmark], model]
        pm.Normal("y", mean, residual[benchmark], observed=data.scores[model, benchmark])
    return graph


def summary(draws: xr.Dataset) -> list[tuple[str, float, float, float, float]]:
    """Return name, mean, sd and their Monte Carlo errors of every entry of every parameter."""
    lines = []
    for name in NAMES:
        of = draws[name]
        values = of.to_numpy().reshape(*of.shape[:2], -1)
        for place in range(values.shape[2]):
            own = values[..., place]
            errors = (
                float(array_stats.mcse(own, method=method, chain_axis=0, draw_axis=1)) for method in ("mean", "sd")
            )
            lines.append((f"{name}[{place}]" if of.ndim > 2 else name, float(own.mean()), float(own.std()), *errors))
    return lines


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from crossed_data import crossed_spec, reference_data

    compiled = nutpie.compile_pymc_model(crossed_graph(reference_data(), crossed_spec().priors))
    tree = nutpie.sample(
        compiled, draws=DRAWS, tune=TUNE, chains=CHAINS, cores=2, seed=SEED, target_accept=ACCEPT, progress_bar=False
    )
    draws = tree["posterior"].to_dataset()[list(NAMES)]
    r_hat = max(float(v.max()) for v in az.rhat(draws).data_vars.values())
    ess = min(float(v.min()) for m in ("bulk", "tail") for v in az.ess(draws, method=m).data_vars.values())
    divergences = int(tree["sample_stats"]["diverging"].sum())
    libraries = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("pymc", "nutpie", "pytensor", "numpy"))
    lines = [
        f"# made by tests/reference/crossed_by_nuts.py on {datetime.now(UTC):%Y-%m-%d}; {libraries}; seed {SEED}; "
        f"{CHAINS} chains x {DRAWS} draws after {TUNE}",
        f"# R-hat {r_hat:.4f}, smallest effective sample size {ess:.0f}, divergences {divergences}",
        "parameter,mean,sd,mean_error,sd_error",
        *(",".join([name, *(f"{v:.6g}" for v in numbers)]) for name, *numbers in summary(draws)),
    ]
    print(lines[1], file=sys.stderr)
    (HERE / "crossed_by_nuts.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
