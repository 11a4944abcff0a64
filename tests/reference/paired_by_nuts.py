"""Difference of correlations of helm-classic, both classes in one model with capability held fixed, by NUTS.

Writes paired_by_nuts.csv. Eight fixed pairs of capability vectors times three benchmarks (one with gaps) stand as
independent copies in one PyMC graph. Family effects are sampled; those of a family with a lineage in both classes
correlate by psi. Own parts of a lineage's models are turned so that its mean, times the root of its size, stands in one
row: the rows of the two classes correlate by psi, and class b is given its distribution conditional on class a. The
capability vectors are the mean of the z-scored capability columns plus seeded noise, so that the test can make them
again.

    python tests/reference/paired_by_nuts.py
"""

from __future__ import annotations

import importlib.metadata
import sys
from datetime import UTC, datetime
from pathlib import Path

import arviz_stats as az
import numpy as np
import nutpie
import pymc as pm

from safetystats.specs import read_study
from safetystats.summaries.plan import plan_study

HERE = Path(__file__).parent
BENCHMARKS = ("classic_robust_mmlu", "classic_representation_gender_quac", "classic_stereotype_gender_narrativeqa")
CLASSES = ("chat", "base")
COPIES, NOISE, THETA_SEED = 8, 0.3, 515151
CHAINS, DRAWS, TUNE, SEED = 2, 1500, 800, 660022


def capabilities(part, place):
    """Capability vectors of a class, shape (COPIES, n)."""
    mean = np.nanmean(part.matrix(part.columns("capability")), axis=1)
    return mean + NOISE * np.random.default_rng([THETA_SEED, place]).normal(size=(COPIES, part.n_models))


def turn(lineages):
    """Orthogonal matrix that puts sqrt(size) times the mean of a lineage into the row of its first model."""
    q = np.eye(len(lineages))
    first = {}
    for lineage in dict.fromkeys(lineages):
        rows = [i for i, other in enumerate(lineages) if other == lineage]
        first[lineage] = rows[0]
        size = len(rows)
        start = np.column_stack([np.ones(size), np.eye(size)[:, 1:]])
        basis = np.linalg.qr(start)[0] * np.sign(np.linalg.qr(start)[0][0, 0])
        q[np.ix_(rows, rows)] = basis.T
    return q, first


def add(name, parts):
    """Add one benchmark, all copies, to the model that is open."""
    seen = {c: np.isfinite(p.matrix([name])[:, 0]) for c, p in parts.items()}
    y = {c: p.matrix([name])[seen[c], 0] for c, p in parts.items()}
    theta = {c: capabilities(p, i)[:, seen[c]] for i, (c, p) in enumerate(parts.items())}
    family = {c: p.models["family"].to_numpy()[seen[c]] for c, p in parts.items()}
    lineage = {c: p.models["lineage"].to_numpy()[seen[c]] for c, p in parts.items()}
    names = {c: sorted(set(family[c])) for c in parts}
    one, two = CLASSES
    pairs = [(i, j) for i, li in enumerate(lineage[one]) for j, lj in enumerate(lineage[two]) if li == lj]
    linked = {family[one][i] for i, j in pairs if family[one][i] == family[two][j]}
    psi = pm.Uniform(f"psi_{name}", -1.0, 1.0, shape=(COPIES, 1))
    effects, residual, own_sd, first = {}, {}, {}, {}
    for c in CLASSES:
        half = pm.Beta(f"half_{name}_{c}", 1.0, 1.0, shape=(COPIES, 1))
        rho = pm.Deterministic(f"rho_{name}_{c}", 2.0 * half - 1.0)
        s = pm.LogNormal(f"s_{name}_{c}", 0.0, 0.25, shape=(COPIES, 1))
        kappa = pm.Beta(f"kappa_{name}_{c}", 1.0, 3.0, shape=(COPIES, 1))
        alpha = pm.Normal(f"alpha_{name}_{c}", 0.0, 1.0, shape=(COPIES, 1))
        z = pm.Normal(f"z_{name}_{c}", 0.0, 1.0, shape=(COPIES, len(names[c])))
        if c == two:
            at = np.array([names[one].index(f) if f in linked else 0 for f in names[two]])
            shared = np.array([f in linked for f in names[two]], dtype=float)
            z = z * (1.0 - shared * psi**2) ** 0.5 + shared * psi * effects[one][:, at]
        effects[c] = z
        unique = s * (1.0 - rho**2) ** 0.5
        place = np.array([names[c].index(f) for f in family[c]])
        mean = alpha + s * rho * theta[c] + kappa**0.5 * unique * z[:, place]
        q, first[c] = turn(list(lineage[c]))
        residual[c] = (y[c] - mean) @ q.T
        own_sd[c] = unique * (1.0 - kappa) ** 0.5
    common = sorted(set(lineage[one]) & set(lineage[two]))
    rows = {c: np.array([first[c][x] for x in common]) for c in CLASSES}
    rest = np.setdiff1d(np.arange(len(y[two])), rows[two])

    def normal(value, mean, sd):
        return pm.logp(pm.Normal.dist(mean, sd), value).sum()

    given = psi * own_sd[two] / own_sd[one] * residual[one][:, rows[one]]
    pm.Potential(
        f"likelihood_{name}",
        normal(residual[one], 0.0, own_sd[one])
        + normal(residual[two][:, rest], 0.0, own_sd[two])
        + normal(residual[two][:, rows[two]], given, own_sd[two] * (1.0 - psi**2) ** 0.5),
    )


def main() -> None:
    prepared = plan_study("helm-classic", read_study("helm-classic")).prepared
    parts = {c: prepared.select(model_class=c) for c in CLASSES}
    with pm.Model():
        for name in BENCHMARKS:
            add(name, parts)
        compiled = nutpie.compile_pymc_model(pm.modelcontext(None))
    tree = nutpie.sample(
        compiled, draws=DRAWS, tune=TUNE, chains=CHAINS, cores=1, seed=SEED, target_accept=0.95, progress_bar=False
    )
    draws = tree["posterior"].to_dataset()
    draws = draws[[v for v in draws.data_vars if str(v).split("_")[0] in ("rho", "psi", "s", "kappa", "alpha")]]
    r_hat = max(float(v.max()) for v in az.rhat(draws).data_vars.values())
    ess = min(float(v.min()) for m in ("bulk", "tail") for v in az.ess(draws, method=m).data_vars.values())
    divergences = int(tree["sample_stats"]["diverging"].sum())
    print(f"R-hat {r_hat:.4f}, ESS {ess:.0f}, divergences {divergences}", file=sys.stderr)
    lines = ["benchmark,quantity,mean,sd,q025,q50,q975"]
    for name in BENCHMARKS:
        rho = {c: draws[f"rho_{name}_{c}"].to_numpy().reshape(-1, COPIES) for c in CLASSES}
        quantities = {
            "rho_a": rho[CLASSES[0]],
            "rho_b": rho[CLASSES[1]],
            "delta": rho[CLASSES[0]] - rho[CLASSES[1]],
            "psi": draws[f"psi_{name}"].to_numpy().reshape(-1, COPIES),
        }
        for quantity, x in quantities.items():
            numbers = [x.mean(), x.std(), *np.quantile(x, [0.025, 0.5, 0.975])]
            lines.append(",".join([name, quantity, *(f"{v:.5f}" for v in numbers)]))
    libraries = ", ".join(f"{p} {importlib.metadata.version(p)}" for p in ("pymc", "nutpie", "pytensor", "numpy"))
    header = [
        f"# made by tests/reference/paired_by_nuts.py on {datetime.now(UTC):%Y-%m-%d}; {libraries}; seed {SEED}; "
        f"{CHAINS} chains x {DRAWS} draws after {TUNE}; over {COPIES} copies",
        f"# R-hat {r_hat:.4f}, smallest effective sample size {ess:.0f}, divergences {divergences}",
    ]
    (HERE / "paired_by_nuts.csv").write_text("\n".join([*header, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
