"""What a reader sees of a page, as text, for every format."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import pypdfium2

WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
UNLATEX = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textbar": "|", "textless": "<",
    "textgreater": ">", "textquotesingle": "'", "textasciigrave": "`", "ldots": "…", "textquotedbl": '"',
}  # fmt: skip


def squeezed(text: str) -> str:
    """Return what is seen of a text without blanks and places to break, quotes made plain."""
    quotes = text.translate({0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'})
    return "".join(ch for ch in quotes if not ch.isspace() and unicodedata.category(ch) not in ("Cf", "Cc"))


def from_html(page: str) -> str:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_data(self, data: str) -> None:
            found.append(data)

    Reader().feed(page[page.index("<main ") : page.index("</main>")])
    return "".join(found)


def from_docx(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        tree = ElementTree.fromstring(archive.read("word/document.xml"))
    return "".join(node.text or "" for node in tree.iter(f"{WORD}t"))


def from_pdf(content: bytes) -> str:
    document = pypdfium2.PdfDocument(BytesIO(content))
    return "".join(page.get_textpage().get_text_bounded() for page in document)


def from_latex(text: str) -> str:
    body = text.split("\\section", maxsplit=1)[1].removesuffix("\\par\\endgroup\n")
    body = re.sub(r"\\safetystatschar\{(.)\}\{[0-9A-F]+\}", r"\1", body)
    body = (
        body.replace("\\allowbreak{}", "")
        .replace("\\hspace{0pt plus 1em}", "")
        .replace("\\-", "")
        .replace("-\\/", "-")
        .replace("{}", "")
    )
    body = re.sub(r"\\(text\w+|ldots) ?", lambda found: UNLATEX.get(found.group(1), found.group(0)), body)
    body = re.sub(r"\{(['`\"\[\]-])\}", r"\1", body)
    return re.sub(r"\\([_$#%&{}^~])", r"\1", body).replace("''", '"').replace("``", '"')
