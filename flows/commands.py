"""The flows' commands: promote, account, check, flow."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from datetime import datetime
from typing import Any

import click

from flows.errors import reachable_databases
from tidemark.output import json_option, print_table, show, visible


@click.command()
@json_option
@click.pass_context
def account(ctx: click.Context, as_json: bool) -> None:
    """Show where every consumed record is, the balance of each topic, epoch and partition, and the ledger.

    The ledger, which --json leaves out, has a line for each promotion of a topic's day.
    consumed = realtime + promoted + quarantined + dropped + lost + empty, counted in the tables. A balance
    other than zero is records that nobody can account for: exit code 1.

    \b
    Examples:
      tidemark account
      tidemark account --json | jq '.[] | select(.balance != 0)'
    """
    from dataclasses import asdict

    from flows.account import account as balances
    from flows.ledger import promotions
    from tidemark.settings import load

    with reachable_databases():
        found = balances(load())
        ledger = [] if as_json else promotions(load())
    show("Where every record is", [asdict(balance) for balance in found], as_json, "nothing was consumed yet")
    if not as_json:
        print_table("The ledger of promotions (UTC)", ledger, "no day was promoted yet")
    if wrong := [balance for balance in found if balance.balance]:
        found_wrong = visible("; ".join(map(str, wrong)))
        click.echo(f"tidemark: expected every balance to be 0, received {found_wrong}", err=True)
        ctx.exit(1)


@click.command()
@click.option("--as-of", type=click.DateTime(), metavar="TIME", help="Promote as if it were this time (UTC).")
@json_option
def promote(as_of: datetime | None, as_json: bool) -> None:
    """Move every closed day older than x from `realtime` to the warehouse's marts, verified, without a hole.

    It can be killed at any moment and run again: nothing is lost and nothing doubles.

    \b
    Examples:
      tidemark promote
      tidemark promote --as-of 2024-08-12
    """
    import sys

    from flows.errors import NotPromoted
    from flows.running import run_flow
    from tidemark.settings import load

    title, empty = "Promoted", "no day is due"
    try:
        with redirect_stdout(sys.stderr), reachable_databases():
            rows = run_flow(load(), "promote", as_of=as_of)
    except NotPromoted as error:
        show(title, error.rows, as_json, empty)
        raise
    show(title, rows, as_json, empty)


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--deep", is_flag=True, help="Compare the tables again with what they were made of, too: takes long.")
@click.option("--all", "everything", is_flag=True, help="Print each check, not only those that did not pass.")
@json_option
@click.pass_context
def check(context: click.Context, names: tuple[str, ...], deep: bool, everything: bool, as_json: bool) -> None:
    """Verify the contracts of ingestion, realtime and mart tables, and say what dbt's tests last found.

    NAME is schema.table; without one every contract is verified. Of what did not pass: up to ten failing
    rows, the owner, what to do, and what is downstream. The results are kept in the table
    quality.results of the warehouse. A table that does not exist yet is named, and fails nothing
    unless it was there before. Fresh rows of a topic are asked for where sources.yml has a source that must
    send them that often, and where somebody else sends to it.

    --deep compares, row by row, what promotions and loads compared once: rows that `realtime` still holds
    and ingestion tables with the lake's files, and every table of dbt with what its model's SQL makes of
    the tables that it reads. What is loaded and not yet built is a difference too: `dbt build` comes first.

    \b
    Examples:
      tidemark check
      tidemark check realtime.market_tick ingestion.ecb__reference_rates
      tidemark check --deep
      tidemark check --deep marts.fct_bars_1m
      tidemark check --json | jq '.[] | select(.outcome == "failed")'

    Exit codes: 0 no check failed, though one may warn; 1 one did, and a sentence names table, column and count;
    2 an unknown NAME; 3 a check could not be carried out, whatever others found.
    """
    from catalog.kept import errors, failures
    from catalog.report import as_json as with_advice
    from catalog.report import explain, print_results
    from flows.checks import verify
    from tidemark.settings import load

    with reachable_databases():
        results = verify(load(), names, deep, quiet=as_json)
    if as_json:
        click.echo(json.dumps(with_advice(load(), results), indent=2))
    else:
        print_results(results, everything)
    for line in explain(load(), results):
        click.echo(visible(line), err=True)
    context.exit(3 if errors(results) else 1 if failures(results) else 0)


@click.group()
def flow() -> None:
    """Run flows, and put them on their schedules.

    \b
    Examples:
      tidemark flow run ingest --param source=ecb
      tidemark flow deploy             register flows/schedules.yml and the alert with Prefect
      tidemark flow serve              run what is due, until it is stopped
    """


def _parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """key=value pairs; a value that is JSON is taken as that, any other as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"expected key=value, received {pair!r}", param_hint="--param")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


@flow.command()
@click.argument("name")
@click.option("--param", "pairs", multiple=True, metavar="KEY=VALUE", help="A parameter of the flow; repeatable.")
def run(name: str, pairs: tuple[str, ...]) -> None:
    """Run the flow NAME (ingest, promote, check) here and now, visible in Prefect's UI.

    \b
    Examples:
      tidemark flow run ingest --param source=fred
      tidemark flow run promote --param as_of=2024-08-12
    """
    from flows.running import run_flow
    from tidemark.settings import load

    with reachable_databases():
        run_flow(load(), name, **_parameters(pairs))
    click.echo(f"{name}: done")


@flow.command()
@json_option
def deploy(as_json: bool) -> None:
    """Register the schedules of flows/schedules.yml and the automations with Prefect; again, it changes nothing.

    \b
    Examples:
      tidemark flow deploy
      TIDEMARK_ALERT_WEBHOOK=https://chat.example.org/hook tidemark flow deploy
    """
    from dataclasses import asdict

    from flows.deployments import deploy as register
    from tidemark.settings import load

    show("Schedules (UTC)", [asdict(schedule) for schedule in register(load())], as_json, "no schedule")


@flow.command()
def serve() -> None:
    """Register everything, then run what is due until SIGTERM.

    \b
    Examples:
      tidemark flow serve
    """
    from flows.deployments import serve as run_forever
    from tidemark.settings import load

    run_forever(load())
