"""What every command is given, and how a function becomes a verb of a noun.

A command is a function `(mesh: Invocation, ...)`, plain or async, whose other parameters are typer's. `verb` adds
`--json` to it, so that the option is accepted after the verb as well as before the noun. Tests call the function
itself with an `Invocation` of their own.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from meshcentral_cli.output import Output
from meshcentral_cli.streams import abandon
from meshcentral_cli.terminal import Terminal

if TYPE_CHECKING:
    from meshcentral_cli.client import ControlClient

F = TypeVar("F", bound=Callable[..., Any])

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document; errors as JSON on stderr.")]
_TRAILING = "meshcentral_cli.trailing"


@dataclass(slots=True)
class Invocation:
    """The data folder, the streams and the person of this run."""

    data: Path
    output: Output
    terminal: Terminal
    trailing: tuple[str, ...] | None = None
    """What stood after `--`, for verbs that take it; None without `--`."""

    def client(self, *, offline: bool = True) -> AbstractAsyncContextManager[ControlClient]:
        """A control channel to the running server, or to one inside this process when none is serving."""
        from meshcentral_cli.connect import connect

        return connect(self.data, offline=offline)


def noun(summary: str) -> typer.Typer:
    """The container of a noun's verbs."""
    app = typer.Typer(help=summary, subcommand_metavar="VERB [ARGS]...", rich_markup_mode=None, add_completion=False)
    app.callback()(_stay_a_group)
    return app


def _stay_a_group() -> None:
    """Typer folds a group with one verb into the verb unless it has a callback."""


def command(summary: str) -> typer.Typer:
    """The container of a noun that is itself a command (`mesh init`)."""
    return typer.Typer(help=summary, rich_markup_mode=None, add_completion=False)


class _TrailingCommand(TyperCommand):
    """Keeps what follows `--` apart from the arguments before it; the parser would join the two."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            ctx.meta[_TRAILING] = tuple(args[cut + 1 :])
            args = args[:cut]
        return super().parse_args(ctx, args)


def verb(app: typer.Typer, name: str | None = None, *, trailing: bool = False) -> Callable[[F], F]:
    """Register a function as a verb of a noun. The function itself is returned unchanged."""

    def register(function: F) -> F:
        app.command(name, cls=_TrailingCommand if trailing else TyperCommand, help=inspect.getdoc(function))(
            _entry(function)
        )
        return function

    return register


def _entry(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that typer sees: the context in place of the invocation, and `--json` at the end."""

    def entry(context: typer.Context, json_: bool = False, **arguments: Any) -> None:
        mesh: Invocation = context.find_root().obj
        mesh.output.as_json |= json_
        mesh.trailing = context.meta.get(_TRAILING)
        try:
            result = function(mesh, **arguments)
            if inspect.iscoroutine(result):
                import asyncio

                asyncio.run(result)
        except BrokenPipeError:
            abandon(sys.stdout)

    hints = get_type_hints(function, include_extras=True, localns={"ControlClient": object})
    own = list(inspect.signature(function).parameters.values())[1:]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
        *(parameter.replace(kind=keyword, annotation=hints[parameter.name]) for parameter in own),
        inspect.Parameter("json_", keyword, default=False, annotation=JsonFlag),
    ]
    entry.__name__ = function.__name__
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    entry.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return entry


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether errors must be JSON: known before the command line is understood, because it may be wrong."""
    return "--json" in arguments[: arguments.index("--") if "--" in arguments else None]
