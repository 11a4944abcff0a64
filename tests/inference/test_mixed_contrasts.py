"""Contrasts of three classes, explained variance, overlap of capabilities: by other routes to the same numbers."""

from __future__ import annotations

import numpy as np
import pytest
from mixed_data import columns_of, read_inputs
from scipy import stats

from safetystats.inference.mixed import MixedFit, fit_mixed
from safetystats.inference.mixed_bootstrap import Bootstrap
from safetystats.inference.mixed_compare import Comparison, compare_classes
from safetystats.inference.mixed_contrasts import (
    capability_overlap,
    combine,
    common_range,
    explained_variance,
    pairwise_contrasts,
    partial_r2,
)
from safetystats.inference.mixed_frames import Compared, contrasts_frame

THREE = read_inputs("three")
RELATIVE = 1e-5
"""Refitting with another reference class moves the ratio of variances by about 1e-7."""


def compare(name: str, reference: str, replicates: int = 0) -> Comparison:
    return compare_classes(
        THREE[name], THREE["capability"], THREE["model_class"], THREE["group"],
        reference_class=reference, bootstrap=Bootstrap(replicates=replicates, replicates_small=replicates, seed=1),
    )  # fmt: skip


def framed(comparison: Comparison) -> Compared:
    return Compared(
        benchmark="b", area="a", grouping="lineage", comparison=comparison, centre=0.0, scale=2.0
    )  # fmt: skip


def refitted(name: str, reference: str) -> MixedFit:
    return fit_mixed(
        THREE[name], THREE["capability"], THREE["model_class"], THREE["group"], reference_class=reference
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ratio_0.1", "ratio_1", "ratio_10"])
def test_the_contrast_that_no_term_is_equals_the_term_of_another_reference(name: str) -> None:
    found = compare(name, "base")
    contrasts = pairwise_contrasts(found.fit.classes, "base")
    pairs: list[tuple[str, str, str]] = [(c.kind, c.class_a, c.class_b) for c in contrasts]
    assert pairs[:3] == [("class", "chat", "base"), ("class", "reasoning", "base"), ("class", "reasoning", "chat")]
    values = combine(found.rows, found.fit, np.array([c.weights for c in contrasts]))
    other = refitted(name, "chat")
    for kind, term in (("class", "class[reasoning]"), ("slope", "capability:class[reasoning]")):
        i, j = pairs.index((kind, "reasoning", "chat")), other.terms.index(term)
        for key in ("estimate", "std_error", "freedom", "lower", "upper"):
            assert getattr(values, key)[i] == pytest.approx(getattr(other, key)[j], rel=RELATIVE), (kind, key)
        assert found.tests[contrasts[i].weights].p_asymptotic == pytest.approx(other.p_value[j], rel=1e-4)


def test_holm_runs_over_the_pairs_within_a_benchmark_and_kind() -> None:
    frame = contrasts_frame([framed(compare("ratio_1", "base", replicates=199))])
    assert set(frame["test"]) == {"parametric_bootstrap"}
    for _, rows in frame.groupby("kind"):
        assert len(rows) == 3
        ordered = rows.sort_values("p_value")
        steps = np.maximum.accumulate(ordered["p_value"].to_numpy() * [3, 2, 1])
        np.testing.assert_allclose(ordered["p_holm"], np.minimum(steps, 1.0))
    np.testing.assert_allclose(frame["estimate_native"], 2.0 * frame["estimate"])
    pairs = frame.set_index(["kind", "class_a", "class_b"])["n_paired"]
    members = THREE[THREE["ratio_1"].notna()].groupby("group")["model_class"].agg(set)
    assert pairs["class", "reasoning", "chat"] == sum({"reasoning", "chat"} <= labels for labels in members)


def test_bootstrap_and_chi_square_of_contrasts_are_near_each_other() -> None:
    tests = compare("ratio_1", "base", replicates=999).tests
    assert len(tests) == 7  # capability; three pairs in level, three in slope
    for weights, test in tests.items():
        assert abs(test.p_value - test.p_asymptotic) < 0.08, weights


def test_explained_variance_by_hand() -> None:
    found = compare("ratio_1", "base")
    y, x, _ = columns_of(THREE, "ratio_1")
    assert found.fit.n_models == y.size
    fixed = np.var(x @ found.fit.estimate)
    group, residual = found.fit.group_variance, found.fit.residual_variance
    marginal, conditional = explained_variance(found.rows, found.fit)
    assert marginal == pytest.approx(fixed / (fixed + group + residual))
    assert conditional == pytest.approx((fixed + group) / (fixed + group + residual))
    partial = partial_r2(found.fit)
    assert np.isnan(partial[0])
    f = (found.fit.estimate[1] / found.fit.std_error[1]) ** 2
    assert partial[1] == pytest.approx(f / (f + found.fit.freedom[1]))


def test_without_pairs_intervals_are_robust_and_there_is_no_bootstrap() -> None:
    found = compare_classes(
        THREE["ratio_1"], THREE["capability"], THREE["model_class"], THREE["model"],
        reference_class="base", bootstrap=Bootstrap(replicates=99, seed=1),
    )  # fmt: skip
    assert found.fit.status == "ols_cluster_robust"
    assert not found.tests
    assert np.isnan(found.variance.p_value)
    frame = contrasts_frame([framed(found)])
    known = frame[frame["class_b"] == "base"]
    assert set(known["test"]) == {"cluster_robust_t"}
    values = combine(found.rows, found.fit, np.eye(6))
    np.testing.assert_allclose(values.std_error, found.fit.std_error_robust)
    half = stats.t.ppf(0.975, found.fit.freedom) * found.fit.std_error
    np.testing.assert_allclose(values.upper - values.estimate, half)


def test_overlap_by_hand() -> None:
    capability = np.array([0.0, 1.0, 2.0, 3.0, 1.5, 2.5, 9.0])
    labels = ["a"] * 4 + ["b"] * 3
    (pair,) = capability_overlap(capability, labels, ("a", "b"))
    assert (pair.class_a, pair.class_b, pair.n_a, pair.n_b) == ("b", "a", 3, 4)
    assert pair.share_a == pytest.approx(2 / 3)
    assert pair.share_b == pytest.approx(0.5)
    assert (pair.lower, pair.upper) == (1.5, 3.0)
    (apart,) = capability_overlap(np.array([0.0, 1.0, 5.0, 6.0]), ["a", "a", "b", "b"], ("a", "b"))
    assert (apart.share_a, apart.share_b) == (0.0, 0.0)
    assert np.isnan(apart.lower)
    (empty,) = capability_overlap(np.array([0.0, 1.0]), ["a", "a"], ("a", "b"))
    assert np.isnan(empty.share_a)


def test_the_common_range_is_of_all_classes() -> None:
    rows = compare("ratio_1", "base").rows
    low, high = common_range(rows)
    for name in rows.classes:
        members = rows.capability[rows.labels == name]
        assert members.min() <= low < high <= members.max()
