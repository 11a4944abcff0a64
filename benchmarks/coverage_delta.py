"""Coverage and width of intervals of the difference of capabilities correlations between two classes of paired models.

    OMP_NUM_THREADS=1 python benchmarks/coverage_delta.py --replications 200

Design: that of ren2024. 26 lineages in 9 families (8, 3, 3, 3, 2, 2, 2, 2, 1) with a base and a chat model each, and
one base model more in a family of two; 12 capability benchmarks, loadings the mid-points of 12 equal parts of
(0.55, 0.95). For model m of family f in class c and any benchmark b

    theta_mc = sqrt(omega) t_fc + sqrt(1 - omega) d_mc
    y_mbc = rho_bc theta_mc + sqrt(1 - rho_bc^2) (sqrt(kappa) u_fbc + sqrt(1 - kappa) e_mbc),   all of variance one,

omega = 0.3, kappa = 0.25. Between the classes t and d correlate by 0.9 (capability: 0.95 in ren2024), u and e of a
capability benchmark by 0.5, u and e of a safety benchmark by psi. Safety benchmarks: all combinations of psi (0, 0.5,
0.8) with (rho_base, rho_chat); and four drawn from the prior (rho uniform, psi uniform, kappa Beta(1, 3)), for which
the intervals of a right posterior cover exactly, but for the standardising of scores.

Methods, each against its own estimand:

    known_paired, known_unpaired   posterior with theta given, pairing kept or ignored; rho_chat - rho_base
    known_zou                      Zou's interval of the Pearson correlations with theta; rho_chat - rho_base
    cut_paired, cut_unpaired       cut posterior, theta from a NUTS fit of each class; rho_chat - rho_base
    bayesian_bootstrap, zou        of the Spearman correlations with the 2024 score; difference of the Spearman
                                   correlations with the population's score v'y, v the leading eigenvector of the
                                   population's Spearman matrix (closed form, as all is normal)

`rejects` is how often Steiger's test beside Zou's interval has p < 0.05. Capability is fitted with fewer draws than the
spec states, and the posterior has fewer draws than in the package. Writes coverage_delta.csv and coverage_delta.md
beside this file, also while it runs; with --known-only the same for the methods that are given theta, under the name
coverage_delta_known, several times faster.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.arrays import Structure
from safetystats.inference.cut import cut_posterior, icc_grid
from safetystats.inference.paired import CANDIDATES, PairedDraws, paired_posterior, side_of
from safetystats.inference.paired_likelihood import Side, Spectra, grid_spectra
from safetystats.inference.parameters import FactorData
from safetystats.inference.sampling import draw_posterior
from safetystats.scores.dependent import dependent_difference
from safetystats.scores.intervals import bayesian_bootstrap, class_difference
from safetystats.scores.resampling import Target, point_correlations, target_scores
from safetystats.specs import CutPlan, FactorSpec, Gates, PairedPlan, SamplingPlan, read_spec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

SIZES = (8, 3, 3, 3, 2, 2, 2, 2, 1)
EXTRA = 4  # family of the base model without a partner
OMEGA, KAPPA, THETA_PAIRING, CAPABILITY_PAIRING = 0.3, 0.25, 0.9, 0.5
LOADINGS = 0.55 + 0.4 * (np.arange(12) + 0.5) / 12
PSIS = (0.0, 0.5, 0.8)
RHOS = ((0.0, 0.0), (0.5, 0.5), (0.8, 0.8), (0.3, 0.7), (-0.3, 0.3))  # base, chat
FROM_PRIOR = 4
LEVEL = 0.95
RESAMPLES = 1000
KNOWN, CUT = (40, 32), (100, 16)  # draws of capability, and of the parameters for each
PLAN = SamplingPlan(chains=2, draws=200, tune=200, target_accept=0.8)
GATES = Gates()
THETA_METHODS = ("known_paired", "known_unpaired", "known_zou", "cut_paired", "cut_unpaired")
METHODS = (*THETA_METHODS, "bayesian_bootstrap", "zou")
CLASSES = ("base", "chat")


class Design(NamedTuple):
    """Families (as numbers) and lineages of the models of each class."""

    families: dict[str, IntArray]
    lineages: dict[str, list[str]]

    @property
    def labels(self) -> dict[str, npt.NDArray[np.object_]]:
        """Families as labels."""
        return {c: np.array([f"f{k}" for k in codes], dtype=object) for c, codes in self.families.items()}


class Truth(NamedTuple):
    """Parameters of the safety benchmarks, arrays of shape (B,)."""

    label: list[str]
    psi: FloatArray
    rho: dict[str, FloatArray]
    kappa: FloatArray


def design() -> Design:
    """Return the models; the base model without a partner comes last."""
    chat = np.repeat(np.arange(len(SIZES)), SIZES)
    names = [f"l{k}" for k in range(len(chat))]
    return Design(
        families={"base": np.append(chat, EXTRA), "chat": chat}, lineages={"base": [*names, "alone"], "chat": names}
    )


def truth(rng: np.random.Generator) -> Truth:
    """Return the grid of parameters and some from the prior."""
    psi = np.repeat(PSIS, len(RHOS))
    pairs = np.tile(np.array(RHOS), (len(PSIS), 1))
    drawn = rng.uniform(-1, 1, (FROM_PRIOR, 3))
    rho = np.vstack([pairs, drawn[:, :2]])
    return Truth(
        label=["grid"] * len(psi) + ["prior"] * FROM_PRIOR,
        psi=np.concatenate([psi, drawn[:, 2]]),
        rho={"base": rho[:, 0], "chat": rho[:, 1]},
        kappa=np.concatenate([np.full(len(psi), KAPPA), rng.beta(1, 3, FROM_PRIOR)]),
    )


def pair(rng: np.random.Generator, n: int, link: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return standard normal values of shape (n, B) for both classes, correlated by `link`, shape (B,)."""
    first = rng.standard_normal((n, len(link)))
    return first, link * first + np.sqrt(1 - link**2) * rng.standard_normal(first.shape)


def simulate(
    made: Design, true: Truth, rng: np.random.Generator
) -> tuple[dict[str, FloatArray], dict[str, FloatArray]]:
    """Return capability (n,) and scores (n, 12 + B), capability benchmarks first, of both classes."""
    n = len(made.lineages["base"])
    link = np.concatenate([[THETA_PAIRING], np.full(len(LOADINGS), CAPABILITY_PAIRING), true.psi])
    share = np.concatenate([[OMEGA], np.full(len(LOADINGS), KAPPA), true.kappa])
    common, own = pair(rng, len(SIZES), link), pair(rng, n, link)
    theta, scores = {}, {}
    for place, c in enumerate(CLASSES):
        code = made.families[c]
        all_of = np.sqrt(share) * common[place][code] + np.sqrt(1 - share) * own[place][: len(code)]
        rho = np.concatenate([LOADINGS, true.rho[c]])
        theta[c] = all_of[:, 0]
        scores[c] = rho * theta[c][:, None] + np.sqrt(1 - rho**2) * all_of[:, 1:]
    return theta, scores


def score_correlation() -> float:
    """Return the correlation of the population's 2024 score with theta."""
    covariance = np.outer(LOADINGS, LOADINGS) + np.diag(1 - LOADINGS**2)
    vector = np.linalg.eigh(6 / np.pi * np.arcsin(covariance / 2))[1][:, -1]
    return float(abs(vector @ LOADINGS) / np.sqrt(vector @ covariance @ vector))


def spearman_of(rho: FloatArray) -> FloatArray:
    """Return the Spearman correlation of the score with benchmarks of correlation rho with theta."""
    return np.asarray(6 / np.pi * np.arcsin(rho * score_correlation() / 2))


def bounds(delta: FloatArray, weight: FloatArray) -> tuple[float, float]:
    """Return the equal-tailed interval of weighted draws."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    lower, upper = np.quantile(delta, tails, weights=weight, method="inverted_cdf")
    return float(lower), float(upper)


def posterior_rows(
    kind: str, safety: dict[str, FloatArray], theta: dict[str, FloatArray], made: Design, spec: FactorSpec, each: int,
    known: Spectra, streams: dict[str, list[np.random.Generator]],
) -> list[dict[str, object]]:  # fmt: skip
    """Return paired and unpaired intervals of every benchmark; theta has shape (T, n) in each class."""
    sides: dict[str, list[Side]] = {}
    for c in CLASSES:
        found = cut_posterior(
            safety[c], theta[c], made.families[c], spec.priors, CutPlan(candidates=CANDIDATES * each), streams[c],
            each=each,
        )  # fmt: skip
        lineages = np.array(made.lineages[c], dtype=object)
        sides[c] = [
            side_of(safety[c][:, b], theta[c], draws, made.labels[c], lineages)
            for b, draws in enumerate(found)
            if draws is not None
        ]
    rows = []
    for column, (chat, base) in enumerate(zip(sides["chat"], sides["base"], strict=True)):
        paired: PairedDraws = paired_posterior(chat, base, PairedPlan(), GATES, known)
        ignored = (chat.rho - base.rho).ravel()
        ends = {
            f"{kind}_paired": bounds(paired.delta, paired.weight),
            f"{kind}_unpaired": bounds(ignored, np.full(len(ignored), 1 / len(ignored))),
        }
        for method, (lower, upper) in ends.items():
            rows.append(
                {
                    "column": column, "method": method, "lower": lower, "upper": upper, "pareto_k": paired.pareto_k,
                    "effective": paired.effective, "psi_mean": paired.psi_mean,
                    "centre": float(paired.weight @ paired.delta) if method.endswith("_paired") else ignored.mean(),
                }
            )  # fmt: skip
    return rows


def fitted_theta(values: FloatArray, families: IntArray, spec: FactorSpec, seed: int) -> FloatArray:
    """Return draws of capability, shape (T, n), from the factor model of standardised capability benchmarks."""
    k = values.shape[1]
    structure = Structure(anchors=np.ones(k, dtype=bool), pattern=np.zeros((k, 0), dtype=bool))
    data = FactorData(values=values, families=families, noise=np.zeros_like(values))
    tree = draw_posterior(None, data, spec.priors, structure, PLAN, seed, cores=1)["posterior"]
    every = tree["theta"].to_numpy().reshape(-1, len(values))
    return np.asarray(every[np.linspace(0, len(every) - 1, CUT[0]).round().astype(int)])


def bootstrap_rows(
    capability: dict[str, FloatArray], safety: dict[str, FloatArray], made: Design, seed: np.random.SeedSequence
) -> tuple[list[dict[str, object]], dict[str, FloatArray]]:
    """Return Bayesian-bootstrap intervals of every benchmark, and the 2024 scores of both classes."""
    n_columns = safety["chat"].shape[1]
    targets = {c: Target(capability=capability[c], values=safety[c], member=np.full(n_columns, -1)) for c in CLASSES}
    boot = bayesian_bootstrap(targets, made.lineages, n_draws=RESAMPLES, seed=seed)
    point = {c: point_correlations(targets[c]) for c in CLASSES}
    found = class_difference(point["chat"], boot["chat"], point["base"], boot["base"], level=LEVEL)
    rows: list[dict[str, object]] = [
        {
            "column": column, "method": "bayesian_bootstrap", "lower": found.lower[column],
            "upper": found.upper[column], "centre": found.delta[column],
        }
        for column in range(n_columns)
    ]  # fmt: skip
    return rows, {c: target_scores(targets[c])[:, 0] for c in CLASSES}


def one_replication(
    number: int, made: Design, spec: FactorSpec, fitted: bool, known: Spectra, seed: int
) -> pd.DataFrame:
    """Return a row for every safety benchmark and method; without a graph only for those that are given theta."""
    streams = np.random.SeedSequence(seed, spawn_key=(number,)).spawn(4)
    rng = np.random.default_rng(streams[0])
    true = truth(rng)
    theta, scores = simulate(made, true, rng)
    scores = {c: (y - y.mean(0)) / y.std(0) for c, y in scores.items()}
    k, n_columns = len(LOADINGS), len(true.psi)
    capability, safety = ({c: y[:, part] for c, y in scores.items()} for part in (np.s_[:k], np.s_[k:]))

    def generators() -> dict[str, list[np.random.Generator]]:
        children = streams[1].spawn(2 * n_columns)
        return {c: [np.random.default_rng(s) for s in children[i::2]] for i, c in enumerate(CLASSES)}

    held = {c: np.tile(theta[c], (KNOWN[0], 1)) for c in CLASSES}
    rows = posterior_rows("known", safety, held, made, spec, KNOWN[1], known, generators())
    xs = {"known_zou": theta}
    if fitted:
        seeds = streams[2].generate_state(2)
        drawn = {
            c: fitted_theta(capability[c], made.families[c], spec, int(s)) for c, s in zip(CLASSES, seeds, strict=True)
        }
        rows += posterior_rows("cut", safety, drawn, made, spec, CUT[1], known, generators())
        more, xs["zou"] = bootstrap_rows(capability, safety, made, streams[3])
        rows += more
    for column in range(n_columns):
        for method, x in xs.items():
            tested = dependent_difference(
                x["chat"], safety["chat"][:, column], made.lineages["chat"],
                x["base"], safety["base"][:, column], made.lineages["base"],
                coefficient="pearson" if method == "known_zou" else "spearman", level=LEVEL,
            )  # fmt: skip
            rows.append(
                {
                    "column": column, "method": method, "lower": tested.lower, "upper": tested.upper,
                    "centre": tested.r_a - tested.r_b, "p_value": tested.p_value,
                }
            )  # fmt: skip
    frame = pd.DataFrame(rows)
    at = frame["column"].to_numpy()
    by_theta = frame["method"].isin(THETA_METHODS).to_numpy()
    own = true.rho["chat"] - true.rho["base"]
    other = spearman_of(true.rho["chat"]) - spearman_of(true.rho["base"])
    return frame.assign(
        replication=number, cell=np.array(true.label)[at], psi=true.psi[at], rho_base=true.rho["base"][at],
        rho_chat=true.rho["chat"][at], estimand=np.where(by_theta, own[at], other[at]),
    )  # fmt: skip


def tabulate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one line per cell and method; those from the prior are one cell."""
    rows = rows.copy()
    prior = rows["cell"] == "prior"
    rows["where"] = rows["estimand"]
    rows.loc[prior, ["psi", "rho_base", "rho_chat"]] = np.nan
    lines = []
    keys = ["cell", "psi", "rho_base", "rho_chat", "method"]
    for (cell, psi, base, chat, method), part in rows.groupby(keys, sort=False, dropna=False):
        inside = ((part["lower"] <= part["where"]) & (part["where"] <= part["upper"])).astype(float)
        sums = (inside - inside.mean()).groupby(part["replication"]).sum()
        binomial = np.sqrt(LEVEL * (1 - LEVEL) / len(part))
        lines.append(
            {
                "cell": cell,
                "psi": psi,
                "rho_base": base,
                "rho_chat": chat,
                "method": method,
                "replications": part["replication"].nunique(),
                "intervals": len(part),
                "estimand": part["where"].mean() if cell == "grid" else np.nan,
                "mean_estimate": part["centre"].mean() if cell == "grid" else np.nan,
                "coverage": inside.mean(),
                "coverage_error": max(float(np.sqrt((sums**2).sum()) / len(part)), binomial),
                "too_low": (part["upper"] < part["where"]).mean(),
                "too_high": (part["lower"] > part["where"]).mean(),
                "mean_width": (part["upper"] - part["lower"]).mean(),
                "rejects": (part["p_value"] < 0.05).mean() if part["p_value"].notna().any() else np.nan,
                "psi_mean": part["psi_mean"].mean() if cell == "grid" else np.nan,
                "failed_weights": (part["pareto_k"] > GATES.pareto_k).mean() if method.endswith("_paired") else np.nan,
                "mean_effective": part["effective"].mean() if method.endswith("_paired") else np.nan,
            }
        )
    return pd.DataFrame(lines)


def by_psi(table: pd.DataFrame) -> list[str]:
    """Return mean coverage (the lowest) and mean width over the pairs of correlations, by psi."""
    methods = [method for method in METHODS if (table["method"] == method).any()]
    lines = [f"| psi | {' | '.join(methods)} |", f"|---|{'---|' * len(methods)}"]
    parts = [(f"{psi:g}", table[table["psi"] == psi]) for psi in PSIS]
    parts.append(("from prior", table[table["cell"] == "prior"]))
    for label, part in parts:
        cells = [part[part["method"] == method] for method in methods]
        shown = [
            f"{100 * c['coverage'].mean():.1f} %"
            + (f" (lowest {100 * c['coverage'].min():.1f} %)" if len(c) > 1 else "")
            + f", {c['mean_width'].mean():.2f}"
            for c in cells
        ]
        lines.append(f"| {label} | {' | '.join(shown)} |")
    return lines


def as_markdown(table: pd.DataFrame) -> list[str]:
    """Return every cell and method as a table."""
    lines = [
        "| psi | rho base, chat | method | estimand, mean estimate | coverage | too low / too high | width | rejects |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        if row.cell == "prior":
            where, about = "from prior | from prior", ""
        else:
            where, about = (
                f"{row.psi:g} | {row.rho_base:g}, {row.rho_chat:g}",
                f"{row.estimand:.3f}, {row.mean_estimate:.3f}",
            )
        rejects = "" if np.isnan(row.rejects) else f"{100 * row.rejects:.1f} %"
        lines.append(
            f"| {where} | {row.method} | {about} | {100 * row.coverage:.1f} % ({100 * row.coverage_error:.1f}) | "
            f"{100 * row.too_low:.1f} / {100 * row.too_high:.1f} % | {row.mean_width:.3f} | {rejects} |"
        )
    return lines


def name_of(choice: argparse.Namespace) -> str:
    """Return the name of the files."""
    return "coverage_delta_known" if choice.known_only else "coverage_delta"


def write(choice: argparse.Namespace, table: pd.DataFrame, seconds: float, used: float) -> str:
    """Write both files; return the page."""
    table.to_csv(choice.out / f"{name_of(choice)}.csv", index=False, float_format="%.6g")
    done = int(table["replications"].max())
    names = ("numpy", "scipy", "pandas", "pymc", "nutpie", "arviz-stats", "safetystats")
    paired = table[table["method"].isin(["known_paired", "cut_paired"])]
    option = " --known-only" if choice.known_only else ""
    page = [
        "# Coverage of intervals for the difference of capabilities correlations",
        "",
        f"Nominal level {100 * LEVEL:g} %, {done} replications; Monte Carlo error of one coverage "
        f"{100 * np.sqrt(LEVEL * (1 - LEVEL) / done):.1f} points. Design, methods and estimands are defined in "
        "`coverage_delta.py`: methods named known and cut are judged against the difference of the correlations with "
        "theta, the Bayesian bootstrap and Zou's interval against the difference of Spearman correlations with the "
        f"population's score, which correlates {score_correlation():.3f} with theta.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; {seconds:.0f} s "
        f"elapsed, {used:.0f} s of processor time. Command: `OMP_NUM_THREADS=1 python benchmarks/coverage_delta.py "
        f"--replications {done} --seed {choice.seed}{option}`. Pareto k above {GATES.pareto_k:g} in "
        f"{100 * paired['failed_weights'].mean():.1f} % of the paired posteriors.",
        "",
        "## By psi",
        "",
        "Mean coverage over the pairs of correlations (the lowest), mean width.",
        "",
        *by_psi(table),
        "",
        "## All cells",
        "",
        "Coverage with its Monte Carlo error; how often the interval lies below and above its estimand; how often "
        "Steiger's test has p < 0.05.",
        "",
        *as_markdown(table),
    ]
    text = "\n".join(page) + "\n"
    (choice.out / f"{name_of(choice)}.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Run the study and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no replication after this time")
    parser.add_argument("--known-only", action="store_true", help="methods that are given theta")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    start, cpu = time.perf_counter(), time.process_time()
    made = design()
    empty = {
        c: Side(
            rho=np.empty((0, 0)), icc=np.empty((0, 0)), residual=np.empty((0, 0, 0)), noise=None,
            families=made.labels[c], lineages=np.array(made.lineages[c], dtype=object),
        )
        for c in CLASSES
    }  # fmt: skip
    known = grid_spectra(empty["chat"], empty["base"], icc_grid(spec.priors, CutPlan().icc_cells)[0])
    rows: list[pd.DataFrame] = []

    def page_of(done: list[pd.DataFrame]) -> str:
        return write(choice, tabulate(pd.concat(done)), time.perf_counter() - start, time.process_time() - cpu)

    for number in range(choice.replications):
        if time.perf_counter() - start > 60 * choice.minutes:
            break
        rows.append(one_replication(number, made, spec, not choice.known_only, known, choice.seed))
        if number % 10 == 9:
            page_of(rows)
            print(f"{number + 1} replications: {time.perf_counter() - start:.0f} s", flush=True)
    print(page_of(rows))


if __name__ == "__main__":
    main()
