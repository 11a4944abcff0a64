"""Questions about the verdicts: one module each, answered from the draws of the study, put together here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetystats.inference.fits import SafetyFit
from safetystats.summaries.answers import Answers
from safetystats.summaries.model_sets import model_sets_answers
from safetystats.summaries.plan import Plan
from safetystats.summaries.published import with_specification_shares
from safetystats.summaries.relations import relations_answers
from safetystats.summaries.talk import Talk
from safetystats.summaries.verdicts import verdicts_answers


def decide(plan: Plan, safety: Mapping[str, SafetyFit], told: Talk, store_root: Path | None = None) -> Answers:
    """Answer every question about the verdicts that the study asks.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class, in the order of the study.
    told : Talk
        Told of progress.
    store_root : Path or None
        Folder of saved fits, beside which answers are kept that take time.
    """
    parts = [
        verdicts_answers(plan, safety, told),
        model_sets_answers(plan, safety, told),
        relations_answers(plan, safety, told, store_root),
    ]
    return with_specification_shares(Answers.joined(parts))
