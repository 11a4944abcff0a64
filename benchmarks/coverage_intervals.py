"""Coverage and width of the four intervals for capabilities correlations, at the size and family structure of ren2024.

    OMP_NUM_THREADS=1 python benchmarks/coverage_intervals.py --replications 1000 --jobs 1

Design. 26 models in 9 families of sizes 8, 3, 3, 3, 2, 2, 2, 2, 1; 12 capability benchmarks; one safety benchmark for
each rho. For model m of family f and any benchmark b

    theta_m = sqrt(theta_icc) t_f + sqrt(1 - theta_icc) d_m
    y_mb = rho_b theta_m + sqrt(1 - rho_b^2) (sqrt(icc) u_fb + sqrt(1 - icc) e_mb),   t, d, u, e independent N(0, 1),

so that corr(y_b, theta) = rho_b; icc is the intraclass correlation of families in the residuals, the same for
capability and safety benchmarks, theta_icc that of capability itself. Intervals that take models as independent are
hurt only where both are positive. In ren2024 one-way ANOVA gives the score -0.15 (base) and 0.18 (chat), and the
residuals of headline safety benchmarks a median of 0.4, a tenth of them above 0.6 to 0.7. So the arm (0.6, 0.2) is
meant to be like the chat models with a strongly clustered benchmark; in (0.6, 0.6) capability itself is clustered far
more than there.

Estimands, both exact because all is jointly normal, with S(r) = 6 / pi asin(r / 2) the Spearman correlation of a
bivariate normal with correlation r:

    capability   S(rho): safety benchmark against theta
    score        S(rho c): safety benchmark against the population capabilities score v'y, where v is the leading
                 eigenvector of S(R), R the correlation matrix of the capability benchmarks, c = v'rho_b / sqrt(v'Rv)

The population is that of a new model of a new family. Intervals are for one replication's 26 models.
Writes coverage_intervals.csv and coverage_intervals.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

from safetystats.scores.intervals import bayesian_bootstrap, bca, family_bootstrap, fisher, interval_from_draws
from safetystats.scores.resampling import Target, point_correlations

FAMILY_SIZES = (8, 3, 3, 3, 2, 2, 2, 2, 1)
FAMILIES = np.repeat(np.arange(len(FAMILY_SIZES)), FAMILY_SIZES)
# Ren et al. 2024, Table 12, base models: correlations of the capability benchmarks with the score that contains them.
LOADINGS = np.array([0.860, 0.896, 0.937, 0.921, 0.814, 0.947, 0.955, 0.931, 0.844, 0.728, 0.866, 0.814])
RHOS = (0.0, 0.4, 0.8)
# (icc, theta_icc)
ARMS = ((0.0, 0.0), (0.3, 0.0), (0.6, 0.2), (0.6, 0.6))
LEVEL = 0.95
KINDS = ("bca", "family_bootstrap", "bayesian_bootstrap", "fisher")


def spearman_of_normal(r: np.ndarray) -> np.ndarray:
    """Return the population Spearman correlation of a bivariate normal with correlation r."""
    return 6.0 / np.pi * np.arcsin(np.asarray(r) / 2.0)


def estimands() -> dict[str, np.ndarray]:
    """Return the two population values for every rho, each of shape (3,)."""
    matrix = np.outer(LOADINGS, LOADINGS)
    np.fill_diagonal(matrix, 1.0)
    vector = np.linalg.eigh(spearman_of_normal(matrix))[1][:, -1]
    vector = vector * np.sign(vector.sum())
    validity = vector @ LOADINGS / np.sqrt(vector @ matrix @ vector)
    rhos = np.array(RHOS)
    return {"capability": spearman_of_normal(rhos), "score": spearman_of_normal(rhos * validity)}


def simulate(icc: float, theta_icc: float, rng: np.random.Generator) -> Target:
    """Return one sample of 26 models with its capability matrix and one safety benchmark per rho."""
    rho = np.concatenate([LOADINGS, RHOS])
    theta = np.sqrt(1.0 - theta_icc) * rng.standard_normal(len(FAMILIES))
    theta = theta + np.sqrt(theta_icc) * rng.standard_normal(len(FAMILY_SIZES))[FAMILIES]
    family = rng.standard_normal((len(FAMILY_SIZES), len(rho)))[FAMILIES]
    own = rng.standard_normal((len(FAMILIES), len(rho)))
    noise = np.sqrt(icc) * family + np.sqrt(1.0 - icc) * own
    values = rho * theta[:, None] + np.sqrt(1.0 - rho**2) * noise
    split = len(LOADINGS)
    return Target(capability=values[:, :split], values=values[:, split:], member=np.full(len(RHOS), -1))


def one_replication(job: tuple[int, int, int]) -> np.ndarray:
    """Return bounds of shape (arm, kind, rho, 2) for one replication of (seed, number, draws)."""
    seed, number, draws = job
    bounds = np.full((len(ARMS), len(KINDS), len(RHOS), 2), np.nan)
    streams = np.random.SeedSequence(seed, spawn_key=(number,)).spawn(4 * len(ARMS))
    for i, (icc, theta_icc) in enumerate(ARMS):
        data, *others = streams[4 * i : 4 * i + 4]
        target = simulate(icc, theta_icc, np.random.default_rng(data))
        every_model = {"all": list(range(len(FAMILIES)))}
        bayes = bayesian_bootstrap({"all": target}, every_model, n_draws=draws, seed=others[2])["all"]
        n_models = np.full(len(RHOS), len(FAMILIES))
        found = {
            "bca": bca(target, level=LEVEL, n_resamples=draws, seed=others[0]),
            "family_bootstrap": family_bootstrap(
                target, FAMILIES.tolist(), level=LEVEL, n_resamples=draws, seed=others[1]
            ),
            "bayesian_bootstrap": interval_from_draws(target, bayes, level=LEVEL),
            "fisher": fisher(point_correlations(target), n_models, correlation="spearman", level=LEVEL),
        }
        for k, kind in enumerate(KINDS):
            bounds[i, k] = np.stack([found[kind].lower, found[kind].upper], axis=1)
    return bounds


def tabulate(bounds: np.ndarray) -> pd.DataFrame:
    """Return coverage, misses and widths from bounds of shape (replication, arm, kind, rho, 2)."""
    truth = estimands()
    rows = []
    for i, (icc, theta_icc) in enumerate(ARMS):
        for r, rho in enumerate(RHOS):
            for k, kind in enumerate(KINDS):
                lower, upper = bounds[:, i, k, r].T
                made = np.isfinite(lower) & np.isfinite(upper)
                row = {
                    "icc": icc,
                    "theta_icc": theta_icc,
                    "rho": rho,
                    "interval": kind,
                    "replications": int(made.sum()),
                }
                for name, values in truth.items():
                    value = values[r]
                    row[f"estimand_{name}"] = value
                    row[f"coverage_{name}"] = np.mean((lower <= value) & (value <= upper), where=made)
                    row[f"below_{name}"] = np.mean(upper < value, where=made)
                    row[f"above_{name}"] = np.mean(lower > value, where=made)
                row["mean_width"] = np.mean(upper - lower, where=made)
                rows.append(row)
    return pd.DataFrame(rows)


def verdict(table: pd.DataFrame) -> list[str]:
    """Return, per kind, the cells whose coverage of the score estimand is below the level by three standard errors."""
    lines = []
    for kind in KINDS:
        rows = table[table["interval"] == kind]
        error = np.sqrt(LEVEL * (1 - LEVEL) / rows["replications"])
        poor = [
            f"{100 * row.coverage_score:.1f} % at ({row.icc:g}, {row.theta_icc:g}, {row.rho:g})"
            for row in rows[rows["coverage_score"] < LEVEL - 3 * error].itertuples()
        ]
        lines.append(f"- {kind}, {len(poor)} of {len(rows)} cells{': ' if poor else ''}{', '.join(poor)}.")
    return lines


def as_markdown(table: pd.DataFrame, heading: list[str]) -> str:
    """Return the result as a page: coverage of the score estimand in per cent, that of capability, width."""
    lines = [
        *heading,
        "",
        "Too low by more than three simulation errors, at (icc, theta icc, rho):",
        "",
        *verdict(table),
        "",
        "| icc | theta icc | rho | interval | covers score | covers capability | too low / too high | mean width |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.icc:g} | {row.theta_icc:g} | {row.rho:g} | {row.interval} | {100 * row.coverage_score:.1f} % | "
            f"{100 * row.coverage_capability:.1f} % | {100 * row.below_score:.1f} / {100 * row.above_score:.1f} % | "
            f"{row.mean_width:.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000, help="resamples per interval")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    jobs = [(choice.seed, number, choice.draws) for number in range(choice.replications)]
    start = time.perf_counter()
    if choice.jobs == 1:
        bounds = np.stack([one_replication(job) for job in jobs])
    else:
        with ProcessPoolExecutor(choice.jobs) as pool:
            bounds = np.stack(list(pool.map(one_replication, jobs, chunksize=8)))
    seconds = time.perf_counter() - start
    table = tabulate(bounds)
    table.to_csv(choice.out / "coverage_intervals.csv", index=False, float_format="%.6g")
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / choice.replications)
    heading = [
        "# Coverage of the intervals for capabilities correlations",
        "",
        f"Nominal level {100 * LEVEL:g} %, {choice.replications} replications (simulation error of a coverage of 95 %: "
        f"{error:.1f} points), {choice.draws} resamples per interval, seed {choice.seed}. Design and estimands are "
        "defined in `coverage_intervals.py`; misses are those of the score estimand: upper bound too low "
        "/ lower bound too high.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}; "
        f"{seconds:.0f} s with {choice.jobs} job(s).",
    ]
    page = as_markdown(table, heading)
    (choice.out / "coverage_intervals.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
