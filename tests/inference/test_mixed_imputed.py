"""Multiple imputation of capability: Rubin's rules by hand, degrees of freedom, and what it does to a slope."""

from __future__ import annotations

import numpy as np
import pytest
from mixed_data import read_inputs

from safetystats.inference.mixed import fit_mixed
from safetystats.inference.mixed_imputed import ImputedFit, barnard_rubin_freedom, fit_mixed_imputed, thinned
from safetystats.inference.mixed_profile import FloatArray

PAIRS = read_inputs("pairs")
FOUR_ERRORS = 4.0
"""Standard errors that an estimate may be from what it estimates."""
RELATIVE = 1e-5
"""Two optimisers of one profile; on standard errors measured 1e-7."""


def draws(spread: float, m: int = 20, seed: int = 1) -> FloatArray:
    noise = np.random.default_rng(seed).normal(size=(m, len(PAIRS)))
    drawn: FloatArray = PAIRS["capability"].to_numpy(dtype=np.float64) + spread * noise
    return drawn


def impute(name: str, capability: FloatArray, **changes: object) -> ImputedFit:
    given = {"score": PAIRS[name], "model_class": PAIRS["model_class"], "group": PAIRS["group"]} | changes
    return fit_mixed_imputed(capability_draws=capability, reference_class="base", **given)


@pytest.mark.parametrize("name", ["ratio_0", "ratio_0.5", "ratio_5"])
def test_rubins_rules_by_hand(name: str) -> None:
    drawn = draws(0.5)
    found = impute(name, drawn)
    fits = [
        fit_mixed(PAIRS[name], one, PAIRS["model_class"], PAIRS["group"], reference_class="base") for one in drawn
    ]  # fmt: skip
    estimates = np.stack([fit.estimate for fit in fits])
    within = np.mean([fit.std_error**2 for fit in fits], axis=0)
    between = estimates.var(axis=0, ddof=1)
    total = within + (1 + 1 / 20) * between
    np.testing.assert_allclose(found.estimate, estimates.mean(axis=0), rtol=RELATIVE, atol=1e-7)
    np.testing.assert_allclose(found.std_error, np.sqrt(total), rtol=RELATIVE)
    np.testing.assert_allclose(found.missing_information, 1.05 * between / total, rtol=RELATIVE)
    assert found.n_boundary == sum(fit.status == "boundary" for fit in fits)
    assert found.n_draws == 20
    assert (found.lower < found.estimate).all()
    assert np.isnan(found.p_value[0])


def test_draws_that_agree_give_the_plain_fit() -> None:
    plain = fit_mixed(
        PAIRS["ratio_0.5"], PAIRS["capability"], PAIRS["model_class"], PAIRS["group"], reference_class="base"
    )  # fmt: skip
    found = impute("ratio_0.5", draws(0.0))
    np.testing.assert_allclose(found.estimate, plain.estimate, rtol=RELATIVE)
    np.testing.assert_allclose(found.std_error, plain.std_error, rtol=RELATIVE)
    np.testing.assert_allclose(found.missing_information, 0.0, atol=1e-10)
    np.testing.assert_allclose(found.freedom, (plain.freedom + 1) / (plain.freedom + 3) * plain.freedom, rtol=1e-4)


def test_degrees_of_freedom_of_barnard_and_rubin_by_hand() -> None:
    # m = 10, share 0.3, complete 50: old = 9 / 0.09 = 100; observed = 51 / 53 * 50 * 0.7; 1 / (1 / 100 + 1 / observed).
    observed = 51 / 53 * 50 * 0.7
    expected = 1 / (1 / 100 + 1 / observed)
    assert barnard_rubin_freedom(np.array([0.3]), np.array([50.0]), 10)[0] == pytest.approx(expected)


def test_a_slope_on_draws_is_attenuated_by_the_reliability_and_that_on_their_mean_is_not() -> None:
    """What the module says of itself: true capability is the posterior mean plus noise that the draws repeat."""
    rng = np.random.default_rng(3)
    n, noise = 300, 1.0
    mean = rng.normal(size=n)
    y = mean + noise * rng.normal(size=n) + 0.3 * rng.normal(size=n)
    classes, groups = np.tile(["base", "chat"], n // 2), np.repeat(np.arange(n // 2), 2).astype(str)
    drawn = mean + noise * rng.normal(size=(20, n))
    found = fit_mixed_imputed(y, drawn, classes, groups, reference_class="base")
    plain = fit_mixed(y, mean, classes, groups, reference_class="base")
    reliability = 1.0 / (1.0 + noise**2)
    assert plain.estimate[1] == pytest.approx(1.0, abs=FOUR_ERRORS * plain.std_error[1])
    assert found.estimate[1] == pytest.approx(reliability, abs=FOUR_ERRORS * found.std_error[1])
    assert plain.estimate[1] - found.estimate[1] > 0.3


def test_without_pairs_and_without_a_question() -> None:
    alone = impute("ratio_5", draws(0.5), group=PAIRS["model"])
    assert np.isnan(alone.group_variance)
    assert np.isfinite(alone.std_error).all()
    refused = impute("ratio_5", draws(0.5), model_class=np.full(53, "base"))
    assert np.isnan(refused.estimate).all()
    assert "only class" in refused.why


@pytest.mark.parametrize(("drawn", "words"), [(draws(0.5)[:1], "shape"), (draws(0.5)[0], "shape")])
def test_misuse_is_refused(drawn: FloatArray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        impute("ratio_5", drawn)


def test_thinning_takes_evenly_spaced_draws() -> None:
    values = np.arange(10.0)[:, None]
    np.testing.assert_array_equal(thinned(values, 4)[:, 0], [0, 3, 6, 9])
    np.testing.assert_array_equal(thinned(values, 20), values)
