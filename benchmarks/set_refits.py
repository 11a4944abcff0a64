"""What keeping capability as fitted to all models costs, and how far the approximation errs that ranks sets of models.

    python benchmarks/set_refits.py [--table helm-classic] [--model-class chat] [--models M ...]

Refits: the capability model is sampled anew without each of the models, the columns z-scored without it, and the cut
posterior drawn from that; beside it what `posteriors_without` says, which leaves out the model's score and keeps
capability. Ranking: for random sets of one, two and three models left out, the probability of the region that the
verdict is about by the approximation, moved to agree with all models, against the one that is drawn. Nearest: the same
in probits for the sets of two and three that the ranking puts nearest to a change of the verdict, where errors count;
positive errors are on the unsafe side. Fits are kept in the cache of safetystats, or reopened from a folder that
`safetystats run` wrote (`--run`; without refits if `--models` names none). Writes set_refits.md beside this file; with
`--nearest-only` it renews that section alone.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import special

from safetystats.inference.arrays import FloatArray
from safetystats.inference.cut import cut_posterior
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.problems import family_codes, kind_for
from safetystats.inference.set_posterior import (
    CAPABILITY_DRAWS,
    EACH,
    benchmarks_of,
    posteriors_without,
    ranked_posteriors,
    same_models,
    thinned,
)
from safetystats.inference.store import FitStore
from safetystats.scores.model_sets import every_set, kept_after
from safetystats.shelf import cache_root
from safetystats.specs import FactorSpec, Rope, read_spec
from safetystats.summaries.posterior import verdict_of, verdict_shares
from safetystats.summaries.reopened import reopen
from safetystats.summaries.set_context import REGIONS
from safetystats.tables.load import load_table
from safetystats.tables.prepare import align, standardise
from safetystats.tables.table import ScoreTable

SEED = 20240731
SETS = 20
"""Random sets of each size."""
EDGE = 1e-4
NEAREST = 16
"""Sets of each size that the ranking puts nearest to a change."""
HEAD = "## Sets nearest to a change"


def prepared(table: ScoreTable, model_class: str, without: str | None = None) -> ScoreTable:
    """Return one class, z-scored, without one model."""
    part = table.select(model_class=model_class)
    part = part.select(models=[m for m in part.scores.index if m != without])
    return standardise(align(part), by="class")


def refits(whole: SafetyFit, table: ScoreTable, models: list[str], store: FitStore, rope: Rope) -> pd.DataFrame:
    """Return mean and P(distinct) of every benchmark without each model, by refit and with capability kept."""
    rows, own = [], whole.capability
    theta = thinned(own.theta, CAPABILITY_DRAWS)
    for model in models:
        part = prepared(table, own.model_class, model)
        again = fit_capability(part, own.spec, SEED, kind_for([part], own.spec), store)
        kept = np.ones((1, own.table.n_models))
        kept[0, list(own.table.scores.index).index(model)] = 0
        for benchmark in benchmarks_of(whole):
            exact = _cut(again, benchmark.name)
            found = posteriors_without(benchmark, kept, rope.limit, 0.95, theta)
            rows.append(
                {
                    "without": model, "benchmark": benchmark.name, "all": benchmark.rho.mean(),
                    "refit": exact.mean(), "kept": found.mean[0], "p_refit": (exact > rope.limit).mean(),
                    "p_kept": found.p_entangled[0], "d_refit": (np.abs(exact) < rope.limit).mean(),
                    "d_kept": found.p_distinct[0],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def _cut(fit: CapabilityFit, name: str) -> FloatArray:
    drawn = cut_posterior(
        fit.table.matrix([name]), fit.theta, family_codes(fit.table), fit.spec.priors, fit.spec.cut,
        [np.random.default_rng(SEED)], families_matter=fit.spec.families,
    )[0]  # fmt: skip
    assert drawn is not None
    return drawn.rho


def ranking(whole: SafetyFit, rope: Rope) -> pd.DataFrame:
    """Return approximate and drawn probabilities of the three regions for random sets."""
    rng, rows = np.random.default_rng(SEED), []
    theta = thinned(whole.capability.theta, CAPABILITY_DRAWS)
    for places, group in same_models(benchmarks_of(whole)):
        n = len(places)
        for size in (1, 2, 3):
            sets = np.stack([rng.choice(n, size=size, replace=False) for _ in range(SETS)])
            kept = np.ones((SETS, n))
            kept[np.arange(SETS)[:, None], sets] = 0
            near = ranked_posteriors(group, places, np.vstack([np.ones((1, n)), kept]), rope.limit)
            for column, benchmark in enumerate(group):
                full = np.ones((SETS, whole.capability.table.n_models))
                full[:, places] = kept
                drawn = posteriors_without(benchmark, full, rope.limit, 0.95, theta)
                for region, stated in (
                    ("p_entangled", (benchmark.rho > rope.limit).mean()),
                    ("p_inverse", (benchmark.rho < -rope.limit).mean()),
                    ("p_distinct", (np.abs(benchmark.rho) < rope.limit).mean()),
                ):
                    approximate = _probit(getattr(near, region)[:, column])
                    moved = special.ndtr(approximate[1:] + _probit(np.array(stated)) - approximate[0])
                    rows += [
                        {"size": size, "approximate": a, "drawn": d}
                        for a, d in zip(moved, getattr(drawn, region), strict=True)
                    ]
    return pd.DataFrame(rows)


def nearest(whole: SafetyFit, rope: Rope) -> pd.DataFrame:
    """Return, by benchmark and size, how far the ranking errs on the sets it puts nearest to a change, in probits.

    Margins are distances beyond a change of the verdict: negative while the verdict stands. Probabilities of draws are
    taken at half of one draw where all draws agree; sets whose draws do not resolve the margin are left out.
    """
    theta = thinned(whole.capability.theta, CAPABILITY_DRAWS)
    share, needed = 0.5 / (len(theta) * EACH), special.ndtri(rope.probability)
    regions, rows = ("p_entangled", "p_inverse", "p_distinct"), []
    for places, group in same_models(benchmarks_of(whole)):
        n = len(places)
        full = ranked_posteriors(group, places, np.ones((1, n)), rope.limit)
        for size in (2, 3):
            sets = every_set(n, size)
            near = ranked_posteriors(group, places, kept_after(sets, n), rope.limit)
            for column, benchmark in enumerate(group):
                entangled, inverse, distinct = verdict_shares(benchmark.rho, rope)
                stated = np.array([entangled, inverse, distinct])
                verdict = verdict_of(entangled, inverse, distinct, rope.probability)
                settled = verdict in REGIONS
                which = [REGIONS.index(verdict)] if settled else [0, 1, 2]
                sign = -1 if settled else 1
                before = np.array([getattr(full, region)[0, column] for region in regions])
                shift = _probit(stated, share) - _probit(before, 1e-6)
                every = _probit(np.stack([getattr(near, region)[:, column] for region in regions], axis=1), 1e-6)
                ranked = sign * ((every + shift)[:, which].max(axis=1) - needed)
                chosen = np.argsort(-ranked)[:NEAREST]
                kept = np.ones((len(chosen), whole.capability.table.n_models))
                kept[np.arange(len(chosen))[:, None], places[sets[chosen]]] = 0
                found = posteriors_without(benchmark, kept, rope.limit, 0.95, theta)
                own = _probit(np.stack([getattr(found, region) for region in regions], axis=1), share)[:, which].max(1)
                drawn = sign * (own - needed)
                error = (drawn - ranked[chosen])[np.abs(own) <= special.ndtri(1 - 2 * share)]
                rows.append(
                    {
                        "benchmark": benchmark.name, "verdict": verdict, "p": stated[which].max(), "size": size,
                        "ranked": ranked[chosen].max(), "drawn": drawn.max(), "resolved": error.size,
                        "least": error.min() if error.size else np.nan,
                        "median": np.median(error) if error.size else np.nan,
                        "largest": error.max() if error.size else np.nan,
                    }
                )  # fmt: skip
    return pd.DataFrame(rows).sort_values(["benchmark", "size"], kind="stable")


def nearest_section(found: pd.DataFrame, about: str, seed: int) -> str:
    """Return the section about the sets nearest to a change as Markdown."""
    head = (
        "benchmark", "verdict", "P", "left out", "nearest, ranked", "nearest, drawn", "resolved", "least", "median",
        "largest",
    )  # fmt: skip
    lines = [head, ("---",) * len(head)]
    for r in found.to_dict("records"):
        errors = ["–" if np.isnan(r[c]) else f"{r[c]:+.2f}" for c in ("least", "median", "largest")]
        margins = [f"{r['ranked']:+.2f}", f"{r['drawn']:+.2f}", str(r["resolved"])]
        lines.append((str(r["benchmark"]), str(r["verdict"]), f"{r['p']:.3f}", str(r["size"]), *margins, *errors))
    return (
        f"{HEAD}\n\n{about} {NEAREST} sets of each size, those that the ranking puts nearest to a change of the "
        "verdict. Probits beyond a change (negative: the verdict stands), of the nearest set by the ranking and of the "
        "nearest of these as drawn; then drawn less ranked over the sets whose draws resolve it. Positive: nearer to a "
        f"change than ranked. {datetime.date.today()}, seed {seed}.\n\n"
        + "".join("| " + " | ".join(line) + " |\n" for line in lines)
    )


def _probit(chances: FloatArray, share: float = EDGE) -> FloatArray:
    return np.asarray(special.ndtri(np.clip(chances, share, 1 - share)))


def page(refitted: pd.DataFrame, ranked: pd.DataFrame, about: str) -> str:
    """Return the page as Markdown."""
    parts = [
        "# Sets of models: capability kept, and the ranking of sets\n",
        f"{about} What is compared is defined in `set_refits.py`.\n",
        f"{datetime.date.today()}, {platform.machine()} {platform.system()}, Python {platform.python_version()}, "
        f"numpy {version('numpy')}, safetystats {version('safetystats')}, seed {SEED}.\n",
    ]
    if len(refitted):
        parts.append(
            "## Capability kept or fitted again\n\nPosterior mean of rho with all models, without the model by refit, "
            "and with capability kept; P(entangled) and P(distinct) by refit and kept.\n\n"
            "| without | benchmark | all | refit | kept | P(ent.), refit | kept | P(dist.), refit | kept |\n"
            "|---|---|---|---|---|---|---|---|---|\n"
            + "".join(
                f"| {r['without']} | {r['benchmark']} | "
                + " | ".join(f"{r[c]:.2f}" for c in ("all", "refit", "kept", "p_refit", "p_kept", "d_refit", "d_kept"))
                + " |\n"
                for r in refitted.to_dict("records")
            )
        )
        gap = (refitted["refit"] - refitted["kept"]).abs()
        parts.append(f"Largest absolute difference of the means {gap.max():.3f}, median {gap.median():.3f}.\n")
    parts.append(
        f"## Approximate and drawn probabilities\n\n{SETS} random sets of each size, three regions of every benchmark; "
        "absolute differences, those of drawn probabilities between 0.8 and 0.99 by themselves.\n\n"
        "| left out | compared | median | 95th percentile | largest | near a verdict | 95th percentile | largest |\n"
        "|---|---|---|---|---|---|---|---|\n"
    )
    for size, own in ranked.groupby("size"):
        error = (own["approximate"] - own["drawn"]).abs()
        close = error[own["drawn"].between(0.8, 0.99)]
        parts[-1] += (
            f"| {size} | {len(error)} | {error.median():.4f} | {error.quantile(0.95):.4f} | {error.max():.4f} | "
            f"{len(close)} | {close.quantile(0.95):.4f} | {close.max():.4f} |\n"
        )
    return "\n".join(parts)


def main() -> None:
    """Make the comparison and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", default="helm-classic")
    parser.add_argument("--model-class", default="chat")
    parser.add_argument("--models", nargs="*", default=["bigscience/T0pp", "writer/palmyra-x"])
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    parser.add_argument("--run", type=Path, help="folder of a run whose fits are taken")
    parser.add_argument("--nearest-only", action="store_true")
    asked = parser.parse_args()
    rope = Rope()
    if asked.run is None:
        spec = read_spec("two-level", "factor")
        assert isinstance(spec, FactorSpec)
        table, store = load_table(asked.table), FitStore(root=cache_root() / "fits")
        part = prepared(table, asked.model_class)
        whole = fit_safety(fit_capability(part, spec, SEED, kind_for([part], spec), store), store)
    else:
        plan, fits = reopen(asked.run)
        table, store, whole = plan.table, FitStore(root=cache_root() / "fits"), fits[asked.model_class]
    about = f"Table {asked.table}, class {asked.model_class}, {whole.capability.table.n_models} models."
    section = nearest_section(nearest(whole, rope), about, whole.capability.seed)
    if asked.nearest_only:
        before = asked.out.read_text(encoding="utf-8").split(HEAD)[0].rstrip()
        asked.out.write_text(f"{before}\n\n{section}", encoding="utf-8")
        return
    refitted = refits(whole, table, list(asked.models), store, rope)
    made = page(refitted, ranking(whole, rope), about)
    asked.out.write_text(f"{made.rstrip()}\n\n{section}", encoding="utf-8")


if __name__ == "__main__":
    main()
