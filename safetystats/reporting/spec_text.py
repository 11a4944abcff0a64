"""What a factor spec says, as Markdown: its priors, and the parts of sentences that depend on it."""

from __future__ import annotations

from safetystats.reporting.text import escape, table_markdown
from safetystats.specs import BetaPrior, FactorSpec, LogNormalPrior, NormalPrior

Prior = BetaPrior | LogNormalPrior | NormalPrior

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


def prior_text(prior: Prior) -> str:
    """Return a distribution as a formula."""
    if isinstance(prior, BetaPrior):
        return f"$\\mathrm{{Beta}}({prior.alpha:g}, {prior.beta:g})$"
    kind = "LogNormal" if isinstance(prior, LogNormalPrior) else "N"
    return f"$\\mathrm{{{kind}}}({prior.mu:g}, {prior.sigma:g}^2)$"
