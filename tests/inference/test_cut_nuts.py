"""The cut posterior against NUTS with capability held fixed: values and script stand in tests/reference."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from factor_data import REFERENCE, FloatArray, default_spec

from safetystats.inference.cut import CutDraws, cut_posterior
from safetystats.inference.problems import family_codes
from safetystats.specs import read_study
from safetystats.summaries.plan import plan_study

REPEATS = 500
"""Draws per capability vector on the fast route: 20 000 in all."""
POOLED, COPY = 0.01, 0.035
"""Means over all copies and of one copy; the latter is four errors of 500 independent draws with sd 0.2."""
ENDS = 0.02
"""Interval ends over all copies: four errors, on either side, of 20 000 draws."""


def reference() -> pd.DataFrame:
    return pd.read_csv(REFERENCE / "cut_by_nuts.csv", comment="#", dtype={"copy": "str"})


@pytest.fixture(scope="module")
def found() -> dict[str, CutDraws]:
    sys.path.insert(0, str(REFERENCE))
    try:
        from cut_by_nuts import BENCHMARKS, COPIES, NOISE, THETA_SEED
    finally:
        sys.path.remove(str(REFERENCE))
    part = plan_study("helm-classic", read_study("helm-classic")).prepared.select(model_class="chat")
    capability = np.nanmean(part.matrix(part.columns("capability")), axis=1)
    theta = capability + NOISE * np.random.default_rng(THETA_SEED).normal(size=(COPIES, part.n_models))
    y = part.matrix(BENCHMARKS)
    assert np.isnan(y).any()
    draws = cut_posterior(
        y, np.repeat(theta, REPEATS, axis=0), family_codes(part), default_spec().priors, default_spec().cut,
        [np.random.default_rng([5, i]) for i in range(len(BENCHMARKS))],
    )  # fmt: skip
    return {name: d for name, d in zip(BENCHMARKS, draws, strict=True) if d is not None}


def by_copy(values: FloatArray) -> FloatArray:
    return values.reshape(-1, REPEATS)


def test_pooled_posteriors_agree(found: dict[str, CutDraws]) -> None:
    rows = reference().query("copy == 'all'").set_index("benchmark")
    assert set(rows.index) == set(found)
    for name, row in rows.iterrows():
        draws = found[str(name)]
        assert draws.rho.mean() == pytest.approx(row["rho_mean"], abs=POOLED)
        assert draws.rho.std() == pytest.approx(row["rho_sd"], rel=0.03)
        ends = np.quantile(draws.rho, [0.025, 0.5, 0.975])
        np.testing.assert_allclose(ends, row[["rho_q025", "rho_q50", "rho_q975"]].astype(float), rtol=0, atol=ENDS)
        assert draws.total_sd.mean() == pytest.approx(row["s_mean"], abs=0.02)
        assert draws.icc.mean() == pytest.approx(row["kappa_mean"], abs=POOLED)


def test_every_copy_agrees(found: dict[str, CutDraws]) -> None:
    rows = reference().query("copy != 'all'")
    for name, part in rows.groupby("benchmark"):
        draws = found[str(name)]
        expected = part.assign(copy=part["copy"].astype(int)).sort_values("copy")
        np.testing.assert_allclose(by_copy(draws.rho).mean(1), expected["rho_mean"], rtol=0, atol=COPY, err_msg=name)
        gap = np.abs(by_copy(draws.rho).mean(1) - expected["rho_mean"].to_numpy())
        assert gap.mean() < 0.3 * COPY  # no drift hidden in the tolerance of a single copy
