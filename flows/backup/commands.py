"""`tidemark backup` and `tidemark restore`."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from flows.errors import reachable_databases
from tidemark.output import json_option, print_table, utc, visible

FOLDER = click.Path(file_okay=False, path_type=Path)
ADVICE = "`tidemark up` starts the local stack; then run it again"


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _as_interrupts() -> Iterator[None]:
    """SIGTERM is Ctrl-C: what was begun is taken away, and programs that were started end."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--without-lake", is_flag=True, help="Leave out the lake, where that is a folder of this machine.")
@json_option
def backup(folder: Path, without_lake: bool, as_json: bool) -> None:
    """Write all that Kafka and the checkout do not give back into the new folder FOLDER, while everything runs.

    Both databases as of one moment each, with offsets and ledger; passwords, cursors, Prefect's database, the files of
    settings, and the lake where it is a folder. The folder holds passwords: it is yours alone to read. Promotion waits
    until the databases are dumped. FOLDER has its name once it is whole.

    \b
    Examples:
      tidemark backup /mnt/backup/tidemark-2024-08-12
      tidemark backup --without-lake --json /mnt/backup/tidemark-$(date +%F)

    Exit codes: 0 it is there and whole; 1 it failed, and nothing has the name; 2 wrong usage or configuration.
    """
    from flows.backup.create import create
    from tidemark.settings import load

    with _as_interrupts(), reachable_databases(ADVICE):
        made = create(load(), folder, not without_lake)
    rows = [
        {"part": name, "files": len(files), "bytes": sum(file.bytes for file in files)}
        for name in ("realtime.dump", "warehouse.dump", "home", "settings", "lake")
        if (files := [file for file in made.files if file.path.partition("/")[0] == name])
    ]
    if as_json:
        click.echo(json.dumps({"folder": str(folder), "cursors_are_covered": made.cursors_are_covered, "parts": rows}))
        return
    print_table(f"Backup in {folder}", rows)
    for sentence in made.left_out():
        click.echo(visible(sentence))


@click.command()
@click.argument("folder", type=FOLDER)
@json_option
def restore(folder: Path, as_json: bool) -> None:
    """Restore the backup in FOLDER onto an empty state folder, start its servers, and say what of Kafka goes on.

    TIDEMARK_HOME names the state folder, which must hold nothing; servers that variables name must have neither
    database. Where Kafka is the one that was read, the lane goes on exactly where the backup was. A new local Kafka has
    none of it: per topic it says what is missing, and the next epoch begins. Killed, it goes on when it is run again.

    \b
    Examples:
      TIDEMARK_HOME=~/market tidemark restore /mnt/backup/tidemark-2024-08-12
      TIDEMARK_KAFKA_BOOTSTRAP=kafka:9092 tidemark restore /mnt/backup/tidemark-2024-08-12 --json

    Exit codes: 0 it is restored; 1 it failed, and a sentence says what to do; 2 wrong usage or configuration.
    """
    from rich.console import Console

    from flows.backup.restore import restore as restore_into
    from tidemark.settings import load

    settings = load()
    console = Console(stderr=True)

    def report(server: str, what: str) -> None:
        if what == "ready":
            console.print(f"{server}: {what}", highlight=False, markup=False)

    with _as_interrupts(), reachable_databases(ADVICE):
        done = restore_into(settings, folder, report)
    rows = [outcome.row() for outcome in done.outcomes]
    if as_json:
        click.echo(json.dumps({"home": str(settings.home), "topics": rows, "notes": done.notes}))
        return
    click.echo(f"{settings.home} is what {done.made.home} was at {utc(done.made.begun_at)}")
    for outcome in done.outcomes:
        click.echo(visible(f"{outcome.topic}, partition {outcome.partition}: {outcome.means}"))
    for note in done.notes:
        click.echo(visible(note))
