"""What the sentences about classes depend on: which parts a study has, its notes, its tables."""

from __future__ import annotations

from collections.abc import Mapping

from safetystats.reporting import report_classes, report_influence, spec_text
from safetystats.reporting.results_classes import pairs_of
from safetystats.reporting.text import ANY_LENGTH, escape
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.comparison import IN_COMMON_FIT
from safetystats.summaries.crossed_tables import ALL

Names = Mapping[str, str]

CAPABILITY = {
    "latent": "the posterior mean of the factor model of all classes together",
    "mean": "the mean of the capability benchmarks, z-scored over all models",
    "pca": "the first principal component of the capability benchmarks, z-scored over all models",
}
"""Capability on one scale, by the kind that a study used."""

VERDICTS = {
    "holds": "the data are compatible with that",
    "not distinguishable": "the data do not say whether that holds",
    "fails": "the data speak against that",
    "withheld": "no verdict, because a fit missed a limit",
}
"""Verdicts of invariance in the words of the text."""


def class_context(analysis: Analysis, names: Names, models: Names) -> dict[str, object]:
    """Return tables of the comparison, and which of its sentences there are.

    Parameters
    ----------
    analysis : Analysis
    names, models : mapping of str to str
        Names of benchmarks and of models, not escaped.
    """
    plan, tables, facts = analysis.plan, analysis.tables, analysis.facts
    scale = str(facts.get("common_scale", plan.mixed.capability))
    shifts = tables["lineage_shifts"]
    return {
        "class_pairs": [(a, b) for a, b, _ in pairs_of(tables["posterior_differences"])],
        "influence_pairs": [(a, b) for a, b, _ in pairs_of(tables["difference_influence"])],
        "shift_pairs": [(a, b) for a, b, _ in pairs_of(shifts[shifts["area"] == ALL])],
        "compared_classes": plan.table.classes[1:],
        "common_scale": scale,
        "common_latent": not any(f"no {IN_COMMON_FIT}" in check.why for check in analysis.checks),
        "common_notes": _notes(analysis, "common"),
        "crossed_notes": _notes(analysis, "crossed/", {**names, **models}),
        "has_invariance": len(tables["invariance"]) > 0,
        "has_influence": len(tables["class_influence"]) > 0,
        "has_crossed": len(tables["crossed_effects"]) > 0,
        "imputed": bool(tables["mixed_effects"]["estimate_imputed"].notna().any()),
        "verdict_words": VERDICTS,
        "mixed_group": plan.mixed.groups[0],
        "mixed_other": plan.mixed.groups[1] if len(plan.mixed.groups) > 1 else "",
        "mixed_groups": plan.mixed.groups,
        "mixed_groups_text": " and, again, per ".join(plan.mixed.groups),
        "mixed_capability": CAPABILITY[scale],
        "paired_prior": spec_text.prior_text(plan.factor.paired.pairing),
        "crossed_transform": spec_text.TRANSFORMS[plan.crossed.transform],
        "crossed_prior_table": spec_text.crossed_prior_table(plan.crossed),
        "differences_tables": report_classes.differences_tables(analysis, names),
        "invariance_table": report_classes.invariance_table(analysis),
        "invariance_loadings_table": report_classes.invariance_loadings_table(analysis, names),
        "overlap_table": report_classes.overlap_table(analysis),
        "mixed_tables": report_classes.mixed_tables(analysis, names),
        "influence_table": report_influence.influence_table(analysis, names, models),
        "difference_influence_tables": report_influence.difference_influence_tables(analysis, names, models),
        "crossed_table": report_classes.crossed_table(analysis),
        "progress_table": report_classes.progress_table(analysis, models),
        "shifts_table": report_classes.shifts_table(analysis, models),
    }


def _notes(analysis: Analysis, start: str, names: Names | None = None) -> list[str]:
    """Return why a part of the comparison does not apply, with the name of what it is about, as Markdown."""
    found = []
    for check in analysis.checks:
        if check.check != "status" or not check.fit.startswith(start) or check.outcome != "not_applicable":
            continue
        own = check.fit.removeprefix(start)
        label = f"{escape((names or {}).get(own, own))}: " if own else ""
        found.append(label + escape(check.why.removeprefix("left out: "), ANY_LENGTH))
    return found
