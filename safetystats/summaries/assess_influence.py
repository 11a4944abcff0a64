"""What a single score does to the verdict of an assessment: each model left out in turn, capability as before."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from safetystats.inference.assessment import numbers_without_each, without_each
from safetystats.inference.reference import Reference, ReferenceClass
from safetystats.specs import Rope
from safetystats.summaries.decision_rule import verdict_changes, verdict_of, verdict_shares
from safetystats.tables.table import FloatArray

INFLUENCE_COLUMNS: tuple[str, ...] = (
    "model_class", "model", "family", "score", "capability", "mean", "mean_without", "change", "p_verdict", "p_without",
    "verdict", "verdict_without", "flips",
)  # fmt: skip


def influence_rows(
    column: FloatArray,
    scores: FloatArray,
    own: ReferenceClass,
    reference: Reference,
    rho: FloatArray,
    verdict: str,
    rope: Rope,
    level: float,
    doubtful: Callable[[], bool],
    *,
    model_class: str,
) -> pd.DataFrame:
    """Return what leaving out each score does, columns `INFLUENCE_COLUMNS`, one row per model with a score.

    What is compared is what the assessment states: a posterior without a score is the stated one plus the change that
    fewer draws show (`safetystats.inference.control_variate`), and a verdict that a change of no more than the Monte
    Carlo error would make another does not flip.

    Parameters
    ----------
    column : array, shape (n,)
        z-scores within the class, NaN for a model without a score.
    scores : array, shape (n,)
        As given.
    own : ReferenceClass
    reference : Reference
    rho : array, shape (n_draws,)
        The draws that the verdict is stated from.
    verdict : str
        As stated.
    rope : Rope
    level : float
    doubtful : callable
        Returns True if "distinct" is withheld for noise, whichever score is left out; only asked where it matters.
    model_class : str
    """
    seen = np.flatnonzero(np.isfinite(column))
    families = np.asarray(pd.factorize(np.array(own.families))[0], dtype=np.int64)
    left_out = without_each(
        column, own.theta, families, reference.spec, reference.seed, "assess, one model less", model_class
    )
    numbers = numbers_without_each(left_out, rho, rope.limit, level)
    capability, mean = own.theta.mean(axis=0), float(rho.mean())
    whole = verdict_shares(rho, rope)
    reached = verdict_of(*whole, rope.probability)
    region = int(np.argmax(whole)) if reached == "undetermined" else ("entangled", "inverse", "distinct").index(reached)
    rows = []
    for place in seen:
        entangled, inverse, distinct = (float(each) for each in numbers[place, 3:])
        chances = (entangled, inverse, distinct)
        known = bool(np.isfinite(chances).all())
        without = str(verdict_of(*chances, rope.probability)) if known else ""
        if known and (own.failed or (without == "distinct" and doubtful())):
            without = "withheld"
        rows.append(
            {
                "model_class": model_class,
                "model": own.models[place],
                "family": own.families[place],
                "score": float(scores[place]),
                "capability": float(capability[place]),
                "mean": mean,
                "mean_without": float(numbers[place, 0]),
                "change": float(numbers[place, 0]) - mean,
                "p_verdict": whole[region],
                "p_without": chances[region],
                "verdict": verdict,
                "verdict_without": without,
                "flips": known and verdict_changes(verdict, without, whole, chances),
            }
        )
    return pd.DataFrame(rows, columns=list(INFLUENCE_COLUMNS))
