"""What the hierarchical layer does at the design of ren2024: error and coverage, by how true correlations are arranged.

    SAFETYSTATS_DATA=DIR python benchmarks/shrinkage.py

The base models of ren2024, its complete safety benchmarks and their areas. Residuals have the correlations that the
real ones have given the mean of the capability z-scores, mixed with independence (three parts in a hundred); they are
nearly singular, since there are far more benchmarks than models. Capability is known, models are independent, so that
Fisher's z with standard error 1 / sqrt(n - 3) is right for every benchmark by itself, and only the layer is tested.
True correlations are

    observed   those of the real scores: what resembles each other in its residuals does so in its correlation
    variants   deviations from the areas correlated as residuals are
    areas      by area, and independent within
    scattered  independent of each other and of areas

Compared are each benchmark by itself, the layer with deviations that are independent (phi = 0), and the layer as it is
used, with phi unknown. Writes shrinkage.md beside this file.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.error_covariance import estimate_covariance
from safetystats.inference.hierarchy import LIKENESS, shrink
from safetystats.specs import FactorSpec, read_spec
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise, transform

SEED = 20240731
INDEPENDENT = 0.03
LAYERS: dict[str, tuple[float, ...]] = {"layer, phi = 0": (0.0,), "layer": LIKENESS}
NORMAL_95 = 1.959964


def design() -> tuple[FloatArray, FloatArray, IntArray]:
    """Return scores (n, B), mean capability z-score (n,) and areas (B,) of the base models."""
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    table = standardise(transform(align(load_table("ren2024")), spec.transform), by="class").select(model_class="base")
    names = [name for name in table.columns("safety") if np.isfinite(table.matrix([name])).all()]
    capability = np.nanmean(table.matrix(table.columns("capability")), axis=1)
    names = [name for name in names if table.matrix([name]).std() > 0]
    codes, _ = pd.factorize(table.benchmarks.loc[names, "area"])
    return table.matrix(names), (capability - capability.mean()) / capability.std(), np.asarray(codes, dtype=np.int64)


def truths(observed: FloatArray, areas: IntArray, root: FloatArray) -> dict[str, FloatArray]:
    """Return true correlations (B,) of every arrangement; `root` is that of the residuals' correlations."""
    rng = np.random.default_rng(SEED)
    of_area = rng.standard_normal(int(areas.max()) + 1)[areas]
    own = rng.standard_normal(len(areas))
    return {
        "observed": np.clip(observed, -0.95, 0.95),
        "variants": np.tanh(0.4 + 0.3 * of_area + 0.35 * root @ own),
        "areas": np.tanh(0.4 + 0.4 * of_area + 0.25 * own),
        "scattered": np.tanh(0.4 + 0.5 * own),
    }


def main() -> None:
    """Run the study and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    choice = parser.parse_args()
    scores, capability, areas = design()
    n, k = scores.shape
    observed = np.array([np.corrcoef(capability, column)[0, 1] for column in scores.T])
    left = scores - scores.mean(0) - np.outer(capability, (capability @ scores) / n)
    likeness = (1 - INDEPENDENT) * np.corrcoef(left.T) + INDEPENDENT * np.eye(k)
    root, sd = np.linalg.cholesky(likeness), np.full(k, 1 / np.sqrt(n - 3))
    lines = []
    for name, rho in truths(observed, areas, root).items():
        rng, rows, shares = np.random.default_rng([SEED, len(name)]), {}, []
        for _ in range(choice.replications):
            theta = rng.standard_normal(n)
            y = rho * theta[:, None] + np.sqrt(1 - rho**2) * (rng.standard_normal((n, k)) @ root.T)
            seen = np.array([np.corrcoef(theta, column)[0, 1] for column in y.T])
            z = np.arctanh(seen)
            ends = np.tanh(z + NORMAL_95 * np.outer([-1, 1], sd))
            rows.setdefault("by itself", []).append(facts(seen, ends, z, z, sd, rho))
            covariance = estimate_covariance(z, sd, y, theta)
            for label, values in LAYERS.items():
                draws = shrink(z, covariance, areas, rng, likeness=values, n_draws=1000, grid=12)
                found = np.tanh(draws.zeta)
                ends = np.quantile(found, [0.025, 0.975], axis=0)
                rows.setdefault(label, []).append(facts(found.mean(0), ends, draws.zeta.mean(0), z, sd, rho))
                if label == "layer":
                    shares.append([(draws.likeness == phi).mean() for phi in LIKENESS])
        for label, values in rows.items():
            error, cover, width, moved = np.mean(values, axis=0)
            phis = ", ".join(f"{share:.2f}" for share in np.mean(shares, axis=0)) if label == "layer" else ""
            lines.append(
                f"| {name} | {label} | {error:.3f} | {100 * cover:.1f} % | {width:.2f} | {moved:.1f} | {phis} |"
            )
        print("\n".join(lines[-3:]), flush=True)
    page = [
        "# Shrinkage over benchmarks",
        "",
        f"{n} models, {k} benchmarks in {int(areas.max()) + 1} areas, {choice.replications} replications of each "
        "arrangement of true correlations; what is simulated is defined in `shrinkage.py`. Coverage of 95 % intervals "
        "and their mean width over benchmarks; `moved`: largest change of a z by the layer, in its standard errors, "
        f"mean over replications; posterior probabilities of phi = {', '.join(f'{phi:g}' for phi in LIKENESS)}.",
        "",
        f"{datetime.date.today().isoformat()}, {platform.machine()} {platform.system()}, Python "
        f"{platform.python_version()}, numpy {version('numpy')}, safetystats {version('safetystats')}, seed {SEED}.",
        "",
        "| true correlations | estimate | root mean square error of rho | covers | width | moved | phi |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        "Deviations that are independent by assumption (phi = 0) are right where true correlations have nothing to do "
        "with residuals. Where benchmarks that resemble each other have like correlations, what they have in common is "
        "taken for error: estimates are then worse than those of each benchmark by itself. With phi unknown the layer "
        "finds out which it is.",
    ]
    (choice.out / "shrinkage.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def facts(
    estimate: FloatArray, ends: FloatArray, moved: FloatArray, z: FloatArray, sd: FloatArray, rho: FloatArray
) -> tuple[float, float, float, float]:
    """Return root mean square error, coverage, mean width, and the largest change of a z in standard errors."""
    return (
        float(np.sqrt(((estimate - rho) ** 2).mean())),
        float(((ends[0] <= rho) & (rho <= ends[1])).mean()),
        float((ends[1] - ends[0]).mean()),
        float((np.abs(moved - z) / sd).max()),
    )


if __name__ == "__main__":
    main()
