"""Do chains of the plain one-factor model of ren2024 base end in different modes, and are the modes named?

    SAFETYSTATS_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/modes.py

Sixteen chains from overdispersed starts on the twelve capability benchmarks, models taken as independent:

    textbook     theta ~ N(0, 1), normal loadings, half-normal residual sd: theta and sigma sampled
    sampled      the package's graph with theta sampled
    integrated   the package's density with theta integrated out

each under the default priors (of the one-factor spec; for the textbook model sd 1) and under wide ones. The loadings of
every chain are turned so that they sum to a positive number. Writes modes.csv and modes.md beside this file.
"""

from __future__ import annotations

import datetime
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import nutpie
import pandas as pd
import pymc as pm
import xarray as xr

from safetystats.inference.arrays import GraphKind
from safetystats.inference.convergence import MODE_LIMIT, convergence
from safetystats.inference.problems import data_of, structure_of
from safetystats.inference.sampling import draw_posterior
from safetystats.specs import BetaPrior, FactorSpec, LogNormalPrior, SamplingPlan, read_spec
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise

SEED = 20240731
PLAN = SamplingPlan(chains=16, draws=300, tune=500, target_accept=0.9)


def textbook(scores: np.ndarray, names: list[str], sd: float) -> xr.DataTree:
    """Return the draws of a one-factor model as in a textbook, with `rho` the standardised loadings."""
    n, k = scores.shape
    with pm.Model() as graph:
        theta = pm.Normal("theta", 0.0, 1.0, shape=n)
        loading = pm.Normal("loading", 0.0, sd, shape=k)
        sigma = pm.HalfNormal("sigma", sd, shape=k)
        intercept = pm.Normal("intercept", 0.0, sd, shape=k)
        pm.Normal("y", intercept + loading * theta[:, None], sigma, observed=scores)
    tree = nutpie.sample(
        nutpie.compile_pymc_model(graph), draws=PLAN.draws, tune=PLAN.tune, chains=PLAN.chains, cores=1, seed=SEED,
        progress_bar=False,
    )  # fmt: skip
    found = tree["posterior"].to_dataset()
    loadings, residual = found["loading"].to_numpy(), found["sigma"].to_numpy()
    rho = loadings / np.sqrt(loadings**2 + residual**2)
    sign = np.where(rho.sum(-1) >= 0, 1.0, -1.0)[..., None]
    posterior = xr.Dataset(
        {
            "rho": (("chain", "draw", "benchmark"), sign * rho),
            "theta": (("chain", "draw", "model"), sign * found["theta"].to_numpy()),
            "sigma": (("chain", "draw", "benchmark"), residual),
        },
        coords={"benchmark": names},
    )
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": tree["sample_stats"].to_dataset()})


def trials() -> Iterator[tuple[str, str, xr.DataTree]]:
    """Yield evaluator, priors and draws."""
    spec = read_spec("one-factor", "factor")
    assert isinstance(spec, FactorSpec)
    table = standardise(align(load_table("ren2024"))).select(model_class="base")
    names = table.columns("capability")
    data, structure = data_of(table, names, spec), structure_of(table, names, spec)
    wide = spec.priors.model_copy(
        update={
            "capability_loading": BetaPrior(family="beta", alpha=1.0, beta=1.0),
            "total_sd": LogNormalPrior(family="lognormal", mu=0.0, sigma=1.5),
        }
    )
    for label, sd in (("default", 1.0), ("wide", 5.0)):
        yield "textbook", label, textbook(data.values, names, sd)
    n, k = data.values.shape
    graph = GraphKind(n_models=n, n_benchmarks=k, n_families=len(set(data.families.tolist())))
    for evaluator, kind in (("sampled", graph), ("integrated", None)):
        for label, priors in (("default", spec.priors), ("wide", wide)):
            tree = draw_posterior(kind, data, priors, structure, PLAN, SEED, cores=1)
            named = tree["posterior"].to_dataset().assign_coords(benchmark=names)
            yield (
                evaluator,
                label,
                xr.DataTree.from_dict({"posterior": named, "sample_stats": tree["sample_stats"].to_dataset()}),
            )


def main() -> None:
    """Run the trials and write both files."""
    rows = []
    for evaluator, label, tree in trials():
        start = time.perf_counter()
        found = convergence(tree)
        rho = tree["posterior"].to_dataset()["rho"]
        top = rho.mean(("chain", "draw")).to_numpy()
        rows.append(
            {
                "evaluator": evaluator,
                "priors": label,
                "r_hat": found.r_hat,
                "r_hat_of": found.r_hat_of,
                "ess": found.ess,
                "divergences": found.divergences,
                "mode_gap": found.mode_gap,
                "highest": f"{rho['benchmark'].to_numpy()[int(top.argmax())]} {top.max():.2f}",
                "modes": found.modes,
            }
        )
        print(rows[-1], f"{time.perf_counter() - start:.0f} s", flush=True)
    frame = pd.DataFrame(rows)
    here = Path(__file__).parent
    frame.to_csv(here / "modes.csv", index=False, lineterminator="\n")
    names = ("pymc", "nutpie", "numpy", "safetystats")
    several = frame[frame["mode_gap"] > MODE_LIMIT]
    lines = [
        "# One mode or two",
        "",
        f"The plain one-factor model of ren2024 base, {PLAN.chains} chains of {PLAN.draws} draws after {PLAN.tune}; "
        "what is compared is said in `modes.py`.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; seed {SEED}. Command: "
        "`OMP_NUM_THREADS=1 python benchmarks/modes.py`.",
        "",
        f"Chains in different modes (gap above {MODE_LIMIT:g} sd within chains): {len(several)} of {len(frame)} fits.",
        "",
        "| graph | priors | largest R-hat | of | smallest ESS | divergences | mode gap | highest loading |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.evaluator} | {r.priors} | {r.r_hat:.3f} | `{r.r_hat_of}` | {r.ess:.0f} | {r.divergences} | "
            f"{r.mode_gap:.2f} | {r.highest} |"
            for r in frame.itertuples()
        ),
        "",
        *(f"- {r.evaluator}, {r.priors} priors: {r.modes}." for r in several.itertuples()),
        "",
    ]
    (here / "modes.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
