"""Leaving rows out at once against fitting again without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mixed_data import read_inputs, score_names

from safetystats.inference.mixed import fit_mixed
from safetystats.inference.mixed_influence import BoolArray, each_label, leave_out
from safetystats.inference.mixed_profile import FloatArray
from safetystats.inference.mixed_values import Grouping, MixedRows, code_rows

RELATIVE = 1e-5
"""Two searches for one maximum: what its flatness leaves, of estimates and errors, in their own size."""
P_TOLERANCE = 1e-6
"""Of p-values: likelihood ratios agree to about 1e-7."""


def rows_of(name: str, score: str, grouping: Grouping) -> tuple[MixedRows, list[str]]:
    data = read_inputs(name)
    used = data[data[score].notna() & data["capability"].notna()]
    column = "group" if grouping == "lineage" else "family"
    coded = code_rows(used[score], used["capability"], used["model_class"], used[column], "base", grouping)
    return coded, [str(model) for model in used["model"]]


def refitted(rows: MixedRows, kept: BoolArray, *, reml: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    fit = fit_mixed(
        rows.score[kept], rows.capability[kept], list(rows.labels[kept]), [str(code) for code in rows.codes[kept]],
        reference_class="base", reml=reml, grouping=rows.grouping,
    )  # fmt: skip
    assert fit.status in ("ok", "boundary")
    return fit.estimate, fit.std_error, fit.p_value


@pytest.mark.parametrize("grouping", ["lineage", "family"])
@pytest.mark.parametrize(("name", "every"), [("helm-classic", 9), ("three", 5)])
def test_each_model_left_out_is_a_fit_without_it(name: str, every: int, grouping: Grouping) -> None:
    score = score_names(name)[0]
    rows, models = rows_of(name, score, grouping)
    labels, left_out = each_label(models)
    found = leave_out(rows, left_out)
    assert len(labels) == rows.score.size
    compared = 0
    for place in range(0, len(labels), every):
        if found.why[place]:
            continue
        estimate, std_error, p_value = refitted(rows, ~left_out[place], reml=True)
        np.testing.assert_allclose(
            found.estimate[place], estimate, rtol=RELATIVE, atol=RELATIVE * np.abs(estimate).max()
        )
        np.testing.assert_allclose(found.std_error[place], std_error, rtol=RELATIVE)
        np.testing.assert_allclose(found.p_value[place, 1:], p_value[1:], atol=P_TOLERANCE)
        compared += 1
    assert compared > 3
    assert np.isnan(found.p_value[:, 0]).all()


def test_whole_families_and_maximum_likelihood() -> None:
    rows, _ = rows_of("helm-classic", score_names("helm-classic")[1], "lineage")
    data = read_inputs("helm-classic")
    score = score_names("helm-classic")[1]
    used = data[data[score].notna() & data["capability"].notna()]
    labels, left_out = each_label([str(family) for family in used["family"]])
    found = leave_out(rows, left_out, reml=False)
    large = int(left_out.sum(axis=1).argmax())
    assert left_out[large].sum() > 2
    estimate, std_error, p_value = refitted(rows, ~left_out[large], reml=False)
    np.testing.assert_allclose(found.estimate[large], estimate, rtol=RELATIVE, atol=RELATIVE)
    np.testing.assert_allclose(found.std_error[large], std_error, rtol=RELATIVE)
    np.testing.assert_allclose(found.p_value[large, 1:], p_value[1:], atol=P_TOLERANCE)
    assert labels[0] == str(used["family"].iloc[0])


def test_nobody_left_out_is_the_fit_itself() -> None:
    rows, _ = rows_of("pairs", score_names("pairs")[0], "lineage")
    found = leave_out(rows, np.zeros((1, rows.score.size), dtype=bool))
    estimate, std_error, p_value = refitted(rows, np.ones(rows.score.size, dtype=bool), reml=True)
    np.testing.assert_allclose(found.estimate[0], estimate, rtol=RELATIVE, atol=RELATIVE)
    np.testing.assert_allclose(found.std_error[0], std_error, rtol=RELATIVE)
    np.testing.assert_allclose(found.p_value[0, 1:], p_value[1:], atol=P_TOLERANCE)


def test_what_cannot_be_fitted_without_some_models_says_why() -> None:
    rng = np.random.default_rng(5)
    labels = ["base"] * 10 + ["chat"] * 2
    rows = code_rows(
        rng.normal(size=12), rng.normal(size=12), labels, [f"g{i % 6}" for i in range(12)], "base", "lineage"
    )
    _, left_out = each_label([str(i) for i in range(12)])
    found = leave_out(rows, np.vstack([left_out, rows.labels == "chat", rows.codes < 5]))
    assert not any(found.why[:10])
    assert "no slope" in found.why[10]
    assert found.why[12] == "class chat has no other model"
    assert found.why[13]
    assert np.isnan(found.estimate[10:]).all()
    assert np.isfinite(found.estimate[:10]).all()
    alone = replace(rows, codes=np.array([0, 0, *range(1, 11)]))
    apart = np.zeros((1, 12), dtype=bool)
    apart[0, 0] = True
    assert leave_out(alone, apart).why == ("no two models are left in one of the lineages",)


def test_a_row_that_decides_an_interaction_is_found() -> None:
    rng = np.random.default_rng(8)
    n = 40
    capability, labels = rng.normal(size=n), np.array(["base", "chat"] * (n // 2))
    groups = [f"g{i // 2}" for i in range(n)]
    # Noise without level, slope or interaction, so that one row makes whatever there is.
    columns = code_rows(capability, capability, list(labels), groups, "base").columns()
    noise = rng.normal(size=n)
    noise -= columns @ np.linalg.lstsq(columns, noise)[0]
    score = capability + 0.3 * noise
    capability[1], score[1] = -6.0, 6.0
    rows = code_rows(score, capability, list(labels), groups, "base", "lineage")
    found = leave_out(rows, np.eye(n, dtype=bool))
    full = leave_out(rows, np.zeros((1, n), dtype=bool))
    change = np.abs(full.estimate[0, 3] - found.estimate[:, 3]) / found.std_error[:, 3]
    assert int(change.argmax()) == 1
    assert full.p_value[0, 3] < 0.01 < 0.05 < found.p_value[1, 3]


def test_shapes_are_checked() -> None:
    rows, _ = rows_of("pairs", score_names("pairs")[0], "lineage")
    with pytest.raises(ValueError, match="left_out must have shape"):
        leave_out(rows, np.zeros((2, 3), dtype=bool))
