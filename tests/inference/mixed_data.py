"""Inputs shared by the tests of the mixed-effects model: the committed CSV files that R has read as well."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from safetystats.inference.mixed import MixedFit, fit_mixed
from safetystats.inference.mixed_profile import FloatArray, IntArray
from safetystats.inference.mixed_values import Grouping
from safetystats.tables.ren2024 import load_ren2024
from safetystats.tables.table import ScoreTable

FOLDER = Path(__file__).resolve().parents[1] / "reference"
SETS = ("helm-classic", "pairs", "three")
GROUP_COLUMNS: dict[Grouping, str] = {"lineage": "group", "family": "family"}
LABELS = ["model", "model_class", "group", "family", "capability"]


@cache
def read_inputs(name: str) -> pd.DataFrame:
    """Return one committed input file."""
    return pd.read_csv(FOLDER / f"mixed_inputs_{name}.csv")


def score_names(name: str) -> list[str]:
    """Return the score columns of one input file."""
    return [column for column in read_inputs(name).columns if column not in LABELS]


def wide(table: ScoreTable) -> pd.DataFrame:
    """Return what mixed_inputs.py writes for a table."""
    spec = importlib.util.spec_from_file_location("mixed_inputs", FOLDER / "mixed_inputs.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    frame: pd.DataFrame = script.wide(table)
    return frame


def columns_of(data: pd.DataFrame, name: str) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return score, full design and group codes of one benchmark, rows without a score left out."""
    rows = data[data[name].notna() & data["capability"].notna()]
    capability = rows["capability"].to_numpy(dtype=np.float64)
    others = sorted(set(rows["model_class"]) - {"base"})
    dummies = np.column_stack([(rows["model_class"] == other).to_numpy(dtype=np.float64) for other in others])
    x = np.column_stack([np.ones(len(rows)), capability, dummies, dummies * capability[:, None]])
    return rows[name].to_numpy(dtype=np.float64), x, pd.factorize(rows["group"])[0].astype(np.int64)


def fit(data: pd.DataFrame, name: str, *, reml: bool = True, grouping: Grouping = "lineage") -> MixedFit:
    """Fit one score column of an input file, base being the reference."""
    return fit_mixed(
        data[name],
        data["capability"],
        data["model_class"],
        data[GROUP_COLUMNS[grouping]],
        reference_class="base",
        reml=reml,
        grouping=grouping,
    )


@cache
def fit_ren2024(mirror: Path, grouping: Grouping = "lineage") -> tuple[pd.DataFrame, dict[str, MixedFit]]:
    """Return inputs and REML fits of all safety benchmarks of ren2024; fitted once for all tests."""
    table = load_ren2024([mirror / "ren2024" / "upstream"])
    data = wide(table)
    safety = [name for name in table.columns(role="safety") if name in data.columns]
    return data, {name: fit(data, name, grouping=grouping) for name in safety}
