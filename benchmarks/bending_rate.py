"""How often straight relations are called bent, and bent ones found, at several numbers of models.

Models in families of three; capability shared within families by one half (omega), known through draws whose mean has
the reliability below; residuals shared within families by 0.2 (kappa). The relation is a shape of capability, scaled to
explain the stated share of the variance over the models. Every benchmark of a replication has its own residuals, and
the capability of the replication.

    OMP_NUM_THREADS=1 python benchmarks/bending_rate.py --replications 20 --seed 20240731
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.inference.bending import bending
from safetystats.inference.loo import standard_error
from safetystats.spec_questions import RelationRules
from safetystats.specs import FactorSpec, read_spec

SHAPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "straight": lambda x: x,
    "ceiling at the mean": lambda x: np.minimum(x, 0.0),
    "floor up to one sd above": lambda x: np.maximum(x, 1.0),
    "logistic, steep": lambda x: 1 / (1 + np.exp(-4 * x)),
    "rises and falls": lambda x: -((x - 0.5) ** 2),
}
EXPLAINED = (0.0, 0.3, 0.7)
MODELS = (15, 26, 43)
RELIABILITY, OMEGA, KAPPA, DRAWS, EACH = 0.97, 0.5, 0.2, 12, 3


def shared(rng: np.random.Generator, families: np.ndarray, share: float, columns: int = 1) -> np.ndarray:
    """Return standard normal columns of which models of a family have the share in common, shape (n, columns)."""
    own = rng.normal(size=(len(families), columns))
    own = np.sqrt(1 - share) * own + np.sqrt(share) * rng.normal(size=(families.max() + 1, columns))[families]
    return np.asarray(own)


def replicate(n: int, spec: FactorSpec, rules: RelationRules, seed: list[int]) -> list[dict[str, object]]:
    """Return what was found for every shape, explained share and benchmark of one replication."""
    rng = np.random.default_rng(seed)
    families = np.arange(n) // 3
    theta = shared(rng, families, OMEGA)[:, 0]
    error = np.sqrt(1 / RELIABILITY - 1)
    # Draws vary about an estimate that is itself off by as much.
    draws = theta + error * rng.normal(size=n) + error * rng.normal(size=(DRAWS, n))
    labels, columns = [], []
    for name, shape in SHAPES.items():
        for share in EXPLAINED if name == "straight" else EXPLAINED[1:]:
            signal = shape(theta)
            spread = signal.std()
            signal = (signal - signal.mean()) / (spread if spread > 0 else 1.0)
            for residual in shared(rng, families, KAPPA, EACH).T:
                labels.append((name, share))
                columns.append(np.sqrt(share) * signal + np.sqrt(1 - share) * residual)
    rngs = [np.random.default_rng([*seed, i]) for i in range(len(columns))]
    rows = []
    for (name, share), found in zip(
        labels, bending(np.array(columns).T, draws, families, spec.priors, rngs, each=1), strict=True
    ):
        assert found is not None
        gain = found.elpd_curve - found.elpd_line
        difference, own = float(gain.sum()), standard_error(gain, families)
        bends = difference > rules.bending_elpd and difference > rules.bending_errors * own
        rows.append({"n": n, "shape": name, "explained": share, "difference": difference, "bends": bends})
    return rows


def main() -> None:
    """Run the simulation and write its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=20)
    parser.add_argument("--seed", type=int, default=20240731)
    given = parser.parse_args()
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    begin, used = time.perf_counter(), time.process_time()
    rows = [
        row
        for n in MODELS
        for again in range(given.replications)
        for row in replicate(n, spec, RelationRules(), [given.seed, n, again])
    ]
    frame = pd.DataFrame(rows)
    each = given.replications * EACH
    table = (
        frame.groupby(["shape", "explained", "n"], sort=False)
        .agg(bends=("bends", "mean"), median=("difference", "median"))
        .reset_index()
    )
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, lineterminator="\n")
    head = "| relation | explained | " + " | ".join(f"n = {n}" for n in MODELS) + " |\n|---|---|" + "---|" * len(MODELS)
    lines = []
    for (shape, share), part in table.groupby(["shape", "explained"], sort=False):
        cells = [f"{row.bends:.1%} ({row.median:.1f})" for row in part.itertuples()]
        lines.append(f"| {shape} | {share:.0%} | " + " | ".join(cells) + " |")
    text = (
        "# How often a relation is called bent\n\n"
        "Share of the benchmarks for which `bends` is true by the default rule (the median difference in elpd, curve "
        f"less line): {each} benchmarks a cell, in {given.replications} replications of capability. Design in "
        "`bending_rate.py`.\n\n"
        f"{head}\n" + "\n".join(lines) + "\n\n"
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()} {platform.system()}, Python {platform.python_version()}, "
        f"numpy {np.__version__}; {time.perf_counter() - begin:.0f} s elapsed, {time.process_time() - used:.0f} s of "
        f"processor time. Command: `OMP_NUM_THREADS=1 python benchmarks/bending_rate.py --replications "
        f"{given.replications} --seed {given.seed}`.\n"
    )
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
