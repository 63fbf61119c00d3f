"""`tidemark service`: the stack, the lane and the flows as services of systemd."""

import re
from collections.abc import Callable

import click


def _fit(context: click.Context, parameter: click.Parameter, name: str) -> str:
    if not re.fullmatch("[a-z0-9_-]+", name):
        raise click.BadParameter(f"expected lower-case letters, digits, _ and -, received {name!r}")
    return name


NAME = click.option(
    "--name", default="tidemark", show_default=True, callback=_fit, help="The target's, for a second state folder."
)
SYSTEM = click.option("--system", is_flag=True, help="The machine's services, as root; else those of who calls.")


def _options(command: Callable[..., None]) -> Callable[..., None]:
    return SYSTEM(NAME(command))


@click.group()
def service() -> None:
    """Run the stack, the streaming lane and the flows as services of systemd."""


@service.command()
@_options
@click.option("--forget", multiple=True, metavar="NAME", help="Keep this variable no more; may be given again.")
@click.option("--no-start", is_flag=True, help="Write the files alone; systemd is not asked.")
def install(name: str, system: bool, forget: tuple[str, ...], no_start: bool) -> None:
    """Write the units, with the settings of this shell, and start them now and with the machine.

    The settings (TIDEMARK_*, proxies, AWS_*, what sources.yml names as ${NAME}) are kept in service.env of the state
    folder, for its owner alone. After a change, run it again: what this shell does not set stays as it was, and
    is named; --forget takes it back.

    \b
    Examples:
      tidemark service install
      unset TIDEMARK_KEEP_DAYS; tidemark service install --forget TIDEMARK_KEEP_DAYS
      sudo -E tidemark service install --system
      TIDEMARK_HOME=~/second tidemark service install --name second
    """
    from tidemark.service import install as steps
    from tidemark.settings import load

    written, kept = steps.install(load(), name, system, forget)
    for path in written:
        click.echo(f"wrote {path}")
    if kept:
        click.echo(f"kept from before: {', '.join(kept)}; --forget NAME takes one back")
    user = "" if system else " --user"
    if no_start:
        click.echo(f"to start them: systemctl{user} daemon-reload && systemctl{user} enable --now {name}.target")
        return
    steps.systemctl(system, "daemon-reload")
    steps.systemctl(system, "enable", f"{name}.target")
    steps.systemctl(system, "restart", "--no-block", f"{name}.target")
    click.echo(f"started; systemctl{user} status '{name}*' shows them, `tidemark doctor` how all is")
    if not system:
        click.echo("they end when you log out, unless `loginctl enable-linger` was run once")


@service.command()
@_options
@click.option("--no-stop", is_flag=True, help="Remove the files alone; systemd is not asked.")
def remove(name: str, system: bool, no_stop: bool) -> None:
    """End the services and remove their files; what the state folder holds stays.

    service.env goes too, unless services of another --name read it.
    """
    from tidemark.service import install as steps
    from tidemark.settings import load

    settings = load()
    if not no_stop:
        steps.systemctl(system, "disable", "--now", f"{name}.target")  # the services are part of it
    for path in steps.remove(settings, name, system):
        click.echo(f"removed {path}")
    if not no_stop:
        steps.systemctl(system, "daemon-reload")
