"""How long an analysis of ren2024 takes, against fits that give the same answers, and where the time goes.

    SAFETYSTATS_DATA=DIR python benchmarks/speed.py

On an otherwise idle machine. Every measurement is a process of its own with empty compilation caches, so that nothing
is warm and peak memory is its own; wall-clock time throughout. `ours` and `textbook` are then run once more in a new
process with the caches that the first one left: what both compile to is kept on disk.

    ours       the latent-factor part of a study from nothing: imports, table, compilation, the capability fit of both
               classes and the cut posterior of every safety benchmark, with joint refits where weights fail, an empty
               store
    joint      the obvious alternative, one NUTS fit per safety benchmark and class: its column beside the capability
               benchmarks in one model, capability sampled, the package's own graph and sampler, the spec's settings
               and, while R-hat is above 1.01 or ESS below 400, more draws as in the package. A random sample of the
               benchmarks; compilation and sampling are timed apart, so that both a compilation for every benchmark and
               one for all are extrapolated from the same fits
    direct     the same fits by the density that ours has for complete data: what is left of the difference is what one
               fit of capability for all benchmarks, and the cut, save
    textbook   the capability benchmarks alone as in a textbook: theta ~ N(0, 1), loadings and residual sd half-normal,
               normal intercepts, no families, `pm.sample` as it comes (4 chains of 1000 after 1000, 2 cores; PyMC 6
               takes nutpie's NUTS, with a diagonal mass matrix, where nutpie is installed); the same with up to 16
               times the draws, as many as bring R-hat to 1.01; and with the NUTS of PyMC itself, which was the
               default before PyMC 6

`ours` and `textbook` are compared by the smallest bulk ESS over loadings and theta per second. The models differ
(families, priors): what is compared is what a user would do instead. Every finished measurement is kept in the work
folder, if one is named, and not made again.
Writes speed.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20240731
PARTS = ("ours", "joint", "direct", "textbook")


def clock(since: float) -> float:
    """Return seconds since a reading of the clock."""
    return time.perf_counter() - since


def worst(posterior: Any, names: tuple[str, ...]) -> dict[str, float]:
    """Return the smallest bulk ESS and the largest R-hat over some variables of a posterior."""
    import arviz_stats as az

    part = posterior[list(names)]
    return {
        "ess": min(float(values.min()) for values in az.ess(part, method="bulk").data_vars.values()),
        "r_hat": max(float(values.max()) for values in az.rhat(part).data_vars.values()),
    }


def memory() -> float:
    """Return the peak memory of this process or of its largest child in MB."""
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024


def prepared(tiny: bool) -> tuple[list[Any], Any]:
    """Return the prepared table of every class, and the spec."""
    from safetystats.specs import FactorSpec, Gates, SamplingPlan, read_spec
    from safetystats.tables.load import load_table
    from safetystats.tables.prepare import align, standardise, transform

    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    table = standardise(transform(align(load_table("ren2024")), spec.transform))
    if tiny:
        table = table.select(benchmarks=[*table.columns("capability"), *table.columns("safety")[:3]])
        plan = SamplingPlan(chains=2, draws=100, tune=200, target_accept=0.9)
        spec = spec.model_copy(update={"sampling": plan, "gates": Gates(r_hat=2.0, ess=1.0, divergences=99)})
    return [table.select(model_class=name) for name in table.classes], spec


def ours(tiny: bool, start: float) -> dict[str, Any]:
    """Run the latent-factor part of a study."""
    from safetystats.inference import density_sampling as _  # noqa: F401  imports nutpie
    from safetystats.inference.fits import fit_capability, fit_safety
    from safetystats.inference.problems import kind_for
    from safetystats.inference.store import FitStore

    found: dict[str, Any] = {"imports": clock(start)}
    began = time.perf_counter()
    importlib.import_module("safetystats.inference.factor_kernel")  # compiles the density, or loads its machine code
    found["compile"] = clock(began)
    began = time.perf_counter()
    tables, spec = prepared(tiny)
    kind = kind_for(tables, spec)
    found["table"] = clock(began)
    found["classes"] = []
    with tempfile.TemporaryDirectory() as folder:
        store = FitStore(root=Path(folder))
        for table in tables:
            began = time.perf_counter()
            fit = fit_capability(table, spec, SEED, kind, store)
            capability = clock(began)
            began = time.perf_counter()
            safety = fit_safety(fit, store)
            seconds = clock(began)
            refits = safety.draws["refit"].to_dataset() if safety.refitted else None
            found["classes"].append(
                {
                    "model_class": fit.model_class,
                    "evaluator": fit.evaluator,
                    "capability": capability,
                    "safety": seconds,
                    "benchmarks": len(safety.benchmarks),
                    "refits": len(safety.refitted),
                    "attempts": len(fit.plans),
                    "draws": fit.plans[-1].draws,
                    "gates": bool(fit.convergence().passes(spec.gates)),
                    "divergences": fit.convergence().divergences,
                    "refit_r_hat": float(refits["r_hat"].max()) if refits is not None else None,
                    "refit_ess": float(refits["ess"].min()) if refits is not None else None,
                    **worst(fit.posterior, ("rho", "theta")),
                }
            )
    return found


def joint(tiny: bool, start: float, sampled: int, graph: bool = True) -> dict[str, Any]:
    """Fit the joint model of some safety benchmarks: by a graph with a compilation for each, or by our density."""
    from safetystats.inference.arrays import GraphKind
    from safetystats.inference.attempts import sample
    from safetystats.inference.convergence import convergence
    from safetystats.inference.problems import data_of, structure_of
    from safetystats.inference.sampling import compile_factor

    importlib.import_module("safetystats.inference.factor" if graph else "safetystats.inference.factor_kernel")
    found: dict[str, Any] = {"imports": clock(start), "fits": [], "benchmarks": {}}
    tables, spec = prepared(tiny)
    rng = np.random.default_rng(SEED)
    for table in tables:
        safety = table.columns("safety")
        found["benchmarks"][table.classes[0]] = len(safety)
        for name in rng.choice(safety, size=min(sampled, len(safety)), replace=False):
            names = [*table.columns("capability"), str(name)]
            kind = GraphKind(
                n_models=table.n_models, n_benchmarks=len(names), n_families=table.models["family"].nunique()
            )
            compile_factor.cache_clear()
            began = time.perf_counter()
            if graph:
                compile_factor(kind)
            compiling = clock(began)
            began = time.perf_counter()
            data, structure = data_of(table, names, spec), structure_of(table, names, spec)
            draws, plans = sample(kind if graph else None, data, structure, spec, SEED)
            seconds = clock(began)
            checks = convergence(draws)
            found["fits"].append(
                {
                    "model_class": table.classes[0],
                    "benchmark": str(name),
                    "compile": compiling,
                    "sample": seconds,
                    "attempts": len(plans),
                    "r_hat": checks.r_hat,
                    "ess": checks.ess,
                    "divergences": checks.divergences,
                }
            )
    return found


def textbook_fit(y: Any, draws: int, sampler: str | None = None) -> dict[str, Any]:
    """Sample the textbook model of standardised scores, shape (n_models, n_benchmarks)."""
    import pymc as pm

    began = time.perf_counter()
    with pm.Model():
        theta = pm.Normal("theta", 0, 1, shape=y.shape[0])
        loading = pm.HalfNormal("loading", 1, shape=y.shape[1])
        sigma = pm.HalfNormal("sigma", 1, shape=y.shape[1])
        intercept = pm.Normal("intercept", 0, 1, shape=y.shape[1])
        pm.Normal("y", intercept + loading * theta[:, None], sigma, observed=y)
        own = {} if sampler is None else {"nuts_sampler": sampler}
        tree = pm.sample(
            draws=draws, tune=draws, chains=4, cores=2, random_seed=SEED, progressbar=False, **own
        )  # fmt: skip
    total = clock(began)
    attrs = tree["posterior"].attrs | tree["sample_stats"].attrs
    return {
        "draws": draws,
        "total": total,
        "sample": float(attrs.get("sampling_time", float("nan"))),
        "divergences": int(tree["sample_stats"]["diverging"].sum()),
        **worst(tree["posterior"].to_dataset(), ("loading", "theta")),
    }


def textbook(tiny: bool, start: float) -> dict[str, Any]:
    """Fit a textbook factor model of the capability benchmarks with `pm.sample`."""
    importlib.import_module("pymc")
    found: dict[str, Any] = {"imports": clock(start), "classes": []}
    tables, _ = prepared(tiny)
    least = 100 if tiny else 1000
    for table in tables:
        y = table.matrix(table.columns("capability"))
        fits = {"textbook": textbook_fit(y, least)}
        more = fits["textbook"]
        while more["r_hat"] > 1.01 and more["draws"] < 16 * least:
            more = fits["textbook, more draws"] = textbook_fit(y, 2 * more["draws"])
        fits["textbook, NUTS of PyMC itself"] = textbook_fit(y, least, "pymc")
        found["classes"].append({"model_class": table.classes[0], "fits": fits})
    return found


def measure(part: str, number: int, choice: argparse.Namespace) -> dict[str, Any]:
    """Run one measurement in a fresh process with empty caches, unless it is in the work folder."""
    kept = None if choice.work is None else choice.work / f"{part}_{number}.json"
    if kept is not None and kept.exists():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {
            "OMP_NUM_THREADS": "1",
            "NUMBA_CACHE_DIR": f"{folder}/numba",
            "PYTENSOR_FLAGS": f"base_compiledir={folder}/pytensor",
        }
        command = [sys.executable, __file__, "--part", part, "--sampled", str(choice.sampled)]
        command += ["--tiny"] if choice.tiny else []
        found = timed(part, command, env)
        if part in ("ours", "textbook"):
            found["again"] = timed(f"{part}, again", command, env)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def timed(part: str, command: list[str], env: dict[str, str]) -> dict[str, Any]:
    """Run a command; return what it prints last, and how long it took."""
    began = time.perf_counter()
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    seconds = clock(began)
    if done.returncode:
        raise SystemExit(f"{part} failed:\n{done.stderr}")
    print(f"{part}: {seconds:.0f} s", flush=True)
    return dict(json.loads(done.stdout.splitlines()[-1])) | {"elapsed": seconds}


def spread(values: list[float], digits: int = 1) -> str:
    """Return median and range."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def extrapolated(found: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return time and its standard error for all benchmarks, with a compilation for each and with one."""
    compiling = np.array([fit["compile"] for fit in found["fits"]])
    # The first compilation in a process takes longer; it happens once.
    later = compiling[1:] if len(compiling) > 1 else compiling
    total = sum(found["benchmarks"].values())
    sampling, error = 0.0, 0.0
    for name, count in found["benchmarks"].items():
        seconds = np.array([fit["sample"] for fit in found["fits"] if fit["model_class"] == name])
        sampling += count * seconds.mean()
        error += count**2 * seconds.var(ddof=1) / len(seconds) if len(seconds) > 1 else np.nan
    once = found["imports"] + compiling[0] + sampling
    each_error = total**2 * later.var(ddof=1) / len(later) if len(later) > 1 else np.nan
    return {
        "a compilation for each": (float(once + (total - 1) * later.mean()), float(np.sqrt(error + each_error))),
        "one compilation": (float(once), float(np.sqrt(error))),
    }


def page(runs: dict[str, list[dict[str, Any]]], choice: argparse.Namespace) -> str:
    """Return the page."""
    mine, other, books = runs["ours"], runs["joint"][0], runs["textbook"]
    total = float(np.median([run["elapsed"] for run in mine]))
    last = mine[-1]
    names = ("numpy", "numba", "pytensor", "pymc", "nutpie", "arviz-stats", "safetystats")
    benchmarks = sum(part["benchmarks"] for part in last["classes"])
    refits = sum(part["refits"] for part in last["classes"])
    sampling = [sum(part["capability"] + part["safety"] for part in run["classes"]) for run in mine]
    fitted = other["fits"]
    lines = [
        "# Speed",
        "",
        "ren2024, both classes; what is compared is defined in `speed.py`. Wall-clock seconds, median (range) over "
        f"{len(mine)} fresh processes with empty compilation caches; *again*: a second process with the caches of the "
        "first.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}. Load before: "
        f"{choice.load:.2f}.{' TINY SETTINGS: A TEST OF THE SCRIPT, NOT A RESULT.' if choice.tiny else ''}",
        "",
        "## All safety benchmarks",
        "",
        f"The whole latent-factor part, {benchmarks} posteriors (benchmark and class) of which {refits} were sampled "
        "anew from the joint model, from nothing in an empty store:",
        "",
        "| way | seconds | times ours | R-hat, largest | ESS, smallest | fits beyond the gates |",
        "|---|---|---|---|---|---|",
        f"| ours | {spread([run['elapsed'] for run in mine])} | 1 | {largest_r_hat(mine):.4f} | "
        f"{smallest_ess(mine):.0f} | {sum(not part['gates'] for part in last['classes'])} of {len(last['classes'])} |",
    ]
    later = [run["again"] for run in mine]
    lines.append(
        f"| ours, again | {spread([run['elapsed'] for run in later])} | "
        f"{np.median([run['elapsed'] for run in later]) / total:.2f} | {largest_r_hat(later):.4f} | "
        f"{smallest_ess(later):.0f} | {sum(not part['gates'] for part in later[-1]['classes'])} of "
        f"{len(last['classes'])} |"
    )
    direct = runs["direct"][0]
    ways = {f"capability sampled, {way}": (other["fits"], *found) for way, found in extrapolated(other).items()}
    ways["our density"] = (direct["fits"], *extrapolated(direct)["one compilation"])
    for way, (fits, seconds, error) in ways.items():
        beyond = sum(fit["r_hat"] > 1.01 or fit["ess"] < 400 for fit in fits)
        lines.append(
            f"| NUTS per benchmark, {way} | {seconds:.0f} (error {error:.0f}) | {seconds / total:.1f} | "
            f"{max(fit['r_hat'] for fit in fits):.4f} | {min(fit['ess'] for fit in fits):.0f} | {beyond} of "
            f"{len(fits)} |"
        )
    lines += [
        "",
        f"The alternatives are extrapolated from {len(fitted)} benchmarks chosen at random ({choice.sampled} of a "
        f"class) to {sum(other['benchmarks'].values())}; the error is that of the extrapolation. A compilation took "
        f"{spread([fit['compile'] for fit in fitted])} s, a fit {spread([fit['sample'] for fit in fitted])} s; "
        f"{sum(fit['attempts'] > 1 for fit in fitted)} of {len(fitted)} needed more than the spec's settings.",
        "",
        "| class | benchmark | compile, s | sample, s | attempts | R-hat | ESS | divergent |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {f['model_class']} | {f['benchmark']} | {f['compile']:.1f} | {f['sample']:.1f} | {f['attempts']} | "
            f"{f['r_hat']:.4f} | {f['ess']:.0f} | {f['divergences']} |"
            for f in fitted
        ),
        "",
        "## Capability fit: effective draws per second",
        "",
        "Smallest bulk ESS over loadings and theta, over the seconds of sampling, and over those of sampling and "
        "compilation (ours compiles once for both classes; half of it is counted in each; for the textbook model all "
        "that `pm.sample` does beside sampling). Our seconds of sampling include the checks of convergence and the "
        "saving of the fit; those of the textbook model do not.",
        "",
        "| class | fit | draws of a chain | ESS | R-hat | divergent | seconds of sampling | ESS/s (ours: times as "
        "many) | ESS/s with compilation (ours: times as many) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for i, part in enumerate(last["classes"]):
        for again in (False, True):
            own = [run["again"] if again else run for run in mine]
            theirs = [run["again"] if again else run for run in books]
            ending = ", again" if again else ""
            ours = rate([own_fit(run, i) for run in own])
            lines.append(rate_line(part["model_class"], f"ours{ending}", own[-1]["classes"][i], ours))
            for label in theirs[-1]["classes"][i]["fits"]:
                fits = [run["classes"][i]["fits"][label] for run in theirs if label in run["classes"][i]["fits"]]
                found = rate([book_fit(fit) for fit in fits])
                lines.append(rate_line(part["model_class"], f"{label}{ending}", fits[-1], found, ours))
    shares = [
        ("imports", [run["imports"] for run in mine]),
        ("table", [run["table"] for run in mine]),
        ("compilation", [run["compile"] for run in mine]),
        ("capability fits", [sum(part["capability"] for part in run["classes"]) for run in mine]),
        ("cut and joint posteriors, refits included", [sum(p["safety"] for p in run["classes"]) for run in mine]),
    ]
    lines += [
        "",
        "A ratio stands only where both R-hat are at most 1.01. The textbook model draws anew in a second process: its "
        "graph is rounded otherwise once it is compiled.",
        "",
        "## Where our time goes",
        "",
        "| stage | seconds | share |",
        "|---|---|---|",
        *(f"| {what} | {spread(values)} | {100 * np.median(values) / total:.0f} % |" for what, values in shares),
        "",
        f"Imports and compilation are {100 * (1 - np.median(sampling) / total):.0f} % of the whole. What was done "
        "about them: PyMC, nutpie and Matplotlib are imported where they are used, so that a saved fit opens, and help "
        "and checks run, without them; capability is integrated out where no or few scores are missing, and that "
        "density and its gradient are written out and compiled by numba, for any number of models, benchmarks and "
        "factors, with the machine code kept on disk: PyMC is not imported and no graph is compiled. Where capability "
        "is sampled, one graph serves all classes, priors, refits and extra columns. Saved fits are reused. Again, "
        f"imports and compilation take {spread([run['imports'] + run['compile'] for run in later])} s.",
        "",
        "Peak memory: "
        + ", ".join(f"{name} {max(run['memory'] for run in runs[name]):.0f} MB" for name in PARTS)
        + " (of the largest process).",
    ]
    return "\n".join(lines) + "\n"


Fit = tuple[float, float, float]
"""ESS, seconds of sampling, seconds of compilation."""


def own_fit(run: dict[str, Any], i: int) -> Fit:
    """Return the numbers of our capability fit of a class; the compilation is shared by the classes."""
    part = run["classes"][i]
    return part["ess"], part["capability"], run["compile"] / len(run["classes"])


def book_fit(fit: dict[str, Any]) -> Fit:
    """Return the numbers of a textbook fit."""
    return fit["ess"], fit["sample"], fit["total"] - fit["sample"]


def rate(fits: list[Fit]) -> tuple[float, float, float]:
    """Return median seconds of sampling, and ESS per second of sampling and with compilation."""
    ess, sample, compiling = (float(np.median(values)) for values in zip(*fits, strict=True))
    return sample, ess / sample, ess / (sample + compiling)


def rate_line(
    model_class: str,
    label: str,
    fit: dict[str, Any],
    found: tuple[float, float, float],
    ours: tuple[float, float, float] | None = None,
) -> str:
    """Return a line of the table of effective draws per second; a ratio only to a fit that has converged."""
    compared = ours is not None and fit["r_hat"] <= 1.01
    cells = [
        f"{found[i]:.1f}" + (f" ({ours[i] / found[i]:.1f})" if ours is not None and compared else "") for i in (1, 2)
    ]
    return (
        f"| {model_class} | {label} | {fit.get('draws', '')} | {fit['ess']:.0f} | {fit['r_hat']:.4f} | "
        f"{fit['divergences']} | {found[0]:.1f} | {' | '.join(cells)} |"
    )


def largest_r_hat(mine: list[dict[str, Any]]) -> float:
    """Return the largest R-hat of capability fits and refits over all runs."""
    parts = [part for run in mine for part in run["classes"]]
    return max([p["r_hat"] for p in parts] + [p["refit_r_hat"] for p in parts if p["refit_r_hat"] is not None])


def smallest_ess(mine: list[dict[str, Any]]) -> float:
    """Return the smallest ESS of capability fits and refits over all runs."""
    parts = [part for run in mine for part in run["classes"]]
    return min([p["ess"] for p in parts] + [p["refit_ess"] for p in parts if p["refit_ess"] is not None])


def main() -> None:
    """Measure everything and write the page, or make one measurement and print it as JSON."""
    start = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="make one measurement in this process (used internally)")
    parser.add_argument("--sampled", type=int, default=4, help="benchmarks per class that `joint` is measured on")
    parser.add_argument("--repeats", type=int, default=3, help="processes for `ours` and `textbook`")
    parser.add_argument("--tiny", action="store_true", help="a test of the script: few draws, few benchmarks")
    parser.add_argument("--work", type=Path, help="folder of finished measurements, which are not made again")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    if choice.part:
        if choice.part in ("ours", "textbook"):
            found = {"ours": ours, "textbook": textbook}[choice.part](choice.tiny, start)
        else:
            found = joint(choice.tiny, start, choice.sampled, graph=choice.part == "joint")
        print(json.dumps(found | {"memory": memory()}))
        return
    choice.load = os.getloadavg()[0]
    repeats = {"ours": choice.repeats, "joint": 1, "direct": 1, "textbook": choice.repeats}
    runs = {part: [measure(part, number, choice) for number in range(repeats[part])] for part in PARTS}
    text = page(runs, choice)
    (choice.out / "speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
