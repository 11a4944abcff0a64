"""What `fit_mixed` says, refuses and leaves unchanged."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from mixed_data import columns_of, read_inputs
from scipy import stats
from statsmodels.regression.linear_model import OLS
from statsmodels.regression.mixed_linear_model import MixedLM
from statsmodels.stats.multitest import multipletests

from safetystats.inference import mixed
from safetystats.inference.mixed import MixedFit, benjamini_hochberg, fit_mixed, holm

RELATIVE = 1e-6
"""Refitting after a change that should not matter moves the ratio of variances by about 1e-7."""

QUICK = settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
"""Without shrinking: a failing example costs a dozen fits, and shrinking would take minutes."""

PAIRS = read_inputs("pairs")


def fit_pairs(name: str, **changes: object) -> MixedFit:
    given_columns = {
        "score": PAIRS[name], "capability": PAIRS["capability"], "model_class": PAIRS["model_class"],
        "group": PAIRS["group"], "reference_class": "base",
    }  # fmt: skip
    return fit_mixed(**{**given_columns, **changes})  # type: ignore[arg-type]


def assert_same(first: MixedFit, second: MixedFit) -> None:
    assert first.terms == second.terms
    assert (first.status, first.n_models, first.n_groups) == (second.status, second.n_models, second.n_groups)
    for key in ("estimate", "std_error", "std_error_robust", "freedom", "lower", "upper", "p_value"):
        np.testing.assert_allclose(getattr(first, key), getattr(second, key), rtol=RELATIVE, atol=1e-8, err_msg=key)
    for key in ("group_variance", "residual_variance", "log_likelihood", "log_likelihood_ml"):
        assert getattr(first, key) == pytest.approx(getattr(second, key), rel=RELATIVE, abs=1e-8), key


def test_an_ordinary_fit_has_every_part() -> None:
    fit = fit_pairs("ratio_5")
    assert fit.terms == ("(Intercept)", "capability", "class[chat]", "capability:class[chat]")
    assert (fit.status, fit.why) == ("ok", "")
    assert fit.optimiser in mixed.OPTIMISERS
    assert fit.classes == ("base", "chat")
    assert (fit.n_models, fit.n_groups, fit.n_dropped) == (53, 27, 0)
    assert np.isnan(fit.p_value[0])
    assert ((fit.p_value[1:] > 0) & (fit.p_value[1:] <= 1)).all()
    assert "capability + class" in fit.tested[2]
    assert "capability * class" in fit.tested[3]
    assert fit.group_variance > fit.residual_variance


def test_normal_intervals_are_narrower_and_everything_else_stays() -> None:
    t, normal = fit_pairs("ratio_0.5"), fit_pairs("ratio_0.5", interval="normal")
    np.testing.assert_array_equal(t.estimate, normal.estimate)
    np.testing.assert_array_equal(t.p_value, normal.p_value)
    assert np.isinf(normal.freedom).all()
    assert (normal.upper < t.upper).all()
    np.testing.assert_allclose(normal.upper - normal.estimate, stats.norm.ppf(0.975) * normal.std_error)


@pytest.mark.parametrize("name", ["ratio_0", "negative"])
def test_the_boundary_is_named_and_gives_least_squares(name: str) -> None:
    fit = fit_pairs(name)
    y, x, _ = columns_of(PAIRS, name)
    assert fit.status == "boundary"
    assert fit.group_variance == 0.0
    assert "estimated as zero" in fit.why
    ols = OLS(y, x).fit()
    np.testing.assert_allclose(fit.estimate, ols.params, rtol=1e-9)
    np.testing.assert_allclose(fit.std_error, ols.bse, rtol=1e-9)
    np.testing.assert_allclose(np.column_stack([fit.lower, fit.upper]), ols.conf_int(), rtol=1e-9)


def test_robust_errors_show_what_the_boundary_hides() -> None:
    """Scores less alike within than between lineages: the class contrast is less certain than the model can say."""
    fit = fit_pairs("negative")
    term = fit.terms.index("class[chat]")
    assert fit.std_error_robust[term] > 1.2 * fit.std_error[term]


def test_statsmodels_computes_wrong_fixed_effects_below_a_ratio_of_1e_10() -> None:
    """The trap behind zeros with converged=True: fixed effects jump where the likelihood is flat."""
    y, x, groups = columns_of(read_inputs("helm-classic"), "classic_stereotype_race_quac")
    y = y - y.mean()
    theirs = MixedLM(y, x, groups=groups)
    nothing = np.array([])
    ols = OLS(y, x).fit().params
    near, _ = theirs.get_fe_params(np.array([[1e-9]]), nothing)
    below, singular = theirs.get_fe_params(np.array([[1e-11]]), nothing)
    assert singular
    np.testing.assert_allclose(near, ols, atol=1e-6)
    assert abs(below[0]) < 1e-12 < 0.01 < abs(ols[0])
    assert np.abs(below - ols).max() > 0.05


class _Answer:
    converged = True

    def __init__(self, ratio: float, effects: np.ndarray) -> None:
        self.cov_re_unscaled = np.array([[ratio]])
        self.fe_params = effects


@pytest.mark.parametrize("ratio", [1e-32, 0.4, np.nan])
def test_zeros_that_claim_convergence_are_refused(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    honest = fit_pairs("ratio_0.5")

    class Zeros:
        def __init__(self, endog: np.ndarray, exog: np.ndarray, groups: np.ndarray) -> None:
            self.width = exog.shape[1]

        def fit(self, **_: object) -> _Answer:
            return _Answer(ratio, np.zeros(self.width))

    monkeypatch.setattr(mixed, "MixedLM", Zeros)
    fit = fit_pairs("ratio_0.5")
    assert fit.status == "not_converged"
    assert fit.optimiser == ""
    assert "lbfgs: " in fit.why
    assert "cg: " in fit.why
    np.testing.assert_allclose(fit.estimate, honest.estimate, rtol=RELATIVE)
    assert fit.log_likelihood == pytest.approx(honest.log_likelihood, rel=1e-9)


def test_a_failing_optimiser_hands_over_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sulking(MixedLM):
        def fit(self, **given_arguments: object) -> object:
            if given_arguments["method"] == "lbfgs":
                raise np.linalg.LinAlgError("Singular matrix")
            return super().fit(**given_arguments)

    monkeypatch.setattr(mixed, "MixedLM", Sulking)
    fit = fit_pairs("ratio_5")
    assert (fit.status, fit.optimiser) == ("ok", "powell")


def test_an_unconfirmed_boundary_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(MixedLM):
        def fit(self, **_: object) -> object:
            raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(mixed, "MixedLM", Refusing)
    fit = fit_pairs("ratio_0")
    assert fit.status == "boundary"
    assert "did not confirm" in fit.why


def test_without_pairs_least_squares_with_robust_errors() -> None:
    y, x, _ = columns_of(PAIRS, "ratio_5")
    fit = fit_pairs("ratio_5", group=PAIRS["model"])
    ols = OLS(y, x).fit(cov_type="HC1")
    assert fit.status == "ols_cluster_robust"
    assert "no lineage has two members" in fit.why
    np.testing.assert_allclose(fit.estimate, ols.params, rtol=1e-9)
    np.testing.assert_allclose(fit.std_error, ols.bse, rtol=1e-9)
    assert np.isnan(fit.group_variance)
    assert fit.residual_variance == pytest.approx(OLS(y, x).fit().mse_resid)
    t = ols.params[3] / ols.bse[3]
    assert fit.p_value[3] == pytest.approx(2 * stats.t.sf(abs(t), y.size - 4))
    additive = OLS(y, x[:, :3]).fit(cov_type="HC1")
    assert fit.p_value[2] == pytest.approx(2 * stats.t.sf(abs(additive.params[2] / additive.bse[2]), y.size - 3))


REFUSALS = {
    "only class": {"model_class": np.full(53, "base")},
    "same score": {"score": np.full(53, 0.1)},
    "does not vary": {"capability": np.where(PAIRS["model_class"] == "chat", 0.7, PAIRS["capability"])},
    "no model has both": {"score": np.full(53, np.nan)},
    "too few": {"score": np.where(np.arange(53) < 5, PAIRS["ratio_5"], np.nan)},
    "one lineage": {"group": np.full(53, "g")},
    "reproduce the scores": {"score": 2.0 + 3.0 * PAIRS["capability"]},
    "within lineages": {"score": PAIRS.groupby("group")["ratio_5"].transform("mean") + 0.5 * PAIRS["capability"]},
    "reference class base has no scores": {
        "model_class": np.where(np.arange(53) % 3 == 0, "reasoning", PAIRS["model_class"]),
        "score": PAIRS["ratio_5"].where((PAIRS["model_class"] == "chat") | (np.arange(53) % 3 == 0)),
    },
}  # fmt: skip


@pytest.mark.parametrize("reason", REFUSALS)
def test_a_question_that_cannot_be_asked_is_answered_with_a_reason(reason: str) -> None:
    fit = fit_pairs("ratio_5", **REFUSALS[reason])
    assert fit.status == "not_applicable"
    assert reason in fit.why
    assert np.isnan(fit.estimate).all()
    assert len(fit.terms) == fit.estimate.size == len(fit.tested)


def test_missing_scores_are_dropped_and_counted() -> None:
    score = PAIRS["ratio_5"].copy()
    score.iloc[[3, 10]] = [np.nan, np.inf]
    kept = PAIRS.drop(index=[3, 10])
    fit = fit_pairs("ratio_5", score=score)
    assert fit.n_dropped == 2
    alone = fit_mixed(
        kept["ratio_5"], kept["capability"], kept["model_class"], kept["group"], reference_class="base"
    )  # fmt: skip
    assert_same(fit, alone)


def test_a_class_without_scores_is_named() -> None:
    data = read_inputs("three")
    score = data["ratio_1"].where(data["model_class"] != "reasoning")
    fit = fit_mixed(score, data["capability"], data["model_class"], data["group"], reference_class="base")
    assert fit.classes == ("base", "chat")
    assert "no score in class reasoning" in fit.why


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": 1.0}, "level"),
        ({"reference_class": "instruct"}, "instruct"),
        ({"capability": np.zeros(3)}, "shape"),
        ({"group": [None] * 53}, "label in every row"),
    ],
)
def test_misuse_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_pairs("ratio_5", **changes)


@QUICK
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["ratio_0", "ratio_0.05", "ratio_0.5", "ratio_5"]))
def test_order_of_rows_and_names_of_groups_do_not_matter(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(53)
    renamed = {group: f"x{i}" for i, group in enumerate(rng.permutation(PAIRS["group"].unique()))}
    shuffled = PAIRS.iloc[order]
    other = fit_mixed(
        shuffled[name], shuffled["capability"], shuffled["model_class"], shuffled["group"].map(renamed),
        reference_class="base",
    )  # fmt: skip
    assert_same(fit_pairs(name), other)


@QUICK
@given(
    shift=st.floats(-1e4, 1e4), log_scale=st.floats(-4, 4), sign=st.sampled_from([-1.0, 1.0]),
    centre=st.floats(-50, 50), log_unit=st.floats(-3, 3),
)  # fmt: skip
def test_units_of_score_and_capability_only_rescale(
    shift: float, log_scale: float, sign: float, centre: float, log_unit: float
) -> None:
    scale, unit = sign * 10.0**log_scale, 10.0**log_unit
    shift *= abs(scale)
    first = fit_pairs("ratio_0.5")
    second = fit_pairs(
        "ratio_0.5", score=shift + scale * PAIRS["ratio_0.5"], capability=centre + unit * PAIRS["capability"]
    )
    assert second.status == "ok"
    np.testing.assert_allclose(second.p_value, first.p_value, rtol=1e-5, atol=1e-9)
    for term in (1, 3):  # slopes do not see where capability has its zero; the other two do
        assert second.estimate[term] == pytest.approx(first.estimate[term] * scale / unit, rel=1e-5)
        assert second.std_error[term] == pytest.approx(first.std_error[term] * abs(scale) / unit, rel=1e-5)
        assert second.freedom[term] == pytest.approx(first.freedom[term], rel=1e-5)
    at_old_zero = second.estimate[2] + centre * second.estimate[3]
    assert at_old_zero == pytest.approx(first.estimate[2] * scale, rel=1e-4)
    assert second.group_variance == pytest.approx(first.group_variance * scale**2, rel=1e-5)
    assert second.log_likelihood_ml == pytest.approx(first.log_likelihood_ml - 53 * np.log(abs(scale)), rel=1e-7)


def test_holm_by_hand() -> None:
    adjusted = holm(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.06, 0.06])
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.02])), [np.nan, 0.02])


@pytest.mark.parametrize(("adjust", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_values_are_those_of_statsmodels(
    adjust: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], method: str
) -> None:
    """Also with ties, a p-value of one, and missing ones."""
    p_values = np.random.default_rng(6).uniform(size=12)
    p_values[[2, 5]], p_values[7], p_values[[0, 9]] = 0.02, 1.0, np.nan
    known = np.isfinite(p_values)
    np.testing.assert_allclose(adjust(p_values)[known], multipletests(p_values[known], method=method)[1], rtol=1e-12)
    assert np.isnan(adjust(p_values)[~known]).all()
    assert np.isnan(adjust(np.full(3, np.nan))).all()


def test_words_follow_the_grouping() -> None:
    assert "variance of families" in fit_pairs("ratio_0", grouping="family").why
    assert "no family has two members" in fit_pairs("ratio_5", group=PAIRS["model"], grouping="family").why
    assert "one family" in fit_pairs("ratio_5", group=np.full(53, "g"), grouping="family").why


def test_a_boundary_fit_has_clustered_least_squares_beside_it() -> None:
    fit = fit_pairs("negative")
    y, x, groups = columns_of(PAIRS, "negative")
    clustered = OLS(y, x).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert fit.status == "boundary"
    np.testing.assert_allclose(fit.std_error_robust, clustered.bse, rtol=1e-9)
    assert fit.p_robust[3] == pytest.approx(clustered.pvalues[3], rel=1e-9)
    additive = OLS(y, x[:, :3]).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    assert fit.p_robust[2] == pytest.approx(additive.pvalues[2], rel=1e-9)
    assert np.isnan(fit.p_robust[0])


def test_benjamini_hochberg_by_hand() -> None:
    adjusted = benjamini_hochberg(np.array([0.01, np.nan, 0.04, 0.03]))
    np.testing.assert_allclose(adjusted, [0.03, np.nan, 0.04, 0.04])
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_importing_the_package_does_not_load_statsmodels() -> None:
    code = "import sys, safetystats; sys.exit('statsmodels' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
