"""Stored draws of latent capability: what a new benchmark is set against without a sampler.

A file holds, for every class of one table, evenly spaced draws of capability of each model from the fit of the
capability benchmarks, and what the numbers come from: spec, seed, fingerprint of the table, versions, convergence. The
scores themselves are not in it. It proves itself by a digest of its content and, where the table is at hand, by the log
density of one draw of the parameters, which is computed anew.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from safetystats.errors import DataError, Fault
from safetystats.shelf import sha256_bytes
from safetystats.spec_questions import RelationRules
from safetystats.specs import FactorSpec, Rope, parse_spec

FORMAT = 1
FloatArray = npt.NDArray[np.float64]
_DAMAGED = "Restore the file, or make it anew with `safetystats reference make`."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceClass:
    """Capability of the models of one class.

    Attributes
    ----------
    models, families, lineages : tuple of str, length n
    others : tuple of tuple of str, length n
        Other names of each model.
    theta : array, shape (T, n)
        Draws of capability.
    capability_icc : array, shape (T,)
        omega of the same draws.
    score_2024 : array, shape (n,)
        The score of Ren et al. (2024), NaN for a model without one.
    benchmarks : tuple of str
        The capability benchmarks.
    convergence : mapping of str to float
        r_hat, ess_bulk, ess_tail, divergences, e_bfmi, mode_gap of all draws of the fit.
    failed : tuple of str
        Gates that the fit did not pass.
    proof : mapping
        `log_density`, and the draw of the parameters that has it: rho, total_sd, icc, intercept, capability_icc.
    """

    models: tuple[str, ...]
    families: tuple[str, ...]
    lineages: tuple[str, ...]
    others: tuple[tuple[str, ...], ...]
    theta: FloatArray
    capability_icc: FloatArray
    score_2024: FloatArray
    benchmarks: tuple[str, ...]
    convergence: Mapping[str, float]
    failed: tuple[str, ...]
    proof: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reference:
    """Capability of the models of one table.

    Attributes
    ----------
    name, title : str
        Of the table.
    classes : mapping of str to ReferenceClass
        In the order of the study.
    spec : FactorSpec
    spec_name : str
    seed : int
    rope : Rope
    level : float
        Region of practical equivalence and coverage of intervals of the study.
    table_fingerprint : str
        Of the table as read, restricted to these classes.
    versions : mapping of str to str
        Libraries that the fit was made with, and safetystats.
    source : str
        Where the draws come from: a shipped file, or the folder of a run.
    rules : RelationRules
        Which reliability a verdict "distinct" needs: those of the run; the general ones for a shipped file.
    """

    name: str
    title: str
    classes: Mapping[str, ReferenceClass]
    spec: FactorSpec
    spec_name: str
    seed: int
    rope: Rope
    level: float
    table_fingerprint: str
    versions: Mapping[str, str]
    source: str
    rules: RelationRules = field(default_factory=RelationRules)

    @property
    def known(self) -> dict[str, tuple[str, ...]]:
        """All models, each with its other names."""
        return {m: o for own in self.classes.values() for m, o in zip(own.models, own.others, strict=True)}

    @property
    def digest(self) -> str:
        """Hex sha256 of the content."""
        head, arrays = _parts(self)
        return _digest(head, arrays)


def thinned(n_draws: int, most: int) -> npt.NDArray[np.int64]:
    """Return at most `most` evenly spaced places among `n_draws`."""
    return np.unique(np.linspace(0, n_draws - 1, min(most, n_draws)).round().astype(np.int64))


def reference_bytes(reference: Reference) -> bytes:
    """Return the content of a file: an npz archive, the same bytes for the same draws."""
    head, arrays = _parts(reference)
    stream = io.BytesIO()
    text = json.dumps(head | {"digest": _digest(head, arrays)}, sort_keys=True, ensure_ascii=False)
    np.savez(stream, allow_pickle=False, head=np.frombuffer(text.encode("utf-8"), dtype=np.uint8), **arrays)
    return stream.getvalue()


def read_reference(path: Path, file: str | None = None) -> Reference:
    """Read a file and check its digest.

    Raises
    ------
    DataError
        If the file is missing, damaged or of another format.
    """
    name = file or str(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as opened:
            arrays = {str(key): opened[key] for key in opened.files if key != "head"}
            head = json.loads(opened["head"].tobytes().decode("utf-8"))
    except FileNotFoundError:
        raise DataError([_fault(name, "a file with draws of capability", "no file")]) from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError([_fault(name, "a file with draws of capability", f"{type(error).__name__}: {error}")]) from None
    if head.get("format") != FORMAT:
        raise DataError([_fault(name, f"format {FORMAT}", f"format {head.get('format')}")])
    stated = head.pop("digest", "")
    if stated != _digest(head, arrays):
        raise DataError([_fault(name, "the content that was written", "another content")])
    classes = {
        label: ReferenceClass(
            models=tuple(own["models"]),
            families=tuple(own["families"]),
            lineages=tuple(own["lineages"]),
            others=tuple(tuple(names) for names in own["others"]),
            theta=arrays[f"theta.{place}"].astype(np.float64),
            capability_icc=arrays[f"capability_icc.{place}"].astype(np.float64),
            score_2024=arrays[f"score_2024.{place}"].astype(np.float64),
            benchmarks=tuple(own["benchmarks"]),
            convergence=own["convergence"],
            failed=tuple(own["failed"]),
            proof=own["proof"],
        )
        for place, (label, own) in enumerate(head["classes"])
    }
    return Reference(
        name=head["name"], title=head["title"], classes=classes, spec=parse_spec(FactorSpec, head["spec"], name),
        spec_name=head["spec_name"], seed=head["seed"],
        rope=parse_spec(Rope, head["rope"], name), level=head["level"], table_fingerprint=head["table_fingerprint"],
        versions=head["versions"], source=name,
    )  # fmt: skip


def _parts(reference: Reference) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.float32]]]:
    """Return what is text or a single number, and the arrays in single precision."""
    head: dict[str, Any] = {
        "format": FORMAT,
        "name": reference.name,
        "title": reference.title,
        "spec": json.loads(reference.spec.model_dump_json()),
        "spec_name": reference.spec_name,
        "seed": reference.seed,
        "rope": json.loads(reference.rope.model_dump_json()),
        "level": reference.level,
        "table_fingerprint": reference.table_fingerprint,
        "versions": dict(reference.versions),
        "classes": [
            [
                label,
                {
                    "models": list(own.models),
                    "families": list(own.families),
                    "lineages": list(own.lineages),
                    "others": [list(names) for names in own.others],
                    "benchmarks": list(own.benchmarks),
                    "convergence": dict(own.convergence),
                    "failed": list(own.failed),
                    "proof": dict(own.proof),
                },
            ]
            for label, own in reference.classes.items()
        ],
    }
    arrays = {
        f"{field}.{place}": np.asarray(getattr(own, field), dtype=np.float32)
        for place, own in enumerate(reference.classes.values())
        for field in ("theta", "capability_icc", "score_2024")
    }
    return head, arrays


def _digest(head: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    blocks = [json.dumps(head, sort_keys=True, ensure_ascii=False).encode("utf-8")]
    for name in sorted(arrays):
        blocks += [f"{name}{arrays[name].dtype}{arrays[name].shape}".encode(), arrays[name].tobytes()]
    return sha256_bytes(*blocks)


def _fault(file: str, expected: str, got: str) -> Fault:
    return Fault(file=file, expected=expected, got=got, remedy=_DAMAGED)
