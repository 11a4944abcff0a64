"""Saved fits: content-addressed, written whole or not at all, and checked when they are opened again."""

from __future__ import annotations

import importlib.metadata
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import xarray as xr

from safetystats.shelf import sha256_bytes

ALGORITHM = "6"
"""Raised whenever the numbers of a fit change for the same data, spec, seed and library versions."""

State = Literal["current", "stale", "damaged"]
_LIBRARIES = ("pymc", "pytensor", "nutpie", "numba", "numpy", "scipy", "arviz-stats")


def versions() -> dict[str, str]:
    """Return the versions of the libraries that decide a fit's numbers."""
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def fit_key(*parts: object) -> str:
    """Return the identity of a fit: hex sha256 of everything that decides its numbers."""
    blocks = [part if isinstance(part, bytes) else repr(part).encode("utf-8") for part in parts]
    return sha256_bytes(ALGORITHM.encode(), json.dumps(versions(), sort_keys=True).encode(), *blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedFit:
    """The head of a saved fit.

    Attributes
    ----------
    path : Path
    kind : str
        capability, safety, joint or groups (several classes together).
    table, model_class, benchmark, spec : str
        What was fitted; benchmark only of a joint refit (of groups: the level of invariance), spec by its title.
    seed : int or None
    size : int
        In bytes.
    modified : float
        Seconds since 1970.
    state : {"current", "stale", "damaged"}
        Stale: made by another version of the algorithm or of a library, so that it is never used again.
    """

    path: Path
    kind: str
    table: str
    model_class: str
    benchmark: str
    spec: str
    seed: int | None
    size: int
    modified: float
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class FitStore:
    """A folder of saved fits, one NetCDF file each, named by the fit's key."""

    root: Path

    def path(self, key: str) -> Path:
        """Return where the fit with this key is, or would be."""
        return self.root / f"{key}.nc"

    def load(self, key: str, holds: Callable[[xr.DataTree], bool] | None = None) -> xr.DataTree | None:
        """Return the saved fit if there is one and it proves itself; None otherwise.

        The proof: the file opens, names this key, the sha256 of its content is the one written when it was saved, and
        `holds`, where given, finds that the content goes with the data at hand.
        """
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            tree = open_fit(path, key)
        except (OSError, ValueError):
            return None
        return tree if holds is None or holds(tree) else None

    def save(self, key: str, tree: xr.DataTree) -> Path:
        """Write a fit beside its place and rename it there; return its path."""
        tree = with_attrs(tree, key=key, algorithm=ALGORITHM, versions=json.dumps(versions(), sort_keys=True))
        tree = with_attrs(tree, digest=digest(tree))
        self.root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.root, prefix=f".{key[:12]}.", suffix=".nc")
        os.close(handle)
        try:
            encoding = {
                f"/{group.path.strip('/')}": {
                    str(v): {"zlib": True, "complevel": 4} for v, a in group.data_vars.items() if a.dtype.kind in "fiub"
                }
                for group in tree.subtree
                if group.data_vars
            }
            tree.to_netcdf(name, engine="h5netcdf", encoding=encoding)
            Path(name).chmod(0o644)
            Path(name).replace(self.path(key))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return self.path(key)

    def saved(self) -> list[SavedFit]:
        """Return what is in the folder, newest first; only the heads of the files are read."""
        files = sorted(self.root.glob("*.nc"), key=lambda path: -path.stat().st_mtime) if self.root.is_dir() else []
        return [_head(path) for path in files if not path.name.startswith(".")]

    def leftovers(self) -> list[Path]:
        """Return unfinished files that a killed run left behind, of an hour ago or earlier."""
        old = time.time() - 3600
        return [path for path in self.root.glob(".*.nc") if path.stat().st_mtime < old] if self.root.is_dir() else []


def _head(path: Path) -> SavedFit:
    about = path.stat()
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            attrs = dict(opened.attrs)
    except (OSError, ValueError, RuntimeError, KeyError):  # what a damaged file does to its reader; the state says so
        attrs = {}
    current = attrs.get("algorithm") == ALGORITHM and attrs.get("versions") == json.dumps(versions(), sort_keys=True)
    state: State = "damaged" if attrs.get("key") != path.stem else "current" if current else "stale"
    return SavedFit(
        path=path,
        kind=str(attrs.get("kind", "")),
        table=str(attrs.get("table_name", "")),
        model_class=str(attrs.get("model_class", "")),
        benchmark=str(attrs.get("benchmark", "")),
        spec=str(json.loads(attrs["spec"]).get("title", "")) if "spec" in attrs else "",
        seed=int(attrs["seed"]) if "seed" in attrs else None,
        size=about.st_size,
        modified=about.st_mtime,
        state=state,
    )


def open_fit(path: Path, key: str | None = None) -> xr.DataTree:
    """Open a saved fit and check it.

    Raises
    ------
    ValueError
        If the file is damaged, of another key, or its content is not what was saved.
    OSError
        If the file cannot be read.
    """
    try:
        with xr.open_datatree(path, engine="h5netcdf") as opened:
            tree = opened.load()
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    if key is not None and tree.attrs.get("key") != key:
        raise ValueError(f"{path} holds the fit {tree.attrs.get('key')}, not {key}")
    if tree.attrs.get("digest") != digest(tree):
        raise ValueError(f"{path}: the content is not what was saved")
    return tree


def with_attrs(tree: xr.DataTree, **attrs: str | int | float) -> xr.DataTree:
    """Return the tree with attributes added at its root."""
    marked = tree.copy()
    marked.attrs = {**tree.attrs, **attrs}
    return marked


def digest(tree: xr.DataTree) -> str:
    """Return the sha256 of all arrays and labels of a tree and of the attributes at its root, in a fixed order."""
    facts = {str(name): str(value) for name, value in tree.attrs.items() if name != "digest"}
    blocks = [json.dumps(facts, sort_keys=True).encode()]
    for group in sorted(tree.subtree, key=lambda node: node.path):
        for name in sorted({str(v) for v in group.data_vars} | {str(v) for v in group.coords}):
            values = group[name].to_numpy()
            block = values.tobytes() if values.dtype.kind in "fiub" else "\n".join(map(str, values.ravel())).encode()
            blocks += [f"{group.path}/{name}{group[name].dims}{values.shape}".encode(), block]
    return sha256_bytes(*blocks)
