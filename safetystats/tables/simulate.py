"""Score tables drawn from the two-level factor model, with the truth beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.tables.assemble import MIN_CAPABILITY, MIN_MODELS, assemble
from safetystats.tables.table import (
    BENCHMARK_COLUMNS,
    CELL_COLUMNS,
    MODEL_COLUMNS,
    SOURCE_COLUMNS,
    FloatArray,
    ScoreTable,
)

MIN_SCORES = 3
"""Scores that every benchmark keeps in every class, however many are to be missing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What a simulated table was drawn from.

    Attributes
    ----------
    classes : tuple of str, length n_classes
        Model classes.
    benchmarks : tuple of str, length n_benchmarks
        Benchmarks in table order, capability first.
    theta : array, shape (n_models,)
        Capability of every model in table order, standard normal within a class.
    loadings : array, shape (n_classes, n_benchmarks)
        Correlation rho of every benchmark with capability, by class.
    icc : array, shape (n_benchmarks,)
        Share kappa of the residual variance that lies between families.
    location, spread : array, shape (n_benchmarks,)
        Mean alpha and total sd s of every benchmark, in native units.
    family_effects : array, shape (n_models, n_benchmarks)
        u of the family of each model, in native units.
    scores : array, shape (n_models, n_benchmarks)
        The scores before any went missing.
    """

    classes: tuple[str, ...]
    benchmarks: tuple[str, ...]
    theta: FloatArray
    loadings: FloatArray
    icc: FloatArray
    location: FloatArray
    spread: FloatArray
    family_effects: FloatArray
    scores: FloatArray


def simulate_table(
    *,
    n_models: int,
    n_families: int,
    capability_loadings: Sequence[float],
    safety_correlations: Sequence[float] | Mapping[str, Sequence[float]],
    icc: float | Sequence[float] = 0.2,
    missing: float = 0.0,
    seed: int,
    classes: Sequence[str] = ("base",),
    pairing: float = 0.8,
) -> tuple[ScoreTable, Truth]:
    """Draw a table from the two-level factor model.

    For model m of family f on benchmark b, y = alpha_b + s_b rho_b theta_m + u_fb + e_mb with theta ~ N(0, 1),
    u ~ N(0, kappa_b s_b^2 (1 - rho_b^2)) and e ~ N(0, (1 - kappa_b) s_b^2 (1 - rho_b^2)), so that the correlation of
    y_b and theta is rho_b.

    Parameters
    ----------
    n_models : int
        Lineages; every class has one model of each, so the table has n_models * len(classes) rows.
    n_families : int
        Families, at most n_models. Their sizes fall off as 1, 1/2, 1/3, ..., none below one.
    capability_loadings : sequence of float, at least 3
        rho of the capability benchmarks, in [-1, 1].
    safety_correlations : sequence of float, or mapping of class to sequence
        rho of the safety benchmarks, in [-1, 1]; one sequence for all classes or one each, of equal lengths.
    icc : float or sequence of float
        kappa, in [0, 1]: one for all benchmarks, or one each, capability first.
    missing : float
        Share of cells that go missing completely at random, in [0, 1). Every benchmark keeps `MIN_SCORES` scores per
        class and every model one.
    seed : int
        Of numpy's default generator.
    classes : sequence of str
        Names of the model classes.
    pairing : float
        Correlation, in [0, 1], between the classes of theta, u and e of one lineage.

    Returns
    -------
    table : ScoreTable
        In native units, all columns pointing upward, alpha ~ N(0, 1) and s ~ LogNormal(0, 0.5).
    truth : Truth
        What it was drawn from.

    Raises
    ------
    ValueError
        If a parameter is outside its range.
    """
    by_class = _correlations(safety_correlations, classes)
    rho = np.array([[*capability_loadings, *by_class[name]] for name in classes], dtype=np.float64)
    n_benchmarks, n_capability = rho.shape[1], len(capability_loadings)
    kappa = np.broadcast_to(np.asarray(icc, dtype=np.float64), (n_benchmarks,)).copy()
    _check(n_models, n_families, n_capability, rho, kappa, missing, pairing)
    rng = np.random.default_rng(seed)
    location = rng.normal(size=(n_benchmarks,))
    spread = rng.lognormal(0.0, 0.5, size=(n_benchmarks,))
    family = np.repeat(np.arange(n_families), _family_sizes(n_models, n_families))
    theta = _paired(rng, len(classes), (n_models,), pairing)
    between = _paired(rng, len(classes), (n_families, n_benchmarks), pairing)[:, family]
    within = _paired(rng, len(classes), (n_models, n_benchmarks), pairing)
    rest = (spread * np.sqrt(1.0 - rho**2))[:, np.newaxis, :]
    effects = (rest * np.sqrt(kappa) * between).reshape(-1, n_benchmarks)
    noise = (rest * np.sqrt(1.0 - kappa) * within).reshape(-1, n_benchmarks)
    signal = (theta[:, :, np.newaxis] * (spread * rho)[:, np.newaxis, :]).reshape(-1, n_benchmarks)
    full = location + signal + effects + noise
    values = np.where(_missing_mask(rng, full.shape, len(classes), missing), np.nan, full)
    models, benchmarks = _models(classes, family), _benchmarks(n_capability, n_benchmarks - n_capability)
    table = assemble(
        name="simulated",
        title=f"Simulated table (seed {seed})",
        scores=pd.DataFrame(values, index=models.index, columns=benchmarks.index),
        models=models,
        benchmarks=benchmarks,
        sources=pd.DataFrame(columns=list(SOURCE_COLUMNS)),
        cells=pd.DataFrame(columns=list(CELL_COLUMNS)),
        file="simulated",
        dictionary="simulated",
    )
    truth = Truth(
        classes=tuple(classes),
        benchmarks=tuple(table.columns()),
        theta=theta.ravel(),
        loadings=rho,
        icc=kappa,
        location=location,
        spread=spread,
        family_effects=effects,
        scores=full,
    )
    return table, truth


def _correlations(
    given: Sequence[float] | Mapping[str, Sequence[float]], classes: Sequence[str]
) -> Mapping[str, Sequence[float]]:
    if not isinstance(given, Mapping):
        return dict.fromkeys(classes, given)
    if set(given) != set(classes) or len({len(values) for values in given.values()}) != 1:
        raise ValueError(f"safety_correlations needs one sequence per class, all of one length; classes are {classes}")
    return given


def _check(
    n_models: int,
    n_families: int,
    n_capability: int,
    rho: FloatArray,
    kappa: FloatArray,
    missing: float,
    pairing: float,
) -> None:
    demands = {
        f"n_models must be at least {MIN_MODELS}": n_models >= MIN_MODELS,
        "n_families must be between 1 and n_models": 1 <= n_families <= n_models,
        f"capability_loadings needs at least {MIN_CAPABILITY} values": n_capability >= MIN_CAPABILITY,
        "correlations and loadings must be in [-1, 1]": bool(np.all(np.abs(rho) <= 1.0)),
        "icc must be in [0, 1]": bool(np.all((kappa >= 0.0) & (kappa <= 1.0))),
        "missing must be in [0, 1)": 0.0 <= missing < 1.0,
        "pairing must be in [0, 1]": 0.0 <= pairing <= 1.0,
    }
    for demand, met in demands.items():
        if not met:
            raise ValueError(demand)


def _family_sizes(n_models: int, n_families: int) -> npt.NDArray[np.int64]:
    """Return sizes of at least one that fall off harmonically and sum to n_models, largest first."""
    share = 1.0 / np.arange(1, n_families + 1)
    exact = share / share.sum() * (n_models - n_families)
    sizes = np.floor(exact).astype(np.int64)
    rest = n_models - n_families - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:rest]] += 1
    return sizes + 1


def _paired(rng: np.random.Generator, n_classes: int, shape: tuple[int, ...], pairing: float) -> FloatArray:
    """Return standard normal draws of shape (n_classes, *shape), correlated by `pairing` between classes."""
    shared, own = rng.normal(size=shape), rng.normal(size=(n_classes, *shape))
    drawn: FloatArray = np.sqrt(pairing) * shared + np.sqrt(1.0 - pairing) * own
    return drawn


def _missing_mask(
    rng: np.random.Generator, shape: tuple[int, ...], n_classes: int, missing: float
) -> npt.NDArray[np.bool_]:
    """Return True where a score goes missing, shape (n_models, n_benchmarks)."""
    mask = rng.random(shape) < missing
    for rows in np.split(np.arange(shape[0]), n_classes):
        for column in range(shape[1]):
            keep = rng.permutation(rows)[:MIN_SCORES]
            if (~mask[rows, column]).sum() < MIN_SCORES:
                mask[keep, column] = False
    for row in np.flatnonzero(mask.all(axis=1)):
        mask[row, rng.integers(shape[1])] = False
    return mask


def _models(classes: Sequence[str], family: npt.NDArray[np.int64]) -> pd.DataFrame:
    lineages = [f"lineage-{number:03d}" for number in range(1, len(family) + 1)]
    rows = [
        {
            "model": f"{lineage}-{model_class}",
            "name": f"{lineage} {model_class}",
            "model_class": model_class,
            "family": f"family-{number + 1:02d}",
            "lineage": lineage,
            "n_params": np.nan,
            "flop": np.nan,
            "release_date": "",
            "access": "",
            "note": "",
        }
        for model_class in classes
        for lineage, number in zip(lineages, family, strict=True)
    ]
    return _indexed(rows, "model")[list(MODEL_COLUMNS)]


def _benchmarks(n_capability: int, n_safety: int) -> pd.DataFrame:
    roles = ["capability"] * n_capability + ["safety"] * n_safety
    numbers = [*range(1, n_capability + 1), *range(1, n_safety + 1)]
    rows = [
        {
            "benchmark": f"{role}_{number}",
            "name": f"{role} {number}",
            "role": role,
            "area": f"simulated {role}",
            "headline": True,
            "metric": "score",
            "direction": "higher_is_better" if role == "capability" else "higher_is_safer",
            "unit": "",
            "lower": np.nan,
            "upper": np.nan,
            "chance": np.nan,
            "n_items": np.nan,
            "source": "",
            "note": "",
        }
        for role, number in zip(roles, numbers, strict=True)
    ]
    return _indexed(rows, "benchmark")[list(BENCHMARK_COLUMNS)]


def _indexed(rows: Sequence[Mapping[str, object]], key: str) -> pd.DataFrame:
    return pd.DataFrame(list(rows)).astype({key: "str"}).set_index(key)
