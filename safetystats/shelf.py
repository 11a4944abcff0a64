"""Where the files that ship with the toolkit are, and how content is fingerprinted.

`models/`, `data/` and the report resources stand at the top of the checkout and inside the wheel as
`safetystats/_shelf/`; `shelf_path` finds them in either.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

EPOCH = 315_532_800
"""1980-01-01, the first date that a zip file can hold: files that must carry a date have it, unless SOURCE_DATE_EPOCH
is set, so that the same content is the same file."""

_PACKAGE = Path(__file__).resolve().parent


def shelf_root() -> Path:
    """Return the folder that holds `models`, `data` and `reports`: in the wheel `_shelf`, else the checkout."""
    shipped = _PACKAGE / "_shelf"
    return shipped if shipped.is_dir() else _PACKAGE.parent


def shelf_path(*parts: str) -> Path:
    """Return the path of a shipped file or folder, e.g. `shelf_path("data", "helm-classic")`."""
    return shelf_root().joinpath(*parts)


def shelf_names(folder: str, suffix: str = "") -> list[str]:
    """Return the sorted names on one shelf: subfolders if `suffix` is empty, else file stems with that suffix."""
    root = shelf_path(*folder.split("/"))
    if suffix:
        return sorted(path.stem for path in root.glob(f"*{suffix}"))
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def cache_root() -> Path:
    """Return the folder for downloads and saved fits (`SAFETYSTATS_CACHE`, else the user's cache folder)."""
    given = os.environ.get("SAFETYSTATS_CACHE")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("safetystats"))


def sha256_bytes(*blocks: bytes) -> str:
    """Return the hex sha256 of the blocks, each preceded by its length so that borders count."""
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(len(block).to_bytes(8, "little"))
        digest.update(block)
    return digest.hexdigest()


def sha256_file(path: Path) -> str:
    """Return the hex sha256 of a file's bytes (as `sha256sum` prints it)."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file beside its place and rename it there, so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode("utf-8") if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
