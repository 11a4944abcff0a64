"""Stored draws of capability: read back as written, the same bytes again, and refused when they were changed."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from safetystats.errors import DataError
from safetystats.inference.reference import Reference, ReferenceClass, read_reference, reference_bytes, thinned
from safetystats.specs import FactorSpec, Rope, read_spec

N_DRAWS, N_MODELS = 40, 6


def made() -> Reference:
    spec = read_spec("two-level", "factor")
    assert isinstance(spec, FactorSpec)
    rng = np.random.default_rng(5)
    own = ReferenceClass(
        models=tuple(f"org/model-{i}" for i in range(N_MODELS)),
        families=("f", "f", "f", "g", "g", "h"),
        lineages=tuple("abcdef"),
        others=(("Model 0", "zeroth"), *((),) * (N_MODELS - 1)),
        theta=rng.normal(size=(N_DRAWS, N_MODELS)).astype(np.float32).astype(np.float64),
        capability_icc=np.full(N_DRAWS, 0.25),
        score_2024=np.array([np.nan, 1.0, 2.0, 3.0, 4.0, 5.0]),
        benchmarks=("x", "y", "z"),
        convergence={"r_hat": 1.001},
        failed=(),
        proof={"log_density": -1.0},
    )
    return Reference(
        name="made", title="Made by hand", classes={"base": own, "chat": own}, spec=spec, spec_name="two-level", seed=3,
        rope=Rope(), level=0.95, table_fingerprint="0" * 64, versions={"safetystats": "0"}, source="",
    )  # fmt: skip


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    reference = made()
    path = tmp_path / "reference.npz"
    path.write_bytes(reference_bytes(reference))
    found = read_reference(path)
    assert found.digest == reference.digest
    for label, own in reference.classes.items():
        other = found.classes[label]
        for field in dataclasses.fields(own):
            np.testing.assert_equal(getattr(other, field.name), getattr(own, field.name))
    assert (found.spec, found.rope, found.seed, found.level) == (reference.spec, reference.rope, 3, 0.95)
    assert found.known["org/model-0"] == ("Model 0", "zeroth")


def test_the_same_draws_are_the_same_bytes() -> None:
    assert reference_bytes(made()) == reference_bytes(made())


@pytest.mark.parametrize("what", ["array", "text", "cut", "format", "nothing"])
def test_a_file_that_was_changed_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "reference.npz"
    content = reference_bytes(made())
    with np.load(io.BytesIO(content)) as opened:
        arrays = {name: opened[name].copy() for name in opened.files}
    head = json.loads(arrays["head"].tobytes())
    if what == "array":
        arrays["theta.0"][0, 0] += 1
    if what == "text":
        head["seed"] = 4
    if what == "format":
        head["format"] = 99
    arrays["head"] = np.frombuffer(json.dumps(head, sort_keys=True, ensure_ascii=False).encode(), dtype=np.uint8)
    np.savez(path, **arrays)
    if what == "cut":
        path.write_bytes(content[: len(content) // 2])
    if what == "nothing":
        path.unlink()
    with pytest.raises(DataError, match="no file" if what == "nothing" else "content|format|file with draws"):
        read_reference(path)


def test_thinned_places_are_even() -> None:
    assert thinned(4000, 1000).tolist()[:2] == [0, 4]
    assert len(thinned(4000, 1000)) == 1000
    assert thinned(5, 10).tolist() == [0, 1, 2, 3, 4]
