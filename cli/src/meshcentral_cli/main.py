"""The `mesh` program: `mesh [--data D] [--json] NOUN VERB ...`.

Only typer is imported here; a noun's module is imported when the noun is used, so that `mesh --help` is quick.
Exit codes: 0 done, 1 failed, 2 usage, 3 server unreachable, 4 not authorised, 5 not found, 78 bad configuration,
130 interrupted. `MeshError.exit_code` decides; no traceback is shown unless MESH_DEBUG is set.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from meshcentral.plugins.errors import MeshError, UsageError
from meshcentral_cli import streams
from meshcentral_cli.invocation import Invocation, JsonFlag, asks_for_json
from meshcentral_cli.output import Output
from meshcentral_cli.terminal import Terminal

INTERRUPTED = 130
DATA_FOLDER = Path("meshcentral-data")

NOUNS = {
    "init": "Make a data folder: configuration and certificates.",
    "serve": "Run the server.",
    "status": "Say whether a server is running, and how it is.",
    "user": "Accounts.",
    "group": "Device groups and their agent settings.",
    "device": "Devices: list them, run commands on them.",
    "agents": "Agent binaries.",
    "event": "What happens on the server.",
    "cert": "The server's certificates.",
    "plugins": "Loaded plugins.",
    "db": "The database.",
}
"""Noun -> one-line help, in the order of the help page. The module is `commands/<noun>.py`."""


class LazyNouns(TyperGroup):
    """A group that knows its nouns by name and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in NOUNS:
            return None
        module = importlib.import_module(f"meshcentral_cli.commands.{cmd_name}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Nouns"):
            formatter.write_dl(list(NOUNS.items()))


app = typer.Typer(
    cls=LazyNouns,
    rich_markup_mode=None,
    add_completion=False,
    subcommand_metavar="NOUN [VERB] [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`mesh NOUN --help` lists the verbs of a noun.",
)


@app.callback(invoke_without_command=True)
def mesh(
    context: typer.Context,
    data: Annotated[
        Path, typer.Option(envvar="MESH_DATA", help="The data folder.", metavar="D", readable=False)
    ] = DATA_FOLDER,
    json_: JsonFlag = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No remarks and no progress on stderr.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Remote computer management: the server and everything that can be done with it."""
    context.obj = Invocation(data, Output(as_json=json_, quiet=quiet), Terminal.current())
    if version:
        from meshcentral import __version__

        context.obj.output.document({"version": __version__}, f"mesh {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def run() -> NoReturn:
    """Entry point of the console script."""
    streams.prepare()
    code = main(sys.argv[1:])
    try:
        sys.stdout.flush()
    except OSError:
        streams.abandon(sys.stdout)
    sys.exit(code)


def main(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Every failure becomes one message."""
    output = Output(as_json=asks_for_json(arguments))
    code = 0
    try:
        result = typer.main.get_command(app).main(args=list(arguments), prog_name="mesh", standalone_mode=False)
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except MeshError as error:
        return output.failed(error)
    except typer.TyperException as error:
        return output.failed(_usage_error(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader has what it wanted. SystemExit is typer's own reaction, while it prints a help page.
        streams.abandon(sys.stdout)
    except OSError as error:
        return output.failed(_refused(error))
    except Exception as error:
        if os.environ.get("MESH_DEBUG"):
            raise
        return output.failed(_defect(error))
    return code


def reference() -> Iterator[tuple[str, str]]:
    """Every command line with its help page, in the order of the nouns; independent of terminal and environment."""
    root = typer.main.get_command(app)
    yield from _pages(root, typer.Context(root, info_name="mesh", terminal_width=100, **root.context_settings))


def _pages(command: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    yield context.command_path, command.get_help(context)
    for name in command.list_commands(context) if isinstance(command, TyperGroup) else ():
        below = command.get_command(context, name)
        yield from _pages(below, typer.Context(below, info_name=name, parent=context))


def _usage_error(error: typer.TyperException) -> MeshError:
    """The parser's complaint in our form, with the page that helps."""
    context = getattr(error, "ctx", None)
    page = context.command_path if context is not None else "mesh"
    return UsageError(error.format_message().rstrip("."), hint=f"see `{page} --help`")


def _refused(error: OSError) -> MeshError:
    """What the operating system refused and no command expects, such as an answer to a full disk."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return MeshError(
        f"the operating system refused: {place}{error.strerror or error}",
        hint="check free space, and owner and mode of the files",
    )


def _defect(error: Exception) -> MeshError:
    """What nobody expected: one line that says what to report."""
    kind = type(error).__name__
    return MeshError(
        f"unexpected {kind}: {error}",
        hint="this is a defect in mesh; run the command again with MESH_DEBUG=1 and report what it prints",
    )
