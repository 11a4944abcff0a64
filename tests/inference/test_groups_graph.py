"""Densities of the multi-group graph: against graphs of single classes, explicit normals, and priors written out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pymc as pm
import pytest
from factor_data import FloatArray, default_spec
from pytensor.compile.mode import Mode
from scipy import special, stats

from safetystats.inference.arrays import Structure
from safetystats.inference.factor_kernel import log_density
from safetystats.inference.groups_data import LEVELS, GroupDraws, GroupSize, Level, group_arrays
from safetystats.inference.groups_graph import groups_graph
from safetystats.inference.integrated import problem_of
from safetystats.inference.marginal import family_log_likelihood, model_log_conditional, unit_log_conditional
from safetystats.inference.parameters import FactorData
from safetystats.specs import FactorPriors, InvariancePriors, InvarianceSpec, LogNormalPrior, NormalPrior, read_spec

EXACT = 1e-8
"""Log densities of the order of 1e2; both routes carry about 1e-13 of that."""
CONSTANTS = 1e-5
"""PyMC holds some normalising constants in single precision; they matter to nothing."""
PLAIN = Mode(linker="py", optimizer="fast_compile")
K, CLASSES = 3, 3
CLOSED = GroupSize(n_classes=CLASSES, n_models=8, n_benchmarks=K, n_families=4)
GAPPY = replace(CLOSED, n_missing=5)
"""Room for one more model, one more family and, where cells are missing, one more of these."""
OTHER = InvariancePriors(
    total_sd=LogNormalPrior(family="lognormal", mu=0.1, sigma=0.4),
    loading_difference=NormalPrior(family="normal", mu=0.1, sigma=0.7),
    intercept_difference=NormalPrior(family="normal", mu=-0.2, sigma=1.3),
    log_unique_ratio=NormalPrior(family="normal", mu=0.3, sigma=0.8),
    latent_mean=NormalPrior(family="normal", mu=0.4, sigma=1.1),
    latent_sd=LogNormalPrior(family="lognormal", mu=-0.1, sigma=0.6),
)

Point = dict[str, FloatArray]


def invariance_spec() -> InvarianceSpec:
    spec = read_spec("class-invariance", "invariance")
    assert isinstance(spec, InvarianceSpec)
    return spec


def evaluator(graph: pm.Model, name: str) -> Callable[[Point], FloatArray]:
    """One named quantity of a graph at a point of the sampler's space."""
    (value,) = graph.replace_rvs_by_values([graph[name]])
    compiled = graph.compile_fn(value, inputs=graph.value_vars, mode=PLAIN, on_unused_input="ignore")
    return lambda point: np.asarray(compiled(point))


class Graph:
    """A graph of three classes that is built once."""

    def __init__(self, size: GroupSize) -> None:
        self.size, self.graph = size, groups_graph(size)
        self.log_density = self.graph.compile_fn(self.graph.logp(jacobian=False), mode=PLAIN)
        fields = ("loading", "intercept", "unique", "icc", "capability_icc", "latent_mean", "latent_sd")
        self.values = {name: evaluator(self.graph, name) for name in (*fields, "log_likelihood")}

    def set(
        self,
        data: list[FactorData],
        level: Level,
        *,
        families: bool = True,
        factor: FactorPriors | None = None,
        priors: InvariancePriors = OTHER,
    ) -> None:
        with self.graph:
            pm.set_data(group_arrays(data, factor or default_spec().priors, priors, level, self.size, families))

    def log_likelihood(self, point: Point) -> float:
        return float(self.values["log_likelihood"](point))

    def draws(self, point: Point) -> GroupDraws:
        return GroupDraws(**{n: at(point)[None] for n, at in self.values.items() if n != "log_likelihood"})


@pytest.fixture(scope="module")
def closed() -> Graph:
    return Graph(CLOSED)


@pytest.fixture(scope="module")
def gappy() -> Graph:
    return Graph(GAPPY)


def classes(*, gaps: bool = False) -> list[FactorData]:
    """Three classes of 7, 5 and 4 models in 3, 3 and 2 families; with gaps, four missing cells in two
    classes, two of them of one family and benchmark."""
    rng = np.random.default_rng(4)
    found = []
    for families in ([0, 0, 0, 1, 2, 2, 1], [0, 1, 1, 2, 0], [0, 0, 1, 0]):
        values = rng.normal(size=(len(families), K))
        found.append(FactorData(values=values, families=np.array(families), noise=np.zeros_like(values)))
    if gaps:
        found[1].values[1:3, 2] = found[1].values[3, 0] = found[2].values[0, 1] = np.nan
    return found


def random_point(rng: np.random.Generator, size: GroupSize) -> Point:
    k, others = size.n_benchmarks, size.n_classes - 1
    point: Point = {
        "loading_unit_logodds__": rng.normal(1.0, 1.0, size=k),
        "total_sd_log__": rng.normal(0.0, 0.5, size=k),
        "intercept_free": rng.normal(size=k),
        "icc_free_logodds__": rng.normal(-1.0, 1.0, size=(others + 1, k)),
        "capability_icc_free_logodds__": rng.normal(size=others + 1),
        "loading_difference": rng.normal(0.0, 0.5, size=(others, k)),
        "intercept_difference": rng.normal(size=(others, k)),
        "log_unique_ratio": rng.normal(0.0, 0.7, size=(others, k)),
        "mean_free": rng.normal(size=others),
        "log_sd_free": rng.normal(0.0, 0.4, size=others),
    }
    if size.n_missing:
        point["missing"] = rng.normal(size=size.n_missing)
    return point


def moments(draws: GroupDraws, place: int, families: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Mean (n, k) and covariance (n, k, n, k) of the scores of one class, from the definition of the model."""
    n, same = len(families), (families[:, None] == families).astype(float)
    loading, unique, icc = draws.loading[0, place], draws.unique[0, place], draws.icc[0, place]
    omega, tau = draws.capability_icc[0, place], draws.latent_sd[0, place]
    theta = tau**2 * (omega * same + (1 - omega) * np.eye(n))
    covariance = np.einsum("mn,b,c->mbnc", theta, loading, loading)
    for b in range(len(loading)):
        covariance[:, b, :, b] += unique[b] * (icc[b] * same + (1 - icc[b]) * np.eye(n))
    mean = draws.intercept[0, place] + loading * draws.latent_mean[0, place]
    return np.tile(mean, (n, 1)), covariance


def explicit(draws: GroupDraws, data: list[FactorData]) -> float:
    """Log density of all observed cells: one normal vector per class."""
    total = 0.0
    for place, own in enumerate(data):
        mean, covariance = moments(draws, place, own.families)
        seen, size = np.isfinite(own.values).ravel(), own.values.size
        covariance = covariance.reshape(size, size)[np.ix_(seen, seen)]
        total += stats.multivariate_normal.logpdf(own.values.ravel()[seen], mean.ravel()[seen], covariance)
    return float(total)


def filled(data: list[FactorData], point: Point) -> list[FactorData]:
    """The classes with the missing cells of a point in their places."""
    found, start = [], 0
    for own in data:
        values, gaps = own.values.copy(), ~np.isfinite(own.values)
        values[gaps] = point["missing"][start : start + gaps.sum()] if gaps.any() else 0.0
        start += int(gaps.sum())
        found.append(replace(own, values=values))
    return found


@pytest.mark.parametrize("families", [True, False])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["closed", "gappy"])
def test_density_equals_explicit_normals(
    name: str, level: Level, families: bool, request: pytest.FixtureRequest
) -> None:
    graph: Graph = request.getfixturevalue(name)
    data, rng = classes(gaps=name == "gappy"), np.random.default_rng(5)
    graph.set(data, level, families=families)
    for _ in range(3):
        point = random_point(rng, graph.size)
        draws = graph.draws(point)
        whole = filled(data, point) if name == "gappy" else data
        assert graph.log_likelihood(point) == pytest.approx(explicit(draws, whole), abs=EXACT)
        # The parameters of each class in its own units give the same density, of the observed cells too.
        own = sum(family_log_likelihood(draws.of_class(c), part).sum() for c, part in enumerate(data))
        assert own == pytest.approx(explicit(draws, data), abs=EXACT)


@pytest.mark.parametrize("evaluated", ["integrated", "completed"])
def test_configural_density_is_the_sum_of_those_of_single_classes(evaluated: str, closed: Graph, gappy: Graph) -> None:
    gaps = evaluated == "completed"
    graph, data = (gappy if gaps else closed), classes(gaps=gaps)
    graph.set(data, "configural")
    point = random_point(np.random.default_rng(6), graph.size)
    draws = graph.draws(point)
    plan = Structure(anchors=np.ones(K, dtype=bool), pattern=np.zeros((K, 0), dtype=bool))
    total, start = 0.0, 0
    for place, part in enumerate(data):
        own, n = draws.of_class(place), int((~np.isfinite(part.values)).sum())
        free = [special.logit((own.rho[0] + 1) / 2), np.log(own.total_sd[0]), own.intercept[0]]
        free += [special.logit(own.icc[0]), special.logit(own.capability_icc)]
        if gaps:
            free.append(point["missing"][start : start + n])
            start += n
        at = np.concatenate(free)
        # Without scores the density is the prior: the difference is the likelihood, of constants too.
        problem, slope = problem_of(part, default_spec().priors, plan), np.empty_like(at)
        cells = part.values.size
        nothing = problem._replace(
            sizes=problem.sizes[:0], values=problem.values[:0], means=problem.means[:0], cells=problem.cells[:0],
            constant=problem.constant + 0.5 * cells * np.log(2 * np.pi),
        )  # fmt: skip
        total += log_density(at, problem, slope) - log_density(at, nothing, slope)
    assert graph.log_likelihood(point) == pytest.approx(total, abs=EXACT)


@pytest.mark.parametrize("level", LEVELS)
def test_the_prior_is_the_stated_one_at_every_level(level: Level, closed: Graph) -> None:
    closed.set(classes(), level)
    factor, point = default_spec().priors, random_point(np.random.default_rng(7), CLOSED)
    unit = special.expit(point["loading_unit_logodds__"])
    assert (2 * unit - 1).sum() > 0
    a, b = factor.capability_loading.alpha, factor.capability_loading.beta
    expected = stats.beta.logpdf(unit, a, b).sum()
    expected += stats.lognorm.logpdf(np.exp(point["total_sd_log__"]), 0.4, scale=np.exp(0.1)).sum()
    expected += stats.norm.logpdf(point["intercept_free"], factor.intercept.mu, factor.intercept.sigma).sum()
    icc, omega = (special.expit(point[f"{name}_logodds__"]) for name in ("icc_free", "capability_icc_free"))
    expected += stats.beta.logpdf(icc, factor.icc.alpha, factor.icc.beta).sum()
    expected += stats.beta.logpdf(omega, factor.capability_icc.alpha, factor.capability_icc.beta).sum()
    loading = closed.draws(point).loading[0]
    turned = loading[1:] - loading[0] if level == "configural" else point["loading_difference"]
    expected += stats.norm.logpdf(turned, OTHER.loading_difference.mu, OTHER.loading_difference.sigma).sum()
    for name, prior in (
        ("intercept_difference", OTHER.intercept_difference),
        ("log_unique_ratio", OTHER.log_unique_ratio),
        ("mean_free", OTHER.latent_mean),
        ("log_sd_free", OTHER.latent_sd),
    ):
        expected += stats.norm.logpdf(point[name], prior.mu, prior.sigma).sum()
    found = float(closed.log_density(point)) - closed.log_likelihood(point)
    assert found == pytest.approx(float(expected), abs=CONSTANTS)


def turned_by_class(point: Point, place: int) -> Point:
    """The point at which the loadings of one class other than the reference, before the sign rule, change signs."""
    rho, total_sd = 2 * special.expit(point["loading_unit_logodds__"]) - 1, np.exp(point["total_sd_log__"])
    difference = point["loading_difference"].copy()
    difference[place - 1] = -2 * np.sign(rho.sum()) * rho * total_sd - difference[place - 1]
    return {**point, "loading_difference": difference}


def test_a_change_of_signs_changes_nothing(closed: Graph) -> None:
    """Capability of all classes, or of one, turned round: the same density, and the same turned loadings."""
    closed.set(classes(), "configural")
    point = random_point(np.random.default_rng(8), CLOSED)
    start, expected = float(closed.log_density(point)), closed.draws(point).loading
    whole = {**point, "loading_unit_logodds__": -point["loading_unit_logodds__"]}
    for other in (whole, turned_by_class(point, 1), turned_by_class(point, 2), turned_by_class(whole, 2)):
        assert float(closed.log_density(other)) == pytest.approx(start, abs=EXACT)
        np.testing.assert_allclose(closed.draws(other).loading, expected, rtol=0, atol=EXACT)
    assert (expected.sum(axis=-1) > 0).all()
    # Where loadings are equal, differences follow their prior, whatever their sign.
    closed.set(classes(), "metric")
    moved = turned_by_class(point, 1)
    prior = [stats.norm.logpdf(p["loading_difference"], 0.1, 0.7).sum() for p in (point, moved)]
    change = float(closed.log_density(moved)) - float(closed.log_density(point))
    assert change == pytest.approx(prior[1] - prior[0], abs=EXACT)


FREE: dict[Level, set[str]] = {
    "configural": {"loading_difference", "intercept_difference"},
    "metric": {"intercept_difference", "log_sd_free"},
    "scalar": {"mean_free", "log_sd_free"},
}


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_frees_what_it_should(level: Level, closed: Graph) -> None:
    closed.set(classes(), level)
    rng = np.random.default_rng(9)
    point, other = random_point(rng, CLOSED), random_point(rng, CLOSED)
    start = closed.log_likelihood(point)
    maskable = ("loading_difference", "intercept_difference", "mean_free", "log_sd_free")
    moved = {n for n in maskable if closed.log_likelihood({**point, n: other[n]}) != start}
    assert moved == FREE[level]
    draws = closed.draws(point)
    assert not draws.latent_mean[0, 0].any()
    assert draws.latent_sd[0, 0] == 1
    assert (np.ptp(draws.loading[0], axis=0) == 0).all() == (level != "configural")
    assert (np.ptp(draws.intercept[0], axis=0) == 0).all() == (level == "scalar")
    assert (np.ptp(draws.unique[0], axis=0) > 0).all()


def test_numbers_reach_a_graph_that_was_built_before(closed: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pm, "Model", None)
    point, seen = random_point(np.random.default_rng(10), CLOSED), set()
    for name in InvariancePriors.model_fields:
        prior = getattr(OTHER, name)
        for number in ("mu", "sigma"):
            changed = prior.model_copy(update={number: getattr(prior, number) + 0.25})
            closed.set(classes(), "metric", priors=OTHER.model_copy(update={name: changed}))
            seen.add(float(closed.log_density(point)))
    assert len(seen) == 2 * len(InvariancePriors.model_fields)


def test_the_shipped_spec_states_reasons() -> None:
    spec = invariance_spec()
    assert all(prior.reason for prior in dict(spec.priors).values())
    assert spec.rule.reason


def test_data_that_do_not_fit_are_refused() -> None:
    factor, data = default_spec().priors, classes()
    with pytest.raises(ValueError, match="needs 3 classes"):
        group_arrays(data[:2], factor, OTHER, "scalar", CLOSED)
    noisy = [replace(data[0], noise=data[0].noise + 0.1), *data[1:]]
    with pytest.raises(ValueError, match="no sampling error"):
        group_arrays(noisy, factor, OTHER, "scalar", CLOSED)
    with pytest.raises(ValueError, match="missing cells do not fit"):
        group_arrays(classes(gaps=True), factor, OTHER, "scalar", CLOSED)
    with pytest.raises(ValueError, match="do not fit into"):
        group_arrays(classes(gaps=True), factor, OTHER, "scalar", replace(GAPPY, n_missing=2))
    with pytest.raises(ValueError, match="two or more classes"):
        groups_graph(replace(CLOSED, n_classes=1))


def conditional(draws: GroupDraws, data: FactorData, unit: np.ndarray) -> float:
    """Log density of the observed cells of a unit given those of all other models of the class."""
    mean, covariance = moments(draws, 0, data.families)
    seen = np.isfinite(data.values)

    def log_density(rows: np.ndarray) -> float:
        cells = (seen & rows[:, None]).ravel()
        size = data.values.size
        return float(
            stats.multivariate_normal.logpdf(
                data.values.ravel()[cells], mean.ravel()[cells], covariance.reshape(size, size)[np.ix_(cells, cells)]
            )
        )

    return log_density(np.ones(len(unit), dtype=bool)) - log_density(~unit)


def test_units_of_several_models_and_families_are_left_out_together(closed: Graph) -> None:
    closed.set(classes(), "scalar")
    draws = closed.draws(random_point(np.random.default_rng(11), CLOSED))
    data = classes()[0]
    data.values[2, 1] = np.nan
    units = np.zeros((4, 7), dtype=bool)
    units[0, [0, 2]] = units[1, [1, 3, 5]] = units[2, 4] = True  # one family, three families, one model, nobody
    found = unit_log_conditional(draws.of_class(0), data, units)
    for place in range(3):
        assert found[0, place] == pytest.approx(conditional(draws, data, units[place]), abs=EXACT)
    assert found[0, 3] == 0
    single = model_log_conditional(draws.of_class(0), data)
    assert found[0, 2] == single[0, 4]
