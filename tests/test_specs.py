"""Specs and study files: strict keys with suggestions, every fault at once, nothing defined by TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from safetystats.errors import StudyError
from safetystats.shelf import shelf_names, shelf_path
from safetystats.specs import FactorSpec, StudySpec, parse_spec, read_spec, read_study, read_toml

STUDY = 'title = "t"\nquestion = "q"\ntable = "helm-classic"\n'
FACTOR = shelf_path("models", "two-level.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str | bytes, name: str = "study.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


BAD_STUDIES: dict[str, tuple[str | bytes, str, str]] = {
    "unknown key": (STUDY + 'tabel = "x"\n', "tabel", 'did you mean "table"'),
    "unknown nested key": (STUDY + "[rope]\nlimits = 0.3\n", "rope.limits", 'did you mean "limit"'),
    "missing title": ('question = "q"\ntable = "x"\n', "title", "Add title"),
    "text for a number": (STUDY + 'seed = "7"\n', "seed", "Correct the value"),
    "number for text": (STUDY.replace('"t"', "3"), "title", "Correct the value"),
    "negative seed": (STUDY + "seed = -1\n", "seed", "greater than or equal to 0"),
    "level above one": (STUDY + "level = 95\n", "level", "less than 1"),
    "level not finite": (STUDY + "level = nan\n", "level", "Correct the value"),
    "rope above one": (STUDY + "[rope]\nlimit = 1.4\n", "rope.limit", "less than 1"),
    "class twice": (STUDY + 'classes = ["base", "base"]\n', "", "names one class twice"),
    "classes as text": (STUDY + 'classes = "base"\n', "classes", "Correct the value"),
    "boolean level": (STUDY + "level = true\n", "level", "Correct the value"),
    "broken toml": ("title = \n", "", "Correct the line it names"),
    "repeated key": (STUDY + 'title = "again"\n', "", "Correct the line it names"),
    "empty file": ("", "title", "Add title"),
    "latin-1": ('title = "caf\u00e9"\n'.encode("latin-1"), "", "Save the file as UTF-8"),
    "utf-16": (STUDY.encode("utf-16"), "", "Save the file as UTF-8"),
}


@pytest.mark.parametrize(("text", "column", "remedy"), BAD_STUDIES.values(), ids=BAD_STUDIES.keys())
def test_a_bad_study_file_says_what_and_how(tmp_path: Path, text: str | bytes, column: str, remedy: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(StudyError, match=r"study\.toml") as caught:
        read_study(path)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert remedy in message
    assert not column or f'column "{column}"' in message


def test_all_faults_of_a_file_are_reported_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, 'titel = "t"\nquestion = 3\nseed = "x"\n')
    with pytest.raises(StudyError, match="titel") as caught:
        read_study(path)
    assert {fault.column for fault in caught.value.faults} == {"titel", "title", "question", "table", "seed"}


@pytest.mark.parametrize("place", ["missing.toml", "."])
def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path, place: str) -> None:
    with pytest.raises(StudyError, match=r"expected a (TOML )?file"):
        read_toml(tmp_path / place)


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, STUDY)

    def refuse(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StudyError, match=r"expected a readable file, got Permission denied\. Check its permissions"):
        read_study(path)


def test_bom_and_crlf_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"\xef\xbb\xbf" + STUDY.replace("\n", "\r\n").encode())
    assert read_study(path).table == "helm-classic"


def test_an_unknown_name_is_answered_with_what_there_is() -> None:
    with pytest.raises(StudyError, match='did you mean "helm-classic"'):
        read_study("helm-clasic")
    with pytest.raises(StudyError, match='did you mean "two-level"'):
        read_spec("two-levl", "factor")


def test_a_spec_of_another_kind_is_refused() -> None:
    with pytest.raises(StudyError, match=r'expected "factor", got \'mixed\''):
        read_spec("class-mixed", "factor")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alpha = 6.0", "alhpa = 6.0", 'did you mean "alpha"'),
        ('family = "beta"', 'family = "cauchy"', "'beta'"),
        ("sigma = 0.25", "sigma = -0.25", "greater than 0"),
        ("chains = 4", "chains = 1", "greater than or equal to 2"),
        ("[priors.loading]", "[priors.loadings]", 'did you mean "loading"'),
        ('transform = "identity"', 'transform = "log"', "'identity', 'logit' or 'rank_normal'"),
        ("draws = 1000", "draws = 1000.5", "integer"),
        ("families = true", "families = 1", "boolean"),
        ("families = true", 'further = "unrestricted"', "n_further goes with further"),
        ("families = true", "n_further = 1", "n_further goes with further"),
        ("families = true", 'further = "areas"\nn_further = 1', "n_further goes with further"),
        ("families = true", 'further = "area"', "'none', 'unrestricted' or 'areas'"),
        ("families = true", 'measurement = "binomial"\ntransform = "logit"', 'needs transform = "identity"'),
        ('prior = "icc"', 'prior = "iccs"', "'icc'"),
        ('value = { family = "lognormal", mu = 0.0', 'value = { family = "normal", mu = 0.0', "another family"),
    ],
)
def test_a_spec_chooses_and_sets_but_never_defines(tmp_path: Path, old: str, new: str, message: str) -> None:
    own = FACTOR.replace('transform = "identity"\n', 'families = true\ntransform = "identity"\n', 1)
    if "transform" in new and "families" in old:
        own = own.replace('transform = "identity"\n', "", 1)
    path = write(tmp_path, own.replace(old, new, 1), "mine.toml")
    with pytest.raises(StudyError, match="mine") as caught:
        read_spec(path, "factor")
    assert message in str(caught.value)


def test_a_changed_prior_changes_the_fingerprint(tmp_path: Path) -> None:
    path = write(tmp_path, FACTOR.replace("alpha = 6.0", "alpha = 3.0", 1), "mine.toml")
    mine, shipped = read_spec(path, "factor"), read_spec("two-level", "factor")
    assert isinstance(mine, FactorSpec)
    assert mine.priors.capability_loading.alpha == 3.0
    assert mine.fingerprint != shipped.fingerprint


FACTORS = [
    name
    for name in shelf_names("models", ".toml")
    if read_toml(shelf_path("models", f"{name}.toml"))["kind"] == "factor"
]


def factor(name: str) -> FactorSpec:
    found = read_spec(name, "factor")
    assert isinstance(found, FactorSpec)
    return found


def test_shipped_factor_specs_differ_in_what_their_names_say() -> None:
    """Beside titles and references; two-level is the default of each field."""
    spoken = {
        "two-level": {},
        "one-factor": {"families": False},
        "k-factor": {"further": "unrestricted", "n_further": 1},
        "bifactor": {"further": "areas"},
        "two-level-rank": {"transform": "rank_normal"},
        "two-level-binomial": {"measurement": "binomial"},
    }
    assert set(FACTORS) == set(spoken)
    default = factor("two-level")
    for name, changes in spoken.items():
        own = factor(name)
        priors = own.priors.model_copy(update={"further_loading": default.priors.further_loading})
        same = {"title": default.title, "references": default.references, "priors": priors}
        assert own.model_copy(update=same) == default.model_copy(update={**changes}), name


@pytest.mark.parametrize("name", FACTORS)
def test_every_prior_has_a_reason_and_two_alternatives(name: str) -> None:
    spec = factor(name)
    stated = {key: prior for key, prior in dict(spec.priors).items() if key != "further_loading"}
    assert all(prior.reason for prior in dict(spec.priors).values())
    for key, prior in stated.items():
        others = [other for other in spec.alternatives if other.prior == key]
        assert len(others) == 2, key
        assert len({other.label for other in others}) == 2
        for other in others:
            changed = spec.with_prior(other)
            assert getattr(changed.priors, key) == other.value != prior
            rest = {each: value for each, value in dict(changed.priors).items() if each != key}
            assert rest == {each: value for each, value in dict(spec.priors).items() if each != key}
            assert changed.fingerprint != spec.fingerprint


@pytest.mark.parametrize("name", shelf_names("reports/recipes", ".toml"))
def test_every_shipped_study_names_specs_that_exist(name: str) -> None:
    study = read_study(name)
    for spec, kind in ((study.score, "score"), (study.factor, "factor"), (study.mixed, "mixed")):
        assert read_spec(spec, kind).title


def test_every_reference_of_a_spec_is_in_the_bibliography() -> None:
    bibliography = shelf_path("reports", "references.bib").read_text(encoding="utf-8")
    others = (
        ("class-mixed", "mixed"), ("class-invariance", "invariance"), ("class-crossed", "crossed"),
        ("score-2024", "score"),
    )  # fmt: skip
    for name, kind in (*((name, "factor") for name in FACTORS), *others):
        for key in read_spec(name, kind).references:
            assert f"{{{key}," in bibliography, f"{name} cites {key}"


def test_specs_are_frozen() -> None:
    study = parse_spec(StudySpec, {"title": "t", "question": "q", "table": "x"}, "here")
    with pytest.raises(ValueError, match="frozen"):
        study.title = "other"  # type: ignore[misc]
