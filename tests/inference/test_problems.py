"""What a fit is given: which evaluator, which structure, which data; and fits of every shipped factor spec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factor_data import SAMPLED, default_spec, fit_small, quick, read_factor, small_table

from safetystats.errors import DataError
from safetystats.inference.arrays import GraphKind
from safetystats.inference.problems import (
    areas_with_factors,
    data_of,
    family_codes,
    kind_for,
    kinds_for,
    noise_of,
    structure_of,
)
from safetystats.specs import FactorSpec
from safetystats.tables.noise import sampling_variance
from safetystats.tables.prepare import align, standardise, transform
from safetystats.tables.simulate import simulate_table
from safetystats.tables.table import ScoreTable

SPECS = ("two-level", "one-factor", "k-factor", "bifactor", "two-level-rank", "two-level-binomial")
ITEMS = 50.0


def item_table(*, missing: float = 0.0) -> ScoreTable:
    """Shares of known numbers of items, in two areas of capability with three and two benchmarks; not yet aligned."""
    table, truth = simulate_table(
        n_models=24, n_families=8, capability_loadings=[0.9, 0.8, 0.75, 0.85, 0.7], safety_correlations=[0.6, -0.5],
        icc=0.2, missing=missing, seed=21,
    )  # fmt: skip
    share = 0.5 + 0.13 * (table.scores - truth.location) / truth.spread
    share = np.round(share.clip(0.02, 0.98) * ITEMS) / ITEMS
    areas = ["reasoning"] * 3 + ["knowledge"] * 2 + ["safety"] * 2
    facts = table.benchmarks.assign(area=areas, lower=0.0, upper=1.0, n_items=ITEMS)
    return table.replace(scores=share, benchmarks=facts)


def prepared(spec: FactorSpec, *, missing: float = 0.0) -> ScoreTable:
    return standardise(transform(align(item_table(missing=missing)), spec.transform))


def blanked(table: ScoreTable, benchmark: str) -> ScoreTable:
    scores = table.scores.copy()
    scores.loc[scores.index[3], benchmark] = np.nan
    return table.replace(scores=scores)


def test_factors_are_integrated_out_where_that_is_exact() -> None:
    """No sampling error, and few missing cells; otherwise one graph for the classes that need it."""
    whole, other = small_table(missing=0.0)[0], small_table(seed=12, n_models=15, missing=0.0)[0]
    spec, names = default_spec(), whole.columns()
    for name in ("two-level", "one-factor", "two-level-rank", "k-factor"):
        assert kind_for([whole, blanked(other, names[0])], read_factor(name)) is None
    noisy = kind_for([whole, other], read_factor("two-level-binomial"))
    assert noisy == GraphKind(n_models=24, n_benchmarks=6, n_families=8, noisy=True)
    assert kind_for([other, whole], read_factor("two-level-binomial")) == noisy
    scores = whole.scores.copy()
    scores.loc[scores.index[5:], names[:2]] = np.nan  # more cells missing than models
    sparse, small = whole.replace(scores=scores), replace(noisy, n_models=15, noisy=False)
    assert kind_for([sparse], spec) == replace(noisy, noisy=False)
    assert kind_for([sparse], read_factor("k-factor")) == replace(noisy, noisy=False, n_further=1)
    assert kinds_for({"a": other, "b": sparse}, spec) == {"a": None, "b": replace(noisy, noisy=False)}
    assert kinds_for({"a": other, "b": whole}, spec) == {"a": None, "b": None}
    both = kinds_for({"a": other, "b": whole}, read_factor("two-level-binomial"))
    assert both == {"a": noisy, "b": noisy}
    assert kind_for([other], read_factor("two-level-binomial")) == replace(small, noisy=True)


def test_a_factor_for_every_area_with_two_benchmarks() -> None:
    table = prepared(read_factor("bifactor"))
    assert kind_for([table], read_factor("bifactor")) is None
    assert areas_with_factors(table) == ["reasoning", "knowledge"]
    names = [*table.columns("capability"), table.columns("safety")[0]]
    structure = structure_of(table, names, read_factor("bifactor"))
    assert structure.pattern.T.astype(int).tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0]]
    assert structure.anchors.tolist() == [True] * 5 + [False]
    lonely = table.replace(benchmarks=table.benchmarks.assign(area=["a", "a", "b", "c", "d", "s", "s"]))
    pattern = structure_of(lonely, names, read_factor("bifactor")).pattern
    assert pattern.T.astype(int).tolist() == [[1, 1, 0, 0, 0, 0]]


@pytest.mark.parametrize("areas", [["a"] * 5, list("abcde")], ids=["one area", "areas of one benchmark"])
def test_areas_that_say_nothing_are_refused(areas: list[str]) -> None:
    table = prepared(read_factor("bifactor"))
    table = table.replace(benchmarks=table.benchmarks.assign(area=[*areas, "s", "s"]))
    with pytest.raises(DataError, match="an area with 2 or more, but not all, of the capability benchmarks"):
        structure_of(table, table.columns("capability"), read_factor("bifactor"))


def test_structures_of_the_other_specs() -> None:
    table = prepared(default_spec())
    names = [*table.columns("capability"), table.columns("safety")[0]]
    anchors = [True] * 5 + [False]
    for name, n_further, families in (("two-level", 0, True), ("one-factor", 0, False), ("k-factor", 1, True)):
        structure = structure_of(table, names, read_factor(name))
        assert structure.anchors.tolist() == anchors
        assert structure.families is families
        assert structure.pattern.shape == (6, n_further)
        assert structure.pattern[:5].all()
        assert not structure.pattern[5].any()


def test_data_of_a_fit() -> None:
    table = blanked(prepared(default_spec()), "safety_1")
    names = ["capability_1", "safety_1"]
    plain = data_of(table, names, default_spec())
    np.testing.assert_array_equal(plain.values, table.scores[names].to_numpy())
    assert not plain.noise.any()
    assert not plain.complete
    assert data_of(table, names[:1], default_spec()).complete
    families = list(dict.fromkeys(table.models["family"]))
    assert [families[code] for code in family_codes(table)] == list(table.models["family"])
    binomial = read_factor("two-level-binomial")
    noise = noise_of(table, names, binomial)
    expected = sampling_variance(table)[names].to_numpy()
    assert np.isnan(expected).sum() == 1
    np.testing.assert_array_equal(noise, np.nan_to_num(expected))
    # The variance of a share near one half of 50 items is 0.005, in units of a column with sd about 0.13.
    assert np.median(noise) == pytest.approx(0.25 / ITEMS / 0.13**2, rel=0.5)
    unknown = table.replace(benchmarks=table.benchmarks.assign(n_items=np.nan))
    assert not noise_of(unknown, names, binomial).any()


@pytest.mark.parametrize(("name", "missing"), [*((name, 0.0) for name in SPECS), ("two-level", 0.1)])
def test_every_shipped_spec_fits_from_end_to_end(name: str, missing: float, tmp_path: Path) -> None:
    """Short runs; all that comes out is finite."""
    spec = quick(read_factor(name), draws=200, tune=300, pareto_k=50.0, ess=1.0, r_hat=2.0, divergences=800)
    table = prepared(spec, missing=missing)
    kind = None if kind_for([table], spec) is None else SAMPLED
    fit, safety = fit_small(table, spec, tmp_path, kind=kind)
    assert len(fit.plans) == 1
    assert fit.evaluator == ("sampled" if name == "two-level-binomial" else "completed" if missing else "integrated")
    posterior = fit.posterior
    further = structure_of(table, fit.benchmarks, spec).pattern
    assert ("further" in posterior) == (further.shape[1] > 0)
    assert all(np.isfinite(values).all() for values in posterior.data_vars.values())
    if "further" in posterior:
        loaded = (posterior["further"] != 0).all(("chain", "draw")).to_numpy()
        np.testing.assert_array_equal(loaded, further)
    for parameter in ("icc", "capability_icc"):
        assert bool(posterior[parameter].any()) is spec.families
    assert safety.benchmarks == table.columns("safety")
    assert safety.refitted == []
    for group in ("cut", "joint"):
        assert all(np.isfinite(values).all() for values in safety.draws[group].data_vars.values())
    assert bool(safety.draws["cut"]["icc"].any()) is spec.families
    # The simulated correlations are 0.6 and -0.5; 24 models tell their signs.
    rho = safety.draws["cut"]["rho"].mean(("chain", "draw")).to_numpy()
    assert rho[0] > 0.2
    assert rho[1] < -0.1
    assert (fit.parameters.rho.mean(0) > 0.3).all()


def test_sampling_error_is_taken_off_the_scores(tmp_path: Path) -> None:
    """Correlations with the score free of sampling error are larger, scales smaller, than those with the score."""
    fits = []
    for measurement in ("exact", "binomial"):
        spec = quick(default_spec(), draws=300, tune=300).model_copy(update={"measurement": measurement})
        table = prepared(spec)
        few = table.replace(benchmarks=table.benchmarks.assign(n_items=15.0))
        table = few.select(benchmarks=few.columns("capability"))
        fits.append(fit_small(table, spec, tmp_path, kind=SAMPLED)[0].parameters)
    exact, binomial = fits
    # 15 items: error takes about a third of the variance, so correlations of 0.8 become 0.65 with it.
    assert binomial.rho.mean() > exact.rho.mean() + 0.05
    assert (binomial.total_sd.mean(0) < exact.total_sd.mean(0) - 0.05).all()
