"""Run the default study, without its long checks, from an installed wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Study = tuple[Path, Path, dict[str, str], dict[str, object]]
"""Folder, report folder, environment, and what the run said."""


def run(base: Path, environment: dict[str, str], out: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "safetystats", "run", "--quick", "--out", out, "--json"],
        check=False, capture_output=True, text=True, env=environment, cwd=base,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found
