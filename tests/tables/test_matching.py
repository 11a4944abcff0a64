"""Names in somebody's file: the model that is meant, or none, and never one that is merely alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safetystats.errors import DataError
from safetystats.tables.load import load_table
from safetystats.tables.matching import HOWS, check_matches, match_models, normal_name
from safetystats.tables.sheet import FaultList

KNOWN = {
    "acme/Model-1.1-8B": ("Model 1.1 8B",),
    "acme/Model-11-8B": (),
    "acme/large-20240718": ("Large (2024-07-18)",),
    "acme/large-20240718-thinking": ("Large (2024-07-18, thinking)",),
    "other/command-r": (),
    "other/command-r+": (),
    "Llama-2-7b-hf": (),
}
TABLES = ("helm-classic", "chat-2025")


def known_of(table: str) -> dict[str, tuple[str, ...]]:
    return {str(model): (str(name),) for model, name in load_table(table).models["name"].items()}


@pytest.mark.parametrize(
    ("given_name", "model", "how"),
    [
        ("acme/Model-1.1-8B", "acme/Model-1.1-8B", "exact"),
        ("Model 1.1 8B", "acme/Model-1.1-8B", "exact"),
        ("ACME/model_1-1 8b", "acme/Model-1.1-8B", "spelling"),
        ("model-1-1-8b", "acme/Model-1.1-8B", "spelling"),  # as its printed name
        ("model11-8b", "acme/Model-11-8B", "organisation"),
        ("someone/Model-11-8B", "acme/Model-11-8B", "organisation"),
        ("acme/large-2024-07-18", "acme/large-20240718", "spelling"),
        ("meta/Llama-2-7b", "Llama-2-7b-hf", "version"),
        ("Command R+", "other/command-r+", "organisation"),
        ("command-r", "other/command-r", "organisation"),
        ("Model-1.1-80B", "", "none"),
        ("acme/large-20250101", "", "none"),
        ("", "", "none"),
    ],
)
def test_what_a_name_means(given_name: str, model: str, how: str) -> None:
    (found,) = match_models([given_name], KNOWN)
    assert (found.given, found.model, found.how) == (given_name, model, how)
    assert found.how in HOWS


def test_the_words_name_what_was_compared() -> None:
    by_printed, by_identifier = match_models(["model-1-1-8b", "someone/Model-11-8B"], KNOWN)
    assert by_printed.through == "Model 1.1 8B"
    assert by_printed.why.endswith('"Model 1.1 8B" is another name of it')
    assert by_identifier.through == by_identifier.model
    assert by_identifier.why == HOWS["organisation"]


def test_a_name_that_could_be_two_models_is_not_decided() -> None:
    (found,) = match_models(["large"], KNOWN)
    # The bracket of the printed names and the date of the identifier are both left out.
    assert (found.model, found.how) == ("", "ambiguous")
    assert found.others == ("acme/large-20240718", "acme/large-20240718-thinking")


def test_what_is_alike_is_suggested_and_not_taken() -> None:
    (found,) = match_models(["acme/Model-1.1-80B"], KNOWN)
    assert found.model == ""
    assert found.others[0] == "acme/Model-1.1-8B"


def test_faults_name_the_line_and_come_all_at_once() -> None:
    names = ["large", "acme/Model-1.1-8B", "model 1.1 8b", "unknown"]
    faults = FaultList()
    check_matches(match_models(names, KNOWN), "mine.csv", [2, 3, 4, 5], faults)
    with pytest.raises(DataError) as caught:
        faults.raise_if_any()
    ambiguous, twice = caught.value.faults
    assert (ambiguous.row, twice.row) == (2, 4)
    assert "acme/large-20240718-thinking" in ambiguous.got
    assert 'as "acme/Model-1.1-8B" (row 3) is' in twice.got


@pytest.mark.parametrize("table", TABLES)
def test_every_model_of_a_table_is_found_by_each_of_its_names(table: str) -> None:
    known = known_of(table)
    named = {
        name: model
        for model, others in known.items()
        for name in (model, *others, model.upper(), model.replace("-", "_"), model.split("/")[-1])
    }
    assert {match.given: match.model for match in match_models(named, known)} == named


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_case_and_separators_do_not_matter(data: st.DataObject) -> None:
    model = data.draw(st.sampled_from(sorted(KNOWN)))
    changed = "".join(
        data.draw(st.sampled_from("-_ .")) if ch in "-_ ." else data.draw(st.sampled_from([ch.lower(), ch.upper()]))
        for ch in model
    )
    assert normal_name(changed) == normal_name(model)
    assert match_models([changed], KNOWN)[0].model == model


@given(first=st.integers(0, 999), second=st.integers(0, 999))
def test_numbers_are_not_run_together(first: int, second: int) -> None:
    assert normal_name(f"m{first}.{second}") != normal_name(f"m{first}{second}")
