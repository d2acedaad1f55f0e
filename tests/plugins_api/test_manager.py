"""Plugins that are wrong in every way we know: the others load, and the record says what is the matter."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from meshcentral.plugins.errors import ConfigurationError, NotReady
from meshcentral.plugins.hookspecs import hookimpl, hookspec
from meshcentral.plugins.manager import PluginManager, load_order
from meshcentral.plugins.plugin import API_VERSION, Plugin
from meshcentral.plugins.records import PluginRecord, State
from meshcentral.plugins.services import Service

SERVER: Any = SimpleNamespace()


class Good(Plugin):
    """Declares one service, whatever happens around it."""

    name = "good"

    @hookimpl
    def register_services(self) -> Iterable[Service]:
        return [Service("good", self._run)]

    async def _run(self) -> None:
        return None


def loaded(*classes: type[Plugin], disabled: Iterable[str] = ()) -> PluginManager:
    manager = PluginManager(disabled=tuple(disabled))
    manager.load(classes=[Good, *classes])
    return manager


def only(manager: PluginManager, name: str) -> PluginRecord:
    [record] = [record for record in manager.records if record.name == name]
    return record


def plugin(name: str, **members: Any) -> type[Plugin]:
    return type(name.title(), (Plugin,), {"name": name, **members})


def assert_failed(manager: PluginManager, name: str, *words: str) -> None:
    record = only(manager, name)
    assert record.state is State.FAILED
    assert record.plugin is None or manager.get(name) is None
    for word in words:
        assert word in record.problem
    assert only(manager, "good").state is State.LOADED
    assert [service.name for service in manager.hooks.collect("register_services", server=SERVER)] == ["good"]


# -- loading ------------------------------------------------------------------------------------------------------


def test_a_good_plugin_is_loaded_and_described() -> None:
    record = only(loaded(), "good")
    assert record.state is State.LOADED
    assert record.hooks == ("register_services",)
    assert record.describe()["state"] == "loaded"
    assert record.problem == ""


def test_two_managers_have_their_own_instances() -> None:
    assert loaded().get("good") is not loaded().get("good")


@pytest.mark.parametrize("error", [RuntimeError("no luck"), SystemExit(3), OSError(2, "no such file")])
def test_raising_when_instantiated(error: BaseException) -> None:
    def __init__(self: Plugin) -> None:
        raise error

    assert_failed(loaded(plugin("bad", __init__=__init__)), "bad", "cannot be instantiated", type(error).__name__)


def test_an_interrupt_of_the_user_is_not_swallowed() -> None:
    def __init__(self: Plugin) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded(plugin("bad", __init__=__init__))


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((API_VERSION[0] + 1, 0), "another major version"),
        ((API_VERSION[0], API_VERSION[1] + 1), "update the server"),
        ("1.0", "pair of numbers"),
        ((1,), "pair of numbers"),
    ],
)
def test_another_api_version(version: object, words: str) -> None:
    assert_failed(loaded(plugin("bad", api=version)), "bad", words)


def test_a_name_that_nobody_could_type() -> None:
    assert_failed(loaded(plugin("Bad Name")), "Bad Name", "lower-case letters")


def test_requirements_written_as_text() -> None:
    assert_failed(loaded(plugin("bad", requires="good")), "bad", "tuple of plugin names")


def test_two_claims_to_one_name_both_fail() -> None:
    one, other = plugin("twin"), plugin("twin")
    one.__module__, other.__module__ = "first_package", "second_package"
    manager = loaded(one, other)
    records = [record for record in manager.records if record.name == "twin"]
    assert [record.state for record in records] == [State.FAILED, State.FAILED]
    assert all("first_package and second_package" in record.problem for record in records)
    assert only(manager, "good").state is State.LOADED


def test_a_plugin_cannot_take_the_place_of_a_built_in_one() -> None:
    manager = PluginManager()
    manager.load([Good()], classes=[plugin("good")])
    assert "belongs to the server itself" in only(manager, "good").problem


def test_a_wrong_built_in_plugin_is_a_defect() -> None:
    with pytest.raises(TypeError, match="did you mean on_startup"):
        PluginManager().load([plugin("core", on_startap=hookimpl(lambda self: None))()], classes=[])


# -- entry points -------------------------------------------------------------------------------------------------


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Put a distribution with one plugin module on the path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules: list[str] = []

    def write(distribution: str, entry_point: str, source: str) -> None:
        module = f"mesh_test_{distribution}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / f"{distribution}-9.1.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 9.1\n")
        (information / "entry_points.txt").write_text(f"[meshcentral]\n{entry_point} = {module}:Found\n")

    yield write
    for module in modules:
        sys.modules.pop(module, None)


SOUND = "from meshcentral.plugins.plugin import Plugin\nclass Found(Plugin):\n    name = 'found'\n"


def test_an_installed_plugin_is_found(install: Callable[[str, str, str], None]) -> None:
    install("sound", "found", SOUND)
    manager = PluginManager()
    manager.load()
    record = only(manager, "found")
    assert (record.state, record.distribution, record.version) == (State.LOADED, "sound", "9.1")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('at import')", "cannot be imported: RuntimeError: at import"),
        ("import sys; sys.exit('bye')", "cannot be imported: SystemExit: bye"),
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("def broken(:", "SyntaxError"),
        ("Found = 3", "must name a subclass"),
        (SOUND.replace("'found'", "'other'"), "the two must be equal"),
        ("other = 1", "AttributeError"),
    ],
)
def test_an_installed_plugin_that_cannot_be_imported(
    install: Callable[[str, str, str], None], source: str, words: str
) -> None:
    install("broken", "found", source)
    manager = PluginManager()
    manager.load()
    record = only(manager, "found")
    assert record.state is State.FAILED
    assert words in record.problem


def test_a_disabled_plugin_is_not_imported(install: Callable[[str, str, str], None]) -> None:
    install("hidden", "found", SOUND)
    manager = PluginManager(disabled=["found"])
    manager.load()
    assert only(manager, "found").state is State.BLOCKED
    assert "mesh_test_hidden" not in sys.modules


def test_two_distributions_with_one_name_are_both_named(install: Callable[[str, str, str], None]) -> None:
    install("beta", "found", SOUND)
    install("alpha", "found", SOUND)
    manager = PluginManager()
    manager.load()
    records = [record for record in manager.records if record.name == "found"]
    assert [record.distribution for record in records] == ["alpha", "beta"]
    assert all("alpha and beta" in record.problem for record in records)
    assert "mesh_test_alpha" not in sys.modules


def test_records_are_sorted_by_name() -> None:
    names = [record.name for record in loaded(plugin("zeta"), plugin("alpha")).records]
    assert names == ["alpha", "good", "zeta"]


# -- hooks that are written wrongly -------------------------------------------------------------------------------


def test_a_misspelled_hook_is_explained() -> None:
    def on_agent_disconected(self: Plugin, server: Any) -> None: ...

    manager = loaded(plugin("bad", on_agent_disconected=hookimpl(on_agent_disconected)))
    assert_failed(manager, "bad", "on_agent_disconected is not a hook", "did you mean on_agent_disconnected?")


def test_a_hook_without_its_marker_is_explained() -> None:
    assert_failed(loaded(plugin("bad", on_startup=lambda self: None)), "bad", "not marked @hookimpl")


@pytest.mark.parametrize("mark", [hookimpl(wrapper=True), hookimpl(hookwrapper=True)])
def test_wrappers_are_rejected(mark: Callable[..., Any]) -> None:
    def on_startup(self: Plugin) -> Any:
        yield

    assert_failed(loaded(plugin("bad", on_startup=mark(on_startup))), "bad", "wrapper")


def _unknown_argument(self: Plugin, server: Any, colour: Any) -> None: ...
def _keyword_only(self: Plugin, *, server: Any) -> None: ...
def _starred(self: Plugin, **arguments: Any) -> None: ...
def _with_default(self: Plugin, server: Any = None) -> None: ...
async def _async_generator(self: Plugin) -> Any:
    yield


def _generator(self: Plugin) -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_unknown_argument, "takes colour"),
        (_keyword_only, "the arguments of on_startup are: server"),
        (_starred, "takes **arguments"),
        (_with_default, "a default"),
        (_async_generator, "async generator"),
        (_generator, "its body would never run"),
    ],
)
def test_signatures_that_cannot_be_called(function: Callable[..., Any], words: str) -> None:
    assert_failed(loaded(plugin("bad", on_startup=hookimpl(function))), "bad", words)


def test_an_async_register_hook_is_rejected() -> None:
    async def register_routes(self: Plugin) -> list[Any]:
        return []

    assert_failed(loaded(plugin("bad", register_routes=hookimpl(register_routes))), "bad", "is async")


def test_properties_are_not_run_while_hooks_are_looked_for() -> None:
    def surprise(self: Plugin) -> None:
        raise RuntimeError("a property was read")

    assert only(loaded(plugin("odd", colour=property(surprise))), "odd").state is State.LOADED


# -- requirements and order ---------------------------------------------------------------------------------------


def test_what_a_missing_requirement_means_is_explained_down_the_chain() -> None:
    manager = loaded(plugin("needy", requires=("absent",)), plugin("user", requires=("needy",)))
    assert only(manager, "needy").state is State.NOT_LOADED
    assert only(manager, "needy").problem == "it requires absent, which is not installed"
    assert only(manager, "user").state is State.NOT_LOADED
    assert "requires needy, which is not loaded" in only(manager, "user").problem


def test_requiring_a_disabled_or_failed_plugin() -> None:
    manager = loaded(
        plugin("off"),
        plugin("broken", api=(9, 0)),
        plugin("one", requires=("off",)),
        plugin("two", requires=("broken",)),
        disabled=["off"],
    )
    assert "disabled in the configuration" in only(manager, "one").problem
    assert "another major version" in only(manager, "two").problem


def test_plugins_that_require_each_other() -> None:
    manager = loaded(plugin("a", requires=("b",)), plugin("b", requires=("a",)), plugin("c", requires=("a",)))
    assert only(manager, "a").problem == "it requires itself in a circle: a -> b -> a"
    assert only(manager, "b").problem == "it requires itself in a circle: b -> a -> b"
    assert only(manager, "c").state is State.NOT_LOADED
    assert only(manager, "good").state is State.LOADED


@pytest.mark.parametrize(
    ("plugins", "order"),
    [
        ({"c": ((), ()), "a": ((), ()), "b": ((), ())}, ["a", "b", "c"]),
        ({"a": (("c",), ()), "b": ((), ()), "c": ((), ())}, ["b", "c", "a"]),
        ({"a": ((), ("b",)), "b": ((), ())}, ["b", "a"]),
        ({"a": ((), ("absent",)), "b": ((), ())}, ["a", "b"]),
        ({"a": ((), ("b",)), "b": (("a",), ())}, ["a", "b"]),
        ({"a": ((), ("b",)), "b": ((), ("a",))}, ["a", "b"]),
        ({"a": ((), ("a",))}, ["a"]),
        ({}, []),
    ],
)
def test_load_order(plugins: dict[str, tuple[tuple[str, ...], tuple[str, ...]]], order: list[str]) -> None:
    assert load_order(plugins) == (order, {})


def test_a_required_plugin_that_is_not_there_stops_the_server() -> None:
    manager = loaded(plugin("bad", api=(9, 0)))
    manager.check_required(["good"])
    with pytest.raises(ConfigurationError, match=r"plugins.required names the plugin bad, which failed") as caught:
        manager.check_required(["bad"])
    assert caught.value.exit_code == 78


# -- offered hooks ------------------------------------------------------------------------------------------------


class Offered:
    """Hooks of the plugin `offering`."""

    @hookspec
    async def on_battery_low(self, server: Any, level: int) -> None: ...


async def test_a_plugin_may_offer_hooks_to_others() -> None:
    heard: list[int] = []

    async def on_battery_low(self: Plugin, level: int) -> None:
        heard.append(level)

    # `listener` comes first in the alphabet: hooks are offered before any plugin is registered.
    listener = plugin("a-listener", on_battery_low=hookimpl(on_battery_low))
    manager = loaded(listener, plugin("offering", hookspecs=Offered))
    assert only(manager, "a-listener").state is State.LOADED
    assert await manager.hooks.notify("on_battery_low", server=SERVER, level=7) == []
    assert heard == [7]


def test_an_optional_hook_of_a_plugin_that_is_not_there() -> None:
    def on_battery_low(self: Plugin, level: int) -> None: ...

    manager = loaded(plugin("listener", on_battery_low=hookimpl(optionalhook=True)(on_battery_low)))
    assert only(manager, "listener").state is State.LOADED


class Taken:
    @hookspec
    def on_startup(self, server: Any) -> None: ...


class Unprefixed:
    @hookspec
    def battery(self, server: Any) -> None: ...


class Reserved:
    @hookspec
    def on_battery(self, timeout: float) -> None: ...


@pytest.mark.parametrize(
    ("specs", "words"), [(Taken, "exists already"), (Unprefixed, "must begin with"), (Reserved, "argument timeout")]
)
def test_hooks_that_cannot_be_offered(specs: type, words: str) -> None:
    assert_failed(loaded(plugin("bad", hookspecs=specs)), "bad", words)


# -- register_ hooks that fail ------------------------------------------------------------------------------------


def _raising(self: Plugin) -> Any:
    raise ValueError("bad\ndescriptor")


def _exiting(self: Plugin) -> Any:
    sys.exit(1)


def _failing_half_way(self: Plugin) -> Any:
    yield Service("half", self._run)  # type: ignore[attr-defined]
    raise NotReady("the other half is away")


def _number(self: Plugin) -> Any:
    return 5


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (_raising, "register_services failed: ValueError: bad descriptor"),
        (_exiting, "register_services failed: SystemExit: 1"),
        (_failing_half_way, "register_services failed: the other half is away"),
        (_number, "not iterable"),
    ],
)
def test_a_plugin_whose_declarations_fail_is_unloaded(function: Callable[..., Any], words: str) -> None:
    manager = loaded(plugin("bad", register_services=hookimpl(function), _run=None))
    assert only(manager, "bad").state is State.LOADED
    assert [service.name for service in manager.hooks.collect("register_services", server=SERVER)] == ["good"]
    assert_failed(manager, "bad", words)
    assert only(manager, "bad").errors == 1


def test_dependants_of_an_unloaded_plugin_go_with_it() -> None:
    dependant = type("Dependant", (Good,), {"name": "dependant", "requires": ("bad",)})
    further = type("Further", (Good,), {"name": "further", "requires": ("dependant",)})
    manager = loaded(plugin("bad", register_services=hookimpl(_raising)), dependant, further)
    assert len(manager.hooks.collect("register_services", server=SERVER)) == 1
    assert only(manager, "dependant").state is State.NOT_LOADED
    assert "requires bad, which failed: register_services failed" in only(manager, "dependant").problem
    assert "requires dependant, which is not loaded" in only(manager, "further").problem


def test_a_failing_built_in_plugin_is_raised() -> None:
    manager = PluginManager()
    manager.load([plugin("core", register_services=hookimpl(_raising))()], classes=[])
    with pytest.raises(ValueError, match="bad"):
        manager.hooks.collect("register_services", server=SERVER)
