"""How long does the crossed model of ren2024 take, and how long with every effect sampled?

    SAFETYSTATS_DATA=DIR OMP_NUM_THREADS=1 python benchmarks/crossed_speed.py

All safety benchmarks of a table at once, scores and capability z-scored over all models, capability the mean of the
z-scored capability benchmarks:

    integrated   the package: linear effects integrated out, the shipped plan of `class-crossed`
    sampled      the same model as a PyMC graph with all effects as parameters (non-centred), a bounded number of
                 draws, both samplers by nutpie

Compared are seconds and processor seconds per effective draw, of the overall class effect and of the variance
parameter with the fewest effective draws; what the graph would need for the draws that the gates ask for is
extrapolated from them. Writes crossed_speed.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import arviz_stats as az
import numpy as np
import nutpie
import pandas as pd
import xarray as xr

from safetystats.inference.convergence import convergence
from safetystats.inference.crossed import draw_crossed
from safetystats.inference.crossed_marginal import log_likelihood
from safetystats.inference.crossed_values import CrossedData, design_of, prior_free, variances_of
from safetystats.scores.capability import capability_score
from safetystats.specs import CrossedSpec, read_spec
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "reference"))
SEED = 20240731
VARIANCES = ("benchmark_sd", "area_sd", "model_sd", "model_area_sd", "lineage_share", "lineage_area_share",
             "residual_median", "residual_spread")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One sampler: seconds to compile and to draw, of the clock and of processors, and what it gave."""

    name: str
    draws: xr.Dataset
    chains: int
    kept: int
    tuned: int
    steps: int
    divergences: int
    compiling: tuple[float, float]
    sampling: tuple[float, float]

    def effective(self) -> dict[str, float]:
        """Return effective draws, the fewer of bulk and tail, of the class effect and of the worst variance."""
        found = {}
        for name, data in {
            "class effect": self.draws[["overall"]].isel(overall_dim=2),
            "worst variance parameter": self.draws[list(VARIANCES)],
        }.items():
            found[name] = min(
                float(v.min()) for method in ("bulk", "tail") for v in az.ess(data, method=method).data_vars.values()
            )
        return found


def clock() -> np.ndarray:
    """Return seconds of the clock and of all threads."""
    return np.array([time.perf_counter(), time.process_time()])


def crossed_data(name: str) -> CrossedData:
    """Return all safety benchmarks that vary."""
    table = standardise(align(load_table(name)), by="pooled")
    values = table.matrix(table.columns("capability"))
    score = capability_score(values, method="mean_z", missing="available").score
    rows = np.isfinite(score)
    scores = table.matrix(table.columns("safety"))[rows]
    varies = np.nan_to_num(np.nanstd(scores, axis=0)) > 1e-9
    area = table.benchmarks.loc[table.columns("safety"), "area"].astype(str)[varies]
    codes = [pd.factorize(table.models[column][rows])[0].astype(np.int64) for column in ("model_class", "lineage")]
    return CrossedData(
        scores=scores[:, varies], capability=(score[rows] - score[rows].mean()) / score[rows].std(), classes=codes[0],
        lineages=codes[1], areas=pd.factorize(area)[0].astype(np.int64),
    )  # fmt: skip


def labelled(posterior: xr.Dataset) -> xr.Dataset:
    """Return the compared parameters, dimensions named alike."""
    kept = posterior[["overall", *VARIANCES]]
    return kept.rename({str(kept["overall"].dims[2]): "overall_dim"}).drop_vars("overall_dim", errors="ignore")


def integrated(data: CrossedData, spec: CrossedSpec, cores: int) -> tuple[Timed, bool, str]:
    """Return the package's sampler, whether its gates pass, and the diagnostics in words."""
    design, plan, start = design_of(data), spec.sampling, clock()
    free = prior_free(data.scores.shape[1], spec.priors, np.random.default_rng(SEED))
    log_likelihood(design, variances_of(free), spec.priors)
    first = clock()
    tree = draw_crossed(design, data.capability, spec.priors, plan, SEED, cores=cores)
    last = clock()
    parameters = tree["posterior"].to_dataset().drop_vars("capability")
    found = convergence(xr.DataTree.from_dict({"posterior": parameters, "sample_stats": tree["sample_stats"]}))
    words = (
        f"R-hat {found.r_hat:.4f} ({found.r_hat_of}), effective draws {found.ess_bulk:.0f} (bulk, {found.ess_bulk_of}) "
        f"and {found.ess_tail:.0f} (tail, {found.ess_tail_of}), {found.divergences} divergences"
    )
    timed = Timed(
        name="integrated", draws=labelled(tree["posterior"].to_dataset()), chains=plan.chains, kept=plan.draws,
        tuned=plan.tune, steps=int(tree["sample_stats"]["n_steps"].sum()), divergences=found.divergences,
        compiling=tuple(first - start), sampling=tuple(last - first),
    )  # fmt: skip
    return timed, found.passes(spec.gates), words


def sampled(data: CrossedData, spec: CrossedSpec, cores: int, choice: argparse.Namespace) -> Timed:
    """Return the graph with all effects."""
    from crossed_by_nuts import crossed_graph

    start = clock()
    compiled = nutpie.compile_pymc_model(crossed_graph(data, spec.priors))
    first = clock()
    tree = nutpie.sample(
        compiled, draws=choice.draws, tune=choice.tune, chains=choice.chains, cores=cores, seed=SEED,
        target_accept=0.8, progress_bar=False,
    )  # fmt: skip
    last = clock()
    return Timed(
        name="sampled", draws=labelled(tree["posterior"].to_dataset()), chains=choice.chains, kept=choice.draws,
        tuned=choice.tune, steps=int(tree["sample_stats"]["n_steps"].sum()),
        divergences=int(tree["sample_stats"]["diverging"].sum()), compiling=tuple(first - start),
        sampling=tuple(last - first),
    )  # fmt: skip


def write(choice: argparse.Namespace, data: CrossedData, spec: CrossedSpec, load: tuple[float, float]) -> None:
    """Run both and write the page."""
    own, passes, words = integrated(data, spec, choice.cores)
    graph = sampled(data, spec, choice.cores, choice)
    lines = []
    for timed in (own, graph):
        for name, effective in timed.effective().items():
            need = spec.gates.ess / effective
            lines.append(
                f"| {timed.name} | {name} | {effective:.0f} | {effective / timed.sampling[0]:.2f} | "
                f"{effective / timed.sampling[1]:.2f} | {need * timed.sampling[0]:.0f} | "
                f"{need * timed.sampling[1]:.0f} |"
            )
    names = ("numpy", "numba", "nutpie", "pymc", "pytensor", "safetystats")
    cells = int(np.isfinite(data.scores).sum())
    page = [
        "# Speed of the crossed model",
        "",
        f"{choice.table}: {data.scores.shape[0]} models, {data.scores.shape[1]} benchmarks in {data.areas.max() + 1} "
        f"areas, {cells} cells. {datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, "
        f"{os.cpu_count()} processors, {choice.cores} chains at once, Python {platform.python_version()}, "
        f"{', '.join(f'{name} {version(name)}' for name in names)}; seed {SEED}. Load average of the machine before "
        f"and after: {load[0]:.1f} and {os.getloadavg()[0]:.1f}; above {choice.cores} other work ran beside, the clock "
        "then says little, and processor seconds are too many as well.",
        "",
        "| sampler | chains | draws | tuning | steps per draw | divergences | compiling, s (processor s) | "
        "sampling, s (processor s) |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {t.name} | {t.chains} | {t.kept} | {t.tuned} | {t.steps / t.chains / t.kept:.1f} | {t.divergences} | "
            f"{t.compiling[0]:.1f} ({t.compiling[1]:.1f}) | {t.sampling[0]:.1f} ({t.sampling[1]:.1f}) |"
            for t in (own, graph)
        ),
        "",
        f"Gates of the integrated model {'pass' if passes else '**fail**'}: {words}. Compiling is done once per "
        "machine: the code is kept on disk. Sampling has in it the drawing of all effects.",
        "",
        f"Effective draws (the fewer of bulk and tail) and what {spec.gates.ess:.0f} of them would take, tuning "
        "included in the seconds:",
        "",
        "| sampler | of | effective draws | per second | per processor second | seconds needed | "
        "processor seconds needed |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
    ]
    (choice.out / "crossed_speed.md").write_text("\n".join(page), encoding="utf-8")
    print("\n".join(page))


def main() -> None:
    """Time both samplers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="ren2024")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--chains", type=int, default=2, help="of the graph")
    parser.add_argument("--draws", type=int, default=200, help="of the graph")
    parser.add_argument("--tune", type=int, default=300, help="of the graph")
    parser.add_argument("--out", type=Path, default=HERE)
    choice = parser.parse_args()
    spec = read_spec("class-crossed", "crossed")
    assert isinstance(spec, CrossedSpec)
    write(choice, crossed_data(choice.table), spec, os.getloadavg())


if __name__ == "__main__":
    main()
