"""Every specification of the correlations of one class: chosen, computed in parallel, kept as they are finished.

Results are kept benchmark by benchmark in a folder, each file under the hash of all that decides its numbers, so that a
run that was stopped goes on, and a study of another threshold or with one more benchmark computes what is new.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from safetystats.errors import DataError, FitError
from safetystats.inference.arrays import FloatArray, IntArray
from safetystats.inference.cut import cut_posterior
from safetystats.inference.store import fit_key
from safetystats.inference.streams import Report, seed_for
from safetystats.scores.capability import ScoreMethod, capability_score
from safetystats.scores.specification import HANDLINGS, handled_correlations, region
from safetystats.scores.weighted import Correlation
from safetystats.shelf import sha256_bytes, write_atomic
from safetystats.specs import BetaPrior, CutPlan, FactorPriors

METHODS: tuple[ScoreMethod, ...] = ("spearman_pca_2024", "pearson_pca", "mean_z", "ml_factor")
LATENT, CUT = "latent mean", "cut posterior"
COEFFICIENTS: tuple[Correlation, ...] = ("spearman", "kendall", "pearson")
SCALES: tuple[str, ...] = ("identity", "logit", "rank_normal")
RHO_PRIORS: tuple[tuple[float, float], ...] = ((0.5, 0.5), (1.0, 1.0), (2.0, 2.0))
"""Parameters of the Beta prior of (rho + 1) / 2: towards the ends, uniform, towards none."""
ALL, ODD, EVEN = "all", "odd places", "even places"
IN_RESIDUAL = "in the residual"
"""How the cut posterior handles families: relatives share a part of what capability leaves."""
EACH, CANDIDATES = 4, 16
"""Draws of the parameters for every draw of capability, and candidates for each of them."""
QUANTITIES = ("estimate", "lower", "upper", "p_entangled", "p_inverse", "p_distinct", "n")
"""What is kept of a specification."""
FEWEST_COLUMNS = 3
TOGETHER = 8
"""Benchmarks computed together."""
VERSION = "1"
"""Raised whenever the numbers of a specification change for the same data."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Specification:
    """One way to compute a correlation with capability.

    Attributes
    ----------
    method : str
        Capability score: one of `METHODS`, `LATENT` or `CUT`.
    coefficient : str
        One of `COEFFICIENTS`; "population" for the cut posterior.
    scale : str
        Of the scores: one of `SCALES`.
    subset : str
        Capability benchmarks used: `ALL`, "without <benchmark>", every other one from the first (`ODD`) or second
        (`EVEN`) on.
    families : str
        One of `HANDLINGS`, or `IN_RESIDUAL`.
    prior : str
        Prior of (rho + 1) / 2; empty in closed form.
    """

    method: str
    coefficient: str
    scale: str
    subset: str
    families: str
    prior: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What the specifications of one class are computed from; n models.

    Attributes
    ----------
    label : str
        Class, or "pooled".
    capability : dict of str to array, shape (n, K)
        Aligned capability scores by scale; NaN where missing.
    safety : dict of str to array, shape (n, B)
        Aligned safety scores by scale.
    names : tuple of str
        The K capability benchmarks.
    families : array of int, shape (n,)
    own_scale : str
        The study's scale.
    theta : array, shape (T, n)
        Draws of latent capability; no rows where there are none.
    latent : array, shape (n,)
        Posterior mean of latent capability over all draws; empty where there is none.
    prepared : array, shape (n, B)
        Safety scores as the cut posterior takes them.
    noise : array, shape (n, B)
        Known error variances; zeros where scores are taken as exact.
    """

    label: str
    capability: dict[str, FloatArray]
    safety: dict[str, FloatArray]
    names: tuple[str, ...]
    families: IntArray
    own_scale: str
    theta: FloatArray
    latent: FloatArray
    prepared: FloatArray
    noise: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every specification: limit and interval, and what the cut posterior needs."""

    limit: float
    level: float
    seed: int
    priors: FactorPriors
    plan: CutPlan


def specifications(names: Sequence[str], own_scale: str, *, latent: bool) -> tuple[Specification, ...]:
    """Return every specification, in a fixed order.

    Methods, coefficients, scales and handlings of families are fully crossed with all capability benchmarks and with
    each half of them; with single benchmarks left out they are crossed on the study's scale only, since there are as
    many of these subsets as benchmarks. The latent mean has all benchmarks, and no second scale where only ranks count.

    Parameters
    ----------
    names : sequence of str
        The capability benchmarks.
    own_scale : str
        The study's scale.
    latent : bool
        Whether there are draws of latent capability.
    """
    halves = [ALL] + [half for half, members in ((ODD, names[::2]), (EVEN, names[1::2])) if len(members) > 2]
    found = [
        Specification(method=m, coefficient=c, scale=s, subset=u, families=f)
        for m, s, u, f, c in product(METHODS, SCALES, halves, HANDLINGS, COEFFICIENTS)
    ]
    if len(names) > FEWEST_COLUMNS:
        found += [
            Specification(method=m, coefficient=c, scale=own_scale, subset=f"without {u}", families=f)
            for m, u, f, c in product(METHODS, names, HANDLINGS, COEFFICIENTS)
        ]
    if latent:
        found += [
            Specification(method=LATENT, coefficient=c, scale=s, subset=ALL, families=f)
            for s, f, c in product(SCALES, HANDLINGS, COEFFICIENTS)
            if s == own_scale or c == "pearson" or f in ("means", "within")
        ]
        found += [
            Specification(
                method=CUT, coefficient="population", scale=own_scale, subset=ALL, families=f, prior=_named(p)
            )
            for f, p in product(("none", IN_RESIDUAL), RHO_PRIORS)
        ]
    return tuple(found)


def prior_name(prior: BetaPrior) -> str:
    """Return the prior of (rho + 1) / 2 as specifications name it."""
    return _named((prior.alpha, prior.beta))


def specification_values(
    material: Material, asked: Question, folder: Path | None, report: Report | None = None, n_jobs: int | None = None
) -> tuple[tuple[Specification, ...], FloatArray]:
    """Compute every specification for every benchmark of one class.

    Parameters
    ----------
    material : Material
    asked : Question
    folder : Path or None
        Where finished benchmarks are kept; None: nowhere.
    report : callable or None
        Called with (benchmarks done, benchmarks in all).
    n_jobs : int or None
        Threads; None: two, or one on a machine with one core.

    Returns
    -------
    specifications : tuple of Specification, length S
    values : array, shape (B, S, 7)
        `QUANTITIES` of each; NaN where a specification does not apply.
    """
    every = specifications(material.names, material.own_scale, latent=bool(material.theta.size))
    scores = _scores(material, every)
    n_benchmarks = material.prepared.shape[1]
    keys = [_key(material, scores, every, asked, column) for column in range(n_benchmarks)]
    values = np.full((n_benchmarks, len(every), len(QUANTITIES)), np.nan)
    missing = []
    for column, key in enumerate(keys):
        kept = _load(folder, key, values[column].shape)
        if kept is None:
            missing.append(column)
        else:
            values[column] = kept
    done = n_benchmarks - len(missing)
    chunks = [missing[start : start + TOGETHER] for start in range(0, len(missing), TOGETHER)]
    jobs = min(2, os.cpu_count() or 1) if n_jobs is None else n_jobs
    work = (delayed(_compute)(material, scores, every, asked, chunk) for chunk in chunks)
    for chunk, found in zip(
        chunks, Parallel(n_jobs=jobs, backend="threading", return_as="generator")(work), strict=True
    ):
        values[chunk] = found
        for place, column in enumerate(chunk):
            _save(folder, keys[column], found[place])
        done += len(chunk)
        if report is not None:
            report(done, n_benchmarks)
    return every, values


def _named(prior: tuple[float, float]) -> str:
    return f"Beta({prior[0]:g}, {prior[1]:g})"


def _members(subset: str, names: Sequence[str]) -> list[int]:
    """Return the places of the capability benchmarks of a subset."""
    places = list(range(len(names)))
    if subset == ODD:
        return places[::2]
    if subset == EVEN:
        return places[1::2]
    return [place for place in places if f"without {names[place]}" != subset]


def _scores(material: Material, every: Sequence[Specification]) -> dict[tuple[str, str, str], FloatArray]:
    """Return the capability score of every method, scale and subset, each of shape (n,); NaN where it has none."""
    n = len(material.families)
    wanted = dict.fromkeys((each.method, each.scale, each.subset) for each in every)
    found: dict[tuple[str, str, str], FloatArray] = {}
    for method, scale, subset in wanted:
        if method in (LATENT, CUT):
            found[method, scale, subset] = material.latent
            continue
        columns = material.capability[scale][:, _members(subset, material.names)]
        known = next(each for each in METHODS if each == method)
        try:
            found[method, scale, subset] = capability_score(
                columns, method=known, missing="available" if known == "mean_z" else "drop"
            ).score
        except (DataError, FitError):
            found[method, scale, subset] = np.full(n, np.nan)
    return found


def _compute(
    material: Material,
    scores: dict[tuple[str, str, str], FloatArray],
    every: tuple[Specification, ...],
    asked: Question,
    columns: list[int],
) -> FloatArray:
    """Return the values of some benchmarks, shape (len(columns), S, 7)."""
    values = np.full((len(columns), len(every), len(QUANTITIES)), np.nan)
    place = {each: i for i, each in enumerate(every)}
    for scale, handling in product(SCALES, HANDLINGS):
        own = [key for key in scores if key[1] == scale and key[0] != CUT]
        block = np.array([scores[key] for key in own])
        found = handled_correlations(
            block, material.safety[scale][:, columns], material.families, handling, COEFFICIENTS
        )
        for coefficient, estimates in found.items():
            judged = region(estimates, coefficient, asked.limit, asked.level)
            stacked = np.stack([*judged, estimates.points], axis=-1)
            for row, (method, _, subset) in enumerate(own):
                each = Specification(
                    method=method, coefficient=coefficient, scale=scale, subset=subset, families=handling
                )
                if each in place:
                    values[:, place[each]] = stacked[row]
    for each in every:
        if each.method == CUT:
            values[:, place[each]] = _cut(material, asked, columns, each)
    return values


def _cut(material: Material, asked: Question, columns: list[int], each: Specification) -> FloatArray:
    """Return the values of some benchmarks by the cut posterior under one prior of rho, shape (len(columns), 7)."""
    alpha, beta = next(prior for prior in RHO_PRIORS if _named(prior) == each.prior)
    priors = asked.priors.model_copy(update={"loading": BetaPrior(family="beta", alpha=alpha, beta=beta)})
    noise = material.noise[:, columns]
    rngs = [
        np.random.default_rng(
            seed_for(asked.seed, "specification", material.label, each.families, each.prior, _digest(material, column))
        )
        for column in columns
    ]
    drawn = cut_posterior(
        material.prepared[:, columns], material.theta, material.families, priors,
        CutPlan(candidates=CANDIDATES * EACH, icc_cells=asked.plan.icc_cells), rngs,
        noise=noise if noise.any() else None, families_matter=each.families == IN_RESIDUAL, each=EACH,
    )  # fmt: skip
    found = np.full((len(columns), len(QUANTITIES)), np.nan)
    for row, (draws, column) in enumerate(zip(drawn, columns, strict=True)):
        if draws is None:
            continue
        rho, limit = draws.rho, asked.limit
        lower, upper = np.quantile(rho, ((1 - asked.level) / 2, (1 + asked.level) / 2))
        shares = ((rho > limit).mean(), (rho < -limit).mean(), (np.abs(rho) < limit).mean())
        found[row] = (rho.mean(), lower, upper, *shares, np.isfinite(material.prepared[:, column]).sum())
    return found


def _digest(material: Material, column: int) -> str:
    """Return a name for the scores of one benchmark, so that its draws do not depend on which others there are."""
    return sha256_bytes(np.ascontiguousarray(material.prepared[:, column]).tobytes())


def _key(
    material: Material,
    scores: dict[tuple[str, str, str], FloatArray],
    every: tuple[Specification, ...],
    asked: Question,
    column: int,
) -> str:
    """Return the identity of the results of one benchmark: hex sha256 of everything that decides its numbers."""
    parts: list[object] = [VERSION, material.label, every, asked.limit, asked.level, asked.seed, asked.plan.icc_cells]
    parts += [asked.priors.model_dump_json(), material.families.tobytes(), material.theta.tobytes()]
    parts += [scores[key].tobytes() for key in sorted(scores)]
    parts += [np.ascontiguousarray(material.safety[scale][:, column]).tobytes() for scale in SCALES]
    parts += [np.ascontiguousarray(a[:, column]).tobytes() for a in (material.prepared, material.noise)]
    return fit_key("specifications", *parts)


def _load(folder: Path | None, key: str, shape: tuple[int, ...]) -> FloatArray | None:
    """Return the kept values, or None where there are none or the file is not whole."""
    if folder is None:
        return None
    try:
        found = np.load(folder / f"{key}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return np.asarray(found, dtype=np.float64) if found.shape == shape else None


def _save(folder: Path | None, key: str, values: FloatArray) -> None:
    if folder is not None:
        stream = io.BytesIO()
        np.save(stream, values, allow_pickle=False)
        write_atomic(folder / f"{key}.npy", stream.getvalue())
