"""Designs and specs that the tests of the crossed model share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from safetystats.inference.crossed_values import (
    CrossedData,
    CrossedDesign,
    Variances,
    free_of_sd,
    overall_prior,
    simulate_crossed,
)
from safetystats.specs import CrossedPriors, CrossedSpec, SamplingPlan, read_spec
from safetystats.tables.table import BENCHMARK_COLUMNS, MODEL_COLUMNS, Preparation, ScoreTable

FloatArray = npt.NDArray[np.float64]


def crossed_spec(
    chains: int = 2, draws: int = 300, tune: int = 200, ess: float = 50.0, r_hat: float = 1.1
) -> CrossedSpec:
    """Return the shipped spec with a short plan and gates to match."""
    spec = read_spec("class-crossed", "crossed")
    assert isinstance(spec, CrossedSpec)
    plan = SamplingPlan(chains=chains, draws=draws, tune=tune, target_accept=0.8)
    return spec.model_copy(
        update={"sampling": plan, "gates": spec.gates.model_copy(update={"ess": ess, "r_hat": r_hat})}
    )


def made_design(
    n_lineages: int, sizes: tuple[int, ...], n_classes: int = 2, missing: int = 0, seed: int = 1
) -> CrossedData:
    """Return standard normal scores of one model of every class in every lineage, on areas of these sizes."""
    rng = np.random.default_rng(seed)
    n, n_benchmarks = n_lineages * n_classes, sum(sizes)
    scores = rng.standard_normal((n, n_benchmarks))
    scores.flat[rng.choice(scores.size, missing, replace=False)] = np.nan
    ability = rng.standard_normal(n_lineages).repeat(n_classes) + 0.3 * rng.standard_normal(n)
    return CrossedData(
        scores=scores,
        capability=(ability - ability.mean()) / ability.std(),
        classes=np.tile(np.arange(n_classes), n_lineages),
        lineages=np.repeat(np.arange(n_lineages), n_classes),
        areas=np.repeat(np.arange(len(sizes)), sizes),
    )


class Dense:
    """The same model as one multivariate normal over all cells, benchmark by benchmark; written out."""

    def __init__(self, data: CrossedData, design: CrossedDesign, at: Variances, priors: CrossedPriors) -> None:
        n, n_benchmarks = data.scores.shape
        benchmark, model = np.repeat(np.arange(n_benchmarks), n), np.tile(np.arange(n), n_benchmarks)
        area, lineage, x = data.areas[benchmark], data.lineages[model], design.x[model]
        mean, sd = overall_prior(priors, design.terms)

        def same(codes: npt.NDArray[np.int64]) -> FloatArray:
            return (codes[:, None] == codes).astype(np.float64)

        def lines(scale: FloatArray) -> FloatArray:
            return np.asarray((x * scale) @ (x * scale).T)

        own = at.model_sd**2 * ((1 - at.lineage_share) * same(model) + at.lineage_share * same(lineage))
        in_area = (1 - at.lineage_area_share) * same(model) + at.lineage_area_share * same(lineage)
        self.mean = x @ mean
        self.signal = (
            lines(sd)
            + same(area) * lines(at.area_sd[design.terms])
            + same(benchmark) * lines(at.benchmark_sd[design.terms])
            + own
            + same(area) * at.model_area_sd**2 * in_area
        )
        self.covariance = self.signal + np.diag(at.residual_sd[benchmark] ** 2)
        self.scores = data.scores.T.ravel()
        self.seen = np.isfinite(self.scores)


def made_table(seed: int = 31) -> tuple[ScoreTable, pd.Series]:
    """Return an aligned table of 16 models and two areas, with a constant benchmark, and capability; one unknown."""
    data = made_design(8, (4, 3), seed=seed)
    spec = crossed_spec()
    free = np.concatenate([free_of_sd(np.full(10, 0.3)), np.zeros(2), [-0.6, -1.0], np.full(7, -0.6)])
    _, data = simulate_crossed(free, data, spec.priors, np.random.default_rng(seed))
    models = [f"m{i:02d}" for i in range(16)]
    names = [*(f"b{i}" for i in range(7)), "flat"]
    frame = pd.DataFrame(np.column_stack([data.scores, np.ones(16)]), index=models, columns=names)
    about = pd.DataFrame(index=models, columns=list(MODEL_COLUMNS), data="")
    about["model_class"] = np.array(["base", "chat"])[data.classes]
    about["lineage"] = [f"l{code}" for code in data.lineages]
    about["family"] = [f"f{code // 2}" for code in data.lineages]
    what = pd.DataFrame(index=names, columns=list(BENCHMARK_COLUMNS), data="")
    what["role"], what["area"] = "safety", ["truth"] * 4 + ["ethics"] * 3 + ["truth"]
    table = ScoreTable(
        name="made", title="Made", scores=frame, models=about, benchmarks=what, preparation=Preparation(aligned=True)
    )
    capability = pd.Series(data.capability, index=models)
    capability.iloc[0] = np.nan
    return table, capability


def reference_data() -> CrossedData:
    """Return simulated scores of 20 models on 10 benchmarks in 3 areas, 8 of them missing."""
    free = np.concatenate([
        free_of_sd(np.array([0.2, 0.3, 0.3, 0.2, 0.2, 0.3, 0.4, 0.2, 0.4, 0.4])), [0.0, 0.5], [-0.6, -1.0],
        np.linspace(-1.0, -0.2, 10),
    ])  # fmt: skip
    like = made_design(10, (4, 3, 3), missing=8)
    return simulate_crossed(free, like, crossed_spec().priors, np.random.default_rng(41))[1]
