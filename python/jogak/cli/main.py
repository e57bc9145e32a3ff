"""`jogak`: the commands that engineers use. Each is a function in a module of its own, with heavy imports inside."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.exceptions

from jogak.cli.compile import compile_command
from jogak.cli.diff import diff
from jogak.cli.doctor import doctor
from jogak.cli.explain import explain
from jogak.cli.frontier import frontier
from jogak.cli.guard import guarded
from jogak.cli.machine import machine_commands
from jogak.cli.pack import pack
from jogak.cli.plugins import plugins
from jogak.cli.remat import remat
from jogak.cli.report import report
from jogak.cli.run import run
from jogak.cli.solve import solve
from jogak.cli.zoo import zoo
from jogak.errors import EXIT_OK, UsageError, nearest

PROGRAM = "jogak"

app = typer.Typer(
    help="Compile one PyTorch model into the programs that many devices run.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("compile")(compile_command)
app.command("run")(run)
app.command("explain")(explain)
app.command("report")(report)
app.command("diff")(diff)
app.command("zoo")(zoo)
app.add_typer(machine_commands, name="machine")
app.command("plugins")(plugins)
app.command("doctor")(doctor)
app.command("solve")(solve)
app.command("remat")(remat)
app.command("pack")(pack)
app.command("frontier")(frontier)


@app.callback()
def _options(
    show_version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="let errors through with their traceback")] = False,
) -> None:
    """Options before the command. `main` takes both out of the command line; they are here for --help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if words == ["--version"]:
        print(f"{PROGRAM} {version(PROGRAM)}")
        return EXIT_OK
    files = [Path(word) for word in words if word.endswith((".mlir", ".py", ".toml"))]
    return guarded([PROGRAM, *words], lambda: _dispatch(words), inputs=files, debug=debug)


def _dispatch(words: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        # Not `command.main`, which turns an interrupt into an exit code without a word.
        with command.make_context(PROGRAM, words or ["--help"]) as context:
            return int(command.invoke(context) or EXIT_OK)
    except typer.Exit as done:
        return int(done.exit_code)
    except typer.exceptions.TyperException as error:
        message = error.format_message().rstrip(".")
        raise UsageError(message, hint=_hint(message, words, command)) from None


def _hint(message: str, words: list[str], group: Any) -> str:
    """The nearest command or option to the one that does not exist, or where to look."""
    commands = dict(group.commands)
    name = next((word for word in words if not word.startswith("-")), "")
    unknown = re.search(r"No such option:? (\S+)", message)
    if name not in commands and not unknown:
        close = nearest(name, commands)
        return f"did you mean {close!r}?" if close else f"commands: {', '.join(commands)}"
    command = commands.get(name, group)
    options = [option for parameter in command.params for option in parameter.opts]
    close = nearest(unknown[1], options) if unknown else None
    return f"did you mean {close!r}?" if close else f"{PROGRAM} {name}{' ' if name else ''}--help shows what it takes"


if __name__ == "__main__":
    sys.exit(main())
