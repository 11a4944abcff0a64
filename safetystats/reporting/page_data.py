"""What the script of the HTML report draws and offers for download: capability, scores, and the tables of figures."""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Mapping

import pandas as pd

from safetystats.reporting.text import labels_for, one_line
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.crossed_tables import ALL

FIGURE_TABLES: Mapping[str, str] = {
    "loadings": "capability_loadings",
    "capability": "capability_scores",
    "forest": "posterior_correlations",
    "scree": "number_of_factors",
    "shrinkage": "shrunken_correlations",
    "class_differences": "posterior_differences",
    "marginal_means": "marginal_means",
    "lineage_shifts": "lineage_shifts",
    "verdict_curve": "verdict_curve",
    "liability": "liability",
    "reachable": "reachable",
    "bending": "bending_curves",
    "specification_curves": "specification_shares",
}
"""The table behind each figure; the figure of missing cells has the scores themselves."""
_DIGITS = 6
_LONGEST = 120


def page_data(analysis: Analysis) -> dict[str, object]:
    """Return what the script of a report draws and offers for download.

    `figures` has the table behind each figure as CSV, gzipped, in base64; `scatter` has capability and the aligned
    scores of every model.
    """
    figures = {name: analysis.tables[table] for name, table in FIGURE_TABLES.items() if len(analysis.tables[table])}
    scores = analysis.plan.aligned.select(roles=("capability", "safety")).scores
    figures["missing"] = scores.rename_axis("model").reset_index()
    return {"figures": {name: pack(frame) for name, frame in figures.items()}, "scatter": scatter_data(analysis)}


def pack(frame: pd.DataFrame) -> str:
    """Return a frame as CSV, gzipped without a date, in base64."""
    text = str(frame.to_csv(index=False, lineterminator="\n"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), mtime=0)).decode("ascii")


def scatter_data(analysis: Analysis) -> dict[str, object]:
    """Return models with their capability, and the aligned scores of every safety benchmark, in the same order.

    Capability is that of the common scale of all classes where there is one, else the posterior mean within the class.
    """
    plan, tables = analysis.plan, analysis.tables
    common = tables["common_capability"]
    scores = tables["capability_scores"]
    own = common if len(common) else scores[scores["method"] == "latent"]
    capability = own.set_index("model")[["score", "lower", "upper"]].astype(float)
    models, classes = plan.table.models, plan.table.classes
    names = labels_for({str(k): str(v) for k, v in models["name"].items()})
    benchmarks = plan.aligned.select(roles=("safety",))
    labels = labels_for({str(k): str(v) for k, v in plan.table.benchmarks["name"].items()})
    place = {str(model): k for k, model in enumerate(models.index)}
    shifts = tables["lineage_shifts"]
    pairs = shifts.loc[shifts["area"] == ALL, ["model_a", "model_b"]].drop_duplicates().to_numpy().tolist()
    one_scale = len(common) > 0 or len(classes) == 1
    return {
        "axis": "capability, sd" if one_scale else "capability, sd within the class",
        "words": "Every point is a model. Scores are aligned, so that higher is safer. Capability is the posterior mean"
        + (" on one scale for all classes." if len(common) else " within the class.")
        + (" An arrow leads from one class to another within a lineage." if pairs else ""),
        "classes": list(classes),
        "models": [
            {
                "name": one_line(names[str(model)], _LONGEST),
                "model_class": str(row["model_class"]),
                "kind": classes.index(str(row["model_class"])),
                "family": one_line(str(row["family"]), _LONGEST),
                "lineage": one_line(str(row["lineage"]), _LONGEST),
                "x": _number(capability["score"].get(model)),
                "lower": _number(capability["lower"].get(model)),
                "upper": _number(capability["upper"].get(model)),
            }
            for model, row in models.iterrows()
        ],
        "pairs": [[place[a], place[b]] for a, b in pairs if a in place and b in place],
        "benchmarks": [
            {
                "id": name,
                "label": one_line(labels[name], _LONGEST),
                "unit": one_line(str(benchmarks.benchmarks.loc[name, "unit"]), _LONGEST),
                "values": [_number(value) for value in benchmarks.scores.loc[models.index, name]],
            }
            for name in benchmarks.columns()
        ],
    }


def _number(value: object) -> float | None:
    found = float("nan") if value is None else float(str(value))
    return float(f"{found:.{_DIGITS}g}") if math.isfinite(found) else None
