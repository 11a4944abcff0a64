"""From typst to PDF. Fonts are those that ship with typst and matplotlib, so that every machine sets the same pages."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from safetystats.errors import SafetyStatsError
from safetystats.shelf import EPOCH

STANDARD = "ua-1"
"""PDF/UA-1, ISO 14289-1: tagged, with a title, a language, and text for every figure and formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdf:
    """A PDF file.

    Attributes
    ----------
    content : bytes
    accessible : bool
        True if it was checked against PDF/UA-1 and passed; tagged in either case.
    why_not : str
        What stands against it, empty if nothing.
    """

    content: bytes
    accessible: bool
    why_not: str


class PdfError(SafetyStatsError):
    """A document could not be set (exit code 1)."""


def to_pdf(source: str, folder: Path) -> Pdf:
    """Set a typst document.

    PDF/UA-1 refuses characters that no font has. Where names contain some, the fonts of the machine are asked as well,
    and at last the file is written without the standard.

    Parameters
    ----------
    source : str
        From `safetystats.reporting.writers.to_typst`.
    folder : Path
        Folder that figures are relative to; nothing is written to it, and nothing outside it is read.

    Raises
    ------
    PdfError
        If the document cannot be set at all.
    """
    first = ""
    for standards, system in (([STANDARD], False), ([STANDARD], True), ([], True)):
        content, why = _compile(source.encode("utf-8"), folder, standards, system=system)
        if content is not None:
            return Pdf(content=content, accessible=bool(standards), why_not="" if standards else first)
        first = first or why
    raise PdfError(f"The PDF could not be set: {first}")


def svg_to_pdf(path: Path) -> bytes:
    """Return one SVG figure as a PDF page of its size, for LaTeX."""
    source = f'#set document(date: none)\n#set page(width: auto, height: auto, margin: 0pt)\n#image("{path.name}")\n'
    content, why = _compile(source.encode("utf-8"), path.parent, [], system=False)
    if content is None:
        raise PdfError(f"{path} could not be turned into PDF: {why}")
    return content


def _compile(source: bytes, folder: Path, standards: list[str], *, system: bool) -> tuple[bytes | None, str]:
    import typst

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Its types ask for a root of the type of the input; it takes a path beside bytes.
            compiled: Callable[..., bytes] = typst.compile
            content = compiled(
                source,
                root=str(folder),
                font_paths=_font_folders(),
                ignore_system_fonts=not system,
                format="pdf",
                pdf_standards=standards,
                timestamp=int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH)),
            )
    except typst.TypstError as error:
        return None, " ".join(str(error).split())
    return bytes(content), ""


def _font_folders() -> list[str]:
    """Return the folder of the fonts that come with matplotlib (DejaVu), found without importing it."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return [str(folder)] if folder.is_dir() else []
