"""How often the tests of the mixed models reject a true null hypothesis at the 5 % level, at the design of ren2024.

    OMP_NUM_THREADS=1 SAFETYSTATS_DATA=<mirror> python benchmarks/mixed_type_one.py

Design. The models, classes, lineages and families of ren2024, with capability as the mean of the pooled z-scores.
Scores are drawn without any effect of class or interaction,

    y = u[group] + e,   u ~ N(0, ratio),   e ~ N(0, 1),

with lineages or families as groups. Effects that are in both models compared do not matter, since the likelihood ratio
does not depend on them. Four tests:

    interaction  score ~ capability * class + (1 | group) against capability + class
    class        score ~ capability + class + (1 | group) against capability
    capability   score ~ capability + class + (1 | group) against class
    variance     restricted likelihood ratio of the group variance in the full model, at ratio 0 only

The chi-square p-value (chi-bar-square for the variance) is judged on --datasets data sets, the parametric bootstrap on
the first --bootstrapped of them with --replicates each, drawn at the ratio estimated under the null as in
`safetystats.inference.mixed_bootstrap`; the bootstrap of the variance has one reference distribution for all data sets,
since it depends on the design alone. Writes mixed_type_one.csv and mixed_type_one.md beside this file.

A second part (--part slopes) draws scores whose class effect differs by family, with mean zero over families,

    y = u[group] + b[family] class + e,   b ~ N(0, slope^2),

which neither (1 | lineage) nor (1 | family) has in it, at variance ratio 0.5. A mean effect of zero is then the truth,
and a test that rejects it at more than its level takes differences between families for an effect of the class. Writes
mixed_type_one_slopes.csv and mixed_type_one_slopes.md.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy
from scipy import stats

from safetystats.inference.mixed_profile import FloatArray, IntArray
from safetystats.inference.mixed_spectrum import Spectrum, best_ratios, make_spectrum
from safetystats.inference.mixed_values import code_rows
from safetystats.inference.streams import seed_for
from safetystats.scores.capability import capability_score
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise

RATIOS = (0.0, 0.5, 2.0)
SLOPES = (0.0, 0.3, 0.6)
"""sd over families of the class effect, in residual sd."""
SLOPE_RATIO = 0.5
LEVEL = 0.05
ACCEPTED = (0.03, 0.07)
TESTS: dict[str, tuple[list[int], list[int]]] = {
    "interaction": ([0, 1, 2, 3], [0, 1, 2]),
    "class": ([0, 1, 2], [0, 1]),
    "capability": ([0, 1, 2], [0, 2]),
}
"""Columns (intercept, capability, class, product) of the larger and of the smaller model."""
BOOTSTRAPPED = ("interaction", "class")
AT_ONCE = 20
TIE = 1e-8


def design(grouping: str) -> tuple[FloatArray, IntArray]:
    """Return the full design, shape (n, 4), and the codes of the groups."""
    table = standardise(align(load_table("ren2024")), by="pooled")
    capability = capability_score(table.matrix(table.columns("capability")), method="mean_z", missing="available").score
    rows = code_rows(
        np.zeros(capability.size),
        (capability - np.nanmean(capability)) / np.nanstd(capability),
        table.models["model_class"].to_numpy(dtype=object),
        table.models[grouping].to_numpy(dtype=object),
        table.classes[0],
    )
    return rows.columns(), rows.codes


def gains(responses: FloatArray, rich: Spectrum, poor: Spectrum) -> tuple[FloatArray, FloatArray]:
    """Return twice the gain in log-likelihood and the ratio under the smaller model, each of shape (b,)."""
    _, with_it = best_ratios(rich, responses @ rich.projector.T, reml=False)
    ratio, without = best_ratios(poor, responses @ poor.projector.T, reml=False)
    return np.maximum(without - with_it, 0.0), ratio


def draw(rng: np.random.Generator, ratio: FloatArray, codes: IntArray) -> FloatArray:
    """Return one response for each ratio, shape (b, n)."""
    noise = rng.standard_normal((ratio.size, codes.size))
    shared: FloatArray = np.sqrt(ratio)[:, None] * rng.standard_normal((ratio.size, int(codes.max()) + 1))[:, codes]
    return noise + shared


def bootstrap_p(
    observed: FloatArray, ratio: FloatArray, replicates: int, rng: np.random.Generator, codes: IntArray,
    rich: Spectrum, poor: Spectrum,
) -> FloatArray:  # fmt: skip
    """Return the bootstrap p-value of each data set, shape (b,)."""
    found = np.empty(observed.size)
    for begin in range(0, observed.size, AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        simulated, _ = gains(draw(rng, np.repeat(ratio[part], replicates), codes), rich, poor)
        reached = (simulated.reshape(-1, replicates) >= observed[part, None] - TIE).sum(axis=1)
        found[part] = (1 + reached) / (1 + replicates)
    return found


def arm(grouping: str, ratio: float, plan: argparse.Namespace, slope: float | None = None) -> list[dict[str, object]]:
    """Return the share of rejections of every test at one grouping and ratio; class effects by family if `slope`."""
    columns, codes = design(grouping)
    spectra = {name: [make_spectrum(columns[:, part], codes) for part in pair] for name, pair in TESTS.items()}
    stream = () if slope is None else ("slope", str(slope))
    rng = np.random.default_rng(seed_for(plan.seed, "type one", grouping, str(ratio), *stream))
    responses = draw(rng, np.full(plan.datasets, ratio), codes)
    if slope is not None:
        families = design("family")[1]
        effects = slope * rng.standard_normal((plan.datasets, int(families.max()) + 1))
        responses += effects[:, families] * columns[:, 2]
    rows: list[dict[str, object]] = []

    def record(test: str, method: str, p_value: FloatArray, replicates: int) -> None:
        share = float(np.mean(p_value <= LEVEL))
        rows.append(
            {
                "group": grouping, "ratio": ratio, "slope": slope or 0.0, "test": test, "method": method,
                "rejected": share,
                "error": float(np.sqrt(LEVEL * (1 - LEVEL) / p_value.size)), "datasets": p_value.size,
                "replicates": replicates,
            }
        )  # fmt: skip

    for name, (rich, poor) in spectra.items():
        observed, estimated = gains(responses, rich, poor)
        record(name, "chi-square", stats.chi2.sf(observed, 1), 0)
        if name in BOOTSTRAPPED:
            some = slice(0, plan.bootstrapped)
            p_value = bootstrap_p(observed[some], estimated[some], plan.replicates, rng, codes, rich, poor)
            record(name, "parametric bootstrap", p_value, plan.replicates)
            record(name, "chi-square, same data sets", stats.chi2.sf(observed[some], 1), 0)
    if ratio == 0.0 and slope is None:
        full = spectra["interaction"][0]
        freedom = full.n - full.p

        def restricted(components: FloatArray) -> FloatArray:
            _, best = best_ratios(full, components, reml=True)
            return np.maximum(freedom * np.log(np.sum(components**2, axis=1)) - best, 0.0)

        observed = restricted(responses @ full.projector.T)
        record("variance", "chi-square", stats.chi2.sf(observed, 1), 0)
        record("variance", "chi-bar-square", np.where(observed > TIE, 0.5 * stats.chi2.sf(observed, 1), 1.0), 0)
        reference = np.sort(restricted(rng.standard_normal((9999, freedom))))
        reached = reference.size - np.searchsorted(reference, observed - TIE)
        record("variance", "parametric bootstrap", (1 + reached) / (1 + reference.size), reference.size)
    return rows


def page(frame: pd.DataFrame, plan: argparse.Namespace, seconds: float) -> str:
    """Return the page."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    lines = [
        "# Type I error of the tests of the mixed models, at the design of ren2024\n",
        f"Nominal level 5 %. Chi-square on {plan.datasets} data sets (simulation error of 5 %: "
        f"{100 * np.sqrt(LEVEL * (1 - LEVEL) / plan.datasets):.2f} points), bootstrap on {plan.bootstrapped} with "
        f"{plan.replicates} replicates each ({100 * np.sqrt(LEVEL * (1 - LEVEL) / plan.bootstrapped):.2f} points), "
        f"seed {plan.seed}. Design and tests are defined in `mixed_type_one.py`.\n",
        f"{today}, {platform.machine()} {platform.system()}, {versions}; {seconds:.0f} s on one core.\n",
    ]
    outside = frame[(frame["rejected"] < ACCEPTED[0]) | (frame["rejected"] > ACCEPTED[1])]
    said = "; ".join(
        f"{r.test}, {r.method}, {r.group}, ratio {r.ratio:g}: {100 * r.rejected:.1f} %" for r in outside.itertuples()
    )
    lines.append(f"Outside 3 to 7 %: {said or 'none'}.\n")
    lines.append(
        "| group | variance ratio | test | method | rejected | data sets | replicates |\n|---|---|---|---|---|---|---|"
    )
    lines += [
        f"| {r.group} | {r.ratio:g} | {r.test} | {r.method} | {100 * r.rejected:.1f} % "
        f"| {r.datasets} | {r.replicates} |"
        for r in frame.itertuples()
    ]
    return "\n".join(lines) + "\n"


def slopes_page(frame: pd.DataFrame, plan: argparse.Namespace, seconds: float) -> str:
    """Return the page of class effects that differ by family."""
    columns, codes = design("family")
    both = [len(np.unique(columns[codes == code, 2])) > 1 for code in range(int(codes.max()) + 1)]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"
    lines = [
        "# Type I error where the class effect differs by family, at the design of ren2024\n",
        f"The class effect has mean zero over families and the sd given, in residual sd; variance ratio of the groups "
        f"{SLOPE_RATIO:g}. {len(both)} families, {sum(both)} of them with models of both classes. Nominal level 5 %. "
        f"Chi-square on {plan.datasets} data sets (simulation error of 5 %: "
        f"{100 * np.sqrt(LEVEL * (1 - LEVEL) / plan.datasets):.2f} points), bootstrap on {plan.bootstrapped} with "
        f"{plan.replicates} replicates each ({100 * np.sqrt(LEVEL * (1 - LEVEL) / plan.bootstrapped):.2f} points), "
        f"seed {plan.seed}. Defined in `mixed_type_one.py`.\n",
        f"{today}, {platform.machine()} {platform.system()}, {versions}; {seconds:.0f} s on one core.\n",
        "| group | sd of the class effect | test | method | rejected | data sets | replicates |\n"
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.group} | {r.slope:g} | {r.test} | {r.method} | {100 * r.rejected:.1f} % "
        f"| {r.datasets} | {r.replicates} |"
        for r in frame.itertuples()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all arms and write the files of the parts asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=("all", "effects", "slopes"), default="all")
    parser.add_argument("--datasets", type=int, default=10_000)
    parser.add_argument("--bootstrapped", type=int, default=1_000)
    parser.add_argument("--replicates", type=int, default=399)
    parser.add_argument("--seed", type=int, default=20240731)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    plan = parser.parse_args()
    if plan.part in ("all", "effects"):
        begin, rows = time.process_time(), []
        for grouping in ("lineage", "family"):
            for ratio in RATIOS:
                rows += arm(grouping, ratio, plan)
                print(pd.DataFrame(rows[-9:]).to_string(), f"{time.process_time() - begin:.0f} s", flush=True)
        frame = pd.DataFrame(rows).drop(columns="slope")
        frame.to_csv(plan.out / "mixed_type_one.csv", index=False)
        text = page(frame, plan, time.process_time() - begin)
        (plan.out / "mixed_type_one.md").write_text(text, encoding="utf-8")
    if plan.part in ("all", "slopes"):
        begin, rows = time.process_time(), []
        for grouping in ("lineage", "family"):
            for slope in SLOPES:
                rows += arm(grouping, SLOPE_RATIO, plan, slope)
                print(pd.DataFrame(rows[-7:]).to_string(), f"{time.process_time() - begin:.0f} s", flush=True)
        frame = pd.DataFrame(rows)
        frame.to_csv(plan.out / "mixed_type_one_slopes.csv", index=False)
        text = slopes_page(frame, plan, time.process_time() - begin)
        (plan.out / "mixed_type_one_slopes.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
