"""Joint posteriors of capability and one safety benchmark of ren2024 by a direct NUTS fit; writes joint_by_nuts.csv.

The graph is written here from DESIGN 3.3, apart from the package: twelve capability columns and one safety column at
once, capability and every family effect sampled (non-centred), nothing integrated out, nothing padded, a normal
likelihood per cell. Only the data (aligned, z-scored within the class) and the numbers of the prior come from the
package: Beta(6, 1) for the capability columns, Beta(1, 1) for the safety column, LogNormal(0, 0.25) for the scales,
Beta(1, 1) for the share of capability that lies between families.
The constraint that the twelve loadings sum to a positive number is met by every draw, which the script checks: under
this prior the mirrored mode has no weight, so that leaving the constraint out changes nothing.

    SAFETYSTATS_DATA=<folder that holds ren2024/> python tests/reference/joint_by_nuts.py
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import arviz_stats as az
import numpy as np
import nutpie
import pymc as pm

from safetystats.specs import read_study
from safetystats.summaries.plan import plan_study

HERE = Path(__file__).parent
PAIRS = (
    ("base", "truthfulqa_mc1"),
    ("chat", "ifeval"),
    ("base", "wmdp_bio"),
    ("chat", "bbq_amb"),
)
CHAINS, DRAWS, TUNE, SEED = 4, 2500, 1000, 990017


def graph_of(y: np.ndarray, family: np.ndarray) -> pm.Model:
    """Return the graph for z-scores without gaps, shape (n, 13), and family codes, shape (n,)."""
    n, k = y.shape
    n_families = int(family.max()) + 1
    with pm.Model() as graph:
        scores = pm.Data("y", y)
        half = pm.Beta("half", np.r_[np.full(k - 1, 6.0), 1.0], 1.0, shape=k)
        rho = 2.0 * half - 1.0
        s = pm.LogNormal("s", 0.0, 0.25, shape=k)
        kappa = pm.Beta("kappa", 1.0, 3.0, shape=k)
        alpha = pm.Normal("alpha", 0.0, 1.0, shape=k)
        omega = pm.Beta("omega", 1.0, 1.0)
        common = pm.Normal("common", 0.0, 1.0, shape=(n_families, 1))
        own = pm.Normal("own", 0.0, 1.0, shape=(n, 1))
        theta = pm.Deterministic("theta", omega**0.5 * common[family] + (1.0 - omega) ** 0.5 * own)
        z = pm.Normal("z", 0.0, 1.0, shape=(n_families, k))
        unique_sd = s * (1.0 - rho**2) ** 0.5
        u = z * kappa**0.5 * unique_sd
        mean = alpha + s * rho * theta + u[family]
        error = scores - mean
        scale = unique_sd * (1.0 - kappa) ** 0.5
        # The normal density of every cell, written out so that one compiled graph serves a whole class.
        pm.Potential("cells", (-0.5 * (error / scale) ** 2 - pm.math.log(scale) - 0.5 * np.log(2 * np.pi)).sum())
    return graph


def main() -> None:
    plan = plan_study("ren2024", read_study("ren2024"))
    compiled: dict[str, object] = {}
    rows = []
    for label, name in PAIRS:
        part = plan.prepared.select(model_class=label)
        y = part.matrix([*part.columns("capability"), name])
        assert np.isfinite(y).all()
        assert y.shape[1] == 13
        names = sorted(set(part.models["family"]))
        family = np.array([names.index(f) for f in part.models["family"]])
        if label not in compiled:
            compiled[label] = nutpie.compile_pymc_model(graph_of(y, family))
        begin = time.perf_counter()
        tree = nutpie.sample(
            compiled[label].with_data(y=y), draws=DRAWS, tune=TUNE, chains=CHAINS, cores=2, seed=SEED,
            target_accept=0.97, adaptation="low_rank", progress_bar=False,
        )  # fmt: skip
        posterior = tree["posterior"].to_dataset()
        rho_all = 2.0 * posterior["half"].to_numpy() - 1.0
        assert (rho_all[..., :12].sum(-1) > 0).all()
        rho = rho_all[..., 12]
        every = posterior[["s", "kappa", "alpha", "theta", "omega"]].assign(rho=(("chain", "draw", "c"), rho_all))
        r_hat = max(float(v.max()) for v in az.rhat(every).data_vars.values())
        ess = min(float(v.min()) for m in ("bulk", "tail") for v in az.ess(every, method=m).data_vars.values())
        own = every[["rho"]].isel(c=12)
        own_ess = min(float(az.ess(own, method=m)["rho"]) for m in ("bulk", "tail"))
        divergences = int(tree["sample_stats"]["diverging"].sum())
        s, kappa = (posterior[v].to_numpy()[..., 12] for v in ("s", "kappa"))
        numbers = [rho.mean(), rho.std(), *np.quantile(rho, [0.025, 0.05, 0.5, 0.95, 0.975]), s.mean(), kappa.mean()]
        numbers.append(posterior["omega"].to_numpy().mean())
        row = [label, name, *(f"{v:.5f}" for v in numbers), f"{r_hat:.4f}", f"{ess:.0f}", f"{own_ess:.0f}", divergences]
        rows.append(",".join(map(str, row)))
        print(rows[-1], f"{time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
        libraries = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("pymc", "nutpie", "pytensor", "numpy"))
        header = [
            f"# made by tests/reference/joint_by_nuts.py on {datetime.now(UTC):%Y-%m-%d}; {libraries}; seed {SEED}; "
            f"{CHAINS} chains x {DRAWS} draws after {TUNE}",
            "# r_hat and ess over all of rho, s, kappa, alpha, theta and omega "
            "(smaller of bulk and tail); rho_ess of rho",
            "model_class,benchmark,rho_mean,rho_sd,rho_q025,rho_q05,rho_q50,rho_q95,rho_q975,s_mean,kappa_mean,"
            "omega_mean,r_hat,ess,rho_ess,divergences",
        ]
        (HERE / "joint_by_nuts.csv").write_text("\n".join([*header, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
