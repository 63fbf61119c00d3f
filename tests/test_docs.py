"""What the docs say of paths, commands, settings, line counts, alerts, roles and numbers is what the code has."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import click
import pytest

from flows import automations
from realtime.trim import TABLE_LOCK_TIMEOUT
from stream_shim.connectors.entries import HttpSource, OrderBook
from stream_shim.processor.handover import BATCHES_AHEAD
from stream_shim.processor.processor import UPKEEP_SECONDS
from stream_shim.running import causes, supervisor
from tests.pythons import END, LOW
from tidemark.access.kafka_rights import RIGHTS
from tidemark.access.people import PARTS_LOCK_TIMEOUT
from tidemark.categories import CATEGORIES
from tidemark.cli import main
from tidemark.credentials import KAFKA_ROLES, ROLES
from tidemark.failing_rows import SAMPLE_ROWS
from tidemark.guard import journal, mend, watch
from tidemark.http import MOST_REDIRECTS
from tidemark.migrations import runner, turn
from tidemark.settings import PROJECT, Settings
from tidemark.stack.guard import SILENT_SECONDS
from tidemark.stack.postgres import CONFIGURATION
from watch import conditions, guarded
from watch.alert import Alert

DOCS = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md", "dbt_project/README.md")]
DOCS += sorted((PROJECT / "docs").rglob("*.md"))
ARCHITECTURE = PROJECT / "docs" / "architecture.md"
RUNBOOK = PROJECT / "docs" / "runbook"
ROOMS = {path.name for path in PROJECT.iterdir() if path.is_dir() and not path.name.startswith(".")}
PLACEHOLDERS = re.compile(r"NAME|NNNN|[<{]")
CONDITIONS = conditions.read_conditions()
MOST_DRIFT = 0.05  # of the lines that a way is said to have


def texts() -> Iterator[tuple[str, str]]:
    """Each page's path below the checkout, and its text."""
    for path in DOCS:
        yield str(path.relative_to(PROJECT)), path.read_text()


def code(text: str) -> list[str]:
    """What stands between backticks, and each indented or fenced line of commands."""
    return re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    +(\S.*)$", text, re.MULTILINE)


def test_every_path_in_the_docs_is_there() -> None:
    named = {(name, span) for name, text in texts() for span in code(text) if re.fullmatch(r"[\w./*-]+", span)}
    paths = [(name, span) for name, span in named if span.partition("/")[0] in ROOMS and "/" in span]
    missing = [pair for pair in paths if not PLACEHOLDERS.search(pair[1]) and not list(PROJECT.glob(pair[1]))]
    assert len(paths) > 50
    assert missing == []


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


def test_every_link_of_the_docs_leads_somewhere() -> None:
    broken = []
    for path in DOCS:
        for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
            file, _, anchor = link.partition("#")
            target = path.parent / file if file else path
            has_headings = target.suffix == ".md" and target.exists()
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if has_headings else []
            if not target.exists() or (anchor and anchor not in map(slug, headings)):
                broken.append((path.name, link))
    assert broken == []


def test_every_command_in_the_docs_is_one() -> None:
    """Down to the subcommand; `tidemark` is followed by words until an option, an argument or a comment."""
    spans = {(name, words) for name, text in texts() for span in code(text)
             for words in re.findall(r"(?<![.\w])tidemark ((?:[a-z]+ ?)+)", span)}  # fmt: skip
    assert len(spans) > 30
    assert [(name, words) for name, words in spans if not is_command(words.split())] == []


def is_command(words: list[str]) -> bool:
    """Whether the words lead to a command; what follows a command is its arguments."""
    command: click.Command | None = main
    for word in words:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(command), word)
    return command is not None


def test_every_target_of_make_in_the_docs_is_one() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = {target for _, text in texts() for span in code(text) for target in re.findall(r"^make ([a-z-]+)", span)}
    assert {"demo", "test"} < named <= targets


def test_every_setting_in_the_docs_is_one() -> None:
    known = {f"TIDEMARK_{name.upper()}" for name in Settings.model_fields}
    named = {found for _, text in texts() for found in re.findall(r"\bTIDEMARK_\w*[A-Z]\b(?![*_])", text)}
    assert named
    assert named <= known


@pytest.mark.parametrize("way", ["The way of a record", "The way of a day"])
def test_the_files_of_a_way_are_there_and_have_about_as_many_lines_as_is_said(way: str) -> None:
    """The table in docs/architecture.md, and the sum below it. What it should say is in the failure."""
    section = ARCHITECTURE.read_text().partition(f"## {way}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w./]+)` \| (\d+) \|", section, re.MULTILINE)
    counted = {file: len((PROJECT / file).read_text().splitlines()) for file, _ in rows}
    (said,) = re.findall(r"^Together ([\d,]+) lines\.", section, re.MULTILINE)
    total, now = int(said.replace(",", "")), "\n".join(f"{lines} {file}" for file, lines in counted.items())
    assert rows
    assert sum(int(lines) for _, lines in rows) == total
    assert abs(sum(counted.values()) - total) <= MOST_DRIFT * total, f"now {sum(counted.values())}:\n{now}"


# --- alerts and their pages


def text_of(node: ast.expr) -> str:
    """The text of a literal, with an `x` where a value is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    assert isinstance(node, ast.Constant), ast.unparse(node)
    return str(node.value)


@cache
def guard_reasons() -> frozenset[str]:
    """The reasons that the guard gives, as its calls of Action and Excess and the keys of what it measures."""
    found: set[str] = set()
    for path in (PROJECT / "tidemark" / "guard").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"Action": 2, "Excess": 0}.get(node.func.id)
                if at is not None and isinstance(node.args[at], ast.Constant):
                    found.add(str(node.args[at].value))  # type: ignore[attr-defined]
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "measured":
                found |= {text_of(key) for key in node.value.keys}  # type: ignore[attr-defined]
    return frozenset(found)


def test_every_alert_has_a_page_and_no_page_is_without_an_alert() -> None:
    named = {
        found
        for path in (PROJECT / "watch").glob("*.py")
        for found in re.findall(r"{RUNBOOK}/([\w-]+\.md)", path.read_text())
    }
    assert "database-does-not-answer.md" in named
    reached = {f"docs/runbook/{name}" for name in named} | {condition.runbook for condition in CONDITIONS.values()}
    pages = {str(path.relative_to(PROJECT)) for path in RUNBOOK.glob("*.md")} - {"docs/runbook/README.md"}
    assert reached == pages
    assert automations.PAYLOAD["runbook"] in pages


def test_every_condition_is_one_that_a_look_names() -> None:
    source = "".join(path.read_text() for path in (PROJECT / "watch").glob("*.py"))
    assert [name for name in CONDITIONS if f'"{name}"' not in source] == []


def test_the_table_of_conditions_is_the_one_that_decides() -> None:
    rows = {
        name: f"| `{name}` | {', '.join(each.states)} | {each.for_seconds:g} s | {each.severity} | "
        f"[{each.page}](runbook/{each.page}.md) |"
        for name, each in CONDITIONS.items()
    }
    page = (PROJECT / "docs" / "alerts.md").read_text()
    assert [row for row in rows.values() if row not in page] == []
    assert len(re.findall(r"^\| `[^`]+` \| \w+.* \| \d+ s \|", page, re.MULTILINE)) == len(rows)
    fields = Alert("i", "c", "c", "k", "i", "s", "t", "m", "r", 0.0, 0.0).payload("raised").keys()
    assert [name for name in fields if f"| `{name}` |" not in page] == []
    assert automations.PAYLOAD.keys() == fields


def test_every_reason_of_the_guard_stands_on_its_page_and_every_page_in_the_list() -> None:
    assert {"statement", "held up a part", "changed password"} <= guard_reasons()
    for reason in guard_reasons():
        page = guarded.PAGES[guarded.PUT_BACK if reason.startswith("changed ") else guarded.ENDED]
        text = (RUNBOOK / f"{page}.md").read_text()
        assert f"`{reason}`" in text or f"guard: {reason}" in text
    index = (RUNBOOK / "README.md").read_text()
    assert [path.name for path in RUNBOOK.glob("*.md") if path.name != "README.md" and path.name not in index] == []


def test_every_page_of_the_runbook_says_what_it_means_since_when_where_to_look_and_what_mends_it() -> None:
    for path in RUNBOOK.glob("*.md"):
        if path.name != "README.md":
            found = re.findall(r"^\*\*([^*]+)\.\*\*", path.read_text(), re.MULTILINE)
            assert [part for part in found if part != "Look"] == ["What it means", "Since when", "What mends it"], path


# --- tables and numbers


def test_the_tables_of_roles_name_every_role() -> None:
    law = ARCHITECTURE.read_text().partition("**Who may do what.**")[2]
    assert set(re.findall(r"^\| `(\w+)` \|", law, re.MULTILINE)) == {*ROLES, *KAFKA_ROLES}
    kafka = (PROJECT / "docs" / "kafka.md").read_text()
    for role, rights in RIGHTS.items():
        (row,) = re.findall(rf"^\| `{role}` \| .* \| (.*) \| ?(.*) ?\|$", kafka, re.MULTILINE)
        assert [cell.strip() for cell in row] == [", ".join(rights.topics), ", ".join(rights.groups)], role


WORDS = {1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 7: "seven", 10: "ten"}
# A page, and a sentence of it whose numbers are the code's.
NUMBERS = [
    ("README.md", f"Python 3.{LOW} to 3.{END - 1}"),
    ("README.md", f"http://127.0.0.1:{Settings.model_fields['metrics_port'].default}/metrics"),
    ("docs/architecture.md", f"at most {WORDS[BATCHES_AHEAD]} batches wait"),
    ("docs/access.md", f"`lock_timeout` ({PARTS_LOCK_TIMEOUT.removesuffix('s')} s in every session of a part"),
    ("docs/access.md", f"for longer than | {watch.PATIENCE_SECONDS:g} s |"),
    ("docs/access.md", f"tries for {TABLE_LOCK_TIMEOUT.removesuffix('ms')} ms"),
    ("docs/access.md", f"Every {mend.MEND_SECONDS:g} s it compares the settings"),
    ("docs/access.md", f"wrote, {journal.DETAIL_CHARACTERS} characters"),
    ("docs/access.md", f"has not reported for {SILENT_SECONDS:g} s"),
    ("docs/access.md", f"places for {CONFIGURATION['authentication_timeout'].removesuffix('s')} s at a time"),
    ("docs/kafka.md", f"on the {WORDS[len(CATEGORIES)]} topics"),
    ("docs/migrations.md", f"for {WORDS[int(runner.PATIENCE_SECONDS / 60)]} minutes, "
                           f"{WORDS[int(runner.LOCK_SECONDS)]} seconds a time"),
    ("docs/migrations.md", f"waits for {WORDS[int(turn.WAIT_SECONDS / 60)]} minutes"),
    ("docs/sources.md", f"depth: {OrderBook([]).depth}, every_seconds: {OrderBook([]).every_seconds:g}"),
    ("docs/sources.md", f"`timeout_seconds` ({HttpSource(url='').timeout_seconds:g})"),
    ("docs/sources.md", f"{WORDS[MOST_REDIRECTS]} redirects"),
    ("docs/sources.md", f"its source for {WORDS[int(causes.CLIENT_ERROR_SECONDS / 60)]} minutes"),
    ("docs/runbook/degraded-source.md", f"nothing for {WORDS[int(causes.CLIENT_ERROR_SECONDS / 60)]} minutes"),
    ("docs/runbook/failing-source.md", f"as {WORDS[causes.POLLS_WITHOUT_ANSWER]} of its polls"),
    ("docs/runbook/low-head-room.md", f"fewer than {WORDS[causes.HEADROOM_DAYS]} days"),
    ("docs/runbook/low-head-room.md", f"again every {WORDS[int(UPKEEP_SECONDS / 60)]} minutes"),
    ("docs/runbook/disk-ends.md", f"less than room for {WORDS[causes.DISK_DAYS]} more"),
    ("docs/runbook/keeps-dying.md", f"{WORDS[supervisor.DEATHS_IN_A_ROW]} times in a row"),
    ("docs/runbook/flow-run-failed.md", f"each failed check, with {WORDS[SAMPLE_ROWS]} of its rows"),
    ("docs/runbook/guard-put-back.md", f"looks every {mend.MEND_SECONDS:g} s"),
    ("docs/runbook/guard-ended-a-session.md", f"for {WORDS[int(guarded.OVER_SECONDS / 60)]} minutes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "sentence"), NUMBERS)
def test_a_number_of_the_docs_is_the_codes(name: str, sentence: str) -> None:
    assert sentence in " ".join((PROJECT / name).read_text().split())


def test_every_measure_of_the_figures_is_one_that_a_benchmark_prints() -> None:
    figures = (PROJECT / "docs" / "benchmarks.md").read_text().partition("## Figures")[2]
    source = "".join(path.read_text() for path in (PROJECT / "bench").glob("*.py"))
    printed = [re.sub(r"{[^}]+}", r"\\w+", name) for name in re.findall(r'"([a-z{][\w{}\[\]]+_[\w{}\[\]]+)"', source)]
    measures = re.findall(r"^\| `(\w+)`", figures, re.MULTILINE)
    assert measures
    assert [name for name in measures if not any(re.fullmatch(pattern, name) for pattern in printed)] == []


def test_the_changelog_has_the_version_that_is_installed_and_its_date() -> None:
    version = re.findall(r'^version = "(.+)"$', (PROJECT / "pyproject.toml").read_text(), re.MULTILINE)[0]
    heads = re.findall(r"^## (.+)$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert heads[0] == "Unreleased"
    assert [head for head in heads[1:] if not re.fullmatch(r"\d+\.\d+\.\d+, \d{4}-\d\d-\d\d", head)] == []
    assert heads[1].startswith(f"{version}, ")
