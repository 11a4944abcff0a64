"""The paired posterior of two classes: its likelihood, its invariances, and NUTS on the joint model."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from factor_data import REFERENCE, FloatArray, default_spec
from scipy import stats

from safetystats.inference.cut import CutDraws, cut_posterior, icc_grid
from safetystats.inference.paired import PairedDraws, paired_posterior, psi_nodes, side_of
from safetystats.inference.paired_likelihood import Side, grid_spectra, links, log_ratios
from safetystats.inference.problems import family_codes
from safetystats.specs import BetaPrior, CutPlan, Gates, PairedPlan, read_study
from safetystats.summaries.plan import plan_study

EXACT = 1e-9
"""Two ways to one number, by factorisations of matrices of a few rows."""
GATES = Gates(ess=1.0)
N_THETA, EACH = 6, 16
FAMILIES = ("A", "A", "A", "B", "B", "C", "D")
CHAT_FAMILIES = ("A", "A", "B", "A", "C", "E")


def labels(*names: str) -> np.ndarray:
    return np.array(names, dtype=object)


def made_side(seed: int, families: tuple[str, ...], lineages: np.ndarray, noisy: bool = False) -> Side:
    rng = np.random.default_rng(seed)
    shape, n = (N_THETA, EACH), len(families)
    return Side(
        rho=rng.uniform(-0.9, 0.9, shape),
        icc=rng.choice([0.1, 0.3, 0.6], shape),
        residual=rng.standard_normal((*shape, n)),
        noise=rng.uniform(0.0, 0.4, (*shape, n)) if noisy else None,
        families=labels(*families),
        lineages=lineages,
    )


def base(noisy: bool = False) -> Side:
    return made_side(1, FAMILIES, labels(*"abcdefg"), noisy)


def chat(noisy: bool = False) -> Side:
    """Two models of lineage a, one of them in another family than the base model; one lineage of its own."""
    return made_side(2, CHAT_FAMILIES, labels("a", "b", "a", "c", "f", "z"), noisy)


def covariance(side: Side, place: tuple[int, int]) -> FloatArray:
    """Residual covariance of a draw over v, cell by cell."""
    n, kappa = len(side.families), side.icc[place]
    found = np.array(
        [[kappa * (side.families[i] == side.families[j]) + (1 - kappa) * (i == j) for j in range(n)] for i in range(n)]
    )
    return found if side.noise is None else found + np.diag(side.noise[place])


def joint_covariance(a: Side, b: Side, one: tuple[int, int], two: tuple[int, int], psi: float) -> FloatArray:
    cross = np.zeros((len(a.families), len(b.families)))
    linked = {
        a.families[i]
        for i in range(len(a.families))
        for j in range(len(b.families))
        if a.lineages[i] == b.lineages[j] and a.families[i] == b.families[j]
    }
    for i, j in np.ndindex(*cross.shape):
        if a.families[i] == b.families[j] and a.families[i] in linked:
            cross[i, j] += np.sqrt(a.icc[one] * b.icc[two])
        if a.lineages[i] == b.lineages[j]:
            sizes = list(a.lineages).count(a.lineages[i]) * list(b.lineages).count(b.lineages[j])
            cross[i, j] += np.sqrt((1 - a.icc[one]) * (1 - b.icc[two]) / sizes)
    return np.block([[covariance(a, one), psi * cross], [psi * cross.T, covariance(b, two)]])


@pytest.mark.parametrize("noisy", [(False, False), (True, True), (False, True)])
def test_the_likelihood_is_that_of_the_joint_normal(noisy: tuple[bool, bool]) -> None:
    a, b = chat(noisy[0]), base(noisy[1])
    places = np.indices((N_THETA, EACH)).reshape(2, -1)
    theta, own = places[0], places[1]
    other = (own + 3) % EACH
    psi = np.array([-0.95, -0.3, 0.0, 0.5, 0.99])
    found = log_ratios(a, b, (theta, own), (theta, other), psi, None)
    for d in (0, 17, 41, 95):
        one, two = (int(theta[d]), int(own[d])), (int(theta[d]), int(other[d]))
        y = np.concatenate([a.residual[one], b.residual[two]])
        wanted = [stats.multivariate_normal(cov=joint_covariance(a, b, one, two, p)).logpdf(y) for p in (0.0, *psi)]
        np.testing.assert_allclose(found[d], np.array(wanted[1:]) - wanted[0], rtol=0, atol=EXACT)


def test_spectra_of_the_grid_give_the_same_as_those_of_the_draws() -> None:
    a, b = chat(), base()
    rows = tuple(np.indices((N_THETA, EACH)).reshape(2, -1))
    known = grid_spectra(a, b, np.array([0.1, 0.3, 0.6]))
    psi = np.array([-0.5, 0.7])
    np.testing.assert_allclose(
        log_ratios(a, b, rows, rows, psi, known), log_ratios(a, b, rows, rows, psi, None), rtol=0, atol=EXACT
    )


def test_links_count_lineages_and_leave_out_families_without_one_in_common() -> None:
    a, b = chat(), base()
    link = links(a.families, a.lineages, b.families, b.lineages)
    assert link.n_pairs == 4  # a, b, c, f
    assert link.lineage[0, 0] == pytest.approx(np.sqrt(0.5))  # one base and two chat models of lineage a
    assert link.lineage[1, 1] == 1.0
    # Family B stands in both classes, but lineage a reaches it from family A only.
    assert not link.family[2].any()
    np.testing.assert_array_equal(link.family[0], [1, 1, 1, 0, 0, 0, 0])
    assert np.linalg.svd(link.lineage)[1].max() <= 1 + EXACT


def test_exchanging_the_classes_turns_the_sign() -> None:
    a, b = chat(), base()
    forth, back = (paired_posterior(x, y, PairedPlan(), Gates(ess=1e9)) for x, y in ((a, b), (b, a)))
    order = [np.lexsort((d.rho_a - d.rho_b, d.weight)) for d in (forth, back)]
    assert forth.weight @ forth.delta == pytest.approx(-(back.weight @ back.delta), abs=EXACT)
    assert forth.weight @ forth.delta**2 == pytest.approx(back.weight @ back.delta**2, abs=EXACT)
    np.testing.assert_allclose(forth.weight[order[0]], back.weight[order[1]], rtol=0, atol=EXACT)
    np.testing.assert_allclose(forth.psi_mass, back.psi_mass, rtol=0, atol=EXACT)


def test_the_order_of_the_models_does_not_matter() -> None:
    a, b = chat(), base()
    order = np.array([3, 1, 0, 5, 4, 2])
    moved = replace(a, residual=a.residual[..., order], families=a.families[order], lineages=a.lineages[order])
    one, two = (paired_posterior(x, b, PairedPlan(), GATES) for x in (a, moved))
    np.testing.assert_allclose(one.weight, two.weight, rtol=0, atol=EXACT)
    np.testing.assert_array_equal(one.rho_a, two.rho_a)


def test_without_a_common_lineage_the_answer_is_the_unpaired_one() -> None:
    a = replace(chat(), lineages=labels(*"uvwxyz"))
    b = base()
    found = paired_posterior(a, b, PairedPlan(), GATES)
    np.testing.assert_array_equal(found.delta, (a.rho - b.rho).ravel())
    assert np.ptp(found.weight) == 0
    assert found.n_pairs == 0
    assert np.isnan(found.pareto_k)


def test_a_prior_of_psi_at_nought_gives_the_unpaired_answer() -> None:
    a, b = chat(), base()
    plan = PairedPlan(pairing=BetaPrior(family="beta", alpha=1e10, beta=1e10))
    found = paired_posterior(a, b, plan, GATES)
    np.testing.assert_allclose(found.weight, 1 / found.weight.size, rtol=1e-3)
    assert found.weight @ found.delta == pytest.approx((a.rho - b.rho).mean(), abs=1e-4)
    assert abs(found.psi_mean) < 1e-4


def test_every_capability_draw_keeps_its_weight() -> None:
    found = paired_posterior(chat(), base(), PairedPlan(), GATES)
    share = found.weight.reshape(-1, N_THETA, EACH).sum(axis=(0, 2))
    np.testing.assert_allclose(share, 1 / N_THETA, rtol=0, atol=EXACT)


def test_more_matchings_are_made_where_weights_are_poor() -> None:
    poor = paired_posterior(chat(), base(), PairedPlan(), Gates(ess=1e9))
    assert len(poor.weight) == 9 * N_THETA * EACH
    assert poor.effective <= N_THETA * EACH


def test_draws_of_different_number_are_refused() -> None:
    a = chat()
    short = replace(a, rho=a.rho[:3], icc=a.icc[:3], residual=a.residual[:3])
    with pytest.raises(ValueError, match="cannot be matched"):
        paired_posterior(short, base(), PairedPlan(), GATES)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 1.0), (3.0, 1.5)])
def test_nodes_integrate_the_prior_of_psi(alpha: float, beta: float) -> None:
    nodes = psi_nodes(PairedPlan(pairing=BetaPrior(family="beta", alpha=alpha, beta=beta)))
    mass = np.exp(nodes.log_mass)
    prior = stats.beta(alpha, beta, loc=-1, scale=2)
    assert mass.sum() == pytest.approx(1, abs=EXACT)
    assert mass @ nodes.psi == pytest.approx(prior.mean(), abs=1e-5)
    assert mass @ nodes.psi**2 == pytest.approx(
        prior.moment(2), abs=1e-4
    )  # not a polynomial of the distribution function
    np.testing.assert_allclose(prior.cdf(nodes.edges), np.concatenate([[0], np.cumsum(mass)]), rtol=0, atol=1e-9)


def drawn_sides(
    scores: list[FloatArray], theta: list[FloatArray], codes: list[np.ndarray], lineages: list[np.ndarray], each: int
) -> list[Side]:
    sides = []
    for place, (y, x, code, lineage) in enumerate(zip(scores, theta, codes, lineages, strict=True)):
        draws = cut_posterior(
            y[:, None], x, code, default_spec().priors, CutPlan(candidates=16 * each),
            [np.random.default_rng([3, place])], each=each,
        )[0]  # fmt: skip
        assert isinstance(draws, CutDraws)
        sides.append(side_of(y, x, draws, np.array([f"f{k}" for k in code], dtype=object), lineage))
    return sides


def test_psi_is_recovered_and_pairing_narrows_the_difference() -> None:
    """90 pairs with capabilities that correlate by 0.9 and residuals that do by 0.8."""
    rng = np.random.default_rng(12)
    n, psi, rho = 90, 0.8, np.array([0.5, 0.3])
    code = np.arange(n) // 3
    theta = rng.multivariate_normal([0, 0], [[1, 0.9], [0.9, 1]], n)
    parts = [rng.multivariate_normal([0, 0], [[1, psi], [psi, 1]], size) for size in (30, n)]
    y = rho * theta + np.sqrt(1 - rho**2) * (np.sqrt(0.3) * parts[0][code] + np.sqrt(0.7) * parts[1])
    lineage = np.array([f"l{k}" for k in range(n)], dtype=object)
    a, b = drawn_sides(list(y.T), [np.tile(x, (12, 1)) for x in theta.T], [code] * 2, [lineage] * 2, 48)
    found = paired_posterior(a, b, PairedPlan(), Gates())
    lower, upper = found.psi_quantiles((0.001, 0.999))  # of one sample: an interval that all but always covers
    assert lower < psi < upper
    lower, upper = found.psi_quantiles((0.025, 0.975))
    assert lower < np.corrcoef(parts[1].T)[0, 1] < upper  # what psi came to in this sample: 0.72
    assert upper - lower < 0.3
    mean = found.weight @ found.delta
    sd = np.sqrt(found.weight @ (found.delta - mean) ** 2)
    assert sd < 0.65 * (a.rho - b.rho).std()  # the errors correlate by about 0.7, hence sqrt(1 - 0.7) = 0.55
    assert abs(mean - 0.2) < 3 * sd


def test_several_draws_of_one_capability_follow_the_posterior_of_one() -> None:
    rng = np.random.default_rng(5)
    n, each = 20, 25
    theta = np.tile(rng.standard_normal((8, n)), (1, 1))
    y = 0.6 * theta.mean(axis=0) + rng.standard_normal(n)
    code = np.arange(n) // 4
    priors = default_spec().priors
    many = cut_posterior(
        y[:, None], theta, code, priors, CutPlan(candidates=400), [np.random.default_rng(1)], each=each
    )[0]
    once = cut_posterior(
        y[:, None], np.repeat(theta, 400, axis=0), code, priors, CutPlan(), [np.random.default_rng(2)]
    )[0]
    assert many is not None
    assert once is not None
    assert many.rho.shape == (8 * each,)
    assert many.log_marginal.shape == (8,)
    # 200 draws, of which those of one theta share candidates: four errors of 120 independent draws with sd 0.2.
    assert many.rho.mean() == pytest.approx(once.rho.mean(), abs=4 * 0.2 / np.sqrt(120))
    assert many.icc.mean() == pytest.approx(once.icc.mean(), abs=4 * 0.17 / np.sqrt(120))
    by_theta = once.rho.reshape(8, -1)
    gap = np.abs(many.rho.reshape(8, -1).mean(axis=1) - by_theta.mean(axis=1))
    assert gap.max() < 4 * by_theta.std(axis=1).max() / np.sqrt(15)


COPIES_EACH = 32
REPEATED = 12
"""Capability draws for every fixed vector, with as many draws of the parameters each: 12 * 32 * 8 in all."""
MEAN, SPREAD, ENDS = 0.02, 0.07, 0.05
"""Of sds of 0.13 to 0.2 with some 1000 effective draws: four errors of a mean, a sd (relative), an interval end."""


@pytest.fixture(scope="module")
def against_nuts() -> dict[str, PairedDraws]:
    sys.path.insert(0, str(REFERENCE))
    try:
        from paired_by_nuts import BENCHMARKS, CLASSES, capabilities
    finally:
        sys.path.remove(str(REFERENCE))
    prepared = plan_study("helm-classic", read_study("helm-classic")).prepared
    spec = default_spec()
    sides: dict[str, list[Side]] = {}
    for place, label in enumerate(CLASSES):
        part = prepared.select(model_class=label)
        theta = np.repeat(capabilities(part, place), REPEATED, axis=0)
        y = part.matrix(BENCHMARKS)
        found = cut_posterior(
            y, theta, family_codes(part), spec.priors, CutPlan(candidates=16 * COPIES_EACH),
            [np.random.default_rng([7, place, i]) for i in range(len(BENCHMARKS))], each=COPIES_EACH,
        )  # fmt: skip
        about = [part.models[name].to_numpy(dtype=object) for name in ("family", "lineage")]
        sides[label] = [side_of(y[:, i], theta, d, *about) for i, d in enumerate(found) if d is not None]
    grid = icc_grid(spec.priors, spec.cut.icc_cells)[0]
    return {
        name: paired_posterior(a, b, PairedPlan(), Gates(), grid_spectra(a, b, grid))
        for name, a, b in zip(BENCHMARKS, *(sides[label] for label in CLASSES), strict=True)
    }


def test_the_joint_model_sampled_by_nuts_agrees(against_nuts: dict[str, PairedDraws]) -> None:
    rows = pd.read_csv(REFERENCE / "paired_by_nuts.csv", comment="#").set_index(["benchmark", "quantity"])
    assert set(rows.index.get_level_values(0)) == set(against_nuts)
    for name, found in against_nuts.items():
        assert found.pareto_k < 0.7
        for quantity, draws in (("rho_a", found.rho_a), ("rho_b", found.rho_b), ("delta", found.delta)):
            row = rows.loc[(name, quantity)]
            mean = found.weight @ draws
            assert mean == pytest.approx(row["mean"], abs=MEAN), (name, quantity)
            assert np.sqrt(found.weight @ (draws - mean) ** 2) == pytest.approx(row["sd"], rel=SPREAD), (name, quantity)
            ends = np.quantile(draws, [0.025, 0.975], weights=found.weight, method="inverted_cdf")
            np.testing.assert_allclose(ends, row[["q025", "q975"]].astype(float), rtol=0, atol=ENDS, err_msg=name)
        row = rows.loc[(name, "psi")]
        assert found.psi_mean == pytest.approx(row["mean"], abs=MEAN)
        quantiles = found.psi_quantiles((0.025, 0.5, 0.975))
        np.testing.assert_allclose(quantiles, row[["q025", "q50", "q975"]].astype(float), rtol=0, atol=ENDS)
