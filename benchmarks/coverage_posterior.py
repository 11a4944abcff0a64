"""Frequentist properties of the posterior of rho: mean, coverage, width, and the calibration of P(distinct).

    OMP_NUM_THREADS=1 python benchmarks/coverage_posterior.py --replications 40

Design. 26 models in 9 families with 12 capability benchmarks, and 43 models in 20 families with 8; every family has one
model and the rest fall into families at random. For model m of family f and any benchmark b

    theta_m ~ N(0, 1),   y_mb = rho_b theta_m + sqrt(1 - rho_b^2) (sqrt(kappa_b) u_fb + sqrt(1 - kappa_b) e_mb),

with kappa_b ~ Beta(1, 3) as in the prior, u, e ~ N(0, 1), loadings of the capability benchmarks ~ U(0.55, 0.95). Each
replication has safety benchmarks at every rho of 0, 0.3, 0.5, 0.8, and some with rho from the prior, 2 Beta(2, 2) - 1.
Columns are z-scored over the models, as the package does.

Posteriors, all with the priors of the two-level spec and 95 % equal-tailed intervals:

    cut       theta from the fit of the capability benchmarks, as `safetystats.inference.fits.fit_safety` makes it
    joint     the same draws with Pareto-smoothed weights p(y | theta), as there. The package samples the joint model
              with NUTS where Pareto k is above 0.7 (or fewer than 400 draws are effective); that is not done here, so
              cells with many such k are marked
    scaled    cut, but with each draw of theta centred and divided by its sd over the models: what the cut posterior
              would be if capability were defined relative to these models. For comparison; not in the package
    oracle    the regression of one benchmark with the true theta

Capability is fitted with fewer draws than the spec states; the page gives the convergence that this reached.
Writes coverage_posterior.csv and coverage_posterior.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from arviz_stats.base import array_stats

from safetystats.inference.arrays import FactorSize, factor_arrays
from safetystats.inference.cut import CutDraws, cut_posterior
from safetystats.inference.sampling import CompiledFactor, compile_factor, draw_posterior
from safetystats.specs import FactorSpec, SamplingPlan, read_spec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Design(NamedTuple):
    """Size of one simulated class."""

    models: int
    families: int
    benchmarks: int

    @property
    def label(self) -> str:
        """Name in the tables."""
        return f"{self.models} models, {self.families} families, {self.benchmarks} benchmarks"


DESIGNS = (Design(26, 9, 12), Design(43, 20, 8))
LOADINGS = (0.55, 0.95)
RHOS = (0.0, 0.3, 0.5, 0.8)
FIXED = np.repeat(RHOS, 3)
FROM_PRIOR = 8
LEVEL = 0.95
ROPE = 0.4
STATED = 0.95
"""Posterior probability at which a verdict is given."""
EDGES = (0.0, 0.2, 0.5, 0.8, 0.95, 1.0)
KINDS = ("cut", "joint", "scaled", "oracle")
MARK_SHARE = 0.1
ORACLE_DRAWS = 400
PLAN = SamplingPlan(chains=2, draws=300, tune=300, target_accept=0.9)


class Sample(NamedTuple):
    """One simulated class: true capability, z-scored columns (capability first), families, true rho of the safety."""

    theta: FloatArray
    scores: FloatArray
    families: IntArray
    rho: FloatArray


def simulate(design: Design, spec: FactorSpec, rng: np.random.Generator) -> Sample:
    """Return one class of models."""
    n, k, f = design.models, design.benchmarks, design.families
    families = np.sort(np.concatenate([np.arange(f), rng.integers(0, f, n - f)]))
    theta = rng.standard_normal(n)
    prior, icc_prior = spec.priors.loading, spec.priors.icc
    safety = np.concatenate([FIXED, 2 * rng.beta(prior.alpha, prior.beta, FROM_PRIOR) - 1])
    rho = np.concatenate([rng.uniform(*LOADINGS, k), safety])
    icc = rng.beta(icc_prior.alpha, icc_prior.beta, len(rho))
    shared = rng.standard_normal((f, len(rho)))[families]
    noise = np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.standard_normal((n, len(rho)))
    scores = rho * theta[:, None] + np.sqrt(1 - rho**2) * noise
    return Sample(theta, (scores - scores.mean(0)) / scores.std(0), families, safety)


def joint_weights(draws: CutDraws, shape: tuple[int, int]) -> tuple[FloatArray, float]:
    """Return smoothed weights and Pareto k, computed as in `safetystats.inference.fits`."""
    ratio = np.exp(draws.log_marginal - draws.log_marginal.max()).reshape(shape)
    r_eff = min(1.0, float(array_stats.ess(ratio, method="mean", chain_axis=0, draw_axis=1)) / ratio.size)
    smoothed, pareto_k = array_stats.psislw(-draws.log_marginal, r_eff=r_eff)
    weight = np.exp(np.asarray(smoothed) - np.max(smoothed))
    return weight / weight.sum(), float(pareto_k)


def summary(rho: FloatArray, weight: FloatArray) -> dict[str, float]:
    """Return mean, bounds and probabilities of one weighted posterior."""
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    lower, upper = np.quantile(rho, tails, weights=weight, method="inverted_cdf")
    return {
        "mean": float(weight @ rho),
        "lower": float(lower),
        "upper": float(upper),
        "p_distinct": float(weight @ (np.abs(rho) < ROPE)),
        "p_entangled": float(weight @ (rho > ROPE)),
    }


def one_replication(
    number: int, place: int, spec: FactorSpec, compiled: CompiledFactor, seed: int
) -> tuple[list[dict[str, object]], dict[str, object]]:
    """Return a row for every safety column and posterior, and the facts of the capability fit."""
    design = DESIGNS[place]
    streams = np.random.SeedSequence(seed, spawn_key=(number, place)).spawn(5)
    sample = simulate(design, spec, np.random.default_rng(streams[0]))
    k, n = design.benchmarks, design.models
    arrays = factor_arrays(sample.scores[:, :k], sample.families, np.ones(k, dtype=bool), compiled.size)
    tree = draw_posterior(compiled, arrays, PLAN, int(streams[1].generate_state(1)[0]))
    posterior = tree["posterior"].to_dataset()
    chains = posterior["theta"].to_numpy()[..., :n]
    shape = (chains.shape[0], chains.shape[1])
    theta = chains.reshape(-1, n)
    scaled = (theta - theta.mean(1, keepdims=True)) / theta.std(1, keepdims=True)
    known = np.repeat(sample.theta[None], ORACLE_DRAWS, axis=0)
    found = {}
    for kind, values, stream in zip(("cut", "scaled", "oracle"), (theta, scaled, known), streams[2:], strict=True):
        rngs = [np.random.default_rng(s) for s in stream.spawn(len(sample.rho))]
        found[kind] = cut_posterior(sample.scores[:, k:], values, sample.families, spec.priors, spec.cut, rngs)
    rows: list[dict[str, object]] = []
    for column, rho in enumerate(sample.rho):
        weight, pareto_k = joint_weights(found["cut"][column], shape)
        facts = {"design": design.label, "replication": number, "fixed": column < len(FIXED), "rho": float(rho)}
        for kind in KINDS:
            drawn = found["cut" if kind == "joint" else kind][column].rho
            even = np.full(drawn.size, 1 / drawn.size)
            numbers = summary(drawn, weight if kind == "joint" else even)
            rows.append(facts | {"posterior": kind, "pareto_k": pareto_k if kind == "joint" else np.nan} | numbers)
    r_hats = [array_stats.rhat(posterior["rho"].to_numpy()[..., b], chain_axis=0, draw_axis=1) for b in range(k)]
    fit = {
        "design": design.label,
        "sd_true": float(sample.theta.std()),
        "sd_posterior": float(theta.std(1).mean()),
        "total_sd": float(posterior["total_sd"].to_numpy()[..., :k].mean()),
        "r_hat": float(max(r_hats)),
        "divergences": int(tree["sample_stats"]["diverging"].to_numpy().sum()),
    }
    return rows, fit


def clustered_error(values: pd.Series, replication: pd.Series) -> float:
    """Return the Monte Carlo standard error of a mean whose terms are dependent within replications."""
    if values.empty:
        return float("nan")
    sums = (values - values.mean()).groupby(replication).sum()
    return float(np.sqrt((sums**2).sum()) / len(values))


def tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line per design, posterior, and true rho or bin of P(distinct)."""
    fixed, drawn = rows[rows["fixed"]], rows[~rows["fixed"]]
    lines = []
    for design in [d.label for d in DESIGNS]:
        cells = [("rho", rho, rho, fixed[fixed["rho"] == rho]) for rho in RHOS]
        cells.append(("rho from prior", -1.0, 1.0, drawn))
        for low, high in itertools.pairwise(EDGES):
            inside = (drawn["p_distinct"] >= low) & ((drawn["p_distinct"] < high) | (high == 1.0))
            cells.append(("p_distinct", low, high, drawn[inside]))
        for given, low, high, cell in cells:
            for kind in KINDS:
                part = cell[(cell["design"] == design) & (cell["posterior"] == kind)]
                where = {"design": design, "given": given, "low": low, "high": high, "posterior": kind}
                lines.append(where | line(part))
    return pd.DataFrame(lines)


def line(part: pd.DataFrame) -> dict[str, float]:
    """Return the numbers of one cell."""
    truth = part["rho"]
    covered = ((part["lower"] <= truth) & (truth <= part["upper"])).astype(float)
    distinct = (truth.abs() < ROPE).astype(float)
    return {
        "columns": len(part),
        "mean": part["mean"].mean(),
        "mean_error": clustered_error(part["mean"], part["replication"]),
        "coverage": covered.mean(),
        "coverage_error": clustered_error(covered, part["replication"]),
        "too_low": (part["upper"] < truth).mean(),
        "too_high": (part["lower"] > truth).mean(),
        "width": (part["upper"] - part["lower"]).mean(),
        "p_distinct": part["p_distinct"].mean(),
        "said_distinct": (part["p_distinct"] >= STATED).mean(),
        "said_entangled": (part["p_entangled"] >= STATED).mean(),
        "truly_distinct": distinct.mean(),
        "truly_distinct_error": clustered_error(distinct, part["replication"]),
        "high_pareto_k": (part["pareto_k"] > 0.7).mean() if part["pareto_k"].notna().any() else np.nan,
    }


def capability_lines(fits: pd.DataFrame) -> list[str]:
    """Return, per design, the sd of theta over models and the convergence of the fits."""
    lines = []
    for design, part in fits.groupby("design", sort=False):
        true, drawn, total = (part[c].mean() for c in ("sd_true", "sd_posterior", "total_sd"))
        spread = (part["sd_posterior"] - part["sd_true"]).std() / np.sqrt(len(part))
        lines.append(
            f"- {design}: the sd of theta over the models is {true:.2f} on average in truth and {drawn:.2f} in a draw "
            f"of the posterior (difference {drawn - true:.2f}, error {spread:.2f}), an inflation by the factor "
            f"{drawn / true:.2f}; the posterior mean of the total sd s of the capability benchmarks is {total:.2f}. "
            f"R-hat of the worst loading: median {part['r_hat'].median():.3f}, largest {part['r_hat'].max():.3f}; "
            f"{(part['divergences'] > 0).sum()} of {len(part)} fits have divergent transitions."
        )
    return lines


def verdict(table: pd.DataFrame) -> list[str]:
    """Return, per posterior, where coverage is below the level by three errors."""
    cells = table[table["given"] == "rho"]
    error = np.maximum(cells["coverage_error"], np.sqrt(LEVEL * (1 - LEVEL) / cells["columns"]))
    lines = []
    for kind in KINDS:
        mine = cells["posterior"] == kind
        poor = [
            f"{100 * row.coverage:.0f} % at rho {row.low:g} ({row.design.split(',')[0]})"
            for row in cells[mine & (cells["coverage"] < LEVEL - 3 * error)].itertuples()
        ]
        lines.append(f"- {kind}, {len(poor)} of {mine.sum()} cells{': ' if poor else ''}{', '.join(poor)}.")
    return lines


def findings(table: pd.DataFrame) -> list[str]:
    """Return sentences with the main numbers, one item per design."""
    lines = []
    for design in [d.label for d in DESIGNS]:
        part = table[table["design"] == design].set_index(["given", "high", "posterior"])
        top = {kind: part.loc[("rho", RHOS[-1], kind)] for kind in KINDS}
        drawn = {kind: part.loc[("rho from prior", 1.0, kind)] for kind in KINDS}
        sure = {kind: part.loc[("p_distinct", 1.0, kind)] for kind in ("cut", "joint")}
        means = ", ".join(f"{top[kind]['mean']:.2f} ({kind})" for kind in KINDS)
        covers = ", ".join(f"{100 * top[kind]['coverage']:.0f} %" for kind in KINDS)
        low = ", ".join(f"{100 * top[kind]['too_low']:.0f} %" for kind in KINDS)
        over = ", ".join(f"{drawn[kind]['p_distinct']:.2f} ({kind})" for kind in KINDS)
        stated = " and ".join(
            f"{100 * sure[kind]['truly_distinct']:.0f} % of {sure[kind]['columns']:.0f} ({kind})" for kind in sure
        )
        lines.append(
            f"- {design}: at rho {RHOS[-1]:g} the mean of the posterior is {means}; the intervals cover {covers}, "
            f"and lie wholly below rho in {low}. Over rho drawn from the prior, mean P(distinct) is {over}, and "
            f"{drawn['cut']['truly_distinct']:.2f} of the columns are distinct. Of the columns called distinct "
            f"(P >= {STATED:g}), {stated} are."
        )
    return lines


def as_markdown(table: pd.DataFrame) -> list[str]:
    """Return the two tables of the page."""
    lines = [
        "## By true rho",
        "",
        "| design | rho | posterior | mean (error) | covers (error) | too low / too high | width | mean P(distinct) | "
        "called distinct / entangled |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table[table["given"] != "p_distinct"].itertuples():
        mark = " *" if row.high_pareto_k > MARK_SHARE else ""
        rho = f"{row.low:g}" if row.given == "rho" else "from prior"
        lines.append(
            f"| {row.design} | {rho} | {row.posterior}{mark} | {row.mean:.3f} ({row.mean_error:.3f}) | "
            f"{100 * row.coverage:.1f} % ({100 * row.coverage_error:.1f}) | "
            f"{100 * row.too_low:.1f} / {100 * row.too_high:.1f} % | {row.width:.3f} | {row.p_distinct:.3f} | "
            f"{100 * row.said_distinct:.0f} / {100 * row.said_entangled:.0f} % |"
        )
    marked = table[(table["given"] != "p_distinct") & (table["high_pareto_k"] > MARK_SHARE)]
    shares = ", ".join(
        f"{100 * row.high_pareto_k:.0f} % ({row.design.split(',')[0]}, rho "
        f"{f'{row.low:g}' if row.given == 'rho' else 'from prior'})"
        for row in marked.itertuples()
    )
    lines += [
        "",
        f"\\* Pareto k is above 0.7 in more than {100 * MARK_SHARE:.0f} % of the columns: {shares or 'no cell'}. The "
        "package samples the joint model of these columns with NUTS instead, and of columns with fewer than 400 "
        "effective draws, so the line is not what it reports.",
        "",
        "## Calibration of P(distinct), rho from the prior",
        "",
        "| design | P(distinct) | posterior | columns | mean P(distinct) | truly distinct (error) |",
        "|---|---|---|---|---|---|",
    ]
    for row in table[table["given"] == "p_distinct"].itertuples():
        bracket = "]" if row.high == 1.0 else ")"
        head = f"| {row.design} | [{row.low:g}, {row.high:g}{bracket} | {row.posterior} | {row.columns} |"
        numbers = f"{row.p_distinct:.3f} | {row.truly_distinct:.3f} ({row.truly_distinct_error:.3f})"
        lines.append(f"{head} {numbers} |" if row.columns else f"{head} – | – |")
    return lines


def main() -> None:
    """Run the study and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no replication after this time")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    spec = read_spec("two-level", "factor")
    size = FactorSize(
        n_models=max(d.models for d in DESIGNS),
        n_benchmarks=max(d.benchmarks for d in DESIGNS),
        n_families=max(d.families for d in DESIGNS),
    )
    start, cpu = time.perf_counter(), time.process_time()
    compiled = compile_factor(spec.priors, size)
    rows, fits = [], []
    done = 0
    for number in range(choice.replications):
        if time.perf_counter() - start > 60 * choice.minutes:
            break
        for place in range(len(DESIGNS)):
            more, fit = one_replication(number, place, spec, compiled, choice.seed)
            rows += more
            fits.append(fit)
        done = number + 1
        if number % 5 == 0:
            print(f"replication {number}: {time.perf_counter() - start:.0f} s", flush=True)
    seconds, used = time.perf_counter() - start, time.process_time() - cpu
    table, facts = tabulate(pd.DataFrame(rows)), pd.DataFrame(fits)
    table.to_csv(choice.out / "coverage_posterior.csv", index=False, float_format="%.6g")
    columns = done * len(FIXED) // len(RHOS)
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / columns)
    names = ("numpy", "pandas", "pymc", "nutpie", "arviz-stats", "safetystats")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    page = [
        "# Coverage of the posterior of rho",
        "",
        f"Nominal level {100 * LEVEL:g} %, {done} replications of each design with "
        f"{len(FIXED) // len(RHOS)} safety benchmarks for every rho and {FROM_PRIOR} with rho from the prior: "
        f"{columns} columns in a cell of fixed rho. The Monte Carlo error of a coverage of 95 % is {error:.1f} points "
        "if columns of a replication were independent; the errors in brackets allow for their dependence. Design and "
        "posteriors are defined in `coverage_posterior.py`; too low: the interval lies wholly below the true rho.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {versions}; {seconds:.0f} s elapsed, {used:.0f} s of "
        f"processor time. Command: `OMP_NUM_THREADS=1 python benchmarks/coverage_posterior.py --replications "
        f"{done} --seed {choice.seed}`. Each capability fit has {PLAN.chains} chains of {PLAN.draws} "
        f"draws after {PLAN.tune} (the spec states {spec.sampling.chains} of {spec.sampling.draws} after "
        f"{spec.sampling.tune}).",
        "",
        "## What was found",
        "",
        *findings(table),
        *capability_lines(facts),
        "",
        "A draw of theta whose sd over the models is too large has slopes that are too small, and with them rho. "
        "`scaled` sets that sd to one and leaves the rest as it is; `oracle` also takes away that theta is uncertain. "
        "What is left in `oracle` is the sample of models and the prior of rho, which is centred on zero.",
        "",
        "Coverage at fixed rho too low by more than three Monte Carlo errors (the larger of the clustered and the "
        "binomial one):",
        "",
        *verdict(table),
        "",
        *as_markdown(table),
    ]
    text = "\n".join(page) + "\n"
    (choice.out / "coverage_posterior.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
