"""What a plugin must look like to be registered. Each check returns a sentence for people, or None when all is well.

pluggy would find most of these mistakes too, but one at a time, for all plugins together, and some only when the hook
is called.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any

import pluggy

from meshcentral.plugins.hookspecs import PROJECT
from meshcentral.plugins.plugin import API_VERSION, Plugin

KINDS = ("register_", "on_", "gather_")
RESERVED_ARGUMENTS = frozenset({"timeout", "only"})
"""Keywords of `Hooks` itself."""
PLUGIN_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

HookArguments = Mapping[str, Collection[str]]
"""Name of each known hook -> names of its arguments."""


def nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean X?`, or nothing when no known name is near."""
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def class_problem(found: object, name: str) -> str | None:
    """Whether the object that an entry point names is a plugin class for this API."""
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        return f"the entry point must name a subclass of meshcentral.plugins.Plugin, not {found!r:.80}"
    own_name = getattr(found, "name", None)
    if own_name != name:
        return f"the class calls itself {own_name!r:.60}, but its entry point is {name!r}; the two must be equal"
    if not PLUGIN_NAME.fullmatch(name):
        return f"the name {name!r} must be lower-case letters, digits, - and _, at most 40, beginning with a letter"
    for attribute in ("requires", "after"):
        value = getattr(found, attribute)
        if isinstance(value, str) or not all(isinstance(other, str) for other in value):
            return f"{attribute} must be a tuple of plugin names, not {value!r:.60}"
    return _version_problem(found.api)


def _version_problem(wanted: object) -> str | None:
    match wanted:
        case (int(major), int(minor)):
            pass
        case _:
            return f"api must be a pair of numbers such as {API_VERSION}, not {wanted!r:.60}"
    ours = ".".join(map(str, API_VERSION))
    if major != API_VERSION[0]:
        return f"it was written for plugin API {major}.{minor}, and this server offers {ours}: another major version"
    if minor > API_VERSION[1]:
        return f"it needs plugin API {major}.{minor}, and this server offers {ours}: update the server"
    return None


def hookspecs_problem(specs: type, known: HookArguments) -> str | None:
    """Whether the hooks that a plugin offers can be added to those that exist."""
    for name, arguments in spec_arguments(specs).items():
        if name in known:
            return f"it offers the hook {name}, which exists already"
        if not name.startswith(KINDS):
            return f"it offers the hook {name}, whose name must begin with {', '.join(KINDS)}"
        if reserved := RESERVED_ARGUMENTS.intersection(arguments):
            return f"its hook {name} may not have the argument {', '.join(sorted(reserved))}"
    return None


def spec_arguments(specs: type) -> dict[str, tuple[str, ...]]:
    """The hooks in a class of hookspecs, with their arguments."""
    return {
        name: tuple(parameter for parameter in inspect.signature(function).parameters if parameter != "self")
        for name, function in vars(specs).items()
        if hasattr(function, f"{PROJECT}_spec")
    }


def implementations(plugin: Plugin) -> dict[str, str]:
    """Attribute name -> hook name, for each method that is marked `@hookimpl`."""
    found: dict[str, str] = {}
    for attribute in dir(type(plugin)):
        options = _options(type(plugin), attribute)
        if options is not None:
            found[attribute] = options.get("specname") or attribute
    return found


def implementation_problem(plugin: Plugin, known: HookArguments) -> str | None:
    """Whether every hook implementation of the instance can be registered and called."""
    kind = type(plugin)
    for attribute in dir(kind):
        options = _options(kind, attribute)
        if options is None:
            if attribute in known and callable(inspect.getattr_static(kind, attribute)):
                return f"{attribute} is named like a hook but is not marked @hookimpl"
            continue
        hook = options.get("specname") or attribute
        if options.get("wrapper") or options.get("hookwrapper"):
            return f"{attribute} is a hook wrapper; wrappers cannot see awaited results and are not allowed"
        if hook not in known:
            if options.get("optionalhook"):
                continue
            return f"{attribute} is not a hook{nearest(hook, known)}"
        if problem := _signature_problem(getattr(plugin, attribute), attribute, hook, known[hook]):
            return problem
    return None


def _options(kind: type[Plugin], attribute: str) -> pluggy.HookimplOpts | None:
    """The marker's options, without running properties."""
    method = inspect.getattr_static(kind, attribute)
    if isinstance(method, staticmethod | classmethod):
        method = method.__func__
    options: pluggy.HookimplOpts | None = getattr(method, f"{PROJECT}_impl", None)
    return options


def _signature_problem(function: Any, attribute: str, hook: str, allowed: Collection[str]) -> str | None:
    if not inspect.isroutine(function):
        return f"{attribute} is marked @hookimpl but is not a method"
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name not in allowed or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            return f"{attribute} takes {parameter}, but the arguments of {hook} are: {', '.join(allowed) or 'none'}"
        if parameter.default is not parameter.empty:
            # pluggy leaves such arguments out of the call, so the default would silently win.
            return f"{attribute} gives {parameter.name} a default; arguments of hooks have none"
    if inspect.isasyncgenfunction(function):
        return f"{attribute} is an async generator; return a list instead"
    if hook.startswith("register_"):
        if inspect.iscoroutinefunction(function):
            return f"{attribute} is async; register_ hooks are ordinary functions, called before the server listens"
    elif inspect.isgeneratorfunction(function) and hook.startswith("on_"):
        return f"{attribute} is a generator, so its body would never run"
    return None
