"""The hierarchical layer on Fisher's z by NUTS, for twelve benchmarks in four areas and for five in one.

Writes hierarchy_by_nuts.csv. The input is seeded (`problem`), so that the test can make it again: errors with a dense
covariance, areas of unequal size, one of them a single benchmark.

    python tests/reference/hierarchy_by_nuts.py
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

HERE = Path(__file__).parent
SETS = {"four": (0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3), "one": (0, 0, 0, 0, 0)}
CHAINS, DRAWS, TUNE, SEED = 4, 25000, 3000, 880022


def problem(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return z (B,), V (B, B) and areas (B,) of one set."""
    areas = np.array(SETS[name])
    rng = np.random.default_rng([31, len(areas)])
    size = len(areas)
    factor = rng.normal(size=(size, 2))
    raw = factor @ factor.T + 1.5 * np.eye(size)
    sd = rng.uniform(0.12, 0.3, size)
    spread = np.sqrt(np.diagonal(raw))
    covariance = raw / np.outer(spread, spread) * np.outer(sd, sd)
    centre = np.array([0.8, 0.2, 0.5, -0.3])[areas]
    z = centre + 0.25 * rng.normal(size=size) + rng.multivariate_normal(np.zeros(size), covariance)
    return z.round(4), covariance.round(6), areas


def main() -> None:
    lines, notes = ["set,parameter,index,mean,sd,q025,q50,q975"], []
    for name in SETS:
        z, covariance, areas = problem(name)
        n_areas = int(areas.max()) + 1
        with pm.Model():
            mu = pm.Normal("mu", 0.0, 1.0)
            within = pm.HalfNormal("tau_within", 0.5)
            if n_areas > 1:
                between = pm.HalfNormal("tau_between", 0.5)
                mu_area = pm.Deterministic("mu_area", mu + between * pm.Normal("raw_area", shape=n_areas))
            else:
                mu_area = pm.Deterministic("mu_area", mu[None])
            zeta = pm.Deterministic("zeta", mu_area[areas] + within * pm.Normal("raw", shape=len(z)))
            pm.MvNormal("z", zeta, cov=covariance, observed=z)
            compiled = nutpie.compile_pymc_model(pm.modelcontext(None))
        tree = nutpie.sample(
            compiled, draws=DRAWS, tune=TUNE, chains=CHAINS, cores=2, seed=SEED, target_accept=0.97, progress_bar=False
        )
        posterior = tree["posterior"].to_dataset()
        wanted = [v for v in ("mu", "mu_area", "zeta", "tau_within", "tau_between") if v in posterior]
        draws = posterior[wanted]
        r_hat = max(float(v.max()) for v in az.rhat(draws).data_vars.values())
        ess = min(float(v.min()) for m in ("bulk", "tail") for v in az.ess(draws, method=m).data_vars.values())
        divergences = int(tree["sample_stats"]["diverging"].sum())
        notes.append(
            f"# {name}: R-hat {r_hat:.4f}, smallest effective sample size {ess:.0f}, divergences {divergences}"
        )
        print(notes[-1], file=sys.stderr)
        for parameter in wanted:
            values = draws[parameter].to_numpy().reshape(CHAINS * DRAWS, -1)
            for index, v in enumerate(values.T):
                numbers = [v.mean(), v.std(), *np.quantile(v, [0.025, 0.5, 0.975])]
                lines.append(",".join([name, parameter, str(index), *(f"{x:.5f}" for x in numbers)]))
    libraries = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("pymc", "nutpie", "pytensor", "numpy"))
    header = [
        f"# made by tests/reference/hierarchy_by_nuts.py on {datetime.now(UTC):%Y-%m-%d}; {libraries}; seed {SEED}; "
        f"{CHAINS} chains x {DRAWS} draws after {TUNE}",
        *notes,
    ]
    (HERE / "hierarchy_by_nuts.csv").write_text("\n".join([*header, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
