"""Who may import whom (architecture, section 3). Every source file is parsed; nothing is imported.

Imports below `if TYPE_CHECKING:` are free: they draw no arrow at run time.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

FIRST_PARTY = "meshcentral"
DYNAMIC_IMPORTERS = {
    "meshcentral.plugins": "loads its names on first use",
    "meshcentral_cli.main": "loads the module of a noun when the noun is used",
}


@dataclass(frozen=True)
class Member:
    """One distribution of the workspace."""

    folder: Path
    project: Mapping[str, Any]

    @property
    def name(self) -> str:
        name: str = self.project["name"]
        return name

    @property
    def package(self) -> Path:
        """The folder of its import package."""
        import_name = self.name.replace("-", "_")
        source = self.folder / "src" / import_name
        return source if source.is_dir() else self.folder / import_name

    @property
    def dependencies(self) -> set[str]:
        """Normalised names of all that it may need, extras included."""
        optional = self.project.get("optional-dependencies", {}).values()
        return {_distribution(text) for group in (self.project.get("dependencies", []), *optional) for text in group}

    @property
    def is_plugin(self) -> bool:
        return self.folder.parent.name == "plugins"


@dataclass(frozen=True)
class Import:
    """One arrow: `source` imports `target` (a module or a name in one) at `line`."""

    source: str
    target: str
    line: int
    deferred: bool
    """Inside a function: it happens when that runs, not when the module loads."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def _distribution(requirement: str) -> str:
    name = requirement.split(";")[0]
    for mark in "<>=!~[ ":
        name = name.split(mark)[0]
    return name.strip().lower().replace("_", "-")


def _members() -> list[Member]:
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["workspace"]["members"]
    folders = [ROOT, *(folder for pattern in workspace for folder in sorted(ROOT.glob(pattern)))]
    return [
        Member(folder, tomllib.loads((folder / "pyproject.toml").read_text())["project"])
        for folder in folders
        if (folder / "pyproject.toml").is_file()
    ]


MEMBERS = _members()
FILES: dict[str, tuple[Member, Path]] = {
    ".".join(path.relative_to(member.package.parent).with_suffix("").parts).removesuffix(".__init__"): (member, path)
    for member in MEMBERS
    for path in sorted(member.package.rglob("*.py"))
}
TREES = {module: ast.parse(path.read_text(), str(path)) for module, (_, path) in FILES.items()}


def _is_type_checking(node: ast.AST) -> bool:
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING")):
            return True
        case _:
            return False


def _statements(node: ast.AST, deferred: bool = False) -> Iterator[tuple[ast.AST, bool]]:
    """All nodes that can run, with whether they are inside a function."""
    for child in node.orelse if isinstance(node, ast.If) and _is_type_checking(node) else ast.iter_child_nodes(node):
        yield child, deferred
        yield from _statements(
            child, deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        )


def _imports_of(module: str) -> Iterator[Import]:
    for node, deferred in _statements(TREES[module]):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    yield Import(module, alias.name, node.lineno, deferred)
            case ast.ImportFrom(module=str(base), names=names, level=0):
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    yield Import(module, inner if inner in FILES else base, node.lineno, deferred)
            case ast.ImportFrom(level=level) if level:
                pytest.fail(f"{module}:{node.lineno}: relative import; write the whole name")


IMPORTS = [found for module in FILES for found in _imports_of(module)]


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@dataclass(frozen=True)
class Rule:
    """What the modules of one layer may import besides the standard library and their own layer."""

    own: tuple[str, ...]
    first_party: tuple[str, ...] = ()
    deferred: tuple[str, ...] = ()
    """First-party packages that may be imported inside functions only."""
    third_party: tuple[str, ...] = ()

    def allows(self, found: Import) -> bool:
        if within(found.target, *self.own, *self.first_party, *self.third_party):
            return True
        return found.deferred and within(found.target, *self.deferred)


API = ("meshcentral.plugins", "meshcentral_protocol")

# The first entry whose package holds the module counts.
LAYERS: dict[str, Rule] = {
    "meshcentral_protocol": Rule(own=("meshcentral_protocol",), third_party=("cryptography",)),
    # The harness is part of the public API, and starts a real core.
    "meshcentral.plugins.pytest_plugin": Rule(own=API, third_party=("pytest",)),
    "meshcentral.plugins.testing": Rule(
        own=API, deferred=("meshcentral.core",), third_party=("cryptography", "pydantic", "websockets")
    ),
    "meshcentral.plugins": Rule(
        own=("meshcentral.plugins",), first_party=("meshcentral_protocol",), third_party=("pluggy", "pydantic")
    ),
    "meshcentral.core": Rule(
        own=("meshcentral.core",),
        first_party=("meshcentral", *API),
        third_party=(
            *("alembic", "cryptography", "h11", "hypercorn", "pydantic", "pydantic_core", "quart"),
            *("sqlalchemy", "sqlmodel", "uvloop", "websockets", "werkzeug"),
        ),
    ),
    "meshcentral_cli": Rule(
        own=("meshcentral_cli",),
        first_party=API,
        deferred=("meshcentral", "meshcentral.core"),
        third_party=("rich", "typer", "websockets"),
    ),
    "meshcentral": Rule(own=()),
}


def _rule_for(module: str) -> Rule:
    member, _ = FILES[module]
    if not member.is_plugin:
        return next(rule for package, rule in LAYERS.items() if within(module, package))
    own = member.package.name
    apis = tuple(f"{name.replace('-', '_')}.api" for name in member.dependencies if _is_plugin_distribution(name))
    provided = packages_distributions()
    third = tuple(
        package
        for package, distributions in provided.items()
        if {_distribution(name) for name in distributions} & member.dependencies and not within(package, FIRST_PARTY)
    )
    # Tables are made with the core's own tools; they need no second declaration.
    implied = ("sqlalchemy", "alembic") if "sqlmodel" in member.dependencies else ()
    return Rule(own=(own,), first_party=(*API, *apis), third_party=(*third, *implied, "pydantic"))


def _is_plugin_distribution(name: str) -> bool:
    return any(member.is_plugin and member.name == name for member in MEMBERS)


@pytest.mark.parametrize("module", FILES)
def test_a_module_imports_only_what_its_layer_may(module: str) -> None:
    rule = _rule_for(module)
    wrong = [
        str(found)
        for found in IMPORTS
        if found.source == module
        and found.target.split(".")[0] not in sys.stdlib_module_names
        and not rule.allows(found)
    ]
    assert not wrong, "; ".join(wrong)


def test_the_command_line_reaches_the_core_in_one_place() -> None:
    places = {
        found.source
        for found in IMPORTS
        if within(found.source, "meshcentral_cli") and within(found.target, "meshcentral.core")
    }
    allowed = ("meshcentral_cli.offline", "meshcentral_cli.commands.init", "meshcentral_cli.commands.serve")
    assert all(within(place, *allowed) for place in places), places


def test_pluggable_markers_do_not_hide_imports() -> None:
    """`__import__`, `exec` and import_module with computed names would draw arrows that this test does not see."""
    wrong = []
    for module, tree in TREES.items():
        for node, _ in _statements(tree):
            match node:
                case ast.Call(func=ast.Name(id="__import__" | "exec" | "eval" as name)):
                    wrong.append(f"{module}:{node.lineno} calls {name}")
                case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module")):
                    if module not in DYNAMIC_IMPORTERS:
                        wrong.append(f"{module}:{node.lineno} imports by a computed name")
    assert not wrong, "; ".join(wrong)


def _circle(arrows: Iterable[tuple[str, str]]) -> list[str]:
    graph: dict[str, set[str]] = {}
    for source, target in arrows:
        if source != target:
            graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def _first_party(name: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for found in IMPORTS:
        if found.target in FILES:
            yield name(found.source), name(found.target)


def test_no_modules_import_each_other_in_a_circle() -> None:
    circle = _circle(_first_party(lambda module: module))
    assert not circle, " -> ".join(circle)


def test_no_parts_depend_on_each_other_in_a_circle() -> None:
    """The same for what a drawing shows: the packages and modules directly below each layer."""

    def part(module: str) -> str:
        layer = next(package for package in (*LAYERS, module.split(".")[0]) if within(module, package))
        below = module.removeprefix(layer).lstrip(".").split(".")[0]
        return f"{layer}.{below}" if below else layer

    circle = _circle(_first_party(part))
    assert not circle, " -> ".join(circle)


# -- plugins ------------------------------------------------------------------------------------------------------


def _plugin_classes() -> Iterator[tuple[Member, str, ast.ClassDef]]:
    """Every plugin that an entry point names: its distribution, its name, its class."""
    for member in MEMBERS:
        for name, reference in member.project.get("entry-points", {}).get("meshcentral", {}).items():
            module, _, class_name = reference.partition(":")
            if module not in TREES:
                pytest.fail(f"{member.name}: the entry point {name} names {module}, which does not exist")
            classes = [
                node for node in TREES[module].body if isinstance(node, ast.ClassDef) and node.name == class_name
            ]
            assert classes, f"{member.name}: the entry point {name} names {reference}, which does not exist"
            yield member, name, classes[0]


def _assigned(class_definition: ast.ClassDef, attribute: str) -> Any:
    """The literal value of a class attribute, None when it is not set."""
    for node in class_definition.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name == attribute:
                return ast.literal_eval(value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value) if name == attribute:
                return ast.literal_eval(value)
    return None


def test_entry_points_name_plugin_classes_of_the_same_name() -> None:
    for member, name, definition in _plugin_classes():
        assert _assigned(definition, "name") == name, f"{member.name}: {definition.name}"


def test_required_plugins_are_declared_dependencies_and_the_reverse() -> None:
    home = {name: member.name for member, name, _ in _plugin_classes()}
    required: dict[str, set[str]] = {member.name: set() for member in MEMBERS if member.is_plugin}
    for member, name, definition in _plugin_classes():
        for other in _assigned(definition, "requires") or ():
            assert other in home, f"{name} requires {other}, which no distribution of the workspace has"
            if home[other] != member.name:
                required[member.name].add(home[other])
    declared = {
        member.name: {name for name in member.dependencies if _is_plugin_distribution(name)}
        for member in MEMBERS
        if member.is_plugin
    }
    assert declared == required


def test_plugin_modules_are_light() -> None:
    """What an entry point names is imported at every start: heavy libraries wait until they are needed."""
    modules = {
        reference.partition(":")[0]
        for member in MEMBERS
        for reference in member.project.get("entry-points", {}).get("meshcentral", {}).values()
    }
    heavy = ("sqlmodel", "sqlalchemy", "cryptography", "argon2")
    wrong = [
        str(found)
        for found in IMPORTS
        if found.source in modules and not found.deferred and within(found.target, *heavy)
    ]
    assert not wrong, "; ".join(wrong)


# -- the rules themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "target", "deferred", "allowed"),
    [
        ("meshcentral_protocol", "cryptography.x509", False, True),
        ("meshcentral_protocol", "meshcentral.plugins.errors", False, False),
        ("meshcentral.plugins", "meshcentral.core.server", True, False),
        ("meshcentral.plugins", "meshcentral", False, False),
        ("meshcentral.plugins.testing", "meshcentral.core.server", True, True),
        ("meshcentral.plugins.testing", "meshcentral.core.server", False, False),
        ("meshcentral.core", "meshcentral_control.accounts", True, False),
        ("meshcentral_cli", "meshcentral.core.server", False, False),
        ("meshcentral_cli", "meshcentral_agents.npm", True, False),
        ("meshcentral_cli", "quart", True, False),
    ],
)
def test_the_rules_say_what_the_plan_says(layer: str, target: str, deferred: bool, allowed: bool) -> None:
    assert LAYERS[layer].allows(Import(layer, target, 1, deferred)) is allowed


def test_circles_are_found_and_type_checking_is_free() -> None:
    assert _circle([("a", "b"), ("b", "c")]) == []
    assert set(_circle([("a", "b"), ("b", "c"), ("c", "a")])) == {"a", "b", "c"}
    source = "if TYPE_CHECKING:\n    import one\nelse:\n    import two\ndef f():\n    import three\n"
    found = {
        (alias.name, deferred)
        for node, deferred in _statements(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert found == {("two", False), ("three", True)}
