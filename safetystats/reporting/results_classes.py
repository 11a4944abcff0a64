"""Numbers that the text quotes of the comparison of classes, by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from safetystats.reporting.prose import Value
from safetystats.reporting.results_checks import mechanical
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.crossed_tables import ALL
from safetystats.summaries.influence import UNITS as REMOVED
from safetystats.summaries.invariance import UNITS

SMALL_P = 0.05
"""Level at which adjusted p-values are counted."""

STATUSES = ("ok", "boundary", "ols_cluster_robust", "not_converged", "not_applicable")
TESTS = ("parametric_bootstrap", "likelihood_ratio", "cluster_robust_t")
KINDS: Mapping[str, str] = {"class": "class[", "interaction": "capability:class["}
"""How the terms of each kind begin."""
ORDER = ("fails", "withheld", "not distinguishable", "holds")
"""Verdicts of invariance, the one that says most against a common scale first."""
LEAVING = UNITS[-1]
"""Unit whose verdict the text goes by: models of one lineage are not independent."""

KEYED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "class_differences": (("class_a", "class_b", "benchmark"), ("delta", "lower", "upper", "p_positive", "n_pairs")),
    "posterior_differences": (
        ("class_a", "class_b", "benchmark"),
        ("delta", "lower", "upper", "p_positive", "p_equivalent", "unpaired_delta", "unpaired_lower", "unpaired_upper",
         "psi", "psi_lower", "psi_upper", "n_pairs", "statistic", "p_value", "p_adjusted"),
    ),
    "mixed_effects": (
        ("group", "benchmark", "term"),
        ("estimate", "std_error", "lower", "upper", "p_value", "p_adjusted", "p_holm", "estimate_imputed",
         "lower_imputed", "upper_imputed", "status"),
    ),
    "class_influence": (
        ("group", "unit", "benchmark", "term"),
        ("label", "estimate", "estimate_without", "p_value", "p_without", "dfbetas", "n_sign", "n_side", "changed_by"),
    ),
    "difference_influence": (
        ("class_a", "class_b", "benchmark", "end"),
        ("label", "delta_without", "lower_without", "upper_without", "change", "crosses", "r_label", "r_without"),
    ),
    "invariance": (
        ("unit", "invariance"),
        ("elpd", "elpd_error", "freer", "difference", "difference_error", "n_units", "n_refitted", "n_doubtful",
         "verdict"),
    ),
    "crossed_effects": (("level_of", "name", "term", "model_class"), ("mean", "sd", "lower", "upper", "p_positive")),
}  # fmt: skip
"""Tables of the comparison that go into the results row by row: keys and columns."""


def class_results(analysis: Analysis) -> dict[str, Value]:
    """Return counts, extremes and settings of the comparison of classes, by key.

    Keys of a pair end in `.a.b`, where the difference is a less b; of the mixed models, in the grouping and the kind of
    term (class, interaction). A study of one class has zeros and settings only.
    """
    tables = analysis.tables
    return {
        **_settings(analysis),
        **_bootstrap(tables["class_differences"]),
        **_differences(analysis),
        **_mixed(tables["mixed_effects"], tables["mixed_fits"], analysis.plan.mixed.groups),
        **_influence(tables["class_influence"], analysis.plan.mixed.groups),
        **_difference_influence(tables["difference_influence"]),
        **_reach(tables["capability_overlap"], tables["marginal_means"], analysis.plan.mixed.groups[0]),
        **_invariance(tables["invariance"], tables["invariance_loadings"]),
        **_crossed(tables["crossed_effects"], analysis.plan.table.classes),
        **_progress(tables["differential_progress"]),
        **_shifts(tables["lineage_shifts"]),
    }


def pairs_of(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield every pair of classes of a table with its rows."""
    for (first, second), part in frame.groupby(["class_a", "class_b"], sort=False):
        yield str(first), str(second), part


def clear(frame: pd.DataFrame, prefix: str = "") -> pd.Series:
    """Return which intervals leave out zero; one without ends does not."""
    return above(frame, prefix) | below(frame, prefix)


def above(frame: pd.DataFrame, prefix: str = "") -> pd.Series:
    """Return which intervals lie above zero."""
    return frame[f"{prefix}lower"].astype(float) > 0


def below(frame: pd.DataFrame, prefix: str = "") -> pd.Series:
    """Return which intervals lie below zero."""
    return frame[f"{prefix}upper"].astype(float) < 0


def of_kind(effects: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of class effects, or those of interactions."""
    return effects[effects["term"].astype(str).str.startswith(KINDS[kind])]


def _settings(analysis: Analysis) -> dict[str, Value]:
    plan = analysis.plan
    sampling, rule = plan.crossed.sampling, plan.invariance.rule
    return {
        "rope_difference": plan.study.rope.difference,
        "widest_equivalent": plan.study.rope.difference / float(stats.norm.ppf((1 + plan.study.rope.probability) / 2)),
        "small_p": SMALL_P,
        "paired_capability_draws": plan.factor.paired.capability_draws,
        "paired_draws_each": plan.factor.paired.draws_each,
        "mixed_replicates": plan.mixed.replicates,
        "mixed_replicates_small": plan.mixed.replicates_small,
        "mixed_imputations": plan.mixed.imputations,
        "invariance_elpd": rule.elpd,
        "invariance_errors": rule.errors,
        "crossed_chains": sampling.chains,
        "crossed_draws": sampling.draws,
        "crossed_tune": sampling.tune,
        "crossed_accept": sampling.target_accept,
    }


def _bootstrap(differences: pd.DataFrame) -> dict[str, Value]:
    return {
        "differences": int(differences["delta"].notna().sum()),
        "differences_clear": int(clear(differences).sum()),
    }


def _differences(analysis: Analysis) -> dict[str, Value]:
    frame, study, gates = analysis.tables["posterior_differences"], analysis.plan.study, analysis.plan.factor.gates
    found: dict[str, Value] = {
        "posterior_differences": len(frame),
        "posterior_differences_clear": int(clear(frame).sum()),
    }
    shared = mechanical(analysis)
    for first, second, part in pairs_of(frame):
        end = f"{first}.{second}"
        width, plain = part["upper"] - part["lower"], part["unpaired_upper"] - part["unpaired_lower"]
        missed = (part["pareto_k"].astype(float) > gates.pareto_k) | (part["effective"].astype(float) < gates.ess)
        found |= {
            f"difference.{end}": len(part),
            f"difference_clear.{end}": int(clear(part).sum()),
            f"smallest_sd.{end}": float(part["sd"].min()),
            f"difference_clear_shared.{end}": int((clear(part) & part["benchmark"].isin(shared)).sum()),
            f"difference_above.{end}": int(above(part).sum()),
            f"difference_below.{end}": int(below(part).sum()),
            f"difference_clear_unpaired.{end}": int(clear(part, "unpaired_").sum()),
            f"difference_clear_bootstrap.{end}": int(clear(part, "bootstrap_").sum()),
            f"equivalent.{end}": int((part["p_equivalent"] >= study.rope.probability).sum()),
            f"equivalent_unpaired.{end}": int((part["unpaired_p_equivalent"] >= study.rope.probability).sum()),
            f"largest_difference_of.{end}": str(part.loc[part["delta"].abs().idxmax(), "benchmark"]),
            f"psi_median.{end}": _median(part["psi"]),
            f"psi_clear.{end}": int(clear(part, "psi_").sum()),
            f"psi_known.{end}": int(part["psi"].notna().sum()),
            f"width_ratio.{end}": _median(width / plain),
            f"pairs_least.{end}": int(part["n_pairs"].min()),
            f"pairs_most.{end}": int(part["n_pairs"].max()),
            f"steiger.{end}": int(part["p_adjusted"].notna().sum()),
            f"steiger_small.{end}": int((part["p_adjusted"] < SMALL_P).sum()),
            f"pairing_missed.{end}": int(missed.sum()),
        }
    return found


def _mixed(effects: pd.DataFrame, fits: pd.DataFrame, groups: Sequence[str]) -> dict[str, Value]:
    found: dict[str, Value] = {"mixed_benchmarks": int(effects["benchmark"].nunique())}
    for group in groups:
        own = fits[fits["group"] == group]
        found |= {f"mixed_status.{group}.{status}": int((own["status"] == status).sum()) for status in STATUSES}
        tested = own["p_variance"].notna()
        found |= {
            f"mixed_fits.{group}": len(own),
            f"variance_tests.{group}": int(tested.sum()),
            f"variance_small.{group}": int((own["p_variance"] < SMALL_P).sum()),
            f"variance_differ.{group}": int(
                ((own["p_variance"] < SMALL_P) != (own["p_variance_chi_bar"] < SMALL_P))[tested].sum()
            ),
            f"r2_marginal.{group}": _median(own["r2_marginal"]),
            f"r2_conditional.{group}": _median(own["r2_conditional"]),
        }
        for kind in KINDS:
            found |= _tests(of_kind(effects[effects["group"] == group], kind), f"{group}.{kind}")
    for kind in KINDS:
        keyed = [_small(of_kind(effects[effects["group"] == group], kind)) for group in groups]
        shared = keyed[0].index.intersection(keyed[-1].index)
        found[f"mixed_shared.{kind}"] = len(shared)
        found[f"mixed_changes.{kind}"] = int((keyed[0].loc[shared] != keyed[-1].loc[shared]).sum())
    return found


def _tests(rows: pd.DataFrame, end: str) -> dict[str, Value]:
    """What the tests of one kind of term under one grouping say, and fits over draws of capability beside them."""
    imputed = rows[rows["estimate_imputed"].notna()]
    ratio = imputed["std_error_imputed"].astype(float) / imputed["std_error"].astype(float)
    moved = (imputed["estimate_imputed"] - imputed["estimate"]).astype(float)
    found: dict[str, Value] = {f"mixed_test.{end}.{test}": int((rows["test"] == test).sum()) for test in TESTS}
    found |= {
        f"mixed_tests.{end}": int(rows["p_value"].notna().sum()),
        f"mixed_bh.{end}": int((rows["p_adjusted"] < SMALL_P).sum()),
        f"mixed_holm.{end}": int((rows["p_holm"] < SMALL_P).sum()),
        f"mixed_unadjusted.{end}": int((rows["p_value"] < SMALL_P).sum()),
        f"mixed_most_replicates.{end}": int(rows["n_bootstrap"].max()) if len(rows) else 0,
        f"imputed.{end}": len(imputed),
        f"plug_in_clear.{end}": int(((imputed["lower"] > 0) | (imputed["upper"] < 0)).sum()),
        f"imputed_clear.{end}": int(((imputed["lower_imputed"] > 0) | (imputed["upper_imputed"] < 0)).sum()),
        f"imputed_error_ratio.{end}": _median(ratio),
        f"imputed_missing.{end}": _median(imputed["missing_information"]),
    }
    if len(imputed):
        found[f"imputed_largest_of.{end}"] = str(imputed.loc[moved.abs().idxmax(), "benchmark"])
        found[f"imputed_largest.{end}"] = float(moved[moved.abs().idxmax()])
    return found


def _influence(frame: pd.DataFrame, groups: Sequence[str]) -> dict[str, Value]:
    """How many tests change sides when one unit is left out, and which unit moves most estimates."""
    found: dict[str, Value] = {}
    for group in groups:
        for kind in KINDS:
            for unit in REMOVED:
                own = frame[(frame["group"] == group) & (frame["unit"] == unit)]
                own = of_kind(own, kind)
                small, changed = own["p_value"].astype(float) < SMALL_P, own["n_side"].astype(float) > 0
                end = f"{group}.{kind}.{unit}"
                found |= {
                    f"influence.{end}": len(own),
                    f"influence_small.{end}": int(small.sum()),
                    f"influence_large.{end}": int((~small).sum()),
                    f"influence_lost.{end}": int((small & changed).sum()),
                    f"influence_gained.{end}": int((~small & changed).sum()),
                    f"influence_sign.{end}": int((small & (own["n_sign"].astype(float) > 0)).sum()),
                }
                counts = own.loc[own["label"] != "", "label"].value_counts()
                found[f"influence_most.{end}"] = int(counts.iloc[0]) if len(counts) else 0
                if len(counts):
                    found[f"influence_most_of.{end}"] = str(counts.index[0])
    return found


def _difference_influence(frame: pd.DataFrame) -> dict[str, Value]:
    """How many differences of correlations change when one score is left out, and which changes most."""
    found: dict[str, Value] = {}
    for first, second, part in pairs_of(frame):
        end = f"{first}.{second}"
        part = part.reset_index(drop=True)
        moved = (part["delta_without"] - part["delta"]).astype(float)
        place = int(np.nanargmax(moved.abs().to_numpy()))  # the largest by the first look is always made anew
        off = part["benchmark"][clear(part)].unique()
        crossed = part["benchmark"][part["crosses"].astype(bool)].unique()
        found |= {
            f"difference_tried.{end}": int(part["benchmark"].nunique()),
            f"difference_tried_clear.{end}": len(off),
            f"difference_lost.{end}": len(set(crossed) & set(off)),
            f"difference_gained.{end}": len(set(crossed) - set(off)),
            f"difference_moved_of.{end}": str(part.loc[place, "benchmark"]),
            f"difference_moved_by.{end}": str(part.loc[place, "label"]),
            f"difference_moved.{end}": float(part.loc[place, "delta_without"]),
        }
    return found


def _small(rows: pd.DataFrame) -> pd.Series:
    """Return which tests have a small adjusted p-value, by benchmark and term; those without a test are left out."""
    tested = rows[rows["p_adjusted"].notna()].set_index(["benchmark", "term"])["p_adjusted"]
    return tested < SMALL_P


def _reach(overlap: pd.DataFrame, means: pd.DataFrame, group: str) -> dict[str, Value]:
    """How far the classes cover the same capabilities; the shares are medians over the benchmarks."""
    own = means[(means["group"] == group) & means["mean_sd"].notna()]
    found: dict[str, Value] = {
        "marginal_means": len(own),
        "marginal_extrapolated": int(own["extrapolated"].astype(bool).sum()),
    }
    for first, second, part in pairs_of(overlap):
        found |= {
            f"overlap_a.{first}.{second}": _median(part["share_a"]),
            f"overlap_b.{first}.{second}": _median(part["share_b"]),
            f"overlap_lower.{first}.{second}": _median(part["lower"]),
            f"overlap_upper.{first}.{second}": _median(part["upper"]),
        }
    return found


def _invariance(compared: pd.DataFrame, loadings: pd.DataFrame) -> dict[str, Value]:
    """Whether one scale of capability serves all classes: the gravest verdict, leaving out lineages."""
    found: dict[str, Value] = {"invariance_verdict": "not run"}
    for unit in UNITS:
        verdicts = set(compared.loc[compared["unit"] == unit, "verdict"].astype(str))
        gravest = next((verdict for verdict in ORDER if verdict in verdicts), "not run")
        found[f"invariance_verdict.{unit}"] = gravest
        if unit == LEAVING:
            found["invariance_verdict"] = gravest
    aligned = loadings[loadings["scale"] == "aligned"]
    for parameter in ("loading", "intercept"):
        rows = aligned[aligned["parameter"] == parameter]
        found[f"invariance_{parameter}s"] = len(rows)
        found[f"invariance_{parameter}s_clear"] = int(clear(rows).sum())
    return found


def _crossed(effects: pd.DataFrame, classes: Sequence[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for label in classes[1:]:
        for kind, term in (("class", "class"), ("interaction", "capability:class")):
            rows = effects[(effects["model_class"] == label) & (effects["term"] == term)]
            for level_of in ("area", "benchmark"):
                part = rows[rows["level_of"] == level_of]
                off = part[clear(part)]
                stem = f"crossed_{kind}.{label}.{level_of}"
                found |= {stem: len(part), f"{stem}.clear": len(off), f"{stem}.above": int(above(part).sum())}
                found |= {f"{stem}.{place}": str(name) for place, name in enumerate(off["name"])}
    return found


def _progress(progress: pd.DataFrame) -> dict[str, Value]:
    """Models with the largest excess over all benchmarks, and how many excesses have an interval off zero."""
    own = progress[progress["area"] == ALL].reset_index(drop=True)
    found: dict[str, Value] = {
        "progress_models": len(own),
        "progress_above": int(above(own, "excess_").sum()),
        "progress_below": int(below(own, "excess_").sum()),
        "progress_within_above": int(above(own, "within_class_").sum()),
        "progress_within_below": int(below(own, "within_class_").sum()),
    }
    if len(own):
        excess = own["excess"].astype(float)
        for name, place in (("highest", int(excess.idxmax())), ("lowest", int(excess.idxmin()))):
            found[f"progress_{name}_of"] = str(own.loc[place, "model"])
            found |= {
                f"progress_{name}/{end}": float(own[column].astype(float)[place])
                for end, column in (("mean", "excess"), ("lower", "excess_lower"), ("upper", "excess_upper"))
            }
    return found


def _shifts(shifts: pd.DataFrame) -> dict[str, Value]:
    """Shifts within lineages over all benchmarks: means over the pairs of models, and intervals off zero."""
    own = shifts[shifts["area"] == ALL]
    found: dict[str, Value] = {"shifts": len(own)}
    for first, second, part in pairs_of(own):
        end = f"{first}.{second}"
        found |= {f"shifts.{end}": len(part), f"shift_lineages.{end}": int(part["lineage"].nunique())}
        for what in ("capability_shift", "safety_shift", "explained", "unexplained"):
            found[f"{what}_mean.{end}"] = float(part[what].astype(float).mean())
            found[f"{what}_above.{end}"] = int(above(part, f"{what}_").sum())
            found[f"{what}_below.{end}"] = int(below(part, f"{what}_").sum())
    return found


def _median(values: pd.Series) -> float:
    known = values.astype(float).dropna().to_numpy()
    return float(np.median(known)) if known.size else float("nan")
