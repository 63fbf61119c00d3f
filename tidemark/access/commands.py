"""`tidemark access`: who may read what, their passwords, and the keys of the API."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tidemark.output import json_option, show

if TYPE_CHECKING:
    from tidemark.access.access_file import Access
    from tidemark.settings import Settings

output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="Write it into this new file, of mode 0600, instead of printing it.",
)


@click.group()
def access() -> None:
    """Teams, people and services: what they may read, their passwords, and their keys of the API.

    \b
    Examples:
      tidemark access plan                            what `apply` would change
      tidemark access apply                           bring both databases to the access file
      tidemark access audit                           who may what, as the databases have it
      tidemark access password analyst1               a new password, printed once
      tidemark access key analyst1 --expires 90d      a key of the API, printed once
    """


def _read() -> "tuple[Settings, Access]":
    from tidemark.access.access_file import read_access
    from tidemark.settings import load

    settings = load()
    return settings, read_access(settings.access_file)


@access.command()
@json_option
def plan(as_json: bool) -> None:
    """Show what `apply`, and `tidemark up`, would change; nothing is changed."""
    from tidemark.access import bring

    settings, file = _read()
    rows = [dict(row) for row in bring.plan(settings, file)]
    show("What would change", rows, as_json, f"nothing to change: the databases are as {file.path} says")


@access.command()
@json_option
@click.option("--another-file", is_flag=True, help="Also where another file was applied last, and named more people.")
def apply(as_json: bool, another_file: bool) -> None:
    """Bring roles, rights and limits in both databases to the access file; a second time nothing is changed.

    Of a person or service that is not in the file any more, sessions end, keys open nothing, and the role is dropped.
    """
    from tidemark.access.apply import apply_access
    from tidemark.stack import local

    settings, file = _read()
    rows = [dict(row) for row in apply_access(settings, another_file)]
    show("Changed", rows, as_json, f"nothing to change: the databases are as {file.path} says")
    for sentence in local.renew_guard(settings):
        click.echo(sentence, err=True)


@access.command()
@json_option
@click.option(
    "--changes", default=20, show_default=True, type=click.IntRange(min=0), help="How many of the last changes."
)
def audit(as_json: bool, changes: int) -> None:
    """Show who may what, as the databases have it; the last use of each role and key; what `apply` changed."""
    from tidemark.access.audit import audit as found_in
    from tidemark.settings import load

    found = found_in(load(), changes)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    show("Roles", found["roles"], False, "no role but those of Tidemark's parts")
    show("Rights", found["rights"], False, "nobody may read anything")
    show("Keys of the API", found["keys"], False, "no key of the API")
    show("Last changes", found["changes"], False, "nothing was changed yet")


@access.command()
@click.argument("name")
@click.option("--expires", default="90d", show_default=True, metavar="DURATION", help="How long it opens.")
@click.option("--scope", default="", metavar="SCHEMA,...", help="Only these of what its team reads.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True, max=100_000), help="Requests a second (default: 50)."
)
@output_option
def key(name: str, expires: str, scope: str, rate: float | None, output: Path | None) -> None:
    """Make a key of the API for NAME, a person or service of the access file, and print it once."""
    from tidemark.access import key_file
    from tidemark.access.durations import seconds_of

    settings, file = _read()
    schemas = _scope(file, name, scope)
    lasts = seconds_of(expires)
    _require_new(output)
    key_id, made = key_file.make(settings, name, lasts, schemas, rate or key_file.DEFAULT_RATE)
    _hand_over(
        made,
        output,
        f"key {key_id} of {name}, for {expires}: it is kept nowhere else; `tidemark access revoke {key_id}` ends it",
    )


def _scope(file: "Access", name: str, scope: str) -> list[str]:
    from tidemark.errors import ConfigurationError

    read = file.teams[file.team_of(name)]
    schemas = [word for word in scope.split(",") if word]
    if wrong := [word for word in schemas if word not in read]:
        raise ConfigurationError(
            f"--scope: expected some of {', '.join(read)}, which {name} reads, received {wrong[0]!r}"
        )
    return schemas


@access.command()
@json_option
def keys(as_json: bool) -> None:
    """List the keys of the API: whose each is, until when it opens, and when it was used last; never the key."""
    from tidemark.access.audit import key_rows
    from tidemark.settings import load

    show("Keys of the API", key_rows(load()), as_json, "no key of the API: `tidemark access key NAME` makes one")


@access.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """Let the key KEY_ID open nothing from now on."""
    from tidemark.access import key_file
    from tidemark.settings import load

    key_file.revoke(load(), key_id)
    click.echo(f"revoked {key_id}")


@access.command()
@click.argument("name")
@output_option
def password(name: str, output: Path | None) -> None:
    """Set a new password of NAME, a person or service, in both databases, and print it once."""
    _new_password(name, output)


@access.command()
@click.argument("name_or_key")
@click.option("--grace", default="24h", show_default=True, metavar="DURATION", help="How long an old key still opens.")
@output_option
def rotate(name_or_key: str, grace: str, output: Path | None) -> None:
    """Replace the password of a name, or the key of an id, by a new one, printed once.

    An old password ends at once; sessions that it opened go on. An old key opens for --grace, until all have the new.
    """
    from tidemark.access import key_file
    from tidemark.access.durations import seconds_of
    from tidemark.settings import load

    if not name_or_key[:1].isdigit():
        _new_password(name_or_key, output)
        return
    lasts = seconds_of(grace)
    _require_new(output)
    key_id, made = key_file.rotate(load(), name_or_key, lasts)
    _hand_over(made, output, f"key {key_id}: in the place of {name_or_key}, which opens for {grace} more")


def _new_password(name: str, output: Path | None) -> None:
    from tidemark.access.passwords import set_password

    settings, file = _read()
    _require_new(output)
    _hand_over(set_password(settings, file, name), output, f"the password of {name} in both databases")


def _require_new(output: Path | None) -> None:
    """Before anything is changed: what cannot be written would be lost."""
    from tidemark.errors import ConfigurationError

    if output is not None and (output.exists() or not output.absolute().parent.is_dir()):
        raise ConfigurationError(f"--output: expected a new file in a folder that is there, received {output}")


def _hand_over(secret: str, output: Path | None, what: str) -> None:
    from tidemark.access.passwords import write_secret

    if output is None:
        click.echo(secret)
    else:
        write_secret(output, secret)
    click.echo(f"{what}{'' if output is None else f', in {output}'}", err=True)
