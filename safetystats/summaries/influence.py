"""Does a class effect, an interaction or a difference of correlations rest on one model, or on one lineage?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from safetystats.inference.mixed_compare import Comparison
from safetystats.inference.mixed_influence import Deletions, each_label, leave_out
from safetystats.inference.mixed_values import Grouping
from safetystats.tables.table import ScoreTable

INFLUENCE_COLUMNS: tuple[str, ...] = (
    "benchmark", "area", "group", "term", "unit", "n_units", "n_refused", "estimate", "p_value", "label",
    "estimate_without", "std_error_without", "p_without", "dfbetas", "estimate_least", "estimate_most", "n_sign",
    "n_side", "changed_by",
)  # fmt: skip
SIDE = 0.05
"""Level whose sides are told apart; of the unadjusted chi-square test."""
UNITS = ("model", "lineage")
"""What is left out; relatives with the same deviation hide each other while only one of them goes."""
LISTED = 5
"""Most units named as changing a side."""


def class_influence(
    comparisons: Mapping[tuple[Grouping, str], Comparison], table: ScoreTable, capability: pd.Series
) -> pd.DataFrame:
    """Return what leaving out one model, or one lineage, does to every class effect and interaction.

    Capability and the scales stay those of all models. Fits without a test (`ols_cluster_robust`, `not_applicable`) have
    no row.

    Parameters
    ----------
    comparisons : mapping of (grouping, benchmark) to Comparison
        From `fit_mixed_table`, of this table and capability.
    table : ScoreTable
    capability : Series
        Of each model; those without one are in no fit.

    Returns
    -------
    DataFrame
        Columns `INFLUENCE_COLUMNS`. `label` is the unit whose removal changes the estimate most, by `dfbetas`, estimate
        less estimate without it over the standard error without it; `changed_by` the units whose removal takes the
        p-value to the other side of 0.05, the one that moves it most first.
    """
    known = np.isfinite(capability.reindex(table.scores.index).to_numpy(dtype=np.float64))
    rows = []
    for (grouping, name), comparison in comparisons.items():
        if comparison.fit.status not in ("ok", "boundary", "not_converged"):
            continue
        used = table.models[known & table.scores[name].notna().to_numpy()]
        members = {"model": [str(model) for model in used.index], "lineage": [str(each) for each in used["lineage"]]}
        for unit in UNITS:
            labels, left_out = each_label(members[unit])
            found = leave_out(comparison.rows, left_out, reml=comparison.fit.reml)
            place = {"benchmark": name, "area": str(table.benchmarks.loc[name, "area"]), "group": grouping, "unit": unit}
            rows += [
                place | _term(comparison, found, labels, term) for term in range(2, len(comparison.fit.terms))
            ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(INFLUENCE_COLUMNS))


def _term(comparison: Comparison, found: Deletions, labels: Sequence[str], term: int) -> dict[str, object]:
    """Return the columns of one term of one fit."""
    estimate, p_value = float(comparison.fit.estimate[term]), float(comparison.fit.p_value[term])
    without, p_without = found.estimate[:, term], found.p_value[:, term]
    change = (estimate - without) / found.std_error[:, term]
    fitted = np.isfinite(change)
    row: dict[str, object] = {
        "term": comparison.fit.terms[term], "n_units": len(labels), "n_refused": int((~fitted).sum()),
        "estimate": estimate, "p_value": p_value, "label": "", "estimate_without": np.nan, "std_error_without": np.nan,
        "p_without": np.nan, "dfbetas": np.nan, "estimate_least": np.nan, "estimate_most": np.nan, "n_sign": 0,
        "n_side": 0, "changed_by": "",
    }  # fmt: skip
    if not fitted.any():
        return row
    top = int(np.nanargmax(np.abs(change)))
    crossed = fitted & ((p_without < SIDE) != (p_value < SIDE))
    order = np.argsort(p_without if p_value >= SIDE else -p_without, kind="stable")
    return row | {
        "label": labels[top], "estimate_without": without[top], "std_error_without": found.std_error[top, term],
        "p_without": p_without[top], "dfbetas": change[top], "estimate_least": float(np.nanmin(without)),
        "estimate_most": float(np.nanmax(without)), "n_sign": int((fitted & (without * estimate < 0)).sum()),
        "n_side": int(crossed.sum()), "changed_by": " ".join([labels[i] for i in order if crossed[i]][:LISTED]),
    }  # fmt: skip
