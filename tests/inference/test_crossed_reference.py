"""The crossed model with effects integrated out against the same model with every effect sampled by PyMC and nutpie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from arviz_stats.base import array_stats
from crossed_data import crossed_spec, reference_data

from safetystats.inference.crossed import draw_crossed
from safetystats.inference.crossed_values import design_of
from safetystats.specs import SamplingPlan

REFERENCE = Path(__file__).parents[1] / "reference" / "crossed_by_nuts.csv"
PLAN = SamplingPlan(chains=2, draws=600, tune=200, target_accept=0.8)
ERRORS = 4.5
"""Monte Carlo standard errors of both; of 56 right answers one lies further away in about one seed of two thousand."""


def test_means_and_sds_are_those_of_the_graph_with_all_effects() -> None:
    wanted = pd.read_csv(REFERENCE, comment="#", index_col="parameter")
    data, spec = reference_data(), crossed_spec()
    tree = draw_crossed(design_of(data), data.capability, spec.priors, PLAN, seed=42)
    seen = []
    for name, row in wanted.iterrows():
        own, _, place = str(name).removesuffix("]").partition("[")
        values = tree["posterior"][own].to_numpy()
        values = values[..., int(place)] if place else values
        for method, found in (("mean", values.mean()), ("sd", values.std())):
            error = float(array_stats.mcse(values, method=method, chain_axis=0, draw_axis=1))
            seen.append((name, method, (found - row[method]) / np.hypot(error, row[f"{method}_error"])))
    assert len(seen) == 2 * (4 + 4 + 4 + 6 + data.scores.shape[1])
    far = [one for one in seen if not abs(one[2]) < ERRORS]
    assert not far
