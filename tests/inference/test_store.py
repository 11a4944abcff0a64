"""Saved fits: they come back as they were, or not at all."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from factor_data import INTEGRATED, SAMPLED, fit_small, quick_spec

from safetystats.inference import fits
from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability, fit_safety
from safetystats.inference.marginal import family_log_likelihood, log_prior_terms
from safetystats.inference.parameters import FactorData, draws_of
from safetystats.inference.store import FitStore, digest, fit_key, open_fit, with_attrs
from safetystats.specs import CutPlan, SamplingPlan
from safetystats.tables.simulate import Truth
from safetystats.tables.table import ScoreTable


def made() -> xr.DataTree:
    rng = np.random.default_rng(1)
    posterior = xr.Dataset(
        {"rho": (("chain", "draw", "benchmark"), rng.normal(size=(2, 300, 2)))}, coords={"benchmark": ["mmlu", "arc"]}
    )
    flags = xr.Dataset({"diverging": (("chain", "draw"), rng.random((2, 300)) < 0.1)})
    return with_attrs(xr.DataTree.from_dict({"posterior": posterior, "sample_stats": flags}), seed=5, spec="{}")


def test_round_trip(tmp_path: Path) -> None:
    store = FitStore(root=tmp_path / "deep" / "fits")
    assert store.load("abc") is None
    path = store.save("abc", made())
    assert path == store.path("abc")
    assert [p.name for p in path.parent.iterdir()] == ["abc.nc"]
    back = store.load("abc")
    assert back is not None
    for group in ("posterior", "sample_stats"):
        xr.testing.assert_identical(back[group].to_dataset(), made()[group].to_dataset())
    assert back.attrs["spec"] == "{}"
    assert back.attrs["seed"] == 5
    assert digest(back) == back.attrs["digest"]


def test_an_impostor_is_not_trusted(tmp_path: Path) -> None:
    store = FitStore(root=tmp_path)
    store.save("abc", made())
    store.path("abc").rename(store.path("def"))
    assert store.load("def") is None
    with pytest.raises(ValueError, match="holds the fit abc, not def"):
        open_fit(store.path("def"), "def")


@pytest.mark.parametrize("what", ["an array", "a label", "an attribute"])
def test_changed_content_is_not_trusted(tmp_path: Path, what: str) -> None:
    store = FitStore(root=tmp_path)
    path = store.save("abc", made())
    tree = open_fit(path)
    if what == "an array":
        tree["posterior"]["rho"][0, 0, 0] += 1e-9
    elif what == "a label":
        tree["posterior"].dataset = tree["posterior"].to_dataset().assign_coords(benchmark=["arc", "mmlu"])
    else:
        tree.attrs["seed"] = 6
    tree.to_netcdf(path, engine="h5netcdf")
    assert store.load("abc") is None
    with pytest.raises(ValueError, match="the content is not what was saved"):
        open_fit(path, "abc")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # h5netcdf, closing a broken file
def test_damaged_files_are_never_trusted(tmp_path: Path) -> None:
    """Cut short, or a few bytes overwritten, anywhere: refused, or the content is what was saved."""
    store = FitStore(root=tmp_path)
    path = store.save("abc", made())
    whole, right = path.read_bytes(), digest(open_fit(path, "abc"))
    rng = np.random.default_rng(2)
    refused = 0
    for trial in range(60):
        bytes_ = bytearray(whole)
        place = int(rng.integers(len(whole) - 8))
        if trial < 10:
            bytes_ = bytes_[:place]
        else:
            bytes_[place : place + 8] = rng.bytes(8)
        path.write_bytes(bytes(bytes_))
        found = store.load("abc")
        assert found is None or digest(found) == right
        refused += found is None
    assert refused > 30
    path.write_bytes(b"")
    assert store.load("abc") is None
    gc.collect()


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FitStore(root=tmp_path)

    def broken(self: xr.DataTree, name: str, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt("killed in the middle")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    with pytest.raises(KeyboardInterrupt, match="killed in the middle"):
        store.save("abc", made())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FitStore(root=tmp_path)
    store.save("abc", made())
    before = store.path("abc").read_bytes()

    def broken(self: xr.DataTree, name: str, **_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    with pytest.raises(OSError, match="disk full"):
        store.save("abc", made())
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]


def test_keys_tell_borders_and_versions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit_key("ab", "c") != fit_key("a", "bc")
    assert fit_key(b"ab", b"c") != fit_key(b"a", b"bc")
    assert fit_key("a", 1) == fit_key("a", 1)
    before = fit_key("a")
    monkeypatch.setattr("safetystats.inference.store.versions", lambda: {"pymc": "0"})
    assert fit_key("a") != before


@pytest.fixture
def canned(small_fits: tuple[CapabilityFit, SafetyFit], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Put the draws of the small fit in the place of the sampler; return the list of calls."""
    calls: list[object] = []

    def sample(*given: object) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
        calls.append(given)
        return small_fits[0].draws, small_fits[0].plans

    monkeypatch.setattr(fits, "sample", sample)
    return calls


def test_the_key_follows_data_spec_and_seed_and_nothing_else(
    small_fits: tuple[CapabilityFit, SafetyFit], canned: list[object], tmp_path: Path
) -> None:
    fit = small_fits[0]
    table, spec = fit.table, fit.spec

    def key(folder: str = "a", **changes: object) -> str:
        given = {"table": table, "spec": spec, "seed": 5, "kind": INTEGRATED, **changes}
        return fit_capability(**given, store=FitStore(root=tmp_path / folder)).key  # type: ignore[arg-type]

    assert key() == fit.key == key("another folder")
    assert key(spec=spec.model_copy(update={"title": "renamed", "alternatives": ()})) == fit.key
    assert key(spec=spec.model_copy(update={"cut": CutPlan(candidates=64)})) == fit.key
    safety = table.columns("safety")[0]
    assert key(table=table.select(benchmarks=[b for b in table.columns() if b != safety])) == fit.key
    scores = table.scores.copy()
    scores.iloc[0, 0] += 1e-9
    families = table.models.assign(family=["lonely", *table.models["family"].iloc[1:]])
    others = [
        key(seed=6),
        key(kind=SAMPLED),
        key(table=table.replace(scores=scores)),
        key(table=table.replace(models=families)),
        key(spec=quick_spec(501, pareto_k=50.0)),
        key(spec=spec.model_copy(update={"families": False})),
        key(spec=spec.model_copy(update={"further": "unrestricted", "n_further": 1})),
        *(
            key(spec=spec.model_copy(update={"priors": spec.priors.model_copy(update={name: spec.priors.loading})}))
            for name in ("icc", "capability_icc", "capability_loading")
        ),
    ]
    assert len({fit.key, *others}) == len(others) + 1
    assert len(canned) == len(others) + 2


def kept(fit: CapabilityFit | SafetyFit, folder: Path) -> FitStore:
    store = FitStore(root=folder)
    store.save(fit.key, fit.draws)
    return store


def test_a_saved_fit_proves_itself(
    small_fits: tuple[CapabilityFit, SafetyFit], canned: list[object], tmp_path: Path
) -> None:
    """The log density that stands in the file is that of one stored draw under the data at hand."""
    fit = small_fits[0]
    again = fit_capability(fit.table, fit.spec, 5, INTEGRATED, kept(fit, tmp_path))
    assert again.reused
    assert canned == []
    one = draws_of(fit.posterior.isel(chain=[0], draw=[250]))
    anchors = np.ones(5, dtype=bool)
    prior = sum(float(term[0]) for term in log_prior_terms(one, fit.spec.priors, anchors).values())
    expected = prior + float(family_log_likelihood(one, fit.data).sum())
    assert fit.draws.attrs["log_density"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "what", ["rho", "total_sd", "icc", "intercept", "capability_icc", "log density", "no log density", "other data"]
)
def test_a_fit_whose_digest_was_forged_is_made_anew(
    what: str, small_fits: tuple[CapabilityFit, SafetyFit], canned: list[object], tmp_path: Path
) -> None:
    """Draws or the log density were changed, or they belong to other data, and the digest was written anew."""
    fit, store = small_fits[0], FitStore(root=tmp_path)
    if what == "other data":
        scores = fit.table.scores.copy()
        scores.iloc[3, 1] += 0.01
        canned_fit = fit_capability(fit.table.replace(scores=scores), fit.spec, 5, INTEGRATED, store)
        forged = with_attrs(canned_fit.draws)
        canned.clear()
    elif what.endswith("log density"):
        changed = np.nan if what.startswith("no") else fit.draws.attrs["log_density"] + 0.001
        forged = with_attrs(fit.draws, log_density=changed)
    else:
        posterior = fit.draws["posterior"].to_dataset().copy(deep=True)
        posterior[what][0, 250] *= 1.001
        forged = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": fit.draws["sample_stats"].to_dataset()})
        forged.attrs = dict(fit.draws.attrs)
    store.save(fit.key, forged)
    assert store.load(fit.key) is not None, "the digest is right"
    again = fit_capability(fit.table, fit.spec, 5, INTEGRATED, store)
    assert not again.reused
    assert len(canned) == 1
    assert fit_capability(fit.table, fit.spec, 5, INTEGRATED, store).reused
    np.testing.assert_array_equal(again.theta, fit.theta)


def test_a_stopped_run_goes_on_from_the_finished_refits(
    small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in the second of three joint refits: the next run begins with the second."""
    calls: list[str] = []

    def sampler(stop_at: int) -> Callable[..., tuple[xr.DataTree, tuple[SamplingPlan, ...]]]:
        def sample(kind: None, data: FactorData, *_: object) -> tuple[xr.DataTree, tuple[SamplingPlan, ...]]:
            calls.append(str(kind))
            if len(calls) == stop_at:
                raise KeyboardInterrupt
            posterior = small_fits[0].draws["posterior"].to_dataset().drop_vars(["benchmark", "model"])
            shifted = posterior.assign(rho=posterior["rho"] * float(np.nanmean(data.values[:8, -1])))
            groups = {"posterior": shifted, "sample_stats": small_fits[0].draws["sample_stats"].to_dataset()}
            return xr.DataTree.from_dict(groups), small_fits[0].plans

        return sample

    doubted = replace(small_fits[0], spec=quick_spec(pareto_k=1e-9))

    def run(folder: Path) -> SafetyFit:
        return fit_safety(doubted, FitStore(root=folder))

    monkeypatch.setattr(fits, "sample", sampler(stop_at=2))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped")
    assert calls == ["None", "None"]
    monkeypatch.setattr(fits, "sample", sampler(stop_at=-1))
    calls.clear()
    resumed = run(tmp_path / "stopped")
    assert len(calls) == 2
    calls.clear()
    whole = run(tmp_path / "whole")
    assert len(calls) == 3
    assert resumed.refitted == whole.refitted == doubted.table.columns("safety")
    xr.testing.assert_identical(resumed.draws["refit"].to_dataset(), whole.draws["refit"].to_dataset())
    means = whole.draws["refit"]["rho"].mean(("chain", "draw")).to_numpy()
    assert len(set(means.round(6))) == 3
    calls.clear()
    assert run(tmp_path / "whole").reused
    assert calls == []


REUSE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from factor_data import closed_table, fit_small, quick_spec
fit, safety = fit_small(closed_table()[0], quick_spec(pareto_k=50.0), Path(sys.argv[2]))
assert fit.reused and safety.reused
fit.convergence()
loaded = [name for name in ("pymc", "pytensor", "nutpie", "numba") if name in sys.modules]
print(float(fit.theta.sum()), float(safety.draws["cut"]["rho"].sum()), loaded)
"""


def test_a_reused_run_needs_no_sampler(small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path) -> None:
    fit, safety = small_fits
    for part in (fit, safety):
        kept(part, tmp_path)
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", REUSE, here, str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    theta, rho, loaded = done.stdout.split(maxsplit=2)
    assert float(theta) == pytest.approx(float(fit.theta.sum()), rel=1e-9, abs=1e-6)
    assert float(rho) == pytest.approx(float(safety.draws["cut"]["rho"].sum()), rel=1e-6)  # single precision sums
    assert loaded.strip() == "[]"


def test_a_damaged_fit_is_made_anew(
    small: tuple[ScoreTable, Truth], small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path
) -> None:
    fit, safety = small_fits
    for part in (fit, safety):
        store = kept(part, tmp_path)
    store.path(safety.key).write_bytes(store.path(safety.key).read_bytes()[:-2000])
    again, made_anew = fit_small(small[0], quick_spec(pareto_k=50.0), tmp_path)
    assert again.reused
    assert not made_anew.reused
    np.testing.assert_array_equal(made_anew.draws["cut"]["rho"], safety.draws["cut"]["rho"])
    assert store.load(safety.key) is not None
