"""The text and the figure of a run, made by hand: every kind of block, and names that try to be markup."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from safetystats.reporting.text import ANY_LENGTH, escape, table_markdown

HOSTILE = (
    "<script>alert(1)</script>", "a_b*c$d|e#f%g\\h`i`", "[x](http://y)", "![p](q){.r}", "$\\rho$ & 50%", "@ren2024",
    "[^1]", "\\input{secret}\\end{document}", "\U0001f600 \u05e9\u05dc\u05d5\u05dd", "x" * 300, "1. list", "# head",
    ":::", "---", "{{ jinja }} {% raw %}", "'quoted' \"twice\"", "a~b~ c^d^", "https://example.org/x_y",
    "#eval(1) <label> @cite", "w:p & ]]> <w:t>",
)  # fmt: skip
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="500pt" height="200pt" viewBox="0 0 500 200">'
    '<rect x="0" y="0" width="500" height="200" fill="#0072b2"/></svg>'
)
N_LONG = 60
ALT = "A blue rectangle that stands for a figure, described in words that are long enough."


def texts(names: Sequence[str], *, passed: bool = True) -> dict[str, str]:
    """Return the documents that a run keeps, by name."""
    short = "# Methods in short {#methods-short}\n\nA model [@spearman1904] of capability, $\\rho$.\n"
    answers = "# Checklist answers {#methods-checklist}\n\n## Intervals {#checklist-intervals}\n\nEqual-tailed.\n"
    return {"report": document(names, passed=passed), "methods-short": short, "methods-checklist": answers}


def document(names: Sequence[str], *, passed: bool = True) -> str:
    """Return a report: sections as a study's, a narrow, a wide and a long table, formulas, a figure, citations."""
    narrow = table_markdown(["Name", "n"], [[escape(n), "1"] for n in names], caption="Names.", numeric=(1,))
    wide = table_markdown(
        ["Name", "Area", *(f"ρ {place}" for place in range(9))],
        [[escape(n), "an area of some length", *(["−0.25 [−0.50, 0.00]"] * 9)] for n in names],
        caption=f"Wide, {escape(names[0])}.", numeric=range(2, 11), source="posterior_correlations",
    )  # fmt: skip
    long = table_markdown(
        ["Fit", "Value", "Why"], [[f"row {place}", str(place), "a reason in a few words"] for place in range(N_LONG)],
        caption="Long.", numeric=(1,), source="diagnostics",
    )  # fmt: skip
    priors = table_markdown(
        ["Parameter", "Prior"], [[r"$(\rho_b + 1) / 2$", r"$\mathrm{Beta}(6, 1)$"]], caption="Priors."
    )
    listed = "\n".join(f"- {escape(name)}" for name in names)
    failed = '# A gate has failed {#failed-gates}\n\n::: {.alert role="alert"}\nOne check failed.\n:::\n\n'
    figure = f'![A figure, {escape(names[1])}.](figures/fig.svg){{#fig-fig alt="{escape(ALT, ANY_LENGTH)}"}}'
    return f"""{"" if passed else failed}# Summary {{#summary}}

- One line.

# Capability {{#capability}}

{listed}

See [below](#posterior), [the methods](#methods) and [a section that is not there](#nowhere).
A file: `tables/posterior_correlations.csv`.

{narrow}

# Posterior {{#posterior}}

{figure}

{wide}

{long}

# Methods {{#methods}}

As @plummer2015 says, under [Capability](#capability), and elsewhere [for such covariances see @searle1992]:

$$
y_{{mb}} = \\alpha_b + s_b \\rho_b \\theta_m, \\qquad
e_{{mb}} \\sim \\mathrm{{N}}\\bigl(0, v_b\\bigr), \\qquad |\\rho| < 1.
$$

{priors}

# Reporting guidelines {{#barg}}

No result of the study.

# References {{#references}}

::: {{#refs}}
:::
"""


def png() -> bytes:
    """Return a picture of one blue point."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        whole = kind + content
        return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0\0\x72\xb2")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
