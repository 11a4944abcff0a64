"""What further models would do to a verdict, as lines of text."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.specs import Rope
from safetystats.summaries.numbers import count_text, number_text

_HEAD = ("further models", "new families", "width", "settled", "entangled", "distinct", "inverse")


def planning_lines(rows: pd.DataFrame, names: Mapping[str, str], rope: Rope) -> list[str]:
    """Return the table `models_to_settle` as text, a block for every class and benchmark.

    Parameters
    ----------
    rows : DataFrame
    names : mapping of str to str
        Names of benchmarks.
    rope : Rope
    """
    lines: list[str] = []
    for (label, name), part in rows.groupby(["model_class", "benchmark"], sort=False):
        first = part.iloc[0]
        lines += [
            f"{label}, {names.get(str(name), str(name))}: {count_text(int(first['n_models']), 'model')} of "
            f"{count_text(int(first['n_families']), 'family', 'families')}; mean {number_text(first['mean'])}, "
            f"interval width {number_text(first['width'])}",
            "  " + "  ".join(f"{head:>{max(len(head), 11)}}" for head in _HEAD),
        ]
        for row in part.to_dict("records"):
            cells = (
                str(row["further"]),
                str(row["further_families"]),
                f"{number_text(row['width_expected'])} ± {number_text(row['width_error'])}",
                f"{number_text(row['p_settled'])} ± {number_text(row['p_settled_error'])}",
                *(number_text(row[f"settled_{region}"]) for region in ("entangled", "distinct", "inverse")),
            )
            lines.append(
                "  " + "  ".join(f"{cell:>{max(len(head), 11)}}" for cell, head in zip(cells, _HEAD, strict=True))
            )
        needed = first["further_approximate"]
        lines += [
            "  If the mean stayed where it is, the normal approximation of the card would need "
            + (f"{int(needed)} further models." if needed == needed else "more models than can be had."),
            "",
        ]
    if len(rows):
        n = count_text(int(rows["n_simulations"].iloc[0]), "simulated future")
        lines.append(
            f"{n}; limit {number_text(rope.limit)}, probability {number_text(rope.probability)}; ± is one Monte Carlo "
            "standard error."
        )
    return lines
