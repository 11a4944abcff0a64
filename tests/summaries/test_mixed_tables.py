"""The mixed comparison inside a study: its tables conform to the glossary, and the spec's capability is what enters."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import pytest

from safetystats.specs import MixedSpec, read_study
from safetystats.summaries.analysis import _mixed
from safetystats.summaries.glossary import TABLES
from safetystats.summaries.plan import Plan, plan_study
from safetystats.summaries.talk import Silence

NAMES = {"mixed_effects", "mixed_fits", "mixed_contrasts", "marginal_means", "capability_overlap"}


def planned(capability: Literal["latent", "mean", "pca"]) -> Plan:
    spec = MixedSpec(
        kind="mixed", title="t", capability=capability, replicates=0, replicates_small=0, groups=("family",),
        imputations=5,
    )  # fmt: skip
    return replace(plan_study("helm-classic", read_study("helm-classic")), mixed=spec)


@pytest.mark.parametrize("capability", ["mean", "pca"])
def test_tables_of_a_closed_form_capability(capability: Literal["mean", "pca"]) -> None:
    plan = planned(capability)
    tables, checks = _mixed(plan, Silence())
    assert set(tables) == NAMES
    for name, frame in tables.items():
        assert tuple(frame.columns) == TABLES[name]
        assert len(frame)
    assert len(checks) == len(plan.aligned.columns("safety"))
    assert {check.outcome for check in checks} == {"pass"}
    assert tables["mixed_effects"]["estimate_imputed"].isna().all()
    assert set(tables["mixed_effects"]["group"]) == {"family"}


def test_latent_capability_needs_draws_and_uses_them() -> None:
    plan = planned("latent")
    with pytest.raises(ValueError, match="needs draws"):
        _mixed(plan, Silence())
    z = plan.aligned.scores[plan.aligned.columns("capability")]
    mean = ((z - z.mean()) / z.std(ddof=0)).mean(axis=1)
    noise = np.random.default_rng(1).normal(size=(20, len(mean)))
    draws = pd.DataFrame(mean.to_numpy() + 0.2 * noise, columns=mean.index)
    effects = _mixed(plan, Silence(), draws)[0]["mixed_effects"]
    assert set(effects["n_imputations"]) == {5}
    assert (effects["std_error_imputed"] > 0.0).all()
