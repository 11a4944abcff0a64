"""Numbers that the text quotes of bending, noise and specifications, by key."""

from __future__ import annotations

import pandas as pd

from safetystats.inference.bending import MIN_MODELS, STEEPNESS
from safetystats.reporting.prose import Value
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.bending import CAPABILITY_DRAWS as BENDING_DRAWS
from safetystats.summaries.specifications import CAPABILITY_DRAWS, CHOICES, POOLED

KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "bending": (
        ("model_class", "benchmark"),
        ("difference", "difference_error", "bends", "p_flatter", "explained_line", "explained_curve", "n_models"),
    ),
    "local_slopes": (("model_class", "benchmark", "place"), ("slope", "lower", "upper", "extrapolated")),
    "noise_or_distinct": (
        ("model_class", "benchmark"),
        ("error_share", "reliability", "true", "true_lower", "true_upper", "verdict", "verdict_true", "verdict_after",
         "why"),
    ),
    "specification_shares": (
        ("model_class", "benchmark"),
        ("n_specifications", "share_entangled", "share_distinct", "share_inverse", "share_undetermined", "n_whole",
         "whole_entangled", "whole_distinct", "whole_inverse", "whole_undetermined", "lowest", "median", "highest",
         "decisive"),
    ),
}  # fmt: skip
"""Tables that go into the results row by row: keys and columns."""

MOST = 0.9
"""Share of the specifications above which they are said to agree."""
NONE_TO_SPEAK_OF = 0.05
"""Share of the specifications up to which a verdict is not counted as one that some choices give."""


def relations_results(analysis: Analysis) -> dict[str, Value]:
    """Return counts and extremes of bending, noise and specifications, by class."""
    tables, rules = analysis.tables, analysis.plan.study.questions
    found: dict[str, Value] = {
        "bending_elpd": rules.bending_elpd, "bending_errors": rules.bending_errors,
        "least_reliability": rules.least_reliability, "bending_draws": BENDING_DRAWS,
        "specification_draws": CAPABILITY_DRAWS, "specs_agree_share": MOST, "specs_some_share": NONE_TO_SPEAK_OF,
        "bending_models": MIN_MODELS, "steepest": max(STEEPNESS), "flattest": min(STEEPNESS),
    }  # fmt: skip
    for label in analysis.plan.table.classes:
        found |= _bending(label, _of(tables["bending"], label))
        found |= _noise(label, _of(tables["noise_or_distinct"], label))
        found |= _specifications(label, _of(tables["specification_shares"], label))
    every = tables["specification_shares"]
    found |= {"specs_columns": len(every), "specs_no_logit": int((~every["has_logit"].astype(bool)).sum())}
    pooled = _of(every, POOLED)
    if len(pooled):
        found |= _specifications(POOLED, pooled)
    return found


def _of(frame: pd.DataFrame, label: str) -> pd.DataFrame:
    return frame[frame["model_class"] == label]


def _bending(label: str, own: pd.DataFrame) -> dict[str, Value]:
    bent = own[own["bends"].astype(bool)] if len(own) else own
    found: dict[str, Value] = {f"bending_known.{label}": len(own), f"bent.{label}": len(bent)}
    found |= {f"bent_of.{label}.{place}": str(name) for place, name in enumerate(bent["benchmark"])}
    if len(own):
        top = own.loc[own["difference"].astype(float).idxmax()]
        low = own.loc[own["difference"].astype(float).idxmin()]
        found |= {
            f"bending_most_of.{label}": str(top["benchmark"]), f"bending_most.{label}": float(top["difference"]),
            f"bending_most_error.{label}": float(top["difference_error"]),
            f"bending_least_of.{label}": str(low["benchmark"]), f"bending_least.{label}": float(low["difference"]),
            f"bending_least_error.{label}": float(low["difference_error"]),
        }  # fmt: skip
    return found


def _noise(label: str, own: pd.DataFrame) -> dict[str, Value]:
    known, distinct = own["reliability"].notna(), own["verdict"] == "distinct"
    held = own[own["verdict_after"] != own["verdict"]]
    found: dict[str, Value] = {
        f"noise_known.{label}": int(known.sum()), f"noise_all.{label}": len(own),
        f"noise_distinct.{label}": int(distinct.sum()), f"noise_withheld.{label}": len(held),
        f"noise_unknown_distinct.{label}": int((distinct & ~known).sum()),
        f"noise_unreliable.{label}": int((own["reliability"] < own["least_reliability"]).sum()),
    }  # fmt: skip
    found |= {f"noise_withheld_of.{label}.{place}": str(name) for place, name in enumerate(held["benchmark"])}
    moved = own[known & (own["verdict_true"] != own["verdict"]) & (own["verdict_true"] != "")]
    found[f"noise_moved.{label}"] = len(moved)
    return found


def _specifications(label: str, own: pd.DataFrame) -> dict[str, Value]:
    found: dict[str, Value] = {f"specs_benchmarks.{label}": len(own)}
    if own.empty:
        return found
    width = own["highest"].astype(float) - own["lowest"].astype(float)
    widest = own.loc[width.idxmax()]
    found |= {
        f"specs.{label}": int(own["n_specifications"].max()), f"specs_whole.{label}": int(own["n_whole"].max()),
        f"specs_width.{label}": float(width.median()), f"specs_widest_of.{label}": str(widest["benchmark"]),
        f"specs_widest_lowest.{label}": float(widest["lowest"]),
        f"specs_widest_highest.{label}": float(widest["highest"]),
    }  # fmt: skip
    for stem, key in (("share", "specs"), ("whole", "specs_whole")):
        shares = own[[f"{stem}_{verdict}" for verdict in ("entangled", "distinct", "inverse")]].astype(float)
        agree = own[[c for c in own.columns if c.startswith(f"{stem}_")]].astype(float).max(axis=1) >= MOST
        found |= {
            f"{key}_agree.{label}": int(agree.sum()),
            f"{key}_split.{label}": int(((shares > NONE_TO_SPEAK_OF).sum(axis=1) > 1).sum()),
            f"{key}_settled.{label}": int((shares.max(axis=1) >= MOST).sum()),
        }
    counts = own["decisive"].value_counts()
    for choice in CHOICES:
        found[f"specs_decisive.{label}.{choice}"] = int(counts.get(choice, 0))
    return found
