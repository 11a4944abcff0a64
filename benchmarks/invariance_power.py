"""How often does the rule of measurement invariance say what is true? Simulated at the design of helm-classic.

    OMP_NUM_THREADS=1 python benchmarks/invariance_power.py --replications 20

Design. The models, classes, families, lineages and missing cells of the capability benchmarks of helm-classic. The
truth is the scalar multi-group model at the posterior means of its fit to helm-classic itself: loadings, intercepts,
unique variances, kappa, omega, mean and sd of capability by class. Families span classes: a family has one effect on
capability and one on each benchmark, the same in both classes, which the multi-group model (effects drawn anew in each
class) does not know. Models of one lineage share no more than their family.

Arms, the second class being changed on the one benchmark whose loading is in the middle:

    scalar              nothing is changed
    loading 0.2, 0.4    its loading is smaller by that much (per sd of capability of the reference class)
    intercept 0.3, 0.6  its intercept is larger by that much (sd of the benchmark over all models)

Each data set is z-scored over all models and fitted under the configural, the metric and the scalar model, compared as
`safetystats.summaries.invariance` does: leaving out lineages and models, by Pareto-smoothed importance sampling, units
with a large Pareto k not refitted. Fits are short (2 chains of 250 draws after 250) and are not held to the gates; the
largest R-hat of the parameters is given. The verdicts are those of `verdict_of_difference`, metric against configural
and scalar against metric; where metric fails there is no scalar verdict. `named` says how often the aligned difference
of the changed parameter of the changed benchmark has a 95 % interval without zero.

A run stops after --minutes and goes on from what is in --work when it is started again. Writes invariance_power.csv and
invariance_power.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.groups import GroupFit, common_table, fit_groups
from safetystats.inference.groups_data import LEVELS
from safetystats.inference.groups_loo import leave_group_units_out
from safetystats.inference.loo import standard_error
from safetystats.inference.store import FitStore
from safetystats.inference.streams import seed_for
from safetystats.specs import Gates, InvarianceSpec, SamplingPlan, StudySpec
from safetystats.summaries.invariance import (
    MOST_DRAWS,
    STEPS,
    UNITS,
    loading_differences,
    pooled_table,
    verdict_of_difference,
)
from safetystats.summaries.plan import plan_study
from safetystats.tables.prepare import standardise, unstandardise
from safetystats.tables.table import ScoreTable

FloatArray = npt.NDArray[np.float64]
ARMS: dict[str, tuple[str, float]] = {
    "scalar": ("", 0.0),
    "intercept 0.6": ("intercept", 0.6),
    "loading 0.4": ("loading", 0.4),
    "intercept 0.3": ("intercept", 0.3),
    "loading 0.2": ("loading", 0.2),
}
"""Parameter that is changed in the second class, and by how much."""
VERDICTS = ("holds", "not distinguishable", "fails", "withheld")
PLAN = SamplingPlan(chains=2, draws=250, tune=250, target_accept=0.9)
ANYTHING = {"r_hat": 100.0, "ess": 1.0, "divergences": 100_000, "e_bfmi": 1e-9}
"""Gates that every fit passes, so that none is drawn again."""


def truth_of(fit: GroupFit) -> dict[str, FloatArray]:
    """Return the posterior means that data are simulated from."""
    draws = fit.parameters
    names = ("loading", "intercept", "unique", "icc", "capability_icc", "latent_mean", "latent_sd")
    return {name: np.asarray(getattr(draws, name).mean(axis=0)) for name in names}


def changed(truth: dict[str, FloatArray]) -> int:
    """Return the benchmark that is changed: the one whose loading is in the middle."""
    order = np.argsort(truth["loading"][0])
    return int(order[len(order) // 2])


def simulated(table: ScoreTable, truth: dict[str, FloatArray], arm: str, rng: np.random.Generator) -> ScoreTable:
    """Return scores drawn for the models and cells of a table, z-scored over all models."""
    parameter, size = ARMS[arm]
    loading, intercept = truth["loading"].copy(), truth["intercept"].copy()
    place = changed(truth)
    loading[1, place] -= size if parameter == "loading" else 0.0
    intercept[1, place] += size if parameter == "intercept" else 0.0
    known = np.isfinite(table.matrix())
    codes, families = pd.factorize(table.models["family"])
    label = np.array([table.classes.index(str(each)) for each in table.models["model_class"]])
    n, k = known.shape
    shared, own = rng.standard_normal(len(families))[codes], rng.standard_normal(n)
    omega = truth["capability_icc"][label]
    theta = np.sqrt(omega) * shared + np.sqrt(1 - omega) * own
    theta = truth["latent_mean"][label] + truth["latent_sd"][label] * theta
    family, noise = rng.standard_normal((len(families), k))[codes], rng.standard_normal((n, k))
    kappa, sd = truth["icc"][label], np.sqrt(truth["unique"][label])
    values = intercept[label] + loading[label] * theta[:, None]
    values += sd * (np.sqrt(kappa) * family + np.sqrt(1 - kappa) * noise)
    scores = table.scores.copy()
    scores[:] = np.where(known, values, np.nan)
    return standardise(unstandardise(table.replace(scores=scores)), by="pooled")


def replicate(
    table: ScoreTable, truth: dict[str, FloatArray], arm: str, seed: int, spec: InvarianceSpec, whole: GroupFit
) -> list[dict[str, object]]:
    """Return one row per unit left out for one data set."""
    data = simulated(table, truth, arm, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        store = FitStore(root=Path(folder))
        fits = {level: fit_groups(data, whole.factor, spec, level, seed, store, whole.size) for level in LEVELS}
    r_hat = max(fit.convergence().r_hat for fit in fits.values())
    parameter = ARMS[arm][0]
    aligned = loading_differences(fits["configural"], 0.95)
    aligned = aligned[(aligned["scale"] == "aligned") & (aligned["parameter"] == parameter)]
    clear = ((aligned["lower"] > 0) | (aligned["upper"] < 0)).to_numpy()
    rows: list[dict[str, object]] = []
    for unit in UNITS:
        left = {level: leave_group_units_out(fit, unit, MOST_DRAWS) for level, fit in fits.items()}
        row: dict[str, object] = {
            "arm": arm, "seed": seed, "unit": unit, "r_hat": r_hat,
            "named": bool(clear[changed(truth)]) if parameter else False,
            "n_doubtful": max(len(each.doubtful) for each in left.values()),
        }  # fmt: skip
        refused = False
        for level, freer, _ in STEPS:
            pointwise = left[level].elpd - left[freer].elpd
            difference, error = float(pointwise.sum()), standard_error(pointwise, left[level].families)
            verdict = "withheld" if refused else verdict_of_difference(difference, error, spec.rule)
            refused = verdict == "fails"
            row |= {f"{level}_difference": difference, f"{level}_error": error, f"{level}_verdict": verdict}
        rows.append(row)
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per arm and unit: shares of the verdicts, mean differences and errors."""
    found = []
    for arm in ARMS:
        for unit in UNITS:
            part = rows[(rows["arm"] == arm) & (rows["unit"] == unit)]
            if part.empty:
                continue
            row: dict[str, object] = {"arm": arm, "unit": unit, "replications": len(part)}
            for level, _, _ in STEPS:
                row |= {f"{level} {verdict}": int((part[f"{level}_verdict"] == verdict).sum()) for verdict in VERDICTS}
                row |= {
                    f"{level}_difference": part[f"{level}_difference"].mean(),
                    f"{level}_error": part[f"{level}_error"].mean(),
                }
            found.append(row | {"named": int(part["named"].sum()), "r_hat": part["r_hat"].max()})
    return pd.DataFrame(found)


def page(frame: pd.DataFrame, seconds: float, name: str) -> str:
    """Return the page."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = ", ".join(f"{lib} {version(lib)}" for lib in ("numpy", "nutpie", "arviz-stats"))
    lines = [
        "# What the rule of measurement invariance finds, at the design of helm-classic\n",
        "Data simulated from the scalar model and with one benchmark changed in one class; the design, the arms and "
        f"the rule are in `invariance_power.py`. The changed benchmark is {name}. Fits are short ({PLAN.chains} chains "
        f"of {PLAN.draws} draws) and not held to the gates.\n",
        f"{today}, {platform.machine()} {platform.system()}, Python {platform.python_version()}, {versions}; "
        f"{seconds:.0f} s on one core.\n",
        "Counts of verdicts: holds / not distinguishable / fails / withheld (scalar only, where metric fails). elpd "
        "difference: mean, with the mean standard error in brackets. Named: data sets in which the aligned difference "
        "of the changed parameter of the changed benchmark has an interval without zero.\n",
        "| truth | left out | n | metric | elpd | scalar | elpd | named | largest R-hat |\n"
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in frame.to_dict("records"):
        cells = [str(row["arm"]), f"{row['unit']}s", str(row["replications"])]
        for level, _, _ in STEPS:
            cells.append(" / ".join(str(row[f"{level} {verdict}"]) for verdict in VERDICTS))
            cells.append(f"{row[f'{level}_difference']:.1f} ({row[f'{level}_error']:.1f})")
        cells += [str(row["named"]) if row["arm"] != "scalar" else "", f"{row['r_hat']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is left, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "invariance_power")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    asked = parser.parse_args()
    begin = time.process_time()
    asked.work.mkdir(parents=True, exist_ok=True)
    plan = plan_study("helm-classic", StudySpec(title="power", question="power", table="helm-classic"))
    spec = plan.invariance.model_copy(update={"sampling": PLAN, "gates": Gates.model_validate(ANYTHING)})
    table = common_table(pooled_table(plan.aligned, plan.factor))
    whole = fit_groups(table, plan.factor, spec, "scalar", asked.seed, FitStore(root=asked.work / "fits"))
    truth = truth_of(whole)
    file = asked.work / "rows.csv"
    rows = pd.read_csv(file).to_dict("records") if file.exists() else []
    earlier = float((asked.work / "seconds").read_text()) if (asked.work / "seconds").exists() else 0.0
    for place in range(asked.replications):
        for arm in ARMS:
            seed = seed_for(asked.seed, "invariance power", arm, str(place)) % 2**31
            if any(row["arm"] == arm and row["seed"] == seed for row in rows):
                continue
            if time.process_time() - begin > 60 * asked.minutes:
                break
            rows += replicate(table, truth, arm, seed, spec, whole)
            pd.DataFrame(rows).to_csv(file, index=False)
            spent = earlier + time.process_time() - begin
            (asked.work / "seconds").write_text(str(spent))
            print(
                f"{place + 1} {arm}: {spent:.0f} s, {rows[-1]['metric_verdict']}, {rows[-1]['scalar_verdict']}",
                flush=True,
            )
    frame = pd.DataFrame(rows)
    names = table.columns("capability")
    frame.to_csv(asked.out / "invariance_power.csv", index=False)
    spent = earlier + time.process_time() - begin
    (asked.out / "invariance_power.md").write_text(page(summary(frame), spent, names[changed(truth)]), encoding="utf-8")


if __name__ == "__main__":
    main()
