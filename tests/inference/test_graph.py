"""Densities of the graph and of the compiled one against explicit covariance matrices, each other, and the sign rule.

PyMC evaluates the graphs as they are written, without numba and without rewrites that could hide a fault. Data and
priors are set on graphs that are built once for the whole module.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pymc as pm
import pytest
from factor_data import FloatArray, default_spec, repeated
from pytensor.compile.mode import Mode
from scipy import special, stats

from safetystats.inference.arrays import GraphKind, Structure, prior_data, sampled_data
from safetystats.inference.capability_draws import draw_capability
from safetystats.inference.factor import factor_graph
from safetystats.inference.factor_kernel import Problem, log_density
from safetystats.inference.integrated import n_free, problem_of
from safetystats.inference.marginal import family_log_likelihood, log_prior_terms
from safetystats.inference.parameters import FactorData, FactorDraws
from safetystats.specs import BetaPrior, FactorPriors, LogNormalPrior, NormalPrior

ROUNDING = 1e-7
"""Differences of log densities, which are of the order of 1e2 to 1e4; both routes carry about 1e-12 of that."""
CONSTANTS = 1e-5
"""PyMC holds some normalising constants in single precision (measured: 2e-6); they matter to nothing."""
PLAIN = Mode(linker="py", optimizer="fast_compile")

Point = dict[str, FloatArray]
DEFAULT = default_spec().priors
OTHER = FactorPriors(
    capability_loading=BetaPrior(family="beta", alpha=4.0, beta=1.5),
    loading=BetaPrior(family="beta", alpha=1.3, beta=2.5),
    total_sd=LogNormalPrior(family="lognormal", mu=0.2, sigma=0.7),
    icc=BetaPrior(family="beta", alpha=2.0, beta=1.2),
    capability_icc=BetaPrior(family="beta", alpha=1.5, beta=4.0),
    intercept=NormalPrior(family="normal", mu=-0.3, sigma=1.7),
    further_loading=BetaPrior(family="beta", alpha=2.0, beta=5.0),
)
PRIORS = {"default": DEFAULT, "other": OTHER}


@dataclass(kw_only=True)
class Density:
    """Log density of one graph, and how often a graph was built for it."""

    kind: GraphKind
    graph: pm.Model = field(init=False)
    evaluate: Callable[[Point], float] = field(init=False)

    def __post_init__(self) -> None:
        self.graph = factor_graph(self.kind)
        self.evaluate = self.graph.compile_fn(self.graph.logp(jacobian=False), mode=PLAIN)

    def set(self, data: FactorData, priors: FactorPriors, structure: Structure) -> Callable[[Point], float]:
        """Set data and priors; nothing is built again."""
        numbers = prior_data(priors, structure.anchors, self.kind.n_benchmarks, self.kind.n_further)
        with self.graph:
            pm.set_data(numbers | sampled_data(data.values, data.families, data.noise, structure, self.kind))
        return lambda point: float(self.evaluate(point))


@dataclass(kw_only=True)
class Closed:
    """The same for the density that has factors integrated out, at points in the words of the graphs."""

    kind: GraphKind

    def set(self, data: FactorData, priors: FactorPriors, structure: Structure) -> Callable[[Point], float]:
        """Return the density of the parameters themselves: that of the free ones less the Jacobian.

        Parameters of a graph that this density has no use for come in with their prior.
        """
        problem = problem_of(data, priors, structure)

        def at(point: Point) -> float:
            free, unused = free_point(point, problem), prior_of_unused(point, priors, structure)
            odds = free[np.r_[0:3, 9 : problem.first_cell]]
            jacobian = -np.logaddexp(0, odds) - np.logaddexp(0, -odds)
            return float(log_density(free, problem, np.empty_like(free)) - jacobian.sum() - free[3:6].sum() + unused)

        return at


def free_point(point: Point, problem: Problem) -> FloatArray:
    """The free parameters of the compiled density, in its order."""
    free, k = np.empty(n_free(problem)), len(problem.anchors)
    free[: 3 * k] = np.concatenate([point["loading_unit_logodds__"], point["total_sd_log__"], point["intercept"]])
    if problem.families:
        free[3 * k : 4 * k], free[4 * k] = point["icc_logodds__"], point["capability_icc_logodds__"]
    loaded = problem.places >= 0
    if loaded.any():
        free[problem.places[loaded]] = point["further_unit_logodds__"][:, : problem.places.shape[1]][loaded]
    if len(problem.cells):
        free[problem.first_cell :] = point["missing"]
    return free


def prior_of_unused(point: Point, priors: FactorPriors, plan: Structure) -> float:
    """Log prior of what a graph declares and this structure does not use."""
    total = 0.0
    if "further_unit_logodds__" in point:
        share = special.expit(point["further_unit_logodds__"])
        used = np.zeros(share.shape, dtype=bool)
        used[:, : plan.pattern.shape[1]] = plan.pattern
        total += stats.beta.logpdf(share[~used], priors.further_loading.alpha, priors.further_loading.beta).sum()
    if not plan.families:
        kappa, omega = special.expit(point["icc_logodds__"]), special.expit(point["capability_icc_logodds__"])
        total += stats.beta.logpdf(kappa, priors.icc.alpha, priors.icc.beta).sum()
        total += stats.beta.logpdf(omega, priors.capability_icc.alpha, priors.capability_icc.beta)
    return float(total)


PLAIN_KIND = GraphKind(n_models=9, n_benchmarks=4, n_families=5)
"""Room for two more models, one more benchmark and two more families than the data have."""
RICH_KIND = replace(PLAIN_KIND, n_further=2, noisy=True)
CLOSED_KIND = GraphKind(n_models=7, n_benchmarks=3, n_families=3, n_further=2)
"""Of the points only: the compiled density has no room to spare."""


@pytest.fixture(scope="module")
def plain() -> Density:
    return Density(kind=PLAIN_KIND)


@pytest.fixture(scope="module")
def rich() -> Density:
    return Density(kind=RICH_KIND)


@pytest.fixture(scope="module")
def closed() -> Closed:
    return Closed(kind=CLOSED_KIND)


def tiny_data(*, gaps: bool = False, noise: bool = False) -> FactorData:
    """Seven models, three families, three benchmarks; gaps leave a family unseen on the second benchmark."""
    rng = np.random.default_rng(3)
    values = rng.normal(size=(7, 3))
    error = rng.uniform(0.05, 0.4, size=(7, 3)) if noise else np.zeros((7, 3))
    if gaps:
        values[4:6, 1] = np.nan
        values[0, 2] = np.nan
    return FactorData(values=values, families=np.array([0, 0, 0, 1, 2, 2, 1]), noise=error)


def structure(n_further: int = 0, families: bool = True) -> Structure:
    """Two capability benchmarks and one other; one further factor on both, a second on the first alone."""
    pattern = np.array([[1, 1], [1, 0], [0, 0]], dtype=bool)[:, :n_further]
    return Structure(anchors=np.array([True, True, False]), pattern=pattern, families=families)


def random_point(rng: np.random.Generator, kind: GraphKind, *, latent: bool = True, n_missing: int = 0) -> Point:
    """A point in the space the sampler moves in."""
    k = kind.n_benchmarks
    point: Point = {
        "loading_unit_logodds__": rng.normal(0.5, 1.5, size=k),
        "total_sd_log__": rng.normal(0.0, 0.7, size=k),
        "icc_logodds__": rng.normal(-1.0, 1.5, size=k),
        "capability_icc_logodds__": np.asarray(rng.normal(0.0, 1.5)),
        "intercept": rng.normal(size=k),
    }
    if kind.n_further:
        point["further_unit_logodds__"] = rng.normal(0.0, 1.0, size=(k, kind.n_further))
    if n_missing:
        point["missing"] = rng.normal(size=n_missing)
    if latent:
        point["theta_free"] = rng.normal(size=kind.n_models)
        point["family_free"] = rng.normal(size=kind.n_families)
        if kind.n_further:
            point["further_free"] = rng.normal(size=(kind.n_models, kind.n_further))
    return point


def parameters(point: Mapping[str, FloatArray], plan: Structure, k: int) -> FactorDraws:
    """Parameters of the first k benchmarks as one draw, before the sign rule."""
    rho = 2 * special.expit(point["loading_unit_logodds__"][:k]) - 1
    further = np.zeros((k, plan.pattern.shape[1]))
    left = 1 - rho**2
    for j in range(plan.pattern.shape[1]):
        partial = plan.pattern[:, j] * (2 * special.expit(point["further_unit_logodds__"][:k, j]) - 1)
        further[:, j] = partial * np.sqrt(left)
        left = left - further[:, j] ** 2
    return FactorDraws(
        rho=rho[None],
        total_sd=np.exp(point["total_sd_log__"][None, :k]),
        icc=plan.families * special.expit(point["icc_logodds__"][None, :k]),
        capability_icc=plan.families * special.expit(point["capability_icc_logodds__"])[None],
        intercept=point["intercept"][None, :k],
        further=further[None],
    )


def prior_by_hand(point: Point, priors: FactorPriors, plan: Structure, kind: GraphKind) -> float:
    """Log prior of all variables, padded ones with them, from scipy."""
    unit, n_anchors = special.expit(point["loading_unit_logodds__"]), len(plan.anchors)
    anchors = np.zeros(kind.n_benchmarks, dtype=bool)
    anchors[:n_anchors] = plan.anchors
    turned = unit if (2 * unit - 1)[anchors].sum() >= 0 else 1 - unit
    own = [priors.capability_loading if anchor else priors.loading for anchor in anchors]
    total = sum(stats.beta.logpdf(u, p.alpha, p.beta) for u, p in zip(turned, own, strict=True))
    s, kappa = np.exp(point["total_sd_log__"]), special.expit(point["icc_logodds__"])
    omega = special.expit(point["capability_icc_logodds__"])
    total += stats.lognorm.logpdf(s, priors.total_sd.sigma, scale=np.exp(priors.total_sd.mu)).sum()
    total += stats.beta.logpdf(kappa, priors.icc.alpha, priors.icc.beta).sum()
    total += stats.beta.logpdf(omega, priors.capability_icc.alpha, priors.capability_icc.beta)
    total += stats.norm.logpdf(point["intercept"], priors.intercept.mu, priors.intercept.sigma).sum()
    if "further_unit_logodds__" in point:
        share = special.expit(point["further_unit_logodds__"])
        total += stats.beta.logpdf(share, priors.further_loading.alpha, priors.further_loading.beta).sum()
    for name in ("theta_free", "family_free", "further_free"):
        total += stats.norm.logpdf(point[name]).sum() if name in point else 0.0
    return float(total)


def capability(point: Point, data: FactorData, one: FactorDraws) -> FloatArray:
    omega, n = one.capability_icc[0], len(data.families)
    together = np.sqrt(omega) * point["family_free"][data.families]
    return np.asarray(together + np.sqrt(1 - omega) * point["theta_free"][:n])


def given_capability(point: Point, data: FactorData, plan: Structure) -> float:
    """Log likelihood given capability and further factors: one normal vector per family and benchmark."""
    one, (n, k), total = parameters(point, plan, data.values.shape[1]), data.values.shape, 0.0
    theta = capability(point, data, one)
    factors = theta[:, None]
    if plan.pattern.shape[1]:
        factors = np.column_stack([theta, point["further_free"][:n, : plan.pattern.shape[1]]])
    mean = one.intercept[0] + factors @ one.loadings[0].T
    for b, f in itertools.product(range(k), np.unique(data.families)):
        rows = np.flatnonzero((data.families == f) & np.isfinite(data.values[:, b]))
        if len(rows):
            v, kappa = one.unique[0, b], one.icc[0, b]
            covariance = np.full((len(rows), len(rows)), kappa * v) + np.diag((1 - kappa) * v + data.noise[rows, b])
            total += stats.multivariate_normal.logpdf(data.values[rows, b], mean[rows, b], covariance)
    return float(total)


def without_capability(point: Point, data: FactorData, plan: Structure) -> float:
    """Log likelihood with all latent variables integrated out: one normal vector for all cells."""
    (n, k), one = data.values.shape, parameters(point, plan, data.values.shape[1])
    same = data.families[:, None] == data.families
    theta = one.capability_icc[0] * same + (1 - one.capability_icc[0]) * np.eye(n)
    slope, further = one.loadings[0, :, 0], one.loadings[0, :, 1:]
    residual = np.zeros((n, k, n, k))
    for b in range(k):
        v, kappa = one.unique[0, b], one.icc[0, b]
        residual[:, b, :, b] = kappa * v * same + (1 - kappa) * v * np.eye(n)
    covariance = np.einsum("mn,b,c->mbnc", theta, slope, slope) + residual
    covariance += np.einsum("mn,bj,cj->mbnc", np.eye(n), further, further)
    mean = np.broadcast_to(one.intercept[0], (n, k)).ravel()
    return float(stats.multivariate_normal.logpdf(data.values.ravel(), mean, covariance.reshape(n * k, n * k)))


CASES = {
    "complete": ("plain", {}, {}),
    "gaps": ("plain", {"gaps": True}, {}),
    "no families": ("plain", {"gaps": True}, {"families": False}),
    "noise": ("rich", {"gaps": True, "noise": True}, {}),
    "noise, no families": ("rich", {"noise": True}, {"families": False}),
    "one further factor of two": ("rich", {"gaps": True}, {"n_further": 1}),
    "two further factors": ("rich", {}, {"n_further": 2}),
    "two further factors, noise": ("rich", {"gaps": True, "noise": True}, {"n_further": 2}),
    "integrated": ("closed", {}, {}),
    "integrated, no families": ("closed", {}, {"families": False}),
    "integrated, one further factor of two": ("closed", {}, {"n_further": 1}),
    "integrated, two further factors": ("closed", {}, {"n_further": 2}),
    "integrated, two further factors, no families": ("closed", {}, {"n_further": 2, "families": False}),
}


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS.keys())
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_density_equals_explicit_normals(
    case: tuple[str, dict[str, bool], dict[str, int]], priors: FactorPriors, request: pytest.FixtureRequest
) -> None:
    density: Density | Closed = request.getfixturevalue(case[0])
    data, plan = tiny_data(**case[1]), structure(**case[2])
    found = density.set(data, priors, plan)
    rng = np.random.default_rng(7)
    integrated = isinstance(density, Closed)
    points = [random_point(rng, density.kind, latent=not integrated) for _ in range(6)]
    points += [{**p, "loading_unit_logodds__": -p["loading_unit_logodds__"]} for p in points[:3]]
    likelihood = without_capability if integrated else given_capability
    got = np.array([found(p) for p in points])
    expected = np.array([prior_by_hand(p, priors, plan, density.kind) + likelihood(p, data, plan) for p in points])
    np.testing.assert_allclose(np.diff(got), np.diff(expected), rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(got, expected, rtol=0, atol=CONSTANTS)


def test_numbers_change_without_building_anew(rich: Density, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number of each prior, the data and the families reach a density that was compiled before."""
    monkeypatch.setattr(pm, "Model", None)
    data, plan, point = tiny_data(), structure(), random_point(np.random.default_rng(5), RICH_KIND)
    other = replace(data, values=data.values + 0.1)
    seen = {rich.set(data, DEFAULT, plan)(point), rich.set(other, DEFAULT, plan)(point)}
    seen.add(rich.set(data, DEFAULT, structure(families=False))(point))
    names = ("capability_loading", "loading", "total_sd", "icc", "capability_icc", "intercept", "further_loading")
    for name in names:
        prior = getattr(DEFAULT, name)
        for number in set(type(prior).model_fields) - {"family", "reason"}:
            moved = prior.model_copy(update={number: getattr(prior, number) + 0.25})
            seen.add(rich.set(data, DEFAULT.model_copy(update={name: moved}), plan)(point))
    assert len(seen) == 3 + 2 * len(names)


def test_padding_follows_the_prior_and_nothing_else(rich: Density) -> None:
    """Moving all that is padded changes the density by its prior alone, under a prior that would show it."""
    density = rich
    data, rng = tiny_data(), np.random.default_rng(8)
    plan = structure(n_further=1)
    found = density.set(data, OTHER, plan)
    point, other = random_point(rng, density.kind), random_point(rng, density.kind)
    moved = {key: values.copy() for key, values in point.items()}
    for key, values in moved.items():
        start = {"theta_free": 7, "family_free": 3, "further_free": 7}.get(key, 3)
        if values.ndim:
            values[start:] = other[key][start:]
        if key in ("further_unit_logodds__", "further_free"):
            values[:, 1] = other[key][:, 1]
    prior = [prior_by_hand(p, OTHER, plan, density.kind) for p in (point, moved)]
    assert abs(prior[1] - prior[0]) > 1
    assert found(moved) - found(point) == pytest.approx(prior[1] - prior[0], abs=ROUNDING)


def test_without_scores_the_density_is_the_prior(plain: Density) -> None:
    data = tiny_data()
    blank = replace(data, values=np.full_like(data.values, np.nan))
    point = random_point(np.random.default_rng(8), PLAIN_KIND)
    expected = prior_by_hand(point, OTHER, structure(), PLAIN_KIND)
    assert plain.set(blank, OTHER, structure())(point) == pytest.approx(expected, abs=CONSTANTS)


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS.keys())
@pytest.mark.parametrize("name", ["plain", "rich", "closed"])
def test_density_is_symmetric_under_a_joint_change_of_sign(
    name: str, priors: FactorPriors, request: pytest.FixtureRequest
) -> None:
    """This is what makes turning each draw exact, under priors that are not symmetric themselves."""
    density: Density | Closed = request.getfixturevalue(name)
    found = density.set(tiny_data(gaps=name != "closed"), priors, structure(n_further=density.kind.n_further))
    point = random_point(np.random.default_rng(9), density.kind, latent=name != "closed")
    turned = {"loading_unit_logodds__", "theta_free", "family_free"} & set(point)
    mirrored = {key: -values if key in turned else values for key, values in point.items()}
    assert found(mirrored) == pytest.approx(found(point), abs=ROUNDING)
    lone = {**point, "loading_unit_logodds__": -point["loading_unit_logodds__"]}
    if name != "closed":
        assert abs(found(lone) - found(point)) > 100 * ROUNDING


def latent_names(kind: GraphKind) -> list[str]:
    return ["theta_free", "family_free", *(["further_free"] if kind.n_further else [])]


def latent_normal(found: Callable[[Point], float], point: Point, names: list[str]) -> tuple[float, FloatArray, Point]:
    """Integrate a density over its latent variables, in which it is exactly normal, from its values alone.

    Returns the log integral, the covariance of the latent variables, and the point with their mean put in.
    """
    shapes = [point[name].shape for name in names]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    d = int(ends[-1])

    def at(z: FloatArray) -> Point:
        parts = np.split(z, ends[:-1])
        return {**point, **{n: p.reshape(s) for n, p, s in zip(names, parts, shapes, strict=True)}}

    eye, zero = np.eye(d), found(at(np.zeros(d)))
    up, down = (np.array([found(at(sign * row)) for row in eye]) for sign in (1.0, -1.0))
    hessian = np.diag(up + down - 2 * zero)
    for i, j in itertools.combinations(range(d), 2):
        hessian[i, j] = hessian[j, i] = found(at(eye[i] + eye[j])) - up[i] - up[j] + zero
    covariance = np.linalg.inv(-hessian)
    mean = covariance @ (up - down) / 2
    log_integral = found(at(mean)) + d / 2 * np.log(2 * np.pi) + np.linalg.slogdet(covariance)[1] / 2
    return log_integral, covariance, at(mean)


def third_opinion(point: Point, data: FactorData, priors: FactorPriors, plan: Structure) -> float:
    """Log density of the parameters and the scores from `safetystats.inference.marginal`, without padding.

    Its priors are those of correlations, the graphs' those of (correlation + 1) / 2: log 2 for each.
    """
    one = parameters(point, plan, data.values.shape[1])
    terms = log_prior_terms(one, priors, plan.anchors).values()
    halved = data.values.shape[1] + int(plan.pattern.sum())
    return float(sum(term[0] for term in terms) + family_log_likelihood(one, data).sum() + halved * np.log(2))


def positive(point: Point) -> Point:
    """The same point on the side of the sign rule where the priors are stated."""
    return {**point, "loading_unit_logodds__": np.abs(point["loading_unit_logodds__"])}


@pytest.fixture(scope="module")
def tight() -> dict[str, Density | Closed]:
    """Graphs without padding, so that all three opinions are about the same variables."""
    size = GraphKind(n_models=7, n_benchmarks=3, n_families=3)
    more = replace(size, n_further=1)
    return {
        "closed": Closed(kind=size),
        "plain": Density(kind=size),
        "closed, two factors": Closed(kind=more),
        "rich": Density(kind=replace(more, noisy=True)),
    }


@pytest.fixture(scope="module")
def areas() -> tuple[Density, Closed]:
    """Two factors, in which tests put benchmarks of different areas."""
    kind = replace(CLOSED_KIND)
    return Density(kind=kind), Closed(kind=kind)


TWO_AREAS = Structure(
    anchors=np.array([True, True, False]), pattern=np.array([[True, False], [False, True], [True, False]])
)
TWO_FACTORS = Structure(anchors=np.array([True, True, False]), pattern=np.array([[True], [True], [True]]))


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS.keys())
@pytest.mark.parametrize(
    ("names", "plan"),
    [(("plain", "closed"), structure()), (("rich", "closed, two factors"), TWO_FACTORS)],
    ids=["one factor", "two factors"],
)
def test_two_evaluators_have_one_posterior(
    tight: dict[str, Density | Closed], names: tuple[str, str], plan: Structure, priors: FactorPriors
) -> None:
    """The sampled density integrated over the factors is the integrated density, and both are the marginal density."""
    data, kind = tiny_data(), tight[names[0]].kind
    sampled, closed = (tight[name].set(data, priors, plan) for name in names)
    rng = np.random.default_rng(12)
    for _ in range(3):
        point = positive(random_point(rng, kind))
        log_integral, _, _ = latent_normal(sampled, point, latent_names(kind))
        own = closed({key: values for key, values in point.items() if key not in latent_names(kind)})
        assert log_integral == pytest.approx(own, abs=CONSTANTS)
        assert own == pytest.approx(third_opinion(point, data, priors, plan), abs=CONSTANTS)


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS.keys())
def test_factors_without_a_benchmark_in_common_have_the_marginal_density(
    areas: tuple[Density, Closed], priors: FactorPriors
) -> None:
    """Both densities of area factors against the one that knows nothing of areas, with gaps and without."""
    rng, (graph, closed) = np.random.default_rng(19), areas
    for _ in range(2):
        point = positive(random_point(rng, closed.kind, n_missing=3))
        # In the graph a benchmark has a variable for every factor, which follows its prior where it does not load.
        spare = prior_of_unused(point, priors, TWO_AREAS)
        own = closed.set(tiny_data(), priors, TWO_AREAS)(point)
        assert own - spare == pytest.approx(third_opinion(point, tiny_data(), priors, TWO_AREAS), abs=ROUNDING)

        gaps = tiny_data(gaps=True)
        expected = third_opinion(point, gaps, priors, TWO_AREAS) + spare
        log_integral, _, _ = latent_normal(closed.set(gaps, priors, TWO_AREAS), point, ["missing"])
        assert log_integral == pytest.approx(expected, abs=CONSTANTS)

        del point["missing"]
        log_integral, _, _ = latent_normal(graph.set(gaps, priors, TWO_AREAS), point, latent_names(graph.kind))
        assert log_integral == pytest.approx(expected, abs=CONSTANTS)


@pytest.mark.parametrize("asked", [{"gaps": True}, {"gaps": True, "noise": True}], ids=["gaps", "gaps and noise"])
def test_sampled_factors_integrate_to_the_marginal_density(
    tight: dict[str, Density | Closed], asked: dict[str, bool]
) -> None:
    data, kind = tiny_data(**asked), tight["rich"].kind
    found = tight["rich"].set(data, OTHER, TWO_FACTORS)
    point = positive(random_point(np.random.default_rng(13), kind))
    log_integral, _, _ = latent_normal(found, point, latent_names(kind))
    assert log_integral == pytest.approx(third_opinion(point, data, OTHER, TWO_FACTORS), abs=CONSTANTS)


@pytest.mark.parametrize("priors", PRIORS.values(), ids=PRIORS.keys())
@pytest.mark.parametrize(
    "plan", [TWO_FACTORS, replace(TWO_FACTORS, families=False)], ids=["two factors", "two factors, no families"]
)
def test_missing_cells_integrate_to_the_density_of_the_observed_ones(
    tight: dict[str, Density | Closed], plan: Structure, priors: FactorPriors
) -> None:
    data, closed = tiny_data(gaps=True), tight["closed, two factors"]
    point = positive(random_point(np.random.default_rng(16), closed.kind, latent=False, n_missing=3))
    log_integral, _, filled = latent_normal(closed.set(data, priors, plan), point, ["missing"])
    expected = third_opinion(point, data, priors, plan) + prior_of_unused(point, priors, plan)
    assert log_integral == pytest.approx(expected, abs=CONSTANTS)
    assert (np.abs(filled["missing"]) > 1e-3).all()


@pytest.mark.parametrize(
    ("name", "plan"),
    [("plain", structure()), ("plain", structure(families=False)), ("rich", TWO_FACTORS)],
    ids=["one factor", "no families", "two factors"],
)
def test_capability_is_drawn_from_its_exact_conditional_distribution(
    tight: dict[str, Density | Closed], name: str, plan: Structure
) -> None:
    """Mean and covariance of draws against those of the sampled graph, at two points taken in turn."""
    data, kind = tiny_data(), tight[name].kind
    found = tight[name].set(data, DEFAULT, plan)
    rng, times = np.random.default_rng(14), 40_000
    points = [positive(random_point(rng, kind)) for _ in range(2)]
    singles = [parameters(point, plan, 3) for point in points]
    fields = ("rho", "total_sd", "icc", "capability_icc", "intercept", "further")
    both = FactorDraws(**{each: np.concatenate([getattr(one, each) for one in singles]) for each in fields})
    drawn = draw_capability(repeated(both, times), data, np.random.default_rng(15)).reshape(2, times, 7)
    for one, point, theta in zip(singles, points, drawn, strict=True):
        _, covariance, mean = latent_normal(found, point, latent_names(kind))
        omega = one.capability_icc[0]
        turn = np.hstack([np.sqrt(1 - omega) * np.eye(7), np.sqrt(omega) * np.eye(3)[data.families]])
        exact = turn @ covariance[:10, :10] @ turn.T  # theta_free and family_free come first
        sd = np.sqrt(np.diag(exact))
        # Five Monte Carlo errors of 40 000 independent draws, each in units of the exact sd.
        limit = 5 / np.sqrt(times)
        assert (np.abs(theta.mean(0) - capability(mean, data, one)) < limit * sd).all()
        gap = np.abs(np.cov(theta.T) - exact) / np.outer(sd, sd)
        assert (gap < np.sqrt(2) * limit).all()
        related = (np.abs(exact / np.outer(sd, sd) - np.eye(7)) > 10 * limit).any()
        assert related == plan.families


def test_capability_is_not_drawn_where_its_distribution_is_another() -> None:
    one = parameters(random_point(np.random.default_rng(1), RICH_KIND), structure(), 3)
    for given in (tiny_data(gaps=True), tiny_data(noise=True)):
        with pytest.raises(ValueError, match="needs complete data, or draws of what is missing, and no known"):
            draw_capability(one, given, np.random.default_rng(2))


@pytest.mark.parametrize("name", ["plain", "rich"])
def test_gradient_is_finite_far_out(name: str, request: pytest.FixtureRequest) -> None:
    density: Density = request.getfixturevalue(name)
    density.set(tiny_data(gaps=True), OTHER, structure(n_further=density.kind.n_further))
    gradient = density.graph.compile_fn(density.graph.dlogp(), mode=Mode(linker="py", optimizer=None))
    start = random_point(np.random.default_rng(3), density.kind)
    for loading, log_sd, icc, omega in itertools.product((-25.0, 25.0), (-8.0, 8.0), (-25.0, 25.0), (-25.0, 25.0)):
        point = {
            **{key: 3 * values for key, values in start.items()},
            "loading_unit_logodds__": np.full(4, loading),
            "total_sd_log__": np.full(4, log_sd),
            "icc_logodds__": np.full(4, icc),
            "capability_icc_logodds__": np.asarray(omega),
            "intercept": np.full(4, 10.0),
        }
        assert np.isfinite(gradient(point)).all(), (loading, log_sd, icc, omega)


def test_tilted_prior_equals_importance_sampling_under_the_constraint() -> None:
    """A tiny problem: the graph's density and the sign rule against the prior cut to sum(rho) > 0."""
    priors = DEFAULT.model_copy(update={"capability_loading": BetaPrior(family="beta", alpha=3.0, beta=1.5)})
    values, families = np.array([[-1.2, 0.9], [0.1, -0.4], [1.1, 0.3]]), np.array([0, 0, 1])
    data = FactorData(values=values, families=families, noise=np.zeros((3, 2)))
    plan = Structure(anchors=np.ones(2, dtype=bool), pattern=np.zeros((2, 0), dtype=bool))
    problem = problem_of(data, priors, plan)
    rng, same = np.random.default_rng(21), families[:, None] == families

    def draw(n: int, a: float, b: float) -> dict[str, FloatArray]:
        own = priors.total_sd, priors.icc
        return {
            "unit": rng.beta(a, b, size=(n, 2)),
            "s": rng.lognormal(own[0].mu, own[0].sigma, size=(n, 2)),
            "kappa": rng.beta(own[1].alpha, own[1].beta, size=(n, 2)),
            "omega": rng.uniform(size=n),
            "alpha": rng.normal(size=(n, 2)),
        }

    def likelihood(p: dict[str, FloatArray]) -> FloatArray:
        """Log likelihood given capability, which is drawn from its prior."""
        n, omega = len(p["unit"]), p["omega"][:, None]
        theta = np.sqrt(omega) * rng.normal(size=(n, 2))[:, families] + np.sqrt(1 - omega) * rng.normal(size=(n, 3))
        rho, total = 2 * p["unit"] - 1, np.zeros(n)
        for b in range(2):
            unique, kappa = p["s"][:, b] ** 2 * (1 - rho[:, b] ** 2), p["kappa"][:, b]
            error = values[:, b] - p["alpha"][:, [b]] - (p["s"] * rho)[:, [b]] * theta
            cov = unique[:, None, None] * (kappa[:, None, None] * same + (1 - kappa)[:, None, None] * np.eye(3))
            total += -0.5 * (
                np.linalg.slogdet(cov)[1] + (error * np.linalg.solve(cov, error[..., None])[..., 0]).sum(1)
            )
        return np.asarray(total)

    def estimate(rho: FloatArray, log_weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        w = np.exp(log_weight - log_weight.max())
        w /= w.sum()
        mean = w @ rho
        return mean, np.sqrt((w**2) @ (rho - mean) ** 2)

    brute = draw(100_000, 3.0, 1.5)
    rho = 2 * brute["unit"] - 1
    kept = rho.sum(1) > 0
    expected, error = estimate(rho[kept], likelihood(brute)[kept])

    n = 1500
    start = draw(n, 2.0, 2.0)
    proposal = stats.beta.logpdf(start["unit"], 2, 2).sum(1)
    density = np.empty(n)
    for i in range(n):
        point = {
            "loading_unit_logodds__": special.logit(start["unit"][i]),
            "total_sd_log__": np.log(start["s"][i]),
            "icc_logodds__": special.logit(start["kappa"][i]),
            "capability_icc_logodds__": np.asarray(special.logit(start["omega"][i])),
            "intercept": start["alpha"][i],
        }
        # Priors that were drawn from cancel against the proposal.
        drawn_from = stats.lognorm.logpdf(start["s"][i], priors.total_sd.sigma).sum()
        drawn_from += stats.beta.logpdf(start["kappa"][i], priors.icc.alpha, priors.icc.beta).sum()
        drawn_from += stats.norm.logpdf(start["alpha"][i]).sum()
        free = free_point(point, problem)
        # That of the parameters themselves: less the Jacobian of logits and logarithms.
        odds = free[[0, 1, 6, 7, 8]]
        jacobian = -np.logaddexp(0, odds).sum() - np.logaddexp(0, -odds).sum() + free[2:4].sum()
        density[i] = log_density(free, problem, np.empty_like(free)) - jacobian - drawn_from
    rhos = 2 * start["unit"] - 1
    turned = np.where(rhos.sum(1) >= 0, 1.0, -1.0)[:, None] * rhos
    got, own = estimate(turned, density - proposal)
    assert (own < 0.05).all()
    np.testing.assert_array_less(np.abs(got - expected), 4 * np.hypot(own, error))


def test_data_that_do_not_fit_are_refused() -> None:
    kind = GraphKind(n_models=3, n_benchmarks=2, n_families=2)
    families, good, none = np.array([0, 1, 1]), np.zeros((3, 2)), np.zeros((3, 2))

    def plan(k: int, n_further: int = 0) -> Structure:
        return Structure(anchors=np.ones(k, dtype=bool), pattern=np.ones((k, n_further), dtype=bool))

    assert sampled_data(good, families, none, plan(2), kind)["counts"].tolist() == [[1, 1], [2, 2]]
    for values, codes in (
        (np.zeros((4, 2)), np.zeros(4, dtype=int)),
        (np.zeros((3, 3)), families),
        (good, np.array([0, 1, 2])),
    ):
        with pytest.raises(ValueError, match="do not fit into"):
            sampled_data(values, codes, np.zeros_like(values), plan(values.shape[1]), kind)
    for pattern, noise in ((plan(2, 1), none), (plan(2), none + 0.1)):
        with pytest.raises(ValueError, match="sampling error or further factors do not fit into"):
            sampled_data(good, families, noise, pattern, kind)
    with pytest.raises(ValueError, match="only where scores have no known sampling error"):
        problem_of(FactorData(values=good, families=families, noise=none + 0.1), DEFAULT, plan(2))
