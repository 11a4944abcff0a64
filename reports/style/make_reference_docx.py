"""Make `reference.docx`, the styles of Word reports, from the one that pandoc ships: smaller tables, A4, quiet colours.

    python reports/style/make_reference_docx.py

Whoever wants other styles can open reference.docx in a word processor instead and change the styles there.
"""

from __future__ import annotations

import re
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

import pypandoc

PLACE = Path(__file__).with_name("reference.docx")
BEGINNING = (1980, 1, 1, 0, 0, 0)
# Half-points: of a paragraph style, the size of its type.
SIZES = {"Compact": 15, "TableCaption": 18, "ImageCaption": 18, "BodyText": 21, "FirstParagraph": 21, "Title": 36,
         "Heading1": 30, "Heading2": 25, "Bibliography": 20}  # fmt: skip
GAPS = '<w:tblCellMar><w:top w:w="20" w:type="dxa"/><w:left w:w="40" w:type="dxa"/>'
GAPS += '<w:bottom w:w="20" w:type="dxa"/><w:right w:w="40" w:type="dxa"/></w:tblCellMar>'
RULES = '<w:tblBorders><w:top w:val="single" w:sz="8" w:space="0" w:color="auto"/>'
RULES += '<w:bottom w:val="single" w:sz="8" w:space="0" w:color="auto"/></w:tblBorders>'
PAGE = '<w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1134" w:right="1021" w:bottom="1134" w:left="1021" '
PAGE += 'w:header="567" w:footer="567" w:gutter="0"/>'


def main() -> None:
    """Write the file."""
    shipped = subprocess.run(
        [pypandoc.get_pandoc_path(), "--print-default-data-file=reference.docx"], check=True, capture_output=True
    ).stdout
    with zipfile.ZipFile(BytesIO(shipped)) as old, zipfile.ZipFile(PLACE, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "word/styles.xml":
                content = styled(content.decode("utf-8")).encode("utf-8")
            if name == "word/document.xml":
                content = paged(content.decode("utf-8")).encode("utf-8")
            new.writestr(zipfile.ZipInfo(name, BEGINNING), content, zipfile.ZIP_DEFLATED)


def styled(text: str) -> str:
    """Return the styles with our sizes, and with rules and narrow gaps in tables."""
    for name, size in SIZES.items():
        text = with_size(text, name, size)
    found = re.search(r'<w:style [^>]*w:styleId="Table".*?</w:style>', text, flags=re.DOTALL)
    assert found is not None
    table = re.sub(r"<w:tblCellMar>.*?</w:tblCellMar>", RULES + GAPS, found.group(0), count=1, flags=re.DOTALL)
    assert GAPS in table
    return text.replace(found.group(0), table)


def with_size(text: str, style: str, half_points: int) -> str:
    """Return the styles with the size of one of them set."""
    found = re.search(rf'<w:style [^>]*w:styleId="{style}".*?</w:style>', text, flags=re.DOTALL)
    assert found is not None, style
    block = re.sub(r"<w:szC?s? [^>]*/>", "", found.group(0))
    size = f'<w:sz w:val="{half_points}"/><w:szCs w:val="{half_points}"/>'
    if "<w:rPr>" in block:
        block = block.replace("</w:rPr>", f"{size}</w:rPr>", 1)
    else:
        block = block.replace("</w:style>", f"<w:rPr>{size}</w:rPr></w:style>")
    return text.replace(found.group(0), block)


def paged(text: str) -> str:
    """Return the document with the size and margins of our page."""
    with_page, count = re.subn(r"<w:sectPr([^>]*)>.*?</w:sectPr>|<w:sectPr([^>]*)/>",
                               lambda m: f"<w:sectPr{m.group(1) or m.group(2) or ''}>{PAGE}</w:sectPr>", text,
                               flags=re.DOTALL)  # fmt: skip
    assert count >= 1
    return with_page


if __name__ == "__main__":
    main()
