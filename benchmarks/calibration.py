"""Simulation-based calibration of every factor spec at the shapes of ren2024 and helm-classic.

    OMP_NUM_THREADS=1 python benchmarks/calibration.py --simulations 500 --workers 2 --work .cache/calibration

Parameters are drawn from the prior of a spec (under the sign rule: the loadings of the capability benchmarks sum to a
positive number), data from the parameters, and the model is fitted to them. If all is right, the rank of every true
value among its posterior draws is uniform. Families, areas, item counts and missing cells are those of the table, whose
classes take turns; one safety column, taken at random from those of the class, is simulated beside the capability
benchmarks, with its prior, its missing cells and, in the binomial spec, its known sampling error. The known error
variances are those that the package computes from the real scores; they are held fixed.

Scores are simulated on the scale that the priors are stated on and are not z-scored again: after z-scoring the total sd
and the intercept of the truth would mean something else. Only the rank spec is given what the package would give it,
normal scores of ranks, standardised: its likelihood is then an approximation, and its total sd and intercept have no
true value to be compared with. `two-level+z` is the default spec with z-scored simulations, to see what that does.

Quantities: rho, kappa, total sd, intercept and (with further factors) communality of the capability benchmarks; omega;
theta of the models; rho, |rho| and kappa of the safety benchmark in three ways (the prior of rho is symmetric, so that
a pull towards zero hardly moves ranks of rho, but does move those of |rho|):

    known   the cut step given the true theta: a posterior, which checks the algorithm
    cut     the cut step given draws of theta from the capability benchmarks: not a posterior of the joint model
    joint   the cut draws weighted by p(y | theta) where Pareto k <= 0.7 and 100 or more of the draws are effective, a
            fit of the joint model with NUTS otherwise, as in the package (which asks for 400)

Ranks of different benchmarks of one simulation are dependent. So each simulation gives one rank, of a benchmark (or
model) chosen at random, to the test of a quantity; beside it stands the share of single benchmarks (or models), tested
each by itself over the simulations of its class, that stay within their own envelope.

Every finished simulation is a line of a file in the work folder, so that an interrupted run goes on where it was;
`--simulations 0` writes the pages of what is finished.
Writes calibration.csv, calibration.md and calibration.svg beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import itertools
import json
import multiprocessing
import platform
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats
from scipy import stats

from safetystats.errors import FitError
from safetystats.inference.arrays import FloatArray, GraphKind, Structure
from safetystats.inference.calibration import Envelope, ecdf_envelope, rank_statistic, simulate_data
from safetystats.inference.cut import CutDraws, cut_posterior
from safetystats.inference.fits import joint_weights
from safetystats.inference.parameters import FactorData, FactorDraws, draws_of
from safetystats.inference.problems import data_of, kind_for, structure_of
from safetystats.inference.sampling import draw_posterior
from safetystats.inference.streams import seed_for
from safetystats.specs import FactorSpec, SamplingPlan, read_spec
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise, transform
from safetystats.tables.table import ScoreTable
from safetystats.tables.transforms import RankNormalTransform

SPECS = ("two-level", "one-factor", "two-level-rank", "two-level-binomial", "bifactor", "k-factor", "two-level+z")
TABLES = ("ren2024", "helm-classic")
PROBABILITY = 0.99
N_RANKS = 100
FEW = 100
"""Effective weighted draws below which the joint model is fitted."""
FEWEST_SCORES = 12
"""Fewest scores of a safety column that is simulated."""
BINS = 10
MOST_POINTS = 38
"""Of one curve in the figure."""
WAYS = ("known", "cut", "joint")
MEANT = 500
"""Simulations that every spec and table is meant to have."""
SIZES = (0.0, 0.4, 0.7, 0.9, 1.0)
"""Limits between sizes of the true rho."""
NAMES = {
    "rho": "rho",
    "kappa": "kappa",
    "total_sd": "total sd",
    "intercept": "intercept",
    "communality": "communality",
    "omega": "omega",
    "theta": "theta",
    "safety_rho_known": "safety rho, capability known",
    "safety_rho_cut": "safety rho, cut",
    "safety_rho_joint": "safety rho, joint",
    "safety_size_known": "safety |rho|, capability known",
    "safety_size_cut": "safety |rho|, cut",
    "safety_size_joint": "safety |rho|, joint",
    "safety_kappa_known": "safety kappa, capability known",
    "safety_kappa_cut": "safety kappa, cut",
    "safety_kappa_joint": "safety kappa, joint",
}
ZSCORED = "+z"
"""Ending of a spec whose simulated scores are z-scored, as the package does with those of a table."""
NO_TRUTH = {"two-level-rank": ("total_sd", "intercept"), "two-level+z": ("total_sd", "intercept")}
"""Quantities whose true value is lost: ranks say nothing about scale and location."""


class Case(NamedTuple):
    """One spec at the shape of one class of a table."""

    spec: FactorSpec
    table: ScoreTable
    capability: list[str]
    safety: list[str]
    kind: GraphKind | None


class Job(NamedTuple):
    """One simulation; even numbers are of the first class, odd ones of the second."""

    spec: str
    table: str
    number: int
    seed: int


@functools.cache
def cases_of(spec_name: str, table_name: str) -> list[Case]:
    """Return a case for every class."""
    spec = read_spec(spec_name.removesuffix(ZSCORED), "factor")
    assert isinstance(spec, FactorSpec)
    aligned = align(load_table(table_name))
    prepared = standardise(transform(aligned, spec.transform), by="class")
    classes = [prepared.select(model_class=name) for name in prepared.classes]
    found = []
    for part in classes:
        enough = np.isfinite(part.matrix()).sum(0) >= FEWEST_SCORES
        safety = [name for name, ok in zip(part.columns(), enough, strict=True) if ok]
        safety = [name for name in safety if name in set(part.columns("safety"))]
        found.append(Case(spec, part, part.columns("capability"), safety, kind_for([part], spec)))
    return found


def plan_for(kind: GraphKind | None, data: FactorData, spec: FactorSpec) -> SamplingPlan:
    """Return a short plan: longer where draws are more strongly correlated."""
    if kind is None and data.complete:
        tune, draws = (300, 250) if spec.further == "none" else (400, 300)
    else:
        tune, draws = 500, 500
    return SamplingPlan(chains=2, draws=draws, tune=tune, target_accept=spec.sampling.target_accept)


def normal_scores(values: FloatArray) -> FloatArray:
    """Return what the package makes of scores for the rank spec: normal scores of ranks, z-scored."""
    found = np.column_stack([RankNormalTransform.from_scores(column).forward(column) for column in values.T])
    return np.asarray((found - np.nanmean(found, axis=0)) / np.nanstd(found, axis=0))


def communality(draws: FactorDraws) -> FloatArray:
    """Return the share of variance that all factors account for, shape (n_draws, n_benchmarks)."""
    return np.asarray(draws.rho**2 + (draws.further**2).sum(-1))


def smooth(draws: CutDraws, cells: int, rng: np.random.Generator) -> FloatArray:
    """Return draws of kappa spread over their grid cells."""
    return np.asarray(draws.icc + rng.uniform(-0.5, 0.5, draws.icc.size) / cells)


def simulate(job: Job) -> dict[str, Any]:
    """Return the normalised ranks of one simulation, and facts about its fit."""
    start = time.perf_counter()
    cases = cases_of(job.spec, job.table)
    case = cases[job.number % len(cases)]
    spec, k = case.spec, len(case.capability)
    rng = np.random.default_rng(
        seed_for(job.seed, "calibration", job.spec.removesuffix(ZSCORED), job.table, str(job.number))
    )
    names = [*case.capability, case.safety[int(rng.integers(len(case.safety)))]]
    like, structure = data_of(case.table, names, spec), structure_of(case.table, names, spec)
    made = simulate_data(spec.priors, structure, like, rng)
    truth, values = made.truth, made.data.values
    if spec.transform == "rank_normal":
        values = normal_scores(values)
    elif job.spec.endswith(ZSCORED):
        values = (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)
    both = FactorData(values=values, families=like.families, noise=like.noise)
    alone = FactorData(values=values[:, :k], families=like.families, noise=like.noise[:, :k])
    inner = Structure(anchors=structure.anchors[:k], pattern=structure.pattern[:k], families=structure.families)
    plan = plan_for(case.kind, alone, spec)
    tree = draw_posterior(case.kind, alone, spec.priors, inner, plan, int(rng.integers(2**62)), cores=1)
    posterior = tree["posterior"].to_dataset()
    draws, shape = draws_of(posterior), (plan.chains, plan.draws)
    theta = posterior["theta"].to_numpy().reshape(draws.n_draws, -1)

    ranks: dict[str, Any] = {
        "rho": rank_statistic(truth.rho[0, :k], draws.rho, rng, N_RANKS),
        "total_sd": rank_statistic(truth.total_sd[0, :k], draws.total_sd, rng, N_RANKS),
        "intercept": rank_statistic(truth.intercept[0, :k], draws.intercept, rng, N_RANKS),
        "theta": rank_statistic(made.theta, theta, rng, N_RANKS),
    }
    if spec.families:
        ranks["kappa"] = rank_statistic(truth.icc[0, :k], draws.icc, rng, N_RANKS)
        ranks["omega"] = rank_statistic(truth.capability_icc, draws.capability_icc[:, None], rng, N_RANKS)
    if structure.pattern.any():
        ranks["communality"] = rank_statistic(communality(truth)[0, :k], communality(draws), rng, N_RANKS)

    def step(given: FloatArray) -> CutDraws:
        noise = like.noise[:, k:] if like.noise[:, k:].any() else None
        found = cut_posterior(
            values[:, k:], given, like.families, spec.priors, spec.cut, [rng], noise=noise,
            families_matter=spec.families,
        )[0]  # fmt: skip
        assert found is not None
        return found

    known, cut = step(np.repeat(made.theta[None], N_RANKS - 1, axis=0)), step(theta)
    smoothed, pareto_k = joint_weights(cut.log_marginal, shape)
    weight = np.exp(smoothed)
    weight = weight / weight.sum()
    effective = 1 / float((weight**2).sum())
    cells = spec.cut.icc_cells
    safety = {
        "known": (known.rho, smooth(known, cells, rng), None),
        "cut": (cut.rho, smooth(cut, cells, rng), None),
        "joint": (cut.rho, smooth(cut, cells, rng), weight),
    }
    refit = not (pareto_k <= spec.gates.pareto_k and effective >= FEW)
    if refit:
        own = plan_for(case.kind, both, spec)
        again = draw_posterior(case.kind, both, spec.priors, structure, own, int(rng.integers(2**62)), cores=1)
        joint = draws_of(again["posterior"].to_dataset())
        safety["joint"] = (joint.rho[:, k], joint.icc[:, k], None)
    means = {}
    for way, (rho, kappa, weights) in safety.items():
        ranks[f"safety_rho_{way}"] = rank_statistic(truth.rho[0, k:], rho[:, None], rng, N_RANKS, weights)
        ranks[f"safety_size_{way}"] = rank_statistic(
            np.abs(truth.rho[0, k:]), np.abs(rho[:, None]), rng, N_RANKS, weights
        )
        if spec.families:
            ranks[f"safety_kappa_{way}"] = rank_statistic(truth.icc[0, k:], kappa[:, None], rng, N_RANKS, weights)
        means[way] = float(rho.mean() if weights is None else weights @ rho)
    chains = posterior["rho"].to_numpy()
    r_hat = max(float(array_stats.rhat(chains[..., b], chain_axis=0, draw_axis=1)) for b in range(k))
    ess = min(
        float(array_stats.ess(posterior[name].to_numpy()[..., i], method="bulk", chain_axis=0, draw_axis=1))
        for name in ("rho", "theta")
        for i in range(posterior[name].shape[-1])
    )
    return {
        "number": job.number,
        "model_class": case.table.classes[0],
        "ranks": {name: np.round(found, 6).tolist() for name, found in ranks.items()},
        "benchmark": int(rng.integers(k)),
        "model": int(rng.integers(len(made.theta))),
        "truth": float(truth.rho[0, k]),
        "means": means,
        "refit": bool(refit),
        "pareto_k": pareto_k,
        "effective": effective,
        "r_hat": r_hat,
        "ess": ess,
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        "seconds": time.perf_counter() - start,
    }


def attempt(job: Job) -> dict[str, Any]:
    """Return a simulation, or what stopped its sampler."""
    try:
        return simulate(job)
    except FitError as error:
        return {"number": job.number, "failed": str(error)[:200]}


def work_file(work: Path, spec: str, table: str) -> Path:
    """Return where the simulations of one cell are."""
    return work / f"{spec}_{table}.jsonl"


def finished(work: Path, spec: str, table: str) -> list[dict[str, Any]]:
    """Return the finished simulations of one cell by number; cut-off lines and failed fits are left out."""
    path = work_file(work, spec, table)
    return _rows(path, path.stat().st_mtime_ns) if path.exists() else []


@functools.lru_cache(maxsize=len(SPECS) * len(TABLES))
def _rows(path: Path, _changed: int) -> list[dict[str, Any]]:
    """Read a file of simulations, once as long as it has not changed."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if "failed" not in row:
            found[row["number"]] = row
    return [found[number] for number in sorted(found)]


def results(jobs: list[Job], workers: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Yield simulations as they are finished; each worker compiles for itself."""
    if workers == 1:
        yield from ((job, attempt(job)) for job in jobs)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(attempt, job): job for job in jobs}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def run(choice: argparse.Namespace) -> None:
    """Run what is not finished yet."""
    choice.work.mkdir(parents=True, exist_ok=True)
    for spec in choice.specs:
        for table in choice.tables:
            done = {row["number"] for row in finished(choice.work, spec, table)}
            jobs = [Job(spec, table, i, choice.seed) for i in range(choice.simulations) if i not in done]
            start = time.perf_counter()
            with work_file(choice.work, spec, table).open("a", encoding="utf-8") as file:
                for count, (_, row) in enumerate(results(jobs, choice.workers), start=1):
                    # A line that an interruption cut off must not swallow the next.
                    file.write(("\n" if count == 1 else "") + json.dumps(row) + "\n")
                    file.flush()
                    if "failed" in row:
                        print(f"{spec}, {table}: number {row['number']} failed: {row['failed']}", flush=True)
                    if count in (1, 5, 20) or count % 50 == 0:
                        seconds = time.perf_counter() - start
                        print(f"{spec}, {table}: {count} of {len(jobs)}, {seconds:.0f} s", flush=True)


def chosen(row: dict[str, Any], quantity: str) -> float:
    """Return the one rank of a simulation that enters the test of a quantity."""
    found = row["ranks"][quantity]
    if quantity == "theta":
        return float(found[row["model"]])
    return float(found[row["benchmark"] if len(found) > 1 else 0])


def share_inside(rows: list[dict[str, Any]], quantity: str) -> tuple[float, int]:
    """Return the share of single benchmarks or models inside their envelopes, and how many were looked at."""
    inside = []
    for name in {row["model_class"] for row in rows}:
        ranks = np.array([row["ranks"][quantity] for row in rows if row["model_class"] == name])
        if len(ranks) > 1:
            envelope = ecdf_envelope(len(ranks), PROBABILITY)
            inside += [envelope.holds(column) for column in ranks.T]
    return (float(np.mean(inside)) if inside else np.nan), len(inside)


def reach(envelope: Envelope, u: FloatArray) -> float:
    """Return how far the distribution function goes towards its envelope; 1 touches it, more leaves it."""
    off = envelope.ecdf(u) - envelope.points
    room = np.where(off >= 0, envelope.upper - envelope.points, envelope.points - envelope.lower) + 0.5 / len(u)
    return float((np.abs(off) / room).max())


def tabulate(choice: argparse.Namespace) -> pd.DataFrame:
    """Return one line per spec, table and quantity."""
    lines = []
    for spec in SPECS:
        for table in TABLES:
            rows = finished(choice.work, spec, table)
            if len(rows) < 2:
                continue
            for quantity in NAMES:
                if quantity in NO_TRUTH.get(spec, ()) or any(quantity not in row["ranks"] for row in rows):
                    continue
                u = np.array([chosen(row, quantity) for row in rows])
                envelope = ecdf_envelope(len(u), PROBABILITY)
                counts = np.bincount(np.minimum((u * BINS).astype(int), BINS - 1), minlength=BINS)
                share, single = share_inside(rows, quantity)
                lines.append(
                    {
                        "spec": spec,
                        "table": table,
                        "quantity": quantity,
                        "simulations": len(u),
                        "reach": reach(envelope, u),
                        "inside": envelope.holds(u),
                        "mean_rank": float(u.mean()),
                        "mean_rank_z": float((u.mean() - 0.5) * np.sqrt(12 * len(u))),
                        "chi_square_p": float(stats.chisquare(counts).pvalue),
                        "coverage_95": float(((u > 0.025) & (u < 0.975)).mean()),
                        "single_inside": share,
                        "single": single,
                    }
                )
    return pd.DataFrame(lines)


def routes(choice: argparse.Namespace) -> pd.DataFrame:
    """Return, per spec, table and way, how the posterior mean of the safety rho relates to the truth."""
    lines = []
    for spec in SPECS:
        for table in TABLES:
            rows = finished(choice.work, spec, table)
            if len(rows) < 3:
                continue
            truth = np.array([row["truth"] for row in rows])
            for way in WAYS:
                mean = np.array([row["means"][way] for row in rows])
                u = np.array([row["ranks"][f"safety_rho_{way}"][0] for row in rows])
                fit = stats.linregress(mean, truth)
                pull = np.sign(truth) * (mean - truth)
                lines.append(
                    {
                        "spec": spec,
                        "table": table,
                        "way": way,
                        "slope": float(fit.slope),
                        "slope_error": float(fit.stderr),
                        "towards_zero": float(-pull.mean()),
                        "towards_zero_error": float(pull.std(ddof=1) / np.sqrt(len(pull))),
                        "rmse": float(np.sqrt(((mean - truth) ** 2).mean())),
                        "coverage_95": float(((u > 0.025) & (u < 0.975)).mean()),
                        "refits": float(np.mean([row["refit"] for row in rows])),
                    }
                )
    return pd.DataFrame(lines)


def by_size(choice: argparse.Namespace) -> list[str]:
    """Return lines of a table: coverage of the three routes by the size of the true rho."""
    lines = []
    for spec in SPECS:
        for table in TABLES:
            rows = finished(choice.work, spec, table)
            if len(rows) < 3:
                continue
            size = np.abs([row["truth"] for row in rows])
            u = np.array([[row["ranks"][f"safety_rho_{way}"][0] for way in WAYS] for row in rows])
            covered = (u > 0.025) & (u < 0.975)
            cells = []
            for low, high in itertools.pairwise(SIZES):
                part = covered[(size >= low) & (size < high)]
                shares = ", ".join(f"{100 * share:.0f}" for share in part.mean(0)) if len(part) else "–"
                cells.append(f"{shares} % ({len(part)})")
            lines.append(f"| {spec} | {table} | {' | '.join(cells)} |")
    return lines


def expected_uniform(row: Any) -> bool:
    """Return whether theory says that the ranks are uniform: of scores as simulated, and not through the cut route."""
    return not row.quantity.endswith("_cut") and row.spec not in NO_TRUTH


def findings(table: pd.DataFrame, ways: pd.DataFrame) -> list[str]:
    """Return sentences with what was found."""
    exact = table[[expected_uniform(row) for row in table.itertuples()]]
    outside = exact[~exact["inside"]]
    named = "; ".join(
        f"{NAMES[row.quantity]} of {row.spec}, {row.table} ({row.reach:.2f})" for row in outside.itertuples()
    )
    lines = []
    single = exact[exact["single"] > 0]
    if len(single):
        lines.append(
            f"- Where theory says that ranks are uniform, {len(exact) - len(outside)} of {len(exact)} lie inside their "
            f"{100 * PROBABILITY:.0f} % envelope; {len(exact) * (1 - PROBABILITY):.1f} outside are expected by chance"
            f"{': ' + named if len(outside) else ''}. Of single benchmarks and models, "
            f"{100 * np.average(single['single_inside'], weights=single['single']):.1f} % are inside theirs."
        )
    whys = {
        "two-level-rank": "Normal scores of ranks are not the normal variables that the likelihood takes them for: of "
        "the rank spec,",
        "two-level+z": "With scores z-scored as the package does (two-level+z), so that the priors of location and "
        "scale are centred on the data,",
    }
    for spec, why in whys.items():
        ranked = table[(table["spec"] == spec) & ~table["quantity"].str.endswith("_cut")]
        if ranked.empty:
            continue
        bad = ranked[~ranked["inside"]]
        what = "; ".join(
            f"{NAMES[row.quantity]}, {row.table} ({row.reach:.2f}, mean rank {row.mean_rank:.3f})"
            for row in bad.itertuples()
        )
        lines.append(f"- {why} {len(bad)} of {len(ranked)} are outside{': ' + what if len(bad) else ''}.")
    for quantity in ("safety_rho_cut", "safety_size_cut", "safety_kappa_cut"):
        cut = table[table["quantity"] == quantity]
        if cut.empty:
            continue
        bad = cut[~cut["inside"]]
        what = "; ".join(f"{row.spec}, {row.table} ({row.reach:.2f})" for row in bad.itertuples())
        lines.append(
            f"- {NAMES[quantity][0].upper() + NAMES[quantity][1:]}: {len(bad)} of {len(cut)} outside"
            f"{': ' + what if len(bad) else ''}."
        )
    for row in ways[ways["way"] == "cut"].itertuples():
        other = ways[(ways["spec"] == row.spec) & (ways["table"] == row.table) & (ways["way"] == "joint")].iloc[0]
        lines.append(
            f"- {row.spec}, {row.table}: the truth lies {row.slope:.2f} times (error {row.slope_error:.2f}) as far "
            f"from zero as the mean of the cut ({other['slope']:.2f} of the joint, error {other['slope_error']:.2f}; 1 "
            f"where calibrated); 95 % intervals cover {100 * row.coverage_95:.1f} % (cut) and "
            f"{100 * other['coverage_95']:.1f} % (joint)."
        )
    return lines


def unfinished(table: pd.DataFrame) -> list[str]:
    """Return a sentence on what has fewer simulations than meant; nothing if all have them."""
    done = {(row.spec, row.table): row.simulations for row in table.itertuples()}
    few = [
        f"{spec} at {name} {done.get((spec, name), 0)}"
        for spec in SPECS
        for name in TABLES
        if done.get((spec, name), 0) < MEANT
    ]
    return (
        [f"Of the {MEANT} simulations that are meant for each, these have fewer: {', '.join(few)}.", ""] if few else []
    )


def fits_table(choice: argparse.Namespace) -> list[str]:
    """Return the convergence of the short fits as a table."""
    lines = [
        "| spec | table | simulations | evaluator (base) | chains x draws after tune, at least | R-hat > 1.05 "
        "| median worst ESS | divergent | joint refits | seconds each |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for spec in SPECS:
        for table in TABLES:
            rows = pd.DataFrame(finished(choice.work, spec, table))
            if len(rows) < 2:
                continue
            case = cases_of(spec, table)[0]
            data = data_of(case.table, case.capability, case.spec)
            plan = plan_for(case.kind, data, case.spec)
            evaluator = "sampled" if case.kind is not None else "integrated" if data.complete else "completed"
            lines.append(
                f"| {spec} | {table} | {len(rows)} | {evaluator} | {plan.chains} x {plan.draws} after "
                f"{plan.tune} | {100 * (rows['r_hat'] > 1.05).mean():.0f} % | {rows['ess'].median():.0f} | "
                f"{100 * (rows['divergences'] > 0).mean():.0f} % | {100 * rows['refit'].mean():.0f} % | "
                f"{rows['seconds'].median():.1f} |"
            )
    return lines


def figure(choice: argparse.Namespace, table: pd.DataFrame) -> None:
    """Draw the differences between distribution functions and the diagonal, with envelopes."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "calibration"
    specs = [spec for spec in SPECS if spec in set(table["spec"])]
    quantities = [name for name in NAMES if name in set(table["quantity"])]
    fig, axes = plt.subplots(
        len(quantities), len(specs), figsize=(2.2 * len(specs) + 1, 1.25 * len(quantities) + 0.8), sharex=True,
        sharey="col", squeeze=False, layout="constrained",
    )  # fmt: skip
    for column, spec in enumerate(specs):
        for line, quantity in enumerate(quantities):
            ax = axes[line, column]
            for name, colour, style in zip(TABLES, ("#0072B2", "#D55E00"), ("-", "--"), strict=True):
                cell = table[(table["spec"] == spec) & (table["table"] == name) & (table["quantity"] == quantity)]
                if cell.empty:
                    continue
                u = np.array([chosen(row, quantity) for row in finished(choice.work, spec, name)])
                envelope = ecdf_envelope(len(u), PROBABILITY)
                x = envelope.points
                some = np.unique(np.linspace(0, len(x) - 1, MOST_POINTS).round().astype(int))  # keeps the file small
                low, high, seen = ((values - x)[some] for values in (envelope.lower, envelope.upper, envelope.ecdf(u)))
                x = x[some]
                ax.fill_between(x, low, high, color="#999999", alpha=0.25, linewidth=0, step="mid")
                ax.plot(x, seen, color=colour, linestyle=style, linewidth=1.1, label=name)
            if column == 0:
                ax.set_ylabel(NAMES[quantity].replace(", ", ",\n"), fontsize=7, rotation=0, ha="right", va="center")
            if not ax.lines:  # not of this spec; the label of the row stays
                ax.spines[:].set_visible(False)
                ax.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)
                continue
            ax.axhline(0, color="black", linewidth=0.4)
            ax.set_xlim(0, 1)
            ax.tick_params(labelsize=7)
            if line == 0:
                ax.set_title(spec, fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower right", fontsize=8, frameon=False, ncols=2)
    fig.supxlabel("normalised rank of the truth among posterior draws", fontsize=8)
    fig.suptitle(f"ECDF less its expectation, with simultaneous {100 * PROBABILITY:.0f} % envelopes", fontsize=10)
    path = choice.out / "calibration.svg"
    fig.savefig(path, metadata={"Date": None})
    plt.close(fig)
    # Coordinates to a tenth of a point, finer than a pixel, for a smaller file; scales of glyphs stay as they are.
    path.write_text(re.sub(r"(?<=[ML ])(\d+\.\d)\d+", r"\1", path.read_text(encoding="utf-8")), encoding="utf-8")


def write(choice: argparse.Namespace) -> None:
    """Write table, page and figure of what is finished."""
    table, ways = tabulate(choice), routes(choice)
    if table.empty or ways.empty:
        return
    table.to_csv(choice.out / "calibration.csv", index=False, float_format="%.6g")
    figure(choice, table)
    names = ("numpy", "scipy", "pymc", "nutpie", "arviz-stats", "safetystats")
    page = [
        "# Simulation-based calibration",
        "",
        "Parameters drawn from the prior, data from the parameters, and the rank of each truth among its posterior "
        "draws (Talts et al. 2018), which is uniform if model, sampler and cut step are right. What is simulated and "
        "what the quantities are stands in `calibration.py`. Envelopes hold over the whole distribution function at "
        f"once with probability {100 * PROBABILITY:.0f} % (Säilynoja, Bürkner and Vehtari 2022). Priors live on the "
        "scale of the simulated scores, which are not z-scored again except in `two-level+z`; safety benchmarks are "
        "compared over the prior of rho, that is uniformly from -1 to 1.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}. Command: `make "
        f"calibrate`, seed {choice.seed}.",
        "",
        *unfinished(table),
        "## What was found",
        "",
        *findings(table, ways),
        "",
        "The cut route takes capability from the capability benchmarks alone. It is not a posterior of the joint "
        "model, and its ranks need not be uniform: theta that is uncertain is an errors-in-variables regressor, which "
        "pulls rho towards zero. `known`, with theta free of error, and `joint` show how much of it is due to that.",
        "",
        "![ECDF differences](calibration.svg)",
        "",
        "## Safety rho by route",
        "",
        "`slope`: of the regression of the truth on the posterior mean, 1 for a calibrated posterior. `nearer to "
        "zero`: by how much the posterior mean is nearer to zero than the truth, which shrinkage to the prior does as "
        "well.",
        "",
        "| spec | table | route | slope (error) | nearer to zero (error) | root mean square error | covers, 95 % |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {r.spec} | {r.table} | {r.way} | {r.slope:.3f} ({r.slope_error:.3f}) | {r.towards_zero:.3f} "
            f"({r.towards_zero_error:.3f}) | {r.rmse:.3f} | {100 * r.coverage_95:.1f} % |"
            for r in ways.itertuples()
        ),
        "",
        "## Coverage by the size of the true rho",
        "",
        "95 % intervals of the safety rho: known, cut, joint (number of simulations).",
        "",
        f"| spec | table | {' | '.join(f'{low:g} to {high:g}' for low, high in itertools.pairwise(SIZES))} |",
        f"|---|---|{'---|' * (len(SIZES) - 1)}",
        *by_size(choice),
        "",
        "## Ranks",
        "",
        "`reach`: how far the distribution function goes towards its envelope; more than 1 is outside. `z`: of the "
        "mean rank. `chi-square p`: of ten bins. `each by itself`: share of single benchmarks or models "
        "inside their own envelope.",
        "",
        "| spec | table | quantity | N | reach | inside | mean rank | z | chi-square p | each by itself |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.spec} | {r.table} | {NAMES[r.quantity]} | {r.simulations} | {r.reach:.2f} | "
            f"{'yes' if r.inside else '**no**'} | {r.mean_rank:.3f} | {r.mean_rank_z:+.1f} | "
            f"{r.chi_square_p:.3f} | " + (f"{100 * r.single_inside:.0f} % of {r.single} |" if r.single > 2 else "– |")
            for r in table.itertuples()
        ),
        "",
        "## Fits",
        "",
        *fits_table(choice),
    ]
    (choice.out / "calibration.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    """Run the study and write its files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=500, help="of every spec and table")
    parser.add_argument("--specs", nargs="+", choices=SPECS, default=list(SPECS))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path(".cache/calibration"), help="folder of finished simulations")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    run(choice)
    write(choice)


if __name__ == "__main__":
    main()
