"""The house rules that a machine can hold: imports go down, one library has one door, modules stay short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "safetystats"
FLOORS = ("base", "tables", "scores", "inference", "summaries", "reporting", "cli")
BASE = {"errors", "priors", "shelf", "spec_parts", "spec_questions", "specs"}
TOP = {"cli", "__main__", "__init__"}
LONGEST = 400
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_shelf" not in path.parts)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


DOORS = {
    "pymc": {"inference/factor.py", "inference/groups_graph.py"},
    "pytensor": {"inference/factor.py", "inference/groups_graph.py"},
    "nutpie": {"inference/nuts.py", "inference/sampling.py", "inference/density_sampling.py"},
    "numba": {"inference/native.py"},
    "statsmodels": {"inference/mixed.py"},
    "matplotlib": {name for path in MODULES if (name := name_of(path)).startswith("reporting/figure")},
    "pypandoc": {"reporting/writers.py"},
    "typst": {"reporting/pdf.py"},
    "jinja2": {"reporting/prose.py"},
    "pooch": {"tables/fetch.py"},
    "typer": {
        "cli.py",
        "cli_assess.py",
        "cli_pages.py",
        "cli_plan.py",
        "cli_relations.py",
        "cli_shelf.py",
    },
    "rich": {"cli.py", "cli_shelf.py", "reporting/progress.py"},
    "tomllib": {"specs.py", "tables/load.py"},
}


def floor_of(parts: list[str]) -> int:
    """Return the floor of a module named by its path below the package."""
    if len(parts) == 1 and parts[0] not in FLOORS:
        return FLOORS.index("base") if parts[0] in BASE else FLOORS.index("cli")
    return FLOORS.index(parts[0])


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            found.append(node.module or "")
            if node.module == "safetystats":
                found += [f"safetystats.{alias.name}" for alias in node.names if alias.name != "__version__"]
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    own = floor_of(name_of(path).removesuffix(".py").split("/"))
    for module in imports_of(path):
        parts = module.split(".")[1:]
        if module.startswith("safetystats.") and parts:
            assert floor_of(parts) <= own, f"{name_of(path)} imports {module}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_each_library_has_its_door(path: Path) -> None:
    for module in imports_of(path):
        doors = DOORS.get(module.split(".")[0])
        assert doors is None or name_of(path) in doors, f"{name_of(path)} imports {module}; its door is {doors}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_can_be_read_at_a_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_pass_nothing_through(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and name_of(path) != "tables/table.py":
            assert node.args.kwarg is None or node.args.kwarg.annotation is not None
            assert node.args.kwarg is None or node.name == "with_attrs", f"{name_of(path)}: {node.name} takes **kwargs"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_table_floors_do_not_print(path: Path) -> None:
    if name_of(path) not in ("cli.py",):
        assert not re.search(r"^\s*print\(", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_compiled_functions_call_those_of_their_own_file_alone() -> None:
    """Machine code that is kept on disk is made anew only when the file of the function itself changes."""

    def made(path: Path) -> set[str]:
        tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        nodes = [node for node in tree if isinstance(node, ast.ImportFrom)]
        names = {a.name for node in nodes if node.module == "safetystats.inference.native" for a in node.names}
        return names & {"compiled", "callback"}

    kernels = {f"safetystats.{name_of(path)[:-3].replace('/', '.')}": path for path in MODULES if made(path)}
    assert len(kernels) == 2
    for name, path in kernels.items():
        others = set(imports_of(path)) & (set(kernels) - {name})
        assert not others, f"{name} has compiled functions and imports {others}"
