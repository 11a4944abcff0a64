"""The default study in this process, on the fits that the installed wheel has saved, and as if it had all checks."""

from __future__ import annotations

from pathlib import Path

import pytest
from installed import Study
from made_tables import fully_checked

from safetystats.shelf import shelf_path
from safetystats.specs import QUICK, StudySpec, read_study
from safetystats.summaries.analysis import Analysis, plan_study, run_study


@pytest.fixture(scope="session")
def quick_study(tmp_path_factory: pytest.TempPathFactory) -> StudySpec:
    """The default study with few resamples and without the long checks: its fits are those of the default study."""
    path = tmp_path_factory.mktemp("spec") / "quick.toml"
    text = shelf_path("models", "score-2024.toml").read_text(encoding="utf-8")
    path.write_text(text.replace("resamples = 2000", "resamples = 100"), encoding="utf-8")
    return read_study("helm-classic").model_copy(update={"score": str(path), "scrutiny": QUICK})


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
