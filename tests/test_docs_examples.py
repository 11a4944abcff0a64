"""Every Python example of the pages runs, in the order of its page, away from the checkout.

A block marked ```` ```python slow ```` samples, and runs with the slow tests.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^```python([^\n]*)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_WORDS = ("", "slow")


def blocks() -> list[object]:
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for place, match in enumerate(_BLOCK.finditer(page.read_text(encoding="utf-8"))):
            word = match.group(1).strip()
            marks = [pytest.mark.slow] if word == "slow" else []
            found.append(pytest.param(page, word, match.group(2), id=f"{page.stem}-{place}", marks=marks))
    return found


@pytest.mark.parametrize(("page", "word", "code"), blocks())
def test_an_example_runs(
    page: Path,
    word: str,
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert word in _WORDS, f"{page.name}: the word after ```python is {word!r}"
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {"__name__": "example"})
    assert "print(" not in code or capsys.readouterr().out.strip()


def test_every_block_of_python_is_found() -> None:
    # Fences of another make would be passed over silently.
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert len(re.findall(r"^\s*(?:```|~~~)\s*(?:python|py)\b", text, flags=re.MULTILINE)) == len(
            _BLOCK.findall(text)
        ), page.name
