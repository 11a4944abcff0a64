"""Checks of how columns stand to capability: failed runs, reused runs, near duplicates, compute."""

from __future__ import annotations

import numpy as np

from safetystats.tables.audit_finding import (
    AuditFinding,
    aligned,
    as_share,
    class_rows,
    column,
    counted,
    listed,
    mean_capability,
    number,
    number_of,
    scored_columns,
    span,
    spearman,
    text_of,
    tokens,
)
from safetystats.tables.table import FloatArray, ScoreTable

_NEAR_FLOOR = 0.05
_LEAST_WEAKER = 5
_BEATEN_BY = 0.8
_KIN_ABOVE_ZERO = 0.1
_KIN_ABOVE_CHANCE = 0.25
_NEAR_DUPLICATE = 0.98
_COLLINEAR = 0.9


def failed_runs(table: ScoreTable) -> list[AuditFinding]:
    """Capability scores at the floor of a benchmark for which the model's other scores call for far more.

    The floor is zero or chance, and up to 5 % of the range above it. A score there is named for either of two reasons.

    Nearly all weaker models clear it: at least five models of the class are weaker (mean z-score of the other
    capability columns), 80 % of these score higher, and their median is higher by 5 % of the range, and above chance
    by four standard errors. A monotone relation of any shape cannot do that.

    It is less than a tenth of what another model of its lineage reaches above the floor, that height being 10 % of the
    range (25 % where the floor is chance).
    """
    found = []
    for name in table.columns("capability"):
        floor, reach = _floor(table, name)
        if not np.isfinite(floor) or len(table.columns("capability")) < 3:
            continue
        height = (column(table, name) - floor) / (reach - floor)
        rest = mean_capability(table, without=name)
        items = number_of(table, "n_items", name)
        error = 0.5 / np.sqrt(items) * reach / (reach - floor) if floor > 0 and items > 0 else 0.0
        margin = max(_NEAR_FLOOR, 4 * float(error))
        told: dict[str, str] = {}
        for i in np.flatnonzero(height <= _NEAR_FLOOR):
            reason = _clearly_beaten(table, height, rest, margin, int(i)) or _far_below_kin(
                table, height, floor, int(i)
            )
            if reason:
                model = str(table.scores.index[i])
                told[model] = f"{model} {number(float(column(table, name)[i]))} ({reason})"
        if told:
            found.append(
                AuditFinding(
                    check="failed_run",
                    severity="warning",
                    benchmarks=(name,),
                    models=tuple(told),
                    value=float(column(table, name)[table.scores.index.isin(list(told))].min()),
                    message=f"{name} has {counted(len(told), 'score')} at its floor, as after a failed run: "
                    f"{listed(told.values(), 5)}.",
                    remedy="Look at the raw answers of these runs; if the parser failed, set the scores to missing.",
                )
            )
    return found


def _clearly_beaten(table: ScoreTable, height: FloatArray, rest: FloatArray, margin: float, i: int) -> str:
    """Return how many weaker models of the class are higher, or an empty string if that proves nothing."""
    same = (table.models["model_class"] == table.models["model_class"].iloc[i]).to_numpy()
    weaker = height[same & np.isfinite(height) & (rest < rest[i])]
    higher = int((weaker > height[i]).sum())
    if len(weaker) < _LEAST_WEAKER or higher < _BEATEN_BY * len(weaker):
        return ""
    if float(np.median(weaker)) - height[i] < margin:
        return ""
    return f"{higher} of {len(weaker)} weaker models higher"


def _far_below_kin(table: ScoreTable, height: FloatArray, floor: float, i: int) -> str:
    """Return the model of the same lineage that is at least ten times as high, or an empty string."""
    kin = (table.models["lineage"] == table.models["lineage"].iloc[i]).to_numpy() & np.isfinite(height)
    best = int(np.where(kin, height, -np.inf).argmax())
    if height[best] < (_KIN_ABOVE_CHANCE if floor > 0 else _KIN_ABOVE_ZERO) or height[i] > 0.1 * height[best]:
        return ""
    return f"{table.scores.index[best]} is {100 * height[best]:.0f} % of the way up"


def _floor(table: ScoreTable, name: str) -> tuple[float, float]:
    """Return the score of a model that knows nothing (chance, else the lower bound) and the best score there can be."""
    low, high = span(table, name)
    chance = number_of(table, "chance", name)
    reach = high if np.isfinite(high) else float(np.nanmax(column(table, name)))
    return chance if np.isfinite(chance) else low, reach


def below_chance(table: ScoreTable) -> list[AuditFinding]:
    """Scores so far below guessing (five standard errors and 10 % of the way to zero) that answers were not read."""
    told: list[tuple[str, str, float, float]] = []
    for name in scored_columns(table):
        share = as_share(table, name)
        chance = number_of(table, "chance", name) / span(table, name)[1]
        if share is None or not chance > 0:
            continue
        error = np.sqrt(chance * (1 - chance) / number_of(table, "n_items", name))
        for i in np.flatnonzero(share < chance - max(5 * error, 0.1 * chance)):
            told.append(
                (name, str(table.scores.index[i]), float(column(table, name)[i]), chance * span(table, name)[1])
            )
    if not told:
        return []
    told.sort(key=lambda t: t[2] / t[3])
    return [
        AuditFinding(
            check="below_chance",
            severity="warning",
            benchmarks=tuple(dict.fromkeys(t[0] for t in told)),
            models=tuple(dict.fromkeys(t[1] for t in told)),
            value=told[0][2],
            message=f"{counted(len(told), 'score')} lie far below guessing, as when answers were not parsed: "
            f"{listed((f'{n} {number(v)} on {b} (chance {number(c)})' for b, n, v, c in told), 5)}.",
            remedy="Look at the raw answers of these runs; set scores of failed runs to missing.",
        )
    ]


def reused_runs(table: ScoreTable) -> list[AuditFinding]:
    """Columns that carry the name of a capability benchmark: the same runs, scored another way."""
    pairs = reused_pairs(table)
    if not pairs:
        return []
    strongest = {pair: _strongest(table, *pair) for pair in pairs}
    order = sorted(pairs, key=lambda pair: -abs(strongest[pair]))
    told = listed((f"{name} with {ability} {strongest[name, ability]:.2f}" for name, ability in order), 4)
    names = tuple(dict.fromkeys(name for name, _ in pairs))
    high = int(sum(abs(r) > 0.9 for r in strongest.values()))
    return [
        AuditFinding(
            check="reused_runs",
            severity="warning" if high else "note",
            benchmarks=names,
            value=float(np.median([abs(r) for r in strongest.values()])),
            message=f"{counted(len(names), 'safety column')} {'carries' if len(names) == 1 else 'carry'} the name of a "
            f"capability benchmark, {high} of them correlating above 0.9 with it ({told}).",
            remedy="Their correlation with capability is partly mechanical: take that benchmark out of the score when "
            "reporting them.",
        )
    ]


def reused_pairs(table: ScoreTable) -> list[tuple[str, str]]:
    """Return the safety columns whose words contain those of a capability column, with that column.

    A first word that most columns share (the name of a harness) is left out of the comparison.
    """
    columns = scored_columns(table)
    first = [tokens(name)[0] for name in columns]
    shared = {word for word in first if first.count(word) > len(first) / 2}
    cut = {name: tuple(w for w in tokens(name.lower()) if w not in {s.lower() for s in shared}) for name in columns}
    capability = table.columns("capability")
    return [
        (name, ability)
        for name in columns
        if text_of(table, "role", name) == "safety"
        for ability in capability
        if cut[ability] and len(cut[name]) > len(cut[ability]) and _within(cut[ability], cut[name])
    ]


def _within(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    return any(long[k : k + len(short)] == short for k in range(len(long) - len(short) + 1))


def _strongest(table: ScoreTable, first: str, second: str) -> float:
    """Return the rank correlation, over the classes, that is furthest from zero; 0 where there is none."""
    pair = aligned(table, [first, second])
    rho = [float(spearman(pair[rows, :1], pair[rows, 1:])[0, 0]) for _, rows in class_rows(table)]
    return max((r for r in rho if np.isfinite(r)), key=abs, default=0.0)


def near_duplicates_of_capability(table: ScoreTable) -> list[AuditFinding]:
    """Safety columns that rank the models of a class nearly as one capability benchmark does (|Spearman| > 0.98).

    Those that carry that benchmark's name are told by `reused_runs`.
    """
    told_before = {name for name, _ in reused_pairs(table)}
    safety = [name for name in table.columns("safety") if name not in told_before]
    capability = table.columns("capability")
    if not safety or not capability:
        return []
    hits: dict[str, tuple[str, str, float]] = {}
    for model_class, rows in class_rows(table):
        rho = np.nan_to_num(spearman(aligned(table, safety)[rows], aligned(table, capability)[rows], least=10))
        for i in np.flatnonzero(np.abs(rho).max(axis=1) > _NEAR_DUPLICATE):
            j = int(np.abs(rho[i]).argmax())
            if abs(rho[i, j]) > abs(hits.get(safety[i], ("", "", 0.0))[2]):
                hits[safety[i]] = (capability[j], model_class, float(rho[i, j]))
    if not hits:
        return []
    order = sorted(hits, key=lambda name: -abs(hits[name][2]))
    told = listed((f"{n} with {hits[n][0]} {hits[n][2]:.3f} ({hits[n][1]})" for n in order), 6)
    return [
        AuditFinding(
            check="near_duplicate_of_capability",
            severity="warning",
            benchmarks=tuple(order),
            value=hits[order[0]][2],
            message=f"{counted(len(order), 'safety column')} {'ranks' if len(order) == 1 else 'rank'} the models "
            f"almost exactly as one capability benchmark: {told}.",
            remedy="Report a score without that benchmark beside the full one; joint posteriors will be unstable here.",
        )
    ]


def compute_collinearity(table: ScoreTable) -> list[AuditFinding]:
    """Compute or size that nearly is the capability score, so that partialling it out removes capability."""
    score = mean_capability(table)
    found: list[AuditFinding] = []
    for field, label in (("flop", "log compute"), ("n_params", "log size")):
        size = table.models[field].to_numpy(dtype=np.float64)
        usable = np.isfinite(size) & (size > 0)
        logs = np.log(np.where(usable, size, 1.0))
        logs[~usable] = np.nan
        rho: dict[str, tuple[float, int]] = {}
        for model_class, rows in class_rows(table):
            value = float(spearman(logs[rows, None], score[rows, None])[0, 0])
            if value > _COLLINEAR:
                rho[model_class] = (value, int((usable & np.isfinite(score))[rows].sum()))
        if rho and not found:
            told = listed(f"{name} {value:.2f} (n = {n})" for name, (value, n) in rho.items())
            found.append(
                AuditFinding(
                    check="compute_is_capability",
                    severity="warning",
                    value=max(v for v, _ in rho.values()),
                    message=f"Rank correlation of {label} with the mean z-score of the capability columns: {told}.",
                    remedy="Do not adjust for it: partialling it out removes capability itself.",
                )
            )
    return found
