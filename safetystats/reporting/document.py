"""The one Markdown document of a study: prose from `reports/prose`, filled with the numbers of `results.json`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

from safetystats.reporting import (
    barg,
    classes_text,
    report_checks,
    report_model_sets,
    report_relations,
    report_tables,
    report_verdicts,
    spec_text,
)
from safetystats.reporting.prose import Quoter, Value, render_prose
from safetystats.reporting.results import Results
from safetystats.reporting.text import ANY_LENGTH, escape, labels_for, shared_ending
from safetystats.summaries import numbers
from safetystats.summaries.analysis import Analysis
from safetystats.summaries.gates import failed

_SOFTWARE = {
    "safetystats": "", "pymc": "pymc2023", "nutpie": "", "pytensor": "", "numba": "lam2015", "arviz-stats": "arviz2019",
    "statsmodels": "seabold2010", "scipy": "virtanen2020", "numpy": "harris2020", "pandas": "mckinney2010",
    "matplotlib": "hunter2007",
}  # fmt: skip
"""What the methods section names with its version, and the paper to cite for it."""


MOST_NAMED = 4
"""Most benchmarks of one verdict that the summary names."""

OVERALL = "crossed_effects/overall/overall/class"
"""Where the results have the overall class effects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FigureText:
    """What the document needs of a figure: the stem of its file, its caption, and the text that stands for it."""

    name: str
    caption: str
    alt: str


def render_document(analysis: Analysis, results: Mapping[str, Value], figures: Mapping[str, FigureText]) -> str:
    """Return the report as Markdown in pandoc's dialect.

    Parameters
    ----------
    analysis : Analysis
    results : mapping
        From `safetystats.reporting.results.collect_results`.
    figures : mapping of str to FigureText
        By name; a figure that a study does not have is left out.

    Raises
    ------
    jinja2.UndefinedError
        If a prose file names something that does not exist.
    """
    return render_prose("report.md", _context(analysis, results, figures))


def render_texts(analysis: Analysis, results: Mapping[str, Value], figures: Mapping[str, FigureText]) -> dict[str, str]:
    """Return every document that a run keeps, by name: the report, and the shorter forms of its methods section."""
    context = _context(analysis, results, figures)
    return {name: render_prose(f"{name}.md", context) for name in ("report", "methods-short", "methods-checklist")}


def summary_lines(analysis: Analysis, results: Results) -> list[str]:
    """Return the lines that stand first in the report and are printed at the end of a run, as Markdown."""
    quoter = _quoter(analysis, results)
    q, classes = quoter, analysis.plan.table.classes
    per_class = numbers.join_words([f"{q.num(f'models.{c}', 0)} {escape(c)}" for c in classes])
    first = "; ".join(f"{escape(c)} {q.pct(f'first_component_share.{c}', 1)}" for c in classes)
    verdicts = [
        f"Verdicts, {escape(c)} (cut posterior, limit {q.num('rope')}, probability {q.num('rope_probability')}): "
        + ", ".join(
            f"{q.num(f'verdicts.{c}.cut.{v}', 0)} {v}" + _named(analysis, q, c, v)
            for v in ("entangled", "inverse", "distinct", "undetermined", "withheld")
            if v != "withheld" or q.number(f"verdicts.{c}.cut.withheld")
        )
        + (
            f"; {q.num(f'mechanical_settled.{c}', 0)} of the {q.num(f'settled.{c}', 0)} entangled or inverse reuse "
            "runs of capability benchmarks"
            if q.number(f"mechanical_settled.{c}")
            else ""
        )
        + f"; {q.num(f'verdicts_differ.{c}', 0)} would differ under the joint posterior."
        for c in classes
    ]
    largest = "; ".join(
        f"{escape(c)}: {q.name(q.text(f'largest_mean_of.{c}'))} "
        + q.est(f"posterior_correlations/{c}/{q.text(f'largest_mean_of.{c}')}/cut", "mean")
        for c in classes
        if f"largest_mean_of.{c}" in results
    )
    lines = [
        f"Data: {q.count('models', 'model')} ({per_class}) of {q.count('families', 'family', 'families')}; "
        f"{q.count('capability_benchmarks', 'capability benchmark')} and "
        f"{q.count('safety_benchmarks', 'safety benchmark')}; "
        f"{q.pct('missing_share', 1)} of the cells missing.",
        f"Capability: share of the first component (2024 recipe) {first}.",
        *verdicts,
        f"Largest absolute posterior correlation [{q.pct('level')} interval, not adjusted]"
        f"{', shared runs aside' if any(q.number(f'mechanical.{c}') for c in classes) else ''}: {largest}.",
    ]
    if len(classes) > 1:
        effects = [
            f"{escape(c)} {q.est(f'{OVERALL}/{c}', 'mean')} sd of a benchmark"
            for c in classes[1:]
            if f"{OVERALL}/{c}/mean" in results
        ]
        lines.append(
            f"Classes: {q.num('posterior_differences_clear', 0)} of {q.count('posterior_differences', 'difference')} "
            f"of correlations {'has' if q.number('posterior_differences_clear') == 1 else 'have'} an unadjusted "
            f"{q.pct('level')} interval that leaves out zero"
            + (f"; overall class effect at average capability: {'; '.join(effects)}" if effects else "")
            + "."
        )
    else:
        lines.append(f"Classes: one ({escape(classes[0])}); no comparison.")
    unusual = [
        f"{q.num(f'predictive_unusual.{c}.posterior', 0)} of {q.num(f'predictive.{c}.posterior', 0)} ({escape(c)})"
        for c in classes
        if q.number(f"predictive.{c}.posterior")
    ]
    if unusual:
        lines.append(
            f"Model: {numbers.join_words(unusual)} quantities of the capability scores are unusual under the fitted "
            "model; verdicts are conditional on it."
        )
    wrong = q.number("checks_failed")
    warned = f"The audit of the scores has {q.count('audit.error', 'error')} and {q.count('audit.warning', 'warning')}."
    lines.append(
        f"Checks: {q.num('checks_failed', 0)} of {q.num('checks', 0)} failed "
        f"({', '.join(sorted({escape(check.fit) for check in failed(list(analysis.checks))}))}); verdicts that rest on "
        f"these fits are withheld. {warned}"
        if wrong
        else f"Computation: all {q.num('checks', 0)} limits met. {warned}"
    )
    return lines


def _named(analysis: Analysis, quoter: Quoter, label: str, verdict: str) -> str:
    """Return the names of the benchmarks of a settled verdict in brackets, where they are few."""
    frame = analysis.tables["posterior_correlations"]
    own = frame[(frame["model_class"] == label) & (frame["mode"] == "cut") & (frame["verdict"] == verdict)]
    if verdict == "undetermined" or not 0 < len(own) <= MOST_NAMED:
        return ""
    return f" ({'; '.join(quoter.name(str(name)) for name in own['benchmark'])})"


def _quoter(analysis: Analysis, results: Results) -> Quoter:
    table = analysis.plan.table
    return Quoter(
        results=results,
        names=labels_for({str(k): str(v) for k, v in table.benchmarks["name"].items()}),
        models=labels_for({str(k): str(v) for k, v in table.models["name"].items()}),
    )


def _context(analysis: Analysis, results: Results, figures: Mapping[str, FigureText]) -> dict[str, object]:
    plan, quoter = analysis.plan, _quoter(analysis, results)
    spec, gates, classes = plan.factor, plan.factor.gates, plan.table.classes

    def figure(name: str) -> str:
        return _figure(figures[name]) if name in figures else ""

    return {
        "num": quoter.num, "pct": quoter.pct, "count": quoter.count, "est": quoter.est, "name": quoter.name,
        "model": quoter.model, "number": quoter.number, "text": quoter.text, "escape": escape, "minus": numbers.MINUS,
        "classes": classes,
        "two_classes": len(classes) > 1,
        "reference_class": classes[0],
        "question": escape(plan.study.question, ANY_LENGTH),
        "table_title": plan.table.title,
        "shared_ending": escape(shared_ending([str(n) for n in plan.table.benchmarks["name"]])),
        "rope_reason": escape(plan.study.rope.reason, ANY_LENGTH),
        "summary_lines": summary_lines(analysis, results),
        "failed_checks": [
            dataclasses.asdict(check)
            | {
                "value_text": numbers.significant_text(check.value),
                "limit_text": numbers.significant_text(check.limit),
            }
            for check in failed(list(analysis.checks))
        ],
        "fingerprint": plan.table.fingerprint[:16],
        "class_counts": numbers.join_words([f"{quoter.num(f'models.{c}', 0)} {escape(c)}" for c in classes]),
        "capability_names": "; ".join(quoter.name(b) for b in plan.prepared.columns("capability")),
        "transform_sentence": spec_text.TRANSFORMS[spec.transform],
        "seed_text": str(plan.study.seed),
        "attempts_sentence": _attempts(analysis),
        "gate_r_hat": numbers.number_text(gates.r_hat),
        "gate_ess": numbers.number_text(gates.ess, 0),
        "gate_divergences": str(gates.divergences),
        "gate_bfmi": numbers.number_text(gates.e_bfmi, 1),
        "gate_k": numbers.number_text(gates.pareto_k, 1),
        "prior_table": spec_text.prior_table(spec),
        "theta_sds": numbers.join_words([f"{quoter.num(f'theta_sd.{c}')} ({escape(c)})" for c in classes]),
        "software_sentence": _software(),
        "toolkit_version": version("safetystats"),
        "study_name": escape(plan.name, ANY_LENGTH),
        "has_left_out": len(plan.flow.left_out) > 0,
        "has_audit": bool(analysis.audit.graver_than("note")),
        "has_sources": len(plan.table.sources) > 0,
        "flow_table": report_tables.flow_table(plan.flow),
        "class_table": report_tables.class_table(plan.flow),
        "left_out_table": report_tables.left_out_table(plan.flow, quoter.names),
        "audit_table": report_tables.audit_table(analysis),
        "source_table": report_tables.source_table(plan.table),
        "loadings_table": report_tables.loadings_table(analysis, quoter.names),
        "estimand_tables": report_checks.estimand_tables(analysis, quoter.names),
        "posterior_tables": report_tables.posterior_tables(analysis, quoter.names),
        "correlation_tables": report_tables.correlation_tables(analysis, quoter.names),
        "interval_notes": [
            f"{escape(check.fit.split('/')[1])}, {escape(check.check)}: {escape(check.why, ANY_LENGTH)}"
            for check in analysis.checks
            if check.fit.startswith("intervals/") and check.fit.split("/")[2] == "spearman"
        ],
        "diagnostics_table": report_tables.diagnostics_table(analysis),
        "missing_figure": figure("missing"),
        "capability_figure": figure("capability"),
        "loadings_figure": figure("loadings"),
        "forest_figure": figure("forest"),
        "differences_figure": figure("class_differences"),
        "marginal_figure": figure("marginal_means"),
        "shifts_figure": figure("lineage_shifts"),
        "barg": barg.barg_markdown(barg.barg_audit(results, plan.study, classes)),
        "scree_figure": figure("scree"),
        "verdict_curve_figure": figure("verdict_curve"),
        "liability_figure": figure("liability"),
        "shrinkage_figure": figure("shrinkage"),
        "reachable_figure": figure("reachable"),
        "bending_figure": figure("bending"),
        "specification_figure": figure("specification_curves"),
    } | _spec_context(analysis, quoter) | _checks_context(analysis, quoter) | classes_text.class_context(
        analysis, quoter.names, quoter.models
    ) | report_verdicts.verdicts_context(analysis, quoter.names) | report_model_sets.model_sets_context(
        analysis, quoter
    ) | report_relations.relations_context(analysis, quoter.names)  # fmt: skip


def _spec_context(analysis: Analysis, quoter: Quoter) -> dict[str, object]:
    """What sentences about the factor spec depend on."""
    plan, spec = analysis.plan, analysis.plan.factor

    def evaluated(how: str) -> str:
        return numbers.join_words([escape(c) for c in plan.table.classes if quoter.text(f"evaluator.{c}") == how])

    return {
        "spec_title_own": escape(spec.title),
        "families": spec.families,
        "further": spec.further,
        "transformed": spec.transform != "identity",
        "noisy": spec.measurement == "binomial",
        "integrated_classes": evaluated("integrated"),
        "completed_classes": evaluated("completed"),
        "sampled_classes": evaluated("sampled"),
    }


def _checks_context(analysis: Analysis, quoter: Quoter) -> dict[str, object]:
    """Tables of the checks, and which of their sentences there are."""
    plan, tables, classes = analysis.plan, analysis.tables, analysis.plan.table.classes
    names, models = quoter.names, quoter.models

    def having(stem: str, ending: str = "") -> list[str]:
        return [c for c in classes if f"{stem}.{c}{ending}" in quoter.results]

    unusual = {
        c: [
            (
                str(row["predictive"]),
                {
                    "what": escape(str(row["what"])),
                    "where": report_checks.place_text(str(row["where"]), names, models) if row["where"] else "",
                    "stem": f"predictive_checks/{c}/{row['predictive']}/{row['discrepancy']}",
                },
            )
            for row in tables["predictive_checks"].to_dict("records")
            if row["model_class"] == c and row["unusual"]
        ]
        for c in classes
    }
    return {
        "factor_classes": having("factors.map"),
        "power_classes": having("power_largest"),
        "safety_changes": having("largest_change", ".safety"),
        "loading_changes": having("largest_change", ".loading"),
        "has_shared": any(quoter.number(f"mechanical.{c}") for c in classes),
        "fixed_classes": having("fixed_set_width"),
        "shrunken_classes": [c for c in classes if f"shrunken_correlations/{c}/overall/all/mean" in quoter.results],
        "unusual": unusual,
        "boundary_count": len(tables["boundary_cases"]),
        "compared": bool(plan.compared),
        "compared_further": any(other.further != "none" for other in plan.compared.values()),
        "exact_refits": plan.study.scrutiny.exact_refits,
        "has_grid": bool((tables["prior_sensitivity"]["how"] == "other prior").any()),
        "absent": {c: report_checks.absent_specs(analysis, c) for c in classes},
        "spec_title": partial(report_checks.spec_title, analysis),
        "prior_name": spec_text.prior_name,
        "factors_table": report_checks.factors_table(analysis),
        "predictive_tables": report_checks.predictive_tables(analysis, names, models),
        "boundary_table": report_checks.boundary_table(analysis, names),
        "spec_tables": report_checks.spec_tables(analysis),
        "power_table": report_checks.power_table(analysis, names),
        "alternatives_table": report_checks.alternatives_table(analysis, names),
        "area_table": report_checks.area_table(analysis),
    }


def _figure(figure: FigureText) -> str:
    alt = escape(figure.alt, ANY_LENGTH)
    return f'![{escape(figure.caption, ANY_LENGTH)}](figures/{figure.name}.svg){{#fig-{figure.name} alt="{alt}"}}'


def _attempts(analysis: Analysis) -> str:
    again = sorted({check.fit for check in analysis.checks if "; attempt " in check.why})
    if not again:
        return ""
    names: Sequence[str] = [escape(name) for name in again]
    return (
        f" Because a limit was not met, {numbers.join_words(list(names))} "
        f"{'was' if len(again) == 1 else 'were'} sampled again with twice the draws and smaller steps."
    )


def _software() -> str:
    python = ".".join(str(part) for part in sys.version_info[:3])
    named = [f"{name} {version(name)}" + (f" [@{key}]" if key else "") for name, key in _SOFTWARE.items()]
    return f"Python {python}, {', '.join(named)}."
