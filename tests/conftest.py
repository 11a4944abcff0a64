"""What all tests share: where the mirror of the paper's files is, and skips that fail in CI."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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
