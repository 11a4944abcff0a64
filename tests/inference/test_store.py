"""Saved fits: they come back as they were, or not at all."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from factor_data import SIZE, fit_small, quick_spec, small_table

from safetystats.inference.fits import CapabilityFit, SafetyFit, fit_capability
from safetystats.inference.store import FitStore, digest, fit_key, open_fit, with_attrs


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


def test_the_key_follows_data_spec_and_seed_and_nothing_else(
    small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetystats.inference import fits

    monkeypatch.setattr(fits, "_sample", lambda *_: (small_fits[0].draws, small_fits[0].plans))
    monkeypatch.setattr(fits, "_trim", lambda draws, *_: draws)
    fit = small_fits[0]
    table, spec = fit.table, fit.spec

    def key(folder: str = "a", **changes: object) -> str:
        given = {"table": table, "spec": spec, "seed": 5, "size": SIZE, **changes}
        return fit_capability(**given, store=FitStore(root=tmp_path / folder)).key  # type: ignore[arg-type]

    assert key() == fit.key == key("another folder")
    assert key(spec=spec.model_copy(update={"title": "renamed", "cut": spec.cut.model_copy()})) == fit.key
    safety = table.columns("safety")[0]
    assert key(table=table.select(benchmarks=[b for b in table.columns() if b != safety])) == fit.key
    scores = table.scores.copy()
    scores.iloc[0, 0] += 1e-9
    families = table.models.assign(family=["lonely", *table.models["family"].iloc[1:]])
    others = [
        key(seed=6),
        key(table=table.replace(scores=scores)),
        key(table=table.replace(models=families)),
        key(spec=quick_spec(501, pareto_k=50.0)),
        key(spec=spec.model_copy(update={"priors": spec.priors.model_copy(update={"icc": spec.priors.loading})})),
    ]
    assert len({fit.key, *others}) == len(others) + 1


REUSE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from factor_data import fit_small, quick_spec, small_table
fit, safety = fit_small(small_table()[0], quick_spec(pareto_k=50.0), Path(sys.argv[2]))
assert fit.reused and safety.reused
fit.convergence()
loaded = [name for name in ("pymc", "pytensor", "nutpie", "numba") if name in sys.modules]
print(float(fit.theta.sum()), float(safety.draws["cut"]["rho"].sum()), loaded)
"""


def test_a_reused_run_needs_no_sampler(small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path) -> None:
    fit, safety = small_fits
    store = FitStore(root=tmp_path)
    for part in (fit, safety):
        store.save(part.key, part.draws)
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", REUSE, here, str(tmp_path)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    theta, rho, loaded = done.stdout.split(maxsplit=2)
    assert float(theta) == pytest.approx(float(fit.theta.sum()), rel=1e-12)
    assert float(rho) == pytest.approx(float(safety.draws["cut"]["rho"].sum()), rel=1e-6)  # single precision sums
    assert loaded.strip() == "[]"


def test_a_damaged_fit_is_made_anew(small_fits: tuple[CapabilityFit, SafetyFit], tmp_path: Path) -> None:
    fit, safety = small_fits
    store = FitStore(root=tmp_path)
    for part in (fit, safety):
        store.save(part.key, part.draws)
    store.path(safety.key).write_bytes(store.path(safety.key).read_bytes()[:-2000])
    again, made_anew = fit_small(small_table()[0], quick_spec(pareto_k=50.0), tmp_path)
    assert again.reused
    assert not made_anew.reused
    np.testing.assert_array_equal(made_anew.draws["cut"]["rho"], safety.draws["cut"]["rho"])
    assert store.load(safety.key) is not None
