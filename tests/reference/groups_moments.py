"""Means and covariances (ddof 0) of the two classes that maximum likelihood and the sampler are compared on.

Writes groups_moments.csv, which groups_lavaan.R reads.

    PYTHONPATH=.:tests python tests/reference/groups_moments.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from groups_data_made import many_models

HERE = Path(__file__).resolve().parent


def moments() -> list[str]:
    lines = ["class,n,row," + ",".join(f"x{b + 1}" for b in range(8))]
    for label, own in zip(("base", "chat"), many_models(), strict=True):
        covariance = np.cov(own.values.T, ddof=0)
        rows = [("mean", own.values.mean(axis=0)), *((str(b + 1), covariance[b]) for b in range(8))]
        lines += [f"{label},{len(own.values)},{name}," + ",".join(f"{x:.12g}" for x in row) for name, row in rows]
    return lines


if __name__ == "__main__":
    (HERE / "groups_moments.csv").write_text("\n".join(moments()) + "\n", encoding="utf-8")
