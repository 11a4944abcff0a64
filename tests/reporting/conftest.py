"""The default study in this process, on the fits that the installed wheel has saved, and as if it had all checks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installed import Study
from made_tables import fully_checked

from safetystats.shelf import shelf_path
from safetystats.specs import QUICK, QUICK_QUESTIONS, StudySpec, read_study
from safetystats.summaries.analysis import Analysis, plan_study, run_study


@pytest.fixture(scope="session")
def quick_study(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    """The default study with few resamples and draws and without the long checks; its factor fits are the default's."""
    folder = tmp_path_factory.mktemp("spec")
    changes = {
        "score-2024": {"resamples": 100},
        "class-mixed": {"replicates": 99, "replicates_small": 99},
        "class-crossed": {
            "draws": 100, "tune": 100, "ess": 1.0, "r_hat": 9.0, "divergences": 999, "e_bfmi": 0.01,
        },
    }  # fmt: skip
    for name, values in changes.items():
        text = shelf_path("models", f"{name}.toml").read_text(encoding="utf-8")
        for key, value in values.items():
            text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
            assert count == 1, f"{name} states {key} {count} times"
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    own = {
        kind: str(folder / f"{name}.toml") for kind, name in zip(("score", "mixed", "crossed"), changes, strict=True)
    }
    return read_study("helm-classic").model_copy(update={**own, "scrutiny": QUICK, "questions": QUICK_QUESTIONS})


@pytest.fixture(scope="session")
def store_root(study: Study) -> Path:
    return study[0] / "cache" / "fits"


@pytest.fixture(scope="session")
def analysis(quick_study: StudySpec, store_root: Path) -> Analysis:
    found = run_study(plan_study("quick", quick_study), store_root)
    assert found.reused
    return found


@pytest.fixture(scope="session")
def checked(analysis: Analysis) -> Analysis:
    """The same study with the tables of a full one, made by hand."""
    return fully_checked(analysis)
