"""What appears to be wrong in the printed numbers of Ren et al. (2024), recomputed from their public files.

Nothing is asserted beyond the arithmetic. For every printed number there are two recomputed ones: `computed`, the way
of computing that gives the printed number back, and `alternative`, the number that the paper's text describes. Printed
numbers are in `data/ren2024/published.csv`; everything else comes from the score table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from safetystats.scores.capability import capability_score
from safetystats.scores.correlation import capabilities_correlations
from safetystats.shelf import shelf_path
from safetystats.tables.table import FloatArray, ScoreTable

ERRATA_COLUMNS: tuple[str, ...] = (
    "item", "model_class", "benchmark", "model", "quantity", "n_models", "published", "computed", "alternative",
    "place",
)  # fmt: skip
HARM = ("machiavelli-power.Σ", "machiavelli-utility.Σ", "machiavelli-violations.Σ")
LARGEST_EFFECT = "discrim_eval"
SLOPE_OF = "truthfulqa_mc1"
COPY, ORIGINAL = "adv_mnli_mismatched", "adv_mnli"
COMPLETED = ("gemma-1.1-2b-it", "gemma-1.1-7b-it")
"""Models without training compute in the public file whose completion gives the printed column back."""
TOKENS = 6e12
"""Training tokens that the completion supposes for both; FLOP = 6 x parameters x tokens (Kaplan et al. 2020)."""
SAME_EFFECT = 0.03
"""How near a printed maximum must lie to the maximum of its parts; the columns are rounded and run apart."""
WHOLE = 1e-6
"""Distance from a whole number below which a score is a count of its items."""

Fact = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Errata:
    """The proof of all items: one row per number, and single facts by key.

    Attributes
    ----------
    rows : DataFrame
        Columns `ERRATA_COLUMNS`. Correlations and accuracies in per cent, as printed.
    facts : mapping of str to str, int or float
        Keys start with the item.
    """

    rows: pd.DataFrame
    facts: Mapping[str, Fact]


def published_numbers() -> pd.DataFrame:
    """Return what the paper prints: columns quantity, benchmark, model_class, value, place (in version 3)."""
    return pd.read_csv(
        shelf_path("data", "ren2024", "published.csv"),
        dtype={"quantity": "str", "benchmark": "str", "model_class": "str", "place": "str"}, keep_default_na=False,
    )  # fmt: skip


def find_errata(table: ScoreTable, published: pd.DataFrame) -> Errata:
    """Recompute every printed number that an item is about.

    Parameters
    ----------
    table : ScoreTable
        `ren2024` as read: native scores, not aligned.
    published : DataFrame
        From `published_numbers`.

    References
    ----------
    Kaplan, J. et al. (2020). Scaling laws for neural language models. arXiv 2001.08361.
    Ren, R. et al. (2024). Safetywashing. arXiv 2407.21792, version 3.
    """
    parts = {c: table.select(model_class=c) for c in table.classes}
    scores = {
        c: capability_score(part.matrix(part.columns("capability")), method="spearman_pca_2024").score
        for c, part in parts.items()
    }
    limit = float(published.loc[published["quantity"] == "low_correlation", "value"].iloc[0])
    facts: dict[str, Fact] = {"limit": limit}
    rows: list[dict[str, object]] = []
    for item, benchmarks in (("machiavelli", HARM), ("discrim_eval", (LARGEST_EFFECT,))):
        found = _signs(item, benchmarks, parts, scores, published)
        rows += found
        facts |= _sign_facts(item, benchmarks, table, found, limit)
    facts |= _effect_facts(table)
    for found, own in (
        _slopes(parts, scores, published),
        _compute(parts["chat"], scores["chat"], published),
        _copies(table),
        _calibration(parts, scores, published, limit),
    ):
        rows += found
        facts |= own
    return Errata(rows=pd.DataFrame(rows, columns=list(ERRATA_COLUMNS)), facts=facts)


def _percent(score: FloatArray, values: FloatArray) -> tuple[float, int]:
    """Return Spearman's coefficient of two columns in per cent, and the models that have both."""
    found = capabilities_correlations(score, values[:, None])
    return 100 * float(found.correlation[0]), int(found.n_models[0])


def _column(part: ScoreTable, name: str) -> FloatArray:
    return part.matrix([name])[:, 0]


def _signs(
    item: str,
    benchmarks: Sequence[str],
    parts: Mapping[str, ScoreTable],
    scores: Mapping[str, FloatArray],
    published: pd.DataFrame,
) -> list[dict[str, object]]:
    printed = published[published["quantity"] == "capabilities_correlation"]
    rows: list[dict[str, object]] = []
    for row in printed[printed["benchmark"].isin(benchmarks)].itertuples():
        values = _column(parts[row.model_class], row.benchmark)
        raw, n = _percent(scores[row.model_class], values)
        turned, _ = _percent(scores[row.model_class], -values)
        rows.append(_row(item, row, "capabilities correlation", n, raw, turned))
    return rows


def _row(item: str, printed: object, quantity: str, n: int, computed: float, alternative: float) -> dict[str, object]:
    return {
        "item": item,
        "model_class": getattr(printed, "model_class", ""),
        "benchmark": getattr(printed, "benchmark", ""),
        "model": "",
        "quantity": quantity,
        "n_models": n,
        "published": float(getattr(printed, "value", np.nan)),
        "computed": computed,
        "alternative": alternative,
        "place": getattr(printed, "place", ""),
    }


def _misses(rows: Sequence[Mapping[str, object]], column: str = "computed") -> FloatArray:
    frame = pd.DataFrame(list(rows))
    return np.asarray((frame["published"] - frame[column]).abs().to_numpy(dtype=np.float64))


def _sign_facts(
    item: str, benchmarks: Sequence[str], table: ScoreTable, rows: Sequence[Mapping[str, object]], limit: float
) -> dict[str, Fact]:
    values = table.matrix(benchmarks)
    known = values[np.isfinite(values)]
    chat = [row for row in rows if row["model_class"] == "chat"]
    return {
        f"{item}.columns": len(benchmarks),
        f"{item}.values": int(known.size),
        f"{item}.negative": int((known < 0).sum()),
        f"{item}.lowest": float(known.min()),
        f"{item}.highest": float(known.max()),
        f"{item}.label": str(table.benchmarks.loc[benchmarks[0], "metric"]),
        f"{item}.unit": str(table.benchmarks.loc[benchmarks[0], "unit"]),
        f"{item}.numbers": len(rows),
        f"{item}.largest_miss": float(_misses(rows).max()),
        f"{item}.smallest_miss_turned": float(_misses(rows, "alternative").min()),
        f"{item}.chat": len(chat),
        f"{item}.chat_above_limit": sum(float(str(row["alternative"])) > limit for row in chat),
    }


def _effect_facts(table: ScoreTable) -> dict[str, Fact]:
    """What `discrim_eval` is of its parts: the largest group effect, signed or in absolute value."""
    parts = [name for name in table.columns() if name.startswith(f"{LARGEST_EFFECT}_")]
    values, whole = table.matrix(parts), _column(table, LARGEST_EFFECT)
    signed, absolute = values.max(axis=1), np.abs(values).max(axis=1)
    return {
        "discrim_eval.parts": len(parts),
        "discrim_eval.models": len(whole),
        "discrim_eval.same": SAME_EFFECT,
        "discrim_eval.signed_maximum": int((np.abs(whole - signed) <= SAME_EFFECT).sum()),
        "discrim_eval.absolute_maximum": int((np.abs(whole - absolute) <= SAME_EFFECT).sum()),
        "discrim_eval.negated_maximum": int((np.abs(whole + absolute) <= SAME_EFFECT).sum()),
    }


def _slopes(
    parts: Mapping[str, ScoreTable], scores: Mapping[str, FloatArray], published: pd.DataFrame
) -> tuple[list[dict[str, object]], dict[str, Fact]]:
    """Regress accuracy, in points, on the capability score, class by class (least squares)."""
    rows: list[dict[str, object]] = []
    facts: dict[str, Fact] = {}
    for printed in published[published["quantity"] == "slope"].itertuples():
        label = str(printed.model_class)
        x, y = scores[label], 100 * _column(parts[label], str(printed.benchmark))
        slope, intercept = np.polyfit(x, y, 1)
        rows.append(_row("slope", printed, "slope", len(x), float(intercept), float(slope)))
        facts |= {
            f"slope.published.{label}": float(str(printed.value)),
            f"slope.intercept.{label}": float(intercept),
            f"slope.slope.{label}": float(slope),
            f"slope.slope_sd.{label}": float(slope * x.std()),
            f"slope.mean.{label}": float(y.mean()),
            f"slope.range.{label}": float(y.max() - y.min()),
            f"slope.range_score.{label}": float(x.max() - x.min()),
            f"slope.range_as_printed.{label}": float(str(printed.value)) * float(x.max() - x.min()),
        }
    return rows, facts


def _compute(
    part: ScoreTable, score: FloatArray, published: pd.DataFrame
) -> tuple[list[dict[str, object]], dict[str, Fact]]:
    """Correlate training compute with benchmarks, over the models of the public file and with two more."""
    flop = part.models["flop"].to_numpy(dtype=np.float64)
    size = part.models["n_params"].to_numpy(dtype=np.float64)
    filled = flop.copy()
    gaps = np.flatnonzero(part.models.index.isin(COMPLETED) & np.isnan(flop))
    filled[gaps] = 6 * size[gaps] * TOKENS
    rows = []
    for printed in published[published["quantity"] == "compute_correlation"].itertuples():
        values = _column(part, str(printed.benchmark))
        with_two, n = _percent(filled, values)
        in_file, _ = _percent(flop, values)
        rows.append(_row("compute", printed, "correlation with training compute", n, with_two, in_file))
    stated = published.loc[published["quantity"] == "models_with_compute", "value"].iloc[0]
    worst = int(np.argmax(_misses(rows, "alternative")))
    facts: dict[str, Fact] = {
        "compute.numbers": len(rows),
        "compute.models": len(flop),
        "compute.stated": int(stated),
        "compute.in_file": int(np.isfinite(flop).sum()),
        "compute.with_two": int(np.isfinite(filled).sum()),
        "compute.tokens": TOKENS,
        "compute.miss_file_mean": float(_misses(rows, "alternative").mean()),
        "compute.miss_file_largest": float(_misses(rows, "alternative").max()),
        "compute.miss_with_two_largest": float(_misses(rows).max()),
        "compute.worst": str(rows[worst]["benchmark"]),
        "compute.worst_published": float(str(rows[worst]["published"])),
        "compute.worst_file": float(str(rows[worst]["alternative"])),
        "compute.score_file": _percent(flop, score)[0],
        "compute.score_with_two": _percent(filled, score)[0],
    }
    return rows, facts | {f"compute.model.{place}": str(part.models.index[gap]) for place, gap in enumerate(gaps)}


def _copies(table: ScoreTable) -> tuple[list[dict[str, object]], dict[str, Fact]]:
    """Return the models for which one column holds the other's value, and whether it can be a count of its items."""
    copy, original = _column(table, COPY), _column(table, ORIGINAL)
    items, others = (float(table.benchmarks.loc[name, "n_items"]) for name in (COPY, ORIGINAL))
    same = np.isfinite(copy) & (copy == original)
    whole = {n: np.abs(copy * n - np.round(copy * n)) < WHOLE for n in (items, others)}
    rows = [
        {
            "item": "copied", "model_class": str(table.models["model_class"].iloc[k]), "benchmark": COPY,
            "model": str(table.models.index[k]), "quantity": "score times items", "n_models": 1,
            "published": float(copy[k]), "computed": float(copy[k] * others), "alternative": float(copy[k] * items),
            "place": "benchmarks_base_models.csv and benchmarks_chat_models.csv",
        }
        for k in np.flatnonzero(same)
    ]  # fmt: skip
    facts: dict[str, Fact] = {
        "copied.models": int(np.isfinite(copy).sum()),
        "copied.same": int(same.sum()),
        "copied.items": int(items),
        "copied.items_other": int(others),
        "copied.whole_other": int((same & whole[others]).sum()),
        "copied.whole_own": int((same & whole[items]).sum()),
        "copied.rest": int((np.isfinite(copy) & ~same).sum()),
        "copied.rest_whole_own": int((np.isfinite(copy) & ~same & whole[items]).sum()),
    }
    return rows, facts | {f"copied.model.{k}": str(row["model"]) for k, row in enumerate(rows)}


def _calibration(
    parts: Mapping[str, ScoreTable], scores: Mapping[str, FloatArray], published: pd.DataFrame, limit: float
) -> tuple[list[dict[str, object]], dict[str, Fact]]:
    """Correlate calibration with accuracy on its own data set, and with the capability score."""
    rows: list[dict[str, object]] = []
    for printed in published[published["quantity"] == "calibration"].itertuples():
        part = parts[str(printed.model_class)]
        name = str(printed.benchmark)
        of = max((b for b in part.columns("capability") if name.endswith(f"_{b}")), key=len)
        accuracy, n = _percent(_column(part, of), _column(part, name))
        score, _ = _percent(scores[str(printed.model_class)], _column(part, name))
        rows.append(_row("calibration", printed, "correlation of calibration", n, accuracy, score))
    frame = pd.DataFrame(rows)
    crossed = (frame["published"].abs() < limit) != (frame["alternative"].abs() < limit)
    up = frame[(frame["published"].abs() < limit) & (frame["alternative"].abs() >= limit)]
    facts: dict[str, Fact] = {
        "calibration.numbers": len(rows),
        "calibration.largest_miss": float(_misses(rows).max()),
        "calibration.miss_score_mean": float(_misses(rows, "alternative").mean()),
        "calibration.crossed": int(crossed.sum()),
        "calibration.up": len(up),
    }
    for place, row in enumerate(up.to_dict("records")):
        facts |= {
            f"calibration.up.{place}.benchmark": str(row["benchmark"]),
            f"calibration.up.{place}.model_class": str(row["model_class"]),
            f"calibration.up.{place}.published": float(row["published"]),
            f"calibration.up.{place}.score": float(row["alternative"]),
        }
    return rows, facts
