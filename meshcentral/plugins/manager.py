"""Finding, ordering and loading plugins. One bad plugin never stops the others, and its record says what is wrong.

Each server has its own manager and its own plugin instances, so two servers in one process share nothing. Plugins
share the process with the server: this is fault isolation, not a security boundary.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from meshcentral.plugins import validation
from meshcentral.plugins.dispatch import HookFailure, Hooks
from meshcentral.plugins.errors import ConfigurationError, MeshError
from meshcentral.plugins.hookspecs import PROJECT, Specs
from meshcentral.plugins.plugin import Plugin
from meshcentral.plugins.records import PluginRecord, State

log = logging.getLogger("meshcentral.plugins")

ENTRY_POINT_GROUP = "meshcentral"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A claim to a plugin name that was not imported yet."""

    name: str
    version: str
    distribution: str
    load: Callable[[], object]

    @classmethod
    def of_entry_point(cls, entry_point: EntryPoint) -> Candidate:
        distribution = entry_point.dist
        name, version = (distribution.name, distribution.version) if distribution else ("unknown", "")
        return cls(entry_point.name, version, name, entry_point.load)

    @classmethod
    def of_class(cls, kind: type[Plugin]) -> Candidate:
        return cls(getattr(kind, "name", kind.__name__), "", kind.__module__, lambda: kind)

    def record(self, state: State, problem: str = "") -> PluginRecord:
        return PluginRecord(self.name, self.version, self.distribution, state, problem)


def installed() -> list[Candidate]:
    """All claims of installed distributions, by name; nothing is imported."""
    return [Candidate.of_entry_point(entry_point) for entry_point in entry_points(group=ENTRY_POINT_GROUP)]


class PluginManager:
    """The plugins of one server."""

    def __init__(self, *, disabled: Collection[str] = ()) -> None:
        """`disabled` names are recorded as blocked and never imported."""
        self._pluggy = pluggy.PluginManager(PROJECT)
        self._pluggy.add_hookspecs(Specs)
        self._known = validation.spec_arguments(Specs)
        self._disabled = frozenset(disabled)
        self._builtins: frozenset[str] = frozenset()
        self._records: list[PluginRecord] = []
        self.hooks = Hooks(self._pluggy, self._unload)

    @property
    def records(self) -> list[PluginRecord]:
        """Every plugin that was found, sorted by name; two claims to one name have two records."""
        counted = (replace(record, errors=self.hooks.errors.get(record.name, 0)) for record in self._records)
        return sorted(counted, key=lambda record: (record.name, record.distribution))

    def get(self, name: str) -> Plugin | None:
        """The instance of a loaded plugin."""
        plugin: Plugin | None = self._pluggy.get_plugin(name)
        return plugin

    def load(self, builtins: Sequence[Plugin] = (), *, classes: Sequence[type[Plugin]] | None = None) -> None:
        """Load the installed plugins, or exactly `classes`. Never raises for a bad plugin.

        `builtins` are plugin objects of the server itself: they are registered first, hence asked last, they have no
        record, and their failures are raised.
        """
        self._builtins = frozenset(plugin.name for plugin in builtins)
        for plugin in builtins:
            if problem := validation.implementation_problem(plugin, self._known):
                raise TypeError(f"the built-in plugin {plugin.name}: {problem}")
            self._register(plugin)
        claims = installed() if classes is None else [Candidate.of_class(kind) for kind in classes]
        instances: dict[str, tuple[Candidate, Plugin]] = {}
        for candidate in self._admitted(sorted(claims, key=lambda claim: (claim.name, claim.distribution))):
            outcome = _instantiate(candidate)
            if isinstance(outcome, str):
                self._add(candidate.record(State.FAILED, outcome))
            else:
                instances[candidate.name] = (candidate, outcome)
        self._register_all(instances)

    def check_required(self, names: Collection[str]) -> None:
        """Raise ConfigurationError when a plugin that must be there is not loaded."""
        for name in names:
            if not self._pluggy.has_plugin(name):
                raise ConfigurationError(
                    f"plugins.required names the plugin {name}, {self._why_absent(name)}",
                    hint=f"Repair or install the plugin, or take {name} out of plugins.required.",
                )

    def _admitted(self, candidates: Sequence[Candidate]) -> Iterable[Candidate]:
        """Record the disabled, the duplicates and those that take a built-in name; yield the others."""
        claims = Counter(candidate.name for candidate in candidates)
        for candidate in candidates:
            if candidate.name in self._disabled:
                self._add(candidate.record(State.BLOCKED, "it is disabled in the configuration"))
            elif candidate.name in self._builtins:
                self._add(candidate.record(State.FAILED, f"the name {candidate.name} belongs to the server itself"))
            elif claims[candidate.name] > 1:
                rivals = " and ".join(rival.distribution for rival in candidates if rival.name == candidate.name)
                problem = f"the name {candidate.name} is claimed by {rivals}; remove one of them"
                self._add(candidate.record(State.FAILED, problem))
            else:
                yield candidate

    def _register_all(self, instances: Mapping[str, tuple[Candidate, Plugin]]) -> None:
        plugins = {name: plugin for name, (_, plugin) in instances.items()}
        order, circles = load_order({name: (plugin.requires, plugin.after) for name, plugin in plugins.items()})
        for name, circle in circles.items():
            problem = f"it requires itself in a circle: {' -> '.join(circle)}"
            self._add(instances[name][0].record(State.FAILED, problem))
        unusable = {name: self._offer(plugins[name]) for name in order}
        for name in order:
            self._add(self._registered(*instances[name], unusable[name]))

    def _registered(self, candidate: Candidate, plugin: Plugin, problem: str | None) -> PluginRecord:
        """Register a plugin unless something is wrong with it, and say what became of it."""
        if absent := self._missing_requirement(plugin):
            return candidate.record(State.NOT_LOADED, absent)
        if problem := problem or validation.implementation_problem(plugin, self._known):
            return candidate.record(State.FAILED, problem)
        self._register(plugin)
        hooks = tuple(sorted(set(validation.implementations(plugin).values())))
        return replace(candidate.record(State.LOADED), plugin=plugin, hooks=hooks)

    def _offer(self, plugin: Plugin) -> str | None:
        """Add the hooks that a plugin offers; all are added before any plugin that implements them is registered."""
        specs = plugin.hookspecs
        if specs is None:
            return None
        problem = validation.hookspecs_problem(specs, self._known)
        if problem is None:
            self._pluggy.add_hookspecs(specs)
            self._known |= validation.spec_arguments(specs)
        return problem

    def _register(self, plugin: Plugin) -> None:
        self._pluggy.register(plugin, name=plugin.name)

    def _missing_requirement(self, plugin: Plugin) -> str | None:
        for name in plugin.requires:
            if not self._pluggy.has_plugin(name):
                return f"it requires {name}, {self._why_absent(name)}"
        return None

    def _why_absent(self, name: str) -> str:
        record = next((record for record in self._records if record.name == name), None)
        match record:
            case None:
                return "which is not installed"
            case PluginRecord(state=State.BLOCKED):
                return "which is disabled in the configuration"
            case PluginRecord(state=State.FAILED):
                return f"which failed: {record.problem}"
            case _:
                return f"which is not loaded: {record.problem}"

    def _unload(self, failure: HookFailure) -> None:
        """Take out a plugin whose `register_` hook failed, and those that require it."""
        if failure.plugin in self._builtins:
            raise failure.error
        self._take_out(failure.plugin, State.FAILED, f"{failure.hook} failed: {explain(failure.error)}")

    def _take_out(self, name: str, state: State, problem: str) -> None:
        self._pluggy.unregister(name=name)
        for index, record in enumerate(self._records):
            if record.name == name and record.state is State.LOADED:
                self._records[index] = replace(record, state=state, problem=problem)
        log.error("plugin %s was unloaded: %s", name, problem)
        for record in list(self._records):
            if record.plugin and record.state is State.LOADED and name in record.plugin.requires:
                self._take_out(record.name, State.NOT_LOADED, f"it requires {name}, {self._why_absent(name)}")

    def _add(self, record: PluginRecord) -> None:
        self._records.append(record)
        if record.state is State.FAILED:
            log.error("plugin %s (%s) is not loaded: %s", record.name, record.distribution, record.problem)
        elif record.state is State.NOT_LOADED:
            log.warning("plugin %s (%s) is not loaded: %s", record.name, record.distribution, record.problem)


def explain(error: BaseException) -> str:
    """An exception in one line, for a record."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, MeshError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _instantiate(candidate: Candidate) -> Plugin | str:
    """Import and make the plugin, or say why that is impossible. SystemExit of a plugin does not end the server."""
    step = "it cannot be imported"
    try:
        kind: Any = candidate.load()
        step = "its class cannot be read"
        if problem := validation.class_problem(kind, candidate.name):
            return problem
        step = "it cannot be instantiated"
        instance: object = kind()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        log.debug("plugin %s: %s", candidate.name, step, exc_info=error)
        return f"{step}: {explain(error)}"
    return instance if isinstance(instance, Plugin) else f"its class makes {instance!r:.80}, not a plugin"


def load_order(
    plugins: Mapping[str, tuple[Collection[str], Collection[str]]],
) -> tuple[list[str], dict[str, list[str]]]:
    """Sort plugins so that each comes behind what it requires and what it is to come after; alphabetical otherwise.

    `plugins` maps names to (`requires`, `after`). Returns the order, and for each plugin that cannot be ordered the
    circle of `requires` in which it is. A circle that `after` closes is cut there: `after` is only a wish.
    """
    circles = {name: circle for name in plugins if (circle := _circle(name, plugins))}
    waiting = sorted(set(plugins) - set(circles))
    order: list[str] = []

    def ready(name: str, *, strict: bool) -> bool:
        requires, after = plugins[name]
        return not any(other in waiting for other in (*requires, *(after if strict else ())) if other != name)

    while waiting:
        best = next((name for name in waiting if ready(name, strict=True)), None)
        if best is None:
            best = next(name for name in waiting if ready(name, strict=False))
        waiting.remove(best)
        order.append(best)
    return order, circles


def _circle(start: str, plugins: Mapping[str, tuple[Collection[str], Collection[str]]]) -> list[str]:
    """The way along `requires` from a plugin back to itself, empty when there is none."""
    ways = [[start]]
    seen = {start}
    while ways:
        way = ways.pop()
        for other in plugins[way[-1]][0]:
            if other == start:
                return [*way, start]
            if other in plugins and other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []
