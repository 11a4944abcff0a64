"""Coverage and width of posterior intervals of rho beside those of the closed-form intervals, where models fail too.

    OMP_NUM_THREADS=1 python benchmarks/coverage_posterior.py --replications 200

Design. 26 models in 9 families with 12 capability benchmarks, and 43 models in 20 families with 8; every family has one
model and the rest fall into families at random. Loadings of the capability benchmarks are the mid-points of k equal
parts of (0.55, 0.95). Two safety benchmarks at every rho of -0.5, 0, 0.3, 0.5, 0.8. For model m of family f and any
benchmark b

    theta_m = sqrt(omega) t_f + sqrt(1 - omega) d_m
    y_mb = rho_b theta_m + sqrt(1 - rho_b^2) (sqrt(kappa) u_fb + sqrt(1 - kappa) e_mb),   all of variance one.

Scenarios:

    independent   omega = kappa = 0: families do not matter
    families      omega = kappa = 0.5: capability and residuals are clustered by family
    tails         as independent, with theta and e from a t distribution with 3 df, scaled to variance one
    saturates     as independent, but a safety score is 1 / (1 + exp(-(1.5 + 2.5 y))): a ceiling

Estimands are correlations in the population of models (a new model of a new family), each interval against its own:

    posterior (cut, joint)         Pearson correlation of the score with theta
    BCa, family bootstrap, Fisher  Spearman correlation of the score with the population capabilities score v'y, v the
                                   leading eigenvector of the Spearman matrix of the capability benchmarks

both computed from one simulated population per scenario and design. Spearman's correlation with theta itself is larger;
how often the closed-form intervals cover that stands in the file coverage_posterior.csv.

`joint` weights the cut draws by p(y | theta); where Pareto k is above 0.7 or fewer than 100 draws are effective, the
joint model is sampled with NUTS, as in the package (which asks for 400). Capability is fitted with fewer draws than the
spec states, and each draw of theta is used three times in the cut. Columns are z-scored over the models, as the package
does. Writes coverage_posterior.csv and coverage_posterior.md beside this file, also while it runs.
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
from scipy import stats

from safetystats.inference.arrays import Structure
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import joint_weights
from safetystats.inference.parameters import FactorData
from safetystats.inference.sampling import draw_posterior
from safetystats.scores.intervals import bca, family_bootstrap, fisher
from safetystats.scores.resampling import Target, point_correlations
from safetystats.specs import FactorSpec, SamplingPlan, read_spec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


class Design(NamedTuple):
    """Size of one simulated class."""

    models: int
    families: int
    benchmarks: int

    @property
    def loadings(self) -> FloatArray:
        """Loadings of the capability benchmarks."""
        low, high = LOADINGS
        return np.asarray(low + (high - low) * (np.arange(self.benchmarks) + 0.5) / self.benchmarks)


class Scenario(NamedTuple):
    """How the data differ from the default model."""

    label: str
    omega: float = 0.0
    kappa: float = 0.0
    heavy: bool = False
    saturates: bool = False


class Sample(NamedTuple):
    """Models of one class: capability, scores of capability benchmarks, scores of safety benchmarks."""

    theta: FloatArray
    capability: FloatArray
    safety: FloatArray


DESIGNS = (Design(26, 9, 12), Design(43, 20, 8))
SCENARIOS = (
    Scenario("independent"),
    Scenario("families", omega=0.5, kappa=0.5),
    Scenario("tails", heavy=True),
    Scenario("saturates", saturates=True),
)
LOADINGS = (0.55, 0.95)
RHOS = (-0.5, 0.0, 0.3, 0.5, 0.8)
COLUMNS = np.repeat(RHOS, 2)
LEVEL = 0.95
METHODS = ("cut", "joint", "bca", "fisher", "family_bootstrap")
POSTERIOR = ("cut", "joint")
POPULATION = 400_000
RESAMPLES = 1000
FEW = 100
REPEATS = 3
PLAN = SamplingPlan(chains=2, draws=200, tune=200, target_accept=0.8)


def simulate(
    scenario: Scenario, design: Design, rho: FloatArray, families: IntArray, rng: np.random.Generator
) -> Sample:
    """Return models with the given families; `rho` are those of the safety benchmarks."""
    n, n_families = len(families), int(families.max()) + 1
    loadings = np.concatenate([design.loadings, rho])

    def noise(*shape: int) -> FloatArray:
        return rng.standard_t(3, shape) / np.sqrt(3) if scenario.heavy else rng.standard_normal(shape)

    def clustered(share: float, *shape: int) -> FloatArray:
        own = noise(n, *shape)
        if share == 0:
            return own
        return np.asarray(
            np.sqrt(share) * rng.standard_normal((n_families, *shape))[families] + np.sqrt(1 - share) * own
        )

    theta = clustered(scenario.omega)
    values = loadings * theta[:, None] + np.sqrt(1 - loadings**2) * clustered(scenario.kappa, len(loadings))
    safety = values[:, design.benchmarks :]
    if scenario.saturates:
        safety = 1 / (1 + np.exp(-(1.5 + 2.5 * safety)))
    return Sample(theta, values[:, : design.benchmarks], safety)


def estimands(scenario: Scenario, design: Design, seed: int) -> dict[str, FloatArray]:
    """Return population correlations for every rho: Pearson and Spearman with theta, Spearman with the score."""
    rng = np.random.default_rng([seed, DESIGNS.index(design), SCENARIOS.index(scenario)])
    # Marginally a model is the same whether or not it has relatives: every one is a family of its own.
    alone = scenario._replace(omega=0.0, kappa=0.0)
    sample = simulate(alone, design, np.array(RHOS), np.arange(POPULATION), rng)
    z = (sample.capability - sample.capability.mean(0)) / sample.capability.std(0)
    ranks = stats.rankdata(z, axis=0)
    vector = np.linalg.eigh(np.corrcoef(ranks.T))[1][:, -1]
    score = z @ (vector * np.sign(vector.sum()))
    place = stats.rankdata(sample.safety, axis=0)

    def correlations(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.array([np.corrcoef(x, column)[0, 1] for column in y.T])

    return {
        "pearson_theta": correlations(sample.theta, sample.safety),
        "spearman_theta": correlations(stats.rankdata(sample.theta), place),
        "spearman_score": correlations(stats.rankdata(score), place),
    }


def bounds(rho: FloatArray, weight: FloatArray | None = None) -> tuple[float, float]:
    """Return the equal-tailed interval of weighted draws."""
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    if weight is None:
        lower, upper = np.quantile(rho, tails)
    else:
        lower, upper = np.quantile(rho, tails, weights=weight, method="inverted_cdf")
    return float(lower), float(upper)


def posterior_intervals(
    values: FloatArray, safety: FloatArray, families: IntArray, spec: FactorSpec,
    seed: np.random.SeedSequence,
) -> tuple[dict[str, FloatArray], FloatArray]:  # fmt: skip
    """Return intervals (B, 2) of cut and joint, and which benchmarks were sampled anew."""
    k, n = values.shape[1], len(values)
    streams = seed.spawn(2 + safety.shape[1])
    anchors = np.arange(k + 1) < k

    def fit(columns: FloatArray, stream: np.random.SeedSequence) -> FloatArray:
        """Return draws of capability, or of rho if the last column is a safety benchmark."""
        width = columns.shape[1]
        structure = Structure(anchors=anchors[:width], pattern=np.zeros((width, 0), dtype=bool))
        data = FactorData(values=columns, families=families, noise=np.zeros_like(columns))
        number = int(stream.generate_state(1)[0])
        tree = draw_posterior(None, data, spec.priors, structure, PLAN, number, cores=1)["posterior"]
        return tree["theta"].to_numpy() if width == k else tree["rho"].to_numpy()[..., -1]

    chains = fit(values, streams[0])
    shape = (PLAN.chains, PLAN.draws)
    theta = np.tile(chains.reshape(-1, n), (REPEATS, 1))
    rngs = [np.random.default_rng(s) for s in streams[1].spawn(safety.shape[1])]
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in POSTERIOR}
    anew = np.zeros(safety.shape[1], dtype=bool)
    for column, cut in enumerate(cut_posterior(safety, theta, families, spec.priors, spec.cut, rngs)):
        assert cut is not None
        found["cut"].append(bounds(cut.rho))
        # The repeats of a draw of theta estimate the same log p(y | theta).
        log_marginal = np.logaddexp.reduce(cut.log_marginal.reshape(REPEATS, -1), axis=0) - np.log(REPEATS)
        smoothed, pareto_k = joint_weights(log_marginal, shape)
        weight = np.exp(smoothed - smoothed.max())
        weight /= weight.sum()
        if pareto_k <= spec.gates.pareto_k and 1 / (weight**2).sum() >= FEW:
            found["joint"].append(bounds(cut.rho, np.tile(weight, REPEATS) / REPEATS))
        else:
            anew[column] = True
            found["joint"].append(bounds(fit(np.column_stack([values, safety[:, column]]), streams[2 + column])))
    return {kind: np.array(pairs) for kind, pairs in found.items()}, anew


def one_replication(number: int, place: tuple[int, int], spec: FactorSpec, seed: int) -> list[dict[str, object]]:
    """Return a row for every safety column and method."""
    design, scenario = DESIGNS[place[0]], SCENARIOS[place[1]]
    streams = np.random.SeedSequence(seed, spawn_key=(number, *place)).spawn(4)
    rng = np.random.default_rng(streams[0])
    n, f = design.models, design.families
    families = np.sort(np.concatenate([np.arange(f), rng.integers(0, f, n - f)]))
    sample = simulate(scenario, design, COLUMNS, families, rng)
    values, safety = ((x - x.mean(0)) / x.std(0) for x in (sample.capability, sample.safety))
    found, anew = posterior_intervals(values, safety, families, spec, streams[1])
    target = Target(capability=values, values=safety, member=np.full(len(COLUMNS), -1))
    closed = {
        "bca": bca(target, level=LEVEL, n_resamples=RESAMPLES, seed=streams[2]),
        "family_bootstrap": family_bootstrap(
            target, families.tolist(), level=LEVEL, n_resamples=RESAMPLES, seed=streams[3]
        ),
        "fisher": fisher(point_correlations(target), np.full(len(COLUMNS), n), correlation="spearman", level=LEVEL),
    }
    found |= {kind: np.column_stack([made.lower, made.upper]) for kind, made in closed.items()}
    return [
        {
            "models": design.models,
            "scenario": scenario.label,
            "replication": number,
            "rho": float(rho),
            "method": method,
            "lower": float(found[method][column, 0]),
            "upper": float(found[method][column, 1]),
            "anew": bool(anew[column]),
        }
        for method in METHODS
        for column, rho in enumerate(COLUMNS)
    ]


def clustered_error(values: pd.Series, replication: pd.Series) -> float:
    """Return the Monte Carlo standard error of a mean whose terms are dependent within replications."""
    sums = (values - values.mean()).groupby(replication).sum()
    return float(np.sqrt((sums**2).sum()) / len(values))


def tabulate(rows: pd.DataFrame, truths: dict[tuple[int, str], dict[str, FloatArray]]) -> pd.DataFrame:
    """Return one line per design, scenario, rho and method."""
    lines = []
    for (models, scenario, rho, method), part in rows.groupby(["models", "scenario", "rho", "method"], sort=False):
        truth = {name: values[RHOS.index(rho)] for name, values in truths[models, scenario].items()}
        own = truth["pearson_theta" if method in POSTERIOR else "spearman_score"]
        other = truth["pearson_theta" if method in POSTERIOR else "spearman_theta"]
        made = part[np.isfinite(part["lower"]) & np.isfinite(part["upper"])]
        inside = ((made["lower"] <= own) & (own <= made["upper"])).astype(float)
        binomial = np.sqrt(LEVEL * (1 - LEVEL) / len(made))
        lines.append(
            {
                "models": models,
                "scenario": scenario,
                "rho": rho,
                "method": method,
                "columns": len(made),
                "replications": made["replication"].nunique(),
                "estimand": own,
                "coverage": inside.mean(),
                "coverage_error": max(clustered_error(inside, made["replication"]), binomial),
                "too_low": (made["upper"] < own).mean(),
                "too_high": (made["lower"] > own).mean(),
                "mean_width": (made["upper"] - made["lower"]).mean(),
                "estimand_theta": other,
                "coverage_theta": ((made["lower"] <= other) & (other <= made["upper"])).mean(),
                "sampled_anew": made["anew"].mean() if method == "joint" else np.nan,
            }
        )
    return pd.DataFrame(lines)


def poor(table: pd.DataFrame) -> pd.Series:
    """Return which cells cover less than the level by three Monte Carlo errors."""
    return table["coverage"] < LEVEL - 3 * table["coverage_error"]


def verdict(table: pd.DataFrame) -> list[str]:
    """Return, per method, where coverage is too low and on which side the interval misses."""
    lines = []
    for method in METHODS:
        mine = table[table["method"] == method]
        cells = [
            f"{row.scenario}, n = {row.models}, rho {row.rho:g}: {100 * row.coverage:.1f} % ({100 * row.too_low:.1f} % "
            f"below, {100 * row.too_high:.1f} % above)"
            for row in mine[poor(mine)].itertuples()
        ]
        lines.append(f"- {method}, {len(cells)} of {len(mine)} cells{': ' if cells else '.'}{'; '.join(cells)}")
    return lines


def by_scenario(table: pd.DataFrame) -> list[str]:
    """Return mean coverage and width over the rhos, as a table."""
    lines = [f"| models | scenario | {' | '.join(METHODS)} |", f"|---|---|{'---|' * len(METHODS)}"]
    for (models, scenario), part in table.groupby(["models", "scenario"], sort=False):
        cells = [part[part["method"] == method] for method in METHODS]
        shown = [
            f"{100 * cell['coverage'].mean():.1f} % (lowest {100 * cell['coverage'].min():.1f} %), "
            f"{cell['mean_width'].mean():.2f}"
            for cell in cells
        ]
        lines.append(f"| {models} | {scenario} | {' | '.join(shown)} |")
    return lines


def as_markdown(table: pd.DataFrame) -> list[str]:
    """Return coverage and width of every cell as a table."""
    lines = [
        f"| models | scenario | rho | estimands | {' | '.join(METHODS)} |",
        f"|---|---|---|---|{'---|' * len(METHODS)}",
    ]
    low = poor(table)
    for (models, scenario, rho), part in table.groupby(["models", "scenario", "rho"], sort=False):
        cells = []
        for method in METHODS:
            row = part[part["method"] == method].iloc[0]
            shown = f"{100 * row['coverage']:.1f} %"
            cells.append(f"{f'**{shown}**' if low[row.name] else shown}, {row['mean_width']:.2f}")
        own = part.set_index("method")["estimand"]
        lines.append(f"| {models} | {scenario} | {rho:g} | {own['cut']:.2f}, {own['bca']:.2f} | {' | '.join(cells)} |")
    return lines


def write(choice: argparse.Namespace, table: pd.DataFrame, spec: FactorSpec, seconds: float, used: float) -> str:
    """Write both files; return the page."""
    table.to_csv(choice.out / "coverage_posterior.csv", index=False, float_format="%.6g")
    done = int(table["replications"].max())
    joint = table[table["method"] == "joint"]
    error = 100 * table["coverage_error"].median()
    names = ("numpy", "scipy", "pandas", "pymc", "nutpie", "arviz-stats", "safetystats")
    page = [
        "# Coverage of the posterior of rho beside the closed-form intervals",
        "",
        f"Nominal level {100 * LEVEL:g} %, {done} replications of each design and scenario with "
        f"{len(COLUMNS) // len(RHOS)} safety benchmarks for every rho. Median Monte Carlo error of a coverage: "
        f"{error:.1f} points, benchmarks of a replication taken as dependent. Designs, scenarios and estimands are "
        "defined in `coverage_posterior.py`: posterior intervals (cut, joint) are judged against the Pearson "
        "correlation with theta in the population, the others against the Spearman correlation with the population "
        "capabilities score, a correlation that is nearer to zero, since a score of few benchmarks has error.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}; {seconds:.0f} s "
        f"elapsed, {used:.0f} s of processor time. Command: `OMP_NUM_THREADS=1 python benchmarks/coverage_posterior.py "
        f"--replications {done} --seed {choice.seed} --spec {choice.spec}`: {spec.title}. Each capability fit has "
        f"{PLAN.chains} chains of {PLAN.draws} draws after {PLAN.tune} (the spec states {spec.sampling.chains} of "
        f"{spec.sampling.draws} after {spec.sampling.tune}); {RESAMPLES} resamples; the joint model was sampled anew "
        f"for {100 * joint['sampled_anew'].mean():.0f} % of the benchmarks.",
        "",
        "## Where coverage is too low",
        "",
        "Below the level by more than three Monte Carlo errors (the larger of the clustered and the binomial one); how "
        "often the interval lies below and above its estimand:",
        "",
        *verdict(table),
        "",
        "## By scenario",
        "",
        "Mean coverage over the five rhos (the lowest), mean width.",
        "",
        *by_scenario(table),
        "",
        "## All cells",
        "",
        "Estimands of the posterior and of the others; coverage, mean width. Bold: too low as above.",
        "",
        *as_markdown(table),
    ]
    text = "\n".join(page) + "\n"
    (choice.out / "coverage_posterior.md").write_text(text, encoding="utf-8")
    return text


def main() -> None:
    """Run the study and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no replication after this time")
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--spec", default="two-level", help="name or .toml file of another spec")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    spec = read_spec(choice.spec, "factor")
    assert isinstance(spec, FactorSpec)
    start, cpu = time.perf_counter(), time.process_time()
    truths = {(d.models, s.label): estimands(s, d, choice.seed) for d in DESIGNS for s in SCENARIOS}
    rows: list[dict[str, object]] = []
    text = ""
    for number in range(choice.replications):
        if time.perf_counter() - start > 60 * choice.minutes:
            break
        for place in np.ndindex(len(DESIGNS), len(SCENARIOS)):
            rows += one_replication(number, place, spec, choice.seed)
        if number % 10 == 9 or number == choice.replications - 1:
            seconds = time.perf_counter() - start
            text = write(choice, tabulate(pd.DataFrame(rows), truths), spec, seconds, time.process_time() - cpu)
            print(f"{number + 1} replications: {seconds:.0f} s", flush=True)
    print(text)


if __name__ == "__main__":
    main()
