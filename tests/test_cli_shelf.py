"""Specs and saved fits from the command line."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from safetystats.cli import app
from safetystats.inference.store import FitStore, fit_key, open_fit, with_attrs
from safetystats.shelf import shelf_names
from safetystats.specs import FactorSpec, read_spec

HOUR = 3600


def saved(root: Path, label: str) -> Path:
    """Save a small fit and return its path."""
    draws = np.random.default_rng(1).normal(size=(2, 5, 3))
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"rho": (("chain", "draw", "benchmark"), draws)})})
    spec = read_spec("two-level", "factor").model_dump_json()
    about = {"kind": "capability", "table_name": "t", "model_class": label, "spec": spec, "seed": 7}
    return FitStore(root=root).save(fit_key(label), with_attrs(tree, **about))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFETYSTATS_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path / "fits"


def test_every_spec_on_the_shelf_is_listed_and_valid() -> None:
    done = CliRunner().invoke(app, ["models", "list", "--json"])
    rows = json.loads(done.stdout)
    assert [row["spec"] for row in rows] == shelf_names("models", ".toml")
    assert {"two-level", "one-factor", "k-factor", "bifactor", "two-level-rank", "two-level-binomial"} <= {
        row["spec"] for row in rows if row["kind"] == "factor"
    }
    assert all(row["title"] for row in rows)


def test_a_shown_spec_can_be_copied_and_changed(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["models", "show", "two-level"]).stdout
    assert tomllib.loads(shown)["kind"] == "factor"
    copy = tmp_path / "my-model.toml"
    copy.write_text(shown.replace("alpha = 6.0", "alpha = 8.0", 1), encoding="utf-8")
    own, shipped = read_spec(copy, "factor"), read_spec("two-level", "factor")
    assert isinstance(own, FactorSpec)
    assert isinstance(shipped, FactorSpec)
    assert (own.priors.capability_loading.alpha, shipped.priors.capability_loading.alpha) == (8.0, 6.0)
    as_json = json.loads(CliRunner().invoke(app, ["models", "show", str(copy), "--json"]).stdout)
    assert as_json["priors"]["capability_loading"]["alpha"] == 8.0


def test_fits_are_listed_with_their_state(cache: Path) -> None:
    good, stale, damaged = (saved(cache, label) for label in ("base", "chat", "other"))
    with xr.open_datatree(stale) as opened:
        tree = opened.load()
    tree.attrs["algorithm"] = "0"
    tree.to_netcdf(stale)
    damaged.write_bytes(damaged.read_bytes()[:200])
    found = json.loads(CliRunner().invoke(app, ["fits", "list", "--json"]).stdout)
    states = {Path(row["file"]): row["state"] for row in found["fits"]}
    assert states == {good: "current", stale: "stale", damaged: "damaged"}
    row = next(row for row in found["fits"] if row["state"] == "current")
    assert (row["kind"], row["table"], row["model_class"], row["seed"]) == ("capability", "t", "base", 7)
    assert row["spec"] == "Two-level one-factor model (models in families)"


def test_clean_removes_what_is_of_no_use_and_nothing_else(cache: Path) -> None:
    good, damaged = saved(cache, "base"), saved(cache, "chat")
    damaged.write_bytes(b"not a fit")
    old, young = cache / ".old.nc", cache / ".young.nc"
    for path in (old, young):
        path.write_bytes(b"half")
    past = old.stat().st_mtime - 2 * HOUR
    os.utime(old, (past, past))
    would = CliRunner().invoke(app, ["fits", "clean", "--dry-run"]).stdout.split()
    assert {Path(line) for line in would} == {damaged, old}
    assert damaged.exists()
    CliRunner().invoke(app, ["fits", "clean"])
    assert {path.name for path in cache.iterdir()} == {good.name, young.name}
    open_fit(good)
    CliRunner().invoke(app, ["fits", "clean", "--all"])
    assert {path.name for path in cache.iterdir()} == {young.name}


def test_an_empty_folder_has_no_fits(cache: Path) -> None:
    done = CliRunner().invoke(app, ["fits", "list"])
    assert done.exit_code == 0
    assert done.stdout == ""
    assert not cache.exists()
