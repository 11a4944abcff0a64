"""A finished run's fits are opened again, proved, and asked what further models would do, from the command line too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fits_by_hand import capability_fit, good_draws, safety_fit
from typer.testing import CliRunner

from safetystats.cli import GATE_FAILED, app
from safetystats.errors import DataError, StudyError
from safetystats.inference.store import FitStore, with_attrs
from safetystats.specs import StudySpec
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.parts import with_capability
from safetystats.summaries.plan import plan_study
from safetystats.summaries.reopened import reopen
from safetystats.summaries.settling import settle_run

NAME = "classic_truthfulqa"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run of one class with the fits of two benchmarks, written by hand."""
    study = StudySpec(title="made", question="made?", table="helm-classic", classes=("base",))
    plan = plan_study("made", study)
    part = with_capability(plan.prepared.select(model_class="base"))
    capability = capability_fit(part)
    safety = safety_fit(capability, np.concatenate([good_draws(1, 0.6, 0.1), good_draws(1, 0.0, 0.1, seed=3)]))
    folder = tmp_path / "run"
    store = FitStore(root=folder / "fits")
    plans = json.dumps([each.model_dump() for each in capability.plans])
    for kind, tree in (
        ("capability", with_attrs(capability.draws, plans=plans)),
        ("safety", with_attrs(safety.draws, left_out="{}")),
    ):
        store.save(f"{kind}key", tree).rename(folder / "fits" / f"{kind}-base.nc")
    record = {
        "study": "made",
        "spec": json.loads(study.model_dump_json()),
        "specs": {"factor": {"fingerprint": plan.factor.fingerprint}},
        "table": {"name": plan.table.name, "fingerprint": plan.table.fingerprint},
        "fits": {"capability-base": "capabilitykey", "safety-base": "safetykey"},
        "tables": {},
        "gates": {"passed": True, "checks": []},
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    return folder


def change(run: Path, **changes: object) -> None:
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({**record, **changes}), encoding="utf-8")


def test_the_fits_come_back_as_they_were(run: Path) -> None:
    plan, fits = reopen(run)
    assert list(fits) == ["base"]
    fit = fits["base"]
    assert fit.benchmarks[0] == NAME
    assert fit.reused
    assert fit.capability.theta.shape == (1000, 43)
    assert fit.capability.spec == plan.factor
    rho = fit.draws["cut"]["rho"].sel(benchmark=NAME).to_numpy()
    np.testing.assert_array_equal(rho, good_draws(1, 0.6, 0.1)[0].astype(np.float32))


def test_what_has_changed_since_the_run_is_refused(run: Path) -> None:
    change(run, specs={"factor": {"fingerprint": "other"}}, table={"name": "helm-classic", "fingerprint": "other"})
    with pytest.raises(DataError, match="changed since") as found:
        reopen(run)
    assert len(found.value.faults) == 2


@pytest.mark.parametrize("how", ["missing", "cut short", "another key"])
def test_a_fit_that_does_not_prove_itself_is_refused(run: Path, how: str) -> None:
    path = run / "fits" / "safety-base.nc"
    if how == "missing":
        path.unlink()
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:2000])
    else:
        change(run, fits={"capability-base": "capabilitykey", "safety-base": "other"})
    with pytest.raises(DataError, match="safety-base"):
        reopen(run)


def test_the_command_and_the_function_say_the_same(run: Path) -> None:
    options = ["plan", str(run), NAME, "--class", "base", "--models", "5,15", "--simulations", "20", "--quiet"]
    shown = CliRunner().invoke(app, [*options, "--json"])
    assert shown.exit_code == 0, shown.output
    rows = json.loads(shown.stdout)
    assert [row["further"] for row in rows] == [5, 15]
    assert set(rows[0]) == set(VERDICTS_TABLES["models_to_settle"])
    plan, fits = reopen(run)
    frame = settle_run(plan, fits, benchmark=NAME, further=(5, 15), n_simulations=20)
    np.testing.assert_allclose([row["width_expected"] for row in rows], frame["width_expected"])
    text = CliRunner().invoke(app, options).stdout
    assert "20 simulated futures" in text
    assert "further models" in text


def test_relatives_of_models_at_hand_are_no_new_families(run: Path) -> None:
    shown = CliRunner().invoke(
        app, ["plan", str(run), NAME, "--models", "8", "--families", "0", "--simulations", "20", "--quiet", "--json"]
    )
    assert [row["further_families"] for row in json.loads(shown.stdout)] == [0]


def test_a_failed_gate_is_said_and_ends_with_its_exit_code(run: Path) -> None:
    change(run, gates={"passed": False, "checks": []})
    shown = CliRunner().invoke(app, ["plan", str(run), NAME, "--models", "5", "--simulations", "20", "--quiet"])
    assert shown.exit_code == GATE_FAILED
    assert "20 simulated futures" in shown.stdout


@pytest.mark.parametrize("given", ["", "a", "5,0", "-3", "5;6"])
def test_numbers_of_models_that_are_none_are_refused(run: Path, given: str) -> None:
    result = CliRunner().invoke(app, ["plan", str(run), "--models", given])
    assert isinstance(result.exception, StudyError)
    assert "whole numbers" in str(result.exception)
