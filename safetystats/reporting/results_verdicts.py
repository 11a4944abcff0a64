"""Numbers that the text quotes of verdicts over limits, ranks, slopes and further models, by key."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from safetystats.reporting.prose import Value
from safetystats.reporting.results_checks import mechanical
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.decision_rule import VERDICTS
from safetystats.summaries.liability import QUADRANTS
from safetystats.summaries.settling import first_settled
from safetystats.summaries.verdicts import QUANTITIES

SETTLE_CHANCE = 0.8
"""Share of futures with a settled verdict from which further models are said to be likely to settle it."""
SETTLED = ("entangled", "inverse")
_QUADRANTS = (*QUADRANTS, "undetermined", "withheld")

KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rank_order": (
        ("model_class", "quantity", "benchmark"), ("mean_rank", "rank_lower", "rank_upper", "p_top_quarter", "p_first"),
    ),
    "liability": (
        ("model_class", "benchmark"),
        ("smallest_effect", "effect_from", "p_high_large", "p_high_small", "p_low_large", "p_low_small", "quadrant",
         "sd_between", "sd_lower", "sd_upper", "share_at_floor", "share_at_ceiling"),
    ),
    "models_to_settle": (
        ("model_class", "benchmark", "further"),
        ("width", "width_expected", "width_error", "p_settled", "p_settled_error", "settled_entangled",
         "settled_distinct", "settled_inverse", "further_approximate"),
    ),
    "published_labels": (
        ("model_class", "benchmark"), ("published", "label", "verdict", "agreement", "share_entangled",
                                       "share_distinct", "share_inverse", "share_undetermined"),
    ),
}  # fmt: skip
"""Tables that go into the results row by row: keys and columns."""


def verdicts_results(analysis: Analysis) -> dict[str, Value]:
    """Return counts and extremes of the tables about verdicts, by key; keys of a class end in its name."""
    tables, classes = analysis.tables, analysis.plan.table.classes
    found: dict[str, Value] = {
        "settle_chance": SETTLE_CHANCE,
        "smallest_share": analysis.plan.study.questions.smallest_share,
    }
    shared = mechanical(analysis)
    sure = analysis.plan.study.rope.probability
    for label in classes:
        own = {
            name: frame[frame["model_class"] == label]
            for name, frame in tables.items()
            if name in ("verdict_curve", "rank_order", "liability", "models_to_settle", "published_labels")
        }
        found |= _curve(own["verdict_curve"], label) | _ranks(own["rank_order"], label, shared)
        found |= _liability(own["liability"], own["verdict_curve"], label, sure) | _settle(own, label)
        found |= _labels(own["published_labels"], label)
    curve, rows = tables["verdict_curve"], tables["models_to_settle"]
    if len(curve):
        found |= {"curve_low": float(curve["limit"].min()), "curve_high": float(curve["limit"].max())}
    if len(rows):
        found |= {"settle_least": int(rows["further"].min()), "settle_most": int(rows["further"].max())}
    return found


def _curve(curve: pd.DataFrame, label: str) -> dict[str, Value]:
    if curve.empty:
        return {}
    changing = curve.groupby("benchmark", sort=False)["changes"].any()
    stated = curve.loc[curve["stated"].astype(bool), "limit"].iloc[0]
    other = curve[curve["limit"] != stated]
    near = [limits.max() if below else limits.min()
            for below, limits in ((True, other.loc[other["limit"] < stated, "limit"]),
                                  (False, other.loc[other["limit"] > stated, "limit"])) if len(limits)]  # fmt: skip
    beside = curve[curve["limit"].isin(near)].groupby("benchmark", sort=False)["changes"].any()
    found: dict[str, Value] = {
        f"curve_benchmarks.{label}": len(changing),
        f"curve_constant.{label}": int((~changing.astype(bool)).sum()),
        f"curve_beside.{label}": int(beside.sum()),
    }
    for end, limit in (("low", curve["limit"].min()), ("high", curve["limit"].max())):
        words = curve.loc[curve["limit"] == limit, "verdict"]
        for word in VERDICTS:
            found[f"curve_{end}.{label}.{word}"] = int((words == word).sum())
    return found


def _ranks(ranks: pd.DataFrame, label: str, shared: Collection[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for quantity, key in zip(QUANTITIES, ("rho", "absolute"), strict=True):
        own = ranks[ranks["quantity"] == quantity]
        if own.empty:
            continue
        first = own.loc[own["p_first"].astype(float).idxmax()]
        found |= {
            f"rank_benchmarks.{label}": len(own),
            f"rank_width.{key}.{label}": float((own["rank_upper"] - own["rank_lower"] + 1).median()),
            f"rank_first_of.{key}.{label}": str(first["benchmark"]),
            f"rank_first.{key}.{label}": float(first["p_first"]),
            f"rank_first_shared.{key}.{label}": int(str(first["benchmark"]) in shared),
        }
    return found


def _liability(rows: pd.DataFrame, curve: pd.DataFrame, label: str, probability: float) -> dict[str, Value]:
    if rows.empty:
        return {}
    known = rows[rows["quadrant"].astype(str) != ""]
    counts = {word.replace(" ", "_"): int((known["quadrant"] == word).sum()) for word in _QUADRANTS}
    stated = curve[curve["stated"].astype(bool)].set_index("benchmark")["verdict"]
    settled = [name for name in known["benchmark"] if stated[name] in SETTLED]
    small = known[known["benchmark"].isin(settled) & (known["p_high_large"] < SETTLE_CHANCE)]
    flat, steep = known["p_high_small"] + known["p_low_small"], known["p_high_large"] + known["p_low_large"]
    return {
        f"liability_benchmarks.{label}": len(rows),
        f"liability_known.{label}": len(known),
        f"liability_stated.{label}": int((known["effect_from"] == "stated").sum()),
        **{f"liability.{label}.{word}": count for word, count in counts.items()},
        f"liability_settled.{label}": len(settled),
        f"liability_settled_small.{label}": len(small),
        f"liability_flat.{label}": int((flat >= probability).sum()),
        f"liability_steep.{label}": int((steep >= probability).sum()),
        f"liability_ceiling.{label}": int((known["share_at_ceiling"] >= 0.5).sum()),
        f"liability_floor.{label}": int((known["share_at_floor"] >= 0.5).sum()),
    }


def _settle(own: dict[str, pd.DataFrame], label: str) -> dict[str, Value]:
    rows, curve = own["models_to_settle"], own["verdict_curve"]
    if rows.empty:
        return {}
    stated = curve[curve["stated"].astype(bool)].set_index("benchmark")["verdict"]
    undecided = [name for name in dict.fromkeys(rows["benchmark"]) if stated[name] == "undetermined"]
    part = rows[rows["benchmark"].isin(undecided)]
    needed = {name: first_settled(each, SETTLE_CHANCE) for name, each in part.groupby("benchmark", sort=False)}
    most = rows["further"].max()
    approximate = part.drop_duplicates("benchmark")["further_approximate"].astype(float)
    last = part[part["further"] == most]
    found: dict[str, Value] = {
        f"settle_benchmarks.{label}": int(rows["benchmark"].nunique()),
        f"settle_open.{label}": len(undecided),
        f"settle_likely.{label}": sum(value == value for value in needed.values()),
        f"settle_approximate.{label}": int((approximate <= most).sum()),
    }
    if len(last):
        found |= {
            f"settle_last_median.{label}": float(last["p_settled"].median()),
            f"settle_width_ratio.{label}": float((last["width_expected"] / last["width"]).median()),
            f"settle_error.{label}": float(part["p_settled_error"].max()),
        }
    return found


def _labels(rows: pd.DataFrame, label: str) -> dict[str, Value]:
    found: dict[str, Value] = {f"labels.{label}": len(rows)}
    for word in ("low", "high"):
        own = rows[rows["label"] == word]
        found[f"labels.{label}.{word}"] = len(own)
        for state in ("confirmed", "contradicted", "open", "withheld", "not comparable"):
            found[f"labels.{label}.{word}.{state.replace(' ', '_')}"] = int((own["agreement"] == state).sum())
    return found
