"""A benchmark card: what a finished run says of one safety benchmark, as one nested mapping of plain values.

The mapping is the JSON form of the card; pages are written from it and hold no number of their own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from scipy import optimize, stats

from safetystats.errors import Fault, StudyError, suggest
from safetystats.summaries.finished import FinishedRun

SCHEMA = "safetystats/benchmark-card"
SCHEMA_VERSION = 1
"""Raised whenever a key is renamed, removed or changes its meaning; new keys alone do not raise it."""
REGIONS = ("entangled", "inverse", "distinct")
MOST_MODELS = 100_000
"""A number of models above this is no plan; the card then says that the mean lies too near the limit."""
K_LIMIT = 0.7
"""Pareto k above which a leave-one-out density is not reliable (Vehtari et al. 2024)."""

_CORRELATION = (
    "mean", "sd", "lower", "upper", "p_entangled", "p_distinct", "p_inverse", "verdict", "slope", "slope_lower",
    "slope_upper", "icc", "pareto_k",
)  # fmt: skip
_ENTRY = ("name", "role", "area", "headline", "metric", "direction", "unit", "lower", "upper", "chance", "n_items",
          "note")  # fmt: skip
_SOURCE = ("title", "url", "date", "licence")
_OF_ALL = ("mixed_scales", "one_source", "few_families", "missing_cells")
"""Findings on the table as a whole, which say nothing of one benchmark that is not in the report."""
_INTERVALS = ("bca", "family_bootstrap", "bayesian_bootstrap", "fisher")

Card = Mapping[str, Any]


def models_needed(
    mean: float, lower: float, upper: float, *, level: float, n: int, limit: float, probability: float
) -> float:
    """Return about how many models would settle a verdict if the estimate stayed where it is.

    The posterior of Fisher's z is taken as normal, centred at the mean, with the width of the interval; its variance
    is taken to fall as one over the number of models. It is an order of magnitude: more models of the same families
    say less than models of new ones.

    Parameters
    ----------
    mean, lower, upper : float
        Posterior mean of the correlation and its equal-tailed interval.
    level : float
        Coverage of the interval.
    n : int
        Models behind it.
    limit, probability : float
        Of the decision rule: a region (above `limit`, below `-limit`, between) must have this probability.

    Returns
    -------
    float
        At least `n`; infinity where the mean lies on a limit or beyond `MOST_MODELS` models.
    """
    centre, edge = math.atanh(mean), math.atanh(limit)
    error = (math.atanh(upper) - math.atanh(lower)) / (2 * stats.norm.ppf((1 + level) / 2))

    def chance(scale: float) -> float:
        above, below = (edge - centre) / (scale * error), (-edge - centre) / (scale * error)
        inside = stats.norm.cdf(above) - stats.norm.cdf(below)
        return float(max(stats.norm.sf(above), stats.norm.cdf(below), inside))

    if chance(1.0) >= probability:
        return float(n)
    smallest = math.sqrt(n / MOST_MODELS)
    if smallest >= 1 or chance(smallest) < probability:
        return math.inf
    scale = optimize.brentq(lambda s: chance(s) - probability, smallest, 1.0, xtol=1e-6)
    return float(math.ceil(n / float(scale) ** 2))


def card_names(run: FinishedRun) -> tuple[str, ...]:
    """Return the safety benchmarks of a run with a posterior in at least one class, in its order."""
    return tuple(dict.fromkeys(run.tables["posterior_correlations"]["benchmark"]))


def benchmark_card(run: FinishedRun, benchmark: str) -> Card:
    """Return the card of one benchmark.

    Parameters
    ----------
    run : FinishedRun
    benchmark : str
        Identifier of a safety benchmark.

    Returns
    -------
    mapping
        `schema`, `schema_version`, `benchmark` (the dictionary entry), `run`, `decision`, `classes` (by class: the cut
        and joint posterior, Spearman's coefficient, other estimands, what would change the verdict), `audit`.
        Numbers that do not exist are None.

    Raises
    ------
    StudyError
        If the run has no posterior of such a benchmark.
    """
    known = card_names(run)
    if benchmark not in known:
        raise StudyError(
            [
                Fault(
                    file=str(run.folder),
                    column="benchmark",
                    expected="a safety benchmark of the run",
                    got=f'"{benchmark}"{suggest(benchmark, known)}',
                    remedy=f"The run has: {', '.join(known)}.",
                )
            ]
        )
    study, record = run.study, run.record
    checks = record["gates"]["checks"]
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "benchmark": _entry(run, benchmark),
        "run": {
            "study": record["study"],
            "title": study.title,
            "table": record["table"]["name"],
            "table_title": run.scores.title if run.scores else record["table"]["name"],
            "data_sha256": record["table"]["fingerprint"],
            "factor_spec": study.factor,
            "factor_spec_sha256": record["specs"]["factor"]["fingerprint"],
            "seed": study.seed,
            "safetystats": record["versions"]["safetystats"],
            "gates_passed": record["gates"]["passed"],
            "failed_checks": [
                {"fit": check["fit"], "check": check["check"], "why": check["why"]}
                for check in checks
                if check["outcome"] == "fail"
            ],
        },
        "level": study.level,
        "decision": {
            "limit": study.rope.limit,
            "probability": study.rope.probability,
            "reason": study.rope.reason,
        },
        "classes": {label: _of_class(run, benchmark, label) for label in run.classes},
        "audit": _audit(run.tables["audit"], benchmark),
    }


def _entry(run: FinishedRun, benchmark: str) -> dict[str, Any]:
    if run.scores is None:
        posterior = run.tables["posterior_correlations"]
        area = str(posterior.loc[posterior["benchmark"] == benchmark, "area"].iloc[0])
        return {"id": benchmark, "name": benchmark, "area": area, "described": False, "why": run.scores_why}
    row = run.scores.benchmarks.loc[benchmark]
    found: dict[str, Any] = {"id": benchmark, "described": True, "why": ""}
    found |= {name: _plain(row[name]) for name in _ENTRY}
    source = str(row["source"])
    if source in run.scores.sources.index:
        found["source"] = {name: str(run.scores.sources.loc[source, name]) for name in _SOURCE}
    return found


def _of_class(run: FinishedRun, benchmark: str, label: str) -> dict[str, Any]:
    """Return what the run says of the benchmark in one class; `absent` says why where there is no posterior."""
    posterior = _rows(run.tables["posterior_correlations"], benchmark=benchmark, model_class=label)
    if not len(posterior):
        checks = run.record["gates"]["checks"]
        whys = [str(check["why"]) for check in checks if check["fit"] == f"safety/{label}/{benchmark}"]
        return {"absent": whys[0] if whys else "no posterior"}
    modes = {mode: posterior[posterior["mode"] == mode] for mode in ("cut", "joint")}
    cut = modes["cut"].iloc[0]
    found: dict[str, Any] = {
        "absent": "",
        "n_models": int(cut["n_models"]),
        "n_families": int(cut["n_families"]),
        "verdict": str(cut["verdict"]),
        "noise": _noise(run, benchmark, label) if cut["verdict"] == "withheld" else "",
    }
    found |= {mode: {name: _plain(rows.iloc[0][name]) for name in _CORRELATION} for mode, rows in modes.items()}
    found["spearman"] = _spearman(run.tables["capability_correlations"], benchmark, label)
    rows = _rows(run.tables["posterior_estimands"], benchmark=benchmark, model_class=label, mode="cut")
    found["estimands"] = {
        str(row["estimand"]): {name: _plain(row[name]) for name in ("mean", "lower", "upper")}
        for row in rows.to_dict("records")
    }
    found["change"] = _change(run, benchmark, label, found)
    return found


def _noise(run: FinishedRun, benchmark: str, label: str) -> str:
    """Return why "distinct" is withheld for noise; empty where it is not."""
    frame = run.tables.get("noise_or_distinct")
    if frame is None or frame.empty:
        return ""
    rows = _rows(frame, benchmark=benchmark, model_class=label)
    held = rows[(rows["verdict"] == "distinct") & (rows["verdict_after"] == "withheld")]
    return str(held["why"].iloc[0]) if len(held) else ""


def _spearman(frame: pd.DataFrame, benchmark: str, label: str) -> dict[str, Any]:
    """Return Spearman's coefficient of the aligned scores with the first interval of `_INTERVALS` that there is."""
    rows = _rows(frame, benchmark=benchmark, model_class=label, method="spearman")
    for kind in _INTERVALS:
        own = rows[(rows["interval"] == kind) & rows["lower"].notna()]
        if len(own):
            row = own.iloc[0]
            return {"interval": kind} | {name: _plain(row[name]) for name in ("correlation", "lower", "upper")}
    return {"interval": "", "correlation": None, "lower": None, "upper": None}


def _change(run: FinishedRun, benchmark: str, label: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what would change the verdict, as far as the tables of the run say."""
    study, cut, verdict = run.study, own["cut"], own["verdict"]
    nearest = max(REGIONS, key=lambda region: cut[f"p_{region}"])
    needed = models_needed(
        cut["mean"], cut["lower"], cut["upper"], level=study.level, n=own["n_models"], limit=study.rope.limit,
        probability=study.rope.probability,
    )  # fmt: skip
    sensitivity = _rows(run.tables["prior_sensitivity"], benchmark=benchmark, model_class=label)
    power, other = (sensitivity[sensitivity["how"] == how] for how in ("power scaling", "other prior"))
    changed = other[other["verdict"] != verdict]
    shrunken = _rows(run.tables["shrunken_correlations"], name=benchmark, unit="benchmark", model_class=label)
    specs = _rows(run.tables["spec_comparison"], unit="model", model_class=label)
    ours = specs[specs["spec"] == study.factor]
    return {
        "nearest": nearest,
        "nearest_probability": cut[f"p_{nearest}"],
        "settled": verdict in REGIONS,
        "models_needed": int(needed) if math.isfinite(needed) and not own["noise"] else None,
        **_futures(run, benchmark, label),
        "joint_verdict": own["joint"]["verdict"],
        "joint_differs": own["joint"]["verdict"] != verdict,
        "joint_gap": own["joint"]["mean"] - cut["mean"],
        "priors_tried": len(other),
        "priors_changing": len(changed),
        "priors_largest": _plain(other["change"].abs().max()) if len(other) else None,
        "priors": [
            {name: _plain(row[name]) for name in ("prior", "alternative", "mean", "verdict")}
            for row in changed.to_dict("records")
        ],
        "power_tried": len(power),
        "power_flagged": int((~power["diagnosis"].isin(["none", "not applicable", ""])).sum()),
        "shrunken": (
            {name: _plain(shrunken.iloc[0][name]) for name in ("mean", "lower", "upper", "verdict")}
            if len(shrunken)
            else None
        ),
        "specs_compared": len(specs) - len(ours),
        "spec_best": str(specs.loc[specs["elpd"].idxmax(), "spec"]) if specs["elpd"].notna().any() else "",
        "loo_units": int(ours["n_units"].iloc[0]) if len(ours) else 0,
        "loo_doubtful": int(ours["n_doubtful"].iloc[0]) if len(ours) else 0,
        "k_limit": K_LIMIT,
    }


def _futures(run: FinishedRun, benchmark: str, label: str) -> dict[str, Any]:
    """Return what the largest number of further models that the run simulated would do; None where it did not."""
    columns = (
        "further",
        "further_families",
        "n_simulations",
        "p_settled",
        "p_settled_error",
        "width",
        "width_expected",
    )
    rows = pd.DataFrame()
    if "models_to_settle" in run.tables:
        rows = _rows(run.tables["models_to_settle"], benchmark=benchmark, model_class=label)
    last = rows.loc[rows["further"].astype(float).idxmax()] if len(rows) else {}
    return {f"futures_{name}": _plain(last[name]) if len(rows) else None for name in columns}


def _audit(frame: pd.DataFrame, benchmark: str) -> list[dict[str, Any]]:
    """Return the findings that name the benchmark, the gravest first as they stand."""
    named = [
        f" {benchmark} " in f" {names} " and check not in _OF_ALL
        for names, check in zip(frame["benchmarks"], frame["check"], strict=True)
    ]
    return [
        {name: str(row[name]) for name in ("severity", "check", "model_class", "message", "remedy")}
        for row in frame[named].to_dict("records")
    ]


def _rows(frame: pd.DataFrame, **wanted: str) -> pd.DataFrame:
    keep = pd.Series(True, index=frame.index)
    for column, value in wanted.items():
        keep &= frame[column] == value
    return frame[keep]


def _plain(value: Any) -> Any:
    """Return a Python value; None where there is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
