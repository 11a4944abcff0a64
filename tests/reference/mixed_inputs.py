"""Write the inputs of mixed_lme4.R, which also are the inputs of the test that reads its output.

Run from the repository root: python tests/reference/mixed_inputs.py [ren2024]

One row per model: model, model_class, group (lineage), family, capability, then one column per score. helm-classic:
aligned scores, each as z-score over all models of both classes (ddof 0), capability = mean of those of the capability
columns. The other sets are simulated, with a seed. The scores of ren2024 are not ours and not committed: with the word
ren2024 after the command (and SAFETYSTATS_DATA set to a mirror) they are written beside the others; delete that file
after R has read it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.tables.load import load_table
from safetystats.tables.prepare import align
from safetystats.tables.table import ScoreTable

HERE = Path(__file__).parent
SEED = 20240736  # the estimates of `pairs` then lie on the side of the boundary that the names say


def wide(table: ScoreTable) -> pd.DataFrame:
    """Return z-scored aligned scores (pooled) with class, lineage and mean capability."""
    aligned = align(table)
    z = (aligned.scores - aligned.scores.mean()) / aligned.scores.std(ddof=0)
    capability = z[aligned.columns(role="capability")].mean(axis=1)
    labels = aligned.models[["model_class", "lineage", "family"]].rename(columns={"lineage": "group"})
    return pd.concat([labels, capability.rename("capability"), z], axis=1).rename_axis("model")


def pairs() -> pd.DataFrame:
    """Return 27 lineages of one base and (but for the last) one chat model, with growing lineage variance."""
    rng = np.random.default_rng(SEED)
    group = np.repeat(np.arange(27), 2)[:-1]
    chat = np.tile([0.0, 1.0], 27)[:-1]
    capability = rng.normal(size=27)[group] + 0.2 * rng.normal(size=53)
    frame = pd.DataFrame(
        {
            "model": [f"m{i:02d}" for i in range(53)],
            "model_class": np.where(chat == 1.0, "chat", "base"),
            "group": [f"g{g:02d}" for g in group],
            "family": [f"f{g // 3}" for g in group],
            "capability": capability,
        }
    )
    for name, ratio in (
        ("ratio_0", 0.0),
        ("ratio_0.05", 0.05),
        ("ratio_0.5", 0.5),
        ("ratio_5", 5.0),
        ("ratio_500", 500.0),
    ):
        u = np.sqrt(ratio) * rng.normal(size=27)
        frame[name] = 0.4 * capability + 0.3 * chat + 0.2 * chat * capability + u[group] + rng.normal(size=53)
    u = rng.normal(size=27)
    frame["negative"] = 0.4 * capability + u[group] * np.where(chat == 1.0, 1.0, -1.0) + 0.5 * rng.normal(size=53)
    frame["far_units"] = 1000.0 + 15.0 * frame["ratio_0.5"]
    return frame.set_index("model")


def three() -> pd.DataFrame:
    """Return 60 models in three classes and 18 uneven lineages, with missing scores."""
    rng = np.random.default_rng(SEED + 1)
    group = rng.choice(18, size=60, p=np.arange(1, 19) / 171)
    classes = rng.choice(["base", "chat", "reasoning"], size=60, p=[0.4, 0.4, 0.2])
    capability = rng.normal(size=60) + (classes == "reasoning")
    frame = pd.DataFrame(
        {
            "model": [f"m{i:02d}" for i in range(60)],
            "model_class": classes,
            "group": [f"g{g:02d}" for g in group],
            "family": [f"f{g // 3}" for g in group],
            "capability": capability,
        }
    )
    for name, ratio in (("ratio_0.1", 0.1), ("ratio_1", 1.0), ("ratio_10", 10.0)):
        u = np.sqrt(ratio) * rng.normal(size=18)
        y = 0.5 * capability - 0.4 * (classes == "chat") + 0.3 * (classes == "reasoning") * capability
        y = y + u[group] + rng.normal(size=60)
        frame[name] = np.where(rng.random(60) < 0.1, np.nan, y)
    return frame.set_index("model")


if __name__ == "__main__":
    wide(load_table("helm-classic")).to_csv(HERE / "mixed_inputs_helm-classic.csv", float_format="%.12g")
    pairs().to_csv(HERE / "mixed_inputs_pairs.csv", float_format="%.12g")
    three().to_csv(HERE / "mixed_inputs_three.csv", float_format="%.12g")
    if "ren2024" in sys.argv:
        wide(load_table("ren2024")).to_csv(HERE / "mixed_inputs_ren2024.csv", float_format="%.17g")
