"""The smallest set of models whose removal changes a label or a verdict, and what leaving models out can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from safetystats.inference.arrays import BoolArray, FloatArray, IntArray
from safetystats.inference.set_kernel import SetPosteriors
from safetystats.inference.set_posterior import (
    EACH,
    Benchmark,
    SetDraws,
    posteriors_without,
    ranked_posteriors,
    same_models,
)
from safetystats.scores.model_sets import (
    Extremes,
    every_set,
    greedy_path,
    kept_after,
    largest_exact,
    largest_greedy,
    reachable_exactly,
    smallest_flip,
)
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.set_context import REGIONS, ClassSets, chances_of

CONFIRMED = 32
"""Sets of one size whose posterior is drawn, at most, those first that the approximation puts nearest to a change."""
AT_ONCE = 8
"""Sets drawn before it is seen whether one of them changes the verdict; so many are drawn of every size."""
LEAST_TOLERANCE = 0.1
"""Least error of the approximation that is allowed for, in probits: 0.01 in a probability of 0.95, which is about two
Monte Carlo errors of a set that is drawn."""
SEEN = (0.02, 0.98)
"""Probabilities between which drawn sets of one model show the error of the approximation."""
_REST = 1e-6
"""Approximate probabilities are kept this far from 0 and 1 when they are moved on the probit scale."""


def label_sets(sets: ClassSets) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return rows of `smallest_sets` and `reachable` for Spearman's coefficient, the score made without the models.

    All sets of up to `EXACT_SIZE` models are looked at, larger ones on greedy paths from the extreme ones of these.
    """
    n = len(sets.models)
    ranges = [reachable_exactly(sets.target, k) for k in range(1, largest_exact(n) + 1)]
    most = largest_greedy(n)
    flips: list[dict[str, object]] = []
    reach: list[dict[str, object]] = []
    for name in sets.benchmarks:
        value = sets.coefficient(name)
        if not np.isfinite(value):
            continue
        column = sets.columns[name]
        paths = [greedy_path(sets.target, column, _start(ranges, column, sign), sign, most) for sign in (-1.0, 1.0)]
        flip = smallest_flip(value, column, ranges, paths, sets.rope.limit)
        flips.append(
            sets.facts(name)
            | {
                "target": "label_2024", "stated": sets.side(value), "n_models": n,
                "n_removed": len(flip.removed) or np.nan, "lower_bound": flip.lower_bound, "certified": True,
                "how": _how(len(flip.removed), flip.lower_bound), "most": most, "removed": sets.names_of(flip.removed),
                "value": value, "value_without": flip.value, "reached": sets.side(flip.value) if flip.removed else "",
            }
        )  # fmt: skip
        for each in ranges:
            reach.append(
                _reach(sets, name, "spearman", value, each.k, float(each.lowest[column]), float(each.highest[column]),
                       each.removed_lowest[column], each.removed_highest[column], each.n_sets, exact=True)
            )  # fmt: skip
        if all(path.removed for path in paths):
            low, high = paths
            reach.append(
                _reach(sets, name, "spearman", value, most, low.values[-1], high.values[-1], low.removed[-1],
                       high.removed[-1], 0, exact=False)
            )  # fmt: skip
    return flips, reach


def _start(ranges: Sequence[Extremes], column: int, sign: float) -> tuple[int, ...]:
    if not ranges:
        return ()
    return (ranges[-1].removed_highest if sign > 0 else ranges[-1].removed_lowest)[column]


def _how(size: int, bound: int, certified: bool = True) -> str:
    if not size:
        return "none found"
    return "smallest" if size == bound and certified else "greedy"


def _reach(
    sets: ClassSets, name: str, statistic: str, value: float, k: int, lowest: float, highest: float,
    removed_lowest: Sequence[int], removed_highest: Sequence[int], n_sets: int, *, exact: bool,
) -> dict[str, object]:  # fmt: skip
    return sets.facts(name) | {
        "statistic": statistic, "n_models": len(sets.models), "k": k, "value": value, "lowest": lowest,
        "highest": highest, "removed_lowest": sets.names_of(removed_lowest),
        "removed_highest": sets.names_of(removed_highest), "n_sets": n_sets, "exact": exact,
    }  # fmt: skip


# --- posterior verdicts ---


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Search:
    """The search for one benchmark: what is stated, and how an approximate posterior is read."""

    sets: ClassSets
    benchmark: Benchmark
    column: int
    places: IntArray
    stated: str
    whole: tuple[float, float, float]
    shift: FloatArray
    tolerance: float

    def margins(self, ranked: SetPosteriors) -> FloatArray:
        """Return how far each set is beyond a change of the verdict, in probits, shape (n_sets,); negative: short."""
        return self._margin(_probit(_regions(ranked, self.column), _REST) + self.shift)

    def margin(self, chances: FloatArray) -> FloatArray:
        """Return the same of drawn probabilities, shape (n_sets, 3)."""
        return self._margin(_probit(chances, resolution(self.sets)))

    def resolved(self, chances: FloatArray) -> BoolArray:
        """Return of which sets the draws tell the margin; of a region with all draws, or none, they tell a bound."""
        share = resolution(self.sets)
        return np.asarray(np.abs(self._deciding(_probit(chances, share))) <= special.ndtri(1 - 2 * share))

    def _margin(self, probits: FloatArray) -> FloatArray:
        short = self._deciding(probits) - special.ndtri(self.sets.rope.probability)
        return np.asarray(short if self.stated == "undetermined" else -short)

    def _deciding(self, probits: FloatArray) -> FloatArray:
        if self.stated == "undetermined":
            return np.asarray(probits[:, self.sets.regions].max(axis=1))
        return np.asarray(probits[:, REGIONS.index(self.stated)])

    def drawn(self, removed: IntArray) -> SetDraws:
        """Return the posteriors without each of these sets, models by place among those with a score."""
        return self._posteriors([list(each) for each in removed])

    def chances(self, removed: Sequence[Sequence[int]]) -> FloatArray:
        """Return drawn P(entangled), P(inverse) and P(distinct) of sets, of any sizes, shape (n_sets, 3)."""
        drawn = self._posteriors(removed)
        return np.array([chances_of(drawn, row) for row in range(len(removed))])

    def _posteriors(self, removed: Sequence[Sequence[int]]) -> SetDraws:
        kept = np.ones((len(removed), len(self.benchmark.scores)))
        for row, each in enumerate(removed):
            kept[row, self.places[list(each)]] = 0.0
        sets = self.sets
        return posteriors_without(self.benchmark, kept, sets.rope.limit, sets.level, sets.theta)

    def hit(self, removed: Sequence[Sequence[int]], chances: FloatArray) -> _Hit | None:
        """Return the set, among these, whose drawn posterior changes the verdict by most; None if none does."""
        margins = np.where(np.isfinite(chances).all(axis=1), self.margin(chances), -np.inf)
        for row in np.argsort(-margins, kind="stable"):
            own = (float(chances[row, 0]), float(chances[row, 1]), float(chances[row, 2]))
            if self.sets.changed(self.whole, own):
                region = REGIONS.index(self.stated) if self.stated in REGIONS else int(np.argmax(own))
                return _Hit(removed=tuple(removed[row]), value=own[region], reached=self.sets.verdict(own))
        return None

    def named(self, removed: Sequence[int]) -> list[int]:
        """Return places among the models of the class."""
        return [int(i) for i in self.sets.fitted[self.places[list(removed)]]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Hit:
    removed: tuple[int, ...]
    value: float
    reached: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Looked:
    """What the sets of one size came to: a set that changes the verdict, or whether all others are far from it."""

    hit: _Hit | None
    nearest: tuple[int, ...]
    tolerance: float
    complete: bool


def resolution(sets: ClassSets) -> float:
    """Return half of one draw's share of the posterior of a set: the draws tell no smaller probability from 0."""
    return 0.5 / (len(sets.theta) * EACH)


def verdict_sets(
    sets: ClassSets, singles: Mapping[str, SetDraws]
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Return rows of `smallest_sets` and `reachable` for the cut posterior: verdict and posterior mean of rho.

    All sets of up to `EXACT_SIZE` models are ranked by an approximation (`safetystats.inference.set_kernel`), moved to
    agree with the posterior of all models. Sets of one model are all drawn. Of every larger size the first `AT_ONCE`
    are drawn, and so on until one changes the verdict, or those left are further from a change than the approximation
    was seen to err: on single models, or on the sets drawn so far by the largest error and the range of errors, if that
    is more. That it errs no more on sets that are not drawn is not known. Larger sets are on a greedy path. What is
    quoted of a set is always drawn.

    Parameters
    ----------
    sets : ClassSets
    singles : mapping of str to SetDraws
        From `set_influence`.
    """
    flips: list[dict[str, object]] = []
    reach: list[dict[str, object]] = []
    for places, group in same_models(list(sets.benchmarks.values())):
        n = len(places)
        own = [every_set(n, k) for k in range(1, largest_exact(n) + 1)]
        ranked = [ranked_posteriors(group, places, kept_after(each, n), sets.rope.limit) for each in own]
        whole = ranked_posteriors(group, places, np.ones((1, n)), sets.rope.limit)
        for column, benchmark in enumerate(group):
            drawn, rows = singles[benchmark.name], sets.fitted[places]
            single = np.stack([drawn.mean, drawn.p_entangled, drawn.p_inverse, drawn.p_distinct], axis=1)[rows]
            search = _search(sets, benchmark, column, places, whole, ranked[:1], single)
            flips.append(_flip_row(search, own, ranked, single))
            reach += _mean_rows(search, own, ranked, single)
    return flips, reach


def _search(
    sets: ClassSets, benchmark: Benchmark, column: int, places: IntArray, whole: SetPosteriors,
    ranked: Sequence[SetPosteriors], single: FloatArray,
) -> _Search:  # fmt: skip
    """Return the search, with the approximation moved to agree with all draws, and its error on single models."""
    sets = sets.of(benchmark.name)
    stated = sets.chances(benchmark.name)
    share = max(resolution(sets), 0.5 / benchmark.rho.size)
    shift = _probit(np.array(stated), share) - _probit(_regions(whole, column)[0], _REST)
    verdict = sets.verdict(stated)
    search = _Search(
        sets=sets, benchmark=benchmark, column=column, places=places, stated=verdict, whole=stated, shift=shift,
        tolerance=LEAST_TOLERANCE,
    )  # fmt: skip
    if not ranked or verdict == "withheld":
        return search
    drawn = single[:, 1:]
    # Only the regions on which a change of this verdict hangs.
    own = sets.regions if verdict == "undetermined" else slice(REGIONS.index(verdict), REGIONS.index(verdict) + 1)
    error = np.abs(_probit(_regions(ranked[0], column), _REST) + shift - _probit(drawn, resolution(sets)))[:, own]
    told = error[(drawn[:, own] > SEEN[0]) & (drawn[:, own] < SEEN[1])]
    return replace(search, tolerance=max(LEAST_TOLERANCE, float(told.max()) if told.size else 0.0))


def _flip_row(
    search: _Search, own: Sequence[IntArray], ranked: Sequence[SetPosteriors], single: FloatArray
) -> dict[str, object]:
    """Return the row of `smallest_sets`."""
    sets, n = search.sets, len(search.places)
    most = largest_greedy(n)
    hit, bound, certified = None, 1, True
    start: tuple[int, ...] = ()
    if search.stated != "withheld":
        for removed, each in zip(own, ranked, strict=True):
            if removed.shape[1] == 1:
                looked = _all_drawn(search, removed, single[:, 1:])
            else:
                looked = _nearest_drawn(search, removed, search.margins(each))
            hit, start = looked.hit, looked.nearest
            search = replace(search, tolerance=looked.tolerance)
            if hit is not None:
                break
            certified = certified and looked.complete
            bound = removed.shape[1] + 1
        if hit is None and start:
            hit = _greedy(search, start, most)
    decides = search.stated if search.stated in REGIONS or hit is None else hit.reached
    region = REGIONS.index(decides) if decides in REGIONS else int(np.argmax(search.whole))
    size = 0 if hit is None else len(hit.removed)
    return sets.facts(search.benchmark.name) | {
        "target": "verdict", "stated": search.stated, "n_models": n, "n_removed": size or np.nan,
        "lower_bound": bound, "certified": certified, "how": _how(size, bound, certified), "most": most,
        "removed": "" if hit is None else sets.names_of(search.named(hit.removed)), "value": search.whole[region],
        "value_without": np.nan if hit is None else hit.value, "reached": "" if hit is None else hit.reached,
    }  # fmt: skip


def _all_drawn(search: _Search, removed: IntArray, chances: FloatArray) -> _Looked:
    """Return what sets come to whose posteriors are all drawn; chances of shape (n_sets, 3)."""
    every = [tuple(int(i) for i in each) for each in removed]
    nearest = every[int(np.argmax(np.nan_to_num(search.margin(chances), nan=-np.inf)))]
    return _Looked(hit=search.hit(every, chances), nearest=nearest, tolerance=search.tolerance, complete=True)


def _nearest_drawn(search: _Search, removed: IntArray, margins: FloatArray) -> _Looked:
    """Draw the sets nearest to a change until one changes the verdict, or no other is as near as the ranking errs.

    The tolerance is the largest error of the sets drawn so far and, beyond it, the range of these errors: a set that is
    drawn and does not change the verdict has an error too small to reach any set ranked behind it, so that the largest
    error alone would never lead on. Without two sets whose draws resolve how far they are from a change no error is
    told, and what the sets come to is not complete.
    """
    known = np.nan_to_num(margins, nan=-np.inf)
    order = np.argsort(-known, kind="stable")
    tolerance, errors = search.tolerance, np.zeros(0)
    nearest: tuple[float, tuple[int, ...]] = (-np.inf, ())
    for start in range(0, min(CONFIRMED, len(order)), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        if start and errors.size > 1 and known[rows[0]] <= -tolerance:
            return _Looked(hit=None, nearest=nearest[1], tolerance=tolerance, complete=True)
        some = [tuple(int(i) for i in each) for each in removed[rows]]
        chances = search.chances(some)
        drawn = np.nan_to_num(search.margin(chances), nan=-np.inf)
        nearest = max(nearest, (float(drawn.max()), some[int(np.argmax(drawn))]))
        errors = np.append(errors, (drawn - known[rows])[search.resolved(chances) & np.isfinite(drawn)])
        if errors.size > 1:
            tolerance = max(tolerance, float(errors.max() + np.ptp(errors)))
        hit = search.hit(some, chances)
        if hit is not None:
            return _Looked(hit=hit, nearest=hit.removed, tolerance=tolerance, complete=True)
    rest = known[order[CONFIRMED:]]
    complete = not rest.size or (errors.size > 1 and bool(rest[0] <= -tolerance))
    return _Looked(hit=None, nearest=nearest[1], tolerance=tolerance, complete=complete)


def _greedy(search: _Search, start: Sequence[int], most: int) -> _Hit | None:
    """Leave out one more model at a time, the one that the approximation says moves the verdict most; draw them all."""
    n, path = len(search.places), [tuple(start)]
    while len(path[-1]) < most:
        removed = path[-1]
        rest = np.setdiff1d(np.arange(n), removed)
        larger = np.column_stack([np.tile(removed, (len(rest), 1)), rest])
        ranked = ranked_posteriors([search.benchmark], search.places, kept_after(larger, n), search.sets.rope.limit)
        margins = replace(search, column=0).margins(ranked)
        if not np.isfinite(margins).any():
            break
        path.append(tuple(int(i) for i in larger[int(np.nanargmax(margins))]))
    if len(path) == 1:
        return None
    chances = search.chances(path[1:])
    hits = (search.hit([removed], chances[[row]]) for row, removed in enumerate(path[1:]))
    return next((hit for hit in hits if hit is not None), None)


def _mean_rows(
    search: _Search, own: Sequence[IntArray], ranked: Sequence[SetPosteriors], single: FloatArray
) -> list[dict[str, object]]:
    """Return the rows of `reachable` for the posterior mean: least and largest by the approximation, then drawn."""
    sets, rows = search.sets, []
    for removed, each in zip(own, ranked, strict=True):
        size = removed.shape[1]
        means = single[:, 0] if size == 1 else each.mean[:, search.column]
        low, high = int(np.nanargmin(means)), int(np.nanargmax(means))
        ends = single[[low, high], 0] if size == 1 else search.drawn(removed[[low, high]]).mean
        rows.append(
            _reach(
                sets, search.benchmark.name, "posterior_mean", float(search.benchmark.rho.mean()), size,
                float(ends[0]), float(ends[1]), search.named(removed[low]), search.named(removed[high]), len(removed),
                exact=size == 1,
            )
        )  # fmt: skip
    return rows


def _regions(ranked: SetPosteriors, column: int) -> FloatArray:
    """Return P(entangled), P(inverse) and P(distinct) of one benchmark, shape (n_sets, 3)."""
    return np.stack([ranked.p_entangled, ranked.p_inverse, ranked.p_distinct], axis=2)[:, column]


def _probit(chances: FloatArray, share: float) -> FloatArray:
    return np.asarray(special.ndtri(np.clip(chances, share, 1 - share)))


def search_tables(
    flips: Sequence[dict[str, object]], reach: Sequence[dict[str, object]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows as the tables `smallest_sets` and `reachable`."""
    return (
        pd.DataFrame(list(flips), columns=list(MODEL_SETS_TABLES["smallest_sets"])),
        pd.DataFrame(list(reach), columns=list(MODEL_SETS_TABLES["reachable"])),
    )
