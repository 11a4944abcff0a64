"""What one model or family decides, each left out in turn, and what parts of the models say: date, access, family."""

from __future__ import annotations

import numpy as np
import pandas as pd

from safetystats.inference.set_posterior import SetDraws, posteriors_with, posteriors_without
from safetystats.scores.resampling import correlations_under
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.set_context import REGIONS, ClassSets, chances_of

FEWEST = 5
"""A restricted set of fewer models is left out."""


def set_influence(sets: ClassSets) -> tuple[pd.DataFrame, dict[str, SetDraws]]:
    """Return what leaving out each model, and each family, does to every verdict and label of a class.

    Returns
    -------
    frame : DataFrame
        Table `set_influence`: one row per benchmark and unit left out.
    singles : dict of str to SetDraws
        Posteriors of each benchmark without each model, in the order of `sets.models`.
    """
    families = list(dict.fromkeys(sets.families))
    members = [[row for row, own in enumerate(sets.families) if own == family] for family in families]
    units = [("model", model, [row]) for row, model in enumerate(sets.models)]
    units += [("family", family, rows) for family, rows in zip(families, members, strict=True)]
    kept = sets.without(rows for _, _, rows in units)
    spearman = correlations_under(sets.target, kept)
    rows, singles = [], {}
    for name, benchmark in sets.benchmarks.items():
        drawn = posteriors_without(benchmark, kept[:, sets.fitted], sets.rope.limit, sets.level, sets.theta)
        n = len(sets.models)
        singles[name] = _first(drawn, n)
        whole = sets.chances(name)
        own = sets.of(name)
        stated, label = own.verdict(whole), sets.side(sets.coefficient(name))
        region = REGIONS.index(stated) if stated in REGIONS else int(np.argmax(whole))
        for row, (unit, left_out, _) in enumerate(units):
            chances = chances_of(drawn, row)
            known = np.isfinite(drawn.mean[row])
            reached = own.verdict(chances) if known else "none"
            coefficient = float(spearman[row, sets.columns[name]]) if name in sets.columns else float("nan")
            rows.append(
                sets.facts(name)
                | {
                    "unit": unit, "label": left_out, "n_models": int(drawn.n_models[row]),
                    "mean": float(benchmark.rho.mean()), "mean_without": float(drawn.mean[row]),
                    "change": float(drawn.mean[row] - benchmark.rho.mean()), "p_verdict": whole[region],
                    "p_without": chances[region], "verdict": stated, "verdict_without": reached,
                    "flips": own.changed(whole, chances),
                    "spearman": sets.coefficient(name), "spearman_without": coefficient, "label_2024": label,
                    "label_without": sets.side(coefficient),
                    "label_flips": bool(np.isfinite(coefficient) and sets.side(coefficient) != label),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(MODEL_SETS_TABLES["set_influence"])), singles


def _first(drawn: SetDraws, n: int) -> SetDraws:
    return SetDraws(
        n_models=drawn.n_models[:n], mean=drawn.mean[:n], lower=drawn.lower[:n], upper=drawn.upper[:n],
        p_entangled=drawn.p_entangled[:n], p_inverse=drawn.p_inverse[:n], p_distinct=drawn.p_distinct[:n],
    )  # fmt: skip


def restrictions(sets: ClassSets, models: pd.DataFrame) -> list[tuple[str, str, list[int]]]:
    """Return the parts of a class that are looked at by themselves: kind, name, and the models by place.

    Parameters
    ----------
    sets : ClassSets
    models : DataFrame
        What is known of the models: index as `sets.models`, columns `release_date`, `access`.
    """
    found: list[tuple[str, str, list[int]]] = []
    every = range(len(sets.models))
    dates = pd.to_datetime(models["release_date"].reindex(sets.models), format="ISO8601", errors="coerce")
    if dates.notna().sum() >= 2 * FEWEST:
        middle = dates.dropna().sort_values().iloc[(int(dates.notna().sum()) - 1) // 2]
        early, late = (dates <= middle).to_numpy(), (dates > middle).to_numpy()
        shown = f"{middle:%Y-%m-%d}"
        found.append(("released_until", shown, [i for i in every if early[i]]))
        found.append(("released_after", shown, [i for i in every if late[i]]))
        years = dates.dt.year
        for year in sorted({int(y) for y in years.dropna()}):
            found.append(("released_in", str(year), [i for i in every if years.iloc[i] == year]))
    access = models["access"].reindex(sets.models).fillna("").astype(str)
    for kind in sorted(set(access) - {""}):
        found.append(("access", kind, [i for i in every if access.iloc[i] == kind]))
    sizes = pd.Series(sets.families).value_counts()
    if len(sizes) > 1:
        largest = str(min(sizes.index[sizes == sizes.max()]))
        found.append(("family_only", largest, [i for i in every if sets.families[i] == largest]))
        found.append(("family_without", largest, [i for i in every if sets.families[i] != largest]))
    return [(kind, name, rows) for kind, name, rows in found if FEWEST <= len(rows) < len(sets.models)]


def restricted_sets(sets: ClassSets, models: pd.DataFrame) -> pd.DataFrame:
    """Return posterior, verdict and Spearman's coefficient of every benchmark within parts of a class.

    Parameters
    ----------
    sets : ClassSets
    models : DataFrame
        As in `restrictions`.

    Returns
    -------
    DataFrame
        Table `restricted_sets`; benchmarks of which too few models are scored in a part have no row for it.
    """
    parts = restrictions(sets, models)
    if not parts:
        return pd.DataFrame(columns=list(MODEL_SETS_TABLES["restricted_sets"]))
    kept = np.zeros((len(parts), len(sets.models)))
    for row, (_, _, places) in enumerate(parts):
        kept[row, places] = 1.0
    spearman = correlations_under(sets.target, kept)
    rows = []
    for name, benchmark in sets.benchmarks.items():
        drawn = posteriors_with(benchmark, kept[:, sets.fitted], sets.rope.limit, sets.level, sets.theta)
        seen = np.zeros(len(sets.models), dtype=bool)
        seen[sets.fitted] = np.isfinite(benchmark.scores)
        for row, (kind, part, places) in enumerate(parts):
            if not np.isfinite(drawn.mean[row]):
                continue
            entangled, inverse, distinct = chances_of(drawn, row)
            own, whole = sets.of(name), sets.chances(name)
            reached = own.verdict((entangled, inverse, distinct))
            rows.append(
                sets.facts(name)
                | {
                    "restriction": kind, "part": part, "n_models": int(drawn.n_models[row]),
                    "n_families": len({sets.families[i] for i in places if seen[i]}), "mean": float(drawn.mean[row]),
                    "lower": float(drawn.lower[row]), "upper": float(drawn.upper[row]), "level": sets.level,
                    "p_entangled": entangled, "p_distinct": distinct, "p_inverse": inverse, "verdict": reached,
                    "verdict_all": own.verdict(whole), "flips": own.changed(whole, (entangled, inverse, distinct)),
                    "spearman": float(spearman[row, sets.columns[name]]) if name in sets.columns else float("nan"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=list(MODEL_SETS_TABLES["restricted_sets"]))
