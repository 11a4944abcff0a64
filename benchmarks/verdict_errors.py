"""How often a verdict is wrong, and how often there is none, by the number of models.

    OMP_NUM_THREADS=1 nice -n 19 python benchmarks/verdict_errors.py --replications 300 --fits 40

Design. n models fall into families of the sizes of ren2024's base models (one of 8, four of 3, three of 2, one of 1),
drawn at random with replacement until n models are there. For model m of family f on benchmark b

    theta_m = sqrt(omega) t_f + sqrt(1 - omega) d_m
    y_mb = rho_b theta_m + sqrt(1 - rho_b^2) (sqrt(kappa) u_fb + sqrt(1 - kappa) e_mb),   all of variance one,

omega = 0.5, and kappa = 0.25, the mean of its prior, or kappa = 0.5. Twelve capability benchmarks have loadings at the
mid-points of 12 equal parts of (0.55, 0.95). Safety benchmarks have rho = -0.8, -0.1, 0.1, 0.8, which a limit of 0.40
tells apart, and beside them 0.3 and 0.5, which lie nearer to it; `COPIES` of each.

Capability is known through the capability benchmarks with *known loadings*: its posterior is then normal in closed
form (Helmert contrasts inside each family), and 80 draws of it, with 6 of the parameters each, go into the cut
posterior of the package with the priors of `two-level`. Capability benchmarks are not standardised there, since their
scale is known; safety benchmarks are z-scored over the n models, as the package does. With `--fits` some replications
at n = 26 and 100 are repeated with the loadings estimated: the whole factor model by NUTS, with columns z-scored.

A verdict is false if it is entangled or inverse for |rho| below the limit, and distinct, or of the other sign, above
it. Shares have Monte Carlo errors that take the benchmarks of one replication together. Writes verdict_errors.csv and
verdict_errors.md beside this file, also while it runs.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.cut import cut_posterior
from safetystats.inference.regions import region_probabilities
from safetystats.specs import CutPlan, FactorSpec, Rope, SamplingPlan, read_spec
from safetystats.summaries.posterior import verdict_of

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIZES = (10, 15, 26, 50, 100, 200, 500)
FITTED = (26, 100)
FAMILIES = (8, 3, 3, 3, 3, 2, 2, 2, 1)
KAPPAS = (0.25, 0.5)
OMEGA = 0.5
RHOS = (-0.8, -0.1, 0.1, 0.3, 0.5, 0.8)
CLEAR = (0.1, 0.8)
COPIES = 2
BENCHMARKS = 12
LOADINGS = 0.55 + 0.4 * (np.arange(BENCHMARKS) + 0.5) / BENCHMARKS
DRAWS, EACH = 80, 6
"""Draws of capability, and of the parameters for each; as in the futures of the package."""
PLAN = SamplingPlan(chains=2, draws=300, tune=300, target_accept=0.9)
VERDICTS = ("entangled", "inverse", "distinct", "undetermined")
HERE = Path(__file__).resolve().parent


def families_of(n: int, rng: np.random.Generator) -> IntArray:
    """Return the family of each of n models, shape (n,)."""
    codes: list[int] = []
    family = 0
    while len(codes) < n:
        codes += [family] * int(rng.choice(FAMILIES))
        family += 1
    return np.array(codes[:n], dtype=np.int64)


def simulate(families: IntArray, kappa: float, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return capability scores (n, 12) and safety scores (n, len(RHOS) * COPIES)."""
    n, n_families = len(families), int(families.max()) + 1
    loadings = np.concatenate([LOADINGS, np.repeat(RHOS, COPIES)])

    def clustered(share: float, *shape: int) -> FloatArray:
        between = rng.standard_normal((n_families, *shape))[families]
        return np.asarray(np.sqrt(share) * between + np.sqrt(1 - share) * rng.standard_normal((n, *shape)))

    theta = clustered(OMEGA)
    values = loadings * theta[:, None] + np.sqrt(1 - loadings**2) * clustered(kappa, len(loadings))
    return values[:, :BENCHMARKS], values[:, BENCHMARKS:]


def capability_draws(scores: FloatArray, families: IntArray, kappa: float, rng: np.random.Generator) -> FloatArray:
    """Return draws of capability given scores with known loadings, shape (DRAWS, n).

    Within a family of n models every column is split into sqrt(n) times its mean and n - 1 contrasts (the rows of an
    orthogonal matrix). These are independent, in capability with variance 1 - omega + n omega and 1 - omega, in the
    residual of benchmark b with v_b (1 - kappa + n kappa) and v_b (1 - kappa).
    """
    unique = 1 - LOADINGS**2
    theta = np.empty((DRAWS, len(families)))
    for code in np.unique(families):
        rows = np.flatnonzero(families == code)
        n = len(rows)
        basis = np.linalg.qr(np.column_stack([np.ones(n), np.eye(n)[:, 1:]]))[0]
        turned = basis.T @ scores[rows]
        prior = np.full(n, 1 - OMEGA)
        noise = np.tile(unique * (1 - kappa), (n, 1))
        prior[0] += n * OMEGA
        noise[0] += n * kappa * unique
        precision = 1 / prior + (LOADINGS**2 / noise).sum(axis=1)
        mean = (turned * LOADINGS / noise).sum(axis=1) / precision
        drawn = mean + rng.standard_normal((DRAWS, n)) / np.sqrt(precision)
        theta[:, rows] = drawn @ basis.T
    return theta


def verdicts(
    safety: FloatArray, theta: FloatArray, families: IntArray, spec: FactorSpec, rope: Rope, rng: np.random.Generator
) -> list[str]:
    """Return the verdict of every safety benchmark."""
    z = (safety - safety.mean(0)) / safety.std(0)
    words = []
    plan = CutPlan(candidates=8 * EACH, icc_cells=spec.cut.icc_cells)
    for draws in cut_posterior(z, theta, families, spec.priors, plan, rng.spawn(z.shape[1]), each=EACH):
        assert draws is not None
        found = region_probabilities(draws.rho[:, None], [rope.limit])
        up, down, between = (float(p[0, 0]) for p in found)
        words.append(str(verdict_of(up, down, between, rope.probability)))
    return words


def fitted_draws(scores: FloatArray, families: IntArray, spec: FactorSpec, seed: int) -> FloatArray:
    """Return draws of capability from the whole factor model, loadings estimated, shape (DRAWS, n)."""
    from safetystats.inference.arrays import Structure
    from safetystats.inference.parameters import FactorData
    from safetystats.inference.sampling import draw_posterior

    z = (scores - scores.mean(0)) / scores.std(0)
    structure = Structure(anchors=np.ones(BENCHMARKS, dtype=bool), pattern=np.zeros((BENCHMARKS, 0), dtype=bool))
    data = FactorData(values=z, families=families, noise=np.zeros_like(z))
    tree = draw_posterior(None, data, spec.priors, structure, PLAN, seed, cores=1)["posterior"]
    theta = tree["theta"].to_numpy()
    every = theta.reshape(-1, theta.shape[-1])
    return np.asarray(every[np.linspace(0, len(every) - 1, DRAWS).round().astype(int)], dtype=np.float64)


def is_false(rho: float, verdict: str, limit: float) -> bool:
    """Return whether a verdict contradicts the true correlation; undetermined never does."""
    truth = "distinct" if abs(rho) < limit else "entangled" if rho > 0 else "inverse"
    return verdict not in (truth, "undetermined")


def rows_of(words: list[str], limit: float, place: dict[str, object]) -> list[dict[str, object]]:
    """Return one row for every safety benchmark of a replication."""
    return [
        place | {"rho": float(rho), "verdict": word, "false": is_false(float(rho), word, limit)}
        for rho, word in zip(np.repeat(RHOS, COPIES), words, strict=True)
    ]


def clustered_error(values: pd.Series, replication: pd.Series) -> float:
    """Return the Monte Carlo error of a share, columns of a replication together; not zero at the ends."""
    sums = (values - values.mean()).groupby(replication).sum()
    n = len(values)
    middle = (values.sum() + 2) / (n + 4)
    return max(float(np.sqrt((sums**2).sum()) / n), float(np.sqrt(middle * (1 - middle) / (n + 4))))


def tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return shares by loadings, kappa, n and absolute rho."""
    rows = rows.assign(size=rows["rho"].abs())
    lines = []
    for (loadings, kappa, n, size), part in rows.groupby(["loadings", "kappa", "n", "size"], sort=False):
        shares: dict[str, float] = {}
        # For a negative correlation, inverse is what entangled is for a positive one.
        mirrored = part["verdict"].replace({"entangled": "inverse", "inverse": "entangled"})
        turned = part["verdict"].where(part["rho"] > 0, mirrored)
        for word in VERDICTS:
            shares[word] = float((turned == word).mean())
        wrong, none = part["false"].astype(float), (part["verdict"] == "undetermined").astype(float)
        lines.append(
            {
                "loadings": loadings, "kappa": kappa, "n": n, "rho": size, "columns": len(part),
                "replications": part["replication"].nunique(),
                "same_sign": shares["entangled"], "other_sign": shares["inverse"], "distinct": shares["distinct"],
                "undetermined": shares["undetermined"],
                "undetermined_error": clustered_error(none, part["replication"]),
                "false": float(wrong.mean()), "false_error": clustered_error(wrong, part["replication"]),
            }
        )  # fmt: skip
    return pd.DataFrame(lines).sort_values(["loadings", "kappa", "n", "rho"], ignore_index=True)


def page(table: pd.DataFrame, args: argparse.Namespace, seconds: float, spec: FactorSpec, rope: Rope) -> str:
    """Return the page that goes with the table."""
    known = table[table["loadings"] == "known"]
    clear = known[known["rho"].isin(CLEAR)]
    at26 = clear[clear["n"] == 26]
    lines = [
        "# How often a verdict is wrong, and how often there is none",
        "",
        f"Simulation with known truth (`verdict_errors.py` says how): up to {int(table['replications'].max())} "
        f"replications, {COPIES} benchmarks of every correlation and sign in each. Spec `two-level`, limit "
        f"{rope.limit:g}, probability {rope.probability:g}. Capability through {BENCHMARKS} benchmarks with known "
        "loadings, unless the table says that they are estimated.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, numpy {version('numpy')}, scipy {version('scipy')}, seed {args.seed}, "
        f"{seconds / 60:.1f} minutes of one core.",
        "",
        "At 26 models, |rho| = 0.1 or 0.8: "
        + "; ".join(
            f"kappa {row.kappa:g}, |rho| {row.rho:g}: {100 * row.false_share:.2f} % false (error "
            f"{100 * row.false_error:.2f}), {100 * row.undetermined:.0f} % undetermined"
            for row in at26.rename(columns={"false": "false_share"}).itertuples()
        )
        + f". Largest share of false verdicts there: {100 * at26['false'].max():.2f} %."
        if len(at26)
        else "",
        "",
        "Undetermined, in per cent (known loadings):",
        "",
        *wide(known, "undetermined", "undetermined_error"),
        "",
        "False verdicts, in per cent (known loadings):",
        "",
        *wide(known, "false", "false_error"),
        "",
        *estimated(table),
        "In brackets: Monte Carlo errors, benchmarks of one replication taken together. *Same sign* is entangled for a "
        "positive and inverse for a negative correlation. The model is right by construction here; where it "
        "is not, see [coverage](coverage_posterior.md).",
        "",
    ]
    return "\n".join(lines)


def estimated(table: pd.DataFrame) -> list[str]:
    """Return the section on estimated loadings; one sentence where there are none."""
    if not (table["loadings"] == "estimated").any():
        return ["Loadings were not estimated in any replication of this run (`--fits`).", ""]
    rows = table[table["n"].isin(FITTED) & (table["kappa"] == KAPPAS[0])].rename(columns={"false": "false_share"})
    return [
        "Loadings estimated (the whole factor model), beside known ones in the same design:",
        "",
        "| loadings | kappa | n | abs. rho | columns | same sign | other sign | distinct | undetermined | false |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.loadings} | {r.kappa:g} | {r.n} | {r.rho:g} | {r.columns} | {r.same_sign:.3f} | "
            f"{r.other_sign:.3f} | {r.distinct:.3f} | {r.undetermined:.3f} | {r.false_share:.3f} "
            f"({r.false_error:.3f}) |"
            for r in rows.itertuples()
        ),
        "",
    ]


def wide(table: pd.DataFrame, value: str, error: str) -> list[str]:
    """Return shares with their errors, a row per kappa and n and a column per correlation."""
    sizes = sorted(set(table["rho"]))
    lines = [f"| kappa | n | {' | '.join(f'{size:g}' for size in sizes)} |", f"|---|---|{'---|' * len(sizes)}"]
    for (kappa, n), part in table.groupby(["kappa", "n"], sort=True):
        cells = part.set_index("rho")
        shown = [
            f"{100 * cells.loc[s, value]:.1f} ({100 * cells.loc[s, error]:.1f})" for s in sizes if s in cells.index
        ]
        lines.append(f"| {kappa:g} | {n} | {' | '.join(shown)} |")
    return lines


def main() -> None:
    """Run the simulation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=300)
    parser.add_argument("--fits", type=int, default=0, help="replications with estimated loadings, at each n of FITTED")
    parser.add_argument("--minutes", type=float, default=10.0, help="of processor time; no new replication after that")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    spec, rope = read_spec("two-level", "factor"), Rope()
    assert isinstance(spec, FactorSpec)
    rows: list[dict[str, object]] = []
    begin = time.process_time()

    def write() -> None:
        table = tabulate(pd.DataFrame(rows))
        table.to_csv(args.out / "verdict_errors.csv", index=False, float_format="%.6g", lineterminator="\n")
        text = page(table, args, time.process_time() - begin, spec, rope)
        (args.out / "verdict_errors.md").write_text(text, encoding="utf-8")

    def minutes() -> float:
        return (time.process_time() - begin) / 60

    for number in range(args.replications):
        if minutes() > args.minutes:
            break
        for place, kappa in enumerate(KAPPAS):
            for n in SIZES:
                rng = np.random.default_rng([args.seed, number, place, n])
                families = families_of(n, rng)
                capability, safety = simulate(families, kappa, rng)
                theta = capability_draws(capability, families, kappa, rng)
                where = {"kappa": kappa, "n": n, "replication": number}
                words = verdicts(safety, theta, families, spec, rope, rng)
                rows += rows_of(words, rope.limit, where | {"loadings": "known"})
                if number < args.fits and n in FITTED and place == 0:
                    theta = fitted_draws(capability, families, spec, int(rng.integers(2**31)))
                    words = verdicts(safety, theta, families, spec, rope, rng)
                    rows += rows_of(words, rope.limit, where | {"loadings": "estimated"})
        if number % 20 == 19:
            write()
    write()


if __name__ == "__main__":
    main()
