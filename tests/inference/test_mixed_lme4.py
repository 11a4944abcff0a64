"""Against lme4 and lmerTest: values and the R script that made them stand in tests/reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mixed_data import FOLDER, SETS, fit, fit_ren2024, read_inputs

from safetystats.inference.mixed import MixedFit

RELATIVE = 1e-5
"""Measured: 5e-7 at worst (group variance); lme4's and our optimiser stop at different points of a flat maximum."""
ABSOLUTE = 1e-6
"""For what is zero on the boundary."""
COLUMNS = (
    "estimate", "std_error", "freedom", "p_value", "group_variance", "residual_variance", "log_likelihood",
    "log_likelihood_ml",
)  # fmt: skip


def reference() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "mixed_lme4.csv", comment="#")


def compare(found: MixedFit, expected: pd.DataFrame) -> None:
    name = expected["benchmark"].iloc[0]
    assert found.terms == tuple(expected["term"])
    assert (found.n_models, found.n_groups) == (expected["n_models"].iloc[0], expected["n_groups"].iloc[0])
    assert found.status == ("boundary" if expected["singular"].iloc[0] else "ok"), name
    for column in COLUMNS:
        ours = np.broadcast_to(getattr(found, column), (len(expected),))
        np.testing.assert_allclose(ours, expected[column], rtol=RELATIVE, atol=ABSOLUTE, err_msg=f"{name}, {column}")


@pytest.mark.parametrize("name", SETS)
def test_equals_lme4(name: str) -> None:
    rows = reference()
    for benchmark, expected in rows[rows["set"] == name].groupby("benchmark", sort=False):
        compare(fit(read_inputs(name), benchmark), expected)


def test_equals_lme4_on_ren2024(mirror: Path) -> None:
    rows = reference()
    rows = rows[rows["set"] == "ren2024"]
    _, fits = fit_ren2024(mirror)
    asked = [name for name, found in fits.items() if found.status != "not_applicable"]
    assert set(asked) <= set(rows["benchmark"])
    for name in asked:
        compare(fits[name], rows[rows["benchmark"] == name])


def test_the_reference_says_what_made_it() -> None:
    header = (FOLDER / "mixed_lme4.csv").read_text(encoding="utf-8").splitlines()[0]
    assert "lme4 1." in header
    assert "R version" in header
    rows = reference()
    assert rows.loc[rows["set"] == "helm-classic", "benchmark"].nunique() >= 20
