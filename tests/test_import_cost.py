"""What an import and a glance at the help may load: the heavy libraries come only when they are needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("numpy", "pandas", "scipy", "pymc", "pytensor", "nutpie", "statsmodels", "matplotlib", "arviz_stats", "xarray")


@pytest.mark.parametrize(
    "code",
    [
        "import safetystats",
        "import safetystats.cli",
        "import sys; sys.argv = ['safetystats', '--help']\n"
        "import safetystats.cli\n"
        "try:\n    safetystats.cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code",
    ],
    ids=["package", "cli", "help"],
)
def test_heavy_libraries_stay_out(code: str) -> None:
    check = f"\nimport sys\nprint([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


def test_public_names_resolve() -> None:
    import safetystats

    for name in safetystats.__all__:
        assert getattr(safetystats, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        safetystats.__getattr__("nonsense")
