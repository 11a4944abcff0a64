"""Statistics for the entanglement of AI-safety benchmarks with capability, with uncertainty.

The public names load their modules when they are first used, so that `import safetystats` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from safetystats.inference.mixed import fit_mixed as fit_mixed
    from safetystats.inference.mixed_compare import compare_classes as compare_classes_mixed
    from safetystats.inference.mixed_imputed import fit_mixed_imputed as fit_mixed_imputed
    from safetystats.reporting.output import write_report as write_report
    from safetystats.scores.capability import capability_score as capability_score
    from safetystats.scores.recipe import capability_correlations as capability_correlations
    from safetystats.scores.recipe import class_differences as class_differences
    from safetystats.specs import read_spec as read_spec
    from safetystats.specs import read_study as read_study
    from safetystats.summaries.analysis import plan_study as plan_study
    from safetystats.summaries.analysis import run_study as run_study
    from safetystats.summaries.api import compare_classes as compare_classes
    from safetystats.summaries.api import fit as fit
    from safetystats.summaries.api import posterior_correlations as posterior_correlations
    from safetystats.summaries.api import verdicts as verdicts
    from safetystats.summaries.assess import assess as assess
    from safetystats.summaries.assess import match_scores as match_scores
    from safetystats.tables.audit import audit as audit
    from safetystats.tables.load import load_table as load_table
    from safetystats.tables.prepare import align as align
    from safetystats.tables.prepare import standardise as standardise
    from safetystats.tables.prepare import transform as transform
    from safetystats.tables.simulate import simulate_table as simulate_table

# Where each public name lives; after a colon, what it is called there.
_HOMES = {
    "align": "tables.prepare",
    "assess": "summaries.assess",
    "audit": "tables.audit",
    "capability_correlations": "scores.recipe",
    "capability_score": "scores.capability",
    "class_differences": "scores.recipe",
    "compare_classes": "summaries.api",
    "compare_classes_mixed": "inference.mixed_compare:compare_classes",
    "fit": "summaries.api",
    "fit_mixed": "inference.mixed",
    "fit_mixed_imputed": "inference.mixed_imputed",
    "load_table": "tables.load",
    "match_scores": "summaries.assess",
    "plan_study": "summaries.analysis",
    "posterior_correlations": "summaries.api",
    "read_spec": "specs",
    "read_study": "specs",
    "run_study": "summaries.analysis",
    "simulate_table": "tables.simulate",
    "standardise": "tables.prepare",
    "transform": "tables.prepare",
    "verdicts": "summaries.api",
    "write_report": "reporting.output",
}

__all__ = [
    "__version__",
    "align",
    "assess",
    "audit",
    "capability_correlations",
    "capability_score",
    "class_differences",
    "compare_classes",
    "compare_classes_mixed",
    "fit",
    "fit_mixed",
    "fit_mixed_imputed",
    "load_table",
    "match_scores",
    "plan_study",
    "posterior_correlations",
    "read_spec",
    "read_study",
    "run_study",
    "simulate_table",
    "standardise",
    "transform",
    "verdicts",
    "write_report",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'safetystats' has no attribute {name!r}")
    module, _, other = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"safetystats.{module}"), other or name)


def __dir__() -> list[str]:
    return sorted(__all__)
