"""The specifications of a class: which there are, that each is what it says, and that finished ones are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factor_data import default_spec
from scipy import stats

from safetystats.inference import specification
from safetystats.inference.specification import (
    ALL,
    CUT,
    IN_RESIDUAL,
    LATENT,
    METHODS,
    QUANTITIES,
    SCALES,
    Material,
    Question,
    Specification,
    specification_values,
    specifications,
)
from safetystats.scores.capability import capability_score

NAMES = ("a", "b", "c", "d", "e")
SPEC = default_spec()
ASKED = Question(limit=0.4, level=0.95, seed=3, priors=SPEC.priors, plan=SPEC.cut)


def material(seed: int = 1, n: int = 24, latent: bool = True) -> Material:
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=n)
    capability = theta[:, None] + 0.5 * rng.normal(size=(n, len(NAMES)))
    safety = np.array([0.9, 0.0, -0.6]) * theta[:, None] + 0.5 * rng.normal(size=(n, 3))
    prepared = (safety - safety.mean(axis=0)) / safety.std(axis=0)
    draws = theta + 0.2 * rng.normal(size=(60 if latent else 0, n))
    return Material(
        label="made",
        capability={"identity": capability, "logit": capability**3, "rank_normal": np.tanh(capability)},
        safety={"identity": safety, "logit": safety**3, "rank_normal": np.tanh(safety)},
        names=NAMES,
        families=np.arange(n) // 3,
        own_scale="identity",
        theta=draws,
        latent=draws.mean(axis=0) if latent else np.empty(0),
        prepared=prepared,
        noise=np.zeros_like(prepared),
    )


def test_the_specifications_are_those_that_the_page_lists_each_once() -> None:
    every = specifications(NAMES, "logit", latent=True)
    assert len(every) == len(set(every))
    # Half of five is three at the odd places, and two at the even ones, which are too few.
    crossed = len(METHODS) * len(SCALES) * 2 * 4 * 3
    without = len(METHODS) * len(NAMES) * 4 * 3
    latent = 4 * 3 + 2 * (4 + 2 * 2)
    assert len(every) == crossed + without + latent + 6
    assert {s.scale for s in every if s.subset.startswith("without")} == {"logit"}
    assert not [s for s in specifications(NAMES, "logit", latent=False) if s.method in (LATENT, CUT)]


def test_some_specifications_by_hand() -> None:
    given = material()
    every, values = specification_values(given, ASKED, None)
    place = {each: i for i, each in enumerate(every)}
    score = capability_score(given.capability["logit"][:, ::2], method="pearson_pca").score
    own = Specification(
        method="pearson_pca", coefficient="spearman", scale="logit", subset="odd places", families="none"
    )
    expected = [stats.spearmanr(score, given.safety["logit"][:, b]).statistic for b in range(3)]
    assert values[:, place[own], 0] == pytest.approx(expected, abs=1e-12)
    assert (values[:, place[own], QUANTITIES.index("n")] == 24).all()
    score = capability_score(np.delete(given.capability["identity"], 1, axis=1), method="mean_z").score
    own = Specification(method="mean_z", coefficient="pearson", scale="identity", subset="without b", families="means")
    means = [
        np.array([v[given.families == f].mean() for f in range(8)]) for v in (score, given.safety["identity"][:, 0])
    ]
    assert values[0, place[own], 0] == pytest.approx(stats.pearsonr(*means).statistic, abs=1e-8)
    own = Specification(method=LATENT, coefficient="kendall", scale="identity", subset=ALL, families="none")
    tau = stats.kendalltau(given.latent, given.safety["identity"][:, 2]).statistic
    assert values[2, place[own], 0] == pytest.approx(np.sin(np.pi * tau / 2), abs=1e-12)


def test_the_cut_posterior_is_among_them_and_says_what_was_planted() -> None:
    every, values = specification_values(material(), ASKED, None)
    for place, each in enumerate(every):
        if each.method == CUT:
            entangled, none, inverse = values[:, place]
            assert entangled[QUANTITIES.index("p_entangled")] > 0.85
            assert inverse[QUANTITIES.index("p_inverse")] > 0.85
            assert entangled[0] > none[0] > inverse[0]
    assert {each.families for each in every if each.method == CUT} == {"none", IN_RESIDUAL}


def test_results_do_not_depend_on_threads_or_on_which_other_benchmarks_there_are() -> None:
    given = material()
    _, values = specification_values(given, ASKED, None, n_jobs=1)
    _, threaded = specification_values(given, ASKED, None, n_jobs=2)
    np.testing.assert_array_equal(values, threaded)
    one = Material(
        label="made", capability=given.capability, safety={k: v[:, 2:] for k, v in given.safety.items()}, names=NAMES,
        families=given.families, own_scale="identity", theta=given.theta, latent=given.latent,
        prepared=given.prepared[:, 2:], noise=given.noise[:, 2:],
    )  # fmt: skip
    # Matrix products of another shape may round differently in the last digits.
    np.testing.assert_allclose(specification_values(one, ASKED, None)[1][0], values[2], rtol=0, atol=1e-12)


def test_finished_benchmarks_are_kept_and_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, told = material(), []
    _, values = specification_values(given, ASKED, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]
    assert len(list(tmp_path.glob("*.npy"))) == 3
    computed: list[list[int]] = []
    compute = specification._compute

    def counted(m: Material, s: object, e: object, a: object, columns: list[int]) -> object:
        computed.append(columns)
        return compute(m, s, e, a, columns)  # type: ignore[arg-type]

    monkeypatch.setattr(specification, "_compute", counted)
    np.testing.assert_array_equal(specification_values(given, ASKED, tmp_path)[1], values)
    assert computed == []
    next(iter(sorted(tmp_path.glob("*.npy")))).write_bytes(b"not whole")
    np.testing.assert_allclose(specification_values(given, ASKED, tmp_path)[1], values, rtol=0, atol=1e-12)
    assert [len(columns) for columns in computed] == [1]
    other = Question(limit=0.5, level=0.95, seed=3, priors=SPEC.priors, plan=SPEC.cut)
    specification_values(given, other, tmp_path)
    assert [len(columns) for columns in computed] == [1, 3]


def test_without_latent_capability_there_is_no_bayesian_specification() -> None:
    every, values = specification_values(material(latent=False), ASKED, None)
    assert not [each for each in every if each.method in (LATENT, CUT)]
    assert np.isfinite(values[..., 0]).all()
