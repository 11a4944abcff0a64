"""The mixed comparison inside a study: its tables conform to the glossary, and the spec's capability is what enters."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from safetystats.specs import MixedSpec, read_study
from safetystats.summaries import comparison
from safetystats.summaries.comparison import Scale, closed_capability, mixed_comparison
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.talk import Silence


def planned(capability: Literal["latent", "mean", "pca"]) -> Plan:
    spec = MixedSpec(
        kind="mixed", title="t", capability=capability, replicates=0, replicates_small=0, groups=("family",),
        imputations=5,
    )  # fmt: skip
    return replace(plan_study("helm-classic", read_study("helm-classic")), mixed=spec)


@pytest.mark.parametrize("capability", ["mean", "pca"])
def test_tables_of_a_closed_form_capability(capability: Literal["mean", "pca"]) -> None:
    plan = planned(capability)
    scale = Scale(capability=closed_capability(plan, capability), draws=None, kind=capability)
    tables, checks = mixed_comparison(plan, scale, Silence())
    assert set(tables) == set(comparison.MIXED)
    assert all(len(frame) for frame in tables.values())
    assert len(checks) == len(plan.aligned.columns("safety"))
    assert {check.outcome for check in checks} == {"pass"}
    assert tables["mixed_effects"]["estimate_imputed"].isna().all()
    assert set(tables["mixed_effects"]["group"]) == {"family"}


def test_draws_of_capability_are_used() -> None:
    plan = planned("latent")
    mean = closed_capability(plan, "mean")
    noise = np.random.default_rng(1).normal(size=(20, len(mean)))
    draws = pd.DataFrame(mean.to_numpy() + 0.2 * noise, columns=mean.index)
    found = mixed_comparison(plan, Scale(capability=mean, draws=draws, kind="latent"), Silence())
    effects = found[0]["mixed_effects"]
    assert set(effects["n_imputations"]) == {5}
    assert (effects["std_error_imputed"] > 0.0).all()
