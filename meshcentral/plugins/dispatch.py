"""Calling hooks: pluggy knows and orders the implementations, this awaits, times out and names the culprit.

pluggy's own calls are not used: one exception would prevent all later implementations, and nothing is awaited. Here
every implementation is called with only the arguments that it takes, inside its own guard (architecture, 5.1).
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import pluggy

from meshcentral.plugins.errors import Conflict

log = logging.getLogger("meshcentral.plugins")

TIMEOUT = 5.0
"""Seconds that an `on_` or `gather_` implementation may take."""


@dataclass(frozen=True, slots=True)
class HookFailure:
    """One implementation that did not do its work."""

    plugin: str
    hook: str
    error: BaseException


@dataclass(frozen=True, slots=True)
class Contribution:
    """Something that a plugin declared, or put in a list, and whose it is."""

    plugin: str
    value: Any


class Hooks:
    """The hooks of one server. Order is pluggy's: a dependant is asked before what it depends on."""

    def __init__(self, manager: pluggy.PluginManager, unload: Callable[[HookFailure], None]) -> None:
        """`unload` takes a plugin out whose `register_` hook failed, with all that require it."""
        self._manager = manager
        self._unload = unload
        self._errors: Counter[str] = Counter()

    @property
    def errors(self) -> Mapping[str, int]:
        """How often each plugin has failed in a hook."""
        return self._errors

    def collect(self, name: str, /, **arguments: Any) -> list[Any]:
        """Call a `register_` hook and concatenate what plugins declare.

        A plugin that fails is unloaded, and everything that it or its dependants declared in this call is left out.
        """
        return [declared.value for declared in self.contributions(name, **arguments)]

    def contributions(self, name: str, /, **arguments: Any) -> list[Contribution]:
        """As `collect`, with the plugin beside each declaration, to name both sides of a clash."""
        found: list[Contribution] = []
        for implementation in self._implementations("register_", name, arguments):
            plugin = implementation.plugin_name
            if not self._manager.has_plugin(plugin):
                continue  # unloaded a moment ago, with the plugin that it requires
            try:
                found.extend(Contribution(plugin, value) for value in _call(implementation, arguments) or ())
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                self._unload(self._failed(plugin, name, error))
        return [declared for declared in found if self._manager.has_plugin(declared.plugin)]

    def claims(self, name: str, /, *, names: Callable[[Any], Iterable[str]], **arguments: Any) -> list[Contribution]:
        """As `contributions`, where each of the `names` of a declaration may be claimed by one plugin only.

        Those that were registered first have the first claim; a plugin that takes what belongs to another is unloaded.
        """
        while True:
            found = self.contributions(name, **arguments)[::-1]
            clash = _first_clash(found, names)
            if clash is None:
                return found
            self.reject(clash[0], name, Conflict(clash[1]))

    def reject(self, plugin: str, name: str, error: Exception) -> None:
        """Unload a plugin because what it declared in a `register_` hook cannot be used."""
        log.error("plugin %s declared something unusable in %s: %s", plugin, name, error)
        self._errors[plugin] += 1
        self._unload(HookFailure(plugin, name, error))

    async def notify(
        self, name: str, /, *, timeout: float = TIMEOUT, only: Collection[str] | None = None, **arguments: Any
    ) -> list[HookFailure]:
        """Call an `on_` hook, all implementations at once, `timeout` seconds each.

        Failures are logged, counted, and returned for the callers that try again (`only` names whom to ask).
        """
        implementations = [
            implementation
            for implementation in self._implementations("on_", name, arguments)
            if only is None or implementation.plugin_name in only
        ]
        outcomes = await self._together(name, implementations, arguments, timeout)
        return [outcome for outcome in outcomes if isinstance(outcome, HookFailure)]

    async def gather(self, name: str, /, *, timeout: float = TIMEOUT, **arguments: Any) -> list[Any]:
        """Call a `gather_` hook, all implementations at once; concatenate their lists. A failing one is missing."""
        implementations = self._implementations("gather_", name, arguments)
        outcomes = await self._together(name, implementations, arguments, timeout, consume=list)
        return [value for outcome in outcomes if isinstance(outcome, list) for value in outcome if value is not None]

    def _implementations(self, prefix: str, name: str, arguments: Mapping[str, Any]) -> list[pluggy.HookImpl]:
        """In calling order. A mistake of the caller is reported here, not blamed on the plugins."""
        caller: pluggy.HookCaller | None = getattr(self._manager.hook, name, None)
        if caller is None or caller.spec is None:
            raise LookupError(f"there is no hook named {name}")
        if not name.startswith(prefix):
            raise TypeError(f"{name} is not a {prefix} hook")
        if missing := set(caller.spec.argnames) - set(arguments):
            raise TypeError(f"{name} needs {', '.join(sorted(missing))}")
        return caller.get_hookimpls()[::-1]

    async def _together(
        self,
        name: str,
        implementations: list[pluggy.HookImpl],
        arguments: Mapping[str, Any],
        timeout: float,
        consume: Callable[[Any], Any] = lambda _: None,
    ) -> list[Any]:
        """What `consume` makes of each result, or a HookFailure, in calling order."""

        async def guarded(implementation: pluggy.HookImpl) -> Any:
            plugin = implementation.plugin_name
            try:
                result = _call(implementation, arguments)
                if inspect.isawaitable(result):
                    result = await _within(timeout, result)
                return None if result is None else consume(result)
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                return self._failed(plugin, name, error)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                return self._failed(plugin, name, error)

        if len(implementations) == 1:
            return [await guarded(implementations[0])]
        return list(await asyncio.gather(*(guarded(implementation) for implementation in implementations)))

    def _failed(self, plugin: str, name: str, error: BaseException) -> HookFailure:
        """Count and log: the plugin's name, and the traceback from the plugin's own code on."""
        self._errors[plugin] += 1
        own_code = _without_our_frames(error.__traceback__)
        log.error("plugin %s failed in %s", plugin, name, exc_info=(type(error), error, own_code))
        return HookFailure(plugin, name, error)


def _first_clash(found: Iterable[Contribution], names: Callable[[Any], Iterable[str]]) -> tuple[str, str] | None:
    """The first plugin that claims what another has, and the complaint."""
    owners: dict[str, str] = {}
    for contribution in found:
        for name in names(contribution.value):
            owner = owners.setdefault(name, contribution.plugin)
            if owner != contribution.plugin:
                return contribution.plugin, f"{name} belongs to the plugin {owner}"
    return None


def _call(implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    return implementation.function(**{name: arguments[name] for name in implementation.argnames})


async def _within(timeout: float, awaitable: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(timeout) as limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            raise TimeoutError(f"it took longer than {timeout:g} s") from None
        raise


def _without_our_frames(trace: TracebackType | None) -> TracebackType | None:
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return trace
