"""What all tests share: where the mirror of the paper's files is, and skips that fail in CI."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from installed import ROOT, Study, run

MIRROR = Path(os.environ.get("SAFETYSTATS_TEST_MIRROR", Path(__file__).resolve().parents[2] / "shared" / "data"))
REFERENCE = Path(os.environ.get("SAFETYSTATS_TEST_REFERENCE", MIRROR.parent / "reference"))


@pytest.fixture(scope="session")
def mirror() -> Path:
    """Folder that holds `ren2024/` with the paper's files; missing fails in CI and skips elsewhere."""
    if not (MIRROR / "ren2024").is_dir():
        message = f"no mirror of the paper's files at {MIRROR} (set SAFETYSTATS_TEST_MIRROR)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return MIRROR


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def study(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Unpack the wheel away from the checkout and run the default study with nothing else on the path before it."""
    base = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(base / "site")
    environment = {
        **os.environ,
        "PYTHONPATH": str(base / "site"),
        "SAFETYSTATS_CACHE": str(base / "cache"),
        "COLUMNS": "200",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    where = "import safetystats, safetystats.shelf as s; print(safetystats.__file__); print(s.shelf_root())"
    origin = subprocess.run(
        [sys.executable, "-c", where], check=True, capture_output=True, text=True, env=environment, cwd=base
    ).stdout.splitlines()
    assert all(line.startswith(str(base / "site")) for line in origin), origin
    return base, base / "first", environment, run(base, environment, "first")
