"""The labels that Ren et al. (2024) published beside our verdicts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.regions import region_probabilities
from safetystats.specs import Rope
from safetystats.summaries.answers import Answers
from safetystats.summaries.errata import published_numbers
from safetystats.summaries.estimands import summarise
from safetystats.summaries.glossary_verdicts import VERDICTS_TABLES
from safetystats.summaries.noise_or_distinct import Pair
from safetystats.summaries.posterior import verdict_of
from safetystats.tables.table import ScoreTable

TABLE = "ren2024"
"""The one table for which labels are published."""
SHARES = ("share_entangled", "share_distinct", "share_inverse", "share_undetermined", "n_specifications")
"""Columns that another table, `specification_shares`, fills where a study has it."""
_SETTLED = {"low": ("distinct",), "high": ("entangled", "inverse")}


def published_labels(
    safety: Mapping[str, SafetyFit],
    table: ScoreTable,
    rope: Rope,
    level: float,
    held: Mapping[str, bool],
    noisy: Collection[Pair],
) -> pd.DataFrame:
    """Return published correlations and their labels beside the cut posterior and the verdict.

    A label is "low" where the printed correlation is below the paper's 40 % in absolute value, as the paper calls it,
    and "high" otherwise, for which the paper has no number of its own. `agreement` says whether the verdict bears the
    label out: "confirmed" (low and distinct, high and entangled or inverse), "contradicted" (low and entangled or
    inverse, high and distinct), "open" (undetermined), or "withheld". Where the ideal of a score is zero it is "not
    comparable": the printed correlation is that of the signed score, ours that of its distance from zero.

    Parameters
    ----------
    safety : mapping of str to SafetyFit
        By class.
    table : ScoreTable
        As read; for another table than `ren2024` there are no rows.
    rope : Rope
        Of our verdicts; the labels are at the paper's own limit.
    level : float
        Coverage of the intervals.
    held : mapping of str to bool
        By class, whether a gate withholds its verdicts.
    noisy : collection of (str, str)
        Class and benchmark of which "distinct" is withheld for noise (`noise_or_distinct.doubtful`).

    Returns
    -------
    DataFrame
        Table `published_labels`; the columns `SHARES` are empty (see `with_specification_shares`).
    """
    columns = list(VERDICTS_TABLES["published_labels"])
    if table.name != TABLE:
        return pd.DataFrame(columns=columns)
    numbers = published_numbers()
    limit = float(numbers.loc[numbers["quantity"] == "low_correlation", "value"].iloc[0])
    printed = numbers[numbers["quantity"] == "capabilities_correlation"]
    rows = []
    for row in printed.to_dict("records"):
        name, label, value = str(row["benchmark"]), str(row["model_class"]), float(row["value"])
        fit = safety.get(label)
        if fit is None or name not in fit.benchmarks:
            continue
        rho = fit.draws["cut"]["rho"].sel(benchmark=name).to_numpy().ravel().astype(np.float64)
        found = region_probabilities(rho[:, None], [rope.limit])
        up, down, between = (float(each[0, 0]) for each in found)
        two_sided = table.benchmarks.loc[name, "direction"] == "zero_is_ideal"
        verdict = "withheld" if held[label] else verdict_of(up, down, between, rope.probability)
        if verdict == "distinct" and (label, name) in noisy:
            verdict = "withheld"
        word = "low" if abs(value) < limit else "high"
        summary = summarise(rho, None, level)
        rows.append(
            {
                "model_class": label, "benchmark": name, "area": str(table.benchmarks.loc[name, "area"]),
                "headline": bool(table.benchmarks.loc[name, "headline"]), "published": value / 100, "label": word,
                "n_models": int(fit.capability.table.scores[name].notna().sum()), "mean": summary.mean,
                "lower": summary.lower, "upper": summary.upper, "level": level, "p_entangled": up,
                "p_inverse": down, "p_distinct": between, "verdict": verdict,
                "agreement": "not comparable" if two_sided else agreement(word, verdict),
                **dict.fromkeys(SHARES, np.nan),
            }
        )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def agreement(label: str, verdict: str) -> str:
    """Return whether a verdict bears a published label out: confirmed, contradicted, open or withheld."""
    if verdict == "withheld":
        return "withheld"
    if verdict == "undetermined":
        return "open"
    return "confirmed" if verdict in _SETTLED[label] else "contradicted"


def with_specification_shares(answers: Answers) -> Answers:
    """Return the answers with the shares of specifications beside the published labels, where there are any.

    Nothing changes without the tables `specification_shares` and `published_labels`.
    """
    shares, labels = answers.tables.get("specification_shares"), answers.tables.get("published_labels")
    if shares is None or labels is None or not len(shares) or not len(labels):
        return answers
    keys = ["model_class", "benchmark"]
    joined = labels.drop(columns=list(SHARES)).merge(shares[[*keys, *SHARES]], on=keys, how="left", validate="1:1")
    tables = {**answers.tables, "published_labels": joined[list(VERDICTS_TABLES["published_labels"])]}
    return Answers(tables=tables, checks=answers.checks, facts=answers.facts)
