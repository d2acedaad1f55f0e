"""The workspace: one version, lists that agree, modules of a size that can be read, hooks that somebody uses."""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from meshcentral import __version__
from meshcentral.plugins.hookspecs import Specs
from meshcentral.plugins.validation import KINDS, spec_arguments

ROOT = Path(__file__).parents[2]
LONGEST_MODULE = 500


def _project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())
    return project


ROOT_PROJECT = _project(ROOT)
PATTERNS = ROOT_PROJECT["tool"]["uv"]["workspace"]["members"]
MEMBERS = [
    folder for pattern in PATTERNS for folder in sorted(ROOT.glob(pattern)) if (folder / "pyproject.toml").is_file()
]
TOP_LEVEL = ("meshcentral", "protocol", "cli", "plugins", "tests", "bench")


def _sources(*, tests: bool) -> Iterator[Path]:
    for name in TOP_LEVEL:
        for path in sorted((ROOT / name).rglob("*.py")):
            if tests or "tests" not in path.relative_to(ROOT).parts:
                yield path


def test_all_distributions_have_one_version() -> None:
    versions = {folder.name: _project(folder)["project"]["version"] for folder in (ROOT, *MEMBERS)}
    assert set(versions.values()) == {__version__}, versions


def test_the_development_requirements_are_the_members() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    members = {"-e .", *(f"-e ./{folder.relative_to(ROOT)}" for folder in MEMBERS)}
    assert set(lines) == members
    assert len(lines) == len(members)


def test_every_member_is_a_source_of_the_workspace_and_every_plugin_is_in_the_extra_all() -> None:
    names = {_project(folder)["project"]["name"] for folder in MEMBERS}
    assert set(ROOT_PROJECT["tool"]["uv"]["sources"]) == names | {"meshcentral"}
    extra = ROOT_PROJECT["project"]["optional-dependencies"]["all"]
    assert {name for name in extra if "[" not in name} == names - {"meshcentral-protocol"}


def test_members_need_the_server_of_their_own_version() -> None:
    major, minor, _ = __version__.split(".")
    wanted = f">={major}.{minor},<{major}.{int(minor) + 1}"
    for folder in (ROOT, *MEMBERS):
        for requirement in _project(folder)["project"].get("dependencies", []):
            if requirement.startswith("meshcentral"):
                assert requirement.endswith(wanted), f"{folder.name}: {requirement}"


@pytest.mark.parametrize("group", ["meshcentral", "pytest11", "console_scripts"])
def test_entry_points_resolve(group: str) -> None:
    ours = [point for point in entry_points(group=group) if point.dist and point.dist.name.startswith("meshcentral")]
    assert ours
    for entry_point in ours:
        assert callable(entry_point.load()) or inspect.ismodule(entry_point.load()), entry_point


def test_typed_packages_say_so() -> None:
    for folder in (ROOT, *MEMBERS):
        [package] = _project(folder)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert (folder / package / "py.typed").is_file(), folder


def test_no_module_is_too_long_to_read() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in _sources(tests=True)
        if (lines := len(path.read_text().splitlines())) > LONGEST_MODULE
    }
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources(tests=False)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


# -- hooks --------------------------------------------------------------------------------------------------------


def _marked(path: Path) -> Iterator[str]:
    """Names of the hooks that functions marked `@hookimpl` in a file implement."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id="hookimpl") | ast.Attribute(attr="hookimpl"):
                    yield node.name
                case ast.Call(func=ast.Name(id="hookimpl") | ast.Attribute(attr="hookimpl"), keywords=keywords):
                    named = [word.value for word in keywords if word.arg == "specname"]
                    yield ast.literal_eval(named[0]) if named else node.name


def test_a_hook_enters_only_with_its_first_user() -> None:
    used = {name for path in _sources(tests=False) for name in _marked(path)}
    unused = set(spec_arguments(Specs)) - used
    assert not unused, f"nobody implements {', '.join(sorted(unused))}"


def test_every_hook_keeps_the_contract_of_its_name() -> None:
    for name, arguments in spec_arguments(Specs).items():
        function = getattr(Specs, name)
        assert name.startswith(KINDS), name
        assert inspect.getdoc(function), name
        assert arguments[0] == "server", name
        assert inspect.iscoroutinefunction(function) is not name.startswith("register_"), name
