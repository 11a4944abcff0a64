"""Specs: what a study asks for and how each analysis is set. TOML chooses and sets; it never defines.

Every spec is a frozen pydantic value with strict keys. Reading a file reports all its faults, and suggests keys.
The JSON of a spec is part of the identity of every fit made with it.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from safetystats.errors import Fault, StudyError, suggest
from safetystats.priors import CrossedPriors as CrossedPriors
from safetystats.priors import FactorPriors as FactorPriors
from safetystats.priors import InvariancePriors as InvariancePriors
from safetystats.shelf import shelf_names, shelf_path
from safetystats.spec_parts import BetaPrior as BetaPrior
from safetystats.spec_parts import Gates as Gates
from safetystats.spec_parts import HalfNormalPrior as HalfNormalPrior
from safetystats.spec_parts import LogNormalPrior as LogNormalPrior
from safetystats.spec_parts import NormalPrior as NormalPrior
from safetystats.spec_parts import Positive as Positive
from safetystats.spec_parts import Probability as Probability
from safetystats.spec_parts import SamplingPlan as SamplingPlan
from safetystats.spec_parts import Spec as Spec
from safetystats.spec_questions import QUICK_QUESTIONS as QUICK_QUESTIONS
from safetystats.spec_questions import Questions as Questions

ScoreMethod = Literal["spearman_pca_2024", "pearson_pca", "mean_z", "ml_factor"]
Interval = Literal["bca", "family_bootstrap", "bayesian_bootstrap", "fisher"]
CorrelationMethod = Literal["spearman_2024", "spearman", "kendall", "pearson"]


Prior = Annotated[BetaPrior | LogNormalPrior | NormalPrior, Field(discriminator="family")]


class PriorAlternative(Spec):
    """One other prior that the fit is repeated with, to see what the stated one decides."""

    prior: Literal["capability_loading", "loading", "total_sd", "icc", "capability_icc", "intercept"]
    label: str
    value: Prior


class CutPlan(Spec):
    """How the cut posterior is computed: conjugate candidates per capability draw and grid cells for kappa."""

    candidates: Annotated[int, Field(ge=8, le=1024)] = 48
    icc_cells: Annotated[int, Field(ge=8, le=512)] = 48


class PairedPlan(Spec):
    """How classes are paired: the prior of (psi + 1) / 2, and draws of capability, each with draws of parameters."""

    pairing: BetaPrior = BetaPrior(family="beta", alpha=1.0, beta=1.0, reason="uniform: any correlation is as likely")
    capability_draws: Annotated[int, Field(ge=20, le=10_000)] = 300
    draws_each: Annotated[int, Field(ge=16, le=64)] = 32


class FactorSpec(Spec):
    """The latent capability model and what hangs on it.

    `families`: whether models of one family share capability and residuals (omega and kappa are zero otherwise).
    `further`: factors beside capability; "unrestricted" (`n_further` of them, on which every capability benchmark
    loads) or "areas" (one for every area with two or more capability benchmarks). `measurement`: scores are taken as
    exact, or as having the binomial sampling error of their items where these are known. `alternatives`: priors that
    the fit is repeated with.
    """

    kind: Literal["factor"]
    title: str
    references: tuple[str, ...] = ()
    transform: Literal["identity", "logit", "rank_normal"] = "identity"
    families: bool = True
    further: Literal["none", "unrestricted", "areas"] = "none"
    n_further: Annotated[int, Field(ge=0, le=4)] = 0
    measurement: Literal["exact", "binomial"] = "exact"
    priors: FactorPriors
    alternatives: tuple[PriorAlternative, ...] = ()
    sampling: SamplingPlan = SamplingPlan()
    gates: Gates = Gates()
    cut: CutPlan = CutPlan()
    paired: PairedPlan = PairedPlan()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.n_further > 0) != (self.further == "unrestricted"):
            raise ValueError('n_further goes with further = "unrestricted", and must then be at least 1')
        if self.measurement == "binomial" and self.transform != "identity":
            raise ValueError(
                'measurement = "binomial" needs transform = "identity": items give the error of raw scores'
            )
        for other in self.alternatives:
            if other.value.family != getattr(self.priors, other.prior).family:
                raise ValueError(f"the alternative {other.label} of {other.prior} is of another family of densities")
        return self

    def with_prior(self, other: PriorAlternative) -> FactorSpec:
        """Return this spec with one prior replaced."""
        return self.model_copy(update={"priors": self.priors.model_copy(update={other.prior: other.value})})


class MixedSpec(Spec):
    """Mixed-effects comparison of model classes: score ~ capability * class + (1 | group).

    `capability`: "latent" (posterior mean of a factor model, its draws pooled by multiple imputation beside it), "mean"
    (of the z-scored capability benchmarks) or "pca" (their first principal component), over all classes together.
    `groups`: what the random intercept stands for, each in turn; the report shows the first. `imputations`: draws of
    latent capability. `replicates`: simulated responses behind a p-value, `replicates_small` those in all where it is
    at most 0.1; without replicates p-values are those of likelihood ratios.
    """

    kind: Literal["mixed"]
    title: str
    references: tuple[str, ...] = ()
    capability: Literal["latent", "mean", "pca"] = "latent"
    groups: tuple[Literal["lineage", "family"], ...] = ("lineage", "family")
    imputations: Annotated[int, Field(ge=2, le=10_000)] = 50
    replicates: Annotated[int, Field(ge=0, le=1_000_000)] = 999
    replicates_small: Annotated[int, Field(ge=0, le=1_000_000)] = 9999

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.groups or len(set(self.groups)) != len(self.groups):
            raise ValueError("groups names lineage, family, or both, each once")
        if self.replicates_small < self.replicates:
            raise ValueError("replicates_small is at least replicates")
        return self


class CrossedSpec(Spec):
    """One Bayesian model of all benchmarks at once: benchmarks in areas, models in lineages, model classes."""

    kind: Literal["crossed"]
    title: str
    references: tuple[str, ...] = ()
    transform: Literal["identity", "logit", "rank_normal"] = "identity"
    priors: CrossedPriors
    sampling: SamplingPlan = SamplingPlan()
    gates: Gates = Gates()


class InvarianceRule(Spec):
    """When a difference in elpd between nested models of invariance counts: `elpd` and `errors` standard errors."""

    elpd: Positive = 4.0
    errors: Positive = 2.0
    reason: str = "below four the standard error of a difference is itself not to be relied on (Sivula et al. 2020)"


class InvarianceSpec(Spec):
    """Common capability scale of several model classes, and how its measurement invariance is checked."""

    kind: Literal["invariance"]
    title: str
    references: tuple[str, ...] = ()
    priors: InvariancePriors
    rule: InvarianceRule = InvarianceRule()
    sampling: SamplingPlan = SamplingPlan()
    gates: Gates = Gates()


class ScoreSpec(Spec):
    """The closed-form capability score, its correlations, and their intervals."""

    kind: Literal["score"]
    title: str
    references: tuple[str, ...] = ()
    method: ScoreMethod = "spearman_pca_2024"
    correlations: tuple[CorrelationMethod, ...] = ("spearman_2024", "spearman", "kendall", "pearson")
    intervals: tuple[Interval, ...] = ("bca", "family_bootstrap", "bayesian_bootstrap", "fisher")
    resamples: Annotated[int, Field(ge=100, le=100_000)] = 2000


class Rope(Spec):
    """Region of practical equivalence for rho, probability that a verdict needs, and the region for differences."""

    limit: Probability = 0.40
    probability: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    difference: Probability = 0.10
    reason: str = "the only threshold in Ren et al. (2024), who call correlations below 40 % low"


class Scrutiny(Spec):
    """How thoroughly the factor model is checked; what is left out is reported as not run.

    `compare`: factor specs set beside the study's own by leave-one-out. `prior_grid`: repeat the fit with the spec's
    alternative priors. `exact_refits`: where importance sampling of leave-one-out fails, fit without the unit.
    `invariance`: compare models of measurement invariance over classes.
    """

    compare: tuple[str, ...] = ("one-factor",)
    prior_grid: bool = True
    exact_refits: bool = True
    invariance: bool = True


QUICK = Scrutiny(compare=(), prior_grid=False, exact_refits=False, invariance=False)


class StudySpec(Spec):
    """What is asked of which table, with which specs."""

    title: str
    question: str
    table: str
    classes: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    score: str = "score-2024"
    factor: str = "two-level"
    mixed: str = "class-mixed"
    crossed: str = "class-crossed"
    invariance: str = "class-invariance"
    level: Probability = 0.95
    rope: Rope = Rope()
    scrutiny: Scrutiny = Scrutiny()
    questions: Questions = Questions()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 20240731

    @model_validator(mode="after")
    def _classes_differ(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names one class twice")
        return self


_KINDS: dict[str, type[Spec]] = {
    "crossed": CrossedSpec,
    "factor": FactorSpec,
    "invariance": InvarianceSpec,
    "mixed": MixedSpec,
    "score": ScoreSpec,
}
AnySpec = CrossedSpec | FactorSpec | InvarianceSpec | MixedSpec | ScoreSpec


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file; a file that cannot be read or parsed raises StudyError."""
    name = str(path)
    if path.is_dir():
        raise _stop(name, "a TOML file", "a folder", "Name the file in it.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise _stop(name, "a file", "nothing at this path", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise _stop(name, "UTF-8 text", "other bytes", "Save the file as UTF-8.") from error
    except OSError as error:
        raise _stop(name, "a readable file", str(error.strerror), "Check its permissions.") from error
    try:
        return tomllib.loads(text.replace("\r\n", "\n"))
    except tomllib.TOMLDecodeError as error:
        raise _stop(name, "valid TOML", str(error), "Correct the line it names.") from error


def _stop(file: str, expected: str, got: str, remedy: str) -> StudyError:
    return StudyError([Fault(file=file, expected=expected, got=got, remedy=remedy)])


def parse_spec[S: Spec](kind: type[S], content: dict[str, Any], file: str) -> S:
    """Return the validated spec; every fault of the file is in one StudyError.

    Parameters
    ----------
    kind : type
        Which spec to make.
    content : dict
        Parsed TOML.
    file : str
        Name for the messages.
    """
    try:
        return kind.model_validate(_tuples(content))
    except ValidationError as error:
        raise StudyError([_fault(kind, file, dict(detail)) for detail in error.errors()]) from error


def spec_path(name_or_path: str | Path) -> Path:
    """Return the file of a spec on the models shelf, or of one's own (a path that ends in .toml)."""
    return _resolve(name_or_path, "models")


def read_spec(name_or_path: str | Path, kind: str) -> AnySpec:
    """Return the spec named on the models shelf, or in a file of one's own (a path that ends in .toml)."""
    content = read_toml(spec_path(name_or_path))
    found = content.get("kind")
    if found != kind:
        near = suggest(str(found), [kind])
        raise StudyError(
            [
                Fault(
                    file=str(name_or_path),
                    column="kind",
                    expected=f'"{kind}"',
                    got=repr(found) if found is not None else "no such key",
                    remedy=f"Name a {kind} spec here{near}.",
                )
            ]
        )
    spec = parse_spec(_KINDS[kind], content, str(name_or_path))
    assert isinstance(spec, AnySpec)
    return spec


def read_study(name_or_path: str | Path) -> StudySpec:
    """Return the study named in reports/recipes, or in a file of one's own (a path that ends in .toml).

    Paths in a study file, of the table or of specs, are relative to the folder of the file.
    """
    path = _resolve(name_or_path, "reports/recipes")
    study = parse_spec(StudySpec, read_toml(path), str(name_or_path))
    if path.parent == shelf_path("reports", "recipes"):
        return study
    own = {name: getattr(study, name) for name in ("score", "factor", "mixed", "crossed", "invariance")}
    moved: dict[str, Any] = {name: str(path.parent / spec) for name, spec in own.items() if spec.endswith(".toml")}
    compare = tuple(str(path.parent / s) if s.endswith(".toml") else s for s in study.scrutiny.compare)
    moved["scrutiny"] = study.scrutiny.model_copy(update={"compare": compare})
    if study.table != "ren2024" and study.table not in shelf_names("data"):
        moved["table"] = str(path.parent / Path(study.table).expanduser())
    return study.model_copy(update=moved)


def _resolve(name_or_path: str | Path, folder: str) -> Path:
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml"):
        return Path(name_or_path)
    known = shelf_names(folder, ".toml")
    if folder == "reports/recipes" and (text.endswith((".csv", ".parquet")) or Path(text).is_dir()):
        raise _stop(
            text,
            "a study: a name, or a file that ends in .toml",
            "a table",
            f'Write a study file with title, question and table = "{text}", and run that.',
        )
    if text in known:
        return shelf_path(*folder.split("/"), f"{text}.toml")
    raise _stop(
        text,
        f"one of {', '.join(known)}, or the path of a .toml file",
        f'"{text}"',
        f"Choose one of them{suggest(text, known)}",
    )


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return value


def _fault(kind: type[Spec], file: str, detail: dict[str, Any]) -> Fault:
    place = tuple(str(part) for part in detail["loc"])
    key = ".".join(place) or None
    if detail["type"] == "extra_forbidden":
        known = _keys_at(kind, place[:-1])
        return Fault(
            file=file,
            column=key,
            expected=f"one of the keys {', '.join(known)}",
            got=f'the unknown key "{place[-1]}"',
            remedy=f"Remove or rename it{suggest(place[-1], known)}",
        )
    if detail["type"] == "missing":
        return Fault(file=file, column=key, expected="a value", got="no such key", remedy=f"Add {key}.")
    shown = "a section" if isinstance(value := detail.get("input"), dict) else repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        shown = "a number that is not finite"
    message = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    return Fault(file=file, column=key, expected=message, got=shown, remedy="Correct the value.")


def _keys_at(kind: type[Spec], place: tuple[str, ...]) -> list[str]:
    for part in place:
        annotation = kind.model_fields[part].annotation if part in kind.model_fields else None
        if isinstance(annotation, type) and issubclass(annotation, Spec):
            kind = annotation
    return list(kind.model_fields)
