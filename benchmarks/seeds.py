"""Twenty seeds on both tables: do all gates pass, and do estimates move less than their Monte Carlo error says?

    OMP_NUM_THREADS=1 python benchmarks/seeds.py --seeds 20

For every seed each class of helm-classic and ren2024 is fitted anew with the default spec: capability, the cut
posterior of every safety benchmark, and the joint posterior with its refits. Three kinds of estimate are compared over
seeds: posterior means of the loadings, of capability, and of rho (cut). ArviZ's Monte Carlo standard error of a mean,
averaged over seeds, is what the means should vary by; `ratio` is their standard deviation over seeds divided by it, and
1 where the stated error is right. A cut posterior has one draw per draw of capability and inherits its autocorrelation.
Writes seeds.csv (one row per table, class and kind) and seeds.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import arviz_stats as az
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from safetystats.inference.fits import fit_capability, fit_safety
from safetystats.inference.problems import kinds_for
from safetystats.inference.store import FitStore
from safetystats.specs import StudySpec
from safetystats.summaries.gates import capability_checks, safety_checks
from safetystats.summaries.plan import plan_study

FloatArray = npt.NDArray[np.float64]
TABLES = ("helm-classic", "ren2024")


def errors_of(values: xr.DataArray) -> FloatArray:
    """Return the Monte Carlo standard error of the mean of every entry."""
    return np.asarray(az.mcse(values.to_dataset(name="x"), method="mean")["x"].to_numpy(), dtype=np.float64)


def one_table(name: str, seeds: int) -> tuple[list[dict[str, object]], list[str]]:
    """Return a row per class and kind of estimate, and what failed."""
    plan = plan_study(name, StudySpec(title="seeds", question="seeds", table=name))
    parts = {label: plan.prepared.select(model_class=label) for label in plan.prepared.classes}
    kinds = kinds_for(parts, plan.factor)
    means: dict[tuple[str, str], list[FloatArray]] = {}
    errors: dict[tuple[str, str], list[FloatArray]] = {}
    worst: dict[str, list[tuple[float, float, int, int]]] = {label: [] for label in parts}
    failures = []
    for seed in range(1, seeds + 1):
        with tempfile.TemporaryDirectory() as folder:
            store = FitStore(root=Path(folder))
            for label, part in parts.items():
                fit = fit_capability(part, plan.factor, seed, kinds[label], store)
                safety = fit_safety(fit, store)
                checks = [*capability_checks(fit), *safety_checks(safety)]
                failures += [
                    f"{name} {c.fit} seed {seed}: {c.check} {c.value:.4g} ({c.why})"
                    for c in checks
                    if c.outcome == "fail"
                ]
                found = fit.convergence()
                worst[label].append((found.r_hat, found.ess, len(fit.plans), len(safety.refitted)))
                posterior, cut = fit.posterior, safety.draws["cut"].to_dataset()
                for kind, values in (
                    ("loading", posterior["rho"]),
                    ("capability", posterior["theta"]),
                    ("rho, cut", cut["rho"].astype(float)),
                ):
                    means.setdefault((label, kind), []).append(values.mean(("chain", "draw")).to_numpy())
                    errors.setdefault((label, kind), []).append(errors_of(values))
        print(f"{name}: seed {seed} of {seeds}", flush=True)
    rows: list[dict[str, object]] = []
    for (label, kind), found_means in means.items():
        spread = np.std(found_means, axis=0, ddof=1)
        error = np.sqrt(np.mean(np.square(errors[label, kind]), axis=0))
        ratio = spread / error
        rows.append(
            {
                "table": name, "model_class": label, "kind": kind, "quantities": ratio.size,
                "largest_error": error.max(), "largest_spread": spread.max(),
                "ratio": float(np.sqrt(np.mean(ratio**2))), "largest_ratio": ratio.max(),
                "largest_r_hat": max(w[0] for w in worst[label]), "smallest_ess": min(w[1] for w in worst[label]),
                "second_attempts": sum(w[2] > 1 for w in worst[label]),
                "refits": sum(w[3] for w in worst[label]),
            }
        )  # fmt: skip
    return rows, failures


def main() -> None:
    """Run and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tables", nargs="+", default=list(TABLES))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    begin = time.perf_counter()
    rows: list[dict[str, object]] = []
    failures: list[str] = []
    for name in given.tables:
        more, failed = one_table(name, given.seeds)
        rows += more
        failures += failed
    frame = pd.DataFrame(rows)
    frame.to_csv(given.out / "seeds.csv", index=False, float_format="%.6g")
    software = ", ".join(f"{p} {version(p)}" for p in ("pymc", "nutpie", "numpy", "arviz-stats", "safetystats"))
    lines = [
        "# Twenty seeds" if given.seeds == 20 else f"# {given.seeds} seeds",
        "",
        f"{datetime.date.today()}, {platform.machine()} {platform.system()}, Python {platform.python_version()}, "
        f"{software}; {time.perf_counter() - begin:.0f} s. What is compared is said in `seeds.py`. Command: "
        f"`OMP_NUM_THREADS=1 python benchmarks/seeds.py --seeds {given.seeds}`.",
        "",
        f"Failed gates: {len(failures)}." + "".join(f"\n- {line}" for line in failures),
        "",
        "| table | class | estimate | number | largest Monte Carlo error | largest sd over seeds | ratio, root mean "
        "square (largest) | largest R-hat | smallest ESS | second attempts | joint refits |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['table']} | {r['model_class']} | {r['kind']} | {r['quantities']} | {r['largest_error']:.4f} | "
        f"{r['largest_spread']:.4f} | {r['ratio']:.2f} ({r['largest_ratio']:.2f}) | {r['largest_r_hat']:.4f} | "
        f"{r['smallest_ess']:.0f} | {r['second_attempts']} | {r['refits']} |"
        for r in rows
    ]
    (given.out / "seeds.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
