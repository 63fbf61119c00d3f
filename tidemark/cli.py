"""The command line's shell: it knows no command; each room declares its own as an entry point."""

import os
import sys
from importlib.metadata import entry_points
from traceback import format_exception
from typing import Any

import click

from tidemark.errors import ConfigurationError
from tidemark.output import visible

GROUP = "tidemark.commands"
# `up`, `access` and `restore` set the servers up, `backup` reads all that is there, `env` hands on what a person asks
# for; no other command needs who administrates them.
OF_ADMINISTRATORS = ("up", "env", "access", "backup", "restore")


class RoomCommands(click.Group):
    """A group whose commands are the installed entry points; a room's module is imported when its command is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(point.name for point in entry_points(group=GROUP))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for point in entry_points(group=GROUP, name=cmd_name):
            command: click.Command = point.load()
            return command
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from tidemark.process_environment import forget_administrators, forget_libpq
        from tidemark.proxies import pass_loopback_by_proxies

        if args[0] not in OF_ADMINISTRATORS:
            forget_administrators()
        forget_libpq()
        pass_loopback_by_proxies()
        os.umask(0o077)  # what is written into the state folder is its owner's alone
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            from tidemark.refusals import is_foreseen, sentence_of

            if not is_foreseen(error):
                raise
            said = sentence_of(error, "the database")
            click.echo(f"tidemark: {visible(str(said))}", err=True)
            ctx.exit(2 if isinstance(said, ConfigurationError) else 1)


@click.command(cls=RoomCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tidemark", prog_name="tidemark")
def main() -> None:
    """Tidemark: market and economic data, live and historical, in one governed place.

    \b
    Examples:
      tidemark up                      start the local stack
      eval "$(tidemark env)"           let psql, dbt and BI tools find it
      tidemark stream run              run all streaming sources and destinations
      tidemark ingest run ecb          load one batch source
      tidemark account                 show where every record is

    Exit codes: 0 done; 1 it failed, and a sentence says why; 2 wrong usage or configuration.
    """
    sys.excepthook = _print_unforeseen


def _print_unforeseen(*error: Any) -> None:
    """An error that nobody foresaw, as Python prints it; its message may hold text from outside."""
    click.echo(visible("".join(format_exception(*error)), lines=True), err=True, nl=False)


if __name__ == "__main__":
    sys.exit(main())
