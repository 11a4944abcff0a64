"""The mixed-effects comparison of model classes on every benchmark of a table, under one or both groupings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from safetystats.inference import mixed_frames
from safetystats.inference.mixed_bootstrap import Bootstrap
from safetystats.inference.mixed_compare import Comparison, compare_classes
from safetystats.inference.mixed_frames import Compared
from safetystats.inference.mixed_imputed import thinned
from safetystats.inference.mixed_profile import FloatArray
from safetystats.inference.mixed_values import NEGLIGIBLE, Grouping, IntervalKind
from safetystats.inference.streams import Report, seed_for
from safetystats.tables.table import ScoreTable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MixedTable:
    """Mixed-effects comparisons on many benchmarks; the columns of each table stand in `mixed_frames`.

    Attributes
    ----------
    effects : DataFrame
        One row per benchmark, grouping and term, benchmarks in table order; a benchmark to which the model does not
        apply keeps its rows, with NaN.
    fits : DataFrame
        One row per benchmark and grouping.
    contrasts : DataFrame
        One row per benchmark, grouping, kind (class, slope) and pair of classes.
    marginal_means : DataFrame
        One row per benchmark, grouping, class and chosen capability.
    overlap : DataFrame
        One row per benchmark and pair of classes.
    diagnostics : DataFrame
        One row per benchmark and grouping: the ratio of the variances of groups and residuals (NaN if not estimated),
        and why, where the status is not "ok" or there is a note.
    comparisons : mapping from (grouping, benchmark) to Comparison
        In pooled sd of the score and of capability.
    """

    effects: pd.DataFrame
    fits: pd.DataFrame
    contrasts: pd.DataFrame
    marginal_means: pd.DataFrame
    overlap: pd.DataFrame
    diagnostics: pd.DataFrame
    comparisons: Mapping[tuple[Grouping, str], Comparison]


def fit_mixed_table(
    table: ScoreTable,
    capability: pd.Series,
    *,
    draws: pd.DataFrame | None = None,
    benchmarks: Sequence[str] | None = None,
    reference_class: str | None = None,
    groups: Sequence[Grouping] = ("lineage", "family"),
    bootstrap: Bootstrap | None = None,
    imputations: int = 50,
    reml: bool = True,
    level: float = 0.95,
    interval: IntervalKind = "satterthwaite",
    report: Report | None = None,
) -> MixedTable:
    """Fit score ~ capability * class + (1 | group) to every benchmark.

    Scores are the aligned ones, standardised by the mean and sd (ddof 0) of *all* models that enter the fit, both
    classes together: z-scores within a class would remove the very difference that is asked for. Capability is
    standardised in the same way, once for all benchmarks, and its draws by the same numbers. "class[c]" is then the
    difference between class c and the reference class, in pooled sd of the score, at average capability (safer if
    positive); "capability" the slope in the reference class, in pooled sd of the score for one sd of capability;
    "capability:class[c]" how much steeper it is in class c. Variances are in squared pooled sd. Adjusted p-values are
    over the benchmarks within a term and grouping.

    Parameters
    ----------
    table : ScoreTable
        Aligned; not standardised within classes.
    capability : Series
        Capability of each model, on one scale for all classes, index: model identifiers. Models that are absent or NaN
        are left out and counted. With `draws`: their mean.
    draws : DataFrame, optional
        Posterior draws of capability, shape (draws, models), columns: model identifiers. `imputations` of them, evenly
        spaced, are pooled by Rubin's rules.
    benchmarks : sequence of str, optional
        Default: all benchmarks of role "safety".
    reference_class : str, optional
        Default: the first class of the table.
    groups : sequence of {"lineage", "family"}
        What the random intercept stands for; each is fitted.
    bootstrap : Bootstrap, optional
        Default: none, which leaves likelihood-ratio p-values as the headline. Seeds are derived per benchmark and
        grouping, so that one result does not depend on which others are asked for.
    imputations : int
        Draws pooled, 2 or more; 50 keep the Monte Carlo error of a pooled estimate below a tenth of its standard error.
    reml, level, interval
        As in `fit_mixed`.
    report : callable, optional
        Told (fits done, fits in all).

    Raises
    ------
    ValueError
        If the table is not aligned or is standardised within classes, a benchmark is unknown, no model has a
        capability or all have the same, or `reference_class` is no class of the table.
    """
    chosen = _checked_benchmarks(table, benchmarks)
    values = capability.reindex(table.scores.index).to_numpy(dtype=np.float64)
    ability = _standardised(values)
    if not np.nan_to_num(ability).any():
        raise ValueError(f"capability does not vary among the models of {table.name} for which it is known")
    drawn = None
    if draws is not None:
        every = draws.reindex(columns=table.scores.index).to_numpy(dtype=np.float64)
        drawn = (thinned(every, imputations) - np.nanmean(values)) / np.nanstd(values)
    reference = table.classes[0] if reference_class is None else reference_class
    found = []
    for place, (grouping, name) in enumerate((g, b) for g in groups for b in chosen):
        score = table.scores[name].to_numpy(dtype=np.float64)
        used = score[np.isfinite(score) & np.isfinite(ability)]
        own = replace(bootstrap, seed=seed_for(bootstrap.seed, "mixed", grouping, name)) if bootstrap else None
        comparison = compare_classes(
            _standardised(np.where(np.isfinite(ability), score, np.nan)),
            ability,
            table.models["model_class"].to_numpy(dtype=object),
            table.models[grouping].to_numpy(dtype=object),
            reference_class=reference,
            capability_draws=drawn,
            bootstrap=own,
            reml=reml,
            level=level,
            interval=interval,
            grouping=grouping,
        )
        found.append(
            Compared(
                benchmark=name, area=str(table.benchmarks.loc[name, "area"]), grouping=grouping, comparison=comparison,
                centre=float(used.mean()) if used.size else np.nan, scale=float(used.std()) if used.size else np.nan,
            )
        )  # fmt: skip
        if report is not None:
            report(place + 1, len(groups) * len(chosen))
    return MixedTable(
        effects=mixed_frames.effects_frame(found, table.classes, reference),
        fits=mixed_frames.fits_frame(found),
        contrasts=mixed_frames.contrasts_frame(found),
        marginal_means=mixed_frames.means_frame(found),
        overlap=mixed_frames.overlap_frame(found, table.classes),
        diagnostics=mixed_frames.diagnostics_frame(found),
        comparisons=mixed_frames.keyed(found),
    )


def _checked_benchmarks(table: ScoreTable, benchmarks: Sequence[str] | None) -> list[str]:
    if not table.preparation.aligned:
        raise ValueError("fit_mixed_table needs an aligned table: call align first")
    if table.preparation.standardised == "class":
        raise ValueError("scores standardised within classes have no class difference left: standardise pooled")
    chosen = table.columns(role="safety") if benchmarks is None else [str(name) for name in benchmarks]
    unknown = [name for name in chosen if name not in table.scores.columns]
    if unknown:
        raise ValueError(f"no such benchmark in {table.name}: {', '.join(unknown)}")
    return chosen


def _standardised(values: FloatArray) -> FloatArray:
    """Return z-scores (ddof 0) over what is finite, NaN elsewhere; a constant becomes zeros."""
    known = np.isfinite(values)
    out = np.full(values.shape, np.nan)
    if known.any():
        centred = values[known] - values[known].mean()
        sd = float(centred.std())
        out[known] = centred / sd if sd > NEGLIGIBLE * np.abs(values[known]).max() else 0.0
    return out
