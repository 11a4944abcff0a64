"""Numbers that the text quotes of how far labels and verdicts depend on the set of models, by key."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.prose import Value
from safetystats.scores.model_sets import EXACT_SIZE, FEWEST_LEFT
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.set_closed import MARKED
from safetystats.summaries.set_context import NOISE, REGIONS

KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "smallest_sets": (
        ("model_class", "benchmark", "target"), ("stated", "n_removed", "lower_bound", "value", "value_without"),
    ),
    "reachable": (("model_class", "benchmark", "statistic", "k"), ("value", "lowest", "highest")),
    "parent_left_out": (
        ("model_class", "benchmark"), ("spearman", "spearman_without", "difference", "lower", "upper"),
    ),
}  # fmt: skip
"""Tables that go into the results row by row: keys and columns."""
GIVEN = ("yes", "marked", "refused", "no")


def model_sets_results(analysis: Analysis) -> dict[str, Value]:
    """Return counts and extremes of the tables about sets of models, by key and class."""
    tables, asked = analysis.tables, analysis.plan.study.questions
    found: dict[str, Value] = {
        "model_sets.asked": int(asked.model_sets), "model_sets.exact_size": EXACT_SIZE, "model_sets.noise": NOISE,
        "model_sets.fewest_left": FEWEST_LEFT, "vif_limit": asked.vif_limit, "vif_marked": MARKED * asked.vif_limit,
        "parent_rows": len(tables["parent_left_out"]),
    }  # fmt: skip
    for label in analysis.plan.table.classes:
        own = {name: tables[name][tables[name]["model_class"] == label] for name in MODEL_SETS_TABLES}
        found |= _smallest(label, own["smallest_sets"])
        found |= _reach(label, own["reachable"])
        found |= _influence(label, own["set_influence"])
        found |= _restricted(label, own["restricted_sets"])
        found |= _partial(label, own["partial_correlations"])
        found |= _parents(label, own["parent_left_out"])
    return found


def _smallest(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    """How many labels and verdicts change without sets of one, two and three models."""
    found: dict[str, Value] = {}
    for target in ("label_2024", "verdict"):
        own = frame[frame["target"] == target]
        size, settled = own["n_removed"].astype(float), own["stated"].isin(["high", "low", *REGIONS])
        end = f"{label}.{target}"
        found |= {
            f"flip_asked.{end}": int((own["stated"] != "withheld").sum()),
            f"flip_settled_asked.{end}": int(settled.sum()),
            f"flip_uncertified.{end}": int((~own["certified"].astype(bool) & (own["stated"] != "withheld")).sum()),
            f"flip_most.{end}": int(own["most"].max()) if len(own) else 0,
            f"flip_ever.{end}": int(size.notna().sum()),
        }
        for k in range(1, EXACT_SIZE + 1):
            found[f"flip.{end}.{k}"] = int((size <= k).sum())
            found[f"flip_settled.{end}.{k}"] = int((settled & (size <= k)).sum())
    return found


def _reach(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    """How wide the range of Spearman's coefficient is that leaving out k models can reach."""
    own = frame[frame["statistic"] == "spearman"]
    width = (own["highest"] - own["lowest"]).astype(float)
    found: dict[str, Value] = {f"reach_benchmarks.{label}": int(own["benchmark"].nunique())}
    for k in range(1, EXACT_SIZE + 1):
        chosen = width[own["k"].astype(float) == k]
        found[f"reach_median.{label}.{k}"] = float(chosen.median()) if len(chosen) else float("nan")
        if len(chosen):
            found[f"reach_largest.{label}.{k}"] = float(chosen.max())
            found[f"reach_largest_of.{label}.{k}"] = str(own.loc[chosen.idxmax(), "benchmark"])
    return found


def _influence(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    """How many verdicts and labels one model or family decides, and which decides most."""
    found: dict[str, Value] = {}
    for unit in ("model", "family"):
        own = frame[frame["unit"] == unit]
        flips, labels = own[own["flips"].astype(bool)], own[own["label_flips"].astype(bool)]
        end = f"{label}.{unit}"
        counts = flips["label"].value_counts()
        found |= {
            f"set_verdicts.{end}": int(flips["benchmark"].nunique()),
            f"set_labels.{end}": int(labels["benchmark"].nunique()),
            f"set_benchmarks.{end}": int(own["benchmark"].nunique()),
            f"set_most.{end}": int(counts.iloc[0]) if len(counts) else 0,
        }
        if len(counts):
            found[f"set_most_of.{end}"] = str(counts.index[0])
        change = own["change"].astype(float).abs()
        if change.notna().any():
            row = own.loc[change.idxmax()]
            found |= {
                f"set_change_of.{end}": str(row["benchmark"]), f"set_change_by.{end}": str(row["label"]),
                f"set_change_from.{end}": float(row["mean"]), f"set_change_to.{end}": float(row["mean_without"]),
            }  # fmt: skip
    return found


def _restricted(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    flips = frame["flips"].astype(bool)
    opposed = flips & frame["verdict"].isin(REGIONS) & frame["verdict_all"].isin(REGIONS)
    return {
        f"restricted_parts.{label}": int(frame.groupby(["restriction", "part"]).ngroups) if len(frame) else 0,
        f"restricted_rows.{label}": len(frame),
        f"restricted_flips.{label}": int(flips.sum()),
        f"restricted_opposed.{label}": int(opposed.sum()),
    }


def _partial(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for covariate, own in frame.groupby("covariate", sort=False):
        end = f"{label}.{covariate}"
        found |= {f"partial_{given}.{end}": int((own["given"] == given).sum()) for given in GIVEN}
        found[f"partial_vif.{end}"] = float(own["vif"].astype(float).median())
        shown = own[own["partial"].notna()]
        clear = ((shown["lower"] > 0) | (shown["upper"] < 0)).astype(bool)
        plain = ((shown["plain_lower"] > 0) | (shown["plain_upper"] < 0)).astype(bool)
        found |= {
            f"partial_clear.{end}": int(clear.sum()),
            f"partial_plain_clear.{end}": int(plain.sum()),
        }
    return found


def _parents(label: str, frame: pd.DataFrame) -> dict[str, Value]:
    found: dict[str, Value] = {
        f"parents.{label}": len(frame),
        f"parents_changed.{label}": int((frame["label_2024"] != frame["label_without"]).sum()),
    }
    moved = frame["difference"].astype(float).abs()
    if moved.notna().any():
        row: Mapping[str, Value] = frame.loc[moved.idxmax()].to_dict()
        found |= {
            f"parents_median.{label}": float(moved.median()),
            f"parents_largest_of.{label}": str(row["benchmark"]),
            f"parents_largest.{label}": float(row["difference"]),
        }
    return found
