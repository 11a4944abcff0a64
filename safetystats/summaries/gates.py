"""Checks with four outcomes, and what a failed one withholds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Literal

import arviz_stats as az
import numpy as np
import pandas as pd

from safetystats.inference.convergence import MODE_LIMIT, Convergence
from safetystats.inference.fits import CapabilityFit, SafetyFit
from safetystats.specs import Gates
from safetystats.summaries.glossary import conform
from safetystats.summaries.numbers import significant_text

Outcome = Literal["pass", "fail", "not_run", "not_applicable"]

MIN_CANDIDATES = 10.0
"""Fewest effective candidates per capability draw for which resampling one of them is trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of one fit.

    Attributes
    ----------
    fit : str
        `capability/<class>`, `safety/<class>` or `joint/<class>/<benchmark>`.
    check : str
        What was checked.
    value, limit : float
        The number and what it must meet; NaN where there is none.
    outcome : {"pass", "fail", "not_run", "not_applicable"}
    why : str
        The reason in words.
    """

    fit: str
    check: str
    value: float
    limit: float
    outcome: Outcome
    why: str


def capability_checks(fit: CapabilityFit) -> list[Check]:
    """Return the gates of a capability fit over all of its parameters (DESIGN 3.7)."""
    return convergence_checks(f"capability/{fit.model_class}", fit.convergence(), fit.spec.gates, len(fit.plans))


def convergence_checks(label: str, found: Convergence, gates: Gates, n_attempts: int) -> list[Check]:
    """Return the gates of one sampled fit over all of its parameters."""
    attempt = "" if n_attempts == 1 else f"; attempt {n_attempts}, with twice the draws and smaller steps"

    def check(name: str, value: float, limit: float, upper: bool, why: str) -> Check:
        ok = value <= limit if upper else value >= limit
        outcome: Outcome = "pass" if ok else "fail"
        return Check(fit=label, check=name, value=value, limit=limit, outcome=outcome, why=why + attempt)

    everywhere = "over all parameters, of "
    rows = (
        ("r_hat", found.r_hat, gates.r_hat, True, f"largest {everywhere}{found.r_hat_of}"),
        ("ess_bulk", found.ess_bulk, gates.ess, False, f"smallest {everywhere}{found.ess_bulk_of}"),
        ("ess_tail", found.ess_tail, gates.ess, False, f"smallest {everywhere}{found.ess_tail_of}"),
        ("divergences", found.divergences, gates.divergences, True, "divergent transitions after warm-up, all chains"),
        ("e_bfmi", found.e_bfmi, gates.e_bfmi, False, "smallest over the chains"),
        (
            "one_mode",
            found.mode_gap,
            MODE_LIMIT,
            True,
            "a chain's mean loading from the mean of all, in sd within chains"
            + (f"; chains sit in different modes: {found.modes}" if found.modes else ""),
        ),
    )
    return [check(name, value, limit, upper, why) for name, value, limit, upper, why in rows]


def safety_checks(fit: SafetyFit) -> list[Check]:
    """Return the gates of the safety posteriors: chains, candidates, and the tail of the joint weights."""
    spec = fit.capability.spec
    label = fit.capability.model_class
    checks = [
        Check(
            fit=f"safety/{label}/{name}", check="models", value=float("nan"), limit=float("nan"),
            outcome="not_applicable", why=f"no posterior: {reason}",
        )
        for name, reason in fit.left_out.items()
    ]  # fmt: skip
    if not fit.benchmarks:
        return checks
    cut = fit.draws["cut"].to_dataset()
    rho = cut[["rho"]]
    r_hat = az.rhat(rho)["rho"].to_numpy()
    ess = np.minimum(az.ess(rho, method="bulk")["rho"].to_numpy(), az.ess(rho, method="tail")["rho"].to_numpy())
    names = np.array(fit.benchmarks)
    candidates = cut["efficiency"].to_numpy() * spec.cut.candidates
    here = f"safety/{label}"
    effective = "effective candidates per capability draw"
    checks += [
        _extreme(here, "r_hat", r_hat, names, spec.gates.r_hat, largest=True, what="rho"),
        _extreme(here, "ess", ess, names, spec.gates.ess, largest=False, what="rho, bulk and tail"),
        _extreme(here, "candidates", candidates, names, MIN_CANDIDATES, largest=False, what=effective),
    ]
    return checks + _joint_checks(fit, spec.gates)


def _joint_checks(fit: SafetyFit, gates: Gates) -> list[Check]:
    label = fit.capability.model_class
    names = np.array(fit.benchmarks)
    pareto_k, effective = (fit.draws["joint"][name].to_numpy() for name in ("pareto_k", "effective"))
    refitted = fit.refitted
    trusted = np.array([name not in refitted for name in names])
    checks = []
    if trusted.any():
        # Beyond these limits a fit samples the joint model, so that they choose a way and are nothing to be passed; a
        # fit that was made otherwise is not trusted.
        what = "weights that turn the cut into the joint posterior, which decide where it is sampled instead"
        for name, values, limit, largest in (
            ("pareto_k", pareto_k, gates.pareto_k, True),
            ("effective_draws", effective, gates.ess, False),
        ):
            found = _extreme(f"joint/{label}", name, values[trusted], names[trusted], limit, largest=largest, what=what)
            checks.append(found if found.outcome == "fail" else replace(found, outcome="not_applicable"))
    for name in refitted:
        row = fit.draws["refit"].to_dataset().sel(benchmark=name)
        r_hat, ess, divergences = float(row["r_hat"]), float(row["ess"]), int(row["divergences"])
        ok = (
            r_hat <= gates.r_hat
            and ess >= gates.ess
            and divergences <= gates.divergences
            and float(row["e_bfmi"]) >= gates.e_bfmi
            and float(row["mode_gap"]) <= MODE_LIMIT
        )
        place = list(names).index(name)
        weights = f"Pareto k {significant_text(float(pareto_k[place]))} and {effective[place]:.0f} effective draws"
        checks.append(
            Check(
                fit=f"joint/{label}/{name}", check="refit", value=r_hat, limit=gates.r_hat,
                outcome="pass" if ok else "fail",
                why=f"the weights had {weights}, so the joint model was sampled with NUTS: R-hat "
                f"{r_hat:.3f}, smallest effective sample size {ess:.0f}, divergences {divergences}",
            )
        )  # fmt: skip
    return checks


def _extreme(
    fit: str, check: str, values: np.ndarray, names: np.ndarray, limit: float, *, largest: bool, what: str
) -> Check:
    place = int(np.argmax(values) if largest else np.argmin(values))
    value = float(values[place])
    ok = value <= limit if largest else value >= limit
    word = "largest" if largest else "smallest"
    return Check(
        fit=fit,
        check=check,
        value=value,
        limit=limit,
        outcome="pass" if ok else "fail",
        why=f"{word}, of {names[place]}: {what}",
    )


def failed(checks: list[Check]) -> list[Check]:
    """Return the checks that failed."""
    return [check for check in checks if check.outcome == "fail"]


def withheld(checks: list[Check]) -> set[str]:
    """Return the fits whose verdicts are withheld: `cut/<class>`, `joint/<class>` or `joint/<class>/<benchmark>`."""
    found: set[str] = set()
    for check in failed(checks):
        kind, _, rest = check.fit.partition("/")
        if kind in ("capability", "safety"):
            found |= {f"cut/{rest}", f"joint/{rest}"}
        else:
            found.add(check.fit)
    return found


def diagnostics_table(checks: list[Check]) -> pd.DataFrame:
    """Return the checks as the table `diagnostics`."""
    rows = [asdict(check) for check in checks]
    return conform("diagnostics", pd.DataFrame(rows, columns=["fit", "check", "value", "limit", "outcome", "why"]))
