"""Simulation-based calibration of the crossed model of all safety benchmarks.

    OMP_NUM_THREADS=1 python benchmarks/calibration_crossed.py --simulations 200 --workers 2

Variances are drawn from their prior, linear effects from the variances, scores from both; the model is fitted, and the
rank of every true value among its posterior draws is uniform if density, gradient, sampler and the drawing of the
effects are right. Classes, lineages, capability, areas and missing cells are those of a design: `pairs`, a base and a
chat model in each of 12 lineages on 12 benchmarks in 3 areas; `ren2024` and `helm-classic`, those of the table with at
most four benchmarks of an area. Scores are not z-scored again: the truth would mean something else. The log likelihood
is a quantity that depends on the data, which finds faults that ranks of parameters cannot (Modrák et al. 2023).

Finished simulations are kept in a folder and not repeated. Writes calibration_crossed.{csv,md,svg} beside itself.

References
----------
Talts, Betancourt, Simpson, Vehtari and Gelman (2018), arXiv:1804.06788; Modrák, Moon, Kim, Bürkner, Huurre,
Faltejsková, Gelman and Vehtari (2023), Bayesian Analysis; Säilynoja, Bürkner and Vehtari (2022), Stat. Comput. 32.
"""

from __future__ import annotations

import argparse
import datetime
import json
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from safetystats.inference.calibration import ecdf_envelope, rank_statistic
from safetystats.inference.crossed import draw_crossed
from safetystats.inference.crossed_marginal import log_likelihood
from safetystats.inference.crossed_values import (
    CrossedData,
    Variances,
    design_of,
    prior_free,
    simulate_crossed,
    variances_of,
)
from safetystats.scores.capability import capability_score
from safetystats.specs import CrossedSpec, SamplingPlan, read_spec
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise

DESIGNS = ("pairs", "ren2024", "helm-classic")
PROBABILITY = 0.99
"""Of every envelope."""
PLAN = SamplingPlan(chains=2, draws=200, tune=200, target_accept=0.8)
MOST = 4
"""Benchmarks of one area that are kept."""
TERMS = ("level", "slope", "class", "interaction")
N_RANKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One simulation."""

    design: str
    number: int
    seed: int


def spec() -> CrossedSpec:
    """Return the shipped spec."""
    found = read_spec("class-crossed", "crossed")
    assert isinstance(found, CrossedSpec)
    return found


@lru_cache(maxsize=3)
def design(name: str) -> CrossedData:
    """Return classes, lineages, capability, areas and gaps; the scores are only looked at for gaps."""
    if name == "pairs":
        rng = np.random.default_rng(1)
        ability = rng.standard_normal(12).repeat(2) + 0.3 * rng.standard_normal(24)
        scores = np.zeros((24, 12))
        scores.flat[rng.choice(scores.size, 10, replace=False)] = np.nan
        return CrossedData(
            scores=scores, capability=(ability - ability.mean()) / ability.std(), classes=np.tile([0, 1], 12),
            lineages=np.repeat(np.arange(12), 2), areas=np.repeat([0, 1, 2], [5, 4, 3]),
        )  # fmt: skip
    table = standardise(align(load_table(name)), by="pooled")
    values = table.matrix(table.columns("capability"))
    score = capability_score(values, method="mean_z", missing="available").score
    area = table.benchmarks.loc[table.columns("safety"), "area"].astype(str)
    kept = [str(b) for b in area.groupby(area).head(MOST).index]
    codes = [pd.factorize(table.models[column])[0].astype(np.int64) for column in ("model_class", "lineage")]
    return CrossedData(
        scores=table.matrix(kept), capability=(score - score.mean()) / score.std(), classes=codes[0],
        lineages=codes[1], areas=pd.factorize(area[kept])[0].astype(np.int64),
    )  # fmt: skip


def simulate(job: Job) -> dict[str, Any]:
    """Draw from the prior, fit, and return normalised ranks by quantity."""
    start, like, priors = time.perf_counter(), design(job.design), spec().priors
    rng = np.random.default_rng([job.seed, DESIGNS.index(job.design), job.number])
    free = prior_free(like.scores.shape[1], priors, rng)
    effects, data = simulate_crossed(free, like, priors, rng)
    reduced = design_of(data)
    tree = draw_crossed(reduced, data.capability, priors, PLAN, int(rng.integers(2**62)), cores=1)
    posterior = tree["posterior"].to_dataset()
    drawn = {str(n): v.to_numpy().reshape(-1, *v.shape[2:]) for n, v in posterior.items() if n != "capability"}
    rows = np.linspace(0, len(drawn["model_sd"]) - 1, N_RANKS - 1).round().astype(int)
    drawn = {name: values[rows] for name, values in drawn.items()}
    at = variances_of(free)
    b, a, m = (
        int(rng.integers(len(at.residual_sd))),
        int(rng.integers(like.areas.max() + 1)),
        int(rng.integers(len(data.scores))),
    )
    line = int(like.lineages[m])
    area = effects.overall + effects.area
    benchmark = area[like.areas] + effects.benchmark
    quantities: dict[str, tuple[Any, Any]] = {}
    for place, term in enumerate(TERMS):
        quantities[f"overall {term}"] = effects.overall[place], drawn["overall"][:, place]
        quantities[f"area {term}"] = area[a, place], drawn["area_coefficient"][:, a, place]
        quantities[f"benchmark {term}"] = benchmark[b, place], drawn["benchmark_coefficient"][:, b, place]
        quantities[f"sd between areas, {term}"] = at.area_sd[place], drawn["area_sd"][:, place]
        quantities[f"sd between benchmarks, {term}"] = at.benchmark_sd[place], drawn["benchmark_sd"][:, place]
    for name in (
        "model_sd",
        "model_area_sd",
        "lineage_share",
        "lineage_area_share",
        "residual_median",
        "residual_spread",
    ):
        quantities[name.replace("_", " ")] = getattr(at, name), drawn[name]
    own = effects.model + effects.model_area[a]
    shared = effects.lineage[line] + effects.lineage_area[a, line]
    quantities["residual sd"] = at.residual_sd[b], drawn["residual_sd"][:, b]
    quantities["model effect in an area"] = own[m], drawn["model_area_effect"][:, a, m]
    quantities["lineage effect in an area"] = shared, drawn["lineage_area_effect"][:, a, line]
    quantities["model and lineage"] = (
        own[m] + shared, drawn["model_area_effect"][:, a, m] + drawn["lineage_area_effect"][:, a, line]
    )  # fmt: skip
    fields = Variances.__dataclass_fields__
    likelihood = [
        log_likelihood(reduced, Variances(**{n: drawn[n][i] for n in fields}), priors, gradient=False)[0]
        for i in range(len(rows))
    ]
    quantities["log likelihood"] = log_likelihood(reduced, at, priors, gradient=False)[0], np.array(likelihood)
    return {
        "number": job.number,
        "ranks": {n: float(rank_statistic(np.asarray(t), np.asarray(d), rng)) for n, (t, d) in quantities.items()},
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "seconds": time.perf_counter() - start,
    }


def finished(work: Path, name: str) -> list[dict[str, Any]]:
    """Return the finished simulations of a design by number; a cut-off line is left out."""
    path, found = work / f"{name}.jsonl", {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[row["number"]] = row
    return [found[number] for number in sorted(found)]


def run(choice: argparse.Namespace) -> None:
    """Run what is not finished yet."""
    choice.work.mkdir(parents=True, exist_ok=True)
    for name in choice.designs:
        done = {row["number"] for row in finished(choice.work, name)}
        jobs = [Job(design=name, number=i, seed=choice.seed) for i in range(choice.simulations) if i not in done]
        with (
            ProcessPoolExecutor(choice.workers, mp_context=multiprocessing.get_context("spawn")) as pool,
            (choice.work / f"{name}.jsonl").open("a", encoding="utf-8") as out,
        ):
            for count, future in enumerate(as_completed([pool.submit(simulate, job) for job in jobs]), start=1):
                # A line that an interruption cut off must not swallow the next.
                out.write(("\n" if count == 1 else "") + json.dumps(future.result()) + "\n")
                out.flush()
                print(f"{name}: {count} of {len(jobs)}", flush=True)


def tabulate(choice: argparse.Namespace) -> pd.DataFrame:
    """Return one line per design and quantity."""
    lines = []
    for name in DESIGNS:
        rows = finished(choice.work, name)
        for quantity in rows[0]["ranks"] if len(rows) > 1 else ():
            u = np.array([row["ranks"][quantity] for row in rows])
            envelope = ecdf_envelope(len(u), PROBABILITY)
            lines.append(
                {
                    "design": name,
                    "quantity": quantity,
                    "simulations": len(u),
                    "max_deviation": float(np.abs(envelope.ecdf(u) - envelope.points).max()),
                    "half_width": envelope.half_width,
                    "inside": envelope.holds(u),
                    "mean_rank": float(u.mean()),
                    "mean_rank_z": float((u.mean() - 0.5) * np.sqrt(12 * len(u))),
                    "coverage_95": float(((u > 0.025) & (u < 0.975)).mean()),
                }
            )
    return pd.DataFrame(lines)


def figure(choice: argparse.Namespace, table: pd.DataFrame) -> None:
    """Draw the differences between distribution functions and the diagonal, with envelopes."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "calibration_crossed"
    quantities = list(dict.fromkeys(table["quantity"]))
    n_rows = -(-len(quantities) // 5)
    fig, axes = plt.subplots(
        n_rows, 5, figsize=(11, 1.5 * n_rows + 0.8), sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(quantities) :]:
        ax.set_axis_off()
    for ax, quantity in zip(axes.flat, quantities, strict=False):
        for name, colour, style in zip(DESIGNS, ("#0072B2", "#D55E00", "#009E73"), ("-", "--", ":"), strict=True):
            rows = finished(choice.work, name)
            if len(rows) < 2:
                continue
            envelope = ecdf_envelope(len(rows), PROBABILITY)
            x, u = envelope.points, np.array([row["ranks"][quantity] for row in rows])
            ax.fill_between(x, envelope.lower - x, envelope.upper - x, color="#999999", alpha=0.2, linewidth=0)
            ax.plot(x, envelope.ecdf(u) - x, color=colour, linestyle=style, linewidth=1.1, label=name)
        ax.axhline(0, color="black", linewidth=0.4)
        ax.set_title(quantity, fontsize=8)
        ax.tick_params(labelsize=7)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower right", fontsize=8, frameon=False, ncols=3)
    fig.supxlabel("normalised rank of the truth among posterior draws", fontsize=8)
    fig.suptitle(f"ECDF less its expectation, with simultaneous {100 * PROBABILITY:.0f} % envelopes", fontsize=10)
    fig.savefig(choice.out / "calibration_crossed.svg", metadata={"Date": None})
    plt.close(fig)


def write(choice: argparse.Namespace) -> None:
    """Write table, page and figure of what is finished."""
    table = tabulate(choice)
    if table.empty:
        return
    table.to_csv(choice.out / "calibration_crossed.csv", index=False, float_format="%.6g")
    figure(choice, table)
    outside = table[~table["inside"]]
    named = "; ".join(
        f"{r.quantity} of {r.design} ({r.max_deviation:.3f} against {r.half_width:.3f})" for r in outside.itertuples()
    )
    names = ("numpy", "scipy", "nutpie", "safetystats")
    fits = []
    for name in DESIGNS:
        rows = pd.DataFrame(finished(choice.work, name))
        if len(rows) > 1:
            fits.append(
                f"- {name}: {len(rows)} simulations, {rows['seconds'].median():.1f} s each (median), "
                f"{100 * (rows['divergences'] > 0).mean():.0f} % with a divergence."
            )
    page = [
        "# Simulation-based calibration of the crossed model",
        "",
        "Variances, effects and scores drawn from the priors of `class-crossed`, and the rank of each truth among its "
        "posterior draws (Talts et al. 2018). What is simulated stands in `calibration_crossed.py`. Envelopes hold "
        f"over the whole distribution function at once with probability {100 * PROBABILITY:.0f} % (Säilynoja, "
        "Bürkner and Vehtari 2022).",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; {PLAN.chains} chains, "
        f"{PLAN.draws} draws after {PLAN.tune}; seed {choice.seed}.",
        "",
        "## What was found",
        "",
        f"- {len(table) - len(outside)} of {len(table)} lie inside their envelope; "
        f"{len(table) * (1 - PROBABILITY):.1f} outside are expected by chance{': ' + named if len(outside) else ''}.",
        *fits,
        "",
        "![ECDF differences](calibration_crossed.svg)",
        "",
        "| design | quantity | N | largest deviation | half-width | inside | mean rank | z | covers, 95 % |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.design} | {r.quantity} | {r.simulations} | {r.max_deviation:.3f} | {r.half_width:.3f} | "
            f"{'yes' if r.inside else '**no**'} | {r.mean_rank:.3f} | {r.mean_rank_z:+.1f} | "
            f"{100 * r.coverage_95:.0f} % |"
            for r in table.itertuples()
        ),
    ]
    (choice.out / "calibration_crossed.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    """Run the study and write its files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200, help="of every design")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".cache/calibration_crossed"), help="finished simulations")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    run(choice)
    write(choice)


if __name__ == "__main__":
    main()
