"""How far do the verdicts depend on which models are in the set? All tables that answer it, class by class."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from safetystats.inference.fits import SafetyFit
from safetystats.inference.set_posterior import CAPABILITY_DRAWS, EACH, RANKING_DRAWS
from safetystats.scores.model_sets import EXACT_SIZE
from safetystats.summaries.answers import Answers
from safetystats.summaries.gates import Check
from safetystats.summaries.glossary_model_sets import MODEL_SETS_TABLES
from safetystats.summaries.plan import Plan
from safetystats.summaries.set_closed import DRAWS, parent_left_out, partial_correlations
from safetystats.summaries.set_context import class_sets
from safetystats.summaries.set_influence import restricted_sets, set_influence
from safetystats.summaries.set_search import label_sets, search_tables, verdict_sets
from safetystats.summaries.talk import Talk

STEPS = 5
"""Steps of one class, for the progress report."""


def model_sets_answers(plan: Plan, safety: Mapping[str, SafetyFit], told: Talk) -> Answers:
    """Answer how far labels and verdicts depend on the set of models.

    Parameters
    ----------
    plan : Plan
    safety : mapping of str to SafetyFit
        By class, in the order of the study.
    told : Talk
        Told of progress.

    Returns
    -------
    Answers
        Tables `MODEL_SETS_TABLES`; empty, with a check that says so, where the study does not ask.
    """
    if not plan.study.questions.model_sets:
        why = "the study does not ask how far the verdicts depend on the set of models"
        check = Check(
            fit="model_sets", check="search", value=float("nan"), limit=float("nan"), outcome="not_run", why=why
        )
        return Answers(tables={name: _frame(name, []) for name in MODEL_SETS_TABLES}, checks=(check,))
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in MODEL_SETS_TABLES}
    checks: list[Check] = []
    done = 0

    def stepped() -> None:
        nonlocal done
        done += 1
        told.progress(done, STEPS * len(safety))

    study, seed = plan.study, plan.study.seed
    for label, fit in safety.items():
        sets, models = class_sets(plan, fit), plan.table.select(model_class=label).models
        influence, singles = set_influence(sets)
        parts["set_influence"].append(influence)
        stepped()
        closed = label_sets(sets)
        stepped()
        posterior = verdict_sets(sets, singles)
        smallest, reachable = search_tables([*closed[0], *posterior[0]], [*closed[1], *posterior[1]])
        parts["smallest_sets"].append(smallest)
        parts["reachable"].append(reachable)
        stepped()
        parts["restricted_sets"].append(restricted_sets(sets, models))
        stepped()
        partial, absent = partial_correlations(sets, models, study.questions.vif_limit, seed)
        parts["partial_correlations"].append(partial)
        checks += absent
        stepped()
    parts["parent_left_out"].append(parent_left_out(plan.table, plan.score, study.rope.limit, study.level, DRAWS, seed))
    return Answers(
        tables={name: _frame(name, frames) for name, frames in parts.items()},
        checks=tuple(checks),
        facts={
            "model_sets.capability_draws": CAPABILITY_DRAWS,
            "model_sets.draws": CAPABILITY_DRAWS * EACH,
            "model_sets.ranking_draws": RANKING_DRAWS,
            "model_sets.exact_size": EXACT_SIZE,
            "model_sets.partial_draws": DRAWS,
        },
    )


def _frame(name: str, frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the parts of a table as one, with its columns even if there is no row."""
    filled = [frame for frame in frames if len(frame)]
    if not filled:
        return pd.DataFrame(columns=list(MODEL_SETS_TABLES[name]))
    return pd.concat(filled, ignore_index=True)
