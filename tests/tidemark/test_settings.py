"""Settings: read from the environment alone; a wrong one is named; the page lists them all."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Stack
from tidemark import configuration
from tidemark.errors import ConfigurationError
from tidemark.lake import lake_url
from tidemark.settings import Settings, load


def test_the_page_lists_every_setting_as_it_is() -> None:
    assert configuration.PAGE.read_text() == configuration.page(), "run `make docs`"


def test_a_wrong_value_is_said_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_POSTGRES_PORT", "seventy")
    with pytest.raises(ConfigurationError, match=r"^TIDEMARK_POSTGRES_PORT: .*integer"):
        load()


@pytest.mark.parametrize("name", ["keep", "flow", "result", "dropped"])
def test_more_days_than_a_date_has_room_for_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variable = f"TIDEMARK_{name.upper()}_DAYS"
    monkeypatch.setenv(variable, "36500")
    assert datetime.now(UTC) - timedelta(days=getattr(load(), f"{name}_days")) < datetime(2000, 1, 1, tzinfo=UTC)
    monkeypatch.setenv(variable, "999999999999")
    with pytest.raises(ConfigurationError, match=rf"^{variable}: .*less than or equal to 36500"):
        load()


def test_a_value_that_is_no_json_is_said_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_RETRY_SECONDS", "abc")
    with pytest.raises(ConfigurationError, match=r"^TIDEMARK_RETRY_SECONDS: expected JSON"):
        load()


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_REALTIME_URL", "")
    assert load().realtime_url is None


def test_a_home_folder_is_expanded_in_every_path_that_a_variable_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    paths = [name for name, field in Settings.model_fields.items() if field.annotation in {Path, Path | None}]
    assert {"home", "cache", "kafka_ca_file", "access_file", "recordings"} <= set(paths)
    for name in paths:
        monkeypatch.setenv(f"TIDEMARK_{name.upper()}", f"~/{name}")
    assert {name: getattr(load(), name) for name in paths} == {name: tmp_path / name for name in paths}
    for url in ("~/lake", "file://~/lake", f"file://localhost{tmp_path}/lake", f"{tmp_path}/x/../lake/"):
        monkeypatch.setenv("TIDEMARK_LAKE_URL", url)
        assert lake_url(load()) == f"file://{tmp_path}/lake"


@pytest.mark.parametrize("variable", ["TIDEMARK_HOME", "TIDEMARK_LAKE_URL"])
def test_a_home_folder_of_nobody_is_said_with_its_variable(variable: str, stack: Stack) -> None:
    done = stack.run("env", "--json", **{variable: "~no-such-user/x"})
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"tidemark: {variable}: ")


def test_the_cache_is_in_the_home_folder_by_default() -> None:
    assert load().cache == Path.home() / ".cache" / "tidemark"


def test_a_setting_that_holds_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_WAREHOUSE_URL", "postgresql://boss:hidden@db/")
    assert "hidden" not in repr(load())


def test_a_wrong_setting_ends_a_command_with_code_2(stack: Stack) -> None:
    done = stack.run("status", TIDEMARK_KEEP_DAYS="0")
    assert done.returncode == 2
    assert done.stderr.startswith("tidemark: TIDEMARK_KEEP_DAYS: ")


@pytest.mark.parametrize("url", ["hidden", "postgresql://boss:hid den@db:5432", "postgresql://boss:hid/den@db:5432"])
@pytest.mark.parametrize("command", ["status", "env"])
def test_a_malformed_url_is_said_with_its_variable_and_never_shown(new_stack: Stack, url: str, command: str) -> None:
    done = new_stack.run(command, "--json", TIDEMARK_REALTIME_URL=url, TIDEMARK_WAREHOUSE_URL=url)
    assert done.returncode == 2
    assert done.stderr.startswith("tidemark: TIDEMARK_REALTIME_URL: expected postgresql://")
    assert "hid" not in done.stdout + done.stderr
