"""An assessment as one nested mapping of plain values: the JSON form of its card. Pages hold no number of their own."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from safetystats import __version__
from safetystats.inference.reference import Reference
from safetystats.specs import Rope
from safetystats.summaries.cards import REGIONS, models_needed
from safetystats.tables.own import OwnBenchmark, OwnScores

SCHEMA = "safetystats/assessment"
SCHEMA_VERSION = 1
"""Raised whenever a key is renamed, removed or changes its meaning; new keys alone do not raise it."""
GATE = "a check of the capability fit failed"
"""Why a verdict is withheld that is not withheld for noise."""
NARROW = 0.7
"""Spread of capability among the models with a score, relative to the class, below which the text warns."""
_CUT = (
    "mean", "sd", "lower", "upper", "p_entangled", "p_distinct", "p_inverse", "slope", "slope_lower", "slope_upper",
    "icc",
)  # fmt: skip
_LISTED = 5


def assessment_content(
    benchmark: OwnBenchmark,
    upper: float,
    scores: OwnScores,
    reference: Reference,
    matching: pd.DataFrame,
    correlations: pd.DataFrame,
    estimands: pd.DataFrame,
    influence: pd.DataFrame,
    rope: Rope,
    level: float,
) -> dict[str, Any]:
    """Return the content of a card.

    Parameters
    ----------
    benchmark : OwnBenchmark
    upper : float
        Top of its scale, NaN if it is not known to have one.
    scores : OwnScores
    reference : Reference
    matching, correlations, estimands, influence : DataFrame
        Of the `Assessment`.
    rope : Rope
    level : float

    Returns
    -------
    dict
        `schema`, `schema_version`, `benchmark`, `reference`, `level`, `decision`, `scores`, `matching`, `classes` (by
        class: `absent`, `n_models`, `verdict`, `verdict_why`, `cut`, `spearman`, `estimands`, `influence`, `change`).
        Numbers that do not exist are None; `change/models_needed` is one of an undetermined verdict only.
    """
    unmatched = matching[matching["model"] == ""]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "benchmark": {
            "name": benchmark.name,
            "direction": benchmark.direction,
            "unit": benchmark.unit,
            "n_items": benchmark.n_items,
            "scale": _plain(upper),
        },
        "reference": {
            "table": reference.name,
            "title": reference.title,
            "table_fingerprint": reference.table_fingerprint,
            "draws_sha256": reference.digest,
            "factor_spec": reference.spec_name,
            "factor_spec_sha256": reference.spec.fingerprint,
            "n_benchmarks": max(len(own.benchmarks) for own in reference.classes.values()),
            "seed": reference.seed,
            "fitted_with": str(reference.versions.get("safetystats", "")),
            "safetystats": __version__,
        },
        "level": level,
        "decision": {
            "limit": rope.limit,
            "probability": rope.probability,
            "reason": rope.reason,
            "least_reliability": reference.rules.least_reliability,
        },
        "scores": {
            "given": len(scores.scores),
            "empty": scores.n_empty,
            "matched": len(matching) - len(unmatched),
            "unmatched": len(unmatched),
        },
        "matching": [
            {name: _plain(row[name]) for name in ("given", "model", "model_class", "how", "through", "others", "score")}
            for row in matching.to_dict("records")
        ],
        "classes": {
            str(row["model_class"]): _of_class(row, estimands, influence, reference, rope, level)
            for row in correlations.to_dict("records")
        },
    }


def _of_class(
    row: dict[Any, Any],
    estimands: pd.DataFrame,
    influence: pd.DataFrame,
    reference: Reference,
    rope: Rope,
    level: float,
) -> dict[str, Any]:
    label = str(row["model_class"])
    counts = {"n_models": int(row["n_models"]), "n_reference": int(row["n_reference"])}
    if row["why"]:
        return {"absent": str(row["why"]), **counts}
    cut = {name: _plain(row[name]) for name in _CUT}
    nearest = max(REGIONS, key=lambda region: cut[f"p_{region}"])
    verdict = str(row["verdict"])
    needed = math.inf
    if verdict == "undetermined":
        # Where the normal approximation has it settled already, the draws say that it just is not.
        needed = max(
            counts["n_models"] + 1.0,
            models_needed(
                cut["mean"], cut["lower"], cut["upper"], level=level, n=counts["n_models"], limit=rope.limit,
                probability=rope.probability,
            ),
        )  # fmt: skip
    own = estimands[estimands["model_class"] == label]
    weighed = influence[influence["model_class"] == label]
    largest = weighed.loc[weighed["change"].abs().idxmax()] if weighed["change"].notna().any() else None
    changing = weighed[weighed["flips"].astype(bool)]
    return {
        "absent": "",
        **counts,
        "n_families": int(row["n_families"]),
        "capability_spread": _plain(row["capability_spread"]),
        "narrow": bool(row["capability_spread"] < NARROW),
        "verdict": verdict,
        "verdict_why": str(row["verdict_why"]),
        "failed": list(reference.classes[label].failed),
        "cut": cut,
        "spearman": {
            "interval": "fisher",
            "correlation": _plain(row["spearman"]),
            "lower": _plain(row["spearman_lower"]),
            "upper": _plain(row["spearman_upper"]),
            "n_models": _plain(row["n_spearman"]),
        },
        "estimands": {
            str(each["estimand"]): {name: _plain(each[name]) for name in ("mean", "lower", "upper")}
            for each in own.to_dict("records")
        },
        "influence": {
            "model": "" if largest is None else str(largest["model"]),
            "change": None if largest is None else _plain(largest["change"]),
            "mean_without": None if largest is None else _plain(largest["mean_without"]),
            "n_changing": len(changing),
            "changing": [str(model) for model in changing["model"].head(_LISTED)],
        },
        "change": {
            "nearest": nearest,
            "nearest_probability": cut[f"p_{nearest}"],
            "settled": verdict in REGIONS,
            "models_needed": int(needed) if math.isfinite(needed) else None,
        },
    }


def _plain(value: Any) -> Any:
    """Return a Python value; None where there is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
