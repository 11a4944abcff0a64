"""Tables of the comparison of classes as a full study would write them, made by hand: what the text says is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from safetystats.summaries.analysis import Analysis
from safetystats.summaries.glossary import TABLES, conform

FACTS: Mapping[str, str | int | float] = {
    "common_scale": "latent",
    "crossed_benchmarks": 12, "crossed_models": 67, "crossed_areas": 3, "crossed_lineages": 52, "crossed_cells": 700,
    "crossed_imputations": 1, "crossed.model_sd": 0.3, "crossed.model_area_sd": 0.2, "crossed.lineage_share": 0.6,
    "crossed.lineage_area_share": 0.4,
}  # fmt: skip
GROUPS = ("lineage", "family")


def class_tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return every table of the comparison for the classes, models and benchmarks of an analysis."""
    plan = analysis.plan
    areas = {str(b): str(plan.aligned.benchmarks.loc[b, "area"]) for b in plan.aligned.columns("safety")}
    capability = [str(b) for b in plan.aligned.columns("capability")]
    return made(plan.table.classes, areas, plan.table.models, capability)


def made(
    classes: Sequence[str],
    areas: Mapping[str, str],
    models: pd.DataFrame,
    capability: Sequence[str] = ("mmlu", "boolq"),
) -> dict[str, pd.DataFrame]:
    """Return every table; `areas` by benchmark, `models` as in a `ScoreTable`."""
    frames = {
        "posterior_differences": posterior_differences(classes, areas),
        "difference_influence": difference_influence(classes, areas, models),
        "common_capability": pd.DataFrame(columns=list(TABLES["common_capability"])),
        "invariance": invariance(),
        "invariance_loadings": invariance_loadings(classes, capability),
        "mixed_effects": mixed_effects(classes, areas),
        "mixed_fits": mixed_fits(areas),
        "mixed_contrasts": pd.DataFrame(columns=list(TABLES["mixed_contrasts"])),
        "marginal_means": marginal_means(classes, areas),
        "capability_overlap": capability_overlap(classes, areas),
        "class_influence": class_influence(classes, areas, models),
        "crossed_effects": crossed_effects(classes, areas),
        "differential_progress": differential_progress(areas, models),
        "lineage_shifts": lineage_shifts(classes, areas, models),
    }
    return {name: conform(name, frame) for name, frame in frames.items()}


def pairs(classes: Sequence[str]) -> list[tuple[str, str]]:
    return [(later, earlier) for earlier, later in combinations(classes, 2)]


def posterior_differences(classes: Sequence[str], areas: Mapping[str, str]) -> pd.DataFrame:
    """The first benchmark of every pair differs by 0.5, clear of zero only when paired; the last is equivalent."""
    blank = dict.fromkeys(TABLES["posterior_differences"], np.nan)
    rows = []
    for first, second in pairs(classes):
        for place, (name, area) in enumerate(areas.items()):
            delta = 0.5 if place == 0 else 0.0
            known = place > 0 or len(areas) == 1
            rows.append(
                blank | {"benchmark": name, "area": area, "class_a": first, "class_b": second, "n_a": 25, "n_b": 42,
                         "n_pairs": 14 if known else 12, "rho_a": delta, "rho_b": 0.0, "delta": delta, "sd": 0.2,
                         "lower": delta - 0.4, "upper": delta + 0.4, "level": 0.95,
                         "p_positive": 0.99 if place == 0 else 0.5,
                         "p_equivalent": 0.96 if place == len(areas) - 1 else 0.4, "unpaired_delta": delta,
                         "unpaired_sd": 0.25, "unpaired_lower": delta - 0.5, "unpaired_upper": delta + 0.5,
                         "unpaired_p_positive": 0.95, "unpaired_p_equivalent": 0.3, "psi": 0.6, "psi_lower": 0.1,
                         "psi_upper": 0.9, "pareto_k": 0.3, "effective": 900.0, "bootstrap_delta": delta,
                         "bootstrap_lower": delta - 0.45, "bootstrap_upper": delta + 0.45, "bootstrap_p_positive": 0.98,
                         "r_a": delta, "r_b": 0.0, "r_lower": -0.1, "r_upper": 0.9, "error_correlation": 0.3,
                         "statistic": 2.0, "p_value": 0.04, "p_adjusted": 0.04 if place == 0 else 0.4}
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["posterior_differences"]))


def invariance(metric: str = "holds", scalar: str = "fails") -> pd.DataFrame:
    rows = []
    for unit, n in (("model", 67), ("lineage", 52)):
        for place, (name, freer, verdict) in enumerate(
            (("configural", "", "reference"), ("metric", "configural", metric), ("scalar", "metric", scalar))
        ):
            rows.append(
                {"unit": unit, "invariance": name, "elpd": -500.0 - 9 * place, "elpd_error": 30.0, "p_loo": 25.0,
                 "freer": freer, "difference": -9.0 if place else np.nan, "difference_error": 3.0 if place else np.nan,
                 "n_units": n, "n_refitted": 2, "n_doubtful": 0, "pareto_k": 0.5, "verdict": verdict, "sentence": ""}
            )  # fmt: skip
    return pd.DataFrame(rows)


def invariance_loadings(classes: Sequence[str], capability: Sequence[str]) -> pd.DataFrame:
    """On the aligned scale the intercept of the first benchmark differs, and no loading."""
    rows = [
        {"benchmark": name, "area": "", "parameter": parameter, "scale": scale, "class_a": label, "class_b": classes[0],
         "value_a": 0.75, "value_b": 0.25, "delta": 0.5, "level": 0.95, "p_positive": 0.9, "upper": 1.25,
         "lower": 0.125 if parameter == "intercept" and scale == "aligned" and place == 0 else -0.25}
        for label in classes[1:]
        for scale in ("own", "aligned")
        for parameter in ("loading", "intercept")
        for place, name in enumerate(capability)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["invariance_loadings"]))


def mixed_effects(classes: Sequence[str], areas: Mapping[str, str]) -> pd.DataFrame:
    """The class effect of the first benchmark is small in p by lineage, also after Holm, and not by family."""
    blank = dict.fromkeys(TABLES["mixed_effects"], np.nan)
    terms = ["intercept", "capability"]
    for label in classes[1:]:
        terms += [f"class[{label}]", f"capability:class[{label}]"]
    rows = []
    for group in GROUPS:
        for place, (name, area) in enumerate(areas.items()):
            status = "boundary" if place == 1 else "ok"
            for term in terms:
                small = place == 0 and term.startswith("class[")
                p = 0.001 if small and group == "lineage" else 0.2
                rows.append(
                    blank | {"benchmark": name, "area": area, "group": group, "term": term, "estimate": 0.5,
                             "std_error": 0.2, "lower": 0.1, "upper": 0.9, "test": "parametric_bootstrap",
                             "p_value": p, "p_error": 0.0003, "n_bootstrap": 9999 if p < 0.1 else 999,
                             "p_adjusted": min(1.0, 2 * p), "p_holm": min(1.0, 12 * p), "p_likelihood_ratio": p,
                             "estimate_imputed": 0.375, "std_error_imputed": 0.25, "lower_imputed": -0.125,
                             "upper_imputed": 0.875, "p_imputed": 0.15, "missing_information": 0.1,
                             "n_imputations": 50, "n_models": 66, "n_groups": 52 if group == "lineage" else 25,
                             "status": status}
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["mixed_effects"]))


def class_influence(classes: Sequence[str], areas: Mapping[str, str], models: pd.DataFrame) -> pd.DataFrame:
    """Without the first model (or lineage) the class effect of the first benchmark is gone, and changes its sign."""
    rows = []
    for group in GROUPS:
        for unit, labels in (("model", [str(m) for m in models.index]), ("lineage", list(models["lineage"].unique()))):
            for place, (name, area) in enumerate(areas.items()):
                for label in classes[1:]:
                    for term in (f"class[{label}]", f"capability:class[{label}]"):
                        gone = place == 0 and term.startswith("class[") and group == "lineage"
                        rows.append(
                            {"benchmark": name, "area": area, "group": group, "term": term, "unit": unit,
                             "n_units": len(labels), "n_refused": 0, "estimate": 0.5, "p_value": 0.001 if gone else 0.2,
                             "label": str(labels[0]), "estimate_without": -0.125 if gone else 0.375,
                             "std_error_without": 0.25, "p_without": 0.6 if gone else 0.3,
                             "dfbetas": 2.5 if gone else 0.5, "estimate_least": -0.125, "estimate_most": 0.75,
                             "n_sign": int(gone), "n_side": int(gone), "changed_by": str(labels[0]) if gone else ""}
                        )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["class_influence"]))


def difference_influence(classes: Sequence[str], areas: Mapping[str, str], models: pd.DataFrame) -> pd.DataFrame:
    """Without one model of the later class the first difference of every pair is 0.25 and takes zero in."""
    rows = []
    for first, second in pairs(classes):
        label = str(models.index[models["model_class"] == first][0])
        for place, (name, area) in enumerate(areas.items()):
            for end in ("lowest", "highest"):
                delta, gone = (0.5 if place == 0 else 0.0), place == 0 and end == "lowest"
                without = delta - 0.25 if end == "lowest" else delta + 0.125
                rows.append(
                    {"benchmark": name, "area": area, "class_a": first, "class_b": second, "end": end, "label": label,
                     "model_class": first, "n_units": 67, "delta": delta, "lower": delta - 0.4, "upper": delta + 0.4,
                     "delta_without": without, "lower_without": without - 0.4, "upper_without": without + 0.4,
                     "level": 0.95, "p_positive_without": 0.9, "change": (without - delta) / 0.2, "crosses": gone,
                     "first_look": (without - delta) / 0.2,
                     "pareto_k": 0.3, "effective": 900.0, "r_delta": delta, "r_label": label,
                     "r_without": without}
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["difference_influence"]))


def mixed_fits(areas: Mapping[str, str]) -> pd.DataFrame:
    blank = dict.fromkeys(TABLES["mixed_fits"], np.nan) | {"why": "", "optimiser": "lbfgs"}
    rows = [
        blank | {"benchmark": name, "area": area, "group": group, "status": "boundary" if place == 1 else "ok",
                 "n_models": 66, "n_groups": 52, "n_paired": 14, "n_dropped": 0, "r2_marginal": 0.25,
                 "r2_conditional": 0.5, "p_variance": 0.01 if place == 0 else 0.5,
                 "p_variance_chi_bar": 0.06 if place == 0 else 0.5, "n_bootstrap": 9999, "n_imputations": 50}
        for group in GROUPS
        for place, (name, area) in enumerate(areas.items())
    ]  # fmt: skip
    return pd.DataFrame(rows)


def marginal_means(classes: Sequence[str], areas: Mapping[str, str]) -> pd.DataFrame:
    """Lines that rise by 0.4 and lie 0.3 apart; at capability 1 every class but the last is extrapolated."""
    rows = []
    for group in GROUPS:
        for name, area in areas.items():
            for step, label in enumerate(classes):
                for x in (-1.0, 0.0, 1.0):
                    mean = 0.4 * x + 0.3 * step
                    rows.append(
                        {"benchmark": name, "area": area, "group": group, "model_class": label, "capability": x,
                         "mean": 10 * mean, "lower": 10 * mean - 3, "upper": 10 * mean + 3, "mean_sd": mean,
                         "lower_sd": mean - 0.3, "upper_sd": mean + 0.3, "level": 0.95,
                         "extrapolated": x == 1.0 and step < len(classes) - 1, "n_models": 30, "status": "ok"}
                    )  # fmt: skip
    return pd.DataFrame(rows)


def capability_overlap(classes: Sequence[str], areas: Mapping[str, str]) -> pd.DataFrame:
    rows = [
        {"benchmark": name, "area": area, "class_a": first, "class_b": second, "n_a": 25, "n_b": 42, "share_a": 0.75,
         "share_b": 0.5, "lower": -1.25, "upper": 0.75}
        for first, second in pairs(classes)
        for name, area in areas.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["capability_overlap"]))


def crossed_effects(classes: Sequence[str], areas: Mapping[str, str]) -> pd.DataFrame:
    """Overall class effects have intervals with zero; that of the first area, and its benchmarks, has one without."""
    order = list(dict.fromkeys(areas.values()))
    places = [("overall", "overall", "", len(areas))]
    places += [("area", area, area, sum(a == area for a in areas.values())) for area in order]
    places += [("benchmark", name, area, 1) for name, area in areas.items()]
    terms = [(term, label) for label in classes for term in ("intercept", "capability")]
    terms += [(term, label) for label in classes[1:] for term in ("class", "capability:class")]
    rows = []
    for level_of, name, area, n in places:
        for term, label in terms:
            off = term == "class" and area == order[0]
            mean = 0.5 if off else 0.125
            rows.append(
                {"level_of": level_of, "name": name, "area": area, "term": term, "model_class": label,
                 "n_benchmarks": n, "mean": mean, "sd": 0.1, "lower": mean - 0.25, "upper": mean + 0.25, "level": 0.95,
                 "p_positive": 0.99 if off else 0.75}
            )  # fmt: skip
    return pd.DataFrame(rows)


def differential_progress(areas: Mapping[str, str], models: pd.DataFrame) -> pd.DataFrame:
    """Excess falls from the first model to the last; the three first lie above zero, the two last below it."""
    n = len(models)
    steps = np.linspace(0.5, -0.5, n)
    frames = []
    for area in [*dict.fromkeys(areas.values()), "all"]:
        x = np.linspace(-1.5, 1.5, n)[::-1]
        half = np.where(np.arange(n) < 3, 0.1, np.where(np.arange(n) >= n - 2, 0.1, 2.0))
        frames.append(
            pd.DataFrame(
                {"model": models.index.astype(str), "model_class": models["model_class"].to_numpy(),
                 "family": models["family"].to_numpy(), "lineage": models["lineage"].to_numpy(), "area": area,
                 "n_benchmarks": 4, "n_scores": 4, "capability": x, "safety": 0.3 * x + steps, "expected": 0.3 * x,
                 "excess": steps, "excess_sd": 0.1, "excess_lower": steps - half, "excess_upper": steps + half,
                 "excess_p_positive": 0.5, "within_class": steps / 2, "within_class_sd": 0.1,
                 "within_class_lower": steps / 2 - 1, "within_class_upper": steps / 2 + 1,
                 "within_class_p_positive": 0.5, "level": 0.95}
            )
        )  # fmt: skip
    return pd.concat(frames, ignore_index=True)


def lineage_shifts(classes: Sequence[str], areas: Mapping[str, str], models: pd.DataFrame) -> pd.DataFrame:
    """Capability rises by 0.25 and safety by 0.5, of which 0.125 is explained; in the last lineage only, clear of zero.

    Lineages with a model in an earlier class and in a later one; the first of each.
    """
    rows = []
    label = models["model_class"].astype(str)
    for earlier, other in combinations(classes, 2):
        shared = [
            (line, part.index[label[part.index] == earlier], part.index[label[part.index] == other])
            for line, part in models.groupby("lineage", sort=False)
        ]
        shared = [(line, base, tuned) for line, base, tuned in shared if len(base) and len(tuned)]
        for place, (line, base, tuned) in enumerate(shared):
            x, half = 2 * place / max(len(shared) - 1, 1) - 1, 0.2 if place == len(shared) - 1 else 1.0
            for area in [*dict.fromkeys(areas.values()), "all"]:
                rows.append(
                    {"lineage": str(line), "family": str(models.loc[base[0], "family"]), "area": area,
                     "n_benchmarks": 4, "class_a": earlier, "class_b": other, "model_a": str(base[0]),
                     "model_b": str(tuned[0]), "capability_a": x, "capability_b": x + 0.25, "safety_a": 0.3 * x,
                     "safety_b": 0.3 * x + 0.5, "capability_shift": 0.25, "capability_shift_lower": 0.25,
                     "capability_shift_upper": 0.25, "safety_shift": 0.5, "safety_shift_lower": 0.5 - half,
                     "safety_shift_upper": 0.5 + half, "safety_shift_p_positive": 0.9, "explained": 0.125,
                     "explained_lower": 0.1, "explained_upper": 0.15, "unexplained": 0.375,
                     "unexplained_lower": 0.375 - half, "unexplained_upper": 0.375 + half,
                     "unexplained_p_positive": 0.9, "level": 0.95}
                )  # fmt: skip
    return pd.DataFrame(rows, columns=list(TABLES["lineage_shifts"]))
