"""Cut posteriors of helm-classic (chat) with capability held fixed, by NUTS; writes cut_by_nuts.csv.

Forty fixed vectors of capability times four benchmarks (one with gaps) stand as independent copies in one PyMC graph:
per copy an intercept, a correlation, a scale, an intraclass correlation and sampled (non-centred) family effects. The
capability vectors are the mean of the z-scored capability columns plus seeded noise, so that the test can make them
again.

    python tests/reference/cut_by_nuts.py
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

from safetystats.specs import read_study
from safetystats.summaries.plan import plan_study

HERE = Path(__file__).parent
BENCHMARKS = (
    "classic_truthfulqa",
    "classic_civilcomments",
    "classic_robust_mmlu",
    "classic_stereotype_gender_quac",
)
COPIES, NOISE, THETA_SEED = 40, 0.4, 424242
CHAINS, DRAWS, TUNE, SEED = 4, 2000, 1500, 770011


def main() -> None:
    part = plan_study("helm-classic", read_study("helm-classic")).prepared.select(model_class="chat")
    capability = np.nanmean(part.matrix(part.columns("capability")), axis=1)
    theta = capability + NOISE * np.random.default_rng(THETA_SEED).normal(size=(COPIES, part.n_models))
    y = part.matrix(BENCHMARKS)
    names = sorted(set(part.models["family"]))
    family = np.array([names.index(f) for f in part.models["family"]])
    copy, place, model = np.nonzero(np.broadcast_to(np.isfinite(y).T, (COPIES, len(BENCHMARKS), part.n_models)))
    shape = (COPIES, len(BENCHMARKS))
    with pm.Model():
        half = pm.Beta("half", 1.0, 1.0, shape=shape)
        rho = pm.Deterministic("rho", 2.0 * half - 1.0)
        s = pm.LogNormal("s", 0.0, 0.25, shape=shape)
        kappa = pm.Beta("kappa", 1.0, 3.0, shape=shape)
        alpha = pm.Normal("alpha", 0.0, 1.0, shape=shape)
        z = pm.Normal("z", 0.0, 1.0, shape=(*shape, len(names)))
        unique_sd = s * (1.0 - rho**2) ** 0.5
        at = (copy, place)
        mean = alpha[at] + (s * rho)[at] * theta[copy, model]
        mean = mean + (kappa**0.5 * unique_sd)[at] * z[copy, place, family[model]]
        pm.Normal("y", mean, (unique_sd * (1.0 - kappa) ** 0.5)[at], observed=y[model, place])
        compiled = nutpie.compile_pymc_model(pm.modelcontext(None))
    tree = nutpie.sample(
        compiled, draws=DRAWS, tune=TUNE, chains=CHAINS, cores=2, seed=SEED, target_accept=0.95, progress_bar=False
    )
    draws = tree["posterior"].to_dataset()[["rho", "s", "kappa", "alpha"]]
    r_hat = max(float(v.max()) for v in az.rhat(draws).data_vars.values())
    ess = min(float(v.min()) for m in ("bulk", "tail") for v in az.ess(draws, method=m).data_vars.values())
    divergences = int(tree["sample_stats"]["diverging"].sum())
    print(f"R-hat {r_hat:.4f}, ESS {ess:.0f}, divergences {divergences}", file=sys.stderr)
    rho, s, kappa = (draws[v].to_numpy().reshape(-1, *shape) for v in ("rho", "s", "kappa"))
    lines = ["benchmark,copy,rho_mean,rho_sd,rho_q025,rho_q50,rho_q975,s_mean,kappa_mean"]
    for b, name in enumerate(BENCHMARKS):
        for label, cells in [(str(c), np.s_[:, c, b]) for c in range(COPIES)] + [("all", np.s_[:, :, b])]:
            r = rho[cells]
            numbers = [r.mean(), r.std(), *np.quantile(r, [0.025, 0.5, 0.975]), s[cells].mean(), kappa[cells].mean()]
            lines.append(",".join([name, label, *(f"{v:.5f}" for v in numbers)]))
    libraries = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("pymc", "nutpie", "pytensor", "numpy"))
    header = [
        f"# made by tests/reference/cut_by_nuts.py on {datetime.now(UTC):%Y-%m-%d}; {libraries}; seed {SEED}; "
        f"{CHAINS} chains x {DRAWS} draws after {TUNE}",
        f"# over all copies: R-hat {r_hat:.4f}, smallest effective sample size {ess:.0f}, divergences {divergences}",
    ]
    (HERE / "cut_by_nuts.csv").write_text("\n".join([*header, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
