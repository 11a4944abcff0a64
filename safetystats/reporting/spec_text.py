"""What a factor spec says, as Markdown: its priors, and the parts of sentences that depend on it."""

from __future__ import annotations

from safetystats.reporting.text import escape, table_markdown
from safetystats.specs import BetaPrior, CrossedSpec, FactorSpec, HalfNormalPrior, LogNormalPrior, NormalPrior

Prior = BetaPrior | HalfNormalPrior | LogNormalPrior | NormalPrior

PRIOR_NAMES = {
    "capability_loading": (r"$(\rho_b + 1) / 2$", "loading of a capability benchmark"),
    "loading": (r"$(\rho_b + 1) / 2$", "correlation of a safety benchmark"),
    "further_loading": (r"$(r_{bj} + 1) / 2$", "partial correlation with a further factor"),
    "total_sd": ("$s_b$", "total standard deviation"),
    "icc": (r"$\kappa_b$", "share of unique variance between families"),
    "capability_icc": (r"$\omega$", "share of the variance of capability between families"),
    "intercept": (r"$\alpha_b$", "intercept"),
}
"""Symbol, and what it stands for, of every prior in a spec."""

CROSSED_NAMES = {
    "intercept": "level at average capability, mean of the classes, overall",
    "slope": "slope in capability, mean of the classes, overall",
    "class_effect": "difference of level between classes, overall",
    "interaction": "difference of slopes between classes, overall",
    "area_sd": "sd of each of the four between areas",
    "benchmark_sd": "sd of each of the four between benchmarks of an area",
    "model_sd": "sd of model effects on all areas",
    "model_area_sd": "sd of further model effects on one area",
    "lineage_share": "share of the former variance that models of one lineage have in common",
    "lineage_area_share": "the same share, of the further effects",
    "residual_sd": "median residual sd over the benchmarks",
    "residual_spread": "sd of the log residual sds",
}
"""What every prior of the crossed model is of."""

TRANSFORMS = {
    "identity": "Scores were not transformed.",
    "logit": "Bounded scores were mapped to log odds above their chance level.",
    "rank_normal": "Scores were replaced by normal scores of their ranks within the class, so that the model sees the "
    r"order of the models alone; the rank correlation that goes with $\rho$ is then the one to read. "
    "Normal scores are not the normal variables of the model: in simulation its 95 % intervals covered less than they "
    "say (`benchmarks/calibration.md`).",
}


def prior_name(name: str) -> str:
    """Return what a prior is of, in words; a name that no spec has stands for itself."""
    return PRIOR_NAMES[name][1] if name in PRIOR_NAMES else escape(name)


def prior_table(spec: FactorSpec) -> str:
    """Return the priors that the spec uses, each with its reason."""
    used = [
        name
        for name in PRIOR_NAMES
        if not (name == "further_loading" and spec.further == "none")
        and not (name in ("icc", "capability_icc") and not spec.families)
    ]
    rows = []
    for name in used:
        prior: Prior = getattr(spec.priors, name)
        symbol, words = PRIOR_NAMES[name]
        rows.append([symbol, words, prior_text(prior), escape(prior.reason, 1000)])
    return table_markdown(["Parameter", "What it is", "Prior", "Reason"], rows, caption="Priors.")


def crossed_prior_table(spec: CrossedSpec) -> str:
    """Return the priors of the crossed model, each with its reason."""
    rows = []
    for name, words in CROSSED_NAMES.items():
        prior: Prior = getattr(spec.priors, name)
        rows.append([words, prior_text(prior), escape(prior.reason, 1000)])
    return table_markdown(["What it is", "Prior", "Reason"], rows, caption="Priors of the crossed model.")


def prior_text(prior: Prior) -> str:
    """Return a distribution as a formula."""
    if isinstance(prior, BetaPrior):
        return f"$\\mathrm{{Beta}}({prior.alpha:g}, {prior.beta:g})$"
    if isinstance(prior, HalfNormalPrior):
        return f"$\\mathrm{{HalfN}}(0, {prior.sigma:g}^2)$"
    kind = "LogNormal" if isinstance(prior, LogNormalPrior) else "N"
    return f"$\\mathrm{{{kind}}}({prior.mu:g}, {prior.sigma:g}^2)$"
