"""`metalbgp`: the list of verbs. kubectl finds it as a plugin by the name kubectl-metalbgp.

In:  the command line. Out: exit code 0 fine, 1 a problem was found, 2 wrong usage.
Elsewhere: each verb is the file of its name; options that all share are options.py.
"""

import importlib
from importlib import metadata
from typing import Any

import click

from metalbgp.cli.options import Setup, connection_options

# as help lists them
VERBS = (
    *("status", "sessions", "routes", "l2", "watch", "services", "explain", "pools"),
    *("hold", "unhold", "shut", "unshut", "drain", "undrain", "release", "orders"),
    *("validate", "plan", "doctor", "uninstall"),
)


def version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    """Also from a checkout, where no package is installed."""
    if not asked or context.resilient_parsing:
        return
    try:
        said = metadata.version("metalbgp")
    except metadata.PackageNotFoundError:
        said = "from a checkout"
    click.echo(f"metalbgp {said}")
    context.exit()


class Verbs(click.Group):
    """A verb's file is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"metalbgp.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        near = get_close_matches(args[0], VERBS, n=1) if args and args[0] not in VERBS else []
        if near and not args[0].startswith("-"):
            ctx.fail(f'there is no verb "{args[0]}"; did you mean "{near[0]}"?')
        return super().resolve_command(ctx, args)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=version, help="Show the version."
)
@connection_options
@click.pass_context
def cli(context: click.Context, /, debug: bool, **connection: Any) -> None:
    """What metalbgp announces, to whom, and why. Each verb answers one question.

    Exit code: 0 fine, 1 a problem was found, 2 wrong usage.
    """
    setup: Setup = context.obj or Setup()
    setup.connection = {key: value for key, value in connection.items() if value}
    setup.debug = debug
    context.obj = setup


def main() -> None:
    cli(prog_name="metalbgp")


if __name__ == "__main__":
    main()
