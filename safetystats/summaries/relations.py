"""Questions about the relation behind a verdict: does it bend, is it noise, and what would other choices have given?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.summaries.answers import Answers
from safetystats.summaries.bending import bending_tables
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary import conform
from safetystats.summaries.glossary_relations import RELATIONS_TABLES
from safetystats.summaries.noise_or_distinct import noise_or_distinct
from safetystats.summaries.plan import Plan
from safetystats.summaries.specifications import specification_tables
from safetystats.summaries.talk import Talk

FOLDER = "specifications"
"""Folder beside the saved fits in which finished specifications are kept."""


def relations_answers(
    plan: Plan, safety: Mapping[str, SafetyFit], told: Talk, store_root: Path | None = None
) -> Answers:
    """Return the tables of bending, noise and specifications.

    Noise is looked at in every study, since it decides verdicts and costs nothing; the rest where `questions.relations`
    is asked.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class.
    told : Talk
        Told of progress.
    store_root : Path or None
        Folder of saved fits; None: specifications are not kept.
    """
    rules, study = plan.study.questions, plan.study
    noise, checks = noise_or_distinct(safety, study.rope, rules, study.level)
    tables = {"noise_or_distinct": noise}
    if rules.relations:
        tables |= bending_tables(safety, rules, study.level, told.progress)
        folder = None if store_root is None else store_root / FOLDER
        tables |= specification_tables(plan, safety, folder, told.progress)
    else:
        checks.append(
            Check(
                fit="relations", check="bending and specifications", value=float("nan"), limit=float("nan"),
                outcome="not_run", why="the study does not ask for them (option `relations`)",
            )
        )  # fmt: skip
    empty = {name: pd.DataFrame(columns=list(columns)) for name, columns in RELATIONS_TABLES.items()}
    return Answers(
        tables={name: conform(name, found) for name, found in (empty | tables).items()}, checks=tuple(checks)
    )
