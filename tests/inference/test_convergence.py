"""Gates of sampled fits on hand-made draws."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from safetystats.inference.convergence import MODE_LIMIT, Convergence, _worst, convergence
from safetystats.specs import Gates

DRAWS = 1000


def tree(rho: np.ndarray, *, diverging: int = 0, energy: np.ndarray | None = None) -> xr.DataTree:
    """Wrap draws of shape (chains, draws, benchmarks)."""
    rng = np.random.default_rng(99)
    chains, draws, _ = rho.shape
    flags = np.zeros((chains, draws), dtype=bool)
    flags.flat[:diverging] = True
    stats = {
        "diverging": (("chain", "draw"), flags),
        "energy": (("chain", "draw"), rng.normal(size=(chains, draws)) if energy is None else energy),
    }
    theta = rng.normal(size=(chains, draws, 3))
    posterior = xr.Dataset({"rho": (("chain", "draw", "benchmark"), rho), "theta": (("chain", "draw", "model"), theta)})
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": xr.Dataset(stats)})


def clean(seed: int = 1, chains: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.5, 0.1, size=(chains, DRAWS, 2))


def test_independent_draws_pass() -> None:
    found = convergence(tree(clean()))
    assert found.passes(Gates())
    assert found.r_hat < 1.01
    assert found.mode_gap < 0.2
    assert found.ess == min(found.ess_bulk, found.ess_tail)


@pytest.mark.parametrize("elsewhere", [1, 2, 3], ids=lambda n: f"{n} of 4 chains elsewhere")
def test_chains_in_two_modes_are_detected(elsewhere: int) -> None:
    """Also with half of the chains in either mode, where the gap in sd over all chains never passes one."""
    rho = clean()
    rho[:elsewhere, :, 1] -= 0.9
    found = convergence(tree(rho))
    assert found.mode_gap > MODE_LIMIT
    assert found.r_hat > 1.01
    assert found.r_hat_of == "rho[1]"
    assert not found.passes(Gates())
    assert not found.passes(Gates(r_hat=99.0, ess=1.0))  # by the modes alone
    told = found.modes.split("; ")
    groups = [", ".join(str(c + 1) for c in part) for part in (range(elsewhere), range(elsewhere, 4))]
    assert [part.split(":")[0] for part in told] == [f"chain {group}" for group in groups]
    loadings = [float(part.split("benchmark 2 loads ")[1].split(",")[0]) for part in told]
    np.testing.assert_allclose(loadings, [-0.4, 0.5], atol=0.02)  # a mean of 1000 draws, and two digits


def test_chains_that_jump_between_modes_are_detected() -> None:
    rho = clean()
    rho[:, : DRAWS // 2] -= 0.9
    assert not convergence(tree(rho)).passes(Gates())


def test_constant_and_missing_draws_fail() -> None:
    for value in (0.3, np.nan):
        rho = clean()
        rho[:, :, 0] = value
        with np.errstate(all="ignore"):
            found = convergence(tree(rho))
        assert not found.passes(Gates())
        assert found.r_hat == np.inf
        assert found.r_hat_of == "rho[0]"


def test_divergences_and_energy() -> None:
    one = convergence(tree(clean(), diverging=1))
    assert one.divergences == 1
    assert not one.passes(Gates())
    assert one.passes(Gates(divergences=1))
    slow = np.cumsum(np.random.default_rng(5).normal(size=(4, DRAWS)), axis=1)
    energy = convergence(tree(clean(), energy=slow))
    assert energy.e_bfmi < 0.3
    assert not energy.passes(Gates())


def with_parameter(name: str, dims: tuple[str, ...], values: np.ndarray) -> xr.DataTree:
    whole = tree(clean())
    posterior = whole["posterior"].to_dataset()
    posterior[name] = (("chain", "draw", *dims), values)
    return xr.DataTree.from_dict({"posterior": posterior, "sample_stats": whole["sample_stats"].to_dataset()})


def test_loadings_known_up_to_sign_and_order_are_not_looked_at() -> None:
    """Chains with the further factor turned round agree; the same in a loading on capability would not pass."""
    further = np.random.default_rng(6).normal(0.6, 0.05, size=(4, DRAWS, 2, 1))
    further[:2] *= -1
    assert convergence(with_parameter("further", ("benchmark", "factor"), further)) == convergence(tree(clean()))
    assert not convergence(tree(further[..., 0])).passes(Gates())


@pytest.mark.parametrize(("name", "dims"), [("icc", ("benchmark",)), ("capability_icc", ())])
def test_what_is_fixed_at_zero_is_not_looked_at(name: str, dims: tuple[str, ...]) -> None:
    """A spec without families has no kappa and no omega; a constant that is not zero is a fault."""
    zeros = np.zeros((4, DRAWS, 2)[: 2 + len(dims)])
    assert convergence(with_parameter(name, dims, zeros)) == convergence(tree(clean()))
    stuck = zeros.copy()
    stuck[0] = 0.5  # one chain left zero
    with np.errstate(all="ignore"):
        constant = convergence(with_parameter(name, dims, zeros + 0.3))
        found = convergence(with_parameter(name, dims, stuck))
    assert not constant.passes(Gates())
    assert not found.passes(Gates())
    assert found.r_hat_of.startswith(name)


def test_few_effective_draws_fail() -> None:
    rng = np.random.default_rng(3)
    walk = np.zeros((4, DRAWS, 2))
    for i in range(1, DRAWS):
        walk[:, i] = 0.98 * walk[:, i - 1] + rng.normal(size=(4, 2))
    found = convergence(tree(walk))
    assert found.ess < 400
    assert not found.passes(Gates(r_hat=9.0))
    assert found.ess_bulk_of.startswith("rho[")


@pytest.mark.parametrize("field", ["r_hat", "ess_bulk", "ess_tail", "e_bfmi", "mode_gap"])
def test_not_a_number_fails_every_gate(field: str) -> None:
    good = {
        "r_hat": 1.0, "r_hat_of": "", "ess_bulk": 900.0, "ess_bulk_of": "", "ess_tail": 900.0, "ess_tail_of": "",
        "divergences": 0, "e_bfmi": 0.9, "mode_gap": 0.1,
    }  # fmt: skip
    assert Convergence(**good).passes(Gates())
    assert not Convergence(**{**good, field: float("nan")}).passes(Gates())


def test_no_parameters_is_an_error() -> None:
    with pytest.raises(ValueError, match="a posterior without parameters"):
        _worst(xr.Dataset(), largest=True)


def test_worst_value_of_a_variable_with_two_dimensions_is_named_in_full() -> None:
    draws = np.random.default_rng(8).normal(size=(4, 300, 2, 3))
    draws[0, :, 1, 2] += 10.0
    posterior = xr.Dataset(
        {"effect": (("chain", "draw", "area", "model"), draws)}, coords={"area": ["a", "b"], "model": ["x", "y", "z"]}
    )
    stats = xr.Dataset(
        {
            "diverging": (("chain", "draw"), np.zeros((4, 300), dtype=bool)),
            "energy": (("chain", "draw"), np.random.default_rng(9).normal(size=(4, 300))),
        }
    )
    found = convergence(xr.DataTree.from_dict({"posterior": posterior, "sample_stats": stats}))
    assert found.r_hat_of == "effect[b, z]"
    assert found.r_hat > 1.5
    assert found.mode_gap == 0.0  # without loadings there are no modes to look for
