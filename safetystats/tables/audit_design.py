"""Checks of the design: missing cells, families, lineages, scales, sources."""

from __future__ import annotations

import re

import numpy as np

from safetystats.tables.audit_finding import (
    AuditFinding,
    BoolArray,
    class_rows,
    column,
    counted,
    listed,
    matrix,
    mean_capability,
    number,
    scored_columns,
    span,
    text_of,
)
from safetystats.tables.table import FloatArray, ScoreTable

_FEW_FAMILIES = 12


def missing_cells(table: ScoreTable) -> list[AuditFinding]:
    """Cells without a score: how many per class, in which columns, and in which families."""
    found = []
    columns = scored_columns(table)
    for model_class, rows in class_rows(table):
        gone = np.isnan(matrix(table, columns)[rows])
        share = gone.mean(axis=0)
        absent = [c for c, s in zip(columns, share, strict=True) if s == 1]
        if absent:
            found.append(
                AuditFinding(
                    check="absent_column",
                    severity="note",
                    benchmarks=tuple(absent),
                    model_class=model_class,
                    value=float(len(absent)),
                    message=f"{model_class}: no model has a score in {listed(absent)}.",
                    remedy="These columns say nothing on this class nor on the difference between classes.",
                )
            )
        holes = [c for c, s in zip(columns, share, strict=True) if 0 < s < 1]
        if not holes:
            continue
        part = {c: float(s) for c, s in zip(columns, share, strict=True) if c in holes}
        holes.sort(key=lambda c: -part[c])
        told = listed((f"{c} {100 * part[c]:.0f} %" for c in holes), 6)
        empty = _empty_families(table, rows, holes)
        found.append(
            AuditFinding(
                check="missing_cells",
                severity="warning" if part[holes[0]] > 0.4 else "note",
                benchmarks=tuple(holes),
                models=tuple(str(m) for m in table.scores.index[rows][gone[:, share < 1].any(axis=1)]),
                model_class=model_class,
                value=float(gone[:, share < 1].mean()),
                message=f"{model_class}: {counted(int(gone[:, share < 1].sum()), 'cell')} missing "
                f"({100 * gone[:, share < 1].mean():.1f} %), by column {told}{empty}.",
                remedy="Intervals use the observed cells; compare columns over other models with care.",
            )
        )
    return found


def _empty_families(table: ScoreTable, rows: BoolArray, columns: list[str]) -> str:
    """Return a clause on families of two or more models without any score in some column."""
    frame = table.scores.loc[rows, columns].notna().groupby(table.models.loc[rows, "family"], sort=False)
    lost = (frame.sum() == 0).to_numpy() & (frame.size().to_numpy() >= 2)[:, None]
    names = [str(f) for f in frame.size().index[lost.any(axis=1)]]
    return f"; whole families are missing somewhere: {listed(names)}" if names else ""


def missing_by_capability(table: ScoreTable) -> list[AuditFinding]:
    """Columns that stronger (or weaker) models more often lack: rank test of mean capability, Bonferroni-adjusted."""
    score = mean_capability(table)
    tested: list[tuple[str, str, float, float]] = []
    for model_class, rows in class_rows(table):
        for name in scored_columns(table):
            seen = rows & np.isfinite(score) & np.isfinite(column(table, name))
            gone = rows & np.isfinite(score) & ~np.isfinite(column(table, name))
            if min(seen.sum(), gone.sum()) >= 4:
                tested.append((name, model_class, *_rank_test(score[seen], score[gone])))
    hits = [t for t in tested if t[3] * len(tested) < 0.01]
    if not hits:
        return []
    told = listed(
        (f"{n} ({c}, by {'weaker' if d > 0 else 'stronger'} models, p = {number(p)})" for n, c, d, p in hits), 4
    )
    return [
        AuditFinding(
            check="missing_by_capability",
            severity="warning",
            benchmarks=tuple(dict.fromkeys(n for n, *_ in hits)),
            value=min(p for *_, p in hits),
            message=f"Whether a score is missing depends on capability in {counted(len(hits), 'column')}: {told}.",
            remedy="The range of capability is restricted there; compare such a column on the same models only.",
        )
    ]


def _rank_test(seen: FloatArray, gone: FloatArray) -> tuple[float, float]:
    from scipy.stats import mannwhitneyu

    return float(np.median(seen) - np.median(gone)), float(mannwhitneyu(seen, gone).pvalue)


def families(table: ScoreTable) -> list[AuditFinding]:
    """How many families a class has, how uneven they are, and which have one model only."""
    found = []
    for model_class, rows in class_rows(table):
        sizes = table.models.loc[rows, "family"].value_counts()
        n = int(sizes.sum())
        single = [str(f) for f in sizes.index[sizes == 1]]
        effective = float(n**2 / (sizes.to_numpy(dtype=np.float64) ** 2).sum())
        largest = f"the largest, {sizes.index[0]}, has {sizes.iloc[0]} of {n} models"
        if len(sizes) < _FEW_FAMILIES:
            found.append(
                AuditFinding(
                    check="few_families",
                    severity="warning",
                    model_class=model_class,
                    value=float(len(sizes)),
                    message=f"{model_class}: {counted(n, 'model')} of only {counted(len(sizes), 'family', 'families')}"
                    f"; {largest} (effective number {effective:.1f}).",
                    remedy="Cluster bootstrap intervals are too short below 12 families; prefer the two-level fit.",
                )
            )
        elif effective < len(sizes) / 2:
            found.append(
                AuditFinding(
                    check="uneven_families",
                    severity="note",
                    model_class=model_class,
                    value=effective,
                    message=f"{model_class}: {len(sizes)} families of very different size; {largest} (effective number "
                    f"{effective:.1f}).",
                    remedy="Report a family bootstrap or the two-level fit beside intervals over models.",
                )
            )
        if single:
            found.append(
                AuditFinding(
                    check="single_model_families",
                    severity="note",
                    model_class=model_class,
                    value=float(len(single)),
                    models=tuple(
                        str(m) for m in table.models.index[rows & table.models["family"].isin(single).to_numpy()]
                    ),
                    message=f"{model_class}: {len(single)} of {counted(len(sizes), 'family', 'families')} "
                    f"{'has' if len(single) == 1 else 'have'} one model only ({listed(single)}).",
                    remedy="They tell nothing on the variation within families.",
                )
            )
    return found


def unpaired_lineages(table: ScoreTable) -> list[AuditFinding]:
    """Lineages with models of one class only: they add nothing to a paired comparison of classes."""
    if len(table.classes) < 2:
        return []
    in_classes = table.models.groupby("lineage", sort=False)["model_class"].nunique()
    alone = in_classes.index[in_classes < 2]
    if len(alone) == 0:
        return []
    rows = table.models["lineage"].isin(alone)
    by_class = table.models.loc[rows].groupby("model_class", sort=False).size()
    told = listed(counted(int(n), f"{c} model") for c, n in by_class.items())
    pairs = len(in_classes) - len(alone)
    return [
        AuditFinding(
            check="unpaired_lineages",
            severity="warning" if pairs < 5 else "note",
            models=tuple(str(m) for m in table.models.index[rows]),
            value=float(len(alone)),
            message=f"{len(alone)} of {len(in_classes)} lineages hold one class only ({told}); "
            f"{pairs} can be compared within.",
            remedy="Class differences rest on the pairs; with few of them use family effects instead.",
        )
    ]


def scale_of(table: ScoreTable, benchmark: str) -> str:
    """Return a name for a column's scale: its unit, else its bounds."""
    unit = text_of(table, "unit", benchmark)
    low, high = span(table, benchmark)
    if unit:
        return unit
    return f"{number(low)} to {number(high)}" if np.isfinite(high - low) else "no declared scale"


def mixed_scales(table: ScoreTable) -> list[AuditFinding]:
    """Units that differ between columns."""
    groups: dict[str, list[str]] = {}
    for name in scored_columns(table):
        groups.setdefault(scale_of(table, name), []).append(name)
    if len(groups) < 2:
        return []
    told = listed((f"{scale} ({len(names)})" for scale, names in sorted(groups.items(), key=lambda g: -len(g[1]))), 10)
    return [
        AuditFinding(
            check="mixed_scales",
            severity="note",
            benchmarks=tuple(n for names in groups.values() for n in names),
            value=float(len(groups)),
            message=f"{len(groups)} different scales: {told}.",
            remedy="Standardise before comparing slopes or averaging; native slopes are in these units.",
        )
    ]


def one_source(table: ScoreTable) -> list[AuditFinding]:
    """One harness or publisher behind most columns, judged by the first word of the source identifiers."""
    columns = scored_columns(table)
    stems = [re.split(r"[-_ ./]", text_of(table, "source", name).lower())[0] for name in columns]
    known = [stem for stem in stems if stem]
    if not known:
        return []
    top = max(dict.fromkeys(known), key=known.count)
    share = known.count(top) / len(columns)
    if share < 0.5:
        return []
    names = tuple(name for name, stem in zip(columns, stems, strict=True) if stem == top)
    sources = listed(dict.fromkeys(text_of(table, "source", name) for name in names))
    return [
        AuditFinding(
            check="one_source",
            severity="note",
            benchmarks=names,
            value=share,
            message=f"{len(names)} of {counted(len(columns), 'column')} ({100 * share:.0f} %) come from one harness or "
            f"publisher ({sources}).",
            remedy="Prompts, parsers and judges are shared, which alone makes columns correlate; say so in the report.",
        )
    ]
