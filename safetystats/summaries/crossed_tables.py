"""Tables of the crossed model: class effects at every level, differential progress, and shifts within lineages.

Differential progress is what safety scores do beyond what capability predicts. With coefficients averaged over the
benchmarks of an area, the expected safety of model m of class k splits into

    what capability predicts:     level + slope x_m, the mean of the lines of the classes
    what its class adds:          (level_k - level) + (slope_k - slope) x_m
    what the model adds:          effects of its lineage and of itself, in this area

The second and third together are the model's excess; the third alone is its excess within its class. Between two models
of a lineage, of classes a and b, the shift in safety is (slope_a + slope_b) / 2 times the shift in capability, plus the
difference of the classes' lines at the pair's mean capability, plus the difference of model effects; this sum is exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.crossed import CrossedFit

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

ALL = "all"
"""Name of the average over all benchmarks."""
EFFECT_COLUMNS: tuple[str, ...] = (
    "level_of", "name", "area", "term", "model_class", "n_benchmarks", "mean", "sd", "lower", "upper", "level",
    "p_positive",
)  # fmt: skip
PROGRESS_COLUMNS: tuple[str, ...] = (
    "model", "model_class", "family", "lineage", "area", "n_benchmarks", "n_scores", "capability", "safety", "expected",
    "excess", "excess_sd", "excess_lower", "excess_upper", "excess_p_positive", "within_class", "within_class_sd",
    "within_class_lower", "within_class_upper", "within_class_p_positive", "level",
)  # fmt: skip
SHIFT_COLUMNS: tuple[str, ...] = (
    "lineage", "family", "area", "n_benchmarks", "class_a", "class_b", "model_a", "model_b", "capability_a",
    "capability_b", "safety_a", "safety_b", "capability_shift", "capability_shift_lower", "capability_shift_upper",
    "safety_shift", "safety_shift_lower", "safety_shift_upper", "safety_shift_p_positive", "explained",
    "explained_lower", "explained_upper", "unexplained", "unexplained_lower", "unexplained_upper",
    "unexplained_p_positive", "level",
)  # fmt: skip


def class_lines(coefficients: FloatArray, n_classes: int) -> tuple[FloatArray, FloatArray]:
    """Return the level at average capability and the slope of every class.

    Parameters
    ----------
    coefficients : array, shape (..., 2 n_classes)
        Mean level, mean slope, differences of level from the reference class, differences of slope.
    n_classes : int

    Returns
    -------
    two arrays, shape (..., n_classes)
        The reference class first.
    """
    contrasts = np.vstack([np.zeros(n_classes - 1), np.eye(n_classes - 1)]) - 1.0 / n_classes
    differences = coefficients[..., 2:]
    level = coefficients[..., :1] + differences[..., : n_classes - 1] @ contrasts.T
    slope = coefficients[..., 1:2] + differences[..., n_classes - 1 :] @ contrasts.T
    return level, slope


def crossed_effects(fit: CrossedFit, level: float) -> pd.DataFrame:
    """Return levels, slopes and class effects overall, of areas and of benchmarks, columns `EFFECT_COLUMNS`.

    "overall" is the mean of the population of areas, that of an area the mean of its population of benchmarks: their
    intervals are wider than those of an average over the benchmarks at hand.
    """
    counts = fit.table.benchmarks["area"].astype(str).value_counts()
    area_of = fit.table.benchmarks["area"].astype(str)
    names = [str(name) for name in fit.table.scores.columns]
    places = [
        ("overall", ["overall"], [""], [len(names)], fit.values("overall")[:, None]),
        ("area", list(fit.areas), list(fit.areas), [int(counts[a]) for a in fit.areas], fit.values("area_coefficient")),
        ("benchmark", names, list(area_of), [1] * len(names), fit.values("benchmark_coefficient")),
    ]
    frames = []
    for level_of, labels, areas, sizes, draws in places:
        for term, model_class, values in _terms(draws, fit.classes):
            frames.append(
                pd.DataFrame(
                    {
                        "level_of": level_of, "name": labels, "area": areas, "term": term, "model_class": model_class,
                        "n_benchmarks": sizes, **_summary(values, level), "level": level,
                    }
                )
            )  # fmt: skip
    return pd.concat(frames, ignore_index=True)[list(EFFECT_COLUMNS)]


def _terms(draws: FloatArray, classes: tuple[str, ...]) -> Iterator[tuple[str, str, FloatArray]]:
    """Yield term, class and draws, shape (n_draws, n_places)."""
    levels, slopes = class_lines(draws, len(classes))
    for place, label in enumerate(classes):
        yield "intercept", label, levels[..., place]
        yield "capability", label, slopes[..., place]
    for place, label in enumerate(classes[1:], start=1):
        yield "class", label, levels[..., place] - levels[..., 0]
        yield "capability:class", label, slopes[..., place] - slopes[..., 0]


def _summary(values: FloatArray, level: float, prefix: str = "") -> dict[str, FloatArray]:
    """Summarise draws over the first axis; names are mean, sd, lower, upper, p_positive, or start with the prefix."""
    lower, upper = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    join = f"{prefix}_" if prefix else ""
    return {
        prefix or "mean": values.mean(axis=0),
        f"{join}sd": values.std(axis=0, ddof=1),
        f"{join}lower": lower,
        f"{join}upper": upper,
        f"{join}p_positive": (values > 0).mean(axis=0),
    }


class _Places:
    """Areas, and all benchmarks together, as averages over the benchmarks at hand."""

    def __init__(self, fit: CrossedFit) -> None:
        area = fit.table.benchmarks["area"].astype(str).to_numpy()
        members = np.vstack([area == np.array(fit.areas, dtype=object)[:, None], np.ones((1, len(area)), dtype=bool)])
        self.names = [*fit.areas, ALL]
        self.sizes: IntArray = members.sum(axis=1)
        weights = members / self.sizes[:, None]
        by_area = np.vstack([np.eye(len(fit.areas)), self.sizes[:-1] / self.sizes[-1]])
        self.seen: IntArray = members.astype(np.int64) @ np.isfinite(fit.table.matrix()).T.astype(np.int64)
        self.class_of = np.array([fit.classes.index(c) for c in fit.table.models["model_class"]])
        codes = np.array([fit.lineages.index(line) for line in fit.table.models["lineage"].astype(str)])
        self.level, self.slope = class_lines(weights @ fit.values("benchmark_coefficient"), len(fit.classes))
        own = fit.values("model_area_effect") + fit.values("lineage_area_effect")[..., codes]
        self.own = by_area @ own  # (n_draws, n_places, n_models)
        self.capability = fit.capability
        x = self.capability[:, None, :]
        self.expected = self.level.mean(axis=2)[..., None] + self.slope.mean(axis=2)[..., None] * x
        self.safety = self.level[..., self.class_of] + self.slope[..., self.class_of] * x + self.own


def differential_progress(fit: CrossedFit, level: float) -> pd.DataFrame:
    """Return how much safer than its capability predicts every model is, per area, columns `PROGRESS_COLUMNS`.

    The rows of area "all" are averages over all benchmarks. Values are in sd of a benchmark over all models.
    """
    at = _Places(fit)
    excess = at.safety - at.expected
    models = fit.table.models
    frames = [
        pd.DataFrame(
            {
                "model": models.index.astype(str),
                "model_class": models["model_class"].to_numpy(),
                "family": models["family"].to_numpy(),
                "lineage": models["lineage"].to_numpy(),
                "area": area,
                "n_benchmarks": int(at.sizes[place]),
                "n_scores": at.seen[place],
                "capability": at.capability.mean(axis=0),
                "safety": at.safety[:, place].mean(axis=0),
                "expected": at.expected[:, place].mean(axis=0),
                **_summary(excess[:, place], level, "excess"),
                **_summary(at.own[:, place], level, "within_class"),
                "level": level,
            }
        )
        for place, area in enumerate(at.names)
    ]
    return pd.concat(frames, ignore_index=True)[list(PROGRESS_COLUMNS)]


def lineage_shifts(fit: CrossedFit, level: float, capability: FloatArray | None = None) -> pd.DataFrame:
    """Return the shifts between classes within each lineage, per area, columns `SHIFT_COLUMNS`.

    One row per area and pair of models of one lineage, from the earlier class of the study to the later one;
    (capability_a, safety_a) and (capability_b, safety_b) are the ends of an arrow in the plane of capability and
    safety. Where the model was given a plug-in capability, its shift has no interval (lower and upper are equal) and
    that of the explained part is of the slope alone, unless `capability` has draws: shape (n_draws, n_models), models
    as in the fit, in its units, independent of its draws.
    """
    at = _Places(fit)
    models = fit.table.models
    ability = at.capability
    if capability is not None:
        ability = capability[np.linspace(0, len(capability) - 1, len(at.capability)).round().astype(int)]
    rows = []
    for i, j in _pairs(fit):
        a, b = at.class_of[i], at.class_of[j]
        shift = (ability[:, j] - ability[:, i])[:, None]
        safety = at.safety[..., j] - at.safety[..., i]
        explained = (at.slope[..., a] + at.slope[..., b]) / 2 * shift
        found = {
            **_summary(np.repeat(shift, len(at.names), axis=1), level, "capability_shift"),
            **_summary(safety, level, "safety_shift"),
            **_summary(explained, level, "explained"),
            **_summary(safety - explained, level, "unexplained"),
        }
        rows.append(
            pd.DataFrame(
                {
                    "lineage": str(models["lineage"].iloc[i]),
                    "family": str(models["family"].iloc[i]),
                    "area": at.names,
                    "n_benchmarks": at.sizes,
                    "class_a": fit.classes[a],
                    "class_b": fit.classes[b],
                    "model_a": str(models.index[i]),
                    "model_b": str(models.index[j]),
                    "capability_a": at.capability[:, i].mean(),
                    "capability_b": at.capability[:, j].mean(),
                    "safety_a": at.safety[..., i].mean(axis=0),
                    "safety_b": at.safety[..., j].mean(axis=0),
                    **found,
                    "level": level,
                }
            )
        )
    if not rows:
        return pd.DataFrame(columns=list(SHIFT_COLUMNS))
    return pd.concat(rows, ignore_index=True)[list(SHIFT_COLUMNS)]


def _pairs(fit: CrossedFit) -> Iterator[tuple[int, int]]:
    """Yield places of two models of one lineage, of an earlier class and a later one, pair of classes by pair."""
    lineage, label = (fit.table.models[name].astype(str).to_numpy() for name in ("lineage", "model_class"))
    for earlier, later in combinations(fit.classes, 2):
        for i in np.flatnonzero(label == earlier):
            for j in np.flatnonzero((lineage == lineage[i]) & (label == later)):
                yield int(i), int(j)
